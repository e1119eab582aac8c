"""Objectives: values and gradients against hand-derived float64 NumPy, and the laws they obey."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ORACLES, batch
from scipy.optimize import minimize

import lab
from lab.catalogue import definitions

NAMES = [one.name for one in definitions() if one.family != "own"]
SETTINGS = [(name, {}) for name in NAMES] + [
    ("cross_entropy", {"temperature": 0.3}),
    ("expected_error", {"temperature": 0.2}),
    ("centred_expected_error", {"temperature": 0.2}),
    ("sigmoid_margin", {"temperature": 0.2}),
    ("ramp", {"temperature": 2.0}),
    ("guarded_cross_entropy", {"guard": 1e-3}),
    ("gce", {"q": 0.2}),
    ("gce", {"q": 1.0}),
    ("crammer_singer", {"delta": 3.0}),
]
CASES = {
    "mild": ([[0.3, -0.2, 0.1], [0.5, 0.9, -0.4]], [0, 2]),
    "confident and right": ([[12.0, -3.0, 1.0]], [0]),
    "confident and wrong": ([[-9.0, 4.0, 1.0]], [0]),
    "near the boundary": ([[1.0, 1.001, -2.0], [1.001, 1.0, -2.0]], [0, 0]),
    "ten classes": (np.linspace(-2, 2.3, 30).reshape(3, 10)[:, ::-1].copy(), [0, 4, 9]),
    "two classes": ([[0.4, -1.0], [2.0, 2.5]], [1, 0]),
}
SMOOTHED = ("expected_error", "centred_expected_error", "sigmoid_margin", "ramp")


@jax.jit
def _value_and_slope(objective, logits, labels):
    values, pullback = jax.vjp(lambda z: objective(z, labels), logits)
    return values, pullback(jnp.ones_like(values))[0]


def value_and_slope(objective, logits, labels):
    return tuple(np.asarray(x) for x in _value_and_slope(objective, jnp.asarray(logits), jnp.asarray(labels)))


def random_case(seed, size=64, classes=10, scale=3.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, scale, (size, classes)), rng.integers(0, classes, size)


def test_every_objective_has_an_oracle():
    assert set(NAMES) == set(ORACLES)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "parameters"), SETTINGS, ids=str)
def test_value_and_gradient_in_float64(name, parameters, case, float64):
    logits, labels = np.array(CASES[case][0], dtype=float), np.array(CASES[case][1])
    expected_value, expected_slope = batch(name, logits, labels, **parameters)
    value, slope = value_and_slope(lab.objective(name, **parameters), logits, labels)
    np.testing.assert_allclose(value, expected_value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "parameters"), SETTINGS, ids=str)
def test_value_and_gradient_in_float32(name, parameters, case):
    logits, labels = np.array(CASES[case][0], dtype=np.float32), np.array(CASES[case][1])
    expected_value, expected_slope = batch(name, logits.astype(float), labels, **parameters)
    with jax.numpy_rank_promotion("raise"):
        value, slope = value_and_slope(lab.objective(name, **parameters), logits, labels)
    np.testing.assert_allclose(value, expected_value, rtol=5e-5, atol=5e-6)
    np.testing.assert_allclose(slope, expected_slope, rtol=5e-5, atol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_huge_logits_stay_finite_and_right(name):
    logits, labels = np.array([[1e3, -1e3, 0.0], [-1e3, 1e3, 0.0]], dtype=np.float32), np.array([0, 0])
    expected_value, expected_slope = batch(name, logits.astype(float), labels)
    value, slope = value_and_slope(lab.objective(name), logits, labels)
    np.testing.assert_allclose(value, expected_value, rtol=1e-4)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("name", ["cross_entropy", "expected_error", "squared_error", "gce"])
@pytest.mark.parametrize("lead", [20.0, 30.0, -20.0, -30.0])
def test_small_gradients_are_mathematics_not_rounding(name, lead):
    """Softmax's usual derivative is exactly 0 in float32 from a lead of 17 on; the truth is not."""
    logits, labels = np.array([[lead, 0.0, -1.0]], dtype=np.float32), np.array([0])
    _, expected = batch(name, logits.astype(np.longdouble), labels)
    _, slope = value_and_slope(lab.objective(name), logits, labels)
    assert (slope != 0).all()
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_both_label_forms_agree(name):
    logits, labels = random_case(1)
    objective = lab.objective(name)
    one_hot = np.eye(10)[labels]
    np.testing.assert_array_equal(objective(logits, labels), objective(logits, one_hot))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.sampled_from([2, 3, 10, 40]),  # few shapes: each is compiled anew
    size=st.sampled_from([1, 4]),
    shift=st.floats(-50, 50),
)
def test_shifting_all_logits_changes_nothing(name, seed, classes, size, shift):
    with jax.enable_x64(True):
        logits, labels = random_case(seed, size, classes)
        value, slope = value_and_slope(lab.objective(name), logits, labels)
        shifted_value, shifted_slope = value_and_slope(lab.objective(name), logits + shift, labels)
        np.testing.assert_allclose(shifted_value, value, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(shifted_slope, slope, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(slope.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("name", [one.name for one in definitions() if one.margin_form])
def test_weight_function_is_minus_the_slope_of_phi(name, float64):
    """DESIGN 2.1: the gradient is -w(m) (e_y - q); w is checked against central differences of phi."""
    objective = lab.objective(name)
    form = objective.definition.margin_form
    margins = jnp.concatenate([jnp.linspace(-8, 8, 37) + 0.013, jnp.array([-25.0, 25.0])])
    h = 1e-6
    slope = (form.phi(margins + h, **objective.parameters) - form.phi(margins - h, **objective.parameters)) / (2 * h)
    np.testing.assert_allclose(objective.weight(margins), -slope, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [one.name for one in definitions() if one.margin_form])
def test_gradient_is_the_weight_times_the_margin_direction(name, float64):
    objective = lab.objective(name)
    form = objective.definition.margin_form
    logits, labels = random_case(3)
    margin = form.margin(jnp.asarray(logits), jnp.asarray(labels), **objective.parameters)
    if (
        form.margin(jnp.asarray(logits), jnp.asarray(labels), **objective.parameters)[0]
        == lab.hard_margin(jnp.asarray(logits), jnp.asarray(labels))[0]
    ):
        rivals = np.where(np.eye(10)[labels] == 1, -np.inf, logits)
        q = np.eye(10)[rivals.argmax(axis=1)]
    else:
        exponentials = np.exp(logits) * (1 - np.eye(10)[labels])
        q = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = -np.asarray(objective.weight(margin))[:, None] * (np.eye(10)[labels] - q)
    np.testing.assert_allclose(value_and_slope(objective, logits, labels)[1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTHED)
def test_cold_surrogates_become_the_error_rate(name):
    """T -> 0 gives zero_one, wherever the margin is not 0."""
    logits, labels = random_case(5)
    cold = lab.objective(name, temperature=1e-3)(logits, labels)
    np.testing.assert_allclose(cold, lab.objective("zero_one")(logits, labels), atol=1e-3)


def test_identities(float64):
    logits, labels = random_case(7)
    rows = np.arange(len(labels))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    of = {name: np.asarray(lab.objective(name)(logits, labels)) for name in NAMES}
    np.testing.assert_allclose(np.abs(p - np.eye(10)[labels]).sum(axis=1), 2 * of["expected_error"], rtol=1e-12)
    np.testing.assert_allclose(lab.objective("gce", q=1.0)(logits, labels), of["expected_error"], rtol=1e-12)
    np.testing.assert_allclose(lab.objective("gce", q=1e-6)(logits, labels), of["cross_entropy"], rtol=1e-4)
    np.testing.assert_allclose(of["brier"], 2 * of["squared_error"], rtol=1e-12)
    np.testing.assert_allclose(of["guarded_cross_entropy"], -np.log(p[rows, labels] + 1e-7), rtol=1e-12)
    soft = np.asarray(lab.soft_margin(jnp.asarray(logits), jnp.asarray(labels), 0.3))
    cool = lab.objective("expected_error", temperature=0.3)(logits, labels)
    np.testing.assert_allclose(cool, 1 / (1 + np.exp(soft / 0.3)), rtol=1e-12)


def test_cross_entropy_pays_for_every_threshold(float64):
    """DESIGN 2.2: cross entropy is the integral over t >= 0 of the expected error at margin + t."""
    m = np.array([-3.0, -0.5, 0.0, 2.0])
    t = np.linspace(0, 60, 600_001)
    integral = [np.trapezoid(1 / (1 + np.exp(one + t)), t) for one in m]
    np.testing.assert_allclose(
        lab.objective("cross_entropy").definition.function.phi(m, temperature=1.0), integral, rtol=1e-8
    )


def test_agrees_with_optax():
    logits, labels = (jnp.asarray(x, dtype) for x, dtype in zip(random_case(9), (jnp.float32, jnp.int32), strict=True))
    np.testing.assert_allclose(
        lab.objective("cross_entropy")(logits, labels),
        optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels),
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        lab.objective("crammer_singer")(logits, labels),
        optax.losses.multiclass_hinge_loss(logits, labels),
        rtol=1e-6,
    )


@pytest.mark.parametrize("definition", [one for one in definitions() if one.family != "own"], ids=lambda d: d.name)
class TestFlags:
    """What an objective declares of itself is measured."""

    def test_symmetric(self, definition):
        logits, _ = random_case(11, size=50)
        sums = sum(np.asarray(definition.make()(logits, np.full(50, k))) for k in range(10))
        assert (np.ptp(sums) < 1e-4) == definition.symmetric

    def test_bounded(self, definition):
        worst = np.array([[-1e4, 1e4, 0.0]])
        assert (definition.make()(worst, np.array([0]))[0] < 100) == definition.bounded

    def test_centred(self, definition):
        extremes = definition.make()(np.array([[-1e4, 0.0, 0.0], [1e4, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.zeros(3, int))
        bounded = float(extremes[0]) < 100
        half_way = abs(float(extremes[2]) - float(extremes[0] + extremes[1]) / 2) < 1e-6
        assert (bounded and half_way) == definition.centred

    def test_smooth(self, definition, float64):
        """A corner shows as a jump of the slope between two points that are next to each other."""
        objective = definition.make()
        line = np.linspace(-3, 3, 100_001)[:, None] * np.array([1.0, -0.5, 0.1]) + np.array([0.0, 0.03, 0.6])
        _, slope = value_and_slope(objective, line, np.zeros(len(line), int))
        jumps = np.abs(np.diff(slope, axis=0)).max()
        value = np.asarray(objective(line, np.zeros(len(line), int)))
        continuous = np.abs(np.diff(value)).max() < 1e-3
        assert (jumps < 1e-3 and continuous) == definition.smooth

    def test_calibrated(self, definition, float64):
        """The minimiser of the expected objective ranks the most probable of three classes first.

        Probabilities without a majority: with one, even hinge losses get it right (Tewari & Bartlett 2007).
        """
        probabilities = jnp.array([0.4, 0.32, 0.28])
        objective = definition.make()

        @jax.jit
        def risk(z):
            return sum(probabilities[k] * objective(z[None], jnp.array([k]))[0] for k in range(3))

        starts = np.random.default_rng(0).normal(0, 2.0, (12, 3))
        found = [minimize(lambda z: float(risk(z)), start, method="Nelder-Mead", tol=1e-10) for start in starts]
        best = min(found, key=lambda one: one.fun).x
        ranked_first = best[0] - max(best[1:]) > 1e-3
        assert ranked_first == definition.calibrated


def test_a_sweep_over_temperatures_compiles_once():
    traces = 0

    @jax.jit
    def mean(objective, logits, labels):
        nonlocal traces
        traces += 1
        return jnp.mean(objective(logits, labels))

    logits, labels = (jnp.asarray(x) for x in random_case(13))
    values = {
        float(mean(lab.objective("expected_error", temperature=t), logits, labels)) for t in np.geomspace(0.1, 10, 50)
    }
    assert traces == 1
    assert len(values) == 50


def test_strings_say_what_they_mean():
    for text in ("cross_entropy", "gce:q=0.5", "expected_error:temperature=0.1", "crammer_singer:delta=2.5"):
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
        ("gce:q=a", "cannot read 'q=a'"),
        ("gce:q=0.5,q=0.6", "given twice"),
        ("gce:", "cannot read ''"),
        ("expected_error:temperature=0", "needs temperature > 0"),
        ("expected_error:temperature=-1", "needs temperature > 0"),
        ("expected_error:temperature=inf", "a finite number"),
        ("zero_one:temperature=1", "its parameters: none"),
        ("nowhere/mine.py:loss", "no file 'nowhere/mine.py'"),
    ],
)
def test_a_wrong_objective_is_one_clear_error(text, message):
    with pytest.raises(lab.InputError) as error:
        lab.objective(text)
    assert message in str(error.value)


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
        ("def loss(logits, labels): return logits.mean()", "one real number per example"),
        ("def loss(logits, labels): return logits", "one real number per example"),
        ("def loss(logits, labels): return labels", "one real number per example"),
        ("def loss(logits, labels): return None", "one real number per example"),
        ("def loss(logits, labels): return logits.nonsense", "fails on logits"),
        ("def loss(logits, labels, *, width): return logits[:, 0]", "needs a number as its default"),
        ("def loss(logits, labels: return 1", "cannot be run: SyntaxError"),
        ("raise RuntimeError('no')", "cannot be run: RuntimeError: no"),
    ],
)
def test_a_wrong_objective_in_a_users_file(tmp_path, body, message):
    path = write(tmp_path / "mine.py", body)
    with pytest.raises(lab.InputError) as error:
        lab.objective(f"{path}:loss")
    assert message in str(error.value)


def test_register_refuses_a_name_that_is_taken():
    def gce(logits, labels):
        return logits[:, 0]

    with pytest.raises(lab.InputError, match="exists already"):
        lab.register(gce)
