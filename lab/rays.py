"""Rays: what a step along each objective's gradient does to the metric itself, accuracy or another.

The question behind all stand-ins: whose gradient, followed in a straight line for the best distance, gets the most
answers right? A distance, not a learning rate: gradients of any length are compared.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from lab.errors import InputError
from lab.gradients import families, inner_products
from lab.metrics import correct
from lab.networks import Images, Network, fitting_labels, scaled
from lab.objectives import Objective
from lab.scoring import Metric

LENGTHS = np.geomspace(1e-3, 10.0, 17)  # how far to go, in units of weight
GROUPS = 20  # of examples, left out one after the other, for the error of a metric that is no mean over them

Others = tuple[
    UInt8[Array | np.ndarray, "others pixels"] | Float[Array | np.ndarray, "others pixels"],
    Int[Array | np.ndarray, " others"],
]


class Gain(NamedTuple):
    """How much of the metric each objective's gradient gains; shares, [objectives]. Errors are standard errors."""

    length: Float[Array, " objectives"]  # of the step that gains most on the gradient's own examples
    own: Float[Array, " objectives"]  # gain on those examples
    own_error: Float[Array, " objectives"]
    held_out: Float[Array, " objectives"]  # gain of the same step on others
    held_out_error: Float[Array, " objectives"]
    difference: Float[Array, " objectives"]  # held-out gain less the reference's, example by example
    difference_error: Float[Array, " objectives"]
    predicted: Float[Array, " objectives"]  # change of the objective that the gradient promises for the step
    realised: Float[Array, " objectives"]  # change that comes


