"""Saved and own networks: read back, compared, and refused when they are not what they should be."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import lab
from lab import headlines
from lab.saved import load_network, network_of, own_network
from lab.settings import TrainSettings
from lab.userfile import checksums

OWN = """
import jax, jax.numpy as jnp, lab

def init(key):
    return {"first": jax.random.normal(key, (784, 6)) / 28, "second": jnp.zeros((6, 10))}

def apply(params, images):
    return jnp.tanh(images @ params["first"]) @ params["second"]

def make():
    return lab.Network("tanh", init, apply)

def pair():
    return init(jax.random.key(7)), apply

def narrow():
    return lab.Network("narrow", init, lambda params, images: apply(params, images)[:, :3])

def whole():
    return {"first": jnp.ones((784, 6), int), "second": jnp.zeros((6, 10))}, apply

def number():
    return 3

def broken():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def saved(mnist, tmp_path_factory):
    """Two networks of 5 hidden units, saved as `train` saves them."""
    folder = tmp_path_factory.mktemp("runs")
    settings = TrainSettings(training=lab.TrainingSettings(network="mlp:5"), objective="brier")
    runs = []
    for seed in range(2):
        with lab.new_run(folder, "train", settings, {}) as run:
            run.save_network(network_of(settings.training.network, mnist).init(jax.random.key(seed)))
        runs.append(run.path)
    return runs


SMALL = {"standard": False, "examples": 60, "temperatures": "1"}


@pytest.mark.slow
def test_checkpoints_are_measured_as_they_were_saved(saved, mnist):
    """The settings' own --network does not matter: the run says which network it is. Each is a seed of its own."""
    results = lab.compare(lab.CompareSettings(checkpoint=(saved[0], saved[1] / "network.npz"), **SMALL), mnist)
    assert results["stage"].values.tolist() == ["as saved"] and results.sizes["seed"] == 2
    assert results.attrs["network"] == "784-5-10 relu"
    assert results.attrs["recipe"].startswith("sgd at learning rate 0.1 on brier, mini-batches of 100 (saved in ")
    network = lab.mlp([5], activation="relu")
    for seed in range(2):
        parameters = network.init(jax.random.key(seed))
        (batch,) = lab.shuffled(jax.random.split(jax.random.key(seed))[1], 0, 1, examples=9000, batch_size=60)
        images, labels = mnist.train.images[batch] / np.float32(255), mnist.train.labels[batch]
        gradients = lab.objective_gradients(network, parameters, images, labels, [lab.objective("cross_entropy")])
        norm = float(np.sqrt(lab.gram(gradients.gradients)[0, 0]))
        assert float(results["norm"].isel(stage=0).sel(seed=seed, objective="cross_entropy")) == pytest.approx(
            norm, rel=1e-5
        )
    for picture in ("gains", "weights", "details", "temperatures"):
        getattr(headlines, picture)(results)


def test_a_file_alone_needs_its_network_described(saved, mnist, tmp_path):
    alone = tmp_path / "network.npz"
    alone.write_bytes((saved[0] / "network.npz").read_bytes())
    found = load_network(alone, "mlp:5", mnist)
    assert found.network.name == "784-5-10 relu" and found.recipe == "saved in network.npz"
    with pytest.raises(lab.InputError, match=r"holds .*\[5, 784\].*not of 784-100-10 relu: .*--network"):
        load_network(alone, "mlp:100", mnist)


def test_what_is_no_checkpoint_is_named(saved, mnist, tmp_path):
    with pytest.raises(lab.DataError, match=r"network\.npz is not there"):
        load_network(tmp_path, "mlp:100", mnist)
    whole = (saved[0] / "network.npz").read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole[:900] + b"\0\0\0\0" + whole[904:]):
        (tmp_path / "network.npz").write_bytes(damaged)
        with pytest.raises(lab.DataError, match=r"network\.npz is damaged"):
            load_network(tmp_path, "mlp:5", mnist)


def test_a_run_says_which_network_is_saved(saved, mnist):
    assert load_network(saved[0], "mlp:100", mnist).recipe.endswith(f"(saved in {saved[0].name})")
    assert load_network(saved[0], "mlp:5", mnist).network.name == "784-5-10 relu"
    with pytest.raises(lab.InputError, match="is a network mlp:5, not lenet5; leave out --network"):
        load_network(saved[0], "lenet5", mnist)


def test_a_network_of_another_dataset_is_refused(saved, mnist, tmp_path):
    (tmp_path / "network.npz").write_bytes((saved[0] / "network.npz").read_bytes())
    config = json.loads((saved[0] / "config.json").read_text())
    config["data"]["dataset"] = "kmnist"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(lab.InputError, match="trained on kmnist, not on mnist; add --dataset kmnist"):
        load_network(tmp_path, "mlp:100", mnist)


