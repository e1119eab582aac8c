"""What is timed: a 784-100-10 ReLU network at its start, training digits, and 16 objectives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Case(NamedTuple):
    """A network, a point, a batch, and the objectives whose gradients are taken there."""

    network: lab.Network
    parameters: Any  # [{"weight": [100, 784], "bias": [100]}, {"weight": [10, 100], "bias": [10]}]
    images: jax.Array  # [batch, 784], in [0, 1]
    labels: jax.Array  # [batch]
    objectives: list[lab.Objective]

    def first(self, examples: int) -> "Case":
        """The same with the first images alone."""
        return self._replace(images=self.images[:examples], labels=self.labels[:examples])


def load(data_dir: Path | None, examples: int, objectives: Sequence[str] = OBJECTIVES) -> Case:
    """The first of the 60,000 training digits; the sample's are repeated where more are wanted, which is printed."""
    data = lab.load("mnist", data_dir=data_dir)
    parts = (data.train, data.validation)
    images = np.concatenate([part.images for part in parts])[:examples]
    labels = np.concatenate([part.labels for part in parts])[:examples]
    print(data.description + ("" if len(labels) == examples else f"; {len(labels):,} repeated to {examples:,} images"))
    images, labels = np.resize(images, (examples, images.shape[1])), np.resize(labels, examples)
    network = lab.mlp([100], activation="relu")
    return Case(
        network,
        network.init(jax.random.key(0)),
        jax.jit(lambda images: images / 255)(images),  # compiled: no copy of 188 MB on the way
        jnp.asarray(labels),
        [lab.objective(text) for text in objectives],
    )
