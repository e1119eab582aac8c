"""The measurement: what is read off one network and two batches, in a few compiled programs.

Every diagnostic of every objective's gradient, under the names of `lab.quantities`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from lab import diagnostics
from lab.gradients import (
    cotangents,
    families,
    gram,
    objective_gradients,
)
from lab.margins import hard_margin, soft_margin
from lab.metrics import accuracy
from lab.moments import Moments, batch_cosine, example_moments
from lab.networks import Network
from lab.nodes import MarginGram, gram_from_margins, margin_gram, margin_slopes
from lab.objectives import Objective
from lab.rays import Gain, accuracy_gain, best_weight, downhill, metric_gain
from lab.scoring import METRICS, Metric
from lab.surrogates import GAUSSIAN_MARGIN

MARGIN_EDGES = np.sinh(np.linspace(-np.arcsinh(40.0), np.arcsinh(40.0), 81))  # fine at 0, where it matters
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)  # of the examples' |w|
BATCH_SIZES = (1, 10, 100)  # of the mini-batches whose gradients are held against the whole
NODES = 64  # of the margin Gram matrix
BEST_NODES = 16  # of the best weight
CHAPTER = ("cross_entropy", "squared_error")  # the losses that other gradients are explained by
MARGINS = {"soft": soft_margin, "hard": hard_margin}
REFERENCES = {"soft": "cross_entropy", "hard": "sigmoid_margin"}  # whose cosines the nodes are tried on


class Batch(NamedTuple):
    """Examples to measure on."""

    images: Float[Array, "batch pixels"]
    labels: Int[Array, " batch"]


def measure(
    network: Network,
    parameters: Any,
    own: Batch,
    held_out: Batch,
    objectives: Sequence[Objective],
    *,
    metric: Metric = METRICS["accuracy"],
    precision: str = "highest",
) -> dict[str, Any]:
    """Every diagnostic of every objective's gradient on its `own` examples, by the names of `lab.quantities`.

    `objectives` must have cross_entropy among them. What a gradient does is tried on `held_out` as well, and gains are
    counted in `metric`. What cannot be said (a cosine with a gradient that is 0; the noise of an objective of a whole
    batch) is NaN.
    """
    with jax.default_matmul_precision(precision):
        gradients, found = _of_gradients(network, parameters, own, objectives, precision)
    reference = [str(one) for one in objectives].index("cross_entropy")
    # What changes example by example is counted in one program; of any other metric only whole sets have a value.
    gain = _accuracy_gain if metric is METRICS["accuracy"] else partial(metric_gain, metric=metric)
    found |= _of_rays(
        gain(network, parameters, gradients, objectives, own, held_out, reference=reference, precision=precision)
    )
    found |= _of_margins(
        network, parameters, own, held_out, objectives, gradients, reference, found["cosine"], precision
    )
    return jax.tree.map(np.asarray, found)


@partial(jax.jit, static_argnames=("network", "precision"))
def _of_gradients(
    network: Network, parameters: Any, own: Batch, objectives: Sequence[Objective], precision: str
) -> tuple[Any, dict[str, Array]]:
    """The stack of gradients, and what they, the examples' weights and the examples' own gradients say."""
    logits = network.apply(parameters, own.images)
    values, derivatives = cotangents(objectives, logits, own.labels)
    pulls = diagnostics.weights(derivatives, own.labels)
    # An objective of a whole batch has a gradient, but no example has a part in it that is its own.
    apart = np.array([i for i, one in enumerate(objectives) if not one.whole_batch])
    moments = example_moments(
        network, parameters, *own, [objectives[i] for i in apart], square=True, precision=precision
    )
    gradients = moments.mean
    if len(apart) < len(objectives):
        gradients = objective_gradients(network, parameters, *own, objectives, precision=precision).gradients
    inner = gram(gradients, precision=precision)
    names = [str(one.definition.name) for one in objectives]
    by = [names.index(name) for name in CHAPTER if name in names]
    found = {
        "mean_value": jnp.mean(values, axis=1),
        "norm": diagnostics.norm(inner),
        "layer_norm": diagnostics.layer_norms(gradients),
        "dead": diagnostics.is_dead(diagnostics.norm(inner), optax.tree.norm(parameters)),
        "cosine": diagnostics.cosine(inner),
        "angle": diagnostics.angle(diagnostics.cosine(inner)),
        "norm_ratio": diagnostics.norm_ratio(inner),
        "projection": diagnostics.projection(inner),
        "sign_agreement": diagnostics.sign_agreement(gradients),
        "explained_share": diagnostics.explained_share(inner, by=by),
        "effective_examples": diagnostics.effective_examples(pulls),
        "effective_examples_law": _law(objectives, logits, own.labels),
        "participation_ratio": diagnostics.participation_ratio(pulls),
        "vanishing_share": diagnostics.vanishing_share(pulls),
        "dead_share": diagnostics.dead_share(derivatives),
        "wrong_way_share": diagnostics.wrong_way_share(pulls),
        "margin_direction_share": diagnostics.margin_direction_share(derivatives, logits, own.labels),
        "weight_quantile": jnp.quantile(jnp.abs(pulls), jnp.asarray(QUANTILES), axis=1).T,
        "batch_accuracy": accuracy(logits, own.labels),
    }
    found |= _by_margin(pulls, hard_margin(logits, own.labels))
    noise = _of_examples(moments, len(own.labels)) | {
        "batch_cosine": _by_size(
            partial(
                batch_cosine, network, parameters, *own, [objectives[i] for i in apart], moments, precision=precision
            ),
            len(own.labels),
        )
    }
    nowhere = {name: jnp.full((len(objectives), *one.shape[1:]), jnp.nan) for name, one in noise.items()}
    return gradients, found | {name: nowhere[name].at[apart].set(one) for name, one in noise.items()}


def _by_margin(pulls: Float[Array, "objectives batch"], margins: Float[Array, " batch"]) -> dict[str, Array]:
    in_bin = jnp.searchsorted(jnp.asarray(MARGIN_EDGES[1:-1]), margins)[:, None] == jnp.arange(len(MARGIN_EDGES) - 1)
    size = jnp.abs(pulls)
    total = jnp.sum(size, axis=1, keepdims=True)
    density, error = diagnostics.margin_density(margins)
    return {
        "weight_by_margin": (size / jnp.where(total > 0, total, 1.0)) @ in_bin.astype(size.dtype),
        "examples_by_margin": jnp.mean(in_bin, axis=0),
        "margin_density": density,
        "margin_density_error": error,
    }


def _law(
    objectives: Sequence[Objective], logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " objectives"]:
    """The effective examples that each smoothed accuracy's width and its margin's density foretell; NaN for others."""
    found = jnp.full(len(objectives), jnp.nan)
    for positions, of in families(objectives):
        form = of.definition.margin_form
        if form is None or form.kernel is None:
            continue
        width, roughness = form.kernel

        def of_one(parameters, form=form, width=width, roughness=roughness):
            density, _ = diagnostics.margin_density(form.margin(logits, labels, **parameters))
            return diagnostics.effective_examples_law(
                density, parameters[width], examples=len(labels), roughness=roughness
            )

        found = found.at[np.array(positions)].set(jax.vmap(of_one)(of.parameters))
    return found


def _by_size(of_size: Callable[..., Array], examples: int) -> Float[Array, "objectives sizes"]:
    """`of_size` for each of BATCH_SIZES; NaN for those that there are too few examples for."""
    found = [of_size(batch_size=min(size, examples)) for size in BATCH_SIZES]
    few = np.array(BATCH_SIZES) > examples
    return jnp.where(few[None, :], jnp.nan, jnp.stack(found, axis=1))


def _of_examples(moments: Moments, batch: int) -> dict[str, Array]:
    """What the spread of single examples' gradients says, for objectives that are sums over examples."""
    square = jnp.mean(moments.inner, axis=1)  # of the mean gradient
    scale, error = diagnostics.noise_scale(moments.squared_norm, moments.inner)
    return {
        "signal_to_noise": diagnostics.signal_to_noise(moments.squared_norm, square),
        "certain_share": diagnostics.certain_share(moments.mean, moments.square, batch),
        "noise_scale": scale,
        "noise_scale_error": error,
    }


