"""Objectives: values and gradients against hand-derived float64 NumPy, and the laws they obey."""

import copy
import math
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import BATCH_ORACLES, ORACLES, batch

import lab
from lab import properties
from lab.catalogue import definitions
from lab.margins import MOST_ANSWERS
from lab.objectives import FLAGS, SYMBOLS, Objective
from lab.surrogates import KERNELS, RIVALS
from lab.tempered import log_probabilities
from lab.userfile import failure

OWN = [one for one in definitions() if one.family != "own"]
NAMES = [one.name for one in OWN if one.batch_form is None]
MARGIN_NAMES = [one.name for one in OWN if one.margin_form]
SMOOTHED = ("expected_error", "centred_expected_error", "sigmoid_margin", "ramp", "epanechnikov_margin")
SETTINGS = [(name, {}) for name in NAMES] + [
    ("cross_entropy", {"temperature": 0.3}),
    ("guarded_cross_entropy", {"guard": 1e-3}),
    *(
        ("smoothed_error", {"kernel": kernel, "rivals": rivals, "width": 0.7, "rival_temperature": 1.6})
        for kernel in KERNELS
        for rivals in RIVALS
    ),
    ("expected_error", {"temperature": 0.2}),
    ("centred_expected_error", {"temperature": 0.2}),
    ("sigmoid_margin", {"temperature": 0.2}),
    ("gaussian_margin", {"sigma": 2.0}),
    ("ramp", {"temperature": 2.0}),
    ("ramp_collobert", {"s": 0.4}),
    ("epanechnikov_margin", {"temperature": 3.0}),
    ("gaussian_logit_noise", {"sigma": 0.5}),
    ("straight_through", {"backward": "gaussian_margin", "sigma": 0.5}),
    ("gce", {"q": 0.2}),
    ("gce", {"q": 1.0}),
    ("truncated_gce", {"q": 0.3, "k": 0.1}),
    ("taylor_ce", {"order": 1.0}),
    ("taylor_ce", {"order": 7.0}),
    ("reverse_ce", {"floor": 0.01}),
    ("symmetric_ce", {"alpha": 2.0, "beta": 0.3, "floor": 0.01}),
    ("nce_plus_rce", {"alpha": 2.0, "beta": 0.3, "floor": 0.01}),
    ("focal", {"gamma": 0.0}),
    ("focal", {"gamma": 0.5}),
    ("poly1", {"epsilon": -1.0}),
    ("phuber_ce", {"tau": 2.0}),
    ("label_smoothing_ce", {"alpha": 0.5}),
    ("bi_tempered", {"t1": 0.2, "t2": 4.0}),
    ("bi_tempered", {"t1": 1.0, "t2": 1.0}),
    ("bi_tempered", {"t1": 0.0, "t2": 1.0}),
    ("squared_logits", {"k": 5.0, "target": 10.0}),
    ("crammer_singer", {"delta": 3.0}),
    ("weston_watkins", {"delta": 3.0}),
    ("squared_hinge", {"delta": 3.0}),
    ("smooth_svm", {"tau": 0.3, "alpha": 0.5}),
    ("smooth_topk_svm", {"k": 1}),
    ("smooth_topk_svm", {"k": 5, "tau": 0.5, "alpha": 2.0}),
]
# By the number of classes: the fewer the shapes, the less is compiled.
MILD = {
    2: ([[0.4, -1.0], [2.0, 2.5]], [1, 0]),
    3: (
        [[0.3, -0.2, 0.1], [0.5, 0.9, -0.4], [12.0, -3.0, 1.0], [-9.0, 4.0, 1.0]]
        + [[1.0, 1.001, -2.1], [1.001, 1.0, -2.1], [20.0, 0.0, -1.0], [-20.0, 0.0, -1.0]],
        [0, 2, 0, 0, 0, 0, 0, 0],
    ),
    10: (np.linspace(-2, 2.3, 30).reshape(3, 10)[:, ::-1].copy(), [0, 4, 9]),
}
EXTREME = {
    2: ([[1e3, -1e3], [-1e3, 1e3]], [0, 0]),
    3: (
        [[1e3, -1e3, 0.0], [-1e3, 1e3, 0.0], [-150.0, 3.0, 0.0], [150.0, 3.0, 0.0]]
        + [[1e3, 999.25, 997.5], [997.5, 999.25, 1e3], [40.0, 3.0, 0.0], [-40.0, 3.0, 0.0]],
        [0] * 8,
    ),
    10: ([[1e3, *range(9)], [-1e3, *range(9)], [0.5, *range(991, 1000)]], [0, 0, 0]),
}


def chosen(name, parameters):
    return lab.objective(name, **parameters)


def identify(value):
    return value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()) or "default"


@jax.jit
def _value_and_slope(objective, logits, labels):
    values, pullback = jax.vjp(lambda z: objective(z, labels), logits)
    return values, pullback(jnp.ones_like(values))[0]


def value_and_slope(objective, logits, labels):
    return tuple(np.asarray(x) for x in _value_and_slope(objective, jnp.asarray(logits), jnp.asarray(labels)))


@jax.jit
def _everything(objectives, logits, labels):
    return [_value_and_slope(one, logits, labels) for one in objectives]


def everything(objectives, logits, labels):
    """Values and slopes of each, from one compiled program."""
    with jax.numpy_rank_promotion("raise"):
        found = _everything(objectives, jnp.asarray(logits), jnp.asarray(labels))
    return [tuple(np.asarray(x) for x in pair) for pair in found]


def all_objectives():
    """Those of SETTINGS, then those of whole batches."""
    return [chosen(name, parameters) for name, parameters in [*SETTINGS, *((name, {}) for name in BATCH_ORACLES)]]


@cache
def of_all_settings(bits, extreme=False):
    """Logits, labels, and values and slopes by setting, for each number of classes."""
    found = []
    with jax.enable_x64(bits == 64):
        for logits, labels in (EXTREME if extreme else MILD).values():
            logits, labels = np.array(logits, dtype=f"float{bits}"), np.array(labels)
            found.append((logits, labels, everything(all_objectives(), logits, labels)))
    return found


