"""The whole comparison on real digits, small; what it says of itself; where it is kept."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray
from rich.console import Console

import lab
from lab.columns import COLUMNS
from lab.comparison import RACERS, STANDARD, compared_objectives, stage_name
from lab.quantities import QUANTITIES
from lab.race import PREFIX, raced
from lab.ranking import answer
from lab.runs import write_bytes
from lab.settings import SweepSettings
from lab.staircase import LINE_OBJECTIVES
from lab.tables import comparison_table, detail_table


def test_axes_are_labelled_and_complete(comparison, small_settings):
    own = {name: array for name, array in comparison.data_vars.items() if not name.startswith(PREFIX)}
    assert own.keys() == QUANTITIES.keys()
    for name, array in own.items():
        assert array.dims == ("seed", "stage", *QUANTITIES[name].axes)
        assert array.attrs["comment"] == QUANTITIES[name].explained("accuracy")
    assert comparison.sizes["seed"] == 2
    assert comparison["stage"].values.tolist() == ["at the start", "20 steps"]
    expected = [str(one) for one in compared_objectives(small_settings)[0]]
    assert comparison["objective"].values.tolist() == expected
    assert len(set(expected)) == len(expected)
    assert comparison.attrs["data"].startswith("MNIST, embedded sample of 10,000 + 2,000 digits: 9,000 train")


@pytest.mark.slow
def test_numbers_are_those_of_the_network_they_name(comparison, mnist, small_settings):
    """Seed 1 after 20 steps once more, by hand: network, batch and gradient from the public functions."""
    network = lab.mlp([100], activation="relu")
    train_key, batch_key = jax.random.split(jax.random.key(1))
    cross_entropy = lab.objective("cross_entropy")
    (state,) = lab.train(
        network,
        cross_entropy,
        lab.optimiser("sgd", 0.1, weight_decay=0.01),
        mnist.train.images,
        mnist.train.labels,
        key=train_key,
        stages=[20],
    )
    rows = lab.shuffled(batch_key, 0, 1, examples=9000, batch_size=200)[0]
    images, labels = (
        jnp.asarray(mnist.train.images[rows] / 255, jnp.float32),
        jnp.asarray(mnist.train.labels[rows]),
    )
    gradient = {
        name: jax.flatten_util.ravel_pytree(
            jax.grad(lambda theta, n=name: jnp.mean(lab.objective(n)(network.apply(theta, images), labels)))(
                state.parameters
            )
        )[0]
        for name in ("cross_entropy", "squared_error")
    }
    found = comparison.sel(seed=1, stage="20 steps")
    norms = {name: float(jnp.linalg.norm(one)) for name, one in gradient.items()}
    for name, norm in norms.items():
        assert float(found["norm"].sel(objective=name)) == pytest.approx(norm, rel=1e-4)
    cosine = (
        float(gradient["cross_entropy"] @ gradient["squared_error"]) / norms["cross_entropy"] / norms["squared_error"]
    )
    assert float(found["cosine"].sel(objective="cross_entropy", other="squared_error")) == pytest.approx(
        cosine, abs=1e-4
    )
    logits = network.apply(state.parameters, jnp.asarray(mnist.test.images / 255, jnp.float32))
    assert float(found["test_accuracy"]) == pytest.approx(float(lab.accuracy(logits, jnp.asarray(mnist.test.labels))))
    p = np.asarray(jax.nn.softmax(network.apply(state.parameters, images)))[np.arange(200), labels]
    weight = 1 - p.astype(float)  # DESIGN 2.1: cross entropy's weight
    effective = weight.sum() ** 2 / (weight**2).sum()
    assert float(found["effective_examples"].sel(objective="cross_entropy")) == pytest.approx(effective, rel=1e-4)


def test_accuracy_has_no_gradient_and_is_called_dead(comparison):
    accuracy = comparison.sel(objective="zero_one")
    assert not accuracy["norm"].any()
    assert accuracy["dead"].all()
    assert np.isnan(accuracy["cosine"]).all()
    assert not comparison["dead"].sel(objective="cross_entropy").any()


def test_where_the_weight_lies_adds_up(comparison):
    np.testing.assert_allclose(comparison["examples_by_margin"].sum("bin"), 1, rtol=1e-5)
    alive = comparison["weight_by_margin"].sel(objective=comparison["objective"] != "zero_one")
    np.testing.assert_allclose(alive.sum("bin"), 1, rtol=1e-4)
    wrong = comparison["examples_by_margin"].isel(bin=(comparison["margin_high"] <= 0).values).sum("bin")
    np.testing.assert_allclose(1 - wrong, comparison["batch_accuracy"], atol=1e-6)


def test_the_line_goes_through_the_network(comparison):
    """At offset 0 the curves are means over the first 100 images of the batch; accuracy is a staircase of 1/100."""
    error = comparison["line"].sel(curve="zero_one")
    np.testing.assert_allclose(error * 100, np.round(error * 100), atol=1e-3)
    smooth = comparison["line"].sel(curve="cross_entropy")
    assert np.abs(np.diff(smooth, axis=-1)).max() < 0.01
    assert set(comparison["curve"].values) == set(LINE_OBJECTIVES)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(comparison, mnist, small_settings):
    again = lab.compare(small_settings, mnist)
    xarray.testing.assert_identical(again, comparison)


def test_the_race_is_a_sweep_of_its_own(comparison, mnist, small_settings):
    """90 steps are one epoch of the sample; the same networks come out of a sweep that is asked for by itself."""
    race = raced(comparison)
    assert race["objective"].values.tolist() == list(RACERS) and race["epoch"].values.tolist() == [0, 1]
    assert race["seed"].values.tolist() == [0, 1] and race.attrs["lost"] == ""
    rates, decay = "0.1,0.4,1.6,6.4", small_settings.training.weight_decay
    alone = SweepSettings(
        objective=("squared_error",), learning_rates=rates, weight_decay=decay, widenings=1, epochs=1, seeds=2
    )
    swept = lab.sweep(alone, mnist)
    for name in swept["objective"].values:
        one, other = race.sel(objective=name), swept.sel(objective=name)
        assert float(one["chosen_rate"]) == float(other["chosen_rate"])
        np.testing.assert_allclose(one["test_accuracy"], other["test_accuracy"], atol=1.01e-3)  # one digit
    claim, evidence = lab.summarise(comparison)[-1]
    assert claim == answer(race)[1] and answer(race)[0] in evidence


def test_findings_follow_the_numbers(comparison):
    claims = [one.claim for one in lab.summarise(comparison)]
    assert claims[0] == "Accuracy gives no direction."
    faked = comparison.copy(deep=True)
    faked["norm"].loc[{"objective": "zero_one"}] = 0.1
    assert lab.summarise(faked)[0].claim.startswith("Accuracy's gradient is not 0")
    swapped = comparison.copy(deep=True)
    loss, smoothed = (
        comparison["weight_by_margin"].sel(objective=o).values for o in ("cross_entropy", "expected_error")
    )
    swapped["weight_by_margin"].loc[{"objective": "cross_entropy"}] = smoothed
    swapped["weight_by_margin"].loc[{"objective": "expected_error"}] = loss
    original, other = (lab.summarise(one)[4].claim for one in (comparison, swapped))
    assert original != other or "cannot tell" in original
    ahead = comparison.copy(deep=True)
    for name, by in (("brier", 0.1), ("gce", 0.2), ("ramp", 0.3)):
        ahead["gain_difference"].loc[{"objective": name}] = by + np.array([[0.0, 0.0], [1e-4, 1e-4]])  # seed x stage
    ahead["gain_difference"].loc[{"objective": "ramp", "stage": "20 steps"}] = [-0.1, -0.1001]
    raised = next(one for one in lab.summarise(ahead) if "gradients raise accuracy" in one.claim)
    best = "Most of all ramp T=1 at the start (by 30.0 points); gce after 20 steps (by 20.0 points)."
    assert raised.claim.startswith("Some") and f"stage by stage. {best} Less, at some stage: " in raised.evidence
    assert "ramp T=1" in raised.evidence.partition("Less")[2]
    alone = lab.summarise(comparison.isel(seed=[0]))
    assert "One network cannot tell" in alone[4].claim


def test_findings_of_one_network_at_one_stage_speak_of_one(comparison):
    said = [" ".join(one) for one in lab.summarise(comparison.isel(seed=[0], stage=[0]))]
    assert not [one for one in said for words in ("1 points", "stage by stage", "these networks") if words in one]
    (cold,) = (one for one in said if "Expected error at T = 0.1" in one)
    assert cold.count("at the start") == 1


@pytest.mark.parametrize(("near", "far", "jumps"), [(0.0, 0.2, True), (0.0, 0.0, False), (0.5, 0.47, False)])
def test_accuracy_jumps_where_it_does(comparison, near, far, jumps):
    found = comparison.copy(deep=True)
    for h, share in ((0.001, near), (0.1, far)):
        found["difference_moved_share"].loc[{"h": h}] = share
    assert lab.summarise(found)[0].evidence.endswith("nothing, and then a jump.") == jumps


def test_an_objective_that_is_no_number_is_named(comparison):
    assert not [one for one in lab.summarise(comparison) if "no numbers" in one.claim]
    found = comparison.copy(deep=True)
    found["mean_value"].loc[{"objective": "gce", "stage": "20 steps"}] = np.nan
    found["mean_value"].loc[{"objective": "ramp", "seed": 0}] = np.inf
    (said,) = (one.evidence for one in lab.summarise(found) if "no numbers" in one.claim)
    assert "at least: gce at 2 of 4 points, ramp T=1 at 2 of 4 points (networks x stages)" in said


def changed(comparison, variable, values, **where):
    """The comparison with other values [seed] of a variable at one place."""
    found = comparison.copy(deep=True)
    at = found[variable].loc[where]
    found[variable].loc[where] = np.broadcast_to(np.reshape(values, (-1, *[1] * (at.ndim - 1))), at.shape)
    return found


def told(results, evidence):
    """The one finding with these words in its evidence."""
    (found,) = (one for one in lab.summarise(results) if evidence in one.evidence)
    return found


def with_pull(results, **shares):
    """Results in which so much [seed] of an objective's weight lies on wrong answers."""
    found, wrong = results.copy(deep=True), (results["margin_high"] <= 0).values
    for name, of in shares.items():
        bins = [np.where(wrong, one / wrong.sum(), (1 - one) / (~wrong).sum()) for one in of]
        at = {"objective": name, "stage": "20 steps"}
        found["weight_by_margin"].loc[at] = np.array(bins)
    return found


