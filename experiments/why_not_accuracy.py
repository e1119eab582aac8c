"""Why not train on accuracy?

    python experiments/why_not_accuracy.py [--full] [--seeds 5] [--data-dir DIR]

About 20 seconds on 2 cores with the embedded sample. The question of section 4.2.5, for one weight of each network:
what does a small change of the weight do to accuracy, to losses, and to smoothed accuracy? What to expect, measured
with 5 networks (784-50-10 sigmoid): accuracy's slope is exactly 0 in all of them, and so are its difference quotients
up to a step of 0.1; at 1 all of them jump. Cross entropy's quotient at h = 0.001 is within 0.04 % of autodiff (0.01
to 0.08).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import lab

CURVES = ("zero_one", "cross_entropy", "squared_error", "expected_error", "expected_error:temperature=0.1")
STEPS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # h of the difference quotients
OFFSETS = np.linspace(-1.5, 1.5, 301)  # of the one weight, where it is drawn
NETWORK = lab.mlp([50], activation="sigmoid")  # the book's two-layer network


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """Move one weight of a network and look."""

    steps: int = 1000
    """training steps before the weight is moved; --full takes ten times as many"""
    examples: int = 200
    """test images that accuracy and losses are measured on; --full: ten times as many"""

    @property
    def times(self) -> int:
        """How much more of everything the real thing has."""
        return 10 if self.full else 1


def measure(settings: Settings, data, seed, advance):
    """One network, and the weight that cross entropy depends on most: slopes, quotients, the way along it."""
    (state,) = lab.train(
        NETWORK,
        lab.objective("cross_entropy"),
        lab.optimiser("sgd", 0.1),
        data.train.images,
        data.train.labels,
        key=jax.random.key(seed),
        stages=[settings.times * settings.steps],
    )
    count = settings.times * settings.examples
    images, labels = jnp.asarray(data.test.images[:count]) / 255.0, jnp.asarray(data.test.labels[:count])
    slopes, quotients, line, along = moved(state.parameters, images, labels)
    advance(1)
    shown = seed == settings.seed
    return {
        "slope": (("curve",), slopes),
        "quotient": (("curve", "h"), quotients),
        "quotient_share": (
            ("curve", "h"),
            np.abs(quotients) / np.maximum(np.abs(quotients).max(axis=1), 1e-30)[:, None],
        ),
        # One network's staircase: the mean of several would be none.
        "line": (("curve", "offset"), line if shown else np.full_like(line, np.nan)),
        "line_slope": (("curve", "offset"), along if shown else np.full_like(along, np.nan)),
        "levels": ((), len(np.unique(line[0]))),
    }


@jax.jit
def moved(parameters, images, labels):
    """What becomes of every curve as one weight is moved: slope here, quotients by h, values and slopes on the way."""
    objectives = [lab.objective(text) for text in CURVES]

    def means(theta):
        logits = NETWORK.apply(theta, images)
        return jnp.stack([jnp.mean(one(logits, labels)) for one in objectives])

    gradients = lab.objective_gradients(NETWORK, parameters, images, labels, objectives).gradients
    by_weight = jax.vmap(lambda gradient: ravel_pytree(gradient)[0])(gradients)
    steepest = jnp.argmax(jnp.abs(by_weight[CURVES.index("cross_entropy")]))
    quotients = lab.finite_differences(means, parameters, steepest[None], jnp.array(STEPS))[:, 0]
    flat, unravel = ravel_pytree(parameters)
    direction = unravel(jnp.zeros_like(flat).at[steepest].set(1.0))
    line, along = lab.line_derivatives(means, parameters, direction, jnp.asarray(OFFSETS, flat.dtype))
    return by_weight[:, steepest], quotients.T, line.T, along.T


def answer(results) -> str:
    """Whether accuracy has a slope, and whether a quotient finds one."""
    slopes = results["slope"].sel(curve="zero_one").values
    error, loss = (results["quotient"].sel(curve=name) for name in ("zero_one", "cross_entropy"))
    blind = (error == 0).sum("seed").values
    off = abs(loss.isel(h=1) / results["slope"].sel(curve="cross_entropy") - 1)
    within = lab.mean_interval(100 * off.values, within=(0.0, np.inf))
    said = ", ".join(f"{missed} at h = {h:g}" for missed, h in zip(blind, results["h"].values, strict=True))
    return (
        f"The slope of accuracy is 0 in {int((slopes == 0).sum())} of {len(slopes)} networks; of its "
        f"difference quotients these are 0 as well: {said}. Cross entropy's at h = {float(results['h'][1]):g} differs "
        f"from autodiff by {within.text(2)} %."
    )


def pictures(results) -> list[lab.Picture]:
    """The staircase and the losses beside it, their slopes, and difference quotients by step."""
    levels = int(results["levels"][0])
    blind = int((results["quotient"].sel(curve="zero_one").isel(h=0) == 0).sum())
    flat = not results["line_slope"].sel(curve="zero_one").fillna(0).any()
    of_line = {"x": "offset", "x_title": "one weight, moved by", "panels": "curve", "free": True}
    return [
        lab.Picture(
            "staircase",
            f"As one weight moves, the error takes {levels} values and jumps between them; losses bend.",
            "line",
            "mean over the images",
            **of_line,
            note="The first network.",
        ),
        lab.Picture(
            "slopes",
            "What gradient descent is told: the error's slope is 0 "
            + ("wherever one looks." if flat else "not everywhere."),
            "line_slope",
            "slope",
            **of_line,
            note="The first network; slopes by autodiff.",
        ),
        lab.Picture(
            "quotients",
            f"With h = {float(results['h'][0]):g} accuracy's difference quotient is 0 in {blind} of "
            f"{results.sizes['seed']} networks; those of losses settle.",
            "quotient_share",
            "|difference quotient| / the largest of its curve",
            "h",
            "h: the weight is moved so far to either side",
            by="curve",
            log="x",
            share=True,
        ),
    ]


def main(settings: Settings) -> None:
    """Slopes by autodiff and by finite differences, of accuracy and of losses, along one weight of each network."""
    lab.study(
        "why_not_accuracy",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {
            "curve": [lab.objective(text).title for text in CURVES],
            "h": STEPS,
            "offset": OFFSETS,
        },
        answer=answer,
        pictures=pictures,
        method=lambda settings: (
            f"Network {NETWORK.name} after {settings.times * settings.steps:,} steps of sgd at 0.1 on cross entropy; "
            "the weight on which cross entropy depends most is moved; "
            f"{settings.times * settings.examples:,} test images."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
