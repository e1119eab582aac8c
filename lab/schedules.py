"""Schedules: what is minimised, when that changes as training goes on.

A schedule is a pytree, as an objective is, and its numbers are traced. `values(schedule, step, logits, labels)` gives
the values per example at a step; an objective is its own schedule, the constant one.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lab.errors import InputError
from lab.margins import hard_margin
from lab.objectives import Objective

COLDEST = 1e-3  # a temperature tied to margins never falls below: a batch of ties would make it 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Annealed:
    """A parameter moves geometrically from the objective's own value to `to`, over `steps` steps, and stays there."""

    objective: Objective
    parameter: str = field(metadata={"static": True})
    to: Any  # Float[Array, "..."], or what JAX puts in its place; here and below
    steps: Any  # Float[Array, "..."]

    def at(self, step: Any) -> Objective:
        """The objective of a step: parameter = start^(1 - s) to^s with s = min(step / steps, 1)."""
        start, share = self.objective.parameters[self.parameter], jnp.clip(step / self.steps, 0.0, 1.0)
        return _with(self.objective, self.parameter, start * (self.to / start) ** share)

    def __str__(self) -> str:
        return f"{self.objective}, {self.parameter} annealed to {float(self.to):g} over {float(self.steps):g} steps"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tied:
    """The temperature is the `quantile` of the mini-batch's absolute hard margins: that share lies within it."""

    objective: Objective
    quantile: Any  # Float[Array, "..."]

    def at(self, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Objective:
        """The objective of a mini-batch. No gradient flows through its temperature."""
        distances = jnp.abs(jax.lax.stop_gradient(hard_margin(logits, labels)))
        temperature = jnp.maximum(jnp.quantile(distances, self.quantile), COLDEST)
        return _with(self.objective, "temperature", temperature)

    def __str__(self) -> str:
        return f"{self.objective}, temperature tied to the {float(self.quantile):g} quantile of the margins"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HandOver:
    """One schedule up to a step, another from that step on; the optimiser's state goes on."""

    first: "Schedule"
    then: "Schedule"
    step: Any  # Int[Array, "..."]

    def __str__(self) -> str:
        return f"{self.first}, from step {int(self.step)} on {self.then}"


Schedule = Objective | Annealed | Tied | HandOver


def values(
    schedule: Schedule, step: Any, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """The values per example that a schedule minimises at a step.

    >>> import lab
    >>> brier, gce = lab.objective("brier"), lab.objective("gce")
    >>> logits, labels = jnp.array([[2.0, 0.0]]), jnp.array([1])
    >>> later = values(hand_over(brier, gce, step=10), 10, logits, labels)
    >>> bool(later == gce(logits, labels))
    True
    """
    match schedule:
        case Annealed():
            return schedule.at(step)(logits, labels)
        case Tied():
            return schedule.at(logits, labels)(logits, labels)
        case HandOver():
            first, then = (partial(values, part, step, logits, labels) for part in (schedule.first, schedule.then))
            return jax.lax.cond(step < schedule.step, first, then)
        case _:
            return schedule(logits, labels)


def at_step(schedule: Schedule, step: int) -> Objective:
    """The objective that a schedule has come to at a step; one tied to margins, at its own temperature."""
    match schedule:
        case Annealed():
            return schedule.at(step)
        case Tied():
            return schedule.objective
        case HandOver():
            return at_step(schedule.first if step < int(schedule.step) else schedule.then, step)
        case _:
            return schedule


def annealed(objective: Objective, *, to: float, steps: int, parameter: str = "temperature") -> Annealed:
    """The objective, with a parameter that moves geometrically to `to` over `steps` steps.

    Raises: InputError if it has no such parameter or that is a whole number, either end is not positive or out of its
      range, or steps < 1.

    >>> import lab
    >>> schedule = annealed(lab.objective("expected_error", temperature=10.0), to=0.1, steps=100)
    >>> [round(float(schedule.at(step).parameters["temperature"]), 3) for step in (0, 50, 100, 200)]
    [10.0, 1.0, 0.1, 0.1]
    """
    end = objective.definition.make(**{**objective.parameters, parameter: to})  # checks its name and its range
    if objective.definition.parameters[parameter].whole:
        raise InputError(f"{parameter} of objective {objective.name!r} is a whole number: nothing lies between two.")
    if steps < 1 or not float(to) > 0 or not bool(jnp.all(objective.parameters[parameter] > 0)):
        raise InputError(
            f"annealing goes geometrically from one number > 0 to another in 1 step or more; got {parameter} "
            f"{objective.parameters[parameter]} to {to} in {steps} steps."
        )
    return Annealed(objective, parameter, end.parameters[parameter], jnp.asarray(steps, dtype=float))


def tied(objective: Objective, *, quantile: float) -> Tied:
    """The objective at a temperature that follows the margins.

    With few examples near the boundary late in training a fixed temperature is carried by few of them; this one widens
    or narrows until the share `quantile` of a mini-batch lies within one temperature of it. (The quantile of the
    absolute hard margins; never below `COLDEST`.)

    Raises: InputError if it has no temperature or the quantile is not in 0 < q <= 1.

    >>> import lab
    >>> logits, labels = jnp.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]), jnp.array([0, 0, 0])
    >>> found = tied(lab.objective("sigmoid_margin"), quantile=0.5).at(logits, labels)
    >>> float(found.parameters["temperature"])
    3.0
    """
    if "temperature" not in objective.parameters:
        raise InputError(f"objective {objective.name!r} has no temperature to be tied to the margins.")
    if not 0 < quantile <= 1:
        raise InputError(f"the quantile of the margins must be 0 < q <= 1; got {quantile}.")
    return Tied(objective, jnp.asarray(quantile, dtype=float))


def hand_over(first: Schedule, then: Schedule, *, step: int) -> HandOver:
    """One objective up to `step`, another from there on.

    Raises: InputError for a step below 1.
    """
    if step < 1:
        raise InputError(f"an objective can be handed over from step 1 on; got {step}.")
    return HandOver(first, then, jnp.asarray(step, dtype=jnp.int32))


def _with(objective: Objective, name: str, value: Any) -> Objective:
    return replace(objective, parameters={**objective.parameters, name: value})
