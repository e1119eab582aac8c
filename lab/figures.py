"""Figures: static pictures of a run, PNG, SVG and PDF, drawn from its folder without JAX.

Each function takes results and gives a chart whose title says what these results show, or that they cannot say.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from lab import charts, curves, grids, headlines, legend, races, series, tallies
from lab.columns import COLUMNS
from lab.frame import intervals, kind, learned, means, rivals, spans, titled
from lab.machine import release_memory
from lab.pictures import Picture, declared, faceted, rows
from lab.quantities import metric_of
from lab.race import raced
from lab.ranking import answer
from lab.runs import Run, write_bytes
from lab.vega import svg

if TYPE_CHECKING:
    import xarray

SCALE = 2  # of the PNGs: sharp on the screens of today


def draw(run: Run) -> list[Path]:
    """Writes every figure of a run to `run.figures`, as <name>.png, .svg and .pdf; returns their paths.

    Raises: DataError if the run's results are missing or damaged; OSError naming the file that cannot be written.
    """
    import vl_convert

    results = run.results()
    run.figures.mkdir(exist_ok=True)
    release_memory()  # what draws has an engine and memory of its own: not on top of what compiling has left
    paths = []
    for name, figure in _figures(results).items():
        drawn = svg(figure(results).to_dict(validate=False))
        content = {"svg": drawn.encode(), "png": vl_convert.svg_to_png(drawn, scale=SCALE)}
        content["pdf"] = vl_convert.svg_to_pdf(drawn)
        for suffix, written in content.items():
            paths.append(run.figures / f"{name}.{suffix}")
            write_bytes(paths[-1], written)
    return paths


def names(results: "xarray.Dataset") -> list[str]:
    """The names of a run's figures, the chief one first."""
    return list(_figures(results))


def staircase(results: "xarray.Dataset") -> alt.VConcatChart:
    """Error and cross entropy along one weight, and their slopes, at the stage with the most steps to be seen."""
    stages = legend.stage_titles(results)
    along = results["line"].isel(seed=0).sel(curve="zero_one").values
    stage = stages[max(range(len(stages)), key=lambda s: len(set(along[s])))]
    rows = [row for row in series.staircase_rows(results) if row["stage"] == stage]
    panels = [
        [charts.staircase(family, quantity).properties(width=360, height=200) for family in ("error", "loss")]
        for quantity in ("value", "slope")
    ]
    note = (
        f"The first network, {stage}, and {results.attrs['line_examples']} of its images; the weight on "
        "which cross entropy depends most is moved, all others stand still (dashed: where it is). Smoothed: "
        "expected_error T=0.1. Below: slopes, differences of neighbouring points; the needles of the error grow "
        "without end as the points move together, and are cut here."
    )
    chart = alt.vconcat(*(alt.hconcat(*row, spacing=30) for row in panels), spacing=18)
    return titled(chart, headlines.staircase(results), note, series.moved(results), width=860, staircase=rows)


def differences(results: "xarray.Dataset") -> alt.FacetChart:
    """How wrong the difference quotients of accuracy and of cross entropy are, by step and stage."""
    panel = charts.differences([float(h) for h in results["h"].values], legend=True)
    note = (
        f"(f(w + h) - f(w - h)) / 2h for {results.attrs['difference_weights']} weights drawn at random in each "
        f"network; cross entropy's is held against the gradient from autodiff. {intervals(results)}"
    )
    chart = _by_stage(panel, results, width=190, height=190, columns=4)
    return titled(
        chart,
        headlines.differences(results),
        note,
        results,
        width=_width(results, 4, 208),
        differences=series.difference_rows(results),
    )


def cosines(results: "xarray.Dataset") -> alt.FacetChart:
    """Cosines between the gradients of all objectives of the table, by stage."""
    rows = series.cosine_rows(results)
    labels = legend.numbered(results)
    panel = grids.cosines(labels, lowest(rows))
    note = "Cosine of the angle between two objectives' gradients at the same weights: 1 the same way, 0 perpendicular."
    chart = _by_stage(panel, results, width=28 * len(labels), height=24 * len(labels), columns=2)
    chart = chart.resolve_axis(x="independent")  # a row of numbers under every panel
    return titled(
        chart,
        headlines.cosines(results),
        note,
        results,
        width=_width(results, 2, 28 * len(labels) + 20) + 140,
        cosines=rows,
    )


