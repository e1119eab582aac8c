"""The comparison: gradients of many objectives, at several stages of training, over several networks.

`compare` goes from settings and digits to labelled results: seed x stage x objective; and, where it is asked for,
which of the objectives train the better networks (`lab.race`).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray, UInt8

from lab.batches import ORDERS, shuffled
from lab.catalogue import objective
from lab.data import Dataset, some_of
from lab.errors import InputError
from lab.evaluation import evaluate
from lab.measurement import BATCH_SIZES, MARGIN_EDGES, QUANTILES, Batch, measure
from lab.networks import Network, scaled
from lab.objectives import Objective
from lab.optimisers import optimiser
from lab.quantities import QUANTITIES
from lab.race import entered
from lab.runs import Run
from lab.saved import load_network, network_of
from lab.scoring import Metric, metric
from lab.settings import SMOOTHED, CompareSettings, Precision, SweepSettings
from lab.staircase import (
    DIFFERENCE_STEPS,
    DIFFERENCE_WEIGHTS,
    LINE_EXAMPLES,
    LINE_OBJECTIVES,
    LINE_OFFSETS,
    move_weights,
)
from lab.sweeps import sweep
from lab.training import train

if TYPE_CHECKING:
    import xarray

STANDARD = (
    "zero_one",
    "cross_entropy",
    "guarded_cross_entropy",
    "squared_error",
    "brier",
    "gce",
    "crammer_singer",
    "expected_error",
    "expected_error:temperature=0.1",
    "centred_expected_error",
    "sigmoid_margin",
    "ramp",
)
RACERS = (
    "cross_entropy",
    "squared_error",
    "crammer_singer",
    "expected_error",
    "expected_error:temperature=0.1",
    "centred_expected_error",
    "sigmoid_margin",
)
RACE_RATES = (1, 4, 16, 64)  # times the learning rate of training: smoothed errors have small gradients
SWEPT = ("cross_entropy", "expected_error", "centred_expected_error", "sigmoid_margin", "ramp")


def compared_objectives(settings: CompareSettings) -> tuple[list[Objective], list[bool]]:
    """All objectives to measure, each once, and whether each is shown in the table (or only swept)."""
    standard = (*STANDARD, *SMOOTHED.get(settings.metric, ())) if settings.standard else STANDARD[:2]
    shown = [objective(text) for text in (*standard, *settings.objective)]
    swept = [objective(text).definition for text in (SWEPT if settings.standard else ())]
    swept += [own.definition for own in shown if own.definition not in swept]
    sweep = [
        definition.make(temperature=temperature)
        for definition in swept
        if "temperature" in definition.parameters
        for temperature in settings.temperature_values
    ]
    unique = {str(one): (one, True) for one in shown}
    unique |= {str(one): (one, False) for one in sweep if str(one) not in unique}
    objectives, in_table = zip(*unique.values(), strict=True)
    return list(objectives), list(in_table)


def compare(
    settings: CompareSettings,
    data: Dataset,
    *,
    progress: Callable[[int, str], object] = lambda steps, what: None,
) -> "xarray.Dataset":
    """Labelled results: seed x stage x objective, and what is needed to draw them.

    `progress(steps, what)` is told of steps of training done and of what is being done.
    Raises: InputError before anything is computed if settings and data do not fit; DataError for a checkpoint that is
      missing or damaged; FloatingPointError if training diverges, or cross entropy at every rate of the race.
    """
    if settings.examples > len(data.train):
        raise InputError(
            f"--examples must be at most {len(data.train):,}, the training images of {data.description}; "
            f"got {settings.examples:,}."
        )
    judge = metric(settings.metric, classes=len(data.classes))
    with arithmetic(settings.precision):
        objectives, in_table = compared_objectives(settings)
    race = _race(settings, data, progress)
    subjects = _saved(settings, data) if settings.checkpoint else _trained(settings, data)
    by_seed = []
    for i, subject in enumerate(subjects):
        seed = settings.seed + i

        def tell(steps, i=i):
            progress(steps, f"network {i + 1} of {len(subjects)}")

        tell(0)
        states = subject.states(seed, tell)
        by_seed.append(_one_network(settings, data, objectives, judge, subject.network, states, seed))
    arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *by_seed)
    results = _labelled(settings, data, objectives, in_table, judge.name, subjects, arrays)
    return results if race is None else entered(results, race)


def _race(settings: CompareSettings, data: Dataset, progress: Callable[[int, str], object]) -> "xarray.Dataset | None":
    """The sweep in which objectives train networks of the comparison's kind, each at its best of a few rates.

    None where it is not asked for.
    """
    training = settings.training
    if not settings.race:
        return None
    racers = (*RACERS, *SMOOTHED.get(settings.metric, ())) if settings.standard else RACERS[:1]
    chosen = SweepSettings(
        data=settings.data,
        objective=(*racers, *settings.objective),
        metric=settings.metric,
        learning_rates=",".join(f"{training.learning_rate * factor:g}" for factor in RACE_RATES),
        optimiser=training.optimiser,
        weight_decay=training.weight_decay,
        widenings=1,
        network=training.network,
        batch_size=training.batch_size,
        order=training.order,
        epochs=max(1, settings.race * training.batch_size // len(data.train)),
        seeds=settings.seeds,
        seed=settings.seed,
    )
    return sweep(chosen, data, progress=lambda steps, what, more=0: progress(0, f"race: {what}"))


class _Subject(NamedTuple):
    """A network to be measured; `states(seed, tell)` gives its parameters stage by stage, telling of steps done."""

    network: Network
    states: Callable[[int, Callable[[int], object]], Iterable[Any]]
    recipe: str


def _trained(settings: CompareSettings, data: Dataset) -> list[_Subject]:
    """The same network for every seed, to be trained from stage to stage."""
    network = network_of(settings.training.network, data)
    # Made once: functions made anew for each network would be compiled anew.
    train_on = objective(settings.train_on)
    transformation = optimiser(
        settings.training.optimiser, settings.training.learning_rate, weight_decay=settings.training.weight_decay
    )

    def states(seed, tell):
        found = train(
            network,
            train_on,
            transformation,
            data.train.images,
            data.train.labels,
            key=_keys(seed)[0],
            stages=settings.stage_steps,
            batch_size=settings.training.batch_size,
            order=ORDERS[settings.training.order],
            progress=tell,
        )
        return (state.parameters for state in found)

    return [_Subject(network, states, settings.training.recipe(settings.train_on))] * settings.seeds


def _saved(settings: CompareSettings, data: Dataset) -> list[_Subject]:
    """The networks of the checkpoints, each at one stage, as it was saved."""
    files = [file for path in settings.checkpoint for file in (Run(path).networks if path.is_dir() else [path])]
    found = [load_network(file, settings.training.network, data) for file in files]
    names = list(dict.fromkeys(one.network.name for one in found))
    if len(names) > 1:
        raise InputError(f"the checkpoints must be of one kind of network to be averaged; got {', '.join(names)}.")
    # One network's functions for all of them: another's would be compiled anew.
    return [_Subject(found[0].network, lambda seed, tell, one=one: [one.parameters], one.recipe) for one in found]


def _keys(seed: int) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The key of a network's training, and of the choice of its examples."""
    of_training, of_examples = jax.random.split(jax.random.key(seed))
    return of_training, of_examples


