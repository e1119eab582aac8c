"""Estimators of gradients from values: against closed forms, the objectives they estimate, and their own errors.

Keys are fixed, so a test gives the same answer every time. Each statistical statement names the rate at which it
would be false for a random key if the code were right.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

import lab
from lab.estimators import (
    ceiling,
    cosine,
    evolution_strategies,
    perturbed_argmax,
    reinforce,
    straight_through,
)

LOGITS = jnp.array([[1.0, 0.3, -0.5], [0.2, 0.6, 0.1], [-1.0, 0.5, 2.0], [0.0, 0.0, 0.0]])  # the last one ties
LABELS = jnp.array([0, 2, 0, 0])
IMAGES = jnp.ones((4, 1))


def itself(logits, images):
    """A network whose parameters are its logits."""
    return logits


def flat(tree):
    return np.concatenate([np.ravel(leaf).astype(float) for leaf in jax.tree.leaves(tree)])


def compiled(call, seed=0):
    """The result for one key; compiled as a whole, which takes less time than piece by piece."""
    return jax.jit(call)(jax.random.key(seed))


def expected(name, logits=LOGITS, labels=LABELS, **parameters):
    """The objective's mean and its gradient, by autodiff."""
    one = lab.objective(name, **parameters)
    return jax.jit(jax.value_and_grad(lambda z: jnp.mean(one(z, labels))))(logits)


@pytest.fixture(scope="module")
def batch(mnist):
    return jnp.asarray(mnist.train.images[:100], dtype=jnp.float32) / 255, jnp.asarray(mnist.train.labels[:100])


@pytest.fixture(scope="module")
def tiny():
    """4 inputs, 8 units, 3 classes, and 200 made-up images whose classes it can mostly tell: 67 weights.

    Its biases are not 0: an image without an active unit would have three equal logits.
    """
    network = lab.mlp([8], activation="relu", pixels=4, classes=3)

    @jax.jit
    def drawn():
        parameters = jax.tree.map(
            lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(3), leaf.shape), network.init(jax.random.key(0))
        )
        images = jax.random.normal(jax.random.key(1), (200, 4))
        noisy = network.apply(parameters, images) + jax.random.normal(jax.random.key(2), (200, 3))
        return parameters, images, jnp.argmax(noisy, axis=1)

    return network, *drawn()


SLOPE = {"a": jnp.array([[1.0, -2.0, 0.0], [0.5, 3.0, -1.0]]), "b": jnp.array(0.7)}
AT = {"a": jnp.array([[0.3, 0.1, -0.2], [1.0, 0.0, 2.0]]), "b": jnp.array(-1.0)}


def linear(theta):
    return jnp.sum(SLOPE["a"] * theta["a"]) + SLOPE["b"] * theta["b"]


def quadratic(theta):
    """Half the sum of k theta_k^2."""
    point = ravel_pytree(theta)[0]
    return jnp.sum(jnp.arange(1, 8) * point**2) / 2


@pytest.mark.parametrize("pairs", [2, 3, 40])
def test_the_standard_error_is_that_of_the_pairs_estimates(pairs, float64):
    """Of a function of one weight, 3 theta: a pair's estimate is 3 e^2."""
    key = jax.random.key(5)
    found = evolution_strategies(lambda theta: 3 * theta, jnp.array(0.7), key=key, sigma=0.1, pairs=pairs, chunk=7)
    noise = [float(jax.random.normal(jax.random.fold_in(key, number), (1,), float)[0]) for number in range(pairs)]
    each = 3 * np.square(noise)
    assert float(found.gradient) == pytest.approx(each.mean(), rel=1e-9)
    assert float(found.standard_error) == pytest.approx(each.std(ddof=1) / np.sqrt(pairs), rel=1e-9)


