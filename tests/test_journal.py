"""Checkpoints, metrics on their way, and many runs opened as one."""

import json
import shlex
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import lab
from lab import checkpoints
from lab.collection import runs_at
from lab.journal import Journal
from lab.settings import TrainSettings
from lab.training import TrainState

LIKE = ([{"weight": jnp.zeros((1, 1, 3, 4)), "bias": jnp.zeros((1, 1, 3))}], (jnp.zeros((1, 1), dtype=int),))


def state_at(step):
    """A state whose every number depends on the step."""
    rng = np.random.default_rng(step)
    parameters, optimiser_state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 9, leaf.dtype), LIKE
    )
    losses, accuracies = rng.random((2, 1, 1, 5), dtype=np.float32)
    return TrainState(parameters, optimiser_state, step, losses, accuracies, np.ones((1, 1), dtype=bool))


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def run(tmp_path):
    """A run's folder on its way, with the checkpoints of the steps 10, 20 and 30 made one after the other."""
    path = tmp_path / "20261124-100000-train"
    path.mkdir()
    journal = Journal(lab.Run(path))
    for step in (10, 20, 30):
        journal.add([{"seed": 0, "step": step, "validation/accuracy": step / 100}])
        journal.save(state_at(step), at_once=True)
    return journal.run


def files(run):
    return sorted(path.name for path in run.path.iterdir())


