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
from lab.networks import Network
from lab.objectives import Definition, Objective


class ObjectiveGradients(NamedTuple):
    """The gradients of several objectives at one point; the first axis is the objective everywhere."""

    values: Float[Array, "objectives batch"]  # per example
    cotangents: Float[Array, "objectives batch classes"]  # dl_i/dz_i, per example
    gradients: Any  # the parameters' pytree, each leaf [objectives, ...]: gradient of the mean
    logits: Float[Array, "batch classes"]


class MarginGram(NamedTuple):
    """The gradients of a margin at a few nodes of the margin axis: all that objectives of that margin need."""

    inner: Float[Array, "nodes nodes"]  # <g_a, g_b>, g_b = mean over examples of their share in node b times dm/dtheta
    margins: Float[Array, " nodes"]  # where the nodes are, rising


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
    images: Float[Array | np.ndarray, "batch pixels"],
    labels: Int[Array | np.ndarray, " batch"],
    objectives: Sequence[Objective],
    *,
    chunk: int | None = None,
    precision: str = "highest",
) -> ObjectiveGradients:
    """The gradient of each objective's mean over the batch, with respect to the parameters.

    `precision` is that of matrix products: a GPU's default (TF32) multiplies with 10 bits, too few for small cosines.
    With `chunk`, that many examples at a time go through the network: for a batch that is a whole training set.
    Can be jitted with `network`, `chunk` and `precision` static: other parameter values do not compile anew.

    Raises: InputError for an objective of a whole batch that is to be taken in chunks, and for a chunk below 1.

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
    batch = len(labels)

    def part(images, labels, counted):
        logits, pull = _linearise(network, parameters, images)
        values, derivatives = cotangents(objectives, logits, labels)
        share = jnp.where(counted, 1 / batch, 0.0)
        return pull(derivatives * share[None, :, None]), (values.T, jnp.swapaxes(derivatives, 0, 1), logits)

    with jax.default_matmul_precision(precision):
        gradients, (values, derivatives, logits) = by_chunks(part, (jnp.asarray(images), jnp.asarray(labels)), chunk)
    return ObjectiveGradients(values.T, jnp.swapaxes(derivatives, 0, 1), gradients, logits)


def no_whole_batches(objectives: Sequence[Objective]) -> None:
    """Raises InputError if an objective is one of a whole batch: it cannot be taken apart into examples."""
    for one in objectives:
        if one.definition.batch_form is not None:
            raise InputError(f"objective {one.name!r} is one of a whole batch: no example has a gradient of its own.")


def _linearise(
    network: Network, parameters: Any, images: Float[Array, "batch pixels"]
) -> tuple[Float[Array, "batch classes"], Callable[[Array], Any]]:
    """The logits, and what takes cotangents [objectives, batch, classes] back to a stack of gradients.

    In dense networks the objectives share one matrix product a layer, which is quicker than one for each.
    """
    if network.tapped is None:
        logits, pullback = jax.vjp(lambda theta: network.apply(theta, images), parameters)
        return logits, lambda derivatives: jax.vmap(pullback)(derivatives)[0]
    logits, back = through_layers(network, parameters, images)
    return logits, lambda derivatives: [outer_sum(layer) for layer in back(derivatives)]


class Layer(NamedTuple):
    """A dense layer under every objective; the gradient of example i is delta_i [input_i, 1]^T."""

    inputs: Float[Array, "batch inputs"]
    deltas: Float[Array, "batch objectives outputs"]  # derivatives with respect to what the layer puts out


def through_layers(
    network: Network, parameters: Any, images: Float[Array, "batch pixels"]
) -> tuple[Float[Array, "batch classes"], Callable[[Array], list[Layer]]]:
    """A dense network's logits, and what takes cotangents [objectives, batch, classes] back to every layer."""
    tapped = network.tapped
    assert tapped is not None  # the callers have looked
    taps = [jnp.zeros((len(images), len(layer["bias"])), images.dtype) for layer in parameters]
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

    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(take, 0, 0)[0])
    total, each = jax.lax.scan(add, empty, (jnp.asarray(starts), jnp.asarray(first_new)))
    again = int(first_new[-1] - starts[-1])

    def join(leaf):
        return jnp.concatenate([leaf[:-1].reshape(-1, *leaf.shape[2:]), leaf[-1, again:]])

    return total, jax.tree.map(join, each)