@pytest.mark.parametrize("function", [linear, quadratic])
def test_evolution_strategies_against_closed_forms(function):
    """Gradient, value and standard errors; 24 keys x 7 components within 4.5 of them: false alarms 1 in 900.

    The mean over the keys of the squared error in standard errors is near 1, within 4 of its own standard errors (1 in
    16,000). The gradient of a quadratic function is that of its smoothed form; the value gains sigma^2 / 2 x trace.
    """
    pairs, sigma = 400, 0.5
    estimate = jax.jit(lambda key: evolution_strategies(function, AT, key=key, sigma=sigma, pairs=pairs))
    truth = flat(SLOPE) if function is linear else flat(AT) * np.arange(1, 8)
    found = [estimate(key) for key in jax.random.split(jax.random.key(3), 24)]
    errors = np.array([(flat(one.gradient) - truth) / flat(one.standard_error) for one in found])
    assert np.abs(errors).max() < 4.5
    # Components share their samples, keys do not.
    scatter = (errors**2).mean(axis=1)
    assert abs(scatter.mean() - 1) < 4 * scatter.std(ddof=1) / math.sqrt(len(scatter))
    # (a.e) e_i has the variance |a|^2 + a_i^2.
    predicted = np.sqrt((np.sum(truth**2) + truth**2) / pairs)
    np.testing.assert_allclose(np.mean([flat(one.standard_error) for one in found], axis=0), predicted, rtol=0.1)
    values = np.array([one.value for one in found])
    smoothed = float(function(AT)) + (0 if function is linear else sigma**2 / 2 * 28)
    if function is linear:  # the two of a pair cancel
        np.testing.assert_allclose(values, smoothed, rtol=1e-5)
    else:
        assert abs(values.mean() - smoothed) < 4.5 * values.std(ddof=1) / math.sqrt(len(values))


def test_the_law_of_the_cosine_for_a_linear_objective():
    """cos^2 ~ Beta(m/2, (d - 1)/2) in 39,760 dimensions; a Kolmogorov-Smirnov test at 1 in 10,000, 12 keys.

    The mean cosine is within 4 standard errors of sqrt(m / (m + d + 1)), from which the exact mean is 0.05 % away.
    """
    pairs = 500
    slope = lab.mlp([50]).init(jax.random.key(0))
    slope = jax.tree.map(lambda leaf: leaf + 0.01, slope)
    dimensions = flat(slope).size
    assert dimensions == 39_760

    @jax.jit
    def one(key):
        found = evolution_strategies(
            lambda theta: sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (slope, theta)), strict=True)),
            jax.tree.map(jnp.zeros_like, slope),
            key=key,
            sigma=1.0,
            pairs=pairs,
        )
        return cosine(found.gradient, slope), found.agreement

    cosines, agreements = np.array([one(key) for key in jax.random.split(jax.random.key(1), 12)]).T
    law = stats.beta(pairs / 2, (dimensions - 1) / 2)
    assert stats.kstest(cosines**2, law.cdf).pvalue > 1e-4
    assert ceiling(pairs, dimensions) == pytest.approx(math.sqrt(500 / 40_261))
    spread = ceiling(pairs, dimensions) / math.sqrt(2 * pairs)
    assert abs(cosines.mean() - ceiling(pairs, dimensions)) < 4 * spread / math.sqrt(12)
    # Two halves of 250 pairs agree by the square of their own cosine, 0.006, within 4 sqrt((1 / d + ...) / 12).
    assert abs(agreements.mean() - ceiling(250, dimensions) ** 2) < 4 / math.sqrt(12 * dimensions)


@pytest.mark.slow
def test_the_law_of_the_cosine_for_cross_entropy(batch):
    """On the 784-50-10 network with a small sigma: within 4.5 standard deviations of the law, 1 in 150,000."""
    network, pairs = lab.mlp([50]), 200
    parameters = network.init(jax.random.key(0))
    loss = lab.objective("cross_entropy")

    def value(theta):
        return jnp.mean(loss(network.apply(theta, batch[0]), batch[1]))

    truth = jax.jit(jax.grad(value))(parameters)
    found = compiled(lambda key: evolution_strategies(value, parameters, key=key, sigma=3e-3, pairs=pairs), seed=1)
    law = ceiling(pairs, 39_760)
    assert abs(float(cosine(found.gradient, truth)) - law) < 4.5 * law / math.sqrt(2 * pairs)
    errors = (flat(found.gradient) - flat(truth)) / flat(found.standard_error)
    # The error's mean square is 1 but for the common length of g, 1 + O(1 / sqrt(pairs)), and the few components.
    assert (errors**2).mean() == pytest.approx(1, abs=4.5 * math.sqrt(2 / 39_760) + 4.5 / pairs)
    assert int(found.passes) == 2 * pairs


