"""The ranking of a sweep: metrics on test images with intervals, differences paired by seed, the answer in words."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lab.quantities import metric_of
from lab.statistics import Interval, holm, mean_interval, paired_difference, paired_test, probability_of_improvement

if TYPE_CHECKING:
    import xarray

LEVEL = 0.05  # of Holm's corrected p-values, below which a difference is taken to be one
_POINTS = (-100.0, 100.0)  # between which two shares can differ


class Place(NamedTuple):
    """An objective's place; scores and differences in percent and points."""

    objective: str
    title: str
    score: Interval  # the metric on test images
    difference: Interval  # to the reference, paired by seed
    corrected: Interval  # the same, of the level at which Holm tests it: it leaves out 0 wherever the verdict does
    better: Interval  # probability that one of its networks is better than one of the reference's
    p_value: float  # of the paired difference, corrected for the number of objectives
    dead_classes: Interval  # never predicted, at the end
    learning_rate: float
    optimiser: str
    widened: int
    diverged: int

    @property
    def verdict(self) -> str:
        """Better, worse or neither than the reference, as far as these networks can tell."""
        if not self.p_value < LEVEL:
            return "cannot tell"
        return "better" if self.difference.mean > 0 else "worse"


def ranking(results: "xarray.Dataset") -> list[Place]:
    """The objectives of a sweep, the one with the best metric on test images first.

    Differences are paired by seed: networks of one seed start alike and see the same mini-batches. Their p-values
    (paired t) are corrected for how many objectives are compared with the reference (Holm 1979): of m, the one with the
    i-th smallest is tested at the level 0.05 / (m - i + 1).
    """
    scores = 100 * results[f"test_{metric_of(results)}"]
    reference = scores.sel(objective=results.attrs["reference"]).values
    names = [str(name) for name in results["objective"].values]
    others = [name for name in names if name != results.attrs["reference"]]
    tested = np.array([paired_test(scores.sel(objective=name).values, reference) for name in others])
    p_values = dict(zip(others, holm(tested), strict=True)) if others else {}
    tests = np.maximum(np.isfinite(tested).sum() - np.argsort(np.argsort(tested)), 1)  # NaN comes last
    among = dict(zip(others, tests.tolist(), strict=True))
    places = []
    for name in names:
        of, own = results.sel(objective=name), scores.sel(objective=name).values
        places.append(
            Place(
                objective=name,
                title=str(of["title"].item()),
                score=mean_interval(own, within=(0.0, 100.0)),
                difference=paired_difference(own, reference, within=_POINTS),
                corrected=paired_difference(own, reference, among=among.get(name, 1), within=_POINTS),
                better=probability_of_improvement(own, reference),
                p_value=float(p_values.get(name, np.nan)),
                dead_classes=mean_interval(of["dead_classes"].isel(epoch=-1).values, within=(0.0, np.inf)),
                learning_rate=float(of["chosen_rate"]),
                optimiser=str(of["chosen_optimiser"].item()),
                widened=int(of["widened"]),
                diverged=int(of["diverged"]),
            )
        )
    return sorted(places, key=lambda place: -place.score.mean)


def answer(results: "xarray.Dataset") -> list[str]:
    """Which objective trains the better network, in a few sentences with their uncertainty, the chief ones first.

    What is named for being best or worst was chosen from several: its interval is wider than that in table and picture.
    """
    places = ranking(results)
    reference = next(place for place in places if place.objective == results.attrs["reference"])
    others = [place for place in places if place is not reference]
    n, metric = results.sizes["seed"], metric_of(results)
    best = 100 * results[f"test_{metric}"].sel(objective=places[0].objective).values
    score = mean_interval(best, among=len(places), within=(0.0, 100.0))
    chosen = f"for the best of {len(places)}; " if others and n > 1 else ""
    does = "reads most test images rightly" if metric == "accuracy" else f"has the highest {metric} on test images"
    said = [f"{places[0].title} {does}: {score.text(1)} % ({chosen}n = {n})."]
    if n < 2:
        return [*said, "One network of each cannot tell an objective from chance: add --seeds."]
    better = [place for place in others if place.verdict == "better"]
    worse = [place for place in others if place.verdict == "worse"]
    unclear = [place for place in others if place.verdict == "cannot tell"]
    if better:
        said.append(f"Better than {reference.title}: {_listed(better)}.")
    elif others:
        said.append(f"None is better than {reference.title} beyond chance (of {len(others)}).")
    if worse:
        last = worse[-1]
        low, high = -last.corrected.high, -last.corrected.low
        interval = f"95 % interval{', corrected,' if len(others) > 1 else ''} {low:.1f} to {high:.1f}"
        more = f", and {len(worse) - 1} more" if len(worse) > 1 else ""
        by = f"{-last.corrected.mean:.1f} points ({interval}, n = {n})"
        said.append(f"{reference.title} beats {last.title} by {by}{more}.")
    if unclear:
        said.append(f"Cannot be told from {reference.title}: {', '.join(place.title for place in unclear)}.")
    return said


def _listed(places: list[Place]) -> str:
    found = [(place.title, place.corrected) for place in places]
    return "; ".join(f"{title} by {by.mean:.2f} points ({by.low:.2f} to {by.high:.2f})" for title, by in found)


def compared(
    name: str, values: Any, other: str, others: Any, *, among: int = 1, unit: str = "points", digits: int = 1
) -> str:
    """Whether one thing does better than another in a sentence: "a beats b by ...", or that one cannot tell.

    `values` and `others` are of the same networks, pair by pair; a difference is said if its 95 % t interval leaves
    out 0. Was it chosen from several differences, as that of the best of ten, then `among` says from how many: the
    interval is wider, so that it holds for whichever was chosen (see `mean_interval`).

    >>> compared("a", [3.0, 4.0, 5.0], "b", [1.0, 2.5, 3.0])
    'a beats b by 1.8 points (95 % interval 1.1 to 2.6, n = 3)'
    >>> compared("a", [3.0, 4.0, 5.0], "b", [1.0, 2.5, 3.0], among=10)
    'these networks cannot tell a from b (+1.8 points, 95 % interval for one of 10: -0.5 to 4.2, n = 3)'
    >>> compared("a", [3.0], "b", [1.0])
    'one network cannot tell a from b (2.0 points, n = 1): add --seeds'
    """
    a, b = (np.asarray(one, dtype=float) for one in (values, others))
    by = paired_difference(a, b, among=among)
    if by.n < 2:
        return f"one network cannot tell {name} from {other} ({by.mean:.{digits}f} {unit}, n = {by.n}): add --seeds"
    interval = "95 % interval" + (f" for one of {among}:" if among > 1 else "")
    ends = f"{by.low:.{digits}f} to {by.high:.{digits}f}" if np.isfinite(by.low) else "unknown, all being the same"
    found = f"{interval} {ends}, n = {by.n}"
    if not (by.low > 0 or by.high < 0):
        return f"these networks cannot tell {name} from {other} ({by.mean:+.{digits}f} {unit}, {found})"
    if by.mean < 0:
        return compared(other, b, name, a, among=among, unit=unit, digits=digits)
    return f"{name} beats {other} by {by.mean:.{digits}f} {unit} ({found})"
