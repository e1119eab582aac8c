"""The console: commands read from the command line, progress shown, mistakes said in one message.

Nothing here imports JAX: `--help` must be quick, and a redraw needs no JAX at all.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from types import FrameType
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from lab.errors import InputError, Stopped
from lab.machine import prepare

CONFIG = (tyro.conf.OmitArgPrefixes,)
T = TypeVar("T")


def plain_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that leaves what is printed as it is: of mine.py:key:scale=2 rich would make a picture of a key."""
    return Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, emoji=False)


def cli(
    command: Callable[..., Any] | dict[str, Callable[..., Any]],
    *,
    prog: str | None = None,
    description: str | None = None,
) -> None:
    """Runs a command, or one of several by name, with the arguments of the command line.

    Exit codes: 0 done, 1 failed on the way, 2 a mistake in what was given, 130 stopped by Ctrl-C.
    """
    sys.unraisablehook = _again_if_interrupted
    try:
        prepare()
        if isinstance(command, dict):
            tyro.extras.subcommand_cli_from_dict(command, prog=prog, description=description, config=CONFIG)
        else:
            tyro.cli(command, prog=prog, description=description, config=CONFIG)
    except InputError as error:
        _stop(str(error), 2)
    except FloatingPointError as error:
        _stop(_with_notes(error), 1)
    except BrokenPipeError:  # whoever reads has read enough, as `| head` does
        os._exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}. {_left(error)}", 1)
    except Stopped as stopped:
        _stop(_with_notes(stopped), 130)
    except KeyboardInterrupt as stopped:
        _stop(f"stopped by Ctrl-C. {_left(stopped)}", 130)


def _with_notes(error: BaseException) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


def _left(error: BaseException) -> str:
    """What is left of the work: a run that can be taken up says how in a note."""
    return " ".join(getattr(error, "__notes__", [])) or "Nothing incomplete was left behind."


def _again_if_interrupted(lost: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C that came while a callback ran (JAX's of the garbage collector, say) is lost there: it comes once more."""
    if lost.exc_type is KeyboardInterrupt:
        # Later, from a timer: here it would be lost again.
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _stop(message: str, code: int) -> None:
    plain_console(stderr=True, soft_wrap=True).print(f"error: {message}", markup=False)
    sys.stdout.flush()
    # At once: a computation that Ctrl-C cut short may still be running, and the interpreter's own way out
    # pulls the memory from under it.
    os._exit(code)


def read_again(default: T) -> T:
    """The options of the command line once more, those that are not given being as in `default`."""
    given = sys.argv[1:] if sys.argv[1:2] and sys.argv[1].startswith("-") else sys.argv[2:]
    return _in_place(tyro.cli(type(default), args=given, default=default, config=CONFIG), default)


def _in_place(read: Any, default: Any) -> Any:
    """What was read, where options that may be given several times stand in place of the default: tyro appends them."""
    values = {}
    for name in (field.name for field in fields(default)):
        now, before = getattr(read, name), getattr(default, name)
        if is_dataclass(before):
            values[name] = _in_place(now, before)
        elif isinstance(before, tuple) and len(now) > len(before):
            values[name] = now[len(before) :]
    return replace(read, **values)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """What it gives says whether Ctrl-C has come: then the block is to end by itself. A second one ends it at once."""
    came = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)


class _Rate(ProgressColumn):
    """Images a second."""

    def __init__(self, images_per_step: int):
        super().__init__(Column(no_wrap=True))
        self.images_per_step = images_per_step

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed * self.images_per_step:,.0f} images/s" if speed else "")


@contextmanager
def progress(total: int, *, images_per_step: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar over `total` steps; calls of what it gives, (steps, what), say how many are done, and of what.

    (0, what, more) says that so many more are to come. With `images_per_step` it says how many that makes a second.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        *([_Rate(images_per_step)] if images_per_step else []),
        TimeRemainingColumn(),
        console=plain_console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=total or None)

        def advance(steps: int, what: str, more: int = 0) -> None:
            known = bar.tasks[task].total or 0
            bar.update(task, advance=steps, description=what, total=known + more if more else None)

        yield advance
