"""Peers that train: what one would write instead of the lab's training, for one and the same job.

The job is an epoch of a 784-100-10 ReLU network: cross entropy, SGD at rate 0.1, mini-batches of 100 in a new order;
then the accuracy on all test images, about 0.925 after one epoch of 60,000 and 0.96 after five. A module
`*_training_peers.py` has PEERS: by name, what starts a peer. All begin with a seed's weights; those that draw their
batches with `batches` also have the same orders, and the same accuracies but for rounding.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from math import sqrt
from typing import Protocol

import numpy as np

PIXELS, HIDDEN, CLASSES = 784, 100, 10
BATCH, RATE = 100, 0.1

PACKAGES = {
    "numpy_training_peers": "numpy",
    "jax_training_peers": "jax",
    "flax_training_peers": "flax",
    "equinox_training_peers": "equinox",
    "keras_training_peers": "keras",
    "torch_training_peers": "torch",
}


@dataclass(frozen=True)
class Data:
    """Images as they come, uint8 [n, 784], and labels, int32 [n]; n is a multiple of 100."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @cached_property
    def scaled(self) -> np.ndarray:
        """The training images as float32 in [0, 1]: in memory once, for all peers that begin with this."""
        return self.images / np.float32(255)

    @cached_property
    def test_scaled(self) -> np.ndarray:
        """The test images likewise."""
        return self.test_images / np.float32(255)


class Peer(Protocol):
    """A network on its way; the first epoch may include compiling."""

    def epoch(self) -> float:
        """Train one epoch; the accuracy on all test images after it."""
        ...


Start = Callable[[Data, int], Peer]  # of the data and a seed, for the weights and for the order


def weights(seed: int) -> list[np.ndarray]:
    """What a network starts with, float32 [784, 100] and [100, 10]: N(0, 2 / inputs), He et al. 2015. Biases are 0."""
    random = np.random.default_rng([seed, 1])
    sizes = (PIXELS, HIDDEN), (HIDDEN, CLASSES)
    return [random.normal(0, sqrt(2 / size[0]), size).astype(np.float32) for size in sizes]


def batches(random: np.random.Generator, examples: int) -> np.ndarray:
    """The rows of every mini-batch of a new epoch, [steps, 100]."""
    return random.permutation(examples).reshape(-1, BATCH)


def installed() -> Mapping[str, Start]:
    """The peers whose packages are there, by name; of every other package it is printed how to get it."""
    peers = {}
    for name, package in PACKAGES.items():
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            print(f"left out: {package} ({error}). To have it: pip install -e .[bench]")
        else:
            print(f"{package} {metadata.version(package)}{getattr(module, 'NOTE', '')}")
            peers |= module.PEERS
    return peers
