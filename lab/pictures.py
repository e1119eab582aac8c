"""Pictures: charts declared by what they show, for any labelled results: lines, dots and heat maps.

A `Picture` names a variable of the results and the axes it is drawn over, and says what it shows. It is plain data, so
that results carry their own pictures (`declare`, `declared`): everything can be drawn again from disk.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import altair as alt
import numpy as np

from lab.charts import data, layered
from lab.legend import rounded
from lab.palette import INK, KNOWN, SOLID, apart, on_squares, styles
from lab.series import Rows, interval_of

if TYPE_CHECKING:
    import xarray


class Picture(NamedTuple):
    """What is drawn: `value`, a variable of the results, as mean over its axis `seed` with its interval.

    lines: over the axis `x`, a line for each place of the axis `by`. dots: a row for each place of `x`, a dot for each
    of `by`. heat: a square for each place of `x` and of `by`. With `panels`, once for each place of that axis. An axis
    of numbers is a scale (logarithmic where `log` names it: "x", "y" or "xy"), an axis of words keeps its order.
    Intervals are cut at what is possible: at the ends of `within`, in the units that are shown (after `scale`), as
    (-1, 1) for a cosine and (0, inf) for a count; `share=True` says the same of percents and shares.
    """

    name: str
    headline: str  # what it shows, in a sentence
    value: str
    value_title: str  # with its unit
    x: str
    x_title: str
    by: str = ""
    panels: str = ""
    kind: Literal["lines", "dots", "heat"] = "lines"
    log: str = ""
    scale: float = 1.0  # 100 for percent
    share: bool = False  # of something: intervals are cut at 0 and all of it
    beside: str = ""  # another variable with the same axes, dotted beside the lines: what a law foretells
    beside_title: str = ""
    zero: bool = False  # the axis of values has to hold 0
    free: bool = False  # each panel has an axis of values of its own
    steps: bool = False  # lines are staircases
    note: str = ""
    within: tuple[float, float] | None = None  # what is possible, in the units that are shown


def declare(pictures: Iterable[Picture]) -> str:
    """Pictures as text, to be kept in the results' attributes."""
    return json.dumps([one._asdict() for one in pictures])


def declared(results: "xarray.Dataset") -> list[Picture]:
    """The pictures that results carry.

    >>> import xarray
    >>> one = Picture("cosine", "It falls.", "cosine", "cosine", x="step", x_title="step")
    >>> declared(xarray.Dataset(attrs={"pictures": declare([one])})) == [one]
    True
    """
    found = [Picture(**fields) for fields in json.loads(results.attrs["pictures"])]
    return [one._replace(within=one.within and tuple(one.within)) for one in found]  # JSON has lists alone


def panels(picture: Picture, results: "xarray.Dataset") -> list[str]:
    """The panels of a picture that show something, by name; one without a name if it has no `panels`."""
    if not picture.panels:
        return [""]
    return [_panel(picture, value) for value in _measured(picture, results)[picture.panels].values]


def _measured(picture: Picture, results: "xarray.Dataset") -> "xarray.Dataset":
    """The results without the panels for which there is no number at all."""
    return results.dropna(picture.panels, how="all", subset=[picture.value]) if picture.panels else results


def rows(picture: Picture, results: "xarray.Dataset") -> Rows:
    """The numbers of a picture: one row for each place along its axes, with `mean`, `low`, `high` and `n`."""
    results = _measured(picture, results)
    axes = [axis for axis in (picture.panels, picture.by, picture.x) if axis]
    of = results[picture.value]
    seeds = ["seed"] if "seed" in of.dims else []
    values = of.transpose(*axes, *seeds).values
    beside = None
    if picture.beside:
        second = results[picture.beside]
        beside = (second.mean("seed") if "seed" in second.dims else second).transpose(*axes).values
    places = [results[axis].values for axis in axes]
    least, most = picture.within or ((0.0, picture.scale) if picture.share else (-math.inf, math.inf))
    found: Rows = []
    for at in np.ndindex(*(len(place) for place in places)):
        named = {axis: place[i] for axis, place, i in zip(axes, places, at, strict=True)}
        row: dict[str, Any] = {"panel": _panel(picture, named[picture.panels]) if picture.panels else ""}
        row["key"] = _word(named[picture.by]) if picture.by else ""
        row["x"] = named[picture.x].item() if _numeric(picture, results) else _word(named[picture.x])
        row |= interval_of(np.atleast_1d(values[at]), scale=picture.scale, least=least, most=most)
        if not seeds:  # a number that is no mean
            row["n"] = int(row["mean"] is not None)
        if beside is not None:
            row["beside"] = rounded(picture.scale * float(beside[at]))
        if not (picture.log.endswith("y") and (row["mean"] or 0.0) <= 0):  # 0 has no place on a logarithmic axis
            found.append(row)
    return found


