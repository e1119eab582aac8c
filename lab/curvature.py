"""Curvature: what a step bends. Products with the Hessian and with its Gauss-Newton part, and what follows from them.

A product is a function of one pytree that gives another, linear and symmetric, such as

    partial(hessian_vector, network.apply, parameters, images, labels, objective)

`top_eigenvalues`, `trace` and `spectral_density` take any product, work in the parameters' dtype, and say how far
they are to be trusted. Jitted with `apply` static, and parameters, images, labels and objective as arguments, they
compile once for all stages and temperatures. The matrix itself, weights x weights, is never there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from lab.errors import InputError
from lab.landscape import length, normalised, require_alike
from lab.networks import Images, check_parameters, scaled
from lab.objectives import Objective

Product = Callable[[Any], Any]


class Eigenpairs(NamedTuple):
    """The eigenvalues at one end of the spectrum, the outermost first."""

    values: Float[Array, " count"]
    residuals: Float[Array, " count"]  # |A v - lambda v|, |v| = 1: an eigenvalue is no farther from lambda than that
    converged: Bool[Array, " count"]  # residual <= tolerance * the largest |lambda| of both ends
    vectors: Any  # the parameters' pytree, each leaf [count, ...], of length 1; None unless asked for


class TopEigenvalues(NamedTuple):
    """Both ends of a spectrum."""

    highest: Eigenpairs  # falling
    lowest: Eigenpairs  # rising


class Trace(NamedTuple):
    """A sum of eigenvalues, estimated."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


class SpectralDensity(NamedTuple):
    """The share of eigenvalues per unit, broadened; mean and spread over random probes."""

    grid: Float[Array, " points"]  # lambda
    density: Float[Array, " points"]
    standard_error: Float[Array, " points"]  # over probes; it knows nothing of too few steps
    mass: Float[Array, ""]  # integral over the grid; 1 unless the grid is too short, or coarser than the width
    width: Float[Array, ""]  # standard deviation of the Gaussians
    nodes: Float[Array, "probes steps"]  # Ritz values: sum over steps of weight f(node) is about tr f(A) / size
    weights: Float[Array, "probes steps"]  # of the nodes, sum 1 for each probe


def hessian_vector(
    apply: Callable[..., Any],
    parameters: Any,
    images: Images,
    labels: Int[Array | np.ndarray, " batch"],
    objective: Objective,
    vector: Any,
    *,
    precision: str = "highest",
) -> Any:
    """H v, H the second derivatives of the objective's mean with respect to the parameters; a pytree like them.

    The derivative of the gradient along v, forward over reverse; Pearlmutter 1994, Fast exact multiplication by the
    Hessian. A corner (relu, hinges, steps) counts as if it were not there: the Hessian of zero_one is exactly 0.
    Raises: InputError if the vector has other shapes than the parameters.

    >>> import lab
    >>> network = lab.mlp([], pixels=1, classes=2)
    >>> parameters, loss = network.init(jax.random.key(0)), lab.objective("zero_one")
    >>> found = hessian_vector(network.apply, parameters, jnp.ones((1, 1)), jnp.array([0]), loss, parameters)
    >>> found[0]["bias"].tolist()
    [0.0, 0.0]
    """
    require_alike(parameters, vector, "the vector")
    with jax.default_matmul_precision(precision):
        gradient = jax.grad(lambda theta: jnp.mean(objective(apply(theta, scaled(images)), labels)))
        return jax.jvp(gradient, (parameters,), (vector,))[1]


def gauss_newton_vector(
    apply: Callable[..., Any],
    parameters: Any,
    images: Images,
    labels: Int[Array | np.ndarray, " batch"],
    objective: Objective,
    vector: Any,
    *,
    precision: str = "highest",
) -> Any:
    """J^T H_z J v, J the logits' Jacobian and H_z the second derivatives of the objective's mean in the logits.

    The Hessian without the bending of the network itself; the same where logits are linear in the parameters.
    Positive semi-definite if the objective is convex in the logits, as cross entropy is. Smoothed accuracies, and
    squared errors of probabilities, are not: here their part has eigenvalues of both signs, and is no metric.
    Schraudolph 2002, Fast curvature matrix-vector products for second-order gradient descent.
    Raises: InputError if the vector has other shapes than the parameters.

    >>> import lab
    >>> network = lab.mlp([], pixels=1, classes=2)
    >>> parameters, loss = [{"weight": jnp.zeros((2, 1)), "bias": jnp.zeros(2)}], lab.objective("cross_entropy")
    >>> vector = [{"weight": jnp.zeros((2, 1)), "bias": jnp.array([1.0, 0.0])}]
    >>> found = gauss_newton_vector(network.apply, parameters, jnp.ones((1, 1)), jnp.array([0]), loss, vector)
    >>> found[0]["bias"].tolist()
    [0.25, -0.25]
    """
    require_alike(parameters, vector, "the vector")

    def logits_of(theta):
        return apply(theta, scaled(images))

    with jax.default_matmul_precision(precision):
        logits, pullback = jax.vjp(logits_of, parameters)
        pushed = jax.jvp(logits_of, (parameters,), (vector,))[1]
        gradient = jax.grad(lambda z: jnp.mean(objective(z, labels)))
        return pullback(jax.jvp(gradient, (logits,), (pushed,))[1])[0]


