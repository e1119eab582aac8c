"""The comparison: gradients of many objectives, at several stages of training, over several networks.

`compare` goes from settings and digits to labelled results: seed x stage x objective. Everything the table,
the pictures and the page show is computed here and nowhere else.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from lab import diagnostics
from lab.batches import ORDERS, shuffled
from lab.catalogue import objective
from lab.data import Dataset
from lab.errors import InputError
from lab.estimators import finite_differences
from lab.gradients import gram, objective_gradients
from lab.landscape import line
from lab.margins import hard_margin
from lab.metrics import accuracy, evaluate
from lab.networks import Network, mlp
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

MARGIN_EDGES = np.sinh(np.linspace(-np.arcsinh(40.0), np.arcsinh(40.0), 81))  # fine at 0, where it matters
DIFFERENCE_STEPS = (0.001, 0.01, 0.1, 1.0)  # h of the finite differences
DIFFERENCE_WEIGHTS = 16  # weights they are taken at, per network and stage
LINE_OFFSETS = np.linspace(-2.0, 2.0, 401)  # of the one weight that is moved
LINE_EXAMPLES = 100  # few enough for the steps of accuracy to be seen
LINE_OBJECTIVES = (
    "zero_one",
    "cross_entropy",
    "squared_error",
    "expected_error",
    "expected_error:temperature=0.1",
    "sigmoid_margin:temperature=0.1",
)


class Measured(NamedTuple):
    """What one pass over a batch says about every objective's gradient."""

    mean_value: Float[Array, " objectives"]
    norm: Float[Array, " objectives"]
    cosine: Float[Array, "objectives objectives"]
    effective_examples: Float[Array, " objectives"]
    vanishing_share: Float[Array, " objectives"]
    dead: Bool[Array, " objectives"]
    weight_by_margin: Float[Array, "objectives bins"]  # share of sum |w| in each bin of the hard margin
    examples_by_margin: Float[Array, " bins"]  # share of examples in each bin
    batch_accuracy: Float[Array, ""]


@partial(jax.jit, static_argnames=("apply", "precision"))
def measure(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    objectives: Sequence[Objective],
    *,
    precision: str = "highest",
) -> Measured:
    """Every diagnostic of every objective's gradient, in one compiled program."""
    found = objective_gradients(apply, parameters, images, labels, objectives, precision=precision)
    inner = gram(found.gradients, precision=precision)
    pulls = diagnostics.weights(found.cotangents, labels)
    bins = jnp.searchsorted(jnp.asarray(MARGIN_EDGES[1:-1]), hard_margin(found.logits, labels))
    in_bin = bins[:, None] == jnp.arange(len(MARGIN_EDGES) - 1)[None, :]
    size = jnp.abs(pulls)
    total = jnp.sum(size, axis=1, keepdims=True)
    return Measured(
        mean_value=jnp.mean(found.values, axis=1),
        norm=diagnostics.norm(inner),
        cosine=diagnostics.cosine(inner),
        effective_examples=diagnostics.effective_examples(pulls),
        vanishing_share=diagnostics.vanishing_share(pulls),
        dead=diagnostics.is_dead(diagnostics.norm(inner), optax.tree.norm(parameters)),
        weight_by_margin=(size / jnp.where(total > 0, total, 1.0)) @ in_bin.astype(size.dtype),
        examples_by_margin=jnp.mean(in_bin, axis=0),
        batch_accuracy=accuracy(found.logits, labels),
    )


@partial(jax.jit, static_argnames="apply")
def differences(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    positions: Int[Array | np.ndarray, " weights"],
) -> Float[Array, "steps weights 2"]:
    """Finite differences of accuracy and of mean cross entropy at single weights, for each of DIFFERENCE_STEPS."""
    cross_entropy = objective("cross_entropy")

    def value(parameters):
        logits = apply(parameters, images)
        return jnp.stack([accuracy(logits, labels), jnp.mean(cross_entropy(logits, labels))])

    return finite_differences(value, parameters, positions, jnp.array(DIFFERENCE_STEPS))


@partial(jax.jit, static_argnames="apply")
def _cross_entropy_slopes(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
) -> Float[Array, " weights"]:
    """The gradient of mean cross entropy, weight by weight in one row."""
    cross_entropy = objective("cross_entropy")
    slopes = jax.grad(lambda theta: jnp.mean(cross_entropy(apply(theta, images), labels)))(parameters)
    return ravel_pytree(slopes)[0]


@partial(jax.jit, static_argnames="apply")
def staircase(
    apply: Callable[..., Any],
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    position: Int[Array, ""] | np.integer,
) -> Float[Array, "curves offsets"]:
    """The mean of each of LINE_OBJECTIVES while one weight is moved by LINE_OFFSETS."""
    flat, unravel = ravel_pytree(parameters)
    curves = [objective(text) for text in LINE_OBJECTIVES]

    def value(parameters):
        logits = apply(parameters, images)
        return jnp.stack([jnp.mean(curve(logits, labels)) for curve in curves])

    direction = unravel(jnp.zeros_like(flat).at[position].set(1.0))
    return line(value, parameters, direction, jnp.asarray(LINE_OFFSETS)).T


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


def network_of(settings: CompareSettings, data: Dataset) -> Network:
    """The network that the settings describe, for these data."""
    training = settings.training
    return mlp(
        training.hidden_units,
        activation=training.activation,
        pixels=data.train.images.shape[1],
        classes=len(data.classes),
    )


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
        network_of(settings, data),
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
        measured = measure(network.apply, parameters, images, labels, objectives, precision=settings.precision)
        rows.append(
            measured._asdict()
            | _changed_weights(network, parameters, images, labels, batch_key)
            | {"train_accuracy": part(data.train.images, data.train.labels)["accuracy"]}
            | {"test_accuracy": part(data.test.images, data.test.labels)["accuracy"]}
        )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def _changed_weights(
    network: Network,
    parameters: Any,
    images: Float[Array, "batch pixels"],
    labels: Int[Array, " batch"],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """What happens when single weights are moved: finite differences, and a line along the steepest one."""
    slopes = np.asarray(_cross_entropy_slopes(network.apply, parameters, images, labels))
    # Weights on pixels that are black in every image move nothing: they would make any loss look flat.
    alive = np.flatnonzero(slopes)
    # Drawn by NumPy: the number of such weights differs from stage to stage, and JAX would compile for each.
    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    chosen = draw.choice(alive, min(DIFFERENCE_WEIGHTS, len(alive)), replace=False)
    found = np.asarray(differences(network.apply, parameters, images, labels, chosen))
    of_accuracy, of_loss, expected = found[:, :, 0], found[:, :, 1], slopes[chosen]
    few = slice(LINE_EXAMPLES)
    return {
        "difference_moved_share": np.mean(of_accuracy != 0, axis=1),
        "difference_rms": np.sqrt(np.mean(of_accuracy**2, axis=1)),
        "difference_loss_deviation": np.linalg.norm(of_loss - expected, axis=1) / np.linalg.norm(expected),
        "line": staircase(network.apply, parameters, images[few], labels[few], np.argmax(np.abs(slopes))),
    }


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
            "network": network_of(settings, data).name,
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