def chart(picture: Picture, results: "xarray.Dataset", *, source: str, panel: str | None = None) -> Any:
    """The chart of a picture, its rows being the data named `source`; with `panel` of that panel alone."""
    keys = [_word(value) for value in results[picture.by].values] if picture.by else [""]
    of: Any = {"lines": _lines, "dots": _dots, "heat": _heat}[picture.kind](picture, results, keys)
    if panel is None:
        return layered(*of.layer, data=data(source))
    filtered = alt.FilterTransform(filter=alt.FieldEqualPredicate(field="panel", equal=panel))
    return layered(*of.layer, data=data(source), transform=[filtered])


def faceted(picture: Picture, results: "xarray.Dataset", *, source: str) -> tuple[Any, int]:
    """The whole picture with all its panels, for the static figure, and its width in pixels."""
    names = panels(picture, results)
    of = chart(picture, results, source=source)
    height = alt.Step(21) if picture.kind == "dots" else alt.Step(24) if picture.kind == "heat" else 210
    if len(names) == 1:
        return of.properties(width=480, height=height), 620
    columns = min(len(names), 3 if len(names) in (3, 5, 6, 9) else 4)
    width = {1: 480, 2: 330, 3: 240}.get(columns, 190)
    facet = alt.Facet("panel:N", sort=names, title=None, header=alt.Header(labelLimit=width + 20))
    found = of.properties(width=width, height=height).facet(facet, columns=columns, spacing=20)
    if picture.free:
        dots = picture.kind == "dots"
        found = found.resolve_scale(x="independent") if dots else found.resolve_scale(y="independent")
    if len(names) % columns:  # below an empty place an axis would stand alone, far from the panel above
        found = found.resolve_axis(x="independent")
    return found, 90 + (width + 40) * columns


def _numeric(picture: Picture, results: "xarray.Dataset") -> bool:
    return picture.kind == "lines" and np.issubdtype(results[picture.x].dtype, np.number)


def _panel(picture: Picture, value: Any) -> str:
    """The heading of a panel; a number says of what it is."""
    return _word(value) if isinstance(value, str) else f"{picture.panels.replace('_', ' ')} {_word(value)}"


def _word(value: Any) -> str:
    """A place along an axis as it stands in a legend."""
    if isinstance(value, (np.integer, int)):
        return f"{int(value):,}"
    return f"{float(value):g}" if isinstance(value, (np.floating, float)) else str(value)


_RISING = ["#783CF0", "#2878B4", "#21918c", "#5ec962", "#b5a90f"]  # viridis, with ends that both papers show
_PLAIN = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0486C", "#999933"]


def colours(keys: Sequence[str]) -> dict[str, tuple[str, list[int]]]:
    """Colour and dash of every line, no two alike: objectives their own; numbers from dark to light."""
    if all(key.replace(",", "").replace(".", "").isdigit() for key in keys):
        at = np.linspace(0, len(_RISING) - 1, len(keys)).round().astype(int)
        return apart({key: (_RISING[i], SOLID) for key, i in zip(keys, at, strict=True)})
    if not any(re.split("[ :]", key)[0] in KNOWN for key in keys):
        return apart({key: (_PLAIN[i % len(_PLAIN)], SOLID) for i, key in enumerate(keys)})
    return styles(keys)


def _colour(keys: Sequence[str]) -> dict[str, Any]:
    """The channels that tell the lines apart, and their legend."""
    if keys == [""]:
        return {"color": alt.value("#0072B2")}
    chosen = colours(keys)
    key = alt.Legend(title=None, orient="bottom", columns=3, symbolType="stroke", symbolOpacity=1, labelLimit=230)
    return {
        "color": alt.Color(
            "key:N", scale=alt.Scale(domain=keys, range=[colour for colour, _ in chosen.values()]), legend=key
        ),
        "strokeDash": alt.StrokeDash(
            "key:N", scale=alt.Scale(domain=keys, range=[dash for _, dash in chosen.values()]), legend=key
        ),
    }


