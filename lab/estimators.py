"""Estimators: gradients of what has none, from values alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int


def finite_differences(
    value: Callable[[Any], Array],
    parameters: Any,
    positions: Int[Array | np.ndarray, " positions"],
    steps: Float[Array, " steps"],
) -> Float[Array, "steps positions ..."]:
    """Central differences (f(theta + h e_i) - f(theta - h e_i)) / 2h of single weights, at each step h.

    `value` maps parameters to a number or an array of numbers; `positions` count through the flattened
    parameters. Two forward passes per weight and step. For accuracy the result is 0 until h is wide enough to
    carry an example across the decision boundary, and then jumps: no h is right.

    >>> square = lambda theta: theta["w"] ** 2
    >>> finite_differences(square, {"w": jnp.array(3.0)}, jnp.array([0]), jnp.array([0.5])).tolist()
    [[6.0]]
    """
    flat, unravel = ravel_pytree(parameters)

    def at(step_and_position):
        step, position = step_and_position
        moved = flat.at[position].add(step)
        return value(unravel(moved)), moved[position]

    signed = jnp.stack([steps, -steps])
    grid = (jnp.repeat(signed, len(positions)), jnp.tile(positions, signed.size))
    # All values first, differences afterwards: inside one loop body XLA may fuse the last product of `value`
    # with the subtraction, and equal accuracies then differ by a rounding error.
    values, places = jax.lax.map(at, grid)
    shape = (2, len(steps), len(positions))
    ahead, behind = values.reshape(*shape, *values.shape[1:])
    # The step as it was taken: theta_i + h rounds.
    taken = places.reshape(shape)[0] - places.reshape(shape)[1]
    return (ahead - behind) / taken.reshape(taken.shape + (1,) * (ahead.ndim - 2))
