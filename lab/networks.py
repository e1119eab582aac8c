"""Networks: `init(key)` gives the parameters, `apply(parameters, images)` the logits. Plain pytrees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from lab.errors import InputError, unknown

Parameters = Any  # a pytree of arrays; for `mlp`, a list of {"weight": [outputs, inputs], "bias": [outputs]}

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}


@dataclass(frozen=True)
class Network:
    """A name and two pure functions; any network that has them works everywhere in the lab.

    A network of dense layers may add `tapped(parameters, images, taps)`, with parameters a list of {"weight": [outputs,
    inputs], "bias": [outputs]}: the logits when taps[l] [batch, outputs] is added to what layer l puts out, before its
    nonlinearity, and the list of what each layer takes in [batch, inputs]. Derivatives with respect to the taps are
    those of each example, and per-example gradients need no more.
    """

    name: str
    init: Callable[[PRNGKeyArray], Parameters]
    apply: Callable[[Parameters, Float[Array, "batch pixels"]], Float[Array, "batch classes"]]
    tapped: Callable[[Parameters, Float[Array, "batch pixels"], Sequence[Any]], tuple[Array, list[Array]]] | None = None


def mlp(hidden: Sequence[int] = (50,), *, activation: str = "sigmoid", pixels: int = 784, classes: int = 10) -> Network:
    """A multi-layer perceptron, pixels - hidden - ... - classes.

    `sigmoid` starts as the book does, weights ~ N(0, 0.01^2); `relu` starts with N(0, 2 / inputs)
    (He et al. 2015, Delving deep into rectifiers), without which deeper networks stand still. Biases start at 0.

    Raises: InputError for an unknown activation or a layer without units.

    >>> network = mlp([100], activation="relu")
    >>> network.name
    '784-100-10 relu'
    >>> network.apply(network.init(jax.random.key(0)), jnp.zeros((3, 784))).shape
    (3, 10)
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS, see="python -m lab train --help")
    sizes = (pixels, *hidden, classes)
    if min(sizes) < 1:
        raise InputError(f"every layer needs at least one unit; got {'-'.join(map(str, sizes))}.")
    nonlinearity = ACTIVATIONS[activation]

    def init(key: PRNGKeyArray) -> Parameters:
        layers = []
        for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
            scale = 0.01 if activation == "sigmoid" else (2 / inputs) ** 0.5
            normal = jax.random.normal(jax.random.fold_in(key, layer), (outputs, inputs))
            # [outputs, inputs]: inside a scan on CPU this is faster than its transpose.
            layers.append({"weight": scale * normal, "bias": jnp.zeros(outputs)})
        return layers

    def apply(parameters: Parameters, images: Float[Array, "batch pixels"]) -> Float[Array, "batch classes"]:
        *hidden_layers, last = parameters
        units = images
        for layer in hidden_layers:
            units = nonlinearity(units @ layer["weight"].T + layer["bias"][None, :])
        return units @ last["weight"].T + last["bias"][None, :]

    def tapped(
        parameters: Parameters, images: Float[Array, "batch pixels"], taps: Sequence[Any]
    ) -> tuple[Float[Array, "batch classes"], list[Array]]:
        inputs, put_out = [], images
        for number, (layer, tap) in enumerate(zip(parameters, taps, strict=True)):
            inputs.append(nonlinearity(put_out) if number else images)
            put_out = inputs[-1] @ layer["weight"].T + layer["bias"][None, :] + tap
        return put_out, inputs

    return Network(f"{'-'.join(map(str, sizes))} {activation}", init, apply, tapped)
