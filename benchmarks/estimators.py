"""How many forward passes a second do evolution strategies make, and how many would the matrix products alone?

    python benchmarks/estimators.py [--rounds 20] [--pairs 128] [--chunk 16] [--data-dir DIR]

784-100-10 ReLU, 1,000 and 100 images, accuracy as the objective. `estimate` is the whole estimator: perturbations
drawn, weights moved, two forward passes for each, accuracies, the sums for gradient, standard errors and halves.
`products` is its bound: the batched matrix products of as many forward passes, [perturbations, batch, in] with
[perturbations, in, out], of weights that are there already, `chunk` at a time. `normals` is drawing the perturbations
alone. Rounds are interleaved; ratios are taken round by round.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from case import Case, load
from timing import Runs, machine, spread, timed

import lab
from lab.estimators import evolution_strategies


@dataclass(frozen=True)
class Settings:
    """Time evolution strategies beside their matrix products and their random numbers."""

    rounds: int = 20
    """rounds in which everything is timed, one after the other"""
    pairs: int = 128
    """antithetic pairs in one estimate, a multiple of the chunk"""
    chunk: int = 16
    """perturbations in one batched program"""
    data_dir: Path | None = None
    """folder with MNIST's four IDX files; without it: a prepared TFDS folder, download, embedded sample"""


def main(settings: Settings) -> None:
    """Print medians over the rounds, and ratios with their quartiles, for both batch sizes."""
    print(machine())
    case = load(settings.data_dir, 1000)
    with jax.default_matmul_precision("highest"):  # the same for all
        for part in (case, case.first(100)):
            seconds = timed(estimators(settings, part), settings.rounds)
            print(f"{len(part.labels)} images, 784-100-10, {settings.pairs} pairs, {settings.chunk} at a time:")
            for name, times in seconds.items():
                print(f"  {name:8s}  {spread(1e3 * times / settings.pairs, digits=3)} ms a pair")
            print(f"  {2 * settings.pairs / np.median(seconds['estimate']):,.0f} forward passes a second")
            for name in ("products", "normals"):
                print(f"  {name} / estimate: {spread(seconds[name] / seconds['estimate'])}")


def estimators(settings: Settings, case: Case) -> Runs:
    """The estimator, its matrix products and its random numbers."""
    chunk, chunks = settings.chunk, settings.pairs // settings.chunk
    network, parameters, images, labels, _ = case
    first, second = (
        jax.random.normal(jax.random.key(1), (chunk, *layer["weight"].shape)) / 100 for layer in parameters
    )
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters))

    @jax.jit
    def estimate(key):
        def error(theta):
            return 1 - lab.accuracy(network.apply(theta, images), labels)

        return evolution_strategies(error, parameters, key=key, sigma=0.01, pairs=settings.pairs, chunk=chunk)

    @jax.jit
    def product(first, second):
        return jnp.einsum("pbh,pch->pbc", jnp.einsum("bi,phi->pbh", images, first), second)

    @jax.jit
    def normals(key):
        return jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), (size,)))(jnp.arange(chunk))

    key = jax.random.key(0)
    return {
        "estimate": lambda: estimate(key),
        "products": lambda: [product(first, second) for _ in range(2 * chunks)],
        "normals": lambda: [normals(key) for _ in range(chunks)],
    }


if __name__ == "__main__":
    lab.cli(main)