class TestCheckpoints:
    def test_two_are_kept_and_the_newest_is_taken(self, run):
        assert files(run) == ["checkpoint-0000000020.npz", "checkpoint-0000000030.npz", "metrics.jsonl"]
        state, complaints = Journal(run).resume(LIKE)
        assert complaints == []
        assert_same(state, state_at(30))

    def test_every_damaged_byte_is_noticed_or_harmless(self, run):
        """The newest checkpoint with one byte changed: it is taken as it was, or named and the one before is taken."""
        newest = run.path / "checkpoint-0000000030.npz"
        whole, rng, noticed = newest.read_bytes(), np.random.default_rng(0), 0
        ends = [0, 1, len(whole) - 1, len(whole) - 12]  # the first bytes, and the number of arrays
        for position in [*ends, *rng.integers(0, len(whole), 80)]:
            damaged = bytearray(whole)
            damaged[position] ^= int(rng.integers(1, 256))
            newest.write_bytes(damaged)
            state, complaints = Journal(run).resume(LIKE)
            assert_same(state, state_at(20 if complaints else 30))
            assert all(str(newest) in complaint and "damaged" in complaint for complaint in complaints)
            noticed += len(complaints)
            run.keep_metrics([{"seed": 0, "step": step} for step in (10, 20, 30)])
        assert noticed > 40

    @pytest.mark.parametrize("length", [0, 1, 100, -1])
    def test_a_checkpoint_that_was_cut_off_is_noticed(self, run, length):
        newest = run.path / "checkpoint-0000000030.npz"
        newest.write_bytes(newest.read_bytes()[:length])
        state, (complaint,) = Journal(run).resume(LIKE)
        assert str(newest) in complaint
        assert_same(state, state_at(20))

    def test_no_damaged_header_changes_what_is_read(self, run):
        """A shape, a type or a count of arrays that says less than there is would leave checksums unread."""
        newest = run.path / "checkpoint-0000000030.npz"
        whole, expected = newest.read_bytes(), checkpoints.read(newest)
        for old, new in ((b"(1, 1, 3, 4)", b"(1, 1, 3, 3)"), (b"'<f4'", b"'<f2'"), (b"'<f4'", b"'<i4'")):
            newest.write_bytes(whole.replace(old, new, 1))
            with pytest.raises(lab.DataError, match="damaged"):
                checkpoints.read(newest)
        central = whole.index(b"PK\1\2")
        for position in range(central, len(whole)):  # the directory at the end
            newest.write_bytes(whole[:position] + bytes([whole[position] ^ 0x3F]) + whole[position + 1 :])
            try:
                found = checkpoints.read(newest)
            except lab.DataError:
                continue
            assert_same(found, expected)

    def test_when_all_are_damaged_nothing_is_made_up(self, run):
        for path in run.path.glob("checkpoint-*"):
            path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(lab.DataError, match=r"000030.npz is damaged.*000020.npz is damaged.*start the run anew"):
            Journal(run).resume(LIKE)

    def test_those_of_another_network_are_refused(self, run):
        wider = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, 2)), LIKE)
        with pytest.raises(lab.InputError, match=r"\[1, 1, 3, 4\].*needed.*\[1, 1, 3, 4, 2\]"):
            Journal(run).resume(wider)
        with pytest.raises(lab.InputError, match="needed"):
            Journal(run).resume((LIKE[0], ()))

    def test_a_file_of_other_arrays_is_refused(self, run):
        checkpoints.write(run.path / "checkpoint-0000000040.npz", {"weight": np.zeros(3)})
        with pytest.raises(lab.InputError, match=r"holds \['weight'\] \[3\]; needed"):
            Journal(run).resume(LIKE)

    def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(self, run, monkeypatch):
        newest = run.path / "checkpoint-0000000030.npz"
        before = newest.read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            Journal(run).save(state_at(30)._replace(losses=np.zeros((1, 1, 5))), at_once=True)
        assert newest.read_bytes() == before
        assert files(run) == ["checkpoint-0000000020.npz", "checkpoint-0000000030.npz", "metrics.jsonl"]

    def test_they_take_little_of_the_time(self, run, monkeypatch):
        """A save that took 1 s is followed by none for 19 s; one that must be is made all the same."""
        now = [100.0]
        monkeypatch.setattr("lab.journal.time.monotonic", lambda: now[0])
        slow = checkpoints.save

        def save(*arguments):
            now[0] += 1.0
            return slow(*arguments)

        monkeypatch.setattr("lab.journal.checkpoints.save", save)
        journal, saved = Journal(run), []
        for step, moment in enumerate((200, 219.9, 220.1, 230, 240.2), start=50):
            now[0] = moment
            journal.save(state_at(step))
            saved.append(checkpoints.path_of(run.path, step).exists())
        assert saved == [True, False, True, False, True]
        journal.save(state_at(60), at_once=True)
        assert journal.newest == checkpoints.path_of(run.path, 60)
        assert journal.newest.exists()

    def test_without_a_run_nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        journal = Journal(None)
        journal.add([{"step": 0}])
        journal.save(state_at(0), at_once=True)
        assert journal.rows == [{"step": 0}] and journal.resume(LIKE) == (None, [])
        assert not list(tmp_path.iterdir())


class TestMetrics:
    def test_a_last_line_that_was_cut_off_is_left_out(self, run):
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"seed": 0, "step": 4')
        assert [row["step"] for row in run.metrics()] == [10, 20, 30]

    def test_a_damaged_line_is_named(self, run):
        path = run.path / "metrics.jsonl"
        path.write_text(path.read_text().replace('"step": 20', '"step": 2}0'))
        with pytest.raises(lab.DataError, match=rf"line 2 of {path} is damaged"):
            run.metrics()

    def test_rows_after_the_checkpoint_come_again(self, run):
        journal = Journal(run)
        journal.add([{"seed": 0, "step": 40, "validation/accuracy": 0.4}])
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"seed": 0, "st')
        later = Journal(run)
        later.resume(LIKE)
        assert [row["step"] for row in later.rows] == [row["step"] for row in run.metrics()] == [10, 20, 30]
        later.add([{"seed": 0, "step": 40}])
        assert [row["step"] for row in run.metrics()] == [10, 20, 30, 40]

    def test_without_a_checkpoint_they_begin_anew(self, run):
        """A run killed before its first checkpoint: its rows come again, and half a line must not be in their way."""
        checkpoints.remove(run.path)
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"seed": 0, "st')
        journal = Journal(run)
        assert journal.resume(LIKE) == (None, [])
        journal.add([{"seed": 0, "step": 0}])
        assert run.metrics() == [{"seed": 0, "step": 0}]

    def test_a_fallback_drops_the_rows_that_came_after_it(self, run):
        (run.path / "checkpoint-0000000030.npz").write_bytes(b"")
        Journal(run).resume(LIKE)
        assert [row["step"] for row in run.metrics()] == [10, 20]


