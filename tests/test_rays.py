"""Rays: gains of accuracy against plain loops, and the best weight against its conditions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import lab
from lab.rays import accuracy_gain, best_weight, downhill, logits_along

OBJECTIVES = [lab.objective(text) for text in ("cross_entropy", "expected_error:temperature=0.3", "zero_one")]
LENGTHS = np.geomspace(0.01, 3.0, 9)


@pytest.fixture(scope="module")
def measured(mnist):
    """A network, its gradients, and the gain along each."""
    network = lab.mlp([12], activation="relu")
    parameters = network.init(jax.random.key(0))
    images = jnp.asarray(mnist.train.images[:300], dtype=float) / 255
    labels = jnp.asarray(mnist.train.labels[:300])
    own, held_out = (images[:100], labels[:100]), (images[100:], labels[100:])
    gradients = lab.objective_gradients(network, parameters, *own, OBJECTIVES).gradients
    gain = accuracy_gain(network, parameters, gradients, OBJECTIVES, own, held_out, lengths=LENGTHS)
    return network, parameters, gradients, own, held_out, gain


def moved(parameters, gradients, k, length):
    one = jax.tree.map(lambda leaf: np.asarray(leaf[k], float), gradients)
    norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(one))) or 1.0
    return jax.tree.map(
        lambda theta, g: jnp.asarray(np.asarray(theta, float) - length * g / norm, jnp.float32), parameters, one
    )


def test_gains_are_those_of_a_loop(measured):
    network, parameters, gradients, own, held_out, gain = measured

    def hits(theta, part):
        return np.asarray(network.apply(theta, part[0]).argmax(axis=1) == part[1]).astype(int)

    reference = None
    for k in range(len(OBJECTIVES)):
        changes = [hits(moved(parameters, gradients, k, s), own) - hits(parameters, own) for s in LENGTHS]
        best = int(np.argmax([one.mean() for one in changes]))
        assert gain.length[k] == pytest.approx(LENGTHS[best] if OBJECTIVES[k].name != "zero_one" else 0.0, rel=1e-6)
        assert gain.own[k] == pytest.approx(changes[best].mean(), abs=0.011)  # one of 100 answers may be a near tie
        others = hits(moved(parameters, gradients, k, LENGTHS[best]), held_out) - hits(parameters, held_out)
        assert gain.held_out[k] == pytest.approx(others.mean(), abs=0.006)
        assert gain.held_out_error[k] == pytest.approx(others.std(ddof=1) / np.sqrt(200), abs=2e-3)
        reference = others if reference is None else reference
        assert gain.difference[k] == pytest.approx((others - reference).mean(), abs=0.011)
        assert gain.difference_error[k] == pytest.approx((others - reference).std(ddof=1) / np.sqrt(200), abs=3e-3)


def test_a_gradient_of_zero_gains_nothing_and_cross_entropy_gains(measured):
    gain = measured[-1]
    assert gain.own[2] == gain.held_out[2] == gain.own_error[2] == 0
    assert gain.own[0] >= 0.05 and gain.own_error[0] > 0  # of an untrained network
    assert gain.difference[0] == gain.difference_error[0] == 0


def test_short_steps_do_what_the_gradient_predicts(measured):
    network, parameters, gradients, own, held_out, _ = measured
    short = accuracy_gain(network, parameters, gradients, OBJECTIVES, own, held_out, lengths=np.array([1e-3]))
    np.testing.assert_allclose(short.realised[:2], short.predicted[:2], rtol=0.02)
    assert (short.predicted[:2] < 0).all() and short.predicted[2] == 0


def test_any_network_gives_the_same(measured):
    network, parameters, gradients, own, held_out, gain = measured
    plain = accuracy_gain(
        replace(network, tapped=None), parameters, gradients, OBJECTIVES, own, held_out, lengths=LENGTHS
    )
    for one, other in zip(gain, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=0.011)


def test_the_start_of_a_ray_is_the_network(measured):
    network, parameters, gradients, own, *_ = measured
    steps = jax.tree.map(lambda leaf: leaf[0], downhill(gradients))
    at_zero = logits_along(network, parameters, steps, own[0], jnp.zeros(1))[0]
    np.testing.assert_array_equal(at_zero, network.apply(parameters, own[0]))


def test_the_best_weight_is_the_best():
    draw = np.random.default_rng(5)
    bins = draw.normal(size=(6, 20))
    inner, towards = bins @ bins.T, bins @ draw.normal(size=20)
    weight = best_weight(inner, towards)
    assert (weight >= 0).all() and weight @ inner @ weight == pytest.approx(1.0)

    def predicted(w):
        return w @ towards / np.sqrt(w @ inner @ w)

    found = minimize(
        lambda w: -predicted(np.abs(w) + 1e-9),
        np.ones(6),
        method="Nelder-Mead",
        options={"maxfev": 20_000, "xatol": 1e-9, "fatol": 1e-12},
    )
    assert predicted(weight) >= -found.fun - 1e-6
    assert not best_weight(np.eye(3), -np.ones(3)).any()  # nothing points there
