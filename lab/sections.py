"""Sections: what a page says and shows of a run, whatever its kind: question, answer, a section for each picture."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from lab import curves, headlines, legend, links, pictures, races, ranking, series, story, tallies
from lab.figures import spread
from lab.findings import summarise
from lab.frame import intervals, kind, learned, means, rivals, source
from lab.markup import Style, boxes, figure, plain
from lab.markup import legend as buttons
from lab.page import Spec
from lab.pictures import Picture
from lab.quantities import metric_of

if TYPE_CHECKING:
    import xarray


class Section(NamedTuple):
    """A picture on a page: its finding, its charts by their places, their numbers, and what is said below them."""

    headline: str
    note: str
    specs: dict[str, Spec]
    rows: dict[str, series.Rows]
    entries: dict[str, Style] = {}  # the legend, which is written and not drawn
    grid: str = "many"

    @property
    def html(self) -> tuple[str, str]:
        """Heading and content."""
        content = buttons(self.entries) + boxes(list(self.specs), kind=self.grid)
        return plain(self.headline), figure(content, plain(self.note))


def question(results: "xarray.Dataset") -> str:
    """What the run asks."""
    return {
        "study": lambda: str(results.attrs["question"]),
        "compare": lambda: story.title(results),
        "sweep": lambda: "Which objective trains the better network?",
        "train": lambda: f"What {'do these networks' if results.sizes['seed'] > 1 else 'does this network'} learn?",
        "show": lambda: f"Where does {results['title'].values[0]} look?",
    }[kind(results)]()


def answer(results: "xarray.Dataset") -> str:
    """What the run found, in a few sentences."""
    return {
        "study": lambda: str(results.attrs["answer"]),
        "compare": lambda: " ".join(finding.claim for finding in summarise(results)),
        "sweep": lambda: " ".join(ranking.answer(results)),
        "train": lambda: headlines.learning(results),
        "show": lambda: headlines.portrait(results),
    }[kind(results)]()


def sections(results: "xarray.Dataset") -> list[Section]:
    """The pictures of any run but a comparison, whose page is a story of its own."""
    return {"study": _study, "sweep": _sweep, "train": _train, "show": _show}[kind(results)](results)


def facts(results: "xarray.Dataset") -> dict[str, str]:
    """Method and data."""
    found = {
        name: str(results.attrs[name]) for name in ("data", "method", "network", "formula") if name in results.attrs
    }
    if "recipe" in results.attrs:
        found["training"] = str(results.attrs["recipe"])
    if n := results.sizes.get("seed"):
        found["networks"] = f"n = {n}"
        found["intervals"] = "95 %, Student t over networks" if n > 1 else "none: one network cannot tell chance"
    return found


def _study(results: "xarray.Dataset") -> list[Section]:
    return [declared(picture, results) for picture in pictures.declared(results)]


def declared(picture: Picture, results: "xarray.Dataset") -> Section:
    """A picture that the results declare, each of its panels a chart."""
    name, panels, rows = _slug(picture.name), pictures.panels(picture, results), pictures.rows(picture, results)
    link = "key" if picture.by else "x" if picture.kind == "dots" else ""
    names = {"panel": picture.panels, "key": picture.by, "x": picture.x, "beside": picture.beside}
    specs = {
        f"{name}-{place}" if len(panels) > 1 else name: links.fitted(
            pictures.chart(picture, results, source=name, panel=panel if picture.panels else None),
            height=_height(picture, results),
            title={"text": panel} if panel else None,
            link=link,
            where={"panel": panel} if panel else None,
            names=names,
        )
        for place, panel in enumerate(panels)
    }
    if picture.panels and not picture.free and picture.kind != "heat":
        links.share_axis(specs.values(), rows, log=picture.log.endswith("y"), zero=picture.zero)
    entries = [links.take_legend(spec) for spec in specs.values()][0]
    beside = f"{'Ticks' if picture.kind == 'dots' else 'Dotted'}: {picture.beside_title}." if picture.beside else ""
    said = [picture.note, beside, spread(picture, results)]
    if picture.kind == "heat" and results.sizes.get("seed", 1) > 1:
        said.append("Point at a square for its interval.")
    grid = "panels" if picture.kind == "lines" and len(panels) > 2 else "many"
    return Section(picture.headline, " ".join(filter(None, said)), specs, {name: rows}, entries, grid)


def _height(picture: Picture, results: "xarray.Dataset") -> int:
    """As many pixels as there are rows, or dots in a row, to hold."""
    if picture.kind == "lines":
        return 230
    if picture.kind == "heat":
        return 24 * results.sizes[picture.by]
    return results.sizes[picture.x] * max(21, 6 + 12 * (results.sizes[picture.by] if picture.by else 1))


def _slug(name: str) -> str:
    """A name as the place of a chart, and in the names of files.

    >>> _slug("by <stage>")
    'by-stage'
    """
    return re.sub(r"[^\w]+", "-", name).strip("-") or "picture"


def _sweep(results: "xarray.Dataset") -> list[Section]:
    rows = tallies.ranking_rows(results)
    titles = [row["title"] for row in rows]
    standings = links.fitted(races.ranking(titles, metric_of(results)), height=21 * len(titles), link="title")
    tuning = links.fitted(races.tuning(titles, metric_of(results)), height=21 * len(titles), link="title")
    first = Section(
        " ".join(ranking.answer(results)[:2]),
        rivals(results),
        {"standings": standings},
        {"ranking": rows, "networks": tallies.network_rows(results)},
    )
    second = Section(
        headlines.tuning(results),
        f"{means(results)}; framed: chosen. Grey: some network diverged.",
        {"tuning": tuning},
        {"tuning": tallies.tuning_rows(results)},
    )
    return [first, second, _progress(results)]


def _progress(results: "xarray.Dataset") -> Section:
    """The metric and dead classes over the epochs, all objectives in one picture: here one can be shown alone."""
    metric = metric_of(results)
    by_title = results.swap_dims(objective="title").isel(epoch=slice(1, None))
    over: dict[str, Any] = {"x": "epoch", "x_title": "epoch", "by": "title"}
    dead = 0.0, tallies.most_dead(results)
    shown = [
        Picture("progress", "", f"validation_{metric}", f"{metric} (%)", **over, scale=100.0, share=True),
        Picture("dead", "", "dead_classes", "dead classes", **over, zero=True, within=dead),
    ]
    parts = [declared(one, by_title) for one in shown]
    specs, rows = {}, {}
    for part in parts:
        specs |= part.specs
        rows |= part.rows
    note = f"On validation images, at the learning rates chosen. {intervals(results)}"
    return Section(headlines.progress(results), note, specs, rows, parts[0].entries)


def _train(results: "xarray.Dataset") -> list[Section]:
    specs = {
        measure: links.fitted(curves.learning(measure, title), link="split", where={"measure": measure})
        for measure, title in series.learning_measures(results).items()
    }
    entries = [links.take_legend(spec) for spec in specs.values()][0]
    rows = {"learning": series.learning_rows(results)}
    *names, last = specs
    return [
        Section(f"{', '.join(names).capitalize()} and {last}, epoch by epoch", learned(results), specs, rows, entries)
    ]


def _show(results: "xarray.Dataset") -> list[Section]:
    rows, keys = series.portrait_rows(results), legend.titles(results)
    specs = {
        quantity: links.fitted(
            curves.portrait(quantity, keys, series.portrait_top(rows, quantity)),
            link="key",
            where={"quantity": quantity},
        )
        for quantity in curves.PORTRAIT
    }
    entries = [links.take_legend(spec) for spec in specs.values()][0]
    return [Section("Value and weight over the margin", source(results), specs, {"portrait": rows}, entries, "panels")]