def test_networks_of_two_kinds_are_not_averaged(saved, mnist, tmp_path):
    settings = TrainSettings(training=lab.TrainingSettings(network="mlp:4"))
    with lab.new_run(tmp_path, "train", settings, {}) as run:
        run.save_network(network_of(settings.training.network, mnist).init(jax.random.key(0)))
    with pytest.raises(lab.InputError, match="784-5-10 relu, 784-4-10 relu"):
        lab.compare(lab.CompareSettings(checkpoint=(saved[0], run.path), **SMALL), mnist)


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_and_compared(mine, mnist):
    """A network given with its parameters starts from them, for every seed."""
    found = {}
    for name in ("make", "pair"):
        training = lab.TrainingSettings(network=f"{mine}:{name}")
        found[name] = lab.compare(lab.CompareSettings(training=training, seeds=2, stages="0,20", **SMALL), mnist)
        assert found[name].attrs["network"] == {"make": "tanh", "pair": "pair"}[name]
        accuracy = found[name]["test_accuracy"].values
        assert (accuracy[:, 1] > accuracy[:, 0] + 0.1).all()
        assert found[name].sizes["layer"] == 2
    start = {name: one["layer_norm"].isel(stage=0).sel(objective="cross_entropy") for name, one in found.items()}
    assert (start["make"].isel(layer=0) == 0).all()  # the second layer starts at 0: nothing comes through


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("narrow", r"must give logits \[2, 10\] for images \[2, 784\]"),
        ("whole", "must be real numbers; some are int32"),
        ("number", r"must return a lab\.Network, or \(parameters, apply\).*got int"),
        ("broken", "fails: RuntimeError: no weights here"),
        ("none", "unknown network 'none'"),
    ],
)
def test_what_is_no_network_is_said_at_once(mine, name, message):
    with pytest.raises(lab.InputError, match=message):
        own_network(f"{mine}:{name}", pixels=784, classes=10)


@pytest.mark.parametrize("text", ["mlp:5,x", "mlp:0", "mlp:²", "mlp:5:relu:7", "mlpp", "lenet5:3", "mine"])
def test_networks_are_named_as_in_one_of_four_forms(text, mnist):
    with pytest.raises(lab.InputError, match="--network .*as in mlp:100,100, mlp:50:sigmoid, lenet5 or path"):
        network_of(text, mnist)


def test_networks_by_name(mnist):
    names = [network_of(text, mnist).name for text in ("mlp", "mlp:5,4", "mlp:50:sigmoid", "lenet5")]
    assert names[:3] == ["784-100-10 relu", "784-5-4-10 relu", "784-50-10 sigmoid"] and "lenet5" in names[3].lower()
    with pytest.raises(lab.InputError, match="Did you mean 'relu'"):
        network_of("mlp:5:rleu", mnist)


NEIGHBOURLY = """
from __future__ import annotations
from dataclasses import dataclass
import beside

@dataclass
class Layers:
    hidden: int | None = None

def make():
    return beside.network()
"""


def test_a_file_of_the_users_may_have_dataclasses_and_neighbours(tmp_path, monkeypatch):
    """As it may when Python runs it as a script."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside.py").write_text(OWN + "\nnetwork = make\n")
    (tmp_path / "mine.py").write_text(NEIGHBOURLY)
    assert own_network(f"{tmp_path / 'mine.py'}:make", pixels=784, classes=10).name == "tanh"
    (tmp_path / "other.py").write_text("import beside, numpy")
    (tmp_path / "mine.py").write_text(NEIGHBOURLY + "\nimport other")
    monkeypatch.chdir(tmp_path.parent)
    of = Path(tmp_path.name)
    assert list(checksums([f"500:{of}/mine.py:make"])) == [f"{of}/{name}.py" for name in ("beside", "mine", "other")]
    (tmp_path / "mine.py").write_text("def make(:")
    assert list(checksums([f"{of}/mine.py:make"])) == [f"{of}/mine.py"]
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)")
    with pytest.raises(lab.InputError, match="leaves.py cannot be run: SystemExit: 3"):
        own_network(f"{tmp_path / 'leaves.py'}:make", pixels=784, classes=10)


@pytest.mark.parametrize(("text", "message"), [("mine", "as in path/to/mine.py:make"), ("no/file.py:make", "no file")])
def test_what_is_no_file_is_said_at_once(text, message):
    with pytest.raises(lab.InputError, match=message):
        own_network(text, pixels=784, classes=10)
