"""Blame: which operation first gave what is no number, found by doing steps again with every operation checked."""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import checkify
from jaxtyping import Int, PRNGKeyArray

from lab.networks import Images, Network, scaled
from lab.optimisers import Optimiser
from lab.schedules import Schedule, values


def blame(
    network: Network,
    schedule: Schedule,
    optimiser: Optimiser,
    parameters: Any,
    optimiser_state: Any,
    images: Images,
    labels: Int[np.ndarray, " batch"],
    key: PRNGKeyArray,
    first: int,
    last: int,
    *,
    batch_size: int,
    order: Callable[..., Int[np.ndarray, "steps batch"]],
) -> str:
    """A sentence on the first operation that gives NaN between the steps `first` and `last` of a network's training.

    `key` is the one that the training was begun with. An infinity is no error in itself (the logarithm of 0 may well
    be meant): what is named is the operation that makes NaN of it, and where in the code that is.
    """

    def step(parameters, optimiser_state, number, batch, labels):
        def loss(parameters):
            logits = network.apply(parameters, scaled(batch))
            return jnp.mean(values(schedule, number, logits, labels))

        gradient = jax.grad(loss)(parameters)
        updates, state = optimiser.update(gradient, optimiser_state, parameters)
        return optax.apply_updates(parameters, updates), state

    checked = jax.jit(checkify.checkify(step, errors=checkify.nan_checks))
    order_key = jax.random.split(key)[1]
    indices = order(order_key, first, last - first, examples=len(labels), batch_size=batch_size)
    for number, batch in enumerate(indices, start=first):
        error, (parameters, optimiser_state) = checked(
            parameters, optimiser_state, jnp.asarray(number), images[batch], labels[batch]
        )
        if message := error.get():
            return f"At step {number} {message.splitlines()[0].rstrip('.')}{_place(error.get_exception())}."
    return f"No single operation gives NaN between steps {first} and {last}: numbers grow beyond what float can hold."


def _place(error: Any) -> str:
    """Where in the code the operation is: its innermost line outside of JAX and optax."""
    found = getattr(error, "traceback_info", None)
    frames = traceback.extract_tb(found.as_python_traceback()) if found else []
    others = tuple(str(Path(inspect.getfile(package)).parent) for package in (jax, optax))
    own = [frame for frame in frames if not frame.filename.startswith(others)]
    return f", at {own[-1].filename}:{own[-1].lineno}" if own else ""