def top_eigenvalues(
    product: Product,
    parameters: Any,
    *,
    key: PRNGKeyArray,
    count: int = 5,
    steps: int = 50,
    tolerance: float = 1e-4,
    vectors: bool = False,
    precision: str = "highest",
) -> TopEigenvalues:
    """The `count` highest and the `count` lowest eigenvalues, with residuals and whether they have converged.

    Lanczos from a random vector, each new one made orthogonal to all before, which are held in memory: `steps`
    products, at most the number of weights, and one for each residual. Both ends, because smoothed accuracies have
    pairs near +-lambda, between which power iteration is lost. `converged` says that a pair is an eigenpair; not that
    none lies farther out, and an eigenvalue that occurs several times may be shown once.
    Paige 1976, Error analysis of the Lanczos algorithm for tridiagonalizing a symmetric matrix.

    Raises: InputError unless 1 <= count <= steps (or the number of weights), if the product has other shapes, or
    for parameters that are no real numbers.

    >>> scale = jnp.array([3.0, 1.0, 0.0, -3.0])
    >>> found = top_eigenvalues(lambda v: scale * v, scale, key=jax.random.key(0), count=1)
    >>> round(float(found.highest.values[0]), 3), round(float(found.lowest.values[0]), 3), found.lowest.converged.all()
    (3.0, -3.0, Array(True, dtype=bool))
    """
    multiply, like, unravel = _flattened(product, parameters)
    steps = min(steps, like.size)
    if not 1 <= count <= steps:
        raise InputError(f"the count must be from 1 to the number of steps and of weights, {steps}; got {count}.")
    start_key, restart_key = jax.random.split(key)
    with jax.default_matmul_precision(precision):
        start = jax.random.normal(start_key, like.shape, like.dtype)
        values, combinations, basis = _lanczos(multiply, start, steps, restart_key)
        ends = np.concatenate([np.arange(steps)[::-1][:count], np.arange(count)])
        values, pairs = values[ends], jax.vmap(normalised)(combinations[:, ends].T @ basis)
        residuals = jax.lax.map(lambda pair: length(multiply(pair[0]) - pair[1] * pair[0]), (pairs, values))
    converged = residuals <= tolerance * jnp.max(jnp.abs(values))
    both = Eigenpairs(values, residuals, converged, jax.vmap(unravel)(pairs) if vectors else None)
    return TopEigenvalues(*(jax.tree.map(lambda x, p=p: x[p], both) for p in (slice(count), slice(count, None))))


def trace(
    product: Product, parameters: Any, *, key: PRNGKeyArray, samples: int = 30, precision: str = "highest"
) -> Trace:
    """The sum of all eigenvalues: the mean of v^T A v over random v of entries +-1, and its standard error.

    Exact for a multiple of the identity, or any diagonal matrix; otherwise the variance of a sample is twice the sum of
    the squares beside the diagonal. Hutchinson 1990, A stochastic estimator of the trace of the influence matrix.
    Raises: InputError for fewer than 2 samples, if the product has other shapes, or for parameters that are no real
    numbers.

    >>> found = trace(lambda v: 2 * v, jnp.zeros(3), key=jax.random.key(0), samples=4)
    >>> float(found.value), float(found.standard_error)
    (6.0, 0.0)
    """
    multiply, like, _ = _flattened(product, parameters)

    def sample(key):
        probe = jax.random.rademacher(key, like.shape, like.dtype)
        return probe @ multiply(probe)

    with jax.default_matmul_precision(precision):
        values = jax.lax.map(sample, _probe_keys(key, samples))
    return Trace(jnp.mean(values), _standard_error(values))


