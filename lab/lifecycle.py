"""Lifecycle: how a run's folder begins, is held against others, is taken up again, and ends.

A run of one piece is written under a hidden name beside its place and renamed when it is complete; one that lasts is
there from the start, and keeps what it can go on from.
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lab import checkpoints
from lab.errors import InputError
from lab.runs import Run, differing, flattened, write_json
from lab.userfile import checksums


@contextmanager
def new_run(root: Path, kind: str, settings: Any, environment: dict[str, Any]) -> Iterator[Run]:
    """A folder `root/<time>-<kind>` that appears when the block ends well, and leaves no trace when it does not.

    Raises: InputError at once, before anything is computed, if the folder cannot be made.
    """
    partial, name = _begin(root, kind, settings, environment, hidden=True)
    try:
        run = Run(partial, name)
        yield run
        os.replace(partial, root / name)
        run.path = root / name
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def lasting_run(
    root: Path, kind: str, settings: Any, environment: dict[str, Any], *, command: str = ""
) -> Iterator[Run]:
    """A folder `root/<time>-<kind>` that is there from the start, for a run that can be taken up again.

    When the block fails it stays, if there is a checkpoint to go on from, and is removed if not. Nobody else can
    take it up meanwhile. When the block ends well its checkpoints have done their work and are removed. `command` is
    what takes it up again with --resume (`python -m lab <kind>` if it is not given).

    Raises: InputError at once, before anything is computed, if the folder cannot be made.
    """
    run = Run(*_begin(root, kind, settings, environment))
    try:
        with _taken_up(run, command or f"python -m lab {kind}"):
            yield run
    finally:
        if not run.complete and not run.resumable:
            shutil.rmtree(run.path, ignore_errors=True)


def begun_with(path: Path, kind: str) -> dict[str, Any]:
    """The settings that a run which was stopped, and is to be taken up, was begun with.

    Raises: InputError if it is no such run or is complete.
    """
    run = Run(path)
    config = run.config() if (path / "config.json").is_file() else {}
    if config.pop("kind", None) != kind:
        raise InputError(f"{path} is no run of `{kind}`, so it cannot be resumed. See the runs/ folder.")
    if run.complete:
        raise InputError(f"{path} is complete: there is nothing to resume.")
    return config


@contextmanager
def resumed_run(
    path: Path, kind: str, settings: Any, *, data: dict[str, str] | None = None, command: str = ""
) -> Iterator[Run]:
    """The folder of a run that was stopped, to be taken up with the settings and the data that it was begun with.

    `data` is the identity of what the settings give now: a download, say, may have taken the place of the sample.

    Raises: InputError if it is no such run, is complete, is still going on, or was begun with other settings, on other
      data, or with a user's file that has changed since.
    """
    run = Run(path)
    if changed := differing([begun_with(path, kind), _as_json(asdict(settings))]):
        said = "; ".join(f"{field}: {old!r} in the run, {new!r} now" for field, (old, new) in changed.items())
        raise InputError(f"{path} was begun with other settings ({said}). Resume it as it was, or start a new run.")
    begun = run.environment().get("data")
    if begun and data and begun["crc32"] != data["crc32"]:
        then, now = (f"{one['description']} (CRC-32 {one['crc32']})" for one in (begun, data))
        raise InputError(f"{path} was begun on other data: {then}; now: {now}. Give it the same, or start a new run.")
    files, before = _user_files(asdict(settings)), run.environment().get("files", {})
    if changed := [name for name, crc in before.items() if files.get(name, crc) != crc]:
        raise InputError(
            f"{', '.join(changed)} is not as it was when {path} was begun. Put it back, or start a new run."
        )
    if gone := [name for name in before if name not in files]:
        raise InputError(f"{', '.join(gone)}, which {path} was begun with, is not here. Go on from the same folder.")
    with _taken_up(run, command or f"python -m lab {kind}"):
        yield run


def _begin(
    root: Path, kind: str, settings: Any, environment: dict[str, Any], *, hidden: bool = False
) -> tuple[Path, str]:
    """Makes a run's folder with what it is made with; where it is, and the name `<time>-<kind>` that it is to have."""
    path = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        path, name = _reserved(root, kind, hidden)
        write_json(path / "config.json", {"kind": kind, **asdict(settings)})
        write_json(path / "environment.json", environment | {"files": _user_files(asdict(settings))})
    except OSError as error:
        if path:
            shutil.rmtree(path, ignore_errors=True)
        raise InputError(
            f"cannot write results to {root}: {error.strerror}. Name another folder with --out."
        ) from error
    return path, name


def _reserved(root: Path, kind: str, hidden: bool) -> tuple[Path, str]:
    """A new folder that no other process has, of this second or, where runs are begun at once, of the next free one."""
    moment = datetime.now()
    while True:
        name = f"{moment:%Y%m%d-%H%M%S}-{kind}"
        path = root / (f".{name}.partial" if hidden else name)
        moment += timedelta(seconds=1)
        with suppress(FileExistsError):
            path.mkdir()
            if not hidden or not (root / name).exists():
                return path, name
            path.rmdir()


@contextmanager
def _taken_up(run: Run, command: str) -> Iterator[None]:
    """Work on a run: held against other processes (the system lets go when this one ends, however it ends)."""
    import fcntl

    with (run.path / "config.json").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another process is at work on {run.path}. Wait for its end, or stop it.") from None
        for left in run.path.glob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink()
        try:
            yield
            checkpoints.remove(run.path)
            for part in run.path.glob("part-*.nc"):
                part.unlink()
        except BaseException as error:
            if run.resumable and not isinstance(error, FloatingPointError):  # it would diverge again
                error.add_note(f"Go on with: {command} --resume {shlex.quote(str(run.path))}")
            raise


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings, default=str))


def _user_files(settings: dict[str, Any]) -> dict[str, str]:
    """Checksums of the user's files in settings; a dataset's is not among them, for its data have one of their own."""
    values = [value for name, value in flattened(settings).items() if not name.endswith("dataset")]
    return checksums(str(text) for one in values for text in (one if isinstance(one, tuple | list) else [one]))