@pytest.mark.parametrize(
    ("loss", "smoothed", "claim"),
    [
        ([0.80, 0.82], [0.20, 0.22], "Cross entropy looks at the wrong answers; smoothed accuracy gives up"),
        ([0.20, 0.22], [0.80, 0.82], "Smoothed accuracy looks at the wrong answers more than cross entropy does."),
        ([0.30, 0.80], [0.20, 0.30], "Who looks more at the wrong answers? These networks cannot tell."),
        ([0.20, 0.30], [0.30, 0.80], "Who looks more at the wrong answers? These networks cannot tell."),
    ],
)
def test_who_looks_at_wrong_answers_follows_the_weights(comparison, loss, smoothed, claim):
    found = told(with_pull(comparison, cross_entropy=loss, expected_error=smoothed), "pull comes from images read")
    assert found.claim.startswith(claim)
    by = 100 * (np.mean(loss) - np.mean(smoothed))
    assert f"% of expected error's (T = 1); the difference is {by:.0f} [" in found.evidence
    assert f"After 20 steps, {100 * np.mean(loss):.0f} [" in found.evidence


@pytest.mark.parametrize(
    ("cosines", "claim"),
    [
        ([0.29, 0.31], "A warm one listens to everybody and points elsewhere."),
        ([0.64, 0.66], "A warm one still points much as cross entropy does."),
        ([0.30, 0.60], "Whether a warm one points elsewhere, these networks cannot tell."),
        ([0.40, 0.70], "Whether a warm one points elsewhere, these networks cannot tell."),
    ],
)
def test_where_a_warm_one_points_follows_its_cosine_in_the_end(comparison, cosines, claim):
    where = {"objective": "expected_error:temperature=10", "other": "cross_entropy", "stage": "20 steps"}
    found = told(changed(comparison, "cosine", cosines, **where), "At T = 10 it is carried by ")
    assert found.claim == claim and f"cosine with cross entropy is {np.mean(cosines):.2f} [" in found.evidence


