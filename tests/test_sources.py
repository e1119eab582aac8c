"""Where the digits come from: every wrong file is told apart, every fall-back says why."""

import gzip
import hashlib
import importlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lab import prepared, sample, sources
from lab.errors import DataError
from lab.idx import encode_idx, write_idx
from lab.published import FILES, PUBLISHED, Published
from lab.sample.make import make, stratified

MNIST, FASHION, KMNIST = PUBLISHED.values()
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


@pytest.fixture(autouse=True)
def no_other_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("LAB_OFFLINE", "1")


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    """A little dataset of real digits, with as few test digits as makes a file of its own."""
    return [array[:count] for array, count in zip(sample.read_sample(), (600, 600, 100, 100), strict=True)]


def little(published: Published, arrays: list[np.ndarray], *, digests: bool) -> Published:
    """`published`, as if the arrays were all of it."""
    plain = tuple(hashlib.sha256(encode_idx(array)).hexdigest() for array in arrays) if digests else ()
    return replace(published, counts=(len(arrays[1]), len(arrays[3])), plain_sha256=plain)


@pytest.fixture
def mnist(arrays: list[np.ndarray]) -> Published:
    return little(MNIST, arrays, digests=True)


@pytest.fixture
def folder(tmp_path: Path, arrays: list[np.ndarray]) -> Path:
    (tmp_path / "files").mkdir()
    for file, array in zip(FILES, arrays, strict=True):
        write_idx(tmp_path / "files" / f"{file}.gz", array)
    return tmp_path / "files"


def assert_equal(digits: sources.Digits, arrays) -> None:
    found = (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels)
    for one, other in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(one, other)


# Four files in a folder


def test_files_are_read_gz_or_raw_in_either_spelling(folder: Path, mnist: Published, arrays):
    assert_equal(sources.find(mnist, folder), arrays)
    for path in list(folder.iterdir()):
        name = path.name.removesuffix(".gz").replace("-idx", ".idx")
        (folder / name).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
        (folder / path.name.removesuffix(".gz")).mkdir()  # as in an archive that is in circulation
    digits = sources.find(mnist, folder)
    assert_equal(digits, arrays)
    assert digits.source == "the four files, SHA-256 checked"
    assert digits.detail == f"in {folder}"


def test_one_changed_pixel_is_refused(folder: Path, mnist: Published, arrays):
    changed = arrays[0].copy()
    changed[300, 14, 14] ^= 1
    write_idx(folder / f"{TRAIN_IMAGES}.gz", changed)
    with pytest.raises(DataError, match=f"well formed, but not MNIST's {TRAIN_IMAGES}: SHA-256 .* Fetch"):
        sources.find(mnist, folder)


@pytest.mark.parametrize(
    ("stands", "belongs"),
    [(TRAIN_LABELS, TRAIN_IMAGES), (TEST_IMAGES, TRAIN_IMAGES), (TRAIN_LABELS, TEST_LABELS)],
)
def test_swapped_files_are_told_by_their_digest(folder: Path, mnist: Published, stands: str, belongs: str):
    (folder / f"{belongs}.gz").write_bytes((folder / f"{stands}.gz").read_bytes())
    with pytest.raises(DataError) as error:
        sources.find(mnist, folder)
    assert f"{belongs}.gz: this is MNIST's {stands}, where MNIST's {belongs} belongs" in str(error.value)
    assert f"Rename it to {stands}" in str(error.value)


def test_the_sample_unpacked_is_not_taken_for_mnist(tmp_path: Path):
    for file, array in zip(FILES, sample.read_sample(), strict=True):
        write_idx(tmp_path / file, array)
    with pytest.raises(DataError, match=f"{TRAIN_IMAGES}: 10,000 records where {TRAIN_IMAGES} has 60,000"):
        sources.find(MNIST, tmp_path)


def test_missing_files_are_all_named_at_once(folder: Path, mnist: Published):
    (folder / f"{TRAIN_LABELS}.gz").unlink()
    (folder / f"{TEST_LABELS}.gz").unlink()
    with pytest.raises(DataError, match=rf"no {TRAIN_LABELS}, no {TEST_LABELS} \(.gz or raw\); it holds t10k-"):
        sources.find(mnist, folder)


