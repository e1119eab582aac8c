"""Statistics: what many seeds say together, with intervals, their n, and p-values.

Values that are not finite (a cosine with a dead gradient) are left out and not counted. Too few values give NaN,
never an exception: a table shows what there is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from lab.errors import InputError

Strata = Float[np.ndarray, " n"] | Float[np.ndarray, "strata n"]
Others = Float[np.ndarray, " m"] | Float[np.ndarray, "strata m"]


class Interval(NamedTuple):
    """A mean, or another estimate, with its 95 % interval and the number of values it comes from."""

    mean: float
    low: float
    high: float
    n: int

    def text(self, digits: int = 2) -> str:
        """The interval as a reader wants it; where there is none, as of a single value, the value alone.

        >>> Interval(0.5, 0.4, 0.6, 5).text()
        '0.50 [0.40, 0.60]'
        """
        if np.isnan(self.low):
            return f"{self.mean:,.{digits}f}"
        return f"{self.mean:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


def mean_interval(
    values: Float[np.ndarray, " n"],
    *,
    level: float = 0.95,
    among: int = 1,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """The mean and its Student t interval, mean +- t_{n-1} s / sqrt(n).

    Values that are not finite (a cosine with a dead gradient) are left out and not counted in n. With fewer
    than two values left the interval is NaN: one value says nothing about the next. `within` is the range that the
    mean can lie in, (0, 1) for a share: the interval is cut there.

    `among` is how many alternatives these values were chosen from, by any look at the results. What does best of ten
    does so in part by luck, and its mean is too high; the interval, of level 1 - (1 - level) / among, is so much wider
    that all ten hold their truths together with probability `level`, and so does the one chosen (Bonferroni).

    Raises: InputError if `among` is less than 1 or `level` not between 0 and 1, or for a table in place of a vector.
    Source: Student, 1908, The probable error of a mean; Dunn, 1961, Multiple comparisons among means.

    >>> mean_interval(np.array([1.0, 2.0, 3.0])).text(3)
    '2.000 [-0.484, 4.484]'
    >>> mean_interval(np.array([1.0, 2.0, 3.0]), among=10).text(3)
    '2.000 [-6.134, 10.134]'
    """
    from scipy.special import stdtrit

    _check_level(level)
    if among < 1:
        raise InputError(f"an interval is of one of `among` alternatives, at least 1; got {among}. Were there none?")
    values = _vector(values)
    finite = values[np.isfinite(values)]
    n = len(finite)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(finite.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stdtrit(n - 1, 1 - (1 - level) / among / 2) * finite.std(ddof=1) / np.sqrt(n))
    return Interval(mean, max(mean - half, within[0]), min(mean + half, within[1]), n)


def bootstrap_interval(
    values: Strata, statistic: Callable[..., Any], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """A statistic of all values together, and its stratified bootstrap percentile interval.

    `statistic(array, axis=-1)` reduces the last axis, as numpy.median does. Runs are drawn anew, with replacement,
    within each stratum (a row: one data set, one condition; a vector is one stratum), `resamples` times. The interval
    goes from the quantile (1 - level) / 2 of the statistic of these draws to that of (1 + level) / 2. What is drawn
    depends on `seed` alone, for good.

    The trap: with few runs it is too short. Of 95 % intervals for the mean of normal values, 84 % hold the truth with
    5 values, 91 % with 10, 94 % with 30 (measured). A stratum with a single value does not vary when drawn anew: the
    interval is NaN. A stratum with none is left out. Memory: resamples x n numbers.

    Source: Efron, 1979, Bootstrap methods: another look at the jackknife; Agarwal et al., 2021, Deep reinforcement
    learning at the edge of the statistical precipice (strata).

    >>> bootstrap_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.mean).text(1)
    '3.0 [1.8, 4.2]'
    """
    _check_level(level)
    strata = [kept for row in np.atleast_2d(values).astype(float) if len(kept := row[np.isfinite(row)])]
    if not strata:
        return Interval(np.nan, np.nan, np.nan, 0)
    everything = np.concatenate(strata)
    estimate = float(statistic(everything, axis=-1))
    if min(map(len, strata)) < 2:
        return Interval(estimate, np.nan, np.nan, len(everything))
    bits = np.random.PCG64(seed)
    drawn = np.concatenate([row[_draws(bits, resamples, len(row))] for row in strata], axis=1)
    return Interval(estimate, *_middle(statistic(drawn, axis=-1), level), len(everything))


def median_interval(values: Strata, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The median of all values, and its interval from `bootstrap_interval`.

    It is not the median of the strata's means, which rliable calls the aggregate median.

    >>> median_interval(np.array([1.0, 2.0, 3.0, 4.0, 100.0])).text(1)
    '3.0 [1.0, 100.0]'
    """
    return bootstrap_interval(values, np.median, level=level, resamples=resamples, seed=seed)


