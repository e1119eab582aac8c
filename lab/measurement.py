"""The measurement: what is read off one network and one batch, in a few compiled programs.

Every diagnostic of every objective's gradient; what happens to accuracy and losses when single weights are moved.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from lab import diagnostics
from lab.catalogue import objective
from lab.estimators import finite_differences
from lab.gradients import gram, objective_gradients
from lab.landscape import line
from lab.margins import hard_margin
from lab.metrics import accuracy
from lab.networks import Network
from lab.objectives import Objective

MARGIN_EDGES = np.sinh(np.linspace(-np.arcsinh(40.0), np.arcsinh(40.0), 81))  # fine at 0, where it matters
DIFFERENCE_STEPS = (0.001, 0.01, 0.1, 1.0)  # h of the finite differences
DIFFERENCE_WEIGHTS = 16  # weights they are taken at, per network and stage
LINE_OFFSETS = np.linspace(-2.0, 2.0, 401)  # of the one weight that is moved
LINE_EXAMPLES = 100  # few enough for the steps of accuracy to be seen
LINE_OBJECTIVES = (
    "zero_one",
    "cross_entropy",
    "squared_error",
    "expected_error",
    "expected_error:temperature=0.1",
    "sigmoid_margin:temperature=0.1",
)


class Measured(NamedTuple):
    """What one pass over a batch says about every objective's gradient."""

    mean_value: Float[Array, " objectives"]
    norm: Float[Array, " objectives"]
    cosine: Float[Array, "objectives objectives"]
    effective_examples: Float[Array, " objectives"]
    vanishing_share: Float[Array, " objectives"]
    dead: Bool[Array, " objectives"]
    weight_by_margin: Float[Array, "objectives bins"]  # share of sum |w| in each bin of the hard margin
    examples_by_margin: Float[Array, " bins"]  # share of examples in each bin
    batch_accuracy: Float[Array, ""]


@partial(jax.jit, static_argnames=("network", "precision"))
def measure(
    network: Network,
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    objectives: Sequence[Objective],
    *,
    precision: str = "highest",
) -> Measured:
    """Every diagnostic of every objective's gradient, in one compiled program."""
    found = objective_gradients(network, parameters, images, labels, objectives, precision=precision)
    inner = gram(found.gradients, precision=precision)
    pulls = diagnostics.weights(found.cotangents, labels)
    bins = jnp.searchsorted(jnp.asarray(MARGIN_EDGES[1:-1]), hard_margin(found.logits, labels))
    in_bin = bins[:, None] == jnp.arange(len(MARGIN_EDGES) - 1)[None, :]
    size = jnp.abs(pulls)
    total = jnp.sum(size, axis=1, keepdims=True)
    return Measured(
        mean_value=jnp.mean(found.values, axis=1),
        norm=diagnostics.norm(inner),
        cosine=diagnostics.cosine(inner),
        effective_examples=diagnostics.effective_examples(pulls),
        vanishing_share=diagnostics.vanishing_share(pulls),
        dead=diagnostics.is_dead(diagnostics.norm(inner), optax.tree.norm(parameters)),
        weight_by_margin=(size / jnp.where(total > 0, total, 1.0)) @ in_bin.astype(size.dtype),
        examples_by_margin=jnp.mean(in_bin, axis=0),
        batch_accuracy=accuracy(found.logits, labels),
    )


@partial(jax.jit, static_argnames="apply")
def differences(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    positions: Int[Array | np.ndarray, " weights"],
) -> Float[Array, "steps weights 2"]:
    """Finite differences of accuracy and of mean cross entropy at single weights, for each of DIFFERENCE_STEPS."""
    cross_entropy = objective("cross_entropy")

    def value(parameters):
        logits = apply(parameters, images)
        return jnp.stack([accuracy(logits, labels), jnp.mean(cross_entropy(logits, labels))])

    return finite_differences(value, parameters, positions, jnp.array(DIFFERENCE_STEPS))


@partial(jax.jit, static_argnames="apply")
def _cross_entropy_slopes(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
) -> Float[Array, " weights"]:
    """The gradient of mean cross entropy, weight by weight in one row."""
    cross_entropy = objective("cross_entropy")
    slopes = jax.grad(lambda theta: jnp.mean(cross_entropy(apply(theta, images), labels)))(parameters)
    return ravel_pytree(slopes)[0]


@partial(jax.jit, static_argnames="apply")
def staircase(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    position: Int[Array, ""] | np.integer,
) -> Float[Array, "curves offsets"]:
    """The mean of each of LINE_OBJECTIVES while one weight is moved by LINE_OFFSETS."""
    flat, unravel = ravel_pytree(parameters)
    curves = [objective(text) for text in LINE_OBJECTIVES]

    def value(parameters):
        logits = apply(parameters, images)
        return jnp.stack([jnp.mean(curve(logits, labels)) for curve in curves])

    direction = unravel(jnp.zeros_like(flat).at[position].set(1.0))
    return line(value, parameters, direction, jnp.asarray(LINE_OFFSETS)).T


def move_weights(
    network: Network,
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """What happens when single weights are moved: finite differences, and a line along the steepest one."""
    slopes = np.asarray(_cross_entropy_slopes(network.apply, parameters, images, labels))
    # Weights on pixels that are black in every image move nothing: they would make any loss look flat.
    alive = np.flatnonzero(slopes)
    # Drawn by NumPy: the number of such weights differs from stage to stage, and JAX would compile for each.
    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    chosen = draw.choice(alive, min(DIFFERENCE_WEIGHTS, len(alive)), replace=False)
    found = np.asarray(differences(network.apply, parameters, images, labels, chosen))
    of_accuracy, of_loss, expected = found[:, :, 0], found[:, :, 1], slopes[chosen]
    few = slice(LINE_EXAMPLES)
    return {
        "difference_moved_share": np.mean(of_accuracy != 0, axis=1),
        "difference_rms": np.sqrt(np.mean(of_accuracy**2, axis=1)),
        "difference_loss_deviation": np.linalg.norm(of_loss - expected, axis=1) / np.linalg.norm(expected),
        "line": staircase(network.apply, parameters, images[few], labels[few], np.argmax(np.abs(slopes))),
    }
