"""The staircase: what happens to accuracy and to losses when single weights are moved."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lab.catalogue import objective
from lab.estimators import finite_differences
from lab.landscape import line, slice_values, unit
from lab.metrics import accuracy
from lab.networks import Network

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
    value = slice_values(apply, images, labels, [objective(text) for text in LINE_OBJECTIVES])
    return line(value, parameters, unit(parameters, position), jnp.asarray(LINE_OFFSETS)).objectives.T


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
    alive = np.flatnonzero(slopes) if slopes.any() else np.arange(slopes.size)
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
