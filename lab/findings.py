"""Findings: what a comparison shows, in plain sentences computed from its results.

Every number is a mean over networks with its 95 % interval; where the results cannot decide, the sentence says so.
"""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab.quantities import interval, metric_of
from lab.race import raced
from lab.ranking import answer
from lab.statistics import Interval, mean_interval, paired_difference

if TYPE_CHECKING:
    import xarray

PERCENT = (0.0, 100.0)
FEW = 0.1  # a gradient carried by less than this share of the examples rests on few of them
ELSEWHERE = 0.5  # below this cosine, 60 degrees apart, a gradient points elsewhere


class Finding(NamedTuple):
    """A claim in a few words, and the numbers behind it."""

    claim: str
    evidence: str


def summarise(results: "xarray.Dataset") -> list[Finding]:
    """What the results show, in the order of the chapter's argument."""
    found = [_accuracy(results), _loss(results)]
    if _has(results, "expected_error:temperature=0.1"):
        found += [_cold(results), _warm(results), _wrong_answers(results)]
    found += [_gain(results), _noise(results), _dead(results)]
    found += [one for one in [_not_numbers(results)] if one]
    return found if (race := raced(results)) is None else [*found, _race(race)]


def _has(results: "xarray.Dataset", one: str) -> bool:
    return one in results["objective"].values


def _race(race: "xarray.Dataset") -> Finding:
    best, *rest = answer(race)
    epochs = int(race["epoch"].max())
    length = f"After {epochs} epoch{'s' if epochs > 1 else ''}, each at its best learning rate"
    claim, *rest = rest or ["Which trains the better network, these cannot tell."]
    return Finding(claim, " ".join([f"{length}: {best}", *rest]))


def _over_networks(results: "xarray.Dataset", variable: str, objective: str, stage: int) -> Interval:
    return interval(results, variable, results[variable].sel(objective=objective).isel(stage=stage).values)


def _stage(results: "xarray.Dataset", stage: int) -> str:
    name = str(results["stage"].values[stage])
    return f"after {name}" if name[0].isdigit() else name


def _accuracy(results: "xarray.Dataset") -> Finding:
    zero = not results["norm"].sel(objective="zero_one").values.any()
    moved = results["difference_moved_share"].mean("stage")
    low, high = (interval(results, "difference_moved_share", moved.sel(h=h).values, scale=100.0) for h in (0.001, 0.1))
    points = results.sizes["seed"] * results.sizes["stage"]
    where = f"at all {points} points (networks x stages)" if points > 1 else f"in this network {_stage(results, 0)}"
    jumps = ": nothing, and then a jump" if high.mean > 2 * low.mean else ""
    return Finding(
        "Accuracy gives no direction." if zero else "Accuracy's gradient is not 0: something is wrong.",
        f"Its gradient is {'exactly 0' if zero else 'not 0'} {where}. Its difference quotient, a single weight moved "
        f"by 0.001 to either side, is not 0 for {low.text(0)} % of the weights tried, moved by 0.1 for {high.text(0)} "
        f"%{jumps}.",
    )


def _loss(results: "xarray.Dataset") -> Finding:
    start = _over_networks(results, "effective_examples", "cross_entropy", 0)
    deviation = results["difference_loss_deviation"].sel(h=0.01).mean("stage")
    off = interval(results, "difference_loss_deviation", deviation.values, scale=100.0)
    died = bool(results["dead"].sel(objective="cross_entropy").any())
    return Finding(
        "Cross entropy's gradient died in some of these networks." if died else "Cross entropy always gives one.",
        f"Of {results.attrs['examples']:,} examples {start.text(0)} carry its gradient {_stage(results, 0)}; autodiff "
        f"and finite differences (h = 0.01) differ by {off.text(1)} %.",
    )


