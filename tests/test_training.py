"""Batches, networks, training, metrics."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lab
from lab.devices import networks_that_fit
from lab.schedules import values
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

    @pytest.mark.parametrize("size", [1, 70])
    def test_a_batch_is_of_one_example_or_of_all(self, size):
        epoch = lab.shuffled(KEY, 0, 70 // size, examples=70, batch_size=size)
        assert sorted(epoch.ravel()) == list(range(70))

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

    def test_the_like_of_a_network_needs_no_compiling_anew(self):
        assert lab.mlp([7, 3], activation="relu") == lab.mlp((7, 3), activation="relu")
        assert lab.mlp([7, 3], activation="relu") != lab.mlp([7, 3], activation="sigmoid")
        assert lab.lenet5() == lab.lenet5(pixels=784)
        assert lab.lenet5() != lab.lenet5(classes=7)

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


LITTLE = lab.mlp([5], activation="relu", pixels=6, classes=4)
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 6), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, 60)
RATES = (0.5, 0.2, 0.1, 0.05, 0.02)


def temperatures(count):
    return [lab.objective("expected_error", temperature=0.5 + 0.3 * i) for i in range(count)]


def sgds(count, name="sgd"):
    return [lab.optimiser(name, rate, weight_decay=rate / 100) for rate in RATES[:count]]


def together(objectives, optimisers, *, seeds=1, stages=(0, 7, 130), network=LITTLE, batch_size=8, **options):
    keys = jax.random.split(KEY, seeds)
    return lab.train_together(
        network, objectives, optimisers, IMAGES, LABELS, keys=keys, stages=stages, batch_size=batch_size, **options
    )


def alone(objective, optimiser, *, key, stages=(0, 7, 130), network=LITTLE, **options):
    return list(
        lab.train(network, objective, optimiser, IMAGES, LABELS, key=key, stages=stages, batch_size=8, **options)
    )


class TestExamples:
    """Both label forms and both forms of images, and what is neither."""

    def given(self, images, labels):
        loss, rate = lab.objective("brier"), lab.optimiser("sgd", 0.5)
        (state,) = lab.train(LITTLE, loss, rate, images, labels, key=KEY, stages=[9], batch_size=8)
        return state.losses

    def test_one_hot_rows_are_class_numbers(self):
        classes = LITTLE.init(KEY)[-1]["bias"].size
        np.testing.assert_array_equal(self.given(IMAGES, np.eye(classes)[LABELS]), self.given(IMAGES, LABELS))

    def test_real_numbers_are_taken_as_they_are(self):
        once, loss = np.float32(IMAGES) / 255, lab.objective("brier")
        np.testing.assert_allclose(self.given(once, LABELS), self.given(IMAGES, LABELS), rtol=1e-6)
        assert not np.allclose(self.given(2 * once, LABELS), self.given(IMAGES, LABELS), rtol=1e-3)
        of_both = [lab.evaluate(LITTLE.apply, loss, LITTLE.init(KEY), images, LABELS) for images in (once, IMAGES)]
        assert of_both[0] == pytest.approx(of_both[1], rel=1e-6)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (IMAGES, LABELS + 1, r"labels must be 0\.\.\d+ for logits"),
            (IMAGES, LABELS[:-1], "labels must be integers of shape"),
            (IMAGES[:-1], LABELS, "labels must be integers of shape"),
            (IMAGES[:, 1:], LABELS, "the network does not take images of shape"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, images, labels, message):
        with pytest.raises(lab.InputError, match=message):
            self.given(images, labels)
        with pytest.raises(lab.InputError, match=message):
            lab.evaluate(LITTLE.apply, lab.objective("brier"), LITTLE.init(KEY), images, labels)

    def test_wrong_types_are_said_where_nobody_checks_them(self):
        """Not here, where beartype does: in a process of its own."""
        script = """
