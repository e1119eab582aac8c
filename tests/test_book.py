"""Chapter 4 as written: the chapter's own numbers, and both label forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lab

TRUE = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
LIKELY_TWO = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
LIKELY_SEVEN = np.array([0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0])


@pytest.mark.parametrize("labels", [TRUE, np.array(2)], ids=["one-hot", "class number"])
def test_the_chapters_four_numbers(labels, float64):
    assert float(lab.mean_squared_error(LIKELY_TWO, labels)) == pytest.approx(0.0975, abs=1e-12)
    assert float(lab.mean_squared_error(LIKELY_SEVEN, labels)) == pytest.approx(0.5975, abs=1e-12)
    assert float(lab.cross_entropy_error(LIKELY_TWO, labels)) == pytest.approx(0.510825457, abs=1e-9)
    assert float(lab.cross_entropy_error(LIKELY_SEVEN, labels)) == pytest.approx(2.302584092, abs=1e-9)


@pytest.mark.parametrize("loss", [lab.mean_squared_error, lab.cross_entropy_error])
def test_a_batch_is_the_mean_of_its_examples(loss, float64):
    batch, labels = np.stack([LIKELY_TWO, LIKELY_SEVEN, LIKELY_TWO]), np.array([2, 2, 7])
    each = [float(loss(y, t)) for y, t in zip(batch, labels, strict=True)]
    assert float(loss(batch, labels)) == pytest.approx(np.mean(each), rel=1e-12)
    assert float(loss(batch, np.eye(10)[labels])) == pytest.approx(np.mean(each), rel=1e-12)


def test_the_guard_caps_the_loss():
    assert float(lab.cross_entropy_error(np.array([0.0, 1.0]), np.array(0))) == pytest.approx(-np.log(1e-7), rel=1e-6)


@pytest.mark.parametrize("name", ["guarded_cross_entropy", "squared_error"])
def test_the_objectives_on_logits_are_the_chapters_losses(name, float64):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (6, 10)), rng.integers(0, 10, 6)
    of_probabilities = {
        "guarded_cross_entropy": lab.cross_entropy_error,
        "squared_error": lab.mean_squared_error,
    }
    expected = of_probabilities[name](jax.nn.softmax(jnp.asarray(logits), axis=1), labels)
    assert float(lab.objective(name)(logits, labels).mean()) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("y", "t", "message"),
    [
        (LIKELY_TWO, np.array(10), "labels must be 0..9"),
        (LIKELY_TWO, np.array([2, 3]), "of shape (1,)"),
        (np.zeros((2, 3, 4)), np.array([0, 1]), "probabilities must have shape"),
    ],
)
def test_wrong_input_is_refused(y, t, message):
    with pytest.raises(lab.InputError) as error:
        lab.mean_squared_error(y, t)
    assert message in str(error.value)
