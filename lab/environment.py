"""The environment of a run: what has to be the same for its numbers to come out again."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.errors import InputError

PACKAGES = (
    "surrogate-lab",
    "jax",
    "jaxlib",
    "optax",
    "numpy",
    "scipy",
    "xarray",
    "altair",
    "vl-convert-python",
)


def versions() -> dict[str, str | None]:
    """The installed version of each package that can change a result; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def revision() -> dict[str, Any]:
    """The git revision of the lab and whether its files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie below somebody else's checkout: only the lab's own counts.
    if git("ls-files", "--error-unmatch", "lab/environment.py") is None:
        return {"revision": None, "dirty": None}
    return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


def describe(*, precision: str, data: dict[str, str] | None = None) -> dict[str, Any]:
    """Git revision, versions, machine, device, precision and the identity of the data, ready for `environment.json`.

    Raises: InputError if JAX has no device to compute on.
    """
    import jax
    import jax.numpy as jnp

    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter without a word, for what is known but not installed
        asked = f"JAX_PLATFORMS is {os.environ['JAX_PLATFORMS']!r}: " if "JAX_PLATFORMS" in os.environ else ""
        raise InputError(
            f"{asked}JAX finds no device to compute on{f' ({error})' if str(error) else ''}. Unset JAX_PLATFORMS: then "
            "JAX takes a GPU where there is one and the CPU elsewhere."
        ) from error
    return {
        "git": revision(),
        "python": sys.version.split()[0],
        "packages": versions(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "device": {"backend": jax.default_backend(), "kind": devices[0].device_kind, "count": len(devices)},
        "precision": {"matmul": precision, "float": str(jnp.zeros(()).dtype)},
        "data": data,
    }
