"""Sweeps: which objective trains the better network, each tuned with the same effort.

Every objective is trained at every learning rate of one grid, by every optimiser, from the same starts on the same
mini-batches. Its own rate and optimiser are chosen by what the networks come to on validation images, in accuracy or
another metric; what they come to on test images has no say in it, and is reported of the chosen ones alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from lab.batches import ORDERS, check_batch_size
from lab.catalogue import objective
from lab.data import Dataset
from lab.devices import networks_that_fit
from lab.errors import InputError, Stopped
from lab.evaluation import evaluate_together
from lab.networks import Network
from lab.objectives import Objective
from lab.optimisers import optimiser
from lab.runs import Run
from lab.saved import network_of
from lab.scoring import metric
from lab.settings import SweepSettings, decayed
from lab.training import train_together

if TYPE_CHECKING:
    import xarray

Row = dict[str, Any]


class Cell(NamedTuple):
    """What is trained, once for every seed: an objective by an optimiser at a learning rate."""

    objective: str
    optimiser: str
    learning_rate: float


def swept_objectives(settings: SweepSettings) -> list[Objective]:
    """The objectives in competition, each once: those with a temperature at every temperature asked for.

    One that names its temperature, as in expected_error:temperature=3, is taken at that alone.

    Raises: InputError for a name, parameter or value that does not exist, and for temperatures that none has a use for.
    """
    found, temperatures = [], settings.temperature_values
    swept = [text for text in settings.objectives if "temperature" in objective(text).parameters]
    swept = [text for text in swept if temperatures and "temperature=" not in text]
    if temperatures and not swept:
        raise InputError(
            f"--temperatures is for objectives that have a temperature and name none; none of "
            f"{', '.join(settings.objectives)} is one. Leave it out."
        )
    for text in settings.objectives:
        one = objective(text)
        if text in swept:
            parameters = dict(one.parameters)
            found += [
                one.definition.make(**(parameters | {"temperature": temperature})) for temperature in temperatures
            ]
        else:
            found.append(one)
    return list({str(one): one for one in [objective(settings.reference), *found]}.values())


def sweep(
    settings: SweepSettings,
    data: Dataset,
    run: Run | None = None,
    *,
    progress: Callable[..., object] = lambda steps, what, more=0: None,
    say: Callable[[str], object] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> "xarray.Dataset":
    """What every objective comes to on validation images at every learning rate, and on test images at the chosen one.

    What counts is `settings.metric`: "validation_" and "test_" with its name; accuracies are there in any case.

    Cells of one family train together. Where an objective's best rate lies on the edge of the grid, the grid is made
    wider on that side for it, by one rate at a time and `settings.widenings` times at most: `widened` says by how
    many. A cell in which any network stops being finite is `diverged`, is never chosen, and the others go on. An
    objective of which all cells have diverged is not in the results; their attribute `lost` names it.

    With a `run`, every family's rows are written to metrics.jsonl as it is done; what is there already is not done
    again. `progress(steps, what)` counts steps as they are done, and `progress(0, what, more)` says that so many are
    to come: those of the grid and, as it is widened, more.

    Raises: InputError before anything is trained if settings and data do not fit; Stopped once `stop()` is true;
      FloatingPointError if the reference diverges at every learning rate.
    """
    contest = _Contest(settings, data, progress, stop)
    rows = _whole(run.metrics(), settings.seeds) if run else []
    if run:
        run.keep_metrics(rows)
    grid = settings.learning_rate_values
    wanted = [Cell(str(one), by, rate) for one in contest.objectives for by in settings.optimisers for rate in grid]
    while wanted:
        done = _scores(rows, contest.metric.name)
        families = contest.families([cell for cell in wanted if cell not in done])
        progress(0, "tuning", sum(map(len, families)) * settings.seeds * contest.stages[-1])
        for family in families:
            found = contest.train(family)
            rows += found
            if run:
                run.add_metrics(found)
        scores = _scores(rows, contest.metric.name)
        wanted = _beyond_the_edges(scores, grid, settings.widenings)
        for cell in wanted:
            lost = scores[_best(scores, objective=cell.objective)] < 0
            how = "diverged at every learning rate" if lost else "best at the edge of the learning rates"
            say(f"{cell.objective}: {how}; {cell.learning_rate:.3g} is tried as well.")
    return _labelled(settings, data, contest, rows)


class _Contest:
    """The networks of a sweep: how cells are put together and trained."""

    def __init__(
        self,
        settings: SweepSettings,
        data: Dataset,
        progress: Callable[..., object],
        stop: Callable[[], bool],
    ):
        examples = len(data.train)
        check_batch_size(settings.batch_size, examples)
        self.settings, self.data, self.progress, self.stop = settings, data, progress, stop
        self.network: Network = network_of(settings.network, data)
        self.objectives = swept_objectives(settings)
        self.metric = metric(settings.metric, classes=len(data.classes))
        self.optimiser = partial(optimiser, weight_decay=settings.weight_decay)
        self.by_name = {str(one): one for one in self.objectives}
        per_epoch = examples // settings.batch_size
        self.stages = [per_epoch * epoch for epoch in range(settings.epochs + 1)]
        self.seeds = range(settings.seed, settings.seed + settings.seeds)
        fit = min(
            networks_that_fit(
                self.network, one, self.optimiser(by, 0.1), data.train.images, batch_size=settings.batch_size
            )
            for one in self.objectives
            for by in settings.optimisers
        )
        # Variants at a time: a seed's networks start alike and are never torn apart by seeds.
        self.together = fit // settings.seeds
        if self.together < 1:
            raise InputError(
                f"{settings.seeds} networks do not fit into memory together; {fit} do (estimated). "
                f"{'Take fewer --seeds.' if fit else 'Take a smaller network, or smaller batches.'}"
            )

    def families(self, cells: Iterable[Cell]) -> list[list[Cell]]:
        """Cells that differ in numbers alone, in groups that fit into memory."""
        groups: dict[Any, list[Cell]] = {}
        for cell in cells:
            groups.setdefault((self.by_name[cell.objective].definition, cell.optimiser), []).append(cell)
        return [
            group[start : start + self.together]
            for group in groups.values()
            for start in range(0, len(group), self.together)
        ]

    def train(self, cells: Sequence[Cell]) -> list[Row]:
        """Trains a family; a row for every cell, seed and epoch, with test images in the last of each.

        Raises: Stopped once it is asked for: a family is done as a whole or not at all.
        """
        objectives = [self.by_name[cell.objective] for cell in cells]
        networks = len(cells) * len(self.seeds)
        said = what = f"{objectives[0].name}, {networks} networks"
        states = train_together(
            self.network,
            objectives,
            [self.optimiser(cell.optimiser, cell.learning_rate) for cell in cells],
            self.data.train.images,
            self.data.train.labels,
            keys=jax.vmap(jax.random.key)(np.array(self.seeds)),
            stages=self.stages,
            batch_size=self.settings.batch_size,
            order=ORDERS[self.settings.order],
            progress=lambda steps: self.progress(steps * networks, said),
            stop=self.stop,
        )
        # By metrics alone: families then share the program that measures them.
        measured = [objective("zero_one")] * len(cells)
        rows = []
        for state in states:
            if self.stop():
                raise Stopped("stopped by Ctrl-C.")
            if state.step not in self.stages:
                continue  # a network has stopped being finite; at the next stage all are measured
            last = state.step == self.stages[-1]
            parts = {"validation": self.data.validation} | ({"test": self.data.test} if last else {})
            found = {
                part: evaluate_together(
                    self.network.apply, measured, state.parameters, of.images, of.labels, metrics=[self.metric]
                )
                for part, of in parts.items()
            }
            kept = [(part, name) for part in parts for name in dict.fromkeys(["accuracy", self.metric.name])]
            for v, cell in enumerate(cells):
                for s, seed in enumerate(self.seeds):
                    row = cell._asdict() | {"seed": seed, "step": state.step, "epoch": self.stages.index(state.step)}
                    row["finite"] = bool(state.finite[s, v])
                    for part, name in [*kept, ("validation", "dead_classes")]:
                        row[f"{part}/{name}"] = float(found[part][name][s, v])
                    rows.append(row)
            best = np.nan_to_num(found["validation"][self.metric.name]).mean(axis=0).max()
            said = f"{what}, validation {self.metric.name} {best:.4f} at best"
        return rows


def _scores(rows: Iterable[Row], metric: str) -> dict[Cell, float]:
    """Each cell's mean on validation images over seeds at the end; -1 where a network stopped being finite."""
    ends: dict[Cell, list[float]] = {}
    for row in rows:
        if "test/accuracy" in row:
            ends.setdefault(_cell(row), []).append(row[f"validation/{metric}"] if row["finite"] else -np.inf)
    return {cell: float(np.mean(values)) if np.isfinite(values).all() else -1.0 for cell, values in ends.items()}