_accuracy_gain = jax.jit(accuracy_gain, static_argnames=("network", "reference", "precision"))


def _of_rays(gain: Gain) -> dict[str, Array]:
    """What the best step along each gradient does to the metric and to the objective itself."""
    return {
        "gain_length": gain.length,
        "gain": gain.own,
        "gain_error": gain.own_error,
        "gain_held_out": gain.held_out,
        "gain_held_out_error": gain.held_out_error,
        "gain_difference": gain.difference,
        "gain_difference_error": gain.difference_error,
        "predicted": gain.predicted,
        "realised": gain.realised,
    }


def _of_margins(
    network: Network,
    parameters: Any,
    own: Batch,
    held_out: Batch,
    objectives: Sequence[Objective],
    gradients: Any,
    reference: int,
    cosine: Float[Array, "objectives objectives"],
    precision: str,
) -> dict[str, Any]:
    """What a few nodes of the margin axis say: how exactly, and which weight over them would be the best."""
    nodes = min(NODES, len(own.labels))
    names, errors = [str(one) for one in objectives], np.full(len(objectives), np.nan)
    few = {of: _nodes(network, parameters, own, of, nodes, precision) for of in MARGINS}
    for of, other in REFERENCES.items():
        chosen = [i for i, one in enumerate(objectives) if _is_of(one, of)]
        if other in names:
            predicted = _predicted_cosine(few[of], [objectives[i] for i in chosen], precision)
            place = names.index(other)
            errors[chosen] = np.abs(predicted[:, chosen.index(place)] - np.asarray(cosine)[chosen, place])
    with jax.default_matmul_precision(precision):
        alignment, slopes = _rise(network, parameters, own, held_out, gradients, nodes, precision)
    inner, axis, towards = (np.asarray(one, dtype=float) for one in (*few["soft"], slopes))
    # Straight between a few nodes only: a weight with all of them would be fitted to the noise of the examples.
    coarse = np.linspace(0, nodes - 1, min(BEST_NODES, nodes)).round().astype(int)
    hats = np.array([np.interp(axis, axis[coarse], one) for one in np.eye(len(coarse))])
    best = best_weight(hats @ inner @ hats.T, hats @ towards) @ hats
    weight = np.asarray(_weight(objectives[reference], few["soft"].margins), dtype=float)
    return {
        "margin_gram_error": errors,
        "alignment": alignment,
        "best_alignment": best @ towards,
        "best_weight": best,
        "node_weight": weight / (np.sqrt(max(weight @ inner @ weight, 0.0)) or 1.0),
        "node_margin": few["soft"].margins,
    }


