"""Figures: what is drawn is what was measured, titles follow the data, and no JAX is needed."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.stats
import vl_convert
import xarray
from PIL import Image
from rich.console import Console
from test_ranking import results as sweep

import lab
from lab import figures, headlines, legend, races, scenes, series, tables
from lab.columns import COLUMNS
from lab.palette import KNOWN, styles
from lab.runs import Run, write_json

EVIL = "<script>alert(1)</script>"


def renamed(results, objective, title):
    """The results with one objective under another name and title, as a user's own might have."""
    place = list(results["objective"].values).index(objective)
    for coordinate in ("title", "name"):
        names = results[coordinate].values.astype(object)
        names[place] = title
        results = results.assign_coords({coordinate: ("objective", names.astype(str))})
    return results


@pytest.fixture(scope="module")
def run(tmp_path_factory, comparison):
    """A run's folder with results in it and nothing drawn."""
    found = Run(tmp_path_factory.mktemp("runs") / "20261123-120000-compare")
    found.path.mkdir()
    found.save_results(comparison)
    write_json(found.path / "config.json", {"kind": "compare"})
    return found


@pytest.fixture(scope="module")
def drawn(run):
    return lab.draw(run)


@pytest.fixture(scope="module")
def learning():
    """Results of training: three epochs, with the test accuracy ending at 91.2 %."""
    values = np.linspace(0.1, 0.912, 4)[:, None] * np.ones((2, 1, 3))
    values[:, 0, 0] = np.nan  # before the first epoch there is nothing to say of training
    values += np.array([-0.002, 0.002])[:, None, None]
    return xarray.Dataset(
        {"loss": (("seed", "epoch", "split"), 2 - values), "accuracy": (("seed", "epoch", "split"), values)},
        coords={"seed": [0, 1], "epoch": np.arange(4), "split": ["train", "validation", "test"]},
        attrs={"data": "digits", "network": "784-100-10 relu", "recipe": "sgd"},
    )


def titles(svg):
    nodes = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [line for node in nodes for line in node.itertext()]


@pytest.mark.parametrize("last", [1, 2, 3, 8])
def test_epochs_are_whole_numbers(last):
    """However few there are: no half of an epoch, and none twice; and there are values to read beside them."""
    rows = [
        {"title": "a", "measure": "score", "epoch": epoch, "mean": 100 + epoch, "n": 1, "reference": False}
        for epoch in range(last + 1)
    ]
    chart = races.progress("score", "", ["a"]).properties(datasets={"progress": rows})
    shown = [text for text in titles(vl_convert.vegalite_to_svg(chart.to_dict())) if text not in ("", "a", "epoch")]
    assert sum(float(text) >= 100 for text in shown) > 2
    epochs = [int(text) for text in shown if float(text) < 100]  # int refuses 0.5
    assert epochs[0] == 0 and epochs == sorted(set(epochs)) and len(epochs) > 1


def test_a_single_epoch_is_seen():
    """A line through one point is nothing: that and the reference are points, and the interval a line."""
    row = {"title": "a", "measure": "score", "epoch": 1, "mean": 90.0, "low": 89.0, "high": 91.0, "n": 3}
    rows = [row | {"reference": True}, row | {"reference": False, "mean": 90.5}]
    chart = races.progress("score", "", ["a"], single=True).properties(datasets={"progress": rows})
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    assert svg.count('aria-roledescription="point"') == 2 and svg.count('aria-roledescription="rule mark"') == 1


def test_networks_are_seen_across_their_interval():
    """Ticks higher than the line of the interval is thick, and drawn where the networks are."""
    row = {"title": "a", "verdict": "cannot tell", "mean": 91.0, "low": 90.0, "high": 92.0, "n": 3}
    networks = [{"title": "a", "score": value} for value in (90.5, 91.0, 91.5)]
    chart = races.ranking(["a"], "accuracy").properties(datasets={"ranking": [row], "networks": networks})
    ticks, span, _ = chart.to_dict()["layer"]
    assert ticks["mark"]["type"] == "tick" and ticks["mark"]["size"] > 3 * span["mark"]["strokeWidth"]
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    assert svg.count('aria-roledescription="tick"') == 3


NAMED = "mine[tanh] [/bold] 784"  # as a user's own network, objective or data might be; brackets are rich's markup


