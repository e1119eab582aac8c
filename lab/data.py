"""`load("mnist")`: training, validation and test images with their labels, as NumPy arrays.

`load_from(settings)` is the same under harder conditions: fewer training images, unbalanced classes, wrong labels.
`dataset(train, test)` makes one of your own arrays, `load("path/to/mine.py:make")` of those that your function gives.
"""

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from lab import sources
from lab.conditions import imbalanced, pair_noise, shuffled, subset, symmetric_noise
from lab.errors import InputError, unknown
from lab.published import PUBLISHED
from lab.settings import DataSettings
from lab.userdata import checked_parts, parts_from_file
from lab.userfile import is_own

DATASETS = tuple(PUBLISHED)
# Fixed for good: a new one would be another dataset. (Section 4.2.5 asks our question.) All networks of all runs thus
# learn from the same images and the same wrong labels, and what differs between seeds is the training alone.
_SPLIT_SEED, _SUBSET_SEED, _IMBALANCE_SEED, _NOISE_SEED, _SOME_SEED = 425, 426, 427, 428, 429

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
    clean_labels: Labels | None = None
    """What the labels were before some were made wrong; None where none were."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def wrong(self) -> Bool[np.ndarray, " n"]:
        """Which labels were made wrong: a network that answers them as they stand has memorised them.

        >>> Split(np.zeros((2, 3), np.uint8), np.int32([4, 1]), clean_labels=np.int32([4, 7])).wrong
        array([False,  True])
        """
        return np.zeros(len(self), bool) if self.clean_labels is None else self.labels != self.clean_labels


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in three parts. Choose on validation, report on test."""

    name: str
    """As `load` knows it."""
    title: str
    """As captions have it."""
    source: str
    detail: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    conditions: tuple[str, ...] = ()
    """What was done to the training part, in words."""

    @property
    def description(self) -> str:
        """One line for captions: which dataset, from where, how many, what was done to the training part."""
        parts = (
            f"{self.title}, {self.source}: {len(self.train):,} train / "
            f"{len(self.validation):,} validation / {len(self.test):,} test"
        )
        return "; ".join((parts, *self.conditions))

    @property
    def identity(self) -> dict[str, str]:
        """Its description, and a checksum of all images and labels, by which a run knows it again."""
        checksum = 0
        for part in (self.train, self.validation, self.test):
            for array in (part.images, part.labels):
                checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
        return {"description": self.description, "crc32": f"{checksum:08x}"}


def load(
    name: str = "mnist",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    normalize: bool = False,
    flatten: bool = True,
    one_hot_label: bool = False,
    sample: bool = False,
) -> Dataset:
    """A dataset by name, with one tenth of its training examples set apart for validation.

    "path/to/mine.py:make" names a function in a file of your own, which gives (images, labels) for training and for
    test, with another pair for validation in between if you wish: `dataset` says what they may be.

    The switches are those of the book's load_mnist, but what comes by default is raw: images uint8
    [n, 784] in 0..255, labels int32 [n]. normalize: float32 in [0, 1]. flatten=False: [n, 1, 28, 28].
    one_hot_label: float32 [n, 10].

    Where it comes from: `sources.find`. The trap: without the full data this is a sample of it; `source`
    and `description` say so, and `detail` says why. With sample=True it is that even where all of it is to be had.

    Raises: InputError if the name is not in `DATASETS`, if both the sample and a folder are asked for, or either or a
      switch for data of your own; DataError if there is no data or it is wrong.

    >>> mnist = load("mnist")
    >>> mnist.train.images.shape[1:], mnist.train.labels.dtype, mnist.classes[:3]
    ((784,), dtype('int32'), ('0', '1', '2'))
    """
    if is_own(name):
        if sample or data_dir is not None or normalize or not flatten or one_hot_label:
            raise InputError(
                f"{name} gives arrays as they are to be used: --sample (sample), --data-dir (data_dir), normalize, "
                "flatten and one_hot_label are for the published datasets. Leave them out."
            )
        return _from_file(name)
    if name not in PUBLISHED:
        raise unknown("dataset", name, DATASETS, see="python -m lab list datasets")
    if sample and data_dir is not None:
        raise InputError(f"the embedded sample (--sample) or the files in {data_dir} (--data-dir): give one of them.")
    digits = sources.find(PUBLISHED[name], data_dir, only_sample=sample)

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        images = images.reshape(len(images), -1) if flatten else images[:, np.newaxis]
        if normalize:
            images = images.astype(np.float32) / np.float32(255)
        return Split(images, np.eye(10, dtype=np.float32)[labels] if one_hot_label else labels.astype(np.int32))

    train, validation = _set_apart(len(digits.train_labels))
    return Dataset(
        name=name,
        title=PUBLISHED[name].title,
        source=digits.source,
        detail=digits.detail,
        classes=PUBLISHED[name].classes,
        train=split(digits.train_images[train], digits.train_labels[train]),
        validation=split(digits.train_images[validation], digits.train_labels[validation]),
        test=split(digits.test_images, digits.test_labels),
    )


