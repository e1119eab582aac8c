"""Landscapes: values along a line through weight space. The network itself is never changed."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float


def line(
    value: Callable[[Any], Array], parameters: Any, direction: Any, offsets: Float[Array, " offsets"]
) -> Float[Array, "offsets ..."]:
    """value(theta + t direction) at every offset t, in one compiled loop.

    `direction` is a pytree like the parameters; `value` gives a number or an array of numbers.

    >>> import jax.numpy as jnp
    >>> line(lambda theta: theta**2, jnp.array(1.0), jnp.array(2.0), jnp.array([0.0, 1.0])).tolist()
    [1.0, 9.0]
    """

    def at(offset):
        return value(jax.tree.map(lambda theta, d: theta + offset * d, parameters, direction))

    return jax.lax.map(at, offsets)
