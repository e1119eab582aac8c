"""Data of a user's own: what is taken, what is refused, and that all there is can be asked of it."""

import re

import numpy as np
import pytest
from test_commands import run
from test_studies import asked

import lab
from lab.data import some_of
from lab.learning import learn

# Three classes around centres of their own in 4 x 3 pixels, far enough apart for any network.
_numbers = np.random.default_rng(5)
LABELS = np.arange(90) % 3
PIXELS = np.eye(12)[4 * LABELS].reshape(90, 4, 3) + 0.1 * _numbers.normal(size=(90, 4, 3))
TEST = PIXELS[60:], LABELS[60:]
BLOBS = """
import numpy as np

def blobs():
    numbers, labels = np.random.default_rng(5), np.arange(600) % 3
    pixels = np.eye(12)[4 * labels] + 0.1 * numbers.normal(size=(600, 12))
    return (pixels[:400], labels[:400]), (pixels[400:], labels[400:])

def fails():
    return blobs()[7]

def lopsided():
    (images, labels), test = blobs()
    return (images, labels + 1), test

nothing = None
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(BLOBS)
    return tmp_path / "mine.py"


class TestDataset:
    def test_a_tenth_is_set_apart_and_each_image_keeps_its_label(self):
        found = lab.dataset((PIXELS[:60], LABELS[:60]), TEST)
        assert [len(part) for part in (found.train, found.validation, found.test)] == [54, 6, 30]
        numbers = {image.tobytes(): i for i, image in enumerate(PIXELS.astype(np.float32))}
        drawn = []
        for part in (found.train, found.validation, found.test):
            rows = [numbers[image.tobytes()] for image in part.images]
            np.testing.assert_array_equal(part.labels, LABELS[rows])
            drawn += rows
        assert sorted(drawn) == list(range(90)) and drawn[60:] == list(range(60, 90))
        assert found.classes == ("0", "1", "2")
        assert found.description == "own data, given as arrays: 54 train / 6 validation / 30 test"

    def test_a_validation_part_of_ones_own(self):
        found = lab.dataset((PIXELS[:40], LABELS[:40]), TEST, validation=(PIXELS[40:60], LABELS[40:60]))
        np.testing.assert_array_equal(found.validation.images, PIXELS[40:60].reshape(20, 12).astype(np.float32))
        np.testing.assert_array_equal(found.train.labels, LABELS[:40])

    def test_a_class_that_would_be_validated_on_alone_is_refused(self):
        """Its only image is among the tenth that is set apart: it could not be learnt, and no condition knew it."""
        single = np.int64([0] * 30 + [1] * 29 + [2])
        lost = []
        for place in range(60):
            try:
                kept = lab.dataset((PIXELS[:60], np.roll(single, place)), TEST).train
                assert set(kept.labels) == {0, 1, 2}
            except lab.InputError as error:
                lost.append(place)
                assert "every training image of class 2 is among the tenth" in str(error)
        assert len(lost) == 6
        again = lab.dataset((PIXELS[:60], np.roll(single, lost[0])), TEST, validation=TEST)
        assert len(again.classes) == 3 and len(again.train) == 60

    @pytest.mark.parametrize(
        "labels", [LABELS.astype(np.uint8), LABELS[:, None], np.eye(3)[LABELS], LABELS.tolist()], ids=str
    )
    def test_labels_come_in_any_form(self, labels):
        found = lab.dataset((PIXELS, labels), TEST, validation=TEST)
        np.testing.assert_array_equal(found.train.labels, LABELS)
        assert found.train.labels.dtype == np.int32

    def test_bytes_stay_bytes(self):
        whole = np.arange(90 * 12, dtype=np.uint8).reshape(90, 4, 3)
        found = lab.dataset((whole, LABELS), (whole, LABELS), validation=(whole, LABELS))
        assert found.train.images.dtype == np.uint8
        np.testing.assert_array_equal(found.train.images, whole.reshape(90, 12))

    @pytest.mark.parametrize(
        ("train", "test", "message"),
        [
            (PIXELS, TEST, r"the training data must be a pair \(images, labels\); got float64 \[90, 4, 3\]"),
            ((PIXELS, LABELS[:80]), TEST, r"one for each of 90 images, or one-hot rows; got int64 \[80\], "),
            ((PIXELS, LABELS - 1), TEST, r"from 0 on, .*; got int64 \[90\], from -1 to 1"),
            ((PIXELS, LABELS + 2**32), TEST, "from 4294967296 to 4294967298"),
            ((PIXELS, LABELS * 10**9), TEST, "got labels 0, 1000000000, 2000000000"),
            (([[1.0], [2.0, 3.0]], [0, 1]), TEST, "training images and labels must be arrays: .*inhomogeneous"),
            ((PIXELS, LABELS + 0.5), TEST, r"must be class numbers.*got float64 \[90\]"),
            ((PIXELS, 0.5 * np.ones((90, 2))), TEST, "a single 1 in each row"),
            ((PIXELS, LABELS[None]), TEST, r"one for each of 90 images, or one-hot rows; got int64 \[1, 90\]"),
            ((PIXELS, np.array([["a", "b"]] * 90)), TEST, r"must be class numbers.*got <U1 \[90, 2\]"),
            ((PIXELS * 1e300, LABELS), TEST, "must be finite as float32; image 0 is not"),
            ((PIXELS, LABELS + 1), TEST, r"each with an image; got labels 1, 2, 3\. np.unique"),
            ((PIXELS, 0 * LABELS), TEST, "at least 2 of them and each with an image; got labels 0"),
            ((PIXELS, LABELS), (PIXELS, LABELS + 1), "test labels must be 0..2, as in training; got 3"),
            ((PIXELS, LABELS), (PIXELS[:, :3], LABELS), "float32 of 12 pixels; got float32 of 9"),
            ((PIXELS, LABELS), ((PIXELS > 0).astype(np.uint8), LABELS), "of 12 pixels; got uint8 of 12"),
            ((PIXELS.astype(int), LABELS), TEST, r"bytes \(uint8\) or real numbers.*got int64 \[90, 4, 3\]"),
            ((PIXELS[:, 0, 0], LABELS), TEST, r"real numbers \[n, ...\], at least one; got float64 \[90\]"),
            ((PIXELS[:0], LABELS[:0]), TEST, r"at least one; got float64 \[0, 4, 3\]"),
            ((np.where(PIXELS > 1.2, np.nan, PIXELS), LABELS), TEST, "must be finite as float32; image [0-9]+ is not"),
            ((PIXELS[:9], LABELS[:9]), TEST, "a tenth of 9 training examples is none"),
        ],
    )
    def test_what_does_not_fit_is_named(self, train, test, message):
        with pytest.raises(lab.InputError, match=message):
            lab.dataset(train, test)

    def test_held_out_images_are_of_all_classes_where_it_is_sorted_by_class(self):
        """Each class's share of them is that of the data, but for chance."""
        order = np.argsort(np.arange(3000) % 3, kind="stable")
        images, labels = np.zeros((3000, 4), np.uint8), (np.arange(3000) % 3)[order]
        held_out = lab.dataset((images, labels), (images, labels), validation=(images, labels)).validation
        found = np.bincount(some_of(held_out, 600).labels)
        assert found.sum() == 600
        deviation = np.sqrt(600 * (1 / 3) * (2 / 3) * (1 - 600 / 3000))
        assert (np.abs(found - 200) < 4 * deviation).all()
        np.testing.assert_array_equal(some_of(held_out, 3000).labels, labels)

    def test_conditions_keep_to_its_classes(self):
        found = lab.under_conditions(lab.dataset((PIXELS, LABELS), TEST), lab.DataSettings(label_noise=0.5))
        assert set(found.train.labels) == {0, 1, 2} and found.train.wrong.sum() == round(0.5 * 81)


