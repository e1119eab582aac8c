"""Tables: the results of a comparison on one screen of a terminal."""

import math
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import legend, series
from lab.columns import COLUMNS
from lab.findings import summarise
from lab.quantities import metric_of
from lab.ranking import answer, ranking
from lab.runs import Run
from lab.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import xarray


class _Part(NamedTuple):
    """A number in a cell of the comparison's table, right-aligned in `width` characters."""

    heading: str
    width: int
    reading: str
    write: Callable[["xarray.Dataset"], str]  # of one objective at one stage


def _mean(row: "xarray.Dataset", name: str) -> float:
    return float(row[name].mean())


def _cosine(row: "xarray.Dataset") -> str:
    return f"{mean_interval(row['cosine'].sel(other='cross_entropy').values).mean:.2f}"


# The most telling first.
_PARTS = (
    _Part("cos", 5, "cos with cross entropy's gradient", _cosine),
    _Part("n", 5, "n how many examples carry it", lambda row: f"{_mean(row, 'effective_examples'):.0f}"),
    _Part(
        "gain",
        6,
        "gain of held-out {metric} by the best step along it (points)",
        lambda row: f"{100 * _mean(row, 'gain_held_out'):+.1f}",
    ),
    _Part("|g|", 8, "|g| gradient norm", lambda row: f"{_mean(row, 'norm'):.2g}"),
)