def _best(scores: dict[Cell, float], **of: str) -> Cell:
    """The cell with the best score; of equal ones that with the lower learning rate."""
    cells = [cell for cell in scores if all(getattr(cell, name) == value for name, value in of.items())]
    return max(cells, key=lambda cell: (scores[cell], -cell.learning_rate))


def _beyond_the_edges(scores: dict[Cell, float], grid: Sequence[float], widenings: int) -> list[Cell]:
    """For every objective that is best at the edge of the rates tried, and rises to it, the next rate beyond."""
    if len(grid) < 2:
        return []
    ratio = (grid[-1] / grid[0]) ** (1 / (len(grid) - 1))
    further = []
    for name in dict.fromkeys(cell.objective for cell in scores):
        best = _best(scores, objective=name)
        tried = sorted(cell.learning_rate for cell in scores if cell[:2] == best[:2])
        beyond = {tried[0]: tried[0] / ratio, tried[-1]: tried[-1] * ratio}.get(best.learning_rate)
        inward = best._replace(learning_rate=tried[1] if best.learning_rate == tried[0] else tried[-2])
        if scores[inward] == scores[best] >= 0:  # level there: nothing says that it rises further on
            continue
        widened = sum(cell.objective == name and cell.learning_rate not in grid for cell in scores)
        if beyond and widened < widenings:
            further.append(best._replace(learning_rate=float(f"{beyond:.4g}")))
    return further


