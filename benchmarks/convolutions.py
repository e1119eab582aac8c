"""How long does LeNet-5 train, its convolutions one matrix product or the device's own?

    python benchmarks/convolutions.py [--rounds 5] [--networks 1 8] [--data-dir DIR]

100 steps of SGD on mini-batches of 100, of each number of networks at once. `product` is the lab's way; `own` has XLA's
convolution in its place, which on a GPU is cuDNN's; then the logits of 1,000 test images. Rounds are interleaved.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from timing import machine, show, timed

import lab
import lab.networks

STEPS, IMAGES = 100, 1000


def own(images: jax.Array, kernels: jax.Array) -> jax.Array:
    """XLA's convolution, then the maxima of 2 x 2 units: images and result [channels, height, width, batch]."""
    layout = ("CHWN", "OIHW", "CHWN")
    units = jax.lax.conv_general_dilated(images, kernels, (1, 1), "VALID", dimension_numbers=layout)
    count, height, width, batch = units.shape
    return jnp.max(units.reshape(count, height // 2, 2, width // 2, 2, batch), axis=(2, 4))


def network(way: Any) -> lab.Network:
    """LeNet-5 that convolves this way."""
    lenet = lab.lenet5()

    def apply(parameters: Any, images: jax.Array) -> jax.Array:
        usual = lab.networks.pooled_convolution
        lab.networks.pooled_convolution = way  # while the program is made
        try:
            return lenet.apply(parameters, images)
        finally:
            lab.networks.pooled_convolution = usual

    return lab.Network(lenet.name, lenet.init, apply)


def main(data_dir: Path | None = None, rounds: int = 5, networks: tuple[int, ...] = (1, 8)) -> None:
    """How long does LeNet-5 train, its convolutions one matrix product or the device's own?

    Args:
        data_dir: folder with the four IDX files; without it what the lab finds
        rounds: interleaved rounds
        networks: how many train at once
    """
    print(machine())
    digits = lab.load("mnist", data_dir=data_dir)
    print(digits.description)
    ways = {"product": network(lab.networks.pooled_convolution), "own": network(own)}
    loss, rate = [lab.objective("cross_entropy")], [lab.optimiser("sgd", 0.1)]

    def train(way: lab.Network, count: int) -> None:
        keys, train = jax.random.split(jax.random.key(0), count), digits.train
        for _ in lab.train_together(way, loss, rate, train.images, train.labels, keys=keys, stages=[STEPS]):
            pass

    for count in networks:
        print(f"{STEPS} steps, {count} at once; n = {rounds} rounds")
        show(timed({name: partial(train, way, count) for name, way in ways.items()}, rounds), against="product")
    print(f"logits of {IMAGES:,} images")
    images = jnp.asarray(digits.test.images[:IMAGES], float) / 255
    parameters = ways["own"].init(jax.random.key(0))
    forward = {name: partial(jax.jit(way.apply), parameters, images) for name, way in ways.items()}
    show(timed(forward, 10 * rounds), against="product")


if __name__ == "__main__":
    lab.cli(main)
