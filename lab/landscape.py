"""Landscapes: values along lines and over planes through weight space. The network itself is never changed.

Directions are pytrees like the parameters; a gradient is one. A slice is one compiled program: every objective and
exact accuracy at every point, from one forward pass each. At offset 0 the weights are exactly the network's own.

Points are taken one after the other; `batch_size=b` takes b at a time, with b times the memory. On a CPU that is
slower (784-100-10, 1,000 images: 2.2 ms a point, by 8 2.9 ms, by 32 4.4 ms). A slice that is taken again and again
compiles once if jitted with `apply` static and parameters and images as arguments.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from lab.errors import InputError
from lab.metrics import accuracy
from lab.networks import Images, check_parameters, scaled
from lab.objectives import Objective


class SliceValues(NamedTuple):
    """What `slice_values` gives at one point; a line or a plane puts its own axes in front."""

    objectives: Float[Array, "*slice objectives"]  # mean over the batch
    accuracy: Float[Array, "*slice"]  # exact, in [0, 1]


class PrincipalPlane(NamedTuple):
    """The plane that a path keeps closest to, of all those through its last point."""

    first: Any  # a direction of length 1
    second: Any  # another, orthogonal to it
    coordinates: Float[Array, "points 2"]  # of every point of the path, orthogonally projected; the last one's are 0
    explained: Float[Array, " 2"]  # share of the sum of squared distances from the last point


def line(
    value: Callable[[Any], Any],
    parameters: Any,
    direction: Any,
    offsets: Float[Array, " offsets"],
    *,
    batch_size: int | None = None,
) -> PyTree[Float[Array, "offsets ..."]]:
    """value(theta + t direction) at every offset t, in one compiled loop.

    `value` gives numbers in any pytree. Raises: InputError if the direction has other shapes than the parameters, and
    for parameters that are no real numbers.

    >>> line(lambda theta: theta**2, jnp.array(1.0), jnp.array(2.0), jnp.array([0.0, 1.0])).tolist()
    [1.0, 9.0]
    """
    require_alike(parameters, direction, "a direction")
    parameters = _weights(parameters)
    places = jnp.asarray(offsets, float)
    return _map(lambda offset: value(_moved(parameters, direction, offset)), places, batch_size)


def line_derivatives(
    value: Callable[[Any], Any],
    parameters: Any,
    direction: Any,
    offsets: Float[Array, " offsets"],
    *,
    batch_size: int | None = None,
) -> tuple[PyTree[Float[Array, "offsets ..."]], PyTree[Float[Array, "offsets ..."]]]:
    """(value, d value / dt) at every offset, each as `line` gives it, by forward mode: one more forward pass.

    Accuracy's derivative is exactly 0 everywhere, also where a step lies between two offsets. Raises: as `line`.

    >>> line_derivatives(lambda theta: theta**2, jnp.array(1.0), jnp.array(2.0), jnp.array([3.0]))[1].tolist()
    [28.0]
    """
    require_alike(parameters, direction, "a direction")
    parameters = _weights(parameters)

    def at(offset):
        return jax.jvp(lambda t: value(_moved(parameters, direction, t)), (offset,), (jnp.ones_like(offset),))

    return _map(at, jnp.asarray(offsets, float), batch_size)


def plane(
    value: Callable[[Any], Any],
    parameters: Any,
    first: Any,
    second: Any,
    offsets_first: Float[Array, " first"],
    offsets_second: Float[Array, " second"],
    *,
    batch_size: int | None = None,
) -> PyTree[Float[Array, "first second ..."]]:
    """value(theta + s first + t second) at all pairs of offsets s and t, in one compiled loop.

    Distances on the plane are those of weight space if the directions are orthogonal, of length 1. Raises: as `line`.

    >>> first, second = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    >>> plane(jnp.prod, jnp.array([1.0, 2.0]), first, second, jnp.array([0.0, 1.0]), jnp.array([0.0])).tolist()
    [[2.0], [4.0]]
    """
    require_alike([parameters] * 2, [first, second], "two directions")
    parameters = _weights(parameters)

    def at(offsets):
        return value(_moved(_moved(parameters, first, offsets[0]), second, offsets[1]))

    places = (jnp.asarray(offsets, float) for offsets in (offsets_first, offsets_second))
    pairs = jnp.stack(jnp.meshgrid(*places, indexing="ij"), axis=-1)
    flat = _map(at, pairs.reshape(-1, 2), batch_size)
    return jax.tree.map(lambda leaf: leaf.reshape(*pairs.shape[:2], *leaf.shape[1:]), flat)


def slice_values(
    apply: Callable[..., Any],
    images: Images,
    labels: Array | np.ndarray,
    objectives: Sequence[Objective],
    *,
    precision: str = "highest",
) -> Callable[[Any], SliceValues]:
    """The function of the parameters that lines and planes are drawn of: every objective's mean, and exact accuracy.

    `precision` is that of matrix products. Raises, when called: InputError if the labels do not fit the logits.

    >>> import lab
    >>> network = lab.mlp([], pixels=2, classes=2)
    >>> value = slice_values(network.apply, jnp.eye(2), jnp.arange(2), [])
    >>> parameters = [{"weight": jnp.eye(2), "bias": jnp.zeros(2)}]
    >>> line(value, parameters, unit(parameters, 0), jnp.array([0.0, 2.0])).accuracy.tolist()  # moves a bias
    [1.0, 0.5]
    """

    def value(parameters: Any) -> SliceValues:
        with jax.default_matmul_precision(precision):
            logits = apply(parameters, scaled(images))
        means = [jnp.mean(one(logits, labels)) for one in objectives]
        # Not the mean of 1[correct]: XLA multiplies by 1 / batch, and a share is then off by a rounding error.
        return SliceValues(jnp.array(means), jnp.asarray(accuracy(logits, labels)))

    return value


def _weights(parameters: Any) -> Any:
    """The parameters as arrays of real numbers: whole ones would be moved by whole numbers alone."""
    check_parameters(parameters)
    return jax.tree.map(jnp.asarray, parameters)


def _moved(parameters: Any, direction: Any, offset: Array) -> Any:
    return jax.tree.map(lambda theta, d: (theta + offset * d).astype(theta.dtype), parameters, direction)


def _map(at: Callable[[Any], Any], points: Any, batch_size: int | None) -> Any:
    if batch_size is not None and batch_size < 1:
        raise InputError(f"the batch size of a slice counts its points and must be 1 or more; got {batch_size}.")
    return jax.lax.map(at, points, batch_size=batch_size)


def unit(parameters: Any, position: int | np.integer | Int[Array, ""]) -> Any:
    """The direction of a single weight, counted through the flattened parameters (of a dict by name: bias, weight).

    Raises: InputError for a position that is not there; a traced one is not checked.

    >>> unit({"bias": jnp.zeros(1), "weight": jnp.zeros(2)}, 2)["weight"].tolist()
    [0.0, 1.0]
    """
    flat, unravel = ravel_pytree(parameters)
    if not isinstance(position, Tracer) and not 0 <= position < flat.size:
        raise InputError(f"the position of a weight must be 0..{flat.size - 1}; got {position}.")
    return unravel(jnp.zeros_like(flat).at[position].set(1.0))


def towards(parameters: Any, other: Any) -> Any:
    """The way to another network, other - theta: offset 1 is there, up to the rounding of theta + (other - theta).

    Goodfellow, Vinyals & Saxe 2015, Qualitatively characterizing neural network optimization problems.
    Raises: InputError if the networks have other shapes.

    >>> towards(jnp.array([1.0]), jnp.array([3.0])).tolist()
    [2.0]
    """
    require_alike(parameters, other, "the other network")
    return jax.tree.map(jnp.subtract, other, parameters)


def random_direction(parameters: Any, *, key: PRNGKeyArray) -> Any:
    """Independent N(0, 1) for every weight. Two of them are all but orthogonal in many dimensions.

    Raises: InputError for parameters that are no real numbers.

    >>> random_direction({"weight": jnp.zeros((2, 3))}, key=jax.random.key(0))["weight"].shape
    (2, 3)
    """
    return optax.tree.random_like(key, _weights(parameters))


def filter_normalised(direction: Any, parameters: Any) -> Any:
    """The direction with each unit's incoming weights scaled to the length of the network's own.

    d_i |theta_i| / |d_i| for every row i of a weight matrix [outputs, inputs], or all that is behind the first axis.
    Biases and other leaves of fewer than 2 axes become 0: they are not moved, as in the source's own pictures. A row
    that is 0 stays 0. Offset 1 changes every unit by 100 %, so that slices of different networks can be compared.
    Li, Xu, Taylor, Studer & Goldstein 2018, Visualizing the loss landscape of neural nets. Raises: as `line`.

    >>> filter_normalised(jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.array([[0.0, 1.0], [2.0, 2.0]])).round(1).tolist()
    [[0.6..., 0.8...], [0.0, 0.0]]
    """
    require_alike(parameters, direction, "a direction")

    def scaled(d, theta):
        if d.ndim < 2:
            return jnp.zeros_like(d)
        own, wanted = jax.vmap(length)(d), jax.vmap(length)(theta)
        return d * (wanted / jnp.where(own > 0, own, 1.0)).reshape(-1, *[1] * (d.ndim - 1))

    return jax.tree.map(scaled, direction, parameters)


def length(direction: Any) -> Float[Array, ""]:
    """sqrt of the sum of all squares, also where the squares themselves are below the range of floats.

    >>> float(length({"bias": jnp.array([3e-30]), "weight": jnp.array([[4e-30]])})) == float(jnp.float32(5e-30))
    True
    """
    largest = optax.tree.norm(direction, ord=jnp.inf)
    divisor = jnp.where(largest > 0, largest, 1.0)
    return largest * optax.tree.norm(jax.tree.map(lambda leaf: leaf / divisor, direction))


def normalised(direction: Any) -> Any:
    """The direction at length 1: offsets along it are then distances in weight space.

    Raises: InputError if it is 0, as accuracy's gradient is, or not finite (traced: NaN comes back).

    >>> normalised({"weight": jnp.array([[3.0, 4.0]])})["weight"].round(1).tolist()
    [[0.6..., 0.8...]]
    """
    long = length(direction)
    if not isinstance(long, Tracer) and not 0 < long < jnp.inf:
        raise InputError(
            f"a direction must be finite and not 0 to be normalised; its length is {long}. A dead gradient?"
        )
    return jax.tree.map(lambda leaf: leaf / long, direction)


def orthogonalised(first: Any, second: Any) -> tuple[Any, Any]:
    """`first` as it is, and of `second` what is orthogonal to it: second - first <first, second> / <first, first>.

    Raises: InputError if one of them is 0, or if they are parallel up to rounding.

    >>> orthogonalised(jnp.array([2.0, 0.0]), jnp.array([1.0, 3.0]))[1].tolist()
    [0.0, 3.0]
    """
    require_alike(first, second, "the second direction")
    along, rest, long = normalised(first), normalised(second), length(second)
    for _ in range(2):  # once more, for what rounding leaves of `first` in directions that are nearly parallel
        inner = optax.tree.vdot(along, rest)
        rest = jax.tree.map(lambda r, a, inner=inner: r - inner * a, rest, along)
    left = length(rest)
    if not isinstance(left, Tracer) and left <= 100 * jnp.finfo(left.dtype).eps:
        raise InputError("the two directions of a plane are parallel: they span a line. Choose another second one.")
    return first, jax.tree.map(lambda leaf: leaf * long, rest)


def principal_plane(path: Sequence[Any]) -> PrincipalPlane:
    """The plane of a training path: the two main directions of its points as seen from the last one.

    The first right singular vectors of the matrix of rows theta_i - theta_last, and the shares of their squared
    singular values in the sum of all. The farthest coordinate on each axis is positive. Li et al. 2018, see
    `filter_normalised`. A trap: a random walk in many dimensions has shares 8 / (pi^2 (2k - 1)^2), 81 and 9 %, so large
    shares say nothing about training (Antognini & Sohl-Dickstein 2018, PCA of high dimensional random walks).

    Raises: InputError for fewer than 3 points, points of different shapes, or a path that is a straight line.

    >>> found = principal_plane([jnp.array([3.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0]), jnp.zeros(3)])
    >>> found.coordinates.tolist()
    [[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    if len(path) < 3:
        raise InputError(f"the plane of a path needs at least 3 points; got {len(path)}.")
    for point in path:
        require_alike(path[-1], point, "every point of a path")
    last, unravel = ravel_pytree(path[-1])
    rows = jnp.stack([ravel_pytree(point)[0] for point in path]) - last[None, :]
    left, sizes, directions = jnp.linalg.svd(rows, full_matrices=False)
    # The differences of stored weights are no more exact than the weights themselves.
    rounding = 10 * jnp.finfo(sizes.dtype).eps * (sizes[0] + jnp.linalg.norm(last))
    if len(sizes) < 2 or not rounding < sizes[1] < jnp.inf:
        raise InputError("the path is not finite, or a straight line up to rounding: see `towards` and `line`.")
    coordinates = left[:, :2] * sizes[None, :2]
    signs = jnp.sign(coordinates[jnp.argmax(jnp.abs(coordinates), axis=0), jnp.arange(2)])
    first, second = map(unravel, signs[:, None] * directions[:2])
    return PrincipalPlane(first, second, coordinates * signs[None, :], sizes[:2] ** 2 / jnp.sum(sizes**2))


def require_alike(parameters: Any, other: Any, what: str) -> None:
    """Raises InputError unless `other` has the parameters' structure and shapes, which broadcasting would hide.

    >>> require_alike({"bias": jnp.zeros(2)}, {"bias": jnp.zeros(1)}, "a direction")
    Traceback (most recent call last):
    lab.errors.InputError: a direction must be a pytree like the parameters, ...
    """
    wanted, got = ((jax.tree.structure(tree), [*map(np.shape, jax.tree.leaves(tree))]) for tree in (parameters, other))
    if wanted != got:
        raise InputError(f"{what} must be a pytree like the parameters, {wanted}; got {got}.")