@pytest.mark.parametrize(("share", "few"), [(0.08, True), (0.15, False)])
def test_a_cold_one_rests_on_few_examples_where_it_does_in_the_end(comparison, share, few):
    one = "expected_error:temperature=0.1"
    first = 100 if few else 2
    start = changed(comparison, "effective_examples", first, objective=one, stage="at the start")
    found = changed(start, "effective_examples", share * 200, objective=one, stage="20 steps")
    said = told(found, "Expected error at T = 0.1 is carried by ")
    assert ("a cold one rests on few examples" in said.claim) == few
    assert f"by {first} [{first}, {first}] examples at the start" in said.evidence
    assert f"by {200 * share:.1f} [{200 * share:.1f}, " in said.evidence


@pytest.mark.parametrize(
    ("cosines", "claim"),
    [
        ([0.60, 0.61], "A mini-batch keeps the direction."),
        ([0.30, 0.31], "A mini-batch is mostly noise by the end."),
        ([0.40, 0.70], "Whether a mini-batch keeps the direction to the end, these networks cannot tell."),
        ([0.30, 0.60], "Whether a mini-batch keeps the direction to the end, these networks cannot tell."),
    ],
)
def test_whether_a_mini_batch_keeps_the_direction_follows_the_largest_in_the_end(comparison, cosines, claim):
    where = {"objective": "cross_entropy", "stage": "20 steps"}
    others = changed(comparison, "batch_cosine", 0.45, **where)
    found = changed(others, "batch_cosine", cosines, batch_size=100, **where)
    assert told(found, "with that on all 200").claim == claim


