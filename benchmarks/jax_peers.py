"""Peers in plain JAX: a call for each objective, and a gradient for each example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from case import Case
from peers import Peer, flat


def gradients(case: Case) -> dict[str, Peer]:
    """A jitted jax.grad, compiled once for each kind of objective."""
    network, parameters, images, labels, objectives = case

    @jax.jit
    def gradient(parameters, objective, images, labels):
        return jax.grad(lambda theta: jnp.mean(objective(network.apply(theta, images), labels)))(parameters)

    def read(found):
        return np.stack([flat((layer["weight"], layer["bias"]) for layer in one) for one in found])

    return {
        "jax.grad, one by one": Peer(lambda: [gradient(parameters, one, images, labels) for one in objectives], read)
    }


def examples(case: Case) -> dict[str, Peer]:
    """The gradients of single examples, all in memory at once or one after the other."""
    network, parameters, images, labels, (objective, *_) = case

    def gradient(theta, image, label):
        return jax.grad(lambda theta: objective(network.apply(theta, image[None]), label[None])[0])(theta)

    @jax.jit
    def at_once(theta, images, labels):
        leaves = jax.tree.leaves(jax.vmap(gradient, in_axes=(None, 0, 0))(theta, images, labels))
        each = [leaf.reshape(len(leaf), -1) for leaf in leaves]
        # Products throughout: with jnp.sum and jnp.mean this takes five times as long on CPU.
        means = [jnp.full(len(part), 1 / len(part)) @ part for part in each]
        norms = [jnp.einsum("ij,ij->i", part, part) for part in each]
        inner = [part @ mean for part, mean in zip(each, means, strict=True)]
        return sum(norms[1:], norms[0]), sum(inner[1:], inner[0])

    @jax.jit
    def in_turn(theta, images, labels):
        mean = jax.grad(lambda theta: jnp.mean(objective(network.apply(theta, images), labels)))(theta)

        def numbers(example):
            one = gradient(theta, *example)
            return optax.tree.vdot(one, one), optax.tree.vdot(one, mean)

        return jax.lax.map(numbers, (images, labels))

    return {
        "jax.vmap(grad)": Peer(lambda: at_once(parameters, images, labels), np.stack),
        "jax.lax.map(grad)": Peer(lambda: in_turn(parameters, images, labels), np.stack),
    }
