"""Runs: a folder that explains itself, and is there whole or not at all.

config.json, environment.json, results.nc (labelled arrays), figures/ and report.html. A run is written under a
hidden name beside its place and renamed when it is complete.
"""

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import DataError, InputError
from lab.files import replacing

if TYPE_CHECKING:
    import numpy as np
    import xarray


NETWORK = "network.npz"


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
        self.name = name or path.name

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
        write_bytes(self.path / "results.nc", bytes(content))

    def save_network(self, parameters: Any) -> None:
        """Writes network.npz: every array of the parameters under its place in the pytree."""
        import io

        import jax
        import numpy as np

        leaves, _ = jax.tree_util.tree_flatten_with_path(parameters)
        content = io.BytesIO()
        arrays: dict[str, Any] = {jax.tree_util.keystr(place): np.asarray(leaf) for place, leaf in leaves}
        np.savez(content, **arrays)
        write_bytes(self.path / NETWORK, content.getvalue())

    def network(self, name: str = NETWORK) -> "dict[str, np.ndarray]":
        """The arrays of the saved network, by their place in the pytree.

        Raises: DataError naming the file if it is missing or damaged.
        """
        import numpy as np

        path = self.path / name
        if not path.is_file():
            raise DataError(f"{path} is not there, so there is no saved network. `python -m lab train` saves one.")
        try:
            if not zipfile.is_zipfile(path):
                raise ValueError("it is no archive of arrays")
            with np.load(path) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} is damaged ({error}). Train the network again.") from error

    def results(self) -> "xarray.Dataset":
        """The labelled results, loaded into memory.

        Raises: DataError naming the file if it is missing or damaged.
        """
        import xarray

        path = self.path / "results.nc"
        if not path.is_file():
            raise DataError(f"{self.path} holds no results.nc, so it is not a run of the lab. See the runs/ folder.")
        try:
            with xarray.open_dataset(path, engine="h5netcdf") as results:
                return results.load()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise DataError(f"{path} is damaged ({error}). Make the run again.") from error

    def config(self) -> dict[str, Any]:
        """The settings the run was made with."""
        return self._json("config.json")

    def environment(self) -> dict[str, Any]:
        """Versions, device and precision the run was made with."""
        return self._json("environment.json")

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}). Make the run again.") from error


@contextmanager
def new_run(root: Path, kind: str, settings: Any, environment: dict[str, Any]) -> Iterator[Run]:
    """A folder `root/<time>-<kind>` that appears when the block ends well, and leaves no trace when it does not.

    Raises: InputError at once, before anything is computed, if the folder cannot be made.
    """
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{kind}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        while (root / name).exists() or (root / f".{name}.partial").exists():
            name += "+"  # two runs begun in one second
        partial = root / f".{name}.partial"
        partial.mkdir()
    except OSError as error:
        raise InputError(
            f"cannot write results to {root}: {error.strerror}. Name another folder with --out."
        ) from error
    try:
        write_json(partial / "config.json", {"kind": kind, **asdict(settings)})
        write_json(partial / "environment.json", environment)
        run = Run(partial, name)
        yield run
        os.replace(partial, root / name)
        run.path = root / name
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