@jax.jit
def _values(objectives, logits, labels):
    return [one(logits, labels) for one in objectives]


def values(texts, logits, labels):
    """The values of several objectives, by one compiled program."""
    found = _values([lab.objective(text) for text in texts], jnp.asarray(logits), jnp.asarray(labels))
    return dict(zip(texts, (np.asarray(one) for one in found), strict=True))


def random_case(seed, size=64, classes=10, scale=3.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, scale, (size, classes)), rng.integers(0, classes, size)


def test_every_objective_has_an_oracle():
    assert set(NAMES) == set(ORACLES)
    assert {one.name for one in OWN if one.batch_form} == set(BATCH_ORACLES)


EVERY_SETTING = pytest.mark.parametrize(
    "setting", range(len(SETTINGS)), ids=[f"{name}-{identify(parameters)}" for name, parameters in SETTINGS]
)


@EVERY_SETTING
def test_value_and_gradient_in_float64(setting):
    name, parameters = SETTINGS[setting]
    absolute = 1e-7 if name == "gaussian_logit_noise" else 1e-12  # by quadrature
    for logits, labels, found in of_all_settings(64):
        expected_value, expected_slope = batch(name, logits, labels, **parameters)
        value, slope = found[setting]
        np.testing.assert_allclose(value, expected_value, rtol=1e-9, atol=absolute)
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-9, atol=absolute)


def test_whole_logits_are_real_numbers():
    logits, labels = np.array([[1, 0, 3], [2, 2, -1]]), np.array([0, 2])
    found = _values(all_objectives(), logits, labels)
    for one, whole, real in zip(all_objectives(), found, _values(all_objectives(), 1.0 * logits, labels), strict=True):
        np.testing.assert_array_equal(whole, real, err_msg=str(one))


def test_sets_of_classes_are_counted_in_the_precision_of_the_parameters():
    logits = jnp.array([[1.0, 0.0, 3.0]])
    of = lab.objective("smooth_topk_svm")
    assert of(logits.astype(jnp.bfloat16), np.array([0])) == of(logits, np.array([0]))


@pytest.mark.slow
@EVERY_SETTING
def test_value_and_gradient_in_float32(setting):
    name, parameters = SETTINGS[setting]
    for logits, labels, found in of_all_settings(32):
        expected_value, expected_slope = batch(name, logits.astype(float), labels, **parameters)
        value, slope = found[setting]
        np.testing.assert_allclose(value, expected_value, rtol=5e-5, atol=5e-6)
        np.testing.assert_allclose(slope, expected_slope, rtol=5e-5, atol=5e-6)


@pytest.mark.parametrize("name", ["zero_one", "straight_through", "soft_balanced_error", "soft_macro_f1"])
def test_nan_is_no_right_answer(name):
    """Of a network that has diverged: the objective is not that of one that answers."""
    logits, labels = jnp.array([[jnp.nan, 0.0], [3.0, 0.0], [jnp.nan, jnp.nan]]), jnp.array([0, 0, 1])
    values = lab.objective(name)(logits, labels)
    wrong = [True] * 3 if lab.objective(name).whole_batch else [True, False, True]
    np.testing.assert_array_equal(np.isnan(values), wrong)
    assert lab.objective("zero_one")(logits, labels)[1] == 0 and lab.objective("zero_one")(-logits, labels)[1] == 1


def test_the_gradient_of_the_error_is_zero_where_it_is_nan():
    slope = jax.grad(lambda z: jnp.sum(lab.objective("zero_one")(z, jnp.array([0, 0]))))
    assert not np.any(slope(jnp.array([[jnp.nan, 0.0], [3.0, 0.0]])))


@pytest.mark.slow
@EVERY_SETTING
def test_huge_logits_stay_finite_and_right(setting):
    name, parameters = SETTINGS[setting]
    for logits, labels, found in of_all_settings(32, extreme=True):
        expected_value, expected_slope = batch(name, logits.astype(float), labels, **parameters)
        value, slope = found[setting]
        if name == "sum_exp":  # its values leave float32: infinite, and never NaN
            assert not np.isnan(slope).any()
            rows = (np.abs(expected_slope) < 3e38).all(axis=1)
            assert np.isinf(value[~rows]).all() and rows.any()
            value, expected_value, slope, expected_slope = (
                x[rows] for x in (value, expected_value, slope, expected_slope)
            )
        assert np.isfinite(value).all() and np.isfinite(slope).all()
        quadrature = 1e-7 if name == "gaussian_logit_noise" else 0.0
        np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=max(quadrature, 1e-30))
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=max(quadrature, 1e-30))


@pytest.mark.parametrize(
    "name", ["cross_entropy", "expected_error", "squared_error", "gce", "focal", "label_smoothing_ce", "poly1"]
)
@pytest.mark.parametrize("lead", [20.0, 25.0, -20.0, -25.0])
def test_small_gradients_are_mathematics_not_rounding(name, lead):
    """Softmax's usual derivative is exactly 0 in float32 from a lead of 17 on; the truth is not."""
    parameters = {"label_smoothing_ce": {"alpha": 0.0}, "poly1": {"epsilon": -1.0}}.get(name, {})
    logits, labels = np.array([[lead, 0.0, -1.0]], dtype=np.float32), np.array([0])
    _, expected = batch(name, logits.astype(np.longdouble), labels, **parameters)
    _, slope = value_and_slope(chosen(name, parameters), logits, labels)
    assert (slope != 0).all()
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


def test_the_weight_of_poly1_keeps_its_digits():
    """At epsilon = -1 it is (1 - p)^2."""
    margins = np.array([-5.0, 0.0, 17.0, 25.0, 40.0])
    weight = lab.objective("poly1", epsilon=-1.0).weight(jnp.asarray(margins, jnp.float32))
    np.testing.assert_allclose(weight, 1 / (1 + np.exp(margins)) ** 2, rtol=1e-5)


def test_sparsemax_keeps_its_digits_where_rivals_lead_far():
    logits = np.array([[-1000, 999, 999.2, 999.4, 999.6, 999.8, 1000]], dtype=np.float32)
    value, slope = value_and_slope(lab.objective("sparsemax"), logits, np.array([0]))
    expected_value, expected_slope = batch("sparsemax", logits.astype(float), np.array([0]))
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-5)


