"""The frame of a picture: its finding above it, what is drawn, where it comes from, and what its bands are."""

import re
import textwrap
from typing import TYPE_CHECKING, Any, Literal

import altair as alt

from lab.findings import caption
from lab.palette import look
from lab.series import Rows

if TYPE_CHECKING:
    import xarray


def kind(results: "xarray.Dataset") -> Literal["study", "sweep", "train", "show", "compare"]:
    """What made the results: a study, or the command of that name."""
    if "pictures" in results.attrs:
        return "study"
    if "tuning" in results:
        return "sweep"
    if "epoch" in results.dims:
        return "train"
    return "show" if "margin" in results.dims else "compare"


def intervals(results: "xarray.Dataset", marks: str = "Bands") -> str:
    """What the bands in a picture are."""
    n = results.sizes["seed"]
    return f"{marks}: 95 % t intervals of the mean over {n} networks." if n > 1 else "One network: no interval."


def spans(results: "xarray.Dataset") -> str:
    """What the lines through the dots of a picture are."""
    return intervals(results, "Lines")


def means(results: "xarray.Dataset") -> str:
    """What is drawn where there is no room for intervals, as half a sentence: means, or a single network's values."""
    n = results.sizes["seed"]
    return f"Means over {n} networks" if n > 1 else "One network"


def rivals(results: "xarray.Dataset") -> str:
    """What the dots of a ranking are, and how they were compared; one network of each cannot be."""
    if results.sizes["seed"] == 1:
        return "One network of each objective: no interval, and nothing to compare them by."
    return f"{spans(results)} Ticks: networks. Compared pairwise by seed, corrected for their number (Holm)."


def learned(results: "xarray.Dataset") -> str:
    """What the bands over the epochs are, what is said of training, and where the loss becomes another one.

    >>> import xarray
    >>> results = xarray.Dataset({"loss": ("seed", [0.5])}, attrs={"objective": "brier, from step 20 on mae"})
    >>> learned(results).split(". ")[-1]
    'From step 20 on the loss is that of mae, in its own unit.'
    """
    said = f"{intervals(results)} Training: means over the epoch's mini-batches, each before its step."
    later = re.search(r", from step (\d+) on (.+)$", str(results.attrs.get("objective", "")))
    return f"{said} From step {int(later[1]):,} on the loss is that of {later[2]}, in its own unit." if later else said


def titled(chart: Any, headline: str, note: str, results: "xarray.Dataset", *, width: int, **data: Rows) -> Any:
    """The chart with its finding above it, what is drawn and where it comes from below that, and its data.

    `width` is the chart's, about, in pixels: lines of text are broken to fit it.
    """
    width = max(width, 620)
    title = alt.Title(
        _lines(headline, round(width / 8.5)),
        subtitle=_lines(f"{note} {source(results)}", round(width / 5.7)),
        anchor="start",
        fontSize=16,
        subtitleFontSize=12,
        subtitlePadding=6,
        offset=16,
    )
    return chart.properties(title=title, datasets=data, padding=14, background="white").configure(**look())


def source(results: "xarray.Dataset") -> str:
    """Data, network, recipe and counts; of a portrait, the formula and which margin each curve is drawn over."""
    if "pictures" in results.attrs:
        return f"{results.attrs['data']}. {results.attrs['method']}"
    if "stage" in results.dims:
        return caption(results)
    if "margin" in results.dims:
        measured = f"measured over the soft margin of {results.attrs['classes']} classes with equal rivals"
        margins = {f"{of} margin" if of else measured: [] for of in results["of"].values}
        for title, of in zip(results["title"].values, results["of"].values, strict=True):
            margins[f"{of} margin" if of else measured].append(str(title))
        said = "; ".join(f"{', '.join(titles)}: {margin}" for margin, titles in margins.items())
        return f"{results['title'].values[0]} = {str(results.attrs['formula']).rstrip('.')}. {said}."
    return f"{results.attrs['data']}. Network {results.attrs['network']}, {results.attrs['recipe']}."


def _lines(text: str, chars: int) -> list[str]:
    """Lines of at most `chars` characters and of about one length; a number keeps its % sign, and "n =" its number."""
    text = text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")
    lines = textwrap.wrap(text, chars, break_on_hyphens=False)
    even = len(text) // len(lines) + 12
    closer = textwrap.wrap(text, min(chars, even), break_on_hyphens=False)
    return closer if len(closer) == len(lines) else lines
