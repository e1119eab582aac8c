"""Tallies: what a sweep's pictures are drawn from is what the sweep has found."""

import numpy as np
import pytest
import xarray
from test_ranking import results

from lab import sections, tallies
from lab.statistics import mean_interval

RATES = [0.1, 0.3, 1.0]
# Validation accuracy [objective, optimiser, learning rate, seed]; one network of the second diverged at 1.
TUNING = np.array(
    [
        [[[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]], [[0.80, 0.82], [0.90, 0.92], [0.60, 0.64]]],
        [[[0.40, 0.44], [0.70, 0.72], [np.nan, np.nan]], [[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]]],
    ]
)


def test_dots_and_lines_are_the_networks_and_their_intervals():
    found = results()
    rows = tallies.ranking_rows(found)
    assert [row["title"] for row in rows][::3] == ["Better", "Worse"]
    assert {row["title"]: row["verdict"] for row in rows}["Cross_entropy"] == "reference"
    for row in rows:
        of = mean_interval(100 * found["test_accuracy"].sel(objective=row["title"].lower()).values)
        assert (row["mean"], row["low"], row["high"], row["n"]) == (
            *(pytest.approx(x, rel=1e-3) for x in (of.mean, of.low, of.high)),
            8,
        )
    dots = tallies.network_rows(found)
    assert len(dots) == 4 * 8
    for name in found["objective"].values:
        drawn = [dot["score"] for dot in dots if dot["title"] == name.capitalize()]
        np.testing.assert_allclose(drawn, 100 * found["test_accuracy"].sel(objective=name), rtol=1e-3)


def test_tuning_shows_the_chosen_optimiser_at_every_rate_it_was_tried_at():
    tried = np.ones((2, 2, 3), dtype=bool)
    tried[0, 1, 0] = False
    found = xarray.Dataset(
        {"tuning": (("objective", "optimiser", "learning_rate", "seed"), TUNING)}
        | {"tried": (("objective", "optimiser", "learning_rate"), tried)},
        coords={
            "objective": ["a", "b"],
            "optimiser": ["sgd", "adam"],
            "learning_rate": RATES,
            "title": ("objective", ["A", "B"]),
            "chosen_optimiser": ("objective", ["adam", "sgd"]),
            "chosen_rate": ("objective", [0.3, 0.3]),
        },
    )
    rows = tallies.tuning_rows(found)
    assert [(row["title"], row["rate"], row["n"], row["chosen"]) for row in rows] == [
        ("A", 0.3, 2, True),
        ("A", 1.0, 2, False),
        ("B", 0.1, 2, False),
        ("B", 0.3, 2, True),
        ("B", 1.0, 0, False),
    ]
    assert [row["mean"] for row in rows[:4]] == pytest.approx([91, 62, 42, 71])
    assert rows[0]["high"] == 100  # of 90 and 92 the interval is 91 +- 12.7


def test_no_more_classes_can_be_dead_than_are_not_answered():
    """Of two networks, one without a dead class and one with 9: an interval of 114, of which 0 to 9 is possible."""
    dead = np.array([[[0, 0], [0, 9]]])  # [objective, seed, epoch]
    found = xarray.Dataset(
        {
            "dead_classes": (("objective", "seed", "epoch"), dead),
            "validation_accuracy": (("objective", "seed", "epoch"), np.array([[[0.1, 0.9], [0.1, 0.1]]])),
        },
        coords={"objective": ["a"], "title": ("objective", ["A"]), "seed": [0, 1], "epoch": [0, 1]},
        attrs={"reference": "a", "classes": 10, "network": "784-100-10 relu", "recipe": "sgd", "data": "digits"},
    )
    ends = {row["measure"]: (row["low"], row["high"]) for row in tallies.progress_rows(found)}
    assert ends == {"score": (0, 100), "dead": (0, 9)}
    rows = sections._progress(found).rows
    assert [(row["low"], row["high"]) for row in (*rows["progress"], *rows["dead"])] == [(0, 100), (0, 9)]