import jax, numpy as np, lab
net, loss, rate = lab.mlp([3], pixels=4, classes=3), lab.objective("brier"), lab.optimiser("sgd", 0.5)
key = jax.random.key(0)
images, labels, start = np.zeros((6, 4), np.uint8), np.arange(6) % 3, net.init(key)
train = lambda images, loss: next(lab.train(net, loss, rate, images, labels, key=key, stages=[1], batch_size=2))
for wrong in (
    lambda: train(images.astype(np.int32), loss),
    lambda: train(images[:, None], loss),
    lambda: train(images, "brier"),
    lambda: lab.evaluate(net.apply, "brier", start, images, labels),
    lambda: lab.objective_gradients(net, start, images, labels, ["brier"]),
    lambda: lab.objective(None),
    lambda: lab.objective_gradients(net, start, images, labels[:5], [loss], chunk=2),
    lambda: lab.example_moments(net, start, images, np.tile(labels, 2), [loss], chunk=2),
    lambda: lab.objective_gradients(net, start, images, np.full((6, 3), 0.5), [loss], chunk=2),
    lambda: lab.holm([0.01, 0.04]).tolist(),
    lambda: lab.paired_difference([1, 2, 4], [0, 2, 2]).text(),
    lambda: lab.CompareSettings(stages=[0, 10]),
    lambda: lab.CompareSettings(objective="gce"),
    lambda: lab.CompareSettings(precision="bad"),
    lambda: lab.DataSettings(noise="x"),
    lambda: lab.TrainingSettings(order="x"),
    lambda: lab.mean_interval(np.zeros((5, 4))),
    lambda: lab.paired_difference(np.zeros((5, 4)), np.zeros((5, 4))),
    lambda: lab.paired_test(np.zeros(5), np.zeros(1)),
    lambda: lab.probability_of_improvement(np.zeros((2, 3)), np.zeros((3, 3))),
    lambda: lab.finite_differences(lambda theta: theta**2, np.float32([1, 2]), [1], [0.5]).tolist(),
    lambda: lab.line(lambda theta: theta**2, np.float32(1), np.float32(2), [0, 1]).tolist(),
):
    try:
        print(wrong())
    except lab.InputError as error:
        print(error)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
        form = "images must be pixels 0..255 (uint8) or real numbers of shape [examples, pixels]; got"
        made = "objectives are made by lab.objective, as in lab.objective('gce:q=0.5'); got 'brier'."
        assert done.stdout.splitlines() == [
            f"{form} int32 of shape (6, 4).",
            f"{form} uint8 of shape (6, 1, 4).",
            *[made] * 3,
            "an objective is named by a text, as in 'gce:q=0.5'; got None.",
            "labels must be integers of shape (6,) or one-hot rows of shape (6, 3); got int64 of shape (5,).",
            "labels must be integers of shape (6,) or one-hot rows of shape (6, 3); got int64 of shape (12,).",
            "one-hot labels must hold a single 1 in each row; row 0 is [0.5, 0.5, 0.5]. "
            "Soft labels are not supported: give class numbers or one-hot rows.",
            "[0.02, 0.04]",
            "1.00 [-1.48, 3.48]",
            "--stages must be a text, as on the command line; got [0, 10].",
            "--objective must be a tuple, as ('gce',); got 'gce'.",
            "--precision must be one of highest, high, default, float64; got 'bad'.",
            "--noise must be one of symmetric, pair; got 'x'.",
            "--order must be one of shuffled, drawn; got 'x'.",
            *["a mean is taken of a vector, a value for each seed, say; got an array of (5, 4)."] * 2,
            "pairs need as many values on either side; got 5 and 1.",
            "runs are compared within strata, rows that both must have; got 2 and 3.",
            "[[[0.0, 4.0]]]",
            "[1.0, 9.0]",
        ], done.stderr


