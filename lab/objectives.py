"""The objective: one number per example to be minimised, and all that is known about it.

An `Objective` is a small pytree: its hyper-parameters are leaves, so a sweep over temperatures is one compiled
program. What is the same at every temperature (the formula, the range of each parameter, the weight
function) is its `Definition`, which JAX treats as static.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from lab.errors import InputError
from lab.labels import class_numbers

SYMBOLS = {"temperature": "T"}


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter's default and the range it must lie in; `open_low` excludes the lower end itself."""

    default: float
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: float) -> bool:
        """Whether `value` lies in the range; NaN and infinities never do."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def range(self, name: str) -> str:
        """The range as one reads it.

        >>> Parameter(0.7, low=0.0, high=1.0, open_low=True).range("q")
        '0 < q <= 1'
        """
        low = "" if self.low == -math.inf else f"{self.low:g} {'<' if self.open_low else '<='} "
        high = "" if self.high == math.inf else f" {'<' if self.open_high else '<='} {self.high:g}"
        if low and not high:
            return f"{name} {'>' if self.open_low else '>='} {self.low:g}"
        return f"{low}{name}{high}"


def positive(default: float) -> Parameter:
    """A parameter that must be > 0, such as a temperature."""
    return Parameter(default, low=0.0, open_low=True)


@dataclass(frozen=True, eq=False)
class MarginForm:
    """An objective written as phi(m): then its logit gradient is -w(m) dm/dz with w = -phi'.

    `margin(logits, labels, **parameters)`, `phi(m, **parameters)` and `weight(m, **parameters)` each take all of
    the objective's parameters by name.
    """

    margin: Callable[..., Float[Array, " batch"]]
    phi: Callable[..., Float[Array, "*shape"]]
    weight: Callable[..., Float[Array, "*shape"]]

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], **parameters: Any
    ) -> Float[Array, " batch"]:
        return self.phi(self.margin(logits, labels, **parameters), **parameters)


@dataclass(frozen=True, eq=False)
class Definition:
    """What an objective is, apart from the values of its parameters.

    Flags: `bounded` (its values), `symmetric` (the sum over all labels is constant: tolerant of label noise,
    Ghosh et al. 2017), `calibrated` (its minimiser picks the most probable class), `smooth` (differentiable
    everywhere), `centred` (bounded and half-way between its extremes where all classes tie). None: not known.
    """

    name: str
    family: str
    formula: str
    source: str
    function: Callable[..., Float[Array, " batch"]]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    bounded: bool | None = None
    symmetric: bool | None = None
    calibrated: bool | None = None
    smooth: bool | None = None
    centred: bool | None = None

    @property
    def margin_form(self) -> MarginForm | None:
        """phi, w and the margin they are functions of; None if the objective is no function of a margin."""
        return self.function if isinstance(self.function, MarginForm) else None

    def make(self, **values: Any) -> "Objective":
        """The objective with these parameter values, the others at their defaults.

        Raises: InputError for a parameter that does not exist or a concrete value out of range.
        """
        for name in values.keys() - self.parameters.keys():
            known = ", ".join(self.parameters) or "none"
            raise InputError(f"objective {self.name!r} has no parameter {name!r}; its parameters: {known}.")
        chosen = {name: values.get(name, parameter.default) for name, parameter in self.parameters.items()}
        for name, value in chosen.items():
            _check_value(self, name, value)
        return Objective(self, {name: jnp.asarray(value, dtype=float) for name, value in chosen.items()})


def _check_value(definition: Definition, name: str, value: Any) -> None:
    if isinstance(value, Tracer):
        return
    parameter = definition.parameters[name]
    try:
        allowed = parameter.allows(float(value))
    except (TypeError, ValueError):
        allowed = False
    if not allowed:
        raise InputError(
            f"objective {definition.name!r} needs {parameter.range(name)} (a finite number); got {value!r}."
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    """One number per example, to be minimised: objective(logits [batch, classes], labels [batch]) -> [batch].

    Labels are class numbers or one-hot rows. Nothing is averaged: the caller takes the mean, so masks,
    weights and per-example gradients come free. Make one with `lab.objective(name, **parameters)`.
    """

    definition: Definition = field(metadata={"static": True})
    parameters: dict[str, Float[Array, "..."]]

    def __call__(
        self, logits: Float[Array | np.ndarray, "batch classes"], labels: Array | np.ndarray
    ) -> Float[Array, " batch"]:
        labels = class_numbers(labels, shape=jnp.shape(logits))
        return self.definition.function(jnp.asarray(logits), labels, **self.parameters)

    @property
    def name(self) -> str:
        """The objective's name, without its parameters."""
        return self.definition.name

    def weight(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """w(m) = -phi'(m): how hard an example of margin m pulls.

        Raises: InputError if the objective is no function of a margin.
        """
        form = self.definition.margin_form
        if form is None:
            raise InputError(f"objective {self.name!r} is no function of a margin: it has no weight function.")
        return form.weight(margin, **self.parameters)

    def __str__(self) -> str:
        """The form that `lab.objective` reads back: the parameters that differ from their defaults.

        >>> import lab
        >>> str(lab.objective("gce", q=0.5)), str(lab.objective("gce"))
        ('gce:q=0.5', 'gce')
        """
        changed = ",".join(f"{name}={value:.6g}" for name, value in self._changed().items())
        return f"{self.name}:{changed}" if changed else self.name

    @property
    def title(self) -> str:
        """A short form for tables and pictures; a smoothed accuracy always says its temperature.

        >>> import lab
        >>> lab.objective("expected_error").title
        'expected_error T=1'
        """
        smoothed = self.definition.family == "smoothed accuracy"
        said = {name: float(value) for name, value in self.parameters.items()} if smoothed else self._changed()
        return " ".join([self.name, *(f"{SYMBOLS.get(name, name)}={value:.6g}" for name, value in said.items())])

    def _changed(self) -> dict[str, float]:
        defaults = self.definition.make().parameters
        return {name: float(x) for name, x in self.parameters.items() if float(x) != float(defaults[name])}
