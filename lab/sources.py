"""Where the digits come from: files given by name, a tensorflow-datasets folder, a download, the sample.

All four give images [n, 28, 28] and labels [n] as published, in the published order.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lab import prepared, sample
from lab.errors import DataError
from lab.idx import parse_idx, read_bytes, unpack
from lab.published import FILES, PUBLISHED, Published


@dataclass(frozen=True, eq=False)
class Digits:
    """The four arrays of a dataset, where they came from, and what else is to be said of that."""

    train_images: UInt8[np.ndarray, "train 28 28"]
    train_labels: UInt8[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test 28 28"]
    test_labels: UInt8[np.ndarray, " test"]
    source: str  # for captions
    detail: str  # the folder, or why it is only the sample


@dataclass(frozen=True)
class Availability:
    """Whether a source could be used now, and why or why not."""

    source: str
    available: bool
    reason: str


def find(published: Published, data_dir: str | os.PathLike[str] | None = None, *, only_sample: bool = False) -> Digits:
    """The digits from `data_dir` if given, else from the first source that has them.

    The order: a prepared tensorflow-datasets folder ($TFDS_DATA_DIR, else ~/tensorflow_datasets), a
    download into it, the embedded sample. `source` of the result says which, `detail` where or why.
    LAB_OFFLINE=1 in the environment forbids the download. With `only_sample` it is the sample, whatever else there is.

    Raises: DataError if `data_dir` is not what it should be (nothing else is tried then), or if no
    source has the dataset.
    """
    if only_sample:
        return _from_sample(published, reason="the sample was asked for")
    if data_dir is not None:
        return from_files(published, data_dir)
    try:
        if not prepared.folder(published).exists():
            prepared.download(published)
        return Digits(
            *prepared.read(published), source="tensorflow-datasets", detail=f"in {prepared.folder(published)}"
        )
    except prepared.Unavailable as error:
        return _from_sample(published, reason=str(error))


def _from_sample(published: Published, reason: str) -> Digits:
    if published.name != sample.NAME:
        raise DataError(
            f"{published.title} is not to be had: {reason}. Download {FILES[0]}.gz and its three companions "
            f"from {published.url} and give their folder as data_dir (--data-dir). (Only MNIST has an embedded sample.)"
        )
    train, test = sample.COUNTS
    source = f"embedded sample of {train:,} + {test:,} digits"
    return Digits(*sample.read_sample(), source=source, detail=f"not the whole dataset: {reason}")


def availability(published: Published, data_dir: str | os.PathLike[str] | None = None) -> list[Availability]:
    """What each source would give now, in the order they are tried; downloads nothing.

    Waits for the network 2 seconds at most. Files in `data_dir` are checked as `find` would; a
    prepared folder is only looked for, not decoded.
    """
    files = Availability("data_dir", False, "not given")
    if data_dir is not None:
        files = _tried("data_dir", lambda: from_files(published, data_dir).detail)
    digits = Availability("embedded sample", False, "only MNIST has one")
    if published.name == sample.NAME:
        digits = _tried("embedded sample", lambda: f"{len(sample.read_sample()[1]):,} training digits")
    return [
        files,
        _tried("tensorflow-datasets folder", lambda: str(prepared.require(published))),
        _tried("download", lambda: f"{prepared.probe(published)} answers"),
        digits,
    ]


def _tried(source: str, attempt: Callable[[], str]) -> Availability:
    try:
        return Availability(source, True, attempt())
    except DataError as error:
        return Availability(source, False, str(error))


def from_files(published: Published, data_dir: str | os.PathLike[str]) -> Digits:
    """The digits in the four IDX files of a folder, raw or .gz, each checked to be what its name says.

    A file whose SHA-256 is on record, as it is or unpacked, is known for certain. Fashion-MNIST and
    KMNIST have no recorded digest for unpacked files: those pass if sizes, class balance and
    mean brightness are right, and `source` says so.

    Raises: DataError, naming the file, what it is and what to do.
    """
    folder = Path(data_dir).expanduser()
    checked = [_checked(published, file, path) for file, path in zip(FILES, _locate(folder), strict=True)]
    arrays = [array for array, _ in checked]
    certain = all(by_digest for _, by_digest in checked)
    how = "SHA-256 checked" if certain else "sizes, class balance and brightness checked, no SHA-256 on record"
    return Digits(*arrays, source=f"the four files, {how}", detail=f"in {folder}")


def _locate(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"data_dir {folder}: no such folder. It should hold {', '.join(FILES)} (.gz or raw).")
    found, missing = [], []
    for file in FILES:
        stems = (file, file.replace("-idx", ".idx"))  # both spellings are in circulation
        paths = [folder / f"{stem}{suffix}" for suffix in (".gz", "") for stem in stems]
        path = next((path for path in paths if path.is_file()), None)
        found.append(path) if path else missing.append(file)
    if missing:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(f"data_dir {folder}: no {', no '.join(missing)} (.gz or raw); it holds {there}.")
    return found


def _checked(published: Published, file: str, path: Path) -> tuple[np.ndarray, bool]:
    """The file's array, and whether its digest proves it."""
    packed = read_bytes(path)
    owner = _owner(published, packed)
    data = unpack(packed, name=path)
    owner = owner or _owner(published, data)
    if owner and owner != (published, file):
        other, actual = owner
        advice = f"Rename it to {actual}" if other == published else f"Ask for {other.name!r}"
        raise DataError(
            f"{path}: this is {other.title}'s {actual}, where {published.title}'s {file} belongs. "
            f"{advice}, or fetch the right one from {published.url}{file}.gz"
        )
    array = parse_idx(data, name=path, dimensions=3 if "images" in file else 1)
    if not owner:
        _plausible(published, file, path, array)
        if published.plain_sha256:
            raise DataError(
                f"{path}: well formed, but not {published.title}'s {file}: SHA-256 of the unpacked file is "
                f"{hashlib.sha256(data).hexdigest()}. Fetch the right one from {published.url}{file}.gz"
            )
    return array, bool(owner)


