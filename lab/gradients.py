"""Gradients: one forward pass and one linearisation give the gradients of every objective at once.

An objective's parameter gradient is J^T (dl/dz), with J the network's Jacobian. J is the same for all of them,
so the objectives differ only in the cotangent dl/dz [batch, classes]; a stack of those goes back together.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lab.objectives import Definition, Objective


class ObjectiveGradients(NamedTuple):
    """The gradients of several objectives at one point; the first axis is the objective everywhere."""

    values: Float[Array, "objectives batch"]  # per example
    cotangents: Float[Array, "objectives batch classes"]  # dl_i/dz_i, per example
    gradients: Any  # the parameters' pytree, each leaf [objectives, ...]: gradient of the mean
    logits: Float[Array, "batch classes"]


def cotangents(
    objectives: Sequence[Objective], logits: Float[Array, "batch classes"], labels: Int[Array | np.ndarray, " batch"]
) -> tuple[Float[Array, "objectives batch"], Float[Array, "objectives batch classes"]]:
    """Per-example values and their derivatives with respect to the logits, for every objective.

    Objectives that differ only in their parameters are evaluated together, as one stack.

    >>> import lab
    >>> hot_and_cold = [lab.objective("expected_error", temperature=t) for t in (1.0, 0.1)]
    >>> cotangents(hot_and_cold, jnp.zeros((1, 2)), jnp.array([0]))[1].tolist()
    [[[-0.25, 0.25]], [[-2.5, 2.5]]]
    """

    def value_and_cotangent(objective: Objective):
        values, pullback = jax.vjp(lambda z: objective(z, labels), logits)
        return values, pullback(jnp.ones_like(values))[0]  # each example depends on its own logits alone

    families: dict[Definition, list[int]] = {}
    for position, objective in enumerate(objectives):
        families.setdefault(objective.definition, []).append(position)
    parts = []
    for positions in families.values():
        stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(objectives[i] for i in positions))
        if stack.parameters:
            parts.append(jax.vmap(value_and_cotangent)(stack))
        else:  # nothing to sweep over: all of this family are the same
            values, derivatives = value_and_cotangent(stack)
            parts.append((jnp.stack([values] * len(positions)), jnp.stack([derivatives] * len(positions))))
    order = jnp.argsort(jnp.array([i for positions in families.values() for i in positions]))
    values, derivatives = (jnp.concatenate(part)[order] for part in zip(*parts, strict=True))
    return values, derivatives


def objective_gradients(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array | np.ndarray, "batch pixels"],
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    *,
    precision: str = "highest",
) -> ObjectiveGradients:
    """The gradient of each objective's mean over the batch, with respect to the parameters.

    `precision` is that of matrix products: a GPU's default (TF32) gets cosines wrong in the second digit.
    Can be jitted with `apply` and `precision` static: other parameter values do not compile anew.

    >>> import lab
    >>> network = lab.mlp([5])
    >>> parameters = network.init(jax.random.key(0))
    >>> images, labels = jnp.ones((2, 784)), jnp.array([3, 1])
    >>> found = objective_gradients(network.apply, parameters, images, labels, [lab.objective("zero_one")])
    >>> float(jnp.abs(gram(found.gradients)).max())
    0.0
    """
    with jax.default_matmul_precision(precision):
        logits, pullback = jax.vjp(lambda theta: apply(theta, images), parameters)
        values, derivatives = cotangents(objectives, logits, labels)
        (stack,) = jax.vmap(pullback)(derivatives / len(labels))
    return ObjectiveGradients(values, derivatives, stack, logits)


def gram(stack: Any, *, precision: str = "highest") -> Float[Array, "objectives objectives"]:
    """All inner products between the gradients of a stack: G_ab = <g_a, g_b>.

    >>> gram({"weight": jnp.array([[[3.0]], [[4.0]]])}).tolist()
    [[9.0, 12.0], [12.0, 16.0]]
    """
    with jax.default_matmul_precision(precision):
        flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(stack)]
        return sum((leaf @ leaf.T for leaf in flat), start=jnp.zeros(()))