@partial(jax.jit, static_argnames="precision")
def _predicted_cosine(
    few: MarginGram, objectives: Sequence[Objective], precision: str
) -> Float[Array, "objectives objectives"]:
    weights = jnp.stack([one.weight(few.margins) for one in objectives])
    return diagnostics.cosine(gram_from_margins(few.inner, weights, precision=precision))


@jax.jit
def _weight(of: Objective, margins: Float[Array, " nodes"]) -> Float[Array, " nodes"]:
    return of.weight(margins)


@partial(jax.jit, static_argnames=("network", "of", "nodes", "precision"))
def _nodes(network: Network, parameters: Any, own: Batch, of: str, nodes: int, precision: str) -> MarginGram:
    return margin_gram(network.apply, parameters, *own, MARGINS[of], nodes=nodes, precision=precision)


@partial(jax.jit, static_argnames=("network", "nodes", "precision"))
def _rise(
    network: Network, parameters: Any, own: Batch, held_out: Batch, gradients: Any, nodes: int, precision: str
) -> tuple[Float[Array, " objectives"], Float[Array, " nodes"]]:
    """The way in which held-out accuracy rises: each step's cosine with it, and the soft margin's nodes' products.

    It is the steepest ascent of accuracy smoothed as the margins' density is estimated: by a Gaussian of Silverman's
    width.
    """
    width = diagnostics.silverman_width(hard_margin(network.apply(parameters, held_out.images), held_out.labels))
    smooth = GAUSSIAN_MARGIN.make(sigma=jnp.where(width > 0, width, 1.0))  # 0 where all margins are the same
    slope = objective_gradients(network, parameters, *held_out, [smooth], precision=precision).gradients
    rise = jax.tree.map(lambda leaf: leaf[0], downhill(slope))
    pairs = zip(jax.tree.leaves(downhill(gradients)), jax.tree.leaves(rise), strict=True)
    products = [jnp.einsum("k...,...->k", step, of, precision=precision) for step, of in pairs]
    slopes = margin_slopes(network.apply, parameters, *own, soft_margin, rise, nodes=nodes, precision=precision)
    return sum(products[1:], start=products[0]), slopes


def _is_of(one: Objective, of: str) -> bool:
    """Whether an objective is a function of this margin: the hard one, or the soft one at T = 1."""
    form = one.definition.margin_form
    if form is None or form.of != of:
        return False
    return form.temperature is None or float(one.parameters[form.temperature]) == 1
