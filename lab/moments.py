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

from lab.batches import check_batch_size
from lab.gradients import (
    Layer,
    by_chunks,
    cotangents,
    gram,
    inner_products,
    no_whole_batches,
    objective_gradients,
    outer_sum,
    through_layers,
    wide,
)
from lab.networks import Images, Network, fitting_labels
from lab.objectives import Objective


class Moments(NamedTuple):
    """What single examples' gradients add up to, for every objective."""

    mean: Any  # the parameters' pytree, each leaf [objectives, ...]: the gradient of the mean
    squared_norm: Float[Array, "objectives batch"]  # |g_i|^2
    inner: Float[Array, "objectives batch"]  # <g_i, mean>
    square: Any  # like `mean`: the mean of each component's square; None where it was not asked for


def example_moments(
    network: Network,
    parameters: Any,
    images: Images,
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    *,
    square: bool = False,
    chunk: int | None = None,
    precision: str = "highest",
) -> Moments:
    """Norms of single examples' gradients and their inner products with the mean, for every objective.

    Two matrix products a layer for dense networks; any other network has its examples' gradients taken one at a time.
    `square` asks for the mean of each component's square as well, one product more. With `chunk`, that many examples
    at a time: for a batch that is a whole training set. Can be jitted with `network`, `square`, `chunk` and
    `precision` static.

    Raises: InputError for images, labels and parameters that do not fit one another, for an objective of a whole batch,
      and for a chunk below 1.

    >>> import lab
    >>> network = lab.mlp([5])
    >>> parameters = network.init(jax.random.key(0))
    >>> images, labels = jnp.ones((2, 784)), jnp.array([3, 3])
    >>> found = example_moments(network, parameters, images, labels, [lab.objective("cross_entropy")])
    >>> bool(jnp.allclose(found.squared_norm, found.inner))  # two equal examples: each is the mean
    True
    """
    no_whole_batches(objectives)
    labels = fitting_labels(network.apply, parameters, images, labels)
    batch, data = len(labels), (jnp.asarray(images), labels)

    def layers(images, labels, counted):
        logits, back = through_layers(network, parameters, images)
        derivatives = cotangents(objectives, logits, labels)[1]
        return back(jnp.where(counted[None, :, None], derivatives, 0.0))

    def own(*slices):
        backward = kept or layers(*slices)
        sums = [outer_sum(layer) for layer in backward]
        squares = [outer_sum(Layer(layer.inputs**2, layer.deltas**2)) for layer in backward] if square else ()
        return (sums, squares), _squared_norms(backward)

    with jax.default_matmul_precision(precision):
        if network.tapped is None:
            mean = objective_gradients(
                network, parameters, *data, objectives, chunk=chunk, precision=precision
            ).gradients
            return _one_at_a_time(network, parameters, *data, objectives, mean, square=square, precision=precision)
        # The mean has to be known before the products with it: chunks go through the network twice, a whole batch once.
        kept = layers(*data, jnp.ones(batch, dtype=bool)) if chunk is None or chunk >= batch else []
        sums, squared_norm = by_chunks(own, data, chunk)
        mean, squares = jax.tree.map(lambda leaf: leaf / batch, sums)
        _, inner = by_chunks(lambda *slices: ((), _example_products(kept or layers(*slices), mean)), data, chunk)
    return Moments(mean, squared_norm.T, inner.T, squares if square else None)


def _squared_norms(layers: Sequence[Layer]) -> Float[Array, "batch objectives"]:
    parts = [jnp.sum(of.deltas**2, axis=-1) * (jnp.sum(of.inputs**2, axis=-1) + 1)[:, None] for of in layers]
    return sum(parts[1:], start=parts[0])


def _example_products(layers: Sequence[Layer], stack: Any) -> Float[Array, "batch objectives"]:
    """<g_i, G> for each example and each objective's G of the stack."""
    parts = []
    for of, into in zip(layers, stack, strict=True):
        batch, count, outputs = of.deltas.shape
        # Flat until the sum: a product that is reshaped at once takes twice as long on a CPU.
        moved = of.inputs @ into["weight"].reshape(count * outputs, -1).T + into["bias"].reshape(1, -1)
        products = of.deltas.reshape(batch, count * outputs) * moved
        parts.append(jnp.sum(products.reshape(of.deltas.shape), axis=-1))
    return sum(parts[1:], start=parts[0])


def _one_at_a_time(
    network: Network,
    parameters: Any,
    images: Array,
    labels: Array,
    objectives: Sequence[Objective],
    mean: Any,
    *,
    square: bool,
    precision: str,
) -> Moments:
    """The same for any network: a gradient for each example, but one example at a time in memory."""

    def of_one(images, labels):
        stack = objective_gradients(network, parameters, images, labels, objectives, precision=precision).gradients
        squares = jax.tree.map(lambda leaf: jnp.square(leaf.astype(wide(leaf.dtype))), stack) if square else ()
        return inner_products(stack, stack)[None, :], inner_products(stack, mean)[None, :], squares

    how = (AccumulationType.CONCAT, AccumulationType.CONCAT, AccumulationType.MEAN)
    every = optax.microbatching.microbatch(of_one, argnums=(0, 1), microbatch_size=1, accumulator=how)
    squared, inner, squares = every(images, labels)
    squares = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), squares, mean) if square else None
    return Moments(mean, squared.T, inner.T, squares)


