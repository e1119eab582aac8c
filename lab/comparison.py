"""The comparison: gradients of many objectives, at several stages of training, over several networks.

`compare` goes from settings and digits to labelled results: seed x stage x objective. Everything the table,
the pictures and the page show is computed here and nowhere else.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lab.batches import ORDERS, shuffled
from lab.catalogue import objective
from lab.data import Dataset
from lab.errors import InputError
from lab.learning import network_of
from lab.measurement import (
    DIFFERENCE_STEPS,
    DIFFERENCE_WEIGHTS,
    LINE_EXAMPLES,
    LINE_OBJECTIVES,
    LINE_OFFSETS,
    MARGIN_EDGES,
    measure,
    move_weights,
)
from lab.metrics import evaluate
from lab.networks import Network
from lab.objectives import Objective
from lab.settings import CompareSettings
from lab.training import optimiser, train

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
SWEPT = ("cross_entropy", "expected_error", "centred_expected_error", "sigmoid_margin", "ramp")


def compared_objectives(settings: CompareSettings) -> tuple[list[Objective], list[bool]]:
    """All objectives to measure, each once, and whether each is shown in the table (or only swept)."""
    standard = STANDARD if settings.standard else STANDARD[:2]
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
    Raises: InputError before anything is computed if settings and data do not fit; FloatingPointError if
      training diverges.
    """
    if settings.examples > len(data.train):
        raise InputError(
            f"--examples must be at most {len(data.train):,}, the training images of {data.description}; "
            f"got {settings.examples:,}."
        )
    objectives, in_table = compared_objectives(settings)
    one_network = partial(
        _one_network,
        settings,
        data,
        objectives,
        # Made once: functions made anew for each network would be compiled anew.
        network_of(settings.training, data),
        objective(settings.training.train_on),
        optimiser(settings.training.optimiser, settings.training.learning_rate),
    )
    by_seed = [
        one_network(settings.seed + i, lambda steps, i=i: progress(steps, f"network {i + 1} of {settings.seeds}"))
        for i in range(settings.seeds)
    ]
    arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *by_seed)
    return _labelled(settings, data, objectives, in_table, arrays)


def _one_network(
    settings: CompareSettings,
    data: Dataset,
    objectives: list[Objective],
    network: Network,
    train_on: Objective,
    transformation: optax.GradientTransformation,
    seed: int,
    progress: Callable[[int], object],
) -> dict[str, Any]:
    """Every measurement of one network: arrays with the stage as their first axis."""
    train_key, batch_key = jax.random.split(jax.random.key(seed))
    (batch,) = shuffled(batch_key, 0, 1, examples=len(data.train), batch_size=settings.examples)
    images = jnp.asarray(data.train.images[batch], dtype=float) / 255
    labels = jnp.asarray(data.train.labels[batch])
    states = train(
        network,
        train_on,
        transformation,
        data.train.images,
        data.train.labels,
        key=train_key,
        stages=settings.stage_steps,
        batch_size=settings.training.batch_size,
        order=ORDERS[settings.training.order],
        progress=progress,
    )
    rows = []
    for state in states:
        parameters = state.parameters
        part = partial(evaluate, network.apply, objectives[0], parameters)
        measured = measure(network, parameters, images, labels, objectives, precision=settings.precision)
        rows.append(
            measured._asdict()
            | move_weights(network, parameters, images, labels, batch_key)
            | {"train_accuracy": part(data.train.images, data.train.labels)["accuracy"]}
            | {"test_accuracy": part(data.test.images, data.test.labels)["accuracy"]}
        )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def _labelled(
    settings: CompareSettings,
    data: Dataset,
    objectives: list[Objective],
    in_table: list[bool],
    arrays: dict[str, Any],
) -> "xarray.Dataset":
    import xarray

    one = ("seed", "stage", "objective")
    dims = {
        "cosine": (*one, "other"),
        "weight_by_margin": (*one, "bin"),
        "examples_by_margin": ("seed", "stage", "bin"),
        "batch_accuracy": ("seed", "stage"),
        "train_accuracy": ("seed", "stage"),
        "test_accuracy": ("seed", "stage"),
        "difference_moved_share": ("seed", "stage", "h"),
        "difference_rms": ("seed", "stage", "h"),
        "difference_loss_deviation": ("seed", "stage", "h"),
        "line": ("seed", "stage", "curve", "offset"),
    }
    names = [str(one) for one in objectives]
    steps = settings.stage_steps
    per_epoch = len(data.train) // settings.training.batch_size
    return xarray.Dataset(
        {name: (dims.get(name, one), array) for name, array in arrays.items()},
        coords={
            "seed": settings.seed + np.arange(settings.seeds),
            "stage": [stage_name(step, per_epoch) for step in steps],
            "step": ("stage", np.array(steps)),
            "objective": names,
            "other": names,
            "title": ("objective", [one.title for one in objectives]),
            "name": ("objective", [one.name for one in objectives]),
            "temperature": (
                "objective",
                [float(one.parameters.get("temperature", jnp.array(jnp.nan))) for one in objectives],
            ),
            "in_table": ("objective", in_table),
            "margin_low": ("bin", MARGIN_EDGES[:-1]),
            "margin_high": ("bin", MARGIN_EDGES[1:]),
            "h": list(DIFFERENCE_STEPS),
            "curve": list(LINE_OBJECTIVES),
            "offset": LINE_OFFSETS,
        },
        attrs={
            "data": data.description,
            "network": network_of(settings.training, data).name,
            "trained_on": settings.training.train_on,
            "recipe": settings.training.recipe,
            "examples": settings.examples,
            "line_examples": min(LINE_EXAMPLES, settings.examples),
            "difference_weights": DIFFERENCE_WEIGHTS,
            "precision": settings.precision,
        },
    )


def stage_name(step: int, steps_per_epoch: int) -> str:
    """A stage as a reader wants it.

    >>> stage_name(0, 90), stage_name(100, 90), stage_name(540, 90)
    ('at the start', '100 steps', '540 steps (6 epochs)')
    """
    if step == 0:
        return "at the start"
    epochs, rest = divmod(step, steps_per_epoch)
    if rest:
        return f"{step:,} steps"
    return f"{step:,} steps ({epochs} epoch{'s' if epochs > 1 else ''})"