@pytest.mark.parametrize("of", ["compare", "details", "train", "sweep", "show"])
def test_brackets_in_names_are_printed(of, comparison, learning):
    given = {"train": learning, "sweep": sweep(), "show": lab.portray(lab.objective("mae"))}.get(of, comparison)
    named = {name: NAMED for name in ("network", "recipe", "data", "formula") if name in given.attrs}
    table = {
        "compare": lambda found: tables.comparison_table(renamed(found, "gce", NAMED), width=200),
        "details": lambda found: tables.detail_table(renamed(found, "gce", NAMED), width=200),
        "train": tables.learning_table,
        "sweep": tables.ranking_table,
        "show": tables.portrait_table,
    }[of](given.assign_attrs(named))
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(table)
    times = {"compare": 3, "details": 1, "train": 3, "sweep": 3, "show": 1}[of]  # title, caption, row
    assert " ".join(console.export_text().split()).count(NAMED) == times


def test_a_percentage_is_explained_in_percent():
    """Beside numbers up to 100 a share of 0.05 would be read as a twentieth of one."""
    for column in COLUMNS:
        shares = re.findall(r"\b0\.\d+", column.explained("accuracy"))
        assert not (column.scale == 100 and shares), (column.heading, shares)


# -- files ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_figure_is_written_thrice(run, drawn):
    names = {"staircase", "differences", "cosines", "margins", "temperatures", "gains", "weights", "details", "race"}
    assert {path.name for path in drawn} == {f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")}
    assert {path.name for path in run.figures.iterdir()} == {path.name for path in drawn}


@pytest.mark.slow
def test_pictures_are_sharp_and_not_blank(drawn):
    for path in drawn:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width >= 1200 and image.height >= 400, path.name
                colours = image.convert("RGB").getcolors(maxcolors=2**24)
            assert len(colours) > 50, path.name
            assert max(count for count, _ in colours) < 0.97 * image.width * image.height, path.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["staircase", "differences", "cosines", "margins", "temperatures", "gains", "weights", "details"]
)
def test_a_picture_says_its_finding_and_its_source(run, drawn, comparison, name):
    written = " ".join(titles((run.figures / f"{name}.svg").read_text()))
    shown = written.replace("\u00a0", " ")
    headline = getattr(headlines, name)(comparison)
    assert headline[:40] in shown
    of = "n = 1 network, 100 training images." if name == "staircase" else "n = 2 networks, 200 training images each."
    assert of in " ".join(shown.split())
    assert "embedded sample" in shown


@pytest.mark.parametrize("figure", figures.COMPARISON, ids=lambda figure: figure.__name__)
def test_charts_are_valid_vega_lite(comparison, figure):
    figure(comparison).to_dict()  # altair checks it against the schema


@pytest.mark.slow
def test_nothing_is_cut_off_at_the_edges(drawn):
    for path in drawn:
        if path.suffix == ".png":
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L"))
            edges = (pixels[:10], pixels[-10:], pixels[:, :10], pixels[:, -10:])
            assert min(edge.min() for edge in edges) == 255, path.name


def test_the_learning_curve_is_drawn(tmp_path, learning):
    run = Run(tmp_path)
    run.save_results(learning)
    assert {path.name for path in lab.draw(run)} == {f"learning.{kind}" for kind in ("png", "svg", "pdf")}
    assert "After 3 epochs 91.2 [88.7, 93.7] % of the test images are read rightly." in headlines.learning(learning)


