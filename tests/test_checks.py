"""Checks: what is wrong with an objective is found, and what is right is not complained about."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lab
from lab import checks, properties
from lab.catalogue import _define, _tried, definitions


def findings(function, **parameters):
    return {one.what: one for one in lab.check(_define(function).make(**parameters))}


def naive_cross_entropy(logits, labels):
    """-log of the softmax's output, as one writes it first."""
    p = jnp.exp(logits) / jnp.sum(jnp.exp(logits), axis=1, keepdims=True)
    return -jnp.log(p[jnp.arange(len(labels)), labels])


def softmax_error(logits, labels):
    """1 - p_y by subtraction."""
    return 1 - jax.nn.softmax(logits)[jnp.arange(len(labels)), labels]


def averaged(logits, labels):
    """The mean, handed back for every example."""
    return jnp.full(labels.shape, jnp.mean(lab.objective("cross_entropy")(logits, labels)))


def class_number(logits, labels):
    """Uses the class as a number."""
    return lab.objective("cross_entropy")(logits, labels) * (1 + labels)


@jax.custom_jvp
def _half(x):
    return x


_half.defjvp(lambda primals, tangents: (primals[0], tangents[0] / 2))


def wrong_gradient(logits, labels):
    """A custom derivative that is half of what it should be."""
    return _half(lab.objective("cross_entropy")(logits, labels))


def minus_forgotten(logits, labels):
    """log p_y: an objective is minimised."""
    return -lab.objective("cross_entropy")(logits, labels)


def branching(logits, labels, *, temperature=1.0):
    """Looks at its temperature with `if`."""
    return lab.objective("expected_error")(logits, labels) * (2 if temperature > 1 else 1)


def tanh_margin(logits, labels, *, temperature=1.0):
    """(1 - tanh(m/T)) / 2: nothing is wrong with it."""
    return (1 - jnp.tanh(lab.hard_margin(logits, labels) / temperature)) / 2


def test_one_made_for_ten_classes_cannot_be_tried_and_that_is_said():
    def adjusted(logits, labels):
        return lab.objective("cross_entropy")(logits + jnp.arange(10.0)[None, :], labels)

    with pytest.raises(
        lab.InputError, match=r"fails on logits \[.*, [235]\].*test_checks.py.* It is tried with 2, 3, 5 and"
    ):
        findings(adjusted)


def test_nothing_is_wrong_with_a_good_one():
    found = findings(tanh_margin, temperature=0.5)
    assert not [one for one in found.values() if one.rank == "wrong"]
    assert "a function of the hard margin: w(-4)" in found["margin"].said
    assert "w(0) = 1," in found["margin"].said  # (1 - tanh(2m)) / 2 falls with slope 1 at 0
    assert found["centred"].said.startswith("yes") and found["symmetric"].said.startswith("no")
    assert "float32 rounds a slope of" in found["death"].said  # 1 - tanh^2 has no digits far out


@pytest.mark.parametrize(
    ("function", "check", "said"),
    [
        (naive_cross_entropy, checks._finite, "NaN in float32 at logits of +-1000"),
        (averaged, checks._per_example, "leave the mean to the caller"),
        (wrong_gradient, checks._derivative, "it is not the derivative of the value"),
        (minus_forgotten, checks._direction, "raises the true logit of 0 and lowers that of 64 of 64 examples: is a"),
        (branching, checks._parameters, "TracerBoolConversionError. Use jnp.where on them, not if"),
    ],
)
def test_what_is_wrong_is_found(function, check, said):
    found = check(_define(function).make())
    assert found.rank == "wrong" and said in found.said


@pytest.mark.parametrize("temperature", [0.1, 0.01, 0.003, 0.001])
def test_a_narrow_boundary_has_a_right_gradient(temperature):
    for function in (tanh_margin, softmax_error):
        made = _define(function).make(**({"temperature": temperature} if function is tanh_margin else {}))
        assert checks._derivative(made).rank == "fine"
    assert checks._derivative(lab.objective("expected_error", temperature=temperature)).rank == "fine"


def test_what_is_declared_is_declared_at_the_defaults():
    """At q = 1, gce is expected error, whose sum over labels is constant; at q = 0.7 it is not."""
    found = checks._property("symmetric", lab.objective("gce:q=1"))
    assert found.rank == "note" and found.said.endswith("; at the defaults it is declared otherwise")
    assert checks._property("symmetric", lab.objective("gce")).rank == "fine"


def worst_class(logits, labels):
    """1 less the least mean probability of a class: of classes that are alike, the slope is one's alone."""
    of_class = jax.nn.one_hot(labels, logits.shape[1])
    recall = jax.nn.softmax(logits)[jnp.arange(len(labels)), labels] @ of_class / jnp.sum(of_class, axis=0)
    return 1 - jnp.min(recall)


