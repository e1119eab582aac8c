"""The report: one HTML page that tells what a run found, complete in itself: no network, no server, no JAX."""

import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from lab import charts, figures, frame, grids, legend, series, story
from lab.palette import look
from lab.runs import Run, write_bytes
from lab.statistics import mean_interval

if TYPE_CHECKING:
    from pathlib import Path

    import xarray

Spec = dict[str, Any]

# Nothing may be fetched; what runs is what the page holds. Vega compiles its expressions, hence 'unsafe-eval'.
POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"


def write_report(run: Run) -> "Path":
    """Writes the page of a comparison to `run.report` and returns its path.

    Raises: DataError if the run's results, config or environment are missing or damaged.
    """
    import vl_convert

    results = run.results()
    if "pictures" in results.attrs:
        return run.report
    rows = datasets(results)
    content = {"specs": specs(results, rows), "datasets": rows}
    html = page(
        results,
        name=run.name,
        # Every "<" is written otherwise: a name that holds "</script>" must not end the script.
        content=json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        library=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", figures.vega_lite_version()),
        config=json.dumps(run.config(), indent=2),
        environment=json.dumps(run.environment(), indent=2),
    )
    write_bytes(run.report, html.encode())
    return run.report


def datasets(results: "xarray.Dataset") -> dict[str, series.Rows]:
    """The numbers of all charts, each once."""
    return {
        "staircase": series.staircase_rows(results),
        "differences": series.difference_rows(results),
        "cosines": series.cosine_rows(results),
        "examples": series.example_rows(results),
        "weights": series.weight_rows(results),
        "temperatures": series.temperature_rows(results),
        "gains": series.gain_rows(results),
        "nodes": series.node_rows(results),
    }


def specs(results: "xarray.Dataset", rows: dict[str, series.Rows]) -> dict[str, Spec]:
    """The charts by the place in the page that each goes to."""
    choices = _choices(results)
    labels = legend.numbered(results)
    swept = legend.swept_keys(results)
    at = legend.swept_temperatures(results)
    found = {
        f"staircase-{family}-{quantity}": _spec(charts.staircase(family, quantity), choices, height=200)
        for quantity in ("value", "slope")
        for family in ("error", "loss")
    }
    found["differences"] = _spec(charts.differences([float(h) for h in results["h"].values], legend=True), choices)
    heat = grids.cosines(labels, figures.lowest(rows["cosines"]), room="width > 26 * datum.size")
    found["cosines"] = _spec(heat, choices, height=26 * len(labels))
    margins = charts.margins(series.margin_edges(results), series.margin_domain(results), legend.keys(results))
    found["margins"] = _spec(margins, choices, height=300, staged=True)
    found["margins"]["params"] += [
        {"name": "notes", "value": notes(results)},
        {"name": "peaks", "value": peaks(rows, len(at))},
    ]
    found["margins"]["title"]["subtitle"] = {"expr": _NOTE}
    titles = [str(title) for title in legend.in_table(results)["title"].values]
    found["gains"] = _spec(charts.gains(legend.keys(results), titles), choices, height=22 * len(titles))
    found["weights"] = _spec(charts.node_weights(), choices, height=220)
    for measure in series.TEMPERATURE_MEASURES:
        chart = charts.temperatures(measure, swept, at, figures.span(rows["temperatures"], measure))
        found[f"temperatures-{measure}"] = _spec(chart, choices, height=190)
    found["temperatures-dead"] = _spec(grids.deaths(swept), choices, height=max(60, 26 * len(swept)))
    found["temperatures-dead"]["title"]["text"] = {"expr": "stage + ': dead in how many networks'"}
    return found


def _choices(results: "xarray.Dataset") -> list[Spec]:
    """What the reader can choose, as parameters that every chart knows."""
    first = min(1, results.sizes["stage"] - 1)
    chosen = {
        "stage": legend.stage_titles(results)[first],
        "temperature": str(story.first_temperature(results)),
        "focus": story.first_focus(results),
    }
    return [{"name": name, "value": value} for name, value in chosen.items()]


def _spec(chart: Any, choices: list[Spec], *, height: int = 230, staged: bool = False) -> Spec:
    """A chart for the page: as wide as its place, at the stage chosen (unless it sees to that: `staged`)."""
    spec = chart.to_dict(validate=False)  # the tests do that, once for all
    if not staged:
        spec["transform"] = [{"filter": "datum.stage == stage"}, *spec.get("transform", [])]
    return spec | {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": None,
        "params": list(choices),
        "title": {"text": {"expr": "stage"}, "offset": 10},
        "config": look(),
    }


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
            by_key.setdefault(key, {})["fixed" if place is None else str(place)] = [
                str(results["title"].values[i]),
                f"carried by {_said(carried[s, i])} of {int(results.attrs['examples']):,} images",
                f"cosine with cross entropy {_said(cosine[s, i], digits=2)}",
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
            found[row["stage"]][place] = max(found[row["stage"]][place], *row["share"])
    return {stage: [1.05 * peak for peak in by_place] for stage, by_place in found.items()}


def _said(values: Any, digits: int | None = None) -> str:
    """A mean with its interval, where there is one."""
    found = mean_interval(values)
    if not found.n:
        return "undefined"
    digits = (0 if found.mean >= 10 else 1) if digits is None else digits
    return found.text(digits) if found.n > 1 else f"{found.mean:.{digits}f}"


def page(results: "xarray.Dataset", *, name: str, content: str, library: str, config: str, environment: str) -> str:
    """The whole page; `content` is JSON without "<", `library` is JavaScript without "</script>"."""
    sections = "\n".join(
        f"<section><h2>{part.heading}</h2>{part.words}{part.figure}</section>" for part in story.parts(results)
    )
    stages = range(results.sizes["stage"])
    shown = "".join(f"body:has(#stage-{s}:checked) tbody:not(.of-stage-{s}) {{ display: none; }}\n" for s in stages)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(story.TITLE)} {escape(name)}</title>
<style>
{_resource("page.css")}
@media screen {{ {shown} }}
</style>
</head>
<body>
<header><h1>{escape(story.TITLE)}</h1><p>{escape(frame.source(results))}</p></header>
<div class="stages"><form>{story.stage_choice(results)}</form></div>
<noscript><p>The pictures need JavaScript; the table and the findings below do not.</p></noscript>
<main>
{sections}
</main>
<footer>{story.methods(results, config, environment)}<p><small>{escape(name)}</small></p></footer>
<script type="application/json" id="charts">{content}</script>
<script>
{library}
</script>
<script>
{_resource("page.js")}
</script>
</body>
</html>
"""


def _resource(name: str) -> str:
    return files("lab").joinpath(name).read_text()
