"""IDX files: what is written is read back, and every kind of damage is named."""

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from lab.errors import DataError
from lab.files import replacing
from lab.idx import encode_idx, read_idx, write_idx

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images"


def test_bytes_are_those_of_the_published_format():
    # Built by hand from the format's description: 0, 0, 0x08 = unsigned byte, 3 dimensions, big-endian sizes.
    assert encode_idx(IMAGES) == struct.pack(">4B3I", 0, 0, 8, 3, 5, 4, 3) + bytes(range(60))


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_read_returns_what_was_written(tmp_path: Path, suffix: str, dtype: str):
    array = (IMAGES - 30).astype(dtype)
    write_idx(tmp_path / f"file{suffix}", array)
    result = read_idx(tmp_path / f"file{suffix}")
    np.testing.assert_array_equal(result, array)
    assert result.dtype == array.dtype
    result[0] = 0  # its own memory, not a read-only view of the file's bytes


def test_packing_is_known_by_content_not_by_name(tmp_path: Path):
    (tmp_path / "unpacked.gz").write_bytes(encode_idx(IMAGES))
    (tmp_path / "packed").write_bytes(gzip.compress(encode_idx(IMAGES)))
    np.testing.assert_array_equal(read_idx(tmp_path / "unpacked.gz"), IMAGES)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed"), IMAGES)


def test_equal_arrays_give_equal_bytes(tmp_path: Path):
    for suffix in ("gz", "xz"):
        write_idx(tmp_path / f"a.{suffix}", IMAGES)
        write_idx(tmp_path / f"b.{suffix}", IMAGES.copy(order="F"))
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\0\0\x08", "cut off inside its header"),
        (encode_idx(IMAGES)[:10], "cut off inside its header"),
        (encode_idx(IMAGES)[:-1], "cut off: 75 bytes where its header (5 x 4 x 3) promises 76"),
        (encode_idx(IMAGES) + b"!", "too long: 77 bytes where its header (5 x 4 x 3) promises 76"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "cut off: 16 bytes"),
        (b"<!DOCTYPE html><title>404</title>", "not an IDX file: it begins with 3c 21 44 4f"),
        (b"\0\0\x07\x03" + bytes(60), "not an IDX file"),
        (b"\0\0\x08\x00" + bytes(60), "not an IDX file"),
        (gzip.compress(encode_idx(IMAGES))[:-9], "compressed file is cut off"),
        (gzip.compress(encode_idx(IMAGES)) + b"!", "compressed file is damaged"),
        (gzip.compress(encode_idx(IMAGES)[:-1]), "cut off: 75 bytes"),
        (lzma.compress(encode_idx(IMAGES))[:-9], "compressed file is cut off"),
        (lzma.compress(encode_idx(IMAGES)) + b"!", "compressed file is damaged (1 bytes follow the end)"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_damage_is_named_with_the_file(path: Path, content: bytes, says: str):
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_idx(path)
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_no_flipped_bit_in_a_compressed_file_changes_a_number(path: Path, pack):
    good = pack(encode_idx(IMAGES))
    for position in range(len(good) * 8):
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            result = read_idx(path)
        except DataError:
            continue
        np.testing.assert_array_equal(result, IMAGES)  # the bit was in gzip's time stamp, say


@pytest.mark.parametrize(
    ("array", "dimensions", "says"),
    [
        (IMAGES, 1, "images where labels belong. Were two files swapped?"),
        (IMAGES[0, 0], 3, "labels where images belong. Were two files swapped?"),
        (IMAGES[0], 3, "arrays with 2 dimensions where images belong"),
    ],
)
def test_images_are_not_taken_for_labels(path: Path, array: np.ndarray, dimensions: int, says: str):
    write_idx(path, array)
    with pytest.raises(DataError, match=says):
        read_idx(path, dimensions=dimensions)


def test_missing_file_and_folder_are_named(tmp_path: Path):
    with pytest.raises(DataError, match="none: no such file"):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_idx(tmp_path)


def test_type_without_a_code_is_refused(path: Path):
    with pytest.raises(TypeError, match="int64"):
        write_idx(path, np.array([1]))
    assert not path.exists()


def test_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path, path: Path):
    write_idx(path, IMAGES)
    with pytest.raises(OSError, match="disk full"), replacing(path) as file:
        file.write(b"half of it")
        raise OSError("disk full")
    np.testing.assert_array_equal(read_idx(path), IMAGES)
    assert list(tmp_path.iterdir()) == [path]
