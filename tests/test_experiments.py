"""Experiments: what they measure, against NumPy in float64; what their parts promise."""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from scipy.special import expit, log_softmax, softmax

import lab
from experiments import (
    confident_start,
    data_driven,
    fine_tune,
    gradient_free,
    imbalance,
    label_noise,
    mini_batches,
    temperature,
    train_from_scratch,
    usable_gradients,
    what_a_loss_looks_at,
    why_not_accuracy,
)
from lab.sweeps import swept_objectives

STAGES, SIZES = (20,), (10, 100)


@pytest.fixture(scope="module")
def small(mnist):
    """Few digits to learn from, and few others."""
    train, *others = (
        replace(of, images=of.images[:count], labels=of.labels[:count])
        for of, count in ((mnist.train, 300), (mnist.validation, 100), (mnist.test, 100))
    )
    return replace(mnist, train=train, validation=others[0], test=others[1])


def quick(module):
    """The experiment's settings, with fewer stages."""

    class Quick(module.Settings):
        stages = STAGES
        batch_sizes = SIZES

    return Quick(seeds=1)


def stages_of(module, data):
    """The networks of seed 0, in float64, and the key of their mini-batches."""
    of_training, of_batch = jax.random.split(jax.random.key(0))
    arrays = data.train.images, data.train.labels
    states = lab.train(module.NETWORK, module.LOSS, module.SGD, *arrays, key=of_training, stages=STAGES)
    return [jax.tree.map(lambda leaf: np.asarray(leaf, float), state.parameters) for state in states], of_batch


def forward(parameters, images):
    first, second = parameters
    hidden = np.maximum(images @ first["weight"].T + first["bias"], 0)
    return hidden, hidden @ second["weight"].T + second["bias"]


def example_gradients(parameters, images, deltas):
    """Every example's gradient [examples, parameters], from its derivatives with respect to the logits."""
    hidden, _ = forward(parameters, images)
    before = (deltas @ parameters[1]["weight"]) * (hidden > 0)
    parts = [before, np.einsum("bo,bi->boi", before, images), deltas, np.einsum("bo,bi->boi", deltas, hidden)]
    return np.concatenate([part.reshape(len(images), -1) for part in parts], axis=1)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.slow
def test_mini_batches_against_numpy(small):
    found = mini_batches.measure(quick(mini_batches), small, 0, lambda count: None)
    networks, of_batch = stages_of(mini_batches, small)
    images, labels = small.train.images / 255, small.train.labels
    for i, parameters in enumerate(networks):
        _, logits = forward(parameters, images)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses = -np.log(p[np.arange(300), labels])
        gradients = example_gradients(parameters, images, p - np.eye(10)[labels])
        whole = gradients.mean(axis=0)
        noise = gradients.var(axis=0, ddof=1).sum() / (whole @ whole)
        assert found["noise_scale"][1][i] == pytest.approx(noise, rel=1e-3)
        for j, size in enumerate(SIZES):
            count = min(max(300 // size, mini_batches.FEWEST), mini_batches.MOST)
            batches = lab.shuffled(of_batch, 0, count, examples=300, batch_size=size)
            cosines = [cosine(gradients[batch].mean(axis=0), whole) for batch in batches]
            errors = [losses[batch].mean() - losses.mean() for batch in batches]
            assert found["cosine"][1][i, j] == pytest.approx(np.mean(cosines), abs=1e-4)
            assert found["error"][1][i, j] == pytest.approx(
                np.sqrt(np.mean(np.square(errors))) / losses.mean(), rel=1e-3
            )
            # Drawn without replacement, a mini-batch's mean square is |g|^2 + tr(C) (1/B - 1/N), and its mean is g.
            law = 1 / np.sqrt(1 + noise * (1 / size - 1 / 300))
            assert found["cosine_law"][1][i, j] == pytest.approx(law, rel=1e-3)


def margin_deltas(logits, labels, weight):
    """Derivatives of a function of the hard margin with respect to the logits, and the margins."""
    at = np.arange(len(labels))
    rivals = np.where(np.eye(10, dtype=bool)[labels], -np.inf, logits)
    margins = logits[at, labels] - rivals.max(axis=1)
    deltas = np.zeros_like(logits)
    deltas[at, labels], deltas[at, rivals.argmax(axis=1)] = -weight(margins), weight(margins)
    return deltas, margins


@pytest.mark.slow
def test_temperature_against_numpy(small):
    found = temperature.measure(quick(temperature), small, 0, lambda count: None)
    networks, of_batch = stages_of(temperature, small)
    images, labels = small.train.images / 255, small.train.labels
    others = np.concatenate([small.validation.images, small.test.images]) / 255
    their_labels = np.concatenate([small.validation.labels, small.test.labels])
    batches = lab.shuffled(of_batch, 0, temperature.FEWEST, examples=300, batch_size=100)
    for i, parameters in enumerate(networks):
        _, margins = margin_deltas(forward(parameters, others)[1], their_labels, np.ones_like)
        low, high = np.quantile(margins, [0.25, 0.75])
        width = 0.9 * min(margins.std(), (high - low) / 1.34) * len(margins) ** -0.2
        deltas, _ = margin_deltas(
            forward(parameters, others)[1], their_labels, lambda m, width=width: np.exp(-((m / width) ** 2) / 2)
        )
        rise = example_gradients(parameters, others, deltas).mean(axis=0)
        for j in (2, 5, 8):
            at = temperature.TEMPERATURES[j]
            deltas, margins = margin_deltas(
                forward(parameters, images)[1], labels, lambda m, at=at: expit(m / at) * expit(-m / at)
            )
            gradients = example_gradients(parameters, images, deltas)
            cosines = [cosine(gradients[batch].mean(axis=0), rise) for batch in batches]
            assert found["cosine"][1][i, -1, j] == pytest.approx(np.mean(cosines), abs=2e-4)
            pull = expit(margins / at) * expit(-margins / at)
            carry = pull.sum() ** 2 / (pull**2).sum() / 300
            assert found["carry"][1][i, j] == pytest.approx(carry, rel=1e-3)


def test_a_network_learns_from_its_own_rows_alone(small):
    rows = np.arange(100, 250)
    images, labels = np.full_like(small.train.images, 255), np.zeros_like(small.train.labels)
    images[rows], labels[rows] = small.train.images[rows], small.train.labels[rows]
    others_hidden = replace(small, train=replace(small.train, images=images, labels=labels))
    key = jax.random.key(0)
    one, other = (data_driven.trained(data, rows, 20, key) for data in (small, others_hidden))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), one, other)))