def test_differences_are_said_of_the_step_they_were_taken_with(comparison):
    found = comparison.isel(seed=[0, 1] * 3).copy(deep=True)  # 6 networks at 2 stages
    for h, moved, off in ((0.001, 0.02, 0.3), (0.01, 0.4, 0.05), (0.1, 0.7, 0.2), (1.0, 0.9, 0.6)):
        found["difference_moved_share"].loc[{"h": h}] = moved
        found["difference_loss_deviation"].loc[{"h": h}] = off
    first, second = lab.summarise(found)[:2]
    assert "exactly 0 at all 12 points (networks x stages)" in first.evidence
    assert "not 0 for 2 [2, 2] % of the weights tried, moved by 0.1 for 70 [70, 70] %" in first.evidence
    assert second.evidence.endswith("(h = 0.01) differ by 5.0 [5.0, 5.0] %.")


def test_a_loss_that_died_in_one_network_is_said(comparison):
    assert lab.summarise(comparison)[1].claim == "Cross entropy always gives one."
    died = comparison.copy(deep=True)
    died["dead"].loc[{"objective": "cross_entropy", "stage": "20 steps", "seed": 1}] = True
    assert lab.summarise(died)[1].claim == "Cross entropy's gradient died in some of these networks."


def test_dead_gradients_are_counted_at_their_worst_stage(comparison):
    found = comparison.copy(deep=True)
    found["dead"][:] = False
    found["dead"].loc[{"objective": "zero_one"}] = True
    assert "No other gradient died." in [one.claim for one in lab.summarise(found)]
    found["dead"].loc[{"objective": "gce", "seed": 0, "stage": "at the start"}] = True  # never two at a time
    found["dead"].loc[{"objective": "gce", "seed": 1, "stage": "20 steps"}] = True
    found["dead"].loc[{"objective": "ramp", "stage": "20 steps"}] = True
    said = told(found, "at their worst stage: ").evidence
    assert said.endswith("gce in 1 of 2, ramp T=1 in 2 of 2 networks.")
    for name in ("brier", "squared_error", "crammer_singer"):
        found["dead"].loc[{"objective": name}] = True
    assert told(found, "at their worst stage: ").evidence.endswith(" networks; so does ramp T=1 in 2 of 2.")
    found["dead"].loc[{"objective": "sigmoid_margin"}] = True
    assert told(found, "at their worst stage: ").evidence.endswith(" networks; so do 2 others.")