def finished(root, *, kind="train", seeds=(0, 1), **training):
    """A complete run with results of its own."""
    settings = TrainSettings(training=replace(lab.TrainingSettings(), **training), seeds=len(seeds), seed=seeds[0])
    values = np.full((len(seeds), 2), settings.training.learning_rate) + np.array(seeds)[:, None]
    with lab.new_run(root, kind, settings, {}) as run:
        run.save_results(
            xarray.Dataset({"accuracy": (("seed", "epoch"), values)}, coords={"seed": list(seeds), "epoch": [0, 1]})
        )
    return run


class TestOpenRuns:
    def test_runs_become_one_dataset(self, tmp_path):
        first = finished(tmp_path, learning_rate=0.25)
        second = finished(tmp_path, learning_rate=0.5, seeds=(1, 2, 3))
        (tmp_path / "20990101-000000-train").mkdir()  # begun, and without results
        for pattern in (tmp_path, tmp_path / "*-train*", str(tmp_path)):
            found = lab.open_runs(pattern)
            assert found["run"].values.tolist() == [first.name, second.name]
            assert found["training.learning_rate"].values.tolist() == [0.25, 0.5]
            assert found["settings.seed"].values.tolist() == [0, 1]  # the first ones; `seed` is the axis
            assert found["seed"].values.tolist() == [0, 1, 2, 3]
            assert "training.optimiser" not in found.coords
            accuracy = found["accuracy"]
            assert accuracy.sel(run=second.name, seed=3, epoch=1) == 3.5
            assert accuracy.sel(run=first.name, seed=1, epoch=0) == 1.25
            assert np.isnan(accuracy.sel(run=first.name, seed=3)).all()
            assert np.isnan(accuracy.sel(run=second.name, seed=0)).all()
        tuned = found["accuracy"].where(found["training.learning_rate"] == 0.5, drop=True)
        assert tuned["run"].values.tolist() == [second.name]

    def test_what_is_said_of_objectives_is_kept_where_only_a_later_run_says_it(self, tmp_path):
        for names, rates in ((["a", "b"], [0.1, 0.3]), (["b", "c"], [1.0, 3.0])):
            titles = {"title": ("objective", [name.upper() for name in names]), "rate": ("objective", rates)}
            with lab.new_run(tmp_path, "sweep", lab.SweepSettings(), {}) as run:
                measured = {"score": ("objective", [1.0, 2.0])}
                run.save_results(xarray.Dataset(measured, coords={"objective": names, **titles}))
        found = lab.open_runs(tmp_path)
        assert found["title"].values.tolist() == ["A", "B", "C"]
        assert found["rate"].dims == ("run", "objective")  # b was tuned to another rate
        np.testing.assert_array_equal(found["rate"].values, [[0.1, 0.3, np.nan], [np.nan, 1.0, 3.0]])

    def test_one_run_is_opened_as_well(self, tmp_path):
        run = finished(tmp_path)
        assert lab.open_runs(run.path)["run"].values.tolist() == [run.name]

    def test_a_folder_is_opened_under_any_name_but_for_what_is_hidden_in_it(self, tmp_path):
        root = tmp_path / "my [old] runs"
        run = finished(root)
        shutil.copytree(run.path, root / ".20990101-000000-train.partial")  # one that is being drawn
        assert lab.open_runs(root)["run"].values.tolist() == [run.name]
        assert lab.open_runs(run.path)["run"].values.tolist() == [run.name]
        assert [one.path for one in runs_at(root)] == [run.path]

    def test_a_run_has_its_name_wherever_one_stands(self, tmp_path, monkeypatch):
        run = finished(tmp_path)
        monkeypatch.chdir(run.path)
        assert lab.Run(Path(".")).name == run.name

    def test_several_kinds_are_refused(self, tmp_path):
        finished(tmp_path)
        finished(tmp_path, kind="compare")
        with pytest.raises(lab.InputError, match=r"runs of compare and train; narrow it"):
            lab.open_runs(tmp_path)
        assert lab.open_runs(tmp_path / "*-compare").sizes["run"] == 1

    def test_no_match_is_said(self, tmp_path):
        with pytest.raises(lab.InputError, match="no run of the lab with results matches"):
            lab.open_runs(tmp_path / "*-train")
        (tmp_path / "empty").mkdir()
        with pytest.raises(lab.InputError, match="no run of the lab with results"):
            lab.open_runs(tmp_path)


