"""Charts: each kind of picture, defined once.

A chart names its data and does not hold them (see `lab.series`): the static figure repeats it once per stage,
the page shows one stage at a time.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from lab.palette import EXAMPLES, INK, KNOWN, SOLID, colour, dash

LABELS = {
    "norm": "gradient norm",
    "effective_examples": "examples that carry it",
    "cosine": "cosine with cross entropy",
    "gain_held_out": "held-out gain (points)",
}
LINEAR = ("cosine", "gain_held_out")  # what may be negative


def data(name: str) -> alt.NamedData:
    return alt.NamedData(name=name)


def layered(*charts: alt.Chart, **data: Any) -> alt.LayerChart:
    """Charts over one another."""
    return alt.LayerChart(layer=list(charts), **data)


def interval(unit: str, digits: str) -> list[alt.Tooltip]:
    """Tooltips of a mean, its interval and its n."""
    return [
        alt.Tooltip("mean:Q", title=unit, format=digits),
        alt.Tooltip("low:Q", title="95 % from", format=digits),
        alt.Tooltip("high:Q", title="to", format=digits),
        alt.Tooltip("n:Q", title="networks"),
    ]


def temperatures(
    measure: str,
    keys: Sequence[str],
    at: Sequence[float],
    span: tuple[float, float],
    *,
    legend: bool | Sequence[str] = False,
) -> alt.LayerChart:
    """One diagnostic over temperature: a line per objective, a band for its interval over networks.

    `keys` are all there are, those without a temperature as well: each then looks as it does in every picture.
    `span` is from where to where the values go.
    """
    floor, top = span
    logarithmic = measure not in LINEAR
    x = alt.X(
        "temperature:Q",
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(values=list(at), format="~g", grid=False, labelOverlap="greedy", labelSeparation=7),
        title="temperature T (logits)",
    )
    scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(zero=True)
    steps = (1,) if top > 100 * floor else (1, 2, 5)
    ticks = [m * 10.0**k for k in range(-8, 9) for m in steps] if logarithmic else alt.Undefined
    axis = alt.Axis(values=ticks, tickCount=5, format="~g" if logarithmic else ".3~f")
    y, bottom = (alt.Y(f"{field}:Q", scale=scale, title=LABELS[measure], axis=axis) for field in ("mean", "bottom"))
    # An interval that reaches 0 has no place on a logarithmic axis: it is cut at the lower end.
    low = f"max(datum.low, {floor!r})" if logarithmic else "datum.low"
    base = (
        alt.Chart()
        .transform_filter(f"datum.measure == '{measure}' && isValid(datum.mean)")
        .transform_filter(f"datum.mean > {floor!r}" if logarithmic else "true")
        .transform_calculate(
            bottom=f"isValid(datum.low) ? {low} : datum.mean",
            top="isValid(datum.high) ? datum.high : datum.mean",
        )
        .encode(x=x, color=colour(keys, legend=legend))
    )
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash(keys, legend=legend))
    points = base.mark_circle(size=26, opacity=1).encode(
        y=y,
        tooltip=[
            alt.Tooltip("key:N", title="objective"),
            alt.Tooltip("temperature:Q", title="T"),
            *interval(LABELS[measure], ".3~g"),
        ],
    )
    band = base.mark_area(opacity=0.12).encode(y=bottom, y2="top:Q")
    layers = [band, line, points]
    if measure == "effective_examples":
        law = (
            alt.Chart()
            .transform_filter(f"datum.measure == 'effective_examples_law' && datum.mean > {floor!r}")
            .mark_line(strokeWidth=1, strokeDash=[2, 3], opacity=0.8, clip=True)
            .encode(x=x, y=y, color=colour(keys, legend=legend))
        )
        layers.insert(0, law)
    return layered(*layers, data=data("temperatures"))


def gains(keys: Sequence[str], titles: Sequence[str], metric: str) -> alt.LayerChart:
    """Points of a metric gained along each gradient: held-out with its interval, and on its own examples (a tick)."""
    y = alt.Y(
        "title:N", sort=list(titles), title=None, axis=alt.Axis(grid=True, labelLimit=220, domain=False, ticks=False)
    )
    base = alt.Chart().encode(
        x=alt.X(
            "mean:Q",
            title=f"{metric} gained (points)",
            axis=alt.Axis(tickCount=5, labelOverlap="greedy", labelSeparation=6),
        ),
        y=y,
        color=colour(keys),
        tooltip=[alt.Tooltip("title:N", title="objective"), alt.Tooltip("measure:N"), *interval("gain", "+.2f")],
    )
    held_out = base.transform_filter("datum.measure == 'held-out examples'")
    own = base.transform_filter("datum.measure == 'own examples'")
    span = (
        held_out.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2)
        .encode(x=alt.X("low:Q", title=f"{metric} gained (points)"), x2="high:Q")
    )
    zero = held_out.mark_rule(strokeWidth=1, opacity=0.4, strokeDash=[3, 2], tooltip=False).encode(
        x=alt.XDatum(0), color=alt.value(INK)
    )
    return layered(
        zero,
        own.mark_tick(thickness=1.5, size=11, opacity=0.6),
        span,
        held_out.mark_circle(size=60, opacity=1),
        data=data("gains"),
    )


_CURVE_STYLES = {"best for held-out accuracy": ("#D55E00", SOLID), "cross entropy": KNOWN["cross_entropy"]}


def node_weights() -> alt.LayerChart:
    """The weight over the margin that raises held-out accuracy most, beside cross entropy's."""
    names = list(_CURVE_STYLES)
    shade = alt.Scale(domain=names, range=[one for one, _ in _CURVE_STYLES.values()])
    key = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolOpacity=1, labelLimit=260)
    base = (
        alt.Chart()
        .transform_calculate(
            bottom="isValid(datum.low) ? max(datum.low, 0) : datum.mean",
            top="isValid(datum.high) ? datum.high : datum.mean",
        )
        .encode(
            x=alt.X("margin:Q", title="soft margin (logits)", axis=alt.Axis(grid=False, tickCount=6)),
            color=alt.Color("curve:N", scale=shade, legend=key),
        )
    )
    axis = alt.Axis(tickCount=4)
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("mean:Q", title="weight (gradient of norm 1)", axis=axis),
        tooltip=[alt.Tooltip("curve:N"), alt.Tooltip("margin:Q"), *interval("weight", ".3~g")],
    )
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("bottom:Q", title="weight (gradient of norm 1)"), y2="top:Q")
    return layered(band, line, data=data("nodes"))


