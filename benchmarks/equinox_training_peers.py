"""The peer in Equinox: its MLP and a filtered, jitted step of optax, as its MNIST example has it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from training_peers import CLASSES, HIDDEN, PIXELS, RATE, Data, batches, weights

OPTIMISER = optax.sgd(RATE)


@eqx.filter_value_and_grad
def value_and_gradient(model, images, labels):
    """Of the mean cross entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(images), labels).mean()


@eqx.filter_jit
def make_step(model, state, images, labels):
    """The model and the optimiser's state a step later, and the loss."""
    loss, gradient = value_and_gradient(model, images, labels)
    updates, state = OPTIMISER.update(gradient, state, eqx.filter(model, eqx.is_array))
    return eqx.apply_updates(model, updates), state, loss


@eqx.filter_jit
def accuracy(model, images, labels):
    """The share of the images whose likeliest class is theirs."""
    return jnp.mean(jnp.argmax(jax.vmap(model)(images), axis=1) == labels)


class Example:
    """784-100-10 ReLU; batches come from NumPy."""

    def __init__(self, data: Data, seed: int):
        self.data, self.random = data, np.random.default_rng(seed)
        key = jax.random.key(seed)
        model = eqx.nn.MLP(PIXELS, CLASSES, width_size=HIDDEN, depth=1, activation=jax.nn.relu, key=key)
        leaves = [leaf for weight in weights(seed) for leaf in (jnp.asarray(weight.T), jnp.zeros(weight.shape[1]))]
        self.model = eqx.tree_at(lambda m: [leaf for of in m.layers for leaf in (of.weight, of.bias)], model, leaves)
        self.state = OPTIMISER.init(eqx.filter(self.model, eqx.is_array))

    def epoch(self) -> float:
        for rows in batches(self.random, len(self.data.labels)):
            images, labels = self.data.scaled[rows], self.data.labels[rows]
            self.model, self.state, _ = make_step(self.model, self.state, images, labels)
        return float(accuracy(self.model, self.data.test_scaled, self.data.test_labels))


PEERS = {"Equinox, a jitted step in a loop": Example}