def downhill(gradients: Any) -> Any:
    """Each gradient's unit direction of descent, -g / |g|; 0 where the gradient is, NaN where |g|^2 is no number.

    >>> downhill({"w": jnp.array([[2.0, 0.0], [0.0, 0.0]])})["w"].tolist()
    [[-1.0, -0.0], [-0.0, -0.0]]
    """
    squares = sum(jnp.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in jax.tree.leaves(gradients))
    inverse = jnp.where(squares > 0, 1 / jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
    inverse = jnp.where(jnp.isfinite(squares), inverse, jnp.nan)
    return jax.tree.map(lambda leaf: -leaf * inverse.reshape(-1, *[1] * (leaf.ndim - 1)), gradients)


def logits_along(
    network: Network,
    parameters: Any,
    direction: Any,
    images: Float[Array, "batch pixels"],
    lengths: Float[Array, " lengths"],
) -> Float[Array, "lengths batch classes"]:
    """The logits at theta + length * direction, for every length; the network itself stays as it is.

    A dense first layer is linear in its weights, so its product with the images, by far the largest, is taken once
    for the network and once for the direction, and not for every length.
    """
    tapped = network.tapped
    if tapped is None:

        def moved(length):
            return jax.tree.map(lambda theta, d: theta + length * d, parameters, direction)

        return jax.lax.map(lambda length: network.apply(moved(length), images), lengths)
    (first, *rest), (first_step, *steps) = parameters, direction
    push = images @ first_step["weight"].T + first_step["bias"][None, :]

    def at(length):
        further = jax.tree.map(lambda theta, d: theta + length * d, rest, steps)
        return tapped([first, *further], images, [length * push, *[0.0] * len(rest)])[0]

    return jax.vmap(at)(lengths)


def accuracy_gain(
    network: Network,
    parameters: Any,
    gradients: Any,
    objectives: Sequence[Objective],
    own: tuple[Images, Int[Array | np.ndarray, " batch"]],
    held_out: Others,
    *,
    reference: int = 0,
    lengths: Float[Array | np.ndarray, " lengths"] = LENGTHS,
    precision: str = "highest",
) -> Gain:
    """The gain of true accuracy along each objective's ray, max over lengths of Acc(theta - s g / |g|) - Acc(theta).

    The length is chosen on the gradient's own examples, `own` = (images, labels), where the gain is biased upwards
    for having been chosen; the gain on `held_out` is that of the same step. Errors are binomial, from the changes
    example by example; `difference` is paired with the objective at `reference`. A gradient of 0 goes nowhere and
    gains 0; all is NaN of one that is not finite. `gradients` is a stack as from `objective_gradients`. Can be jitted
    with `network`, `reference` and `precision` static.

    Raises: InputError for images and labels that do not fit the network, or a stack or reference that the objectives
      do not.
    """
    lengths = jnp.asarray(lengths, jnp.result_type(*jax.tree.leaves(parameters)))
    own, held_out = _fitting(network, parameters, gradients, objectives, reference, own, held_out)
    steps, slope = _steps(gradients)

    def follow(direction):
        def changes(part, lengths):
            images, labels = part
            before = correct(network.apply(parameters, images), labels).astype(int)
            along = logits_along(network, parameters, direction, images, lengths)
            return jax.vmap(correct, in_axes=(0, None))(along, labels).astype(int) - before[None, :], along

        of_own, along = changes(own, lengths)
        best = jnp.argmax(jnp.mean(of_own, axis=1))  # the shortest of several that are equal
        of_held_out, _ = changes(held_out, lengths[best][None])
        return lengths[best], of_own[best], of_held_out[0], along[best]

    with jax.default_matmul_precision(precision):
        length, of_own, of_held_out, reached = jax.lax.map(follow, steps)
        realised = _realised(objectives, slope, network.apply(parameters, own[0]), reached, own[1])
    gain = Gain(
        jnp.where(slope < 0, length, 0.0),
        *_mean_and_error(of_own),
        *_mean_and_error(of_held_out),
        *_mean_and_error(of_held_out - of_held_out[reference]),
        predicted=length * slope,
        realised=realised,
    )
    return _known(gain, slope)


def metric_gain(
    network: Network,
    parameters: Any,
    gradients: Any,
    objectives: Sequence[Objective],
    own: tuple[Images, Int[Array | np.ndarray, " batch"]],
    held_out: Others,
    metric: Metric,
    *,
    reference: int = 0,
    lengths: Float[Array | np.ndarray, " lengths"] = LENGTHS,
    precision: str = "highest",
) -> Gain:
    """`accuracy_gain` of any metric, as `lab.metric` gives it: the gain along each objective's ray.

    A metric need not be a mean over examples, so errors are the jackknife's over random groups, each left out in turn:
    of m groups, error^2 = (m - 1)/m sum over groups of (gain without it - mean of those)^2. For accuracy, with a group
    for each example, it is the binomial one. The metric is called outside of any compiled program, so this cannot be
    jitted. Source: Shao and Wu 1989, A general theory for jackknife variance estimation.
    """
    lengths = jnp.asarray(lengths, jnp.result_type(*jax.tree.leaves(parameters)))
    own, held_out = _fitting(network, parameters, gradients, objectives, reference, own, held_out)
    parts = [(images, np.asarray(labels)) for images, labels in (own, held_out)]
    steps, slope = _steps(gradients)
    step_lengths = np.zeros(len(objectives))
    here = [np.asarray(_logits_at(network, parameters, images, precision)) for images, _ in parts]
    reached = [[one] * len(objectives) for one in here]
    for k in np.flatnonzero(np.asarray(slope) < 0):
        direction = jax.tree.map(lambda leaf, k=k: leaf[k], steps)
        along = np.asarray(_along(network, parameters, direction, parts[0][0], lengths, precision))
        scores = np.nan_to_num(metric(along, parts[0][1]), nan=-1.0)  # where a step leads out of all numbers
        best = int(np.argmax(scores))  # the shortest of several that are equal
        elsewhere = _along(network, parameters, direction, parts[1][0], lengths[best : best + 1], precision)
        reached[0][k], reached[1][k] = along[best], np.asarray(elsewhere)[0]
        step_lengths[k] = lengths[best]
    of_own, of_held_out = (
        _changes(metric, np.stack([before, *after]), labels)
        for before, after, (_, labels) in zip(here, reached, parts, strict=True)
    )
    length = jnp.asarray(step_lengths, lengths.dtype)
    gain = Gain(
        length,
        *_jackknife(of_own),
        *_jackknife(of_held_out),
        *_jackknife(of_held_out - of_held_out[:, reference, None]),
        predicted=length * slope,
        realised=_realised(
            objectives, slope, jnp.asarray(here[0]), jnp.asarray(np.stack(reached[0])), jnp.asarray(own[1])
        ),
    )
    return _known(gain, slope)


def _fitting(
    network: Network,
    parameters: Any,
    gradients: Any,
    objectives: Sequence[Objective],
    reference: int,
    own: tuple[Images, Int[Array | np.ndarray, " batch"]],
    held_out: Others,
) -> list[tuple[Array, Array]]:
    """Both sets as they are computed with. Raises: InputError where they, the stack or the reference do not fit."""
    stacked = {len(leaf) for leaf in jax.tree.leaves(gradients)}
    if stacked != {len(objectives)} or not 0 <= reference < len(objectives):
        raise InputError(
            f"there must be a gradient for each of {len(objectives)} objectives, the reference one of them; got stacks "
            f"of {', '.join(map(str, sorted(stacked)))} and the reference {reference}."
        )
    return [
        (scaled(images), fitting_labels(network.apply, parameters, images, labels))
        for images, labels in (own, held_out)
    ]


def _known(gain: Gain, slope: Float[Array, " objectives"]) -> Gain:
    """The gain, all of it NaN for a gradient that is not finite: where it points cannot be said."""
    return Gain(*(jnp.where(jnp.isnan(slope), jnp.nan, part) for part in gain))


@partial(jax.jit, static_argnames=("network", "precision"))
def _logits_at(
    network: Network, parameters: Any, images: Float[Array, "batch pixels"], precision: str
) -> Float[Array, "batch classes"]:
    with jax.default_matmul_precision(precision):
        return network.apply(parameters, images)


@partial(jax.jit, static_argnames=("network", "precision"))
def _along(
    network: Network,
    parameters: Any,
    direction: Any,
    images: Float[Array, "batch pixels"],
    lengths: Float[Array, " lengths"],
    precision: str,
) -> Float[Array, "lengths batch classes"]:
    with jax.default_matmul_precision(precision):
        return logits_along(network, parameters, direction, images, lengths)


def _changes(
    metric: Metric, logits: Float[np.ndarray, "points batch classes"], labels: Int[np.ndarray, " batch"]
) -> Float[np.ndarray, "subsets objectives"]:
    """What each point's metric has over the first's: of all examples, and then without each group of them."""
    groups = min(GROUPS, len(labels))
    # By chance, not in turn: labels may come in turn as well, and a group would be all there is of a class.
    number = np.random.default_rng(0).permutation(len(labels)) % groups
    kept = [np.ones(len(labels), dtype=bool)]
    kept += [number != group for group in range(groups)] if groups > 1 else []  # without the only one nobody is left
    values = np.stack([metric(logits[:, of], labels[of]) for of in kept])
    return values[:, 1:] - values[:, :1]


def _jackknife(changes: Float[np.ndarray, "subsets objectives"]) -> tuple[Array, Array]:
    """The change of all examples, and its standard error from those without a group each; NaN if there is but one."""
    whole, without = changes[0], changes[1:]
    if not len(without):
        return jnp.asarray(whole), jnp.full(whole.shape, jnp.nan)
    spread = np.sum((without - without.mean(axis=0)) ** 2, axis=0)
    return jnp.asarray(whole), jnp.asarray(np.sqrt((len(without) - 1) / len(without) * spread))


@jax.jit
def _steps(gradients: Any) -> tuple[Any, Float[Array, " objectives"]]:
    """The direction of each gradient's ray, and how fast its objective changes on it, in units of weight."""
    steps = downhill(gradients)
    return steps, inner_products(gradients, steps)


@jax.jit
def _realised(
    objectives: Sequence[Objective],
    slope: Float[Array, " objectives"],
    here: Float[Array, "batch classes"],
    reached: Float[Array, "objectives batch classes"],
    labels: Int[Array, " batch"],
) -> Float[Array, " objectives"]:
    """By how much each objective's mean has changed; not at all where there was nowhere to go."""
    before = _mean_values(objectives, jnp.broadcast_to(here, reached.shape), labels)
    return jnp.where(slope < 0, _mean_values(objectives, reached, labels) - before, 0.0)


def _mean_values(
    objectives: Sequence[Objective], logits: Float[Array, "objectives batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " objectives"]:
    """Each objective's mean at logits of its own."""
    found, order = [], []
    for positions, of in families(objectives):
        order += positions
        found.append(jax.vmap(lambda one, z: jnp.mean(one(z, labels)))(of, logits[np.array(positions)]))
    return jnp.concatenate(found)[np.argsort(order)]


def _mean_and_error(changes: Int[Array, "objectives batch"]) -> tuple[Array, Array]:
    batch = changes.shape[1]
    return jnp.mean(changes, axis=1), jnp.std(changes, axis=1, ddof=1) / jnp.sqrt(batch)


def best_weight(
    inner: Float[np.ndarray, "nodes nodes"], towards: Float[np.ndarray, " nodes"]
) -> Float[np.ndarray, " nodes"]:
    """The non-negative weight over margins whose gradient points best in a given direction; norm 1, or all 0.

    Maximises sum_b w_b t_b / sqrt(w^T G w) over w >= 0, with G the margin Gram matrix (`lab.margin_gram`) and
    t_b = <g_b, h> the inner products of the nodes' gradients with the wanted direction h, the held-out accuracy's
    (smoothed) ascent (`lab.nodes.margin_slopes`). It is the direction of the non-negative least squares
    min |sum_b w_b g_b - h|.

    >>> best_weight(np.eye(2), np.array([3.0, -1.0])).tolist()
    [1.0, 0.0]
    """
    from scipy.optimize import nnls

    values, vectors = np.linalg.eigh(np.asarray(inner, dtype=float))
    kept = values > 1e-10 * max(values.max(), 1e-300)
    # |L w - c|^2 with L^T L = G and L^T c = t: the part of h outside the nodes' span cannot be reached anyway.
    root = np.sqrt(values[kept])
    weight, _ = nnls(root[:, None] * vectors[:, kept].T, (vectors[:, kept].T @ np.asarray(towards)) / root)
    length = np.sqrt(max(weight @ inner @ weight, 0.0))
    return weight / length if length > 0 else weight