def comparison_table(results: "xarray.Dataset", *, width: int) -> Table:
    """Objectives in rows, stages in columns: cosine with cross entropy, effective examples, gain, gradient norm.

    Means over networks; a gradient that is dead in all of them reads "dead: 0" where its norm is 0, and
    "dead: ~0" where it is lost in float32. What `width`, in characters, is too narrow for is left out: the norm first,
    and then the gain.
    """
    room = (width - 28) // results.sizes["stage"] - 3
    shown = [part for i, part in enumerate(_PARTS) if i < 2 or sum(one.width for one in _PARTS[: i + 1]) <= room]
    networks = results.sizes["seed"]
    table = Table(
        title=escape(
            f"Gradients of {networks} network{'s' if networks > 1 else ''} ({results.attrs['network']}), "
            f"{results.attrs['examples']:,} images{' each' if networks > 1 else ''}"
        ),
        caption=escape(
            f"{', '.join(part.reading for part in shown).format(metric=metric_of(results))}; "
            f"{f'means over n = {networks} networks' if networks > 1 else 'n = 1 network'}.\n"
            f"{results.attrs['data']}"
        ),
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("objective", no_wrap=True)
    heading = "".join(f"{part.heading:>{part.width}}" for part in shown)
    for stage in results["stage"].values:
        table.add_column(
            f"{stage.replace('at the ', '').replace(' (', chr(10) + '(')}\n{heading}", justify="right", no_wrap=True
        )
    for one in results["objective"].values[results["in_table"].values]:
        row = results.sel(objective=one)
        table.add_row(
            escape(str(row["title"].item())), *(_cell(row.sel(stage=s), shown) for s in results["stage"].values)
        )
    return table


def _cell(row: "xarray.Dataset", shown: list[_Part]) -> str:
    dead = int(row["dead"].sum())
    if dead == row.sizes["seed"]:
        return "dead: 0" if not row["norm"].any() else "dead: ~0"
    return "".join(f"{part.write(row):>{part.width}}" for part in shown)


def detail_table(results: "xarray.Dataset", *, width: int) -> Table:
    """Further diagnostics at the second stage (or the only one): as many columns as fit, with how to read them."""
    stage = min(1, results.sizes["stage"] - 1)
    titles = legend.titles(legend.in_table(results))
    columns = [column for column in COLUMNS if column.quantity != "effective_examples"]  # those are in the first table
    columns = columns[: max(1, (width - 4 - max(map(len, titles))) // 9)]
    readings = "\n".join(f"{column.heading}: {column.explained(metric_of(results))}" for column in columns)
    table = Table(
        title=f"More about them {legend.stage_titles(results)[stage]}",
        caption=f"{escape(readings)}\nAll {len(COLUMNS)} diagnostics, with intervals and at every stage: in the page.",
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("objective", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True, min_width=7)
    intervals = [series.column_intervals(results, column)[stage] for column in columns]
    for i, title in enumerate(titles):
        means = [of[i].mean for of in intervals]
        cells = ["\u2013" if mean != mean else f"{mean:{c.digits}}" for mean, c in zip(means, columns, strict=True)]
        table.add_row(escape(title), *cells)
    return table


def show_comparison(run: Run, console: Console) -> None:
    """Prints a comparison: its table, its findings, and where everything lies."""
    results = run.results()
    console.print(comparison_table(results, width=console.width))
    console.print(detail_table(results, width=console.width))
    for finding in summarise(results):
        console.print(f"[bold]{escape(finding.claim)}[/bold] {escape(finding.evidence)}")
    if results.sizes["seed"] > 1:
        console.print(f"In brackets: 95 % intervals of the mean over n = {results.sizes['seed']} networks.")
    console.print(f"\nResults: {run.path}\nThe page: {run.report}", markup=False, soft_wrap=True)


def learning_table(results: "xarray.Dataset") -> Table:
    """Loss and metric by epoch, for each part of the data: means over networks, with their intervals at the end."""
    n = results.sizes["seed"]
    table = Table(
        title=escape(f"{results.attrs['network']}, {results.attrs['recipe']}"),
        caption=escape(
            f"Training: means over the epoch's mini-batches. n = {n} network{'s' if n > 1 else ''}"
            f"{', 95 % intervals (t) of the mean in brackets' if n > 1 else ''}. {results.attrs['data']}"
        ),
        title_justify="left",
        caption_justify="left",
        padding=0,
    )
    table.add_column("epoch", justify="right")
    only = {"train": "accuracy"}  # as the mini-batches had it
    columns = [
        (str(split), name)
        for split in results["split"].values
        for name in ("loss", only.get(str(split), metric_of(results)))
    ]
    for split, name in columns:
        table.add_column(f"{split}\n{_in_lines(name)}", justify="right")
    last, limits = int(results["epoch"].values[-1]), {"loss": (-math.inf, math.inf)}
    for epoch in results["epoch"].values:
        found = [
            mean_interval(results[name].sel(split=split, epoch=epoch).values, within=limits.get(name, (0.0, 1.0)))
            for split, name in columns
        ]
        whole = epoch == last
        table.add_row(str(epoch), *((one.text(4) if whole else f"{one.mean:.4f}") if one.n else "" for one in found))
    return table


def ranking_table(results: "xarray.Dataset") -> Table:
    """The objectives of a sweep, best first: the metric on test images, difference to the reference, learning rate."""
    n, reference, metric = results.sizes["seed"], results.attrs["reference"], metric_of(results)
    table = Table(
        title=escape(f"{results.attrs['network']}, {results.attrs['recipe']}"),
        caption=escape(
            f"{'Accuracy' if metric == 'accuracy' else metric} (%) on test images and difference to {reference} "
            "(points, paired by seed), ± half of their 95 % intervals; P: probability that a network of it is better "
            f"than one of {reference}; p: of the difference, corrected for the number of objectives (Holm); dead: "
            f"classes never predicted; *: the grid was made wider. n = {n} network{'s' if n > 1 else ''} each. "
            f"{results.attrs['data']}"
        ),
        title_justify="left",
        caption_justify="left",
        padding=0,
    )
    table.add_column("objective", no_wrap=True)
    for heading in (_in_lines(metric), "difference", " P", "  p", " dead", "  rate"):
        table.add_column(heading, justify="right", no_wrap=True)
    for place in ranking(results):
        own = place.objective == reference
        by = "" if len(results["optimiser"]) == 1 else f" {place.optimiser}"
        table.add_row(
            escape(place.title),
            _plus_minus(place.score),
            "" if own else _plus_minus(place.difference),
            "" if own else f"{place.better.mean:.2f}",
            "" if own or math.isnan(place.p_value) else f"{place.p_value:.2g}",
            f"{place.dead_classes.mean:.1f}",
            f"{place.learning_rate:g}{by}{' *' if place.widened else ''}",
        )
    return table


def _in_lines(name: str) -> str:
    """A name that is too long to stand over a column, broken behind its underscores.

    >>> _in_lines("recall_at_precision"), _in_lines("macro_f1")
    ('recall_at_\\nprecision', 'macro_f1')
    """
    return "\n".join(line.replace(" ", "") for line in textwrap.wrap(name.replace("_", "_ "), width=12))


def _plus_minus(found: Interval) -> str:
    half = max(found.mean - found.low, found.high - found.mean)  # one of them may be cut, at 0 or 100 %
    return f"{found.mean:.1f}±{half:.1f}" if math.isfinite(half) else f"{found.mean:.1f}"


def show_sweep(run: Run, console: Console) -> None:
    """Prints a sweep: its ranking, its answer, and where everything lies."""
    results = run.results()
    console.print(ranking_table(results))
    console.print(" ".join(answer(results)), markup=False)
    if gone := results.attrs.get("lost", ""):
        console.print(f"Diverged at every learning rate: {gone}.", markup=False)
    if lost := [str(name) for name in results["objective"].values[results["diverged"].values > 0]]:
        console.print(f"Diverged at some learning rates, where they are not chosen: {', '.join(lost)}.", markup=False)
    console.print(f"\nResults: {run.path}\nThe page: {run.report}", markup=False, soft_wrap=True)


def portrait_table(results: "xarray.Dataset") -> Table:
    """An objective's closest relatives, each with the cosine between their weights over the margin."""
    span = float(results["margin"].max())
    table = Table(
        title=escape(": ".join(filter(None, [str(results["title"].values[0]), results.attrs["formula"]]))),
        caption=f"likeness: cosine between weights over margins from {-span:g} to {span:g}",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("relative", "function of", "likeness"):
        table.add_column(heading, justify="right" if heading == "likeness" else "left")
    for one in list(results["objective"].values)[1:]:
        row = results.sel(objective=one)
        margin = f"the {row['of'].item()} margin" if row["of"].item() else "the logits"
        alike = float(row["likeness"])
        table.add_row(escape(str(row["title"].item())), margin, f"{alike:.3f}" if math.isfinite(alike) else "–")
    return table
