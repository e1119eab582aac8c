"""The command line in real processes: what a user types, what is said, what is left behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray

import lab
from lab.runs import write_json

ROOT = Path(__file__).resolve().parent.parent
FEW = ["--examples", "100", "--temperatures", "0.1,1"]
SMALL = ["--seeds", "1", "--stages", "0,20", *FEW]
LITTLE = ["--subset", "2000", "--batch-size", "10", "--network", "mlp:8"]
# Shells start what runs in the background with Ctrl-C ignored, and what that starts inherits it.
LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
MAIN = "from lab.__main__ import main; main()"


def run(*arguments, cwd, program=("-m", "lab"), environment=None):
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=300,
    )


def signalled(name, file, times, *, after=0.0, main=MAIN):
    """A program to which a signal comes some seconds after it has opened a file for the n-th time.

    Python calls audit hooks whenever a file is opened: so the moment does not depend on how fast the machine is.
    """
    return (
        "-c",
        LISTENING + "import os, sys, threading\n"
        f"left = [{times}]\n"
        "def hook(event, arguments):\n"
        f"    if event == 'open' and '{file}' in str(arguments[0]):\n"
        "        left[0] -= 1\n"
        "        if left[0] == 0:\n"
        f"            signal_it = lambda: os.kill(os.getpid(), signal.{name})\n"
        f"            threading.Timer({after}, signal_it).start() if {after} else signal_it()\n"
        f"sys.addaudithook(hook)\n{main}",
    )


def start(*arguments, cwd):
    """A command that goes on while the test does, and that Ctrl-C can stop."""
    return subprocess.Popen(
        [sys.executable, "-c", LISTENING + MAIN, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, *, seconds=120):
    """Until it is true, which it must become while the process is at work."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it did not come so far: {process.communicate()}")
        time.sleep(0.02)


def limited(size):
    """A program whose files may not grow beyond so many bytes: a write that does fails as on a full disk."""
    return (
        "-c",
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); {MAIN}",
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


@pytest.mark.slow
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
    assert kinds == {".png", ".svg", ".pdf"}
    assert {path.name for path in made.iterdir()} == {
        "config.json",
        "environment.json",
        "results.nc",
        "figures",
        "report.html",
    }


@pytest.mark.slow
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


