"""Sweeps: what is tuned, what is chosen, what is said, and that a sweep that was stopped comes to the same end."""

import inspect
import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import altair as alt
import jax
import numpy as np
import pytest
from rich.console import Console

import lab
from lab import figures, tallies
from lab.console import read_again
from lab.errors import Stopped
from lab.links import keys
from lab.markup import plain
from lab.ranking import answer
from lab.runs import write_json
from lab.settings import SweepCommand
from lab.sweeps import Cell, _beyond_the_edges, _whole, swept_objectives

DECAY = 0.1


def settings(**options):
    data = lab.DataSettings(subset=1000)
    given = {"network": "mlp:8", "epochs": 2, "seeds": 2, "learning_rates": "0.1,1", "widenings": 0}
    given["weight_decay"] = DECAY
    return lab.SweepSettings(data=data, **given | {"objective": ("expected_error", "gce")} | options)


@pytest.fixture(scope="module")
def data():
    return lab.load_from(settings().data)


@pytest.fixture(scope="module")
def swept(data):
    return lab.sweep(settings(temperatures="0.5,1"), data)


def test_every_cell_is_the_training_of_its_own_networks(swept, data):
    """Trained again one by one; accuracies of 1,000 and 2,000 images may differ by what rounding decides, an image."""
    network = lab.mlp([8], activation="relu")
    for objective, rate in (("cross_entropy", 0.1), ("expected_error:temperature=0.5", 1.0), ("gce", 1.0)):
        for seed in (0, 1):
            (state,) = lab.train(
                network,
                lab.objective(objective),
                lab.optimiser("sgd", rate, weight_decay=DECAY),
                data.train.images,
                data.train.labels,
                key=jax.random.key(seed),
                stages=[20],
            )
            found = lab.evaluate(
                network.apply,
                lab.objective(objective),
                state.parameters,
                data.validation.images,
                data.validation.labels,
            )
            cell = swept["tuning"].sel(objective=objective, optimiser="sgd", learning_rate=rate, seed=seed)
            assert float(cell) == pytest.approx(found["accuracy"], abs=1.01e-3)


def reads_nines(logits, labels):
    """Of the last class alone, and not written with JAX."""
    return float(np.mean(logits[labels == 9].argmax(axis=1) == 9))


def test_another_metric_chooses_and_ranks(data, tmp_path):
    """At the rates that it, and not accuracy, has best: trained again one by one."""
    (tmp_path / "mine.py").write_text("import numpy as np\n" + inspect.getsource(reads_nines))
    network, rates = lab.mlp([8], activation="relu"), (0.003, 0.3, 3.0)
    given = settings(
        objective=("gce",),
        metric=f"{tmp_path / 'mine.py'}:reads_nines",
        learning_rates=",".join(map(str, rates)),
    )
    found = lab.sweep(given, data)
    for one in ("cross_entropy", "gce"):
        for rate in rates:
            for seed in (0, 1):
                key = jax.random.key(seed)
                by, train = lab.optimiser("sgd", rate, weight_decay=DECAY), data.train
                trained = lab.train(network, lab.objective(one), by, train.images, train.labels, key=key, stages=[20])
                (state,) = trained
                scores = {
                    part: reads_nines(
                        np.asarray(network.apply(state.parameters, jax.numpy.asarray(of.images) / 255)), of.labels
                    )
                    for part, of in (("validation", data.validation), ("test", data.test))
                }
                cell = found["tuning"].sel(objective=one, optimiser="sgd", learning_rate=rate, seed=seed)
                assert float(cell) == pytest.approx(scores["validation"], abs=0.02)  # of 100 nines
                if rate == float(found["chosen_rate"].sel(objective=one)):
                    tested = float(found["test_reads_nines"].sel(objective=one, seed=seed))
                    assert tested == pytest.approx(scores["test"], abs=0.02)
        means = found["tuning"].sel(objective=one, optimiser="sgd").mean("seed")
        assert float(found["chosen_rate"].sel(objective=one)) == float(means.idxmax("learning_rate"))
    assert found["test_accuracy"].notnull().all() and found.attrs["metric"] == "reads_nines"
    assert found.attrs["recipe"].endswith("chosen for each objective on validation, by reads_nines")
    best = max(float(of) for of in 100 * found["test_reads_nines"].mean("seed"))
    assert f"has the highest reads_nines on test images: {best:.1f}" in answer(found)[0]
    drawn = {row["title"]: row["mean"] for row in tallies.ranking_rows(found)}
    for title, mean in drawn.items():
        assert mean == pytest.approx(100 * float(found["test_reads_nines"].sel(objective=title).mean()), rel=1e-3)
    for chart in (figures.standings, figures.tuning, figures.progress):
        assert "reads_nines" in json.dumps(chart(found).to_dict())


