"""The peer in Equinox: its MLP and a jitted value_and_grad for each objective."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from case import Case
from peers import Peer, flat


@eqx.filter_jit
@eqx.filter_value_and_grad
def value_and_gradient(model, objective, images, labels):
    """Of the mean; compiled once for each kind of objective."""
    return jnp.mean(objective(jax.vmap(model)(images), labels))


def gradients(case: Case) -> dict[str, Peer]:
    """One call for each objective."""
    _, parameters, images, labels, objectives = case
    model = eqx.nn.MLP(784, 10, width_size=100, depth=1, activation=jax.nn.relu, key=jax.random.key(0))
    leaves = [leaf for layer in parameters for leaf in (layer["weight"], layer["bias"])]
    model = eqx.tree_at(lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)], model, leaves)

    def read(found):
        return np.stack([flat((layer.weight, layer.bias) for layer in gradient.layers) for _, gradient in found])

    return {"equinox": Peer(lambda: [value_and_gradient(model, one, images, labels) for one in objectives], read)}
