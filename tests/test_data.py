"""load(): three parts that share no example, in the forms the book uses."""

import ast
from pathlib import Path

import numpy as np
import pytest

from lab import conditions, data
from lab.errors import DataError, InputError
from lab.sample import read_sample
from lab.settings import DataSettings


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
    assert conditions.shuffled(8, seed=425).tolist() == [0, 2, 1, 5, 7, 6, 3, 4]
    np.testing.assert_array_equal(np.sort(conditions.shuffled(1_000, seed=1)), np.arange(1_000))
    assert not np.array_equal(conditions.shuffled(1_000, seed=1), conditions.shuffled(1_000, seed=2))


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


def under(mnist: data.Dataset, **chosen) -> data.Dataset:
    return data.under_conditions(mnist, DataSettings(**chosen))


# 40 labels of 4 classes, in no order.
LABELS = np.repeat(np.arange(4, dtype=np.int32), [14, 8, 12, 6])[conditions.shuffled(40, seed=0)]
NOISES = [conditions.symmetric_noise, conditions.pair_noise]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.33, 0.5, 0.99])
def test_noise_changes_exactly_its_share_and_always_to_another_class(noise, share: float):
    noisy = noise(LABELS, share, classes=4, seed=1)
    assert (noisy != LABELS).sum() == round(40 * share)
    assert noisy.dtype == np.int32 and set(noisy) <= {0, 1, 2, 3}


@pytest.mark.parametrize("noise", NOISES)
def test_a_label_wrong_at_a_small_share_is_as_wrong_at_a_large_one(noise):
    little, much = (noise(LABELS, share, classes=4, seed=1) for share in (0.2, 0.6))
    wrong = little != LABELS
    np.testing.assert_array_equal(much[wrong], little[wrong])


def test_symmetric_noise_prefers_no_class():
    n, classes = 90_000, 10
    labels = np.resize(np.arange(classes, dtype=np.int32), n)
    noisy = conditions.symmetric_noise(labels, 0.5, classes=classes, seed=2)
    moves = np.bincount((noisy - labels) % classes, minlength=classes)
    assert moves[0] == n / 2
    # Each of the 9 others: binomial(45,000, 1/9), 4 standard deviations; and each class loses its share.
    np.testing.assert_allclose(moves[1:], 5_000, atol=4 * np.sqrt(45_000 * (1 / 9) * (8 / 9)))
    lost = np.bincount(labels[noisy != labels])
    np.testing.assert_allclose(lost, n / 20, atol=4 * np.sqrt(n / 20 / 2))


def test_pair_noise_moves_to_the_next_class_and_the_last_to_the_first():
    noisy = conditions.pair_noise(LABELS, 0.5, classes=4, seed=1)
    wrong = noisy != LABELS
    np.testing.assert_array_equal(noisy[wrong], (LABELS[wrong] + 1) % 4)
    np.testing.assert_array_equal(wrong, conditions.symmetric_noise(LABELS, 0.5, classes=4, seed=1) != LABELS)


def test_smaller_subsets_lie_within_larger_ones():
    kept = [set(conditions.subset(LABELS, size, seed=3)) for size in range(20, 41)]
    assert [len(one) for one in kept] == list(range(20, 41))
    assert all(small < large for small, large in zip(kept, kept[1:], strict=False))
    assert (np.diff(conditions.subset(LABELS, 25, seed=3)) > 0).all()


def test_a_subset_is_no_larger_than_the_data_and_misses_no_class():
    with pytest.raises(InputError, match="a subset must be at most 40, the training images there are; got 41"):
        conditions.subset(LABELS, 41, seed=3)
    with pytest.raises(InputError, match="each class has an image; got 3") as error:
        conditions.subset(LABELS, 3, seed=3)
    least = int(str(error.value).split("at least ")[1].split(",")[0])
    assert set(LABELS[conditions.subset(LABELS, least, seed=3)]) == {0, 1, 2, 3}
    with pytest.raises(InputError, match=f"at least {least}"):
        conditions.subset(LABELS, least - 1, seed=3)


@pytest.mark.parametrize(
    ("ratio", "sizes"),
    [
        # From 14, 8, 12, 6: as many as the tightest class allows.
        (1.0, [6, 6, 6, 6]),
        (27.0, [14, 5, 2, 1]),  # 14 / 3^k = 14, 4.67, 1.56, 0.52
        (2.0, [10, 8, 6, 5]),  # class 1 is tightest: 8 2^(1/3) = 10.08, 8, 6.35, 5.04
    ],
)
def test_class_sizes_fall_geometrically(ratio: float, sizes: list[int]):
    kept = conditions.imbalanced(LABELS, ratio, seed=4)
    assert np.bincount(LABELS[kept]).tolist() == sizes
    assert (np.diff(kept) > 0).all()


def test_an_imbalance_that_empties_a_class_is_refused():
    with pytest.raises(InputError, match="100:1 leaves class 3 without a training image; --imbalance 6 leaves each"):
        conditions.imbalanced(LABELS, 100.0, seed=4)
    assert np.bincount(LABELS[conditions.imbalanced(LABELS, 6.0, seed=4)]).min() >= 1


def test_long_tail_of_mnist(mnist: data.Dataset):
    sizes = np.bincount(under(mnist, imbalance=100.0).train.labels)
    assert sizes[0] / sizes[-1] == pytest.approx(100, rel=0.5 / sizes[-1])
    np.testing.assert_allclose(sizes, sizes[0] * 100 ** (-np.arange(10) / 9), atol=1)
    assert (sizes <= np.bincount(mnist.train.labels)).all()


