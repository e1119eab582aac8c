"""Tuning: one objective trained at each of several learning rates, and looked at where it validates best.

What is compared gets the same effort: the same rates, the same starts, the same mini-batches.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from lab.catalogue import objective
from lab.data import Dataset, Split
from lab.devices import stacked
from lab.errors import unknown
from lab.evaluation import evaluate_together
from lab.networks import Network
from lab.optimisers import Optimiser, optimiser
from lab.schedules import Schedule
from lab.scoring import Metric
from lab.training import TrainState, train_together

LOWER_IS_BETTER = ("loss", "calibration_error", "brier", "log_score", "dead_classes")
Metrics = dict[str, Float[np.ndarray, "seeds stages"]]


class Tuned(NamedTuple):
    """Networks at the learning rate that validates best, by seed and stage; NaN from where a network diverged."""

    learning_rate: float
    validation: Metrics
    test: Metrics
    states: list[TrainState]  # by stage, each [seeds, 1]


def tuned(
    network: Network,
    schedule: Schedule,
    data: Dataset,
    *,
    learning_rates: Sequence[float],
    keys: Key[Array, " seeds"],
    stages: Sequence[int],
    metric: str | Metric = "accuracy",
    optimised_by: str = "sgd",
    weight_decay: float = 0.0,
    batch_size: int = 100,
    start: Any = None,
    progress: Callable[[int], object] = lambda steps: None,
) -> Tuned:
    """The networks of one objective (or schedule), one for each of `keys`, at the learning rate that suits it best.

    The rate is the one with the best mean of `metric` over the seeds on the validation images at the last stage, one of
    those of `lab.evaluate` by name or one's own (`lab.metric`); one at which a network diverges is not chosen. Test
    images are looked at for that rate alone. `start` are parameters [seeds, ...] to begin with in place of the
    network's own. `progress(steps)` counts the steps of training, whatever the number of networks.

    Raises: InputError for a metric that does not exist; FloatingPointError if it diverges at every rate.

    >>> import lab
    >>> data = lab.load_from(lab.DataSettings(subset=500))
    >>> found = tuned(lab.mlp([8]), lab.objective("cross_entropy"), data, learning_rates=[1e-6, 0.1],
    ...     keys=jax.random.split(jax.random.key(0), 2), stages=[0, 50])
    >>> round(found.learning_rate, 1), found.test["accuracy"].shape
    (0.1, (2, 2))
    """
    by = [optimiser(optimised_by, rate, weight_decay=weight_decay) for rate in learning_rates]
    begun = None if start is None else _begun(start, by)
    states = train_together(
        network,
        [schedule] * len(by),
        by,
        data.train.images,
        data.train.labels,
        keys=keys,
        stages=stages,
        batch_size=batch_size,
        progress=progress,
        start=begun,
    )
    kept = [state for state in states if state.step in stages]  # one in between says that a network diverged
    if begun is not None and 0 in stages:
        kept = [begun, *kept]  # training goes on from there and does not yield it
    judge = metric if isinstance(metric, str) else metric.name
    scores = _measured(network, data.validation, kept[-1:], metric)[judge][:, :, 0].mean(axis=0)
    if judge in LOWER_IS_BETTER:
        scores = -scores
    if np.isnan(scores).all():
        said = ", ".join(f"{rate:g}" for rate in learning_rates)
        raise FloatingPointError(f"{schedule} diverged at every learning rate tried ({said}). Try smaller ones.")
    best = int(np.nanargmax(scores))
    chosen = [_variant(state, best) for state in kept]
    validation, test = (
        {name: values[:, 0] for name, values in _measured(network, part, chosen, metric).items()}
        for part in (data.validation, data.test)
    )
    return Tuned(float(learning_rates[best]), validation, test, chosen)


def _begun(start: Any, by: Sequence[Optimiser]) -> TrainState:
    """The state before the first step of networks that begin with given parameters [seeds, ...]."""
    seeds = len(jax.tree.leaves(start)[0])
    # By way of the host, as in `_variant`.
    parameters = jax.tree.map(lambda leaf: jnp.repeat(np.asarray(leaf)[:, None], len(by), axis=1), start)
    of_seed = jax.vmap(lambda optimiser, one: optimiser.init(one))
    state = jax.vmap(of_seed, in_axes=(None, 0))(stacked(by, "optimisers"), parameters)
    nothing = np.zeros((seeds, len(by), 0), dtype=np.float32)
    return TrainState(parameters, state, 0, nothing, nothing, np.ones((seeds, len(by)), dtype=bool))


def _variant(state: TrainState, number: int) -> TrainState:
    # By way of the host: networks that trained together lie on several devices, and those of a variant on some.
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, int) else np.asarray(leaf)[:, number : number + 1], state)


def _measured(
    network: Network, part: Split, states: Sequence[TrainState], metric: str | Metric
) -> dict[str, Float[np.ndarray, "seeds variants stages"]]:
    """Every metric at every state, NaN where a network is not finite."""
    found: dict[str, list[np.ndarray]] = {}
    for state in states:
        errors = [objective("zero_one")] * state.finite.shape[1]
        own = [] if isinstance(metric, str) else [metric]
        values = evaluate_together(network.apply, errors, state.parameters, part.images, part.labels, metrics=own)
        if isinstance(metric, str) and metric not in values:
            raise unknown("metric", metric, values, see="lab.metrics")
        for name, of_networks in values.items():
            found.setdefault(name, []).append(np.where(state.finite, of_networks, np.nan))
    return {name: np.stack(by_stage, axis=-1) for name, by_stage in found.items()}
