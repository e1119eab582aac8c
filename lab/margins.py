"""Margins: by how much the true class leads its rivals, and who counts as a rival.

Everything is built from the differences z_j - z_y, whose subtraction is exact for close logits, so that
margins keep their digits where softmax probabilities have rounded to 0 or 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Logits = Float[Array, "batch classes"]
Labels = Int[Array, " batch"]
PerExample = Float[Array, " batch"]
Scalar = Float[Array, ""] | float


def is_true(logits: Logits, labels: Labels) -> Bool[Array, "batch classes"]:
    """1[j = y]: where the true class stands.

    >>> is_true(jnp.zeros((1, 3)), jnp.array([1])).tolist()
    [[False, True, False]]
    """
    return jnp.arange(logits.shape[-1])[None, :] == labels[:, None]


def leads(logits: Logits, labels: Labels) -> Logits:
    """z_j - z_y, each class's lead over the true one; 0 in the true class's own place.

    >>> leads(jnp.array([[2.0, 0.0, 1.0]]), jnp.array([0])).tolist()
    [[0.0, -2.0, -1.0]]
    """
    return logits - jnp.take_along_axis(logits, labels[:, None], axis=-1)


def _rival_leads(logits: Logits, labels: Labels) -> Logits:
    """z_j - z_y for every rival j, and -inf in the place of the true class."""
    return jnp.where(is_true(logits, labels), -jnp.inf, leads(logits, labels))


def _below_strongest(logits: Logits, labels: Labels) -> tuple[Logits, PerExample]:
    """How far each rival is below the strongest one (-inf for the true class), and the strongest one's lead.

    Divided by a temperature, these differences keep more digits in float32 than large leads do. The strongest one's
    lead is a constant for derivatives: what it takes away in one place it adds in another.
    """
    rivals = _rival_leads(logits, labels)
    top = jax.lax.stop_gradient(jnp.max(rivals, axis=-1))
    return rivals - top[:, None], top


def _divided(rivals: Logits, by: Scalar) -> Logits:
    """Rivals over a temperature, where the derivative of -inf / T by T would be NaN."""
    out = rivals == -jnp.inf
    return jnp.where(out, -jnp.inf, jnp.where(out, 0.0, rivals) / by)


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
    rivals, top = _below_strongest(logits, labels)
    return -top - temperature * jax.nn.logsumexp(_divided(rivals, temperature), axis=-1)


def centred_margin(logits: Logits, labels: Labels, temperature: Scalar = 1.0) -> PerExample:
    """The lead over the mean of the rivals, m_T + T log(classes - 1): zero where all classes tie.

    >>> centred_margin(jnp.zeros((1, 10)), jnp.array([3])).tolist()
    [0.0]
    """
    rivals = logits.shape[-1] - 1
    return soft_margin(logits, labels, temperature) + temperature * jnp.log(rivals)


MOST_ANSWERS = 10.0  # the largest k of `topk_margin`
_NOTHING = -1e30  # the logarithm of 0, near enough, and with a derivative that is no NaN


def topk_margin(logits: Logits, labels: Labels, k: Scalar, temperature: Scalar = 1.0) -> PerExample:
    """By how much the true class is among the first k, T log(sum over S with y / sum over S without y).

    Each sum is over the sets S of k classes, of exp(mean of z over S / T); k = 1 is the soft margin at T. The sums
    are elementary symmetric polynomials, built class by class in log space; all of them up to k = 10, so that k can
    be traced. Berrada, Zisserman & Kumar 2018, Smooth loss functions for deep top-k classification.

    >>> topk_margin(jnp.array([[2.0, 0.0, 0.0]]), jnp.array([0]), 1.0).round(3).tolist()
    [1.307...]
    """
    k = jnp.asarray(k)
    rivals, top = _below_strongest(logits, labels)
    steps = jnp.maximum(_divided(rivals, k * temperature), _NOTHING)

    def add_class(logs, step):
        shifted = jnp.pad(logs[:, :-1] + step[:, None], ((0, 0), (1, 0)), constant_values=_NOTHING)
        return jnp.logaddexp(logs, shifted), None

    nothing_yet = jnp.full((len(labels), int(MOST_ANSWERS) + 1), _NOTHING, steps.dtype).at[:, 0].set(0.0)
    logs, _ = jax.lax.scan(add_class, nothing_yet, steps.T)
    with_true, without = jnp.take(logs, k.astype(int) - 1, axis=1), jnp.take(logs, k.astype(int), axis=1)
    among = temperature * (with_true - without) - top / k
    return jnp.where(k < logits.shape[-1], among, -_NOTHING)  # with so many answers, none is wrong


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
    return jnp.where(is_true(logits, labels), -sigmoid(-margins), sigmoid(margins))