# -- whole batches -----------------------------------------------------------------------------------------------


@jax.jit
def mean_and_gradient(objective, logits, labels):
    return jax.value_and_grad(lambda z: jnp.mean(objective(z, labels)))(logits)


@pytest.mark.parametrize("name", BATCH_ORACLES)
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("bits", [32, 64])
def test_objectives_of_a_batch(name, temperature, bits):
    """The mean over the batch, and the gradient of that mean, are the batch's; class 2 is absent."""
    logits, labels = random_case(21, size=30, classes=5)
    labels = np.where(labels == 2, 3, labels)
    value, slope = BATCH_ORACLES[name](logits.astype(f"float{bits}").astype(float), labels, temperature=temperature)
    with jax.enable_x64(bits == 64):
        objective = lab.objective(name, temperature=temperature)
        found, gradient = mean_and_gradient(objective, jnp.asarray(logits, f"f{bits // 8}"), jnp.asarray(labels))
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if bits == 64 else {"rtol": 5e-5, "atol": 5e-6}
    np.testing.assert_allclose(found, value, **tolerance)
    np.testing.assert_allclose(gradient, slope, **tolerance)


def test_cold_objectives_of_a_batch_are_the_metrics():
    logits, labels = random_case(22, size=40, classes=4)
    metrics = {"soft_balanced_error": lab.balanced_accuracy, "soft_macro_f1": lab.macro_f1}
    cold = values([f"{name}:temperature=1e-3" for name in metrics], logits, labels)
    for value, metric in zip(cold.values(), metrics.values(), strict=True):
        np.testing.assert_allclose(value, 1 - metric(jnp.asarray(logits), jnp.asarray(labels)), atol=1e-5)


def test_a_batch_objective_is_evaluated_over_all_the_data():
    """Not the mean over chunks: that is another number, by more than ten times its rounding."""
    rng = np.random.default_rng(23)
    images, labels = rng.integers(0, 256, (230, 3), dtype=np.uint8), rng.integers(0, 3, 230).astype(np.int32)
    macro = lab.objective("soft_macro_f1")

    def apply(parameters, images):
        return 4 * images

    @jax.jit
    def mean(images, labels):
        return jnp.mean(macro(apply(None, images / 255), labels))

    whole = float(mean(images, labels))
    for batch_size in (50, 64, 230):
        found = lab.evaluate(apply, macro, None, images, labels, batch_size=batch_size)
        assert found["loss"] == pytest.approx(whole, abs=1e-6)
    chunks = [float(mean(images[i : i + 50], labels[i : i + 50])) for i in range(0, 200, 50)]
    assert abs(np.mean(chunks) - whole) > 1e-5


# -- laws, at random logits, labels and parameters, all objectives in one compiled program ------------------------


@jax.jit
def weights(objectives, logits, labels):
    """w at the margin of each, None if it is no function of one."""
    forms = [one.definition.margin_form for one in objectives]
    return [
        one.weight(form.margin(logits, labels, **one.parameters)) if form and form.of != "top-k" else None
        for one, form in zip(objectives, forms, strict=True)
    ]


def drawn_parameters(definition, draw):
    """Parameters within their ranges, and not where float64 itself ends."""
    found = {}
    for name, one in definition.parameters.items():
        low, high = max(one.low, -2.0), min(one.high, 5.0)
        value = draw.uniform(low + 0.05 * one.open_low, high - 0.05 * one.open_high)
        found[name] = float(np.floor(value)) if one.whole else max(value, 0.1) if one.low == 0 else value
    if "floor" in found:
        found["floor"] = draw.uniform(1e-5, 0.1)
    return found


SHAPES = [(classes, len(labels)) for classes, (_, labels) in MILD.items()]  # compiled already
LAWS = {
    "seed": st.integers(0, 2**32 - 1),
    "scale": st.sampled_from([0.1, 3.0, 30.0]),
    "shift": st.floats(-50, 50),
}


@settings(deadline=None, max_examples=40)
@given(shape=st.sampled_from(SHAPES), **LAWS)
def test_laws(seed, shape, scale, shift):
    check_laws(seed, *shape, scale, shift)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(**LAWS)
def test_laws_of_a_hundred_classes(seed, scale, shift):
    check_laws(seed, 100, 3, scale, shift)


def check_laws(seed, classes, size, scale, shift):
    logits, labels = random_case(seed, size, classes, scale)
    draw = np.random.default_rng([seed, 1])
    with jax.enable_x64(True):
        objectives = [one.definition.make(**drawn_parameters(one.definition, draw)) for one in all_objectives()]
        found, moved = (everything(objectives, logits + by, labels) for by in (0.0, shift))
        weight = weights(objectives, logits, labels)
    for objective, (value, slope), (moved_value, moved_slope), w in zip(objectives, found, moved, weight, strict=True):
        at = logits, labels
        assert np.isfinite(slope).all() or objective.name == "sum_exp", (str(objective), at)
        if not objective.definition.has("invariant") or not np.isfinite(value).all():
            continue
        size = 1 + np.abs(slope).max()
        assert np.allclose(slope.sum(axis=1), 0, atol=1e-9 * size), (str(objective), at)
        assert np.allclose(moved_value, value, rtol=1e-7, atol=1e-9), (str(objective), at)
        assert np.allclose(moved_slope, slope, rtol=1e-6, atol=1e-9 * size), (str(objective), at)
        if w is not None:
            expected = -np.asarray(w)[:, None] * margin_direction(objective, logits, labels)
            assert np.allclose(slope, expected, rtol=1e-7, atol=1e-10 * size), (str(objective), at)


