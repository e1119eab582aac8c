"""Checkpoints: pytrees of arrays in one file, written whole or not at all, every damaged byte noticed.

NumPy's `.npz`: its checksums (CRC-32 of every array) catch what a disk or a kill leaves behind. Of a run's checkpoints
the two newest are kept, so that there is one to go back to when the newest is damaged.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from lab.errors import DataError, InputError
from lab.files import replacing

KEPT = 2


def write(path: Path, tree: Any) -> None:
    """Writes every array of a pytree under its place in it. Raises: OSError, with nothing left behind."""
    import jax
    import numpy as np

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    content = io.BytesIO()
    arrays: dict[str, Any] = {jax.tree_util.keystr(place): np.asarray(leaf) for place, leaf in leaves}
    np.savez(content, **arrays)
    with replacing(path) as file:
        file.write(content.getbuffer())


def read(path: Path) -> dict[str, Any]:
    """The arrays of a file, by their places.

    Raises: DataError naming the file if it is damaged.
    """
    import numpy as np

    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # All bytes, and as many arrays as the end of the file counts: a damaged header may leave some out.
            if archive.testzip() or len(archive.namelist()) != int.from_bytes(content[-12:-10], "little"):
                raise ValueError("a checksum or the number of arrays is wrong")
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}).") from error


def fitted(like: Any, arrays: dict[str, Any], path: Path) -> Any:
    """The arrays in the places of a pytree of arrays or shapes.

    Raises: InputError naming what the file holds and what is needed if places or shapes differ.
    """
    import jax
    import jax.numpy as jnp

    places, tree = jax.tree_util.tree_flatten_with_path(like)
    wanted = {jax.tree_util.keystr(place): leaf for place, leaf in places}
    held, needed = ({name: one.shape for name, one in of.items()} for of in (arrays, wanted))
    if held != needed:
        said = [", ".join(f"{name} {list(shape)}" for name, shape in of.items()) for of in (held, needed)]
        raise InputError(f"{path} holds {said[0] or 'nothing'}; needed: {said[1]}.")
    return jax.tree.unflatten(tree, [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in wanted.items()])


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"checkpoint-{step:010d}.npz"


def save(folder: Path, tree: Any, step: int) -> Path:
    """Writes the checkpoint of a step and removes all but the newest `KEPT`. Returns its path."""
    path = path_of(folder, step)
    write(path, tree)
    for old in _all(folder)[KEPT:]:
        old.unlink()
    return path


def remove(folder: Path) -> None:
    """Removes all checkpoints of a folder."""
    for path in _all(folder):
        path.unlink()


def are_in(folder: Path) -> bool:
    """Whether a folder has checkpoints."""
    return bool(_all(folder))


def newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The arrays of the newest checkpoint that is whole (None: there is none), and what is wrong with newer ones.

    Raises: DataError if there are checkpoints and all of them are damaged.
    """
    complaints = []
    for path in _all(folder):
        try:
            return read(path), complaints
        except DataError as error:
            complaints.append(str(error))
    if complaints:
        raise DataError(f"{' '.join(complaints)} No checkpoint is left to go on from; start the run anew.")
    return None, []


def _all(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    return sorted(folder.glob("checkpoint-*.npz"), reverse=True)
