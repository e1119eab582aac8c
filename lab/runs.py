"""Runs: a folder that explains itself, and is there whole or not at all.

config.json, environment.json, results.nc (labelled arrays), figures/ and report.html. How one begins, is held, and is
taken up again: `lab.lifecycle`.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import checkpoints
from lab.errors import DataError
from lab.files import replacing

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


def flattened(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their path, as in "training.learning_rate"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def differing(configs: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all configs, by their path as in "training.learning_rate", with values."""
    flat = [flattened(config) for config in configs]
    values = {name: [one.get(name) for one in flat] for name in sorted(set().union(*flat))}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}