def test_each_classifier_has_the_setting_that_validates_best(small, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.setattr(data_driven, "PENALTIES", (1e-4, 0.01, 0.1))  # far enough apart to matter for so few digits
    svm = pytest.importorskip("sklearn.svm").LinearSVC
    rows, key, wanted = np.arange(120), jax.random.key(0), small.validation.labels
    (pixels, features), (others, described), _ = data_driven.prepared(small)
    labels = small.train.labels[rows]
    found = [
        np.mean(classify((others, described)) == wanted) for classify in data_driven.classifiers(small, rows, 20, key)
    ]
    distances = ((others[:, None] - pixels[rows]) ** 2).sum(axis=2)
    nearest = labels[np.argsort(distances, axis=1)]
    networks = data_driven.trained(small, rows, 20, key)
    answers = [
        [svm(C=penalty).fit(features[rows], labels).predict(described) for penalty in data_driven.PENALTIES],
        [np.array([np.bincount(one[:count]).argmax() for one in nearest]) for count in data_driven.NEIGHBOURS],
        [
            forward(jax.tree.map(lambda leaf, i=i: leaf[i], networks), others)[1].argmax(axis=1)
            for i in range(len(data_driven.RATES))
        ],
    ]
    scores = [np.mean(np.array(one) == wanted, axis=1) for one in answers]
    assert all(len(set(row)) > 1 for row in scores)  # the setting matters
    np.testing.assert_allclose(found, [row.max() for row in scores], rtol=0, atol=1e-12)


def test_shifted_digits(small):
    images, moved, turned, noisy = data_driven.shifted(small.test.images)
    stack, columns = images.reshape(-1, 28, 28).astype(float), np.arange(28)

    def centre(one):
        one = one.reshape(-1, 28, 28).astype(float)
        total = one.sum(axis=(1, 2))
        return np.stack([one.sum(axis=2) @ columns / total, one.sum(axis=1) @ columns / total], axis=1)

    by = np.median((centre(moved) - centre(images)).reshape(-1, 4, 2), axis=0)
    assert by.round(2).tolist() == [[2, 0], [-2, 0], [0, 2], [0, -2]]
    assert np.abs(turned.astype(float) - images).mean() > 5  # turned, and with about as much ink
    assert turned.sum() == pytest.approx(stack.sum(), rel=0.05)
    assert (noisy.astype(float) - images)[images == 0].mean() > 10  # cut at black


def test_missing_baselines_are_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(lab.InputError, match=r"\.\[baselines\]"):
        data_driven.baselines()


def test_a_start_is_made_sure_by_one_bias_alone(small):
    keys = jax.random.split(jax.random.key(0), 2)
    images, labels = confident_start.shrunk(small.train).images / 255, small.train.labels
    corner = small.train.images.reshape(-1, 28, 28)[:, 12:14, 20:22]
    np.testing.assert_allclose(images.reshape(-1, 14, 14)[:, 6, 10], corner.mean(axis=(1, 2)) / 255, atol=0.51 / 255)
    start = jax.tree.map(lambda leaf: np.asarray(leaf, float)[1], confident_start.starts(keys, 20.0))
    usual = jax.tree.map(lambda leaf: np.asarray(leaf, float)[1], confident_start.starts(keys, 0.0))
    gap = forward(start, images)[1] - forward(usual, images)[1]
    np.testing.assert_allclose(gap, np.where(np.arange(10) == 0, 20.0, 0.0)[None, :].repeat(300, axis=0), atol=1e-5)
    p = softmax(forward(start, images)[1], axis=1)
    of_true = p[np.arange(300), labels]
    for name, weight in (("cross_entropy", 1 - of_true), ("expected_error", of_true * (1 - of_true))):
        pulled, confidence = confident_start.pull(start, images, labels, lab.objective(name))
        assert float(pulled) == pytest.approx(weight.mean(), rel=1e-4)
        assert float(confidence) == pytest.approx(p.max(axis=1).mean(), rel=1e-5)


def test_what_a_loss_looks_at_against_numpy(small):
    (state,) = lab.train(
        what_a_loss_looks_at.NETWORK,
        lab.objective("cross_entropy"),
        lab.optimiser("sgd", 0.1),
        small.train.images,
        small.train.labels,
        key=jax.random.key(0),
        stages=[30],
    )
    images, labels = small.train.images / 255, small.train.labels
    objectives = [lab.objective("cross_entropy"), lab.objective("expected_error")]
    found = what_a_loss_looks_at.looked_at(state.parameters, images, labels, objectives)
    parameters = jax.tree.map(lambda leaf: np.asarray(leaf, float), state.parameters)
    _, logits = forward(parameters, images)
    _, margins = margin_deltas(logits, labels, np.ones_like)
    p, one_hot = softmax(logits, axis=1), np.eye(10)[labels]
    of_true = p[np.arange(300), labels]
    deltas = [p - one_hot, of_true[:, None] * (p - one_hot)]
    edges = np.concatenate([[-np.inf], what_a_loss_looks_at.EDGES[1:-1], [np.inf]])
    for i, weight in enumerate((1 - of_true, of_true * (1 - of_true))):
        shares, _ = np.histogram(margins, edges, weights=weight / weight.sum())
        np.testing.assert_allclose(found["share"][i], shares, atol=1e-5)
        assert float(found["wrong_share"][i]) == pytest.approx(weight[margins <= 0].sum() / weight.sum(), rel=1e-4)
    assert float(found["wrong_examples"]) == pytest.approx((logits.argmax(axis=1) != labels).mean())
    loss, error = (example_gradients(parameters, images, of).mean(axis=0) for of in deltas)
    assert float(found["cosine"][0, 1]) == pytest.approx(cosine(loss, error), abs=1e-5)


def test_once_all_is_learnt_by_heart_the_answer_is_of_the_last_errors():
    """Of two networks one has its last error after 20 steps; nothing can lie on what is read wrongly after 30."""
    shares = [[[0.9, 0.8], [0.4, 0.2], [0.25, 0.05], [0.0, 0.0]], [[0.9, 0.8], [0.3, 0.1], [0.0, 0.0], [0.0, 0.0]]]
    objectives = ["cross_entropy", "expected_error T=1"]
    results = xarray.Dataset(
        {
            "wrong_share": (("seed", "step", "objective"), np.array(shares)),
            "wrong_examples": (("seed", "step"), np.array([[0.9, 0.1, 0.02, 0.0], [0.9, 0.1, 0.0, 0.0]])),
            "cosine": (("seed", "step", "objective", "other"), np.broadcast_to([[1.0, 0.5], [0.5, 1.0]], (2, 4, 2, 2))),
        },
        {"step": [0, 10, 20, 30], "objective": objectives, "other": objectives},
    )
    said = what_a_loss_looks_at.answer(results)
    *_, cosines = what_a_loss_looks_at.pictures(results)
    assert cosines.headline.endswith("0.50 at step 0, 0.50 at 30.")  # the others', and not its own with itself
    assert said.startswith("After 20 steps 1.0 [0.0, 13.7] % of these images are read wrongly; 12 [0, 100] %")
    assert "cosine 0.50 [0.50, 0.50] (n = 2)" in said


def test_cross_entropies_that_know_the_classes(small):
    counts, logits = np.array([50, 30, 20]), np.random.default_rng(0).normal(size=(40, 3))
    labels = np.arange(40) % 3
    plain = -log_softmax(logits, axis=1)[np.arange(40), labels]
    found = imbalance.weighted_by_class("reweighted_ce", counts)(logits.astype(np.float32), labels)
    np.testing.assert_allclose(found, plain * 100 / (3 * counts[labels]), rtol=1e-5)
    adjusted = -log_softmax(logits + np.log(counts / 100), axis=1)[np.arange(40), labels]
    found = imbalance.weighted_by_class("logit_adjusted_ce", counts)(logits.astype(np.float32), labels)
    np.testing.assert_allclose(found, adjusted, rtol=1e-5)


def test_titles_of_the_long_sweep_tell_objectives_apart():
    """Pictures have room for some 40 letters: what is longer is cut, and cases of one family look alike."""
    of = train_from_scratch
    names = of.SURROGATES + of.MORE_SURROGATES + of.LOSSES + of.MORE_LOSSES
    swept = swept_objectives(lab.SweepSettings(objective=names, temperatures=of.TEMPERATURES))
    titles = [one.title for one in swept]
    assert len(set(titles)) == len(titles) == 39
    assert max(map(len, titles)) < 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (label_noise.Settings, {"data": lab.DataSettings(label_noise=0.2)}, "makes labels wrong itself"),
        (label_noise.Settings, {"data": lab.DataSettings(subset=200)}, "takes --images of the training images"),
        (label_noise.Settings, {"steps": 9}, "--steps must be at least 10"),
        (label_noise.Settings, {"images": 0}, "--images must be at least 1; got 0"),
        (what_a_loss_looks_at.Settings, {"examples": 0}, "--examples must be at least 1; got 0"),
    ],
)
def test_what_an_experiment_cannot_do_is_refused_at_once(kind, options, message):
    with pytest.raises(lab.InputError, match=message):
        kind(**options)