def margin_direction(objective, logits, labels):
    """dm/dz in NumPy: e_y - q with q on the strongest rival or softmax over the rivals; of the top-k margin by sets."""
    form, rows = objective.definition.margin_form, np.arange(len(labels))
    own = np.eye(logits.shape[1])[labels]
    rivals = np.where(own == 1, -np.inf, logits)
    if form.of == "hard":
        return own - np.eye(logits.shape[1])[rivals.argmax(axis=1)]
    temperature = next(
        (
            float(objective.parameters[one])
            for one in ("rival_temperature", "temperature", "tau")
            if one in objective.parameters and objective.name not in ("phuber_ce",)
        ),
        1.0,
    )
    exponentials = np.exp((rivals - rivals.max(axis=1, keepdims=True)) / temperature)
    assert rows.size
    return own - exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def in_both_label_forms():
    """The values of every objective, of class numbers and of one-hot rows."""
    logits, labels = random_case(1, size=4)
    return values(NAMES, logits, labels), values(NAMES, logits, np.eye(10)[labels])


@pytest.mark.parametrize("name", NAMES)
def test_both_label_forms_agree(name, in_both_label_forms):
    of_numbers, of_rows = in_both_label_forms
    np.testing.assert_array_equal(of_numbers[name], of_rows[name])


@jax.jit
def _phi_and_weights(objectives, margins):
    return {
        one.name: (one.definition.margin_form.phi(margins, **one.parameters), one.weight(margins)) for one in objectives
    }


