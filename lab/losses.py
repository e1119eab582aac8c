"""Losses: the metric itself, the chapter's losses on logits, and what practice puts in their place.

Each is a `Definition`; where it is a function of a margin, phi and the weight w are written out side by side.
In w, 1 - p and log p are taken as functions of the margin, never by subtraction: digits survive at both ends.
"""

import jax
import jax.numpy as jnp

from lab.margins import Labels, Logits, PerExample, expm1, hard_margin, residuals, sigmoid, soft_margin
from lab.objectives import Definition, MarginForm, Parameter, positive


def _hard(logits, labels, **_):
    return hard_margin(logits, labels)


def _soft(logits, labels, **_):
    return soft_margin(logits, labels)


def _soft_at_temperature(logits, labels, temperature):
    return soft_margin(logits, labels, temperature)


def _squared_error(logits: Logits, labels: Labels) -> PerExample:
    return 0.5 * jnp.sum(residuals(logits, labels) ** 2, axis=-1)


def _brier(logits: Logits, labels: Labels) -> PerExample:
    return jnp.sum(residuals(logits, labels) ** 2, axis=-1)


ZERO_ONE = Definition(
    name="zero_one",
    family="book",
    formula="1[m <= 0], m the hard margin",
    source="the chapter's accuracy (4.2.5), as an error: 1 - accuracy; its gradient is exactly 0",
    function=MarginForm(_hard, lambda m: (m <= 0).astype(m.dtype), jnp.zeros_like),
    bounded=True,
    symmetric=True,
    calibrated=True,
    smooth=False,
    centred=False,
)

SQUARED_ERROR = Definition(
    name="squared_error",
    family="book",
    formula="0.5 sum_j (p_j - 1[j=y])^2, a half sum",
    source="the chapter's squared error (4.2.1), on softmax probabilities",
    function=_squared_error,
    bounded=True,
    symmetric=False,
    calibrated=True,
    smooth=True,
    centred=False,
)

GUARDED_CROSS_ENTROPY = Definition(
    name="guarded_cross_entropy",
    family="book",
    formula="-log(p_y + guard), not renormalised; at most -log(guard)",
    source="the chapter's cross entropy with its log guard (4.2.2)",
    parameters={"guard": positive(1e-7)},
    function=MarginForm(
        _soft,
        lambda m, guard: -jnp.logaddexp(jax.nn.log_sigmoid(m), jnp.log(guard)),
        lambda m, guard: sigmoid(m) * sigmoid(-m) / (sigmoid(m) + guard),
    ),
    bounded=True,
    symmetric=False,
    calibrated=True,
    smooth=True,
    centred=False,
)

# Not optax's function: its derivative p_y - 1 is rounded to 0 in float32 once the true logit leads by 17.
CROSS_ENTROPY = Definition(
    name="cross_entropy",
    family="book",
    formula="-log softmax(z/T)_y, without a factor T",
    source="Good 1952, Rational decisions; the chapter's cross entropy (4.2.2) on logits, without a guard",
    parameters={"temperature": positive(1.0)},
    function=MarginForm(
        _soft_at_temperature,
        lambda m, temperature: jax.nn.softplus(-m / temperature),
        lambda m, temperature: sigmoid(-m / temperature) / temperature,
    ),
    bounded=False,
    symmetric=False,
    calibrated=True,
    smooth=True,
    centred=False,
)

BRIER = Definition(
    name="brier",
    family="weighted CE",
    formula="sum_j (p_j - 1[j=y])^2, twice the chapter's squared error",
    source="Brier 1950, Verification of forecasts expressed in terms of probability",
    function=_brier,
    bounded=True,
    symmetric=False,
    calibrated=True,
    smooth=True,
    centred=False,
)

GCE = Definition(
    name="gce",
    family="weighted CE",
    formula="(1 - p_y^q) / q",
    source="Zhang & Sabuncu 2018, Generalized cross entropy loss",
    parameters={"q": Parameter(0.7, low=0.0, high=1.0, open_low=True)},
    function=MarginForm(
        _soft,
        lambda m, q: -expm1(q * jax.nn.log_sigmoid(m)) / q,
        lambda m, q: jnp.exp(q * jax.nn.log_sigmoid(m)) * sigmoid(-m),
    ),
    bounded=True,
    symmetric=False,
    calibrated=True,
    smooth=True,
    centred=False,
)

CRAMMER_SINGER = Definition(
    name="crammer_singer",
    family="margin",
    formula="max(0, delta - m), m the hard margin",
    source="Crammer & Singer 2001, Algorithmic implementation of multiclass kernel-based vector machines",
    parameters={"delta": positive(1.0)},
    function=MarginForm(
        _hard,
        lambda m, delta: jnp.maximum(0.0, delta - m),
        lambda m, delta: (m < delta).astype(m.dtype),
    ),
    bounded=False,
    symmetric=False,
    calibrated=False,
    smooth=False,
    centred=False,
)

LOSSES = (ZERO_ONE, SQUARED_ERROR, GUARDED_CROSS_ENTROPY, CROSS_ENTROPY, BRIER, GCE, CRAMMER_SINGER)
