"""Checks: what is wrong with an objective, one's own above all, and what one should know of it.

Everything is tried on logits made for it, in float64 where nothing else is said. What makes results useless is `wrong`;
what a user should know is a `note`; the rest is plainly so.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lab.errors import InputError
from lab.metrics import minibatch_bias
from lab.objectives import FLAGS, Objective
from lab.properties import PROPERTIES, equal_rivals, extreme_logits, margin_function, measured, random_logits

_SMALL = 1e-3  # slopes that rounding loses are smaller


class Finding(NamedTuple):
    """What one check found; `rank` is "fine", "note" or "wrong"."""

    what: str
    said: str
    rank: str = "fine"


def _per_example(objective: Objective) -> Finding:
    logits, labels = random_logits()
    others, _ = random_logits(seed=1)
    others[:8] = logits[:8]
    alone, with_others = (measured(objective, z, labels)[0][:8] for z in (logits, others))
    if np.allclose(alone, with_others, rtol=1e-9, atol=1e-12, equal_nan=True):
        return Finding("per example", "each value depends on its own example alone")
    if objective.whole_batch:
        return Finding("per example", "no: it is an objective of the whole batch", "note")
    return Finding(
        "per example",
        "values change with the other examples of the batch: leave the mean to the caller, or return the one "
        "number that the whole batch has",
        "wrong",
    )


def _minibatches(objective: Objective) -> Finding:
    """How far the mean over mini-batches is off the value on all of 1,000 examples, four in five read rightly."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 5, 1000)
    logits = jnp.asarray(draw.normal(0, 2.0, (1000, 5)) + 4 * np.eye(5)[labels])
    said = []
    for size in (10, 100):
        found = minibatch_bias(objective, logits, labels, batch_size=size, draws=1000, key=jax.random.key(0))
        said.append(f"{found.bias:+.4f} (standard error {found.standard_error:.4f}) at {size}")
    return Finding(
        "mini-batches",
        f"the mean over mini-batches of 1,000 examples is off {float(found.full):.4f} by {', by '.join(said)}",
        "note",
    )


def _classes_alike(objective: Objective) -> Finding:
    logits, labels = random_logits()
    order = np.array([3, 0, 4, 1, 2])
    renamed = measured(objective, logits[:, order], np.argsort(order)[labels])[0]
    if np.allclose(renamed, measured(objective, logits, labels)[0], rtol=1e-9, atol=1e-12, equal_nan=True):
        return Finding("classes", "all are treated alike")
    return Finding("classes", "their order matters: another numbering of the classes gives other values", "note")


def _finite(objective: Objective) -> Finding:
    """In float32, at usual logits, at +-1000 and at ties; of a whole batch, where classes are missing from it."""
    logits, labels = random_logits()
    usual = {f"logits of usual size, the true class being {k}": (logits, np.full_like(labels, k)) for k in range(5)}
    missing = {
        "a batch without one of the classes": (logits, labels % 4),
        "a batch of one class": (logits, np.zeros_like(labels)),
    }
    extremes = {
        "logits of +-1000": extreme_logits(1e3),
        "logits that all tie": (np.zeros((1, 3)), np.zeros(1, dtype=int)),
        "two classes, logits of +-1000": (np.array([[1e3, -1e3], [-1e3, 1e3]]), np.zeros(2, dtype=int)),
    }
    for what, (logits, labels) in ((missing if objective.whole_batch else usual) | extremes).items():
        values, slopes = measured(objective, logits, labels, bits=32)
        if np.isnan(values).any() or np.isnan(slopes).any():
            which = "its value" if np.isnan(values).any() else "its gradient"
            return Finding("finite", f"{which} is NaN in float32 at {what}", "wrong")
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            return Finding("finite", f"infinite in float32 at {what}", "note")
    missing_too = ", also where classes are missing" * objective.whole_batch
    return Finding("finite", f"values and gradients, in float32 at logits of +-1000 and at ties{missing_too}")


def _derivative(objective: Objective) -> Finding:
    """Against central differences in random directions, by the best of three steps.

    A long one is off by curvature where a boundary is narrow, a short one by rounding where values are large.
    """
    off = dict.fromkeys((1e-5, 1e-6, 1e-7), 0.0)
    for classes in (2, 5, 10):
        logits, labels = random_logits(classes)
        _, slopes = measured(objective, logits, labels)
        direction = np.random.default_rng(2).normal(size=logits.shape)
        for h, worst in off.items():
            ahead, behind = (measured(objective, logits + s * h * direction, labels)[0] for s in (1, -1))
            differences, expected = (ahead - behind) / (2 * h), np.sum(slopes * direction, axis=1)
            if objective.whole_batch:  # all values are the batch's, and so are their slopes
                differences, expected = differences.sum(), expected.sum()
            off[h] = max(worst, np.abs(differences - expected).max() / max(np.abs(expected).max(), 1e-3))
    worst = min(off.values())
    said = f"autodiff and central differences agree to {max(worst, 1e-12):.0e}"
    if worst < 1e-6:
        return Finding("gradient", said)
    if objective.definition.family == "estimator":
        return Finding("gradient", f"{said} only, as it should: it is another objective's", "note")
    return Finding("gradient", f"{said} only: it is not the derivative of the value", "wrong")


