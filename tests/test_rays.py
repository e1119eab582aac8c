"""Rays: gains of accuracy against plain loops, and the best weight against its conditions."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import f1_score

import lab
from lab.rays import _changes, _jackknife, accuracy_gain, best_weight, downhill, logits_along, metric_gain

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


def test_a_gradient_too_long_for_its_square_has_no_direction():
    steps = downhill({"w": jnp.array([[3e20, 4e20], [3.0, 4.0], [0.0, 0.0]])})["w"]
    np.testing.assert_allclose(steps, [[np.nan, np.nan], [-0.6, -0.8], [0, 0]], rtol=1e-6)


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


class TestMetricGain:
    """Of a metric that is no mean over examples, macro-F1, beside scikit-learn's; and of one that is."""

    def test_gains_are_those_of_a_loop(self, measured):
        network, parameters, gradients, own, held_out, _ = measured
        gain = metric_gain(
            network, parameters, gradients, OBJECTIVES, own, held_out, lab.metric("macro_f1"), lengths=LENGTHS
        )

        def scores(theta, part, kept=slice(None)):
            answers = np.asarray(network.apply(theta, part[0]).argmax(axis=1))[kept]
            labels = np.asarray(part[1])[kept]
            return f1_score(labels, answers, average="macro", labels=np.unique(labels))

        def change(theta, part, kept=slice(None)):
            return scores(theta, part, kept) - scores(parameters, part, kept)

        references = None
        for k in range(2):
            along = [moved(parameters, gradients, k, s) for s in LENGTHS]
            best = int(np.argmax([scores(theta, own) for theta in along]))
            assert gain.length[k] == pytest.approx(LENGTHS[best], rel=1e-6)
            assert gain.own[k] == pytest.approx(change(along[best], own), abs=0.011)
            assert gain.held_out[k] == pytest.approx(change(along[best], held_out), abs=0.006)
            # The jackknife, group by group: ten of 200 examples, drawn by chance, are left out.
            rest = [np.random.default_rng(0).permutation(200) % 20 != group for group in range(20)]
            without = np.array([change(along[best], held_out, kept) for kept in rest])
            error = np.sqrt(19 / 20 * np.sum((without - without.mean()) ** 2))
            assert gain.held_out_error[k] == pytest.approx(error, rel=0.1)
            references = without if references is None else references
            error = np.sqrt(19 / 20 * np.sum((without - references - (without - references).mean()) ** 2))
            assert gain.difference_error[k] == pytest.approx(error, rel=0.1, abs=1e-12)
        assert gain.difference[1] == pytest.approx(float(gain.held_out[1] - gain.held_out[0]), abs=1e-6)

    def test_of_accuracy_it_is_the_binomial_one(self, measured):
        """With a group for each example, and so with 20 of them, the jackknife's error is the binomial one."""
        network, parameters, gradients, own, held_out, _ = measured
        few = [(part[0][:20], part[1][:20]) for part in (own, held_out)]
        given = network, parameters, gradients, OBJECTIVES, *few
        expected = accuracy_gain(*given, lengths=LENGTHS, reference=1)
        found = metric_gain(*given, lab.metric("accuracy"), lengths=LENGTHS, reference=1)
        assert float(expected.held_out_error[0]) > 0
        for name, ours, theirs in zip(found._fields, found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=name)

    def test_a_gradient_of_zero_gains_nothing(self, measured):
        network, parameters, gradients, own, held_out, _ = measured

        def smooth(logits, labels):
            """What a rounding error would change."""
            return jax.nn.sigmoid(jnp.mean(logits))

        gain = metric_gain(network, parameters, gradients, OBJECTIVES, own, held_out, lab.metric(smooth))
        for one in (gain.length, gain.own, gain.own_error, gain.held_out, gain.held_out_error, gain.realised):
            assert one[2] == 0

    def test_a_metric_without_jax_gains_the_same(self, measured):
        network, parameters, gradients, own, held_out, _ = measured

        def theirs(logits, labels):
            return f1_score(labels, logits.argmax(axis=1), average="macro", labels=np.unique(labels))

        given = network, parameters, gradients, OBJECTIVES, own, held_out
        for ours, other in zip(
            metric_gain(*given, lab.metric("macro_f1"), lengths=LENGTHS),
            metric_gain(*given, lab.metric(theirs), lengths=LENGTHS),
            strict=True,
        ):
            np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)

    def test_groups_are_drawn_by_chance(self):
        """Where 20 classes come in turn, every twentieth example is all there is of one: leaving those out would tell
        how classes differ. Here ten classes are read rightly after the step, whichever examples are left out.
        """
        labels = np.arange(400) % 20
        before, after = np.zeros((400, 20)), np.eye(20)[np.where(labels < 10, labels, 0)]
        before[:, 0] = 1.0  # every answer is the class 0
        changes = _changes(lab.metric("balanced_accuracy"), np.stack([before, after]), labels)
        change, error = _jackknife(changes)
        assert change[0] == pytest.approx(9 / 20) and error[0] < 1e-6

    def test_the_error_is_that_of_other_examples(self, measured):
        """2,000 other images in ten sets of 200: the spread of the gain over them is the error that one set tells."""
        network, parameters, gradients, own, *_ = measured
        mnist, metric = lab.load("mnist"), lab.metric("macro_f1")
        images, labels = jnp.asarray(mnist.test.images, float) / 255, jnp.asarray(mnist.test.labels)
        sets = [(images[start : start + 200], labels[start : start + 200]) for start in range(0, 2000, 200)]
        found = [
            metric_gain(network, parameters, gradients, OBJECTIVES, own, one, metric, lengths=LENGTHS) for one in sets
        ]
        spread = np.std([one.held_out[:2] for one in found], axis=0, ddof=1)
        told = np.sqrt(np.mean([np.square(one.held_out_error[:2]) for one in found], axis=0))
        # chi^2 of 9 degrees: outside of this once in 500 times.
        assert ((0.4 < spread / told) & (spread / told < 1.75)).all()


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


