"""Tallies: the numbers that a sweep's pictures are drawn from, as plain rows for charts (see `lab.series`)."""

import math
from typing import TYPE_CHECKING

from lab import legend
from lab.quantities import metric_of
from lab.ranking import ranking
from lab.series import Rows, interval_of

if TYPE_CHECKING:
    import xarray


def ranking_rows(results: "xarray.Dataset") -> Rows:
    """The metric (%) on test images of each objective of a sweep, the best first, and how it compares."""
    reference = results.attrs["reference"]
    return [
        {"title": place.title, "verdict": place.verdict if place.objective != reference else "reference"}
        | {name: legend.rounded(getattr(place.score, name)) for name in ("mean", "low", "high")}
        | {"n": place.score.n}
        for place in ranking(results)
    ]


def network_rows(results: "xarray.Dataset") -> Rows:
    """The metric (%) on test images of every network of a sweep."""
    return [
        {"title": str(title), "score": legend.rounded(100 * float(value))}
        for title, values in zip(results["title"].values, results[f"test_{metric_of(results)}"].values, strict=True)
        for value in values
    ]


def tuning_rows(results: "xarray.Dataset") -> Rows:
    """The metric (%) on validation images at each learning rate tried, by the chosen optimiser; n = 0: diverged."""
    rows = []
    for name in results["objective"].values:
        of = results.sel(objective=name)
        by = of["tuning"].sel(optimiser=of["chosen_optimiser"].item())
        for rate in results["learning_rate"].values:
            row = {"title": str(of["title"].item()), "rate": legend.rounded(float(rate))}
            row |= interval_of(by.sel(learning_rate=rate).values, scale=100.0, least=0.0, most=100.0)
            if bool(of["tried"].sel(optimiser=of["chosen_optimiser"].item(), learning_rate=rate)):
                rows.append(row | {"chosen": bool(rate == of["chosen_rate"])})
    return rows


def most_dead(results: "xarray.Dataset") -> float:
    """How many classes can be dead at most: all but the one that is answered. Runs of before do not say."""
    return float(results.attrs.get("classes", math.inf)) - 1


def progress_rows(results: "xarray.Dataset") -> Rows:
    """The metric (%) on validation images after each epoch, and dead classes of objectives that have any on the way.

    In every objective's panel the reference's as well.
    """
    scores = 100 * results[f"validation_{metric_of(results)}"]
    measures = {"score": (scores, 100.0), "dead": (results["dead_classes"], most_dead(results))}
    rows = []
    for name, title in zip(results["objective"].values, results["title"].values, strict=True):
        for measure, (values, most) in measures.items():
            if measure == "dead" and not (values.sel(objective=name).isel(epoch=slice(1, None)) > 0).any():
                continue
            for epoch in results["epoch"].values[1:]:
                for of in dict.fromkeys([str(name), results.attrs["reference"]]):
                    row = {"title": str(title), "measure": measure, "epoch": int(epoch)}
                    found = interval_of(values.sel(objective=of, epoch=epoch).values, least=0.0, most=most)
                    rows.append(row | {"reference": of == results.attrs["reference"]} | found)
    return rows