def gram(stack: Any, *, precision: str = "highest") -> Float[Array, "objectives objectives"]:
    """All inner products between the gradients of a stack: G_ab = <g_a, g_b>.

    >>> gram({"weight": jnp.array([[[3.0]], [[4.0]]])}).tolist()
    [[9.0, 12.0], [12.0, 16.0]]
    """
    with jax.default_matmul_precision(precision):
        flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(stack)]
        return sum((leaf @ leaf.T for leaf in flat), start=jnp.zeros(()))


def margin_gram(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array | np.ndarray, "batch pixels"],
    labels: Int[Array | np.ndarray, " batch"],
    margin: Callable[[Array, Array], Array],
    *,
    nodes: int = 64,
    precision: str = "highest",
) -> MarginGram:
    """Inner products between the margin's gradients, the examples shared out among `nodes` places of the margin axis.

    An example between two nodes belongs to both, the more the nearer: g_b = (1/n) sum_i h_b(m_i) dm_i/dtheta with h_b
    the hat that is 1 at node b and 0 at its neighbours; G = g g^T. An objective phi(m) has the gradient
    -(1/n) sum w(m_i) dm_i/dtheta, which is -sum_b w(m_b) g_b as far as w is straight between nodes: exactly, with as
    many nodes as examples. With 64 nodes and 1,000 digits cosines are within 0.01 between any two smooth losses of the
    margin or smooth kernels of width 1 or more (measured from the start to 5,400 steps). The trap: a cold kernel, or
    one with a corner, is narrower than the space between nodes where examples are few, and can be off by more.

    Nodes are at the quantiles (k / (nodes - 1))^3: the lowest margins, where a trained network's few heavy weights
    are, are nodes almost each. One matrix serves one margin, at every width of the kernel. The soft margin at another
    temperature is another margin; the centred one differs from it by a constant, and may share its matrix.

    `margin(logits, labels)` gives [batch]: `lab.hard_margin`, or `partial(lab.soft_margin, temperature=0.3)`. Parts of
    the batch go through the network by themselves: an example's logits must depend on its own image alone. Can be
    jitted with `apply`, `margin`, `nodes` and `precision` static. Source: this lab.

    Raises: InputError unless 1 <= nodes <= batch.

    >>> import lab
    >>> network = lab.mlp([5], activation="relu")
    >>> parameters = network.init(jax.random.key(0))
    >>> images, labels = jax.random.uniform(jax.random.key(1), (4, 784)), jnp.array([3, 1, 4, 1])
    >>> few = margin_gram(network.apply, parameters, images, labels, lab.hard_margin, nodes=4)
    >>> weights = jnp.stack([lab.objective(name).weight(few.margins) for name in ("sigmoid_margin", "ramp")])
    >>> gram_from_margins(few.inner, weights).shape
    (2, 2)
    """
    images, labels, at = jnp.asarray(images), jnp.asarray(labels), _node_ranks(len(labels), nodes)
    # The examples between two nodes are a part. Who belongs to which follows from the ranks, so the shapes are known
    # before tracing; short parts are filled up with members whose slope is set to 0.
    edges = np.append(at[:-1] if nodes > 1 else at, len(labels))
    ranks = edges[:-1, None] + np.arange(np.max(np.diff(edges)))[None, :]
    present = ranks < edges[1:, None]
    ranks = np.where(present, ranks, 0)
    with jax.default_matmul_precision(precision):
        margins, pull = jax.vjp(lambda z: margin(z, labels), apply(parameters, images))
        (slopes,) = pull(jnp.full_like(margins, 1 / len(labels)))
        order = jnp.argsort(margins)
        _, above = _between(margins[order], at)
        members = order[ranks]
        shares = jnp.stack([jnp.where(present, share[ranks], 0.0) for share in (1 - above, above)], axis=1)

        def sums_over(members, shares):
            _, pullback = jax.vjp(lambda theta: apply(theta, images[members]), parameters)
            return jax.vmap(pullback)(shares[:, :, None] * slopes[members][None])[0]

        # Not one linearisation with cotangents [nodes, batch, classes]: nearly all of those are 0.
        pairs = jax.vmap(sums_over)(members, shares)

    def at_nodes(pair):
        below, above = pair[:, 0], pair[:, 1]
        nothing = jnp.zeros_like(below[:1])
        return jnp.concatenate([below, nothing])[:nodes] + jnp.concatenate([nothing, above])[:nodes]

    return MarginGram(gram(jax.tree.map(at_nodes, pairs), precision=precision), margins[order[at]])


