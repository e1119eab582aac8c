"""The gallery: several runs on one page, what was done differently in each first, and each with its main picture."""

import json
import os
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lab.errors import DataError
from lab.figures import names
from lab.markup import plain
from lab.page import document, sections
from lab.runs import Run, differing, write_bytes
from lab.sections import answer, question

if TYPE_CHECKING:
    import xarray

ELSEWHERE = ("out", "resume")  # settings that say where a run lies, not what it is


def write_gallery(runs: Sequence[Run], path: Path) -> Path:
    """Writes a page to `path` that shows runs side by side, and returns the path.

    Each run's figures are to be drawn and its page written: the gallery holds the one and links to the other.

    Raises: DataError if results or a figure of a run are missing.
    """
    labels = _labels(runs)
    parts = [
        _part(label, run, path.parent, number) for number, (label, run) in enumerate(zip(labels, runs, strict=True))
    ]
    main = f'{_differences(runs, labels)}<div class="runs">{sections(parts)}</div>'
    header = "<p>What was done differently in each, and what each found.</p>"
    write_bytes(path, document(f"{len(runs)} runs", name="side by side", header=header, main=main).encode())
    return path


def gallery_place(runs: Sequence[Run]) -> Path:
    """Where the gallery of runs lies if nobody says otherwise: in the folder that holds them all."""
    return Path(os.path.commonpath([run.path.resolve().parent for run in runs])) / "gallery.html"


def _labels(runs: Sequence[Run]) -> list[str]:
    """The names of the runs, with their folders where two have the same."""
    alone = {run.name for run in runs if sum(other.name == run.name for other in runs) == 1}
    return [run.name if run.name in alone else f"{run.path.parent.name}/{run.name}" for run in runs]


def _differences(runs: Sequence[Run], labels: Sequence[str]) -> str:
    """The settings that are not the same in all runs, a row each."""
    found = differing([run.config() for run in runs])
    kinds = [run.config()["kind"] for run in runs]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{_said(value)}</td>" for value in values)}</tr>'
        for name, values in found.items()
        if name not in ELSEWHERE and _differs(kinds, values)
    )
    if not rows:
        return "<p>All were made with the same settings.</p>"
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="settings that differ"><table><thead><tr>'
        f'<th scope="col">setting</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _differs(kinds: Sequence[str], values: Sequence[Any]) -> bool:
    """Whether some runs that can have a setting have it differently: one kind of run lacks settings of another's."""
    runs = list(zip(kinds, values, strict=True))
    return any(a != b and (kind == other or (a is not None and b is not None)) for kind, a in runs for other, b in runs)


def _said(value: Any) -> str:
    """A setting as one reads it; a dash where there is none."""
    if value is None or value == []:
        return "&ndash;"
    said = ", ".join(map(str, value)) if isinstance(value, list) else value
    return escape(said if isinstance(said, str) else json.dumps(said))


def _part(label: str, run: Run, folder: Path, number: int) -> tuple[str, str]:
    """A run's question, and its answer with its main picture and the way to its page."""
    results = run.results()
    link = quote(Path(os.path.relpath(run.report.resolve(), folder.resolve())).as_posix())
    return plain(question(results)), (
        f"<p><small>{escape(label)}</small></p><p>{plain(answer(results))}</p>"
        f'<figure class="still">{_picture(run, results, number)}</figure>'
        f'<p><small><a href="{escape(link)}">Its page</a>, with every picture and its numbers</small></p>'
    )


def _picture(run: Run, results: "xarray.Dataset", number: int) -> str:
    """A run's first figure, as it was drawn; names in it are made its own, for all figures have the same."""
    path = run.figures / f"{names(results)[0]}.svg"
    try:
        svg = path.read_text()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Draw it: python -m lab report {run.path}") from error
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(answer(results))}" ', 1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="run-{number}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#run-{number}-\1)", svg)
