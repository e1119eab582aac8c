"""The machine: what XLA is told before it begins, and what it leaves. Nothing here imports JAX."""

import ctypes
import os
import sys
import zlib
from contextlib import suppress
from pathlib import Path

from lab.errors import InputError


def cache_folder() -> Path:
    """The folder of what can be made again and is kept from one command to the next.

    It lies in the user's cache folder (XDG_CACHE_HOME, or what the system has in its place).

    Raises: InputError if the user has no home, as in some containers, and has named no folder.
    """
    system = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or system).expanduser() / "surrogate-lab"
    except RuntimeError as error:
        raise InputError(
            "there is no home folder to keep compiled programs and prepared data in: name another with XDG_CACHE_HOME."
        ) from error


def programs_folder() -> Path:
    """The folder in which compiled programs are kept; JAX_COMPILATION_CACHE_DIR names another."""
    if named := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(named)
    return cache_folder() / "xla"


def damaged_programs() -> list[Path]:
    """Kept programs that are not whole: JAX writes them in place, and where a disk is full they end early.

    It warns of such a program, compiles it anew, and leaves it as it is. Known of those that it has packed with zlib,
    as it does before Python 3.14 unless zstandard is installed.
    """
    return [path for path in sorted(programs_folder().glob("*-cache")) if not _is_whole(path.read_bytes())]


def _is_whole(packed: bytes) -> bool:
    if packed[:1] != b"\x78":  # zlib's first byte
        return bool(packed)
    try:
        return bool(zlib.decompress(packed))
    except zlib.error:
        return False


def prepare() -> None:
    """Has compiled programs kept, and every core of the CPU be a device of its own for networks that train together.

    By environment variables, so that it does not import JAX, and where JAX has read them already (a script may import
    it first) by its settings; what the user has set stays. Programs are kept for the machine and the versions that they
    were compiled for.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = {  # and what JAX has of its own accord
        "JAX_COMPILATION_CACHE_DIR": (str(programs_folder()), None),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": (0.0, 1.0),
        "JAX_NUM_CPU_DEVICES": (cores, -1),
    }
    jax = sys.modules.get("jax")
    for name, (value, usual) in wanted.items():
        if name in os.environ or (jax and getattr(jax.config, name.lower()) != usual):
            continue
        os.environ[name] = str(value)
        if jax:
            with suppress(RuntimeError):  # too late for another number of devices: something was computed already
                jax.config.update(name.lower(), value)


def release_memory() -> None:
    """Gives the system the memory back that was freed here and that glibc holds on to; elsewhere does nothing.

    After programs were compiled that is some 80 MB, which the next part of a run would be allotted on top.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
