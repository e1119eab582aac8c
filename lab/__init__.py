"""The lab: compare the gradients of losses and of smoothed accuracy, and see why one trains on a loss.

Names are loaded when first used, so that `python -m lab --help` does not wait for JAX and a redraw does not
need it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.batches import drawn as drawn
    from lab.batches import shuffled as shuffled
    from lab.book import cross_entropy_error as cross_entropy_error
    from lab.book import mean_squared_error as mean_squared_error
    from lab.catalogue import objective as objective
    from lab.catalogue import register as register
    from lab.checks import check as check
    from lab.collection import open_runs as open_runs
    from lab.comparison import compare as compare
    from lab.console import cli as cli
    from lab.console import interruptible as interruptible
    from lab.console import progress as progress
    from lab.curvature import gauss_newton_vector as gauss_newton_vector
    from lab.curvature import hessian_vector as hessian_vector
    from lab.curvature import spectral_density as spectral_density
    from lab.curvature import top_eigenvalues as top_eigenvalues
    from lab.curvature import trace as trace
    from lab.data import Dataset as Dataset
    from lab.data import Split as Split
    from lab.data import dataset as dataset
    from lab.data import load as load
    from lab.data import load_from as load_from
    from lab.data import under_conditions as under_conditions
    from lab.diagnostics import effective_examples as effective_examples
    from lab.diagnostics import effective_examples_law as effective_examples_law
    from lab.diagnostics import margin_density as margin_density
    from lab.diagnostics import signal_to_noise as signal_to_noise
    from lab.diagnostics import silverman_width as silverman_width
    from lab.environment import describe as describe
    from lab.errors import DataError as DataError
    from lab.errors import InputError as InputError
    from lab.estimators import Estimate as Estimate
    from lab.estimators import ceiling as ceiling
    from lab.estimators import cosine as cosine
    from lab.estimators import evolution_strategies as evolution_strategies
    from lab.estimators import finite_differences as finite_differences
    from lab.estimators import perturbed_argmax as perturbed_argmax
    from lab.estimators import reinforce as reinforce
    from lab.estimators import straight_through as straight_through
    from lab.evaluation import evaluate as evaluate
    from lab.evaluation import evaluate_together as evaluate_together
    from lab.figures import draw as draw
    from lab.findings import summarise as summarise
    from lab.gallery import write_gallery as write_gallery
    from lab.gradients import cotangents as cotangents
    from lab.gradients import gram as gram
    from lab.gradients import objective_gradients as objective_gradients
    from lab.labels import from_one_hot as from_one_hot
    from lab.landscape import filter_normalised as filter_normalised
    from lab.landscape import line as line
    from lab.landscape import line_derivatives as line_derivatives
    from lab.landscape import plane as plane
    from lab.landscape import principal_plane as principal_plane
    from lab.landscape import random_direction as random_direction
    from lab.landscape import slice_values as slice_values
    from lab.lifecycle import lasting_run as lasting_run
    from lab.lifecycle import new_run as new_run
    from lab.lifecycle import resumed_run as resumed_run
    from lab.margins import centred_margin as centred_margin
    from lab.margins import hard_margin as hard_margin
    from lab.margins import sigmoid as sigmoid
    from lab.margins import soft_margin as soft_margin
    from lab.margins import topk_margin as topk_margin
    from lab.metrics import MinibatchBias as MinibatchBias
    from lab.metrics import accuracy as accuracy
    from lab.metrics import balanced_accuracy as balanced_accuracy
    from lab.metrics import brier_score as brier_score
    from lab.metrics import calibration_error as calibration_error
    from lab.metrics import log_score as log_score
    from lab.metrics import macro_f1 as macro_f1
    from lab.metrics import minibatch_bias as minibatch_bias
    from lab.moments import example_moments as example_moments
    from lab.moments import objective_gram as objective_gram
    from lab.networks import Network as Network
    from lab.networks import lenet5 as lenet5
    from lab.networks import mlp as mlp
    from lab.nodes import gram_from_margins as gram_from_margins
    from lab.nodes import margin_gram as margin_gram
    from lab.objectives import Definition as Definition
    from lab.objectives import Objective as Objective
    from lab.objectives import Parameter as Parameter
    from lab.optimisers import Optimiser as Optimiser
    from lab.optimisers import optimiser as optimiser
    from lab.pictures import Picture as Picture
    from lab.portrait import portray as portray
    from lab.ranking import compared as compared
    from lab.rays import accuracy_gain as accuracy_gain
    from lab.rays import best_weight as best_weight
    from lab.rays import metric_gain as metric_gain
    from lab.report import write_report as write_report
    from lab.runs import Run as Run
    from lab.schedules import annealed as annealed
    from lab.schedules import hand_over as hand_over
    from lab.schedules import tied as tied
    from lab.scoring import Metric as Metric
    from lab.scoring import metric as metric
    from lab.settings import CompareSettings as CompareSettings
    from lab.settings import DataSettings as DataSettings
    from lab.settings import StudySettings as StudySettings
    from lab.settings import SweepSettings as SweepSettings
    from lab.settings import TrainingSettings as TrainingSettings
    from lab.settings import TrainSettings as TrainSettings
    from lab.statistics import Interval as Interval
    from lab.statistics import bootstrap_interval as bootstrap_interval
    from lab.statistics import holm as holm
    from lab.statistics import interquartile_mean as interquartile_mean
    from lab.statistics import mean_interval as mean_interval
    from lab.statistics import median_interval as median_interval
    from lab.statistics import paired_difference as paired_difference
    from lab.statistics import paired_test as paired_test
    from lab.statistics import probability_of_improvement as probability_of_improvement
    from lab.studies import study as study
    from lab.surrogates import smoothed_error as smoothed_error
    from lab.sweeps import sweep as sweep
    from lab.tables import comparison_table as comparison_table
    from lab.tables import learning_table as learning_table
    from lab.tables import portrait_table as portrait_table
    from lab.tables import ranking_table as ranking_table
    from lab.tables import show_comparison as show_comparison
    from lab.tables import show_sweep as show_sweep
    from lab.training import train as train
    from lab.training import train_together as train_together
    from lab.tuning import tuned as tuned

_HOME = {
    "batches": "drawn shuffled",
    "book": "cross_entropy_error mean_squared_error",
    "catalogue": "objective register",
    "checks": "check",
    "collection": "open_runs",
    "comparison": "compare",
    "console": "cli interruptible progress",
    "curvature": "gauss_newton_vector hessian_vector spectral_density top_eigenvalues trace",
    "data": "Dataset Split dataset load load_from under_conditions",
    "diagnostics": "effective_examples effective_examples_law margin_density signal_to_noise silverman_width",
    "environment": "describe",
    "errors": "DataError InputError",
    "estimators": "Estimate ceiling cosine evolution_strategies finite_differences perturbed_argmax reinforce "
    "straight_through",
    "evaluation": "evaluate evaluate_together",
    "figures": "draw",
    "findings": "summarise",
    "gallery": "write_gallery",
    "gradients": "cotangents gram objective_gradients",
    "labels": "from_one_hot",
    "landscape": "filter_normalised line line_derivatives plane principal_plane random_direction slice_values",
    "margins": "centred_margin hard_margin sigmoid soft_margin topk_margin",
    "metrics": "MinibatchBias accuracy balanced_accuracy brier_score calibration_error log_score macro_f1 "
    "minibatch_bias",
    "moments": "example_moments objective_gram",
    "networks": "Network lenet5 mlp",
    "nodes": "gram_from_margins margin_gram",
    "objectives": "Definition Objective Parameter",
    "optimisers": "Optimiser optimiser",
    "pictures": "Picture",
    "portrait": "portray",
    "ranking": "compared",
    "rays": "accuracy_gain best_weight metric_gain",
    "report": "write_report",
    "lifecycle": "lasting_run new_run resumed_run",
    "runs": "Run",
    "schedules": "annealed hand_over tied",
    "scoring": "Metric metric",
    "settings": "CompareSettings DataSettings StudySettings SweepSettings TrainingSettings TrainSettings",
    "statistics": "Interval bootstrap_interval holm interquartile_mean mean_interval "
    "median_interval paired_difference paired_test probability_of_improvement",
    "studies": "study",
    "surrogates": "smoothed_error",
    "sweeps": "sweep",
    "tables": "comparison_table learning_table portrait_table ranking_table show_comparison show_sweep",
    "training": "train train_together",
    "tuning": "tuned",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = list(_MODULE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'lab' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lab.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE)
