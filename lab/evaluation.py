"""Evaluation: every metric of a network, or of many, over all the examples of a data set, exactly."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lab.devices import COMPILED_QUICKLY, Layout, layout, shapes_of_one, spread, stacked
from lab.errors import InputError
from lab.metrics import Labels, Sums, finish, sums
from lab.networks import Images, class_labels, scaled
from lab.objectives import Objective, check_objectives
from lab.scoring import METRICS, Metric


@partial(jax.jit, static_argnames=("apply", "over"), compiler_options=COMPILED_QUICKLY)
def _chunk(
    apply: Callable[..., Any],
    over: Layout,
    objectives: Objective,
    parameters: Any,
    images: Images,
    labels: Int[Array, " batch"],
    mask: Bool[Array, " batch"],
) -> tuple[Sums, Float[Array, "seeds variants *matrix"]]:
    """What a chunk of examples adds to the sums of every network, and to its objective (or to that's statistic).

    Nothing is added to an objective that is to be taken of all examples at once.
    """

    def of_network(objective, parameters, images, labels, mask):
        logits = apply(parameters, scaled(images))
        form = objective.definition.batch_form
        if form is None:
            losses = jnp.sum(jnp.where(mask, objective(logits, labels), 0.0))
        elif form.parts is None:
            losses = jnp.zeros(())
        else:
            losses = form.parts.statistic(logits, labels, mask, **objective.parameters)
        return sums(logits, labels, mask), losses

    return spread(of_network, ("v", "sv", "", "", ""), over)(objectives, parameters, images, labels, mask)


@partial(jax.jit, static_argnames=("apply", "over"))
def _logits(
    apply: Callable[..., Any], over: Layout, parameters: Any, images: Images
) -> Float[Array, "seeds variants batch classes"]:
    """Every network's logits of a chunk of examples."""
    return spread(lambda of, images: apply(of, scaled(images)), ("sv", ""), over)(parameters, images)


@jax.jit
def _mean(objective: Objective, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Array:
    return jnp.mean(objective(logits, labels))


def evaluate(
    apply: Callable[..., Any],
    objective: Objective,
    parameters: Any,
    images: Images,
    labels: Labels,
    *,
    batch_size: int = 1000,
    metrics: Sequence[Metric] = (),
) -> dict[str, float]:
    """Every metric, and as "loss" the objective, of a network over all the examples.

    `batch_size` is how many examples go through the network at a time; it changes no result, not even that of an
    objective of a whole batch: its statistic is summed over the chunks, or else all logits are kept, and its value
    taken once. `metrics` are further ones, as `lab.metric` gives them, each under its own name.

    Images are pixels 0..255 (uint8), or real numbers, which are taken as they are; labels come in either form.

    Raises: InputError for a batch size below 1, no examples, or images, labels and network that do not fit one another.

    >>> import lab
    >>> network, images = lab.mlp(pixels=2, classes=2), np.array([[0, 255], [255, 0]], dtype=np.uint8)
    >>> found = evaluate(network.apply, lab.objective("brier"), network.init(jax.random.key(0)), images, np.arange(2))
    >>> round(found["brier"], 1), round(found["loss"], 1)
    (0.5, 0.5)
    """
    found = evaluate_together(
        apply,
        [objective],
        jax.tree.map(lambda leaf: jnp.asarray(leaf)[None, None], parameters),
        images,
        labels,
        batch_size=batch_size,
        metrics=metrics,
    )
    return {name: float(values[0, 0]) for name, values in found.items()}


def evaluate_together(
    apply: Callable[..., Any],
    objectives: Sequence[Objective],
    parameters: Any,
    images: Images,
    labels: Labels,
    *,
    batch_size: int = 1000,
    metrics: Sequence[Metric] = (),
) -> dict[str, Float[np.ndarray, "seeds variants"]]:
    """`evaluate` of networks that train together: parameters [seeds, variants, ...], an objective for each variant.

    Raises: InputError as `evaluate` does, and if there are not as many objectives as variants.

    >>> import lab
    >>> network, images = lab.mlp(pixels=2, classes=2), np.array([[0, 255], [255, 0]], dtype=np.uint8)
    >>> parameters = jax.tree.map(lambda leaf: leaf[None, None], network.init(jax.random.key(0)))
    >>> brier = lab.objective("brier")
    >>> evaluate_together(network.apply, [brier], parameters, images, np.arange(2))["brier"].round(1).tolist()
    [[0.5]]
    """
    count = len(images)
    if batch_size < 1 or count < 1:
        raise InputError(f"evaluation needs a batch size and examples, 1 or more; got {batch_size} and {count}.")
    check_objectives(objectives)
    labels = class_labels(apply, shapes_of_one(parameters), images, labels)
    size = min(batch_size, count)
    leaves = jax.tree.leaves(parameters)
    for leaf in leaves:
        if leaf.shape[1] != len(objectives):
            raise InputError(
                "parameters [seeds, variants, ...] need an objective for each variant; "
                f"got {leaf.shape[1]} variants and {len(objectives)} objectives."
            )
    over = layout(leaves[0].shape[0] if leaves else 1, len(objectives))
    networks = over.padded(stacked(objectives, "objectives"), "v"), over.padded(parameters, "sv")
    further = [one for one in metrics if one.name not in METRICS]  # no sums of chunks tell those
    form = objectives[0].definition.batch_form  # that of all: they are of one family
    undivided = form is not None and form.parts is None  # nor do they tell this objective
    parts, logits = [], []
    for start in range(0, count, size):
        rows = slice(start, start + size)
        missing = size - len(labels[rows])  # the last chunk is filled up: its size would be a program of its own
        examples = np.pad(images[rows], ((0, missing), (0, 0))), np.pad(labels[rows], (0, missing))
        parts.append(_chunk(apply, over, *networks, *examples, np.arange(size) < size - missing))
        if further or undivided:
            logits.append(_logits(apply, over, networks[1], examples[0]))
    # Added on the host, in float64, where counts are divided as well; and only once all chunks are on their way.
    total, losses = over.own(jax.tree.map(lambda *leaves: np.sum(leaves, axis=0, dtype=float), *jax.device_get(parts)))
    known, others = losses, {}
    if logits:
        whole = over.own(np.concatenate(jax.device_get(logits), axis=2)[:, :, :count])
        known = whole if undivided else losses
        others = {one.name: one(whole, labels) for one in further}
    found = [
        {"loss": _loss(objective, known[seed, variant], labels)}
        | finish(jax.tree.map(lambda leaf, at=(seed, variant): leaf[at], total))
        for seed in range(over.seeds)
        for variant, objective in enumerate(objectives)
    ]
    values = {name: np.array([of[name] for of in found], dtype=float).reshape(over[:2]) for name in found[0]}
    return values | others


def _loss(objective: Objective, known: Any, labels: Int[np.ndarray, " batch"]) -> float:
    """The objective of all examples, by the sum over the chunks, or by all logits where no sum tells it."""
    form = objective.definition.batch_form
    if form is None:
        return float(known / len(labels))
    if form.parts is None:
        return float(_mean(objective, known, labels))
    return float(form.parts.finish(jnp.asarray(known, float), **objective.parameters))
