"""Intervals and p-values against scipy, and how they are said."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from lab.errors import InputError
from lab.statistics import (
    bootstrap_interval,
    holm,
    interquartile_mean,
    mean_interval,
    median_interval,
    paired_difference,
    paired_test,
    probability_of_improvement,
)

NAN = np.nan


def covered(found, truth):
    return np.mean([one.low <= truth <= one.high for one in found])


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_against_scipy(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = mean_interval(values)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((values.mean(), low, high, n))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(1.0, 5.0, 5)) for _ in range(2000)]
    assert covered(found, 1.0) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))


def test_values_that_are_not_finite_do_not_count():
    assert mean_interval(np.array([1.0, np.nan, 3.0])).n == 2
    assert np.isnan(mean_interval(np.array([np.nan])).mean)
    one = mean_interval(np.array([2.0]))
    assert one.mean == 2.0 and np.isnan(one.low)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_the_best_of_ten_is_covered_as_often_as_is_said(n, alike):
    """Ten alternatives with the same true mean, independent or nearly the same: the one that does best flatters."""
    rng = np.random.default_rng(0)
    draws = np.sqrt(alike) * rng.normal(size=(2000, n, 1)) + np.sqrt(1 - alike) * rng.normal(size=(2000, n, 10))
    best = [one[:, one.mean(axis=0).argmax()] for one in draws]
    assert covered([mean_interval(one, among=10) for one in best], 0.0) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 2000)
    if alike == 0.0:
        assert covered(map(mean_interval, best), 0.0) < 0.9


def test_one_of_several_takes_a_higher_level():
    values = np.array([1.0, 2.0, 4.0])
    assert mean_interval(values, among=10) == mean_interval(values, level=0.995)
    assert paired_difference(values, 0 * values, among=10) == mean_interval(values, among=10)
    with pytest.raises(InputError, match="at least 1; got 0"):
        mean_interval(values, among=0)


class TestBootstrap:
    @pytest.mark.parametrize("n", range(1, 14))
    def test_interquartile_mean_is_scipys_trimmed_mean(self, n):
        values = np.random.default_rng(n).normal(size=n)
        assert interquartile_mean(values).mean == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-12)
        assert median_interval(values).mean == np.median(values)

    def test_an_outlier_moves_the_mean_alone(self):
        values = np.random.default_rng(0).normal(size=20)
        wild = np.where(values == values.max(), 1e6, values)
        assert interquartile_mean(wild).mean == interquartile_mean(values).mean
        assert mean_interval(wild).mean > 1e4

    def test_the_interval_of_the_mean_has_the_plug_in_width(self):
        # The variance of a drawn mean is s^2 (n - 1) / n^2 exactly; the mean of many is nearly normal.
        values = np.random.default_rng(1).normal(3, 2, 400)
        found = bootstrap_interval(values, np.mean, resamples=20_000)
        half = stats.norm.ppf(0.975) * values.std() / np.sqrt(400)
        assert (found.mean, found.low, found.high) == pytest.approx(
            (values.mean(), values.mean() - half, values.mean() + half), abs=0.04 * half
        )

    def test_every_resample_of_two_values_is_seen(self):
        # Means of pairs from {0, 1}: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
        values = np.array([0.0, 1.0])
        assert bootstrap_interval(values, np.mean, level=0.4)[1:3] == (0.5, 0.5)
        assert bootstrap_interval(values, np.mean, level=0.6)[1:3] == (0.0, 1.0)

    @pytest.mark.parametrize("interval", [lambda v: bootstrap_interval(v, np.mean, resamples=500), interquartile_mean])
    def test_coverage(self, interval):
        rng = np.random.default_rng(2)
        found = [interval(rng.normal(1.0, 5.0, (2, 20))) for _ in range(400)]
        assert covered(found, 1.0) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 400))

    def test_few_values_are_covered_as_rarely_as_the_docstring_says(self):
        rng = np.random.default_rng(3)
        found = [bootstrap_interval(rng.normal(size=5), np.mean, resamples=500) for _ in range(2000)]
        assert covered(found, 0.0) == pytest.approx(0.84, abs=4 * np.sqrt(0.84 * 0.16 / 2000))

    def test_strata_keep_their_share(self):
        # Each row is constant: drawn within rows nothing varies, drawn from all it would.
        values = np.array([[0.0] * 5, [10.0] * 5])
        assert bootstrap_interval(values, np.mean) == (5.0, 5.0, 5.0, 10)
        assert bootstrap_interval(values.ravel(), np.mean).high > 7

    def test_order_does_not_move_the_estimate_and_hardly_the_interval(self):
        values = np.random.default_rng(4).normal(size=(3, 30))
        mixed = np.random.default_rng(5).permuted(values, axis=1)
        one, other = interquartile_mean(values), interquartile_mean(mixed)
        assert one.mean == pytest.approx(other.mean, rel=1e-12)
        assert one[1:3] == pytest.approx(other[1:3], abs=0.1 * (one.high - one.low))

    def test_the_draws_depend_on_the_seed_alone(self):
        values = np.arange(7.0) ** 2
        one = bootstrap_interval(values, np.mean, seed=3)
        np.random.default_rng(0).normal(size=9)
        assert one == bootstrap_interval(values, np.mean, seed=3)
        assert one != bootstrap_interval(values, np.mean, seed=4)
        # PCG64's raw stream is fixed for good, and so are these.
        assert one.text(4) == "13.0000 [4.0000, 23.1429]"

    def test_too_few_values_give_nan(self):
        assert bootstrap_interval(np.array([NAN, np.inf]), np.mean).n == 0
        assert np.isnan(median_interval(np.empty(0)).mean)
        one = interquartile_mean(np.array([2.0, NAN]))
        assert (one.mean, one.n) == (2.0, 1) and np.isnan([one.low, one.high]).all()
        lonely = bootstrap_interval(np.array([[1.0, 2.0], [3.0, NAN]]), np.mean)
        assert (lonely.mean, lonely.n) == (2.0, 3) and np.isnan(lonely.low)

    def test_values_that_are_not_finite_are_left_out_stratum_by_stratum(self):
        values = np.array([[1.0, NAN, 2.0, 4.0], [np.inf, NAN, -np.inf, NAN]])
        assert bootstrap_interval(values, np.mean) == bootstrap_interval(np.array([1.0, 2.0, 4.0]), np.mean)

    def test_the_interquartile_mean_is_drawn_as_it_is_asked_for(self):
        values = np.array([1.0, 2.0, 4.0])  # of three it is the mean, whichever are drawn
        ends = []
        for asked in ({}, {"level": 0.5}, {"resamples": 9}, {"resamples": 9, "seed": 3}):
            found = interquartile_mean(values, **asked)
            assert found == pytest.approx(bootstrap_interval(values, np.mean, **asked))
            ends.append(found[1:3])
        assert len(set(ends)) == 4


class TestPairs:
    @pytest.mark.parametrize("n", [2, 3, 10, 100])
    def test_against_scipy(self, n):
        a, b = np.random.default_rng(n).normal(size=(2, n))
        b += 0.3
        expected = stats.ttest_rel(a, b)
        assert paired_test(a, b) == pytest.approx(expected.pvalue, rel=1e-9)
        low, high = expected.confidence_interval(0.95)
        assert paired_difference(a, b) == pytest.approx(((a - b).mean(), low, high, n))

    def test_the_interval_leaves_0_out_where_the_test_rejects(self):
        rng = np.random.default_rng(0)
        for a, b in rng.normal(size=(200, 2, 6)):
            a += 0.8
            found = paired_difference(a, b)
            assert (found.low > 0 or found.high < 0) == (paired_test(a, b) < 0.05)

    def test_another_level_against_scipy(self):
        a, b = np.random.default_rng(5).normal(size=(2, 8))
        low, high = stats.ttest_rel(a, b).confidence_interval(0.8)
        assert paired_difference(a, b, level=0.8)[1:3] == pytest.approx((low, high))

    def test_p_values_are_uniform_where_nothing_differs(self):
        a, b = np.random.default_rng(1).normal(size=(2, 1000, 5))
        p_values = [paired_test(x, y) for x, y in zip(a, b, strict=True)]
        assert stats.kstest(p_values, "uniform").pvalue > 1e-3

    def test_no_spread(self):
        values = np.array([0.1, 0.7, 0.3])
        assert paired_test(values, values) == 1.0
        assert paired_difference(values, values) == (0.0, 0.0, 0.0, 3)

    @pytest.mark.parametrize("among", [1, 20])
    @pytest.mark.parametrize("n", range(2, 14))
    def test_differences_that_are_all_the_same_say_what_their_signs_do(self, n, among):
        """Scores counted in whole images are often ahead by the same, and two that are so by chance proved it."""
        a, b = np.full(n, 0.1), np.zeros(n)  # the mean of three 0.1 is not 0.1
        by_signs = stats.binomtest(n, n).pvalue
        assert paired_test(a, b) == paired_test(b, a) == pytest.approx(by_signs)
        found = paired_difference(a, b, among=among)
        assert (found.mean, found.n) == (pytest.approx(0.1), n)
        assert np.isfinite(found.low) == np.isfinite(found.high) == (by_signs < 0.05 / among)
        assert ("[" in found.text()) == np.isfinite(found.low)

    def test_a_pair_counts_only_whole(self):
        a = np.array([1.0, NAN, np.inf, 4.0, 5.0, 6.0])
        b = np.array([0.0, 1.0, np.inf, NAN, 3.0, 1.0])
        assert paired_difference(a, b) == mean_interval(np.array([1.0, 2.0, 5.0]))
        assert paired_test(a, b) == pytest.approx(stats.ttest_1samp([1.0, 2.0, 5.0], 0)[1])
        assert np.isnan(paired_test(a[:2], b[:2]))
        assert paired_difference(a[1:3], b[1:3]).n == 0

    def test_single_precision_is_not_subtracted_in_it(self):
        a, b = np.array([16777216.0, 1.0], np.float32), np.array([0.25, 0.5], np.float32)
        assert paired_difference(a, b).mean == (16777215.75 + 0.5) / 2


class TestImprovement:
    def test_strata_count_alike_in_the_interval(self):
        # In two of three strata all is won: what is drawn is (2 + the share won in the first) / 3.
        first, won = ([1.0, 3.0], [0.0, 2.0]), ([2.0, 3.0], [0.0, 1.0])
        a, b = (np.array(one) for one in zip(first, won, won, strict=True))
        alone = probability_of_improvement(a[0], b[0])
        found = probability_of_improvement(a, b)
        assert found[:3] == pytest.approx([(2 + one) / 3 for one in alone[:3]])

    def test_a_stratum_without_runs_of_either_side_is_left_out(self):
        a, b = np.array([[2.0, 3.0], [0.2, 0.3]]), np.array([[1.0, 1.5], [0.1, 0.15]])
        b[0] = NAN
        assert probability_of_improvement(a, b) == (1.0, 1.0, 1.0, 2)

    @pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 8), (30, 20)])
    def test_is_mann_whitneys_u(self, n, m):
        rng = np.random.default_rng(n)
        a, b = rng.integers(0, 6, n).astype(float), rng.integers(0, 5, m).astype(float)  # with ties
        found = probability_of_improvement(a, b)
        assert found.mean == pytest.approx(stats.mannwhitneyu(a, b).statistic / (n * m))
        assert found.n == min(n, m)
        assert probability_of_improvement(b, a).mean == pytest.approx(1 - found.mean)

    def test_bounds(self):
        low, high = np.array([1.0, 2.0]), np.array([3.0, 4.0])
        assert probability_of_improvement(high, low)[:3] == (1.0, 1.0, 1.0)
        assert probability_of_improvement(low, high)[:3] == (0.0, 0.0, 0.0)
        assert probability_of_improvement(low, low).mean == 0.5

    def test_a_rising_function_of_the_values_changes_nothing(self):
        a, b = np.random.default_rng(0).normal(size=(2, 9))
        assert probability_of_improvement(np.exp(a), np.exp(b)) == probability_of_improvement(a, b)

    def test_resamples_are_those_of_the_runs(self):
        # Two runs against two, one pair of which is lost: the drawn tables can be counted, 4 x 4 of them.
        a, b = np.array([1.0, 3.0]), np.array([0.0, 2.0])
        drawn = [np.mean([x > y for x, y in product(xs, ys)]) for xs in product(a, a) for ys in product(b, b)]
        for level in (0.3, 0.5, 0.7):
            expected = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
            assert probability_of_improvement(a, b, level=level)[1:3] == pytest.approx(expected)

    def test_coverage(self):
        rng = np.random.default_rng(1)
        truth = stats.norm.cdf(0.5 / np.sqrt(2))
        found = [
            probability_of_improvement(rng.normal(0.5, 1, 25), rng.normal(size=25), resamples=500) for _ in range(500)
        ]
        assert covered(found, truth) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 500))

    def test_strata_are_compared_within(self):
        # The second data set is harder for both: pooled, its runs would lose against the first's.
        a, b = np.array([[2.0, 3.0], [0.2, 0.3]]), np.array([[1.0, 1.5], [0.1, 0.15]])
        assert probability_of_improvement(a, b) == (1.0, 1.0, 1.0, 4)
        a[0] = NAN
        assert probability_of_improvement(a, b) == (1.0, 1.0, 1.0, 2)

    def test_too_few_values_give_nan(self):
        assert np.isnan(probability_of_improvement(np.array([NAN]), np.array([1.0, 2.0])).mean)
        one = probability_of_improvement(np.array([3.0]), np.array([1.0, 2.0]))
        assert (one.mean, one.n) == (1.0, 1) and np.isnan(one.low)


class TestHolm:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),  # 4, 3, 2, 1 times; the last two kept up
            ([0.04, 0.01, 0.03, 0.005], [0.06, 0.03, 0.06, 0.02]),
            ([0.6, 0.7], [1.0, 1.0]),
            ([0.2], [0.2]),
            ([], []),
            ([0.01, NAN, 0.02], [0.02, NAN, 0.02]),
            ([NAN, NAN], [NAN, NAN]),
        ],
    )
    def test_by_hand(self, raw, expected):
        np.testing.assert_allclose(holm(np.array(raw)), expected, rtol=1e-12)

    def test_laws(self):
        rng = np.random.default_rng(0)
        for raw in rng.beta(0.3, 1, size=(200, 7)):
            adjusted, order = holm(raw), rng.permutation(7)
            bonferroni = np.minimum(7 * raw, 1)
            assert (raw <= adjusted).all() and (adjusted <= bonferroni).all()
            assert adjusted.min() == bonferroni.min()
            assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()
            np.testing.assert_array_equal(holm(raw[order]), adjusted[order])

    def test_all_and_only_what_the_steps_reject(self):
        for raw in np.random.default_rng(1).beta(0.3, 3, size=(200, 6)):
            rejected = np.zeros(6, bool)
            for step, i in enumerate(np.argsort(raw)):
                if raw[i] * (6 - step) > 0.05:
                    break
                rejected[i] = True
            np.testing.assert_array_equal(holm(raw) <= 0.05, rejected)

    def test_the_input_stays_as_it_was(self):
        raw = np.array([0.3, 0.1])
        holm(raw)
        assert raw.tolist() == [0.3, 0.1]

    @pytest.mark.parametrize("wrong", [-0.1, 1.5, np.inf])
    def test_what_is_no_p_value(self, wrong):
        with pytest.raises(InputError, match=r"must lie in \[0, 1\]; got"):
            holm(np.array([0.1, wrong, NAN]))


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
@pytest.mark.parametrize("level", [95.0, 0.0, 1.0])
def test_a_level_is_a_share(interval, level):
    with pytest.raises(InputError, match=f"between 0 and 1, as 0.95; got {level}"):
        interval(np.arange(5.0), level=level)
