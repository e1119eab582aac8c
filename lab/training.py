"""Training: networks are brought from stage to stage by jitted loops over mini-batches, many at a time.

Networks that train together have two axes, seeds and variants. Those of one seed start alike and see the same
mini-batches: variants (other temperatures, learning rates, objectives of one family) are compared pairwise, and their
first layers share one large product.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, UInt8

from lab.batches import check_batch_size, shuffled
from lab.devices import COMPILED_QUICKLY, Layout, layout, shapes_of_one, spread, stacked
from lab.errors import InputError
from lab.metrics import Labels, correct
from lab.networks import Images, Network, class_labels, scaled
from lab.objectives import check_objectives
from lab.optimisers import Optimiser, as_optimiser
from lab.schedules import Schedule, values

CHUNK = 100  # steps between two looks at the progress bar; one long loop is no faster

Order = Callable[..., Int[np.ndarray, "steps batch"]]


class TrainState(NamedTuple):
    """All that training is, between two steps; the mini-batches follow from the key and the step.

    Of networks that train together every array has the axes [seeds, variants] first.
    """

    parameters: Any
    optimiser_state: Any
    step: int
    losses: Float[np.ndarray, "*networks steps"]  # mini-batch loss of every step since the previous stage
    accuracies: Float[np.ndarray, "*networks steps"]  # mini-batch accuracy, likewise
    finite: Bool[np.ndarray, "*networks"]  # whether parameters and losses are numbers up to here


def _steps(
    apply: Callable[..., Any],
    schedule: Schedule,
    optimiser: Optimiser,
    parameters: Any,
    optimiser_state: Any,
    images: UInt8[Array, "examples pixels"] | Float[Array, "examples pixels"],
    labels: Int[Array, " examples"],
    first: Int[Array, ""],
    count: Int[Array, ""],
    indices: Int[Array, "steps batch"],
) -> tuple[Any, Any, Float[Array, " steps"], Float[Array, " steps"]]:
    """One network after a step for each of the first `count` rows of `indices`; losses and accuracies."""

    def loss(parameters, step, batch):
        logits = apply(parameters, scaled(images[batch]))
        accuracy = jnp.mean(correct(logits, labels[batch]), dtype=logits.dtype)
        return jnp.mean(values(schedule, step, logits, labels[batch])), accuracy

    def step(i, state):
        parameters, optimiser_state, losses, accuracies = state
        (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, first + i, indices[i])
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, parameters)
        return (
            optax.apply_updates(parameters, updates),
            optimiser_state,
            losses.at[i].set(value),
            accuracies.at[i].set(accuracy),
        )

    nothing = jnp.zeros(len(indices), dtype=float)
    # A loop of `count` steps, not a scan over all rows: a shorter chunk at the end is no program of its own.
    return jax.lax.fori_loop(0, count, step, (parameters, optimiser_state, nothing, nothing))


@partial(jax.jit, static_argnames=("apply", "over"), donate_argnames=("parameters", "optimiser_state"))
def _run_chunk(
    apply: Callable[..., Any],
    over: Layout,
    schedules: Schedule,
    optimisers: Optimiser,
    parameters: Any,
    optimiser_state: Any,
    *batches: Array,
) -> tuple[Any, Any, Float[Array, "seeds variants steps"], Float[Array, "seeds variants steps"], Any]:
    """`_steps` of every network, and whether all of each is finite; of `batches` the last, `indices`, is by seed."""

    def steps(*arguments):
        state = _steps(apply, *arguments)
        real = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return *state, jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in real]))

    axes = ("v", "v", "sv", "sv", "", "", "", "", "s")
    return spread(steps, axes, over)(schedules, optimisers, parameters, optimiser_state, *batches)


def _split(keys: Key[Array, " seeds"]) -> Key[Array, "2 seeds"]:
    """The keys of the networks' starts and those of the order of the mini-batches."""
    return jax.vmap(jax.random.split, out_axes=1)(keys)


# It runs but once: compiled with less effort it gives the same numbers, and LeNet-5's is ready in a third of the time.
@partial(
    jax.jit,
    static_argnames=("init", "variants"),
    compiler_options={"xla_backend_optimization_level": 1} | COMPILED_QUICKLY,
)
def _start(
    init: Callable[..., Any], variants: int, optimisers: Optimiser, keys: Key[Array, " seeds"]
) -> tuple[tuple[Any, Any], Key[Array, " seeds"]]:
    """Parameters and optimiser states [seeds, variants], those of a seed alike, and the keys of the batches' order."""

    def network(key, _, optimiser):
        parameters = init(key)
        return parameters, optimiser.init(parameters)

    init_keys, order_keys = _split(keys)
    of_seed = jax.vmap(network, in_axes=(None, 0, 0))
    return jax.vmap(of_seed, in_axes=(0, None, None))(init_keys, jnp.arange(variants), optimisers), order_keys


