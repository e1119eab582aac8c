"""Estimators: gradients of what has none, from values alone.

Each gives an `Estimate` of something to be minimised, and of its own quality. They differ in where they add noise:
to the weights (evolution strategies), to the answers (REINFORCE), to the logits (perturbed argmax), or nowhere
(straight-through). All can be jitted, with functions, counts and words static.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray
from optax import perturbations

from lab.catalogue import objective
from lab.errors import InputError, unknown
from lab.gradients import gram
from lab.labels import class_numbers
from lab.networks import Images, check_parameters, scaled

GROUPS = 16  # into which samples are divided where their spread is wanted
NOISE: dict[str, Any] = {"gumbel": perturbations.Gumbel(), "normal": perturbations.Normal()}

Apply = Callable[..., Any]
Labels = Int[Array | np.ndarray, " batch"]
Scalar = Float[Array, ""] | float


class Estimate(NamedTuple):
    """An estimated gradient and its quality; `agreement` is NaN where a half is 0 or has no samples."""

    value: Float[Array, "*objectives"]  # estimate of the smoothed quantity
    gradient: Any  # the parameters' pytree, each leaf [*objectives, ...]
    standard_error: Any  # of each component of the gradient; NaN where there is no spread to take it from
    agreement: Float[Array, "*objectives"]  # cosine between the estimates of two independent halves of the samples
    passes: int | Array  # forward passes of one batch (an array once it went through jit)


def cosine(gradient: Any, reference: Any) -> Float[Array, ""]:
    """The cosine of the angle between two gradients, pytrees alike, in [-1, 1]; NaN if one of them is 0.

    >>> float(cosine({"w": jnp.array([1e-30, 0.0])}, {"w": jnp.array([3.0, 4.0])}).round(1))
    0.6...
    """

    def scaled(tree):  # squares of small numbers are below float32's range
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0) for leaf in jax.tree.leaves(tree)]))
        return jax.tree.map(lambda leaf: leaf / jnp.where(largest > 0, largest, jnp.nan), tree)

    inner = gram(jax.tree.map(lambda *both: jnp.stack(both), scaled(gradient), scaled(reference)))
    return jnp.clip(inner[0, 1] / jnp.sqrt(inner[0, 0] * inner[1, 1]), -1.0, 1.0)


def ceiling(pairs: int, dimensions: int) -> float:
    """The cosine with the true gradient that m antithetic pairs reach in d dimensions: sqrt(m / (m + d + 1)).

    For a smooth objective with gradient a, and small sigma, a pair along Gaussian e gives (a.e) e. Its mean is a and
    its mean square |a|^2 (d + 2). So the mean g of m pairs has E<g, a> = |a|^2, E|g|^2 = |a|^2 (d + 2 + m - 1) / m,
    and the law is E<g, a> / (|a| sqrt(E|g|^2)). In full, cos^2 is distributed as Beta(m/2, (d - 1)/2), of mean
    m / (m + d - 1). After Nesterov & Spokoiny 2017, Random gradient-free minimization of convex functions.

    Raises: InputError if either is below 1.

    >>> round(ceiling(500, 39_760), 3)
    0.111
    """
    _at_least(1, pairs=pairs, dimensions=dimensions)
    return math.sqrt(pairs / (pairs + dimensions + 1))


def finite_differences(
    value: Callable[[Any], Array],
    parameters: Any,
    positions: Int[Array | np.ndarray, " positions"],
    steps: Float[Array, " steps"],
) -> Float[Array, "steps positions ..."]:
    """Central differences (f(theta + h e_i) - f(theta - h e_i)) / 2h of single weights, at each step h.

    `value` maps parameters to a number or an array of numbers; `positions` count through the flattened
    parameters. Two forward passes per weight and step. For accuracy the result is 0 until h is wide enough to
    carry an example across the decision boundary, and then jumps: no h is right. NaN where a step is 0, or lost in the
    weight's rounding.

    Raises: InputError for a position that no weight has, and for parameters that are no real numbers.

    >>> square = lambda theta: theta["w"] ** 2
    >>> finite_differences(square, {"w": jnp.array(3.0)}, jnp.array([0]), jnp.array([0.5])).tolist()
    [[6.0]]
    """
    check_parameters(parameters)
    flat, unravel = ravel_pytree(parameters)
    positions, steps = positions if hasattr(positions, "dtype") else np.asarray(positions), jnp.asarray(steps)
    if not isinstance(positions, Tracer) and not (0 <= np.min(positions) and np.max(positions) < flat.size):
        raise InputError(f"positions must be 0..{flat.size - 1}, of one weight each; got {np.asarray(positions)}.")

    def at(step_and_position):
        step, position = step_and_position
        moved = flat.at[position].add(step)
        return _real(value(unravel(moved))), moved[position]

    signed = jnp.stack([steps, -steps])
    grid = (jnp.repeat(signed, len(positions)), jnp.tile(positions, signed.size))
    # All values first, differences afterwards: inside one loop body XLA may fuse the last product of `value`
    # with the subtraction, and equal accuracies then differ by a rounding error.
    values, places = jax.lax.map(at, grid)
    shape = (2, len(steps), len(positions))
    ahead, behind = values.reshape(*shape, *values.shape[1:])
    # The step as it was taken: theta_i + h rounds.
    taken = places.reshape(shape)[0] - places.reshape(shape)[1]
    return (ahead - behind) / taken.reshape(taken.shape + (1,) * (ahead.ndim - 2))


def evolution_strategies(
    value: Callable[[Any], Any], parameters: Any, *, key: PRNGKeyArray, sigma: Scalar, pairs: int, chunk: int = 16
) -> Estimate:
    """The gradient of E[f(theta + sigma e)], e standard normal, from antithetic pairs of values.

    g = 1/(2 sigma m) sum over m pairs of (f(theta + sigma e) - f(theta - sigma e)) e: unbiased, for f made smooth by
    a bandwidth sigma in weight space, so f may be accuracy. `ceiling` says what to expect of it. `value` maps
    parameters to a number, or to an array of several objectives, which then share their perturbations.

    `chunk` pairs at a time are in memory and run as one batched program; that changes no result but by rounding: a
    perturbation is a function of the key and the pair's number.

    Raises: InputError unless sigma > 0, pairs, chunk >= 1, and parameters are real numbers.
    Source: Salimans et al. 2017, Evolution strategies as a scalable alternative to reinforcement learning; Nesterov &
    Spokoiny 2017 (see `ceiling`).

    >>> square = lambda theta: theta["w"] ** 2
    >>> found = evolution_strategies(square, {"w": jnp.array(3.0)}, key=jax.random.key(0), sigma=0.1, pairs=1000)
    >>> bool(abs(found.gradient["w"] - 6) < 4 * found.standard_error["w"])
    True
    """
    _positive(sigma=sigma)
    _at_least(1, pairs=pairs, chunk=chunk)
    check_parameters(parameters)
    chunk = min(chunk, pairs)
    flat, unravel = ravel_pytree(parameters)
    shape = jax.eval_shape(lambda theta: jnp.asarray(value(theta)), parameters).shape

    def sums(numbers):
        """What the pairs of these numbers add to the sums of d e (in halves), of (d e)^2 and of f."""
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
        noise = jax.vmap(lambda key: jax.random.normal(key, flat.shape, flat.dtype))(keys)

        def at(step):
            return jax.vmap(lambda e: jnp.ravel(_real(value(unravel(flat + step * e)))))(noise)

        # A loop over the signs: both run the same code, and XLA cannot fuse the last product of `value` with the
        # subtraction. Otherwise equal accuracies may differ by a rounding error (see `finite_differences`).
        ahead, behind = jax.lax.map(at, (jnp.array([1.0, -1.0]) * sigma).astype(flat.dtype))
        wanted = (numbers < pairs)[:, None]  # the last chunk may be longer than what is left
        slopes = jnp.where(wanted, (ahead - behind) / (2 * sigma), 0.0)
        in_half = (numbers[:, None] % 2 == jnp.arange(2)[None, :])[:, :, None]
        halves = jnp.where(in_half, slopes[:, None, :], 0.0)
        with jax.default_matmul_precision("highest"):
            first = jnp.tensordot(halves, noise, axes=(0, 0))  # [half, objectives, weights]
            second = jnp.tensordot(slopes**2, noise**2, axes=(0, 0))
        return first, second, jnp.sum(jnp.where(wanted, ahead + behind, 0.0), axis=0)

    nothing = jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(sums, jnp.arange(chunk)))
    (first, second, total), _ = jax.lax.scan(
        lambda totals, start: (jax.tree.map(jnp.add, totals, sums(start + jnp.arange(chunk))), None),
        nothing,
        jnp.arange(0, pairs, chunk),
    )
    mean = jnp.sum(first, axis=0) / pairs
    error = _standard_error(second / pairs - mean**2, pairs)

    def shaped(stack):
        tree = jax.vmap(unravel)(stack.astype(flat.dtype))
        return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), tree)

    smoothed, agreement = (of.reshape(shape) for of in (total / (2 * pairs), jax.vmap(cosine)(*first)))
    return Estimate(smoothed, shaped(mean), shaped(error), agreement, 2 * pairs)


def reinforce(
    apply: Apply,
    parameters: Any,
    images: Images,
    labels: Labels,
    *,
    key: PRNGKeyArray,
    samples: int,
    temperature: Scalar = 1.0,
    baseline: bool = True,
) -> Estimate:
    """The gradient of the expected error when answers a are drawn from softmax(z / T), by the score function.

    Mean over examples and samples of (1[a is not y] - b) d log softmax(z / T)_a / dtheta; b is 0 without `baseline`,
    else the mean error of the example's other samples in the same group: either way unbiased for the gradient of
    `expected_error` at T. One forward pass serves all samples. The standard error comes from the spread of 16 groups
    of samples (fewer where there are not enough samples), so it is itself uncertain by a fifth.

    Raises: InputError for temperature <= 0, samples < 1, or < 2 with a baseline. Sources: Williams 1992, Simple
    statistical gradient-following algorithms for connectionist reinforcement learning; Kool et al. 2019, Buy 4
    REINFORCE samples, get a baseline for free!

    >>> given = {"images": jnp.ones((1, 1)), "labels": jnp.array([0]), "key": jax.random.key(0), "samples": 1600}
    >>> reinforce(lambda z, images: z, jnp.array([[1.0, 0.0]]), **given).gradient.round(1).tolist()
    [[-0.2..., 0.2...]]
    """
    _positive(temperature=temperature)
    least = 2 if baseline else 1
    _at_least(least, samples=samples)

    def draw(key, count, logits, labels):
        answers = jax.random.categorical(key, logits / temperature, shape=(count, len(labels)))
        errors = (answers != labels[None, :]).astype(logits.dtype)
        # The distance from the mean of the others is count / (count - 1) times that from the mean of all.
        gains = (errors - jnp.mean(errors, axis=0)) * (count / (count - 1)) if baseline else errors
        taken = jnp.mean(gains[:, :, None] * jax.nn.one_hot(answers, logits.shape[1], dtype=logits.dtype), axis=0)
        expected = jax.nn.softmax(logits / temperature) * jnp.mean(gains, axis=0)[:, None]
        return jnp.mean(errors), (taken - expected) / temperature

    return _from_logits(draw, apply, parameters, images, labels, key, samples, least)


def perturbed_argmax(
    apply: Apply,
    parameters: Any,
    images: Images,
    labels: Labels,
    *,
    key: PRNGKeyArray,
    samples: int,
    sigma: Scalar,
    noise: str = "gumbel",
) -> Estimate:
    """The gradient of P(argmax(z + sigma e) is not y), e Gumbel or normal noise on every logit.

    Mean over examples and samples of (1[argmax(z + sigma e) is not y] - 1[argmax(z) is not y]) times the score of the
    noise, by `optax.perturbations`. In expectation the gradient of `expected_error` at T = sigma with Gumbel noise
    (where it is `reinforce` with a noisier score), of `gaussian_logit_noise` with normal noise. Passes and standard
    error as in `reinforce`.

    Raises: InputError for sigma <= 0, samples < 1 or unknown noise. Source: Berthet et al. 2020, Learning with
    differentiable perturbed optimizers.

    >>> given = {"images": jnp.ones((1, 1)), "labels": jnp.array([0]), "key": jax.random.key(0), "samples": 4000}
    >>> perturbed_argmax(lambda z, images: z, jnp.zeros((1, 2)), sigma=0.5, **given).gradient.round(1).tolist()
    [[-0.5, 0.5]]
    """
    _positive(sigma=sigma)
    _at_least(1, samples=samples)
    if noise not in NOISE:
        raise unknown("noise", noise, NOISE, see="lab.perturbed_argmax")

    def draw(key, count, logits, labels):
        # Example by example: the log-probability of a whole batch's noise is noise of all examples in each of them.
        def example(key, logits, label):
            def error(z: Any):
                return (jnp.argmax(z) != label).astype(z.dtype)

            smoothed = perturbations.make_perturbed_fun(error, count, sigma, NOISE[noise])
            return jax.value_and_grad(lambda z: smoothed(key, z))(logits)

        errors, slopes = jax.vmap(example)(jax.random.split(key, len(labels)), logits, labels)
        return jnp.mean(errors), slopes

    return _from_logits(draw, apply, parameters, images, labels, key, samples, 1)


def _from_logits(draw, apply, parameters, images, labels, key, samples, least) -> Estimate:
    """The estimate from independent groups of at least `least` samples.

    `draw(key, count, logits, labels)` gives a mean error and cotangents [batch, classes] from `count` samples.
    """
    groups = min(GROUPS, samples // least)
    sizes = np.sort(np.diff(np.arange(groups + 1) * samples // groups))  # they differ by 1 at most
    keys = jax.random.split(key, groups)
    with jax.default_matmul_precision("highest"):
        logits, pullback = jax.vjp(lambda theta: apply(theta, scaled(images)), parameters)
        labels = class_numbers(labels, shape=logits.shape)
        parts = [
            jax.lax.map(
                lambda key, size=int(size): draw(key, size, logits, labels), keys[np.flatnonzero(sizes == size)]
            )
            for size in np.unique(sizes)
        ]
        values, slopes = jax.tree.map(lambda *both: jnp.concatenate(both), *parts)
        # Who is drawn, or comes first, among NaN would count as an answer.
        values, slopes = (jnp.where(jnp.isnan(logits).any(), jnp.nan, of) for of in (values, slopes))
        (stack,) = jax.vmap(pullback)(slopes / len(labels))
        share = sizes.astype(np.float32) / samples
        halves = [share * (np.arange(groups) % 2 == half) for half in (0, 1)]
        first, second = (jax.tree.map(lambda of, half=half: jnp.tensordot(half, of, axes=1), stack) for half in halves)
        mean = jax.tree.map(jnp.add, first, second)
        # Squares weighted by the groups' sizes: right for the variance of the mean, however unequal they are.
        error = jax.tree.map(
            lambda of, g: _standard_error(jnp.tensordot(share, (of - g) ** 2, axes=1), groups), stack, mean
        )
        return Estimate(jnp.dot(share, values), mean, error, cosine(first, second), 1)


def straight_through(
    apply: Apply, parameters: Any, images: Images, labels: Labels, *, backward: str = "sigmoid_margin", **options: Any
) -> Estimate:
    """The 0-1 error (a tie is one), with the gradient of the smoothed accuracy `backward`, which takes `options`.

    Deterministic: the standard error is 0, and the agreement 1 (NaN if the gradient is 0). Neither says how far the
    gradient is from the value's own, which is 0.

    Raises: InputError as `lab.objective("straight_through", backward=..., ...)` does. Source: Bengio et al. 2013,
    Estimating or propagating gradients through stochastic neurons for conditional computation.

    >>> given = {"images": jnp.ones((1, 1)), "labels": jnp.array([0]), "temperature": 0.5}
    >>> straight_through(lambda z, images: z, jnp.zeros((1, 2)), **given).gradient.tolist()
    [[-0.5, 0.5]]
    """
    both, images = objective("straight_through", backward=backward, **options), scaled(images)
    with jax.default_matmul_precision("highest"):
        value, gradient = jax.value_and_grad(lambda theta: jnp.mean(both(apply(theta, images), labels)))(parameters)
    none = jax.tree.map(jnp.zeros_like, gradient)
    return Estimate(value, gradient, none, cosine(gradient, gradient), 1)


def _real(values: Any) -> Array:
    """Values as real numbers: differences of unsigned ones would wrap around, and truths have none."""
    values = jnp.asarray(values)
    return values if jnp.issubdtype(values.dtype, jnp.inexact) else values.astype(float)


def _standard_error(variance: Array, count: int) -> Array:
    """The standard error of a mean, of the variance about it; NaN of a single one."""
    return jnp.sqrt(jnp.maximum(variance, 0.0) / (count - 1 if count > 1 else math.nan))


def _at_least(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise InputError(f"{name} must be {least} or more; got {count}.")


def _positive(**numbers: Any) -> None:
    for name, number in numbers.items():
        if not isinstance(number, Tracer) and not 0 < float(number) < math.inf:
            raise InputError(f"{name} must be a finite number > 0; got {number}.")