def lowest(rows: series.Rows) -> float:
    """The lowest mean among rows, 0 if there is none."""
    return min((row["mean"] for row in rows if row["mean"] is not None), default=0.0)


def margins(results: "xarray.Dataset") -> alt.FacetChart:
    """Where on the margin axis each objective's weight lies, beside the examples; a row each, by stage."""
    chart = charts.ridges(
        series.margin_edges(results),
        series.margin_domain(results),
        legend.keys(results),
        legend.titles(legend.in_table(results)),
        legend.stage_titles(results),
    )
    note = (
        "Across: the hard margin (logits), wrong answers left of the dashed line, right ones right of it; bins widen "
        "away from 0. Colour: share of the objective's weight |dl/dz_y| in each bin. Grey: share of examples. "
        f"{means(results)}, each shape drawn to its own height. The number: how many "
        "examples carry the gradient."
    )
    return titled(
        chart,
        headlines.margins(results),
        note,
        results,
        width=_width(results, 4, 204) + 120,
        ridges=series.ridge_rows(results),
    )


def temperatures(results: "xarray.Dataset") -> alt.VConcatChart:
    """Norm, effective examples, cosine with cross entropy and deaths over temperature, by stage."""
    rows = series.temperature_rows(results)
    keys = legend.swept_keys(results)
    at = legend.swept_temperatures(results)
    panels: list[Any] = [
        charts.temperatures(measure, legend.keys(results), at, span(rows, measure), legend=keys)
        for measure in series.TEMPERATURE_MEASURES
    ]
    panels.append(grids.deaths(keys))
    heights = [150] * len(series.TEMPERATURE_MEASURES) + [20 * len(keys)]
    # Gains are points at the start and tenths of a point at the end: each stage has its own axis, and less room.
    gain = series.TEMPERATURE_MEASURES.index("gain_held_out")
    widths = [158 if i == gain else 200 for i in range(len(panels))]
    parts = [
        _by_stage(panel, results, width=width, height=height, columns=4, named=i == 0)
        for i, (panel, width, height) in enumerate(zip(panels, widths, heights, strict=True))
    ]
    parts[gain] = parts[gain].resolve_scale(y="independent")
    note = (
        "From above: gradient norm; how many examples carry the gradient, (sum w)^2 / sum w^2 (thin: as many as n f(0) "
        "T / R, by the density f(0) of margins at the boundary, foretells); cosine with cross entropy at T = 1; points "
        f"of held-out {metric_of(results)} gained by the best step along the gradient; in how many "
        "networks the gradient is exactly 0 or lost in float32 (dead). "
        f"{intervals(results)}"
    )
    chart = alt.vconcat(*parts, spacing=14)
    return titled(
        chart, headlines.temperatures(results), note, results, width=_width(results, 4, 218) + 60, temperatures=rows
    )


def gains(results: "xarray.Dataset") -> alt.FacetChart:
    """Whose gradient raises the metric: points gained by the best step along each, by stage."""
    table, metric = legend.in_table(results), metric_of(results)
    panel = charts.gains(legend.keys(results), legend.titles(table), metric)
    note = (
        f"Dots: points of {metric} that a step along the gradient gains on "
        f"{results.attrs['held_out_examples']:,} held-out images, its length chosen on the gradient's own; ticks: on "
        f"its own, flattered by that choice. {spans(results)}"
    )
    chart = _by_stage(panel, results, width=210, height=20 * table.sizes["objective"], columns=4)
    chart = chart.resolve_scale(x="independent")
    return titled(
        chart,
        headlines.gains(results),
        note,
        results,
        width=_width(results, 4, 228) + 120,
        gains=series.gain_rows(results),
    )