def test_damaged_file_is_named(folder: Path, mnist: Published):
    path = folder / f"{TEST_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"{TEST_IMAGES}.gz: the compressed file is cut off"):
        sources.find(mnist, folder)


@pytest.fixture
def clothes() -> list[np.ndarray]:
    """Noise as bright as Fashion-MNIST, ten classes equally often: all that is checked without a digest."""
    random = np.random.default_rng(0)
    images = [random.binomial(255, FASHION.brightness, (count, 28, 28)).astype(np.uint8) for count in (600, 100)]
    labels = [random.permutation(np.arange(count) % 10).astype(np.uint8) for count in (600, 100)]
    return [images[0], labels[0], images[1], labels[1]]


def write(folder: Path, arrays: list[np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for file, array in zip(FILES, arrays, strict=True):
        write_idx(folder / file, array)
    return folder


def test_unpacked_fashion_mnist_is_accepted_and_its_weaker_check_said(tmp_path: Path, clothes):
    digits = sources.find(little(FASHION, clothes, digests=False), write(tmp_path / "clothes", clothes))
    assert_equal(digits, clothes)
    assert "no SHA-256 on record" in digits.source


def test_fashion_mnist_offered_as_another_is_told(tmp_path: Path, clothes, arrays):
    folder = write(tmp_path / "clothes", clothes)
    for asked, digests in ((MNIST, arrays), (KMNIST, None)):
        wanted = little(asked, digests or clothes, digests=digests is not None)
        with pytest.raises(DataError, match=f"not {asked.title}'s images: .*nearest: Fashion-MNIST"):
            sources.find(wanted, folder)


def test_swapped_files_are_told_without_digests_too(tmp_path: Path, clothes):
    folder, fashion = write(tmp_path / "clothes", clothes), little(FASHION, clothes, digests=False)
    write_idx(folder / TEST_LABELS, clothes[2])
    with pytest.raises(DataError, match=f"{TEST_LABELS}: images where labels belong. Were two files swapped?"):
        sources.find(fashion, folder)
    write_idx(folder / TRAIN_IMAGES, clothes[2])
    with pytest.raises(DataError, match="100 records where .* has 600. Were train and test swapped?"):
        sources.find(fashion, folder)


def test_numbers_that_are_not_bytes_are_told(tmp_path: Path, clothes):
    clothes[1] = -clothes[1].astype(np.int32)
    with pytest.raises(DataError, match=f"{TRAIN_LABELS}: numbers of type int32"):
        sources.find(little(FASHION, clothes, digests=False), write(tmp_path / "clothes", clothes))


def test_wrong_labels_of_fashion_mnist_are_told(tmp_path: Path, clothes):
    clothes[1] = clothes[1].copy()
    clothes[1][0] = (clothes[1][0] + 1) % 10
    with pytest.raises(DataError, match=f"{TRAIN_LABELS}: not Fashion-MNIST's labels: .* of each class"):
        sources.find(little(FASHION, clothes, digests=False), write(tmp_path / "clothes", clothes))


@pytest.mark.real_data
def test_real_mnist_is_told_from_the_datasets_it_is_offered_as(mnist_dir: Path):
    sizes = [array.shape for array in vars(sources.find(MNIST, mnist_dir)).values() if not isinstance(array, str)]
    assert sizes == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    with pytest.raises(DataError, match="this is MNIST's train-images.* Ask for 'mnist'"):
        sources.find(FASHION, mnist_dir)


# The digests and addresses


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED)
def test_addresses_digests_and_classes_are_those_tensorflow_datasets_registers(published: Published):
    pytest.importorskip("tensorflow_datasets")
    mnist = importlib.import_module("tensorflow_datasets.image_classification.mnist")
    checksums = importlib.import_module("tensorflow_datasets.core.download.checksums")
    builder = getattr(mnist, published.builder)
    assert (builder.name, builder.URL, str(builder.VERSION)) == (
        published.name,
        published.url,
        prepared.VERSION,
    )
    registered = checksums.get_all_url_infos()
    found = tuple(registered[f"{published.url}{file}.gz"].checksum for file in FILES)
    assert found == published.packed_sha256


# The embedded sample


def test_sample_has_the_class_shares_of_mnist():
    _, train, _, test = sample.read_sample()
    full = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])  # published with MNIST
    assert np.abs(np.bincount(train) - full / 6).max() < 1
    full = np.array([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    assert np.abs(np.bincount(test) - full / 5).max() < 1


def test_sample_repeats_no_digit():
    train, _, test, _ = sample.read_sample()
    assert len({image.tobytes() for image in [*train, *test]}) == 12_000


def test_a_damaged_sample_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_idx(tmp_path / f"{TRAIN_IMAGES}.xz", np.zeros((10, 28, 28), np.uint8))
    monkeypatch.setattr(sample, "FOLDER", tmp_path)
    with pytest.raises(DataError, match="Install the package again"):
        sample.read_sample()


def test_stratified_shares_add_up():
    labels = np.repeat(np.arange(3, dtype=np.uint8), [70, 20, 10])
    chosen = stratified(labels, 33, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [23, 7, 3]
    assert len(set(chosen.tolist())) == 33


@pytest.mark.slow
@pytest.mark.real_data
def test_the_script_makes_the_very_files_that_are_embedded(mnist_dir: Path, tmp_path: Path):
    assert make(mnist_dir, tmp_path) == sample.SHA256
    for file in FILES:
        assert (tmp_path / f"{file}.xz").read_bytes() == (sample.FOLDER / f"{file}.xz").read_bytes()


@pytest.mark.real_data
def test_every_digit_of_the_sample_is_in_mnist_with_its_label(mnist_dir: Path):
    full = sources.find(MNIST, mnist_dir)
    train, train_labels, test, test_labels = sample.read_sample()
    for images, labels, all_images, all_labels in (
        (train, train_labels, full.train_images, full.train_labels),
        (test, test_labels, full.test_images, full.test_labels),
    ):
        label_of = {image.tobytes(): label for image, label in zip(all_images, all_labels, strict=True)}
        assert [label_of[image.tobytes()] for image in images] == labels.tolist()


# The network


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAB_OFFLINE")


def hang(*_args: object, **_kwargs: object) -> None:
    time.sleep(3)
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.usefixtures("online")
def test_a_hanging_name_look_up_costs_two_seconds(monkeypatch: pytest.MonkeyPatch, capfd):
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.perf_counter()
    digits = sources.find(MNIST)
    assert time.perf_counter() - start < 2.5  # 2.0 and the reading of the sample
    assert digits.detail.endswith("no answer from storage.googleapis.com in 2 s")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("online")
def test_an_unresolvable_host_falls_back_at_once_and_says_so(capfd):
    digits = sources.find(replace(MNIST, url="http://no-such-host.invalid/mnist/"))
    assert digits.source == "embedded sample of 10,000 + 2,000 digits"
    assert "no answer from no-such-host.invalid" in digits.detail
    assert capfd.readouterr() == ("", "")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """The address of a web server on this machine that offers the little dataset."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


@pytest.mark.usefixtures("online")
def test_a_host_without_the_file_is_no_source(server: str):
    published = replace(MNIST, url=f"{server}elsewhere/")
    with pytest.raises(prepared.Unavailable, match="answers 404"):
        prepared.probe(published)


@pytest.mark.usefixtures("online")
def test_a_download_of_unregistered_files_fails_in_one_line_and_leaves_nothing(server: str, tmp_path: Path, capfd):
    pytest.importorskip("tensorflow_datasets")
    digits = sources.find(replace(MNIST, url=server))
    assert digits.source.startswith("embedded sample")
    assert "download from 127.0.0.1" in digits.detail
    assert "\n" not in digits.detail
    assert not (tmp_path / "tfds/mnist/3.0.1").exists()
    assert capfd.readouterr() == ("", "")


def test_availability_lists_every_source_and_why_not(folder: Path, mnist: Published):
    found = {one.source: one for one in sources.availability(mnist)}
    assert [one.available for one in found.values()] == [False, False, False, True]
    assert found["data_dir"].reason == "not given"
    assert "no prepared mnist/3.0.1" in found["tensorflow-datasets folder"].reason
    assert found["download"].reason == "LAB_OFFLINE is set"
    assert sources.availability(mnist, folder)[0].available
    assert not sources.availability(FASHION, folder)[0].available
    assert [one.available for one in sources.availability(KMNIST)] == [False] * 4


# The tensorflow-datasets folder


@pytest.fixture
def cache(tmp_path: Path, arrays) -> Path:
    """The decoded arrays of a prepared folder whose records are gone."""
    folder = prepared.folder(MNIST)
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    np.savez(folder / "lab-decoded.npz", *arrays)
    return folder / "lab-decoded.npz"


def test_decoded_arrays_are_used_as_they_are(cache: Path, mnist: Published, arrays):
    digits = sources.find(mnist)
    assert_equal(digits, arrays)
    assert digits.source == "tensorflow-datasets"


def test_no_flipped_bit_in_the_decoded_arrays_goes_unseen(
    cache: Path, mnist: Published, arrays, monkeypatch: pytest.MonkeyPatch
):
    decoded = iter([])
    monkeypatch.setattr(prepared, "_decode", lambda *_: decoded)  # nothing to decode: damage must end here
    good = cache.read_bytes()
    random = np.random.default_rng(0)
    # Everywhere, and every bit of the zip's own tables and the arrays' headers at the end and the start.
    bits = [
        *random.integers(len(good) * 8, size=150),
        *range(0, 8 * 200, 5),
        *range(len(good) * 8 - 8 * 300, len(good) * 8, 5),
    ]
    seen = 0
    for bit in bits:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        cache.write_bytes(damaged)
        try:
            found = prepared.read(mnist)
        except prepared.Unavailable as error:
            assert "cannot be read" in str(error)
            seen += 1
            continue
        for one, other in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(one, other)
    assert seen > 150


def test_an_unreadable_prepared_folder_is_said_with_the_sample(cache: Path, mnist: Published):
    cache.unlink()
    digits = sources.find(mnist)
    assert f"{cache.parent} cannot be read" in digits.detail
    assert digits.source.startswith("embedded sample")


def test_a_cache_that_cannot_be_kept_is_no_fault(cache: Path, mnist: Published, arrays, monkeypatch):
    cache.unlink()
    splits = {"train": arrays[:2], "test": arrays[2:]}
    monkeypatch.setattr(prepared, "_decode", lambda _, split: splits[split])

    def full(*_args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert_equal(sources.find(mnist), arrays)
    assert [path.name for path in cache.parent.iterdir()] == ["dataset_info.json"]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.usefixtures("online")
def test_download_prepares_the_official_folder_and_gives_the_published_arrays(
    mnist_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
):
    checksums = importlib.import_module("tensorflow_datasets.core.download.checksums")
    known = dict(checksums.get_all_url_infos())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(mnist_dir))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        here = replace(MNIST, url=f"http://127.0.0.1:{http.server_port}/")
        for file in FILES:  # only the address differs: the registered digests are checked
            known[f"{here.url}{file}.gz"] = known[f"{MNIST.url}{file}.gz"]
        monkeypatch.setattr(checksums, "get_all_url_infos", lambda: known)
        digits = sources.find(here)
        http.shutdown()
    assert digits.source == "tensorflow-datasets"
    assert capfd.readouterr() == ("", "")
    files = sources.find(MNIST, mnist_dir)
    expected = (files.train_images, files.train_labels, files.test_images, files.test_labels)
    assert_equal(digits, expected)
    cache = prepared.folder(MNIST) / "lab-decoded.npz"
    damaged = bytearray(cache.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    cache.write_bytes(damaged)
    assert_equal(sources.find(MNIST), expected)  # decoded again
    assert cache.read_bytes() != damaged
