"""Margins: by how much the true class leads its rivals, and who counts as a rival.

Everything is built from the differences z_j - z_y, whose subtraction is exact for close logits, so that
margins keep their digits where softmax probabilities have rounded to 0 or 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Logits = Float[Array, "batch classes"]
Labels = Int[Array, " batch"]
PerExample = Float[Array, " batch"]
Scalar = Float[Array, ""] | float


def _rival_leads(logits: Logits, labels: Labels) -> Logits:
    """z_j - z_y for every rival j, and -inf in the place of the true class."""
    is_true = jnp.arange(logits.shape[-1])[None, :] == labels[:, None]
    true_logit = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    return jnp.where(is_true, -jnp.inf, logits - true_logit)


def hard_margin(logits: Logits, labels: Labels) -> PerExample:
    """The true class's lead over its strongest rival, m = z_y - max over rivals of z_j.

    Positive where the answer is right. At an exact tie between rivals the derivative is split among them.

    >>> hard_margin(jnp.array([[2.0, 0.0, 1.0]]), jnp.array([0])).tolist()
    [1.0]
    """
    return -jnp.max(_rival_leads(logits, labels), axis=-1)


def soft_margin(logits: Logits, labels: Labels, temperature: Scalar = 1.0) -> PerExample:
    """The lead over all rivals together, m_T = z_y - T log(sum over rivals of exp(z_j / T)).

    softmax(z / T)_y = sigmoid(m_T / T); dm_T/dz = e_y - q with q the softmax over the rivals alone.

    >>> soft_margin(jnp.array([[2.0, 0.0, 0.0]]), jnp.array([0])).round(3).tolist()
    [1.307...]
    """
    return -temperature * jax.nn.logsumexp(_rival_leads(logits, labels) / temperature, axis=-1)


def centred_margin(logits: Logits, labels: Labels, temperature: Scalar = 1.0) -> PerExample:
    """The lead over the mean of the rivals, m_T + T log(classes - 1): zero where all classes tie.

    >>> centred_margin(jnp.zeros((1, 10)), jnp.array([3])).tolist()
    [0.0]
    """
    rivals = logits.shape[-1] - 1
    return soft_margin(logits, labels, temperature) + temperature * jnp.log(rivals)


@jax.custom_jvp
def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-x)), with a derivative that keeps its digits on both sides.

    The usual derivative s(1 - s) is exactly 0 in float32 from x = 17 on, where the truth is 4e-8. Here it is
    sigmoid(x) sigmoid(-x): what vanishes in a picture is then mathematics, not rounding.

    >>> float(jax.grad(sigmoid)(jnp.array(30.0))) > 0
    True
    """
    return jax.nn.sigmoid(x)


@sigmoid.defjvp
def _sigmoid_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return sigmoid(x), tangent * sigmoid(x) * sigmoid(-x)


@jax.custom_jvp
def expm1(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """exp(x) - 1, with a derivative that keeps its digits: JAX's own, expm1(x) + 1, has none left at x = -17.

    >>> float(jax.grad(expm1)(jnp.array(-20.0))) == float(jnp.exp(-20.0))
    True
    """
    return jnp.expm1(x)


@expm1.defjvp
def _expm1_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return expm1(x), tangent * jnp.exp(x)


def residuals(logits: Logits, labels: Labels) -> Logits:
    """softmax(z)_j - 1[j = y], each class's probability taken as the sigmoid of its own soft margin.

    That costs classes^2 per example and keeps 1 - p to full relative precision, value and derivative alike.

    >>> residuals(jnp.array([[0.0, 0.0]]), jnp.array([1])).tolist()
    [[0.5, -0.5]]
    """
    classes = jnp.arange(logits.shape[-1])
    margins = jax.vmap(lambda j: soft_margin(logits, jnp.full_like(labels, j)), out_axes=-1)(classes)
    is_true = classes[None, :] == labels[:, None]
    return jnp.where(is_true, -sigmoid(-margins), sigmoid(margins))
