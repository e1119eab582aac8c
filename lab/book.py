"""Chapter 4 as it is written: losses of probabilities, for one example or a batch, in both label forms."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lab.errors import InputError
from lab.labels import class_numbers

GUARD = 1e-7  # added inside the logarithm, so that a probability of 0 costs 16.1 and not infinity


def _as_batch(y: ArrayLike, t: ArrayLike) -> tuple[Array, Array]:
    """Probabilities [batch, classes] and class numbers [batch], from any form the chapter uses."""
    y, t = jnp.asarray(y), jnp.asarray(t)
    if y.ndim == 1:
        y, t = y[None, :], t[None]
    if y.ndim != 2:
        raise InputError(f"probabilities must have shape [classes] or [batch, classes]; got {y.shape}.")
    return y, class_numbers(t, shape=y.shape)


def mean_squared_error(y: Float[Array | np.ndarray, "*batch classes"], t: ArrayLike) -> Float[Array, ""]:
    """Half the sum of squares, 0.5 sum_k (y_k - t_k)^2, averaged over the batch if there is one (4.2.1).

    y: probabilities [classes] or [batch, classes]; t: one-hot in the same shape, or class numbers.
    Raises: InputError for labels out of range or shapes that do not fit.

    >>> y = jnp.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> print(f"{mean_squared_error(y, jnp.array(2)):.4f}")
    0.0975
    """
    y, labels = _as_batch(y, t)
    one_hot = (jnp.arange(y.shape[1])[None, :] == labels[:, None]).astype(y.dtype)
    return 0.5 * jnp.sum((y - one_hot) ** 2) / y.shape[0]


def cross_entropy_error(y: Float[Array | np.ndarray, "*batch classes"], t: ArrayLike) -> Float[Array, ""]:
    """-log(y_t + 1e-7), averaged over the batch if there is one (4.2.2 and 4.2.4).

    y: probabilities [classes] or [batch, classes]; t: one-hot in the same shape, or class numbers.
    The guard caps the loss at 16.118 and with it the gradient: far below 1e-7 a wrong answer no longer pulls.
    Raises: InputError for labels out of range or shapes that do not fit.

    >>> y = jnp.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> print(f"{cross_entropy_error(y, jnp.array(2)):.6f}")
    0.510825
    """
    y, labels = _as_batch(y, t)
    true_probability = jnp.take_along_axis(y, labels[:, None], axis=1)[:, 0]
    return -jnp.sum(jnp.log(true_probability + GUARD)) / y.shape[0]
