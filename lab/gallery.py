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
        (plain(f"{label}: {question(results)}"), _content(run, results, path.parent, number))
        for number, (label, run, results) in enumerate(zip(labels, runs, [run.results() for run in runs], strict=True))
    ]
    title = f"{len(runs)} runs"
    main = sections([("What differs", _differences(runs, labels)), *parts])
    write_bytes(path, document(title, name="side by side", header="", main=main).encode())
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
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{_said(value)}</td>" for value in values)}</tr>'
        for name, values in found.items()
        if name not in ELSEWHERE
    )
    if not rows:
        return "<p>Nothing: all were made with the same settings.</p>"
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="settings that differ"><table><thead><tr>'
        f'<th scope="col">setting</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _said(value: Any) -> str:
    """A setting as it stands in config.json; a dash where a run has no such setting."""
    return "&ndash;" if value is None else escape(value if isinstance(value, str) else json.dumps(value))


def _content(run: Run, results: "xarray.Dataset", folder: Path, number: int) -> str:
    link = quote(Path(os.path.relpath(run.report.resolve(), folder.resolve())).as_posix())
    return (
        f'<p>{plain(answer(results))}</p><figure class="still">{_picture(run, results, number)}</figure>'
        f'<p><a href="{escape(link)}">Its page</a>, with every picture and its numbers.</p>'
    )


def _picture(run: Run, results: "xarray.Dataset", number: int) -> str:
    """A run's first figure, as it was drawn; names in it are made its own, for all figures have the same."""
    path = run.figures / f"{names(results)[0]}.svg"
    try:
        svg = path.read_text()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Draw it: python -m lab report {run.path}") from error
    svg = re.sub(r'\bid="([^"]+)"', rf'id="run-{number}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#run-{number}-\1)", svg)