@pytest.mark.slow
def test_drawing_needs_no_jax(run, drawn, tmp_path):
    """In a process in which importing JAX fails; and drawn again from disk a picture is the same to the last bit."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "results.nc").write_bytes((run.path / "results.nc").read_bytes())
    code = (
        "import sys\nfor name in ('jax', 'jaxlib', 'optax'): sys.modules[name] = None\n"
        f"import lab\nfrom pathlib import Path\nlab.draw(lab.Run(Path({str(copy)!r})))"
    )
    root = Path(lab.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in drawn:
        again = copy / "figures" / path.name
        if path.suffix == ".pdf":  # its parts come in another order each time
            assert abs(again.stat().st_size - path.stat().st_size) < 100, path.name
        else:
            assert again.read_bytes() == path.read_bytes(), path.name


def test_damaged_results_are_named(tmp_path):
    (tmp_path / "results.nc").write_bytes(b"not a netCDF file")
    with pytest.raises(lab.DataError, match=re.escape(str(tmp_path / "results.nc"))):
        lab.draw(Run(tmp_path))
    assert not (tmp_path / "figures").exists()


# -- numbers ----------------------------------------------------------------------------------------------------


def data(chart):
    return chart.to_dict()["datasets"]


def test_cosines_are_the_measured_ones(comparison):
    rows = data(figures.cosines(comparison))["cosines"]
    table = comparison.isel(objective=comparison["in_table"].values, other=comparison["in_table"].values)
    stages = legend.stage_titles(comparison)
    n = table.sizes["objective"]
    assert len(rows) == 2 * n * n
    mean = table["cosine"].mean("seed").values  # stage, objective, other
    for row in rows:
        i = int(row["row"].split()[0]) - 1
        expected = mean[stages.index(row["stage"]), i, row["place"] - 1]
        if np.isnan(expected):
            assert row["mean"] is None and row["n"] == 0 and "zero_one" in row["row"] + row["column"]
        else:
            assert row["mean"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
            assert row["n"] == 2
    assert {row["row"] for row in rows if row["dead"]} == {"1  zero_one"}


def test_an_objective_of_ones_own_looks_the_same_over_temperature(comparison):
    """Though one without a temperature, which comes before it, is not there."""
    own = comparison
    for coordinate in ("objective", "other", "name", "title"):
        names = [re.sub("^ramp", "second", re.sub("^gce", "first", name)) for name in own[coordinate].values]
        own = own.assign_coords({coordinate: (own[coordinate].dims, names)})

    def colours(chart):
        found = set()
        for part in json.dumps(chart.to_dict()).split('"scale": ')[1:]:
            scale, _ = json.JSONDecoder().raw_decode(part)
            if "second" in scale.get("domain", []):
                found.add(str(scale["range"][scale["domain"].index("second")]))
        return {one for one in found if one.startswith("#")}  # and not a dash

    assert colours(figures.margins(own)) == colours(figures.temperatures(own)) != set()


def test_temperatures_have_the_t_interval_of_their_networks(comparison):
    rows = data(figures.temperatures(comparison))["temperatures"]
    (row,) = (
        row
        for row in rows
        if (row["key"], row["temperature"], row["measure"]) == ("expected_error", 10, "effective_examples")
        and row["stage"] == "after 20 steps"
    )
    a, b = comparison["effective_examples"].sel(objective="expected_error:temperature=10", stage="20 steps").values
    half = 12.706 * abs(a - b) / 2  # t of one degree of freedom; s / sqrt(2) = |a - b| / 2
    assert row["mean"] == pytest.approx((a + b) / 2, rel=1e-3)
    # Of 200 examples no more than 200 carry a gradient.
    assert (row["low"], row["high"]) == pytest.approx(((a + b) / 2 - half, min((a + b) / 2 + half, 200)), rel=2e-3)
    swept = {"cross_entropy", "expected_error", "centred_expected_error", "sigmoid_margin", "ramp"}
    assert {row["key"] for row in rows} == swept
    assert {row["temperature"] for row in rows} == {0.1, 1, 10}
    dead = sum(row["mean"] for row in rows if row["measure"] == "dead")
    assert dead == int(comparison["dead"].isel(objective=np.isin(comparison["name"], list(swept))).sum())


def test_weights_are_shares_of_the_measured_ones(comparison):
    for row in series.weight_rows(comparison):
        dead = row["title"] == "zero_one"
        assert sum(row["share"]) == pytest.approx(0 if dead else 100, abs=0.5), row["title"]
    for row in series.example_rows(comparison):
        assert sum(row["share"]) == pytest.approx(100, abs=0.5)
    (row,) = (
        row
        for row in series.weight_rows(comparison)
        if row["title"] == "expected_error T=0.1" and row["stage"] == "at the start"
    )
    measured = comparison["weight_by_margin"].sel(objective="expected_error:temperature=0.1").isel(stage=0)
    np.testing.assert_allclose(row["share"], 100 * measured.mean("seed"), rtol=6e-3, atol=1e-9)
    assert row["t"] == 0  # the coldest of 0.1, 1, 10


def test_ridges_keep_the_shape_of_what_was_measured(comparison):
    rows = data(figures.margins(comparison))["ridges"]
    for row in rows:
        measured = comparison.sel(objective=comparison["objective"][comparison["title"] == row["title"]].item())
        shape = (
            measured["weight_by_margin"].mean("seed").isel(stage=legend.stage_titles(comparison).index(row["stage"]))
        )
        np.testing.assert_allclose(row["share"], shape / max(float(shape.max()), 1e-30), atol=1e-3)
    assert {row["carried"] for row in rows if row["title"] == "zero_one"} == {"dead"}


def test_the_staircase_is_flat_and_the_loss_is_not(comparison):
    rows = series.staircase_rows(comparison)
    for row in rows:
        if row["quantity"] == "value":
            s = legend.stage_titles(comparison).index(row["stage"])
            measured = comparison["line"].isel(seed=0, stage=s).sel(curve=row["curve"])
            np.testing.assert_allclose(row["value"], measured, rtol=1e-6)
        slopes = np.array(row["value"]) if row["quantity"] == "slope" else None
        if slopes is not None and row["curve"] == "zero_one":
            assert np.mean(slopes == 0) > 0.9
        if slopes is not None and row["curve"] == "cross_entropy":
            assert np.mean(slopes == 0) < 0.02
    # Slopes add up to the way between the ends.
    value, slope = (
        next(r for r in rows if r["curve"] == "cross_entropy" and r["quantity"] == q) for q in ("value", "slope")
    )
    step = value["offset"][1] - value["offset"][0]
    assert sum(slope["value"]) * step == pytest.approx(value["value"][-1] - value["value"][0], rel=1e-3)


def test_differences_are_the_measured_ones(comparison):
    for row in data(figures.differences(comparison))["differences"]:
        s = legend.stage_titles(comparison).index(row["stage"])
        at = comparison.isel(stage=s).sel(h=row["h"]).mean("seed")
        expected = 1 - at["difference_moved_share"] if row["measure"] == "still" else at["difference_loss_deviation"]
        assert row["mean"] == pytest.approx(100 * float(expected), rel=1e-3)


# -- titles -----------------------------------------------------------------------------------------------------


def test_titles_turn_with_the_data(comparison):
    """The same sentences would be false of other data: then others are said."""
    flat = comparison.copy(deep=True)
    flat["line"].loc[{"curve": "cross_entropy"}] = 1.0
    assert "jumps elsewhere" in headlines.staircase(comparison)
    assert headlines.staircase(comparison).endswith(" %, over all 2 stages.")
    assert "stages" not in headlines.staircase(comparison.isel(stage=[0]))  # its picture has one
    assert "no flatter than cross entropy" in headlines.staircase(flat)

    moving = comparison.assign(difference_moved_share=comparison["difference_moved_share"] * 0 + 1.0)
    assert "Small steps see nothing of accuracy" in headlines.differences(comparison)
    assert "changes accuracy for 100 % of weights" in headlines.differences(moving)

    alike = comparison.assign(cosine=comparison["cosine"] * 0 + 0.99)
    unlike = comparison.assign(cosine=comparison["cosine"] * 0 + 0.1)
    assert headlines.cosines(alike).startswith("All stand-ins point nearly")
    assert headlines.cosines(unlike).startswith("Not every stand-in")

    more = comparison["examples_by_margin"] + 0 * comparison["weight_by_margin"]
    away = comparison.assign(weight_by_margin=more.isel(bin=slice(None, None, -1)))
    assert "cannot tell" in headlines.margins(comparison.assign(weight_by_margin=more))
    assert headlines.margins(comparison) != headlines.margins(away)


def test_a_gain_that_is_not_known_of_one_network_is_not_the_largest(comparison):
    said = headlines.gains(comparison)
    unknown = comparison.copy(deep=True)
    poor = int(comparison["gain_held_out"].isel(stage=1).mean("seed").values.argmin())
    for name in ("gain_held_out", "gain_difference"):
        unknown[name].transpose("objective", "seed", "stage").values[poor, 0, 1] = np.nan
    assert np.isnan(unknown["gain_held_out"]).any() and headlines.gains(unknown) == said


def of_weight(results, share):
    """Results in which `share` [seed] of cross entropy's weight is on wrong answers, which are half the examples."""
    changed = results.copy(deep=True)
    wrong = (results["margin_high"] <= 0).values
    halves = np.where(wrong, 0.5 / wrong.sum(), 0.5 / (~wrong).sum())
    changed["examples_by_margin"] = changed["examples_by_margin"] * 0 + xarray.DataArray(halves, dims="bin")
    of_bins = [np.where(wrong, s / wrong.sum(), (1 - s) / (~wrong).sum()) for s in share]
    weight = xarray.DataArray(np.array(of_bins), dims=("seed", "bin"))
    changed["weight_by_margin"] = (changed["weight_by_margin"] * 0 + weight).transpose(
        *results["weight_by_margin"].dims
    )
    return changed


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ([0.80, 0.801], "Cross entropy looks harder at wrong answers"),
        ([0.20, 0.201], "Cross entropy looks away from wrong answers"),
        ([0.30, 0.80], "these networks cannot tell"),
    ],
)
def test_the_title_of_the_margins_follows_the_weights(comparison, share, said):
    assert said in headlines.margins(of_weight(comparison, share))