def test_a_metric_of_a_network_that_diverges_is_not_asked_for(data, tmp_path):
    (tmp_path / "mine.py").write_text("import numpy as np\n" + inspect.getsource(reads_nines))
    given = settings(
        objective=("gce",),
        learning_rates="0.1,1e30",
        reference="gce",
        metric=f"{tmp_path / 'mine.py'}:reads_nines",
    )
    found = lab.sweep(given, data)
    assert found["diverged"].values.tolist() == [1] and found["chosen_rate"].values.tolist() == [0.1]


def test_the_rate_is_chosen_on_validation_alone(swept):
    means = swept["tuning"].mean("seed").sel(optimiser="sgd")
    assert swept["objective"].values.tolist() == [
        "cross_entropy",
        "expected_error:temperature=0.5",
        "expected_error",
        "gce",
    ]
    for name in swept["objective"].values:
        of = swept.sel(objective=name)
        best = means.sel(objective=name).idxmax("learning_rate")
        assert float(of["chosen_rate"]) == float(best)
        last = of["validation_accuracy"].isel(epoch=-1)
        np.testing.assert_array_equal(last, of["tuning"].sel(optimiser="sgd", learning_rate=float(best)))
    assert swept["test_accuracy"].notnull().all() and swept.sizes["epoch"] == 3


def test_variants_of_a_seed_start_alike(swept):
    start = swept["validation_accuracy"].isel(epoch=0)
    assert (start == start.isel(objective=0)).all()
    assert float(start.isel(objective=0, seed=0)) != float(start.isel(objective=0, seed=1))


def test_a_temperature_that_is_named_is_kept():
    names = [
        str(one)
        for one in swept_objectives(settings(objective=("ramp:temperature=3", "sigmoid_margin"), temperatures="0.5,2"))
    ]
    assert names == [
        "cross_entropy",
        "ramp:temperature=3",
        "sigmoid_margin:temperature=0.5",
        "sigmoid_margin:temperature=2",
    ]


def test_the_grid_is_made_wider_on_the_side_of_the_best():
    def scores(**of):
        return {Cell(name, "sgd", rate): score for name, found in of.items() for rate, score in found.items()}

    grid = (0.1, 1.0, 10.0)
    high, low = {0.1: 0.2, 1.0: 0.3, 10.0: 0.4}, {0.1: 0.4, 1.0: 0.3, 10.0: -1.0}
    inside = {0.1: 0.3, 1.0: 0.4, 10.0: 0.3}
    level = {rate: 0.5 for rate in grid}
    found = _beyond_the_edges(scores(high=high, low=low, inside=inside, level=level), grid, 2)
    assert found == [Cell("high", "sgd", 100.0), Cell("low", "sgd", 0.01)]
    further = {"high": high | {100.0: 0.5}, "low": low | {0.01: 0.1}, "inside": inside}
    assert _beyond_the_edges(scores(**further), grid, 2) == [Cell("high", "sgd", 1000.0)]
    assert _beyond_the_edges(scores(**further), grid, 1) == []
    other = {Cell("high", "adam", rate): 0.6 if rate == 10.0 else 0.1 for rate in grid}
    assert _beyond_the_edges(scores(high=further["high"]) | other, grid, 1) == []  # sgd has had what there was


def test_seeds_batches_and_optimisers_are_those_asked_for(data):
    """Trained again one by one, with the seeds from the first on, the batches drawn, and by every optimiser."""
    asked = settings(
        objective=("cross_entropy",), optimiser="sgd,adam", learning_rates="0.01", seed=3, batch_size=20, order="drawn"
    )
    found = lab.sweep(asked, data)
    network = lab.mlp([8], activation="relu")
    assert found["seed"].values.tolist() == [3, 4] and found["step"].values.tolist() == [0, 50, 100]
    for by in ("sgd", "adam"):
        for seed in (3, 4):
            (state,) = lab.train(
                network,
                lab.objective("cross_entropy"),
                lab.optimiser(by, 0.01, weight_decay=DECAY),
                data.train.images,
                data.train.labels,
                key=jax.random.key(seed),
                stages=[100],
                batch_size=20,
                order=lab.batches.ORDERS["drawn"],
            )
            part = data.validation
            of = lab.evaluate(network.apply, lab.objective("zero_one"), state.parameters, part.images, part.labels)
            cell = found["tuning"].sel(objective="cross_entropy", optimiser=by, learning_rate=0.01, seed=seed)
            assert float(cell) == pytest.approx(of["accuracy"], abs=1.01e-3)
    means = found["tuning"].isel(objective=0, learning_rate=0).mean("seed")
    assert found["chosen_optimiser"].item() == str(means.idxmax("optimiser").item())
    assert found.attrs["recipe"].endswith("learning rate and optimiser chosen for each objective on validation")


