"""Scoring: the metric by which networks are judged and chosen, one of the lab's or the user's own."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lab.errors import InputError, unknown
from lab.labels import class_numbers
from lab.metrics import Labels, finish, sums
from lab.userfile import described, failure, from_user_file, is_own

_EVALUATED = "loss accuracy balanced_accuracy macro_f1 calibration_error brier log_score dead_classes"
TAKEN = (*_EVALUATED.split(), "seed", "epoch", "step", "split")  # names that results have for something else
TOGETHER = 64  # networks that a compiled metric is taken of at a time: it may want as much memory again as logits
_ROUNDING = 1e-6  # by which a mean of shares may come out above 1
_SEE = "python -m lab list metrics"


@dataclass(frozen=True)
class Metric:
    """A metric of all examples of a set at once, from 0 (worst) to 1 (best).

    It need be neither differentiable nor a mean over examples: two sets' values say nothing of that of both.
    """

    name: str
    function: Callable[[Any, Any], Any]  # (logits [batch, classes], labels [batch]) -> a number
    compiled: bool  # by JAX; if it cannot be, it is called with NumPy's arrays, once for each network
    warned: set[tuple[type, str]] = field(default_factory=set, compare=False, repr=False)

    def __call__(
        self, logits: Float[np.ndarray | Array, "*networks batch classes"], labels: Labels
    ) -> Float[np.ndarray, "*networks"]:
        """Its value for every network's logits; NaN for a network whose logits are not finite.

        Raises: InputError if a value is not from 0 to 1, the function fails, or the labels do not fit the logits.

        >>> METRICS["macro_f1"](np.array([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]]), np.array([1, 0]))
        array([1.        , 0.333...])
        """
        logits = np.asarray(logits)
        labels = np.asarray(class_numbers(labels, shape=logits.shape[-2:]))
        each = logits.reshape(-1, *logits.shape[-2:])
        finite = np.isfinite(each).all(axis=(1, 2))
        values = np.full(len(each), np.nan)
        try:
            if self.compiled:  # those that are not finite as well: how many there are is part of a program
                starts = range(0, len(each), TOGETHER)
                found = [_of_each(self.function, each[start : start + TOGETHER], labels) for start in starts]
                values[finite] = np.concatenate(found)[finite]
            else:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    values[finite] = [float(self.function(one, labels)) for one in each[finite]]
                self._warn_once(caught)
        except Exception as error:
            raise InputError(f"metric {self.name!r} fails on {len(labels):,} examples: {failure(error)}") from error
        outside = ~((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)) & finite
        if outside.any():
            raise InputError(
                f"metric {self.name!r} must be a number from 0 (worst) to 1 (best); got {values[outside][0]:g} of "
                f"{len(labels):,} examples. A cost, say, can be given as 1 - cost / the highest there is."
            )
        return np.clip(values, 0.0, 1.0).reshape(logits.shape[:-2])

    def _warn_once(self, caught: Iterable[warnings.WarningMessage]) -> None:
        """Gives each warning of the function once: scikit-learn's come at every call, of which there are thousands."""
        for one in caught:
            if (said := (one.category, str(one.message))) not in self.warned:
                self.warned.add(said)
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


@partial(jax.jit, static_argnames="function")
def _of_each(function: Callable[..., Any], logits: Array, labels: Array) -> Float[Array, " networks"]:
    return jax.vmap(function, in_axes=(0, None))(logits, labels)


def _of_sums(name: str) -> Metric:
    def of(logits, labels):
        return finish(sums(logits, labels, jnp.ones(labels.shape, dtype=bool)))[name]

    return Metric(name, of, compiled=True)


METRICS = {name: _of_sums(name) for name in ("accuracy", "balanced_accuracy", "macro_f1")}


def metric(of: str | Callable[[Any, Any], Any], *, classes: int = 10) -> Metric:
    """A metric by name: one of the lab's, path/to/mine.py:name, or a function itself.

    `of(logits [batch, classes], labels [batch])` returns one number from 0 (worst) to 1 (best). Written with jax.numpy
    it is compiled; one that is not, as those of scikit-learn, is called for each network with NumPy's arrays. It is
    tried on random logits, and on such as are right, of so many `classes`.

    Raises: InputError if there is no such metric, or it fails or returns anything else when tried.

    >>> metric("macro_f1").name
    'macro_f1'
    >>> def top_two(logits, labels):
    ...     return jnp.mean(jnp.sum(logits > jnp.take_along_axis(logits, labels[:, None], 1), axis=1) < 2)
    >>> float(metric(top_two, classes=3)(np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), np.array([1, 2])))
    0.5
    """
    if isinstance(of, str):
        if not is_own(of):
            if of not in METRICS:
                raise unknown("metric", of, METRICS, see=_SEE)
            return METRICS[of]
        file, _, name = of.rpartition(":")
        of = from_user_file(Path(file), name, what="metric")
    if not callable(of):
        raise InputError(f"a metric is a function of logits and labels, or named by a text; got {described(of)}.")
    name = getattr(of, "__name__", "")
    if not name.isidentifier() or name in TAKEN:
        raise InputError(f"a metric of one's own needs a name that is none of {', '.join(TAKEN)}; got {name!r}.")
    return _tried(name, of, classes)


def _tried(name: str, function: Callable[[Any, Any], Any], classes: int) -> Metric:
    """The metric, compiled if it can be: tried on a few examples of every class."""
    labels = np.arange(20 * classes, dtype=np.int32) % classes
    logits = np.random.default_rng(0).normal(size=(len(labels), classes)).astype(np.float32)
    try:
        found, compiled = _of_each(function, logits[None], labels)[0], True
    except Exception:  # whatever it is: without JAX it comes again, or does not matter
        compiled = False
        try:
            found = function(logits, labels)
        except Exception as error:
            raise InputError(
                f"metric {name!r} fails on logits {list(logits.shape)} and labels {list(labels.shape)}: "
                f"{failure(error)}"
            ) from error
    if isinstance(found, np.ndarray):
        found = found[()]  # of an array without axes, its number
    if np.ndim(found) or not isinstance(found, float | int | np.number | np.bool_ | Array):
        raise InputError(f"metric {name!r} must return one number of all examples; it returns {described(found)}.")
    tried = Metric(name, function, compiled)
    by_chance, at_best = tried(logits, labels), tried(10 * np.eye(classes, dtype=np.float32)[labels], labels)
    if at_best < by_chance - _ROUNDING:
        raise InputError(
            f"metric {name!r} must be the higher the better; it gives {at_best:.3g} where every answer is right and "
            f"{by_chance:.3g} where answers are random. Of an error rate, return 1 - it."
        )
    return tried
