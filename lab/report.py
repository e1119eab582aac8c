"""The report: one HTML page that tells what a run found, complete in itself: no network, no server, no JAX."""

import json
from typing import TYPE_CHECKING

from lab import links, markup, scenes, story
from lab.frame import kind, source
from lab.page import Spec, document, scripts
from lab.page import sections as joined
from lab.runs import Run, write_bytes
from lab.sections import answer, facts, question, sections
from lab.series import Rows

if TYPE_CHECKING:
    from pathlib import Path

    import xarray


def write_report(run: Run) -> "Path":
    """Writes the page of a run, of whatever kind, to `run.report` and returns its path.

    Raises: DataError if the run's results, config or environment are missing or damaged.
    """
    results = run.results()
    records = {"Settings (config.json)": run.config(), "Surroundings (environment.json)": run.environment()}
    folded = markup.folded({name: json.dumps(record, indent=2) for name, record in records.items()})
    of = _comparison if kind(results) == "compare" else _pictures
    write_bytes(run.report, of(results, run.name, folded).encode())
    return run.report


def _pictures(results: "xarray.Dataset", name: str, folded: str) -> str:
    """The page of a study, a sweep, a training, a portrait: the answer, and then its pictures."""
    found = sections(results)
    specs: dict[str, Spec] = {
        place: links.described(spec, one.headline) for one in found for place, spec in one.specs.items()
    }
    rows: dict[str, Rows] = {name: of for one in found for name, of in one.rows.items()}
    ending = ("Method and data", markup.glossary(facts(results)) + folded)
    return document(
        question(results),
        name=name,
        header=f'<p class="answer">{markup.plain(answer(results))}</p>',
        bar=markup.chooser(key for spec in specs.values() for key in links.keys(spec, rows)),
        main=joined([*(one.html for one in found), ending]),
        script=scripts(name, specs, rows),
    )


def _comparison(results: "xarray.Dataset", name: str, folded: str) -> str:
    """The page of a comparison: a story with pictures that follow the stage of training."""
    rows = scenes.datasets(results)
    specs = scenes.specs(results, rows)
    stages = range(results.sizes["stage"])
    shown = "".join(f"body:has(#stage-{s}:checked) tbody:not(.of-stage-{s}) {{ display: none; }}\n" for s in stages)
    parts = [(part.heading, part.words + part.figure) for part in story.parts(results)]
    return document(
        story.title(results),
        name=name,
        header=f"<p>{markup.plain(source(results))}</p>",
        bar=story.stage_choice(results) + markup.chooser(key for s in specs.values() for key in links.keys(s, rows)),
        main=joined([*parts, ("Methods and data", story.methods(results) + folded)]),
        style=f"@media screen {{ {shown} }}",
        script=scripts(name, specs, rows),
    )
