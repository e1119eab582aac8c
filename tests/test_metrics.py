"""Metrics: held to scikit-learn and to loops, exact over any chunks; and the bias of mini-batches."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

import lab
from lab import metrics
from lab.evaluation import evaluate_together
from lab.objectives import BatchForm, Definition, of_sums, positive

KEY = jax.random.key(5)
METRICS = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_f1": metrics.macro_f1,
    "calibration_error": metrics.calibration_error,
    "brier": metrics.brier_score,
    "log_score": metrics.log_score,
}
EVERY_METRIC = pytest.mark.parametrize("name", METRICS)


def some_examples(*, examples=200, classes=6, present=None, scale=2.0):
    """Random logits in float64, and labels that they know something of."""
    rng = np.random.default_rng(examples + classes)
    labels = rng.choice(present or classes, examples)
    logits = scale * rng.standard_normal((examples, classes))
    logits[np.arange(examples), labels] += 1.0
    return logits, labels


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def calibration_by_loop(probabilities, labels, bins):
    """Guo et al. 2017, equations 2 and 3, one example and one bin after the other."""
    inside = [[] for _ in range(bins)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence, number = row.max(), 0
        while number < bins - 1 and confidence > (number + 1) / bins:
            number += 1
        inside[number].append((row.argmax() == label, confidence))
    error = 0.0
    for members in inside:
        if members:
            hits, confidences = zip(*members, strict=True)
            error += len(members) / len(labels) * abs(np.mean(hits) - np.mean(confidences))
    return error


def oracle(logits, labels):
    probabilities, answers, every_class = softmax(logits), logits.argmax(axis=1), range(logits.shape[1])
    present = np.unique(labels)
    return {
        "accuracy": sklearn.metrics.accuracy_score(labels, answers),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, answers),
        "macro_f1": sklearn.metrics.f1_score(labels, answers, labels=present, average="macro"),
        "calibration_error": calibration_by_loop(probabilities, labels, 15),
        "brier": np.mean(np.sum((probabilities - np.eye(logits.shape[1])[labels]) ** 2, axis=1)),
        "log_score": sklearn.metrics.log_loss(labels, probabilities, labels=every_class),
        "dead_classes": sum(one not in answers for one in present),
    }


@EVERY_METRIC
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"present": [0, 2, 5]},
        {"present": [4]},
        {"examples": 1},
        {"examples": 40, "classes": 2},
        {"scale": 0.1},
        {"scale": 8.0},
    ],
    ids=str,
)
class TestOracles:
    def test_in_float64(self, name, shape, float64):
        logits, labels = some_examples(**shape)
        found = METRICS[name](jnp.asarray(logits), labels)
        assert found.dtype == jnp.float64
        assert float(found) == pytest.approx(oracle(logits, labels)[name], rel=1e-12, abs=1e-14)

    def test_in_float32(self, name, shape):
        logits, labels = some_examples(**shape)
        logits = logits.astype(np.float32)
        found = METRICS[name](logits, labels)
        assert found.dtype == jnp.float32
        assert float(found) == pytest.approx(oracle(logits.astype(float), labels)[name], rel=1e-5, abs=1e-6)


class TestMetrics:
    def test_confusion_is_true_class_by_answer(self):
        logits, labels = some_examples()
        found = metrics.sums(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(200, dtype=bool)).confusion
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, sklearn.metrics.confusion_matrix(labels, logits.argmax(axis=1)))

    @pytest.mark.parametrize("bins", [1, 2, 10, 15])
    def test_a_confidence_on_an_edge_is_in_the_bin_that_it_ends(self, bins):
        """k equal logits give the confidence 1/k exactly, 1 included; spread ones fill the bins on both sides."""
        rng = np.random.default_rng(bins)
        on_edges = np.where(np.arange(10) < rng.choice([1, 2, 3, 5, 10], 300)[:, None], 0.0, -1000.0)
        spread, _ = some_examples(examples=300, classes=10)
        logits = np.concatenate([on_edges, spread]).astype(np.float32)
        labels = np.where(rng.random(600) < 0.5, 0, rng.integers(0, 10, 600))
        confidences = softmax(logits.astype(float)).max(axis=1)
        assert (confidences == 1.0).any() and (confidences == 0.5).any() and (confidences == 1 / 5).any()
        found = float(metrics.calibration_error(logits, labels, bins=bins))
        assert found == pytest.approx(calibration_by_loop(softmax(logits.astype(float)), labels, bins), abs=1e-6)

    def test_to_split_bins_never_lowers_the_error(self):
        logits, labels = some_examples(examples=1000, scale=1.0)
        errors = [float(metrics.calibration_error(logits, labels, bins=bins)) for bins in (1, 3, 15, 60)]
        assert np.all(np.diff(errors) > -1e-6) and errors[0] < errors[-1] - 0.005

    def test_the_first_of_equal_logits_is_the_answer(self):
        logits, labels = jnp.array([[1.0, 1.0, 0.0]] * 4), jnp.array([0, 0, 0, 1])
        assert float(metrics.accuracy(logits, labels)) == 0.75
        assert float(metrics.balanced_accuracy(logits, labels)) == 0.5
        assert float(metrics.macro_f1(logits, labels)) == pytest.approx((6 / 7 + 0) / 2)

    def test_extreme_logits_give_what_they_should(self):
        sure = jnp.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
        right = {name: float(metric(sure, jnp.array([0, 1]))) for name, metric in METRICS.items()}
        wrong = {name: float(metric(sure, jnp.array([1, 0]))) for name, metric in METRICS.items()}
        rates = ("accuracy", "balanced_accuracy", "macro_f1")
        assert right == dict.fromkeys(METRICS, 0.0) | dict.fromkeys(rates, 1.0)
        assert wrong == dict.fromkeys(rates, 0.0) | {"calibration_error": 1.0, "brier": 2.0, "log_score": 2000.0}

    @EVERY_METRIC
    def test_masked_examples_do_not_count(self, name):
        """Neither their labels nor their logits, which may be anything."""
        logits, labels = some_examples()
        mask = np.random.default_rng(0).random(200) < 0.3
        spoilt = np.where(mask[:, None], logits, np.nan).astype(np.float32)
        found = METRICS[name](spoilt, np.where(mask, labels, 0), mask=mask)
        expected = METRICS[name](logits[mask].astype(np.float32), labels[mask])
        assert float(found) == pytest.approx(float(expected), rel=1e-6)

    @EVERY_METRIC
    def test_of_no_example_there_is_no_metric(self, name):
        logits, labels = some_examples()
        assert math.isnan(METRICS[name](logits, labels, mask=np.zeros(200, dtype=bool)))

    @EVERY_METRIC
    def test_a_network_that_is_nan_has_no_scores(self, name):
        """Neither where a single logit is: argmax would take it for the largest."""
        for logits in (jnp.full((4, 3), jnp.nan), jnp.zeros((4, 3)).at[1, 2].set(jnp.nan)):
            assert math.isnan(METRICS[name](logits, jnp.array([0, 1, 2, 2])))

    def test_a_surprise_without_end_is_no_lack_of_answers(self):
        logits = jnp.array([[-jnp.inf, 0.0], [0.0, -jnp.inf]])
        found = {name: float(metric(logits, jnp.array([0, 0]))) for name, metric in METRICS.items()}
        assert found["log_score"] == math.inf and found["accuracy"] == 0.5

    def test_a_mask_may_be_a_list(self):
        assert metrics.accuracy(np.eye(3), np.array([0, 0, 2]), mask=[True, True, False]) == 0.5

    @EVERY_METRIC
    def test_compiled_and_with_one_hot_labels_it_is_the_same(self, name):
        logits, labels = some_examples()
        logits, mask = jnp.asarray(logits, dtype=jnp.float32), jnp.arange(200) < 150
        expected = METRICS[name](logits, jnp.asarray(labels), mask=mask)
        compiled = jax.jit(METRICS[name])(logits, jnp.asarray(labels), mask=mask)
        assert float(compiled) == pytest.approx(float(expected), rel=1e-6)
        assert METRICS[name](logits, np.eye(6)[labels], mask=mask) == expected

    def test_sums_of_parts_add_up(self):
        logits, labels = (jnp.asarray(array) for array in some_examples())
        mask = jnp.arange(200) % 7 != 0
        sums = jax.jit(metrics.sums)
        whole = sums(logits, labels, mask)
        parts = [sums(logits[rows], labels[rows], mask[rows]) for rows in (slice(61), slice(61, None))]
        added = jax.tree.map(jnp.add, *parts)
        for name, value in metrics.finish(added).items():
            assert float(value) == pytest.approx(float(metrics.finish(whole)[name]), rel=1e-5)

    @pytest.mark.parametrize(
        ("labels", "options", "message"),
        [
            (np.array([0, 3]), {}, "labels must be 0..2"),
            (np.array([0, -1]), {}, "labels must be 0..2"),
            (np.array([0, 1, 2]), {}, r"labels must be integers of shape \(2,\)"),
            (np.array([0, 1]), {"mask": np.array([True])}, r"mask must be bool of shape \(2,\)"),
            (np.array([0, 1]), {"mask": np.array([1, 2])}, r"mask must be bool"),
            (np.array([0, 1]), {"bins": 0}, "at least 1 bin"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, labels, options, message):
        with pytest.raises(lab.InputError, match=message):
            metrics.calibration_error(np.zeros((2, 3), dtype=np.float32), labels, **options)


def _power_statistic(logits, labels, mask, power):
    first = jnp.sum(jnp.where(mask, logits[:, 0], 0.0))
    return jnp.zeros((logits.shape[1],) * 2).at[0, 0].set(first).at[0, 1].set(jnp.sum(mask))


# A power of the mean of the first logit: the simplest function of a sum that is no mean over examples.
POWER = Definition(
    name="power_of_mean",
    family="test",
    formula="mean(z_0)^power",
    source="these tests",
    parameters={"power": positive(2.0)},
    batch_form=of_sums(_power_statistic, lambda statistic, power: (statistic[0, 0] / statistic[0, 1]) ** power),
)

SPREAD = replace(
    POWER,
    name="power_of_spread",
    formula="standard deviation(z_0)^power",
    batch_form=BatchForm(lambda logits, labels, power: jnp.std(logits[:, 0]) ** power),
)


def linear(parameters, images):
    return images @ parameters["weight"] + parameters["bias"][None, :]


@pytest.fixture(scope="module")
def pictures():
    """100 small pictures, their labels, a linear network that is not 0 on black, and its logits by NumPy."""
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 256, (100, 12)).astype(np.uint8), rng.integers(0, 4, 100)
    parameters = {"weight": rng.standard_normal((12, 4)), "bias": np.array([3.0, 1.0, -1.0, 0.0])}
    return images, labels, parameters, images / 255 @ parameters["weight"] + parameters["bias"]


# 100 examples do not divide by 7 or 64: the padding of the last chunk must not count.
CHUNKS = pytest.mark.parametrize("batch_size", [1, 7, 64, 100, 1000])


class TestEvaluate:
    @CHUNKS
    def test_every_metric_is_exact_whatever_the_chunks(self, pictures, batch_size, float64):
        images, labels, parameters, logits = pictures
        loss = lab.objective("cross_entropy")
        found = lab.evaluate(linear, loss, parameters, images, labels, batch_size=batch_size)
        expected = oracle(logits, labels)
        assert found.pop("loss") == pytest.approx(expected["log_score"], rel=1e-12)
        assert found == pytest.approx(expected, rel=1e-12)
        assert all(type(value) is float for value in found.values())

    @CHUNKS
    @pytest.mark.parametrize("power", [2.0, 3.0])
    def test_an_objective_of_a_whole_batch_is_taken_once(self, pictures, batch_size, power, float64):
        images, labels, parameters, logits = pictures
        objective = POWER.make(power=power)
        found = lab.evaluate(linear, objective, parameters, images, labels, batch_size=batch_size)
        assert found["loss"] == pytest.approx(logits[:, 0].mean() ** power, rel=1e-12)
        assert found["accuracy"] == np.mean(logits.argmax(axis=1) == labels)

    @CHUNKS
    def test_an_objective_that_no_sums_tell_sees_all_examples(self, pictures, batch_size, float64):
        """Four networks, two for each power: the spread of the first logit, which parts do not add up to."""
        images, labels, parameters, logits = pictures
        networks = jax.tree.map(lambda leaf: np.stack([np.stack([leaf, leaf]), np.stack([2 * leaf, leaf])]), parameters)
        powers = [SPREAD.make(power=power) for power in (2.0, 3.0)]
        found = evaluate_together(linear, powers, networks, images, labels, batch_size=batch_size)
        spread = logits[:, 0].std()
        assert found["loss"] == pytest.approx(np.array([[spread**2, spread**3], [4 * spread**2, spread**3]]), rel=1e-12)
        assert found["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == labels), rel=1e-12)

    def test_of_a_network_that_is_not_finite_nothing_is_said(self, pictures):
        images, labels, parameters, _ = pictures
        broken = jax.tree.map(lambda leaf: leaf * np.nan, parameters)
        found = lab.evaluate(linear, lab.objective("cross_entropy"), broken, images, labels)
        assert "dead_classes" in found and all(math.isnan(value) for value in found.values())

    def test_many_examples_in_float32(self, mnist):
        """9,000 digits in chunks of 64 leave 40; the sums keep their digits."""
        network = lab.mlp([10], activation="relu")
        part = partial(lab.evaluate, network.apply, lab.objective("cross_entropy"), network.init(KEY))
        whole = part(mnist.train.images, mnist.train.labels, batch_size=len(mnist.train))
        chunks = part(mnist.train.images, mnist.train.labels, batch_size=64)
        assert chunks == pytest.approx(whole, rel=2e-6)
        assert whole["log_score"] == pytest.approx(whole["loss"], rel=2e-6)
        assert whole["accuracy"] == round(whole["accuracy"] * 9000) / 9000  # counts are divided in float64

    @pytest.mark.parametrize(
        ("examples", "label", "batch_size", "message"),
        [
            (100, 0, 0, "1 or more; got 0 and 100"),
            (100, 0, -5, "1 or more; got -5 and 100"),
            (0, 0, 10, "1 or more; got 10 and 0"),
            (100, 4, 10, "labels must be 0..3"),
        ],
    )
    def test_what_cannot_be_evaluated_is_refused(self, pictures, examples, label, batch_size, message):
        images, _, parameters, _ = pictures
        labels = np.full(examples, label)
        with pytest.raises(lab.InputError, match=message):
            lab.evaluate(
                linear, lab.objective("cross_entropy"), parameters, images[:examples], labels, batch_size=batch_size
            )


class TestMinibatchBias:
    @pytest.mark.parametrize("batch_size", [1, 20, 150])
    def test_an_objective_per_example_has_none(self, batch_size):
        logits, labels = some_examples()
        loss = lab.objective("cross_entropy")
        found = metrics.minibatch_bias(loss, logits, labels, batch_size=batch_size, draws=800, key=KEY)
        values = np.asarray(loss(logits, labels), dtype=float)
        assert abs(found.bias) < 4 * found.standard_error
        assert found.full == pytest.approx(values.mean(), rel=1e-6)
        assert (found.batch_size, found.draws) == (batch_size, 800)
        # Without replacement the mean of a batch varies less (Cochran 1977, Sampling techniques, theorem 2.2).
        spread = values.std(ddof=1) * math.sqrt((1 - batch_size / 200) / batch_size)
        assert found.standard_error == pytest.approx(spread / math.sqrt(800), rel=0.12)

    @pytest.mark.parametrize("batch_size", [1, 20, 150])
    def test_that_of_a_squared_mean_is_the_variance_of_the_mean(self, batch_size, float64):
        logits, labels = some_examples()
        found = metrics.minibatch_bias(POWER.make(), logits, labels, batch_size=batch_size, draws=2000, key=KEY)
        expected = logits[:, 0].var(ddof=1) * (1 - batch_size / 200) / batch_size
        assert found.bias > 4 * found.standard_error
        assert abs(found.bias - expected) < 4 * found.standard_error

    def test_all_examples_are_not_biased(self, float64):
        logits, labels = some_examples()
        found = metrics.minibatch_bias(POWER.make(), logits, labels, batch_size=200, draws=3, key=KEY)
        assert found.bias == pytest.approx(0, abs=1e-14) and found.standard_error < 1e-14

    def test_the_key_says_which_batches(self):
        logits, labels = some_examples()
        ask = partial(metrics.minibatch_bias, lab.objective("cross_entropy"), logits, labels, batch_size=10, draws=20)
        assert ask(key=KEY) == ask(key=KEY)
        assert ask(key=KEY).bias != ask(key=jax.random.key(6)).bias

    @pytest.mark.parametrize(
        ("batch_size", "draws", "message"),
        [(0, 10, "batch size must be 1..200"), (201, 10, "1..200"), (5, 1, "2 draws")],
    )
    def test_what_cannot_be_drawn_is_refused(self, batch_size, draws, message):
        logits, labels = some_examples()
        with pytest.raises(lab.InputError, match=message):
            metrics.minibatch_bias(lab.objective("brier"), logits, labels, batch_size=batch_size, draws=draws, key=KEY)
