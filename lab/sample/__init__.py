"""The embedded sample: 10,000 + 2,000 digits of MNIST, chosen by class (see make.py; licence: NOTICE)."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lab.errors import DataError
from lab.idx import parse_idx, read_bytes, unpack
from lab.published import FILES

NAME = "mnist"
COUNTS = (10_000, 2_000)
FOLDER = Path(__file__).parent

# Of the unpacked IDX bytes, so that they hold whatever version of xz packed them.
SHA256 = (
    "bc72f7a94a684105e7fd15996af9ab2a8492ea881c71c8e8903e1128f99d4173",
    "969df3e2a952f4c9392de1a64160a71c430f50d603d635e8b03159f1cd40e609",
    "de2b60dc9aa0034fb1139cb6b24d157af0448d9962796b7f6b561a9ca7267422",
    "efb77a210273ac162e83c6bc5cb0477eae83839b6623f1c4ded4cf1adb1da4a4",
)


def read_sample() -> tuple[
    UInt8[np.ndarray, "train 28 28"],
    UInt8[np.ndarray, " train"],
    UInt8[np.ndarray, "test 28 28"],
    UInt8[np.ndarray, " test"],
]:
    """Training images and labels, test images and labels: real digits, in the order of the full dataset.

    Raises: DataError if the installed files are missing or damaged.

    >>> [array.shape for array in read_sample()]
    [(10000, 28, 28), (10000,), (2000, 28, 28), (2000,)]
    """
    arrays = []
    for file, expected in zip(FILES, SHA256, strict=True):
        path = FOLDER / f"{file}.xz"
        data = unpack(read_bytes(path), name=path)
        if hashlib.sha256(data).hexdigest() != expected:
            raise DataError(f"{path}: not the sample that belongs to this version. Install the package again.")
        arrays.append(parse_idx(data, name=path))
    return arrays[0], arrays[1], arrays[2], arrays[3]
