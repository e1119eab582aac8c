"""The IDX file format, in which MNIST is published: a magic number, the sizes, then the numbers.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import lzma
import math
import os
import zlib
from pathlib import Path

import numpy as np

from lab.errors import DataError
from lab.files import replacing

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_HOLDS = {1: "labels", 3: "images"}
_AGAIN = "Copy or download it again."


def read_idx(path: str | os.PathLike[str], *, dimensions: int | None = None) -> np.ndarray:
    """The array in an IDX file, raw or packed with gzip or xz.

    The first bytes say how it is packed, not the suffix: browsers unpack .gz files and keep the name.
    `dimensions`, if given, is what the array must have: 3 for images, 1 for labels.

    Raises: DataError, naming the file, if it is missing, cut off, too long, damaged or something else.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
    >>> write_idx(path, np.array([5, 0, 4], np.uint8))
    >>> read_idx(path, dimensions=1)
    array([5, 0, 4], dtype=uint8)
    """
    return parse_idx(unpack(read_bytes(path), name=path), name=path, dimensions=dimensions)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes as they are on disk. Raises: DataError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def unpack(data: bytes, *, name: str | os.PathLike[str]) -> bytes:
    """`data` without its gzip or xz packing, if it has any.

    Raises: DataError, with `name` in the message, if the packing is cut off or damaged.

    >>> unpack(gzip.compress(b"digits"), name="digits.gz")
    b'digits'
    """
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"\xfd7zXZ\x00"):
            return _unpack_xz(data)
    except EOFError:
        raise DataError(f"{name}: the compressed file is cut off at {len(data):,} bytes. {_AGAIN}") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{name}: the compressed file is damaged ({error}). {_AGAIN}") from error
    return data


def _unpack_xz(data: bytes) -> bytes:
    # lzma.decompress drops what follows the stream without a word; this does not.
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    plain = decompressor.decompress(data)
    if not decompressor.eof:
        raise EOFError
    if decompressor.unused_data:
        raise lzma.LZMAError(f"{len(decompressor.unused_data):,} bytes follow the end")
    return plain


def parse_idx(data: bytes, *, name: str | os.PathLike[str], dimensions: int | None = None) -> np.ndarray:
    """The array that the unpacked bytes of an IDX file hold; `read_idx` without the disk.

    Raises: DataError, with `name` in the message, if the magic number or the length is wrong.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), name="labels")
    array([7, 9], dtype=uint8)
    """
    shape, dtype, start = _header(data, name)
    if dimensions not in (None, len(shape)):
        raise DataError(
            f"{name}: {_contents(len(shape))} where {_contents(dimensions)} belong. Were two files swapped?"
        )
    promised = start + math.prod(shape) * dtype.itemsize
    if len(data) != promised:
        problem = "cut off" if len(data) < promised else "too long"
        raise DataError(
            f"{name}: {problem}: {len(data):,} bytes where its header "
            f"({' x '.join(map(str, shape))}) promises {promised:,}. {_AGAIN}"
        )
    # astype copies: the caller gets an array of its own, writable and in the machine's byte order.
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _header(data: bytes, name: str | os.PathLike[str]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, element type and where the elements start."""
    if not data:
        raise DataError(f"{name}: the file is empty. {_AGAIN}")
    if data[:2] != b"\0\0"[: len(data)] or (len(data) > 3 and (data[2] not in _TYPES or data[3] == 0)):
        raise DataError(
            f"{name}: not an IDX file: it begins with {data[:4].hex(' ')}; "
            "images begin with 00 00 08 03, labels with 00 00 08 01."
        )
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    if len(data) < start:
        raise DataError(f"{name}: cut off inside its header, at {len(data)} bytes. {_AGAIN}")
    sizes = np.frombuffer(data, ">u4", count=data[3], offset=4).tolist()
    return tuple(sizes), np.dtype(_TYPES[data[2]]), start


def _contents(dimensions: int | None) -> str:
    return _HOLDS.get(dimensions or 0, f"arrays with {dimensions} dimensions")


def encode_idx(array: np.ndarray) -> bytes:
    """The bytes of an unpacked IDX file that holds `array`.

    Raises: TypeError if the format has no code for the array's type.

    >>> encode_idx(np.array([7, 9], np.uint8)).hex()
    '00000801000000020709'
    """
    dtype = array.dtype.newbyteorder(">")
    code = next((code for code, known in _TYPES.items() if np.dtype(known) == dtype), None)
    if code is None:
        raise TypeError(f"the IDX format has no code for {array.dtype}")
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(dtype).tobytes()


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Nothing; writes `array` as an IDX file, packed if the name ends in .gz or .xz, whole or not at all.

    The bytes depend on the array alone: no time stamp, a fixed compression preset.
    """
    data = encode_idx(array)
    suffix = Path(path).suffix
    if suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif suffix == ".xz":
        # Preset 6 has an 8 MiB window, more than the whole sample; 9 packs no better and takes 7x the memory.
        data = lzma.compress(data, preset=6 | lzma.PRESET_EXTREME)
    with replacing(path) as file:
        file.write(data)
