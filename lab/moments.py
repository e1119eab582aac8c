"""Moments: what the gradients of single examples are like, without a gradient for each example in memory.

The gradient of one example at a dense layer is the outer product of what comes back to the layer's output, d_i, and
what went in, a_i (and 1 for the bias): g_i = d_i [a_i, 1]^T. Hence |g_i|^2 = |d_i|^2 (|a_i|^2 + 1), the mean of all g_i
is one matrix product, and their inner products with a given gradient are another. Goodfellow 2015, Efficient
per-example gradient computations.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from optax.microbatching import AccumulationType

from lab.errors import InputError
from lab.gradients import cotangents, gram, objective_gradients
from lab.networks import Network
from lab.objectives import Objective


class Moments(NamedTuple):
    """What single examples' gradients add up to, for every objective."""

    mean: Any  # the parameters' pytree, each leaf [objectives, ...]: the gradient of the mean
    squared_norm: Float[Array, "objectives batch"]  # |g_i|^2
    inner: Float[Array, "objectives batch"]  # <g_i, mean>
    square: Any  # like `mean`: the mean of each component's square; None where it was not asked for


class _Backward(NamedTuple):
    """One linearisation of a dense network: into each layer, and back to its output."""

    inputs: list[Float[Array, "batch _"]]
    deltas: list[Float[Array, "objectives batch _"]]


def _check(objectives: Sequence[Objective]) -> None:
    for one in objectives:
        if one.definition.batch_form is not None:
            raise InputError(f"objective {one.name!r} is one of a whole batch: no example has a gradient of its own.")


def _backward(
    network: Network, parameters: Any, images: Array, labels: Array, objectives: Sequence[Objective]
) -> _Backward:
    tapped = network.tapped
    assert tapped is not None  # the callers have looked
    taps = [jnp.zeros((len(images), len(layer["bias"])), images.dtype) for layer in parameters]
    logits, pullback, inputs = jax.vjp(lambda taps: tapped(parameters, images, taps), taps, has_aux=True)
    _, derivatives = cotangents(objectives, logits, labels)
    (deltas,) = jax.vmap(pullback)(derivatives)
    return _Backward(inputs, deltas)


def example_moments(
    network: Network,
    parameters: Any,
    images: Float[Array | np.ndarray, "batch pixels"],
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    *,
    square: bool = False,
    precision: str = "highest",
) -> Moments:
    """Norms of single examples' gradients and their inner products with the mean, for every objective.

    Two matrix products a layer for dense networks; any other network has its examples' gradients taken one at a time.
    `square` asks for the mean of each component's square as well, one product more. Can be jitted with `network`,
    `square` and `precision` static.

    Raises: InputError for an objective of a whole batch.

    >>> import lab
    >>> network = lab.mlp([5])
    >>> parameters = network.init(jax.random.key(0))
    >>> images, labels = jnp.ones((2, 784)), jnp.array([3, 3])
    >>> found = example_moments(network, parameters, images, labels, [lab.objective("cross_entropy")])
    >>> bool(jnp.allclose(found.squared_norm, found.inner))  # two equal examples: each is the mean
    True
    """
    _check(objectives)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    with jax.default_matmul_precision(precision):
        if network.tapped is None:
            return _one_at_a_time(network, parameters, images, labels, objectives, square=square, precision=precision)
        inputs, deltas = _backward(network, parameters, images, labels, objectives)
        layers = list(zip(inputs, deltas, strict=True))
        mean = [_outer_mean(put_in, delta) for put_in, delta in layers]
        nothing = jnp.zeros((len(objectives), len(labels)))
        squared = sum(
            (jnp.sum(delta**2, axis=-1) * (jnp.sum(put_in**2, axis=-1) + 1)[None, :] for put_in, delta in layers),
            start=nothing,
        )
        inner = sum(
            (
                jnp.sum(delta * (jnp.einsum("bi,koi->kbo", put_in, of["weight"]) + of["bias"][:, None, :]), axis=-1)
                for (put_in, delta), of in zip(layers, mean, strict=True)
            ),
            start=nothing,
        )
        squares = [_outer_mean(put_in**2, delta**2) for put_in, delta in layers] if square else None
    return Moments(mean, squared, inner, squares)


