"""How long do the gradients of 16 objectives take together, and one by one?

    python benchmarks/gradients.py [--rounds 60]

1,000 images, 784-100-10 ReLU. `together` is one compiled program: one forward pass, one linearisation, a stack of
cotangents. `one by one` is what one writes first: a jitted jax.grad, compiled once per kind of objective and
called 16 times. Rounds are interleaved; the ratio is taken round by round.
"""

import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import lab

OBJECTIVES = (
    "cross_entropy",
    "guarded_cross_entropy",
    "squared_error",
    "brier",
    "gce",
    "crammer_singer",
    *(f"{name}:temperature={t}" for name in ("expected_error", "sigmoid_margin") for t in (0.1, 0.3, 1, 3)),
    "centred_expected_error",
    "ramp",
)


@dataclass(frozen=True)
class Settings:
    """Time 16 gradients together and one by one."""

    rounds: int = 60
    """rounds in which both are timed, one after the other"""
    examples: int = 1000
    """images in the batch"""


def main(settings: Settings) -> None:
    """Print medians over the rounds, and the ratio with its range."""
    network = lab.mlp([100], activation="relu")
    parameters = network.init(jax.random.key(0))
    train = lab.load("mnist", normalize=True).train
    images = jnp.asarray(train.images[: settings.examples])
    labels = jnp.asarray(train.labels[: settings.examples])
    objectives = [lab.objective(text) for text in OBJECTIVES]
    assert len(objectives) == 16

    @partial(jax.jit, static_argnames="precision")
    def together(parameters, objectives, precision):
        return lab.objective_gradients(
            network.apply, parameters, images, labels, objectives, precision=precision
        ).gradients

    @jax.jit
    def alone(parameters, objective):
        return jax.grad(lambda theta: jnp.mean(objective(network.apply(theta, images), labels)))(parameters)

    def one_by_one():
        return [alone(parameters, objective) for objective in objectives]

    with jax.default_matmul_precision("highest"):  # the same for both
        runs = {"together": lambda: together(parameters, objectives, "highest"), "one by one": one_by_one}
        seconds = {name: [] for name in runs}
        for run in runs.values():
            jax.block_until_ready(run())
        for _ in range(settings.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                jax.block_until_ready(run())
                seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        print(f"{name:12s} {1e3 * np.median(times):7.1f} ms (median of {settings.rounds})")
    ratios = np.array(seconds["one by one"]) / np.array(seconds["together"])
    low, high = np.quantile(ratios, [0.25, 0.75])
    device = jax.devices()[0].device_kind
    print(f"one by one / together: {np.median(ratios):.2f} (quartiles {low:.2f} to {high:.2f}), {device}")


if __name__ == "__main__":
    lab.cli(main)
