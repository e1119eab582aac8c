"""Series: the numbers that pictures are drawn from, as plain rows for charts.

One function a figure, results in, rows out. Means over networks come with their 95 % interval (`mean`, `low`,
`high`) and the `n` they rest on; a row's lists (one value per bin, or per offset) run in step.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from lab import legend
from lab.columns import COLUMNS, Column
from lab.quantities import interval, metric_of
from lab.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import xarray

Rows = list[dict[str, Any]]

TEMPERATURE_MEASURES = ("norm", "effective_examples", "cosine", "gain_held_out")
SCALES = {"gain_held_out": 100.0}  # of what is drawn in percent


def interval_of(values: Any, *, scale: float = 1.0, least: float = -math.inf, most: float = math.inf) -> dict[str, Any]:
    """A mean over networks with its interval, as rows have it."""
    return in_row(mean_interval(scale * np.asarray(values, dtype=float), within=(least, most)))


def in_row(found: Interval) -> dict[str, Any]:
    """`mean`, `low`, `high` and `n` of an interval, rounded."""
    return {name: legend.rounded(getattr(found, name)) for name in ("mean", "low", "high")} | {"n": found.n}


def per_network(results: "xarray.Dataset", variable: str) -> Shaped[np.ndarray, "stage objective seed"]:
    """A variable's values by stage, objective and network; the cosine is the one with cross entropy."""
    array = results[variable].sel(other="cross_entropy") if variable == "cosine" else results[variable]
    return array.transpose("stage", "objective", "seed").values


def cosine_rows(results: "xarray.Dataset") -> Rows:
    """Cosines between all objectives of the table: one row per stage and pair; n = 0 where a gradient is 0."""
    table = legend.in_table(results)
    titles = legend.titles(table)
    labels, keys = legend.numbered(results), legend.keys(table)
    cosine = table["cosine"].transpose("stage", "objective", "other", "seed").values
    alive = np.any(np.isfinite(cosine), axis=(2, 3))
    said = "dead: gradient 0, no direction" if len(titles) > 6 else "dead"
    return [
        {"stage": stage, "key": keys[i], "row": labels[i], "column": other, "place": j + 1}
        | {"dead": "" if alive[s, i] else said, "size": len(titles)}
        | in_row(interval(results, "cosine", cosine[s, i, j]))
        for s, stage in enumerate(legend.stage_titles(results))
        for i in range(len(titles))
        for j, other in enumerate(titles)
    ]


def temperature_rows(results: "xarray.Dataset") -> Rows:
    """Every measure of TEMPERATURE_MEASURES, the law of effective examples, and deaths, at every temperature."""
    temperatures = legend.swept_temperatures(results)
    # Taken out of xarray once: picking single numbers from it is slow.
    # A law of narrow kernels: it says nothing where it would have more examples than there are.
    believed = results["effective_examples_law"].where(results["effective_examples_law"] <= results.attrs["examples"])
    results = results.assign(effective_examples_law=believed)
    arrays = {name: per_network(results, name) for name in (*TEMPERATURE_MEASURES, "effective_examples_law", "dead")}
    rows = []
    for i, (key, place) in enumerate(legend.places(results)):
        if place is None:
            continue
        for s, stage in enumerate(legend.stage_titles(results)):
            row = {"stage": stage, "key": key, "temperature": temperatures[place]}
            rows += [
                row
                | {"measure": name}
                | in_row(interval(results, name, arrays[name][s, i], scale=SCALES.get(name, 1.0)))
                for name in (*TEMPERATURE_MEASURES, "effective_examples_law")
            ]
            dead = int(arrays["dead"][s, i].sum())
            rows.append(row | {"measure": "dead", "mean": dead, "n": results.sizes["seed"]})
    return rows


def column_intervals(results: "xarray.Dataset", column: Column) -> list[list[Interval]]:
    """What stands in a column: by stage and objective of the table, the mean over the networks."""
    array = legend.in_table(results)[column.quantity].sel(column.of).transpose("stage", "objective", "seed")
    return [[interval(results, column.quantity, one, scale=column.scale) for one in stage] for stage in array.values]


