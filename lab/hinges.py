"""Hinges and their kin: functions of margins and of the logits themselves.

What optax has is optax's, given the differences z - z_y: they are exact for close logits, and its own subtraction
is not once logits are large. Not its hinge, which knows no delta: scaled by one, XLA may round the maximum and its
arguments differently, and the derivative, which looks for the argument equal to the maximum, then finds none.
"""

import jax
import jax.numpy as jnp
import optax

from lab.margins import MOST_ANSWERS, Labels, Logits, PerExample, is_true, leads, sigmoid, soft_margin, topk_margin
from lab.objectives import Definition, MarginForm, Parameter, of_hard, of_soft, positive

_FAR = 64.0  # a lead whose square float32 knows to 2e-4


def _perceptron(logits: Logits, labels: Labels) -> PerExample:
    return optax.losses.multiclass_perceptron_loss(leads(logits, labels), labels)


def _sparsemax(logits: Logits, labels: Labels) -> PerExample:
    ahead = leads(logits, labels)
    # It squares what it is given: of far leads no digits would be left, and they are counted from the largest logit.
    down = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    far = jnp.max(ahead, axis=-1, keepdims=True) > _FAR
    return optax.losses.multiclass_sparsemax_loss(jnp.where(far, down, ahead), labels)


def _of_rivals(values: Logits, labels: Labels) -> PerExample:
    """The sum of values [batch, classes] over the rivals."""
    return jnp.sum(jnp.where(is_true(values, labels), 0.0, values), axis=-1)


def _weston_watkins(logits: Logits, labels: Labels, delta) -> PerExample:
    return _of_rivals(jnp.maximum(0.0, delta + leads(logits, labels)), labels)


def _sum_exp(logits: Logits, labels: Labels) -> PerExample:
    return _of_rivals(jnp.exp(leads(logits, labels)), labels)  # through the margin, infinity times 0 is no number


def _squared_logits(logits: Logits, labels: Labels, k, target) -> PerExample:
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return (k * (true - target) ** 2 + _of_rivals(logits**2, labels)) / logits.shape[-1]


def _squentropy(logits: Logits, labels: Labels) -> PerExample:
    rivals = _of_rivals(logits**2, labels)
    return jax.nn.softplus(-soft_margin(logits, labels)) + rivals / (logits.shape[-1] - 1)


def _smooth_hinge(m, tau, alpha, **_):
    return tau * jax.nn.softplus((alpha - m) / tau)


def _smooth_hinge_weight(m, tau, alpha, **_):
    return sigmoid((alpha - m) / tau)


_SMOOTH_HINGE_TEXT = "1 / (1 + exp((m - alpha) / tau))"
_ALPHA = Parameter(1.0, low=0.0)

CRAMMER_SINGER = Definition(
    name="crammer_singer",
    family="margin",
    formula="max(0, delta - m), m the hard margin",
    source="Crammer & Singer 2001, On the algorithmic implementation of multiclass kernel-based vector machines",
    parameters={"delta": positive(1.0)},
    margin_form=of_hard(
        lambda m, delta: jnp.maximum(0.0, delta - m), lambda m, delta: (m < delta).astype(m.dtype), "m < delta"
    ),
    flags="invariant",
)

WESTON_WATKINS = Definition(
    name="weston_watkins",
    family="margin",
    formula="sum over rivals of max(0, delta - z_y + z_j)",
    source="Weston & Watkins 1999, Support vector machines for multi-class pattern recognition",
    parameters={"delta": positive(1.0)},
    function=_weston_watkins,
    flags="invariant",
)

PERCEPTRON = Definition(
    name="perceptron",
    family="margin",
    formula="max(0, -m), m the hard margin",
    source="Rosenblatt 1958, The perceptron; multiclass as in Collins 2002; optax",
    function=_perceptron,
    margin_form=of_hard(lambda m: jnp.maximum(0.0, -m), lambda m: (m < 0).astype(m.dtype), "m < 0"),
    flags="invariant",
    note="Least, 0, where all logits are equal: without a lead to ask for it can be content with nothing.",
)

