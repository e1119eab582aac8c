"""Races: the charts of a sweep, each defined once: the ranking, the tuning, and how the networks came on.

Like those of `lab.charts` they name their data and do not hold them.
"""

from collections.abc import Sequence

import altair as alt

from lab.charts import data
from lab.palette import DASHED, EXAMPLES, INK, SOLID, WHOLE, on_squares

BARE = {"ticks": False, "domain": False, "grid": False, "title": None, "labelLimit": 250, "labelPadding": 6}
VERDICTS = {"better": "#0072B2", "reference": INK, "cannot tell": EXAMPLES, "worse": "#D55E00"}


def ranking(titles: Sequence[str], metric: str) -> alt.LayerChart:
    """The metric on test images of each objective with its interval, and every network as a tick across it."""
    y = alt.Y("title:N", sort=list(titles), axis=alt.Axis(**BARE))
    scale = alt.Scale(zero=False, nice=True)
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values())),
        legend=alt.Legend(title="against the reference", orient="bottom", direction="horizontal"),
    )
    means = alt.Chart(data("ranking"))
    ticks = (
        alt.Chart(data("networks"))
        .mark_tick(size=11, thickness=1.2, opacity=0.8, color=EXAMPLES)
        .encode(x=alt.X("score:Q", scale=scale, axis=alt.Axis(tickCount=8, labelFlush=False)), y=y)
    )
    spans = (
        means.transform_filter("datum.n > 1")
        .mark_rule(strokeWidth=2.5)
        .encode(x=alt.X("low:Q", scale=scale, title=f"{metric} on test images (%)"), x2="high:Q", y=y, color=colour)
    )
    points = means.mark_point(size=60, filled=True, opacity=1).encode(
        x=alt.X("mean:Q", title=f"{metric} on test images (%)"),
        y=y,
        color=colour,
        shape=alt.Shape(
            "verdict:N",
            scale=alt.Scale(domain=list(VERDICTS), range=["triangle-up", "diamond", "circle", "triangle-down"]),
            legend=alt.Legend(title="against the reference", orient="bottom", direction="horizontal"),
        ),
    )
    return alt.LayerChart(layer=[ticks, spans, points])


def tuning(titles: Sequence[str], metric: str) -> alt.LayerChart:
    """The metric on validation images of each objective at each learning rate, the chosen one framed."""
    base = alt.Chart(data("tuning")).encode(
        x=alt.X("rate:O", title="learning rate", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("title:N", sort=list(titles), axis=alt.Axis(**BARE)),
    )
    shade = alt.Color(
        "mean:Q",
        scale=alt.Scale(scheme="blues", zero=False),
        legend=alt.Legend(
            title=f"validation {metric} (%)", orient="bottom", direction="horizontal", gradientLength=160
        ),
    )
    cells = base.transform_filter("datum.n > 0").mark_rect(stroke="#ffffff").encode(color=shade)
    lost = base.transform_filter("datum.n == 0").mark_rect(fill=EXAMPLES, opacity=0.3)
    # Neither ink nor white, which the cells' edges have: on dark paper these are one.
    frame = base.transform_filter("datum.chosen").mark_rect(fillOpacity=0, stroke="#D55E00", strokeWidth=2.5)
    numbers = (
        base.transform_filter("datum.n > 0")
        .mark_text(fontSize=10)
        .encode(
            text=alt.Text("mean:Q", format=".1f"),
            fill=on_squares(),
        )
    )
    return alt.LayerChart(layer=[cells, lost, numbers, frame])


def progress(measure: str, title: str, titles: Sequence[str], *, single: bool = False) -> alt.FacetChart:
    """A measure over the epochs, one small panel for each objective, in its interval; grey: the reference.

    Of a `single` epoch there is no line to draw, and no band: points stand for them, and lines through these.
    """
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(grid=False, tickCount=4, **WHOLE))
    base = alt.Chart()
    # Of so low a panel Vega would label a single value.
    low, y = (
        alt.Y(f"{end}:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))
        for end in ("low", "mean")
    )
    own = base.transform_filter("!datum.reference")
    spanned, grey = own.transform_filter("datum.n > 1"), base.transform_filter("datum.reference")
    if single:
        band = spanned.mark_rule(strokeWidth=2, opacity=0.5, color="#0072B2")
        line = own.mark_point(size=40, filled=True, opacity=1, color="#0072B2")
        grey = grey.mark_point(size=70, strokeWidth=1.5, opacity=1, color=EXAMPLES)  # hollow, and wider: seen behind it
    else:
        band = spanned.mark_area(opacity=0.25, color="#0072B2")
        line = own.mark_line(strokeWidth=2, color="#0072B2", strokeDash=SOLID)
        grey = grey.mark_line(strokeWidth=1.5, color=EXAMPLES, strokeDash=DASHED)
    band = band.encode(x=x, y=low, y2="high:Q")
    reference, line = (of.encode(x=x, y=y) for of in (grey, line))
    panels = alt.LayerChart(layer=[band, reference, line], data=data("progress"))
    facet = alt.Facet("title:N", sort=list(titles), title=None, header=alt.Header(labelFontSize=10, labelLimit=210))
    parted = panels.properties(width=120, height=80).facet(facet, columns=5, spacing=14)
    return parted.transform_filter(f"datum.measure == '{measure}'")  # here, where it decides which panels there are