def _margin_axis(
    domain: tuple[float, float], ticks: Sequence[int], title: str | None = None, *, field: str = "low"
) -> alt.X:
    shown = [tick for tick in ticks if domain[0] <= tick <= domain[1]]
    return alt.X(
        f"{field}:Q",
        scale=alt.Scale(type="symlog", constant=1, domain=list(domain), nice=False),
        axis=alt.Axis(values=shown, grid=False, labelOverlap=False),
        title=title,
    )


def _bins(chart: Any, edges: Sequence[float], *lists: str) -> Any:
    """One row per bin, with its ends: the lists of each row taken apart."""
    at = f"{list(edges)!r}"
    return chart.transform_flatten(["bin", *lists]).transform_calculate(
        low=f"{at}[datum.bin]", high=f"{at}[datum.bin + 1]"
    )


def _zero(one_row: alt.Chart) -> alt.Chart:
    """A vertical line at 0, from data with one row to a picture."""
    # No data of its own: a layer that has them breaks Vega-Lite's facets.
    return one_row.mark_rule(strokeWidth=1, opacity=0.7, strokeDash=[3, 2], tooltip=False).encode(x=alt.XDatum(0))


def margins(edges: Sequence[float], domain: tuple[float, float], keys: Sequence[str]) -> alt.LayerChart:
    """Share of weight per margin bin of every objective, one of them (`focus`) brought forward; grey: examples.

    For the page: parameters `stage`, `temperature` and `focus` choose what is shown, `peaks` says how high it goes.
    """
    ticks = [-30, -10, -3, -1, 0, 1, 3, 10, 30]
    title = "wrong \u2190 margin (logits) \u2192 right"
    x, middle = (_margin_axis(domain, ticks, title, field=field) for field in ("low", "middle"))
    height = alt.Scale(domain=alt.ExprRef("[0, peaks[stage][temperature]]"), nice=False)
    y = alt.Y("share:Q", title="share per bin (%)", axis=alt.Axis(tickCount=5), scale=height)
    here = "datum.stage == stage"
    tooltip = [
        alt.Tooltip("low:Q", title="margin from"),
        alt.Tooltip("high:Q", title="to"),
        alt.Tooltip("share:Q", title="share (%)"),
    ]
    bar = {"x": x, "x2": "high:Q", "y": y, "y2": alt.datum(0), "tooltip": tooltip}
    examples = _bins(alt.Chart(data("examples")).transform_filter(here), edges, "share")
    weights = alt.Chart(data("weights")).transform_filter(here)
    shown = weights.transform_filter("datum.t === null ? datum.table : datum.t == temperature")
    reference = weights.transform_filter("datum.title == 'cross_entropy'")
    centred = {"middle": "(datum.low + datum.high) / 2"}
    lines = _bins(shown, edges, "share").transform_calculate(**centred)
    focused = _bins(shown.transform_filter("datum.key == focus"), edges, "share")
    return layered(
        examples.mark_rect(color=EXAMPLES, opacity=0.45, clip=True).encode(**bar),
        focused.mark_rect(opacity=0.45, clip=True).encode(**bar, color=colour(keys)),
        lines.mark_line(strokeWidth=2, interpolate="monotone", clip=True, tooltip=False).encode(
            x=middle,
            y=y,
            color=colour(keys),
            strokeDash=dash(keys),
            detail="title:N",
            opacity=alt.condition("focus == 'all' || datum.key == focus", alt.value(1), alt.value(0.13)),
        ),
        _bins(reference, edges, "share")
        .transform_calculate(**centred)
        .mark_line(strokeWidth=2, interpolate="monotone", clip=True, tooltip=False)
        .encode(x=middle, y=y, color=colour(keys)),
        _zero(alt.Chart(data("examples")).transform_filter(here)),
    )


