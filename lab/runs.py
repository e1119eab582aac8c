"""Runs: a folder that explains itself, and is there whole or not at all.

config.json, environment.json, results.nc (labelled arrays), figures/ and report.html. A run is written under a
hidden name beside its place and renamed when it is complete.
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import checkpoints
from lab.errors import DataError, InputError
from lab.files import replacing
from lab.userfile import checksums

if TYPE_CHECKING:
    import numpy as np
    import xarray


NETWORK, METRICS, RESULTS = "network.npz", "metrics.jsonl", "results.nc"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all. Raises: OSError, with nothing left behind."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON, whole or not at all; paths become strings."""
    write_bytes(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


class Run:
    """A run's folder: where it is, what is in it."""

    def __init__(self, path: Path, name: str | None = None):
        self.path = path
        self.name = name or path.resolve().name

    @property
    def figures(self) -> Path:
        """The folder of static figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    def save_results(self, results: "xarray.Dataset") -> None:
        """Writes results.nc, compressed netCDF."""
        encoding = {str(name): {"zlib": True} for name in results.data_vars}
        content = results.to_netcdf(engine="h5netcdf", encoding=encoding)
        write_bytes(self.path / RESULTS, bytes(content))

    def save_network(self, parameters: Any) -> None:
        """Writes network.npz: every array of the parameters under its place in the pytree."""
        checkpoints.write(self.path / NETWORK, parameters)

    def save_networks(self, parameters: Sequence[Any], seeds: Iterable[int]) -> None:
        """Writes network.npz, or network-<seed>.npz for each seed if there are several."""
        for one, seed in zip(parameters, seeds, strict=True):
            checkpoints.write(self.path / (NETWORK if len(parameters) == 1 else f"network-{seed}.npz"), one)

    @property
    def networks(self) -> list[Path]:
        """The files of its saved networks, by seed; network.npz if there is none."""
        numbered = [path for path in self.path.glob("network-*.npz") if path.stem[8:].isdecimal()]
        return sorted(numbered, key=lambda path: int(path.stem[8:])) or [self.path / NETWORK]

    def network(self, name: str = NETWORK) -> "dict[str, np.ndarray]":
        """The arrays of the saved network, by their place in the pytree.

        Raises: DataError naming the file if it is missing or damaged.
        """
        path = self.path / name
        if not path.is_file():
            raise DataError(f"{path} is not there, so there is no saved network. `python -m lab train` saves one.")
        try:
            return checkpoints.read(path)
        except DataError as error:
            raise DataError(f"{error} Train the network again.") from error

    def results(self) -> "xarray.Dataset":
        """The labelled results, loaded into memory.

        Raises: DataError naming the file if it is missing or damaged.
        """
        import xarray

        path = self.path / RESULTS
        if not path.is_file():
            raise DataError(f"{self.path} holds no results.nc, so it is not a run of the lab. See the runs/ folder.")
        try:
            with xarray.open_dataset(path, engine="h5netcdf") as results:
                return results.load()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise DataError(f"{path} is damaged ({error}). Make the run again.") from error

    def add_metrics(self, rows: Iterable[dict[str, Any]]) -> None:
        """Appends to metrics.jsonl, one object a line."""
        with (self.path / METRICS).open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line that was cut off when its run was killed is left out.

        Raises: DataError naming the file and the line if another is damaged.
        """
        path = self.path / METRICS
        lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
        rows = []
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line break is cut off
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"line {number} of {path} is damaged ({error}). Make the run again.") from error
        return rows

    def keep_metrics(self, rows: Iterable[dict[str, Any]]) -> None:
        """Writes metrics.jsonl anew with these rows alone."""
        write_bytes(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def keep_part(self, number: int, measured: "xarray.Dataset") -> None:
        """Writes what one part of a study has measured, until the whole has its results."""
        write_bytes(self._part(number), bytes(measured.to_netcdf(engine="h5netcdf")))

    def part(self, number: int) -> "xarray.Dataset | None":
        """What a part of a study has measured; None if it is yet to be, or is damaged and has to be again."""
        import xarray

        path = self._part(number)
        if not path.is_file():
            return None
        try:
            with xarray.open_dataset(path, engine="h5netcdf") as measured:
                return measured.load()
        except (OSError, ValueError, KeyError, RuntimeError):
            return None

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number}.nc"

    @property
    def has_results(self) -> bool:
        """Whether there is something to draw."""
        return (self.path / RESULTS).is_file()

    @property
    def complete(self) -> bool:
        """Whether the run has its results and has come to its end, where what it could go on from is removed."""
        return self.has_results and not self._on_its_way

    @property
    def resumable(self) -> bool:
        """Whether there is something of it to go on from."""
        return self._on_its_way or (not self.has_results and bool(self.metrics()))

    @property
    def _on_its_way(self) -> bool:
        return checkpoints.are_in(self.path) or any(self.path.glob("part-*.nc"))

    def config(self) -> dict[str, Any]:
        """The settings the run was made with."""
        return self._json("config.json")

    def environment(self) -> dict[str, Any]:
        """Versions, device and precision the run was made with."""
        return self._json("environment.json")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            said = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}). Make the run again.") from error
        if not isinstance(said, dict):
            raise DataError(f"{path} is not as the lab writes it: {said!r:.40}. Make the run again.")
        return said


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
    files = _user_files(asdict(settings))
    if gone := [name for name in run.environment().get("files", {}) if name not in files]:
        raise InputError(f"{', '.join(gone)}, which {path} was begun with, is not here. Go on from the same folder.")
    if changed := [name for name, crc in run.environment().get("files", {}).items() if files.get(name) != crc]:
        raise InputError(
            f"{', '.join(changed)} is not as it was when {path} was begun. Put it back, or start a new run."
        )
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
    values = [value for name, value in _flat(settings).items() if not name.endswith("dataset")]
    return checksums(str(text) for one in values for text in (one if isinstance(one, tuple | list) else [one]))


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their path, as in "training.learning_rate"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def differing(configs: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all configs, by their path as in "training.learning_rate", with values."""
    flat = [_flat(config) for config in configs]
    values = {name: [one.get(name) for one in flat] for name in sorted(set().union(*flat))}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}
