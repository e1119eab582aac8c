"""Properties: what an objective is, measured: is it bounded, symmetric, calibrated, smooth, a function of which margin?

Everything is found by trying, on logits made here, in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lab.margins import hard_margin, soft_margin
from lab.objectives import Objective

Logits = Float[np.ndarray, "batch classes"]
Labels = Int[np.ndarray, " batch"]
Values = Float[np.ndarray, " batch"]


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


def random_logits(classes: int = 5, *, seed: int = 0) -> tuple[Logits, Labels]:
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


def is_invariant(objective: Objective) -> bool:
    """Whether adding one number to all logits of an example changes neither value nor gradient."""
    logits, labels = random_logits()
    before, after = (measured(objective, logits + shift, labels) for shift in (0.0, 3.7))
    return all(np.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(before, after, strict=True))


def is_symmetric(objective: Objective) -> bool:
    """Whether the sum over all labels is the same for all logits."""
    logits, _ = random_logits()
    near = (scale * logits for scale in (1.0, 1e-2, 1e-4))  # a narrow boundary sees only logits that nearly tie
    sums = np.array([sum(measured(objective, z, np.full(len(z), k))[0] for k in range(5)) for z in near])
    return bool(np.ptp(sums) < 1e-9 * max(1.0, np.abs(sums).max()))


def _repeated(rows: Float[np.ndarray, "rows classes"]) -> tuple[Logits, Labels]:
    """These logits of class 0, again and again up to the shape of `random_logits`."""
    return np.resize(rows, (64, rows.shape[1])), np.zeros(64, dtype=int)


def extreme_logits(size: float) -> tuple[Logits, Labels]:
    corners = np.array([[1, -1, 0, 0, 0], [-1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [-1, 0.5, 0, 0, 0]])
    return _repeated(size * corners)


def is_bounded(objective: Objective) -> bool:
    """Whether values stop growing with the logits: no more than half again from 1e3 to 1e6 (log grows twofold)."""
    near, far = (np.abs(measured(objective, *extreme_logits(size))[0]).max() for size in (1e3, 1e6))
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
    looks only where the first class does not lead alone. Classes that never come are last, and share one logit.
    """
    from scipy.optimize import minimize

    never = sum(probability == 0 for probability in probabilities)

    def admitted(z):
        z = np.append(z, np.full(max(never - 1, 0), z[-1]))
        return np.array([min(z[0], z[1:].max()), *z[1:]]) if misranked else z

    with jax.enable_x64(True):
        same = _in_float(objective, 64)
        given = jnp.asarray(probabilities)
        classes = len(probabilities) - max(never - 1, 0)
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


UNDECIDED = ((0.4, 0.32, 0.28), (0.4, 0.36, 0.24), (0.4, 0.32, 0.28, *[0.0] * 7))


def is_calibrated(objective: Objective) -> bool:
    """Whether its mean cannot be least, or come near it, where the most probable class is not ranked first.

    For each of `UNDECIDED`, three classes without a majority: with one, even hinge losses get it right. Seven others
    that never come make room for several classes beyond where a step ends, if it ends. Tewari & Bartlett 2007, On the
    consistency of multiclass classification methods; Liu 2007, Fisher consistency of multicategory support vector
    machines.
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
    logits, labels = random_logits()
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
    # Others with the same margins, and another true class: its logit is moved until they are.
    others, new = random_logits(seed=1)[0], (labels + 1) % logits.shape[1]
    others[rows, new] += _margin(found, logits, labels) - _margin(found, others, new)
    again = -measured(objective, others, new)[1][rows, new]
    return found if np.allclose(again, pull, rtol=1e-6, atol=1e-8 * np.abs(pull).max()) else None


def _slope(ratios: np.ndarray, gaps: np.ndarray) -> float:
    """T of the least-squares fit gaps = T ratios."""
    return float(gaps @ ratios / max(ratios @ ratios, 1e-300))


def _margin(found: MarginFunction, logits: Logits, labels: Labels) -> Values:
    with jax.enable_x64(True):
        given = jnp.asarray(logits), jnp.asarray(labels)
        return np.asarray(hard_margin(*given) if found.of == "hard" else soft_margin(*given, found.temperature))