def test_a_gradient_raises_accuracy_more_where_the_interval_for_one_of_all_says_so(comparison):
    """One of the table's others at either stage: what is enough for a single one is not for the best of them."""
    many = comparison.isel(seed=[0, 1] * 3).copy(deep=True)
    noise = np.array([-1.0, 1.0, -0.5, 0.5, -0.2, 0.2])
    among = 2 * (int(comparison["in_table"].sum()) - 1)
    needed, single = (scipy.stats.t.ppf(1 - 0.025 / of, 5) * scipy.stats.sem(noise) for of in (among, among / 2))
    for factor, some in ((1.02, True), (0.98, False)):
        assert 0.98 * needed > single
        many["gain_difference"][:] = 0.0
        where = {"objective": "gce", "stage": "20 steps"}
        many["gain_difference"].loc[where] = 0.001 * (factor * needed + noise)
        assert told(many, "stage by stage").claim.startswith("Some" if some else "No")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_a_screen(comparison, width):
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(comparison_table(comparison, width=width))
    text = capture.get()
    assert len(text.splitlines()) <= 24
    assert "dead" in text
    assert ("|g|" in text) == (width >= 28 + 2 * (3 + 24)) and ("gain" in text) == (width >= 28 + 2 * (3 + 16))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_second_table_fits_and_says_how_to_read_it(comparison, width):
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(detail_table(comparison, width=width))
    text = capture.get()
    assert max(map(len, text.splitlines())) <= width
    assert text.startswith("More about them after 20 steps")
    shown = [column for column in COLUMNS if f" {column.heading} " in text.split("\n")[2]]
    assert len(shown) >= (4 if width > 40 else 1)
    flowing = " ".join(text.split())
    assert all(f"{column.heading}: {column.explained('accuracy')}" in flowing for column in shown)


@pytest.mark.slow
def test_double_precision_measures_the_same_networks(comparison, mnist, small_settings):
    """Trained alike; cosines that single precision has right come out the same, with more digits."""
    double = lab.compare(replace(small_settings, precision="float64", seeds=1), mnist)
    single = comparison.isel(seed=[0])
    np.testing.assert_array_equal(double["test_accuracy"], single["test_accuracy"])
    assert double["cosine"].dtype == np.float64
    for name in ("norm", "cosine", "effective_examples", "signal_to_noise", "batch_cosine"):
        np.testing.assert_allclose(double[name], single[name], rtol=2e-3, atol=2e-3, err_msg=name)
    assert jnp.zeros(()).dtype == jnp.float32  # and nothing is left switched


@pytest.mark.parametrize(
    ("step", "name"),
    [(0, "at the start"), (90, "90 steps (1 epoch)"), (100, "100 steps"), (5400, "5,400 steps (60 epochs)")],
)
def test_stage_names(step, name):
    assert stage_name(step, 90) == name