def dataset(
    train: Any,
    test: Any,
    *,
    validation: Any = None,
    title: str = "own data",
    source: str = "given as arrays",
) -> Dataset:
    """A dataset of your own arrays, for every function that takes one; pixels are flattened, real numbers float32.

    Each part is a pair (images, labels). Images [n, ...] are bytes 0..255 (uint8) or real numbers, which networks are
    given as they are; labels are class numbers from 0 on, [n] or [n, 1], or one-hot rows [n, classes]. Without
    `validation` one tenth of the training examples is set apart, as `load` does it.

    Raises: InputError if a part is not that, the parts do not fit one another, or a class is left without a training
    image.

    >>> pixels, labels = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 3
    >>> dataset((pixels, labels), (pixels[:6], labels[:6])).description
    'own data, given as arrays: 18 train / 2 validation / 6 test'
    """
    checked = checked_parts(train, validation, test)
    parts = {name: Split(*pair) for name, pair in checked.items()}
    if validation is None:
        kept, apart = _set_apart(len(parts["training"]))
        if not len(apart):
            raise InputError(f"a tenth of {len(kept)} training examples is none to validate on: give some apart.")
        parts |= {"validation": _rows(parts["training"], apart), "training": _rows(parts["training"], kept)}
    images, labels = checked["training"]
    classes = int(labels.max()) + 1
    if lost := sorted(set(range(classes)) - set(parts["training"].labels.tolist())):
        raise InputError(
            f"every training image of class {lost[0]} is among the tenth that was set apart to validate on: give a "
            "validation part of your own, or more images of that class."
        )
    return Dataset(
        name=title,
        title=title,
        source=source,
        detail=f"{images.shape[1]} pixels, {classes} classes",
        classes=tuple(str(number) for number in range(classes)),
        train=parts["training"],
        validation=parts["validation"],
        test=parts["test"],
    )


def _from_file(text: str) -> Dataset:
    """The dataset that a function in a user's file gives."""
    train, validation, test = parts_from_file(text)
    file, _, title = text.rpartition(":")
    try:
        found = dataset(train, test, validation=validation, title=title, source=f"from {Path(file).name}")
    except InputError as error:
        raise InputError(f"{text}: {error}") from error
    return replace(found, name=text)


def _set_apart(count: int) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " validation"]]:
    """Which of so many training examples stay, and which tenth is for validation."""
    order = shuffled(count, seed=_SPLIT_SEED)
    cut = len(order) // 10
    # Sorted: within each part the published order stays.
    return np.sort(order[cut:]), np.sort(order[:cut])


def load_from(settings: DataSettings) -> Dataset:
    """The dataset that the settings name, `under_conditions` that they set.

    Raises: as `load` and `under_conditions` do.

    >>> load_from(DataSettings(subset=1000, label_noise=0.2)).conditions
    ('1,000 of 9,000 training images', '20 % of the training labels wrong (symmetric)')
    """
    return under_conditions(load(settings.dataset, data_dir=settings.data_dir, sample=settings.sample), settings)


def under_conditions(dataset: Dataset, settings: DataSettings) -> Dataset:
    """The dataset with a subset of its training images, then unbalanced classes, then wrong labels.

    Validation and test stay as they are. `conditions` and `description` say what was done;
    `train.clean_labels` keeps the right labels. All of it is the same for every seed of a run.

    The trap: accuracy on wrong training labels is memory; with `train.clean_labels` it is what was understood.

    Raises: InputError if labels are one-hot rows, if the subset is larger than the training part, or if a class would
    be left without a training image.

    >>> hard = under_conditions(load("mnist"), DataSettings(imbalance=10.0))
    >>> np.bincount(hard.train.labels)
    array([888, 688, 532, 412, 319, 247, 191, 148, 115,  89])
    >>> hard.conditions
    ('imbalance 10:1 (888 to 89 images a class)',)
    """
    train, done = dataset.train, []
    if train.labels.ndim > 1 and (settings.subset or settings.imbalance > 1 or settings.label_noise):
        raise InputError(
            "--subset, --imbalance and --label-noise need labels that are class numbers [n]; got one-hot rows "
            f"{train.labels.shape}. Load them with one_hot_label=False."
        )
    if settings.subset:
        train = _rows(train, subset(train.labels, settings.subset, seed=_SUBSET_SEED))
        done.append(f"{len(train):,} of {len(dataset.train):,} training images")
    if settings.imbalance > 1:
        train = _rows(train, imbalanced(train.labels, settings.imbalance, seed=_IMBALANCE_SEED))
        sizes = np.bincount(train.labels)
        done.append(f"imbalance {settings.imbalance:g}:1 ({sizes[0]:,} to {sizes[-1]:,} images a class)")
    if settings.label_noise:
        spoil = {"symmetric": symmetric_noise, "pair": pair_noise}[settings.noise]
        labels = spoil(train.labels, settings.label_noise, classes=len(dataset.classes), seed=_NOISE_SEED)
        train = Split(train.images, labels, clean_labels=train.labels)
        done.append(f"{100 * train.wrong.mean():.3g} % of the training labels wrong ({settings.noise})")
    return replace(dataset, train=train, conditions=(*dataset.conditions, *done))


def some_of(part: Split, size: int) -> Split:
    """A part's examples, or `size` of them where there are more: by chance, for the data may be sorted by class.

    >>> by_class = Split(np.zeros((100, 4), np.uint8), np.arange(100, dtype=np.int32) // 50)
    >>> np.bincount(some_of(by_class, 30).labels), len(some_of(by_class, 300))
    (array([16, 14]), 100)
    """
    return _rows(part, np.sort(shuffled(len(part), seed=_SOME_SEED)[:size]))


def _rows(split: Split, rows: Int64[np.ndarray, " kept"]) -> Split:
    return Split(split.images[rows], split.labels[rows])
