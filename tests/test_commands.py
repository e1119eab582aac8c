"""The command line in real processes: what a user types, what is said, what is left behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--seeds", "1", "--stages", "0,20", "--examples", "100", "--temperatures", "0.1,1"]


def run(*arguments, cwd, program=("-m", "lab"), environment=None):
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder in which `compare` has been run, with an objective of the user's own, and what it printed."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "mine.py").write_text(
        "import jax.numpy as jnp\nimport lab\n\n\n"
        "def tanh_margin(logits, labels, *, temperature=1.0):\n"
        '    """(1 - tanh(m/T)) / 2."""\n'
        "    return (1 - jnp.tanh(lab.hard_margin(logits, labels) / temperature)) / 2\n"
    )
    return folder, run("compare", *SMALL, "--objective", "mine.py:tanh_margin", cwd=folder)


def test_compare_says_what_it_found_and_where(compared):
    folder, done = compared
    assert done.returncode == 0, done.stderr
    assert "MNIST, embedded sample of 10,000 + 2,000 digits" in done.stdout
    assert "LAB_OFFLINE is set" in done.stdout  # why it is only the sample
    assert "Accuracy gives no direction." in done.stdout
    assert "tanh_margin" in done.stdout
    (made,) = (folder / "runs").iterdir()
    assert f"runs/{made.name}" in done.stdout
    kinds = {path.suffix for path in (made / "figures").iterdir()}
    assert kinds == {".png", ".svg"}
    assert {path.name for path in made.iterdir()} == {
        "config.json",
        "environment.json",
        "results.nc",
        "figures",
        "report.html",
    }


def test_report_redraws_without_jax(compared, tmp_path):
    folder, _ = compared
    (made,) = (folder / "runs").iterdir()
    copy = shutil.copytree(made, tmp_path / made.name)
    before = (copy / "report.html").read_bytes()
    shutil.rmtree(copy / "figures")
    (copy / "report.html").unlink()
    (tmp_path / "nojax").mkdir()
    for name in ("jax", "optax", "jaxlib"):
        (tmp_path / "nojax" / f"{name}.py").write_text("raise ImportError('JAX is not here')")
    path = f"{tmp_path / 'nojax'}{os.pathsep}{ROOT}"
    done = run("report", copy, cwd=tmp_path, environment={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert (copy / "report.html").read_bytes() == before
    assert {p.name for p in (copy / "figures").iterdir()} == {p.name for p in (made / "figures").iterdir()}


def test_train_keeps_a_network_that_learns(tmp_path):
    done = run("train", "--epochs", "2", "--network", "mlp:30:sigmoid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "runs").iterdir()
    assert {"config.json", "environment.json", "results.nc", "network.npz"} <= {path.name for path in made.iterdir()}
    assert re.search(r"2\D+\d\.\d{4}", done.stdout)
    again = run("report", made, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("objectives", ["zero_one", "gce", "Brier 1950"]),
        ("datasets", ["mnist", "fashion_mnist", "kmnist"]),
        ("diagnostics", ["cosine", "effective_examples"]),
        ("experiments", ["experiments/why_not_accuracy.py: Why not train on accuracy?"]),
    ],
)
def test_lists(what, expected, tmp_path):
    done = run("list", what, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in expected)


def test_doctor_finds_the_sample_and_nothing_wrong(tmp_path):
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing is wrong." in done.stdout
    assert re.search(r"embedded sample\s+yes", done.stdout)


def test_doctor_says_what_is_wrong(tmp_path):
    done = run("doctor", "--dataset", "kmnist", cwd=tmp_path)
    assert done.returncode == 1
    assert "wrong: no source has kmnist" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--objective", "cros_entropy"], "Did you mean 'cross_entropy'?"),
        (["compare", "--objective", "gce:q=2"], "needs 0 < q <= 1"),
        (["compare", "--dataset", "mnits"], "Did you mean 'mnist'?"),
        (["compare", "--dataset", "kmnist"], "--data-dir"),
        (["compare", "--data-dir", "nowhere"], "nowhere"),
        (["compare", "--train-on", "gec"], "Did you mean 'gce'?"),
        (["compare", "--stages", "10,5"], "--stages must be rising"),
        (["compare", "--batch-size", "99999"], "batch size must be 1..9000"),
        (["compare", "--learning-rate", "-1"], "--learning-rate must be"),
        (["compare", "--learning_rat", "1"], "--learning-rate"),
        (["compare", "--out", "/proc/nothing"], "Name another folder with --out"),
        (["compare", "--learning-rate", "1e30", *SMALL], "Try a smaller learning rate"),
        (["report", "nowhere"], "is not a run of the lab"),
        (["comprae"], "compare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_message(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    said = re.sub(r"\s+", " ", done.stderr + done.stdout)
    assert done.returncode in (1, 2)
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("runs/*")) and not list(tmp_path.glob("runs/.*"))


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "compare", "--stages", "0,200000", "--seeds", "1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/.*partial/environment.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in said and "Traceback" not in said
    assert not list((tmp_path / "runs").iterdir())


def test_ctrl_c_that_a_callback_swallows_comes_again(tmp_path):
    """Python drops an exception raised in a callback; a signal that arrives in one would be lost with it."""
    program = (
        "import gc, signal, time\nfrom lab.console import cli\n"
        "def interrupted(phase, info):\n"
        "    gc.callbacks.remove(interrupted)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "def command():\n"
        "    gc.callbacks.append(interrupted)\n"
        "    gc.collect()\n"
        "    time.sleep(60)\n"
        "cli(command)\n"
    )
    done = run(cwd=tmp_path, program=("-c", program))
    assert done.returncode == 130
    assert "stopped by Ctrl-C" in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_is_one_clear_message(tmp_path):
    """The file-size limit of the process stands in for a disk: a write beyond it fails as a full disk does."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        "from lab.__main__ import main; main()"
    )
    done = run("compare", *SMALL, cwd=tmp_path, program=("-c", limited))
    assert done.returncode == 1
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_experiments_run_from_end_to_end(script, tmp_path):
    small = {"compare_gradients": SMALL, "why_not_accuracy": ["--steps", "50", "--examples", "200"]}
    done = run(*small[script.stem], cwd=tmp_path, program=(script,))
    assert done.returncode == 0, done.stderr
    assert "MNIST, embedded sample" in done.stdout
