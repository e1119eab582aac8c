"""How fast does the lab train, beside what one would write instead?

    python benchmarks/training.py [--data-dir DIR] [--rounds 5] [--part epochs|together|many|start|all]

`epochs`: an epoch of a 784-100-10 ReLU network, mini-batches of 100, with its test accuracy: the lab with all that a
run does (every metric, finite-ness, progress, journal), the bare loop that it is at heart, and the peers that are
installed (`pip install -e .[bench]`). `together`: 32 networks of one sweep at once, and one after another. `many`:
1,024 networks of 784-50-10, each of a seed of its own, and what of a GPU's memory they take (not part of `all`: without
a GPU it takes minutes). `start`: from the command to the first trained epoch, without and with compiled programs kept,
and the memory. About 5 minutes on 2 cores with the whole MNIST.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine, spread, timed
from training_peers import Data, installed

import lab
from lab.devices import networks_that_fit
from lab.journal import Journal

jax.config.update("jax_num_cpu_devices", os.cpu_count())  # as the command line has it: every core is a device

# The most memory of a command, by way of a small process: a child is said to have had at least what its parent had.
LARGEST = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "lab", "train", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
KEY = jax.random.key(0)
NETWORK, LOSS = lab.mlp([100], activation="relu"), lab.objective("cross_entropy")


class OfTheLab:
    """The lab's training, with all that a run does."""

    def __init__(self, data: Data, stack: ExitStack):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = stack.enter_context(lab.lasting_run(folder, "train", lab.TrainSettings(), {}))
        advance = stack.enter_context(lab.progress(0, images_per_step=100))
        self.data, self.journal, self.epochs = data, Journal(run), 0
        self.states = lab.train_together(
            NETWORK,
            [LOSS],
            [lab.optimiser("sgd", 0.1)],
            data.images,
            data.labels,
            keys=KEY[None],
            stages=[len(data.labels) // 100 * epoch for epoch in range(1, 1000)],
            progress=lambda steps: advance(steps, "training"),
        )

    def epoch(self) -> float:
        """One epoch; the accuracy on all test images after it."""
        state = next(self.states)
        found = lab.evaluate_together(
            NETWORK.apply, [LOSS], state.parameters, self.data.test_images, self.data.test_labels
        )
        self.epochs += 1
        row = {f"test/{name}": float(values[0, 0]) for name, values in found.items()}
        self.journal.add([{"step": state.step, "epoch": self.epochs, "train/loss": float(state.losses.mean())} | row])
        self.journal.save(state)
        return row["test/accuracy"]


class Bare:
    """The loop itself: one compiled scan over an epoch, nothing but the accuracy after it."""

    def __init__(self, data: Data):
        self.images, self.labels, self.number = jnp.asarray(data.images), jnp.asarray(data.labels), 0
        self.test = jnp.asarray(data.test_images), jnp.asarray(data.test_labels)
        self.parameters = NETWORK.init(KEY)

        def step(parameters, batch, images, labels):
            def loss(parameters):
                return jnp.mean(LOSS(NETWORK.apply(parameters, images[batch].astype(float) / 255), labels[batch]))

            gradient = jax.grad(loss)(parameters)
            return jax.tree.map(lambda leaf, by: leaf - 0.1 * by, parameters, gradient), None

        @partial(jax.jit, donate_argnums=0)
        def epoch(parameters, indices, images, labels, test_images, test_labels):
            parameters, _ = jax.lax.scan(lambda p, batch: step(p, batch, images, labels), parameters, indices)
            answers = jnp.argmax(NETWORK.apply(parameters, test_images.astype(float) / 255), axis=1)
            return parameters, jnp.mean(answers == test_labels)

        self.run = epoch

    def epoch(self) -> float:
        """One epoch; the accuracy on all test images after it."""
        steps = len(self.labels) // 100
        indices = lab.shuffled(KEY, self.number * steps, steps, examples=len(self.labels), batch_size=100)
        self.parameters, accuracy = self.run(self.parameters, indices, self.images, self.labels, *self.test)
        self.number += 1
        return float(accuracy)


def epochs(data: Data, rounds: int) -> None:
    """Seconds an epoch, in interleaved rounds of one epoch each."""
    with ExitStack() as stack:
        peers: dict[str, Any] = {"the lab": OfTheLab(data, stack), "the bare loop": Bare(data)}
        peers |= {name: start(data, 0) for name, start in installed().items()}
        accuracies: dict[str, list[float]] = {name: [] for name in peers}

        def epoch_of(name: str) -> None:
            accuracies[name].append(peers[name].epoch())

        first = {}
        for name in peers:
            began = time.perf_counter()
            epoch_of(name)
            first[name] = time.perf_counter() - began
        seconds = timed({name: partial(epoch_of, name) for name in peers}, rounds)
    width = max(map(len, peers))
    images = f"{len(data.labels):,} images, with its accuracy on {len(data.test_labels):,}"
    print(f"\nan epoch of {images}; n = {rounds} rounds")
    for name, times in seconds.items():
        ratio = spread(times / seconds["the lab"])
        print(
            f"  {name:{width}s}  {spread(times, digits=3)} s, {ratio} of the lab; first {first[name]:.2f} s; "
            f"accuracy {accuracies[name][0]:.3f}, {accuracies[name][-1]:.3f} after {len(accuracies[name])} epochs"
        )


def together(data: Data, rounds: int, networks: int = 32, steps: int = 200) -> None:
    """Seconds of a sweep over learning rates, at once and one after another."""
    optimisers = [lab.optimiser("sgd", 0.1 * (1 + 0.02 * number)) for number in range(networks)]

    def train(optimisers: list[lab.Optimiser]) -> None:
        for _ in lab.train_together(
            NETWORK, [LOSS] * len(optimisers), optimisers, data.images, data.labels, keys=KEY[None], stages=[steps]
        ):
            pass

    runs = {
        "at once": lambda: train(optimisers),
        "one by one": lambda: [train([one]) for one in optimisers],
        "one": lambda: train(optimisers[:1]),
    }
    seconds = timed(runs, rounds)
    print(f"\n{networks} networks of one sweep, {steps} steps each; n = {rounds} rounds")
    for name, times in seconds.items():
        print(f"  {name:10s}  {spread(times, digits=3)} s")
    print(f"  at once / one by one: {spread(seconds['at once'] / seconds['one by one'])}")
    print(f"  at once / one: {spread(seconds['at once'] / seconds['one'])}")


def many(data: Data, networks: int = 1024, steps: int = 200) -> None:
    """Seconds and memory of many small networks at once, beside one of them alone."""
    network, optimiser = lab.mlp([50], activation="relu"), lab.optimiser("sgd", 0.1)
    fitting = networks_that_fit(network, LOSS, optimiser, data.images, batch_size=100)
    print(f"\n784-50-10, {steps} steps; {fitting:,} such networks would fit")

    def train(count: int) -> None:
        keys = jax.random.split(KEY, count)
        for _ in lab.train_together(network, [LOSS], [optimiser], data.images, data.labels, keys=keys, stages=[steps]):
            pass

    for count in (1, networks):
        seconds = timed({"at once": partial(train, count)}, 3)["at once"]
        memory = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        held = f", {memory / 1e6:,.0f} MB of the device at most" if memory else ""
        each = f"{count * steps / np.median(seconds):,.0f} steps a second"
        print(f"  {count:5,}  {spread(seconds, digits=3)} s, {each}{held}")


def start(data_dir: Path | None) -> None:
    """Seconds from the command to the first epoch in the journal, and the most memory of the whole command."""
    print("\nfrom the command to the first trained epoch (with its metrics)")
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder, "PYTHONPATH": os.getcwd()}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        options = ["--epochs", "2", "--out", f"{folder}/runs", *(["--data-dir", str(data_dir)] if data_dir else [])]
        for name in ("cold", "warm", "warm again"):
            known = set(Path(folder).glob("runs/*"))
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-c", LARGEST, *options], env=environment, stdout=subprocess.PIPE, text=True
            )
            while not any('"epoch": 1,' in path.read_text() for path in _journals(folder, known)):
                time.sleep(0.01)
            reached = time.perf_counter() - began
            memory = int(process.communicate()[0].splitlines()[-1]) / (1024 if sys.platform == "linux" else 1024**2)
            print(f"  {name:10s}  {reached:.2f} s; whole command {time.perf_counter() - began:.2f} s, {memory:.0f} MB")


def _journals(folder: str, known: set[Path]) -> list[Path]:
    return [path for path in Path(folder).glob("runs/*/metrics.jsonl") if path.parent not in known]


def main(
    data_dir: Path | None = None, rounds: int = 5, part: Literal["epochs", "together", "many", "start", "all"] = "all"
) -> None:
    """How fast does the lab train, beside what one would write instead?

    Args:
        data_dir: folder with the four IDX files; without it what the lab finds
        rounds: interleaved rounds
        part: what to measure
    """
    print(machine())
    digits = lab.load("mnist", data_dir=data_dir)
    print(digits.description)
    parts = digits.train, digits.validation
    images, labels = (np.concatenate([getattr(one, name) for one in parts]) for name in ("images", "labels"))
    data = Data(images, labels, digits.test.images, digits.test.labels)
    if part in ("epochs", "all"):
        epochs(data, rounds)
    if part in ("together", "all"):
        together(data, rounds)
    if part == "many":
        many(data)
    if part in ("start", "all"):
        start(data_dir)


if __name__ == "__main__":
    lab.cli(main)