NOISE = np.array([-1.0, 1.0, -0.5, 0.5, -0.2, 0.2])


@pytest.mark.parametrize(
    ("mean", "from_nearly", "begins"),
    [
        (0.85, 0.9, "Not every stand-in points where cross entropy points."),
        (0.85, 1.1, "Whether all stand-ins point where cross entropy points, these networks cannot tell."),
        (0.95, 1.1, "Whether all stand-ins point where cross entropy points, these networks cannot tell."),
        (0.95, 0.9, "All stand-ins point nearly where cross entropy points."),
    ],
)
def test_the_title_of_the_cosines_follows_the_interval_of_the_furthest(comparison, mean, from_nearly, begins):
    """0.05 from what is called near, with an interval, of one of so many, that reaches as far or does not."""
    found = comparison.isel(seed=[0, 1] * 3).copy(deep=True)
    others = int(comparison["in_table"].sum()) - 1
    half = scipy.stats.t.ppf(1 - 0.025 / others, 5) * scipy.stats.sem(NOISE)
    found["cosine"][:] = 0.99
    where = {"objective": "gce", "other": "cross_entropy", "stage": "20 steps"}
    found["cosine"].loc[where] = mean + 0.05 * from_nearly / half * NOISE
    said = headlines.cosines(found)
    assert said.startswith(begins) and f"furthest from cross entropy's is gce's, at cosine {mean:.2f} [" in said


