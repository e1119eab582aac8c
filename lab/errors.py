"""Mistakes of the user, and how they are said: what was wrong, what came, what is allowed, what to do."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Something the user gave cannot be used; the message says what would do.

    The command line prints the message and stops; every other exception is a fault of the lab
    and keeps its traceback. (No ValueError: the parser of the command line takes those for its own, and
    says them with the names of its inner arguments.)
    """


class DataError(InputError):
    """A data file is missing, damaged or not what its name promises; the message names the file."""


class Stopped(Exception):
    """Work was stopped on the user's wish with all that is needed to go on kept; the message says how."""


def unknown(kind: str, name: str, allowed: Iterable[str], *, see: str) -> InputError:
    """The error for a name that is not known, with the nearest one that is.

    >>> str(unknown("dataset", "mnits", ["mnist"], see="python -m lab list datasets"))
    "unknown dataset 'mnits'. Did you mean 'mnist'? (python -m lab list datasets)"
    """
    allowed = list(allowed)
    nearest = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known: {', '.join(allowed)}."
    return InputError(f"unknown {kind} {name!r}. {hint} ({see})")
