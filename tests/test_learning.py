"""Learning curves: stopped and taken up again, diverged, and what is said of how they came about."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import lab
from lab import checkpoints
from lab.errors import Stopped
from lab.learning import learn
from lab.settings import TrainSettings


def settings(*, epochs=2, seeds=1, seed=0, objective="cross_entropy", subset=1200, data=None, **options):
    """120 steps an epoch: chunks end at the steps 100, 120, 220 and 240, epochs at 120 and 240."""
    names = ("network", "optimiser", "learning_rate", "weight_decay")
    training = {"network": "mlp:8"} | {name: options.pop(name) for name in names if name in options}
    return TrainSettings(
        data=data or lab.DataSettings(subset=subset),
        training=lab.TrainingSettings(batch_size=10, **training),
        objective=objective,
        epochs=epochs,
        seeds=seeds,
        seed=seed,
        **options,
    )


def learnt(given, run=None, **options):
    return learn(given, lab.load_from(given.data), run, **options)


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "time/seconds"} for row in rows]


def assert_same(resumed, networks):
    for one, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(networks), strict=True):
        np.testing.assert_array_equal(one, other)


def collector(done):
    return lambda *one: done.append(one)


def stopped(given, root, *, chunks, step):
    """A run that was stopped after so many chunks, which is at that step."""
    done = []
    with (
        pytest.raises(Stopped, match=f"after step {step} of") as caught,
        lab.lasting_run(root, "train", given, {}) as run,
    ):
        learnt(given, run, progress=collector(done), stop=lambda: len(done) > chunks)
    assert caught.value.__notes__ == [f"Go on with: python -m lab train --resume {run.path}"]
    assert checkpoints.path_of(run.path, step).exists()
    return run


class TestStopping:
    def test_stopped_in_the_last_chunk_it_is_done(self):
        done = []
        learnt(settings(epochs=1), progress=collector(done))
        chunks, done = len(done), []
        results, _ = learnt(settings(epochs=1), progress=collector(done), stop=lambda: len(done) >= chunks)
        assert np.isfinite(results["accuracy"].sel(split="test")).all()

    @pytest.mark.parametrize(
        ("optimiser", "seeds"),
        [
            ("sgd", 3),
            ("adam", 1),
            pytest.param("sgd", 1, marks=pytest.mark.slow),
            pytest.param("adam", 3, marks=pytest.mark.slow),
        ],
    )
    def test_taken_up_again_it_is_as_if_never_stopped(self, optimiser, seeds, tmp_path):
        """Stopped after every number of chunks there is: within epochs, and where they end."""
        given = settings(optimiser=optimiser, seeds=seeds, learning_rate=0.01, seed=5)
        with lab.lasting_run(tmp_path, "train", given, {}) as whole:
            results, networks = learnt(given, whole)
        for chunks, step in enumerate((100, 120, 220), start=1):
            run = stopped(given, tmp_path, chunks=chunks, step=step)
            done, said = [], []
            with lab.resumed_run(run.path, "train", given) as again:
                found, resumed = learnt(given, again, progress=collector(done), say=said.append)
            assert done[0] == (step, "going on") and sum(steps for steps, _ in done) == 240
            assert said == []
            assert found.identical(results)
            assert without_time(again.metrics()) == without_time(whole.metrics())
            assert_same(resumed, networks)

    def test_stopped_while_it_writes_it_can_go_on(self, tmp_path):
        """Ctrl-C that comes between any two questions whether to stop; in the last chunk all is done anyway."""
        given, asked = settings(), []

        def stop():
            asked.append(len(asked))
            return len(asked) > limit

        limit = np.inf
        results, networks = learnt(given, stop=stop)
        times, taken_up = len(asked), 0
        for limit in range(times):  # noqa: B007 (stop reads it)
            asked = []
            try:
                with lab.lasting_run(tmp_path, "train", given, {}) as run:
                    found, resumed = learnt(given, run, stop=stop)
            except Stopped:
                taken_up += 1
                with lab.resumed_run(run.path, "train", given) as again:
                    found, resumed = learnt(given, again)
            assert found.identical(results)
            assert_same(resumed, networks)
        assert taken_up > times / 2

    def test_what_is_annealed_and_handed_over_goes_on_as_well(self, tmp_path):
        given = settings(objective="expected_error", anneal_to=0.1, hand_over="170:gce:q=0.5", optimiser="momentum")
        results, networks = learnt(given)
        with pytest.raises(Stopped), lab.lasting_run(tmp_path, "train", given, {}) as run:
            learnt(given, run, stop=lambda: True)
        with lab.resumed_run(run.path, "train", given) as again:
            found, resumed = learnt(given, again)
        assert found.identical(results)
        assert_same(resumed, networks)

    def test_a_damaged_checkpoint_is_named_and_the_one_before_does(self, tmp_path):
        given = settings(epochs=3)
        results, _ = learnt(given)
        run, said = stopped(given, tmp_path, chunks=5, step=340), []
        newest = max(run.path.glob("checkpoint-*"))
        newest.write_bytes(newest.read_bytes()[:-1])
        with lab.resumed_run(run.path, "train", given) as again:
            found, _ = learnt(given, again, say=said.append)
        assert len(said) == 1 and str(newest) in said[0] and said[0].endswith("Going on from the one before.")
        assert found.identical(results)

    def test_an_end_that_was_killed_is_made_from_the_last_checkpoint(self, tmp_path):
        """Killed after the last step and before the results: nothing is left to train."""
        given, done = settings(epochs=1), []
        with pytest.raises(RuntimeError), lab.lasting_run(tmp_path, "train", given, {}) as run:
            results, networks = learnt(given, run)
            raise RuntimeError
        step = int(max(run.path.glob("checkpoint-*")).stem[-10:])
        with lab.resumed_run(run.path, "train", given) as again:
            found, resumed = learnt(given, again, progress=lambda *one: done.append(one))
        assert done[0][0] == step
        assert found.identical(results)
        assert_same(resumed, networks)


LOGARITHM = """
import jax.numpy as jnp
import lab

