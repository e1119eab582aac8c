"""Learning curves: networks trained on an objective, with every metric after each epoch; stopped and taken up again."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from lab.batches import ORDERS, check_batch_size
from lab.blame import blame
from lab.catalogue import objective
from lab.data import Dataset
from lab.devices import networks_that_fit
from lab.errors import InputError, Stopped
from lab.evaluation import evaluate_together
from lab.journal import Journal
from lab.networks import Network
from lab.optimisers import Optimiser, optimiser
from lab.runs import Run
from lab.saved import network_of
from lab.schedules import Schedule, annealed, at_step, hand_over, tied
from lab.scoring import Metric, metric
from lab.settings import TrainSettings
from lab.training import TrainState, diverged, initial_shapes, train_together

if TYPE_CHECKING:
    import xarray

SPLITS = ("train", "validation", "test")


class Plan(NamedTuple):
    """What settings come to, for some data."""

    network: Network
    schedule: Schedule
    optimiser: Optimiser
    metric: Metric
    stages: list[int]  # steps at which epochs end, from 0 on


def plan(settings: TrainSettings, data: Dataset) -> Plan:
    """What is to be done; everything is checked here, before any of it is.

    Raises: InputError for an unknown name, a batch that does not fit into the data, or more networks than memory.
    """
    training, examples = settings.training, len(data.train)
    check_batch_size(training.batch_size, examples)
    per_epoch = examples // training.batch_size
    found = Plan(
        network_of(training.network, data),
        _schedule(settings, per_epoch * settings.epochs),
        optimiser(training.optimiser, training.learning_rate, weight_decay=training.weight_decay),
        metric(settings.metric, classes=len(data.classes)),
        [per_epoch * epoch for epoch in range(settings.epochs + 1)],
    )
    fit = networks_that_fit(*found[:3], data.train.images, batch_size=training.batch_size)
    if not fit:
        raise InputError("not even one network fits into memory (estimated). Take a smaller one, or smaller batches.")
    if settings.seeds > fit:
        raise InputError(
            f"{settings.seeds} networks do not fit into memory together; {fit} do (estimated). "
            f"Take fewer with --seeds, and the others in a run of their own with --seed {settings.seed + fit}."
        )
    return found


def _schedule(settings: TrainSettings, steps: int) -> Schedule:
    schedule: Schedule = objective(settings.objective)
    if settings.anneal_to:
        schedule = annealed(schedule, to=settings.anneal_to, steps=steps)
    elif settings.margin_quantile:
        schedule = tied(schedule, quantile=settings.margin_quantile)
    if settings.handed_over:
        step, then = settings.handed_over
        if step >= steps:
            raise InputError(f"--hand-over must be at a step below {steps:,}, the steps of training; got {step:,}.")
        schedule = hand_over(schedule, objective(then), step=step)
    return schedule


def learn(
    settings: TrainSettings,
    data: Dataset,
    run: Run | None = None,
    *,
    debug: bool = False,
    progress: Callable[[int, str], object] = lambda steps, what: None,
    say: Callable[[str], object] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple["xarray.Dataset", list[Any]]:
    """Metrics (seed x epoch x split) from epoch 0, the untouched networks, on; and the parameters of each in the end.

    On validation and test images metrics are exact; on training images they are means over the epoch's mini-batches,
    each seen before its step. With a `run`, metrics are written down as they come and checkpoints are kept in its
    folder; where it has some already, training goes on from the newest, to the very same results. `debug`: where
    training diverges, its last steps are done again with every operation checked, and the one to blame is named.

    Raises: InputError if settings and data do not fit; DataError if all checkpoints are damaged; FloatingPointError if
      training diverges; Stopped, with all that is needed to go on kept, once `stop()` is true.
    """
    what = plan(settings, data)
    seeds = list(range(settings.seed, settings.seed + settings.seeds))
    keys = jax.vmap(jax.random.key)(np.array(seeds))
    journal = Journal(run)
    state, complaints = journal.resume(initial_shapes(what.network, [what.optimiser], keys))
    for complaint in complaints:
        say(f"{complaint} Going on from the one before.")
    progress(state.step if state else 0, "going on" if state else "starting")
    said = "training"
    recipe = {"batch_size": settings.training.batch_size, "order": ORDERS[settings.training.order]}
    states = train_together(
        what.network,
        [what.schedule],
        [what.optimiser],
        data.train.images,
        data.train.labels,
        keys=keys,
        stages=what.stages,
        start=state,
        progress=lambda steps: progress(steps, said),
        stop=stop,
        **recipe,
    )
    began = time.perf_counter()
    for found in states:
        if not found.finite.all():
            error = diverged(found, what.schedule, what.optimiser)
            which = int(np.argwhere(~found.finite)[0, 0])
            error.add_note(f"It is the network of seed {seeds[which]}.")
            if debug and state is not None:
                error.add_note(_blamed(what, data, state, found.step, which, keys[which], recipe))
            elif not debug:
                error.add_note("With --debug the operation to blame is named.")
            if journal.newest:
                error.add_note(f"The last good state is {journal.newest}.")
            raise error
        state = found
        if state.step in what.stages:
            rows = _rows(what, data, state, seeds, time.perf_counter() - began)
            journal.add(rows)
            name = what.metric.name
            said = f"validation {name} {np.mean([row[f'validation/{name}'] for row in rows]):.4f}"
        stopped = stop() and state.step < what.stages[-1]
        journal.save(state, at_once=stopped)
        if stopped:
            raise Stopped(f"stopped by Ctrl-C after step {state.step:,} of {what.stages[-1]:,}.")
    assert state is not None, "there is a state before the first step"
    on_host = jax.device_get(state.parameters)
    of_seeds = [jax.tree.map(lambda leaf, i=i: leaf[i, 0], on_host) for i in range(len(seeds))]
    return _labelled(settings, what, data, seeds, journal.rows), of_seeds


def _blamed(
    what: Plan, data: Dataset, good: TrainState, last: int, seed: int, key: PRNGKeyArray, recipe: dict[str, Any]
) -> str:
    """Which operation is to blame that one network was finite at `good` and is not at the step `last`."""
    parameters, optimiser_state = jax.tree.map(lambda leaf: leaf[seed, 0], (good.parameters, good.optimiser_state))
    return blame(
        what.network,
        what.schedule,
        what.optimiser,
        parameters,
        optimiser_state,
        data.train.images,
        data.train.labels,
        key,
        good.step,
        last,
        **recipe,
    )


def _rows(what: Plan, data: Dataset, state: TrainState, seeds: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """A row of metrics for each network, named as in "validation/accuracy"."""
    measured_by = at_step(what.schedule, state.step)
    found = {
        split: evaluate_together(
            what.network.apply,
            [measured_by],
            state.parameters,
            part.images,
            part.labels,
            metrics=[what.metric],
        )
        for split, part in (("validation", data.validation), ("test", data.test))
    }
    rows = []
    for i, seed in enumerate(seeds):
        row: dict[str, Any] = {"seed": seed, "step": state.step, "epoch": what.stages.index(state.step)}
        if state.step:
            row["train/loss"] = float(np.mean(state.losses[i, 0], dtype=float))
            row["train/accuracy"] = float(np.mean(state.accuracies[i, 0], dtype=float))
        row |= {f"{split}/{name}": float(of[i, 0]) for split, part in found.items() for name, of in part.items()}
        rows.append(row | {"time/seconds": round(seconds, 3)})
    return rows


def _labelled(
    settings: TrainSettings, what: Plan, data: Dataset, seeds: Sequence[int], rows: Sequence[dict[str, Any]]
) -> "xarray.Dataset":
    import xarray

    names = dict.fromkeys(name.split("/")[1] for row in rows for name in row if name.split("/")[0] in SPLITS)
    values: dict[str, Any] = {name: np.full((len(seeds), len(what.stages), len(SPLITS)), np.nan) for name in names}
    for row in rows:
        for number, split in enumerate(SPLITS):
            for name in names:
                at = (row["seed"] - settings.seed, row["epoch"], number)
                values[name][at] = row.get(f"{split}/{name}", np.nan)
    return xarray.Dataset(
        {name: (("seed", "epoch", "split"), of) for name, of in values.items()},
        coords={
            "seed": seeds,
            "epoch": np.arange(len(what.stages)),
            "step": ("epoch", what.stages),
            "split": list(SPLITS),
        },
        attrs={
            "data": data.description,
            "network": what.network.name,
            "metric": what.metric.name,
            "objective": str(what.schedule),
            "recipe": settings.training.recipe(str(what.schedule)),
        },
    )
