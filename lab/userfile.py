"""User files: what a user brings along in a Python file of their own, named as in path/to/mine.py:name."""

import importlib.util
import inspect
from pathlib import Path
from typing import Any

from lab.errors import InputError, unknown


def from_user_file(path: Path, name: str, *, what: str) -> Any:
    """What is called `name` in a user's file, which is run for it; `what` says in messages what it should be.

    Raises: InputError if there is no such file, it fails when run, or nothing in it has that name.
    """
    if not path.is_file():
        raise InputError(f"no file {str(path)!r} to read {what} {name!r} from. Is the path right?")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} is no Python file to read {what} {name!r} from: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise unknown(what, name, functions, see=f"functions in {path}")
    return getattr(module, name)
