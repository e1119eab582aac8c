"""Timing: everything in interleaved rounds, so that what else the machine does meets all alike."""

import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax
import numpy as np

import lab

Runs = dict[str, Callable[[], Any]]
Seconds = dict[str, np.ndarray]  # by name, round by round

# Before each: PyTorch's threads look for work a while before they sleep, on the cores that the next one needs
# (measured on 2 cores: 1.8 times as long for 2 ms of work).
PAUSE = 0.01


def timed(runs: Runs, rounds: int, *, warm: bool = False) -> Seconds:
    """Seconds of each run, round by round; every round has all of them, in an order of its own.

    Each is run once before, to be compiled; with `warm`, also each time directly before it is timed, as in a loop that
    does nothing else. Raises: InputError if rounds < 1.
    """
    if rounds < 1:
        raise lab.InputError(f"--rounds must be at least 1; got {rounds}.")
    for run in runs.values():
        jax.block_until_ready(run())
    seconds = {name: np.empty(rounds) for name in runs}
    for number in range(rounds):
        for name in np.random.default_rng(number).permutation(list(runs)):
            time.sleep(PAUSE)
            if warm:
                jax.block_until_ready(runs[name]())
            start = time.perf_counter()
            jax.block_until_ready(runs[name]())
            seconds[name][number] = time.perf_counter() - start
    return seconds


def spread(numbers: np.ndarray, *, digits: int = 2) -> str:
    """The median and the quartiles.

    >>> spread(np.array([1.0, 2.0, 3.0]))
    '2.00 (quartiles 1.50 to 2.50)'
    """
    low, middle, high = (f"{one:.{digits}f}" for one in np.quantile(numbers, [0.25, 0.5, 0.75]))
    return f"{middle} (quartiles {low} to {high})"


def show(seconds: Seconds, *, against: str) -> None:
    """One line for each: its milliseconds, and how many times those of `against` they are, taken round by round."""
    width = max(map(len, seconds))
    for name, times in seconds.items():
        line = f"  {name:{width}s}  {spread(1e3 * times)} ms"
        print(line if name == against else f"{line}, {spread(times / seconds[against])} of {against}")


def machine() -> str:
    """The device and the versions that decide how fast anything is."""
    # What this process may use, where the system says so: a container may have fewer than there are.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "jaxlib", "numpy"))
    return f"{jax.devices()[0].device_kind}, {cores} cores; Python {platform.python_version()}, {versions}"