def test_what_is_drawn_is_pinned(mnist: data.Dataset):
    # Another subset or other wrong labels would be another dataset: no run could be compared with an earlier one.
    assert conditions.subset(LABELS, 12, seed=3).tolist() == [0, 1, 4, 7, 9, 16, 19, 20, 28, 31, 34, 39]
    assert conditions.imbalanced(LABELS, 8.0, seed=4).tolist() == [
        *range(6),
        7,
        8,
        9,
        12,
        15,
        17,
        18,
        19,
        21,
        23,
        *range(28, 36),
        37,
        38,
        39,
    ]
    assert conditions.symmetric_noise(LABELS[:12], 0.5, classes=4, seed=1).tolist() == [
        1,
        0,
        0,
        0,
        1,
        0,
        2,
        0,
        0,
        2,
        3,
        3,
    ]
    assert LABELS[:12].tolist() == [0, 0, 1, 0, 0, 1, 2, 1, 0, 1, 3, 3]
    hard = under(mnist, subset=5_000, imbalance=5.0, label_noise=0.4)
    assert hard.train.labels[:20].tolist() == [2, 0, 3, 9, 4, 3, 2, 9, 0, 5, 0, 1, 3, 8, 3, 1, 0, 0, 1, 5]
    assert hard.train.clean_labels is not None
    assert hard.train.clean_labels[:20].tolist() == [2, 0, 3, 3, 4, 3, 2, 3, 0, 5, 4, 0, 3, 0, 3, 1, 0, 7, 1, 5]


def test_conditions_follow_one_another(mnist: data.Dataset):
    hard = under(mnist, subset=5_000, imbalance=5.0, label_noise=0.4, noise="pair")
    part = under(mnist, subset=5_000)
    uneven = under(mnist, subset=5_000, imbalance=5.0)
    assert rows(hard.train.images) == rows(uneven.train.images) < rows(part.train.images) < rows(mnist.train.images)
    np.testing.assert_array_equal(hard.train.clean_labels, uneven.train.labels)
    assert hard.train.wrong.sum() == round(0.4 * len(hard.train))
    assert part.train.clean_labels is None and not part.train.wrong.any()
    # Each image still has the label it was published with, under the wrong one.
    label_of = {image.tobytes(): label for image, label in zip(mnist.train.images, mnist.train.labels, strict=True)}
    assert hard.train.clean_labels is not None
    assert [label_of[image.tobytes()] for image in hard.train.images] == hard.train.clean_labels.tolist()


def test_validation_test_and_the_original_stay_clean(mnist: data.Dataset):
    before = mnist.train.labels.copy()
    hard = under(mnist, subset=2_000, imbalance=5.0, label_noise=0.4)
    assert hard.validation is mnist.validation and hard.test is mnist.test
    np.testing.assert_array_equal(mnist.train.labels, before)
    np.testing.assert_array_equal(hard.test.labels, data.load("mnist").test.labels)


def test_captions_say_what_was_done(mnist: data.Dataset):
    hard = under(mnist, subset=5_000, imbalance=5.0, label_noise=0.125)
    sizes = np.bincount(under(mnist, subset=5_000, imbalance=5.0).train.labels)
    assert hard.description == (
        f"MNIST, embedded sample of 10,000 + 2,000 digits: {sizes.sum():,} train / 1,000 validation / 2,000 test; "
        f"5,000 of 9,000 training images; imbalance 5:1 ({sizes[0]} to {sizes[-1]} images a class); "
        "12.5 % of the training labels wrong (symmetric)"
    )
    assert under(mnist).description == mnist.description


def test_one_pixel_or_label_more_or_less_is_another_dataset(mnist: data.Dataset):
    began = mnist.identity
    assert began == data.load("mnist").identity and began["description"] == mnist.description
    found = {began["crc32"]}
    for part in (mnist.train, mnist.validation, mnist.test):
        part.labels[-1] += 1
        found.add(mnist.identity["crc32"])
        part.images[-1, -1] += 1
        found.add(mnist.identity["crc32"])
    assert len(found) == 7


def test_load_from_settings(mnist: data.Dataset, tmp_path: Path):
    plain = data.load_from(DataSettings())
    np.testing.assert_array_equal(plain.train.labels, mnist.train.labels)
    noisy = data.load_from(DataSettings(label_noise=0.2))
    np.testing.assert_array_equal(noisy.train.labels, under(mnist, label_noise=0.2).train.labels)
    with pytest.raises(DataError, match="no such folder"):
        data.load_from(DataSettings(data_dir=tmp_path / "none"))


def test_forms_of_images_pass_and_one_hot_labels_are_refused():
    book = data.load("mnist", normalize=True, flatten=False)
    assert under(book, subset=1_000, label_noise=0.5).train.images.shape == (1_000, 1, 28, 28)
    one_hot = data.load("mnist", one_hot_label=True)
    assert under(one_hot).train.labels.shape == (9_000, 10)
    for chosen in ({"subset": 1_000}, {"imbalance": 2.0}, {"label_noise": 0.1}):
        with pytest.raises(InputError, match=r"got one-hot rows \(9000, 10\). Load them with one_hot_label=False"):
            under(one_hot, **chosen)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"subset": -1}, "--subset must be at least 0; got -1"),
        ({"label_noise": 1.0}, "--label-noise must be a share from 0 to below 1; got 1.0"),
        ({"label_noise": -0.1}, "--label-noise must be a share"),
        ({"label_noise": float("nan")}, "--label-noise must be a share"),
        ({"imbalance": 0.5}, "--imbalance must be a finite number >= 1; got 0.5"),
        ({"imbalance": float("inf")}, "--imbalance must be a finite number >= 1; got inf"),
    ],
)
def test_settings_outside_their_ranges(chosen: dict, message: str):
    with pytest.raises(InputError, match=message):
        DataSettings(**chosen)


@pytest.mark.parametrize("module", ["idx", "published", "prepared", "sources", "conditions", "data"])
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
