"""Checks: what can be found out about an objective, one's own above all, by trying it.

Everything is measured on logits made here, in float64 where nothing else is said. What makes results useless is
`wrong`; what a user should know is a `note`; the rest is plainly a property.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lab.margins import hard_margin, soft_margin
from lab.metrics import minibatch_bias
from lab.objectives import FLAGS, Objective

Logits = Float[np.ndarray, "batch classes"]
Labels = Int[np.ndarray, " batch"]
Values = Float[np.ndarray, " batch"]


class Finding(NamedTuple):
    """What one check found; `rank` is "fine", "note" or "wrong"."""

    what: str
    said: str
    rank: str = "fine"


class MarginFunction(NamedTuple):
    """The margin that an objective was found to be a function of; `temperature` is 0 for the hard margin."""

    of: str
    temperature: float


@jax.jit
def _jitted(objective: Objective, logits, labels):
    values, pullback = jax.vjp(lambda z: objective(z, labels), logits)
    return values, pullback(jnp.ones_like(values))[0]


def measured(objective: Objective, logits: Logits, labels: Labels, *, bits: int = 64) -> tuple[Values, Logits]:
    """Values and logit gradients, in float64 or float32 whatever JAX is set to, as NumPy arrays."""
    with jax.enable_x64(bits == 64):
        found = _jitted(_in_float(objective, bits), jnp.asarray(logits, f"float{bits}"), jnp.asarray(labels))
        values, slopes = (np.asarray(one) for one in found)
        return values, slopes


def _in_float(objective: Objective, bits: int) -> Objective:
    parameters = {name: jnp.asarray(np.asarray(x), f"float{bits}") for name, x in objective.parameters.items()}
    return Objective(objective.definition, parameters)


def _random(classes: int = 5, *, seed: int = 0) -> tuple[Logits, Labels]:
    """Always 64 examples: every shape is compiled anew."""
    draw = np.random.default_rng([seed, classes])
    return draw.normal(0, 2.0, (64, classes)), draw.integers(0, classes, 64)


def equal_rivals(margin: Float[np.ndarray, " batch"], classes: int) -> tuple[Logits, Labels]:
    """Logits of the hard margin `margin`, all rivals being 0; class 0 is the true one.

    >>> equal_rivals(np.array([1.5]), classes=3)[0].tolist()
    [[1.5, 0.0, 0.0]]
    """
    logits = np.zeros((len(margin), classes))
    logits[:, 0] = margin
    return logits, np.zeros(len(margin), dtype=int)


# -- properties ------------------------------------------------------------------------------------------------


def is_invariant(objective: Objective) -> bool:
    """Whether adding one number to all logits of an example changes neither value nor gradient."""
    logits, labels = _random()
    before, after = (measured(objective, logits + shift, labels) for shift in (0.0, 3.7))
    return all(np.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(before, after, strict=True))


def is_symmetric(objective: Objective) -> bool:
    """Whether the sum over all labels is the same for all logits."""
    logits, _ = _random()
    sums = sum(measured(objective, logits, np.full(len(logits), k))[0] for k in range(5))
    return bool(np.ptp(sums) < 1e-9 * max(1.0, np.abs(sums).max()))


def _repeated(rows: Float[np.ndarray, "rows classes"]) -> tuple[Logits, Labels]:
    """These logits of class 0, again and again up to the shape of `_random`."""
    return np.resize(rows, (64, rows.shape[1])), np.zeros(64, dtype=int)


def _extremes(size: float) -> tuple[Logits, Labels]:
    corners = np.array([[1, -1, 0, 0, 0], [-1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [-1, 0.5, 0, 0, 0]])
    return _repeated(size * corners)


def is_bounded(objective: Objective) -> bool:
    """Whether values stop growing with the logits: no more than half again from 1e3 to 1e6 (log grows twofold)."""
    near, far = (np.abs(measured(objective, *_extremes(size))[0]).max() for size in (1e3, 1e6))
    return bool(np.isfinite(far) and far <= 1.5 * max(near, 1e-9))


def is_centred(objective: Objective) -> bool:
    """Whether it is bounded, and half-way between its extremes where all classes tie."""
    if not is_bounded(objective):
        return False
    rows = np.zeros((3, 5))
    rows[:2, 0] = -1e6, 1e6
    worst, best, tie = measured(objective, *_repeated(rows))[0][:3]
    return bool(abs(tie - (worst + best) / 2) < 1e-6 * abs(worst - best))


def is_smooth(objective: Objective) -> bool:
    """Whether value and gradient have no jumps: on a line ten times as fine they must change a tenth as much."""

    # One line leads across the boundary, on the other two rivals change places. An even number: no point on a tie.
    points, coarse, fine = 40_000, 0.0, 0.0
    along = np.linspace(-4, 4, points)[:, None]
    for by, at in [([1.0, -0.5, 0.1], [0.0, 0.03, 0.6]), ([0.0, 0.25, -0.25], [0.1, 0.0, 0.0])]:
        for found in measured(objective, along * np.array(by) + np.array(at), np.zeros(points, dtype=int)):
            coarse = max(coarse, np.abs(np.diff(found[::10], axis=0)).max())
            fine = max(fine, np.abs(np.diff(found, axis=0)).max())
    return bool(fine <= 0.3 * coarse or coarse < 1e-12)


@jax.jit
def _risk(objective: Objective, logits, probabilities):
    labels = jnp.arange(len(probabilities))
    return jnp.sum(probabilities * objective(jnp.tile(logits, (len(probabilities), 1)), labels))


def least_risk(
    objective: Objective, probabilities: tuple[float, ...], *, misranked: bool = False
) -> tuple[float, Float[np.ndarray, " classes"]]:
    """The least mean of the objective over labels drawn with `probabilities`, and the logits where it is.

    The best of several Nelder-Mead searches: the objective may be flat, cornered, and least at infinity. `misranked`
    looks only where the first class does not lead alone.
    """
    from scipy.optimize import minimize

    def admitted(z):
        return np.array([min(z[0], z[1:].max()), *z[1:]]) if misranked else z

    with jax.enable_x64(True):
        same = _in_float(objective, 64)
        given = jnp.asarray(probabilities)
        classes = len(probabilities)
        # Where each class is far ahead, where each is far behind, and anywhere: some are flat or have several valleys.
        starts = [*3 * np.eye(classes), *-6 * np.eye(classes), *np.random.default_rng(0).normal(0, 2.0, (2, classes))]
        options = {"xatol": 1e-7, "fatol": 1e-12, "maxfev": 300 * classes}
        found = [
            minimize(
                lambda z: float(_risk(same, admitted(z), given)),
                start,
                method="Nelder-Mead",
                options=options | {"initial_simplex": start + np.vstack([np.zeros(classes), np.eye(classes)])},
            )
            for start in starts
        ]
    best = min(found, key=lambda one: one.fun)
    return float(best.fun), admitted(best.x)


UNDECIDED = ((0.4, 0.32, 0.28), (0.4, 0.36, 0.24))


def is_calibrated(objective: Objective) -> bool:
    """Whether its mean cannot be least, or come near it, where the most probable class is not ranked first.

    For each of `UNDECIDED`, three classes without a majority: with one, even hinge losses get it right. Tewari &
    Bartlett 2007, On the consistency of multiclass classification methods; Liu 2007, Fisher consistency of
    multicategory support vector machines.
    """
    for probabilities in UNDECIDED:
        least, _ = least_risk(objective, probabilities)
        misranked, _ = least_risk(objective, probabilities, misranked=True)
        if misranked - least <= 1e-5 * max(1.0, abs(least)):
            return False
    return True


PROPERTIES: dict[str, Callable[[Objective], bool]] = {
    "bounded": is_bounded,
    "symmetric": is_symmetric,
    "calibrated": is_calibrated,
    "smooth": is_smooth,
    "centred": is_centred,
    "invariant": is_invariant,
}


def margin_function(objective: Objective) -> MarginFunction | None:
    """The margin that the objective is a function of, by its gradient; None if it is of none.

    Its gradient must be -w (e_y - q) with q all on the strongest rival, or proportional to exp(z_j / T) for one T;
    and w must be the same wherever the margin is. A centred margin cannot be told from the soft one.
    """
    logits, labels = _random()
    rows = np.arange(len(labels))
    _, slopes = measured(objective, logits, labels)
    pull = -slopes[rows, labels]
    carried = np.abs(pull) > 1e-6 * np.abs(pull).max()
    if not carried.any():
        return None
    rivals = np.array([np.delete(row, y) for row, y in zip(logits, labels, strict=True)])[carried]
    shares = np.array([np.delete(row, y) for row, y in zip(slopes, labels, strict=True)])[carried]
    shares = shares / pull[carried, None]
    strongest = np.eye(rivals.shape[1])[rivals.argmax(axis=1)]
    if np.allclose(shares, strongest, atol=1e-9):
        found = MarginFunction("hard", 0.0)
    else:
        # log q_j - log q_k = (z_j - z_k) / T for all pairs of rivals.
        gaps = (rivals - rivals[:, :1])[:, 1:].ravel()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.log(shares[:, 1:] / shares[:, :1]).ravel()
        usable = np.isfinite(ratios)
        if not usable.any() or not (temperature := _slope(ratios[usable], gaps[usable])) > 0:
            return None
        exponentials = np.exp((rivals - rivals.max(axis=1, keepdims=True)) / temperature)
        if not np.allclose(shares, exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-7):
            return None
        found = MarginFunction("soft", temperature)
    # Others with the same margins: the true logit is moved until they are.
    others, _ = _random(seed=1)
    others[rows, labels] += _margin(found, logits, labels) - _margin(found, others, labels)
    again = -measured(objective, others, labels)[1][rows, labels]
    return found if np.allclose(again, pull, rtol=1e-6, atol=1e-8 * np.abs(pull).max()) else None


def _slope(ratios: np.ndarray, gaps: np.ndarray) -> float:
    """T of the least-squares fit gaps = T ratios."""
    return float(gaps @ ratios / max(ratios @ ratios, 1e-300))


def _margin(found: MarginFunction, logits: Logits, labels: Labels) -> Values:
    with jax.enable_x64(True):
        given = jnp.asarray(logits), jnp.asarray(labels)
        return np.asarray(hard_margin(*given) if found.of == "hard" else soft_margin(*given, found.temperature))


# -- checks ----------------------------------------------------------------------------------------------------


def _per_example(objective: Objective) -> Finding:
    logits, labels = _random()
    others, _ = _random(seed=1)
    others[:8] = logits[:8]
    if np.allclose(*(measured(objective, z, labels)[0][:8] for z in (logits, others)), rtol=1e-9, atol=1e-12):
        return Finding("per example", "each value depends on its own example alone")
    if objective.definition.batch_form is not None:
        return Finding("per example", "no: it is an objective of the whole batch", "note")
    return Finding(
        "per example", "values change with the other examples of the batch: leave the mean to the caller", "wrong"
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
    logits, labels = _random()
    order = np.array([3, 0, 4, 1, 2])
    renamed = measured(objective, logits[:, order], np.argsort(order)[labels])[0]
    if np.allclose(renamed, measured(objective, logits, labels)[0], rtol=1e-9, atol=1e-12):
        return Finding("classes", "all are treated alike")
    return Finding("classes", "their order matters: another numbering of the classes gives other values", "note")


def _finite(objective: Objective) -> Finding:
    """In float32, at logits of +-1000 and at ties."""
    for what, (logits, labels) in {
        "logits of +-1000": _extremes(1e3),
        "logits that all tie": (np.zeros((1, 3)), np.zeros(1, dtype=int)),
        "two classes, logits of +-1000": (np.array([[1e3, -1e3], [-1e3, 1e3]]), np.zeros(2, dtype=int)),
    }.items():
        values, slopes = measured(objective, logits, labels, bits=32)
        if np.isnan(values).any() or np.isnan(slopes).any():
            which = "its value" if np.isnan(values).any() else "its gradient"
            return Finding("finite", f"{which} is NaN in float32 at {what}", "wrong")
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            return Finding("finite", f"infinite in float32 at {what}", "note")
    return Finding("finite", "values and gradients, in float32 at logits of +-1000 and at ties")


def _derivative(objective: Objective) -> Finding:
    """Against central differences in random directions."""
    worst, h = 0.0, 1e-5
    for classes in (2, 5, 10):
        logits, labels = _random(classes)
        _, slopes = measured(objective, logits, labels)
        direction = np.random.default_rng(2).normal(size=logits.shape)
        ahead, behind = (measured(objective, logits + s * h * direction, labels)[0] for s in (1, -1))
        differences, expected = (ahead - behind) / (2 * h), np.sum(slopes * direction, axis=1)
        if objective.definition.batch_form is not None:  # all values are the batch's, and so are their slopes
            differences, expected = differences.sum(), expected.sum()
        worst = max(worst, np.abs(differences - expected).max() / max(np.abs(expected).max(), 1e-3))
    said = f"autodiff and central differences agree to {max(worst, 1e-12):.0e}"
    if worst < 1e-6:
        return Finding("gradient", said)
    if objective.definition.family == "estimator":
        return Finding("gradient", f"{said} only, as it should: it is another objective's", "note")
    return Finding("gradient", f"{said} only: it is not the derivative of the value", "wrong")


def _parameters(objective: Objective) -> Finding:
    """Whether the parameters may be traced values, many at a time."""
    if not objective.parameters:
        return Finding("parameters", "none")
    logits, labels = (jnp.asarray(x) for x in _random())
    stack = jax.tree.map(lambda x: jnp.stack([x, x]), objective)
    try:
        jax.jit(jax.vmap(lambda one: one(logits, labels)))(stack)
    except (jax.errors.ConcretizationTypeError, TypeError, ValueError) as error:
        return Finding(
            "parameters",
            f"cannot be swept in one compiled program: {type(error).__name__}. Use jnp.where on them, not if",
            "wrong",
        )
    return Finding("parameters", f"{', '.join(objective.parameters)}: swept in one compiled program")


def _death(objective: Objective) -> Finding:
    """Where the gradient is 0, in float64 and in float32, along the margin of ten classes with equal rivals."""
    size = np.geomspace(0.01, 1000, 500)
    margins = np.concatenate([-size[::-1], size])
    logits, labels = equal_rivals(margins, classes=10)
    truth, rounded = (measured(objective, logits, labels, bits=bits)[1] for bits in (64, 32))
    if not truth.any():
        return Finding("death", "its gradient is 0 everywhere", "note")
    lost = ((rounded == 0) & (np.abs(truth) > 1e-30)).any(axis=1)
    if lost.any():
        first = np.flatnonzero(lost)[np.argmin(np.abs(margins[lost]))]
        slope = np.abs(truth[first][rounded[first] == 0]).max()
        return Finding(
            "death",
            f"float32 rounds a slope of {slope:.1e} to 0 at margin {margins[first]:.3g}; lab.sigmoid and the margins "
            "of lab keep such digits",
            "note",
        )
    dead = (rounded == 0).all(axis=1)
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
        return Finding(name, f"{said}; declared otherwise", "wrong")
    return Finding(name, said)


def check(objective: Objective) -> list[Finding]:
    """Everything that can be found out about an objective by trying it; takes a few seconds.

    >>> import lab
    >>> [one.what for one in check(lab.objective("expected_error")) if one.rank == "wrong"]
    []
    """
    per_example = (_classes_alike, _weight, *(partial(_property, name) for name in PROPERTIES))
    always = (_per_example, _finite, _derivative, _parameters, _death)
    whole_batch = objective.definition.batch_form is not None
    return [one(objective) for one in (*always, *((_minibatches,) if whole_batch else per_example))]
