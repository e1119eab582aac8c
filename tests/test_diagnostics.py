"""Diagnostics: each against another way to the same number, and at the ends of its range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import lab
from lab import diagnostics
from lab.surrogates import KERNELS

RNG = np.random.default_rng(0)
STACK = jnp.asarray(RNG.normal(size=(4, 30)), float)


@pytest.fixture
def gram():
    return STACK @ STACK.T


def test_layers_add_up_to_the_whole():
    network = lab.mlp([5, 4], activation="relu")
    images, labels = jnp.asarray(RNG.uniform(size=(6, 784))), jnp.asarray(RNG.integers(0, 10, 6))
    objectives = [lab.objective("cross_entropy"), lab.objective("zero_one")]
    found = lab.objective_gradients(network, network.init(jax.random.key(0)), images, labels, objectives)
    layers = diagnostics.layer_norms(found.gradients)
    assert layers.shape == (2, 3)
    whole = diagnostics.norm(lab.gram(found.gradients))
    np.testing.assert_allclose(jnp.sqrt(jnp.sum(layers**2, axis=1)), whole, rtol=1e-6)


def test_pairs_against_the_vectors_themselves(gram):
    unit = STACK / np.linalg.norm(STACK, axis=1, keepdims=True)
    cosine = diagnostics.cosine(gram)
    np.testing.assert_allclose(cosine, unit @ unit.T, atol=1e-6)
    for a in range(4):
        for b in range(4):
            between = np.degrees(np.arccos(np.clip(unit[a] @ unit[b], -1, 1)))
            assert diagnostics.angle(cosine)[a, b] == pytest.approx(between, abs=0.05)
            ratio = np.linalg.norm(STACK[a]) / np.linalg.norm(STACK[b])
            assert diagnostics.norm_ratio(gram)[a, b] == pytest.approx(ratio, rel=1e-5)
            (slope,), *_ = np.linalg.lstsq(np.asarray(STACK[b])[:, None], np.asarray(STACK[a]), rcond=None)
            assert diagnostics.projection(gram)[a, b] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("by", [[0], [1, 2], [0, 0]])
def test_explained_share_is_that_of_least_squares(gram, by):
    basis = np.asarray(STACK)[by].T
    for a, share in enumerate(diagnostics.explained_share(gram, by=by)):
        target = np.asarray(STACK[a])
        left = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
        assert share == pytest.approx(1 - left @ left / (target @ target), abs=1e-5)


def test_sign_agreement_counts_only_where_both_point_somewhere():
    a, b = np.array([1.0, -1.0, 0.0, 2.0, -3.0]), np.array([1.0, 1.0, 1.0, 0.0, -1.0])
    found = diagnostics.sign_agreement({"w": jnp.stack([a, b, jnp.zeros(5)])})
    assert found[0, 1] == pytest.approx(2 / 3)
    assert jnp.isnan(found[0, 2])  # a gradient of 0 agrees with nobody: undefined, and not 1/2


def test_gradients_of_zero_are_undefined_and_not_a_number_by_chance():
    gram = jnp.zeros((2, 2)).at[0, 0].set(4.0)
    for found in (
        diagnostics.cosine(gram)[0, 1],
        diagnostics.norm_ratio(gram)[0, 1],
        diagnostics.projection(gram)[0, 1],
    ):
        assert jnp.isnan(found)
    assert jnp.isnan(diagnostics.explained_share(gram, by=[0])[1])
    assert diagnostics.norm(gram).tolist() == [2.0, 0.0]


def test_participation_is_at_most_the_effective_number():
    weights = jnp.asarray(np.random.default_rng(1).exponential(size=(3, 500)))
    assert (diagnostics.participation_ratio(weights) <= diagnostics.effective_examples(weights)).all()
    # Of exponential weights: (E w)^2 / E w^2 = 1/2 and (E w^2)^2 / E w^4 = 1/6 of the batch.
    np.testing.assert_allclose(diagnostics.effective_examples(weights) / 500, 1 / 2, rtol=0.15)
    np.testing.assert_allclose(diagnostics.participation_ratio(weights) / 500, 1 / 6, rtol=0.5)


def test_margin_density_is_that_of_scipy_and_of_the_truth():
    margins = np.random.default_rng(2).normal(1.0, 2.0, 4000)
    density, error = diagnostics.margin_density(jnp.asarray(margins))
    truth = stats.norm.pdf(0, 1.0, 2.0)
    assert abs(density - truth) < 4 * error + 0.02 * truth  # false alarm 6e-5; the kernel's bias beside it
    assert 0 < error < 0.1 * truth


@pytest.mark.parametrize("kernel", KERNELS)
def test_effective_examples_follow_the_law(kernel):
    """n f(0) T / R, for margins of a known density and a narrow kernel; sampling error of the ratio is 2 to 5 %."""
    margins = jnp.asarray(np.random.default_rng(3).normal(0.5, 2.0, 200_000))
    width = 0.05
    weights = KERNELS[kernel].density(margins / width) / width
    law = diagnostics.effective_examples_law(
        jnp.asarray(stats.norm.pdf(0, 0.5, 2.0)), width, examples=len(margins), roughness=KERNELS[kernel].roughness
    )
    assert diagnostics.effective_examples(weights[None])[0] == pytest.approx(float(law), rel=0.1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_roughness_is_the_integral_of_the_kernel_squared(kernel):
    u = np.linspace(-40, 40, 800_001)
    density = np.asarray(KERNELS[kernel].density(jnp.asarray(u, jnp.float32)), float)
    assert np.trapezoid(density, u) == pytest.approx(1.0, rel=1e-4)
    assert np.trapezoid(density**2, u) == pytest.approx(KERNELS[kernel].roughness, rel=1e-4)


def test_shares_of_examples():
    logits, labels = jnp.asarray(RNG.normal(0, 3, (50, 5))), jnp.asarray(RNG.integers(0, 5, 50))
    objectives = [
        lab.objective(text)
        for text in (
            "cross_entropy",
            "ramp:temperature=0.5",
            "squared_logits",
            "zero_one",
            "expected_error:temperature=0.01",
        )
    ]
    _, cotangents = lab.cotangents(objectives, logits, labels)
    margins = np.asarray(lab.hard_margin(logits, labels))
    dead = diagnostics.dead_share(cotangents)
    assert dead[0] == 0 and dead[3] == 1
    assert dead[1] == pytest.approx(np.mean(np.abs(margins) >= 0.5))
    assert dead[4] == pytest.approx(np.mean(np.abs(np.asarray(lab.soft_margin(logits, labels, 0.01))) > 0.9), abs=0.15)
    pulls = diagnostics.weights(cotangents, labels)
    wrong = diagnostics.wrong_way_share(pulls)
    true = np.take_along_axis(np.asarray(logits), np.asarray(labels)[:, None], axis=1)[:, 0]
    assert wrong[0] == 0 and wrong[2] == pytest.approx(np.mean(true > 1))  # squared logits pull back beyond the target
    along = diagnostics.margin_direction_share(cotangents, logits, labels)
    assert along[0] == pytest.approx(1.0, abs=1e-5) and along[2] < 0.9 and jnp.isnan(along[3])


def examples(size=40, dimensions=6, mean=0.5, seed=4):
    return np.random.default_rng(seed).normal(mean, 1.0, (size, dimensions))


def test_noise_scale_and_its_jackknife_against_a_loop():
    each = examples()

    def plain(each):
        n, square = len(each), (each.mean(axis=0) ** 2).sum()
        squares = (each**2).sum(axis=1).mean()
        return (squares - square) * n / (n - 1) / ((n * square - squares) / (n - 1))

    left_out = np.array([plain(np.delete(each, i, axis=0)) for i in range(len(each))])
    error = np.sqrt((len(each) - 1) / len(each) * ((left_out - left_out.mean()) ** 2).sum())
    inner = jnp.asarray(each @ each.mean(axis=0))[None]
    found = diagnostics.noise_scale(jnp.asarray((each**2).sum(axis=1))[None], inner)
    np.testing.assert_allclose(found, [[plain(each)], [error]], rtol=1e-3)


def test_noise_scale_is_the_truth_on_average():
    """tr(C) / |G|^2 = 6 / 1.5 = 4; |z| < 4 of the mean over 200 batches: false alarm 6e-5 beside the ratio's bias."""
    found = []
    for seed in range(200):
        each = examples(size=400, seed=seed)
        inner = jnp.asarray(each @ each.mean(axis=0))[None]
        scale, error = diagnostics.noise_scale(jnp.asarray((each**2).sum(axis=1))[None], inner)
        found.append((float(scale[0]), float(error[0])))
    scales, errors = np.array(found).T
    assert abs(scales.mean() - 4) < 4 * scales.std() / np.sqrt(200) + 0.03
    assert errors.mean() == pytest.approx(scales.std(), rel=0.25)