def margin_slopes(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array | np.ndarray, "batch pixels"],
    labels: Int[Array | np.ndarray, " batch"],
    margin: Callable[[Array, Array], Array],
    direction: Any,
    *,
    nodes: int = 64,
    precision: str = "highest",
) -> Float[Array, " nodes"]:
    """<g_b, d> for the nodes of `margin_gram` and a direction d: what a step along d adds to the margins around each.

    One product forward and no gradient. Can be jitted as `margin_gram` can. Raises: InputError as it does.

    >>> logits, labels = jnp.array([[0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 0])  # margins -1 and 3
    >>> import lab
    >>> margin_slopes(lambda z, images: z, logits, jnp.ones((2, 1)), labels, lab.hard_margin, logits, nodes=2).tolist()
    [-0.5, 1.5]
    """
    at = _node_ranks(len(labels), nodes)
    with jax.default_matmul_precision(precision):
        margins, slopes = jax.jvp(
            lambda theta: margin(apply(theta, jnp.asarray(images)), jnp.asarray(labels)), (parameters,), (direction,)
        )
    order = jnp.argsort(margins)
    below, above = _between(margins[order], at)
    slopes = slopes[order] / len(labels)
    # One place more than there are nodes: of a single node nothing lies above.
    total = jax.ops.segment_sum(slopes * (1 - above), below, nodes + 1)
    return (total + jax.ops.segment_sum(slopes * above, below + 1, nodes + 1))[:nodes]


def _node_ranks(batch: int, nodes: int) -> Int[np.ndarray, " nodes"]:
    """The ranks of the examples that nodes are at: the quantiles (k / (nodes - 1))^3, none of them twice."""
    if not 1 <= nodes <= batch:
        raise InputError(f"nodes must be 1..{batch}, the number of examples; got {nodes}.")
    ranks = [0]
    for node in range(1, nodes):
        wanted = max(round((batch - 1) * (node / (nodes - 1)) ** 3), ranks[-1] + 1)
        ranks.append(min(wanted, batch - nodes + node))
    return np.array(ranks)


def _between(
    margins: Float[Array, " batch"], at: Int[np.ndarray, " nodes"]
) -> tuple[Int[np.ndarray, " batch"], Float[Array, " batch"]]:
    """For each of the sorted margins the node below it, and its share in the node above."""
    below = np.searchsorted(at[1:-1], np.arange(len(margins)), side="right")
    if len(at) == 1:
        return below, jnp.zeros_like(margins)
    low, high = margins[at[below]], margins[at[below + 1]]
    return below, jnp.where(high > low, (margins - low) / jnp.where(high > low, high - low, 1.0), 0.0)


def gram_from_margins(
    inner: Float[Array, "nodes nodes"], weights: Float[Array, "objectives nodes"], *, precision: str = "highest"
) -> Float[Array, "objectives objectives"]:
    """All inner products between objectives of one margin, w G w^T, from their weights at the nodes.

    `weights` holds `objective.weight(margins)`, a row for each objective; what comes back is what `gram` gives of
    their gradients, without another backward pass.

    >>> gram_from_margins(jnp.array([[9.0, 0.0], [0.0, 16.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [[9.0, 9.0], [9.0, 25.0]]
    """
    with jax.default_matmul_precision(precision):
        return weights @ inner @ weights.T