class TestFile:
    def test_it_is_loaded_by_the_name_of_its_function(self, mine):
        found = lab.load(f"{mine}:blobs")
        assert found.name == f"{mine}:blobs"
        assert found.description == "blobs, from mine.py: 360 train / 40 validation / 200 test"
        assert found.detail == "12 pixels, 3 classes"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("blob", "unknown dataset 'blob'. Did you mean 'blobs'"),
            ("fails", r"fails of .*mine.py fails: IndexError: tuple index out of range \(mine.py, line 10\)"),
            ("nothing", "nothing of .*mine.py must give two pairs.* in between; it gives NoneType"),
            ("LABELS", "LABELS of .*mine.py must give two pairs.*; it gives 4 things"),
            ("lopsided", "mine.py:lopsided: training labels must number the classes from 0 on"),
        ],
    )
    def test_what_is_wrong_with_it_is_named(self, mine, name, message):
        mine.write_text(BLOBS + "\nLABELS = [0, 1, 2, 3]\n")
        with pytest.raises(lab.InputError, match=message):
            lab.load(f"{mine}:{name}")

    @pytest.mark.parametrize(
        "switch",
        [{"sample": True}, {"data_dir": "."}, {"normalize": True}, {"flatten": False}, {"one_hot_label": True}],
    )
    def test_switches_are_for_published_datasets(self, mine, switch):
        with pytest.raises(lab.InputError, match="blobs gives arrays as they are to be used: .* Leave them out"):
            lab.load(f"{mine}:blobs", **switch)

    def test_studies_made_for_mnist_refuse_it(self, mine, tmp_path):
        settings = lab.StudySettings(data=lab.DataSettings(dataset=f"{mine}:blobs"), out=tmp_path / "runs")
        with pytest.raises(lab.InputError, match="squares is asked of images of 28 x 28 pixels in ten classes"):
            asked(settings, measured=[])
        assert not (tmp_path / "runs").exists()
        measured = []
        asked(settings, measured=measured, own_data=True)
        assert measured == [0, 1, 2, 3, 4]

    def test_a_network_learns_it(self, mine):
        settings = lab.TrainSettings(data=lab.DataSettings(dataset=f"{mine}:blobs"), epochs=20, seeds=2)
        results, _ = learn(settings, lab.load_from(settings.data))
        assert results.attrs["network"] == "12-100-3 relu"
        assert results.attrs["data"] == "blobs, from mine.py: 360 train / 40 validation / 200 test"
        assert (results["accuracy"].sel(split="test", epoch=20) > 0.99).all()
        assert (results["accuracy"].sel(split="test", epoch=0) < 0.7).all()


