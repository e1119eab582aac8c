"""The bi-tempered logistic loss: heavy tails for the probabilities, a bound for the loss.

log_t(x) = (x^(1-t) - 1) / (1 - t) and its inverse exp_t take the place of log and exp; at t = 1 they are log and exp.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from lab.margins import Labels, Logits, PerExample, Scalar, expm1, is_true

_MOST_STEPS = 100  # Newton's method takes about 5


def _where_one(t: Scalar, at_one: Array, elsewhere: Any) -> Array:
    """`at_one` where t is 1, and elsewhere(1 - t), which is never given a 0."""
    return jnp.where(t == 1, at_one, elsewhere(jnp.where(t == 1, 1.0, 1 - t)))


def _log_t(log_x: Float[Array, "*shape"], t: Scalar) -> Float[Array, "*shape"]:
    """log_t(x) from log x."""
    return _where_one(t, log_x, lambda one_less: expm1(one_less * log_x) / one_less)


def _log_exp_t(x: Float[Array, "*shape"], t: Scalar) -> Float[Array, "*shape"]:
    """log exp_t(x), for t >= 1 and x <= 0."""
    return _where_one(t, x, lambda one_less: jnp.log1p(one_less * x) / one_less)


def log_probabilities(logits: Logits, temperature: Scalar) -> Logits:
    """log p of the tempered softmax p = exp_t(z - lambda), with lambda such that p sums to 1.

    lambda is found by Newton's method on log_t(sum p) = 0, which is linear in lambda where all logits are equal and
    at t = 1; it runs until it stands still. Amid et al. 2019 iterate a fixed point instead.

    >>> log_probabilities(jnp.array([[0.0, 0.0]]), 1.5).round(4).tolist()
    [[-0.693..., -0.693...]]
    """
    t = jnp.asarray(temperature, logits.dtype)
    below = logits - jnp.max(logits, axis=-1, keepdims=True)

    def newton(shift):
        log_p = _log_exp_t(below - shift, t)
        log_sum = logsumexp(log_p, axis=-1, keepdims=True)
        return shift + _log_t(log_sum, t) * jnp.exp(t * log_sum - logsumexp(t * log_p, axis=-1, keepdims=True))

    def moves(state):
        step, last, shift = state
        return (step < _MOST_STEPS) & jnp.any(jnp.abs(shift - last) > 4 * jnp.finfo(shift.dtype).eps * (1 + shift))

    def advance(state):
        step, _, shift = state
        return step + 1, shift, newton(shift)

    start = jnp.zeros_like(below[..., :1])
    *_, shift = jax.lax.while_loop(moves, advance, (0, start - 1.0, start))
    # Two more steps from a constant: they change nothing, but carry the derivatives of the implicit function.
    shift = newton(newton(jax.lax.stop_gradient(shift)))
    return _log_exp_t(below - shift, t)


def _log_p_and_rest(logits: Logits, labels: Labels, t2: Scalar) -> tuple[Logits, PerExample]:
    """log p, the true class's with its digits where p_y is near 1, and log of the sum of the rivals' p."""
    here = is_true(logits, labels)
    log_p = log_probabilities(logits, t2)
    log_rest = logsumexp(jnp.where(here, -jnp.inf, log_p), axis=-1)
    rest = jnp.exp(log_rest)[:, None]
    return jnp.where(here & (rest < 0.5), jnp.log1p(-jnp.minimum(rest, 0.5)), log_p), log_rest


def _value(logits: Logits, labels: Labels, t1: Scalar, t2: Scalar) -> PerExample:
    here = is_true(logits, labels)
    log_p, _ = _log_p_and_rest(logits, labels, t2)
    log_true = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    power = 2 - t1
    rivals = jnp.sum(jnp.where(here, 0.0, jnp.exp(power * log_p)), axis=-1)
    return (expm1(power * log_true) + rivals) / power - _log_t(log_true, t1)


@jax.custom_jvp
def bi_tempered(logits: Logits, labels: Labels, t1: Scalar, t2: Scalar) -> PerExample:
    """The loss -log_t1 p_y - (1 - sum_j p_j^(2-t1)) / (2 - t1), p the tempered softmax at t2.

    0 <= t1 <= 1 <= t2. Amid, Warmuth, Anil & Koren 2019, Robust bi-tempered logistic loss based on Bregman
    divergences.

    >>> bi_tempered(jnp.array([[0.0, 0.0]]), jnp.array([0]), jnp.array(1.0), jnp.array(1.0)).round(4).tolist()
    [0.693...]
    """
    return _value(logits, labels, t1, t2)


def _slope(logits: Logits, labels: Labels, t1: Scalar, t2: Scalar) -> Logits:
    """The derivative with respect to the logits, without a difference of nearly equal numbers.

    With rho_k = p_k^t2 / sum_j p_j^t2 and g_k = p_k^(t2-t1) (p_k - 1[k=y]) it is g_k - rho_k sum_j g_j.
    """
    here = is_true(logits, labels)
    log_p, log_rest = _log_p_and_rest(logits, labels, t2)
    log_true = jnp.take_along_axis(log_p, labels[:, None], axis=-1)
    rho = jnp.exp(t2 * log_p - logsumexp(t2 * log_p, axis=-1, keepdims=True))
    of_true = jnp.exp((t2 - t1) * log_true + log_rest[:, None])  # p_y^(t2 - t1) (1 - p_y)
    of_rivals = jnp.where(here, 0.0, jnp.exp((1 + t2 - t1) * log_p))

    def others(values):
        return values @ (1 - jnp.eye(logits.shape[-1], dtype=values.dtype))

    true = -others(rho) * of_true - rho * jnp.sum(of_rivals, axis=-1, keepdims=True)
    rival = of_rivals * others(rho) + rho * (of_true - others(of_rivals))
    return jnp.where(here, true, rival)


def _jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    logits, labels, t1, t2 = primals
    d_logits, _, *d_temperatures = tangents
    value = bi_tempered(*primals)
    tangent = jnp.zeros_like(value)
    if not isinstance(d_logits, SymbolicZero):
        tangent += jnp.sum(_slope(*primals) * d_logits, axis=-1)
    if not all(isinstance(d, SymbolicZero) for d in d_temperatures):
        given = [
            jnp.zeros_like(t) if isinstance(d, SymbolicZero) else d
            for t, d in zip((t1, t2), d_temperatures, strict=True)
        ]
        tangent += jax.jvp(lambda t1, t2: _value(logits, labels, t1, t2), (t1, t2), tuple(given))[1]
    return value, tangent


bi_tempered.defjvp(_jvp, symbolic_zeros=True)