def details(results: "xarray.Dataset") -> alt.FacetChart:
    """Every other diagnostic of every objective of the table, by stage, and how to read each."""
    table = legend.in_table(results)
    panel = grids.details(legend.titles(table), [one.heading for one in COLUMNS])
    readings = " ".join(f"{one.heading}: {one.explained(metric_of(results))}" for one in COLUMNS)
    note = f"The darker, the higher in its column. {readings}"
    chart = _by_stage(panel, results, width=46 * len(COLUMNS), height=19 * table.sizes["objective"], columns=1)
    return titled(
        chart,
        headlines.details(results),
        f"{means(results)}{'; their intervals are in the page' * (results.sizes['seed'] > 1)}. {note}",
        results,
        width=46 * len(COLUMNS) + 200,
        details=series.detail_rows(results),
    )


def weights(results: "xarray.Dataset") -> alt.FacetChart:
    """The best weight over the margin for held-out accuracy, beside cross entropy's, by stage."""
    note = (
        "The non-negative weight w(m) over the soft margin m whose gradient points best where smoothed held-out "
        "accuracy rises, and cross entropy's 1 - p; scaled to a gradient of norm 1. The best one is fitted to those "
        f"same images, and is rougher than the truth. {intervals(results)}"
    )
    chart = _by_stage(charts.node_weights(), results, width=260, height=170, columns=4)
    chart = chart.resolve_scale(x="independent", y="independent")
    return titled(
        chart, headlines.weights(results), note, results, width=_width(results, 4, 278), nodes=series.node_rows(results)
    )


def span(rows: series.Rows, measure: str) -> tuple[float, float]:
    """Where a logarithmic axis for `measure` begins and ends: half the smallest mean above 0, and the largest."""
    means = [row["mean"] for row in rows if row["measure"] == measure and row["mean"]]
    return min((mean for mean in means if mean > 0), default=1.0) / 2, max(means, default=1.0)


def learning(results: "xarray.Dataset") -> alt.HConcatChart:
    """Loss, accuracy and the metric asked for, of networks over their epochs."""
    panels = [curves.learning(name, title) for name, title in series.learning_measures(results).items()]
    chart = alt.hconcat(*(panel.properties(width=340, height=220) for panel in panels), spacing=30)
    rows = series.learning_rows(results)
    return titled(chart, headlines.learning(results), learned(results), results, width=400 * len(panels), learning=rows)


def standings(results: "xarray.Dataset") -> alt.LayerChart:
    """What every objective of a sweep comes to on test images, best first, with intervals."""
    rows, networks = tallies.ranking_rows(results), tallies.network_rows(results)
    chart = races.ranking([row["title"] for row in rows], metric_of(results)).properties(width=460, height=alt.Step(20))
    headline = " ".join(answer(results)[:2])
    return titled(chart, headline, rivals(results), results, width=780, ranking=rows, networks=networks)


def tuning(results: "xarray.Dataset") -> alt.LayerChart:
    """What every objective comes to on validation images at every learning rate."""
    rows, titles = tallies.tuning_rows(results), [row["title"] for row in tallies.ranking_rows(results)]
    chart = races.tuning(titles, metric_of(results)).properties(width=alt.Step(56), height=alt.Step(20))
    note = f"{means(results)}; framed: chosen. Grey: some network diverged."
    return titled(chart, headlines.tuning(results), note, results, width=700, tuning=rows)


def progress(results: "xarray.Dataset") -> alt.VConcatChart:
    """The metric on validation images over the epochs, at the chosen rates, and dead classes where there are any."""
    rows, titles = tallies.progress_rows(results), [row["title"] for row in tallies.ranking_rows(results)]
    panels, single = [], len({row["epoch"] for row in rows}) == 1
    for measure, title in (("score", f"{metric_of(results)} (%)"), ("dead", "dead classes")):
        there = {row["title"] for row in rows if row["measure"] == measure}
        shown = [one for one in titles if one in there]
        panels += [races.progress(measure, title, shown, single=single)] if there else []
    chart = alt.vconcat(*panels, spacing=24)
    mark, over = ("circles", "After one epoch") if single else ("dashed", "Over epochs")
    bands = intervals(results, "Lines" if single else "Bands")
    note = f"{over}, on validation images; {mark}: {results.attrs['reference']}. {bands}"
    return titled(chart, headlines.progress(results), note, results, width=820, progress=rows)


