"""Metrics to judge by: the lab's against scikit-learn's, a user's own in either form, and what is refused."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

import lab
from lab.learning import learn
from lab.scoring import METRICS, TAKEN, TOGETHER
from lab.tables import learning_table

LOGITS = np.random.default_rng(2).normal(size=(3, 90, 5)).astype(np.float32)
LABELS = (np.arange(90) % 7 % 5).astype(np.int32)  # classes are not equally frequent
MINE = """
import jax.numpy as jnp
import numpy as np

def top_two(logits, labels):
    true = jnp.take_along_axis(logits, labels[:, None], axis=1)
    return jnp.mean(jnp.sum(logits > true, axis=1) < 2)

def top_two_numpy(logits, labels):
    return float(np.mean([label in np.argsort(one)[-2:] for one, label in zip(logits, labels)]))

def cost(logits, labels):
    return 2.0 * jnp.mean(jnp.argmax(logits, axis=1) != labels) + 1

def error(logits, labels):
    return jnp.mean(jnp.argmax(logits, axis=1) != labels)

def each(logits, labels):
    return jnp.argmax(logits, axis=1) == labels

def fails(logits, labels):
    return logits.argmax(axis=1) == labels[:, 5]

def accuracy(logits, labels):
    return 1.0

words = lambda logits, labels: "good"
number = 0.5
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def middling(logits, labels):
    """No mean over examples, and not written with JAX: where the median example stands."""
    lead = logits[np.arange(len(labels)), labels] - np.median(logits, axis=1)
    return 1 / (1 + np.exp(-np.median(lead)))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("accuracy", sklearn.metrics.accuracy_score),
        ("balanced_accuracy", sklearn.metrics.balanced_accuracy_score),
        ("macro_f1", lambda labels, answers: sklearn.metrics.f1_score(labels, answers, average="macro")),
    ],
)
def test_the_labs_are_those_of_scikit_learn(name, theirs):
    found = lab.metric(name)(LOGITS, LABELS)
    np.testing.assert_allclose(found, [theirs(LABELS, one.argmax(axis=1)) for one in LOGITS], rtol=1e-6)
    assert lab.metric(name).name == name and set(METRICS) < set(TAKEN)


def test_what_is_written_with_jax_is_compiled_and_what_is_not_is_called_for_each_network(mine):
    ours, theirs = (lab.metric(f"{mine}:{name}", classes=5) for name in ("top_two", "top_two_numpy"))
    assert ours.compiled and not theirs.compiled
    expected = [sklearn.metrics.top_k_accuracy_score(LABELS, one, k=2) for one in LOGITS]
    np.testing.assert_allclose(ours(LOGITS, LABELS), expected, rtol=1e-6)
    np.testing.assert_allclose(theirs(LOGITS, LABELS), expected, rtol=1e-6)
    assert ours(LOGITS[0], LABELS).shape == () and ours(LOGITS[None], LABELS).shape == (1, 3)


def test_a_number_may_be_an_array_without_axes():
    def right(logits, labels):
        return np.array(np.mean(np.asarray(logits).argmax(axis=1) == labels))

    np.testing.assert_allclose(lab.metric(right, classes=5)(LOGITS, LABELS), lab.metric("accuracy")(LOGITS, LABELS))


def test_it_is_compiled_once_for_any_number_of_calls():
    traced = []

    def counted(logits, labels):
        traced.append(logits.shape)
        return jnp.mean(jnp.argmax(logits, axis=1) == labels)

    of = lab.metric(counted, classes=5)
    for _ in range(3):
        of(LOGITS, LABELS)
    assert traced == [(100, 5), (90, 5)]  # where it is tried, and where it is used