def arrays(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_same(one, other):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


def gradient(objective, parameters, step, key):
    """Of the mini-batch of a step, without the lab's loop."""
    rows = lab.shuffled(jax.random.split(key)[1], step, 1, examples=60, batch_size=8)[0]
    images, labels = jnp.asarray(IMAGES[rows] / 255, dtype=float), jnp.asarray(LABELS[rows])
    return jax.grad(lambda p: jnp.mean(objective(LITTLE.apply(p, images), labels)))(parameters), images, labels


class TestTogether:
    @pytest.mark.parametrize(("seeds", "variants"), [(5, 1), pytest.param(3, 2, marks=pytest.mark.slow), (2, 5)])
    def test_each_is_the_one_that_train_makes(self, seeds, variants, float64):
        """Four devices: seeds cut into equal parts as they are, seeds padded, variants padded."""
        objectives, optimisers = temperatures(variants), sgds(variants, "momentum")
        states = list(together(objectives, optimisers, seeds=seeds))
        assert [state.step for state in states] == [0, 7, 130]
        assert states[-1].losses.shape == (seeds, variants, 123)
        for seed, key in enumerate(jax.random.split(KEY, seeds)):
            for variant in range(variants):
                expected = alone(objectives[variant], optimisers[variant], key=key)
                for state, single in zip(states, expected, strict=True):
                    own = jax.tree.map(lambda leaf, at=(seed, variant): leaf[at], state._replace(step=np.zeros((9, 9))))
                    for many, one in zip(arrays(own._replace(step=state.step)), arrays(single), strict=True):
                        np.testing.assert_allclose(many, one, rtol=0, atol=1e-10)

    @pytest.mark.parametrize(("objectives", "optimisers"), [(2, 1), (1, 2)])
    def test_there_is_an_optimiser_for_each_objective(self, objectives, optimisers):
        message = f"go pairwise; got {objectives} objectives and {optimisers} optimisers"
        with pytest.raises(lab.InputError, match=message):
            next(together(temperatures(objectives), sgds(optimisers)))

    @pytest.mark.parametrize("objectives", [1, 3])
    def test_there_is_an_objective_for_each_variant(self, objectives):
        two = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2)[None], LITTLE.init(KEY))
        with pytest.raises(lab.InputError, match=f"for each variant; got 2 variants and {objectives} objectives"):
            lab.evaluate_together(LITTLE.apply, temperatures(objectives), two, IMAGES, LABELS)

    def test_variants_of_a_seed_are_paired_and_seeds_are_not(self):
        same = temperatures(1) * 2
        *_, end = together([*same, temperatures(2)[1]], [lab.optimiser("sgd", 0.5)] * 3, seeds=2)
        for leaf in jax.tree.leaves(end.parameters):
            np.testing.assert_array_equal(leaf[:, 0], leaf[:, 1])
            assert not np.array_equal(leaf[:, 0], leaf[:, 2])
            assert not np.array_equal(leaf[0], leaf[1])

    def test_the_order_is_asked_once_for_a_seed_and_a_stage(self):
        asked = []

        def order(key, *arguments, **options):
            asked.append((tuple(np.asarray(jax.random.key_data(key))), *arguments))
            return lab.shuffled(key, *arguments, **options)

        list(together(temperatures(3), sgds(3), seeds=2, order=order, stages=[5, 9]))
        assert len(set(asked)) == len(asked) == 4
        assert {one[1:] for one in asked} == {(0, 5), (5, 4)}

    def test_numbers_are_swept_without_compiling_anew(self):
        traced = []

        def apply(parameters, images):
            traced.append(1)
            return LITTLE.apply(parameters, images)

        network = lab.Network("counted", LITTLE.init, apply)

        def run(temperature, rate, decay, stages):
            objective = lab.objective("expected_error", temperature=temperature)
            alone(objective, lab.optimiser("adam", rate, weight_decay=decay), key=KEY, stages=stages, network=network)

        run(1.0, 0.1, 0.0, [0, 30])
        once = len(traced)
        assert once
        run(0.3, 0.02, 0.1, [3, 20, 225])
        assert len(traced) == once

    @pytest.mark.parametrize(("seeds", "variants"), [(1, 1), pytest.param(4, 2, marks=pytest.mark.slow), (3, 5)])
    def test_all_chunks_are_one_program_on_several_devices_too(self, seeds, variants):
        """Where the first chunk finds its networks elsewhere than it leaves them, the second is compiled once more."""
        compiled = []
        jax.monitoring.register_event_duration_secs_listener(
            listen := lambda event, _, **of: compiled.append(of.get("fun_name")) if "backend_compile" in event else None
        )
        try:
            list(together(temperatures(variants), sgds(variants), seeds=seeds, stages=[0, 107, 330]))
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        assert sum("_run_chunk" in str(name) for name in compiled) == 1

    @pytest.mark.parametrize(
        ("objectives", "optimisers", "message"),
        [
            (["brier", "gce"], ["sgd", "sgd"], "objectives.*one family.*brier.*gce"),
            (["brier", "brier"], ["sgd", "adam"], "optimisers.*one family"),
            ([], [], "none at all"),
        ],
    )
    def test_other_families_are_refused(self, objectives, optimisers, message):
        with pytest.raises(lab.InputError, match=message):
            next(
                together([lab.objective(name) for name in objectives], [lab.optimiser(one, 0.1) for one in optimisers])
            )

    @pytest.mark.parametrize(("seeds", "variants", "name"), [(5, 2, "adam"), (1, 5, "momentum"), (1, 1, "sgd")])
    @pytest.mark.parametrize(
        "chunks", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow), 4]
    )
    def test_what_was_stopped_goes_on_as_if_it_had_not_been(self, seeds, variants, name, chunks):
        """Chunks end at the steps 100, 107 (a stage), 207, 307: the last two are within a stage."""
        recipe = (temperatures(variants), sgds(variants, name))
        stages, done = [0, 107, 330], []
        whole = list(together(*recipe, seeds=seeds, stages=stages))
        before = list(
            together(*recipe, seeds=seeds, stages=stages, progress=done.append, stop=lambda: len(done) >= chunks)
        )
        stopped = before[-1]
        assert stopped.step == sum(done) == [100, 107, 207, 307][chunks - 1]
        after = list(together(*recipe, seeds=seeds, stages=stages, start=stopped))
        assert [state.step for state in after] == [step for step in stages if step > stopped.step]
        for state, expected in zip(after[::-1], whole[::-1], strict=False):
            assert_same(state, expected)
        again = list(together(*recipe, seeds=seeds, stages=stages, start=stopped))  # `start` is still whole
        assert_same(after, again)

    def test_after_the_last_stage_there_is_nothing_to_go_on_to(self):
        *_, end = together(temperatures(1), sgds(1))
        assert not list(together(temperatures(1), sgds(1), start=end))

    def test_a_network_that_diverges_leaves_the_others_alone(self):
        cross_entropy = [lab.objective("cross_entropy")] * 2
        good, wild = lab.optimiser("sgd", 0.1), lab.optimiser("sgd", 1e30)
        states = list(together(cross_entropy, [good, wild], seeds=2, stages=[0, 250]))
        assert [state.step for state in states] == [0, 100, 250]  # at once, and at the stage
        assert [state.finite.tolist() for state in states[1:]] == [[[True, False]] * 2] * 2
        assert states[0].finite.all()
        *_, expected = together(cross_entropy, [good, good], seeds=2, stages=[0, 250])
        for leaf, other in zip(jax.tree.leaves(states[-1][:2]), jax.tree.leaves(expected[:2]), strict=True):
            np.testing.assert_array_equal(leaf[:, 0], other[:, 0])
        np.testing.assert_array_equal(states[-1].losses[:, 0], expected.losses[:, 0])

    def test_memory_for_networks_falls_with_their_size(self):
        sizes = [
            networks_that_fit(
                lab.mlp([units]), lab.objective("brier"), lab.optimiser(name, 0.1), IMAGES[:, [0] * 784], batch_size=100
            )
            for units, name in ((10, "sgd"), (1000, "sgd"), (1000, "adam"), (100_000, "adam"))
        ]
        assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
        assert sizes[1] > 0


