"""load(): three parts that share no example, in the forms the book uses."""

import ast
from pathlib import Path

import numpy as np
import pytest

from lab import data
from lab.errors import DataError, InputError
from lab.sample import read_sample


@pytest.fixture(autouse=True)
def only_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("LAB_OFFLINE", "1")


@pytest.fixture
def mnist() -> data.Dataset:
    return data.load("mnist")


def rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_default_is_raw_bytes_and_integer_labels(mnist: data.Dataset):
    assert [len(part) for part in (mnist.train, mnist.validation, mnist.test)] == [9_000, 1_000, 2_000]
    assert mnist.train.images.shape == (9_000, 784)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.labels.dtype == np.int32
    assert mnist.train.images.max() == 255
    assert mnist.classes == tuple("0123456789")


def test_description_names_dataset_source_and_counts(mnist: data.Dataset):
    assert mnist.description == (
        "MNIST, embedded sample of 10,000 + 2,000 digits: 9,000 train / 1,000 validation / 2,000 test"
    )
    assert mnist.detail == "not the whole dataset: LAB_OFFLINE is set"
    assert "\n" not in mnist.description


def test_train_and_validation_are_the_training_set_cut_in_two(mnist: data.Dataset):
    images, labels, test_images, test_labels = read_sample()
    train, validation = rows(mnist.train.images), rows(mnist.validation.images)
    assert not train & validation
    assert train | validation == rows(images)
    assert len(train) + len(validation) == len(rows(images))
    tally = np.bincount(mnist.train.labels) + np.bincount(mnist.validation.labels)
    np.testing.assert_array_equal(tally, np.bincount(labels))
    np.testing.assert_array_equal(mnist.test.images, test_images.reshape(2_000, 784))
    np.testing.assert_array_equal(mnist.test.labels, test_labels)


def test_each_image_keeps_its_label(mnist: data.Dataset):
    images, labels, _, _ = read_sample()
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for part in (mnist.train, mnist.validation):
        assert [label_of[image.tobytes()] for image in part.images] == part.labels.tolist()


def test_loading_twice_gives_the_same(mnist: data.Dataset):
    again = data.load("mnist")
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, part).images, getattr(mnist, part).images)
        np.testing.assert_array_equal(getattr(again, part).labels, getattr(mnist, part).labels)


def test_the_shuffle_is_pinned():
    # The 64-bit outputs of PCG64 are fixed by its definition; a change here moves every split ever used.
    assert data.shuffled(8, seed=425).tolist() == [0, 2, 1, 5, 7, 6, 3, 4]
    np.testing.assert_array_equal(np.sort(data.shuffled(1_000, seed=1)), np.arange(1_000))
    assert not np.array_equal(data.shuffled(1_000, seed=1), data.shuffled(1_000, seed=2))


def test_forms_of_the_book(mnist: data.Dataset):
    book = data.load("mnist", normalize=True, flatten=False, one_hot_label=True)
    assert book.train.images.shape == (9_000, 1, 28, 28)
    assert book.train.images.dtype == np.float32
    assert (book.train.images.min(), book.train.images.max()) == (0.0, 1.0)
    raw = np.rint(book.train.images * 255).astype(np.uint8).reshape(-1, 784)
    np.testing.assert_array_equal(raw, mnist.train.images)
    assert book.train.labels.dtype == np.float32
    assert book.train.labels.shape == (9_000, 10)
    np.testing.assert_array_equal(book.train.labels.sum(axis=1), 1)
    np.testing.assert_array_equal(book.train.labels.argmax(axis=1), mnist.train.labels)


def test_callers_do_not_share_memory(mnist: data.Dataset):
    mnist.train.images[:] = 7
    mnist.test.images[:] = 7
    assert data.load("mnist").train.images.max() == 255
    assert data.load("mnist").test.images.max() == 255


def test_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match="unknown dataset 'mnits'. Did you mean 'mnist'?"):
        data.load("mnits")


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_without_a_sample_the_error_says_what_to_do(name: str):
    with pytest.raises(DataError, match=r"LAB_OFFLINE is set.*Download train-images-idx3-ubyte.gz.*data_dir"):
        data.load(name)


def test_a_wrong_data_dir_is_never_replaced_by_the_sample(tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        data.load("mnist", data_dir=tmp_path / "none")
    with pytest.raises(DataError, match="it holds nothing"):
        data.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("module", ["idx", "published", "prepared", "sources", "data"])
def test_data_modules_leave_jax_and_tfds_alone_until_needed(module: str):
    tree = ast.parse((Path(data.__file__).parent / f"{module}.py").read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"jax", "tensorflow_datasets", "PIL", "absl"}


@pytest.mark.real_data
def test_real_files_give_the_full_dataset(mnist_dir: Path):
    full = data.load("mnist", data_dir=mnist_dir)
    assert full.description == ("MNIST, the four files, SHA-256 checked: 54,000 train / 6,000 validation / 10,000 test")
    everything = np.concatenate([full.train.labels, full.validation.labels])
    # Class counts as published with the dataset.
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(everything).tolist() == published