def ridges(
    edges: Sequence[float],
    domain: tuple[float, float],
    keys: Sequence[str],
    titles: Sequence[str],
    stages: Sequence[str],
) -> alt.FacetChart:
    """Where each objective (a row) looks at each stage: its weight by margin over the grey examples."""
    x = _margin_axis(domain, [-10, -3, 0, 3, 10] if max(domain) > 5 else [-3, -1, 0, 1, 3])
    quiet = alt.Axis(labels=False, ticks=False, domain=False, grid=False, title=None)
    base = alt.Chart()
    one_row = base.transform_filter("datum.bin == 0")
    steps = {"interpolate": "step-after", "line": False, "clip": True, "tooltip": False}
    panel = layered(
        base.mark_area(color=EXAMPLES, opacity=0.4, **steps).encode(x=x, y=alt.Y("examples:Q", axis=quiet)),
        base.mark_area(opacity=0.75, **steps).encode(x=x, y=alt.Y("share:Q", axis=quiet), color=colour(keys)),
        _zero(one_row),
        one_row.mark_text(align="left", baseline="top", dx=2, dy=2, fontSize=11).encode(
            x=alt.value(0), y=alt.value(0), text="carried:N"
        ),
        data=data("ridges"),
    )
    beside = alt.Header(labelAngle=0, labelAlign="left", labelFontWeight="normal", labelFontSize=11)
    chart = panel.properties(width=190, height=34).facet(
        row=alt.Row("title:N", sort=list(titles), title=None, header=beside),
        column=alt.Column("stage:N", sort=list(stages), title=None),
        spacing={"row": 5, "column": 14},
    )
    # Taken apart before the panels are made: a panel that takes its own data apart gets everybody's.
    return _bins(chart, edges, "share", "examples")


