"""User files: what a user brings along in a Python file of their own, named as in path/to/mine.py:name."""

import importlib.util
import inspect
import os
import re
import sys
import traceback
import zlib
from collections.abc import Iterable
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from lab.errors import InputError, unknown

# What JAX raises where a function is traced and the value of an array is wanted. By name: JAX is not imported here.
_TRACED = (
    "ConcretizationTypeError",
    "TracerArrayConversionError",
    "TracerBoolConversionError",
    "TracerIntegerConversionError",
)


def is_own(text: str) -> bool:
    """Whether a text names something in a user's file, as in path/to/mine.py:name."""
    return ".py:" in text


def checksums(texts: Iterable[str]) -> dict[str, str]:
    """CRC-32 of each user's file that a text names, as path/to/mine.py:name or 500:path/to/mine.py:name do.

    Of its neighbours as well: what it imports, and what that imports, from the folder that it lies in. A file that is
    not there is left out: whoever reads from it says so.

    >>> checksums(["gce:q=0.5", "missing.py:name"])
    {}
    """
    named = {Path(match[1]) for text in texts if (match := re.match(r"(?:\d+:)?(.+?\.py):", text))}
    files = set[Path]().union(*(_with_neighbours(path) for path in named if path.is_file()))
    return {str(path): f"{zlib.crc32(path.read_bytes()):08x}" for path in sorted(files)}


def _with_neighbours(path: Path) -> set[Path]:
    finder = ModuleFinder([str(path.parent)])
    try:
        finder.run_script(str(path))
    except SyntaxError:  # whoever reads from it says so
        return {path}
    found = [getattr(module, "__file__", None) for module in finder.modules.values()]
    return {path.parent / os.path.relpath(file, path.parent) for file in found if file}


def from_user_file(path: Path, name: str, *, what: str) -> Any:
    """What is called `name` in a user's file, which is run for it; `what` says in messages what it should be.

    Raises: InputError if there is no such file, it fails when run, or nothing in it has that name.
    """
    if not path.is_file():
        raise InputError(f"no file {str(path)!r} to read {what} {name!r} from. Is the path right?")
    # Not by its own name, which may be that of a module that is installed.
    spec = importlib.util.spec_from_file_location(f"lab_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} is no Python file to read {what} {name!r} from: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for what their annotations name
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)  # for its neighbours, as Python does for a script
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be run: {failure(error)}") from error
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise unknown(what, name, functions, see=f"functions in {path}")
    return getattr(module, name)


def failure(error: BaseException) -> str:
    """What an exception out of a user's code says, and in which line of theirs it arose.

    >>> failure(ValueError("no"))
    'ValueError: no'
    """
    said = f"{type(error).__name__}: {error}"
    if type(error).__name__ in _TRACED:
        said = (
            f"it asks for a number where JAX has only a shape ({type(error).__name__}); "
            "write jnp.where for if, and jnp for numpy"
        )
    others = f"{Path(__file__).parent}{os.sep}", f"{Path(inspect.__file__).parent}{os.sep}", "site-packages", "<frozen"
    own = [at for at in traceback.extract_tb(error.__traceback__) if not any(part in at.filename for part in others)]
    return f"{said} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else said


def described(value: Any) -> str:
    """What a user's function has returned, in a few words: an array, or what stands for one, by type and shape.

    >>> import numpy as np
    >>> described(np.zeros((2, 3))), described(None)
    ('float64 [2, 3]', 'NoneType')
    """
    return f"{value.dtype} {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