def test_what_was_widened_and_what_diverged_is_said_of_each_objective_alone(data):
    """Accuracy has no gradient: without weight decay its rates are level, and none diverges."""
    asked = settings(
        objective=("squared_error",), reference="zero_one", learning_rates="0.01,0.1", widenings=1, weight_decay=0.0
    )
    found = lab.sweep(asked, data)
    rates = {
        name: [rate for rate in found["learning_rate"].values if of["tried"].sel(learning_rate=rate).item()]
        for name in ("zero_one", "squared_error")
        for of in [found.sel(objective=name)]
    }
    assert rates == {"zero_one": [0.01, 0.1], "squared_error": [0.01, 0.1, 1.0]}
    assert found["widened"].values.tolist() == [0, 1]
    huge = settings(objective=("gce",), reference="zero_one", learning_rates="0.1,1e30", weight_decay=0.0)
    assert lab.sweep(huge, data)["diverged"].values.tolist() == [0, 1]


def test_a_cell_is_done_when_all_its_seeds_are():
    """A family's rows are written in one go, of which a process that is killed may have written some."""

    def row(rate, seed, **more):
        return Cell("gce", "sgd", rate)._asdict() | {"seed": seed, "epoch": 1} | more

    ends = [row(rate, seed, **{"test/accuracy": 0.9}) for rate, seed in ((0.1, 0), (0.1, 1), (1.0, 0))]
    begun = [row(rate, seed) for rate in (0.1, 1.0) for seed in (0, 1)]
    assert _whole([*begun, *ends], 2) == [*begun[:2], *ends[:2]]


def test_where_nothing_was_best_it_is_said(data):
    said = []
    options = {"objective": ("gce",), "reference": "gce", "learning_rates": "1e28,1e30"}
    with pytest.raises(FloatingPointError):
        lab.sweep(settings(**options, widenings=1), data, say=said.append)
    assert said == ["gce: diverged at every learning rate; 1e+26 is tried as well."]


def test_a_sweep_goes_beyond_its_grid_and_says_so(data):
    """And counts the steps that are to come, as they are known, with those that are done."""
    said, done, to_come = [], 0, 0

    def progress(steps, what, more=0):
        nonlocal done, to_come
        done, to_come = done + steps, to_come + more
        assert done <= to_come

    options = {"objective": ("squared_error",), "reference": "squared_error", "learning_rates": "0.01,0.1"}
    found = lab.sweep(settings(**options, widenings=2), data, say=said.append, progress=progress)
    assert done == to_come == 4 * 2 * 20  # rates, seeds, steps
    assert found["learning_rate"].values.tolist() == pytest.approx([0.01, 0.1, 1.0, 10.0])
    assert found["widened"].values.tolist() == [2]
    assert said == [
        f"squared_error: best at the edge of the learning rates; {rate} is tried as well." for rate in (1, 10)
    ]


def test_a_cell_that_diverges_is_marked_and_the_others_go_on(data):
    found = lab.sweep(settings(objective=("gce",), learning_rates="0.1,1e30", reference="gce"), data)
    assert found["diverged"].values.tolist() == [1] and found["chosen_rate"].values.tolist() == [0.1]
    assert found["tuning"].sel(learning_rate=1e30).isnull().all()
    alone = lab.sweep(settings(objective=("gce",), learning_rates="0.1", reference="gce"), data)
    np.testing.assert_allclose(found["test_accuracy"], alone["test_accuracy"], atol=1.01e-3)
    with pytest.raises(FloatingPointError, match="gce diverged at every learning rate"):
        lab.sweep(settings(objective=("gce",), learning_rates="1e30", reference="gce"), data)


def test_an_objective_that_always_diverges_is_named_and_left_out(data):
    """The reference, accuracy, has no gradient: without weight decay no rate is too large for it."""
    chosen = settings(objective=("gce",), learning_rates="1e30", reference="zero_one", weight_decay=0.0)
    found = lab.sweep(chosen, data)
    assert found["objective"].values.tolist() == ["zero_one"] and found.attrs["lost"] == "gce"


def test_options_given_once_more_stand_in_place_of_those_that_a_run_was_begun_with(monkeypatch):
    begun = SweepCommand(settings(objective=("gce", "brier"), seeds=2))
    for given, objectives in (("gce brier", ("gce", "brier")), ("focal", ("focal",)), ("", ("gce", "brier"))):
        monkeypatch.setattr(
            sys, "argv", ["lab", "sweep", *(f"--objective={one}" for one in given.split()), "--seeds=3"]
        )
        again = read_again(begun).settings
        assert again == replace(begun.settings, objective=objectives, seeds=3)