def arithmetic(precision: Precision) -> AbstractContextManager[object]:
    """What "float64" means: everything inside is computed in double precision."""
    return jax.enable_x64(True) if precision == "float64" else nullcontext()


def _one_network(
    settings: CompareSettings,
    data: Dataset,
    objectives: list[Objective],
    judge: Metric,
    network: Network,
    states: Iterable[Any],
    seed: int,
) -> dict[str, Any]:
    """Every measurement of one network: arrays with the stage as their first axis."""
    _, key = _keys(seed)
    (batch,) = shuffled(key, 0, 1, examples=len(data.train), batch_size=settings.examples)
    others = some_of(data.validation, settings.examples)
    rows = []
    for parameters in states:
        part = partial(evaluate, network.apply, objective("zero_one"), parameters)
        on_train = part(data.train.images, data.train.labels)
        on_test = part(data.test.images, data.test.labels, metrics=[judge])
        whole = {
            "train_accuracy": on_train["accuracy"],
            "test_accuracy": on_test["accuracy"],
            "test_metric": on_test[judge.name],
        }
        with arithmetic(settings.precision):
            # float is double inside: networks are trained in single precision, and then measured in that of choice.
            measured_on = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), parameters)
            own = _batch(data.train.images[batch], data.train.labels[batch])
            held_out = _batch(others.images, others.labels)
            precision = "highest" if settings.precision == "float64" else settings.precision
            measured = measure(network, measured_on, own, held_out, objectives, metric=judge, precision=precision)
            with jax.default_matmul_precision(precision):
                moved = move_weights(network, measured_on, *own, key)
        rows.append(measured | moved | whole)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def _batch(images: UInt8[np.ndarray, "batch pixels"], labels: Int[np.ndarray, " batch"]) -> Batch:
    return Batch(scaled(images), jnp.asarray(labels))


