"""How many forward passes a second do evolution strategies make, and how many would the matrix products alone?

    python benchmarks/estimators.py [--rounds 20] [--chunk 16]

784-100-10 ReLU, 1,000 and 100 images, accuracy as the objective. `estimate` is the whole estimator: perturbations
drawn, weights moved, two forward passes for each, accuracies, the sums for gradient, standard errors and halves.
`products` is its bound: the batched matrix products of as many forward passes, [perturbations, batch, in] with
[perturbations, in, out], of weights that are there already, `chunk` at a time. `normals` is drawing the perturbations
alone. Rounds are interleaved; ratios are taken round by round.
"""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

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


def main(settings: Settings) -> None:
    """Print medians over the rounds, and ratios with their quartiles, for both batch sizes."""
    print(jax.devices()[0].device_kind)
    for examples in (1000, 100):
        seconds = timed(settings, examples)
        print(f"{examples} images, 784-100-10, {settings.pairs} pairs, {settings.chunk} at a time:")
        for name, times in seconds.items():
            print(
                f"  {name:12s} {1e3 * np.median(times) / settings.pairs:7.3f} ms a pair (median of {settings.rounds})"
            )
        print(f"  {2 * settings.pairs / np.median(seconds['estimate']):,.0f} forward passes a second")
        for above, below in (("products", "estimate"), ("normals", "estimate")):
            ratios = seconds[above] / seconds[below]
            low, high = np.quantile(ratios, [0.25, 0.75])
            print(f"  {above} / {below}: {np.median(ratios):.2f} (quartiles {low:.2f} to {high:.2f})")


def timed(settings: Settings, examples: int) -> dict[str, np.ndarray]:
    """Seconds of each, round by round."""
    chunk, chunks = settings.chunk, settings.pairs // settings.chunk
    network = lab.mlp([100], activation="relu")
    parameters = network.init(jax.random.key(0))
    train = lab.load("mnist", normalize=True).train
    images, labels = jnp.asarray(train.images[:examples]), jnp.asarray(train.labels[:examples])
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
    runs = {
        "estimate": lambda: estimate(key),
        "products": lambda: [product(first, second) for _ in range(2 * chunks)],
        "normals": lambda: [normals(key) for _ in range(chunks)],
    }
    seconds = {name: [] for name in runs}
    with jax.default_matmul_precision("highest"):  # the same for all
        for run in runs.values():
            jax.block_until_ready(run())
        for _ in range(settings.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                jax.block_until_ready(run())
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(times) for name, times in seconds.items()}


if __name__ == "__main__":
    lab.cli(main)