def phi_and_weights(objectives, margins):
    """phi(m) and w(m) of each, by name, in float64."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _phi_and_weights(objectives, jnp.asarray(margins)))


@pytest.fixture(scope="module")
def around_margins():
    """phi and w of every objective that has them, at some margins, and a step h to either side."""
    margins, h = np.concatenate([np.linspace(-8, 8, 37) + 0.013, [-25.0, 25.0]]), 1e-6
    with jax.enable_x64(True):
        objectives = [lab.objective(name) for name in MARGIN_NAMES]
    return *(phi_and_weights(objectives, margins + step) for step in (-h, 0.0, h)), h


@pytest.mark.parametrize("name", MARGIN_NAMES)
def test_weight_function_is_minus_the_slope_of_phi(name, around_margins):
    """DESIGN 2.1: w is checked against central differences of phi."""
    behind, here, ahead, h = around_margins
    slope = (ahead[name][0] - behind[name][0]) / (2 * h)
    scale = np.abs(slope).max()  # exp(25) for sum_exp
    np.testing.assert_allclose(here[name][1], -slope, rtol=1e-6, atol=1e-9 * max(1.0, scale))


M = np.linspace(-6, 6, 41) + 0.01


@pytest.fixture(scope="module")
def of_m():
    """Every objective that is a function of a margin, and its weights at the margins M, by name."""
    with jax.enable_x64(True):
        objectives = [lab.objective(name, **{"k": 0.3} if name == "truncated_gce" else {}) for name in MARGIN_NAMES]
    found = phi_and_weights(objectives, M)
    return {one.name: (one, found[one.name][1]) for one in objectives}


@pytest.mark.parametrize("name", MARGIN_NAMES)
def test_weight_in_words_is_the_weight(name, of_m, float64):
    """What the documentation prints as w is evaluated as it stands."""
    objective, weight = of_m[name]
    given = {SYMBOLS.get(key, key): float(x) for key, x in objective.parameters.items()}
    width = given.get("width", given.get("T", given.get("sigma", 1.0)))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    numpy = {one: getattr(np, one) for one in ("exp", "log", "sqrt", "pi", "abs", "minimum", "maximum")}
    said = eval(
        objective.definition.margin_form.text,
        {},
        numpy | {"sigmoid": sigmoid} | given | {"m": M, "u": M / width, "p": sigmoid(M / given.get("T", 1.0))},
    )
    np.testing.assert_allclose(np.broadcast_to(said, M.shape), weight, rtol=1e-9)


COLD = (*SMOOTHED, "gaussian_margin", "gaussian_logit_noise", "smoothed_error")


@pytest.fixture(scope="module")
def cold():
    """The error, and all of COLD at 1e-3, in the order of their names."""
    logits, labels = random_case(5)
    widths = [",".join(f"{one}=1e-3" for one in lab.objective(name).parameters) for name in COLD]
    found = values(["zero_one", *(f"{name}:{text}" for name, text in zip(COLD, widths, strict=True))], logits, labels)
    return dict(zip(("zero_one", *COLD), found.values(), strict=True))


@pytest.mark.parametrize("name", COLD)
def test_cold_surrogates_become_the_error_rate(name, cold):
    """T -> 0 gives zero_one, wherever the margin is not 0."""
    np.testing.assert_allclose(cold[name], cold["zero_one"], atol=1e-3)


IDENTITIES = {
    "mae = 2 expected error": ("mae", 2, "expected_error"),
    "gce at 1 = expected error": ("gce:q=1", 1, "expected_error"),
    "taylor at 1 = expected error": ("taylor_ce:order=1", 1, "expected_error"),
    "taylor at 1000 = cross entropy": ("taylor_ce:order=1000", 1, "cross_entropy"),
    "focal at 0 = cross entropy": ("focal:gamma=0", 1, "cross_entropy"),
    "symmetric CE = a Poly-1": (
        "symmetric_ce:alpha=0.5,beta=2,floor=0.01",
        0.5,
        f"poly1:epsilon={-4 * math.log(0.01)!r}",
    ),
    "poly1 at 0 = cross entropy": ("poly1:epsilon=0", 1, "cross_entropy"),
    "reverse CE = -log(floor) expected error": ("reverse_ce:floor=0.01", -np.log(0.01), "expected_error"),
    "smooth SVM without a margin = tau CE": ("smooth_svm:tau=0.3,alpha=0", 0.3, "cross_entropy:temperature=0.3"),
    "top-1 smooth SVM = smooth SVM": ("smooth_topk_svm:k=1,tau=0.7", 1, "smooth_svm:tau=0.7"),
    "no smoothing of labels = cross entropy": ("label_smoothing_ce:alpha=0", 1, "cross_entropy"),
    "untempered = cross entropy": ("bi_tempered:t1=1,t2=1", 1, "cross_entropy"),
    "brier = 2 squared errors": ("brier", 2, "squared_error"),
    "ramp of Collobert = 2 centred ramps": ("ramp_collobert", 2, "ramp"),
    "barely truncated GCE = GCE": ("truncated_gce:k=1e-9", 1, "gce"),
    "one case of smoothed error": (
        "smoothed_error:width=0.5,rival_temperature=0.5",
        1,
        "expected_error:temperature=0.5",
    ),
    "another case": ("smoothed_error:kernel=gaussian,rivals=max,width=2", 1, "gaussian_margin:sigma=2"),
    "a third case": ("smoothed_error:rivals=mean", 1, "centred_expected_error"),
}


@pytest.fixture(scope="module")
def sides():
    """The values of both sides of every identity."""
    texts = {text: None for left, _, right in IDENTITIES.values() for text in (left, right)}
    with jax.enable_x64(True):
        return values(texts, *random_case(7, scale=0.7))


@pytest.mark.parametrize("identity", IDENTITIES)
def test_identities(identity, sides):
    left, factor, right = IDENTITIES[identity]
    truncated = "truncated" in left or "taylor at 1000" in identity
    np.testing.assert_allclose(sides[left], factor * sides[right], rtol=1e-3 if truncated else 1e-10, atol=1e-12)


LIMITS = {"gce:q=1e-6": 1e-4, "phuber_ce:tau=1e30": 1e-12, "bi_tempered:t1=0.999999,t2=1.000001": 1e-3}


def test_limits(float64):
    found = values(["cross_entropy", *LIMITS], *random_case(7))
    for text, tolerance in LIMITS.items():
        np.testing.assert_allclose(found[text], found["cross_entropy"], rtol=tolerance, err_msg=text)
    texts = ["gaussian_logit_noise:sigma=0.5", f"gaussian_margin:sigma={0.5 * 2**0.5!r}"]
    noise, margin = values(texts, *random_case(8, classes=2)).values()
    np.testing.assert_allclose(noise, margin, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_logit_noise_has_its_slope_far_from_the_boundary(sigma, float64):
    """Of two classes: the noise of a difference is normal with deviation sqrt(2) sigma, -dl/dz_y its density."""
    margins = sigma * np.linspace(-15, 15, 31)
    logits, labels = np.stack([margins, np.zeros(31)], axis=1), np.zeros(31, dtype=int)
    _, slopes = value_and_slope(lab.objective("gaussian_logit_noise", sigma=sigma), logits, labels)
    np.testing.assert_allclose(-slopes[:, 0], scipy.stats.norm.pdf(margins, scale=2**0.5 * sigma), rtol=1e-3)


def test_expected_error_is_a_sigmoid_of_the_soft_margin(float64):
    logits, labels = random_case(7)
    soft = np.asarray(lab.soft_margin(jnp.asarray(logits), jnp.asarray(labels), 0.3))
    cool = lab.objective("expected_error", temperature=0.3)(logits, labels)
    np.testing.assert_allclose(cool, 1 / (1 + np.exp(soft / 0.3)), rtol=1e-12)


def test_cross_entropy_pays_for_every_threshold(float64):
    """DESIGN 2.2: cross entropy is the integral over t >= 0 of the expected error at margin + t."""
    m = np.array([-3.0, -0.5, 0.0, 2.0])
    t = np.linspace(0, 60, 600_001)
    integral = [np.trapezoid(1 / (1 + np.exp(one + t)), t) for one in m]
    np.testing.assert_allclose(
        lab.objective("cross_entropy").definition.margin_form.phi(m, temperature=1.0), integral, rtol=1e-8
    )


def test_agrees_with_optax():
    logits, labels = (jnp.asarray(x, dtype) for x, dtype in zip(random_case(9), (jnp.float32, jnp.int32), strict=True))
    losses = optax.losses

    @jax.jit
    def of_optax(logits, labels):
        one_hot = jax.nn.one_hot(labels, 10)
        return {
            "cross_entropy": losses.softmax_cross_entropy_with_integer_labels(logits, labels),
            "crammer_singer": losses.multiclass_hinge_loss(logits, labels),
            "perceptron": losses.multiclass_perceptron_loss(logits, labels),
            "sparsemax": losses.multiclass_sparsemax_loss(logits, labels),
            "poly1": losses.poly_loss_cross_entropy(logits, one_hot),
            "label_smoothing_ce": losses.softmax_cross_entropy(logits, optax.smooth_labels(one_hot, 0.1)),
        }

    peers = of_optax(logits, labels)
    for name, found in values(peers, logits, labels).items():
        np.testing.assert_allclose(found, peers[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_quadrature_of_many_classes_that_nearly_tie(float64):
    """Where 64 Gauss-Hermite nodes are off by 8e-7, the even ones stay below 1e-9."""
    logits, labels = random_case(24, size=6, classes=100, scale=0.1)
    expected, slope = batch("gaussian_logit_noise", logits, labels)
    value, found = value_and_slope(lab.objective("gaussian_logit_noise"), logits, labels)
    np.testing.assert_allclose(value, expected, atol=1e-9)
    np.testing.assert_allclose(found, slope, atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 1.2, 2.0, 4.0, 10.0])
def test_the_tempered_softmax_converges(temperature, float64):
    for logits in (random_case(25, 8, 100)[0], np.array([[1e3, -1e3, 0.0]]), np.zeros((1, 100))):
        p = np.exp(np.asarray(jax.jit(log_probabilities)(logits, temperature)))
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def test_derivatives_with_respect_to_hyper_parameters(float64):
    """They can be learnt, a temperature above all: their derivatives are those of central differences."""
    logits, labels = random_case(26, 8, 5)
    chosen = [one for one in all_objectives() if one.name != "straight_through"]  # whose derivative is another's

    @jax.jit
    def means(parameters):
        objectives = [Objective(one.definition, of) for one, of in zip(chosen, parameters, strict=True)]
        return jnp.stack([jnp.mean(one(logits, labels)) for one in objectives])

    given = [{name: jnp.asarray(x, float) for name, x in one.parameters.items()} for one in chosen]
    found = jax.jit(jax.grad(lambda parameters: jnp.sum(means(parameters))))(given)
    tried = 0
    for name in {name for of in given for name in of}:
        steps = [1e-6 * of.get(name, 0.0) for of in given]
        pairs = list(zip(given, steps, strict=True))
        above, below = ([of | {name: of[name] + s * h} if name in of else of for of, h in pairs] for s in (1, -1))
        change = means(above) - means(below)
        for i, (one, h) in enumerate(zip(chosen, steps, strict=True)):
            allows = one.definition.parameters[name].allows if name in given[i] else lambda value: False
            if h > 1e-8 and allows(float(above[i][name])) and allows(float(below[i][name])):
                slope = float(change[i] / (2 * h))
                assert found[i][name] == pytest.approx(slope, rel=1e-4, abs=1e-7), f"{name} of {one}"
                tried += 1
    assert tried > 60


def test_a_scaled_hinge_keeps_its_gradient_when_compiled(float64):
    """Compiled, a maximum and its arguments may round apart, and its derivative be lost: rows then sum to -1."""
    logits, labels = random_case(0, 4, 3, 0.1)
    _, slope = value_and_slope(lab.objective("crammer_singer", delta=0.1), logits, labels)
    np.testing.assert_array_equal(np.sort(slope, axis=1), np.tile([-1.0, 0.0, 1.0], (4, 1)))


def test_more_than_k_answers_cost_nothing():
    logits, labels = random_case(27, 4, 3)
    assert not np.any(lab.objective("smooth_topk_svm", k=MOST_ANSWERS)(logits, labels))


# -- what an objective declares of itself is measured -------------------------------------------------------------

CASES_OF_SMOOTHED = [lab.smoothed_error(kernel=k, rivals=r).definition for k in KERNELS for r in RIVALS]


@pytest.mark.slow
@pytest.mark.parametrize(
    "definition",
    [*(one for one in OWN if one.batch_form is None), *CASES_OF_SMOOTHED[1:]],
    ids=lambda one: " ".join([one.name, *one.chosen.values()]),
)
def test_flags_are_measured(definition):
    objective = definition.make()
    assert {flag for flag in FLAGS if properties.PROPERTIES[flag](objective)} == set(definition.flags.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_margin_is_measured(name):
    found, form = properties.margin_function(lab.objective(name)), lab.objective(name).definition.margin_form
    if name in ("zero_one", "smooth_topk_svm", "straight_through"):
        return  # no gradient; sets of classes; the gradient of another
    assert (found and found.of) == (form and form.of.replace("centred", "soft"))


def test_many_families_with_swept_parameters_are_one_program():
    traces = 0

    @jax.jit
    def means(objectives, logits, labels):
        nonlocal traces
        traces += 1
        return lab.cotangents(objectives, logits, labels)[0].mean(axis=1)

    logits, labels = (jnp.asarray(x) for x in random_case(13))
    found = [
        means(
            [
                lab.objective("expected_error", temperature=t),
                lab.objective("gce", q=min(t, 1.0)),
                lab.smoothed_error("gaussian", t, "max"),
                lab.objective("taylor_ce", order=float(i + 1)),
                lab.objective("smooth_topk_svm", k=float(i % 5 + 1), tau=t),
                lab.objective("bi_tempered", t1=0.5, t2=min(1 + t, 10.0)),
            ],
            logits,
            labels,
        )
        for i, t in enumerate(np.geomspace(0.1, 10, 50))
    ]
    assert traces == 1
    assert len({tuple(np.asarray(one)) for one in found}) == 50


def test_strings_say_what_they_mean():
    for text in (
        "cross_entropy",
        "gce:q=0.5",
        "expected_error:temperature=0.1",
        "crammer_singer:delta=2.5",
        "smoothed_error:kernel=gaussian,rivals=max,width=0.5",
        "straight_through:backward=gaussian_margin,sigma=0.5",
    ):
        assert str(lab.objective(text)) == text
    assert float(lab.objective("expected_error:temperature=0.1").parameters["temperature"]) == pytest.approx(0.1)
    assert lab.objective("gce:q=0.5").title == "gce q=0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross-entropy", "Did you mean 'cross_entropy'"),
        ("gce:q=1.5", "needs 0 < q <= 1"),
        ("gce:q=0", "needs 0 < q <= 1"),
        ("gce:q=nan", "a finite number"),
        ("gce:p=1", "has no parameter 'p'"),
        ("gce:q", "cannot read 'q'"),
        ("gce:q=a", "needs 0 < q <= 1 (a finite number); got 'a'"),
        ("taylor_ce:order=1.5", "needs 1 <= order <= 1000 (a whole number); got 1.5"),
        ("smooth_topk_svm:k=11", "needs 1 <= k <= 10 (a whole number)"),
        ("phuber_ce:tau=1", "needs tau > 1"),
        ("label_smoothing_ce:alpha=1", "needs 0 <= alpha < 1"),
        ("smoothed_error:kernel=gausian", "Did you mean 'gaussian'"),
        ("smoothed_error:rivals=3", "unknown rivals '3.0'. Known: max, sum, mean"),
        ("straight_through:backward=gaussian_margin,temperature=1", "its parameters: backward, sigma"),
        ("ramp_collobert:s=1", "needs s < 1"),
        ("gce:q=0.5,q=0.6", "given twice"),
        ("gce:", "cannot read ''"),
        ("expected_error:temperature=0", "needs temperature > 0"),
        ("expected_error:temperature=-1", "needs temperature > 0"),
        ("expected_error:temperature=inf", "a finite number"),
        ("expected_error:temperature=1e-50", "> 0 (a finite number); got 1e-50, which float32 rounds to 0"),
        ("expected_error:temperature=1e-40", "got 1e-40, which float32 rounds to 0"),
        ("expected_error:temperature=1e39", "got 1e+39, which float32 rounds to inf"),
        ("truncated_gce:k=0.999999999", "0 < k < 1 (a finite number); got 0.999999999, which float32 rounds to 1"),
        ("zero_one:temperature=1", "its parameters: none"),
        ("nowhere/mine.py:loss", "no file 'nowhere/mine.py'"),
    ],
)
def test_a_wrong_objective_is_one_clear_error(text, message):
    with pytest.raises(lab.InputError) as error:
        lab.objective(text)
    assert message in str(error.value)


def test_a_number_is_taken_as_it_will_be_used(float64):
    """In float64 more of them lie within their range; beyond a closed end none is rounded back onto it."""
    assert float(lab.objective("expected_error:temperature=1e-50").parameters["temperature"]) == 1e-50
    with jax.enable_x64(False):
        assert lab.objective("gce:q=1").parameters["q"] == 1
        for value in (1 + 1e-9, 10**400):
            with pytest.raises(lab.InputError, match="needs 0 < q <= 1"):
                lab.objective("gce", q=value)


POSITIVE, NOT_NEGATIVE, ANY_SHARE = "(0, inf)", "[0, inf)", "(0, 1)"
# What the papers allow, by parameter, or by objective and parameter where they differ.
RANGES = {
    "temperature": POSITIVE,
    "width": POSITIVE,
    "rival_temperature": POSITIVE,
    "sigma": POSITIVE,
    "delta": POSITIVE,
    "tau": POSITIVE,
    "guard": POSITIVE,
    "target": POSITIVE,
    "floor": ANY_SHARE,
    "q": "(0, 1]",
    "truncated_gce k": ANY_SHARE,
    "squared_logits k": POSITIVE,
    "smooth_topk_svm k": "[1, 10]",
    "order": "[1, 1000]",
    "alpha": NOT_NEGATIVE,
    "label_smoothing_ce alpha": "[0, 1)",
    "beta": NOT_NEGATIVE,
    "gamma": NOT_NEGATIVE,
    "epsilon": "[-1, inf)",
    "phuber_ce tau": "(1, inf)",
    "t1": "[0, 1]",
    "t2": "[1, 10]",
    "s": "(-inf, 1)",
}


@pytest.mark.parametrize("definition", list(definitions()), ids=lambda definition: definition.name)
def test_parameters_are_taken_as_far_as_they_have_a_meaning(definition):
    """Up to an end of their range, and the end itself if it belongs to it; no further."""
    for name, parameter in definition.parameters.items():
        allowed = RANGES.get(f"{definition.name} {name}") or RANGES[name]
        ends = [float(end) for end in allowed[1:-1].split(",")]
        step = 1.0 if parameter.whole else 1e-3
        for end, inward, belongs in zip(ends, (step, -step), (allowed[0] == "[", allowed[-1] == "]"), strict=True):
            if math.isinf(end):
                definition.make(**{name: math.copysign(1e6, end)})
                continue
            definition.make(**{name: end + inward})
            for value, taken in ((end, belongs), (end - inward, False)):
                if taken:
                    definition.make(**{name: value})
                else:
                    with pytest.raises(lab.InputError, match=f"needs .*{name}"):
                        definition.make(**{name: value})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 10], "labels must be 0..9"),
        ([-1, 0], "labels must be 0..9"),
        ([0], "of shape (2,)"),
        ([0.0, 1.0], "labels must be integers"),
        (np.full((2, 10), 0.1), "a single 1 in each row"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(lab.InputError) as error:
        lab.objective("cross_entropy")(jnp.zeros((2, 10)), np.array(labels))
    assert message in str(error.value)


def write(path, text):
    path.write_text(text)
    return path


def test_an_objective_from_a_users_file(tmp_path):
    path = write(
        tmp_path / "mine.py",
        "import jax.numpy as jnp\nimport lab\n\n"
        "def tanh_margin(logits, labels, *, temperature=0.5):\n"
        '    """(1 - tanh(m/T)) / 2."""\n'
        "    return 0.5 * (1 - jnp.tanh(lab.hard_margin(logits, labels) / temperature))\n",
    )
    logits, labels = random_case(15)
    mine = lab.objective(f"{path}:tanh_margin:temperature=0.4")
    # (1 - tanh(x)) / 2 = sigmoid(-2x)
    np.testing.assert_allclose(
        mine(logits, labels),
        lab.objective("sigmoid_margin", temperature=0.2)(logits, labels),
        rtol=1e-5,
        atol=1e-6,
    )
    assert mine.definition.formula == "(1 - tanh(m/T)) / 2."
    with pytest.raises(lab.InputError, match="Did you mean 'tanh_margin'"):
        lab.objective(f"{path}:tanh_margn")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "def loss(logits, labels): return labels.sum()",
            "or one that only the whole batch has, float []; it returned",
        ),
        ("def loss(logits, labels): return logits.mean()", "returns the mean or the sum of one number per example"),
        ("def loss(logits, labels): return (logits**2).sum()", "float [4] for logits [4, 3], and leave the mean"),
        ("def loss(logits, labels): return logits", "one real number per example"),
        ("def loss(logits, labels): return labels", "one real number per example"),
        ("def loss(logits, labels): return None", "it returned NoneType"),
        ("def loss(logits, labels): return logits[0]", "it returned float32 [3]"),
        ("def loss(logits, labels): return logits.nonsense", "fails on logits"),
        ("def loss(logits, labels):\n  return helped(logits)\n\ndef helped(logits):\n  return w", "(mine.py, line 5)"),
        (
            "def loss(logits, labels):\n  if logits[0, 0] > 0:\n    return logits[:, 0]",
            "if, and jnp for numpy (mine.py, line 2)",
        ),
        ("import numpy as np\n\ndef loss(logits, labels):\n  return np.exp(logits)[:, 0]", "numpy (mine.py, line 4)"),
        ("def loss(logits, labels, *, width): return logits[:, 0]", "needs a number as its default"),
        ("def loss(logits, labels: return 1", "cannot be run: SyntaxError"),
        ("raise RuntimeError('no')", "cannot be run: RuntimeError: no (mine.py, line 1)"),
        ("loss = 3", "is no function of logits and labels, but int"),
        ("import functools\n\nloss = functools.partial(max, key=1)", "has a name, as `def` gives it; got partial"),
        ("loss = max", "'max' does not say what it is a function of: no signature found"),
    ],
)
def test_a_wrong_objective_in_a_users_file(tmp_path, body, message):
    path = write(tmp_path / "mine.py", body)
    with pytest.raises(lab.InputError) as error:
        lab.objective(f"{path}:loss")
    assert message in str(error.value)


def test_an_objective_made_in_a_users_file(tmp_path):
    """It keeps the parameters that it was made with; others may still be given."""
    path = write(tmp_path / "mine.py", "import lab\n\ncold = lab.objective('smoothed_error:rivals=max', width=0.1)\n")
    assert str(lab.objective(f"{path}:cold")) == "smoothed_error:rivals=max,width=0.1"
    assert str(lab.objective(f"{path}:cold:width=0.5")) == "smoothed_error:rivals=max,width=0.5"
    with pytest.raises(lab.InputError, match="has a name, as `def` gives it; got Objective"):
        lab.register(lab.objective("gce"))


RANKED = """
import jax
import jax.numpy as jnp

