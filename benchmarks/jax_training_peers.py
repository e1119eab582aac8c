"""The peer in plain JAX: a jitted step, called from a loop over NumPy batches, as JAX's own MNIST example has it."""

import jax
import jax.numpy as jnp
import numpy as np
from training_peers import CLASSES, RATE, Data, batches, weights


def predict(parameters, images):
    """The logarithms of the probabilities."""
    *hidden, (last, last_bias) = parameters
    for weight, bias in hidden:
        images = jax.nn.relu(images @ weight + bias)
    return jax.nn.log_softmax(images @ last + last_bias)


@jax.jit
def update(parameters, images, targets):
    """The parameters a step later."""

    def loss(parameters):
        return -jnp.mean(jnp.sum(predict(parameters, images) * targets, axis=1))

    return jax.tree.map(lambda one, slope: one - RATE * slope, parameters, jax.grad(loss)(parameters))


@jax.jit
def accuracy(parameters, images, labels):
    """The share of the images whose likeliest class is theirs."""
    return jnp.mean(jnp.argmax(predict(parameters, images), axis=1) == labels)


class Stepwise:
    """Images in float32 and one-hot labels on the host; each batch goes to the device with its step."""

    def __init__(self, data: Data, seed: int):
        self.data, self.random = data, np.random.default_rng(seed)
        self.targets = np.eye(CLASSES, dtype=np.float32)[data.labels]
        self.parameters = [(jnp.asarray(weight), jnp.zeros(weight.shape[1])) for weight in weights(seed)]

    def epoch(self) -> float:
        for rows in batches(self.random, len(self.data.labels)):
            self.parameters = update(self.parameters, self.data.scaled[rows], self.targets[rows])
        return float(accuracy(self.parameters, self.data.test_scaled, self.data.test_labels))


PEERS = {"JAX, a jitted step in a loop": Stepwise}
