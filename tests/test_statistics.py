"""Intervals against scipy, and how they are said."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics import mean_interval


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_against_scipy(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = mean_interval(values)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((values.mean(), low, high, n))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(1.0, 5.0, 5)) for _ in range(2000)]
    covered = np.mean([one.low <= 1.0 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))


def test_values_that_are_not_finite_do_not_count():
    assert mean_interval(np.array([1.0, np.nan, 3.0])).n == 2
    assert np.isnan(mean_interval(np.array([np.nan])).mean)
    one = mean_interval(np.array([2.0]))
    assert one.mean == 2.0 and np.isnan(one.low)
