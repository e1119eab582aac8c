"""The peer in Keras 3 on JAX: `fit` for an epoch, then `evaluate`."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when Keras is imported

import keras
import numpy as np
from training_peers import BATCH, CLASSES, HIDDEN, PIXELS, RATE, Data, weights

NOTE = f" on {keras.backend.backend()}"
QUIET: Any = 0  # as Keras documents it; its annotations say str


class Fit:
    """784-100-10 ReLU, compiled with Keras' own optimiser, loss and metric."""

    def __init__(self, data: Data, seed: int):
        keras.utils.set_random_seed(seed)
        self.data = data
        self.model = keras.Sequential(
            [keras.Input((PIXELS,)), keras.layers.Dense(HIDDEN, activation="relu"), keras.layers.Dense(CLASSES)]
        )
        for layer, weight in zip(self.model.layers, weights(seed), strict=True):
            layer.set_weights([weight, np.zeros(weight.shape[1])])
        self.model.compile(
            optimizer=keras.optimizers.SGD(RATE),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )

    def epoch(self) -> float:
        self.model.fit(self.data.scaled, self.data.labels, batch_size=BATCH, shuffle=True, verbose=QUIET)
        _, accuracy = self.model.evaluate(self.data.test_scaled, self.data.test_labels, batch_size=1000, verbose=QUIET)
        return float(accuracy)


PEERS = {"Keras, fit": Fit}
