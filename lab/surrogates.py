"""Surrogates: smoothed accuracy, the step 1[m <= 0] replaced by a slope of a given width.

Two knobs that are easily mixed up: who counts as a rival (the strongest one, their sum, their mean) and how
wide the boundary is, and of which shape. All of these fall to `zero_one` as the width goes to 0.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jax.scipy.stats import norm
from jaxtyping import Array

from lab.margins import (
    Labels,
    Logits,
    PerExample,
    Scalar,
    centred_margin,
    expm1,
    hard_margin,
    is_true,
    leads,
    sigmoid,
    soft_margin,
)
from lab.objectives import SYMBOLS, Choice, Definition, MarginForm, Objective, Parameter, of_hard, positive


class Kernel(NamedTuple):
    """A distribution around 0: `error(u)` the share of it above u, `density(u)`, and R = the integral of density^2.

    `text` is the density as an expression in u.
    """

    error: Callable[[Array], Array]
    density: Callable[[Array], Array]
    roughness: float
    text: str


def _inside(u: Array) -> Array:
    return jnp.clip(u, -1.0, 1.0)


KERNELS = {
    "logistic": Kernel(lambda u: sigmoid(-u), lambda u: sigmoid(u) * sigmoid(-u), 1 / 6, "sigmoid(u) * sigmoid(-u)"),
    "gaussian": Kernel(lambda u: ndtr(-u), norm.pdf, 1 / (2 * math.sqrt(math.pi)), "exp(-(u**2) / 2) / sqrt(2 * pi)"),
    "uniform": Kernel(lambda u: (1 - _inside(u)) / 2, lambda u: (jnp.abs(u) < 1) / 2, 1 / 2, "(abs(u) < 1) / 2"),
    # 1/2 - (3u - u^3)/4, factored: near u = 1 the difference has no digits.
    "epanechnikov": Kernel(
        lambda u: (1 - _inside(u)) ** 2 * (2 + _inside(u)) / 4,
        lambda u: 3 * (1 - _inside(u)) * (1 + _inside(u)) / 4,
        3 / 5,
        "3 / 4 * maximum(1 - u**2, 0)",
    ),
}
RIVALS: dict[str, tuple[str, Callable[..., PerExample]]] = {
    "max": ("hard", lambda logits, labels, temperature: hard_margin(logits, labels)),
    "sum": ("soft", soft_margin),
    "mean": ("centred", centred_margin),
}


def _step(kernel: str, rivals: str, width: str, rival_temperature: str) -> MarginForm:
    """The kernel's error at u = margin / width; `width` and `rival_temperature` name the parameters they are."""
    shape, (of, margin) = KERNELS[kernel], RIVALS[rivals]
    return MarginForm(
        of,
        lambda logits, labels, **given: margin(logits, labels, given[rival_temperature]),
        lambda m, **given: shape.error(m / given[width]),
        lambda m, **given: shape.density(m / given[width]) / given[width],
        f"{shape.text} / {SYMBOLS.get(width, width)}",
        (width, shape.roughness),
        None if of == "hard" else rival_temperature,
    )


def _smoothed(name: str, formula: str, source: str, form: MarginForm | None, flags: str, **rest: Any) -> Definition:
    known = {"parameters": {"temperature": positive(1.0)}, "margin_form": form, "flags": flags}
    return Definition(name=name, family="smoothed accuracy", formula=formula, source=source, **(known | rest))


