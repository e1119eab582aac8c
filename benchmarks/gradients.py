"""How long do many objectives' gradients take, beside the matrix products they need and beside other ways to them?

    python benchmarks/gradients.py [--rounds 60] [--part gradients|moments|chunks|margins|all] [--data-dir DIR]

784-100-10 ReLU at its start, MNIST. About 5 minutes on 2 cores for all parts. Each part times everything in interleaved
rounds, twice and the second time counts, and takes ratios round by round; medians and quartiles are printed.

gradients: 16 objectives on 1,000 and on 100 images. `products` is the bound: the matrix products that the lab's one
    compiled program cannot do without, and nothing else. `objective_gram` has norms and cosines alone. The peers take
    one objective after the other.
moments: norms of single examples' gradients and inner products with their mean, for 1, 2 and 16 objectives; the peers
    take one, cross entropy.
chunks: 64 objectives, 60,000 images, 1,000 at a time, and the peak memory of a process that does nothing else. In a
    tenth of the rounds.
margins: norms and cosines of 58 objectives of the hard margin, from 64 nodes on it or from their exact gradients.
"""

import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from case import OBJECTIVES, Case, load
from peers import Peer, check, installed
from timing import Runs, machine, show, spread, timed

import lab
from lab.diagnostics import cosine

LARGE, SMALL, CHUNK, EVERYTHING = 1000, 100, 1000, 60_000
COUNTS = (1, 2, 16)
TEMPERATURES = [f"{t:.4g}" for t in np.geomspace(0.05, 20, 16)]
SWEPT = ("cross_entropy", "expected_error", "centred_expected_error", "sigmoid_margin")
MANY = [f"{name}:temperature={t}" for name in SWEPT for t in TEMPERATURES]
# Widths from 1 on, where 64 nodes are enough.
OF_ONE_MARGIN = [
    f"{name}={width:.4g}"
    for name in ("sigmoid_margin:temperature", "gaussian_margin:sigma")
    for width in np.geomspace(1, 10, 29)
]

objective_gradients = jax.jit(lab.objective_gradients, static_argnames=("network", "chunk", "precision"))
objective_gram = jax.jit(lab.objective_gram, static_argnames=("network", "precision"))
example_moments = jax.jit(lab.example_moments, static_argnames=("network", "square", "chunk", "precision"))


@dataclass(frozen=True)
class Settings:
    """Time the gradients of many objectives beside their matrix products and beside other libraries."""

    rounds: int = 60
    """rounds in which everything is timed, one after the other"""
    part: Literal["gradients", "moments", "chunks", "margins", "all"] = "all"
    """what is timed"""
    data_dir: Path | None = None
    """folder with MNIST's four IDX files; without it: a prepared TFDS folder, download, embedded sample"""


def main(settings: Settings) -> None:
    """Print medians and quartiles, and ratios with theirs."""
    parts = {"gradients": gradients, "moments": moments, "chunks": chunks, "margins": margins}
    if settings.part == "all":
        # First, while this process is small: a child's peak memory begins with what its parent has had.
        given = ["--data-dir", str(settings.data_dir)] if settings.data_dir else []
        command = [sys.executable, __file__, "--part", "chunks", "--rounds", str(settings.rounds), *given]
        if failed := subprocess.run(command).returncode:
            sys.exit(failed)
        del parts["chunks"]
    else:
        print(machine())
        parts = {settings.part: parts[settings.part]}
    modules = installed() if parts.keys() & {"gradients", "moments"} else []
    with jax.default_matmul_precision("highest"):  # the same for all
        for part in parts.values():
            part(settings, modules)


def gradients(settings: Settings, modules: Sequence[ModuleType]) -> None:
    """16 objectives' mean gradients on a large and a small batch."""
    case = load(settings.data_dir, LARGE)
    for part in (case, case.first(SMALL)):
        print(f"mean gradients of {len(OBJECTIVES)} objectives on {len(part.labels):,} images, {part.network.name}:")
        show(timed(mean_gradients(part, modules), settings.rounds, warm=True), against="objective_gradients")


def mean_gradients(case: Case, modules: Sequence[ModuleType]) -> Runs:
    """The lab's ways, their bound and the peers, which have been found to agree."""
    network, *given = case
    peers = found(modules, "gradients", case)
    stack = objective_gradients(network, *given).gradients
    leaves = [leaf for layer in stack for leaf in (layer["weight"], layer["bias"])]
    check(peers, np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1))
    return {
        "objective_gradients": lambda: objective_gradients(network, *given),
        "products": partial(products, case.parameters, case.images, like_cotangents(case)),
        "objective_gram": lambda: objective_gram(network, *given),
        **{name: peer.run for name, peer in peers.items()},
    }


