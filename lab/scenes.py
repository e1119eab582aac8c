"""Scenes: the interactive charts of a comparison's page, their numbers, and what is said over the margins."""

from typing import TYPE_CHECKING, Any

from lab import charts, figures, grids, headlines, legend, races, ranking, series, story, tallies
from lab.links import described, fitted
from lab.page import Spec
from lab.quantities import interval, metric_of
from lab.race import raced
from lab.statistics import Interval

if TYPE_CHECKING:
    import xarray


def datasets(results: "xarray.Dataset") -> dict[str, series.Rows]:
    """The numbers of all charts, each once."""
    found = {
        "staircase": series.staircase_rows(results),
        "differences": series.difference_rows(results),
        "cosines": series.cosine_rows(results),
        "examples": series.example_rows(results),
        "weights": series.weight_rows(results),
        "temperatures": series.temperature_rows(results),
        "gains": series.gain_rows(results),
        "nodes": series.node_rows(results),
    }
    if (race := raced(results)) is not None:
        keys = dict(zip((str(title) for title in race["title"].values), legend.keys(race), strict=True))
        for name, rows in (("ranking", tallies.ranking_rows(race)), ("networks", tallies.network_rows(race))):
            found[name] = [row | {"key": keys[row["title"]]} for row in rows]
    return found


def specs(results: "xarray.Dataset", rows: dict[str, series.Rows]) -> dict[str, Spec]:
    """The charts by the place in the page that each goes to."""
    choices = _choices(results)
    labels = legend.numbered(results)
    swept = legend.swept_keys(results)
    at = legend.swept_temperatures(results)
    found = {
        f"staircase-{family}-{quantity}": _spec(
            charts.staircase(family, quantity), choices, height=200, where={"family": family, "quantity": quantity}
        )
        for quantity in ("value", "slope")
        for family in ("error", "loss")
    }
    found["differences"] = _spec(charts.differences([float(h) for h in results["h"].values], legend=True), choices)
    heat = grids.cosines(labels, figures.lowest(rows["cosines"]), room="width > 26 * datum.size")
    found["cosines"] = _spec(heat, choices, height=26 * len(labels))
    found["margins"] = _margins(results, rows, choices)
    titles = legend.titles(legend.in_table(results))
    found["gains"] = _spec(
        charts.gains(legend.keys(results), titles, metric_of(results)), choices, height=22 * len(titles)
    )
    found["weights"] = _spec(charts.node_weights(), choices, height=220)
    for measure in series.TEMPERATURE_MEASURES:
        chart = charts.temperatures(measure, legend.keys(results), at, figures.span(rows["temperatures"], measure))
        found[f"temperatures-{measure}"] = _spec(chart, choices, height=190, where={"measure": measure})
    height, dead = max(60, 26 * len(swept)), {"measure": "dead"}
    found["temperatures-dead"] = _spec(grids.deaths(swept), choices, height=height, where=dead)
    found["temperatures-dead"]["title"]["text"] = {"expr": "stage + ': dead in how many networks'"}
    said = {name: getattr(headlines, name)(results) for name in dict.fromkeys(place.split("-")[0] for place in found)}
    if (race := raced(results)) is not None:
        titles = [row["title"] for row in rows["ranking"]]
        found["race"] = fitted(
            races.ranking(titles, metric_of(results)), height=24 * len(titles), link="key", names={"key": ""}
        )
        said["race"] = " ".join(ranking.answer(race)[:2])
    return {place: described(spec, said[place.split("-")[0]]) for place, spec in found.items()}


def _choices(results: "xarray.Dataset") -> list[Spec]:
    """What the reader can choose beside an objective, as parameters that every chart knows."""
    first = min(1, results.sizes["stage"] - 1)
    chosen = {"stage": legend.stage_titles(results)[first], "temperature": str(story.first_temperature(results))}
    return [{"name": name, "value": value} for name, value in chosen.items()]


def _spec(chart: Any, choices: list[Spec], *, height: int = 230, where: dict[str, str] | None = None) -> Spec:
    """A chart for the page at the stage chosen."""
    title = {"text": {"expr": "stage"}, "offset": 10}
    spec = fitted(chart, height=height, title=title, link="key", where=where, params=choices)
    return spec | {"transform": [{"filter": "datum.stage == stage"}, *spec.get("transform", [])]}


def _margins(results: "xarray.Dataset", rows: dict[str, series.Rows], choices: list[Spec]) -> Spec:
    """The picture of margins, which sees to stage and objective itself, and begins with one of them in front."""
    chart = charts.margins(series.margin_edges(results), series.margin_domain(results), legend.keys(results))
    params = [
        *choices,
        {"name": "focus", "value": story.first_focus(results)},
        {"name": "notes", "value": notes(results)},
        {"name": "peaks", "value": peaks(rows, len(legend.swept_temperatures(results)))},
    ]
    title = {"text": {"expr": "stage"}, "offset": 10, "subtitle": {"expr": _NOTE}}
    spec = fitted(chart, height=300, title=title, params=params)
    return spec | {"usermeta": spec["usermeta"] | {"link": "key"}}


_NOTE = (
    "focus == 'all' ? 'all objectives' : isDefined(notes[stage][focus]['fixed']) ? notes[stage][focus]['fixed'] : "
    "isDefined(notes[stage][focus][temperature]) ? notes[stage][focus][temperature] : "
    "'not measured at this temperature'"
)


def notes(results: "xarray.Dataset") -> dict[str, dict[str, dict[str, list[str]]]]:
    """What is said over the margins: stage, objective and place of the temperature ("fixed": it has none)."""
    carried, cosine, dead = (series.per_network(results, name) for name in ("effective_examples", "cosine", "dead"))
    found: dict[str, dict[str, dict[str, list[str]]]] = {stage: {} for stage in legend.stage_titles(results)}
    for i, (key, place) in enumerate(legend.places(results)):
        for s, by_key in enumerate(found.values()):
            carriers = _said(interval(results, "effective_examples", carried[s, i]))
            along = _said(interval(results, "cosine", cosine[s, i]), digits=2)
            by_key.setdefault(key, {})["fixed" if place is None else str(place)] = [
                str(results["title"].values[i]),
                f"carried by {carriers} of {int(results.attrs['examples']):,} images",
                f"cosine with cross entropy {along}",
                *([f"dead in {dead[s, i].sum()} of {results.sizes['seed']} networks"] if dead[s, i].any() else []),
            ]
    return found


def peaks(rows: dict[str, series.Rows], temperatures: int) -> dict[str, list[float]]:
    """The highest share (%) in the picture of margins: by stage, at each place of the temperature."""
    found = {row["stage"]: [max(row["share"])] * temperatures for row in rows["examples"]}
    for row in rows["weights"]:
        if row["t"] is None and not row["table"]:
            continue
        for place in range(temperatures) if row["t"] is None else [row["t"]]:
            known = [share for share in row["share"] if share is not None]
            found[row["stage"]][place] = max([found[row["stage"]][place], *known])
    return {stage: [1.05 * peak for peak in by_place] for stage, by_place in found.items()}


def _said(found: Interval, digits: int | None = None) -> str:
    """A mean with its interval, where there is one."""
    if not found.n:
        return "undefined"
    digits = (0 if found.mean >= 10 else 1) if digits is None else digits
    return found.text(digits)
