"""Training: a network is brought from stage to stage by jitted scans over mini-batches."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from lab.batches import shuffled
from lab.errors import InputError, unknown
from lab.networks import Network
from lab.objectives import Objective

OPTIMISERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
}

CHUNK = 20  # steps between two looks at the progress bar; one long scan is no faster


def optimiser(name: str, learning_rate: float) -> optax.GradientTransformation:
    """One of the optimisers of `OPTIMISERS`, all from optax.

    Raises: InputError for an unknown name or a learning rate that is not positive.
    """
    if name not in OPTIMISERS:
        raise unknown("optimiser", name, OPTIMISERS, see="python -m lab train --help")
    if not (0 < learning_rate < float("inf")):
        raise InputError(f"the learning rate must be a finite number > 0; got {learning_rate}.")
    return OPTIMISERS[name](learning_rate)


class TrainState(NamedTuple):
    """All that a training run is, between two steps; the mini-batches follow from the key and the step."""

    parameters: Any
    optimiser_state: Any
    step: int
    losses: Float[np.ndarray, " steps"]  # mini-batch loss of every step since the previous state


@partial(jax.jit, static_argnames=("apply", "update"), donate_argnames=("parameters", "optimiser_state"))
def _run_chunk(
    apply: Callable[..., Any],
    update: Callable[..., Any],
    objective: Objective,
    parameters: Any,
    optimiser_state: Any,
    images: UInt8[Array, "examples pixels"],
    labels: Int[Array, " examples"],
    indices: Int[Array, "steps batch"],
) -> tuple[Any, Any, Float[Array, " steps"], Bool[Array, ""]]:
    """Parameters and optimiser state after a step for each row of `indices`; losses; whether all is finite."""

    def loss(parameters, batch):
        logits = apply(parameters, images[batch].astype(float) / 255)
        return jnp.mean(objective(logits, labels[batch]))

    def step(state, batch):
        parameters, optimiser_state = state
        value, gradient = jax.value_and_grad(loss)(parameters, batch)
        updates, optimiser_state = update(gradient, optimiser_state, parameters)
        return (optax.apply_updates(parameters, updates), optimiser_state), value

    (parameters, optimiser_state), losses = jax.lax.scan(step, (parameters, optimiser_state), indices)
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((parameters, losses))]))
    return parameters, optimiser_state, losses, finite


def train(
    network: Network,
    objective: Objective,
    transformation: optax.GradientTransformation,
    images: UInt8[np.ndarray, "examples pixels"],
    labels: Int[np.ndarray, " examples"],
    *,
    key: PRNGKeyArray,
    stages: Sequence[int],
    batch_size: int = 100,
    order: Callable[..., Int[np.ndarray, "steps batch"]] = shuffled,
    progress: Callable[[int], object] = lambda steps: None,
) -> Iterator[TrainState]:
    """The state of training at each of `stages`, counted in steps (0 is the untouched network).

    The same key gives the same parameters and the same batches, whatever the objective: runs that are compared
    are paired. `progress(steps)` is called as steps are done.

    Raises: InputError unless stages rise from 0 or more; FloatingPointError, naming the steps, when the loss or
      a parameter stops being finite.
    """
    if not stages or list(stages) != sorted(set(stages)) or stages[0] < 0:
        raise InputError(f"stages must be rising numbers of steps from 0 on; got {list(stages)}.")
    init_key, order_key = jax.random.split(key)
    parameters = network.init(init_key)
    optimiser_state = transformation.init(parameters)
    device_images, device_labels = jnp.asarray(images), jnp.asarray(labels)
    step = 0
    for stage in stages:
        indices = order(order_key, step, stage - step, examples=len(labels), batch_size=batch_size)
        losses = []
        for batches in np.split(indices, range(CHUNK, len(indices), CHUNK)):
            parameters, optimiser_state, chunk_losses, finite = _run_chunk(
                network.apply,
                transformation.update,
                objective,
                parameters,
                optimiser_state,
                device_images,
                device_labels,
                batches,
            )
            losses.append(np.asarray(chunk_losses))
            if not finite:
                raise _diverged(objective, losses[-1], step)
            step += len(batches)
            progress(len(batches))
        # A copy: the next chunk gives the buffers of this state back to the device.
        yield TrainState(jax.tree.map(jnp.copy, parameters), optimiser_state, step, np.concatenate(losses))


def _diverged(objective: Objective, losses: np.ndarray, step: int) -> FloatingPointError:
    bad = np.flatnonzero(~np.isfinite(losses))
    what = (
        f"the training loss became {losses[bad[0]]} at step {step + int(bad[0])}"
        if bad.size
        else f"a parameter stopped being finite between steps {step} and {step + len(losses)}"
    )
    return FloatingPointError(f"{what} (objective {objective}). Try a smaller learning rate.")