JUDGES = {"accuracy": accuracy_gain, "metric": partial(metric_gain, metric=lab.metric("macro_f1", classes=10))}


@pytest.mark.parametrize("judge", JUDGES)
class TestWhatDoesNotFit:
    def test_a_gradient_that_is_not_finite_gains_nothing_that_can_be_said(self, measured, judge):
        network, parameters, gradients, own, held_out, _ = measured
        broken = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), gradients)
        found = JUDGES[judge](network, parameters, broken, OBJECTIVES, own, held_out, lengths=LENGTHS)
        whole = JUDGES[judge](network, parameters, gradients, OBJECTIVES, own, held_out, lengths=LENGTHS)
        for part, expected in zip(found, whole, strict=True):
            assert np.isnan(part[1])
            np.testing.assert_array_equal(np.delete(part, 1), np.delete(expected, 1))

    @pytest.mark.parametrize("reference", [-1, 3])
    def test_a_reference_is_one_of_the_objectives(self, measured, judge, reference):
        network, parameters, gradients, own, held_out, _ = measured
        with pytest.raises(lab.InputError, match=f"each of 3 objectives.*the reference {reference}"):
            JUDGES[judge](network, parameters, gradients, OBJECTIVES, own, held_out, reference=reference)

    def test_there_is_a_gradient_for_each_objective(self, measured, judge):
        network, parameters, gradients, own, held_out, _ = measured
        with pytest.raises(lab.InputError, match="each of 2 objectives.*got stacks of 3"):
            JUDGES[judge](network, parameters, gradients, OBJECTIVES[:2], own, held_out)

    def test_labels_are_those_of_the_network(self, measured, judge):
        network, parameters, gradients, own, held_out, _ = measured
        with pytest.raises(lab.InputError, match="must be 0..9 .*; got 10 at position 0"):
            others = held_out[0], np.asarray(held_out[1]).copy()
            others[1][0] = 10
            JUDGES[judge](network, parameters, gradients, OBJECTIVES, own, others)

    def test_a_single_example_has_no_error(self, measured, judge):
        network, parameters, gradients, own, held_out, _ = measured
        one = held_out[0][:1], held_out[1][:1]
        found = JUDGES[judge](network, parameters, gradients, OBJECTIVES, own, one, lengths=LENGTHS)
        assert np.isfinite(found.held_out).all() and np.isnan(found.held_out_error).all()