def _cold(results: "xarray.Dataset") -> Finding:
    one = "expected_error:temperature=0.1"
    first, last = (_over_networks(results, "effective_examples", one, stage) for stage in (0, -1))
    cosine = _over_networks(results.sel(other="cross_entropy"), "cosine", one, -1)
    rests_on_few = last.mean < FEW * results.attrs["examples"]
    at_first = f"{first.text(0)} examples {_stage(results, 0)} and by " if results.sizes["stage"] > 1 else ""
    unit = "" if at_first else " examples"
    return Finding(
        "Smoothed accuracy gives one too, but a cold one rests on few examples."
        if rests_on_few
        else "Smoothed accuracy gives one too, even a cold one.",
        f"Expected error at T = 0.1 is carried by {at_first}{last.text(1)}{unit} {_stage(results, -1)}; its cosine "
        f"with cross entropy is {'then ' * bool(at_first)}{cosine.text()}.",
    )


def _warm(results: "xarray.Dataset") -> Finding:
    swept = results.sel(other="cross_entropy").isel(objective=(results["name"] == "expected_error").values)
    warmest = str(swept["objective"].values[swept["temperature"].values.argmax()])
    temperature = float(swept["temperature"].max())
    examples = _over_networks(results, "effective_examples", warmest, -1)
    cosine = _over_networks(swept, "cosine", warmest, -1)
    if cosine.high < ELSEWHERE:
        claim = "A warm one listens to everybody and points elsewhere."
    elif cosine.low > ELSEWHERE:
        claim = "A warm one still points much as cross entropy does."
    else:
        claim = f"Whether a warm one points elsewhere, {_these(results)} cannot tell."
    return Finding(
        claim,
        f"At T = {temperature:g} it is carried by {examples.text(0)} examples {_stage(results, -1)}, and its cosine "
        f"with cross entropy is {cosine.text()}.",
    )


def _wrong_answers(results: "xarray.Dataset") -> Finding:
    stage = min(1, results.sizes["stage"] - 1)
    wrong = results["weight_by_margin"].isel(bin=(results["margin_high"] <= 0).values, stage=stage).sum("bin")
    loss, smoothed = (100 * wrong.sel(objective=one).values for one in ("cross_entropy", "expected_error"))
    share = partial(mean_interval, within=PERCENT)
    difference = mean_interval(loss - smoothed)
    if difference.n < 2:
        claim = "Who looks at the wrong answers? One network cannot tell."
    elif difference.low > 0:
        claim = "Cross entropy looks at the wrong answers; smoothed accuracy gives up on the worst."
    elif difference.high < 0:
        claim = "Smoothed accuracy looks at the wrong answers more than cross entropy does."
    else:
        claim = "Who looks more at the wrong answers? These networks cannot tell."
    return Finding(
        claim,
        f"{_stage(results, stage).capitalize()}, {share(loss).text(0)} % of cross entropy's pull comes from images "
        f"read wrongly, {share(smoothed).text(0)} % of expected error's (T = 1); the difference is "
        f"{difference.text(0)} points, paired by network.",
    )


def _gain(results: "xarray.Dataset") -> Finding:
    table = results.isel(objective=results["in_table"].values)
    best, worse, metric = [], [], metric_of(results)
    among = max(table.sizes["objective"] - 1, 1) * table.sizes["stage"]  # the claim is about any of so many
    for s in range(results.sizes["stage"]):
        better = []
        for title, values in zip(table["title"].values, table["gain_difference"].isel(stage=s).T.values, strict=True):
            of = paired_difference(100 * values, np.zeros(len(values)), among=among)
            if of.n > 1 and of.low > 0:
                better.append((of.mean, str(title)))
            if of.n > 1 and of.high < 0:
                worse.append(str(title))
        if better:
            by, title = max(better)
            best.append(f"{title} {_stage(results, s)} (by {by:.1f} points)")
    gain = [
        mean_interval(100 * results["gain_held_out"].sel(objective="cross_entropy").isel(stage=s).values).text(1)
        for s in range(results.sizes["stage"])
    ]
    by_stage = ", stage by stage" if len(gain) > 1 else f" {_stage(results, 0)}"
    said = (
        f"The best step along cross entropy's gradient gains {', '.join(gain)} points of held-out {metric}{by_stage}."
    )
    if results.sizes["seed"] < 2:
        return Finding(f"Whose gradient raises {metric} most? One network cannot tell.", said)
    claim = (
        f"Some gradients raise {metric} more than cross entropy's."
        if best
        else f"No gradient raises {metric} more than cross entropy's, as far as these networks can tell."
    )
    more = f" Most of all {'; '.join(best)}." if best else ""
    less = f" Less, at some stage: {', '.join(dict.fromkeys(worse))}." if worse else ""
    return Finding(claim, said + more + less)


