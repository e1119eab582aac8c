"""Diagnostics: what one learns from gradients, each with its formula, unit and range.

The weight of an example is its pull on the true logit, w_i = -dl_i/dz_iy. For a function phi of a margin this
is -phi'(m_i) exactly; it is defined for every other objective as well.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

SILENT = 0.01  # an example with less than this share of the largest weight has next to no say

_FLOAT32_RESOLUTION = float(np.finfo(np.float32).eps)


def weights(
    cotangents: Float[Array, "objectives batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, "objectives batch"]:
    """Each example's pull on its true logit, w_i = -dl_i/dz_iy; any real number, in objective per logit."""
    return -jnp.take_along_axis(cotangents, labels[None, :, None], axis=-1)[..., 0]


def norm(gram: Float[Array, "objectives objectives"]) -> Float[Array, " objectives"]:
    """Gradient norm |g| = sqrt(<g, g>), in objective per unit of weight; >= 0.

    >>> norm(jnp.array([[9.0, 0.0], [0.0, 0.0]])).tolist()
    [3.0, 0.0]
    """
    return jnp.sqrt(jnp.diagonal(gram))


def cosine(gram: Float[Array, "objectives objectives"]) -> Float[Array, "objectives objectives"]:
    """Cosine of the angle between gradients, <g_a, g_b> / (|g_a| |g_b|), in [-1, 1]; NaN where a norm is 0.

    >>> cosine(jnp.array([[9.0, 12.0], [12.0, 16.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    length = norm(gram)
    unit = jnp.where(length > 0, length, jnp.nan)
    return jnp.clip(gram / unit[:, None] / unit[None, :], -1.0, 1.0)


def effective_examples(weights: Float[Array, "objectives batch"]) -> Float[Array, " objectives"]:
    """How many examples carry the gradient, (sum w)^2 / sum w^2; in [0, batch], 0 if all weights are 0.

    Equal weights give the batch size, a single non-zero weight gives 1 (Kish 1965, Survey sampling).

    >>> effective_examples(jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).tolist()
    [2.0, 0.0]
    """
    largest = jnp.max(jnp.abs(weights), axis=-1, keepdims=True)
    # Scaled first: the squares of very small weights are below float32's range.
    scaled = weights / jnp.where(largest > 0, largest, 1.0)
    squares = jnp.sum(scaled**2, axis=-1)
    return jnp.sum(scaled, axis=-1) ** 2 / jnp.where(squares > 0, squares, 1.0)


def vanishing_share(weights: Float[Array, "objectives batch"]) -> Float[Array, " objectives"]:
    """Share of examples with less than 1 % of the batch's largest |w|, in [0, 1]; 1 if all weights are 0.

    >>> vanishing_share(jnp.array([[1.0, 0.5, 0.001, 0.0], [0.0, 0.0, 0.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    size = jnp.abs(weights)
    largest = jnp.max(size, axis=-1, keepdims=True)
    return jnp.mean((size < SILENT * largest) | (largest == 0), axis=-1)


def is_dead(norm: Float[Array, " objectives"], parameter_norm: Float[Array, ""]) -> Bool[Array, " objectives"]:
    """Whether the gradient is exactly 0 or a step of 1 along it would be lost to rounding.

    |g| <= 2^-23 |theta|: float32 cannot tell theta - g from theta. A flag, true or false.

    >>> is_dead(jnp.array([0.0, 1e-9, 1e-3]), jnp.array(1.0)).tolist()
    [True, True, False]
    """
    return norm <= _FLOAT32_RESOLUTION * parameter_norm


DIAGNOSTICS: tuple[Callable[..., Array], ...] = (norm, cosine, effective_examples, vanishing_share, is_dead)
