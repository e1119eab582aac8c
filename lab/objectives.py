"""The objective: one number per example to be minimised, and all that is known about it.

An `Objective` is a small pytree: its hyper-parameters are leaves, so a sweep over temperatures is one compiled
program. What is the same at every temperature (the formula, the range of each parameter, the weight
function) is its `Definition`, which JAX treats as static.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Num

from lab.errors import InputError, unknown
from lab.labels import class_numbers
from lab.margins import hard_margin, soft_margin
from lab.userfile import failure

SYMBOLS = {"temperature": "T"}
FLAGS = {  # what may hold of an objective, at the defaults of its parameters
    "bounded": "its values lie between two numbers, whatever the logits",
    "symmetric": "its sum over all labels is constant: tolerant of symmetric label noise (Ghosh et al. 2017)",
    "calibrated": "its mean is least only where the most probable class is ranked first, also without a majority",
    "smooth": "differentiable everywhere",
    "centred": "bounded, and half-way between its extremes where all classes tie",
    "invariant": "adding one number to all logits changes nothing",
}


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter's default and the range it must lie in; `open_low` excludes the lower end itself."""

    default: float
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def allows(self, value: float) -> bool:
        """Whether `value` lies in the range; NaN and infinities never do."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below and not (self.whole and value % 1)

    def keeps(self, value: float) -> bool:
        """Whether `value`, which is allowed, still is when rounded: no open end is reached, nor infinity."""
        low, high, kept = _rounded(self.low), _rounded(self.high), _rounded(value)
        return math.isfinite(kept) and not (self.open_low and kept == low) and not (self.open_high and kept == high)

    @property
    def kind(self) -> str:
        """What kind of number it is."""
        return "a whole number" if self.whole else "a finite number"

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


def _rounded(value: float) -> float:
    """A number as compiled code knows it: of the digits that JAX is set to, and 0 below the smallest normal one."""
    kind = jnp.result_type(float)
    with np.errstate(over="ignore", under="ignore"):
        rounded = float(np.asarray(value).astype(kind))
    return rounded if abs(rounded) >= float(jnp.finfo(kind).tiny) else 0.0


def positive(default: float) -> Parameter:
    """A parameter that must be > 0, such as a temperature."""
    return Parameter(default, low=0.0, open_low=True)


@dataclass(frozen=True)
class Choice:
    """A hyper-parameter that is a word: each makes another program, where a number does not."""

    default: str
    allowed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MarginForm:
    """An objective written as phi(m): then its logit gradient is -w(m) dm/dz with w = -phi'.

    `margin(logits, labels, **parameters)`, `phi(m, **parameters)` and `weight(m, **parameters)` each take all of
    the objective's parameters by name. `of` is the margin's name; `text` is w as an expression in m, the parameters
    and, for a soft margin at temperature T, T and p = sigmoid(m / T). A smoothed step has a `kernel`: the name of the
    parameter that is its width T, and R, the integral of w^2 times T. `temperature` names the parameter that is the
    margin's own, None where it has none or is at 1.
    """

    of: str
    margin: Callable[..., Float[Array, " batch"]]
    phi: Callable[..., Float[Array, "*shape"]]
    weight: Callable[..., Float[Array, "*shape"]]
    text: str
    kernel: tuple[str, float] | None = None
    temperature: str | None = None

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], **parameters: Any
    ) -> Float[Array, " batch"]:
        return self.phi(self.margin(logits, labels, **parameters), **parameters)


def of_hard(phi: Callable[..., Array], weight: Callable[..., Array], text: str) -> MarginForm:
    """A function of the hard margin."""
    return MarginForm("hard", lambda logits, labels, **_: hard_margin(logits, labels), phi, weight, text)


def of_soft(
    phi: Callable[..., Array], weight: Callable[..., Array], text: str, temperature: str | None = None
) -> MarginForm:
    """A function of the soft margin at the parameter of the name `temperature`, or at 1."""

    def margin(logits, labels, **parameters):
        return soft_margin(logits, labels, parameters[temperature] if temperature else 1.0)

    return MarginForm("soft", margin, phi, weight, text, temperature=temperature)


class Parts(NamedTuple):
    """How the value of a batch follows from those of its parts: by a matrix that is a sum over examples.

    `statistic(logits, labels, mask, **parameters)` is the matrix [classes, classes] of a part, and
    `finish(statistic, **parameters)` the value of the parts whose matrices have been added.
    """

    statistic: Callable[..., Float[Array, "classes classes"]]
    finish: Callable[..., Float[Array, ""]]


@dataclass(frozen=True, eq=False)
class BatchForm:
    """An objective of a whole batch: `value(logits, labels, **parameters)` is one number for all its examples.

    With `parts` the examples of a data set need not be taken at once.
    """

    value: Callable[..., Float[Array, ""]]
    parts: Parts | None = None

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], **parameters: Any
    ) -> Float[Array, " batch"]:
        value = self.value(logits, labels, **parameters)
        return jnp.broadcast_to(value, labels.shape)  # its mean, and the gradient of its mean, are the batch's


def of_sums(
    statistic: Callable[..., Float[Array, "classes classes"]], finish: Callable[..., Float[Array, ""]]
) -> BatchForm:
    """A function of a matrix that is a sum over examples."""

    def value(logits, labels, **parameters):
        everybody = jnp.ones(labels.shape, dtype=bool)
        return finish(statistic(logits, labels, everybody, **parameters), **parameters)

    return BatchForm(value, Parts(statistic, finish))


@dataclass(frozen=True, eq=False)
class Definition:
    """What an objective is, apart from the values of its parameters.

    `function(logits, labels, **parameters)` gives a value per example; where it is left out, the margin form or the
    batch form does. `flags` names those of `FLAGS` that hold at the defaults, as in "bounded smooth"; None: not known.
    `note` is the trap that a user should know. An objective with `choices` has `variant(**choices)`, which gives its
    definition for other choices than those of `chosen`.
    """

    name: str
    family: str
    formula: str
    source: str
    function: Callable[..., Float[Array, " batch"]] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    flags: str | None = None
    margin_form: MarginForm | None = None
    batch_form: BatchForm | None = None
    note: str = ""
    choices: Mapping[str, Choice] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    variant: "Callable[..., Definition] | None" = None

    def __post_init__(self) -> None:
        if strange := set((self.flags or "").split()) - FLAGS.keys():
            raise InputError(f"unknown flags of {self.name!r}: {', '.join(strange)}. Known: {', '.join(FLAGS)}.")

    def __copy__(self) -> "Definition":
        return self  # a copy would be another family, and another program

    def __deepcopy__(self, memo: Any) -> "Definition":
        return self

    def __call__(self, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], **parameters: Any) -> Any:
        """Values per example, of labels that have been checked and of every parameter by name.

        What comes back is as the function gives it: a user's own may well be of another shape.

        Raises: InputError, with the line in question, where a user's function fails: it may be made for another number
          of classes.
        """
        function = self.function or self.margin_form or self.batch_form
        assert function is not None, f"objective {self.name!r} has neither a function nor a form"
        if self.family != "own":
            return function(logits, labels, **parameters)
        try:
            return function(logits, labels, **parameters)
        except Exception as error:
            shapes = f"logits {list(logits.shape)} and labels {list(labels.shape)}"
            raise InputError(f"objective {self.name!r} fails on {shapes}: {failure(error)}") from error

    def has(self, flag: str) -> bool | None:
        """Whether a flag of `FLAGS` holds; None if nobody has said."""
        return None if self.flags is None else flag in self.flags.split()

    def make(self, **values: Any) -> "Objective":
        """The objective with these parameter values and choices, the others at their defaults.

        Raises: InputError for a parameter that does not exist or a concrete value out of range.
        """
        picked = {name: str(values.pop(name)) for name in self.choices if name in values}
        for name, value in picked.items():
            if value not in self.choices[name].allowed:
                raise unknown(name, value, self.choices[name].allowed, see=f"objective {self.name!r}")
        if self.variant is not None and picked.items() - self.chosen.items():
            return self.variant(**{**self.chosen, **picked}).make(**values)
        for name in values.keys() - self.parameters.keys():
            known = ", ".join([*self.choices, *self.parameters]) or "none"
            raise InputError(f"objective {self.name!r} has no parameter {name!r}; its parameters: {known}.")
        chosen = {name: values.get(name, parameter.default) for name, parameter in self.parameters.items()}
        for name, value in chosen.items():
            _check_value(self, name, value)
        return Objective(self, {name: jnp.asarray(value, dtype=float) for name, value in chosen.items()})


def _check_value(definition: Definition, name: str, value: Any) -> None:
    if isinstance(value, Tracer):
        return
    parameter, got = definition.parameters[name], repr(value)
    try:
        allowed = parameter.allows(number := float(value))
        if allowed and not parameter.keeps(number):
            allowed, got = False, f"{got}, which {jnp.result_type(float)} rounds to {_rounded(number):g}"
    except (TypeError, ValueError, OverflowError):
        allowed = False
    if not allowed:
        raise InputError(f"objective {definition.name!r} needs {parameter.range(name)} ({parameter.kind}); got {got}.")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    """One number per example, to be minimised: objective(logits [batch, classes], labels [batch]) -> [batch].

    Labels are class numbers or one-hot rows. Nothing is averaged: the caller takes the mean, so masks,
    weights and per-example gradients come free. Make one with `lab.objective(name, **parameters)`.
    """

    definition: Definition = field(metadata={"static": True})
    parameters: dict[str, Any]  # Float[Array, "..."], or what JAX puts in its place, as when it lowers a function

    def __call__(
        self, logits: Num[Array | np.ndarray, "batch classes"], labels: Array | np.ndarray
    ) -> Float[Array, " batch"]:
        labels, logits = class_numbers(labels, shape=jnp.shape(logits)), jnp.asarray(logits)
        if not jnp.issubdtype(logits.dtype, jnp.floating):  # what is made like them would be whole numbers too
            logits = logits.astype(float)
        return self.definition(logits, labels, **self.parameters)

    @property
    def name(self) -> str:
        """The objective's name, without its parameters."""
        return self.definition.name

    @property
    def whole_batch(self) -> bool:
        """Whether only a whole batch has a value: no example has one, nor a gradient, of its own."""
        return self.definition.batch_form is not None

    def weight(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """w(m) = -phi'(m): how hard an example of margin m pulls.

        Raises: InputError if the objective is no function of a margin.
        """
        form = self.definition.margin_form
        if form is None:
            raise InputError(f"objective {self.name!r} is no function of a margin: it has no weight function.")
        return form.weight(margin, **self.parameters)

    def __str__(self) -> str:
        """Its name and the parameters that differ from their defaults, to six digits.

        `lab.objective` reads it back, but for one from a user's file, whose path is not in it.

        >>> import lab
        >>> str(lab.objective("gce", q=0.5)), str(lab.objective("gce"))
        ('gce:q=0.5', 'gce')
        """
        numbers = {name: f"{value:.6g}" for name, value in self.changed.items()}
        changed = ",".join(f"{name}={value}" for name, value in (self._choices() | numbers).items())
        return f"{self.name}:{changed}" if changed else self.name

    @property
    def title(self) -> str:
        """A short form for tables and pictures; a smoothed accuracy always says its temperature, or its width.

        >>> import lab
        >>> lab.objective("expected_error").title
        'expected_error T=1'
        >>> lab.objective("smoothed_error:kernel=gaussian").title
        'smoothed_error gaussian width=1'
        """
        first = list(self.definition.parameters)[:1] if self.definition.family == "smoothed accuracy" else []
        always = {name: float(self.parameters[name]) for name in first}
        numbers = (f"{SYMBOLS.get(name, name)}={value:.6g}" for name, value in (always | self.changed).items())
        return " ".join([self.name, *self._choices().values(), *numbers])

    def _choices(self) -> dict[str, str]:
        of = self.definition
        return {name: word for name, word in of.chosen.items() if word != of.choices[name].default}

    @property
    def changed(self) -> dict[str, float]:
        """The parameters that differ from their defaults."""
        # On the host: an array made here would wait for whatever the device is computing.
        own = {name: np.asarray(value) for name, value in self.parameters.items()}
        defaults = {
            name: np.asarray(self.definition.parameters[name].default, dtype=x.dtype) for name, x in own.items()
        }
        return {name: float(value) for name, value in own.items() if value != defaults[name]}


def check_objectives(given: Iterable[Any], kinds: Any = Objective) -> None:
    """Raises: InputError if one of them is of none of the kinds.

    >>> check_objectives(["brier"])
    Traceback (most recent call last):
    lab.errors.InputError: objectives are made by lab.objective, as in lab.objective('gce:q=0.5'); got 'brier'.
    """
    for one in given:
        if not isinstance(one, kinds):
            raise InputError(f"objectives are made by lab.objective, as in lab.objective('gce:q=0.5'); got {one!r}.")
