"""Settings: what a user can choose, each with its default; one field is one option of the command line.

Frozen dataclasses without JAX, so that `--help` is quick. They check themselves when made; what depends on the
data (a batch larger than the data set, say) is checked where the data are.
"""

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from lab.errors import InputError, unknown
from lab.options import at_least, not_negative, numbers, of_their_kinds, positive, rising_positive

T = TypeVar("T")
Precision = Literal["highest", "high", "default", "float64"]
# The metrics that have objectives made of them, which take part wherever no others are asked for.
SMOOTHED = {"balanced_accuracy": ("soft_balanced_error",), "macro_f1": ("soft_macro_f1",)}


def decayed(weight_decay: float) -> str:
    """What a caption adds where there is weight decay.

    >>> decayed(0.0), decayed(1e-4)
    ('', ', weight decay 0.0001')
    """
    return f", weight decay {weight_decay:g}" if weight_decay else ""


def restored(kind: type[T], config: dict[str, Any]) -> T:
    """The settings that a run's config.json was written from.

    Raises: InputError if it has settings that are not known.

    >>> restored(DataSettings, {"dataset": "kmnist", "data_dir": "there"}).data_dir
    PosixPath('there')
    """
    types = get_type_hints(kind)
    if strange := config.keys() - types.keys():
        raise InputError(f"unknown settings {', '.join(sorted(strange))}: another version of the lab made the run.")
    values = {}
    for name, value in config.items():
        if is_dataclass(types[name]):
            value = restored(types[name], value)
        elif types[name] in (Path, Path | None) and value is not None:
            value = Path(value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


@dataclass(frozen=True)
class DataSettings:
    """Which digits, and what is done to the training part of them."""

    dataset: str = "mnist"
    """mnist, fashion_mnist, kmnist, or your own: path/to/mine.py:make"""
    data_dir: Path | None = None
    """folder with the four IDX files (gz or raw); without it: a prepared TFDS folder, download, embedded sample"""
    sample: bool = False
    """the embedded sample of MNIST, even where all of it is to be had"""
    label_noise: float = 0.0
    """share of the training labels that are made wrong, from 0 to below 1"""
    noise: Literal["symmetric", "pair"] = "symmetric"
    """wrong labels: any other class (symmetric), or always the next one (pair)"""
    imbalance: float = 1.0
    """largest over smallest class in training, falling geometrically from the first class to the last; 1: as it is"""
    subset: int = 0
    """number of training images kept, before classes are cut and labels made wrong; 0: all"""

    def __post_init__(self) -> None:
        of_their_kinds(self)
        at_least("subset", self.subset, 0)
        if not 0 <= self.label_noise < 1:
            raise InputError(f"--label-noise must be a share from 0 to below 1; got {self.label_noise}.")
        if not 1 <= self.imbalance < math.inf:
            raise InputError(f"--imbalance must be a finite number >= 1; got {self.imbalance}.")


@dataclass(frozen=True)
class TrainingSettings:
    """Which network, and how it learns."""

    network: str = "mlp:100"
    """mlp:100,100 (ReLU layers), mlp:50:sigmoid (as in the book), lenet5, or your own as in path/to/mine.py:make"""
    optimiser: Literal["sgd", "momentum", "adam"] = "sgd"
    """the optimiser, from optax"""
    learning_rate: float = 0.1
    """the learning rate"""
    weight_decay: float = 0.0
    """times the parameters, added to their gradient"""
    batch_size: int = 100
    """examples in a mini-batch"""
    order: Literal["shuffled", "drawn"] = "shuffled"
    """shuffled epochs, or batches drawn with replacement as in the chapter"""

    def __post_init__(self) -> None:
        of_their_kinds(self)
        at_least("batch-size", self.batch_size, 1)
        positive("learning-rate", self.learning_rate)
        not_negative("weight-decay", self.weight_decay)

    def recipe(self, objective: str) -> str:
        """How networks are trained on an objective, in a few words for captions."""
        return (
            f"{self.optimiser} at learning rate {self.learning_rate:g}{decayed(self.weight_decay)} on {objective}, "
            f"mini-batches of {self.batch_size}"
        )


@dataclass(frozen=True)
class CompareSettings:
    """Compare the gradients of losses and smoothed accuracies at several stages of training."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    training: Annotated[TrainingSettings, tyro.conf.arg(name="")] = field(default_factory=TrainingSettings)
    train_on: str = "cross_entropy"
    """the objective that moves the networks, as in gce:q=0.5"""
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
    metric: str = "accuracy"
    """what is to be gained: accuracy, balanced_accuracy, macro_f1, or your own as in path/to/mine.py:name"""
    race: int = 0
    """steps (in whole epochs, as 300) for which objectives train networks of their own: whose are better? 0: none do"""
    precision: Precision = "highest"
    """of matrix products (a GPU's default is too coarse for cosines); float64: measured in double precision"""
    checkpoint: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """a saved network in place of training: a run's folder or its network.npz; several are compared as several seeds"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""

    def __post_init__(self) -> None:
        of_their_kinds(self)
        at_least("seeds", self.seeds, 1)
        at_least("seed", self.seed, 0)
        at_least("examples", self.examples, 2)
        at_least("race", self.race, 0)
        if self.race and self.checkpoint:
            raise InputError("--race trains networks, --checkpoint measures those that are saved: give one of the two.")
        if self.checkpoint and (trained := self._of_training):
            raise InputError(
                f"--checkpoint measures networks as they are saved, one for each time it is given: leave out --"
                f"{', --'.join(trained)}."
            )
        _ = self.stage_steps, self.temperature_values

    @property
    def _of_training(self) -> list[str]:
        """The options that were given and say what is trained and how; --network also says what is saved."""
        of_training = [one.name for one in fields(self.training) if one.name != "network"]
        given = [name for name in ("seeds", "stages", "train_on") if getattr(self, name) != getattr(type(self), name)]
        given += [name for name in of_training if getattr(self.training, name) != getattr(TrainingSettings, name)]
        return [name.replace("_", "-") for name in given]

    @property
    def stage_steps(self) -> tuple[int, ...]:
        """The stages as numbers of steps."""
        steps = numbers("stages", self.stages)
        rising = all(a < b for a, b in zip(steps, steps[1:], strict=False))
        if not steps or steps[0] < 0 or not rising or not all(step.is_integer() for step in steps):
            raise InputError(f"--stages must be rising whole numbers of steps from 0 on; got {self.stages!r}.")
        return tuple(int(step) for step in steps)

    @property
    def steps(self) -> int:
        """How many steps of training all of it takes."""
        return 0 if self.checkpoint else self.seeds * self.stage_steps[-1]

    @property
    def temperature_values(self) -> tuple[float, ...]:
        """The temperatures as numbers, each once, rising."""
        if not (values := rising_positive("temperatures", self.temperatures)):
            raise InputError(f"--temperatures must be finite numbers > 0; got {self.temperatures!r}.")
        return values


@dataclass(frozen=True)
class TrainSettings:
    """Train networks and keep them, with their metrics after every epoch."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    training: Annotated[TrainingSettings, tyro.conf.arg(name="")] = field(default_factory=TrainingSettings)
    objective: str = "cross_entropy"
    """what is minimised, as in gce:q=0.5 or path/to/mine.py:name"""
    anneal_to: float = 0.0
    """the temperature falls (or rises) geometrically from the objective's to this by the end; 0: it stays"""
    margin_quantile: float = 0.0
    """the temperature follows this quantile of each mini-batch's absolute margins; 0: it does not"""
    metric: str = "accuracy"
    """what is shown beside the loss: accuracy, balanced_accuracy, macro_f1, or your own as in path/to/mine.py:name"""
    hand_over: str = ""
    """another objective from a step on, as in 500:expected_error"""
    epochs: int = 10
    """passes over the training images"""
    seeds: int = 1
    """networks, each with its own start and mini-batches, trained side by side"""
    seed: int = 0
    """the first seed"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""

    def __post_init__(self) -> None:
        of_their_kinds(self)
        at_least("epochs", self.epochs, 1)
        at_least("seeds", self.seeds, 1)
        at_least("seed", self.seed, 0)
        if not 0 <= self.anneal_to < math.inf:
            raise InputError(f"--anneal-to must be a temperature > 0; got {self.anneal_to}.")
        if not 0 <= self.margin_quantile <= 1:
            raise InputError(f"--margin-quantile must be 0 < q <= 1; got {self.margin_quantile}.")
        if self.anneal_to and self.margin_quantile:
            raise InputError("a temperature is annealed or tied to the margins: give one of the two options.")
        _ = self.handed_over

    @property
    def handed_over(self) -> tuple[int, str] | None:
        """The step from which there is another objective, and which."""
        if not self.hand_over:
            return None
        step, _, objective = self.hand_over.partition(":")
        if not step.isdecimal() or int(step) < 1 or not objective:
            raise InputError(f"--hand-over must be as in 500:brier, with a step >= 1; got {self.hand_over!r}.")
        return int(step), objective


@dataclass(frozen=True)
class TrainCommand:
    """Train networks and keep them, with their metrics after every epoch; or go on with a run that was stopped."""

    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(default_factory=TrainSettings)
    resume: Path | None = None
    """the folder of a run that was stopped, to go on with; it needs no other option, and allows none that differs"""
    debug: bool = False
    """where training diverges, do its last steps again with every operation checked, and name the one to blame"""


@dataclass(frozen=True)
class SweepSettings:
    """Which objective trains the better network, each at its own best learning rate?"""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    objective: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """an objective in competition, as in gce:q=0.5; may be given several times (none: a standard set)"""
    reference: str = "cross_entropy"
    """the objective that all others are compared with"""
    metric: str = "accuracy"
    """what chooses and ranks: accuracy, balanced_accuracy, macro_f1, or your own as in path/to/mine.py:name"""
    temperatures: str = ""
    """temperatures at which every objective that has one, and names none, competes, as in 0.25,1,4"""
    learning_rates: str = "0.1,0.3,1,3,10"
    """the learning rates that every objective is tried at, an even grid in their logarithm"""
    optimiser: str = "sgd"
    """sgd, momentum or adam; several, as in sgd,adam, are tried for every objective"""
    widenings: int = 3
    """how often the grid may be made wider for an objective whose best rate lies on its edge"""
    weight_decay: float = 0.0
    """times the parameters, added to their gradient"""
    network: str = "mlp:100"
    """mlp:100,100 (ReLU layers), mlp:50:sigmoid (as in the book), lenet5, or your own as in path/to/mine.py:make"""
    batch_size: int = 100
    """examples in a mini-batch"""
    order: Literal["shuffled", "drawn"] = "shuffled"
    """shuffled epochs, or batches drawn with replacement as in the chapter"""
    epochs: int = 10
    """passes over the training images"""
    seeds: int = 5
    """networks of each objective and learning rate, each with its own start and mini-batches"""
    seed: int = 0
    """the first seed"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""

    def __post_init__(self) -> None:
        of_their_kinds(self)
        for name, low in (("batch-size", 1), ("epochs", 1), ("seeds", 1), ("seed", 0), ("widenings", 0)):
            at_least(name, getattr(self, name.replace("-", "_")), low)
        not_negative("weight-decay", self.weight_decay)
        _ = self.temperature_values, self.learning_rate_values, self.optimisers

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives in competition."""
        usual = ("cross_entropy", "squared_error", "gce", "expected_error", "centred_expected_error")
        return self.objective or (*usual, *SMOOTHED.get(self.metric, ()))

    @property
    def temperature_values(self) -> tuple[float, ...]:
        """The temperatures as numbers, each once, rising; none if each objective is to be taken at its own."""
        return rising_positive("temperatures", self.temperatures)

    @property
    def learning_rate_values(self) -> tuple[float, ...]:
        """The learning rates as numbers, each once, rising."""
        if not (values := rising_positive("learning-rates", self.learning_rates)):
            raise InputError("--learning-rates must be one or more finite numbers > 0; got none.")
        return values

    @property
    def optimisers(self) -> tuple[str, ...]:
        """The optimisers by name."""
        names = tuple(dict.fromkeys(name.strip() for name in self.optimiser.split(",") if name.strip()))
        known = ("sgd", "momentum", "adam")
        for name in names or ("",):
            if name not in known:
                raise unknown("optimiser", name, known, see="python -m lab sweep --help")
        return names


@dataclass(frozen=True)
class SweepCommand:
    """Which objective trains the better network, each at its own best learning rate? Or go on with a sweep stopped."""

    settings: Annotated[SweepSettings, tyro.conf.arg(name="")] = field(default_factory=SweepSettings)
    resume: Path | None = None
    """the folder of a sweep that was stopped, to go on with; it needs no other option, and allows none that differs"""


@dataclass(frozen=True)
class StudySettings:
    """What every experiment can be asked: on which data, with how many networks, and how thoroughly."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    full: bool = False
    """the real thing in place of a quick look; each experiment says what that is"""
    seeds: int = 5
    """networks, each with its own start, mini-batches and images"""
    seed: int = 0
    """the first seed"""
    out: Path = Path("runs")
    """the folder in which the run's own folder is made"""
    resume: Path | None = None
    """the folder of a run of this experiment that was stopped, to go on with; it needs no other option"""

    def __post_init__(self) -> None:
        of_their_kinds(self)
        for one in fields(self):  # an experiment's own numbers (images, steps) among them
            if one.type is int:
                at_least(one.name, getattr(self, one.name), 0 if one.name == "seed" else 1)

    @property
    def seed_range(self) -> range:
        """The seeds."""
        return range(self.seed, self.seed + self.seeds)


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
        of_their_kinds(self)
        positive("span", self.span)


@dataclass(frozen=True)
class DoctorSettings:
    """Where the doctor looks."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    out: Path = Path("runs")
    """the folder in which runs would be made"""