def test_details_are_those_of_the_largest_mini_batch_in_the_end(comparison):
    found = comparison.copy(deep=True)
    found["batch_cosine"][:], found["noise_scale"][:] = 0.1, 10.0
    where = {"objective": "cross_entropy", "stage": "20 steps"}
    found["batch_cosine"].loc[where | {"batch_size": 100}], found["noise_scale"].loc[where] = 0.75, 50.0
    assert headlines.details(found) == (
        "After 20 steps a mini-batch of 100 points where all 200 examples do with cosine 0.75 [0.75, 0.75] under "
        "cross entropy; its noise scale is 50 examples (n = 2)."
    )


def test_the_step_that_is_compared_with_the_best_weight_is_cross_entropys(comparison):
    found = comparison.copy(deep=True)
    found["alignment"][:], found["best_alignment"][:] = 0.125, 0.25
    found["alignment"].loc[{"objective": "cross_entropy", "stage": "20 steps"}] = 0.5
    found["best_alignment"].loc[{"stage": "20 steps"}] = 0.75
    said = headlines.weights(found)
    assert said.startswith("After 20 steps cross entropy's step has cosine 0.50 [0.50, 0.50] with")
    assert "the best weight over the margin reaches 0.75 [0.75, 0.75] on" in said


def test_the_gradient_that_gains_most_does_so_in_the_mean(comparison):
    found = comparison.copy(deep=True)
    found["gain_held_out"][:], found["gain_difference"][:] = 0.0, 0.0
    found["gain_held_out"].loc[{"objective": "gce"}] = 0.03
    found["gain_held_out"].loc[{"objective": "brier", "seed": 0}] = 0.05  # most of all, in one of two networks
    assert "a step along gce's gradient gains +3.0 [+3.0, +3.0] points" in headlines.gains(found)