def ranked(logits, labels, *, temperature=1.0):
    pairs = (labels == 0)[:, None] & (labels != 0)[None, :]
    lost = jax.nn.sigmoid((logits[None, :, 0] - logits[:, None, 0]) / temperature)
    return jnp.sum(jnp.where(pairs, lost, 0)) / jnp.sum(pairs)
"""


def test_one_number_makes_an_objective_of_the_whole_batch(tmp_path, float64):
    """Class 0 is to be ranked before the others: 1 less the area under the ROC curve, made smooth."""
    path = write(tmp_path / "mine.py", RANKED)
    logits, labels = random_case(16, size=30, classes=4)
    scores, first, rest = logits[:, 0], np.flatnonzero(labels == 0), np.flatnonzero(labels != 0)
    for temperature in (0.3, 2.0):
        value, slope = 0.0, np.zeros_like(logits)
        for i in first:
            for j in rest:
                lost = 1 / (1 + math.exp((scores[i] - scores[j]) / temperature))
                value += lost / (len(first) * len(rest))
                change = lost * (1 - lost) / temperature / (len(first) * len(rest))
                slope[i, 0] -= change
                slope[j, 0] += change
        mine = lab.objective(f"{path}:ranked:temperature={temperature}")
        assert str(mine) == f"ranked:temperature={temperature:g}" and mine.definition.family == "own"
        np.testing.assert_allclose(mine(jnp.asarray(logits), labels), np.full(30, value), rtol=1e-10)
        found, gradient = mean_and_gradient(mine, jnp.asarray(logits), jnp.asarray(labels))
        np.testing.assert_allclose(found, value, rtol=1e-10)
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-13)
    with pytest.raises(lab.InputError, match="'ranked' is one of a whole batch: no example has a gradient of its own"):
        lab.example_moments(lab.mlp([3]), {}, np.zeros((2, 784)), np.array([0, 1]), [mine])


PRIORS = """
import jax.numpy as jnp
import lab

