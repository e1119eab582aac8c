"""Networks: `init(key)` gives the parameters, `apply(parameters, images)` the logits. Plain pytrees."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from lab.convolutions import pooled_convolution
from lab.errors import InputError, unknown
from lab.labels import class_numbers

Images = UInt8[Array | np.ndarray, "batch pixels"] | Float[Array | np.ndarray, "batch pixels"]
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
    return _lenet5(side, classes)


@cache
def _lenet5(side: int, classes: int) -> Network:
    """Made once, as `_mlp` is."""
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


def scaled(images: Images) -> Float[Array, "batch pixels"]:
    """What a network is given: pixels 0..255, as `lab.load` has them, as numbers in 0..1; real numbers as they are.

    Raises: InputError for anything else.

    >>> scaled(np.array([[0, 255]], dtype=np.uint8)).tolist(), scaled(np.array([[0.5, 2.0]])).tolist()
    ([[0.0, 1.0]], [[0.5, 2.0]])
    """
    if images.ndim != 2 or not (images.dtype == np.uint8 or jnp.issubdtype(images.dtype, jnp.floating)):
        raise InputError(
            "images must be pixels 0..255 (uint8) or real numbers of shape [examples, pixels]; "
            f"got {images.dtype} of shape {images.shape}."
        )
    return jnp.asarray(images).astype(float) / 255 if images.dtype == np.uint8 else jnp.asarray(images)


@partial(jax.jit, static_argnames="apply")  # for its memory: what was traced once is known
def _logits(apply: Callable[..., Any], parameters: Parameters, images: Images) -> Float[Array, "batch classes"]:
    return apply(parameters, scaled(images))


def class_labels(
    apply: Callable[..., Any], parameters: Parameters, images: Images, labels: Array | np.ndarray
) -> Int[np.ndarray, " batch"]:
    """The class numbers of examples that a network can be trained or evaluated on; checked, with nothing computed.

    Raises: InputError if the network does not take the images, or the labels do not fit them or its classes.

    >>> network = mlp(pixels=3, classes=2)
    >>> shapes = jax.eval_shape(network.init, jax.random.key(0))
    >>> class_labels(network.apply, shapes, np.zeros((2, 3)), np.array([[0, 1], [1, 0]]))
    array([1, 0], dtype=int32)
    """
    return np.asarray(fitting_labels(apply, parameters, images, labels))


def fitting_labels(
    apply: Callable[..., Any], parameters: Parameters, images: Images, labels: Array | np.ndarray
) -> Int[Array, " batch"]:
    """The same as an array of JAX, and within a compiled function, where shapes alone can be checked.

    Raises: InputError as `class_labels` does, for parameters that are no real numbers, and if there are no examples.
    """
    check_parameters(parameters)
    try:
        logits = _logits.eval_shape(apply, parameters, images)
    except (TypeError, ValueError) as error:
        raise InputError(f"the network does not take images of shape {images.shape}: {error}") from error
    if not len(images):
        raise InputError("there must be at least one example; got none.")
    return class_numbers(labels, shape=logits.shape)


def check_parameters(parameters: Any) -> None:
    """Raises: InputError if a parameter is no real number: no gradient moves it.

    >>> check_parameters({"weight": jnp.ones(2), "size": 3})
    Traceback (most recent call last):
    lab.errors.InputError: the parameters of a network must be real numbers; some are int32.
    """
    for leaf in jax.tree.leaves(parameters):
        kind = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
        if not jnp.issubdtype(kind, jnp.floating):
            raise InputError(f"the parameters of a network must be real numbers; some are {kind}.")


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