def initial_shapes(
    network: Network, optimisers: Sequence[Optimiser | optax.GradientTransformation], keys: Key[Array, " seeds"]
) -> Any:
    """The shapes of parameters and optimiser states [seeds, variants, ...] of networks that train together."""
    stack = stacked([as_optimiser(one) for one in optimisers], "optimisers")
    return _start.eval_shape(network.init, len(optimisers), stack, keys)[0]


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _compiled_meanwhile(program: Any, *arguments: Any) -> Future:
    """A jitted function being compiled for arguments, or their shapes, in a thread of its own.

    XLA holds no lock of Python's, so that the caller can trace and compile other programs; once the future is done a
    call finds what was compiled. Traced here: JAX's settings are those of a thread.
    """
    pool = ThreadPoolExecutor(1)
    done = pool.submit(program.lower(*arguments).compile)
    pool.shutdown(wait=False)
    return done


def _orders(
    order: Order, keys: Key[Array, " seeds"], first: int, steps: int, examples: int, batch_size: int
) -> Int[np.ndarray, "seeds steps batch"]:
    """Every seed's mini-batches, drawn side by side: NumPy lets other threads run while it shuffles."""
    with ThreadPoolExecutor() as pool:
        of_seeds = pool.map(lambda key: order(key, first, steps, examples=examples, batch_size=batch_size), keys)
        return np.stack(list(of_seeds))


def train(
    network: Network,
    objective: Schedule,
    optimiser: Optimiser | optax.GradientTransformation,
    images: Images,
    labels: Labels,
    *,
    key: PRNGKeyArray,
    stages: Sequence[int],
    batch_size: int = 100,
    order: Order = shuffled,
    progress: Callable[[int], object] = lambda steps: None,
) -> Iterator[TrainState]:
    """The state of one network's training at each of `stages`, counted in steps (0 is the untouched network).

    Images are pixels 0..255 (uint8), or real numbers, which are taken as they are; labels come in either form.
    The same key gives the same parameters and the same batches, whatever the objective: runs that are compared
    are paired. `progress(steps)` is called as steps are done.

    Raises: InputError unless stages rise from 0 or more, and images, labels and network fit one another;
      FloatingPointError, naming the steps, when the loss or a parameter stops being finite.
    """
    states = train_together(
        network,
        [objective],
        [optimiser],
        images,
        labels,
        keys=key[None],
        stages=stages,
        batch_size=batch_size,
        order=order,
        progress=progress,
    )
    for state in states:
        if not state.finite.all():
            raise diverged(state, objective, optimiser)
        yield jax.tree.map(lambda leaf: leaf if isinstance(leaf, int) else leaf[0, 0], state)