def test_signal_to_noise_whole_and_by_component():
    each = examples()
    mean, variance = each.mean(axis=0), each.var(axis=0, ddof=1)
    whole = diagnostics.signal_to_noise(jnp.asarray((each**2).sum(axis=1))[None], jnp.asarray([(mean**2).sum()]))
    np.testing.assert_allclose(whole, [(mean**2).sum() / variance.sum()], rtol=1e-4)
    by_component = diagnostics.component_signal_to_noise(
        {"w": jnp.asarray(mean)}, {"w": jnp.asarray((each**2).mean(axis=0))}, len(each)
    )
    np.testing.assert_allclose(by_component["w"], mean**2 / variance, rtol=1e-3)
    alike = diagnostics.signal_to_noise(jnp.ones((1, 3)), jnp.ones(1))
    assert jnp.isnan(alike[0])  # no noise: the ratio is undefined


@pytest.mark.parametrize("count", [2, 7, 100])
def test_of_equal_examples_no_weight_can_be_told(count):
    """The mean of their squares and the square of their mean differ by rounding."""
    slopes = jnp.array(np.random.default_rng(0).normal(size=200), jnp.float32)
    each = jnp.tile(slopes, (count, 1))
    mean, square = jnp.mean(each, axis=0), jnp.mean(each**2, axis=0)
    assert jnp.isnan(diagnostics.certain_share({"w": mean[None]}, {"w": square[None]}, count)).all()