def falling(logits, labels):
    \"\"\"The logarithm of what is negative once an example is classified well.\"\"\"
    p = jnp.exp(lab.objective("cross_entropy")(logits, labels) * -1)
    return -jnp.log(0.5 - p)
"""

ODD = """
import jax
import jax.numpy as jnp
import lab

def make():
    usual = lab.mlp([8], activation="relu")

    def init(key):
        large = jnp.where(jax.random.uniform(key) > LIMIT, 1e30, 1.0)
        return jax.tree.map(lambda leaf: large * leaf, usual.init(key))

    return lab.Network("odd", init, usual.apply)
"""


class TestDiverging:
    def test_the_message_says_all_there_is_to_know(self, tmp_path):
        given = settings(learning_rate=1e30, seeds=2, seed=7)
        with pytest.raises(FloatingPointError) as caught, lab.lasting_run(tmp_path, "train", given, {}) as run:
            learnt(given, run)
        said = " ".join([str(caught.value), *caught.value.__notes__])
        for words in (
            "the training loss became",
            "at step 1 (",
            "objective cross_entropy",
            "learning rate 1e+30",
            "network of seed 7",
            f"The last good state is {run.path / 'checkpoint-0000000000.npz'}.",
        ):
            assert words in said
        assert (run.path / "checkpoint-0000000000.npz").exists()

    def test_of_several_networks_the_one_that_diverged_is_named(self, tmp_path):
        """The second of three starts with weights of 1e30: of their draws its own is the largest."""
        mine, keys = tmp_path / "mine.py", jax.vmap(jax.random.key)(np.arange(20))
        draws = np.asarray(jax.vmap(lambda key: jax.random.uniform(jax.random.split(key)[0]))(keys))
        seed = next(seed for seed in range(18) if np.argmax(draws[seed : seed + 3]) == 1)
        mine.write_text(ODD.replace("LIMIT", str(np.sort(draws[seed : seed + 3])[1:].mean())))
        with pytest.raises(FloatingPointError) as caught:
            learnt(settings(network=f"{mine}:make", seeds=3, seed=seed, epochs=1))
        assert caught.value.__notes__[0] == f"It is the network of seed {seed + 1}."

    def test_debug_names_the_operation_and_its_place(self, tmp_path):
        mine = tmp_path / "mine.py"
        mine.write_text(LOGARITHM)
        given = settings(objective=f"{mine}:falling", learning_rate=0.5)
        with pytest.raises(FloatingPointError, match="objective falling") as caught:
            learnt(given, debug=True)
        (named,) = [note for note in caught.value.__notes__ if note.startswith("At step")]
        step = int(str(caught.value).split("at step ")[1].split()[0])
        assert named == f"At step {step} nan generated by primitive: log, at {mine}:8."

    def test_without_debug_nothing_is_done_again(self, tmp_path):
        with pytest.raises(FloatingPointError) as caught:
            learnt(settings(learning_rate=1e30, epochs=1))
        said = ["It is the network of seed 0.", "With --debug the operation to blame is named."]
        assert caught.value.__notes__ == said

    def test_a_run_taken_up_knows_its_last_good_state(self, tmp_path):
        mine = tmp_path / "mine.py"
        mine.write_text(LOGARITHM)
        given = settings(objective=f"{mine}:falling", learning_rate=0.5)
        with pytest.raises(FloatingPointError), lab.lasting_run(tmp_path, "train", given, {}) as run:
            learnt(given, run)
        with (
            pytest.raises(FloatingPointError) as caught,
            lab.resumed_run(run.path, "train", given) as again,
        ):
            learnt(given, again)
        assert f"The last good state is {max(run.path.glob('checkpoint-*'))}." in caught.value.__notes__


class TestWhatIsSaid:
    @pytest.mark.slow
    def test_of_the_objective(self):
        for given, words in (
            (
                settings(objective="expected_error:temperature=2", anneal_to=0.5, epochs=1),
                "temperature=2, temperature annealed to 0.5 over 120 steps",
            ),
            (
                settings(objective="sigmoid_margin", margin_quantile=0.25, epochs=1),
                "temperature tied to the 0.25 quantile of the margins",
            ),
            (settings(objective="brier", hand_over="50:gce:q=0.5", epochs=1), "brier, from step 50 on gce q=0.5"),
        ):
            results, _ = learnt(given)
            said = results.attrs["objective"]
            assert words.replace(":", " ") in said.replace(":", " ").replace("(", "").replace(")", "")
            assert said in results.attrs["recipe"]

    def test_of_the_data(self):
        data = lab.DataSettings(subset=1500, imbalance=2.0, label_noise=0.2, noise="pair")
        results, _ = learnt(settings(data=data, epochs=1))
        for words in ("1,500 of 9,000 training images", "20 %", "pair", "2"):
            assert words in results.attrs["data"]

    def test_losses_of_validation_are_those_of_the_objective_in_force(self):
        """After the hand-over the loss is the second objective's: Brier's score, which is a metric as well."""
        results, _ = learnt(settings(objective="cross_entropy", hand_over="150:brier"))
        loss, brier, log = (results[name].sel(split="validation", seed=0) for name in ("loss", "brier", "log_score"))
        np.testing.assert_allclose(loss.sel(epoch=2), brier.sel(epoch=2), rtol=1e-5)
        np.testing.assert_allclose(loss.sel(epoch=1), log.sel(epoch=1), rtol=1e-5)

    def test_seeds_are_the_same_alone_and_together(self):
        many, _ = learnt(settings(seeds=3, epochs=1, learning_rate=0.01))
        one, _ = learnt(settings(seed=2, epochs=1, learning_rate=0.01))
        np.testing.assert_allclose(many["loss"].sel(seed=2), one["loss"].sel(seed=2), rtol=1e-4)


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"seeds": 10**8}, r"100000000 networks do not fit.*; \d+ do .estimated.*--seed \d+"),
            ({"objective": "brier", "anneal_to": 0.1}, "temperature"),
            ({"objective": "brier", "margin_quantile": 0.1}, "no temperature"),
            ({"hand_over": "10:breir"}, "Did you mean 'brier'"),
            ({"hand_over": "240:brier"}, "--hand-over must be at a step below 240, the steps of training; got 240"),
            ({"training": lab.TrainingSettings(batch_size=1201)}, "batch size must be 1..1200"),
        ],
    )
    def test_they_are_found_before_anything_is_done(self, change, message):
        given = settings()
        with pytest.raises(lab.InputError, match=message):
            learnt(replace(given, **change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anneal_to": 0.1, "margin_quantile": 0.5}, "annealed or tied to the margins: give one"),
        ({"margin_quantile": 1.5}, "--margin-quantile must be 0 < q <= 1; got 1.5"),
    ],
)
def test_wrong_settings_of_training_are_refused_when_made(options, message):
    with pytest.raises(lab.InputError, match=message):
        lab.TrainSettings(**options)