def interquartile_mean(values: Strata, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean of the middle half of all values, and its interval from `bootstrap_interval`.

    Of n sorted values the first and the last floor(n / 4) are left out, whole values only, as by
    scipy.stats.trim_mean(values, 0.25) and rliable; below 4 values it is therefore the mean.

    Source: Agarwal et al., 2021, Deep reinforcement learning at the edge of the statistical precipice.

    >>> interquartile_mean(np.array([1.0, 2.0, 3.0, 100.0])).mean
    2.5
    """
    return bootstrap_interval(values, _middle_mean, level=level, resamples=resamples, seed=seed)


def paired_difference(
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " n"],
    *,
    level: float = 0.95,
    among: int = 1,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """The mean of a - b, pair by pair (the same seeds, say), and its Student t interval.

    A pair with a value that is not finite is left out; n counts the pairs that are left. As in `mean_interval`, `among`
    is how many differences this one was chosen from, `within` the range that it can lie in.

    Differences that are all the same, and not 0, have no spread to judge their mean by. Scores that are counted in
    whole images often differ alike by chance, of two networks above all: the interval is NaN until signs alone would
    tell, 2^(1-n) at most (1 - level) / among.

    Raises: InputError if `among` is less than 1, or for what is no two vectors of one length.

    >>> paired_difference(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.5, 2.0])).text(2)
    '0.83 [0.12, 1.55]'
    """
    found = mean_interval(_differences(a, b), level=level, among=among, within=within)
    if (p_value := _without_spread(a, b)) is not None and (1 - level) / among < p_value < 1:
        return found._replace(low=np.nan, high=np.nan)
    return found


def paired_test(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """The two-sided p-value of Student's paired t-test of equal means.

    p = 2 P(T_{n-1} > |t|), t = sqrt(n) mean(a - b) / s(a - b). Without spread it is 1 if a = b; if they differ by a
    constant, which scores that are counted in whole images do by chance, it is the sign test's 2^(1-n). Pairs are left
    out as in `paired_difference`; fewer than two give NaN.

    The trap: it is one test. Of many, `holm` adjusts the p-values.

    Raises: InputError for what is no two vectors of one length.
    Source: Student, 1908, The probable error of a mean.

    >>> round(paired_test(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.5, 2.0])), 4)
    0.0377
    """
    from scipy.special import stdtr

    differences = _differences(a, b)
    n = len(differences)
    if n < 2:
        return np.nan
    if (p_value := _without_spread(a, b)) is not None:
        return p_value
    t = np.sqrt(n) * differences.mean() / differences.std(ddof=1)
    return float(2 * stdtr(n - 1, -abs(t)))


def probability_of_improvement(
    a: Strata, b: Others, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """How probable it is that a run of `a` has a larger value than a run of `b`, and its bootstrap interval.

    P(A > B) + P(A = B) / 2 over all pairs, the Mann-Whitney U over its maximum: 1/2 where neither is better. The runs
    are not paired, and there may be more of one. Of several strata (rows, the same in both) it is the mean; runs are
    drawn anew within each, as by `bootstrap_interval`. n counts the runs of the smaller side.

    The trap: it says how often, not by how much; and where every pair is won, the bootstrap knows nothing but 1.

    Raises: InputError if one has more strata than the other.
    Source: Agarwal et al., 2021, Deep reinforcement learning at the edge of the statistical precipice.

    >>> probability_of_improvement(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0])).text()
    '0.78 [0.33, 1.00]'
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if len(a) != len(b):
        raise InputError(f"runs are compared within strata, rows that both must have; got {len(a)} and {len(b)}.")
    strata = [(x[np.isfinite(x)], y[np.isfinite(y)]) for x, y in zip(a, b, strict=True)]
    strata = [(x, y) for x, y in strata if len(x) and len(y)]
    if not strata:
        return Interval(np.nan, np.nan, np.nan, 0)
    n = min(sum(len(x) for x, _ in strata), sum(len(y) for _, y in strata))
    wins = [(x[:, np.newaxis] > y) + (x[:, np.newaxis] == y) / 2 for x, y in strata]
    estimate = float(np.mean([won.mean() for won in wins]))
    if min(min(won.shape) for won in wins) < 2:
        return Interval(estimate, np.nan, np.nan, n)
    bits = np.random.PCG64(seed)
    drawn = [_drawn_wins(bits, resamples, won) for won in wins]
    return Interval(estimate, *_middle(np.mean(drawn, axis=0), level), n)


