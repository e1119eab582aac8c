"""Curves: the line charts of learning and of a single objective, each defined once.

Like those of `lab.charts` they name their data and do not hold them.
"""

from collections.abc import Sequence

import altair as alt

from lab.palette import DASHED, EXAMPLES, INK, SOLID, WHOLE, colour, dash


def learning(measure: str, title: str) -> alt.LayerChart:
    """One measure of each part of the data over the epochs: the mean over networks, in its interval."""
    splits = {"train": (EXAMPLES, SOLID), "validation": ("#E69F00", DASHED), "test": (INK, SOLID)}
    key = alt.Legend(title=None, orient="bottom", direction="horizontal", symbolType="stroke", symbolOpacity=1)
    base = (
        alt.Chart(alt.NamedData(name="learning"))
        .transform_filter(f"datum.measure == '{measure}'")
        .encode(
            x=alt.X("epoch:Q", title="epochs", axis=alt.Axis(grid=False, **WHOLE)),
            color=alt.Color(
                "split:N",
                scale=alt.Scale(domain=list(splits), range=[c for c, _ in splits.values()]),
                legend=key,
            ),
        )
    )
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=measure == "loss"))
    lines = base.mark_line(strokeWidth=2, point=True).encode(
        y=y,
        strokeDash=alt.StrokeDash(
            "split:N",
            scale=alt.Scale(domain=list(splits), range=[d for _, d in splits.values()]),
            legend=key,
        ),
    )
    band = (
        base.transform_filter("datum.n > 1")
        .mark_area(opacity=0.18, line=False)
        .encode(y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q"))
    )
    return alt.LayerChart(layer=[band, lines])


PORTRAIT = {
    "value": "value (objective)",
    "weight": "weight w(m), each to its own peak",
    "ratio": "weight relative to cross entropy's",
}


def portrait(quantity: str, keys: Sequence[str], top: float) -> alt.LayerChart:
    """One quantity of PORTRAIT over the margin, the portrayed objective thick; cut at `top`."""
    here = alt.Chart(alt.NamedData(name="portrait")).transform_filter(f"datum.quantity == '{quantity}'")
    scale = alt.Scale(domainMax=top, nice=False) if quantity == "value" else alt.Scale(domain=[0, top], nice=False)
    axis = alt.Axis(grid=False, tickCount=6, labelOverlap="greedy", labelSeparation=6)
    # Far outside, lines are lost altogether by the renderer; just outside they are clipped.
    lines = here.transform_flatten(["margin", "y"]).transform_calculate(y=f"min(datum.y, {2 * top!r})")
    base = lines.encode(
        x=alt.X("margin:Q", title="margin (logits)", axis=axis),
        y=alt.Y("y:Q", title=PORTRAIT[quantity], scale=scale, axis=alt.Axis(tickCount=5)),
        color=colour(keys, legend=quantity == "value"),
        strokeDash=dash(keys, legend=quantity == "value"),
        tooltip=[alt.Tooltip("key:N"), alt.Tooltip("margin:Q"), alt.Tooltip("y:Q", format=".4~g")],
    )
    thick = base.transform_filter("datum.subject").mark_line(strokeWidth=3.2, clip=True)
    thin = base.transform_filter("!datum.subject").mark_line(strokeWidth=1.6, clip=True)
    zero = here.mark_rule(strokeWidth=1, opacity=0.5, strokeDash=[3, 2]).encode(x=alt.XDatum(0))
    return alt.LayerChart(layer=[zero, thin, thick])