def detail_rows(results: "xarray.Dataset") -> Rows:
    """Every column of every objective of the table: its mean, as text, and how high it is among its column (0 to 1)."""
    rows = []
    titles = legend.titles(legend.in_table(results))
    for place, column in enumerate(COLUMNS):
        for stage, intervals in zip(legend.stage_titles(results), column_intervals(results, column), strict=True):
            found = [in_row(one) for one in intervals]
            means = [one["mean"] for one in found if one["mean"] is not None]
            low, high = min(means, default=0.0), max(means, default=0.0)
            for title, one, whole in zip(titles, found, intervals, strict=True):
                mean = one["mean"]
                level = 0.0 if mean is None or high == low else (mean - low) / (high - low)
                # Of the mean itself, as in the tables: rounded twice, 606.51 becomes 606.5 and that 606.
                text = "\u2013" if mean is None else f"{whole.mean:{column.digits}}"
                what = {"stage": stage, "row": title, "column": column.heading, "place": place}
                rows.append(what | {"text": text, "level": legend.rounded(level, 3)} | one)
    return rows


def gain_rows(results: "xarray.Dataset") -> Rows:
    """Points of the metric gained by the best step along each gradient of the table, on own and held-out examples."""
    table = legend.in_table(results)
    measures = {"gain": "own examples", "gain_held_out": "held-out examples"}
    return [
        {"stage": stage, "key": key, "title": str(title), "measure": said}
        | in_row(interval(results, name, table[name].isel(stage=s, objective=i).values, scale=100.0))
        for name, said in measures.items()
        for i, (key, title) in enumerate(zip(legend.keys(table), table["title"].values, strict=True))
        for s, stage in enumerate(legend.stage_titles(results))
    ]


NODE_CURVES = {"best_weight": "best for held-out accuracy", "node_weight": "cross entropy"}


def node_rows(results: "xarray.Dataset") -> Rows:
    """The best weight over the soft margin and cross entropy's, each scaled so that its gradient has norm 1.

    Networks have their nodes at margins of their own: between those a weight is straight, so each is read off at the
    same margins, those that all networks have.
    """
    rows = []
    for s, stage in enumerate(legend.stage_titles(results)):
        at = results["node_margin"].isel(stage=s).transpose("seed", "node").values.astype(float)
        grid = np.linspace(at.min(axis=1).max(), at.max(axis=1).min(), 61)
        for name, said in NODE_CURVES.items():
            weights = results[name].isel(stage=s).transpose("seed", "node").values.astype(float)
            curves = np.array([np.interp(grid, m, w) for m, w in zip(at, weights, strict=True)])
            rows += [
                {"stage": stage, "curve": said, "margin": legend.rounded(float(m))}
                | in_row(interval(results, name, of))
                for m, of in zip(grid, curves.T, strict=True)
            ]
    return rows


def margin_edges(results: "xarray.Dataset") -> list[float]:
    """The edges of the margin's bins: one more than there are bins."""
    edges = [*results["margin_low"].values, results["margin_high"].values[-1]]
    return [round(float(edge), 4) for edge in edges]


def margin_domain(results: "xarray.Dataset") -> tuple[float, float]:
    """The part of the margin axis on which any example of any network lies, and 0."""
    filled = np.flatnonzero(results["examples_by_margin"].values.any(axis=(0, 1)))
    edges = margin_edges(results)
    return min(edges[filled[0]], -1.0), max(edges[filled[-1] + 1], 1.0)


def _shares(values: Any) -> list[float | None]:
    return [legend.rounded(100 * float(value), 3) for value in values]


def example_rows(results: "xarray.Dataset") -> Rows:
    """The share of examples (%) in each margin bin, mean over networks: one row per stage."""
    mean = results["examples_by_margin"].mean("seed").transpose("stage", "bin").values
    bins = list(range(results.sizes["bin"]))
    stages = legend.stage_titles(results)
    return [{"stage": s, "bin": bins, "share": _shares(one)} for s, one in zip(stages, mean, strict=True)]