@cache
def smoothed_definition(kernel: str = "logistic", rivals: str = "sum") -> Definition:
    """The definition of `smoothed_error` for one kernel and one kind of rivals."""
    is_default = (kernel, rivals) == ("logistic", "sum")
    holds = {
        "bounded": True,
        "symmetric": is_default,
        # A kernel that ends has no slope left once several classes are ahead of the mean: which of them leads is free.
        "calibrated": rivals == "sum" or (rivals == "mean" and kernel in ("logistic", "gaussian")),
        "smooth": rivals != "max" and kernel != "uniform",
        "centred": rivals != "sum",
        "invariant": True,
    }
    return _smoothed(
        "smoothed_error",
        "S(m / width), S(u) the share of the kernel above u, m the margin over the rivals: their max, or their soft "
        "sum or mean at rival_temperature",
        "this lab; Horowitz 1992, A smoothed maximum score estimator for the binary response model",
        _step(kernel, rivals, "width", "rival_temperature"),
        " ".join(flag for flag, said in holds.items() if said),
        parameters={"width": positive(1.0), "rival_temperature": positive(1.0)},
        note="The named smoothed accuracies are its cases; flags at equal width and rival_temperature.",
        choices={"kernel": Choice("logistic", tuple(KERNELS)), "rivals": Choice("sum", tuple(RIVALS))},
        chosen={"kernel": kernel, "rivals": rivals},
        variant=smoothed_definition,
    )


def smoothed_error(
    kernel: str = "logistic", width: Scalar = 1.0, rivals: str = "sum", rival_temperature: Scalar = 1.0
) -> Objective:
    """Smoothed accuracy with its two knobs apart: how the boundary is widened, and who counts as a rival.

    S(m / width) with S(u) the share of the kernel (logistic, gaussian, uniform, epanechnikov) above u. The margin m
    is the lead over the strongest rival (max), or the soft margin over their sum or mean at `rival_temperature`.

    Raises: InputError for an unknown kernel or rivals, or a width or temperature that is not positive.

    >>> str(smoothed_error("gaussian", 0.5, "max"))
    'smoothed_error:kernel=gaussian,rivals=max,width=0.5'
    """
    return smoothed_definition().make(kernel=kernel, width=width, rivals=rivals, rival_temperature=rival_temperature)


EXPECTED_ERROR = _smoothed(
    "expected_error",
    "1 - softmax(z/T)_y = sigmoid(-m/T), m the soft margin at T",
    "Ghosh et al. 2017, Robust loss functions under label noise; Janocha & Czarnecki 2017",
    _step("logistic", "sum", "temperature", "temperature"),
    "bounded symmetric calibrated smooth invariant",
)

CENTRED_EXPECTED_ERROR = _smoothed(
    "centred_expected_error",
    "B/(A+B), A = exp(z_y/T), B = mean over rivals of exp(z_j/T)",
    "this lab: expected error moved onto the decision boundary (see `centred_margin`)",
    _step("logistic", "mean", "temperature", "temperature"),
    "bounded calibrated smooth centred invariant",
)

SIGMOID_MARGIN = _smoothed(
    "sigmoid_margin",
    "sigmoid(-m/T), m the hard margin",
    "Nguyen & Sanner 2013, Algorithms for direct 0-1 loss optimization in binary classification",
    _step("logistic", "max", "temperature", "temperature"),
    "bounded centred invariant",
)

GAUSSIAN_MARGIN = _smoothed(
    "gaussian_margin",
    "Phi(-m/sigma), m the hard margin",
    "Horowitz 1992, A smoothed maximum score estimator for the binary response model",
    _step("gaussian", "max", "sigma", "sigma"),
    "bounded centred invariant",
    parameters={"sigma": positive(1.0)},
)

RAMP = _smoothed(
    "ramp",
    "clip((1 - m/T)/2, 0, 1), m the hard margin",
    "Collobert et al. 2006, Trading convexity for scalability; centred",
    _step("uniform", "max", "temperature", "temperature"),
    "bounded centred invariant",
)

RAMP_COLLOBERT = _smoothed(
    "ramp_collobert",
    "max(0, 1 - m) - max(0, s - m), m the hard margin",
    "Collobert et al. 2006, Trading convexity for scalability",
    of_hard(
        lambda m, s: jnp.clip(1 - m, 0.0, 1 - s), lambda m, s: ((m < 1) & (m > s)).astype(m.dtype), "(m < 1) * (m > s)"
    ),
    "bounded centred invariant",
    parameters={"s": Parameter(-1.0, high=1.0, open_high=True)},
    note="From 0 to 1 - s; centred on the boundary at s = -1 only.",
)

