"""Pictures that results declare: the numbers that are drawn, whatever is drawn."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray
from scipy import stats

import lab
from lab import grids, races
from lab.palette import EXAMPLES, FURTHER, INK, KNOWN
from lab.pictures import _PLAIN, _RISING, chart, colours, declare, declared, faceted, panels, rows
from lab.vega import svg

AXES = ("objective", "step", "seed")
VALUES = np.random.default_rng(0).uniform(0.8, 1.0, size=(2, 3, 4))


@pytest.fixture
def results():
    return xarray.Dataset(
        {"accuracy": (AXES, VALUES.copy()), "law": (("objective", "step"), VALUES.mean(axis=2) / 2)},
        coords={"objective": ["cross_entropy", "mine <b>"], "step": [0, 10, 1000], "seed": range(4)},
    )


def picture(**fields):
    usual = {"name": "a", "headline": "It rises.", "value": "accuracy", "value_title": "accuracy (%)"}
    return lab.Picture(**(usual | {"x": "step", "x_title": "step", "by": "objective", "scale": 100.0} | fields))


def test_rows_hold_means_and_t_intervals(results):
    (row,) = [row for row in rows(picture(), results) if (row["key"], row["x"]) == ("mine <b>", 10)]
    of = 100 * VALUES[1, 1]
    low, high = stats.t.interval(0.95, 3, loc=of.mean(), scale=stats.sem(of))
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((of.mean(), low, high), rel=1e-3)
    assert row["n"] == 4 and row["panel"] == ""


def test_intervals_of_shares_end_where_shares_do(results):
    found = rows(picture(share=True), results)
    assert max(row["high"] for row in rows(picture(), results)) > 100 == max(row["high"] for row in found)


def test_intervals_end_at_what_is_possible_in_the_units_shown(results):
    whole, cut = rows(picture(), results), rows(picture(within=(88.0, 92.0)), results)
    for row, one in zip(whole, cut, strict=True):
        assert (one["low"], one["high"]) == (max(row["low"], 88), min(row["high"], 92))
    assert min(row["low"] for row in whole) < 88 and max(row["high"] for row in whole) > 92


def test_what_lacks_seeds_has_no_interval(results):
    (row, *_) = rows(picture(value="law"), results)
    assert row["low"] is None and row["n"] == 1
    assert row["mean"] == pytest.approx(50 * VALUES[0, 0].mean(), rel=1e-3)


def test_a_value_that_is_missing_is_left_out_and_not_counted(results):
    results["accuracy"][0, 0, 1] = np.nan
    assert rows(picture(), results)[0]["n"] == 3
    results["accuracy"][0, 0, :] = np.nan
    assert rows(picture(), results)[0]["mean"] is None


def test_nothing_that_is_0_is_drawn_on_a_logarithmic_axis(results):
    results["accuracy"][0, 0, :] = 0.0
    assert len(rows(picture(log="y"), results)) == 5


def test_panels_say_what_their_numbers_are(results):
    assert panels(picture(panels="step", x="objective", by=""), results) == ["step 0", "step 10", "step 1,000"]
    assert panels(picture(panels="objective", by=""), results) == ["cross_entropy", "mine <b>"]


def test_a_panel_without_a_number_is_left_out(results):
    results["accuracy"][:, 0, :] = np.nan
    one = picture(panels="step", x="objective", by="")
    assert panels(one, results) == ["step 10", "step 1,000"]
    assert {row["panel"] for row in rows(one, results)} == {"step 10", "step 1,000"}


def test_a_law_stands_beside(results):
    (row, *_) = rows(picture(beside="law"), results)
    assert row["beside"] == pytest.approx(50 * VALUES[0, 0].mean(), rel=1e-3)


@pytest.mark.parametrize("kind", ["lines", "dots", "heat"])
@pytest.mark.parametrize("paneled", ["", "objective"])
def test_every_kind_is_a_chart_that_vega_lite_knows(results, kind, paneled):
    one = picture(kind=kind, panels=paneled, by="" if paneled else "objective", beside="law" * (kind != "heat"))
    whole, width = faceted(one, results, source="here")
    whole.to_dict(validate=True)
    assert width > 300
    for panel in panels(one, results):
        chart(one, results, source="here", panel=panel or None).to_dict(validate=True)


@pytest.mark.parametrize("count", [2, 3, 5, 6, 7])
@pytest.mark.parametrize("kind", ["lines", "dots"])
def test_an_axis_stands_below_a_panel_and_not_below_an_empty_place(count, kind):
    found = xarray.Dataset(
        {"a": (("p", "x"), np.ones((count, 2)))}, {"p": [f"{i}." for i in range(count)], "x": [0, 1]}
    )
    one = lab.Picture("", "", "a", "", "x", "along", panels="p", kind=kind)
    whole, _ = faceted(one, found, source="here")
    written = svg(whole.properties(datasets={"here": rows(one, found)}).to_dict())
    columns = whole.to_dict()["columns"]
    assert written.count('aria-label="X-axis') == (count if count % columns else columns)


def test_objectives_keep_their_colours_and_numbers_go_from_dark_to_light():
    of = colours(["cross_entropy", "expected_error T=1", "expected_error T=2"])
    assert of["cross_entropy"][0] == KNOWN["cross_entropy"][0]
    assert of["expected_error T=1"][0] == of["expected_error T=2"][0]
    assert of["expected_error T=1"][1] != of["expected_error T=2"][1]
    brightness = [luminance(colour) for colour, _ in colours(["1", "10", "1,000"]).values()]
    assert brightness == sorted(brightness) and len(set(brightness)) == 3
    plain = colours(["HOG", "k-NN", "network"])
    assert len({colour for colour, _ in plain.values()}) == 3


def luminance(colour):
    """Relative luminance of #rrggbb, as WCAG 2 has it."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(one, other):
    """The contrast of two colours, from 1 to 21: WCAG 2 asks for 3 where a line has to be seen."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


PAPERS = re.findall(r"--paper: (#\w{6})", (Path(lab.__file__).parent / "page.css").read_text())


def test_every_colour_is_seen_on_both_papers():
    """On white Okabe and Ito's light ones have less than 3, as they have it everywhere."""
    assert [round(luminance(paper)) for paper in PAPERS] == [1, 0]
    *_, frame = races.tuning(["a"], "accuracy").to_dict()["layer"]  # of the chosen rate, among cells with white edges
    for colour in {
        frame["mark"]["stroke"],
        *(one for one, _ in (*KNOWN.values(), *FURTHER)),
        *_RISING,
        *_PLAIN,
        EXAMPLES,
    } - {INK}:
        assert contrast(colour, PAPERS[1]) > 3, colour
        assert contrast(colour, PAPERS[0]) > 2, colour


