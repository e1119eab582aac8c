"""Labels: the two forms of the chapter (class numbers, one-hot rows), checked before anything runs."""

from typing import cast

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int, Num

from lab.errors import InputError


def from_one_hot(one_hot: Num[Array | np.ndarray, "batch classes"]) -> Int[Array, " batch"]:
    """Class numbers of one-hot rows.

    Raises: InputError if a row is not one 1 and otherwise 0 (checked on concrete values only).

    >>> from_one_hot(np.array([[0, 0, 1], [1, 0, 0]])).tolist()
    [2, 0]
    """
    if not isinstance(one_hot, Tracer):
        rows = np.asarray(one_hot)
        wrong = np.flatnonzero((rows.max(axis=-1) != 1) | (np.abs(rows).sum(axis=-1) != 1))
        if wrong.size:
            raise InputError(
                f"one-hot labels must hold a single 1 in each row; row {wrong[0]} is {rows[wrong[0]].tolist()}. "
                "Soft labels are not supported: give class numbers or one-hot rows."
            )
    return jnp.argmax(one_hot, axis=-1).astype(jnp.int32)


def class_numbers(labels: Array | np.ndarray, *, shape: tuple[int, ...]) -> Int[Array, " batch"]:
    """Labels in either form, as class numbers that fit logits of `shape` [batch, classes].

    Inside a compiled function only shapes can be checked; concrete labels are checked in full,
    because JAX takes a label that is out of range in silence: most objectives are NaN then, and some a number.

    Raises: InputError naming what came and what is allowed.

    >>> class_numbers(np.array([2, 0]), shape=(2, 3)).tolist()
    [2, 0]
    >>> class_numbers(np.array([3, 0]), shape=(2, 3))
    Traceback (most recent call last):
    lab.errors.InputError: labels must be 0..2 for logits of shape (2, 3); got 3 at position 0.
    """
    if len(shape) != 2 or shape[1] < 2:
        raise InputError(f"logits must have shape [batch, classes] with at least 2 classes; got {shape}.")
    batch, classes = shape
    if not hasattr(labels, "dtype"):
        labels = np.asarray(labels)
    if labels.shape == shape:
        return from_one_hot(labels)
    if labels.shape != (batch,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(
            f"labels must be integers of shape ({batch},) or one-hot rows of shape {shape}; "
            f"got {labels.dtype} of shape {labels.shape}."
        )
    if not isinstance(labels, Tracer):
        values = np.asarray(labels)
        wrong = np.flatnonzero((values < 0) | (values >= classes))
        if wrong.size:
            raise InputError(
                f"labels must be 0..{classes - 1} for logits of shape {shape}; "
                f"got {values[wrong[0]]} at position {wrong[0]}."
            )
    return cast(Array, jnp.asarray(labels, dtype=jnp.int32))
