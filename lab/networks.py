"""Networks: `init(key)` gives the parameters, `apply(parameters, images)` the logits. Plain pytrees."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from lab.convolutions import pooled_convolution
from lab.errors import InputError, unknown

Parameters = Any  # a pytree of arrays; here a list of {"weight": [outputs, inputs, ...], "bias": [outputs]}

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
    return _mlp(sizes, activation)


@cache
def _mlp(sizes: tuple[int, ...], activation: str) -> Network:
    """Made once: programs compiled for a network serve whoever asks for the like of it."""
    nonlinearity = ACTIVATIONS[activation]

    def init(key: PRNGKeyArray) -> Parameters:
        # [outputs, inputs]: inside a scan on CPU this is faster than its transpose.
        shapes = [(outputs, inputs) for inputs, outputs in zip(sizes, sizes[1:], strict=False)]
        return _normal(key, shapes, scale=0.01 if activation == "sigmoid" else None)

    def apply(parameters: Parameters, images: Float[Array, "batch pixels"]) -> Float[Array, "batch classes"]:
        return _dense(parameters, images, nonlinearity)

    def tapped(
        parameters: Parameters, images: Float[Array, "batch pixels"], taps: Sequence[Any]
    ) -> tuple[Float[Array, "batch classes"], list[Array]]:
        inputs, put_out = [], images
        for number, (layer, tap) in enumerate(zip(parameters, taps, strict=True)):
            inputs.append(nonlinearity(put_out) if number else images)
            put_out = inputs[-1] @ layer["weight"].T + layer["bias"][None, :] + tap
        return put_out, inputs

    return Network(f"{'-'.join(map(str, sizes))} {activation}", init, apply, tapped)


def lenet5(*, pixels: int = 784, classes: int = 10) -> Network:
    """LeNet-5 with ReLU and max-pooling: two convolutions of 5 x 5, then dense layers of 120, 84 and `classes` units.

    Images come flat and are taken for squares; 6 maps of their own size (padded by 2), pooled to a half, 16 maps,
    pooled to a half. Weights start with N(0, 2 / inputs) (He et al. 2015, Delving deep into rectifiers), biases at 0.
    28 x 28 images and 10 classes make 61,706 parameters; the first two weights are [maps, maps before, 5, 5].

    Raises: InputError unless pixels is the square of a multiple of 4, 12 or more, and classes is at least 1.
    Reference: LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition.

    >>> network = lenet5()
    >>> network.apply(network.init(jax.random.key(0)), jnp.zeros((3, 784))).shape
    (3, 10)
    """
    side = math.isqrt(max(pixels, 0))
    if side**2 != pixels or side % 4 or side < 12:
        raise InputError(f"lenet5 needs square images with sides 12, 16, 20, ..., 28, ...; got {pixels} pixels.")
    if classes < 1:
        raise InputError(f"lenet5 needs at least one class; got {classes}.")
    features = 16 * (side // 4 - 2) ** 2
    shapes = ((6, 1, 5, 5), (16, 6, 5, 5), (120, features), (84, 120), (classes, 84))

    def init(key: PRNGKeyArray) -> Parameters:
        return _normal(key, shapes)

    def apply(parameters: Parameters, images: Float[Array, "batch pixels"]) -> Float[Array, "batch classes"]:
        units = jnp.pad(images.T.reshape(1, side, side, len(images)), ((0, 0), (2, 2), (2, 2), (0, 0)))
        for layer in parameters[:2]:
            # Bias and ReLU after the maximum: both rise with their argument, and a quarter of the units is left.
            maxima = pooled_convolution(units, layer["weight"])
            units = jax.nn.relu(maxima + layer["bias"][:, None, None, None])
        return _dense(parameters[2:], units.reshape(features, len(images)).T, jax.nn.relu)

    return Network("lenet5", init, apply)


def _normal(key: PRNGKeyArray, shapes: Iterable[Sequence[int]], *, scale: float | None = None) -> Parameters:
    """Layers with weights ~ N(0, scale^2), without a scale ~ N(0, 2 / inputs), and biases 0."""
    return [
        {
            "weight": (scale or (2 / math.prod(shape[1:])) ** 0.5)
            * jax.random.normal(jax.random.fold_in(key, number), shape),
            "bias": jnp.zeros(shape[0]),
        }
        for number, shape in enumerate(shapes)
    ]


def _dense(
    layers: Parameters, units: Float[Array, "batch inputs"], nonlinearity: Callable[[Array], Array]
) -> Float[Array, "batch outputs"]:
    """What dense layers put out, the last of them without the nonlinearity."""
    *hidden_layers, last = layers
    for layer in hidden_layers:
        units = nonlinearity(units @ layer["weight"].T + layer["bias"][None, :])
    return units @ last["weight"].T + last["bias"][None, :]
