"""`load("mnist")`: training, validation and test images with their labels, as NumPy arrays."""

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from lab import sources
from lab.errors import unknown
from lab.published import PUBLISHED

DATASETS = tuple(PUBLISHED)
_SPLIT_SEED = 425  # fixed for good: a new one would be another dataset. (Section 4.2.5 asks our question.)

Images = (
    UInt8[np.ndarray, "n pixels"]
    | UInt8[np.ndarray, "n 1 28 28"]
    | Float32[np.ndarray, "n pixels"]
    | Float32[np.ndarray, "n 1 28 28"]
)
Labels = Int32[np.ndarray, " n"] | Float32[np.ndarray, "n classes"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, row by row."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in three parts. Choose on validation, report on test."""

    name: str
    source: str
    detail: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def description(self) -> str:
        """One line for captions: which dataset, from where, how many."""
        return (
            f"{PUBLISHED[self.name].title}, {self.source}: {len(self.train):,} train / "
            f"{len(self.validation):,} validation / {len(self.test):,} test"
        )


def load(
    name: str = "mnist",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    normalize: bool = False,
    flatten: bool = True,
    one_hot_label: bool = False,
) -> Dataset:
    """A dataset by name, with one tenth of its training examples set apart for validation.

    The switches are those of the book's load_mnist, but what comes by default is raw: images uint8
    [n, 784] in 0..255, labels int32 [n]. normalize: float32 in [0, 1]. flatten=False: [n, 1, 28, 28].
    one_hot_label: float32 [n, 10].

    Where it comes from: `sources.find`. The trap: without the full data this is a sample of it; `source`
    and `description` say so, and `detail` says why.

    Raises: InputError if the name is not in `DATASETS`; DataError if there is no data or it is wrong.

    >>> mnist = load("mnist")
    >>> mnist.train.images.shape[1:], mnist.train.labels.dtype, mnist.classes[:3]
    ((784,), dtype('int32'), ('0', '1', '2'))
    """
    if name not in PUBLISHED:
        raise unknown("dataset", name, DATASETS, see="python -m lab list datasets")
    digits = sources.find(PUBLISHED[name], data_dir)

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        images = images.reshape(len(images), -1) if flatten else images[:, np.newaxis]
        if normalize:
            images = images.astype(np.float32) / np.float32(255)
        return Split(images, np.eye(10, dtype=np.float32)[labels] if one_hot_label else labels.astype(np.int32))

    order = shuffled(len(digits.train_labels), seed=_SPLIT_SEED)
    cut = len(order) // 10
    # Sorted: within each part the published order stays.
    validation, train = np.sort(order[:cut]), np.sort(order[cut:])
    return Dataset(
        name=name,
        source=digits.source,
        detail=digits.detail,
        classes=PUBLISHED[name].classes,
        train=split(digits.train_images[train], digits.train_labels[train]),
        validation=split(digits.train_images[validation], digits.train_labels[validation]),
        test=split(digits.test_images, digits.test_labels),
    )


def shuffled(count: int, *, seed: int) -> Int64[np.ndarray, " count"]:
    """The numbers 0..count-1 in an order that depends on `seed` alone, for good.

    NumPy promises the raw stream of its PCG64 for all versions, but not `Generator.permutation`:
    so each number draws 64 bits, and the bits are sorted.

    >>> shuffled(5, seed=0)
    array([3, 2, 1, 0, 4])
    """
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