SQUARED_HINGE = Definition(
    name="squared_hinge",
    family="margin",
    formula="max(0, delta - m)^2, m the hard margin",
    source="Cortes & Vapnik 1995, Support-vector networks (errors to a power); on the multiclass margin",
    parameters={"delta": positive(1.0)},
    margin_form=of_hard(
        lambda m, delta: jnp.maximum(0.0, delta - m) ** 2,
        lambda m, delta: 2 * jnp.maximum(0.0, delta - m),
        "2 * maximum(0, delta - m)",
    ),
    flags="invariant",
)

SMOOTH_SVM = Definition(
    name="smooth_svm",
    family="margin",
    formula="tau log sum_j exp((z_j + alpha 1[j!=y] - z_y) / tau)",
    source="Berrada et al. 2018, Smooth loss functions for deep top-k classification, k = 1",
    parameters={"tau": positive(1.0), "alpha": _ALPHA},
    margin_form=of_soft(_smooth_hinge, _smooth_hinge_weight, _SMOOTH_HINGE_TEXT, temperature="tau"),
    flags="calibrated smooth invariant",
)

SMOOTH_TOPK_SVM = Definition(
    name="smooth_topk_svm",
    family="margin",
    formula="tau log sum_S exp((alpha 1[y not in S] + mean_S z) / tau) - tau log sum_(S with y) exp(mean_S z / tau), "
    "S the sets of k classes",
    source="Berrada et al. 2018, Smooth loss functions for deep top-k classification",
    parameters={"k": Parameter(2.0, low=1.0, high=MOST_ANSWERS, whole=True), "tau": positive(1.0), "alpha": _ALPHA},
    margin_form=MarginForm(
        "top-k",
        lambda logits, labels, k, tau, alpha: topk_margin(logits, labels, k, tau),
        _smooth_hinge,
        _smooth_hinge_weight,
        _SMOOTH_HINGE_TEXT,
    ),
    flags="calibrated smooth invariant",
    note="0 for k or fewer classes, and no gradient: every answer is then among the first k.",
)

SPARSEMAX = Definition(
    name="sparsemax",
    family="margin",
    formula="-z_y + 0.5 sum over the support of (z_j^2 - tau^2) + 0.5, tau the threshold of sparsemax(z)",
    source="Martins & Astudillo 2016, From softmax to sparsemax; optax",
    function=_sparsemax,
    flags="calibrated smooth invariant",
)

SUM_EXP = Definition(
    name="sum_exp",
    family="margin",
    formula="sum over rivals of exp(z_j - z_y) = exp(-m), m the soft margin",
    source="Weston & Watkins 1999 with Freund & Schapire's 1997 exponential; Zou, Zhu & Hastie 2008",
    function=_sum_exp,
    margin_form=of_soft(lambda m: jnp.exp(-m), lambda m: jnp.exp(-m), "exp(-m)"),
    flags="calibrated smooth invariant",
    note="Grows without measure on what is wrong: infinite in float32 from a margin of -89 on.",
)

UNHINGED = Definition(
    name="unhinged",
    family="margin",
    formula="-m, m the soft margin",
    source="van Rooyen et al. 2015, Learning with symmetric label noise: the importance of being unhinged",
    margin_form=of_soft(lambda m: -m, jnp.ones_like, "1"),
    flags="calibrated smooth invariant",
    note="Has no lower end: every example pulls for ever, and something else must hold the weights.",
)

SQUARED_LOGITS = Definition(
    name="squared_logits",
    family="logit",
    formula="(1/K) [k (z_y - target)^2 + sum over rivals of z_j^2]",
    source="Hui & Belkin 2021, Evaluation of neural architectures trained with square loss vs cross-entropy",
    parameters={"k": positive(1.0), "target": positive(1.0)},
    function=_squared_logits,
    flags="calibrated smooth",
)

SQUENTROPY = Definition(
    name="squentropy",
    family="logit",
    formula="cross_entropy + 1/(K-1) sum over rivals of z_j^2",
    source="Hui, Belkin & Wright 2023, Cut your losses with squentropy",
    function=_squentropy,
    flags="calibrated smooth",
)

HINGES = (
    SQUARED_LOGITS,
    SQUENTROPY,
    CRAMMER_SINGER,
    WESTON_WATKINS,
    PERCEPTRON,
    SQUARED_HINGE,
    SMOOTH_SVM,
    SMOOTH_TOPK_SVM,
    SPARSEMAX,
    SUM_EXP,
    UNHINGED,
)