def _whole(rows: Sequence[Row], seeds: int) -> list[Row]:
    """The rows of cells that were done as a whole: all of their seeds have come to their end."""
    ends = Counter(_cell(row) for row in rows if "test/accuracy" in row)
    return [row for row in rows if ends[_cell(row)] == seeds]


def _cell(row: Row) -> Cell:
    return Cell(row["objective"], row["optimiser"], row["learning_rate"])


def _labelled(settings: SweepSettings, data: Dataset, contest: _Contest, rows: Sequence[Row]) -> "xarray.Dataset":
    import xarray

    judge = contest.metric.name
    scores = _scores(rows, judge)
    lost = [name for name in contest.by_name if scores[_best(scores, objective=name)] < 0]
    reference = str(objective(settings.reference))
    if reference in lost:
        raise FloatingPointError(
            f"{', '.join(lost)} diverged at every learning rate tried, and the others are compared with {reference}. "
            "Try a smaller learning rate."
        )
    names, seeds, epochs = [name for name in contest.by_name if name not in lost], contest.seeds, len(contest.stages)
    rates, optimisers = sorted({cell.learning_rate for cell in scores}), list(settings.optimisers)
    chosen = [_best(scores, objective=name) for name in names]
    metrics = list(dict.fromkeys(["accuracy", judge]))
    axes = {"tuning": ("objective", "optimiser", "learning_rate", "seed")}
    axes |= {f"test_{name}": ("objective", "seed") for name in metrics}
    followed = [*(f"validation_{name}" for name in metrics), "dead_classes"]
    axes |= {name: ("objective", "seed", "epoch") for name in followed}
    lengths = {"objective": len(names), "optimiser": len(optimisers), "learning_rate": len(rates)}
    lengths |= {"seed": len(seeds), "epoch": epochs}
    values = {name: np.full([lengths[axis] for axis in of], np.nan) for name, of in axes.items()}
    for row in rows:
        if row["objective"] in lost:
            continue
        cell, s = _cell(row), seeds.index(row["seed"])
        o = names.index(cell.objective)
        if "test/accuracy" in row and row["finite"]:
            at = (o, optimisers.index(cell.optimiser), rates.index(cell.learning_rate), s)
            values["tuning"][at] = row[f"validation/{judge}"]
        if cell == chosen[o]:
            values["dead_classes"][o, s, row["epoch"]] = row["validation/dead_classes"]
            for name in metrics:
                values[f"validation_{name}"][o, s, row["epoch"]] = row[f"validation/{name}"]
                if "test/accuracy" in row:
                    values[f"test_{name}"][o, s] = row[f"test/{name}"]
    tried = [[[Cell(name, by, rate) in scores for rate in rates] for by in optimisers] for name in names]
    grid = settings.learning_rate_values
    widened = [sum(cell.objective == name and cell.learning_rate not in grid for cell in scores) for name in names]
    diverged = [sum(score < 0 for cell, score in scores.items() if cell.objective == name) for name in names]
    made = [contest.by_name[name] for name in names]
    return xarray.Dataset(
        {name: (of, values[name]) for name, of in axes.items()}
        | {"tried": (("objective", "optimiser", "learning_rate"), tried)},
        coords={
            "objective": names,
            "optimiser": optimisers,
            "learning_rate": rates,
            "seed": seeds,
            "epoch": np.arange(epochs),
            "step": ("epoch", contest.stages),
            "title": ("objective", [one.title for one in made]),
            "name": ("objective", [one.name for one in made]),
            "chosen_rate": ("objective", [cell.learning_rate for cell in chosen]),
            "chosen_optimiser": ("objective", [cell.optimiser for cell in chosen]),
            "widened": ("objective", widened),
            "diverged": ("objective", diverged),
        },
        attrs={
            "data": data.description,
            "network": contest.network.name,
            "classes": len(data.classes),
            "metric": judge,
            "reference": reference,
            "lost": ", ".join(lost),
            "recipe": f"mini-batches of {settings.batch_size}, {settings.epochs} "
            f"epoch{'s' if settings.epochs > 1 else ''}{decayed(settings.weight_decay)}; learning rate"
            f"{' and optimiser' if len(optimisers) > 1 else ''} chosen for each objective on validation"
            f"{'' if judge == 'accuracy' else f', by {judge}'}",
        },
    )