@pytest.mark.slow
def test_another_metric_is_what_is_gained(mnist, tmp_path):
    """Gains, race and words are of macro-F1 then; what is said of accuracy stays."""
    settings = lab.CompareSettings(
        standard=False,
        objective=("soft_macro_f1",),
        metric="macro_f1",
        seeds=2,
        stages="0,20",
        examples=200,
        temperatures="1",
        race=90,
    )
    found = lab.compare(settings, mnist)
    state = list(
        lab.train(
            lab.mlp([100], activation="relu"),
            lab.objective("cross_entropy"),
            lab.optimiser("sgd", 0.1),
            mnist.train.images,
            mnist.train.labels,
            key=jax.random.split(jax.random.key(1))[0],
            stages=[20],
        )
    )[-1]
    logits = lab.mlp([100], activation="relu").apply(state.parameters, jnp.asarray(mnist.test.images / 255, float))
    at = found.sel(seed=1, stage="20 steps")
    assert float(at["test_metric"]) == pytest.approx(float(lab.macro_f1(logits, mnist.test.labels)), abs=1e-5)
    assert float(at["test_accuracy"]) == pytest.approx(float(lab.accuracy(logits, mnist.test.labels)), abs=1e-6)
    gain = found["gain_held_out"].sel(objective=["cross_entropy", "soft_macro_f1"]).values
    assert (np.abs(200 * gain - np.round(200 * gain)) > 1e-3).any()  # accuracies of 200 images differ by 200ths
    assert (found["gain_held_out"].sel(objective="zero_one") == 0).all()
    assert (found["gain_held_out_error"].sel(objective="cross_entropy") > 0).all()
    assert found["gain_held_out"].attrs["comment"].startswith("The macro_f1 gained by the same step")
    race = raced(found)
    assert race is not None and race["test_macro_f1"].notnull().all()
    assert "has the highest macro_f1 on test images" in answer(race)[0]
    claims = [finding.claim for finding in lab.summarise(found)]
    assert any("macro_f1" in claim for claim in claims) and claims[0] == "Accuracy gives no direction."
    with lab.new_run(tmp_path, "compare", settings, {"versions": {}}) as run:
        run.save_results(found)
        lab.draw(run)
        page = lab.write_report(run).read_text()
    assert "<h1>We want macro_f1. Why train on a loss?</h1>" in page and "macro_f1 gained (points)" in page
    for name in ("gains", "race"):
        assert "macro_f1" in (run.figures / f"{name}.svg").read_text()
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(comparison_table(found, width=120))
    assert "gain of held-out macro_f1 by the best step along it" in " ".join(capture.get().split())


def test_a_metric_that_does_not_exist_is_said_at_once(mnist):
    with pytest.raises(lab.InputError, match="unknown metric 'macro'. Did you mean 'macro_f1'"):
        lab.compare(lab.CompareSettings(metric="macro"), mnist)


def test_without_the_standard_set_two_remain(mnist):
    settings = lab.CompareSettings(standard=False, objective=("gce:q=0.5",), temperatures="1")
    names = [str(one) for one in compared_objectives(settings)[0]]
    assert names == ["zero_one", "cross_entropy", "gce:q=0.5"]


def test_what_a_metric_was_smoothed_to_takes_part():
    for metric, one in (("macro_f1", "soft_macro_f1"), ("balanced_accuracy", "soft_balanced_error")):
        objectives, in_table = compared_objectives(lab.CompareSettings(metric=metric, temperatures="1,2"))
        shown = [str(of) for of, there in zip(objectives, in_table, strict=True) if there]
        assert shown == [*(str(lab.objective(text)) for text in STANDARD), one]
        assert f"{one}:temperature=2" in map(str, objectives)
        assert one in SweepSettings(metric=metric).objectives
        assert SweepSettings(metric=metric, objective=("gce",)).objectives == ("gce",)
    plain = {str(of) for of in compared_objectives(lab.CompareSettings())[0]}
    assert not [name for name in plain if name.startswith("soft_")]


