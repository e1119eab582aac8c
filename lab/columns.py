"""Columns: what every objective of a comparison is told by, quantity by quantity, in tables and on the page."""

from typing import NamedTuple

from lab.quantities import QUANTITIES


class Column(NamedTuple):
    """A quantity as one column of a table: a short heading, which part of it, and how its number is written."""

    heading: str
    quantity: str
    of: dict[str, str | int]  # the place on the quantity's further axes
    scale: float = 1.0
    digits: str = ".2f"
    note: str = ""  # in place of the quantity's own reading

    def explained(self, metric: str) -> str:
        """One sentence on how to read it, of a comparison that counts gains in this metric."""
        return self.note.format(metric=metric) or QUANTITIES[self.quantity].explained(metric)


_WITH: dict[str, str | int] = {"other": "cross_entropy"}

# What every objective is told by, the most telling first.
COLUMNS = (
    Column(
        "gain", "gain_held_out", {}, 100.0, "+.1f", "Points of held-out {metric} that the best step along it gains."
    ),
    Column(
        "-CE",
        "gain_difference",
        {},
        100.0,
        "+.1f",
        "Points of held-out {metric} it gains more than cross entropy's gradient, on the same images.",
    ),
    Column("align", "alignment", {}),
    Column("S/N", "signal_to_noise", {}, digits=".2g"),
    Column("noise", "noise_scale", {}, digits=",.0f"),
    Column("cos100", "batch_cosine", {"batch_size": 100}, note="Cosine of a mini-batch of 100 with all the examples."),
    Column("n", "effective_examples", {}, digits=",.0f"),
    Column("PR", "participation_ratio", {}, digits=",.0f"),
    Column(
        "sign",
        "sign_agreement",
        _WITH,
        note="Share of weights moved the same way as by cross entropy: 0.5 is chance.",
    ),
    Column("expl", "explained_share", {}),
    Column("along", "margin_direction_share", {}),
    Column("dead%", "dead_share", {}, 100.0, ".0f"),
    Column("wrong%", "wrong_way_share", {}, 100.0, ".0f"),
    Column("silent%", "vanishing_share", {}, 100.0, ".0f"),
    Column(
        "sure%",
        "certain_share",
        {},
        100.0,
        ".0f",
        "Weights whose slope is more than two standard errors from 0: 5 is what chance alone gives.",
    ),
    Column("cos10", "batch_cosine", {"batch_size": 10}, note="Cosine of a mini-batch of 10 with all the examples."),
    Column("cos1", "batch_cosine", {"batch_size": 1}, note="Cosine of a single example's gradient with all of them."),
    Column(
        "angle",
        "angle",
        _WITH,
        digits=".0f",
        note="Degrees from cross entropy's gradient; 90 is how far chance is.",
    ),
    Column(
        "ratio",
        "norm_ratio",
        _WITH,
        digits=".2g",
        note="Its length over cross entropy's: divide the learning rate.",
    ),
    Column("proj", "projection", _WITH, digits=".2g", note="How much of cross entropy's gradient is in it."),
    Column("|g|", "norm", {}, digits=".2g"),
    Column("step", "gain_length", {}, digits=".2g"),
    Column("Gram", "margin_gram_error", {}, digits=".2g"),
    Column("pred", "predicted", {}, digits=".2g"),
    Column("real", "realised", {}, digits=".2g"),
)
