"""Headlines: what each picture shows, in one sentence computed from the results.

Where the results say the opposite so does the headline, and where they cannot tell it says that.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lab import legend, series
from lab.quantities import interval, metric_of
from lab.statistics import Interval, mean_interval, paired_difference

if TYPE_CHECKING:
    import xarray

NEARLY = 0.9  # a cosine above this: 26 degrees or less


def staircase(results: "xarray.Dataset") -> str:
    """How much of the way along one weight accuracy and cross entropy are flat."""
    stages = results.sizes["stage"]
    over = f", over all {stages} stages" if stages > 1 else ""
    error, loss = (100 * series.flat_share(results, curve) for curve in ("zero_one", "cross_entropy"))
    if error > loss:
        return (
            f"Along one weight accuracy is flat on {error:.0f} % of the way and jumps elsewhere; "
            f"cross entropy is flat on {loss:.0f} %{over}."
        )
    return (
        f"Along this weight accuracy is no flatter than cross entropy: {error:.0f} % against {loss:.0f} % of the "
        f"way{over}."
    )


def differences(results: "xarray.Dataset") -> str:
    """Whether finite differences find a derivative of accuracy, and of cross entropy."""
    h = float(results["h"].min())
    still = mean_interval(100 * (1 - results["difference_moved_share"].sel(h=h).mean("stage").values))
    off = mean_interval(100 * results["difference_loss_deviation"].mean("stage").min("h").values)
    best = f"cross entropy's come within {off.mean:.2g} % of its gradient"
    if still.mean > 50:
        said = f"at h = {h:g} its quotient is 0 for {still.mean:.0f} % of weights"
        return f"Small steps see nothing of accuracy: {said}; {best}."
    return f"Even a step of h = {h:g} changes accuracy for {100 - still.mean:.0f} % of weights; {best}."


def cosines(results: "xarray.Dataset") -> str:
    """Which objective's gradient is furthest from cross entropy's at the last stage, and whether it is far."""
    last = legend.in_table(results).isel(stage=-1)
    titles = legend.titles(last)
    of_loss = last["cosine"].sel(other="cross_entropy").transpose("objective", "seed").values
    among = max(len(of_loss) - 1, 1)
    found = [interval(results, "cosine", one, among=among) for one in of_loss]
    others = [(one, title) for one, title in zip(found, titles, strict=True) if one.n and title != "cross_entropy"]
    stage = legend.stage_titles(results)[-1]
    if not others:
        return "Accuracy has no direction to compare: its gradient is 0."
    furthest, title = min(others)
    said = (
        f"{_capital(stage)} the gradient furthest from cross entropy's is {title}'s, at cosine {furthest.text(2)}"
        f"{_chosen(furthest, among)}"
    )
    if furthest.n < 2:
        return f"{said}: one network, so this may be chance."
    if furthest.high < NEARLY:
        return f"Not every stand-in points where cross entropy points. {said}."
    if furthest.low >= NEARLY:
        return f"All stand-ins point nearly where cross entropy points. {said}."
    return f"Whether all stand-ins point where cross entropy points, these networks cannot tell. {said}."


def margins(results: "xarray.Dataset") -> str:
    """Whether cross entropy looks at wrong answers more than their number would make it."""
    stage = min(1, results.sizes["stage"] - 1)
    wrong = results.isel(bin=(results["margin_high"] <= 0).values, stage=stage)
    pull = 100 * wrong["weight_by_margin"].sel(objective="cross_entropy").sum("bin").values
    share = 100 * wrong["examples_by_margin"].sum("bin").values
    more = mean_interval(pull - share)
    said = (
        f"{legend.stage_titles(results)[stage]} they are {share.mean():.0f} % of the examples and "
        f"{pull.mean():.0f} % of its weight"
    )
    if more.n < 2:
        return f"Does cross entropy look harder at wrong answers? In this one network, {said}."
    if more.low > 0:
        return f"Cross entropy looks harder at wrong answers: {said}."
    if more.high < 0:
        return f"Cross entropy looks away from wrong answers: {said}."
    return f"Whether cross entropy looks harder at wrong answers, these networks cannot tell: {said}."


def temperatures(results: "xarray.Dataset") -> str:
    """Whether a warmer objective's gradient rests on more examples, at the last stage."""
    stage = legend.stage_titles(results)[-1]
    at, ends = legend.swept_temperatures(results), _ends(results)
    if len(at) < 2:
        return f"One temperature was measured, T = {at[0]:g}: what another would change cannot be seen."
    if not ends:
        return f"No objective was measured at both T = {at[0]:g} and T = {at[-1]:g}: what lies between cannot be seen."
    cold, warm = zip(*ends.values(), strict=True)
    its = "it" if len(ends) > 1 else f"{next(iter(ends))}'s"
    said = (
        f"{stage} {_range(cold)} of {results.attrs['examples']:,} examples carry {its} at T = {at[0]:g}, "
        f"{_range(warm)} at T = {at[-1]:g}"
    )
    more = [mean_interval(b - a) for a, b in zip(cold, warm, strict=True)]
    if any(one.n < 2 for one in more):
        return f"Does a warmer gradient rest on more examples? In this one network, {said}."
    if all(one.low > 0 for one in more):
        return f"The colder the objective, the fewer examples carry its gradient: {said}."
    if all(one.high < 0 for one in more):
        return f"The colder the objective, the more examples carry its gradient: {said}."
    return f"Not every objective's gradient rests on more examples when it is warmer: {said}."