def hexadecimal(colour):
    """#rrggbb, of what Vega writes."""
    return colour if colour[0] == "#" else "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour))


@pytest.mark.parametrize("of", ["heat", "cosines", "tuning"])
def test_numbers_are_in_the_ink_that_is_easier_to_read_on_their_squares(of):
    means = np.linspace(-1 if of == "cosines" else 0, 1, 31)
    names = [f"{i:02}" for i in range(len(means))]
    both = [{"mean": mean, "n": 1, "title": name, "rate": 1} for mean, name in zip(means, names, strict=True)]
    if of == "heat":
        found = xarray.Dataset({"a": (("y", "x"), means[:, None])}, coords={"y": names, "x": ["one"]})
        drawn = chart(lab.Picture("", "", "a", "", "x", "", by="y", kind="heat"), found, source="tuning")
        both = rows(lab.Picture("", "", "a", "", "x", "", by="y", kind="heat"), found)
    elif of == "cosines":
        drawn = grids.cosines(names, -1.0)
        both = [row | {"row": row["title"], "place": 2, "dead": "", "size": 31} for row in both]
    else:
        drawn = races.tuning(names, "accuracy")
    written = svg(drawn.properties(datasets=dict.fromkeys(["tuning", "cosines"], both)).to_dict())
    squares = re.findall(r'aria-roledescription="rect mark"[^>]* fill="([^"]+)"', written)
    numbers = re.findall(r'aria-roledescription="text mark"[^>]* fill="(#[^"]+)"', written)
    assert len(squares) == len(numbers) == len(means)
    for square, number in zip(map(hexadecimal, squares), numbers, strict=True):
        best = max(contrast(square, ink) for ink in ("#ffffff", "#222222"))
        assert contrast(square, number) > 0.98 * best and best > 3.9, (square, number)
    assert set(numbers) == {"#ffffff", "#222222"}


TITLES = [f"{name} T={t}" for name in ("expected_error", "ramp", "mine") for t in (0.25, 0.5, 1, 2, 4)]


@pytest.mark.parametrize(
    "keys",
    [
        ["cross_entropy", "expected_error T=0.25", "expected_error T=1", "mae"],
        ["gce:q=0.5", "gce", "truncated_gce"],
        [*KNOWN, *TITLES, *(f"own-{i}" for i in range(9))],
        [f"method {i}" for i in range(20)],
        [str(i) for i in range(12)],
    ],
)
def test_no_two_lines_look_alike(keys):
    of = colours(keys)
    assert list(of) == keys and len({(colour, *dash) for colour, dash in of.values()}) == len(keys)
    assert all(of[key] == KNOWN[key] for key in keys if key in KNOWN)  # whatever stands beside them


def test_declarations_survive_a_file(results, tmp_path):
    one = picture(log="xy", note="Of <script>.", within=(0.0, np.inf))
    results.attrs["pictures"] = declare([one, picture()])
    results.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as read:
        assert declared(read) == [one, picture()]


def test_declarations_from_before_there_was_a_range_are_drawn(results):
    (fields,) = json.loads(declare([picture()]))
    del fields["within"]
    (one,) = declared(results.assign_attrs(pictures=json.dumps([fields])))
    assert rows(one, results) == rows(picture(), results)
