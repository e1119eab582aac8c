"""Moments of single examples' gradients, and inner products between objectives, by every route."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lab
from lab.catalogue import definitions
from lab.moments import _examples_are_cheaper, batch_cosine, example_moments, objective_gram

OBJECTIVES = [one.make() for one in definitions() if one.family not in ("own", "batch") and one.name != "sum_exp"]
FEW = [
    lab.objective(text) for text in ("cross_entropy", "expected_error:temperature=0.3", "squared_logits", "zero_one")
]


@pytest.fixture(scope="module")
def network():
    return lab.mlp([7, 6], activation="relu", pixels=12, classes=4)


def case(network, size=9):
    """Parameters, images and labels in float64."""
    draw = np.random.default_rng(size)
    parameters = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), float), network.init(jax.random.key(0)))
    return parameters, jnp.asarray(draw.normal(size=(size, 12))), jnp.asarray(draw.integers(0, 4, size))


# Compiled whole: op by op, each of them is a program of its own.
moments_of = jax.jit(example_moments, static_argnames=("network", "square", "chunk"))
cosine_of = jax.jit(batch_cosine, static_argnames=("network", "batch_size"))
gram_of = jax.jit(objective_gram, static_argnames="network")


def one_by_one(network, parameters, images, labels, objective):
    """A gradient for each example, each by a jax.grad of its own: [batch, parameters]."""
    return np.stack([_slope(network, parameters, x, y, objective) for x, y in zip(images, labels, strict=True)])


@partial(jax.jit, static_argnames="network")
def _slope(network, parameters, image, label, objective):
    loss = jax.grad(lambda theta: objective(network.apply(theta, image[None]), label[None])[0])
    return ravel_pytree(loss(parameters))[0]


@pytest.mark.parametrize("chunk", [None, 4, 3, 20], ids="chunk={}".format)
@pytest.mark.parametrize("route", ["dense", "any network"])
def test_moments_are_those_of_a_loop_over_examples(route, chunk, network, float64):
    """Of 9 examples: at once, in threes, and in fours with a last chunk that overlaps the one before."""
    parameters, images, labels = case(network)
    used = network if route == "dense" else replace(network, tapped=None)
    found = moments_of(used, parameters, images, labels, FEW, square=True, chunk=chunk)
    for k, objective in enumerate(FEW):
        each = one_by_one(network, parameters, images, labels, objective)

        def pick(tree, k=k):
            return ravel_pytree(jax.tree.map(lambda leaf: leaf[k], tree))[0]

        np.testing.assert_allclose(pick(found.mean), each.mean(axis=0), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(pick(found.square), (each**2).mean(axis=0), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(found.squared_norm[k], (each**2).sum(axis=1), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(found.inner[k], each @ each.mean(axis=0), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("chunk", [None, 10])
def test_sums_over_many_examples_do_not_stand_still_in_bfloat16(chunk, network):
    """The mean over 2,000 copies of an example is its own; a sum in 8 bits would be half of it."""
    any_network = replace(network, tapped=None)
    parameters = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), network.init(jax.random.key(0)))
    images, labels = np.ones((2000, 12), dtype=np.float32), np.full(2000, 1)
    many, one = (
        moments_of(any_network, parameters, images[:n], labels[:n], FEW[:1], square=True, chunk=chunk)
        for n in (2000, 1)
    )
    of_both = [jax.tree.leaves((found.mean, found.square)) for found in (many, one)]
    for leaf, expected in zip(*of_both, strict=True):
        assert leaf.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(leaf), np.float32(expected), rtol=0.03, atol=1e-8)


@pytest.mark.slow
def test_both_routes_agree_for_every_objective(network, float64):
    parameters, images, labels = case(network)
    dense = moments_of(network, parameters, images, labels, OBJECTIVES)
    slow = moments_of(replace(network, tapped=None), parameters, images, labels, OBJECTIVES)
    for one, other in zip(jax.tree.leaves(dense), jax.tree.leaves(slow), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_inner_products_by_the_cheaper_route(size, float64):
    """Few examples of many pixels go through the examples, many examples through the gradients."""
    network = lab.mlp([7], activation="sigmoid", pixels=12, classes=4)
    parameters, images, labels = case(network, size)
    parameters = jax.tree.map(lambda x: 30 * x, parameters)
    assert _examples_are_cheaper(parameters, size, len(FEW)) == (size < 5)
    found = gram_of(network, parameters, images, labels, FEW)
    each = np.stack([one_by_one(network, parameters, images, labels, objective).mean(axis=0) for objective in FEW])
    np.testing.assert_allclose(found, each @ each.T, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("route", ["dense", "any network"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 9])
def test_batch_cosine_is_that_of_the_mini_batches_gradients(route, batch_size, network, float64):
    """Of 9 examples, the last left out where it fills no mini-batch; a gradient of 0 has no cosine."""
    parameters, images, labels = case(network)
    used = network if route == "dense" else replace(network, tapped=None)
    moments = moments_of(used, parameters, images, labels, FEW)
    found = cosine_of(used, parameters, images, labels, FEW, moments, batch_size=batch_size)
    for k, objective in enumerate(FEW[:3]):
        each = one_by_one(network, parameters, images, labels, objective)
        parts = [each[i : i + batch_size].mean(axis=0) for i in range(0, 10 - batch_size, batch_size)]
        mean = each.mean(axis=0)
        cosines = [part @ mean / np.linalg.norm(part) / np.linalg.norm(mean) for part in parts]
        assert found[k] == pytest.approx(np.mean(cosines), abs=1e-10)
    assert np.isnan(found[3])
    with pytest.raises(lab.InputError, match=r"must be 1\.\.9"):
        batch_cosine(used, parameters, images, labels, FEW, moments, batch_size=10)


def test_one_program_for_all_parameters(network):
    traces = 0

    @jax.jit
    def norms(parameters, images, labels, objectives):
        nonlocal traces
        traces += 1
        return example_moments(network, parameters, images, labels, objectives).squared_norm

    parameters, images, labels = case(network)
    for t in (0.1, 1.0, 10.0):
        norms(parameters, images, labels, [lab.objective("expected_error", temperature=t)])
    assert traces == 1


def test_objectives_of_a_batch_have_no_gradient_for_each_example(network):
    with pytest.raises(lab.InputError, match="no example has a gradient of its own"):
        example_moments(network, *case(network), [lab.objective("soft_macro_f1")])


def test_taps_of_zero_change_nothing(network):
    parameters, images, _ = case(network)
    logits, inputs = network.tapped(parameters, images, [0.0] * 3)
    np.testing.assert_array_equal(logits, network.apply(parameters, images))
    assert [one.shape[1] for one in inputs] == [12, 7, 6]
