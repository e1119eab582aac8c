"""Gradients: one forward pass and one linearisation give the gradients of every objective at once.

An objective's parameter gradient is J^T (dl/dz), with J the network's Jacobian. J is the same for all of them,
so the objectives differ only in the cotangent dl/dz [batch, classes]; a stack of those goes back together.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lab.errors import InputError
from lab.networks import Images, Network, fitting_labels, scaled
from lab.objectives import Definition, Objective, check_objectives


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

    parts, order = [], []
    for positions, stack in families(objectives):
        order += positions
        if stack.parameters:
            parts.append(jax.vmap(value_and_cotangent)(stack))
        else:  # nothing to sweep over: all of this family are the same
            values, derivatives = value_and_cotangent(stack)
            parts.append((jnp.stack([values] * len(positions)), jnp.stack([derivatives] * len(positions))))
    values, derivatives = (jnp.concatenate(part)[np.argsort(order)] for part in zip(*parts, strict=True))
    return values, derivatives


def families(objectives: Sequence[Objective]) -> list[tuple[list[int], Objective]]:
    """Objectives that differ only in their parameters, together: their positions, and one whose parameters are stacked.

    >>> import lab
    >>> sweep = [lab.objective("gce", q=0.5), lab.objective("brier"), lab.objective("gce", q=0.25)]
    >>> [(positions, {name: x.tolist() for name, x in of.parameters.items()}) for positions, of in families(sweep)]
    [([0, 2], {'q': [0.5, 0.25]}), ([1], {})]
    """
    if not objectives:
        raise InputError("no objective was given; lab.objective('cross_entropy') is one.")
    check_objectives(objectives)
    found: dict[Definition, list[int]] = {}
    for position, objective in enumerate(objectives):
        found.setdefault(objective.definition, []).append(position)
    return [
        (positions, jax.tree.map(lambda *leaves: jnp.stack(leaves), *(objectives[i] for i in positions)))
        for positions in found.values()
    ]


def objective_gradients(
    network: Network,
    parameters: Any,
    images: Images,
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    *,
    chunk: int | None = None,
    precision: str = "highest",
) -> ObjectiveGradients:
    """The gradient of each objective's mean over the batch, with respect to the parameters.

    Images are pixels 0..255 (uint8), or real numbers, which are taken as they are; labels come in either form.
    `precision` is that of matrix products: a GPU's default (TF32) multiplies with 10 bits, too few for small cosines.
    With `chunk`, that many examples at a time go through the network: for a batch that is a whole training set.
    Can be jitted with `network`, `chunk` and `precision` static: other parameter values do not compile anew.

    Raises: InputError for images, labels and parameters that do not fit one another, for an objective of a whole batch
      that is to be taken in chunks, and for a chunk below 1.

    >>> import lab
    >>> network = lab.mlp([5])
    >>> parameters = network.init(jax.random.key(0))
    >>> images, labels = jnp.ones((2, 784)), jnp.array([3, 1])
    >>> found = objective_gradients(network, parameters, images, labels, [lab.objective("zero_one")])
    >>> float(jnp.abs(gram(found.gradients)).max())
    0.0
    """
    if chunk is not None:
        no_whole_batches(objectives)
    labels = fitting_labels(network.apply, parameters, images, labels)
    batch = len(labels)

    def part(images, labels, counted):
        logits, pull = _linearise(network, parameters, images)
        values, derivatives = cotangents(objectives, logits, labels)
        share = jnp.where(counted, 1 / batch, 0.0)
        return pull(derivatives * share[None, :, None]), (values.T, jnp.swapaxes(derivatives, 0, 1), logits)

    with jax.default_matmul_precision(precision):
        gradients, (values, derivatives, logits) = by_chunks(part, (jnp.asarray(images), labels), chunk)
    return ObjectiveGradients(values.T, jnp.swapaxes(derivatives, 0, 1), gradients, logits)


def no_whole_batches(objectives: Sequence[Objective]) -> None:
    """Raises InputError if an objective is one of a whole batch: it cannot be taken apart into examples."""
    for one in objectives:
        if one.whole_batch:
            raise InputError(f"objective {one.name!r} is one of a whole batch: no example has a gradient of its own.")


def _linearise(
    network: Network, parameters: Any, images: Images
) -> tuple[Float[Array, "batch classes"], Callable[[Array], Any]]:
    """The logits, and what takes cotangents [objectives, batch, classes] back to a stack of gradients.

    In dense networks the objectives share one matrix product a layer, which is quicker than one for each.
    """
    if network.tapped is None:
        logits, pullback = jax.vjp(lambda theta: network.apply(theta, scaled(images)), parameters)
        return logits, lambda derivatives: jax.vmap(pullback)(derivatives)[0]
    logits, back = through_layers(network, parameters, images)
    return logits, lambda derivatives: [outer_sum(layer) for layer in back(derivatives)]


class Layer(NamedTuple):
    """A dense layer under every objective; the gradient of example i is delta_i [input_i, 1]^T."""

    inputs: Float[Array, "batch inputs"]
    deltas: Float[Array, "batch objectives outputs"]  # derivatives with respect to what the layer puts out


def through_layers(
    network: Network, parameters: Any, images: Images
) -> tuple[Float[Array, "batch classes"], Callable[[Array], list[Layer]]]:
    """A dense network's logits, and what takes cotangents [objectives, batch, classes] back to every layer."""
    tapped = network.tapped
    assert tapped is not None  # the callers have looked
    images = scaled(images)
    taps = [
        jnp.zeros((len(images), len(layer["bias"])), jnp.result_type(images, layer["bias"])) for layer in parameters
    ]
    logits, pullback, inputs = jax.vjp(lambda taps: tapped(parameters, images, taps), taps, has_aux=True)

    def back(derivatives: Float[Array, "objectives batch classes"]) -> list[Layer]:
        # The batch first: then what follows is one product over all objectives, and nothing is moved for it.
        (deltas,) = jax.vmap(pullback, out_axes=1)(derivatives)
        return [Layer(*layer) for layer in zip(inputs, deltas, strict=True)]

    return logits, back