def _direction(objective: Objective) -> Finding:
    """Whether less of it means more of the true class: objectives are minimised."""
    logits, labels = random_logits()
    _, slopes = measured(objective, logits, labels)
    pulls = -slopes[np.arange(len(labels)), labels]
    least = 1e-9 * np.abs(slopes).max()
    up, down = int(np.sum(pulls > least)), int(np.sum(pulls < -least))
    said = (
        f"a step against the gradient raises the true logit of {up} and lowers that of {down} of {len(labels)} examples"
    )
    if down and not up:
        return Finding("direction", f"{said}: is a minus missing? Objectives are minimised", "wrong")
    return Finding("direction", said, "note" if down else "fine")


def _parameters(objective: Objective) -> Finding:
    """Whether the parameters may be traced values, many at a time."""
    if not objective.parameters:
        return Finding("parameters", "none")
    logits, labels = (jnp.asarray(x) for x in random_logits())
    stack = jax.tree.map(lambda x: jnp.stack([x, x]), objective)
    try:
        jax.jit(jax.vmap(lambda one: one(logits, labels)))(stack)
    except (jax.errors.ConcretizationTypeError, InputError, TypeError, ValueError) as error:
        return Finding(
            "parameters",
            f"cannot be swept in one compiled program: {type(error.__cause__ or error).__name__}. "
            "Use jnp.where on them, not if",
            "wrong",
        )
    return Finding("parameters", f"{', '.join(objective.parameters)}: swept in one compiled program")


def _slopes_along(objective: Objective, margins: np.ndarray, bits: int) -> np.ndarray:
    """An example's gradient [margins, classes] at each margin, of ten classes with equal rivals.

    An objective of a whole batch is tried on batches with one example of each class, of one margin all.
    """
    if not objective.whole_batch:
        return measured(objective, *equal_rivals(margins, classes=10), bits=bits)[1]
    batches = [(margin * np.eye(10), np.arange(10)) for margin in margins]
    return np.array([measured(objective, *batch, bits=bits)[1][0] for batch in batches])


def _death(objective: Objective) -> Finding:
    """Where the gradient is 0, in float64 and in float32, along the margin."""
    size = np.geomspace(0.01, 1000, 500)
    margins = np.concatenate([-size[::-1], size])
    truth, rounded = (_slopes_along(objective, margins, bits) for bits in (64, 32))
    if (unknown := np.isnan(rounded).any(axis=1)).any():
        at = min(margins[unknown], key=abs)
        return Finding("death", f"its gradient is NaN in float32, as at margin {at:.3g}", "wrong")
    if not truth.any():
        return Finding("death", "its gradient is 0 everywhere", "note")
    lost = (rounded == 0) & (np.abs(truth) > 1e-30)
    # Where a large slope is lost, a maximum of equal entries has fallen on another of them.
    tied = lost.any() and np.abs(truth[lost]).max() > _SMALL
    if lost.any() and not tied:
        first = min(np.flatnonzero(lost.any(axis=1)), key=lambda row: abs(margins[row]))
        slope = np.abs(truth[first][lost[first]]).max()
        return Finding(
            "death",
            f"float32 rounds a slope of {slope:.1e} to 0 at margin {margins[first]:.3g}; lab.sigmoid and the margins "
            "of lab keep such digits",
            "note",
        )
    dead = ((rounded == 0) & (np.abs(truth) < _SMALL)).all(axis=1)
    alive = margins[~dead]
    ends = [f"below {alive.min():.3g}"] * bool(dead[0]) + [f"above {alive.max():.3g}"] * bool(dead[-1])
    if not ends:
        return Finding("death", "its gradient is nowhere 0, at margins from -1000 to 1000")
    return Finding("death", f"its gradient is 0 in float32 at margins {' and '.join(ends)}")


def _weight(objective: Objective) -> Finding:
    found = margin_function(objective)
    if found is None:
        return Finding("margin", "it is no function of a margin")
    at = np.array([-4.0, -1.0, 0.0, 1.0, 4.0])
    logits, labels = equal_rivals(at, classes=2)  # with one rival all margins are one
    pulls = -measured(objective, logits, labels)[1][:, 0]
    of = "the hard margin" if found.of == "hard" else f"the soft margin at T = {found.temperature:.4g}"
    weights = ", ".join(f"w({m:g}) = {pull:.3g}" for m, pull in zip(at, pulls, strict=True))
    return Finding("margin", f"a function of {of}: {weights}")


def _property(name: str, objective: Objective) -> Finding:
    holds = PROPERTIES[name](objective)
    declared = objective.definition.has(name)
    said = f"{'yes' if holds else 'no'} ({FLAGS[name]})"
    if declared is not None and declared != holds:
        if objective.changed:
            return Finding(name, f"{said}; at the defaults it is declared otherwise", "note")
        return Finding(name, f"{said}; declared otherwise", "wrong")
    return Finding(name, said)


def check(objective: Objective) -> list[Finding]:
    """Everything that can be found out about an objective by trying it; takes a few seconds.

    Raises: InputError for one that fails with 2, 3, 5 or 10 classes, as one made for another number of them alone does.

    >>> import lab
    >>> [one.what for one in check(lab.objective("expected_error")) if one.rank == "wrong"]
    []
    """
    per_example = (_classes_alike, _weight, *(partial(_property, name) for name in PROPERTIES))
    always = (_per_example, _finite, _derivative, _direction, _parameters, _death)
    try:
        return [one(objective) for one in (*always, *((_minibatches,) if objective.whole_batch else per_example))]
    except InputError as error:
        said = "It is tried with 2, 3, 5 and 10 classes; compare, train and sweep have as many as the data."
        raise InputError(f"{error} {said}") from error
