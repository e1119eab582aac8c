"""Optimisers: optax's, by name, with hyper-parameters that a sweep may change without compiling anew."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from lab.errors import InputError, unknown


def _sgd(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate))


def _momentum(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=0.9))


def _adam(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


OPTIMISERS: dict[str, Callable[[Any, Any], optax.GradientTransformation]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Optimiser:
    """How parameters are moved: `make(**hyperparameters)` is a transformation of optax.

    The hyper-parameters are leaves of a pytree, as an objective's are: a sweep over learning rates is one compiled
    program, and optimisers of one name can be stacked and run side by side.
    """

    make: Callable[..., optax.GradientTransformation] = field(metadata={"static": True})
    hyperparameters: dict[str, Any]  # Float[Array, "..."], or what JAX puts in its place

    def init(self, parameters: Any) -> Any:
        """The state before the first step."""
        return self.make(**self.hyperparameters).init(parameters)

    def update(self, gradient: Any, state: Any, parameters: Any) -> tuple[Any, Any]:
        """What is to be added to the parameters, and the state after the step."""
        return self.make(**self.hyperparameters).update(gradient, state, parameters)


@dataclass(frozen=True)
class _Given:
    """A transformation that is there already, without hyper-parameters; equal if it is the same."""

    transformation: optax.GradientTransformation

    def __call__(self) -> optax.GradientTransformation:
        return self.transformation


def optimiser(name: str, learning_rate: Any, *, weight_decay: Any = 0.0) -> Optimiser:
    """One of `OPTIMISERS` (sgd, momentum: 0.9, adam), all from optax.

    `weight_decay` d adds d times the parameter to its gradient, as PyTorch's optimisers do: the gradient of
    (d / 2) |parameters|^2 as long as the optimiser is SGD. (AdamW, which decays apart from the gradient, is another
    optimiser.)

    Raises: InputError for an unknown name, a learning rate that is not positive or a negative decay.

    >>> optimiser("sgd", 0.1).update({"w": jnp.array(2.0)}, optimiser("sgd", 0.1).init({"w": jnp.array(0.0)}),
    ...                              {"w": jnp.array(0.0)})[0]["w"].round(3)
    Array(-0.2, dtype=float32)
    """
    if name not in OPTIMISERS:
        raise unknown("optimiser", name, OPTIMISERS, see="python -m lab train --help")
    if not isinstance(learning_rate, Tracer) and not 0 < learning_rate < float("inf"):
        raise InputError(f"the learning rate must be a finite number > 0; got {learning_rate}.")
    if not isinstance(weight_decay, Tracer) and not 0 <= weight_decay < float("inf"):
        raise InputError(f"the weight decay must be a finite number >= 0; got {weight_decay}.")
    values = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return Optimiser(OPTIMISERS[name], {key: jnp.asarray(value, dtype=float) for key, value in values.items()})


def as_optimiser(given: Optimiser | optax.GradientTransformation) -> Optimiser:
    """An optimiser of the lab, or any of optax made into one."""
    if isinstance(given, Optimiser):
        return given
    return Optimiser(_Given(given), {})