@pytest.mark.parametrize(
    ("experiment", "least"),
    [
        (usable_gradients, 1000),
        (fine_tune, 1000),
        (what_a_loss_looks_at, 2000),
        (gradient_free, 200),
        (mini_batches, 101),
        (data_driven, 100),
        (temperature, 100),
    ],
)
def test_too_few_images_are_said_before_anything_is_measured(experiment, least, tmp_path):
    if experiment is data_driven:
        pytest.importorskip("skimage")
    few = experiment.Settings(data=lab.DataSettings(sample=True, subset=least - 1), out=tmp_path / "runs")
    with pytest.raises(lab.InputError, match=f"takes {least:,} training images at least; got {least - 1:,}"):
        experiment.main(few)
    assert not few.out.exists()


def test_a_size_of_mini_batches_that_there_are_no_images_for_is_left_out_of_the_answer():
    best = np.log10([[[0.1, 1.0, np.nan]], [[0.3, 2.0, np.nan]]])
    axes = ("seed", "stage", "batch_size")
    results = xarray.Dataset({"best": (axes, best)}, {"batch_size": [10, 100, 1000]})
    assert temperature.smallest_and_largest(results) == (10, 100)


def test_headlines_claim_no_lead_that_the_networks_cannot_tell():
    """Two networks that disagree on who is ahead, and on which temperature is best."""
    names, metrics, steps = ["cross_entropy", "focal"], list(imbalance.METRICS), [0, 30]
    end = np.array([[0.80, 0.70], [0.75, 0.85]])  # [objective, seed]
    scores = np.broadcast_to(end[:, None, :, None], (2, 3, 2, 2))
    results = xarray.Dataset(
        {
            "score": (("objective", "metric", "seed", "step"), scores),
            "end_score": (("objective", "metric", "seed"), scores[..., -1]),
        },
        {"objective": names, "metric": metrics, "step": steps},
    )
    _, progress = imbalance.pictures(results)
    assert "cannot tell focal from cross_entropy (+5.0 points of balanced accuracy" in progress.headline
    same = xarray.Dataset(
        {"same_cost": (("seed", "estimator"), [[0.1, 0.2, 0.0], [0.2, 0.1, 0.05]])}, {"estimator": ["a", "b", "c"]}
    )
    assert "cannot tell a from b" in gradient_free.nearest_estimator(same)
    axes = ("seed", "stage", "batch_size")
    results = xarray.Dataset(
        {
            "best": (axes, np.log10([[[0.1, 1.0, 1.0]] * 2, [[1.0, 1.0, 2.0]] * 2])),
            "carry": (("seed", "stage", "temperature"), np.full((2, 2, 1), 0.5)),
            "agreement": (("seed", "stage"), np.full((2, 2), 0.5)),
        },
        {"stage": ["0 steps", "9 steps"], "batch_size": [10, 100, 1000], "temperature": [1.0]},
    )
    curve, best, _ = temperature.pictures(results)
    assert "of 10 point best at T = 0.32 [0.01, 20.00]" in curve.headline
    assert "temperature is 1.00 [1.00, 1.00] after 0 steps" in best.headline