def test_a_tie_that_falls_otherwise_is_no_rounding():
    death = checks._death(_tried(_define(worst_class)).make())
    assert death.rank == "fine" and death.said.startswith("its gradient is 0 in float32 at margins below -8")


def test_a_gradient_that_is_no_number_is_not_alive():
    death = checks._death(_define(naive_cross_entropy).make())
    margin = float(re.search(r"NaN in float32, as at margin (\S+)$", death.said)[1])
    assert death.rank == "wrong" and -90 < margin < -85  # p is 0 from exp(-87.3) on


def test_what_a_user_should_know_is_a_note():
    assert checks._classes_alike(_define(class_number).make()).rank == "note"
    death = checks._death(_define(softmax_error).make())
    assert death.rank == "note"
    # 1 - p_y is rounded to 0 in float32 at a lead of about 17 + log 9, where the truth is some 1e-8.
    slope, margin = (float(x) for x in re.search(r"slope of (\S+) to 0 at margin (\S+);", death.said).groups())
    assert 16 < margin < 21 and slope == pytest.approx(9 * np.exp(-margin), rel=0.1)


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("squared_logits:target=1", lambda z: z < 1, lambda z: z > 1),  # k (z_y - target)^2: it is least at the target
        ("cross_entropy", lambda z: z < np.inf, lambda z: z == np.inf),
    ],
)
def test_the_direction_is_that_of_the_true_logit(text, up, down):
    logits, labels = properties.random_logits()
    true = logits[np.arange(len(labels)), labels]
    found = checks._direction(lab.objective(text))
    said = f"raises the true logit of {up(true).sum()} and lowers that of {down(true).sum()} of 64 examples"
    assert found.said == f"a step against the gradient {said}"
    assert found.rank == ("note" if down(true).any() else "fine")


@pytest.mark.slow
def test_no_objective_of_the_lab_points_away_from_the_true_class():
    assert {checks._direction(one.make()).rank for one in definitions()} == {"fine", "note"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cross_entropy:temperature=0.3", ("soft", 0.3)),
        ("smooth_svm:tau=2.5", ("soft", 2.5)),
        ("smoothed_error:width=0.5,rival_temperature=3", ("soft", 3.0)),
        ("sigmoid_margin", ("hard", 0.0)),
        ("label_smoothing_ce", None),
        ("squared_error", None),
        ("weston_watkins", None),
    ],
)
def test_the_margin_and_its_temperature_are_found(text, expected):
    found = properties.margin_function(lab.objective(text))
    assert (found and found.of) == (expected and expected[0])
    if expected:
        assert found.temperature == pytest.approx(expected[1], rel=1e-6)


def of_the_true_logit(logits, labels):
    true = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return lab.hard_margin(logits, labels) * -(2 + jax.lax.stop_gradient(jnp.tanh(true)))


def of_the_class(logits, labels):
    return (1 + labels) * jax.nn.sigmoid(-lab.hard_margin(logits, labels))


@pytest.mark.parametrize("mixed", [of_the_true_logit, of_the_class])
def test_a_weight_that_looks_at_more_than_the_margin_is_none_of_it(mixed):
    """The direction is a margin's, the weight is not."""
    assert properties.margin_function(_define(mixed).make()) is None


def test_a_narrow_boundary_is_symmetric_only_where_logits_nearly_tie():
    """Away from ties every step is: the sum over labels is then the number of rivals."""
    assert not properties.is_symmetric(lab.objective("sigmoid_margin", temperature=0.02))
    assert properties.is_symmetric(lab.objective("expected_error", temperature=0.02))
    assert properties.is_symmetric(lab.objective("zero_one"))


def test_measured_in_either_precision():
    logits, labels = np.array([[1.0, 0.0]]), np.array([0])
    for bits in (32, 64):
        values, slopes = properties.measured(lab.objective("cross_entropy"), logits, labels, bits=bits)
        assert values.dtype == slopes.dtype == np.dtype(f"float{bits}")
        np.testing.assert_allclose(values, np.log1p(np.exp(-1.0)), rtol=1e-6)


def test_the_least_risk_of_cross_entropy_is_at_the_log_probabilities():
    least, best = properties.least_risk(lab.objective("cross_entropy"), (0.5, 0.3, 0.2))
    assert least == pytest.approx(-np.sum([p * np.log(p) for p in (0.5, 0.3, 0.2)]))
    np.testing.assert_allclose(best - best.mean(), np.log([0.5, 0.3, 0.2]) - np.log([0.5, 0.3, 0.2]).mean(), atol=1e-4)


def test_a_misranked_risk_is_that_of_a_tie():
    """Cross entropy is convex: what is least where the first class does not lead is the tie of the first two."""
    misranked, best = properties.least_risk(lab.objective("cross_entropy"), (0.5, 0.3, 0.2), misranked=True)
    assert misranked == pytest.approx(-0.8 * np.log(0.4) - 0.2 * np.log(0.2))
    assert best[0] == pytest.approx(best[1], abs=1e-3)


