"""On a GPU: the numbers of the CPU, and the same bits again. Skips where JAX sees no GPU."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lab
from lab.catalogue import definitions

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parent.parent
OBJECTIVES = [one.make() for one in definitions() if one.family != "own"]
FEW = [lab.objective(name) for name in ("cross_entropy", "squared_error", "centred_expected_error", "ramp", "gce")]
MLP, LENET = lab.mlp([100], activation="relu"), lab.lenet5()
BOTH = pytest.mark.parametrize(("network", "objectives"), [(MLP, OBJECTIVES), (LENET, FEW)], ids=["mlp", "lenet5"])
FULL = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # networks train at the device's own precision otherwise

gradients_of = jax.jit(lab.objective_gradients, static_argnames=("network", "precision"))
moments_of = jax.jit(lab.example_moments, static_argnames=("network", "square"))


@pytest.fixture(scope="module", autouse=True)
def _a_gpu():
    if jax.default_backend() != "gpu":
        pytest.skip("JAX sees no GPU")


def on_both(function, *arguments):
    """What a jitted function gives on the GPU and on the CPU: it computes where its arguments are."""
    for kind in ("gpu", "cpu"):
        yield jax.device_get(function(*jax.device_put(arguments, jax.devices(kind)[0])))


def off(found, expected):
    """|found - expected| / |expected| of pytrees whose leaves are [objectives, ...]; 0 / 0 is 0."""

    def squared(tree):
        return sum((np.asarray(leaf, float) ** 2).reshape(len(leaf), -1).sum(1) for leaf in jax.tree.leaves(tree))

    difference = jax.tree.map(np.subtract, found, expected)
    return np.sqrt(squared(difference) / np.maximum(squared(expected), np.finfo(float).tiny))


def case(network, mnist, dtype):
    """A network at its start, and 256 real digits."""
    parameters = jax.tree.map(lambda leaf: leaf.astype(dtype), network.init(jax.random.key(0)))
    return parameters, jnp.asarray(mnist.train.images[:256], dtype) / 255, jnp.asarray(mnist.train.labels[:256])


@BOTH
def test_gradients_are_those_of_the_cpu(network, objectives, mnist):
    """In float32, at the highest precision."""
    gpu, cpu = on_both(partial(gradients_of, network), *case(network, mnist, jnp.float32), objectives)
    assert off(gpu.gradients, cpu.gradients).max() < 2e-5
    np.testing.assert_allclose(gpu.values, cpu.values, rtol=2e-5, atol=1e-6)


@BOTH
def test_gradients_in_float64_are_those_of_the_cpu(network, objectives, mnist, float64):
    gpu, cpu = on_both(partial(gradients_of, network), *case(network, mnist, jnp.float64), objectives)
    assert off(gpu.gradients, cpu.gradients).max() < 1e-12


def test_moments_are_those_of_the_cpu(mnist):
    gpu, cpu = on_both(partial(moments_of, MLP, square=True), *case(MLP, mnist, jnp.float32), FEW)
    for field in gpu._fields:
        assert off(getattr(gpu, field), getattr(cpu, field)).max() < 2e-5, field


@pytest.mark.parametrize(("seeds", "variants"), [(3, 2), (1, 5)])
def test_networks_at_once_are_those_alone(seeds, variants, mnist):
    network, stages = lab.mlp([20], activation="relu"), [0, 150]
    objectives = [lab.objective("expected_error", temperature=1.0 + number) for number in range(variants)]
    rate, keys = lab.optimiser("momentum", 0.1), jax.random.split(jax.random.key(0), seeds)
    digits = mnist.train.images, mnist.train.labels
    with jax.default_matmul_precision("highest"):
        *_, together = lab.train_together(network, objectives, [rate] * variants, *digits, keys=keys, stages=stages)
        for seed, variant in np.ndindex(seeds, variants):
            *_, alone = lab.train(network, objectives[variant], rate, *digits, key=keys[seed], stages=stages)
            np.testing.assert_allclose(together.losses[seed, variant], alone.losses, rtol=1e-3, atol=1e-5)


def command(*arguments, cwd, **environment):
    """A command of the lab in a process of its own; its run's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *map(str, arguments), "--sample", "--out", cwd / "runs"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (made,) = (cwd / "runs").iterdir()
    return lab.Run(made)


def on_gpu_and_cpu(tmp_path, *arguments):
    """The results of one command on the GPU, where it goes of itself, and on the CPU."""
    for kind in ("gpu", "cpu"):
        folder = tmp_path / kind
        folder.mkdir()
        run = command(*arguments, cwd=folder, **FULL, **({"JAX_PLATFORMS": "cpu"} if kind == "cpu" else {}))
        assert run.environment()["device"]["backend"] == kind
        yield run.results()


def test_compare_finds_the_same_on_both(tmp_path):
    options = ("--seeds", 2, "--stages", "0,50", "--examples", 500)
    gpu, cpu = on_gpu_and_cpu(tmp_path, "compare", *options)
    for name, tolerance in {"norm": 1e-3, "cosine": 1e-3, "mean_value": 1e-4}.items():
        ours, theirs = gpu[name].values, cpu[name].values
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=name)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("network", "rate"), [("mlp:50", 0.05), ("lenet5", 0.01)])
def test_training_goes_the_same_way_on_both(network, rate, tmp_path):
    """For 90 steps. LeNet-5 at a small rate: at 0.05 weights 3e-7 off change its loss by 1 %, on one CPU."""
    gpu, cpu = on_gpu_and_cpu(tmp_path, "train", "--network", network, "--epochs", 1, "--learning-rate", rate)
    np.testing.assert_allclose(gpu["loss"], cpu["loss"], rtol=5e-3)
    np.testing.assert_allclose(gpu["accuracy"], cpu["accuracy"], atol=5e-3)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("network", ["mlp:50", "lenet5"])
def test_the_same_twice_is_the_same_to_the_bit(network, kept, tmp_path):
    """While programs are kept, and without them where XLA does not choose the fastest way by trying."""
    runs = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        programs = {"XDG_CACHE_HOME": str((tmp_path if kept else folder) / "cache")}
        flags = {} if kept else {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
        options = ("--network", network, "--epochs", 2, "--seeds", 3)
        runs.append(command("train", *options, cwd=folder, **programs, **flags))
    one, other = ([path.read_bytes() for path in run.networks] for run in runs)
    assert one == other
    assert runs[0].results().identical(runs[1].results())