def gains(results: "xarray.Dataset") -> str:
    """Whose gradient raises the held-out metric most, and whether it is better than cross entropy's."""
    metric = metric_of(results)
    stage = min(1, results.sizes["stage"] - 1)
    table = legend.in_table(results).isel(stage=stage)
    gain = table["gain_held_out"].transpose("objective", "seed").values
    best = int(np.nanargmax([interval(results, "gain_held_out", one).mean for one in gain]))
    title, when = str(table["title"].values[best]), legend.stage_titles(results)[stage]
    among, others = len(gain), len(gain) - 1
    most = interval(results, "gain_held_out", gain[best], scale=100.0, among=among)
    said = f"{when} a step along {title}'s gradient gains {_signed(most)} points{_chosen(most, among)}"
    if str(table["objective"].values[best]) == "cross_entropy":
        return f"On average no gradient raises held-out {metric} more than cross entropy's: {said}."
    ahead = table["gain_difference"].isel(objective=best).values
    more = paired_difference(100 * ahead, np.zeros(len(ahead)), among=max(others, 1), within=(-100.0, 100.0))
    said = f"{said}, {_signed(more)} more than cross entropy's{_chosen(more, others)}"
    if more.n < 2:
        return f"Whose gradient raises {metric} most? In this one network, {said}."
    if more.low > 0:
        return f"Another gradient raises held-out {metric} more than cross entropy's: {said}."
    return f"Whether any gradient raises {metric} more than cross entropy's, these networks cannot tell: {said}."


def weights(results: "xarray.Dataset") -> str:
    """How well cross entropy's gradient points where held-out accuracy rises, and how well any weight could."""
    stage = min(1, results.sizes["stage"] - 1)
    at = results.isel(stage=stage)
    best = interval(results, "best_alignment", at["best_alignment"].values)
    loss = interval(results, "alignment", at["alignment"].sel(objective="cross_entropy").values)
    return (
        f"{_capital(legend.stage_titles(results)[stage])} cross entropy's step has cosine {loss.text(2)} with "
        f"the way that held-out accuracy rises; the best weight over the margin reaches {best.text(2)} on the "
        "images it was fitted to."
    )


def details(results: "xarray.Dataset") -> str:
    """How much of cross entropy's gradient a mini-batch keeps, and whose gradient needs the largest."""
    stage = results.sizes["stage"] - 1
    at = results.isel(stage=stage)
    sizes = [
        int(size) for size in at["batch_size"].values if np.isfinite(at["batch_cosine"].sel(batch_size=size)).any()
    ]
    loss = at.sel(objective="cross_entropy")
    kept = interval(results, "batch_cosine", loss["batch_cosine"].sel(batch_size=sizes[-1]).values)
    scale = interval(results, "noise_scale", loss["noise_scale"].values)
    needed = f"; its noise scale is {scale.mean:,.0f} examples (n = {scale.n})" if scale.n else ""
    return (
        f"{_capital(legend.stage_titles(results)[stage])} a mini-batch of {sizes[-1]} points where all "
        f"{results.attrs['examples']:,} examples do with cosine {kept.text(2)} under cross entropy{needed}."
    )


