"""Devices: networks that train side by side are spread over all there are, and must fit into their memory.

On a CPU XLA may be told of several devices (JAX_NUM_CPU_DEVICES), each with a thread of its own: small networks, one a
device, keep all cores busier than one network whose products are cut up.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lab.errors import InputError
from lab.networks import Images, Network
from lab.optimisers import Optimiser
from lab.schedules import Schedule, values

# What JAX 0.10's XLA compiles on a CPU in half the time, to the same bits: later ones emit fused loops in one way only.
# For programs that run seldom, or are products in the main: other loops may be slower, Adam's steps by a half.
COMPILED_QUICKLY = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}


class Layout(NamedTuple):
    """How networks [seeds, variants] lie on devices: one of the axes is cut into equal parts, one for each device."""

    seeds: int
    variants: int
    devices: int
    cut: Literal["seed", "variant"]

    def padded(self, tree: Any, axes: str) -> Any:
        """Arrays with `axes` ("s" seeds, "v" variants) first, the last entry repeated until parts are equal."""
        if self._full() == (self.seeds, self.variants):
            return tree
        rows = {
            axis: np.minimum(np.arange(full), length - 1)
            for axis, full, length in zip("sv", self._full(), (self.seeds, self.variants), strict=True)
        }
        index = np.ix_(*(rows[axis] for axis in axes))
        return jax.tree.map(lambda leaf: leaf[index], tree)

    def own(self, tree: Any) -> Any:
        """Arrays [seeds, variants, ...] without what was padded."""
        if self._full() == (self.seeds, self.variants):
            return tree  # JAX would compile and run a slice of each array all the same
        return jax.tree.map(lambda leaf: leaf[: self.seeds, : self.variants], tree)

    def placed(self, tree: Any) -> Any:
        """Padded arrays [seeds, variants, ...], or their shapes, each part on the device that `spread` has it on."""
        if self.devices == 1:
            return tree
        return jax.tree.map(
            lambda leaf: (
                jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._sharding)
                if isinstance(leaf, jax.ShapeDtypeStruct)
                else jax.device_put(leaf, self._sharding)
            ),
            tree,
        )

    @property
    def mesh(self) -> Mesh:
        """The devices that are used, in a row."""
        return Mesh(np.array(jax.devices()[: self.devices]), ("device",), axis_types=(AxisType.Auto,))

    def spec(self, axes: str) -> PartitionSpec:
        """How arrays with `axes` first are cut."""
        return PartitionSpec(*("device" if axis == self.cut[0] else None for axis in axes))

    @property
    def _sharding(self) -> NamedSharding:
        return NamedSharding(self.mesh, self.spec("sv"))

    def _full(self) -> tuple[int, int]:
        """Seeds and variants with what is padded: of the axis that is cut, as many as all devices have."""
        lengths = {"seed": self.seeds, "variant": self.variants}
        lengths[self.cut] = -(-lengths[self.cut] // self.devices) * self.devices
        return lengths["seed"], lengths["variant"]


def layout(seeds: int, variants: int) -> Layout:
    """The layout that keeps most devices busy.

    >>> layout(1, 1)
    Layout(seeds=1, variants=1, devices=1, cut='seed')
    """
    devices = len(jax.devices())
    by_seed, by_variant = min(devices, seeds), min(devices, variants)
    return Layout(seeds, variants, *((by_seed, "seed") if by_seed >= by_variant else (by_variant, "variant")))


def spread(function: Callable[..., Any], axes: Sequence[str], over: Layout) -> Callable[..., Any]:
    """A function of one network, made one of all networks of a padded layout: it returns arrays [seeds, variants, ...].

    `axes` says of each argument which axes it has first: "sv", "s", "v", or "" for what all networks share. Seeds
    are taken in turn on a CPU, at once on what is wider; variants always at once, so that what they share is
    computed once.
    """
    over_variants = jax.vmap(function, in_axes=tuple(0 if "v" in one else None for one in axes))
    if over.variants == 1:
        over_variants = _of_one(function, ["v" in one for one in axes])
    seeds = -(-over.seeds // over.devices) if over.cut == "seed" else over.seeds
    varying = [number for number, one in enumerate(axes) if "s" in one]

    def on_device(*arguments):
        def of_seed(_, parts):
            merged = list(arguments)
            for number, part in zip(varying, parts, strict=True):
                merged[number] = part
            return over_variants(*merged)

        # The number is there for what has no arrays at all, such as a network without parameters.
        of_all = jnp.arange(seeds), [arguments[number] for number in varying]
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda parts: of_seed(*parts), of_all)
        return jax.vmap(of_seed)(*of_all)

    if over.devices == 1:
        return on_device
    return jax.shard_map(
        on_device,
        mesh=over.mesh,
        in_specs=tuple(over.spec(one) for one in axes),
        out_specs=over.spec("sv"),
        check_vma=False,
    )


def _of_one(function: Callable[..., Any], has_axis: Sequence[bool]) -> Callable[..., Any]:
    """What vmap makes of a function where there is but one: with such an axis XLA takes 1.3 times as long."""

    def mapped(*arguments):
        own = [
            jax.tree.map(lambda leaf: leaf[0], one) if has else one
            for one, has in zip(arguments, has_axis, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*own))

    return mapped


def stacked(parts: Sequence[Any], what: str) -> Any:
    """Pytrees that differ in numbers alone, as one with an axis more.

    Raises: InputError if they are not of one kind.
    """
    kinds = {jax.tree.structure(part) for part in parts}
    if len(kinds) != 1:
        raise InputError(
            f"{what} that train together must be of one family and differ in numbers alone; got {len(kinds)} kinds: "
            f"{', '.join(dict.fromkeys(map(str, parts))) or 'none at all'}."
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def shapes_of_one(tree: Any) -> Any:
    """The shapes of one network's arrays, of arrays or shapes [seeds, variants, ...].

    >>> shapes_of_one(jnp.zeros((2, 3, 5))).shape
    (5,)
    """
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), tree)


def networks_that_fit(
    network: Network,
    objective: Schedule,
    optimiser: Optimiser,
    images: Images,
    *,
    batch_size: int,
) -> int:
    """How many networks can train together in half of the memory that is free, estimated from above.

    Each needs its parameters and the optimiser's state twice (a state that is yielded is a copy), and what forward
    and backward pass write.
    """
    parameters = jax.eval_shape(lambda: network.init(jax.random.key(0)))  # nor is the key computed: that is a program
    state = jax.eval_shape(optimiser.init, parameters)
    batch = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), jnp.zeros((), float).dtype)
    labels = jax.ShapeDtypeStruct((batch_size,), jnp.int32)

    def gradient(parameters, images, labels):
        return jax.grad(lambda p: jnp.mean(values(objective, 0, network.apply(p, images), labels)))(parameters)

    one = 2 * size((parameters, state)) + intermediates(gradient, parameters, batch, labels)
    return max(int((free_memory() - images.nbytes) / 2 / one), 0)


def free_memory() -> int:
    """Bytes that a computation may still take on the device that it runs on."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return _free_main_memory()


def _free_main_memory() -> int:
    """What the machine has left, or the container if that is less; where neither says, nothing is known: 8 GiB."""
    found = []
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        found.append(int(limit) - int(used))
    except (OSError, ValueError, KeyError):
        pass  # no Linux, no container or no limit ("max")
    return min(found, default=8 * 2**30)


def size(tree: Any) -> int:
    """Bytes of all arrays, or shapes, in a pytree."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def intermediates(function: Callable[..., Any], *arguments: Any) -> int:
    """Bytes of everything that a function computes on the way, as if nothing were reused: from above.

    >>> intermediates(lambda x: jnp.sin(x) + 1, jax.ShapeDtypeStruct((10,), jnp.float32))
    80
    """
    return _written(jax.make_jaxpr(function)(*arguments).jaxpr)


def _written(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "jaxpr")]
        total += sum(_written(one.jaxpr) for one in inner) or size([variable.aval for variable in equation.outvars])
    return total