def batch_cosine(
    network: Network,
    parameters: Any,
    images: Images,
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    moments: Moments,
    *,
    batch_size: int,
    precision: str = "highest",
) -> Float[Array, " objectives"]:
    """The cosine of a mini-batch's gradient with the gradient of all the examples, mean over mini-batches; in [-1, 1].

    `moments` are those of all the examples, which are cut into mini-batches in their order (it should be a random one;
    what is left over is left out). A mini-batch whose gradient is 0 points nowhere and counts as 0; NaN where the whole
    gradient is 0. In dense networks no mini-batch's gradient is made: <g_B, g> is the mean of its examples' <g_i, g>,
    and |g_B|^2 that of the products <g_i, g_j> within it. Can be jitted with `network`, `batch_size` and `precision`
    static.

    Raises: InputError unless 1 <= batch_size <= examples.

    >>> import lab
    >>> network = lab.mlp([5])
    >>> parameters = network.init(jax.random.key(0))
    >>> given = (network, parameters, jnp.ones((4, 784)), jnp.array([3, 3, 3, 3]), [lab.objective("cross_entropy")])
    >>> batch_cosine(*given, example_moments(*given), batch_size=2).round(4).tolist()
    [1.0]
    """
    check_batch_size(batch_size, len(labels))
    count = len(labels) // batch_size

    def batches(of: Array, axis: int = 0) -> Array:
        kept = jax.lax.slice_in_dim(of, 0, count * batch_size, axis=axis)
        return kept.reshape(*of.shape[:axis], count, batch_size, *of.shape[axis + 1 :])

    with jax.default_matmul_precision(precision):
        squares = _batch_squares(
            network, parameters, batches(jnp.asarray(images)), batches(jnp.asarray(labels)), objectives, precision
        )
    length = jnp.sqrt(jnp.maximum(squares, 0.0))
    along = jnp.mean(batches(moments.inner, axis=1), axis=2).T
    whole = jnp.sqrt(inner_products(moments.mean, moments.mean))
    mean = jnp.mean(along / jnp.where(length > 0, length, 1.0), axis=0)
    return jnp.clip(mean / jnp.where(whole > 0, whole, jnp.nan), -1.0, 1.0)


def _batch_squares(
    network: Network,
    parameters: Any,
    images: Float[Array, "batches batch pixels"],
    labels: Int[Array, "batches batch"],
    objectives: Sequence[Objective],
    precision: str,
) -> Float[Array, "batches objectives"]:
    """|g_B|^2 of every mini-batch."""

    def of_gradients(batch):
        stack = objective_gradients(network, parameters, batch[0], batch[1], objectives, precision=precision).gradients
        return inner_products(stack, stack)

    if network.tapped is None:
        return jax.lax.map(of_gradients, (images, labels))
    batches, size = labels.shape
    logits, back = through_layers(network, parameters, images.reshape(batches * size, -1))
    parts = []
    for layer in back(cotangents(objectives, logits, labels.reshape(-1))[1] / size):
        inputs = layer.inputs.reshape(batches, size, -1)
        deltas = layer.deltas.reshape(batches, size, *layer.deltas.shape[1:])
        examples = jnp.einsum("bip,bjp->bij", inputs, inputs) + 1
        # sum_j (x_i . x_j + 1) d_j first: no product of examples for each objective.
        others = jnp.einsum("bij,bjko->biko", examples, deltas)
        parts.append(jnp.sum(deltas * others, axis=(1, 3)))
    return sum(parts[1:], start=parts[0])


def objective_gram(
    network: Network,
    parameters: Any,
    images: Images,
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
    whole_batch = any(one.whole_batch for one in objectives)
    if network.tapped is None or whole_batch or not _examples_are_cheaper(parameters, len(images), len(objectives)):
        found = objective_gradients(network, parameters, images, labels, objectives, precision=precision)
        return gram(found.gradients, precision=precision)
    with jax.default_matmul_precision(precision):
        logits, back = through_layers(network, parameters, images)
        _, derivatives = cotangents(objectives, logits, labels)
        parts = [_examples_gram(layer) for layer in back(derivatives / len(labels))]
        return sum(parts[1:], start=parts[0])


def _examples_gram(layer: Layer) -> Float[Array, "objectives objectives"]:
    batch, count, _ = layer.deltas.shape
    examples = layer.inputs @ layer.inputs.T + 1
    other = (examples @ layer.deltas.reshape(batch, -1)).reshape(layer.deltas.shape)
    return jnp.swapaxes(layer.deltas, 0, 1).reshape(count, -1) @ jnp.swapaxes(other, 0, 1).reshape(count, -1).T


def _examples_are_cheaper(parameters: Any, batch: int, count: int) -> bool:
    """Whether inner products of examples take fewer multiplications than the gradients and their Gram matrix."""
    sizes = [layer["weight"].shape for layer in parameters]
    by_examples = sum(batch**2 * (i + count * o) + count**2 * batch * o for o, i in sizes)
    by_gradients = sum((count * batch + count**2) * i * o for o, i in sizes)
    return by_examples < by_gradients
