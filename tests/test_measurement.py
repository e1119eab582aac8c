"""The measurement of one network: every quantity against a plain loop over examples, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lab
from lab.columns import COLUMNS
from lab.measurement import BATCH_SIZES, QUANTILES, Batch, _is_of, measure
from lab.quantities import QUANTITIES

TEXTS = (
    "zero_one",
    "cross_entropy",
    "squared_error",
    "expected_error:temperature=0.3",
    "sigmoid_margin",
    "ramp:temperature=0.05",
    "gce",
    "soft_macro_f1",
)
OWN, OTHERS = 120, 90


@pytest.fixture(scope="module")
def measured(mnist):
    """A network after 60 steps, in float64: its parts, what was measured, and every example's own gradients."""
    network = lab.mlp([8], activation="relu")
    train, validation = mnist.train, mnist.validation
    (state,) = lab.train(
        network,
        lab.objective("cross_entropy"),
        lab.optimiser("sgd", 0.1),
        train.images,
        train.labels,
        key=jax.random.key(0),
        stages=[60],
    )
    with jax.enable_x64(True):
        parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), state.parameters)
        own = Batch(jnp.asarray(train.images[:OWN] / 255), jnp.asarray(train.labels[:OWN]))
        held_out = Batch(jnp.asarray(validation.images[:OTHERS] / 255), jnp.asarray(validation.labels[:OTHERS]))
        objectives = [lab.objective(text) for text in TEXTS]
        found = measure(network, parameters, own, held_out, objectives)

        @jax.jit
        def slopes(x, y):
            def values(theta):
                logits = network.apply(theta, x[None])
                return jnp.stack([one(logits, y[None])[0] for one in objectives])

            return jax.vmap(lambda g: ravel_pytree(g)[0])(jax.jacrev(values)(parameters))

        each = np.stack([np.asarray(slopes(x, y)) for x, y in zip(*own, strict=True)], axis=1)
    return network, parameters, own, held_out, objectives, found, each


def place(text):
    return TEXTS.index(text)


def test_every_quantity_is_measured_under_its_name(measured):
    elsewhere = {
        "train_accuracy",
        "test_accuracy",
        "test_metric",
        "line",
        *(name for name in QUANTITIES if "difference_" in name[:11]),
    }
    assert measured[5].keys() == QUANTITIES.keys() - elsewhere | {"gain_difference", "gain_difference_error"}
    sizes = {"objective": 8, "other": 8, "layer": 2, "node": 64, "bin": 80}
    sizes |= {"quantile": len(QUANTILES), "batch_size": len(BATCH_SIZES)}
    for name, value in measured[5].items():
        assert value.shape == tuple(sizes[axis] for axis in QUANTITIES[name].axes), name
        assert name == "dead" or np.issubdtype(value.dtype, np.floating), name
        assert np.isfinite(value).any(), name


def test_every_quantity_and_column_says_how_to_read_it():
    for name, one in QUANTITIES.items():
        assert one.title and one.reading.endswith("."), name
    assert len({column.heading for column in COLUMNS}) == len(COLUMNS)
    for column in COLUMNS:
        assert column.quantity in QUANTITIES and column.explained("accuracy").endswith("."), column.heading
        assert QUANTITIES[column.quantity].axes[0] == "objective"
        assert set(column.of) == set(QUANTITIES[column.quantity].axes[1:]), column.heading


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "soft_macro_f1"])
def test_what_single_examples_say(measured, text):
    found, each = measured[5], measured[6][place(text)]
    mean, at = each.mean(axis=0), place(text)
    if not each.any():
        for name in ("signal_to_noise", "certain_share", "noise_scale", "batch_cosine", "explained_share", "cosine"):
            assert np.isnan(found[name][at]).all(), name
        assert found["norm"][at] == 0 and found["dead"][at] and found["dead_share"][at] == 1
        return
    assert found["norm"][at] == pytest.approx(np.linalg.norm(mean), rel=1e-9)
    variance = each.var(axis=0, ddof=1)
    assert found["signal_to_noise"][at] == pytest.approx(mean @ mean / variance.sum(), rel=1e-8)
    live = variance > 1e-20
    certain = OWN * mean[live] ** 2 > 4 * variance[live]
    assert found["certain_share"][at] == pytest.approx(certain.mean(), abs=2 / live.sum())
    signal = mean @ mean - variance.sum() / OWN
    scale = variance.sum() / signal if signal > 0 else np.nan
    assert found["noise_scale"][at] == pytest.approx(scale, rel=1e-7, nan_ok=True)
    for k, size in enumerate(BATCH_SIZES):
        parts = [each[i : i + size].mean(axis=0) for i in range(0, OWN - size + 1, size)]
        cosines = [p @ mean / np.linalg.norm(p) / np.linalg.norm(mean) if p.any() else 0.0 for p in parts]
        assert found["batch_cosine"][at, k] == pytest.approx(np.mean(cosines), abs=1e-8)


def test_a_gradient_is_explained_by_the_chapters_losses(measured):
    found, mean = measured[5], measured[6].mean(axis=1)
    basis = mean[[place("cross_entropy"), place("squared_error")]].T
    for text in ("expected_error:temperature=0.3", "gce", "cross_entropy"):
        target = mean[place(text)]
        left = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
        assert found["explained_share"][place(text)] == pytest.approx(1 - left @ left / (target @ target), abs=1e-9)


