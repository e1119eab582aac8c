"""Options: what the number or the text of one option of the command line has to be, and how a list is read."""

import math

from lab.errors import InputError


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
