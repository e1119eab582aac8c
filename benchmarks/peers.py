"""Peers: what one would write instead of the lab, and what it has to agree with before it is timed.

A module `*_peers.py` has `gradients(case)`, the mean gradients of all objectives, or `examples(case)`, norms and inner
products of single examples' gradients under the first objective, or both; each gives peers by name.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

PACKAGES = {
    "jax_peers": "jax",
    "flax_peers": "flax",
    "equinox_peers": "equinox",
    "torch_peers": "torch",
    "backpack_peers": "backpack-for-pytorch",
}


class Peer(NamedTuple):
    """A way to the lab's numbers: `run()` takes them, `read` makes rows to compare of what comes back."""

    run: Callable[[], Any]
    read: Callable[[Any], np.ndarray]  # [objectives, weights and biases], or [norms and inner products, examples]


def installed() -> list[ModuleType]:
    """The modules of peers whose packages are there; of every other it is printed how to get it."""
    modules = []
    for module, package in PACKAGES.items():
        try:
            modules.append(importlib.import_module(module))
        except ImportError as error:
            print(f"left out: {package} ({error}). To have it: pip install -e .[bench]")
        else:
            note = getattr(modules[-1], "NOTE", "")
            print(f"{package} {metadata.version(package)}{note}")
    return modules


def flat(layers: Iterable[tuple[Any, Any]]) -> np.ndarray:
    """A gradient as one row: each layer's weight [outputs, inputs], then its bias."""
    return np.concatenate([np.ravel(leaf) for layer in layers for leaf in layer])


def check(peers: Mapping[str, Peer], expected: np.ndarray, *, tolerance: float = 1e-4) -> None:
    """Each peer's rows equal the lab's but for rounding, by the norm of the difference over that of the row.

    Raises: AssertionError for one that does not: it would be timed at something else.
    """
    worst = 0.0
    for name, peer in peers.items():
        found = peer.read(peer.run())
        rows = expected[: len(found)]  # some have the norms alone
        off = np.max(np.linalg.norm(found - rows, axis=1) / np.linalg.norm(rows, axis=1))
        assert off < tolerance, f"{name} is not the same: off by {off:.1e} of the norm"
        worst = max(worst, float(off))
    print(f"  peers differ from the lab by {worst:.0e} of the norm at most")
