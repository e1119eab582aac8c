"""README: every Python block runs, every command does what it says."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from test_commands import FEW, ROOT, SMALL, run

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^\$ (python .*)$", README, re.MULTILINE)
TINY = "--epochs 1 --seeds 2 --subset 500 --network mlp:8 --learning-rates 0.1 --widenings 0".split()
EXTRA = {  # what makes a command small; what it needs that README leaves to the reader
    "compare": SMALL,
    "experiments/compare_gradients.py": SMALL,
    "experiments/why_not_accuracy.py": ["--steps", "20", "--examples", "100"],
    "experiments/data_driven.py": ["--seeds", "1", "--subset", "500"],
    "experiments/mini_batches.py": ["--seeds", "1", "--subset", "500"],
    "experiments/temperature.py": ["--seeds", "1", "--subset", "500"],
    "experiments/usable_gradients.py": ["--seeds", "1", "--examples", "100"],
    "experiments/gradient_free.py": ["--seeds", "1", "--steps", "20", "--examples", "50"],
    "experiments/confident_start.py": ["--seeds", "1", "--subset", "500"],
    "experiments/what_a_loss_looks_at.py": ["--seeds", "1", "--examples", "100"],
    "experiments/imbalance.py": ["--seeds", "1", "--imbalance", "10", "--subset", "1000"],
    "experiments/label_noise.py": ["--seeds", "1", "--steps", "20"],
    "experiments/fine_tune.py": ["--seeds", "1", "--before", "20", "--after", "20"],
    "train": ["--epochs", "1"],
    "sweep": TINY,
    "experiments/train_from_scratch.py": TINY,
}


def test_there_is_something_to_run():
    assert len(PYTHON) == 5 and len(COMMANDS) >= 9


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.splitlines()[0])
def test_python_blocks_run(block, tmp_path):
    done = run(cwd=tmp_path, program=("-c", block))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, tmp_path):
    _, first, *rest = shlex.split(command)
    arguments = rest[1:] if first == "-m" else rest
    name = arguments[0] if first == "-m" else first
    (tmp_path / "mine.py").write_text("\n\n".join(PYTHON[:4]))
    if "--data-dir" in arguments:  # DIR is the reader's to fill in: as it stands it is refused, and named
        refused = run(*arguments, cwd=tmp_path)
        assert refused.returncode == 2 and "DIR" in refused.stderr and "Traceback" not in refused.stderr
        return
    if name == "experiments/data_driven.py":
        pytest.importorskip("skimage", reason="scikit-image is of the extra baselines")
    if name == "report":
        assert run("compare", *SMALL, cwd=tmp_path).returncode == 0
        arguments = ["report", next((tmp_path / "runs").iterdir())]
    if "RUN" in arguments:  # a checkpoint: RUN is what train has made
        assert run("train", *EXTRA["train"], cwd=tmp_path).returncode == 0
        arguments[arguments.index("RUN")] = next((tmp_path / "runs").iterdir())
    program = ("-m", "lab") if first == "-m" else (ROOT / first,)
    smaller = FEW if "--checkpoint" in arguments else EXTRA.get(name, [])
    done = run(*arguments, *smaller, cwd=tmp_path, program=program)
    assert done.returncode == 0, done.stderr + done.stdout
    if name.startswith("experiments/"):
        assert "MNIST, embedded sample" in done.stdout


def test_every_experiment_is_run():
    named = {word for command in COMMANDS for word in command.split() if word.startswith("experiments/")}
    assert named == {f"experiments/{path.name}" for path in (ROOT / "experiments").glob("*.py")}


def test_make_targets_exist():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"^\$ make (\w+)", README, re.MULTILINE):
        assert re.search(rf"make {target}\b", listed)


def test_linked_files_exist():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        if not path.startswith("http"):
            assert (ROOT / Path(path)).exists(), path