def test_accuracy_in_weight_space_is_a_normal_distribution_of_margins(tiny):
    """DESIGN 2.6: E[accuracy(theta + sigma e)] = mean Phi(m / (sigma |grad m|)) to first order in sigma.

    Within 4.5 standard errors over 16 keys plus 0.0005 for the curvature of the margins (measured: 0.0002; the
    smoothing itself is 0.0036): false alarms below 1 in 10,000. The gradient is the formula's as well, but for that.
    """
    network, parameters, images, labels = tiny
    sigma = 0.02

    def accuracy(theta):
        return lab.accuracy(network.apply(theta, images), labels)

    def smoothed(theta):
        def margins(theta):
            return lab.hard_margin(network.apply(theta, images), labels)

        slopes = jax.jacobian(margins)(theta)
        length = jnp.sqrt(sum(jnp.sum(leaf.reshape(200, -1) ** 2, axis=1) for leaf in jax.tree.leaves(slopes)))
        return jnp.mean(jax.scipy.stats.norm.cdf(margins(theta) / (sigma * length)))

    estimate = jax.jit(lambda key: evolution_strategies(accuracy, parameters, key=key, sigma=sigma, pairs=1000))
    found = [estimate(key) for key in jax.random.split(jax.random.key(5), 16)]
    values = np.array([one.value for one in found])
    expected_value, expected_gradient = jax.jit(jax.value_and_grad(smoothed))(parameters)
    assert abs(values.mean() - float(expected_value)) < 4.5 * values.std(ddof=1) / 4 + 0.0005
    assert 0.001 < abs(float(expected_value - accuracy(parameters)))  # smoothing is not nothing
    gradient = np.mean([flat(one.gradient) for one in found], axis=0)
    assert np.corrcoef(gradient, flat(expected_gradient))[0, 1] > 0.95


def test_differences_of_equal_accuracies_are_exactly_zero(tiny):
    """A sigma that moves no example across the boundary; of 97 examples, so that accuracy itself is rounded."""
    network, parameters, images, labels = tiny

    def accuracy(theta):
        return lab.accuracy(network.apply(theta, images[:97]), labels[:97])

    found = compiled(lambda key: evolution_strategies(accuracy, parameters, key=key, sigma=1e-6, pairs=50))
    assert not flat(found.gradient).any() and not flat(found.standard_error).any()
    assert np.isnan(found.agreement)
    assert float(found.value) == pytest.approx(float(accuracy(parameters)))