def test_more_examples_than_there_are_is_said_at_once(mnist):
    with pytest.raises(lab.InputError, match="--examples must be at most 9,000"):
        lab.compare(lab.CompareSettings(examples=10_000), mnist)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": "5,1"}, "--stages"),
        ({"stages": ""}, "--stages"),
        ({"stages": "1.5"}, "--stages"),
        ({"temperatures": "0,1"}, "--temperatures"),
        ({"temperatures": "a"}, "--temperatures"),
        ({"seeds": 0}, "--seeds"),
        ({"examples": 1}, "--examples"),
        ({"race": -1}, "--race"),
        ({"race": 300, "checkpoint": (Path("runs/a"),)}, "--race trains networks, --checkpoint measures"),
        (
            {"checkpoint": (Path("runs/a"),), "train_on": "brier", "training": lab.TrainingSettings(learning_rate=9.0)},
            "--checkpoint measures networks as they are saved.*leave out --train-on, --learning-rate",
        ),
    ],
)
def test_wrong_settings_are_refused_when_made(options, message):
    with pytest.raises(lab.InputError, match=message):
        lab.CompareSettings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"batch_size": 0}, "--batch-size"),
    ],
)
def test_wrong_training_settings_are_refused_when_made(options, message):
    with pytest.raises(lab.InputError, match=message):
        lab.TrainingSettings(**options)


class TestRuns:
    def test_a_run_comes_back_as_it_was(self, tmp_path, comparison, small_settings):
        with lab.new_run(tmp_path / "runs", "compare", small_settings, lab.describe(precision="highest")) as run:
            assert not list((tmp_path / "runs").glob("[!.]*"))  # nothing to see until it is whole
            run.save_results(comparison)
        xarray.testing.assert_identical(lab.Run(run.path).results(), comparison)
        assert run.path.name.endswith("-compare")
        assert lab.Run(run.path).config()["stages"] == "0,20"
        environment = lab.Run(run.path).environment()
        assert environment["packages"]["jax"] == jax.__version__
        assert environment["precision"]["matmul"] == "highest"

    @pytest.mark.parametrize("trouble", [RuntimeError("broken"), KeyboardInterrupt()])
    def test_a_run_that_fails_leaves_nothing(self, tmp_path, small_settings, trouble):
        with pytest.raises(type(trouble)), lab.new_run(tmp_path, "compare", small_settings, {}) as run:
            (run.path / "half").write_text("written")
            raise trouble
        assert not list(tmp_path.iterdir())

    def test_two_runs_in_one_second_do_not_meet(self, tmp_path, small_settings):
        """Nor where two look for a name at the same time: each has the folder that it has made."""

        def begin(kind):
            with kind(tmp_path, "compare", small_settings, {}) as run:
                (run.path / "results.nc").write_bytes(b"kept")
            return run.name

        for kind in (lab.new_run, lab.lasting_run):
            for _ in range(3):
                begin(kind)
            with ThreadPoolExecutor(8) as at_once:
                list(at_once.map(begin, [kind] * 24))
        names = [path.name for path in tmp_path.iterdir()]
        assert len(names) == 54 and all(re.fullmatch(r"\d{8}-\d{6}-compare", name) for name in names)

    def test_a_folder_that_cannot_be_made_is_said_before_any_work(self, tmp_path, small_settings):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(lab.InputError, match="Name another folder with --out"):
            with lab.new_run(tmp_path / "file", "compare", small_settings, {}):
                pytest.fail("the work began")

    def test_damaged_results_are_named(self, tmp_path, comparison, small_settings):
        with lab.new_run(tmp_path, "compare", small_settings, {}) as run:
            run.save_results(comparison)
        path = run.path / "results.nc"
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], b"not a netCDF file" * 100):
            path.write_bytes(damaged)
            with pytest.raises(lab.DataError, match=r"results\.nc is damaged"):
                lab.Run(run.path).results()
        path.unlink()
        with pytest.raises(lab.DataError, match=r"holds no results\.nc"):
            lab.Run(run.path).results()

    def test_a_write_that_fails_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "results.nc"
        write_bytes(path, b"old")
        with pytest.raises(TypeError):
            write_bytes(path, "no bytes")  # pyright: ignore[reportArgumentType]
        assert path.read_bytes() == b"old"
        assert [one.name for one in tmp_path.iterdir()] == ["results.nc"]


def test_a_stage_is_compared_once():
    with pytest.raises(lab.InputError, match="--stages must be rising"):
        lab.CompareSettings(stages="0,100,100")
