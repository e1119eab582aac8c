"""The ranking of a sweep: against SciPy, and in words."""

import numpy as np
import pytest
import scipy.stats
import xarray
from rich.console import Console

from lab.headlines import progress
from lab.ranking import answer, compared, ranking
from lab.tables import ranking_table

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
            "optimiser": ["sgd"],
            "title": ("objective", [name.capitalize() for name in names]),
            "chosen_rate": ("objective", [0.1] * len(names)),
            "chosen_optimiser": ("objective", ["sgd"] * len(names)),
            "widened": ("objective", [0] * len(names)),
            "diverged": ("objective", [0] * len(names)),
        },
        attrs={"reference": "cross_entropy", "network": "784-100-10 relu", "recipe": "sgd", "data": "digits"},
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
        assert place.score.mean == pytest.approx(own.mean()) and place.score.n == 8
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
    by_name = {place.objective: place for place in places}
    for factor, name in zip((3, 2, 1), ordered, strict=True):
        least = expected[name] = max(least, min(1.0, factor * raw[name]))
        test = scipy.stats.ttest_rel(accuracy.sel(objective=name).values, reference)
        at_its_level = test.confidence_interval(1 - 0.05 / factor)
        assert (by_name[name].corrected.low, by_name[name].corrected.high) == pytest.approx(at_its_level)
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
    assert said.startswith("Better reads most test images rightly: 9")
    assert "Better than Cross_entropy: Better by " in said
    assert "Cross_entropy beats Worse by 5." in said or "Cross_entropy beats Worse by 4." in said
    assert "95 % interval" in said and "n = 8" in said
    assert said.endswith("Cannot be told from Cross_entropy: Alike.")


def test_what_is_named_of_several_has_a_wider_interval():
    found = results()
    best, *_, last = ranking(found)
    alike = scipy.stats.t.interval(1 - 0.05 / 4, 7, *mean_and_error(found, "better"))  # the best of four
    said = answer(found)
    found_best = f"{best.score.mean:.1f} [{alike[0]:.1f}, {alike[1]:.1f}] % (for the best of 4; n = 8)"
    assert said[0] == f"Better reads most test images rightly: {found_best}."
    assert alike[0] < best.score.low and alike[1] > best.score.high
    low, high = -last.corrected.high, -last.corrected.low
    assert low < -last.difference.high and f"(95 % interval, corrected, {low:.1f} to {high:.1f}, n = 8)" in said[2]


def mean_and_error(found, name):
    values = 100 * found["test_accuracy"].sel(objective=name).values
    return values.mean(), scipy.stats.sem(values)


def test_an_interval_leaves_out_0_where_the_verdict_does():
    """Twenty sweeps of 12 objectives with differences of all sizes: Holm's correction of p-values and of intervals."""
    decided = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        names = ["cross_entropy", *(f"other-{i}" for i in range(12))]
        shifts = np.append(0.0, random.normal(0, 0.004, 12))
        accuracy = 0.9 + shifts[:, None] + random.normal(0, 0.003, (13, 6))
        found = results(n=6, names=["cross_entropy"] * 13).assign_coords(objective=names)
        found["test_accuracy"] = ("objective", "seed"), accuracy
        for place in ranking(found):
            if place.verdict != "cannot tell":
                decided += 1
                assert place.corrected.low > 0 or place.corrected.high < 0
    assert decided > 20


def test_no_two_accuracies_differ_by_more_than_100_points():
    found = results(n=2, names=["cross_entropy", "worse"])
    found["test_accuracy"] = ("objective", "seed"), [[0.99, 0.98], [0.1, 0.5]]
    _, place = ranking(found)
    assert (place.difference.low, place.difference.high) == (place.corrected.low, place.corrected.high) == (-100, 100)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(ranking_table(found))
    half = scipy.stats.t.ppf(0.975, 1) * 20  # s / sqrt(2) of 10 and 50, of which 30 is too near 0 for the lower half
    assert f"30.0±{min(half, 70):.1f}" in captured.get()


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("shift", [-2.0, -0.3, 0.3, 2.0])
def test_a_difference_is_said_where_its_interval_leaves_out_0(shift, n):
    """Small ones as well as large ones, of two networks as of more, whichever of the two is named first."""
    random = np.random.default_rng(n)
    others = random.normal(90, 1, n)
    for spread in (0.001, 10.0):
        values = others + shift + spread * np.linspace(-1, 1, n)
        by = scipy.stats.ttest_rel(values, others).confidence_interval(0.95)
        said = compared("a", values, "b", others, digits=3)
        if spread > 1:
            interval = f"95 % interval {by.low:.3f} to {by.high:.3f}, n = {n}"
            assert said == f"these networks cannot tell a from b ({shift:+.3f} points, {interval})"
        elif shift > 0:
            assert said == f"a beats b by {shift:.3f} points (95 % interval {by.low:.3f} to {by.high:.3f}, n = {n})"
        else:
            assert said == f"b beats a by {-shift:.3f} points (95 % interval {-by.high:.3f} to {-by.low:.3f}, n = {n})"