@pytest.mark.parametrize("kind", [bool, jnp.uint8, jnp.int8])
def test_values_may_be_truths_and_counts(kind):
    """0 - 1 is -1, as of real numbers: the value falls along the weight."""

    def below(theta, kind=kind):
        return (jnp.where(theta["w"] < 0, 1, 0) * (100 if kind == jnp.int8 else 1)).astype(kind)

    def real(theta):
        return below(theta).astype(float)

    at, steps = {"w": jnp.array(0.0)}, jnp.array([0.5, 2.0])
    found, known = (lab.finite_differences(of, at, np.array([0]), steps) for of in (below, real))
    np.testing.assert_array_equal(found, known)
    assert (found < 0).all()
    found, known = (
        compiled(lambda key, of=of: evolution_strategies(of, at, key=key, sigma=1.0, pairs=50)) for of in (below, real)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(known), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(found.gradient["w"]) < 0


def test_several_objectives_share_their_perturbations(tiny):
    network, parameters, images, labels = tiny
    objectives = [lab.objective(name) for name in ("zero_one", "cross_entropy", "squared_error")]

    def value(theta):
        logits = network.apply(theta, images)
        return jnp.stack([jnp.mean(one(logits, labels)) for one in objectives])

    def estimate(function):
        return lambda key: evolution_strategies(function, parameters, key=key, sigma=0.1, pairs=30)

    together, alone = compiled(estimate(value)), compiled(estimate(lambda theta: value(theta)[1]))
    np.testing.assert_allclose(together.value[1], alone.value, rtol=1e-5)
    np.testing.assert_allclose(together.agreement[1], alone.agreement, atol=1e-4)
    for part in ("gradient", "standard_error"):
        one = jax.tree.map(lambda leaf: leaf[1], getattr(together, part))
        np.testing.assert_allclose(flat(one), flat(getattr(alone, part)), rtol=1e-4, atol=1e-6)
    square = jax.eval_shape(estimate(lambda theta: jnp.stack([value(theta)] * 2)), jax.random.key(0))
    assert square.value.shape == square.agreement.shape == (2, 3)
    assert square.gradient[0]["weight"].shape == square.standard_error[0]["weight"].shape == (2, 3, 8, 4)


def test_chunks_change_nothing_but_rounding():
    def estimate(chunk):
        return compiled(
            lambda key: evolution_strategies(quadratic, AT, key=key, sigma=0.3, pairs=23, chunk=chunk), seed=7
        )

    whole = estimate(1000)
    for chunk in (1, 4):
        other = estimate(chunk)
        assert other.passes == 46
        for part in ("value", "gradient", "standard_error", "agreement"):
            np.testing.assert_allclose(flat(getattr(other, part)), flat(getattr(whole, part)), rtol=2e-5)


def test_halves_agree_in_few_dimensions_and_not_in_many():
    """7 dimensions, 2,000 pairs: each half has the cosine 0.996. 39,760 dimensions, 10 pairs: 4.5 / sqrt(d)."""
    low = compiled(lambda key: evolution_strategies(linear, AT, key=key, sigma=1.0, pairs=2000))
    assert float(low.agreement) > 0.98
    zeros = jnp.zeros(39_760)
    high = compiled(lambda key: evolution_strategies(jnp.sum, zeros, key=key, sigma=1.0, pairs=10))
    assert abs(float(high.agreement)) < 4.5 / math.sqrt(39_760)


LOGIT_ESTIMATORS = [
    (reinforce, {"temperature": 0.7}, ("expected_error", {"temperature": 0.7})),
    (reinforce, {"temperature": 0.7, "baseline": False}, ("expected_error", {"temperature": 0.7})),
    (perturbed_argmax, {"sigma": 0.7}, ("expected_error", {"temperature": 0.7})),
    (perturbed_argmax, {"sigma": 0.7, "noise": "normal"}, ("gaussian_logit_noise", {"sigma": 0.7})),
]


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "options", "objective"), LOGIT_ESTIMATORS)
def test_noise_on_answers_and_logits_smooths_as_the_objective_says(estimator, options, objective):
    """Value within 4 of its standard errors, and 12 components of the mean over 400 keys: false alarms 1 in 1,200.

    The standard errors are true to the scatter of the keys, which is known to 4 %, within 15 %. 41 samples make
    9 groups of 3 and 7 of 2; 3 samples make 3 groups.
    """
    keys = jax.random.split(jax.random.key(11), 400)
    samples = 41 if options.get("baseline", True) else 3
    found = jax.jit(
        jax.vmap(lambda key: estimator(itself, LOGITS, IMAGES, LABELS, key=key, samples=samples, **options))
    )(keys)
    value, gradient = expected(objective[0], **objective[1])
    smoothed = lab.objective(objective[0], **objective[1])
    errors = np.asarray(jax.jit(lambda z: smoothed(z, LABELS))(LOGITS))
    spread = math.sqrt(np.sum(errors * (1 - errors)) / len(LABELS) ** 2 / (len(keys) * samples))
    assert abs(np.mean(found.value) - float(value)) < 4 * spread
    scatter = np.asarray(found.gradient).std(axis=0, ddof=1)
    assert np.all(np.abs(np.mean(found.gradient, axis=0) - gradient) < 4 * scatter / math.sqrt(len(keys)))
    said = np.sqrt(np.mean(np.asarray(found.standard_error) ** 2, axis=0))
    np.testing.assert_allclose(said, scatter, rtol=0.15)
    assert int(found.passes[0]) == 1


