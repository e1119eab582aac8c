"""Page: one HTML file, complete in itself: no network, no server, no JAX; what every page of the lab is made of."""

import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Any

from lab.series import Rows
from lab.vega import library

Spec = dict[str, Any]

# Nothing may be fetched; what runs is what the page holds. Vega compiles its expressions, hence 'unsafe-eval'.
SCRIPTS = "script-src 'unsafe-inline' 'unsafe-eval'; "
POLICY = "default-src 'none'; {scripts}style-src 'unsafe-inline'; img-src data:"
UNSCRIPTED = (
    "<noscript><p>The pictures need JavaScript; the words do not, and the folder figures/ holds them.</p></noscript>"
)


def document(title: str, *, name: str, header: str, main: str, bar: str = "", style: str = "", script: str = "") -> str:
    """The whole page: `title` and `name` are text, everything else is HTML (CSS, scripts)."""
    policy = POLICY.format(scripts=SCRIPTS if script else "")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} {escape(name)}</title>
<style>
{_resource("page.css")}{style}
</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{header}</header>
{f'<div class="bar"><form autocomplete="off">{bar}</form></div>' if bar else ""}
{UNSCRIPTED if script else ""}
<main>
{main}
</main>
<footer><p><small>{escape(name)}</small></p></footer>
{script}
</body>
</html>
"""


def sections(found: Iterable[tuple[str, str]]) -> str:
    """Sections, each with its heading and what it holds, both HTML."""
    return "\n".join(f"<section><h2>{heading}</h2>{content}</section>" for heading, content in found)


def scripts(name: str, specs: dict[str, Spec], datasets: dict[str, Rows]) -> str:
    """The charts by the place each goes to, their numbers, and the programs that draw them."""
    content = json.dumps({"name": name, "specs": specs, "datasets": datasets}, separators=(",", ":"), allow_nan=False)
    # Every "<" is written otherwise: a name that holds "</script>" must not end the script.
    content = content.replace("<", "\\u003c")
    return f"""<script type="application/json" id="charts">{content}</script>
<script>
{library()}
</script>
<script>
{_resource("page.js")}
</script>"""


def _resource(name: str) -> str:
    return files("lab").joinpath(name).read_text()