def test_normalized_ce_is_content_when_the_least_probable_class_is_out():
    """sum_k L_k = 1: the mean is least wherever the least probable class pays all, whoever is first."""
    assert not properties.is_calibrated(lab.objective("normalized_ce"))
    away = np.array([[0.0, 5.0, -1e6]])
    risk = sum(
        p * float(lab.objective("normalized_ce")(away, np.array([k]))[0]) for k, p in enumerate((0.4, 0.32, 0.28))
    )
    assert risk == pytest.approx(0.28, abs=1e-4)


def of_three(logits, labels):
    return jnp.where(labels == 3, jnp.nan, lab.objective("cross_entropy")(logits, labels))


def below_one(logits, labels):
    return jnp.sqrt(1.0 - lab.hard_margin(logits, labels))


@pytest.mark.parametrize("function", [of_three, below_one])
def test_what_is_no_number_is_said_to_be_that_and_nothing_else(function):
    finite, per_example = (check(_define(function).make()) for check in (checks._finite, checks._per_example))
    which = 3 if function is of_three else 0
    said = f"its value is NaN in float32 at logits of usual size, the true class being {which}"
    assert (finite.rank, finite.said) == ("wrong", said) and per_example.rank == "fine"


@pytest.mark.parametrize("kernel", ["uniform", "epanechnikov", "logistic", "gaussian"])
def test_a_step_over_the_mean_that_ends_is_content_with_any_of_three_first(kernel):
    """Far above seven others all three are right beyond doubt, whichever leads: nothing is left to be gained."""
    chosen = lab.smoothed_error(kernel, 1.0, "mean")
    ends = kernel in ("uniform", "epanechnikov")
    assert properties.is_calibrated(chosen) == ("calibrated" in chosen.definition.flags) == (not ends)
    risks = []
    for first in range(3):
        logits = np.zeros((3, 10))
        logits[:, :3], logits[:, first] = 2.0, 2.1
        risks.append(chosen(logits, np.arange(3)) @ np.array([0.4, 0.32, 0.28]))
    assert np.ptp(risks) == 0 if ends else np.ptp(risks) > 1e-4


def test_a_declaration_that_is_not_so_is_wrong():
    definition = lab.Definition(
        name="boast", family="own", formula="", source="", function=naive_cross_entropy, flags="bounded"
    )
    assert checks._property("bounded", definition.make()).rank == "wrong"


def ranked(logits, labels, *, least=0.0):
    """The share of pairs, class 0 with another, that are ranked wrongly, made smooth."""
    pairs = (labels == 0)[:, None] & (labels != 0)[None, :]
    lost = jax.nn.sigmoid(logits[None, :, 0] - logits[:, None, 0])
    return jnp.sum(jnp.where(pairs, lost, 0.0)) / jnp.maximum(jnp.sum(pairs), least)


def mean_of_classes(logits, labels):
    """The mean over the classes of their mean losses, NaN where one is missing."""
    of_class = jax.nn.one_hot(labels, logits.shape[1])
    return jnp.mean(lab.objective("cross_entropy")(logits, labels) @ of_class / jnp.sum(of_class, axis=0))


def test_one_number_for_a_batch_is_tried_without_some_classes():
    found = checks._finite(_tried(_define(mean_of_classes)).make())
    assert (found.rank, found.said) == ("wrong", "its value is NaN in float32 at a batch without one of the classes")
    of_batch = _tried(_define(ranked))
    found = checks._finite(of_batch.make())
    assert found.rank == "wrong" and found.said == "its value is NaN in float32 at a batch of one class"
    guarded = of_batch.make(least=1.0)
    found = checks._finite(guarded)
    assert found.rank == "fine" and found.said.endswith("also where classes are missing")
    assert checks._derivative(guarded).rank == "fine"
    # Tried on batches with each class: s(1 - s) loses its digits where 1 - s does. Slopes are per example, of ten.
    death = checks._death(guarded)
    slope, margin = (float(x) for x in re.search(r"slope of (\S+) to 0 at margin (\S+);", death.said).groups())
    half = 0.05 + 0.05e-7 / slope  # of the last digits said: a tenth of a margin, and of a slope's unit
    assert -18.5 < margin < -16 and abs(np.log(slope / 10) - margin) <= half


@pytest.mark.slow
def test_objectives_of_a_batch_are_checked_as_such():
    found = {one.what: one for one in lab.check(lab.objective("soft_macro_f1"))}
    assert found["per example"].rank == "note" and "margin" not in found
    assert found["gradient"].rank == "fine"
    # Small batches see another objective: several standard errors off at 10 examples, nearer at 100.
    near, far = (
        re.search(rf"by ([+-]\S+) \(standard error (\S+)\) at {n}\b", found["mini-batches"].said) for n in (100, 10)
    )
    assert abs(float(far[1])) > 4 * float(far[2]) and abs(float(far[1])) > 3 * abs(float(near[1]))