def adjusted(logits, labels, *, tau=1.0):
    priors = jnp.arange(1.0, {classes} + 1)
    return lab.objective("cross_entropy")(logits + tau * jnp.log(priors / priors.sum())[None, :], labels)
"""


@pytest.mark.parametrize("classes", [2, 7, 10])
def test_an_objective_may_be_made_for_one_number_of_classes(tmp_path, classes):
    """As one that knows how frequent each class is; with others it is named, and the line in which it fails."""
    path = write(tmp_path / "mine.py", PRIORS.format(classes=classes))
    mine = lab.objective(f"{path}:adjusted:tau=2")
    logits, labels = np.random.default_rng(0).normal(size=(5, classes)), np.arange(5) % classes
    scores = np.exp(logits) * np.arange(1, classes + 1) ** 2
    expected = -np.log(scores[np.arange(5), labels] / scores.sum(axis=1))
    np.testing.assert_allclose(mine(logits.astype(np.float32), labels), expected, rtol=1e-5)
    with pytest.raises(
        lab.InputError, match=r"'adjusted' fails on logits \[5, 4\] and labels \[5\]: .*mine.py, line 7"
    ):
        jax.jit(lambda z: mine(z, labels % 4))(logits[:, :1].repeat(4, axis=1))


def test_a_definition_of_a_users_that_fails_is_named():
    wrong = lab.Definition(name="wrong", family="theirs", formula="", source="", function=lambda z, y: z.nonsense)
    with pytest.raises(lab.InputError, match=r"'wrong' fails on logits \[4, 3\]: AttributeError.*nonsense"):
        lab.register(wrong)


def test_a_folder_beside_the_lab_is_the_users():
    """Its path may begin like that of the lab's own modules."""
    beside = f"{Path(lab.__file__).parent}-notes/mine.py"
    with pytest.raises(ZeroDivisionError) as error:
        exec(compile("\n1 / 0", beside, "exec"))
    assert failure(error.value) == "ZeroDivisionError: division by zero (mine.py, line 2)"


