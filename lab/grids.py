"""Grids: charts of squares with a number in each, objectives in rows."""

from collections.abc import Sequence

import altair as alt

from lab.charts import data, interval, layered
from lab.palette import EXAMPLES, on_squares


def cosines(labels: Sequence[str], lowest: float, *, room: str = "true") -> alt.LayerChart:
    """Heat map of cosines; columns carry the numbers of the rows, so that no name stands on its head.

    Cells say their number where the expression `room` is true.
    """
    bare = {"ticks": False, "domain": False, "grid": False, "title": None}
    y = alt.Y("row:N", sort=list(labels), axis=alt.Axis(**bare, labelLimit=250, labelPadding=6))
    x = alt.X("place:O", axis=alt.Axis(**bare, labelAngle=0))
    # White is perpendicular in every picture; the orange half is there only where a cosine is negative.
    negative = lowest < 0
    shade = alt.Color(
        "mean:Q",
        scale=alt.Scale(
            domain=[-1, -0.5, 0, 0.5, 1] if negative else [0, 0.5, 1],
            range=["#b35806", "#f1a340"] * negative + ["#f7f7f7", "#92bfe0", "#08519c"],
        ),
        legend=alt.Legend(title="cosine", orient="bottom", direction="horizontal", gradientLength=160),
    )
    base = alt.Chart().encode(x=x, y=y)
    cells = (
        base.transform_filter("datum.n > 0")
        .mark_rect(stroke="#ffffff", strokeWidth=1)
        .encode(
            color=shade,
            tooltip=[
                alt.Tooltip("row:N", title="objective"),
                alt.Tooltip("column:N", title="with"),
                *interval("cosine", ".3f"),
            ],
        )
    )
    empty = base.transform_filter("datum.n == 0").mark_rect(fill=EXAMPLES, opacity=0.3, tooltip=False)
    dead = (
        base.mark_text(align="left", dx=-6, fontSize=10, tooltip=False)
        .encode(text="dead:N")
        .transform_filter("datum.dead != '' && datum.place == 1")
    )
    numbers = (
        base.mark_text(fontSize=10, tooltip=False)
        .encode(
            text=alt.Text("mean:Q", format=".2f"),
            fill=on_squares(),
            opacity=alt.condition(room, alt.value(1), alt.value(0)),
        )
        .transform_filter("datum.n > 0")
    )
    return layered(cells, empty, numbers, dead, data=data("cosines"))


def details(rows: Sequence[str], columns: Sequence[str]) -> alt.LayerChart:
    """Every diagnostic of every objective as a number; the darker the square, the higher in its column."""
    bare = {"ticks": False, "domain": False, "grid": False, "title": None}
    base = alt.Chart().encode(
        x=alt.X("column:N", sort=list(columns), axis=alt.Axis(**bare, orient="top", labelAngle=0, labelLimit=60)),
        y=alt.Y("row:N", sort=list(rows), axis=alt.Axis(**bare, labelLimit=220, labelPadding=6)),
    )
    cells = base.mark_rect(stroke="#ffffff", strokeWidth=1).encode(
        color=alt.Color("level:Q", scale=alt.Scale(domain=[0, 1], range=["#f7f7f7", "#6ba6d6"]), legend=None),
        tooltip=[alt.Tooltip("row:N", title="objective"), alt.Tooltip("column:N"), *interval("mean", ".3~g")],
    )
    numbers = base.mark_text(fontSize=9.5, tooltip=False, fill="#222222").encode(text="text:N")
    return layered(cells, numbers, data=data("details"))


def deaths(keys: Sequence[str]) -> alt.LayerChart:
    """In how many networks each objective's gradient died, by temperature."""
    base = (
        alt.Chart()
        .transform_filter("datum.measure == 'dead'")
        .encode(
            x=alt.X(
                "temperature:O",
                title="temperature T (logits)",
                axis=alt.Axis(labelAngle=0, grid=False, labelOverlap="greedy", labelSeparation=7, format="~g"),
            ),
            y=alt.Y("key:N", sort=list(keys), title=None, axis=alt.Axis(grid=False, labelLimit=150, domain=False)),
        )
    )
    cells = base.mark_rect(color="#D55E00").encode(
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 0.6]), legend=None),
        tooltip=[
            alt.Tooltip("key:N", title="objective"),
            alt.Tooltip("temperature:Q", title="T"),
            alt.Tooltip("mean:Q", title="dead in"),
            alt.Tooltip("n:Q", title="of networks"),
        ],
    )
    counts = base.mark_text(fontSize=11, fontWeight="bold", tooltip=False).encode(text="mean:Q")
    return layered(
        cells.transform_calculate(share="datum.mean / datum.n"),
        counts.transform_filter("datum.mean > 0"),
        data=data("temperatures"),
    )
