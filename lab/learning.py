"""Learning curves: one network trained, its loss and accuracy after every epoch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lab.batches import ORDERS
from lab.catalogue import objective
from lab.data import Dataset
from lab.metrics import evaluate
from lab.saved import network_of
from lab.settings import TrainSettings
from lab.training import optimiser, train

if TYPE_CHECKING:
    import xarray

SPLITS = ("train", "validation", "test")


def learn(
    settings: TrainSettings, data: Dataset, *, progress: Callable[[int], object] = lambda steps: None
) -> tuple["xarray.Dataset", Any]:
    """Loss and accuracy (split x epoch) from epoch 0, the untouched network, on; and the parameters at the end.

    Raises: InputError if a batch does not fit into the data; FloatingPointError if training diverges.
    """
    import xarray

    training = settings.training
    network = network_of(training, data)
    trained_on = objective(training.train_on)
    per_epoch = len(data.train) // training.batch_size
    states = train(
        network,
        trained_on,
        optimiser(training.optimiser, training.learning_rate),
        data.train.images,
        data.train.labels,
        key=jax.random.key(settings.seed),
        stages=[per_epoch * epoch for epoch in range(settings.epochs + 1)],
        batch_size=training.batch_size,
        order=ORDERS[training.order],
        progress=progress,
    )
    rows, parameters = [], None
    for state in states:
        parameters = state.parameters
        parts = (getattr(data, split) for split in SPLITS)
        rows.append([evaluate(network.apply, trained_on, parameters, p.images, p.labels) for p in parts])
    curves = {
        name: (("epoch", "split"), np.array([[part[name] for part in row] for row in rows]))
        for name in ("loss", "accuracy")
    }
    results = xarray.Dataset(
        curves,
        coords={"epoch": np.arange(settings.epochs + 1), "split": list(SPLITS)},
        attrs={"data": data.description, "network": network.name, "recipe": training.recipe},
    )
    return results, parameters
