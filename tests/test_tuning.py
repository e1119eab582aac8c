"""Tuning: the rate that validates best, and the networks that it gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lab

NETWORK = lab.mlp([8], activation="relu")
LOSS = lab.objective("cross_entropy")
KEYS = jax.random.split(jax.random.key(3), 2)


@pytest.fixture(scope="module")
def data():
    return lab.load_from(lab.DataSettings(sample=True, subset=500))


def alone(data, key, rate, steps, objective=LOSS):
    """One network trained by itself, and its metrics."""
    train = data.train
    (state,) = lab.train(
        NETWORK, objective, lab.optimiser("sgd", rate), train.images, train.labels, key=key, stages=[steps]
    )
    return lambda part: lab.evaluate(NETWORK.apply, LOSS, state.parameters, part.images, part.labels)


def test_the_rate_is_the_one_that_validates_best(data):
    rates = [0.001, 0.3, 0.03]
    found = lab.tuned(NETWORK, LOSS, data, learning_rates=rates, keys=KEYS, stages=[10, 30])
    singly = {
        rate: np.mean([alone(data, key, rate, 30)(data.validation)["accuracy"] for key in KEYS]) for rate in rates
    }
    assert found.learning_rate == max(singly, key=singly.get) == 0.3
    for seed, key in enumerate(KEYS):
        tested = alone(data, key, 0.3, 30)(data.test)
        assert found.test["accuracy"][seed, 1] == pytest.approx(tested["accuracy"], abs=1e-3)
        assert found.test["macro_f1"][seed, 1] == pytest.approx(tested["macro_f1"], abs=2e-3)
    assert [state.step for state in found.states] == [10, 30]
    assert found.validation["accuracy"][:, 1].mean() == pytest.approx(singly[0.3], abs=1e-3)


def test_the_rate_is_best_in_the_mean_of_all_networks(data):
    """The first has learnt nothing and gains by a high rate, at which the second loses more of what it has learnt."""
    begun, learnt = lab.tuned(NETWORK, LOSS, data, learning_rates=[0.3], keys=KEYS, stages=[0, 100]).states
    start = jax.tree.map(
        lambda first, second: np.stack([first[0, 0], second[1, 0]]), begun.parameters, learnt.parameters
    )
    for networks, best in ((1, 1.0), (2, 1e-9)):
        some = jax.tree.map(lambda leaf, n=networks: leaf[:n], start)
        found = lab.tuned(NETWORK, LOSS, data, learning_rates=[1e-9, 1.0], keys=KEYS[:networks], stages=[2], start=some)
        assert found.learning_rate == best


def test_the_metric_that_chooses_can_be_another(data):
    """Trained for long at a high rate the network is right more often, and much too sure where it is not."""
    rates, few = [0.03, 1.0], lab.under_conditions(data, lab.DataSettings(label_noise=0.3))
    by_metric = {
        metric: lab.tuned(NETWORK, LOSS, few, learning_rates=rates, keys=KEYS, stages=[300], metric=metric)
        for metric in ("accuracy", "log_score", "brier")
    }
    surprise = [alone(few, KEYS[0], rate, 300)(data.validation)["log_score"] for rate in rates]
    assert by_metric["log_score"].learning_rate == rates[int(np.argmin(surprise))] == 0.03


def test_one_of_ones_own_can_choose(data):
    """Of which a network that has hardly learnt has more: it is seldom sure where it is wrong."""

    def modest(logits, labels):
        sure = jnp.max(jax.nn.softmax(logits), axis=1)
        return 1 - jnp.mean(jnp.where(jnp.argmax(logits, axis=1) == labels, 0.0, sure))

    rates = [0.001, 0.3]
    found = lab.tuned(NETWORK, LOSS, data, learning_rates=rates, keys=KEYS, stages=[30], metric=lab.metric(modest))
    assert found.learning_rate == 0.001 and found.test["modest"].shape == (2, 1)
    assert (found.test["modest"] > 0.86).all()
    assert lab.tuned(NETWORK, LOSS, data, learning_rates=rates, keys=KEYS, stages=[30]).learning_rate == 0.3


def test_a_rate_that_diverges_is_never_chosen(data):
    exploding = lab.objective("sum_exp")
    found = lab.tuned(NETWORK, exploding, data, learning_rates=[1e20, 0.01], keys=KEYS, stages=[0, 20])
    assert found.learning_rate == 0.01
    assert np.isfinite(found.test["accuracy"]).all()
    with pytest.raises(FloatingPointError, match=r"sum_exp diverged at every learning rate tried \(1e\+20, 1e\+21\)"):
        lab.tuned(NETWORK, exploding, data, learning_rates=[1e20, 1e21], keys=KEYS, stages=[20])


def test_networks_can_begin_where_others_have_come_to(data):
    (half,) = lab.train_together(
        NETWORK, [LOSS], [lab.optimiser("sgd", 0.1)], data.train.images, data.train.labels, keys=KEYS, stages=[40]
    )
    start = jax.tree.map(lambda leaf: leaf[:, 0], half.parameters)
    found = lab.tuned(NETWORK, LOSS, data, learning_rates=[1e-9, 1e-8], keys=KEYS, stages=[0, 5], start=start)
    for begun, ended in zip(*(jax.tree.leaves(state.parameters) for state in found.states), strict=True):
        np.testing.assert_allclose(begun, ended, atol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(found.states[0].parameters), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(ours[:, 0], theirs)
    moved = lab.tuned(NETWORK, LOSS, data, learning_rates=[0.1], keys=KEYS, stages=[5], start=start)
    gap = jnp.abs(moved.states[0].parameters[0]["weight"][:, 0] - start[0]["weight"])
    assert float(gap.max()) > 1e-3


def test_an_unknown_metric_is_named(data):
    with pytest.raises(lab.InputError, match="unknown metric 'accurracy'. Did you mean 'accuracy'"):
        lab.tuned(NETWORK, LOSS, data, learning_rates=[0.1], keys=KEYS, stages=[1], metric="accurracy")


def test_networks_are_trained_as_asked_for(data):
    how = {"batch_size": 50, "stages": [20]}
    found = lab.tuned(
        NETWORK, LOSS, data, learning_rates=[0.01], keys=KEYS, optimised_by="adam", weight_decay=0.5, **how
    )
    by = lab.optimiser("adam", 0.01, weight_decay=0.5)
    for seed, key in enumerate(KEYS):
        (state,) = lab.train(NETWORK, LOSS, by, data.train.images, data.train.labels, key=key, **how)
        for ours, alone in zip(
            jax.tree.leaves(found.states[0].parameters), jax.tree.leaves(state.parameters), strict=True
        ):
            np.testing.assert_allclose(ours[seed, 0], alone, atol=1e-4)


def test_stages_stay_those_asked_for_where_a_rate_diverges_between_them(data):
    exploding = lab.objective("sum_exp")
    found = lab.tuned(NETWORK, exploding, data, learning_rates=[1e20, 0.01], keys=KEYS, stages=[0, 20])
    assert [state.step for state in found.states] == [0, 20] and found.test["accuracy"].shape == (2, 2)
