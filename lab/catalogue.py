"""The catalogue: objectives by name, the lab's own and the user's."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lab.confusion import BATCHWISE
from lab.errors import InputError, unknown
from lab.hinges import HINGES
from lab.losses import LOSSES
from lab.objectives import BatchForm, Definition, Objective, Parameter
from lab.surrogates import SURROGATES
from lab.userfile import described, failure, from_user_file
from lab.weighted import WEIGHTED

_definitions: dict[str, Definition] = {
    definition.name: definition for definition in (*LOSSES, *SURROGATES, *WEIGHTED, *HINGES, *BATCHWISE)
}
_BUILT_IN = frozenset(_definitions)

_SEE = "python -m lab list objectives"


def definitions() -> Iterator[Definition]:
    """Every objective known by name, in the order of the catalogue."""
    return iter(list(_definitions.values()))


def objective(name: str, **parameters: Any) -> Objective:
    """An objective by name, or in the form "name:parameter=value,..." or "path/to/mine.py:name:parameter=value".

    Raises: InputError for a name, parameter or value that does not exist or is out of range.

    >>> str(objective("expected_error:temperature=0.1"))
    'expected_error:temperature=0.1'
    >>> objective("gce:q=2")
    Traceback (most recent call last):
    lab.errors.InputError: objective 'gce' needs 0 < q <= 1 (a finite number); got 2.0.
    """
    if not isinstance(name, str):
        raise InputError(f"an objective is named by a text, as in 'gce:q=0.5'; got {name!r}.")
    file, _, rest = name.rpartition(".py:")
    name, *tail = (rest if file else name).split(":", 1)
    given = _read_parameters(tail[0]) if tail else {}
    for key in given.keys() & parameters.keys():
        raise InputError(f"parameter {key!r} of objective {name!r} is given twice.")
    if not file:
        return _find(name).make(**given, **parameters)
    definition, own = _from_file(Path(file + ".py"), name)
    return definition.make(**(own | given | parameters))


def _find(name: str) -> Definition:
    if name not in _definitions:
        raise unknown("objective", name, _definitions, see=_SEE)
    return _definitions[name]


def _read_parameters(text: str) -> dict[str, float | str]:
    """{"q": 0.5} of "q=0.5"; what is no number stays a word."""
    values: dict[str, float | str] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\S+)\s*", part)
        if not match:
            raise InputError(f"cannot read {part!r} in an objective's parameters; write name=value, as in gce:q=0.5.")
        name, value = match.groups()
        if name in values:
            raise InputError(f"parameter {name!r} is given twice in {text!r}.")
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = value
    return values


def register(function: Callable[..., Any] | Definition, **facts: Any) -> Definition:
    """Adds an objective to the catalogue and returns its definition.

    `function(logits [batch, classes], labels [batch], **parameters) -> [batch]`, or -> [] for an objective of a whole
    batch that is no mean over its examples; its keyword parameters with numbers for defaults become
    hyper-parameters. `facts` are further fields of `Definition`: formula, source, `parameters` with ranges, flags. A
    `Definition` is taken as it is. One's own of the same name as before takes its place, as when a cell of a notebook
    is run again; objectives made of the one before stay as they are.

    Raises: InputError if the name is one of the lab's or no identifier, or the function has none, for a fact that is no
      field, or if it returns neither one number per example nor one that only the whole batch has.

    >>> import lab
    >>> def gce(logits, labels, *, q=0.7):
    ...     return lab.objective("expected_error")(logits, labels) ** q
    >>> lab.register(gce, formula="(1 - p_y)^q")
    Traceback (most recent call last):
    lab.errors.InputError: an objective named 'gce' exists already; choose another name.
    """
    definition = function if isinstance(function, Definition) else _define(function, **facts)
    if definition.name in _BUILT_IN:
        raise InputError(f"an objective named {definition.name!r} exists already; choose another name.")
    if not definition.name.isidentifier():  # "name:parameter=value" could not be read
        raise InputError(f"an objective's name must be one word, as of a function; got {definition.name!r}.")
    _definitions[definition.name] = definition = _tried(definition)
    return definition


def _define(function: Callable[..., Any], **facts: Any) -> Definition:
    """A definition read off a plain function: its name, its docstring's first line, its keyword defaults."""
    if not callable(function) or not hasattr(function, "__name__"):
        raise InputError(
            f"an objective is made of a function that has a name, as `def` gives it; got {described(function)}."
        )
    possible = [one.name for one in fields(Definition) if one.name != "function"]
    for fact in facts.keys() - possible:
        raise unknown("fact of an objective", fact, possible, see="lab.Definition")
    parameters = {}
    for parameter in _arguments(function)[2:]:
        if isinstance(parameter.default, bool) or not isinstance(parameter.default, int | float):
            raise InputError(
                f"parameter {parameter.name!r} of {function.__name__} needs a number as its default, "
                f"as in `def {function.__name__}(logits, labels, *, {parameter.name}=1.0)`."
            )
        parameters[parameter.name] = Parameter(float(parameter.default))
    first_line = (inspect.getdoc(function) or "").split("\n")[0]
    known = {
        "name": function.__name__,
        "family": "own",
        "formula": first_line,
        "source": "defined by the user",
        "parameters": parameters,
    }
    return Definition(function=function, **(known | facts))


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:  # of some that are written in C
        raise InputError(f"{function.__name__!r} does not say what it is a function of: {error}.") from error


