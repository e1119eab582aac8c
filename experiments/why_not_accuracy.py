"""Why not train on accuracy?

    python experiments/why_not_accuracy.py [--steps 1000] [--data-dir DIR]

About 10 seconds on 2 cores. The question of section 4.2.5, for one weight of one network: what does a small change
of the weight do to accuracy, to losses, and to smoothed accuracy? What to expect: accuracy's derivative is exactly
0, its finite differences are 0 or jump with the step h; cross entropy's agree with autodiff at every small h.
"""

from dataclasses import dataclass, field
from typing import Annotated

import jax
import jax.numpy as jnp
import tyro
from jax.flatten_util import ravel_pytree
from rich.console import Console
from rich.table import Table

import lab

CURVES = ("zero_one", "cross_entropy", "squared_error", "expected_error", "expected_error:temperature=0.1")
STEPS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Settings:
    """Move one weight and look."""

    data: Annotated[lab.DataSettings, tyro.conf.arg(name="")] = field(default_factory=lab.DataSettings)
    steps: int = 1000
    """training steps before the weight is moved"""
    examples: int = 1000
    """test images that accuracy and losses are measured on"""
    seed: int = 0
    """seed of the network and its mini-batches"""


def main(settings: Settings) -> None:
    """Print the slope of each curve by autodiff, and by finite differences at several steps."""
    data = lab.load(settings.data.dataset, data_dir=settings.data.data_dir, normalize=True)
    images, labels = (jnp.asarray(part[: settings.examples]) for part in (data.test.images, data.test.labels))
    raw = lab.load(settings.data.dataset, data_dir=settings.data.data_dir).train

    network = lab.mlp([50], activation="sigmoid")  # the book's two-layer network
    sgd, loss = lab.optimiser("sgd", 0.1), lab.objective("cross_entropy")
    key = jax.random.key(settings.seed)
    (state,) = lab.train(network, loss, sgd, raw.images, raw.labels, key=key, stages=[settings.steps])

    objectives = [lab.objective(text) for text in CURVES]

    @jax.jit
    def means(parameters):
        logits = network.apply(parameters, images)
        return jnp.stack([jnp.mean(one(logits, labels)) for one in objectives])

    @jax.jit
    def slopes(parameters):
        found = lab.objective_gradients(network, parameters, images, labels, objectives)
        return jax.vmap(lambda gradient: ravel_pytree(gradient)[0])(found.gradients)

    by_weight = slopes(state.parameters)
    steepest = jnp.argmax(jnp.abs(by_weight[CURVES.index("cross_entropy")]))
    move = jax.jit(lambda theta: lab.finite_differences(means, theta, steepest[None], jnp.array(STEPS))[:, 0])
    differences = move(state.parameters)

    accuracy = 1 - float(means(state.parameters)[0])
    table = Table(
        "mean of",
        "slope by autodiff",
        *(f"h = {h:g}" for h in STEPS),
        title=f"One weight of {network.name} after {settings.steps} steps: slopes, and finite differences",
        caption=f"{data.description}; {len(labels):,} test images, n = 1 network, accuracy {accuracy:.1%}",
    )
    for curve, objective in enumerate(objectives):
        row = [
            f"{float(by_weight[curve, steepest]):.4f}",
            *(f"{float(d):.4f}" for d in differences[:, curve]),
        ]
        table.add_row(objective.title, *row)
    console = Console(highlight=False)
    console.print(table)

    moved = jnp.count_nonzero(differences[:, 0])
    console.print(
        f"Accuracy's slope is {float(by_weight[0, steepest]):g}; {int(moved)} of {len(STEPS)} steps h moved it at all, "
        f"and cross entropy's slope at h = {STEPS[1]:g} is within "
        f"{abs(float(differences[1, 1] / by_weight[1, steepest]) - 1):.1%} of autodiff's."
    )


if __name__ == "__main__":
    lab.cli(main)