def _tooltip(picture: Picture) -> list[alt.Tooltip]:
    named = [alt.Tooltip("key:N", title=picture.by)] if picture.by else []
    return [
        *named,
        alt.Tooltip("x", title=picture.x_title, type="nominal"),
        alt.Tooltip("mean:Q", title=picture.value_title, format=".4~g"),
        alt.Tooltip("low:Q", title="95 % from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("n:Q", title="n"),
    ]


def _value_axis(picture: Picture, field: str, channel: Any) -> Any:
    logarithmic = picture.log.endswith("y")
    scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(zero=picture.zero)
    axis = alt.Axis(tickCount=5, format="~g" if logarithmic else ".4~g", labelOverlap=True)
    return channel(f"{field}:Q", title=picture.value_title, scale=scale, axis=axis)


def _lines(picture: Picture, results: "xarray.Dataset", keys: list[str]) -> alt.LayerChart:
    values = results[picture.x].values
    if _numeric(picture, results):
        few = [float(value) for value in values] if len(values) <= 12 else None
        kind = alt.Scale(type="log", nice=False, padding=8) if "x" in picture.log else alt.Scale(zero=False, padding=8)
        axis = alt.Axis(
            values=few or alt.Undefined, format=",~r", grid=False, tickCount=6, labelOverlap="greedy", labelSeparation=6
        )
        x = alt.X("x:Q", title=picture.x_title, scale=kind, axis=axis)
    else:
        order = [_word(value) for value in values]
        x = alt.X("x:O", title=picture.x_title, sort=order, axis=alt.Axis(labelAngle=0, grid=False))
    channels = _colour(keys)
    base = alt.Chart().transform_filter("isValid(datum.mean)").encode(x=x, **channels)
    floor = _floor(picture, results)
    undashed = alt.Chart().transform_filter("isValid(datum.mean)").encode(x=x, color=channels["color"])
    spanned = undashed.transform_filter("isValid(datum.low)").transform_calculate(bottom=f"max(datum.low, {floor!r})")
    y = _value_axis(picture, "mean", alt.Y)
    interpolation = "step-after" if picture.steps else "linear"
    layers = [
        spanned.mark_area(opacity=0.14, clip=True).encode(y=_value_axis(picture, "bottom", alt.Y), y2="high:Q"),
        base.mark_line(strokeWidth=2, interpolate=interpolation).encode(y=y),
    ]
    if len(values) <= 40:
        layers.append(undashed.mark_circle(size=30, opacity=1).encode(y=y, tooltip=_tooltip(picture)))
    if picture.beside:
        dotted = base.transform_filter(f"isValid(datum.beside) && datum.beside > {floor!r}").mark_line(
            strokeWidth=1.5, opacity=0.9, clip=True
        )
        layers.append(dotted.encode(y=_value_axis(picture, "beside", alt.Y), strokeDash=alt.value([2, 3])))
    return layered(*layers)


def _floor(picture: Picture, results: "xarray.Dataset") -> float:
    """Where bands are cut: at the least value there is on a logarithmic axis, nowhere on others."""
    if not picture.log.endswith("y"):
        return -1e308
    values = picture.scale * np.asarray(results[picture.value].values, dtype=float)
    above = values[np.isfinite(values) & (values > 0)]
    return float(above.min()) if above.size else 1e-308


def _dots(picture: Picture, results: "xarray.Dataset", keys: list[str]) -> alt.LayerChart:
    order = [_word(value) for value in results[picture.x].values]
    bare = alt.Axis(ticks=False, domain=False, grid=True, labelLimit=260, labelPadding=6)
    title = picture.x_title or None
    offset: dict[str, Any] = {} if keys == [""] else {"yOffset": alt.YOffset("key:N", sort=keys)}
    base = alt.Chart().transform_filter("isValid(datum.mean)")
    base = base.encode(y=alt.Y("x:N", sort=order, title=title, axis=bare), **offset)
    channels = _colour(keys)
    channels.pop("strokeDash", None)
    x = _value_axis(picture, "mean", alt.X)
    spans = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2.5)
    layers = [
        spans.encode(x=_value_axis(picture, "low", alt.X), x2="high:Q", **channels),
        base.mark_point(size=55, filled=True, opacity=1).encode(x=x, tooltip=_tooltip(picture), **channels),
    ]
    if picture.beside:
        mark = base.transform_filter("isValid(datum.beside)").mark_tick(thickness=2.5, size=16)
        layers.append(mark.encode(x=_value_axis(picture, "beside", alt.X), color=alt.value(INK)))
    if picture.zero:
        # Not `base`: with a row's y it would be a point there, and not a line through all rows.
        layers.insert(0, alt.Chart().mark_rule(color="#bbbbbb", tooltip=False).encode(x=alt.XDatum(0)))
    return layered(*layers)


def _heat(picture: Picture, results: "xarray.Dataset", keys: list[str]) -> alt.LayerChart:
    order = [_word(value) for value in results[picture.x].values]
    of = results[picture.value]
    values = picture.scale * np.asarray(of.mean("seed") if "seed" in of.dims else of, dtype=float)
    lowest = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    base = alt.Chart().encode(
        x=alt.X("x:N", sort=order, title=picture.x_title or None, axis=alt.Axis(labelAngle=-40, labelLimit=200)),
        y=alt.Y("key:N", sort=keys, title=None, axis=alt.Axis(labelLimit=230, ticks=False, domain=False)),
    )
    scale = alt.Scale(scheme="blues", domain=[lowest, highest] if lowest < highest else alt.Undefined)
    bar = alt.Legend(
        title=picture.value_title, orient="bottom", direction="horizontal", gradientLength=180, titleLimit=0
    )
    squares = base.mark_rect().encode(color=alt.Color("mean:Q", scale=scale, legend=bar), tooltip=_tooltip(picture))
    numbers = base.transform_filter("isValid(datum.mean)").mark_text(fontSize=10, tooltip=False)
    return layered(squares, numbers.encode(text=alt.Text("mean:Q", format=".2~f"), fill=on_squares()))