def train_together(
    network: Network,
    objectives: Sequence[Schedule],
    optimisers: Sequence[Optimiser | optax.GradientTransformation],
    images: Images,
    labels: Labels,
    *,
    keys: Key[Array, " seeds"],
    stages: Sequence[int],
    batch_size: int = 100,
    order: Order = shuffled,
    progress: Callable[[int], object] = lambda steps: None,
    start: TrainState | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[TrainState]:
    """The states of many networks' training at each of `stages`: one for each of `keys` and each objective.

    `objectives` and `optimisers` go pairwise: a pair is a variant, and all of them are of one family, so that they
    differ in numbers alone. A seed's variants start alike and see the same mini-batches; a network is the one that
    `train` would make of the same key (to rounding). `start` is an earlier state of the same training, to go on from
    to the later stages: what follows is the same, bit by bit. `stop()` is asked after every chunk; once it is true the
    state is yielded, at whatever step it is, and is the last. Once true it has to stay so.

    A state that is not finite for all networks is yielded at once, whatever its step: `finite` says which it is, and
    who asks for the next state goes on with the others.

    Raises: InputError if stages do not rise from 0 or more, objectives or optimisers are not of one family or not
      as many, or images, labels and network do not fit one another.

    >>> import lab
    >>> images, labels = np.zeros((4, 6), dtype=np.uint8), np.arange(4)
    >>> losses = [lab.objective("expected_error", temperature=t) for t in (0.5, 1.0)]
    >>> states = train_together(
    ...     lab.mlp([5], pixels=6, classes=4), losses, [lab.optimiser("sgd", 0.1)] * 2, images, labels,
    ...     keys=jax.random.split(jax.random.key(0), 3), stages=[7], batch_size=2)
    >>> next(states).losses.shape
    (3, 2, 7)
    """
    if not stages or list(stages) != sorted(set(stages)) or stages[0] < 0:
        raise InputError(f"stages must be rising numbers of steps from 0 on; got {list(stages)}.")
    check_objectives(objectives, Schedule)
    if len(objectives) != len(optimisers):
        raise InputError(
            f"objectives and optimisers go pairwise; got {len(objectives)} objectives and {len(optimisers)} optimisers."
        )
    schedules = stacked(objectives, "objectives")
    transformations = stacked([as_optimiser(one) for one in optimisers], "optimisers")
    check_batch_size(batch_size, len(labels))
    shapes = initial_shapes(network, optimisers, keys) if start is None else (start.parameters, start.optimiser_state)
    labels = class_labels(network.apply, shapes_of_one(shapes[0]), images, labels)
    over = layout(len(keys), len(objectives))
    schedules, padded_transformations = over.padded((schedules, transformations), "v")
    device_images, device_labels = jnp.asarray(images), jnp.asarray(labels)
    left = [stage for stage in stages if start is None or stage > start.step]
    first_chunk = (
        network.apply,
        over,
        schedules,
        padded_transformations,
        *over.placed(jax.eval_shape(lambda tree: over.padded(tree, "sv"), shapes)),
        device_images,
        device_labels,
        0,
        0,
        over.padded(np.zeros((len(keys), CHUNK, batch_size), dtype=np.int32), "s"),
    )
    compiled = _compiled_meanwhile(_run_chunk, *first_chunk) if any(left) else None
    if start is None:
        networks, order_keys = _start(network.init, over.variants, transformations, keys)
        step, alive = 0, np.ones((over.seeds, over.variants), dtype=bool)
    else:
        # Copies: training gives the buffers of its parameters back to the device.
        networks, order_keys = _copied((start.parameters, start.optimiser_state)), _split(keys)[1]
        step, alive = start.step, np.asarray(start.finite)
    parameters, optimiser_state = over.placed(over.padded(networks, "sv"))

    def state() -> TrainState:
        # Copies here as well: what is yielded outlives the next chunk.
        networks = _copied(over.own((parameters, optimiser_state)))
        none = np.zeros((over.seeds, over.variants, 0), dtype=np.float32)
        losses, accuracies = (np.concatenate([none, *part], axis=-1) for part in seen)
        return TrainState(networks[0], networks[1], step, losses, accuracies, alive)

    seen: list[list[np.ndarray]] = [[], []]
    if start is not None and start.step not in stages:
        seen = [[start.losses], [start.accuracies]]
    for stage in left:
        indices, first = over.padded(_orders(order, order_keys, step, stage - step, len(labels), batch_size), "s"), step
        if compiled and step < stage:  # who asks for the untouched networks can look at them meanwhile
            compiled.result()
        while step < stage:
            chunk = indices[:, step - first : step - first + CHUNK]
            count = chunk.shape[1]
            parameters, optimiser_state, *outcome = _run_chunk(
                network.apply,
                over,
                schedules,
                padded_transformations,
                parameters,
                optimiser_state,
                device_images,
                device_labels,
                step,
                count,
                np.pad(chunk, [(0, 0), (0, CHUNK - count), (0, 0)]),
            )
            chunk_losses, chunk_accuracies, finite = over.own(jax.device_get(outcome))
            seen[0].append(chunk_losses[..., :count])
            seen[1].append(chunk_accuracies[..., :count])
            step += count
            progress(count)
            died, alive = (alive & ~finite).any(), alive & finite
            stopped = stop()
            if step < stage and (died or stopped):
                yield state()
                if stopped:
                    return
        # Asked before the state is given away, not after: whoever has it must not be told to stop when it is the last.
        stopped = stop()
        yield state()
        seen = [[], []]
        if stopped:
            return


def diverged(state: TrainState, objective: Schedule, optimiser: Any) -> FloatingPointError:
    """The error of a training that stopped being finite: objective, steps and learning rate."""
    dead = tuple(np.argwhere(~np.asarray(state.finite))[0])
    losses = np.asarray(state.losses)[dead]
    bad = np.flatnonzero(~np.isfinite(losses))
    before = state.step - len(losses)
    what = (
        f"the training loss became {losses[bad[0]]} at step {before + int(bad[0])}"
        if bad.size
        else f"a parameter stopped being finite between steps {max(before, state.step - CHUNK)} and {state.step}"
    )
    rate = getattr(optimiser, "hyperparameters", {}).get("learning_rate")
    at = f", learning rate {float(rate):g}" if rate is not None else ""
    at_once = bad.size and before + bad[0] == 0  # before any step: no learning rate is to blame
    advice = (
        "Try a smaller learning rate." if not at_once else "No step was taken: is the objective to blame? (lab check)"
    )
    return FloatingPointError(f"{what} (objective {objective}{at}). {advice}")
