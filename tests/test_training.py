"""Batches, networks, training, metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lab
from lab.training import CHUNK

KEY = jax.random.key(3)


class TestBatches:
    def test_an_epoch_shows_every_example_once(self):
        epoch = lab.shuffled(KEY, 0, 10, examples=1000, batch_size=100)
        assert sorted(epoch.ravel()) == list(range(1000))
        following = lab.shuffled(KEY, 10, 10, examples=1000, batch_size=100)
        assert sorted(following.ravel()) == list(range(1000))
        assert not np.array_equal(epoch, following)

    @pytest.mark.parametrize("order", [lab.shuffled, lab.drawn])
    def test_a_step_does_not_depend_on_where_one_starts(self, order):
        whole = order(KEY, 0, 25, examples=70, batch_size=8)
        assert whole.shape == (25, 8)
        parts = [order(KEY, first, 5, examples=70, batch_size=8) for first in range(0, 25, 5)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert not np.array_equal(whole, order(jax.random.key(4), 0, 25, examples=70, batch_size=8))

    def test_what_is_left_over_sits_out_its_epoch(self):
        epoch = lab.shuffled(KEY, 0, 8, examples=70, batch_size=8)
        assert len(set(epoch.ravel())) == 64

    def test_drawing_is_with_replacement(self):
        batch = lab.drawn(KEY, 0, 1, examples=50, batch_size=50)[0]
        assert len(set(batch)) < 50
        assert batch.min() >= 0 and batch.max() < 50

    def test_drawing_is_uniform(self):
        counts = np.bincount(lab.drawn(KEY, 0, 1000, examples=10, batch_size=10).ravel(), minlength=10)
        # chi-squared with 9 degrees of freedom: 27.9 is exceeded once in a thousand
        assert ((counts - 1000) ** 2 / 1000).sum() < 27.9

    @pytest.mark.parametrize("size", [0, 71, -1])
    def test_a_batch_must_fit(self, size):
        with pytest.raises(lab.InputError, match="batch size must be 1..70"):
            lab.shuffled(KEY, 0, 1, examples=70, batch_size=size)


class TestNetworks:
    def test_logits_are_what_the_book_computes(self, float64):
        network = lab.mlp([50], activation="sigmoid")
        first, second = network.init(KEY)
        x = np.random.default_rng(0).random((3, 784))
        hidden = 1 / (1 + np.exp(-(x @ np.asarray(first["weight"]).T + np.asarray(first["bias"]))))
        expected = hidden @ np.asarray(second["weight"]).T + np.asarray(second["bias"])
        np.testing.assert_allclose(network.apply([first, second], jnp.asarray(x)), expected, rtol=1e-12)

    def test_the_books_start(self):
        first, second = lab.mlp([50], activation="sigmoid").init(KEY)
        assert first["weight"].shape == (50, 784) and second["weight"].shape == (10, 50)
        assert float(first["weight"].std()) == pytest.approx(0.01, rel=0.02)
        assert not first["bias"].any()

    def test_relu_keeps_the_signal_through_layers(self):
        network = lab.mlp([200] * 6, activation="relu")
        x = jax.random.normal(KEY, (64, 784))
        assert 0.3 < float(network.apply(network.init(KEY), x).std()) < 4

    @pytest.mark.parametrize(
        ("hidden", "activation", "message"),
        [([0], "relu", "at least one unit"), ([5], "rleu", "Did you mean 'relu'")],
    )
    def test_wrong_networks_are_refused(self, hidden, activation, message):
        with pytest.raises(lab.InputError, match=message):
            lab.mlp(hidden, activation=activation)


def training(mnist, *, stages, objective="cross_entropy", optimiser=("sgd", 0.1), **options):
    network = lab.mlp([16], activation="relu")
    states = lab.train(
        network,
        lab.objective(objective),
        lab.optimiser(*optimiser),
        mnist.train.images[:2000],
        mnist.train.labels[:2000],
        key=KEY,
        stages=stages,
        **options,
    )
    return network, list(states)


class TestTraining:
    def test_one_step_by_hand(self, mnist, float64):
        """The oracle writes out forward, backward and update in NumPy."""
        network, (start, end) = training(mnist, stages=[0, 1], batch_size=50)
        first, second = (jax.tree.map(np.asarray, layer) for layer in start.parameters)
        rows = lab.shuffled(jax.random.split(KEY)[1], 0, 1, examples=2000, batch_size=50)[0]
        x, y = mnist.train.images[rows] / 255, mnist.train.labels[rows]
        before = x @ first["weight"].T + first["bias"]
        hidden = np.maximum(before, 0)
        logits = hidden @ second["weight"].T + second["bias"]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        at_logits = (p - np.eye(10)[y]) / 50
        at_hidden = at_logits @ second["weight"] * (before > 0)
        np.testing.assert_allclose(
            end.parameters[1]["weight"], second["weight"] - 0.1 * at_logits.T @ hidden, atol=1e-12
        )
        np.testing.assert_allclose(end.parameters[0]["weight"], first["weight"] - 0.1 * at_hidden.T @ x, atol=1e-12)
        np.testing.assert_allclose(end.parameters[0]["bias"], first["bias"] - 0.1 * at_hidden.sum(axis=0), atol=1e-12)
        np.testing.assert_allclose(end.losses, [-np.log(p[np.arange(50), y]).mean()], rtol=1e-12)

    def test_stages_do_not_change_the_way(self, mnist):
        _, with_stop = training(mnist, stages=[0, CHUNK + 3, 2 * CHUNK + 5])
        _, (without,) = training(mnist, stages=[2 * CHUNK + 5])
        same = zip(jax.tree.leaves(with_stop[-1].parameters), jax.tree.leaves(without.parameters), strict=True)
        assert all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in same)
        assert [state.step for state in with_stop] == [0, CHUNK + 3, 2 * CHUNK + 5]
        assert [len(state.losses) for state in with_stop] == [0, CHUNK + 3, CHUNK + 2]

    @pytest.mark.parametrize("optimiser", [("sgd", 0.1), ("momentum", 0.02), ("adam", 0.003)])
    @pytest.mark.parametrize("order", [lab.shuffled, lab.drawn])
    def test_digits_are_learnt(self, mnist, optimiser, order):
        network, (state,) = training(mnist, stages=[300], optimiser=optimiser, order=order)
        found = lab.evaluate(
            network.apply,
            lab.objective("cross_entropy"),
            state.parameters,
            mnist.test.images,
            mnist.test.labels,
        )
        assert found["accuracy"] > 0.8

    def test_progress_counts_every_step(self, mnist):
        steps = []
        training(mnist, stages=[0, 47], progress=steps.append)
        assert sum(steps) == 47

    def test_training_that_diverges_says_when(self, mnist):
        with pytest.raises(FloatingPointError, match=r"at step \d+ .objective cross_entropy.*smaller learning rate"):
            training(mnist, stages=[200], optimiser=("sgd", 1e30))

    @pytest.mark.parametrize("stages", [[], [5, 5], [5, 3], [-1]])
    def test_stages_must_rise(self, mnist, stages):
        with pytest.raises(lab.InputError, match="stages must be rising"):
            training(mnist, stages=stages)

    @pytest.mark.parametrize(
        ("name", "rate", "message"),
        [("sdg", 0.1, "Did you mean 'sgd'"), ("sgd", 0.0, "> 0"), ("sgd", np.inf, "> 0")],
    )
    def test_wrong_optimisers_are_refused(self, name, rate, message):
        with pytest.raises(lab.InputError, match=message):
            lab.optimiser(name, rate)


class TestMetrics:
    @pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
    def test_whole_set_means_are_exact_whatever_the_batch(self, mnist, batch_size):
        """100 examples do not divide by 7 or 64: the last, smaller batch must count for what it is."""
        network = lab.mlp([10], activation="relu")
        parameters = network.init(KEY)
        images, labels = mnist.test.images[:100], mnist.test.labels[:100]
        found = lab.evaluate(
            network.apply, lab.objective("cross_entropy"), parameters, images, labels, batch_size=batch_size
        )
        logits = np.asarray(network.apply(parameters, jnp.asarray(images / 255, dtype=jnp.float32)), dtype=float)
        assert found["accuracy"] == np.mean(logits.argmax(axis=1) == labels)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(100), labels]
        assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
