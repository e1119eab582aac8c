"""The journal of a training on its way: metrics written down as they come, checkpoints to go on from."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from lab import checkpoints
from lab.runs import Run
from lab.training import TrainState

SHARE = 0.05  # of the time may be spent on checkpoints


class Journal:
    """What is kept in a run's folder; without a run, the rows of metrics alone, in memory."""

    def __init__(self, run: Run | None):
        self.run = run
        self.rows: list[dict[str, Any]] = []
        self.newest: Path | None = None  # the last checkpoint
        self._due = 0.0

    def resume(self, like: Any) -> tuple[TrainState | None, list[str]]:
        """The state to go on from, if there is one, and what is wrong with newer checkpoints.

        `like` is (parameters, optimiser state), or their shapes. Rows of metrics that came after are dropped: they will
        come again.

        Raises: DataError if there are checkpoints and all are damaged; InputError if they are of other networks.
        """
        if self.run is None:
            return None, []
        arrays, complaints = checkpoints.newest(self.run.path)
        if arrays is None:
            self.run.keep_metrics([])
            return None, complaints
        named = {name: arrays.pop(f"[{name!r}]", None) for name in ("step", "losses", "accuracies", "finite")}
        parameters, optimiser_state = checkpoints.fitted({"networks": like}, arrays, self.run.path)["networks"]
        step = int(named.pop("step"))
        self.newest = checkpoints.path_of(self.run.path, step)
        self.rows = [row for row in self.run.metrics() if row["step"] <= step]
        self.run.keep_metrics(self.rows)
        return TrainState(parameters, optimiser_state, step, **named), complaints

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Writes rows of metrics down."""
        self.rows += rows
        if self.run:
            self.run.add_metrics(rows)

    def save(self, state: TrainState, *, at_once: bool = False) -> None:
        """Keeps a checkpoint, unless that took too much of the time since the last one, or `at_once`."""
        began = time.monotonic()
        if self.run is None or (began < self._due and not at_once):
            return
        tree = {"networks": (state.parameters, state.optimiser_state)}
        numbers = {name: np.asarray(getattr(state, name)) for name in ("step", "losses", "accuracies", "finite")}
        self.newest = checkpoints.save(self.run.path, tree | numbers, state.step)
        ended = time.monotonic()
        self._due = ended + (ended - began) * (1 / SHARE - 1)