def test_an_objective_named_twice_is_looked_at_once():
    settings = what_a_loss_looks_at.Settings(objective=("gce:q=0.7", "gce:q=0.5", "cross_entropy"))
    titles = [one.title for one in settings.objectives]
    assert len(set(titles)) == len(titles) == len(what_a_loss_looks_at.Settings().objectives) + 1


def test_rates_at_the_edge_are_named():
    rates = [[0.01, 0.1], [10.0, 0.3]]
    found = xarray.Dataset(
        {"rate": (("objective", "noise"), rates)}, coords={"objective": ["a", "b"], "noise": [0.0, 0.4]}
    )
    assert label_noise.at_the_edge(found) == " At the edge of the learning rates tried: a at 0 %, b at 0 %."
    assert label_noise.at_the_edge(found.isel(noise=[1])) == ""


def test_the_published_recipe_runs_and_stands_beside_its_table(small, monkeypatch):
    monkeypatch.setattr(label_noise, "OBJECTIVES", ("gce",))
    settings = label_noise.Settings(full=True, seeds=1)
    assert settings.data == lab.DataSettings()  # all images there are
    tiny = replace(small, train=replace(small.train, images=small.train.images[:60], labels=small.train.labels[:60]))
    found = label_noise.measure(settings, tiny, 0.4, lambda count: None)
    assert np.shape(found["accuracy"][1]) == (1, 1, 6)
    np.testing.assert_allclose(found["published"][1], [0.985])
    assert len(label_noise.whole(tiny).train) == 160
    images = jnp.asarray(small.train.images[:3]) / 255
    parameters = label_noise.LENET.init(jax.random.key(0))
    plain = lab.lenet5().apply(parameters, (images - 0.1307) / 0.3081)
    np.testing.assert_allclose(label_noise.LENET.apply(parameters, images), plain, rtol=1e-5)