class TestOptimisers:
    @pytest.mark.parametrize(
        ("own", "name"),
        [(optax.adam(0.01), "adam"), (optax.sgd(0.01, momentum=0.9), "momentum"), (optax.sgd(0.01), "sgd")],
    )
    def test_optax_of_ones_own(self, own, name):
        brier = lab.objective("brier")
        ours, theirs = (alone(brier, one, key=KEY)[-1] for one in (lab.optimiser(name, 0.01), own))
        for a, b in zip(arrays(ours.parameters), arrays(theirs.parameters), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)

    def test_optax_with_a_random_key_in_its_state(self):
        noisy = optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(0)), optax.sgd(0.1))
        start, _, end = alone(lab.objective("brier"), noisy, key=KEY)
        assert end.finite and not np.array_equal(*(arrays(state.parameters)[0] for state in (start, end)))

    @pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
    def test_two_steps_with_weight_decay_by_hand(self, name, float64):
        """Decay is part of the gradient: momentum and Adam's moments see it as well."""
        rate, decay, cross_entropy = 0.1, 0.3, lab.objective("cross_entropy")
        states = alone(cross_entropy, lab.optimiser(name, rate, weight_decay=decay), key=KEY, stages=[0, 1, 2])
        weights = [np.asarray(state.parameters[1]["weight"]) for state in states]
        slopes = [
            np.asarray(gradient(cross_entropy, states[i].parameters, i, KEY)[0][1]["weight"]) + decay * weights[i]
            for i in (0, 1)
        ]
        if name == "sgd":
            moves = slopes
        elif name == "momentum":
            moves = [slopes[0], 0.9 * slopes[0] + slopes[1]]
        else:
            first = [slopes[0], (0.9 * 0.1 * slopes[0] + 0.1 * slopes[1]) / (1 - 0.9**2)]
            second = [slopes[0] ** 2, (0.999 * 0.001 * slopes[0] ** 2 + 0.001 * slopes[1] ** 2) / (1 - 0.999**2)]
            moves = [m / (np.sqrt(v) + 1e-8) for m, v in zip(first, second, strict=True)]
        np.testing.assert_allclose(weights[1], weights[0] - rate * moves[0], atol=1e-12)
        np.testing.assert_allclose(weights[2], weights[1] - rate * moves[1], atol=1e-12)

    @pytest.mark.parametrize("decay", [-0.1, np.inf, np.nan])
    def test_decay_is_a_number_from_0_on(self, decay):
        with pytest.raises(lab.InputError, match="weight decay must be"):
            lab.optimiser("sgd", 0.1, weight_decay=decay)