def test_a_sweep_that_was_stopped_comes_to_the_same_end(swept, data, tmp_path):
    """Stopped while its second family trains; what the first has written is not done again."""
    chosen, families = settings(temperatures="0.5,1"), []

    def progress(steps, what, more=0):
        if steps and (family := what.split(",")[0]) not in families:
            families.append(family)

    with pytest.raises(Stopped) as stopped:
        with lab.lasting_run(tmp_path, "sweep", chosen, {}) as run:
            lab.sweep(chosen, data, run, progress=progress, stop=lambda: len(families) == 2)
    assert f"--resume {run.path}" in " ".join(stopped.value.__notes__)
    rows = run.metrics()
    assert {row["objective"] for row in rows} == {"cross_entropy"}
    run.add_metrics([rows[0] | {"objective": "gce"}])  # a family that was being written when the process was killed
    families.clear()
    with lab.resumed_run(run.path, "sweep", chosen) as again:
        found = lab.sweep(chosen, data, again, progress=progress)
        again.save_results(found)
    assert families and not any("cross_entropy" in one for one in families)
    assert found.identical(swept)
    assert again.complete and not again.resumable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rates": ""}, "--learning-rates must be one or more"),
        ({"learning_rates": "0.1,-1"}, "--learning-rates must be finite numbers > 0"),
        ({"temperatures": "0"}, "--temperatures must be finite numbers > 0"),
        ({"optimiser": "sdg"}, "Did you mean 'sgd'"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"widenings": -1}, "--widenings must be at least 0"),
    ],
)
def test_wrong_settings_are_refused_when_made(options, message):
    with pytest.raises(lab.InputError, match=message):
        settings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": ("gec",)}, "Did you mean 'gce'"),
        ({"reference": "cross"}, "unknown objective 'cross'"),
        (
            {"objective": ("gce", "expected_error:temperature=2"), "temperatures": "1"},
            "none of gce, expected_error:temperature=2 is one. Leave it out",
        ),
        ({"batch_size": 1001}, "batch size must be 1..1000"),
        ({"network": "mlp:x"}, "--network needs whole numbers"),
        ({"seeds": 10**8}, "100000000 networks do not fit into memory together; [0-9]+ do"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(data, options, message):
    with pytest.raises(lab.InputError, match=message):
        lab.sweep(settings(**options), data, progress=lambda steps, what, more=0: pytest.fail("something was trained"))


def test_a_sweep_has_a_page(swept, tmp_path):
    run = lab.Run(tmp_path)
    run.save_results(swept)
    for name in ("config", "environment"):
        write_json(tmp_path / f"{name}.json", {})
    text = lab.write_report(run).read_text()
    content = json.loads(text.split('id="charts">')[1].split("</script>")[0])
    assert list(content["specs"]) == ["standings", "tuning", "progress", "dead"]
    for spec in content["specs"].values():
        alt.LayerChart.from_dict(spec)  # checked against the schema
    titles = {str(title) for title in swept["title"].values}
    for spec in content["specs"].values():
        assert set(keys(spec, content["datasets"])) == titles  # one choice for all charts
    assert {row["n"] for row in content["datasets"]["progress"]} == {2}
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 100 for row in content["datasets"]["progress"])
    assert plain(" ".join(answer(swept))) in text


def test_dead_classes_are_drawn_of_objectives_that_have_any(swept):
    none, losing = swept.copy(deep=True), swept.copy(deep=True)
    none["dead_classes"][:] = 0
    assert {row["measure"] for row in tallies.progress_rows(none)} == {"score"}
    assert len(figures.progress(none).vconcat) == 1
    losing["dead_classes"][:] = 0
    losing["dead_classes"].loc[{"objective": "gce", "epoch": 1}] = 2
    drawn = figures.progress(losing)
    assert {row["title"] for row in drawn.datasets["progress"] if row["measure"] == "dead"} == {"gce"}
    accuracy, dead = (part["facet"]["sort"] for part in drawn.to_dict()["vconcat"])
    assert set(accuracy) == {str(title) for title in swept["title"].values} and dead == ["gce"]


def test_a_sweep_is_drawn_and_printed(swept, tmp_path):
    run = lab.Run(tmp_path)
    run.save_results(swept)
    drawn = lab.draw(run)
    assert {path.name for path in drawn} == {
        f"{name}.{kind}" for name in ("standings", "tuning", "progress") for kind in ("png", "svg", "pdf")
    }
    for figure in figures.SWEEP:
        figure(swept).to_dict()  # altair checks it against the schema
    for path in drawn:
        if path.suffix == ".svg":
            written = " ".join(ElementTree.fromstring(path.read_text()).itertext()).replace("\u00a0", " ")
            assert "1,000 of 9,000 training images" in " ".join(written.split())
            assert all(str(title) in written for title in swept["title"].values)
    console = Console(record=True, width=120)
    lab.show_sweep(run, console)
    printed = " ".join(console.export_text().split())
    assert all(str(title) in printed for title in swept["title"].values)
    assert "n = 2 networks each" in printed and str(tmp_path) in printed