def test_a_cold_gradient_that_is_dead_is_said_to_be():
    logits, labels = jnp.array([[3.0, 0.0], [0.0, 4.0]]), jnp.array([0, 0])
    _, cotangents = lab.cotangents([lab.objective("expected_error", temperature=0.01)], logits, labels)
    assert diagnostics.dead_share(cotangents)[0] == 1
    assert diagnostics.is_dead(jnp.zeros(1), jnp.array(1.0))[0]


@pytest.mark.parametrize("shorter", [1e-2, 1e-4, 1e-6])
def test_a_short_gradient_lies_in_its_own_span(shorter):
    """However much shorter than the other of the span: what is explained is a matter of directions."""
    first, second, third = np.eye(3)
    stack = np.stack([first, shorter * (0.6 * first + 0.8 * second), 0.6 * second + 0.8 * third])
    found = diagnostics.explained_share(jnp.asarray(stack @ stack.T, jnp.float32), by=[0, 1])
    np.testing.assert_allclose(found, [1, 1, 0.36], atol=1e-5)


def test_a_gradient_too_long_for_its_square_has_no_cosine():
    """Its entries are numbers, the sum of their squares is none: 0 would say that it has nothing to do with another."""
    gram = lab.gram({"w": jnp.array([[1.0, 1.0], [3e20, 4e20]])})
    for found in (diagnostics.cosine(gram), diagnostics.projection(gram), diagnostics.norm_ratio(gram)):
        np.testing.assert_array_equal(jnp.isnan(found[:, 1]), [True, True])
        assert found[0, 0] == pytest.approx(1)


def test_participation_of_tiny_weights_is_that_of_large_ones():
    """Their fourth powers are below what float32 can hold."""
    weights = jnp.array([[1.0, -2.0, 0.5]])
    large, tiny = (diagnostics.participation_ratio(weights * scale) for scale in (1.0, 1e-25))
    np.testing.assert_allclose(tiny, large, rtol=1e-6)
    assert diagnostics.participation_ratio(jnp.zeros((1, 3)))[0] == 0


def test_what_holds_no_parameters_is_no_layer():
    """As in networks of other libraries, whose activations are parts of the pytree."""
    weight = jnp.array([[3.0, 4.0]])
    for parts in ([{"w": weight}, (), {"w": 2 * weight}], {"a": weight, "act": None, "b": 2 * weight}):
        np.testing.assert_allclose(diagnostics.layer_norms(parts), [[5.0, 10.0]])


def test_of_one_example_no_noise_can_be_told():
    one = jnp.array([[3.7]])
    assert jnp.isnan(diagnostics.signal_to_noise(one, one[0] - 1e-3)).all()
    assert jnp.isnan(diagnostics.certain_share({"w": jnp.array([[1.0]])}, {"w": jnp.array([[1.0001]])}, 1)).all()
    scale, _ = diagnostics.noise_scale(jnp.full((1, 5), 0.3), jnp.full((1, 5), 0.3 + 1e-7))
    assert scale[0] == 0  # examples that do not differ, but for rounding
