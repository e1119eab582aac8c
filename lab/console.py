"""The console: commands read from the command line, progress shown, mistakes said in one message.

Nothing here imports JAX: `--help` must be quick, and a redraw needs no JAX at all.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lab.errors import InputError


def cli(
    command: Callable[..., Any] | dict[str, Callable[..., Any]],
    *,
    prog: str | None = None,
    description: str | None = None,
) -> None:
    """Runs a command, or one of several by name, with the arguments of the command line.

    Exit codes: 0 done, 1 failed on the way, 2 a mistake in what was given, 130 stopped by Ctrl-C.
    """
    config = (tyro.conf.OmitArgPrefixes,)
    sys.unraisablehook = _again_if_interrupted
    try:
        if isinstance(command, dict):
            tyro.extras.subcommand_cli_from_dict(command, prog=prog, description=description, config=config)
        else:
            tyro.cli(command, prog=prog, description=description, config=config)
    except InputError as error:
        _stop(str(error), 2)
    except FloatingPointError as error:
        _stop(str(error), 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}. What was not complete has been removed.", 1)
    except KeyboardInterrupt:
        _stop("stopped by Ctrl-C. What was not complete has been removed.", 130)


def _again_if_interrupted(lost: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C that came while a callback ran (JAX's of the garbage collector, say) is lost there: it comes once more."""
    if lost.exc_type is KeyboardInterrupt:
        # Later, from a timer: here it would be lost again.
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _stop(message: str, code: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {message}", markup=False)
    sys.stdout.flush()
    # At once: a computation that Ctrl-C cut short may still be running, and the interpreter's own way out
    # pulls the memory from under it.
    os._exit(code)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar over `total` steps; calls of what it gives say how many are done, and of what."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=total)
        yield lambda steps, what: bar.update(task, advance=steps, description=what)
