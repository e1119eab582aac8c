"""Metrics: what is reported, exact over a whole data set; and how far mini-batches are off it.

Every metric is finished from the same `Sums`, which are added up over chunks with a mask. Averages of batches would
not do: the last batch is smaller, and a mean over classes or bins is no mean over examples in the first place.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from lab.batches import shuffled
from lab.errors import InputError
from lab.labels import class_numbers
from lab.margins import is_true
from lab.objectives import Objective

BINS = 15  # of the confidence, as in Guo et al. 2017

Logits = Float[Array | np.ndarray, "batch classes"]
Labels = Array | np.ndarray  # class numbers [batch] or one-hot rows, as objectives take them
Mask = Array | np.ndarray | Sequence[bool] | None  # bool [batch], the examples that count; None: all of them
Scalar = Float[Array, ""]


class Sums(NamedTuple):
    """All that the metrics need to know of some examples; the sums of two sets, added, are those of both."""

    confusion: Int[Array, "classes classes"]  # examples by true class and answer
    gaps: Float[Array, " bins"]  # sum of 1[correct] - confidence, by confidence
    squares: Float[Array, ""]  # sum of the squared errors of the probabilities
    surprise: Float[Array, ""]  # sum of -log of the true class's probability


def correct(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    """Whether the largest logit is the true class's; the first of several equal ones counts, as in argmax.

    >>> correct(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([1, 1])).tolist()
    [True, False]
    """
    return jnp.argmax(logits, axis=-1) == labels


def sums(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    mask: Bool[Array, " batch"],
    *,
    bins: int = BINS,
) -> Sums:
    """What the examples under `mask` add to the metrics; what the others hold, NaN even, does not matter.

    >>> sums(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([1, 1]), jnp.array([True, True])).confusion.tolist()
    [[0, 0], [1, 1]]
    """
    classes = logits.shape[1]
    log_probabilities, probabilities = jax.nn.log_softmax(logits), jax.nn.softmax(logits)
    true = is_true(logits, labels)
    confidence = jnp.max(probabilities, axis=1)
    # A bin is open below and closed above, so an edge is in the bin that it ends.
    inner_edges = jnp.asarray(np.arange(1, bins) / bins, dtype=confidence.dtype)
    number = jnp.sum(confidence[:, None] > inner_edges[None, :], axis=1)
    in_bin = number[:, None] == jnp.arange(bins)[None, :]
    gap = jnp.where(mask, correct(logits, labels) - confidence, 0.0)
    squares = jnp.sum((probabilities - true) ** 2, axis=1)
    surprise = -jnp.sum(jnp.where(true, log_probabilities, 0.0), axis=1)
    counts = jnp.zeros((classes, classes), dtype=jnp.int32)
    return Sums(
        confusion=counts.at[labels, jnp.argmax(logits, axis=1)].add(mask.astype(jnp.int32)),
        gaps=jnp.sum(jnp.where(in_bin, gap[:, None], 0.0), axis=0),
        squares=jnp.sum(jnp.where(mask, squares, 0.0)),
        surprise=jnp.sum(jnp.where(mask, surprise, 0.0)),
    )


def finish(total: Sums) -> dict[str, Any]:
    """Every metric, from the sums: scalars of JAX, or of NumPy if the sums are NumPy's.

    All are NaN if a logit is, and all but the dead classes if no example counts.
    """
    right, of_class, answered = total.confusion.diagonal(), total.confusion.sum(axis=1), total.confusion.sum(axis=0)
    examples, present = of_class.sum(), (of_class > 0).sum()
    # A class without examples has nothing right: it adds 0 to the sums over classes.
    found = {
        "accuracy": right.sum() / examples,
        "balanced_accuracy": (right / of_class.clip(1)).sum() / present,
        "macro_f1": (2 * right / (of_class + answered).clip(1)).sum() / present,
        "calibration_error": abs(total.gaps).sum() / examples,
        "brier": total.squares / examples,
        "log_score": total.surprise / examples,
        "dead_classes": ((of_class > 0) & (answered == 0)).sum(),
    }
    # Argmax takes the first NaN for the largest logit, so that counts would look like those of a network that answers.
    array = jnp if isinstance(total.surprise, jax.Array) else np
    return {name: array.where(array.isnan(total.surprise), np.nan, value) for name, value in found.items()}


@partial(jax.jit, static_argnames="bins")
def _finished(logits: Array, labels: Array, mask: Array, bins: int) -> dict[str, Scalar]:
    return finish(sums(logits, labels, mask, bins=bins))


def _metrics(logits: Logits, labels: Labels, mask: Mask, bins: int = BINS) -> dict[str, Scalar]:
    labels = class_numbers(labels, shape=jnp.shape(logits))
    mask = jnp.ones(labels.shape, dtype=bool) if mask is None else jnp.asarray(mask)
    if mask.dtype != bool or mask.shape != labels.shape:
        raise InputError(f"the mask must be bool of shape {labels.shape}; got {mask.dtype} of shape {mask.shape}.")
    return _finished(jnp.asarray(logits), labels, mask, bins)


def accuracy(logits: Logits, labels: Labels, *, mask: Mask = None) -> Scalar:
    """The share of examples whose largest logit is the true class's, in [0, 1]; NaN, as all metrics, if a logit is.

    >>> float(accuracy(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([1, 1])))
    0.5
    """
    return _metrics(logits, labels, mask)["accuracy"]


def balanced_accuracy(logits: Logits, labels: Labels, *, mask: Mask = None) -> Scalar:
    """The mean over the classes of the share that is answered correctly, in [0, 1].

    mean over a of C_aa / sum_b C_ab, with C_ab the examples of class a that are answered b; a runs over the classes
    that the labels hold. Source: Brodersen et al. 2010, The balanced accuracy and its posterior distribution.

    >>> float(balanced_accuracy(jnp.zeros((4, 2)), jnp.array([0, 0, 0, 1])))  # the mean of 3/3 and 0/1
    0.5
    """
    return _metrics(logits, labels, mask)["balanced_accuracy"]


def macro_f1(logits: Logits, labels: Labels, *, mask: Mask = None) -> Scalar:
    """The mean over the classes of F1, the harmonic mean of precision and recall, in [0, 1].

    mean over a of 2 C_aa / (sum_b C_ab + sum_b C_ba), with C_ab the examples of class a that are answered b; a runs
    over the classes that the labels hold. It is not the F1 of mean precision and mean recall.
    Source: Opitz and Burst 2019, Macro F1 and macro F1.

    >>> logits = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> float(macro_f1(logits, jnp.array([0, 0, 1, 1])).round(3))  # the mean of 4/5 and 2/3
    0.733...
    """
    return _metrics(logits, labels, mask)["macro_f1"]


def calibration_error(logits: Logits, labels: Labels, *, mask: Mask = None, bins: int = BINS) -> Scalar:
    """By how much confidence and accuracy differ, the expected calibration error, in [0, 1].

    sum over bins of |sum in the bin of (1[correct] - confidence)| / n, the confidence being the largest probability
    and the bins ((b-1)/bins, b/bins] equally wide. The number of bins is part of what is measured: few hide errors
    of opposite sign, many make noise into error. Raises: InputError if bins < 1.
    Source: Guo et al. 2017, On calibration of modern neural networks.

    >>> float(calibration_error(jnp.zeros((4, 2)), jnp.array([0, 0, 0, 1])))  # sure to 1/2, right in 3/4
    0.25
    """
    if bins < 1:
        raise InputError(f"the calibration error needs at least 1 bin; got {bins}.")
    return _metrics(logits, labels, mask, bins)["calibration_error"]


def brier_score(logits: Logits, labels: Labels, *, mask: Mask = None) -> Scalar:
    """The mean squared error of the probabilities, in [0, 2]; 0 is best.

    mean over examples of sum_j (p_j - 1[j = y])^2. Source: Brier 1950, Verification of forecasts expressed in terms
    of probability.

    >>> float(brier_score(jnp.array([[0.0, 0.0]]), jnp.array([1])))
    0.5
    """
    return _metrics(logits, labels, mask)["brier"]


def log_score(logits: Logits, labels: Labels, *, mask: Mask = None) -> Scalar:
    """The mean of -log p_y in nats, in [0, inf); 0 is best. p_y may be too small for a float, its logarithm is not.

    Source: Good 1952, Rational decisions.

    >>> float(log_score(jnp.array([[0.0, 1000.0]]), jnp.array([0])))
    1000.0
    """
    return _metrics(logits, labels, mask)["log_score"]


class MinibatchBias(NamedTuple):
    """How far the value of a mini-batch is off that of all examples, in the mean over `draws` of them."""

    bias: float  # mean over the mini-batches - full
    standard_error: float  # of the bias; rounding comes on top, about 1e-7 of the value in float32
    full: float  # the value on all examples
    batch_size: int
    draws: int


@jax.jit
def _means(objective: Objective, logits: Array, labels: Array, batches: Int[Array, "draws batch"]) -> Array:
    return jax.lax.map(lambda batch: jnp.mean(objective(logits[batch], labels[batch])), batches)


def minibatch_bias(
    objective: Objective, logits: Logits, labels: Labels, *, batch_size: int, draws: int, key: PRNGKeyArray
) -> MinibatchBias:
    """How far the objective's mean over a random mini-batch is, in expectation, off its mean over all examples.

    Zero for an objective that is one value per example, whatever the batch size; not for one of a whole batch.
    Each mini-batch is drawn without replacement, and anew: none depends on another.

    Raises: InputError if a batch does not fit into the examples, or for fewer than 2 draws.

    >>> import lab
    >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1, 0])
    >>> loss, key = lab.objective("cross_entropy"), jax.random.key(0)
    >>> found = minibatch_bias(loss, logits, labels, batch_size=2, draws=500, key=key)
    >>> abs(found.bias) < 4 * found.standard_error
    True
    """
    if draws < 2:
        raise InputError(f"a standard error needs at least 2 draws; got {draws}.")
    logits, labels = jnp.asarray(logits), class_numbers(labels, shape=jnp.shape(logits))
    # A key for every draw: batches of one epoch have no example in common, and would depend on one another.
    keys = jax.random.split(key, draws)
    batches = [shuffled(key, 0, 1, examples=len(logits), batch_size=batch_size) for key in keys]
    values = np.asarray(_means(objective, logits, labels, np.concatenate(batches)), dtype=float)
    full = float(jnp.mean(objective(logits, labels)))
    return MinibatchBias(float(values.mean()) - full, float(values.std(ddof=1)) / draws**0.5, full, batch_size, draws)