def test_the_title_of_the_margins_says_the_shares(comparison):
    said = headlines.margins(of_weight(comparison, [0.80, 0.801]))
    assert said.endswith(": after 20 steps they are 50 % of the examples and 80 % of its weight.")


def test_the_title_of_the_differences_is_of_the_smallest_step_and_the_best_one(comparison):
    found = comparison.copy(deep=True)
    for h, moved, off in ((0.001, 0.25, 4.0), (0.01, 0.5, 0.25), (0.1, 0.7, 0.5), (1.0, 0.9, 9.0)):
        found["difference_moved_share"].loc[{"h": h}], found["difference_loss_deviation"].loc[{"h": h}] = moved, off
    best = "cross entropy's come within 25 % of its gradient"
    nothing = "Small steps see nothing of accuracy: at h = 0.001 its quotient is 0 for 75 % of weights"
    assert headlines.differences(found) == f"{nothing}; {best}."


def test_the_title_of_the_tuning_names_the_lowest_and_the_highest_rate():
    found = xarray.Dataset(
        coords={"title": ("objective", ["a", "b", "c"]), "chosen_rate": ("objective", [0.3, 0.1, 10.0])}
    )
    assert headlines.tuning(found).endswith(": the best is 0.1 for b, 10 for c.")
    assert headlines.tuning(found.isel(objective=[0, 0])) == "All objectives learn best at the learning rate 0.3."


def test_the_title_of_the_temperatures_follows_the_examples(comparison):
    def carried(by_temperature):
        factor = xarray.DataArray([by_temperature(t) for t in comparison["temperature"].values], dims="objective")
        noise = xarray.DataArray([0.0, 0.01], dims="seed")
        values = comparison["effective_examples"] * 0 + factor * (1 + noise)
        return comparison.assign(effective_examples=values.transpose(*comparison["effective_examples"].dims))

    assert "The colder the objective, the fewer examples" in headlines.temperatures(carried(lambda t: 10 * t))
    assert "The colder the objective, the more examples" in headlines.temperatures(carried(lambda t: 10 / t))
    assert "Not every objective's gradient" in headlines.temperatures(carried(lambda t: 10.0))
    # An end at which one objective alone was measured says nothing of the others.
    colder = np.where(comparison["objective"] == "ramp:temperature=0.1", 0.001, comparison["temperature"])
    alone = carried(lambda t: 10 * t).assign_coords(temperature=("objective", colder))
    assert "1 of 200 examples carry ramp's at T = 0.001, 100 at T = 10" in headlines.temperatures(alone)
    ends = ["ramp:temperature=0.1", "expected_error:temperature=10"]
    nobody = comparison.isel(objective=np.isin(comparison["objective"], ends))
    assert headlines.temperatures(nobody).startswith("No objective was measured at both T = 0.1 and T = 10")


def test_one_network_claims_nothing_general(comparison):
    one = comparison.isel(seed=[0])
    assert "one network" in headlines.cosines(one)
    assert headlines.margins(one).startswith("Does cross entropy")
    assert headlines.temperatures(one).startswith("Does a warmer gradient")
    assert all("nan" not in getattr(headlines, f.__name__)(one) for f in figures.COMPARISON)


# -- colours ----------------------------------------------------------------------------------------------------


def test_every_objective_has_its_own_colour_and_dash(comparison):
    looks = [(colour, tuple(dash)) for colour, dash in KNOWN.values()]
    assert len(set(looks)) == len(looks)
    assert set(legend.keys(comparison)) <= set(KNOWN)
    # A new objective takes nobody's colour, and changes nobody's.
    chosen = styles(["mine", *KNOWN, "yours"])
    assert {key: chosen[key] for key in KNOWN} == KNOWN
    assert chosen["mine"] != chosen["yours"]
    assert not {chosen["mine"][0], chosen["yours"][0]} & {colour for colour, _ in KNOWN.values()}


def scales(chart):
    """Every domain of names with its range, anywhere in a chart."""
    if isinstance(chart, dict):
        domain, of = chart.get("domain"), chart.get("range")
        if isinstance(domain, list) and isinstance(of, list) and all(isinstance(one, str) for one in [*domain, *of]):
            yield dict(zip(domain, of, strict=True))
        chart = list(chart.values())
    if isinstance(chart, list):
        for part in chart:
            yield from scales(part)