class TestSchedules:
    def test_annealing_step_by_step(self, float64):
        """4 to 1/4 over 4 steps: temperatures 4, 2, 1, 1/2, 1/4, and 1/4 from there on."""
        schedule = lab.annealed(lab.objective("expected_error", temperature=4.0), to=0.25, steps=4)
        states = alone(schedule, lab.optimiser("sgd", 0.5), key=KEY, stages=range(7))
        for step, temperature in enumerate([4, 2, 1, 0.5, 0.25, 0.25]):
            objective = lab.objective("expected_error", temperature=temperature)
            slopes, images, labels = gradient(objective, states[step].parameters, step, KEY)
            loss = jnp.mean(objective(LITTLE.apply(states[step].parameters, images), labels))
            np.testing.assert_allclose(states[step + 1].losses, [loss], rtol=1e-12)
            for before, slope, after in zip(
                arrays(states[step].parameters), arrays(slopes), arrays(states[step + 1].parameters), strict=True
            ):
                np.testing.assert_allclose(after, before - 0.5 * slope, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("quantile", [0.25, 1.0])
    def test_a_temperature_tied_to_margins(self, quantile, float64):
        """The oracle takes the quantile in NumPy, and the gradient at that temperature held fixed."""
        schedule = lab.tied(lab.objective("sigmoid_margin"), quantile=quantile)
        states = alone(schedule, lab.optimiser("sgd", 0.5), key=KEY, stages=range(4))
        for step in range(3):
            parameters = states[step].parameters
            _, images, labels = gradient(lab.objective("brier"), parameters, step, KEY)
            logits = np.asarray(LITTLE.apply(parameters, images))
            own = logits[np.arange(8), labels]
            others = np.where(np.arange(4) == np.asarray(labels)[:, None], -np.inf, logits).max(axis=1)
            temperature = np.quantile(np.abs(own - others), quantile)
            slopes, *_ = gradient(lab.objective("sigmoid_margin", temperature=temperature), parameters, step, KEY)
            for before, slope, after in zip(
                arrays(parameters), arrays(slopes), arrays(states[step + 1].parameters), strict=True
            ):
                np.testing.assert_allclose(after, before - 0.5 * slope, rtol=0, atol=1e-12)

    def test_an_objective_is_handed_over_at_its_step_and_momentum_goes_on(self, float64):
        first, then = lab.objective("brier"), lab.objective("gce", q=0.5)
        momentum = lab.optimiser("momentum", 0.1)
        before = alone(first, momentum, key=KEY, stages=[4, 5])
        states = alone(lab.hand_over(first, then, step=5), momentum, key=KEY, stages=[4, 5, 6])
        assert [state.step for state in states] == [4, 5, 6]
        for one, other in zip(before, states, strict=False):
            np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12)
        last, here, following = (arrays(state.parameters) for state in states)
        for one, other in zip(arrays(before[1].parameters), here, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
        slopes, images, labels = gradient(then, states[1].parameters, 5, KEY)
        np.testing.assert_allclose(
            states[2].losses, [jnp.mean(then(LITTLE.apply(states[1].parameters, images), labels))], rtol=1e-12
        )
        for a, b, slope, c in zip(last, here, arrays(slopes), following, strict=True):
            np.testing.assert_allclose(c, b + 0.9 * (b - a) - 0.1 * slope, rtol=0, atol=1e-12)

    def test_the_first_step_alone_is_of_the_first_objective(self):
        first, then = lab.objective("brier"), lab.objective("gce", q=0.5)
        handed = lab.hand_over(first, then, step=1)
        logits, labels = jnp.array([[1.0, 0.0]]), jnp.array([0])
        assert [float(values(handed, step, logits, labels)[0]) for step in (0, 1)] == [
            float(one(logits, labels)[0]) for one in (first, then)
        ]

    def test_schedules_that_differ_in_numbers_train_together(self):
        schedules = [lab.annealed(lab.objective("expected_error"), to=to, steps=50) for to in (0.1, 0.5)]
        *_, end = together(schedules, [lab.optimiser("sgd", 0.5)] * 2, stages=[80])
        for variant, schedule in enumerate(schedules):
            (expected,) = alone(schedule, lab.optimiser("sgd", 0.5), key=jax.random.split(KEY, 1)[0], stages=[80])
            np.testing.assert_allclose(end.losses[0, variant], expected.losses, atol=1e-5)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: lab.annealed(lab.objective("expected_error"), to=0.0, steps=10), "> 0"),
            (lambda: lab.annealed(lab.objective("focal"), to=0.0, steps=10, parameter="gamma"), "gamma 2.0 to 0.0"),
            (lambda: lab.annealed(lab.objective("expected_error"), to=0.1, steps=0), "1 step or more"),
            (lambda: lab.annealed(lab.objective("taylor_ce"), to=5.0, steps=9, parameter="order"), "a whole number"),
            (lambda: lab.annealed(lab.objective("brier"), to=0.1, steps=10), "temperature"),
            (lambda: lab.annealed(lab.objective("gce"), to=2.0, steps=10, parameter="q"), "0 < q <= 1"),
            (lambda: lab.tied(lab.objective("brier"), quantile=0.5), "no temperature"),
            (lambda: lab.tied(lab.objective("expected_error"), quantile=0.0), "0 < q <= 1"),
            (lambda: lab.tied(lab.objective("expected_error"), quantile=1.5), "0 < q <= 1"),
            (lambda: lab.hand_over(lab.objective("brier"), lab.objective("gce"), step=0), "step 1"),
        ],
    )
    def test_wrong_schedules_are_refused(self, make, message):
        with pytest.raises(lab.InputError, match=message):
            make()


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