def weight_rows(results: "xarray.Dataset") -> Rows:
    """Each objective's share of weight (%) per margin bin: one row per stage and objective.

    `t` is the place of its temperature among the swept ones, None for an objective that has none to sweep.
    """
    mean = results["weight_by_margin"].mean("seed").transpose("stage", "objective", "bin").values
    bins = list(range(results.sizes["bin"]))
    rows = []
    for i, (key, place) in enumerate(legend.places(results)):
        one = results.isel(objective=i)
        what = {"key": key, "title": str(one["title"].item()), "t": place, "table": bool(one["in_table"])}
        for s, stage in enumerate(legend.stage_titles(results)):
            rows.append({"stage": stage} | what | {"bin": bins, "share": _shares(mean[s, i])})
    return rows


def counted(examples: float) -> str:
    """An effective number of examples as one says it.

    >>> counted(998.2), counted(1.234)
    ('998', '1.2')
    """
    return f"{examples:,.0f}" if examples >= 10 else f"{examples:.2g}"


def _peaked(values: Any) -> list[float | None]:
    """Scaled to a highest value of 1."""
    return [legend.rounded(float(value), 3) for value in values / (values.max() or 1.0)]


def ridge_rows(results: "xarray.Dataset") -> Rows:
    """For the table's objectives: weight per margin bin beside the examples, each scaled to its own peak."""
    table = legend.in_table(results)
    mean = table[["weight_by_margin", "examples_by_margin", "effective_examples"]].mean("seed")
    dead = table["dead"].all("seed")
    rows = []
    for i, key in enumerate(legend.keys(table)):
        for s, stage in enumerate(legend.stage_titles(results)):
            at = mean.isel(objective=i, stage=s)
            silent = bool(dead.isel(objective=i, stage=s))
            rows.append(
                {
                    "stage": stage,
                    "key": key,
                    "title": str(table["title"].values[i]),
                    "carried": "dead" if silent else counted(float(at["effective_examples"])),
                    "bin": list(range(results.sizes["bin"])),
                    "share": _peaked(at["weight_by_margin"].values),
                    "examples": _peaked(mean["examples_by_margin"].isel(stage=s).values),
                }
            )
    return rows


STAIRCASE_CURVES = {"zero_one": "error", "expected_error:temperature=0.1": "error", "cross_entropy": "loss"}


def staircase_rows(results: "xarray.Dataset") -> Rows:
    """Error, smoothed error and loss along one weight of the first network, with their slopes.

    A slope is the difference between neighbouring offsets over their distance. Those of the error are 0 or as
    large as the grid is fine, so they are cut just above the largest slope of its smoothed form.
    """
    offset = results["offset"].values
    rows = []
    for s, stage in enumerate(legend.stage_titles(results)):
        at = results["line"].isel(seed=0, stage=s)
        values = {curve: at.sel(curve=curve).values.astype(float) for curve in STAIRCASE_CURVES}
        slopes = {curve: np.diff(value) / np.diff(offset) for curve, value in values.items()}
        largest = 1.3 * np.abs(slopes["expected_error:temperature=0.1"]).max() or 1.0
        slopes["zero_one"] = np.clip(slopes["zero_one"], -largest, largest)
        for curve, family in STAIRCASE_CURVES.items():
            what = {"stage": stage, "key": curve.partition(":")[0], "curve": curve, "family": family}
            # Seven digits: with four a nearly level loss would be drawn as a staircase of its own.
            along = {"offset": _list(offset, 5), "value": _list(values[curve], 7)}
            rows.append(what | {"quantity": "value"} | along)
            along = {"offset": _list((offset[1:] + offset[:-1]) / 2, 5), "value": _list(slopes[curve], 4)}
            rows.append(what | {"quantity": "slope"} | along)
    return rows


