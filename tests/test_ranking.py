"""The ranking of a sweep: against SciPy, and in words."""

import numpy as np
import pytest
import scipy.stats
import xarray

from lab.ranking import answer, ranking

NAMES = ["cross_entropy", "better", "worse", "alike"]


def results(n=8, names=NAMES):
    random = np.random.default_rng(3)
    of_seed = random.normal(0, 0.01, n)  # what a seed has in common: paired differences are free of it
    shift = {"cross_entropy": 0.0, "better": 0.01, "worse": -0.05, "alike": 0.0}
    accuracy = np.array([0.9 + of_seed + shift[name] + random.normal(0, 0.002, n) for name in names])
    return xarray.Dataset(
        {
            "test_accuracy": (("objective", "seed"), accuracy),
            "dead_classes": (("objective", "seed", "epoch"), np.zeros((len(names), n, 2))),
        },
        coords={
            "objective": names,
            "seed": np.arange(n),
            "title": ("objective", [name.capitalize() for name in names]),
            "chosen_rate": ("objective", [0.1] * len(names)),
            "chosen_optimiser": ("objective", ["sgd"] * len(names)),
            "widened": ("objective", [0] * len(names)),
            "diverged": ("objective", [0] * len(names)),
        },
        attrs={"reference": "cross_entropy"},
    )


def test_the_best_comes_first_and_differences_are_paired():
    found = results()
    places = ranking(found)
    assert places[0].objective == "better" and places[-1].objective == "worse"
    accuracy = 100 * found["test_accuracy"]
    reference = accuracy.sel(objective="cross_entropy").values
    raw = {}
    for place in places:
        own = accuracy.sel(objective=place.objective).values
        assert place.accuracy.mean == pytest.approx(own.mean()) and place.accuracy.n == 8
        if place.objective == "cross_entropy":
            assert np.isnan(place.p_value)
            continue
        test = scipy.stats.ttest_rel(own, reference)
        raw[place.objective] = test.pvalue
        assert place.difference.mean == pytest.approx((own - reference).mean())
        interval = test.confidence_interval(0.95)
        assert (place.difference.low, place.difference.high) == pytest.approx((interval.low, interval.high))
        wins = scipy.stats.mannwhitneyu(own, reference).statistic / 64
        assert place.better.mean == pytest.approx(wins)
    # Holm by hand: the smallest p times 3, the next times 2, the last as it is, never falling.
    ordered = sorted(raw, key=lambda name: raw[name])
    expected, least = {}, 0.0
    for factor, name in zip((3, 2, 1), ordered, strict=True):
        least = expected[name] = max(least, min(1.0, factor * raw[name]))
    assert {place.objective: place.p_value for place in places if place.objective != "cross_entropy"} == pytest.approx(
        expected
    )
    verdicts = {place.objective: place.verdict for place in places}
    assert verdicts == {
        "better": "better",
        "worse": "worse",
        "alike": "cannot tell",
        "cross_entropy": "cannot tell",
    }


def test_the_answer_has_its_uncertainty():
    said = " ".join(answer(results()))
    assert said.startswith("Better reads most test digits rightly: 9")
    assert "Better than Cross_entropy: Better by " in said
    assert "Cross_entropy beats Worse by 5." in said or "Cross_entropy beats Worse by 4." in said
    assert "95 % interval" in said and "n = 8" in said
    assert said.endswith("Cannot be told from it: Alike.")


def test_no_better_one_is_said():
    said = answer(results(names=["cross_entropy", "alike"]))
    assert said[1] == "None is better than Cross_entropy beyond chance (of 1)."


def test_one_network_cannot_tell():
    assert answer(results(n=1))[-1] == "One network of each cannot tell an objective from chance: add --seeds."


def test_the_reference_alone_is_ranked():
    (place,) = ranking(results(names=["cross_entropy"]))
    assert np.isnan(place.p_value) and place.difference.mean == 0