def _from_file(path: Path, name: str) -> tuple[Definition, dict[str, Any]]:
    """A definition in a user's file, and the parameters of an objective that was made of one there."""
    found = from_user_file(path, name, what="objective")
    if isinstance(found, Objective):
        return _tried(found.definition), found.parameters
    if not isinstance(found, Definition) and not callable(found):
        raise InputError(f"{name!r} of {path} is no function of logits and labels, but {type(found).__name__}.")
    return _tried(found if isinstance(found, Definition) else _define(found)), {}


def _tried(definition: Definition) -> Definition:
    """The definition after a trial run without arithmetic: a wrong shape is found now, not after the first epoch.

    A function that returns one number for four examples makes an objective of a whole batch. One that fails with three
    classes may be made for another number of them: it is tried with others.
    """
    first, parameters = None, definition.make().parameters
    for classes in (3, 10, 2, *range(4, 129)):
        logits, labels = jax.ShapeDtypeStruct((4, classes), jnp.float32), jax.ShapeDtypeStruct((4,), jnp.int32)
        try:
            result = jax.eval_shape(lambda z, y: definition(z, y, **parameters), logits, labels)
        except Exception as error:
            first = first or error
            if not isinstance(error.__cause__ or error, TypeError | ValueError | IndexError):  # no matter of shapes
                break
            continue
        shape, function = getattr(result, "shape", None), definition.function
        if shape in ((4,), ()) and jnp.issubdtype(result.dtype, jnp.floating):
            if shape == (4,):
                return definition
            if function is not None:
                return _of_batch(definition, function, classes)
        raise InputError(
            f"objective {definition.name!r} must return one real number per example, float [4] for logits "
            f"[4, {classes}], or one that only the whole batch has, float []; it returned {described(result)}."
        )
    assert first is not None, "without a failure it has returned"
    if isinstance(first, InputError):  # with shapes and line
        raise first
    raise InputError(f"objective {definition.name!r} fails on logits [4, 3]: {failure(first)}") from first


def _of_batch(definition: Definition, function: Callable[..., Any], classes: int) -> Definition:
    """The definition of a function that returns one number for all examples, as one of a whole batch.

    Raises: InputError if that is a sum or a mean over them: what the lab measures of single examples would be lost.
    """
    parameters = definition.make().parameters
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(12, classes)).astype(np.float32), draw.integers(0, classes, 12)

    @jax.jit
    def whole_and_parts(logits, labels):
        each = jax.vmap(lambda z, y: definition(z[None], y[None], **parameters))(logits, labels)
        return definition(logits, labels, **parameters), each

    try:
        whole, each = whole_and_parts(logits, labels)
    except Exception:  # of one example it makes no sense
        whole, each = np.nan, np.zeros(12)
    if any(np.isclose(whole, total, rtol=1e-4) for total in (each.mean(), each.sum())):
        raise InputError(
            f"objective {definition.name!r} returns the mean or the sum of one number per example; return these, "
            f"float [4] for logits [4, {classes}], and leave the mean to the caller."
        )
    return replace(definition, function=None, batch_form=BatchForm(function))
