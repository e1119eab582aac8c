"""Weighted cross entropies: functions of p_y, which push an example where cross entropy does, with another weight.

p_y = sigmoid(m) with m the soft margin, so most are a phi(m); p^q, log p and (1 - p)^gamma are taken in log space.
optax has poly1 and label smoothing; its 1 - p, and with it the gradient, is rounded to exactly 0 in float32 once the
true logit leads by 17, so they are written anew here and held to optax's values in the tests.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lab.losses import SQUARED_ERROR
from lab.margins import Labels, Logits, PerExample, expm1, sigmoid, soft_margin
from lab.objectives import Definition, Parameter, of_soft
from lab.tempered import bi_tempered

log_sigmoid = jax.nn.log_sigmoid

_SHARE = Parameter(1.0, low=0.0)  # of one of two objectives that are added
_FLOOR = Parameter(1e-4, low=0.0, high=1.0, open_low=True, open_high=True)


def _cross_entropy(m):
    return jax.nn.softplus(-m)


@jax.custom_jvp
def _taylor(m: Float[Array, "*shape"], order: Float[Array, ""]) -> Float[Array, "*shape"]:
    """sum for i = 1..order of x^i / i at x = 1 - p, with `order` traced: the loop ends where it says."""
    log_x = log_sigmoid(-m)

    def add(i, total):
        return total + jnp.exp(i * log_x) / i

    return jax.lax.fori_loop(1, order.astype(int) + 1, add, jnp.zeros_like(m))


def _taylor_weight(m, order):
    return sigmoid(-m) * -expm1(order * log_sigmoid(-m))


@_taylor.defjvp
def _taylor_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (m, order), (tangent, _) = primals, tangents  # between whole numbers there is nothing to differentiate
    return _taylor(m, order), -_taylor_weight(m, order) * tangent


def _poly1_weight(m, epsilon):
    falling = sigmoid(-m) * (sigmoid(-m) + (1 + epsilon) * sigmoid(m))  # 1 + epsilon p has no digits near epsilon = -1
    return jnp.where(epsilon < 0, falling, sigmoid(-m) * (1 + epsilon * sigmoid(m)))


@jax.custom_jvp
def _falling_poly1(m, epsilon):
    """Poly-1 for epsilon < 0, whose two slopes nearly cancel."""
    return _cross_entropy(m) + epsilon * sigmoid(-m)


@_falling_poly1.defjvp
def _falling_poly1_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (m, epsilon), (d_m, d_epsilon) = primals, tangents
    return _falling_poly1(m, epsilon), sigmoid(-m) * d_epsilon - _poly1_weight(m, epsilon) * d_m


def _poly1(m, epsilon):
    return jnp.where(epsilon < 0, _falling_poly1(m, epsilon), _cross_entropy(m) + epsilon * sigmoid(-m))


def _log_probabilities(logits: Logits) -> Logits:
    return jax.nn.log_softmax(logits, axis=-1)


def _normalized_ce(logits: Logits, labels: Labels) -> PerExample:
    return _cross_entropy(soft_margin(logits, labels)) / -jnp.sum(_log_probabilities(logits), axis=-1)


def _reverse_ce(m, floor):
    return -jnp.log(floor) * sigmoid(-m)


def _nce_plus_rce(logits: Logits, labels: Labels, alpha, beta, floor) -> PerExample:
    reverse = _reverse_ce(soft_margin(logits, labels), floor)
    return alpha * _normalized_ce(logits, labels) + beta * reverse


def _label_smoothing_ce(logits: Logits, labels: Labels, alpha) -> PerExample:
    uniform = -jnp.mean(_log_probabilities(logits), axis=-1)
    return (1 - alpha) * _cross_entropy(soft_margin(logits, labels)) + alpha * uniform


def _weighted(name: str, formula: str, source: str, **rest: Any) -> Definition:
    return Definition(name=name, family="weighted CE", formula=formula, source=source, **rest)


MAE = _weighted(
    "mae",
    "sum_j abs(p_j - 1[j=y]) = 2 (1 - p_y)",
    "Ghosh et al. 2017, Robust loss functions under label noise for deep neural networks",
    margin_form=of_soft(lambda m: 2 * sigmoid(-m), lambda m: 2 * sigmoid(m) * sigmoid(-m), "2 * p * (1 - p)"),
    flags="bounded symmetric calibrated smooth invariant",
)

GCE = _weighted(
    "gce",
    "(1 - p_y^q) / q",
    "Zhang & Sabuncu 2018, Generalized cross entropy loss for training deep neural networks with noisy labels",
    parameters={"q": Parameter(0.7, low=0.0, high=1.0, open_low=True)},
    margin_form=of_soft(
        lambda m, q: -expm1(q * log_sigmoid(m)) / q,
        lambda m, q: jnp.exp(q * log_sigmoid(m)) * sigmoid(-m),
        "p**q * (1 - p)",
    ),
    flags="bounded calibrated smooth invariant",
)

TRUNCATED_GCE = _weighted(
    "truncated_gce",
    "(1 - max(p_y, k)^q) / q",
    "Zhang & Sabuncu 2018, Generalized cross entropy loss for training deep neural networks with noisy labels",
    parameters={
        "q": Parameter(0.7, low=0.0, high=1.0, open_low=True),
        "k": Parameter(0.5, low=0.0, high=1.0, open_low=True, open_high=True),
    },
    margin_form=of_soft(
        lambda m, q, k: -expm1(q * jnp.maximum(log_sigmoid(m), jnp.log(k))) / q,
        lambda m, q, k: jnp.exp(q * log_sigmoid(m)) * sigmoid(-m) * (log_sigmoid(m) > jnp.log(k)),
        "p**q * (1 - p) * (p > k)",
    ),
    flags="bounded calibrated invariant",
    note="No gradient where p_y < k: an untrained network of more than 1/k classes gets none at all. Warm up first.",
)

TAYLOR_CE = _weighted(
    "taylor_ce",
    "sum for i = 1..order of (1 - p_y)^i / i",
    "Feng et al. 2020, Can cross entropy loss be robust to label noise?",
    parameters={"order": Parameter(2.0, low=1.0, high=1000.0, whole=True)},
    margin_form=of_soft(_taylor, _taylor_weight, "(1 - p) * (1 - (1 - p)**order)"),
    flags="bounded calibrated smooth invariant",
)

REVERSE_CE = _weighted(
    "reverse_ce",
    "-log(floor) (1 - p_y), floor the probability put in place of 0",
    "Wang et al. 2019, Symmetric cross entropy for robust learning with noisy labels",
    parameters={"floor": _FLOOR},
    margin_form=of_soft(
        _reverse_ce,
        lambda m, floor: -jnp.log(floor) * sigmoid(m) * sigmoid(-m),
        "-log(floor) * p * (1 - p)",
    ),
    flags="bounded symmetric calibrated smooth invariant",
)

SYMMETRIC_CE = _weighted(
    "symmetric_ce",
    "alpha cross_entropy + beta reverse_ce",
    "Wang et al. 2019, Symmetric cross entropy for robust learning with noisy labels",
    parameters={"alpha": Parameter(0.1, low=0.0), "beta": _SHARE, "floor": _FLOOR},
    margin_form=of_soft(
        lambda m, alpha, beta, floor: alpha * _cross_entropy(m) + beta * _reverse_ce(m, floor),
        lambda m, alpha, beta, floor: sigmoid(-m) * (alpha - beta * jnp.log(floor) * sigmoid(m)),
        "(1 - p) * (alpha - beta * log(floor) * p)",
    ),
    flags="calibrated smooth invariant",
    note="poly1 times alpha, at epsilon = -beta log(floor) / alpha.",
)

NORMALIZED_CE = _weighted(
    "normalized_ce",
    "log p_y / sum_k log p_k",
    "Ma et al. 2020, Normalized loss functions for deep learning with noisy labels",
    function=_normalized_ce,
    flags="bounded symmetric smooth invariant",
    note="Least wherever the least probable class pays all: not calibrated for more than two classes.",
)

NCE_PLUS_RCE = _weighted(
    "nce_plus_rce",
    "alpha normalized_ce + beta reverse_ce",
    "Ma et al. 2020, Normalized loss functions for deep learning with noisy labels",
    parameters={"alpha": _SHARE, "beta": Parameter(10.0, low=0.0), "floor": _FLOOR},
    function=_nce_plus_rce,
    flags="bounded symmetric calibrated smooth invariant",
)

FOCAL = _weighted(
    "focal",
    "-(1 - p_y)^gamma log p_y",
    "Lin et al. 2017, Focal loss for dense object detection; multiclass",
    parameters={"gamma": Parameter(2.0, low=0.0)},
    margin_form=of_soft(
        lambda m, gamma: jnp.exp(gamma * log_sigmoid(-m)) * _cross_entropy(m),
        lambda m, gamma: jnp.exp(gamma * log_sigmoid(-m)) * (sigmoid(-m) + gamma * sigmoid(m) * _cross_entropy(m)),
        "(1 - p)**gamma * (1 - p - gamma * p * log(p))",
    ),
    flags="calibrated smooth invariant",
)

POLY1 = _weighted(
    "poly1",
    "cross_entropy + epsilon (1 - p_y)",
    "Leng et al. 2022, PolyLoss: a polynomial expansion perspective of classification loss functions",
    parameters={"epsilon": Parameter(2.0, low=-1.0)},
    margin_form=of_soft(
        _poly1,
        _poly1_weight,
        "(1 - p) * (1 + epsilon * p)",
    ),
    flags="calibrated smooth invariant",
)

PHUBER_CE = _weighted(
    "phuber_ce",
    "-log p_y, and below p_y = 1/tau its tangent there, log tau + 1 - tau p_y",
    "Menon et al. 2020, Can gradient clipping mitigate label noise?",
    parameters={"tau": Parameter(10.0, low=1.0, open_low=True)},
    margin_form=of_soft(
        lambda m, tau: jnp.where(
            log_sigmoid(m) > -jnp.log(tau), _cross_entropy(m), jnp.log(tau) + 1 - tau * sigmoid(m)
        ),
        lambda m, tau: sigmoid(-m) * jnp.minimum(1.0, tau * sigmoid(m)),
        "(1 - p) * minimum(1, tau * p)",
    ),
    flags="bounded calibrated smooth invariant",
)

LABEL_SMOOTHING_CE = _weighted(
    "label_smoothing_ce",
    "-sum_j ((1 - alpha) 1[j=y] + alpha/K) log p_j",
    "Szegedy et al. 2016, Rethinking the inception architecture for computer vision",
    parameters={"alpha": Parameter(0.1, low=0.0, high=1.0, open_high=True)},
    function=_label_smoothing_ce,
    flags="calibrated smooth invariant",
)

BI_TEMPERED = _weighted(
    "bi_tempered",
    "-log_t1 p_y - (1 - sum_j p_j^(2-t1)) / (2 - t1), p = exp_t2(z - lambda) with sum 1",
    "Amid et al. 2019, Robust bi-tempered logistic loss based on Bregman divergences",
    parameters={"t1": Parameter(0.8, low=0.0, high=1.0), "t2": Parameter(1.2, low=1.0, high=10.0)},
    function=bi_tempered,
    flags="bounded calibrated smooth invariant",
    note="log_t x = (x^(1-t) - 1) / (1 - t), exp_t its inverse. Bounded where t1 < 1; t1 = t2 = 1 is cross_entropy.",
)

SAVAGE = _weighted(
    "savage",
    "(1 - p_y)^2",
    "Masnadi-Shirazi & Vasconcelos 2008, On the design of loss functions for classification",
    margin_form=of_soft(lambda m: sigmoid(-m) ** 2, lambda m: 2 * sigmoid(m) * sigmoid(-m) ** 2, "2 * p * (1 - p)**2"),
    flags="bounded calibrated smooth invariant",
)

BRIER = _weighted(
    "brier",
    "sum_j (p_j - 1[j=y])^2",
    "Brier 1950, Verification of forecasts expressed in terms of probability",
    function=lambda logits, labels: 2 * SQUARED_ERROR(logits, labels),
    flags="bounded calibrated smooth invariant",
    note="Twice the chapter's squared_error.",
)

WEIGHTED = (
    MAE,
    GCE,
    TRUNCATED_GCE,
    TAYLOR_CE,
    REVERSE_CE,
    SYMMETRIC_CE,
    NORMALIZED_CE,
    NCE_PLUS_RCE,
    FOCAL,
    POLY1,
    PHUBER_CE,
    LABEL_SMOOTHING_CE,
    BI_TEMPERED,
    SAVAGE,
    BRIER,
)