def test_two_that_are_ahead_by_the_same_cannot_tell():
    """Of 2,000 images each: 0.05 points are one image."""
    said = compared("a", [93.15, 94.25], "b", [93.1, 94.2], among=18, digits=2)
    interval = "95 % interval for one of 18: unknown, all being the same, n = 2"
    assert said == f"these networks cannot tell a from b (+0.05 points, {interval})"
    found = results(n=2, names=["cross_entropy", "better"])
    found["test_accuracy"] = ("objective", "seed"), [[0.931, 0.942], [0.9315, 0.9425]]
    place = ranking(found)[0]
    assert (place.objective, place.verdict, place.p_value) == ("better", "cannot tell", pytest.approx(0.5))
    console = Console(width=100)
    with console.capture() as captured:
        console.print(ranking_table(found))
    assert "nan" not in captured.get()


def of_shifts(**shifts):
    """Eight networks of each objective, as far from the reference's 90 % as is said, but for a little noise."""
    names = ["cross_entropy", *shifts]
    found = results(names=["cross_entropy"] * len(names))
    noise = np.random.default_rng(5).normal(0, 0.002, (len(names), 8))
    found["test_accuracy"] = ("objective", "seed"), 0.9 + np.array([0.0, *shifts.values()])[:, None] + noise
    return found.assign_coords(objective=names, title=("objective", [name.capitalize() for name in names]))


def interval_of(found, name, level):
    one, reference = (100 * found["test_accuracy"].sel(objective=of).values for of in (name, "cross_entropy"))
    return (one - reference).mean(), *scipy.stats.ttest_rel(one, reference).confidence_interval(level)


def test_the_worst_is_named_and_the_others_are_counted():
    shifts = {"worst": -0.09}
    for more in ("", ", and 1 more", ", and 2 more"):
        found = of_shifts(**shifts)
        (said,) = (one for one in answer(found) if " beats " in one)
        assert said.startswith("Cross_entropy beats Worst by 8.9 points") and said.endswith(f"n = 8){more}.")
        shifts |= {"bad": -0.03} if "bad" not in shifts else {"poor": -0.05}


def test_the_better_ones_are_said_with_intervals_of_the_level_at_which_they_were_tested():
    found = of_shifts(good=0.05, alike=0.0)  # the smaller p-value of two
    mean, low, high = interval_of(found, "good", 1 - 0.05 / 2)
    (said,) = (one for one in answer(found) if one.startswith("Better than"))
    assert said == f"Better than Cross_entropy: Good by {mean:.2f} points ({low:.2f} to {high:.2f})."
    assert (f"{low:.2f}", f"{high:.2f}") != tuple(f"{end:.2f}" for end in interval_of(found, "good", 0.95)[1:])


def test_the_score_of_the_best_ends_at_100_percent():
    found = results(n=2, names=["cross_entropy", "worse"])
    found["test_accuracy"] = ("objective", "seed"), [[0.99, 0.97], [0.1, 0.5]]
    low = 98 - scipy.stats.t.ppf(1 - 0.025 / 2, 1)  # s / sqrt(2) of 97 and 99 is 1
    assert f": 98.0 [{low:.1f}, 100.0] % (for the best of 2; n = 2)." in answer(found)[0]


def test_of_one_network_no_choice_is_spoken_of():
    assert "for the best of" not in answer(results(n=1))[0] and answer(results(n=1))[0].endswith("% (n = 1).")


def test_what_is_the_same_is_not_beaten():
    same = "these networks cannot tell a from b (+0.0 points, 95 % interval 0.0 to 0.0, n = 3)"
    assert compared("a", [3.0, 4.0, 5.0], "b", [3.0, 4.0, 5.0]) == same


def test_one_of_several_has_as_wide_an_interval_whichever_is_named_first():
    a, b = [13.0, 14.0, 15.0], [1.0, 2.5, 3.0]
    said = compared("a", a, "b", b, among=10)
    assert said.startswith("a beats b by 11.8 points (95 % interval for one of 10: ")
    assert compared("b", b, "a", a, among=10) == said


def test_what_was_widened_and_what_diverged_are_not_taken_for_one_another():
    found = results(names=["cross_entropy", "worse"])
    found = found.assign_coords(widened=("objective", [0, 2]), diverged=("objective", [3, 1]))
    assert {one.objective: (one.widened, one.diverged) for one in ranking(found)} == {
        "cross_entropy": (0, 3),
        "worse": (2, 1),
    }


def test_classes_are_dead_that_are_never_predicted_in_the_end():
    found = results(names=["cross_entropy", "worse"])
    found["dead_classes"][1, :, 0], found["dead_classes"][1, :, 1] = 5.0, [0, 1, 0, 1, 0, 1, 0, 1]
    assert [place.dead_classes.mean for place in ranking(found)] == [0.0, 0.5]
    of = "classes that are never predicted"
    assert progress(found) == f"1 of 2 objectives leaves {of}, Worse: 0.5 in the mean of n = 8 networks."
    found["dead_classes"][0, 0, 1] = 1
    assert progress(found) == f"2 of 2 objectives leave {of}, most of all Worse: 0.5 in the mean of n = 8 networks."
    found["dead_classes"][:, :, 1] = 0
    assert progress(found) == "In the end every objective's networks predict every class."


def test_no_better_one_is_said():
    said = answer(results(names=["cross_entropy", "alike"]))
    assert said[1] == "None is better than Cross_entropy beyond chance (of 1)."


def test_one_network_cannot_tell():
    assert answer(results(n=1))[-1] == "One network of each cannot tell an objective from chance: add --seeds."


def test_the_reference_alone_is_ranked():
    (place,) = ranking(results(names=["cross_entropy"]))
    assert np.isnan(place.p_value) and place.difference.mean == 0
