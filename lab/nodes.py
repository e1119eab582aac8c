"""Nodes: a few places on a margin's axis that stand for all examples there.

The gradients of every objective of that margin, at every width, follow from the margin's own at the nodes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lab.errors import InputError
from lab.gradients import gram
from lab.networks import Images, fitting_labels, scaled


class MarginGram(NamedTuple):
    """The gradients of a margin at a few nodes of the margin axis: all that objectives of that margin need."""

    inner: Float[Array, "nodes nodes"]  # <g_a, g_b>, g_b = mean over examples of their share in node b times dm/dtheta
    margins: Float[Array, " nodes"]  # where the nodes are, rising


def margin_gram(
    apply: Callable[..., Any],
    parameters: Any,
    images: Images,
    labels: Array | np.ndarray,
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
    the batch go through the network by themselves: an example's logits must depend on its own image alone. Images are
    pixels 0..255 (uint8), or real numbers, which are taken as they are; labels come in either form. Can be jitted with
    `apply`, `margin`, `nodes` and `precision` static. Source: this lab.

    Raises: InputError unless 1 <= nodes <= batch, and for images, labels and parameters that do not fit one another.

    >>> import lab
    >>> network = lab.mlp([5], activation="relu")
    >>> parameters = network.init(jax.random.key(0))
    >>> images, labels = jax.random.uniform(jax.random.key(1), (4, 784)), jnp.array([3, 1, 4, 1])
    >>> few = margin_gram(network.apply, parameters, images, labels, lab.hard_margin, nodes=4)
    >>> weights = jnp.stack([lab.objective(name).weight(few.margins) for name in ("sigmoid_margin", "ramp")])
    >>> gram_from_margins(few.inner, weights).shape
    (2, 2)
    """
    labels, images = fitting_labels(apply, parameters, images, labels), scaled(images)
    at = _node_ranks(len(labels), nodes)
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
    images: Images,
    labels: Array | np.ndarray,
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
    labels, images = fitting_labels(apply, parameters, images, labels), scaled(images)
    at = _node_ranks(len(labels), nodes)
    with jax.default_matmul_precision(precision):
        margins, slopes = jax.jvp(lambda theta: margin(apply(theta, images), labels), (parameters,), (direction,))
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