def test_register_refuses_a_name_that_is_taken():
    def gce(logits, labels):
        return logits[:, 0]

    with pytest.raises(lab.InputError, match="exists already"):
        lab.register(gce)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_of_the_same_family(copied):
    """They train together; of two definitions they would not."""
    one = lab.objective("smoothed_error:rivals=max,width=3")
    other = copied(one)
    assert other.definition is one.definition and str(other) == str(one)
    assert jax.tree.structure(other) == jax.tree.structure(one)


@pytest.fixture
def catalogue(monkeypatch):
    """One that is thrown away afterwards."""
    monkeypatch.setattr("lab.catalogue._definitions", {one.name: one for one in definitions()})


def test_one_s_own_objective_may_be_registered_again(catalogue):
    """As by a cell of a notebook that is run twice: the later one is what the name stands for."""
    for factor in (2.0, 3.0):

        def lead(logits, labels, factor=factor):
            return factor * logits[:, 0]

        made = lab.register(lead)
        assert lab.objective("lead").definition is made
        np.testing.assert_array_equal(lab.objective("lead")(jnp.array([[1.0, 5.0]]), jnp.array([0])), [factor])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": "my loss"}, "name must be one word, as of a function; got 'my loss'"),
        ({"name": "a:b=1"}, "name must be one word"),
        ({"formulae": "z"}, "unknown fact of an objective 'formulae'. Did you mean 'formula'"),
    ],
)
def test_register_refuses_what_is_no_name_and_no_fact(catalogue, facts, message):
    with pytest.raises(lab.InputError, match=message):
        lab.register(lambda logits, labels: logits[:, 0], **facts)