@pytest.mark.slow
def test_every_command_takes_it(mine, tmp_path):
    """A network trained on it is measured on it, and only on it; what is not there is refused before anything else."""
    little = ["--dataset", "mine.py:blobs", "--network", "mlp:8", "--seeds", "2", "--batch-size", "20"]
    trained = run("train", *little, "--epochs", "3", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    (made,) = (tmp_path / "runs").iterdir()
    measured = ["--examples", "100", "--temperatures", "0.1,1", "--checkpoint", made]
    compared = run("compare", "--dataset", "mine.py:blobs", *measured, cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "Gradients of 2 networks (12-8-3 relu), 100 images each" in compared.stdout
    elsewhere = run("compare", *measured, cwd=tmp_path)
    assert elsewhere.returncode == 2 and "was trained on mine.py:blobs, not on mnist" in elsewhere.stderr
    swept = run("sweep", *little, "--epochs", "1", "--learning-rates", "0.1", "--widenings", "0", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    assert re.search(r"blobs, from mine.py: 360\s+train / 40\s+validation / 200\s+test", swept.stdout)
    assert lab.Run(made).environment()["data"] == lab.load(f"{mine}:blobs").identity
    doctor = run("doctor", "--dataset", "mine.py:blobs", cwd=tmp_path)
    assert doctor.returncode == 0 and "blobs, from mine.py: 360 train" in doctor.stdout
    missing = run("doctor", "--dataset", "mine.py:blob", cwd=tmp_path)
    assert missing.returncode == 1 and "Did you mean 'blobs'" in missing.stdout