def portrait(results: "xarray.Dataset") -> alt.HConcatChart:
    """Value, weight and relative weight of one objective over the margin, beside its relatives."""
    rows = series.portrait_rows(results)
    panels = [
        curves.portrait(quantity, legend.titles(results), series.portrait_top(rows, quantity)).properties(
            width=260, height=220
        )
        for quantity in curves.PORTRAIT
    ]
    first = results.isel(objective=0)
    peak = int(np.abs(first["weight"].values).argmax())
    highest = float(first["weight"].values[peak])
    note = f"Its weight peaks at {highest:.3g}, at margin {first['margin'].values[peak]:.3g}." if highest else ""
    chart = alt.hconcat(*panels, spacing=26)
    return titled(chart, headlines.portrait(results), note, results, width=900, portrait=rows)


COMPARISON: Sequence[Callable[["xarray.Dataset"], alt.TopLevelMixin]] = (
    staircase,
    differences,
    cosines,
    margins,
    temperatures,
    gains,
    weights,
    details,
)
SWEEP: Sequence[Callable[["xarray.Dataset"], alt.TopLevelMixin]] = (standings, tuning, progress)
LEARNING: Sequence[Callable[["xarray.Dataset"], alt.TopLevelMixin]] = (learning,)
PORTRAIT: Sequence[Callable[["xarray.Dataset"], alt.TopLevelMixin]] = (portrait,)


def _figures(results: "xarray.Dataset") -> dict[str, Callable[["xarray.Dataset"], Any]]:
    """The figures of a run by their names, by what its results hold."""
    if kind(results) == "study":
        return {one.name: partial(_declared, one) for one in declared(results)}
    chosen = {"sweep": SWEEP, "train": LEARNING, "show": PORTRAIT, "compare": COMPARISON}[kind(results)]
    found = {figure.__name__: figure for figure in chosen}
    if (race := raced(results)) is not None:
        found["race"] = lambda _: standings(race)
    return found


def _declared(picture: Picture, results: "xarray.Dataset") -> Any:
    """A picture that the results themselves declare."""
    chart, width = faceted(picture, results, source="rows")
    said = [picture.note, f"Dotted: {picture.beside_title}." if picture.beside else "", spread(picture, results)]
    note = " ".join(part for part in said if part)
    return titled(chart, picture.headline, note, results, width=width, rows=rows(picture, results))


def spread(picture: Picture, results: "xarray.Dataset") -> str:
    """What the bands, lines or squares of a picture are, over networks."""
    of = results[picture.value]
    if "seed" not in of.dims:
        return ""
    if picture.kind == "heat":
        return f"{means(results)}."
    if results.sizes["seed"] > 1 and np.isfinite(of.transpose(..., "seed").values).sum(axis=-1).max() <= 1:
        return ""  # of one network, which its note names
    return spans(results) if picture.kind == "dots" else intervals(results)


def _by_stage(
    panel: alt.LayerChart, results: "xarray.Dataset", *, width: int, height: int, columns: int, named: bool = True
) -> alt.FacetChart:
    """The panel once per stage, in the order of training."""
    stages = legend.stage_titles(results)
    facet = alt.Facet("stage:N", sort=stages, title=None, header=alt.Header() if named else alt.Header(labelExpr="''"))
    return panel.properties(width=width, height=height).facet(facet, columns=min(columns, len(stages)), spacing=18)


def _width(results: "xarray.Dataset", columns: int, width: int) -> int:
    """Of as many panels as there are stages, `columns` to a row."""
    return 60 + width * min(columns, results.sizes["stage"])