def test_through_a_network_the_estimates_keep_their_errors(tiny):
    """67 weights within 5 standard errors (t with 15 degrees of freedom): false alarms 1 in 90."""
    network, parameters, images, labels = tiny
    one = lab.objective("expected_error", temperature=0.5)
    truth = flat(jax.jit(jax.grad(lambda theta: jnp.mean(one(network.apply(theta, images), labels))))(parameters))
    found = compiled(
        lambda key: reinforce(network.apply, parameters, images, labels, key=key, samples=64, temperature=0.5), seed=4
    )
    errors = (flat(found.gradient) - truth) / np.maximum(flat(found.standard_error), 1e-30)
    assert np.abs(errors).max() < 5
    assert float(found.agreement) > 0.5


@pytest.mark.slow
def test_a_baseline_makes_reinforce_quieter(tiny):
    """Over 200 keys, the sum of the variances: ratio below 0.8 (a ratio of two such sums is known to about 5 %)."""
    network, parameters, images, labels = tiny
    variances = []
    for baseline in (True, False):
        estimate = jax.vmap(
            lambda key, b=baseline: (
                reinforce(network.apply, parameters, images, labels, key=key, samples=64, baseline=b).gradient
            )
        )
        found = jax.jit(estimate)(jax.random.split(jax.random.key(0), 200))
        variances.append(sum(np.var(leaf, axis=0).sum() for leaf in jax.tree.leaves(found)))
    assert variances[0] < 0.8 * variances[1]


@pytest.mark.slow
def test_drawn_answers_are_quieter_than_gumbel_noise():
    """Given its answer, the mean of Gumbel noise's score is the softmax's: less to average over.

    The sums over 400 keys of the variances: ratio below 0.5, measured 0.2; each sum is known to about 5 %.
    """
    drawn, gumbel = (
        jax.jit(jax.vmap(lambda key, call=call: call(itself, LOGITS, IMAGES, LABELS, key=key, samples=32).gradient))(
            jax.random.split(jax.random.key(2), 400)
        )
        for call in (reinforce, partial(perturbed_argmax, sigma=1.0))
    )
    assert np.var(drawn, axis=0).sum() < 0.5 * np.var(gumbel, axis=0).sum()


@pytest.mark.parametrize("backward", ["sigmoid_margin", "expected_error"])
def test_straight_through_has_the_error_and_another_gradient(backward):
    given = (itself, LOGITS, IMAGES, LABELS)
    found = compiled(lambda key: straight_through(*given, backward=backward, temperature=0.3))
    assert float(found.value) == 3 / 4  # a tie is an error
    np.testing.assert_allclose(found.gradient, expected(backward, temperature=0.3)[1], rtol=1e-6)
    assert not flat(found.standard_error).any() and found.passes == 1
    assert float(found.agreement) == pytest.approx(1)


def test_the_same_key_gives_the_same_result():
    for estimate in (
        jax.jit(lambda key: evolution_strategies(quadratic, AT, key=key, sigma=0.3, pairs=5)),
        jax.jit(lambda key: reinforce(itself, LOGITS, IMAGES, LABELS, key=key, samples=8)),
    ):
        first, again, other = (estimate(jax.random.key(seed)) for seed in (0, 0, 1))
        np.testing.assert_array_equal(flat(first), flat(again))
        assert not np.array_equal(flat(first.gradient), flat(other.gradient))


def test_no_gradient_is_0_and_agrees_with_nothing():
    """A network that answers too surely for any noise, and a constant: 0, no NaN but in the agreement, no warning."""
    given = (itself, jnp.array([[1e4, 0.0]]), IMAGES[:1], jnp.array([0]))
    for estimate in (
        lambda key: evolution_strategies(lambda theta: 1.0, AT, key=key, sigma=1.0, pairs=10),
        lambda key: reinforce(*given, key=key, samples=10),
        lambda key: perturbed_argmax(*given, key=key, samples=10, sigma=0.1),
        lambda key: straight_through(*given, temperature=0.1),
    ):
        found = compiled(estimate)
        assert not flat(found.gradient).any() and not flat(found.standard_error).any()
        assert np.isnan(found.agreement)


def test_a_single_sample_has_no_error_and_no_agreement():
    given = (itself, LOGITS, IMAGES, LABELS)
    for estimate in (
        lambda key: evolution_strategies(linear, AT, key=key, sigma=1.0, pairs=1),
        lambda key: reinforce(*given, key=key, samples=2),
        lambda key: perturbed_argmax(*given, key=key, samples=1, sigma=1.0),
    ):
        found = compiled(estimate)
        assert np.isfinite(flat(found.gradient)).all()
        assert np.isnan(flat(found.standard_error)).all() and np.isnan(found.agreement)