def test_an_objective_of_a_whole_batch_has_a_gradient_and_no_noise(measured):
    network, parameters, own, _, objectives, found, _ = measured
    at = place("soft_macro_f1")
    with jax.enable_x64(True):
        slope = jax.grad(lambda theta: jnp.mean(objectives[at](network.apply(theta, own.images), own.labels)))(
            parameters
        )
        length = np.linalg.norm(ravel_pytree(slope)[0])
    assert found["norm"][at] == pytest.approx(length, rel=1e-9)
    assert np.isfinite(found["cosine"][at, 1]) and np.isfinite(found["gain_held_out"][at])
    for name in ("signal_to_noise", "certain_share", "noise_scale", "batch_cosine"):
        assert np.isnan(found[name][at]).all(), name


def test_the_law_of_effective_examples(measured):
    """Only smoothed accuracies have one: n f(0) T / R with the density of their own margin."""
    network, parameters, own, _, _, found, _ = measured
    with jax.enable_x64(True):
        logits = network.apply(parameters, own.images)
        density = {
            "sigmoid_margin": lab.hard_margin(logits, own.labels),
            "expected_error:temperature=0.3": lab.soft_margin(logits, own.labels, 0.3),
        }
        for text, temperature in (("sigmoid_margin", 1.0), ("expected_error:temperature=0.3", 0.3)):
            margins = np.asarray(density[text])
            low, high = np.quantile(margins, [0.25, 0.75])
            width = 0.9 * min(margins.std(), (high - low) / 1.34) * OWN**-0.2
            at_zero = np.mean(np.exp(-((margins / width) ** 2) / 2)) / width / np.sqrt(2 * np.pi)
            law = OWN * at_zero * temperature * 6
            assert found["effective_examples_law"][place(text)] == pytest.approx(law, rel=1e-8)
    assert np.isnan(found["effective_examples_law"][[place("cross_entropy"), place("gce")]]).all()


def test_the_best_weight_beats_cross_entropy_and_is_not_negative(measured):
    found = measured[5]
    assert (found["best_weight"] >= 0).all() and found["best_weight"].any()
    assert found["best_alignment"] > found["alignment"][place("cross_entropy")]
    assert found["best_alignment"] <= 1 + 1e-9
    margins = found["node_margin"]
    assert (np.diff(margins) >= 0).all()
    # Cross entropy's weight 1 - p, scaled: its shape is that of sigmoid(-m).
    ratio = found["node_weight"] * (1 + np.exp(margins))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)


def test_the_nodes_foretell_cosines(measured):
    """With 64 nodes for 120 examples: smooth losses to 0.01, a cold kernel with a corner worse; others not at all."""
    error = measured[5]["margin_gram_error"]
    assert max(error[place(text)] for text in ("cross_entropy", "gce", "sigmoid_margin")) < 0.01
    assert error[place("ramp:temperature=0.05")] > error[place("gce")]
    assert np.isnan(error[[place(text) for text in ("expected_error:temperature=0.3", "squared_error")]]).all()


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("sigmoid_margin:temperature=3", "hard"),
        ("expected_error", "soft"),
        ("expected_error:temperature=2", ""),
        ("smooth_svm", "soft"),
        ("smooth_svm:tau=2", ""),
        ("phuber_ce:tau=2", "soft"),
        ("smoothed_error:width=3", "soft"),
        ("smoothed_error:rival_temperature=3", ""),
        ("centred_expected_error", "centred"),
        ("mae", "soft"),
        ("squared_error", ""),
    ],
)
def test_nodes_are_those_of_the_margin_itself(text, of):
    """A soft margin at another temperature is another margin, whatever its temperature is called."""
    assert [name for name in ("hard", "soft", "centred") if _is_of(lab.objective(text), name)] == ([of] if of else [])


def test_a_step_is_aligned_with_the_rise_of_smoothed_accuracy(measured):
    """alignment = cos(-g, h), h the gradient of accuracy smoothed by a Gaussian of Silverman's width."""
    network, parameters, _, held_out, _, found, each = measured
    with jax.enable_x64(True):
        margins = np.asarray(lab.hard_margin(network.apply(parameters, held_out.images), held_out.labels))
        low, high = np.quantile(margins, [0.25, 0.75])
        width = 0.9 * min(margins.std(), (high - low) / 1.34) * OTHERS**-0.2

        def smoothed(theta):
            lead = lab.hard_margin(network.apply(theta, held_out.images), held_out.labels)
            return jnp.mean(jax.scipy.stats.norm.cdf(lead / width))

        rise = np.asarray(ravel_pytree(jax.grad(smoothed)(parameters))[0])
    for text in ("cross_entropy", "gce"):
        step = -each[place(text)].mean(axis=0)
        cosine = step @ rise / np.linalg.norm(step) / np.linalg.norm(rise)
        assert found["alignment"][place(text)] == pytest.approx(cosine, abs=1e-7)


def test_gains_are_paired_with_cross_entropy(measured):
    found = measured[5]
    assert (
        found["gain_difference"][place("cross_entropy")] == found["gain_difference_error"][place("cross_entropy")] == 0
    )
    less = found["gain_held_out"] - found["gain_held_out"][place("cross_entropy")]
    np.testing.assert_allclose(found["gain_difference"], less, atol=1e-12)
    assert found["gain_length"][place("zero_one")] == 0


@pytest.mark.slow
def test_few_examples_of_one_class(measured):
    """Three digits, all of one class: no mini-batch of 10 or 100, and nothing breaks."""
    network, parameters, own, held_out, objectives, *_ = measured
    few = np.flatnonzero(np.asarray(own.labels) == 1)[:3]
    with jax.enable_x64(True):
        found = measure(network, parameters, Batch(own.images[few], own.labels[few]), held_out, objectives[:3])
    assert np.isnan(found["batch_cosine"][:, 1:]).all() and np.isfinite(found["batch_cosine"][1:, 0]).all()
    assert found["node_margin"].shape == (3,)
    assert np.isfinite(found["norm"]).all() and np.isfinite(found["gain_held_out"]).all()
