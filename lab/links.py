"""Links: charts made ready for a page: as wide as their place, and what is chosen in one is shown alone in all."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lab.markup import ALL, Style
from lab.page import Spec
from lab.palette import SOLID, look
from lab.series import Rows

FADED = 0.1  # of its opacity a mark keeps when another is chosen
NARROW = "containerSize()[0] < 460"  # as on a phone
SHORT = "containerSize()[0] < 560"  # for a legend in one row, which begins where names of up to 250 pixels end


def fitted(
    chart: Any,
    *,
    height: int = 230,
    title: Any = None,
    link: str = "",
    where: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    params: Iterable[Spec] = (),
) -> Spec:
    """A chart as a page draws it.

    `link` names the field of its rows by which they are chosen: marks of others fade. `where` says which rows are the
    chart's own numbers, `names` what their fields are called when they are taken away ("": left out). The page reads
    all that from `usermeta`.
    """
    spec = chart.to_dict(validate=False)  # the tests do that, once for all
    for unit in _units(spec):
        if link:
            _fade(unit, link)
        _fit(unit)
    chosen = {one["name"]: one for one in [{"name": "focus", "value": ALL}, *params]}
    return spec | {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": "transparent",
        "params": list(chosen.values()),
        "config": look(),
        "usermeta": {"link": link, "where": where or {}, "names": names or {}, "data": sorted(_sources(spec))},
        **({"title": title} if title else {}),
    }


def described(spec: Spec, headline: str) -> Spec:
    """The chart as it is told to who does not see it: what it shows, and in which panel."""
    panel = spec.get("title", {}).get("text")
    return spec | {"description": f"{headline} ({panel})" if isinstance(panel, str) else headline}


def take_legend(spec: Spec) -> dict[str, Style]:
    """What the chart's legend says, in colour and dash; the chart has none from now on, for a page to write it."""
    colours, dashes = {}, {}
    for unit in _units(spec):
        for channel, found in (("color", colours), ("strokeDash", dashes)):
            of = unit.get("encoding", {}).get(channel, {})
            if of.get("type") == "nominal" and "domain" in of.get("scale", {}):
                of["legend"] = None
                found |= zip(of["scale"]["domain"], of["scale"]["range"], strict=True)
    return {key: (colour, dashes.get(key, SOLID)) for key, colour in colours.items()}


def share_axis(specs: Iterable[Spec], rows: Rows, *, log: bool, zero: bool) -> None:
    """Gives charts of the same quantity the same axis for it: as far as all their rows go."""
    ends = [row.get(name) for row in rows for name in ("low", "mean", "high", "beside")]
    values = [end for end in ends if end is not None and (end > 0 or not log)]
    if not values:
        return
    low = min(row["mean"] for row in rows if row["mean"] is not None and (row["mean"] > 0 or not log))
    domain = [low if log else min(values), max(values)]  # on a logarithmic axis bands are cut at the lowest mean
    if zero and not log:
        domain = [min(domain[0], 0.0), max(domain[1], 0.0)]
    for spec in specs:
        for unit in _units(spec):
            for channel in ("x", "y"):
                of = unit.get("encoding", {}).get(channel, {})
                if of.get("type") == "quantitative" and of.get("field") in ("mean", "low", "bottom", "beside"):
                    of["scale"] = (of.get("scale") or {}) | {"domain": domain}


def keys(spec: Spec, datasets: Mapping[str, Rows]) -> list[str]:
    """What can be chosen in a chart, in the order of its rows."""
    link, names = spec["usermeta"]["link"], spec["usermeta"]["data"]
    found = (row.get(link) for name in names for row in datasets[name])
    return list(dict.fromkeys(str(key) for key in found if key)) if link else []


def _units(spec: Spec) -> Iterator[Spec]:
    """The chart itself, or the layers that it has."""
    for layer in spec.get("layer", ()):
        yield from _units(layer)
    if "mark" in spec:
        yield spec


def _fit(unit: Spec) -> None:
    """What a narrow place would cut off goes elsewhere: long names, long titles, legends in one row."""
    for channel, of in unit.get("encoding", {}).items():
        if not isinstance(of, dict):
            continue
        if isinstance(axis := of.get("axis", {}), dict):
            if "labelLimit" in axis:  # names leave half of it to the marks
                axis["labelLimit"] = {"expr": f"min({axis['labelLimit']}, 0.5 * containerSize()[0])"}
            if channel == "x" and len(of.get("title") or "") > 24:  # that half is less than a title is long
                of["axis"] = axis | {"titleAnchor": {"expr": f"{NARROW} ? 'end' : 'middle'"}}
        if isinstance(key := of.get("legend"), dict):
            if of["type"] != "nominal":
                key |= {"title": textwrap.wrap(key.get("title") or "", 30), "titleLimit": 0}
                key["gradientLength"] = {"expr": f"min({key.get('gradientLength', 200)}, 0.4 * containerSize()[0])"}
            elif (columns := key.get("columns", 0)) != 1:
                key["columns"] = {"expr": f"{NARROW if columns else SHORT} ? 2 : {columns}"}


def _fade(unit: Spec, link: str) -> None:
    mark = unit["mark"] = unit["mark"] if isinstance(unit["mark"], dict) else {"type": unit["mark"]}
    mark["cursor"] = "pointer"  # a click chooses it
    encoding = unit.setdefault("encoding", {})
    before = encoding.get("opacity", {"value": mark.get("opacity", 1)})
    earlier = before.get("condition", [])
    usual = mark.get("opacity", 1) if "field" not in before else 0.2  # where opacity says something it may be low
    faded = {"test": f"focus != '{ALL}' && datum[{link!r}] != focus", "value": FADED * usual}
    earlier = earlier if isinstance(earlier, list) else [earlier]
    encoding["opacity"] = before | {"condition": [faded, *earlier] if earlier else faded}


def _sources(spec: Any) -> set[str]:
    """The names of all data that a chart is drawn from."""
    if isinstance(spec, list):
        return set().union(*map(_sources, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["data"]["name"]} if isinstance(spec.get("data"), dict) and "name" in spec["data"] else set()
    return own | set().union(*map(_sources, spec.values()))
