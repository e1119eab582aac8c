"""Statistics: means over seeds, with intervals and their n."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Interval(NamedTuple):
    """A mean with its 95 % interval and the number of values it comes from."""

    mean: float
    low: float
    high: float
    n: int

    def text(self, digits: int = 2) -> str:
        """The interval as a reader wants it; of a single value, the value alone.

        >>> Interval(0.5, 0.4, 0.6, 5).text()
        '0.50 [0.40, 0.60]'
        """
        if self.n < 2:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def mean_interval(
    values: Float[np.ndarray, " n"], *, level: float = 0.95, within: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """The mean and its Student t interval, mean +- t_{n-1} s / sqrt(n).

    Values that are not finite (a cosine with a dead gradient) are left out and not counted in n. With fewer
    than two values left the interval is NaN: one value says nothing about the next. `within` is the range that the
    mean can lie in, (0, 1) for a share: the interval is cut there.

    >>> mean_interval(np.array([1.0, 2.0, 3.0])).text(3)
    '2.000 [-0.484, 4.484]'
    """
    from scipy.special import stdtrit

    finite = np.asarray(values, dtype=float)[np.isfinite(values)]
    n = len(finite)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(finite.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stdtrit(n - 1, (1 + level) / 2) * finite.std(ddof=1) / np.sqrt(n))
    return Interval(mean, max(mean - half, within[0]), min(mean + half, within[1]), n)