@pytest.mark.slow
def test_the_same_colour_in_every_figure_and_on_the_page(comparison):
    page = scenes.specs(comparison, scenes.datasets(comparison))
    pictures = [figure(comparison).to_dict() for figure in figures.COMPARISON] + [page]
    for picture in pictures:
        for scale in scales(picture):
            for key, colour in scale.items():
                name = key.split(":")[0]
                if name in KNOWN:
                    assert colour == KNOWN[name][0], key
    assert sum(len(list(scales(picture))) for picture in pictures) > 5


def test_a_key_is_what_stays_when_the_temperature_changes(comparison):
    keys = dict(zip(comparison["objective"].values, legend.keys(comparison), strict=True))
    assert keys["expected_error:temperature=0.1"] == keys["expected_error"] == "expected_error"
    other = comparison.assign_coords(
        objective=np.where(comparison["objective"] == "gce", "gce:q=0.5", comparison["objective"]),
        title=("objective", np.where(comparison["title"] == "gce", "gce q=0.5", comparison["title"])),
    )
    assert "gce q=0.5" in legend.keys(other)  # another q is another objective


# -- small and strange results ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def least(mnist):
    """Accuracy and cross entropy alone, one network, one stage."""
    return lab.compare(lab.CompareSettings(seeds=1, stages="3", standard=False, examples=50, temperatures="1"), mnist)


@pytest.mark.slow
def test_the_least_there_can_be_is_drawn(tmp_path, least):
    run = Run(tmp_path)
    run.save_results(least)
    assert len(lab.draw(run)) == 24
    assert headlines.temperatures(least).startswith("One temperature was measured, T = 1")
    assert headlines.cosines(least) == "Accuracy has no direction to compare: its gradient is 0."


def test_whose_gradient_raises_accuracy_is_said_with_its_uncertainty(comparison):
    """Six networks with gains that are made up: one gradient better than cross entropy's beyond doubt, or not."""
    many = comparison.isel(seed=[0, 1] * 3)

    def gains(of_gce, spread):
        made = many.copy(deep=True)
        noise = np.array([-1.0, 1.0, -0.5, 0.5, -0.2, 0.2])
        made["gain_held_out"][:] = 0.01
        made["gain_difference"][:] = 0.0
        made["gain_held_out"].loc[{"objective": "gce"}] = 0.01 + of_gce
        made["gain_difference"].loc[{"objective": "gce"}] = (of_gce + spread * noise)[:, None]
        return made

    assert headlines.gains(gains(0.02, 0.001)).startswith("Another gradient raises held-out accuracy more")
    assert "gce's gradient gains +3.0" in headlines.gains(gains(0.02, 0.001))
    # The best of so many: its intervals are wider than those in the picture, and say so.
    table = int(comparison["in_table"].sum())
    assert headlines.gains(gains(0.02, 0.001)).endswith(f" more than cross entropy's (for one of {table - 1}).")
    assert f"] points (for one of {table})" in headlines.gains(gains(0.02, 0.001))
    assert headlines.cosines(many).endswith(f"] (for one of {table - 1}).")
    assert "these networks cannot tell" in headlines.gains(gains(0.02, 0.05))
    claims = [[one.claim for one in lab.summarise(gains(*given))] for given in ((0.02, 0.001), (0.02, 0.05))]
    assert "Some gradients raise accuracy more than cross entropy's." in claims[0]
    assert "No gradient raises accuracy more than cross entropy's, as far as these networks can tell." in claims[1]
    alone = gains(0.02, 0.001).isel(seed=[0])
    assert "In this one network" in headlines.gains(alone)
    assert any("One network cannot tell" in one.claim for one in lab.summarise(alone))
    behind = gains(-0.02, 0.001)
    behind["gain_held_out"].loc[{"objective": "cross_entropy"}] = 0.5
    assert headlines.gains(behind).startswith("On average no gradient raises held-out accuracy more")