EPANECHNIKOV_MARGIN = _smoothed(
    "epanechnikov_margin",
    "1/2 - (3u - u^3)/4, u = clip(m/T, -1, 1), m the hard margin",
    "Epanechnikov 1969, Non-parametric estimation of a multivariate probability density; as in Horowitz 1992",
    _step("epanechnikov", "max", "temperature", "temperature"),
    "bounded centred invariant",
)

# Even steps: the trapezoidal rule converges geometrically for such integrands. Measured for 2 to 1,000 classes it is
# right to 1e-9, where 64 Gauss-Hermite nodes are off by 6e-7 for 100 classes that nearly tie. What lies beyond 7 makes
# the slope far from the boundary.
_NODES = np.linspace(-14.0, 14.0, 127)
_NODE_WEIGHTS = np.exp(-(_NODES**2) / 2) / math.sqrt(2 * math.pi) * (_NODES[1] - _NODES[0])
_NEVER = -38.0  # Phi is below 1e-300 here, and further down log Phi's derivative has no digits


def _gaussian_logit_noise(logits: Logits, labels: Labels, sigma: Scalar) -> PerExample:
    """1 - E[product over rivals of Phi((z_y - z_j)/sigma + u)], u the noise of the true class."""
    lead = -leads(logits, labels)[:, None, :] / sigma + jnp.asarray(_NODES, logits.dtype)[None, :, None]
    beaten = jnp.sum(jnp.where(is_true(logits, labels)[:, None, :], 0.0, log_ndtr(jnp.maximum(lead, _NEVER))), axis=-1)
    return -jnp.sum(expm1(beaten) * jnp.asarray(_NODE_WEIGHTS, logits.dtype)[None, :], axis=-1)


GAUSSIAN_LOGIT_NOISE = _smoothed(
    "gaussian_logit_noise",
    "P(argmax(z + sigma e) is not y), e standard normal; by quadrature, without sampling",
    "Berthet et al. 2020, Learning with differentiable perturbed optimizers",
    None,
    "bounded symmetric calibrated smooth invariant",
    parameters={"sigma": positive(1.0)},
    function=_gaussian_logit_noise,
)

_SMOOTHED = (
    EXPECTED_ERROR,
    CENTRED_EXPECTED_ERROR,
    SIGMOID_MARGIN,
    GAUSSIAN_MARGIN,
    RAMP,
    RAMP_COLLOBERT,
    EPANECHNIKOV_MARGIN,
    GAUSSIAN_LOGIT_NOISE,
)
_BACKWARD = {definition.name: definition for definition in _SMOOTHED}


@cache
def straight_through_definition(backward: str = "sigmoid_margin") -> Definition:
    """The definition of `straight_through` with the gradient of the smoothed accuracy named `backward`."""
    smooth = _BACKWARD[backward]

    def function(logits: Logits, labels: Labels, **parameters: Any) -> PerExample:
        value = smooth(logits, labels, **parameters)
        hard = (hard_margin(logits, labels) <= 0).astype(logits.dtype)
        return hard + (value - jax.lax.stop_gradient(value))

    return Definition(
        name="straight_through",
        family="estimator",
        formula="zero_one, with the gradient of the objective `backward`",
        source="Bengio et al. 2013, Estimating or propagating gradients through stochastic neurons",
        function=function,
        parameters=smooth.parameters,
        flags="bounded symmetric calibrated invariant",
        note="Takes backward's parameters. Its gradient is not the derivative of its value.",
        choices={"backward": Choice("sigmoid_margin", tuple(_BACKWARD))},
        chosen={"backward": backward},
        variant=straight_through_definition,
    )


SURROGATES = (smoothed_definition(), *_SMOOTHED, straight_through_definition())