_CURVES = "datum.value == 'zero_one' ? 'error' : 'error smoothed, T = 0.1'"


def staircase(family: str, quantity: str) -> alt.LayerChart:
    """The error and its smoothed form, or the loss, along one weight: its value or its slope."""
    names = {"error": "error (share wrong)", "loss": "cross entropy"}
    title = names[family] if quantity == "value" else f"slope of {names[family].split(' (')[0]}"
    curves = ["zero_one", "expected_error:temperature=0.1", "cross_entropy"]
    chosen = [KNOWN[curve.split(":")[0]] for curve in curves]
    named = family == "error" and quantity == "value"
    key = alt.Legend(title=None, orient="bottom", values=curves[:2], labelExpr=_CURVES) if named else None
    here = alt.Chart().transform_filter(f"datum.family == '{family}' && datum.quantity == '{quantity}'")
    base = here.transform_flatten(["offset", "value"]).encode(
        x=alt.X("offset:Q", title="change of the weight", axis=alt.Axis(grid=False, tickCount=5)),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
        color=alt.Color("curve:N", scale=alt.Scale(domain=curves, range=[one for one, _ in chosen]), legend=key),
        tooltip=[alt.Tooltip("curve:N"), alt.Tooltip("offset:Q"), alt.Tooltip("value:Q", format=".4~g")],
    )
    stairs = base.transform_filter("datum.curve == 'zero_one'").mark_line(strokeWidth=1.4, interpolate="step-after")
    smooth = base.transform_filter("datum.curve != 'zero_one'").mark_line(strokeWidth=2.2)
    lines = [stairs, smooth] if family == "error" else [smooth]
    return layered(_zero(here), *lines, data=data("staircase"))


QUOTIENTS = {
    "still": ("accuracy: quotient is exactly 0 (% of weights)", INK, SOLID),
    "deviation": ("cross entropy: quotient off its gradient (%)", "#0072B2", SOLID),
}


def differences(steps: Sequence[float], *, legend: bool) -> alt.LayerChart:
    """How wrong finite differences are, of accuracy and of cross entropy, over their step h."""
    labels = [label for label, _, _ in QUOTIENTS.values()]
    key = (
        alt.Legend(title=None, orient="bottom", columns=1, labelLimit=400, symbolOpacity=1, symbolType="stroke")
        if legend
        else None
    )
    base = (
        alt.Chart()
        .transform_calculate(
            label=f"datum.measure == 'still' ? '{labels[0]}' : '{labels[1]}'",
            bottom="isValid(datum.low) ? max(datum.low, 0) : datum.mean",
            top="isValid(datum.high) ? min(datum.high, 100) : datum.mean",
        )
        .encode(
            x=alt.X(
                "h:Q",
                scale=alt.Scale(type="log", nice=False, padding=8),
                axis=alt.Axis(values=list(steps), format="~g", grid=False),
                title="step h of the weight",
            ),
            color=alt.Color(
                "label:N",
                scale=alt.Scale(domain=labels, range=[one for _, one, _ in QUOTIENTS.values()]),
                legend=key,
            ),
        )
    )
    axis = alt.Axis(values=[0, 20, 40, 60, 80, 100], labelOverlap=False)
    scale = alt.Scale(domain=[0, 104], nice=False)
    y, bottom = (alt.Y(f"{field}:Q", title="%", scale=scale, axis=axis) for field in ("mean", "bottom"))
    band = base.mark_area(opacity=0.15, clip=True).encode(y=bottom, y2="top:Q")
    points = base.mark_circle(size=36, opacity=1).encode(
        y=y, tooltip=[alt.Tooltip("label:N", title="what"), alt.Tooltip("h:Q"), *interval("%", ".3~g")]
    )
    return layered(band, base.mark_line(strokeWidth=2).encode(y=y), points, data=data("differences"))