def test_intervals_end_where_the_quantity_ends(comparison):
    """Two networks far apart have t intervals that leave what a noise scale, a cosine, a share, a gain can be."""
    apart = comparison.copy(deep=True)
    for name, pair in {
        "noise_scale": (10.0, 1000.0),
        "cosine": (0.1, 0.9),
        "alignment": (0.1, 0.9),
        "best_alignment": (0.1, 0.9),
        "batch_cosine": (0.1, 0.9),
        "effective_examples": (10.0, 190.0),
        "sign_agreement": (0.4, 0.6),
        "gain_held_out": (-0.02, 0.03),
    }.items():
        apart[name][0], apart[name][1] = pair
    rows = {row["column"]: row for row in series.detail_rows(apart) if row["row"] == "gce"}
    assert rows["noise"]["low"] == 0 and rows["noise"]["high"] > 1000
    assert (rows["n"]["low"], rows["n"]["high"]) == (0, 200)  # of 200 examples
    assert (rows["sign"]["low"], rows["sign"]["high"]) == (0, 1)
    assert (rows["align"]["low"], rows["align"]["high"]) == (rows["cos100"]["low"], rows["cos100"]["high"]) == (-1, 1)
    assert rows["gain"]["low"] < -20 and rows["gain"]["high"] > 20
    assert {(row["low"], row["high"]) for row in series.cosine_rows(apart) if row["n"]} == {(-1, 1)}
    for said in (headlines.cosines, headlines.weights, headlines.details):
        assert "0.50 [-1.00, 1.00]" in said(apart)
    notes = scenes.notes(apart)["at the start"]["gce"]["fixed"]
    assert notes[1:3] == ["carried by 100 [0, 200] of 200 images", "cosine with cross entropy 0.50 [-1.00, 1.00]"]


def test_details_are_rounded_once(comparison):
    """606.46 examples are 606, and 606.51 are 607, in the picture as in the table, whatever four digits say."""
    for mean, text in ((606.46, "606"), (606.51, "607")):
        results = comparison.assign(participation_ratio=xarray.full_like(comparison["participation_ratio"], mean))
        rows = series.detail_rows(results.assign_attrs(examples=1000))
        found = {row["text"] for row in rows if row["column"] == "PR"}
        assert found == {text}


@pytest.mark.slow
def test_strange_names_stay_text(tmp_path, comparison):
    run = Run(tmp_path)
    run.save_results(renamed(comparison, "gce", EVIL))
    for path in lab.draw(run):
        if path.suffix == ".svg":
            tags = {node.tag.split("}")[-1] for node in ElementTree.fromstring(path.read_text()).iter()}
            assert tags <= {
                "svg",
                "g",
                "path",
                "text",
                "tspan",
                "rect",
                "line",
                "defs",
                "clipPath",
                "linearGradient",
                "stop",
            }
    assert EVIL in titles((run.figures / "margins.svg").read_text())


def test_learning_is_shown_with_the_intervals_of_its_networks():
    """Of an objective below 0 too; and no accuracy exceeds 1."""
    loss = np.array([[[np.nan, -1.0]], [[np.nan, -2.0]], [[np.nan, -3.0]]])  # [seed, split, epoch]
    accuracy = np.array([[[0.2, 0.90]], [[0.3, 0.95]], [[0.4, 1.0]]])
    results = xarray.Dataset(
        {"loss": (("seed", "split", "epoch"), loss), "accuracy": (("seed", "split", "epoch"), accuracy)},
        coords={"seed": [0, 1, 2], "split": ["test"], "epoch": [0, 1]},
        attrs={"data": "digits", "network": "784-100-10 relu", "recipe": "sgd"},
    )
    rows = {(row["measure"], row["epoch"]): row for row in series.learning_rows(results)}
    assert rows.keys() == {("loss", 1), ("accuracy", 0), ("accuracy", 1)}
    half = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3)
    of_loss, of_accuracy = rows["loss", 1], rows["accuracy", 1]
    assert (of_loss["mean"], of_loss["low"], of_loss["high"]) == pytest.approx((-2, -2 - half, -2 + half), rel=1e-3)
    assert (of_accuracy["mean"], of_accuracy["low"], of_accuracy["high"]) == pytest.approx(
        (95, 95 - 5 * half, 100), rel=1e-3
    )
    console = Console(width=100)
    with console.capture() as captured:
        console.print(lab.learning_table(results))
    assert f"-2.0000 [{-2 - half:.4f}, {-2 + half:.4f}]" in captured.get()
    assert f"0.9500 [{0.95 - 0.05 * half:.4f}, 1.0000]" in captured.get()
