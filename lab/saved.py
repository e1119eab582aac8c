"""Saved and own networks: from settings, a user's file or a checkpoint to a network and its parameters."""

from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lab.checkpoints import fitted
from lab.data import Dataset
from lab.errors import InputError
from lab.networks import Network, lenet5, mlp
from lab.runs import NETWORK, Run
from lab.settings import TrainingSettings
from lab.userfile import described, failure, from_user_file, is_own

FORMS = "mlp:100,100, mlp:50:sigmoid, lenet5 or path/to/mine.py:make"


class Saved(NamedTuple):
    """A network as it was saved."""

    network: Network
    parameters: Any
    recipe: str  # how it came about, in a few words


def network_of(text: str, data: Dataset) -> Network:
    """The network of a text, for these data: mlp:100,100, mlp:50:sigmoid, lenet5 or path/to/mine.py:make.

    Raises: InputError if there is no such network, or one of the user's own is not what it should be.
    """
    pixels, classes = data.train.images.shape[1], len(data.classes)
    if is_own(text):
        return own_network(text, pixels=pixels, classes=classes)
    kind, *rest = text.split(":")
    if kind == "lenet5" and not rest:
        return lenet5(pixels=pixels, classes=classes)
    if kind != "mlp" or len(rest) > 2:
        raise InputError(f"--network must be as in {FORMS}; got {text!r}.")
    units, activation = [*rest, *("100", "relu")[len(rest) :]]
    if not all(unit.strip().isdecimal() and int(unit) >= 1 for unit in units.split(",")):
        raise InputError(f"--network needs whole numbers of units, as in {FORMS}; got {text!r}.")
    return mlp([int(unit) for unit in units.split(",")], activation=activation, pixels=pixels, classes=classes)


def own_network(text: str, *, pixels: int, classes: int) -> Network:
    """The network that `make()` gives in a user's file, named as in path/to/mine.py:make.

    `make` returns a `lab.Network`, or a pair (parameters, apply) with apply(parameters, images [batch, pixels]) ->
    [batch, classes]: a network that is there already, from whose parameters all training starts.

    Raises: InputError if there is no such file or function, it fails, or its logits have another shape.
    """
    file, _, name = text.rpartition(".py:")
    if not file:
        raise InputError(f"--network must be as in path/to/mine.py:make; got {text!r}.")
    made = from_user_file(Path(file + ".py"), name, what="network")
    try:
        made = made() if callable(made) and not isinstance(made, Network) else made
    except Exception as error:
        raise InputError(f"{name} of {file}.py fails: {failure(error)}") from error
    if isinstance(made, tuple) and len(made) == 2 and callable(made[1]):
        parameters, apply = made
        # A copy for every start: training gives the buffers of its parameters back to the device.
        made = Network(name, lambda key: jax.tree.map(jnp.array, parameters), apply)
    if not isinstance(made, Network):
        raise InputError(
            f"{name} of {file}.py must return a lab.Network, or (parameters, apply) with apply(parameters, images); "
            f"got {type(made).__name__}."
        )
    _check_shape(made, f"{file}.py:{name}", pixels, classes)
    return made


def _check_shape(network: Network, name: str, pixels: int, classes: int) -> None:
    """One trial run without arithmetic."""
    images = jax.ShapeDtypeStruct((2, pixels), jnp.float32)
    try:
        parameters = jax.eval_shape(network.init, jax.random.key(0))
        logits = jax.eval_shape(network.apply, parameters, images)
    except Exception as error:
        raise InputError(f"network {name!r} fails on images [2, {pixels}]: {failure(error)}") from error
    if getattr(logits, "shape", None) != (2, classes):
        raise InputError(
            f"network {name!r} must give logits [2, {classes}] for images [2, {pixels}]; it gives {described(logits)}."
        )
    if wrong := [leaf.dtype for leaf in jax.tree.leaves(parameters) if not jnp.issubdtype(leaf.dtype, jnp.floating)]:
        raise InputError(f"the parameters of network {name!r} must be real numbers; some are {wrong[0]}.")


def load_network(path: Path, text: str, data: Dataset) -> Saved:
    """A saved network: `path` is a run's folder with its network.npz, or such a file.

    Where the run's config.json lies beside it, the network is the one described there, unless `text` names one of
    the user's own; otherwise it is the one that `text` describes.

    Raises: DataError if there is no such file or it is damaged; InputError if it holds another network's arrays, or
      the run was made with another network than `text` or on another dataset than `data`.
    """
    file = path / NETWORK if path.is_dir() else path
    run = Run(file.parent)
    arrays = run.network(file.name)
    recipe = f"saved in {file.name}"
    if (file.parent / "config.json").is_file():
        config = run.config()
        if (trained_on := config.get("data", {}).get("dataset", data.name)) != data.name:
            raise InputError(f"{path} was trained on {trained_on}, not on {data.name}; add --dataset {trained_on}.")
        if not is_own(text):
            known = {one.name for one in fields(TrainingSettings)}
            training = TrainingSettings(**{key: x for key, x in config.get("training", {}).items() if key in known})
            if text not in (TrainingSettings.network, training.network):
                raise InputError(f"{path} is a network {training.network}, not {text}; leave out --network.")
            text = training.network
            recipe = f"{training.recipe(config.get('objective', 'an objective of its own'))} (saved in {run.name})"
    network = network_of(text, data)
    try:
        return Saved(network, fitted(jax.eval_shape(network.init, jax.random.key(0)), arrays, file), recipe)
    except InputError as error:
        raise InputError(f"{error} So it is not of {network.name}: describe its network with --network.") from error