def _owner(published: Published, data: bytes) -> tuple[Published, str] | None:
    """The dataset and file that these bytes are, if their digest is on record."""
    digest = hashlib.sha256(data).hexdigest()
    for candidate in (published, *PUBLISHED.values()):
        for digests in (candidate.packed_sha256, candidate.plain_sha256):
            if digest in digests:
                return candidate, FILES[digests.index(digest)]
    return None


def _plausible(published: Published, file: str, path: Path, array: np.ndarray) -> None:
    """Raises DataError if an array of unknown digest cannot be what its file name says."""
    expected = published.counts[file.startswith("t10k")]
    fetch = f"Fetch the right one from {published.url}{file}.gz"
    if array.dtype != np.uint8:
        raise DataError(f"{path}: numbers of type {array.dtype}, not unsigned bytes. {fetch}")
    if len(array) != expected:
        hint = " Were train and test swapped?" if len(array) in published.counts else ""
        raise DataError(f"{path}: {len(array):,} records where {file} has {expected:,}.{hint} {fetch}")
    if "labels" in file:
        # Fashion-MNIST and KMNIST have as many examples of each class; MNIST, not so even, has digests.
        tally = np.bincount(array, minlength=10)
        if len(tally) > 10 or (not published.plain_sha256 and tally.min() != tally.max()):
            raise DataError(f"{path}: not {published.title}'s labels: {tally.tolist()} of each class. {fetch}")
    else:
        if array.shape[1:] != (28, 28):
            raise DataError(f"{path}: images of {array.shape[1]} x {array.shape[2]}, not 28 x 28. {fetch}")
        mean = float(array.mean()) / 255
        nearest = min(PUBLISHED.values(), key=lambda candidate: abs(candidate.brightness - mean))
        if nearest.name != published.name or abs(nearest.brightness - mean) > 0.03:
            raise DataError(
                f"{path}: not {published.title}'s images: mean brightness {mean:.3f}, not about "
                f"{published.brightness:.3f} (nearest: {nearest.title}). {fetch}"
            )