def test_one_weight_moved_against_its_neighbours(small):
    network = why_not_accuracy.NETWORK
    parameters = network.init(jax.random.key(0))
    images, labels = small.test.images / np.float32(255), small.test.labels
    slopes, quotients, line, along = map(np.asarray, why_not_accuracy.moved(parameters, images, labels))
    names, steps = list(why_not_accuracy.CURVES), list(why_not_accuracy.STEPS)
    error, loss = names.index("zero_one"), names.index("cross_entropy")
    assert slopes[error] == 0 and not along[error].any()
    assert len(np.unique(line[error])) < 20
    assert quotients[loss, steps.index(1e-2)] == pytest.approx(slopes[loss], rel=1e-2)
    middle = len(why_not_accuracy.OFFSETS) // 2
    assert along[loss, middle] == pytest.approx(slopes[loss], rel=1e-3)
    spacing = np.diff(why_not_accuracy.OFFSETS)[0]
    np.testing.assert_allclose((line[loss, 2:] - line[loss, :-2]) / (2 * spacing), along[loss, 1:-1], atol=2e-4)


@pytest.mark.slow
def test_all_switch_from_the_same_weights(small, monkeypatch):
    monkeypatch.setattr(fine_tune, "OBJECTIVES", ("cross_entropy", "sigmoid_margin"))
    settings = fine_tune.Settings(seeds=2, before=20, after=10, few=200)
    found = fine_tune.measure(settings, small, "interpolating", lambda count: None)
    accuracy = found["accuracy"][1]
    assert accuracy.shape == (2, 2, 5)
    assert (accuracy[:, :, 0] == accuracy[0, :, 0]).all()
    assert (accuracy[:, :, -1] != accuracy[0, :, -1]).any()
    np.testing.assert_allclose(found["end_gain"][1], accuracy[..., -1] - accuracy[..., 0])
