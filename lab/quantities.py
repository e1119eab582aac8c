"""Quantities: what a comparison measures: title, unit, axes, and one sentence on how to read each.

The results carry these as attributes; the tables, the pictures and the page take their words and limits from here.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lab.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import xarray


class Quantity(NamedTuple):
    """One variable of a comparison's results. Every one has the axes seed and stage before its own."""

    title: str
    unit: str  # of the number, "" where it has none
    axes: tuple[str, ...]
    reading: str  # one sentence; {metric} stands for the name of what gains are counted in
    within: tuple[float, float | None] = (-math.inf, math.inf)  # what is possible; None: all examples there are

    def explained(self, metric: str) -> str:
        """The reading of a comparison that counts gains in this metric."""
        return self.reading.format(metric=metric)


_PER = ("objective",)
_PAIR = ("objective", "other")
_ERROR = "Over the examples: binomial for accuracy, the jackknife's for any other metric."
_POSITIVE, _SHARE, _COSINE, _CHANGE, _EXAMPLES = (0.0, math.inf), (0.0, 1.0), (-1.0, 1.0), (-1.0, 1.0), (0.0, None)

QUANTITIES: dict[str, Quantity] = {
    # The gradient itself.
    "mean_value": Quantity("value", "", _PER, "The objective's mean over the examples: what its gradient is of."),
    "norm": Quantity(
        "gradient norm",
        "objective per unit of weight",
        _PER,
        "How steep: 0 means that gradient descent stands still; across objectives it is a matter of the learning rate.",
        within=_POSITIVE,
    ),
    "layer_norm": Quantity(
        "gradient norm by layer",
        "objective per unit of weight",
        (*_PER, "layer"),
        "Which layer is asked to change; the squares add up to that of the gradient norm.",
        within=_POSITIVE,
    ),
    "dead": Quantity(
        "dead",
        "",
        _PER,
        "True where the gradient is exactly 0, or a step of 1 along it is lost to float32's rounding.",
    ),
    # Where it points.
    "cosine": Quantity(
        "cosine",
        "",
        _PAIR,
        "1 is the same direction, 0 has nothing to do with it, -1 is opposite; undefined with 0.",
        within=_COSINE,
    ),
    "angle": Quantity(
        "angle",
        "degrees",
        _PAIR,
        "The angle of that cosine: 90 degrees is as far as two random directions are.",
        within=(0.0, 180.0),
    ),
    "norm_ratio": Quantity(
        "norm ratio",
        "",
        _PAIR,
        "By how much the first gradient is longer: divide the learning rate by it for steps of one length.",
        within=_POSITIVE,
    ),
    "projection": Quantity(
        "projection",
        "",
        _PAIR,
        "How much of the second gradient is in the first: what a step along it does to the second objective, relative "
        "to a step along the second's own.",
    ),
    "sign_agreement": Quantity(
        "sign agreement",
        "share of weights",
        _PAIR,
        "Of the weights that both would move, how many go the same way: 0.5 is chance.",
        within=_SHARE,
    ),
    "explained_share": Quantity(
        "explained share",
        "share of the squared gradient",
        _PER,
        "How much of the gradient the chapter's losses together could make up; the rest is something they do not see.",
        within=_SHARE,
    ),
    # Whose it is.
    "effective_examples": Quantity(
        "effective examples",
        "examples",
        _PER,
        "How many examples carry the gradient: if few, most mini-batches say nothing.",
        within=_EXAMPLES,
    ),
    "effective_examples_law": Quantity(
        "effective examples, by law",
        "examples",
        _PER,
        "n f(0) T / R, what a kernel of width T catches of margins with density f(0); a wide one catches fewer.",
        within=_EXAMPLES,
    ),
    "participation_ratio": Quantity(
        "participation ratio",
        "examples",
        _PER,
        "How many examples carry the squared gradient: far below the effective examples, a few heavy ones rule.",
        within=_EXAMPLES,
    ),
    "vanishing_share": Quantity(
        "vanishing share",
        "share of examples",
        _PER,
        "Examples that pull with less than 1 % of the strongest.",
        within=_SHARE,
    ),
    "dead_share": Quantity(
        "dead share",
        "share of examples",
        _PER,
        "Examples whose own gradient is exactly 0: nothing is learnt from them.",
        within=_SHARE,
    ),
    "wrong_way_share": Quantity(
        "wrong-way share",
        "share of examples",
        _PER,
        "Examples whose true logit is pushed down: 0 for every sensible function of a margin.",
        within=_SHARE,
    ),
    "margin_direction_share": Quantity(
        "margin-direction share",
        "share of the squared logit gradient",
        _PER,
        "1 for every function of the soft margin at T = 1; what is missing is spent on the order of the rivals.",
        within=_SHARE,
    ),
    "weight_by_margin": Quantity(
        "weight by margin",
        "share of sum |w|",
        (*_PER, "bin"),
        "Where on the margin axis the pull comes from.",
        within=_SHARE,
    ),
    "weight_quantile": Quantity(
        "weight quantiles",
        "objective per logit",
        (*_PER, "quantile"),
        "How unequal the examples' weights are: a highest far above the median means that few have a say.",
    ),
    # How sure it is.
    "signal_to_noise": Quantity(
        "signal to noise",
        "",
        _PER,
        "|g|^2 over the variance of single examples' gradients: of n examples noise alone gives 1/n.",
        within=_POSITIVE,
    ),
    "certain_share": Quantity(
        "certain share",
        "share of weights",
        _PER,
        "Weights whose slope is more than two standard errors from 0: 0.05 is what chance alone gives.",
        within=_SHARE,
    ),
    "noise_scale": Quantity(
        "noise scale",
        "examples",
        _PER,
        "The mini-batch at which signal and noise are equal: far below it a step is mostly chance, far above it "
        "examples are wasted; undefined where the signal's estimate is not above 0.",
        within=_POSITIVE,
    ),
    "noise_scale_error": Quantity(
        "noise scale, standard error",
        "examples",
        _PER,
        "By the jackknife over the examples of one network.",
        within=_POSITIVE,
    ),
    "batch_cosine": Quantity(
        "mini-batch cosine",
        "",
        (*_PER, "batch_size"),
        "How well a mini-batch's gradient points where all examples' does: 1 perfectly, 0 not at all.",
        within=_COSINE,
    ),
    # What it is good for.
    "alignment": Quantity(
        "alignment",
        "",
        _PER,
        "Cosine of a step along the gradient with the steepest ascent of smoothed accuracy on held-out examples.",
        within=_COSINE,
    ),
    "best_alignment": Quantity(
        "best alignment",
        "",
        (),
        "The same for the best non-negative weight over the soft margin that is straight between 16 nodes; one that "
        "follows these examples more finely can exceed it.",
        within=_COSINE,
    ),
    "gain_length": Quantity(
        "best length",
        "units of weight",
        _PER,
        "How far to go along the gradient for most {metric} on its own examples.",
        within=_POSITIVE,
    ),
    "gain": Quantity(
        "gain, own",
        "share",
        _PER,
        "The {metric} gained by that step on the gradient's own examples: flattered, as the length was chosen there.",
        within=_CHANGE,
    ),
    "gain_error": Quantity("gain, own, standard error", "share", _PER, _ERROR, within=_POSITIVE),
    "gain_held_out": Quantity(
        "gain, held-out",
        "share",
        _PER,
        "The {metric} gained by the same step on held-out examples: who has the usable gradient.",
        within=_CHANGE,
    ),
    "gain_held_out_error": Quantity(
        "gain, held-out, standard error",
        "share",
        _PER,
        _ERROR,
        within=_POSITIVE,
    ),
    "gain_difference": Quantity(
        "gain over cross entropy",
        "share",
        _PER,
        "The held-out gain less cross entropy's, on the same examples: above 0, this gradient is the better one.",
        within=_CHANGE,
    ),
    "gain_difference_error": Quantity(
        "gain over cross entropy, standard error",
        "share",
        _PER,
        f"Paired. {_ERROR}",
        within=_POSITIVE,
    ),
    "predicted": Quantity(
        "predicted change", "", _PER, "The change of the objective that its gradient promises for the step."
    ),
    "realised": Quantity(
        "realised change",
        "",
        _PER,
        "The change that comes: near the predicted one, the step is still in the gradient's reach; above 0, beyond it.",
    ),
    # The margins.
    "examples_by_margin": Quantity(
        "examples by margin", "share of examples", ("bin",), "Where the examples are.", within=_SHARE
    ),
    "margin_density": Quantity(
        "margin density at 0",
        "share of examples per logit",
        (),
        "How crowded the decision boundary is: the examples that a cold smoothed accuracy can still hear.",
        within=_POSITIVE,
    ),
    "margin_density_error": Quantity(
        "margin density at 0, standard error",
        "share of examples per logit",
        (),
        "Over the examples.",
        within=_POSITIVE,
    ),
    "margin_gram_error": Quantity(
        "error of the margin Gram matrix",
        "",
        _PER,
        "How far off its cosine with cross entropy (on the hard margin: with sigmoid_margin) is when it is read off 64 "
        "nodes on the margin's axis: below 0.01 for losses and smooth kernels of width 1 or more.",
        within=_POSITIVE,
    ),
    "best_weight": Quantity(
        "best weight",
        "",
        ("node",),
        "The non-negative weight over the soft margin, straight between 16 nodes, whose gradient raises held-out "
        "accuracy most; fitted to those same examples, so rougher than the truth.",
        within=_POSITIVE,
    ),
    "node_weight": Quantity(
        "cross entropy's weight",
        "",
        ("node",),
        "The same nodes under cross entropy, scaled alike: what it does instead.",
        within=_POSITIVE,
    ),
    "node_margin": Quantity(
        "margin of the node", "logits", ("node",), "Where on the soft margin's axis each of the 64 nodes is."
    ),
    # The network, and single weights moved.
    "batch_accuracy": Quantity(
        "accuracy of the examples", "", (), "Of those whose gradients are compared.", within=_SHARE
    ),
    "train_accuracy": Quantity("training accuracy", "", (), "Over all training images.", within=_SHARE),
    "test_accuracy": Quantity("test accuracy", "", (), "Over all test images.", within=_SHARE),
    "test_metric": Quantity("test metric", "", (), "The {metric} over all test images.", within=_SHARE),
    "difference_moved_share": Quantity(
        "accuracy moved",
        "share of weights",
        ("h",),
        "Weights for which accuracy h to one side is another than h to the other: its difference quotient is not 0.",
        within=_SHARE,
    ),
    "difference_rms": Quantity(
        "difference quotient of accuracy",
        "per unit of weight",
        ("h",),
        "Root mean square over weights: no limit as h falls.",
        within=_POSITIVE,
    ),
    "difference_loss_deviation": Quantity(
        "cross entropy's difference quotient off its gradient",
        "",
        ("h",),
        "Relative; small where h suits float32.",
        within=_POSITIVE,
    ),
    "line": Quantity(
        "mean along one weight", "", ("curve", "offset"), "Each objective's mean as the steepest weight moves."
    ),
}


def metric_of(results: "xarray.Dataset") -> str:
    """The name of the metric that gains are counted in, or networks are ranked by.

    >>> import xarray
    >>> metric_of(xarray.Dataset(attrs={"metric": "macro_f1"}))
    'macro_f1'
    """
    return str(results.attrs.get("metric", "accuracy"))


def interval(results: "xarray.Dataset", quantity: str, values: Any, *, scale: float = 1.0, among: int = 1) -> Interval:
    """The mean of a quantity's values over networks with its interval (`mean_interval`), cut at what is possible.

    >>> import xarray
    >>> results = xarray.Dataset(attrs={"examples": 100})
    >>> interval(results, "cosine", [0.9, 1.0, 0.8]).text(), interval(results, "effective_examples", [99, 90]).text(0)
    ('0.90 [0.65, 1.00]', '94 [37, 100]')
    """
    low, high = QUANTITIES[quantity].within
    limits = low * scale, (float(results.attrs["examples"]) if high is None else high) * scale
    return mean_interval(scale * np.asarray(values, dtype=float), among=among, within=limits)
