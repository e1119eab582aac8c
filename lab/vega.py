"""Vega: the programs that draw a chart, for a page (a browser's) and for a picture, of one version for both."""

import hashlib
import logging
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.files import replacing
from lab.machine import cache_folder

_log = logging.getLogger(__name__)


def version() -> str:
    """The version of Vega-Lite that the charts are written in, "6.1"."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def svg(spec: dict[str, Any]) -> str:
    """A chart drawn, from its specification; the same one to the last bit, whatever was drawn before."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(spec, vl_version=version())
    # Vega numbers what it clips by through all that a process draws.
    numbers: dict[str, int] = {}
    return re.sub(
        r'(?<=id="clip)\d+(?=")|(?<=\(#clip)\d+(?=\))',
        lambda found: str(numbers.setdefault(found[0], len(numbers))),
        drawn,
    )


def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which gives a page the function `vegaEmbed`.

    Bundling it takes three seconds, nearly all that a page takes; it is kept in the cache folder, for every version its
    own, with a checksum: what was damaged there is bundled anew.
    """
    import vl_convert

    kept = cache_folder() / f"vega-{version()}-{metadata.version('vl-convert-python')}.js"
    if found := _intact(kept):
        return found
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version())
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as file:
            file.write(f"// {_checksum(script)}\n{script}".encode())
    except OSError as error:  # a read-only folder or a full disk only means that the next page bundles it again
        _log.info("%s was not kept: %s", kept, error)
    return script


def _intact(kept: Path) -> str | None:
    """The script as it was kept; None if there is none, or not as it was."""
    try:
        first, _, script = kept.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if first == f"// {_checksum(script)}" else None


def _checksum(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