@pytest.mark.slow
def test_several_runs_are_redrawn_and_shown_side_by_side_without_jax(tmp_path):
    values = np.linspace(0.1, 0.9, 4)[:, None] + np.zeros((2, 1, 3))
    results = xarray.Dataset(
        {"loss": (("seed", "epoch", "split"), 2 - values), "accuracy": (("seed", "epoch", "split"), values)},
        coords={"seed": [0, 1], "epoch": np.arange(4), "split": ["train", "validation", "test"]},
        attrs={"data": "digits", "network": "784-100-10 relu", "recipe": "sgd"},
    )
    first, second = tmp_path / "runs/first", tmp_path / "runs/second"
    for path in (first, second):
        path.mkdir(parents=True)
        lab.Run(path).save_results(results)
        write_json(path / "config.json", {"kind": "train", "epochs": 3, "out": path.name})
        write_json(path / "environment.json", {})
    (tmp_path / "runs/notes").mkdir()  # something that is no run
    (tmp_path / "nojax").mkdir()
    for name in ("jax", "optax", "jaxlib"):
        (tmp_path / "nojax" / f"{name}.py").write_text("raise ImportError('JAX is not here')")
    (tmp_path / "browser").write_text(f"#!/bin/sh\necho $1 > {tmp_path / 'shown'}\n")
    (tmp_path / "browser").chmod(0o755)
    environment = {"PYTHONPATH": f"{tmp_path / 'nojax'}{os.pathsep}{ROOT}", "BROWSER": str(tmp_path / "browser")}
    done = run("report", "runs", first, "--open", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    gallery = tmp_path / "runs/gallery.html"
    assert done.stdout.split("The gallery: ")[1].strip() == str(gallery)
    assert (tmp_path / "shown").read_text().strip() == gallery.as_uri()
    text = gallery.read_text()
    assert re.findall(r'<a href="([^"]+)"', text) == ["first/report.html", "second/report.html"]  # each once
    assert (second / "report.html").exists() and (second / "figures/learning.pdf").exists()
    assert "All were made with the same settings." in text


def test_train_keeps_a_network_that_learns(tmp_path):
    done = run("train", "--epochs", "2", "--network", "mlp:30:sigmoid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "runs").iterdir()
    assert {"config.json", "environment.json", "results.nc", "network.npz"} <= {path.name for path in made.iterdir()}
    assert re.search(r"2\D+\d\.\d{4}", done.stdout)
    assert f"The page: runs/{made.name}/report.html" in done.stdout
    assert "What does this network learn?" in (made / "report.html").read_text()
    again = run("report", made, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("objectives", ["zero_one", "gce", "Brier 1950"]),
        ("metrics", ["accuracy: The share of", "macro_f1: The mean over", "path/to/mine.py:name: your own"]),
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


def test_doctor_looks_at_the_training_part_that_is_asked_for(tmp_path):
    done = run("doctor", "--subset", "99999", cwd=tmp_path)
    assert done.returncode == 1 and "wrong: a subset must be at most 9,000" in done.stdout
    done = run("doctor", "--subset", "500", cwd=tmp_path)
    assert done.returncode == 0 and re.search(r"training part\s+500 of 9,000 training images", done.stdout)


@pytest.mark.parametrize("folder", ["my [old] data", "a[/b]"])
def test_doctor_names_folders_as_they_are(folder, tmp_path):
    done = run("doctor", "--data-dir", folder, cwd=tmp_path)
    assert done.returncode == 1 and f"data_dir {folder}: no such folder" in done.stdout


@pytest.mark.parametrize("platform", ["cuda", "tpux"])
def test_a_device_that_is_not_there_is_one_message(platform, tmp_path):
    if platform == "cuda" and any(one.platform == "gpu" for one in jax.devices()):
        pytest.skip("JAX has a GPU here")
    done = run("doctor", cwd=tmp_path, environment={"JAX_PLATFORMS": platform})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: JAX_PLATFORMS is '{platform}': JAX finds no device to compute on" in done.stderr


def test_doctor_names_kept_programs_that_are_not_whole(tmp_path):
    (tmp_path / "jit_f-1-cache").write_bytes(zlib.compress(b"a program")[:-1])
    (tmp_path / "jit_g-2-cache").write_bytes(zlib.compress(b"another"))
    done = run("doctor", cwd=tmp_path, environment={"JAX_COMPILATION_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert re.search("wrong: 1 of the compiled programs are not whole.* Delete .*jit_f-1-cache.$", done.stdout, re.M)


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
        pytest.param(
            ["compare", "--learning-rate", "1e30", *SMALL], "Try a smaller learning rate", marks=pytest.mark.slow
        ),
        (["compare", "--checkpoint", "runs/a", "--stages", "0,7"], "leave out --stages"),
        (["list", "metrics", "--markdown"], "--markdown is for objectives alone; got metrics"),
        (["train", "--seeds", "0"], "--seeds must be at least 1; got 0"),
        (["train", "--seeds", "100000000"], "100000000 networks do not fit into memory together;"),
        (["train", "--hand-over", "x"], "--hand-over must be as in 500:brier"),
        (["train", "--hand-over", "5:breir"], "Did you mean 'brier'?"),
        (["train", "--network", "mlp:0"], "--network needs whole numbers of units"),
        (["train", "--optimiser", "sdg"], "'sdg'"),
        (["train", "--anneal-to", "0.1", "--objective", "brier"], "temperature"),
        (["train", "--subset", "50"], "batch size must be 1..50"),
        (["train", "--learning-rate", "-1"], "--learning-rate must be"),
        (["report", "nowhere"], "is not a run of the lab"),
        (["report", "."], "is not a run of the lab"),
        (["report"], "report needs the folder of a run"),
        (["comprae"], "compare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_message(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    said = re.sub(r"\s+", " ", done.stderr + done.stdout)
    assert done.returncode in (1, 2)
    assert message in said
    assert "Traceback" not in said and "__" not in said  # no name of an inner argument
    assert not list(tmp_path.glob("runs/*")) and not list(tmp_path.glob("runs/.*"))


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    process = start("compare", "--stages", "0,200000", "--seeds", "1", cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/.*partial/environment.json")), process)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in said and "Traceback" not in said
    assert not list((tmp_path / "runs").iterdir())


def test_ctrl_c_that_a_callback_swallows_comes_again(tmp_path):
    """Python drops an exception raised in a callback; a signal that arrives in one would be lost with it."""
    program = (
        LISTENING + "import gc, time\nfrom lab.console import cli\n"
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


@pytest.mark.slow
def test_a_full_disk_is_one_clear_message(tmp_path):
    """The file-size limit of the process stands in for a disk: a write beyond it fails as a full disk does."""
    done = run("compare", *SMALL, cwd=tmp_path, program=limited(20_000), environment=own_cache(tmp_path))
    assert done.returncode == 1
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").iterdir())


def own_cache(folder):
    """A process that may not write whole files must not leave half of them for the other tests."""
    return {"XDG_CACHE_HOME": str(folder / "cache")}


def only(folder):
    """The one run there is."""
    (path,) = folder.glob("runs/*-train*")
    return path


def rows_of(path):
    """Metrics of a run, less the time that they took."""
    return [{name: one for name, one in row.items() if name != "time/seconds"} for row in lab.Run(path).metrics()]


def error_of(done):
    """The one message of a command that went wrong."""
    assert "Traceback" not in done.stderr, done.stderr
    return re.sub(r"\s+", " ", done.stderr[done.stderr.index("error: ") :])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of 20 epochs stopped by Ctrl-C after a few, its exit code, and what it said."""
    folder = tmp_path_factory.mktemp("stopped")
    done = run("train", *LITTLE, "--epochs", "20", cwd=folder, program=signalled("SIGINT", "metrics.jsonl", 5))
    return only(folder), done.returncode, done.stderr


@pytest.fixture
def copy(stopped, tmp_path):
    """The stopped run, to do with as one likes. (Where it lies is no part of it.)"""
    return shutil.copytree(stopped[0], tmp_path / "runs" / stopped[0].name)


def test_ctrl_c_keeps_what_training_has_come_to(stopped):
    path, code, said = stopped
    assert code == 130
    said = re.sub(r"\s+", " ", said)
    step, last = (int(number.replace(",", "")) for number in re.findall(r"after step ([\d,]+) of ([\d,]+)", said)[0])
    assert 600 <= step < last == 4_000
    assert f"Go on with: python -m lab train --resume runs/{path.name}" in said and "Traceback" not in said
    assert (path / f"checkpoint-{step:010d}.npz").exists()
    assert {one.name for one in path.iterdir() if one.suffix != ".npz"} == {
        "config.json",
        "environment.json",
        "metrics.jsonl",
    }


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_its_end_and_no_further(copy):
    """Its pictures belong to it: killed while they are drawn, it has its results and can still be gone on with."""
    before = rows_of(copy)
    killed = run("train", "--resume", copy, cwd=copy.parent.parent, program=signalled("SIGKILL", "report.html", 1))
    assert killed.returncode == -signal.SIGKILL
    assert lab.Run(copy).has_results and not lab.Run(copy).complete
    done = run("train", "--resume", copy, cwd=copy.parent.parent)
    assert done.returncode == 0, done.stderr
    assert rows_of(copy)[: len(before)] == before
    assert [row["epoch"] for row in rows_of(copy)] == list(range(21))
    assert {path.name for path in copy.iterdir()} == {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "network.npz",
        "results.nc",
        "figures",
        "report.html",
    }
    again = run("train", "--resume", copy, cwd=copy.parent.parent)
    assert again.returncode == 2
    assert error_of(again).endswith("is complete: there is nothing to resume. ")


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(copy):
    one_before, newest = sorted(copy.glob("checkpoint-*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    done = run("train", "--resume", copy, cwd=copy.parent.parent)
    assert done.returncode == 0, done.stderr
    assert f"{newest} is damaged" in done.stdout and "Going on from the one before." in done.stdout
    assert [row["epoch"] for row in rows_of(copy)] == list(range(21))
    assert not one_before.exists()


def test_when_all_checkpoints_are_damaged_it_is_said(copy):
    for path in copy.glob("checkpoint-*"):
        path.write_bytes(b"")
    done = run("train", "--resume", copy, cwd=copy.parent.parent)
    assert done.returncode == 2
    assert "start the run anew" in error_of(done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "99"], "epochs: 20 in the run, 99 now"),
        (["--optimiser", "adam"], "training.optimiser: 'sgd' in the run, 'adam' now"),
        (["--label-noise", "0.1"], "data.label_noise: 0.0 in the run, 0.1 now"),
    ],
)
def test_a_run_is_resumed_as_it_was_begun(copy, options, message):
    done = run("train", "--resume", copy, *options, cwd=copy.parent.parent)
    assert done.returncode == 2
    assert message in error_of(done)
    assert list(copy.glob("checkpoint-*"))


def test_names_and_places_are_printed_as_they_are(tmp_path):
    """Of :key: rich would make a picture of a key, and the path would be nowhere."""
    done = run("show", "mae", "--out", "a:key:b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "a:key:b").iterdir()
    assert f"The page: a:key:b/{folder.name}/report.html" in done.stdout
    refused = run("compare", "--sample", "--objective", "no.py:key:scale=2", cwd=tmp_path)
    assert refused.returncode == 2 and "no.py" in refused.stderr and "\U0001f511" not in refused.stderr


def test_who_reads_the_beginning_alone_ends_it_in_peace(tmp_path):
    """As `| head -1` does: the pipe is closed while more is to be written."""
    command = [sys.executable, "-m", "lab", "list", "objectives", "--markdown"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
    ) as one:
        assert one.stdout.readline() == "# Objectives\n"
        one.stdout.close()
        assert one.stderr.read() == "" and one.wait() == 0


@pytest.mark.parametrize("where", ["nowhere", ".", "runs", pytest.param("compared", marks=pytest.mark.slow)])
def test_what_is_no_run_of_train_cannot_be_resumed(where, request, tmp_path):
    path = next((request.getfixturevalue(where)[0] / "runs").iterdir()) if where == "compared" else where
    done = run("train", "--resume", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "is no run of `train`, so it cannot be resumed" in error_of(done)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_being_worked_on_is_left_alone(tmp_path):
    process = start("train", *LITTLE, "--epochs", "9999", cwd=tmp_path)
    try:
        wait_for(lambda: any(len(lab.Run(path).metrics()) > 1 for path in tmp_path.glob("runs/*")), process)
        path = only(tmp_path)
        done = run("train", "--resume", path, cwd=tmp_path)
        assert done.returncode == 2
        assert "another process is at work on" in error_of(done)
        before = len(lab.Run(path).metrics())
        wait_for(lambda: len(lab.Run(path).metrics()) > before + 1, process)
    finally:
        process.kill()
        process.communicate()
    epochs = [row["epoch"] for row in rows_of(path)]
    assert epochs == list(range(len(epochs)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "file", "epochs"), [(20_000, "checkpoint-0000000000.npz", 1), (35_000, "results.nc", 21)]
)
def test_a_disk_full_while_training_leaves_what_can_be_taken_up(limit, file, epochs, tmp_path):
    """Checkpoints and the network have some 28 KB each, results of 20 epochs more than 35."""
    arguments = ["train", *LITTLE, "--epochs", "20"]
    done = run(*arguments, cwd=tmp_path, program=limited(limit), environment=own_cache(tmp_path))
    assert done.returncode == 1
    path = only(tmp_path)
    said = error_of(done)
    assert f"runs/{path.name}/{file}: File too large. Go on with: python -m lab train --resume runs/{path.name}" in said
    assert not (path / "results.nc").exists() and not list(path.glob(".*"))
    before = rows_of(path)
    assert [row["epoch"] for row in before] == list(range(epochs))
    again = run("train", "--resume", path, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert rows_of(path)[:epochs] == before
    assert lab.Run(path).results().sizes["epoch"] == 21


@pytest.mark.slow
def test_killed_at_eight_moments_it_ends_as_if_it_never_was(tmp_path):
    arguments = ["train", *LITTLE, "--epochs", "300", "--optimiser", "momentum", "--learning-rate", "0.01"]
    whole = run(*arguments, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    expected = only(tmp_path)
    (tmp_path / "other").mkdir()
    rng = np.random.default_rng(0)
    for times, seconds in zip(rng.integers(2, 30, 8), rng.uniform(0.001, 0.05, 8), strict=True):
        begun = list(tmp_path.glob("other/runs/*/config.json"))
        resume = ["train", "--resume", begun[0].parent] if begun else arguments
        done = run(*resume, cwd=tmp_path / "other", program=signalled("SIGKILL", "metrics.jsonl", times, after=seconds))
        assert done.returncode == -signal.SIGKILL, done.stderr
    path = only(tmp_path / "other")
    done = run("train", "--resume", path, cwd=tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert (path / "network.npz").read_bytes() == (expected / "network.npz").read_bytes()
    assert rows_of(path) == rows_of(expected)
    assert lab.Run(path).results().identical(lab.Run(expected).results())