def spectral_density(
    product: Product,
    parameters: Any,
    *,
    key: PRNGKeyArray,
    probes: int = 10,
    steps: int = 80,
    grid: Float[Array, " points"] | None = None,
    width: float | Float[Array, ""] | None = None,
    precision: str = "highest",
) -> SpectralDensity:
    """How the eigenvalues are distributed: (1 / size) sum over them of a Gaussian of standard deviation `width`.

    Stochastic Lanczos quadrature: from each probe, of entries +-1, `steps` Lanczos steps (at most the number of
    weights) give nodes and weights that are exact for polynomials of degree 2 steps - 1. Unless given, the width is 1 %
    of the nodes' range, and the grid 1,000 points, 5 widths beyond it. With the same key and number, the probes are
    those of `trace`, and the mean is its value / size. An outlier has a mass of 1 / size: use a logarithmic axis.
    Ubaru, Chen & Saad 2017, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature; Ghorbani, Krishnan & Xiao
    2019, An investigation into neural net optimization via Hessian eigenvalue density.

    Raises: InputError for fewer than 2 probes or 1 step, a width that is not > 0, a product of other shapes, or
    parameters that are no real numbers.

    >>> found = spectral_density(lambda v: jnp.array([1.0, -1.0]) * v, jnp.zeros(2), key=jax.random.key(0))
    >>> round(float(found.mass), 3), bool(jnp.allclose(found.nodes, jnp.array([[-1.0, 1.0]])))
    (1.0, True)
    """
    multiply, like, _ = _flattened(product, parameters)
    if steps < 1 or not (width is None or isinstance(width, Tracer) or 0 < width < jnp.inf):
        raise InputError(f"a density needs at least 1 step and a finite width > 0; got {steps} and {width}.")

    def quadrature(key):
        probe = jax.random.rademacher(key, like.shape, like.dtype)
        nodes, combinations, _ = _lanczos(multiply, probe, min(steps, like.size), jax.random.fold_in(key, 0))
        return nodes, combinations[0] ** 2

    with jax.default_matmul_precision(precision):
        nodes, weights = jax.lax.map(quadrature, _probe_keys(key, probes))
    low, high = jnp.min(nodes), jnp.max(nodes)
    if width is None:
        # A multiple of the identity has a range of rounding errors; the matrix 0 has none.
        width = 0.01 * jnp.maximum(high - low, 0.01 * jnp.maximum(jnp.abs(low), jnp.abs(high)))
        width = jnp.where(width > 0, width, 1.0)
    width = jnp.asarray(width, like.dtype)
    if grid is None:
        grid = jnp.linspace(low - 5 * width, high + 5 * width, 1000)
    distances = (grid[None, :, None] - nodes[:, None, :]) / width
    heights = jnp.exp(-(distances**2) / 2) / (width * jnp.sqrt(2 * jnp.pi))
    densities = jnp.sum(weights[:, None, :] * heights, axis=2)
    density = jnp.mean(densities, axis=0)
    mass = jnp.trapezoid(density, grid)
    return SpectralDensity(grid, density, _standard_error(densities), mass, width, nodes, weights)


def _flattened(product: Product, parameters: Any) -> tuple[Callable[[Array], Array], Array, Callable[[Array], Any]]:
    """The product as a function of flat vectors, a vector of that kind, and the way back to a pytree."""
    check_parameters(parameters)
    like, unravel = ravel_pytree(parameters)

    def multiply(vector):
        image = product(unravel(vector))
        require_alike(parameters, image, "what the product gives")
        return ravel_pytree(image)[0]

    return multiply, like, unravel


def _probe_keys(key: PRNGKeyArray, count: int) -> Array:
    if count < 2:
        raise InputError(f"a standard error needs at least 2 random vectors; got {count}.")
    return jax.random.split(key, count)


def _standard_error(values: Float[Array, "samples *shape"]) -> Float[Array, "*shape"]:
    return jnp.std(values, axis=0, ddof=1) / len(values) ** 0.5


def _lanczos(
    multiply: Callable[[Array], Array], start: Float[Array, " size"], steps: int, key: PRNGKeyArray
) -> tuple[Float[Array, " steps"], Float[Array, "steps steps"], Float[Array, "steps size"]]:
    """Eigenvalues (rising) and eigenvectors (columns) of the tridiagonal Q A Q^T; the orthonormal rows of Q."""

    def step(state, number):
        basis, before, row, off, scale = state
        basis = basis.at[number].set(row)
        image = multiply(row)
        on = row @ image
        rest = image - on * row - off * before
        scale = jnp.maximum(scale, jnp.maximum(jnp.abs(on), length(rest)))
        # Nothing new left: an invariant subspace is complete, and another begins at random, not coupled to it.
        complete = length(rest) <= 10 * jnp.finfo(row.dtype).eps * scale
        drawn = jax.random.fold_in(key, number)
        rest = jax.lax.cond(complete, lambda: jax.random.normal(drawn, row.shape, row.dtype), lambda: rest)
        # Paige 1976: unless made orthogonal to all before, rounding brings ghosts of converged eigenvalues. Twice,
        # for what the first time leaves of a vector that is nearly theirs.
        for _ in range(2):
            rest = rest - (basis @ rest) @ basis
        size = length(rest)
        off = jnp.where(complete, 0.0, size)
        return (basis, row, rest / jnp.where(size > 0, size, 1.0), off, scale), (on, off)

    zero = jnp.zeros((), start.dtype)
    state = (jnp.zeros((steps, start.size), start.dtype), start, start / length(start), zero, zero)
    (basis, *_), (diagonal, beside) = jax.lax.scan(step, state, jnp.arange(steps))
    return *jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)), basis