class TestLastingRuns:
    SETTINGS = TrainSettings(epochs=3)

    def test_it_is_there_from_the_start_and_goes_when_nothing_is_kept(self, tmp_path):
        with pytest.raises(RuntimeError), lab.lasting_run(tmp_path, "train", self.SETTINGS, {}) as run:
            assert json.loads((run.path / "config.json").read_text())["epochs"] == 3
            raise RuntimeError
        assert not list(tmp_path.iterdir())

    def test_what_is_kept_can_be_taken_up_by_one_alone(self, tmp_path):
        with pytest.raises(RuntimeError) as caught, lab.lasting_run(tmp_path, "train", self.SETTINGS, {}) as run:
            Journal(run).save(state_at(10), at_once=True)
            with (
                pytest.raises(lab.InputError, match="another process is at work"),
                lab.resumed_run(run.path, "train", self.SETTINGS),
            ):
                pass
            raise RuntimeError
        assert caught.value.__notes__ == [f"Go on with: python -m lab train --resume {run.path}"]
        (run.path / ".checkpoint-0000000020.npz.1.2.tmp").write_bytes(b"half")  # left by a process that was killed
        with lab.resumed_run(run.path, "train", self.SETTINGS) as again:
            assert files(again) == ["checkpoint-0000000010.npz", "config.json", "environment.json"]
        assert files(run) == ["config.json", "environment.json"]  # done: its checkpoints are no longer needed

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"epochs": 99}, "epochs: 3 in the run, 99 now"),
            ({"training": lab.TrainingSettings(learning_rate=0.5)}, "training.learning_rate: 0.1 in the run, 0.5 now"),
            ({"data": lab.DataSettings(label_noise=0.2)}, "data.label_noise: 0.0 in the run, 0.2 now"),
        ],
    )
    def test_other_settings_are_named(self, tmp_path, changed, message):
        with pytest.raises(RuntimeError), lab.lasting_run(tmp_path, "train", self.SETTINGS, {}) as run:
            Journal(run).save(state_at(10), at_once=True)
            raise RuntimeError
        with (
            pytest.raises(lab.InputError, match=message),
            lab.resumed_run(run.path, "train", replace(self.SETTINGS, **changed)),
        ):
            pass
        assert checkpoints.are_in(run.path)

    def test_other_data_are_named(self, tmp_path, mnist):
        """Say, all of MNIST where it was the sample: with the same settings, and other steps in an epoch."""
        few = lab.under_conditions(mnist, lab.DataSettings(subset=8_000))
        began = {"data": few.identity}
        with pytest.raises(RuntimeError), lab.lasting_run(tmp_path, "train", self.SETTINGS, began) as run:
            Journal(run).save(state_at(10), at_once=True)
            raise RuntimeError
        with (
            pytest.raises(lab.InputError, match=r"begun on other data: .*8,000 train.*; now: .*9,000 train.*CRC-32"),
            lab.resumed_run(run.path, "train", self.SETTINGS, data=mnist.identity),
        ):
            pass
        assert checkpoints.are_in(run.path)
        with lab.resumed_run(run.path, "train", self.SETTINGS, data=few.identity):
            pass

    def test_a_file_of_the_users_that_has_changed_is_named(self, tmp_path):
        """An objective, a network, a metric: in the very words of the settings each may be another by now."""
        loss, other = tmp_path / "loss.py", tmp_path / "other.py"
        loss.write_text("def mine(logits, labels): return 1.0 * (logits.argmax(axis=1) != labels)")
        other.write_text("def make(): ...")
        settings = replace(
            self.SETTINGS,
            hand_over=f"5:{loss}:mine",
            metric="macro_f1",
            training=lab.TrainingSettings(network=f"{other}:make"),
            data=lab.DataSettings(dataset=f"{tmp_path / 'data.py'}:make"),
        )
        with pytest.raises(RuntimeError), lab.lasting_run(tmp_path / "runs", "train", settings, {}) as run:
            Journal(run).save(state_at(10), at_once=True)
            raise RuntimeError
        begun = run.environment()["files"]
        assert begun == {str(path): f"{zlib.crc32(path.read_bytes()):08x}" for path in (loss, other)}
        as_it_was = loss.read_text()
        loss.write_text(as_it_was.replace("1.0", "2.0"))
        with (
            pytest.raises(lab.InputError, match=r"/loss\.py is not as it was when .*-train was begun\. Put it back"),
            lab.resumed_run(run.path, "train", settings),
        ):
            pass
        assert checkpoints.are_in(run.path)
        loss.unlink()
        with (
            pytest.raises(lab.InputError, match=r"/loss\.py, which .*-train was begun with, is not here\. Go on from"),
            lab.resumed_run(run.path, "train", settings),
        ):
            pass
        loss.write_text(as_it_was)
        with lab.resumed_run(run.path, "train", settings):
            pass

    def test_data_described_alike_are_told_apart(self, tmp_path, mnist):
        with (
            pytest.raises(RuntimeError),
            lab.lasting_run(tmp_path, "train", self.SETTINGS, {"data": mnist.identity}) as run,
        ):
            Journal(run).save(state_at(10), at_once=True)
            raise RuntimeError
        other = mnist.identity | {"crc32": "00000000"}
        with (
            pytest.raises(lab.InputError, match=r"begun on other data: .*; now: .*CRC-32 00000000"),
            lab.resumed_run(run.path, "train", self.SETTINGS, data=other),
        ):
            pass

    def test_what_takes_it_up_again_can_be_typed(self, tmp_path):
        root = tmp_path / "my runs"
        with pytest.raises(RuntimeError) as caught, lab.lasting_run(root, "train", self.SETTINGS, {}) as run:
            Journal(run).save(state_at(10), at_once=True)
            raise RuntimeError
        (note,) = caught.value.__notes__
        assert shlex.split(note)[-2:] == ["--resume", str(run.path)]

    def test_files_that_are_not_the_labs_are_named_or_passed_over(self, tmp_path):
        run = finished(tmp_path)
        (run.path / "network-best.npz").write_bytes(b"a user's own")
        assert [path.name for path in run.networks] == ["network.npz"]
        (run.path / "config.json").write_text("[1]")
        with pytest.raises(lab.DataError, match=r"config\.json is not as the lab writes it: \[1\]"):
            run.config()

    def test_what_is_no_such_run_is_refused(self, tmp_path):
        compared, trained = finished(tmp_path, kind="compare"), finished(tmp_path)
        for path, message in (
            (tmp_path / "nowhere", "no run of `train`"),
            (tmp_path, "no run of `train`"),
            (compared.path, "no run of `train`"),
            (trained.path, "complete"),
        ):
            with pytest.raises(lab.InputError, match=message), lab.resumed_run(path, "train", self.SETTINGS):
                pass