def moments(settings: Settings, modules: Sequence[ModuleType]) -> None:
    """Norms of single examples' gradients and their inner products with the mean, and what an objective adds."""
    case = load(settings.data_dir, LARGE)
    network, *given, objectives = case
    print(f"norms and inner products of single examples on {len(case.labels):,} images, {network.name}:")
    peers = found(modules, "examples", case)
    one = example_moments(network, *given, objectives[:1])
    check(peers, np.stack([one.squared_norm[0], one.inner[0]]))
    runs: Runs = {
        f"example_moments of {count}{' with mean squares' if square else ''}": partial(
            example_moments, network, *given, objectives[:count], square=square
        )
        for square in (False, True)
        for count in COUNTS
    }
    runs |= {name: peer.run for name, peer in peers.items()}
    seconds = timed(runs, settings.rounds, warm=True)
    first, *more = list(seconds)[: len(COUNTS)]
    show(seconds, against=first)
    for name, count in zip(more, COUNTS[1:], strict=True):
        added = (seconds[name] / seconds[first] - 1) / (count - 1)
        print(f"  each objective added, up to {count}: {spread(added)} of the first")


def chunks(settings: Settings, modules: Sequence[ModuleType]) -> None:
    """64 objectives on 60,000 images, and how much memory they need."""
    case = load(settings.data_dir, EVERYTHING, MANY)
    network, *given = case
    print(f"mean gradients of {len(MANY)} objectives on {EVERYTHING:,} images, {CHUNK:,} at a time, {network.name}:")
    alone = jax.jit(lambda *given: lab.objective_gradients(network, *given, chunk=CHUNK).gradients)
    runs = {
        "gradients alone": lambda: alone(*given),
        "objective_gradients": lambda: objective_gradients(network, *given, chunk=CHUNK),
    }
    # In this order: a peak only grows, and `objective_gradients` holds what each example has as well.
    peaks = [f"{peak()} with the data loaded"]
    for name, run in runs.items():
        jax.block_until_ready(run())
        peaks.append(f"{peak()} after {name}")
    print(f"  peak memory: {', '.join(peaks)}")
    parts = [case.images[start : start + CHUNK] for start in range(0, EVERYTHING, CHUNK)]
    back = like_cotangents(case.first(CHUNK))

    def in_parts():
        for images in parts:
            jax.block_until_ready(products(case.parameters, images, back))  # not all of them in memory

    seconds = timed(runs | {"products": in_parts}, -(-settings.rounds // 10))
    show(seconds, against="objective_gradients")


def margins(settings: Settings, modules: Sequence[ModuleType]) -> None:
    """Norms and cosines of many objectives of one margin, from nodes and from gradients."""
    case = load(settings.data_dir, LARGE, OF_ONE_MARGIN)
    network, *given = case

    @jax.jit
    def binned(parameters, images, labels, objectives):
        few = lab.margin_gram(network.apply, parameters, images, labels, lab.hard_margin)
        return lab.gram_from_margins(few.inner, jnp.stack([one.weight(few.margins) for one in objectives]))

    @jax.jit
    def exact(*given):
        return lab.gram(lab.objective_gradients(network, *given).gradients)

    print(f"Gram matrix of {len(case.objectives)} objectives on {len(case.labels):,} images, {network.name}:")
    off = jnp.max(jnp.abs(cosine(binned(*given)) - cosine(exact(*given))))
    print(f"  cosines from 64 nodes are within {off:.4f} of the exact ones")
    runs = {
        "margin_gram": lambda: binned(*given),
        "objective_gradients, gram": lambda: exact(*given),
        "objective_gram": lambda: objective_gram(network, *given),
    }
    show(timed(runs, settings.rounds, warm=True), against="margin_gram")


def found(modules: Sequence[ModuleType], kind: str, case: Case) -> dict[str, Peer]:
    """The peers of one kind, by name, of the modules that have them."""
    peers = [getattr(module, kind)(case) for module in modules if hasattr(module, kind)]
    return {name: peer for of in peers for name, peer in of.items()}


def like_cotangents(case: Case) -> jax.Array:
    """Numbers in the shape of the cotangents that go back, [batch, objectives, classes]."""
    return jax.random.normal(jax.random.key(1), (len(case.labels), len(case.objectives), 10))


@jax.jit
def products(parameters: Any, images: jax.Array, back: jax.Array) -> Any:
    """The matrix products of one forward pass, of one way back for all objectives, and one for each layer's gradients.

    Gradients are those of the stacked objectives, contracted over the batch: of the layouts tried the fastest.
    """
    first, last = (layer["weight"] for layer in parameters)
    batch, count, classes = back.shape
    hidden = images @ first.T
    deltas = (back.reshape(batch * count, classes) @ last).reshape(batch, -1)
    over_batch = partial(jnp.tensordot, axes=(0, 0))
    return hidden @ last.T, over_batch(back.reshape(batch, -1), hidden), over_batch(deltas, images)


def peak() -> str:
    """The most memory that this process, and where JAX tells it the device, has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    of_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return f"{megabytes:,.0f} MB" + (f" ({of_device / 1e6:,.0f} MB of the device)" if of_device else "")


if __name__ == "__main__":
    lab.cli(main)