def _noise(results: "xarray.Dataset") -> Finding:
    last = results.isel(stage=-1).sel(objective="cross_entropy")
    sizes = [
        size for size in results["batch_size"].values if np.isfinite(last["batch_cosine"].sel(batch_size=size)).any()
    ]
    kept = {
        int(size): interval(results, "batch_cosine", last["batch_cosine"].sel(batch_size=size).values) for size in sizes
    }
    largest = kept[max(kept)]
    noise = interval(results, "noise_scale", last["noise_scale"].values)
    scale = f" Its noise scale is {noise.text(0)} examples (n = {noise.n})." if noise.n else ""
    return Finding(
        "A mini-batch keeps the direction."
        if largest.low > ELSEWHERE
        else "A mini-batch is mostly noise by the end."
        if largest.high < ELSEWHERE
        else f"Whether a mini-batch keeps the direction to the end, {_these(results)} cannot tell.",
        f"{_stage(results, -1).capitalize()} cross entropy's gradient on "
        f"{', '.join(f'{size}' for size in kept)} examples has cosine "
        f"{', '.join(of.text() for of in kept.values())} with that on all {results.attrs['examples']:,}.{scale}",
    )


def _dead(results: "xarray.Dataset") -> Finding:
    others = results.isel(objective=(results["objective"] != "zero_one").values)
    dead = others["dead"].sum("seed").max("stage")
    names = others["title"].values[dead.values > 0]
    n = results.sizes["seed"]
    if not names.size:
        return Finding("No other gradient died.", f"None of {others.sizes['objective']} in {_networks(n)}.")
    worst = [f"{name} in {int(count)} of {n}" for name, count in zip(names, dead.values[dead.values > 0], strict=True)]
    more = f"; so do {len(worst) - 4} others" if len(worst) > 5 else f"; so does {worst[4]}" if len(worst) > 4 else ""
    return Finding(
        "Some gradients die on the way.",
        f"Exactly 0, or too small for float32 to move the weights, at their worst stage: "
        f"{', '.join(worst[:4])} networks{more}.",
    )


def _not_numbers(results: "xarray.Dataset") -> Finding | None:
    unknown = ~np.isfinite(results["mean_value"].transpose("objective", "seed", "stage").values)
    counts = unknown.sum(axis=(1, 2))
    if not counts.any():
        return None
    points = results.sizes["seed"] * results.sizes["stage"]
    bad = [f"{results['title'].values[i]} at {counts[i]} of {points} points" for i in np.flatnonzero(counts)]
    return Finding(
        "Some objectives are no numbers.",
        f"NaN or infinite for one example at least: {', '.join(bad)} (networks x stages). What was measured of them "
        "there says nothing; `python -m lab check` looks for the cause.",
    )


def _these(results: "xarray.Dataset") -> str:
    return "these networks" if results.sizes["seed"] > 1 else "one network"


def _networks(count: int) -> str:
    return f"{count} network{'s' if count > 1 else ''}"


def caption(results: "xarray.Dataset") -> str:
    """What every picture says of where its numbers come from."""
    return f"{results.attrs['data']}. Network {results.attrs['network']}, {results.attrs['recipe']}. {counts(results)}"


def counts(results: "xarray.Dataset") -> str:
    """How many networks and images a number rests on."""
    n = results.sizes["seed"]
    return f"n = {_networks(n)}, {int(results.attrs['examples']):,} training images{' each' if n > 1 else ''}."