def _labelled(
    settings: CompareSettings,
    data: Dataset,
    objectives: list[Objective],
    in_table: list[bool],
    judge: str,
    subjects: list[_Subject],
    arrays: dict[str, Any],
) -> "xarray.Dataset":
    import xarray

    names = [str(one) for one in objectives]
    steps = (-1,) if settings.checkpoint else settings.stage_steps
    per_epoch = len(data.train) // settings.training.batch_size
    temperatures = [float(one.parameters.get("temperature", jnp.array(jnp.nan))) for one in objectives]
    network = subjects[0].network
    return xarray.Dataset(
        {
            name: (("seed", "stage", *QUANTITIES[name].axes), array, _said(name, judge))
            for name, array in arrays.items()
        },
        coords={
            "seed": settings.seed + np.arange(len(subjects)),
            "stage": [stage_name(step, per_epoch) for step in steps],
            "step": ("stage", np.array(steps)),
            "objective": names,
            "other": names,
            "title": ("objective", [one.title for one in objectives]),
            "name": ("objective", [one.name for one in objectives]),
            "temperature": ("objective", temperatures),
            "in_table": ("objective", in_table),
            "margin_low": ("bin", MARGIN_EDGES[:-1]),
            "margin_high": ("bin", MARGIN_EDGES[1:]),
            "h": list(DIFFERENCE_STEPS),
            "curve": list(LINE_OBJECTIVES),
            "offset": LINE_OFFSETS,
            "quantile": list(QUANTILES),
            "batch_size": list(BATCH_SIZES),
        },
        attrs={
            "data": data.description,
            "network": network.name,
            "metric": judge,
            "recipe": "; ".join(dict.fromkeys(one.recipe for one in subjects)),
            "examples": settings.examples,
            "held_out_examples": min(settings.examples, len(data.validation)),
            "line_examples": min(LINE_EXAMPLES, settings.examples),
            "difference_weights": DIFFERENCE_WEIGHTS,
            "precision": settings.precision,
        },
    )


def _said(name: str, judge: str) -> dict[str, str]:
    """A variable's attributes: its title, its unit and how to read it."""
    of = QUANTITIES[name]
    return {"long_name": of.title, "units": of.unit or "1", "comment": of.explained(judge)}


def stage_name(step: int, steps_per_epoch: int) -> str:
    """A stage as a reader wants it.

    A network that was saved, at a number of steps that nobody knows, has step -1.

    >>> stage_name(0, 90), stage_name(100, 90), stage_name(540, 90), stage_name(-1, 90)
    ('at the start', '100 steps', '540 steps (6 epochs)', 'as saved')
    """
    if step < 0:
        return "as saved"
    if step == 0:
        return "at the start"
    epochs, rest = divmod(step, steps_per_epoch)
    if rest:
        return f"{step:,} steps"
    return f"{step:,} steps ({epochs} epoch{'s' if epochs > 1 else ''})"