def _list(values: Iterable[float], digits: int) -> list[float | None]:
    return [legend.rounded(float(value), digits) for value in values]


def moved(results: "xarray.Dataset") -> "xarray.Dataset":
    """What the lines are of: the first network alone, and so many of its images."""
    return results.isel(seed=[0]).assign_attrs(examples=results.attrs["line_examples"])


def flat_share(results: "xarray.Dataset", curve: str) -> float:
    """Share of the way along the line, over all stages, on which `curve` does not change at all; in [0, 1]."""
    values = results["line"].isel(seed=0).sel(curve=curve).values
    return float(np.mean(np.diff(values, axis=-1) == 0))


def difference_rows(results: "xarray.Dataset") -> Rows:
    """How wrong finite differences are at each h (%).

    `still`: weights for which accuracy's is exactly 0; `deviation`: how far cross entropy's are off its gradient.
    """
    measures = {
        ("zero_one", "still"): (1 - results["difference_moved_share"], 100.0),
        ("cross_entropy", "deviation"): (results["difference_loss_deviation"], math.inf),
    }
    return [
        {"stage": stage, "key": key, "measure": measure, "h": float(h)}
        | interval_of(array.isel(stage=s).sel(h=h).values, scale=100.0, least=0.0, most=most)
        for s, stage in enumerate(legend.stage_titles(results))
        for (key, measure), (array, most) in measures.items()
        for h in results["h"].values
    ]


def learning_measures(results: "xarray.Dataset") -> dict[str, str]:
    """What is shown of networks that learn, and how their axes are named: loss, accuracy, the metric asked for."""
    return {"loss": "loss"} | {name: f"{name} (%)" for name in dict.fromkeys(["accuracy", metric_of(results)])}


def learning_rows(results: "xarray.Dataset") -> Rows:
    """Loss and metrics (%) of each part of the data after each epoch, where they are known: means over networks."""
    limits = dict.fromkeys(learning_measures(results), (100.0, 0.0, 100.0)) | {"loss": (1.0, -math.inf, math.inf)}
    rows = [
        {"measure": name, "split": str(split), "epoch": int(epoch)}
        | interval_of(results[name].sel(split=split, epoch=epoch).values, scale=scale, least=least, most=most)
        for name, (scale, least, most) in limits.items()
        for split in results["split"].values
        for epoch in results["epoch"].values
    ]
    return [row for row in rows if row["n"]]


def portrait_rows(results: "xarray.Dataset") -> Rows:
    """A portrait's lines over the margin: weights of all, values and weights over cross entropy's of two.

    Those two are the portrayed objective, the first of the results, and cross entropy. Weights are scaled to a peak
    of 1: a factor is a matter of the learning rate. Where cross entropy pulls by less than a thousandth of its most,
    its weight is no measure for another's.
    """
    margins = results["margin"].values
    reference = results["weight"].sel(objective="cross_entropy").values
    measurable = reference > 1e-3 * reference.max()
    rows = []
    titles = legend.titles(results)
    for i, name in enumerate(results["objective"].values):
        value, weight = (results[one].values[i] for one in ("value", "weight"))
        lines = {"weight": (margins, weight / (np.abs(weight).max() or 1.0))}
        if i == 0 or name == "cross_entropy":
            lines["value"] = (margins, value)
            lines["ratio"] = (margins[measurable], weight[measurable] / reference[measurable])
        for quantity, (at, y) in lines.items():
            what = {"key": titles[i], "subject": i == 0, "quantity": quantity}
            rows.append(what | {"margin": _list(at.tolist(), 5), "y": _list(y.tolist(), 5)})
    return rows


def portrait_top(rows: Rows, quantity: str) -> float:
    """Where the axis of a portrait's quantity ends: above both objectives, but no higher than thrice cross entropy."""
    ends = {row["key"]: max(row["y"]) for row in rows if row["quantity"] == quantity}
    return 1.05 * min(max(ends.values()), 3 * ends["cross_entropy"])
