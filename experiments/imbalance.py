"""And a metric that is no average over examples?

    python experiments/imbalance.py [--full] [--imbalance 100] [--seeds 5] [--data-dir DIR]

About a minute on 2 cores with the embedded sample. Training digits fall from 888 zeros to 9 nines; balanced accuracy
and macro-F1 count every class alike, and can be smoothed and trained on. What to expect, measured with 5 networks
(784-50-10 ReLU, 300 steps): they cannot be told from cross entropy (76.0 % balanced accuracy; soft_balanced_error
-0.3 points, from -7.2 to 6.7), while cross entropy with class weights reaches 81.7 % and with log priors 84.1 %. What
helps is what the objective knows of the classes, not that it looks like the metric.
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import lab

# What is trained on; class weights and log priors are those of the training images.
OBJECTIVES = (
    "cross_entropy",
    "reweighted_ce",
    "logit_adjusted_ce",
    "focal",
    "centred_expected_error",
    "soft_balanced_error",
    "soft_macro_f1",
)
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
NETWORK = lab.mlp([50], activation="relu")


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """And a metric that is no average over examples?"""

    data: Annotated[lab.DataSettings, tyro.conf.arg(name="")] = lab.DataSettings(imbalance=100.0)
    batch_size: int = 200
    """examples in a mini-batch: a metric of a whole batch sees few of the rare classes in a small one"""

    @property
    def stages(self) -> tuple[int, ...]:
        """The steps at which networks are looked at."""
        return (0, 100, 300, 1000, 3000) if self.full else (0, 30, 100, 300)


def weighted_by_class(name: str, counts) -> lab.Objective:
    """Cross entropy made fair to rare classes: by weights n / (K n_y), or by log priors added to the logits."""
    shares = jnp.asarray(counts / counts.sum(), dtype=jnp.float32)
    loss = lab.objective("cross_entropy")

    def reweighted(logits, labels):
        return loss(logits, labels) / (len(shares) * shares[labels])

    def adjusted(logits, labels):
        return loss(logits + jnp.log(shares)[None, :], labels)

    function, formula, source = {
        "reweighted_ce": (reweighted, "n / (K n_y) cross entropy", "inverse class frequencies"),
        "logit_adjusted_ce": (adjusted, "cross entropy of z + log(n_k / n)", "Menon et al. 2021"),
    }[name]
    return lab.Definition(name=name, family="own", formula=formula, source=source, function=function).make()


def measure(settings: Settings, data, name, advance):
    """The networks of one objective, at the learning rate with the best balanced accuracy on validation."""
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    found = lab.tuned(
        NETWORK,
        weighted_by_class(name, counts) if name in ("reweighted_ce", "logit_adjusted_ce") else lab.objective(name),
        data,
        learning_rates=RATES,
        keys=jax.vmap(jax.random.key)(np.array(settings.seed_range)),
        stages=settings.stages,
        metric="balanced_accuracy",
        batch_size=settings.batch_size,
        progress=advance,
    )
    by_step = np.stack([found.test[metric] for metric in METRICS])
    return {
        "score": (("metric", "seed", "step"), by_step),
        "end_score": (("metric", "seed"), by_step[..., -1]),
        "dead_classes": (("seed",), found.test["dead_classes"][:, -1]),
        "learning_rate": ((), found.learning_rate),
    }


def answer(results) -> str:
    """What the objectives made for the metric are worth against cross entropy, and against it reweighted."""
    scores = 100 * results["end_score"].sel(metric="balanced_accuracy")
    soft, loss, reweighted = (
        scores.sel(objective=name).values for name in ("soft_balanced_error", "cross_entropy", "reweighted_ce")
    )
    best = scores.mean("seed").idxmax("objective").item()
    among = scores.sizes["objective"]
    interval = lab.mean_interval(scores.sel(objective=best).values, among=among, within=(0.0, 100.0))
    return (
        f"In balanced accuracy {lab.compared('soft_balanced_error', soft, 'cross_entropy', loss)}; "
        f"{lab.compared('soft_balanced_error', soft, 'reweighted cross entropy', reweighted)}. The best is {best}, "
        f"{interval.text(1)} %."
    )


def pictures(results) -> list[lab.Picture]:
    """Where all come to, by each metric, and how they come there."""
    scores = results["end_score"].mean("seed")
    best = {metric: scores.sel(metric=metric).idxmax("objective").item() for metric in METRICS}
    first, balanced = best["balanced_accuracy"], 100 * results["end_score"].sel(metric="balanced_accuracy")
    lead = lab.compared(
        first,
        balanced.sel(objective=first).values,
        "cross_entropy",
        balanced.sel(objective="cross_entropy").values,
        among=balanced.sizes["objective"] - 1,
        unit="points of balanced accuracy",
    )
    return [
        lab.Picture(
            "scores",
            f"On average best in balanced accuracy: {best['balanced_accuracy']}; in macro-F1: {best['macro_f1']}; "
            f"in accuracy: {best['accuracy']}.",
            "end_score",
            "test score (%)",
            "objective",
            "",
            panels="metric",
            kind="dots",
            scale=100.0,
            share=True,
            note=f"After {int(results['step'][-1]):,} steps. Training images are unbalanced, test images are not.",
        ),
        lab.Picture(
            "progress",
            f"In the end {lead}." if first != "cross_entropy" else "Cross entropy ends at the top on average.",
            "score",
            "test score (%)",
            "step",
            "step",
            by="objective",
            panels="metric",
            scale=100.0,
            share=True,
        ),
    ]


def main(settings: Settings) -> None:
    """Train on unbalanced digits, on losses and on smoothed metrics, and judge by balanced ones."""
    lab.study(
        "imbalance",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {"metric": METRICS, "seed": settings.seed_range, "step": settings.stages},
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: settings.stages[-1],
        images=lambda settings: settings.batch_size,
        over="objective",
        parts=lambda settings: OBJECTIVES,
        method=lambda settings: (
            f"Network {NETWORK.name}; sgd, mini-batches of {settings.batch_size}, for every objective the rate of "
            f"{', '.join(map(str, RATES))} with the best balanced accuracy on validation."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
