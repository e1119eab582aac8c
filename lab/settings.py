"""Settings: what a user can choose, each with its default; one field is one option of the command line.

Frozen dataclasses without JAX, so that `--help` is quick. They check themselves when made; what depends on the
data (a batch larger than the data set, say) is checked where the data are.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lab.errors import InputError

Precision = Literal["highest", "high", "default", "float64"]


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise InputError(f"--{name} must be at least {low}; got {value}.")


def read_numbers(text: str, *, option: str) -> tuple[float, ...]:
    """The numbers of a comma-separated option.

    >>> read_numbers("0.1, 1", option="temperatures")
    (0.1, 1.0)
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--{option} must be numbers separated by commas; got {text!r}.") from None


@dataclass(frozen=True)
class DataSettings:
    """Which digits."""

    dataset: str = "mnist"
    """mnist, fashion_mnist or kmnist"""
    data_dir: Path | None = None
    """folder with the four IDX files (gz or raw); without it: a prepared TFDS folder, download, embedded sample"""


@dataclass(frozen=True)
class TrainingSettings:
    """Which network, and how it learns."""

    hidden: str = "100"
    """units of each hidden layer, as in 100,100"""
    activation: Literal["relu", "sigmoid"] = "relu"
    """relu, or sigmoid as in the book (with `--hidden 50` its 784-50-10 network)"""
    network: str = ""
    """a network of your own in place of these, as in path/to/mine.py:make"""
    train_on: str = "cross_entropy"
    """the objective that moves the network, as in gce:q=0.5"""
    optimiser: Literal["sgd", "momentum", "adam"] = "sgd"
    """the optimiser, from optax"""
    learning_rate: float = 0.1
    """the learning rate"""
    batch_size: int = 100
    """examples in a mini-batch"""
    order: Literal["shuffled", "drawn"] = "shuffled"
    """shuffled epochs, or batches drawn with replacement as in the chapter"""

    def __post_init__(self) -> None:
        _at_least("batch-size", self.batch_size, 1)
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate must be a finite number > 0; got {self.learning_rate}.")
        _ = self.hidden_units

    @property
    def hidden_units(self) -> tuple[int, ...]:
        """The hidden layers as numbers."""
        units = read_numbers(self.hidden, option="hidden")
        if not all(unit.is_integer() and unit >= 1 for unit in units):
            raise InputError(f"--hidden must be whole numbers of units, as in 100,100; got {self.hidden!r}.")
        return tuple(int(unit) for unit in units)

    @property
    def recipe(self) -> str:
        """How networks are trained, in a few words for captions."""
        return (
            f"{self.optimiser} at learning rate {self.learning_rate:g} on {self.train_on}, "
            f"mini-batches of {self.batch_size}"
        )


@dataclass(frozen=True)
class CompareSettings:
    """Compare the gradients of losses and smoothed accuracies at several stages of training."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    training: Annotated[TrainingSettings, tyro.conf.arg(name="")] = field(default_factory=TrainingSettings)
    objective: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """a further objective, as in gce:q=0.5 or path/to/mine.py:name; may be given several times"""
    standard: bool = True
    """compare with the standard set of objectives (without it: with accuracy and cross entropy alone)"""
    temperatures: str = "0.01,0.02,0.05,0.1,0.2,0.5,1,2,5,10"
    """temperatures at which every objective that has one is measured"""
    stages: str = "0,100,540,5400"
    """steps of training at which gradients are compared (540 and 5400: 1 and 10 epochs of the whole MNIST)"""
    examples: int = 1000
    """training images in the batch whose gradients are compared; as many validation images try where they lead"""
    seeds: int = 5
    """networks, each with its own start, mini-batches and images; what is reported is their mean"""
    seed: int = 0
    """the first seed"""
    precision: Precision = "highest"
    """of matrix products (a GPU's default is too coarse for cosines); float64: measured in double precision"""
    checkpoint: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """a saved network in place of training: a run's folder or its network.npz; several are compared as several seeds"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""

    def __post_init__(self) -> None:
        _at_least("seeds", self.seeds, 1)
        _at_least("seed", self.seed, 0)
        _at_least("examples", self.examples, 2)
        _ = self.stage_steps, self.temperature_values

    @property
    def stage_steps(self) -> tuple[int, ...]:
        """The stages as numbers of steps."""
        steps = read_numbers(self.stages, option="stages")
        rising = all(a < b for a, b in zip(steps, steps[1:], strict=False))
        if not steps or steps[0] < 0 or not rising or not all(step.is_integer() for step in steps):
            raise InputError(f"--stages must be rising whole numbers of steps from 0 on; got {self.stages!r}.")
        return tuple(int(step) for step in steps)

    @property
    def networks(self) -> int:
        """How many networks are compared."""
        return len(self.checkpoint) or self.seeds

    @property
    def steps(self) -> int:
        """How many steps of training all of it takes."""
        return 0 if self.checkpoint else self.seeds * self.stage_steps[-1]

    @property
    def temperature_values(self) -> tuple[float, ...]:
        """The temperatures as numbers, each once, rising."""
        values = read_numbers(self.temperatures, option="temperatures")
        if not values or not all(0 < value < math.inf for value in values):
            raise InputError(f"--temperatures must be finite numbers > 0; got {self.temperatures!r}.")
        return tuple(sorted(set(values)))


@dataclass(frozen=True)
class TrainSettings:
    """Train one network and keep it, with its accuracy after every epoch."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    training: Annotated[TrainingSettings, tyro.conf.arg(name="")] = field(default_factory=TrainingSettings)
    epochs: int = 10
    """passes over the training images"""
    seed: int = 0
    """the seed of the start and of the mini-batches"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""

    def __post_init__(self) -> None:
        _at_least("epochs", self.epochs, 1)
        _at_least("seed", self.seed, 0)


@dataclass(frozen=True)
class ShowSettings:
    """Draw an objective over the margin, beside cross entropy and its closest relatives."""

    objective: tyro.conf.Positional[str]
    """as in gce:q=0.5 or path/to/mine.py:name"""
    span: float = 10.0
    """how far the margin axis goes to either side, in logits"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""

    def __post_init__(self) -> None:
        if not 0 < self.span < math.inf:
            raise InputError(f"--span must be a finite number > 0; got {self.span}.")


@dataclass(frozen=True)
class DoctorSettings:
    """Where the doctor looks."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    out: Path = Path("runs")
    """the folder in which runs would be made"""