def test_a_warning_is_given_once():
    """And not for each of the networks, at each of the steps: scikit-learn's filter would have it so."""
    program = """
import warnings
import numpy as np
import lab
from sklearn.metrics import precision_score

def precision(logits, labels):
    return precision_score(labels, logits.argmax(axis=1), average="macro")

of = lab.metric(precision, classes=3)
for _ in range(3):
    of(np.tile(np.eye(3)[[0, 0, 0]], (4, 1, 1)), np.arange(3))  # the classes 1 and 2 are never answered
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.count("UndefinedMetricWarning") == 1


def test_many_networks_are_taken_by_turns():
    many = np.random.default_rng(3).normal(size=(TOGETHER + 3, 20, 4)).astype(np.float32)
    labels = np.arange(20) % 4
    found = lab.metric("accuracy")(many, labels)
    np.testing.assert_allclose(found, np.mean(many.argmax(axis=2) == labels, axis=1), rtol=1e-6)


def test_a_network_that_is_not_finite_has_no_value_and_is_not_asked():
    broken, seen = LOGITS.copy(), []
    broken[1, 4, 2] = np.nan

    def careful(logits, labels):
        seen.append(np.isfinite(np.array(logits)).all())
        return sklearn.metrics.accuracy_score(labels, logits.argmax(axis=1))

    of = lab.metric(careful, classes=5)
    seen.clear()
    for found in (of(broken, LABELS), lab.metric("accuracy")(broken, LABELS)):
        assert np.isnan(found[1]) and np.isfinite(found[[0, 2]]).all()
    assert seen == [True, True]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("top_to", "unknown metric 'top_to'. Did you mean 'top_two'"),
        ("cost", r"'cost' must be a number from 0 \(worst\) to 1 \(best\); got 2.* 1 - cost / the highest"),
        (
            "error",
            "'error' must be the higher the better; it gives 0 where every answer is right and 0.88.* return 1 - it",
        ),
        ("each", r"'each' must return one number of all examples; it returns bool \[200\]"),
        ("fails", r"'fails' fails on logits \[200, 10\] and labels \[200\]: IndexError.* \(mine.py, line 22\)"),
        ("accuracy", "a metric of one's own needs a name that is none of loss, accuracy, .*; got 'accuracy'"),
        ("words", "needs a name that is none of .*; got '<lambda>'"),
        ("number", "a metric is a function of logits and labels, .*; got float"),
    ],
)
def test_what_is_wrong_with_a_metric_of_ones_own_is_named(mine, name, message):
    with pytest.raises(lab.InputError, match=message):
        lab.metric(f"{mine}:{name}")


@pytest.mark.parametrize(("value", "taken"), [(0.0, 0.0), (1.0, 1.0), (1 + 1e-7, 1.0), (1.01, None), (-0.01, None)])
def test_what_is_taken_ends_at_0_and_1(value, taken):
    """But for rounding: a mean of shares may come out above 1 by as much."""

    def constant(logits, labels):
        return value + 0 * jnp.sum(logits)

    if taken is None:
        with pytest.raises(lab.InputError, match=f"'constant' must be a number from 0 .* got {value} of 200 examples"):
            lab.metric(constant)
    else:
        assert lab.metric(constant)(LOGITS, LABELS).tolist() == [taken] * 3


@pytest.mark.parametrize("judge", ["accuracy", middling])
def test_labels_come_in_either_form_and_fit_the_logits(judge):
    of = lab.metric(judge, classes=5)
    np.testing.assert_array_equal(of(LOGITS, np.eye(5)[LABELS]), of(LOGITS, LABELS))
    for wrong, message in (
        (LABELS[:1], r"labels must be integers of shape \(90,\) .* got int32 of shape \(1,\)"),
        (LABELS + 5, r"labels must be 0\.\.4 for logits of shape \(90, 5\)"),
        (-1 - LABELS, r"labels must be 0\.\.4 for logits of shape \(90, 5\)"),
    ):
        with pytest.raises(lab.InputError, match=message):
            of(LOGITS, wrong)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(lab.InputError, match="unknown metric 'macro_fi'. Did you mean 'macro_f1'. .*list metrics"):
        lab.metric("macro_fi")


def test_a_metric_may_leave_its_range_only_later_and_is_named_then():
    of = lab.metric(fickle, classes=5)
    with pytest.raises(lab.InputError, match="'fickle' must be a number .* got 9 of 90 examples"):
        of(LOGITS, LABELS)


def fickle(logits, labels):
    return 9.0 if len(labels) == 90 else 0.5


class TestEvaluation:
    def test_all_examples_are_seen_at_once(self, mnist):
        """37 and then 26 of 100 images at a time: the median of all is no mean of theirs."""
        network = lab.mlp([8])
        parameters, loss = network.init(jax.random.key(1)), lab.objective("brier")
        images, labels = mnist.test.images[:100], mnist.test.labels[:100]
        of = lab.metric(middling)
        found = lab.evaluate(network.apply, loss, parameters, images, labels, batch_size=37, metrics=[of])
        logits = np.asarray(network.apply(parameters, jnp.asarray(images) / 255))
        assert found["middling"] == pytest.approx(middling(logits, labels), rel=1e-6)
        without = lab.evaluate(network.apply, loss, parameters, images, labels, batch_size=37)
        assert without == {name: value for name, value in found.items() if name != "middling"}
        assert set(TAKEN) - set(without) == {"seed", "epoch", "step", "split"}  # names that one's own may not have

    def test_each_network_has_its_own(self, mnist):
        network, brier = lab.mlp([8]), lab.objective("brier")
        keys = jax.random.split(jax.random.key(2), 6).reshape(3, 2)
        parameters = jax.vmap(jax.vmap(network.init))(keys)
        images, labels = mnist.test.images[:50], mnist.test.labels[:50]
        found = lab.evaluate_together(
            network.apply, [brier] * 2, parameters, images, labels, metrics=[lab.metric(middling)]
        )
        for seed in range(3):
            for variant in range(2):
                of = jax.tree.map(lambda leaf, at=(seed, variant): leaf[at], parameters)
                alone = middling(np.asarray(network.apply(of, jnp.asarray(images) / 255)), labels)
                assert found["middling"][seed, variant] == pytest.approx(alone, rel=1e-5)


def test_learning_curves_have_it(mine, mnist):
    settings = lab.TrainSettings(
        data=lab.DataSettings(subset=500),
        training=lab.TrainingSettings(network="mlp:8"),
        metric=f"{mine}:top_two",
        epochs=2,
    )
    results, (parameters,) = learn(settings, lab.under_conditions(mnist, settings.data))
    network = lab.mlp([8], activation="relu")
    logits = np.asarray(network.apply(parameters, jnp.asarray(mnist.test.images) / 255))
    expected = sklearn.metrics.top_k_accuracy_score(mnist.test.labels, logits, k=2)
    assert float(results["top_two"].sel(split="test", epoch=2)[0]) == pytest.approx(expected, abs=1e-6)
    assert results["top_two"].sel(split="train").isnull().all() and results.attrs["metric"] == "top_two"
    headings = [str(column.header) for column in learning_table(results).columns]
    assert headings == [
        "epoch",
        *("train\nloss", "train\naccuracy", "validation\nloss", "validation\ntop_two", "test\nloss", "test\ntop_two"),
    ]