def outer_sum(layer: Layer) -> Any:
    """The sum over examples of their gradients, {"weight": [objectives, outputs, inputs], "bias": ...}.

    >>> outer_sum(Layer(jnp.array([[2.0], [3.0]]), jnp.array([[[1.0]], [[10.0]]])))["weight"].tolist()
    [[[32.0]]]
    """
    batch, count, outputs = layer.deltas.shape
    deltas = layer.deltas.reshape(batch, count * outputs)
    over_examples = partial(jnp.tensordot, deltas, axes=(0, 0))  # not deltas.T @: that would be moved first
    bias = over_examples(jnp.ones((batch, 1), deltas.dtype))  # a product as well: quicker than the sum
    return {
        "weight": over_examples(layer.inputs).reshape(count, outputs, -1),
        "bias": bias.reshape(count, outputs),
    }


def by_chunks(part: Callable[..., tuple[Any, Any]], arrays: tuple[Array, ...], chunk: int | None) -> tuple[Any, Any]:
    """`part(*slices, counted)` over slices of `chunk` examples: its first results added up, its second joined.

    All slices are full: the last begins where it ends with the last example, and `counted` is False for those
    that the one before it had already. Leaves of the second result have the examples as their first axis.
    Raises: InputError if chunk < 1.

    >>> def part(numbers, counted):
    ...     return jnp.sum(jnp.where(counted, numbers, 0)), 10 * numbers
    >>> total, each = by_chunks(part, (jnp.arange(5),), 2)
    >>> total.item(), each.tolist()
    (10, [0, 10, 20, 30, 40])
    """
    batch = len(arrays[0])
    if chunk is not None and chunk < 1:
        raise InputError(f"a chunk must be at least 1 example; got {chunk}.")
    if chunk is None or chunk >= batch:
        return part(*arrays, jnp.ones(batch, dtype=bool))
    first_new = np.arange(0, batch, chunk)
    starts = np.minimum(first_new, batch - chunk)

    def take(start, first_new):
        slices = [jax.lax.dynamic_slice_in_dim(array, start, chunk) for array in arrays]
        return part(*slices, start + jnp.arange(chunk) >= first_new)

    def add(total, place):
        added, each = take(*place)
        return jax.tree.map(jnp.add, total, added), each

    shapes = jax.eval_shape(take, 0, 0)[0]
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, wide(leaf.dtype)), shapes)
    total, each = jax.lax.scan(add, empty, (jnp.asarray(starts), jnp.asarray(first_new)))
    total = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), total, shapes)
    again = int(first_new[-1] - starts[-1])

    def join(leaf):
        return jnp.concatenate([leaf[:-1].reshape(-1, *leaf.shape[2:]), leaf[-1, again:]])

    return total, jax.tree.map(join, each)


def wide(dtype: Any) -> Any:
    """What sums over many examples are taken in: at least float32. In bfloat16 they stand still after a few hundred.

    >>> wide(jnp.bfloat16), wide(jnp.int32)
    (dtype('float32'), dtype('int32'))
    """
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else jnp.dtype(dtype)


def gram(stack: Any, *, precision: str = "highest") -> Float[Array, "objectives objectives"]:
    """All inner products between the gradients of a stack: G_ab = <g_a, g_b>.

    >>> gram({"weight": jnp.array([[[3.0]], [[4.0]]])}).tolist()
    [[9.0, 12.0], [12.0, 16.0]]
    """
    with jax.default_matmul_precision(precision):
        flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(stack)]
        return sum((leaf @ leaf.T for leaf in flat), start=jnp.zeros(()))


def inner_products(one: Any, other: Any) -> Float[Array, " objectives"]:
    """The inner product of each gradient of a stack with its counterpart in another.

    >>> inner_products({"weight": jnp.array([[3.0], [4.0]])}, {"weight": jnp.array([[1.0], [2.0]])}).tolist()
    [3.0, 8.0]
    """
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    products = [jnp.sum((a * b).reshape(len(a), -1), axis=1) for a, b in pairs]
    return sum(products[1:], start=products[0])
