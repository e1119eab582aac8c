"""Makes the embedded sample from the four files of MNIST; run again, it writes the same bytes.

python -m lab.sample.make DIR_WITH_FOUR_FILES
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from lab import sample
from lab.conditions import shuffled
from lab.errors import DataError
from lab.idx import encode_idx, write_idx
from lab.published import FILES, PUBLISHED
from lab.sources import from_files

_SEED = 2_016  # the book's first edition; any other would do


def stratified(labels: UInt8[np.ndarray, " n"], count: int, *, seed: int) -> Int64[np.ndarray, " count"]:
    """Positions of `count` examples, in ascending order, with each class's share as in the whole.

    Shares that are no whole number are rounded by largest remainder, so that they add up to `count`.

    >>> stratified(np.array([0, 1, 0, 1, 0, 0], np.uint8), 3, seed=0)
    array([0, 2, 3])
    """
    shares = np.bincount(labels) * count / len(labels)
    takes = np.floor(shares).astype(int)
    takes[np.argsort(takes - shares, kind="stable")[: count - takes.sum()]] += 1
    order = shuffled(len(labels), seed=seed)
    return np.sort(np.concatenate([order[labels[order] == c][:take] for c, take in enumerate(takes)]))


def make(data_dir: Path, target: Path = sample.FOLDER) -> tuple[str, ...]:
    """SHA-256 of the four IDX files of the sample, after writing them as .xz into `target`.

    Raises: DataError if `data_dir` does not hold MNIST.
    """
    digits = from_files(PUBLISHED[sample.NAME], data_dir)
    train = stratified(digits.train_labels, sample.COUNTS[0], seed=_SEED)
    test = stratified(digits.test_labels, sample.COUNTS[1], seed=_SEED)
    arrays = (
        digits.train_images[train],
        digits.train_labels[train],
        digits.test_images[test],
        digits.test_labels[test],
    )
    for file, array in zip(FILES, arrays, strict=True):
        write_idx(target / f"{file}.xz", array)
    return tuple(hashlib.sha256(encode_idx(array)).hexdigest() for array in arrays)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        digests = make(Path(sys.argv[1]))
    except DataError as error:
        sys.exit(str(error))
    for file, digest in zip(FILES, digests, strict=True):
        print(digest, file)
    if digests != sample.SHA256:
        sys.exit("these are not the digests in lab/sample/__init__.py: a new sample is a new version")