def learning(results: "xarray.Dataset") -> str:
    """The metric on the test images at the end."""
    metric, epochs = metric_of(results), int(results["epoch"].values[-1])
    final = mean_interval(100 * results[metric].sel(split="test").isel(epoch=-1).values, within=(0.0, 100.0))
    said, when = f"{final.text(1)} %", f"After {epochs} epoch{'s' if epochs != 1 else ''}"
    if metric == "accuracy":
        return f"{when} {said} of the test images are read rightly."
    return f"{when} {metric} on the test images is {said}."


def tuning(results: "xarray.Dataset") -> str:
    """How far apart the objectives' best learning rates are."""
    rates = results["chosen_rate"].values
    if rates.min() == rates.max():
        return f"All objectives learn best at the learning rate {rates.min():g}."
    low, high = (str(results["title"].values[rates.argmin()]), str(results["title"].values[rates.argmax()]))
    ends = f"{rates.min():g} for {low}, {rates.max():g} for {high}"
    return f"Each objective needs its own learning rate: the best is {ends}."


def progress(results: "xarray.Dataset") -> str:
    """Which objectives lose classes in the end."""
    dead = results["dead_classes"].isel(epoch=-1).mean("seed").values
    if not dead.any():
        return "In the end every objective's networks predict every class."
    worst, losing = int(dead.argmax()), int((dead > 0).sum())
    n = results.sizes["seed"]
    of = f"in the mean of n = {n} networks" if n > 1 else "(n = 1 network)"
    most = f"{results['title'].values[worst]}: {dead[worst]:.1f} {of}."
    if losing == 1:
        return f"1 of {len(dead)} objectives leaves classes that are never predicted, {most}"
    return f"{losing} of {len(dead)} objectives leave classes that are never predicted, most of all {most}"


def portrait(results: "xarray.Dataset") -> str:
    """How much of an objective's weight lies at negative margins, and which objective is closest to it."""
    title, margins = str(results["title"].values[0]), results["margin"].values
    pull = np.abs(results["weight"].values[0])
    if not pull.any():
        return f"{title} pulls nowhere: its weight is 0 at every margin."
    below = 100 * pull[margins < 0].sum() / pull.sum()
    said = f"{title} has {below:.0f} % of its weight below margin 0 (of {margins[0]:g} to {margins[-1]:g})"
    likeness = results["likeness"].values[1:]
    closest = 1 + int(np.nanargmax(likeness))
    return f"{said} and is most like {results['title'].values[closest]}, at cosine {likeness[closest - 1]:.3f}."


def _ends(results: "xarray.Dataset") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Effective examples at the last stage of every objective measured at both ends: the coldest, the warmest."""
    last = results["effective_examples"].isel(stage=-1).transpose("objective", "seed").values
    of = dict(zip(legend.places(results), last, strict=True))
    warmest = len(legend.swept_temperatures(results)) - 1
    return {
        key: (of[key, 0], of[key, warmest])
        for key in legend.swept_keys(results)
        if {(key, 0), (key, warmest)} <= of.keys()
    }


def _range(values: Iterable[np.ndarray]) -> str:
    means = [float(one.mean()) for one in values]
    low, high = (series.counted(x) for x in (min(means), max(means)))
    return low if low == high else f"{low} to {high}"


def _chosen(found: Interval, among: int) -> str:
    """What is named for being most is one of several, and its interval holds for all: wider than in the picture."""
    return f" (for one of {among})" if found.n > 1 and among > 1 else ""


def _signed(found: Interval) -> str:
    interval = f" [{found.low:+.1f}, {found.high:+.1f}]" if np.isfinite(found.low) else ""
    return f"{found.mean:+.1f}{interval}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