def _outer_mean(put_in: Float[Array, "batch inputs"], delta: Float[Array, "objectives batch outputs"]) -> Any:
    weight = jnp.einsum("kbo,bi->koi", delta, put_in) / len(put_in)
    return {"weight": weight, "bias": jnp.mean(delta, axis=1)}


def _one_at_a_time(
    network: Network,
    parameters: Any,
    images: Array,
    labels: Array,
    objectives: Sequence[Objective],
    *,
    square: bool,
    precision: str,
) -> Moments:
    """The same for any network: a gradient for each example, but one example at a time in memory."""
    mean = objective_gradients(network.apply, parameters, images, labels, objectives, precision=precision).gradients

    def of_one(images, labels):
        stack = objective_gradients(network.apply, parameters, images, labels, objectives).gradients
        pairs = list(zip(jax.tree.leaves(stack), jax.tree.leaves(mean), strict=True))
        nothing = jnp.zeros(len(objectives))
        squared = sum((jnp.sum(g.reshape(len(g), -1) ** 2, axis=1) for g, _ in pairs), start=nothing)
        inner = sum((jnp.sum((g * m).reshape(len(g), -1), axis=1) for g, m in pairs), start=nothing)
        squares = jax.tree.map(jnp.square, stack) if square else ()
        return squared[None, :], inner[None, :], squares

    how = (AccumulationType.CONCAT, AccumulationType.CONCAT, AccumulationType.MEAN)
    every = optax.microbatching.microbatch(of_one, argnums=(0, 1), microbatch_size=1, accumulator=how)
    squared, inner, squares = every(images, labels)
    return Moments(mean, squared.T, inner.T, squares if square else None)


def objective_gram(
    network: Network,
    parameters: Any,
    images: Float[Array | np.ndarray, "batch pixels"],
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    *,
    precision: str = "highest",
) -> Float[Array, "objectives objectives"]:
    """Inner products between the gradients of all objectives, by whichever way is cheaper for the sizes at hand.

    Through the gradients themselves (`gram`); or, for dense networks and small batches, through the inner products of
    examples: <g_a, g_b> = (1/n^2) sum_ij (a_i . a_j + 1)(d_ai . d_bj) at each layer, without any gradient.

    >>> import lab
    >>> network = lab.mlp([5])
    >>> images, labels = jnp.ones((2, 784)), jnp.array([3, 1])
    >>> both = [lab.objective("cross_entropy"), lab.objective("zero_one")]
    >>> objective_gram(network, network.init(jax.random.key(0)), images, labels, both)[1].tolist()
    [0.0, 0.0]
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    whole_batch = any(one.definition.batch_form is not None for one in objectives)
    if network.tapped is None or whole_batch or not _examples_are_cheaper(parameters, len(images), len(objectives)):
        found = objective_gradients(network.apply, parameters, images, labels, objectives, precision=precision)
        return gram(found.gradients, precision=precision)
    with jax.default_matmul_precision(precision):
        inputs, deltas = _backward(network, parameters, images, labels, objectives)
        return sum(
            (_examples_gram(put_in, delta) for put_in, delta in zip(inputs, deltas, strict=True)), start=jnp.zeros(())
        )


def _examples_gram(put_in: Array, delta: Array) -> Float[Array, "objectives objectives"]:
    count, batch, outputs = delta.shape
    examples = put_in @ put_in.T + 1
    flat = jnp.swapaxes(delta, 0, 1).reshape(batch, count * outputs)
    other = jnp.swapaxes((examples @ flat).reshape(batch, count, outputs), 0, 1)
    return delta.reshape(count, -1) @ other.reshape(count, -1).T / batch**2


def _examples_are_cheaper(parameters: Any, batch: int, count: int) -> bool:
    """Whether inner products of examples take fewer multiplications than the gradients and their Gram matrix."""
    sizes = [layer["weight"].shape for layer in parameters]
    by_examples = sum(batch**2 * (i + count * o) + count**2 * batch * o for o, i in sizes)
    by_gradients = sum((count * batch + count**2) * i * o for o, i in sizes)
    return by_examples < by_gradients