def holm(p_values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Adjusted p-values of n tests: the chance that even one <= 0.05 is a false alarm is 5 % at most.

    With p_(1) <= ... <= p_(n): adjusted p_(i) = max over j <= i of (n - j + 1) p_(j), at most 1. It asks nothing of how
    the tests depend on each other. NaN, a test that could not be made, stays NaN and does not count.

    Raises: InputError if a p-value is not in [0, 1].
    Source: Holm, 1979, A simple sequentially rejective multiple test procedure.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    p_values = np.asarray(p_values, dtype=float)
    made = np.flatnonzero(~np.isnan(p_values))
    if np.any((p_values[made] < 0) | (p_values[made] > 1)):
        raise InputError(f"p-values must lie in [0, 1]; got {p_values.tolist()}. Are they test statistics?")
    rising = made[np.argsort(p_values[made], kind="stable")]
    adjusted = p_values.copy()
    adjusted[rising] = np.minimum(np.maximum.accumulate(np.arange(len(rising), 0, -1) * p_values[rising]), 1)
    return adjusted


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"the level of an interval must be between 0 and 1, as 0.95; got {level}.")


def _vector(values: np.ndarray) -> np.ndarray:
    """The values as numbers of double precision; of a table, n would count what is not independent."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1:
        raise InputError(f"a mean is taken of a vector, a value for each seed, say; got an array of {values.shape}.")
    return values


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b where both are finite."""
    a, b = _vector(a), _vector(b)
    if len(a) != len(b):
        raise InputError(f"pairs need as many values on either side; got {len(a)} and {len(b)}.")
    finite = np.isfinite(a) & np.isfinite(b)
    return a[finite] - b[finite]


def _without_spread(a: np.ndarray, b: np.ndarray) -> float | None:
    """The p-value of differences that are all the same, by their signs; None if they are not the same."""
    differences = _differences(a, b)
    # Not exactly: 93.15 - 93.1 is not 94.25 - 94.2, nor is the mean of three 0.1 quite 0.1.
    rounding = 1e-6 * max(np.abs(one[np.isfinite(one)]).max(initial=0.0) for one in map(np.asarray, (a, b)))
    if len(differences) < 2 or np.ptp(differences) > rounding:
        return None
    return 2.0 ** (1 - len(differences)) if np.abs(differences).max() > rounding else 1.0


def _middle_mean(values: np.ndarray, /, *, axis: int) -> np.ndarray | np.floating:
    """The mean without the quarter of the values at either end."""
    n = values.shape[axis]
    return np.take(np.sort(values, axis=axis), np.arange(n // 4, n - n // 4), axis=axis).mean(axis=axis)


def _middle(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """The ends of the middle `level` of what was drawn."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(bits: np.random.PCG64, resamples: int, n: int) -> Int64[np.ndarray, "resamples n"]:
    """Numbers 0..n-1, drawn with replacement."""
    # Raw bits, as in conditions.shuffled: NumPy promises their stream for good, and that of Generator.integers not.
    return (bits.random_raw((resamples, n)) % np.uint64(n)).astype(np.int64)


def _drawn_wins(bits: np.random.PCG64, resamples: int, won: np.ndarray) -> Float[np.ndarray, " resamples"]:
    """The mean of a table of wins [n, m] whose rows and columns are drawn anew."""

    def shares(n: int) -> Float[np.ndarray, "resamples n"]:
        places = _draws(bits, resamples, n) + n * np.arange(resamples)[:, np.newaxis]
        return np.bincount(places.ravel(), minlength=resamples * n).reshape(resamples, n) / n

    # How often each was drawn, not the tables drawn: those would be resamples x n x m numbers.
    rows, columns = map(shares, won.shape)
    return ((rows @ won) * columns).sum(axis=1)