def test_answers_of_nan_are_no_estimate():
    given = (itself, LOGITS.at[1, 0].set(jnp.nan), IMAGES, LABELS)
    for estimate in (
        lambda key: reinforce(*given, key=key, samples=4),
        lambda key: perturbed_argmax(*given, key=key, samples=4, sigma=1.0),
    ):
        found = compiled(estimate)
        assert np.isnan(found.value) and np.isnan(flat(found.gradient)).all()


def test_cosine_of_any_length():
    reference = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}
    for factor in (1e-30, 1.0, 1e30, -1.0):
        scaled = jax.tree.map(lambda leaf, factor=factor: leaf * factor, reference)
        assert float(cosine(scaled, reference)) == pytest.approx(math.copysign(1, factor))
    assert float(cosine(reference, {"a": jnp.array([0.0, 1.0]), "b": jnp.array(0.0)})) == 0
    empty = reference | {"none": jnp.zeros((0, 3))}
    assert float(cosine(empty, empty)) == 1
    nothing = jax.tree.map(jnp.zeros_like, reference)
    assert np.isnan(cosine(reference, nothing)) and np.isnan(cosine(nothing, nothing))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: evolution_strategies(linear, AT, key=key, sigma=0.0, pairs=1), "sigma must be .* > 0; got 0"),
        (lambda key: evolution_strategies(linear, AT, key=key, sigma=math.nan, pairs=1), "sigma"),
        (lambda key: evolution_strategies(linear, AT, key=key, sigma=1.0, pairs=0), "pairs must be 1 or more; got 0"),
        (lambda key: evolution_strategies(linear, AT, key=key, sigma=1.0, pairs=1, chunk=0), "chunk"),
        (lambda key: reinforce(itself, LOGITS, IMAGES, LABELS, key=key, samples=1), "samples must be 2 or more; got 1"),
        (lambda key: reinforce(itself, LOGITS, IMAGES, LABELS, key=key, samples=0, baseline=False), "samples"),
        (lambda key: reinforce(itself, LOGITS, IMAGES, LABELS, key=key, samples=2, temperature=-1.0), "temperature"),
        (lambda key: reinforce(itself, LOGITS, IMAGES, LABELS + 1, key=key, samples=2), "labels must be 0..2"),
        (
            lambda key: perturbed_argmax(
                itself, LOGITS, IMAGES, LABELS, key=key, samples=1, sigma=1.0, noise="gumball"
            ),
            "Did you mean 'gumbel'",
        ),
        (lambda key: perturbed_argmax(itself, LOGITS, IMAGES, LABELS, key=key, samples=1, sigma=math.inf), "sigma"),
        (lambda key: straight_through(itself, LOGITS, IMAGES, LABELS, backward="zero_one"), "backward"),
        (lambda key: straight_through(itself, LOGITS, IMAGES, LABELS, temperature=0.0), "temperature > 0"),
        (lambda key: ceiling(0, 10), "pairs"),
        (lambda key: ceiling(10, 0), "dimensions"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(lab.InputError, match=message):
        call(jax.random.key(0))


def test_single_weights_are_those_there_are_and_real_numbers():
    parameters, steps = {"w": jnp.array([3.0, 1.0])}, jnp.array([0.5])
    for outside in (-1, 2):
        with pytest.raises(lab.InputError, match=f"positions must be 0..1, of one weight each; got .{outside}"):
            lab.finite_differences(lambda theta: jnp.sum(theta["w"]), parameters, np.array([outside]), steps)
    whole = {"w": jnp.array(2.0), "n": jnp.array(3)}
    with pytest.raises(lab.InputError, match="must be real numbers; some are int32"):
        lab.finite_differences(lambda theta: theta["w"] * theta["n"], whole, np.array([0]), steps)
    with pytest.raises(lab.InputError, match="must be real numbers; some are int32"):
        key = jax.random.key(0)
        lab.evolution_strategies(lambda theta: theta["w"] * theta["n"], whole, key=key, sigma=0.1, pairs=2)
