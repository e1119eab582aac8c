"""The peer in Flax: a module of NNX, its optimiser and its metrics in a jitted step, as the MNIST tutorial has it."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax_peers import Perceptron
from training_peers import RATE, Data, batches, weights


def loss_of(model, images, labels):
    """Mean cross entropy, and the logits."""
    logits = model(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits


@nnx.jit
def train_step(model, optimiser, metrics, images, labels):
    """A step; model, optimiser and metrics are changed in place."""
    (loss, logits), gradient = nnx.value_and_grad(loss_of, has_aux=True)(model, images, labels)
    metrics.update(loss=loss, logits=logits, labels=labels)
    optimiser.update(model, gradient)


@nnx.jit
def evaluation_step(model, metrics, images, labels):
    """Loss and accuracy are added to the metrics."""
    loss, logits = loss_of(model, images, labels)
    metrics.update(loss=loss, logits=logits, labels=labels)


class Tutorial:
    """784-100-10 ReLU; batches come from NumPy."""

    def __init__(self, data: Data, seed: int):
        self.data, self.random = data, np.random.default_rng(seed)
        self.model = Perceptron(nnx.Rngs(seed))
        for layer, weight in zip((self.model.hidden, self.model.last), weights(seed), strict=True):
            layer.kernel = nnx.Param(jnp.asarray(weight))
        self.optimiser = nnx.Optimizer(self.model, optax.sgd(RATE), wrt=nnx.Param)
        self.metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))

    def epoch(self) -> float:
        for rows in batches(self.random, len(self.data.labels)):
            train_step(self.model, self.optimiser, self.metrics, self.data.scaled[rows], self.data.labels[rows])
        self.metrics.reset()
        evaluation_step(self.model, self.metrics, self.data.test_scaled, self.data.test_labels)
        accuracy = float(self.metrics.compute()["accuracy"])
        self.metrics.reset()
        return accuracy


PEERS = {"Flax NNX, a jitted step in a loop": Tutorial}
