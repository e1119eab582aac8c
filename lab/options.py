"""Options: what the number or the text of one option of the command line has to be, and how a list is read."""

import math
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args, get_origin

from lab.errors import InputError


def of_their_kinds(settings: Any) -> None:
    """Raises: InputError if settings made in Python hold another word than is allowed, or no text or tuple for one.

    The command line cannot: there these would be found only where they are used, as by their first letter.
    """
    for one in fields(settings):
        kind, value, name = one.type, getattr(settings, one.name), one.name.replace("_", "-")
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise InputError(f"--{name} must be one of {', '.join(map(str, get_args(kind)))}; got {value!r}.")
        if kind is str and not isinstance(value, str):
            raise InputError(f"--{name} must be a text, as on the command line; got {value!r}.")
        if get_origin(kind) is tuple and not isinstance(value, tuple | list):
            raise InputError(f"--{name} must be a tuple, as ({value!r},); got {value!r}.")


def at_least(name: str, value: int, low: int) -> None:
    """Raises: InputError if a whole number is lower."""
    if value < low:
        raise InputError(f"--{name} must be at least {low}; got {value}.")


def positive(name: str, value: float) -> None:
    """Raises: InputError if a number is not finite and > 0."""
    if not 0 < value < math.inf:
        raise InputError(f"--{name} must be a finite number > 0; got {value}.")


def not_negative(name: str, value: float) -> None:
    """Raises: InputError if a number is not finite and >= 0."""
    if not 0 <= value < math.inf:
        raise InputError(f"--{name} must be a finite number >= 0; got {value}.")


def numbers(name: str, text: str) -> tuple[float, ...]:
    """The numbers of a comma-separated option. Raises: InputError if one is none.

    >>> numbers("stages", "0, 100")
    (0.0, 100.0)
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--{name} must be numbers separated by commas; got {text!r}.") from None


def rising_positive(name: str, text: str) -> tuple[float, ...]:
    """The numbers of a comma-separated option, each once, rising. Raises: InputError if one is not finite and > 0.

    >>> rising_positive("temperatures", "1, 0.1, 1")
    (0.1, 1.0)
    """
    values = numbers(name, text)
    if not all(0 < value < math.inf for value in values):
        raise InputError(f"--{name} must be finite numbers > 0; got {text!r}.")
    return tuple(sorted(set(values)))
