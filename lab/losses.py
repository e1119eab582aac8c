"""Losses: the metric itself, and the chapter's losses on logits.

In each weight, 1 - p and log p are taken as functions of the margin, never by subtraction: digits survive at both
ends.
"""

import jax
import jax.numpy as jnp

from lab.margins import Labels, Logits, PerExample, residuals, sigmoid
from lab.objectives import Definition, of_hard, of_soft, positive


def _squared_error(logits: Logits, labels: Labels) -> PerExample:
    return 0.5 * jnp.sum(residuals(logits, labels) ** 2, axis=-1)


ZERO_ONE = Definition(
    name="zero_one",
    family="book",
    formula="1[m <= 0], m the hard margin",
    source="the chapter's accuracy (4.2.5), as an error: 1 - accuracy",
    margin_form=of_hard(
        lambda m: jnp.where(jnp.isnan(m), jnp.nan, (m <= 0).astype(m.dtype)),  # NaN is no right answer
        jnp.zeros_like,
        "0",
    ),
    flags="bounded symmetric calibrated invariant",
    note="Its gradient is exactly 0 away from ties: nothing learns from it.",
)

SQUARED_ERROR = Definition(
    name="squared_error",
    family="book",
    formula="0.5 sum_j (p_j - 1[j=y])^2",
    source="the chapter's squared error (4.2.1), on softmax probabilities",
    function=_squared_error,
    flags="bounded calibrated smooth invariant",
    note="A half sum over the classes: brier is twice, the mean over classes 2/K of it.",
)

GUARDED_CROSS_ENTROPY = Definition(
    name="guarded_cross_entropy",
    family="book",
    formula="-log(p_y + guard), not renormalised",
    source="the chapter's cross entropy with its log guard (4.2.2)",
    parameters={"guard": positive(1e-7)},
    margin_form=of_soft(
        lambda m, guard: -jnp.logaddexp(jax.nn.log_sigmoid(m), jnp.log(guard)),
        lambda m, guard: sigmoid(m) * sigmoid(-m) / (sigmoid(m) + guard),
        "p * (1 - p) / (p + guard)",
    ),
    flags="bounded calibrated smooth invariant",
    note="Capped at -log(guard), 16.118 by default: far below the guard a wrong answer no longer pulls.",
)

# Not optax's function: its derivative p_y - 1 is rounded to 0 in float32 once the true logit leads by 17.
CROSS_ENTROPY = Definition(
    name="cross_entropy",
    family="book",
    formula="-log softmax(z/T)_y, without a factor T",
    source="Good 1952, Rational decisions; the chapter's cross entropy (4.2.2) on logits, without a guard",
    parameters={"temperature": positive(1.0)},
    margin_form=of_soft(
        lambda m, temperature: jax.nn.softplus(-m / temperature),
        lambda m, temperature: sigmoid(-m / temperature) / temperature,
        "(1 - p) / T",
        temperature="temperature",
    ),
    flags="calibrated smooth invariant",
)

LOSSES = (ZERO_ONE, SQUARED_ERROR, GUARDED_CROSS_ENTROPY, CROSS_ENTROPY)
