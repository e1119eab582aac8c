"""User data: images and labels of a user's own, part by part, brought into the lab's form and checked."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from lab.errors import InputError
from lab.userfile import described, failure, from_user_file

GIVES = "two pairs, (images, labels) for training and for test, or three with one for validation in between"

Part = tuple[UInt8[np.ndarray, "n pixels"] | Float32[np.ndarray, "n pixels"], Int32[np.ndarray, " n"]]


def parts_from_file(text: str) -> tuple[Any, Any, Any]:
    """What a function in a user's file, named as in path/to/mine.py:make, gives for training, validation and test.

    Two pairs (images, labels) are for training and test, None is then for validation; three have it in between.

    Raises: InputError if there is no such function, it fails, or it gives something else.
    """
    file, _, name = text.rpartition(":")
    made = from_user_file(Path(file), name, what="dataset")
    try:
        made = made() if callable(made) else made
    except Exception as error:
        raise InputError(f"{name} of {file} fails: {failure(error)}") from error
    if not isinstance(made, tuple | list) or len(made) not in (2, 3):
        count = f"{len(made)} things" if isinstance(made, tuple | list) else described(made)
        raise InputError(f"{name} of {file} must give {GIVES}; it gives {count}.")
    train, *validation, test = made
    return train, validation[0] if validation else None, test


def checked_parts(train: Any, validation: Any, test: Any) -> dict[str, Part]:
    """Images [n, pixels], bytes or float32, and labels [n] of "training", "validation" (unless None) and "test".

    Raises: InputError if a part is no such pair, they do not fit one another, or a class has no training image.

    >>> pixels = np.zeros((4, 2, 2))
    >>> parts = checked_parts((pixels, [0, 1, 1, 0]), None, (pixels, np.eye(2)[[1, 1, 0, 0]]))
    >>> parts["test"][0].shape, parts["test"][1]
    ((4, 4), array([1, 1, 0, 0], dtype=int32))
    """
    given = {"training": train, "validation": validation, "test": test}
    parts = {name: _checked(name, pair) for name, pair in given.items() if pair is not None}
    images, labels = parts["training"]
    classes = np.unique(labels)
    if len(classes) < 2 or classes[-1] != len(classes) - 1:
        raise InputError(
            "training labels must number the classes from 0 on, at least 2 of them and each with an image; got labels "
            f"{_few(classes)}. np.unique(labels, return_inverse=True) numbers any labels so."
        )
    for name, (others, numbers) in parts.items():
        if others.shape[1] != images.shape[1] or others.dtype != images.dtype:
            raise InputError(
                f"{name} images must be like the training images, {images.dtype} of {images.shape[1]} pixels; got "
                f"{others.dtype} of {others.shape[1]}."
            )
        if numbers.max() >= len(classes):
            raise InputError(f"{name} labels must be 0..{len(classes) - 1}, as in training; got {numbers.max()}.")
    return parts


def _checked(name: str, pair: Any) -> Part:
    """One part, looked at by itself."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(f"the {name} data must be a pair (images, labels); got {described(pair)}.")
    try:
        images, labels = (np.asarray(one) for one in pair)
    except ValueError as error:  # lists of lists that are not of one length
        raise InputError(f"{name} images and labels must be arrays: {error}.") from error
    if images.ndim < 2 or not images.size or not (images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)):
        raise InputError(
            f"{name} images must be bytes (uint8) or real numbers [n, ...], at least one; got {described(images)}."
        )
    if images.dtype != np.uint8:
        with np.errstate(over="ignore"):  # said below
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            row = np.argwhere(~np.isfinite(images))[0, 0]
            raise InputError(f"{name} images must be finite as float32; image {row} is not.")
    count = len(images)
    if labels.ndim == 2 and len(labels) == count and labels.shape[1] > 1 and labels.dtype.kind in "biuf":
        from lab.labels import from_one_hot  # it needs JAX

        labels = np.asarray(from_one_hot(labels))
    whole = labels.dtype.kind in "iu" and labels.size > 0
    fits = labels.shape in ((count,), (count, 1)) and whole
    if not fits or labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        span = f", from {labels.min()} to {labels.max()}" if whole else ""
        raise InputError(
            f"{name} labels must be class numbers from 0 on, one for each of {count:,} images, or one-hot rows; "
            f"got {described(labels)}{span}."
        )
    return images.reshape(count, -1), labels.reshape(-1).astype(np.int32)


def _few(numbers: np.ndarray) -> str:
    """A list of numbers, cut where it is long.

    >>> _few(np.arange(1, 12))
    '1, 2, 3, 4, 5, ...'
    """
    return ", ".join([*map(str, numbers[:5]), *["..."][: len(numbers) > 5]])
