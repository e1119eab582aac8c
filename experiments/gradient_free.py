"""What do gradient-free estimators cost?

    python experiments/gradient_free.py [--full] [--seeds 5] [--data-dir DIR]

About a minute on 2 cores with the embedded sample. Evolution strategies move all weights at once, to and fro, and see
what becomes of accuracy itself: no derivative is needed. What to expect, measured with 5 networks (784-50-10 sigmoid
after 200 steps, 200 images): 2,000 forward passes reach a cosine of 0.155 with cross entropy's gradient, and the law
sqrt(m / (m + d + 1)) says 0.157. Small moves ask about the boundary: accuracy's estimate then goes with sigmoid_margin
(0.11 at sigma = 0.03) and not with expected error, with which it agrees at sigma = 0.1 (0.08); that it is nearer than
the next one 5 networks cannot tell (+0.049, from -0.058 to 0.155). Where the network is known one draws answers instead
of moving weights: REINFORCE is nearer by 0.97 in cosine for the same 100 draws.
"""

from dataclasses import dataclass
from functools import partial
from math import comb

import jax
import jax.numpy as jnp
import numpy as np

import lab

SIGMAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SAMPLES = 100  # of the estimators that draw answers instead of weights: each is worth a forward pass
NETWORK = lab.mlp([50])
LOSS, ERROR = lab.objective("cross_entropy"), lab.objective("zero_one")
SURROGATES = ("expected_error:temperature=1", "centred_expected_error:temperature=1", "sigmoid_margin:temperature=1")


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """What do gradient-free estimators cost?"""

    steps: int = 200
    """training steps before the gradients are estimated"""
    examples: int = 200
    """training images that they are estimated on"""

    @property
    def pairs(self) -> tuple[int, ...]:
        """How many antithetic pairs of perturbations are tried."""
        return (10, 30, 100, 300, 1000, 3000, 10_000) if self.full else (10, 30, 100, 300, 1000)


@partial(jax.jit, static_argnames="pairs")
def evolved(parameters, images, labels, key, sigma, pairs):
    """Estimates of the gradients of cross entropy and of the error, by evolution strategies."""

    def values(theta):
        logits = NETWORK.apply(theta, images)
        return jnp.stack([jnp.mean(one(logits, labels)) for one in (LOSS, ERROR)])

    return lab.evolution_strategies(values, parameters, key=key, sigma=sigma, pairs=pairs)


@jax.jit
def drawn(parameters, images, labels, key):
    """Estimates of the gradient of expected error from answers drawn for every image, a stack of three."""
    estimators = (partial(lab.reinforce, baseline=False), lab.reinforce, partial(lab.perturbed_argmax, sigma=1.0))
    found = [
        estimate(NETWORK.apply, parameters, images, labels, key=key, samples=SAMPLES).gradient
        for estimate in estimators
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


@jax.jit
def against(gradients, reference):
    """Cosine of each of a stack of gradients with one other."""
    return jax.vmap(lambda one: lab.cosine(one, reference))(gradients)


def measure(settings: Settings, data, seed, advance):
    """One network: how near every estimate comes to the gradient that it is an estimate of."""
    of_training, of_images, of_noise = jax.random.split(jax.random.key(seed), 3)
    (state,) = lab.train(
        NETWORK,
        LOSS,
        lab.optimiser("sgd", 0.1),
        data.train.images,
        data.train.labels,
        key=of_training,
        stages=[settings.steps],
    )
    advance(1)
    (batch,) = lab.shuffled(of_images, 0, 1, examples=len(data.train), batch_size=settings.examples)
    images, labels = jnp.asarray(data.train.images[batch]) / 255.0, jnp.asarray(data.train.labels[batch])
    objectives = [LOSS, *map(lab.objective, SURROGATES)]
    exact = lab.objective_gradients(NETWORK, state.parameters, images, labels, objectives).gradients
    loss, *surrogates = (jax.tree.map(lambda leaf, i=i: leaf[i], exact) for i in range(len(objectives)))

    by_pairs = []
    for pairs in settings.pairs:
        found = evolved(state.parameters, images, labels, of_noise, 0.003, pairs)
        by_pairs.append(against(found.gradient, loss)[:1])
        advance(1)
    by_sigma = []
    for sigma in SIGMAS:
        found = evolved(state.parameters, images, labels, of_noise, sigma, settings.pairs[-1])
        by_sigma.append([against(found.gradient, surrogate)[1] for surrogate in surrogates])
        advance(1)

    answers = drawn(state.parameters, images, labels, of_noise)
    evolution = evolved(state.parameters, images, labels, of_noise, 0.1, SAMPLES // 2).gradient
    weights = sum(leaf.size for leaf in jax.tree.leaves(state.parameters))
    return {
        "cosine": (("pairs",), np.concatenate(by_pairs)),
        "law": (("pairs",), [lab.ceiling(pairs, weights) for pairs in settings.pairs]),
        "accuracy_cosine": (("sigma", "surrogate"), by_sigma),
        "same_cost": (("estimator",), [*against(answers, surrogates[0]), against(evolution, surrogates[0])[1]]),
    }


def answer(results) -> str:
    """How near to the law, how near to accuracy's own smoothed gradient, and at which price."""
    most = int(results["pairs"][-1])
    reached = lab.mean_interval(results["cosine"].isel(pairs=-1).values, within=(-1.0, 1.0))
    law = float(results["law"].isel(pairs=-1)[0])
    best, after = nearest(results)
    cosines = results["accuracy_cosine"].sel(sigma=best["sigma"])
    by = lab.compared(
        best["surrogate"],
        cosines.sel(surrogate=best["surrogate"]).values,
        after,
        cosines.sel(surrogate=after).values,
        among=len(SIGMAS) * comb(len(SURROGATES), 2),  # all pairs of surrogates, at every sigma
        unit="in cosine",
        digits=3,
    )
    draws, moves = (
        results["same_cost"].sel(estimator=one).values for one in ("REINFORCE with baseline", "evolution strategies")
    )
    return (
        f"{2 * most:,} forward passes of evolution strategies reach cosine {reached.text(3)} with cross entropy's "
        f"gradient (the law says {law:.3f}; n = {reached.n}). Of accuracy itself they come nearest to the gradient of "
        f"{best['surrogate']}, with sigma = {best['sigma']:g}; there {by}. With {SAMPLES} draws or passes, "
        + lab.compared("drawing answers", draws, "moving weights", moves, unit="in cosine", digits=2)
        + "."
    )


def nearest(results) -> tuple[dict, str]:
    """The sigma and the surrogate with the highest mean cosine, and the surrogate that comes after it there."""
    mean = results["accuracy_cosine"].mean("seed")
    at = mean.argmax(("sigma", "surrogate"))
    best = {axis: mean[axis][at[axis]].item() for axis in ("sigma", "surrogate")}
    others = mean.sel(sigma=best["sigma"]).drop_sel(surrogate=best["surrogate"])
    return best, others.idxmax("surrogate").item()


def nearest_estimator(results) -> str:
    """Whether the estimator with the highest mean cosine comes nearer than the one after it, of all pairs of them."""
    same = results["same_cost"]
    first, second, *_ = same["estimator"].values[np.argsort(-same.mean("seed").values)]
    ours, theirs = (same.sel(estimator=one).values for one in (first, second))
    among = comb(same.sizes["estimator"], 2)
    return lab.compared(first, ours, second, theirs, among=among, unit="in cosine", digits=2)


def pictures(results) -> list[lab.Picture]:
    """The price in passes, sigma as a bandwidth, and all estimators at one price."""
    reached, law = (results[name].mean("seed") for name in ("cosine", "law"))
    off = float(abs(reached / law - 1).max())
    best, _ = nearest(results)
    return [
        lab.Picture(
            "price",
            f"Ten times the cosine costs a hundred times the passes: the law holds within {100 * off:.0f} %.",
            "cosine",
            "cosine with the true gradient",
            "pairs",
            "antithetic pairs (two forward passes each)",
            log="xy",
            beside="law",
            beside_title="sqrt(m / (m + d + 1))",
            within=(-1.0, 1.0),
            note="Cross entropy, sigma = 0.003.",
        ),
        lab.Picture(
            "bandwidth",
            f"On average accuracy itself points most nearly where {best['surrogate']} does, at sigma = "
            f"{best['sigma']:g}.",
            "accuracy_cosine",
            "cosine with the surrogate's gradient",
            "sigma",
            "sigma (weights are moved by)",
            by="surrogate",
            log="x",
            within=(-1.0, 1.0),
            note=f"Accuracy itself, {int(results['pairs'][-1]):,} pairs; too small a sigma flips no answer, too large "
            "a one asks about other networks.",
        ),
        lab.Picture(
            "estimators",
            f"At the same price {nearest_estimator(results)}.",
            "same_cost",
            "cosine with expected error's gradient",
            "estimator",
            "",
            kind="dots",
            zero=True,
            within=(-1.0, 1.0),
            note=f"{SAMPLES} forward passes, or as many draws of answers, which need one pass between them.",
        ),
    ]


def main(settings: Settings) -> None:
    """Estimate the gradients of one network after another without derivatives, and hold them against the true ones."""
    lab.study(
        "gradient_free",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {
            "pairs": settings.pairs,
            "sigma": SIGMAS,
            "surrogate": [lab.objective(surrogate).title for surrogate in SURROGATES],
            "estimator": ["REINFORCE", "REINFORCE with baseline", "perturbed argmax", "evolution strategies"],
        },
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: 1 + len(settings.pairs) + len(SIGMAS),
        images=lambda settings: settings.examples,
        method=lambda settings: (
            f"Network {NETWORK.name} after {settings.steps} steps of sgd at 0.1 on cross entropy; gradients on "
            f"{settings.examples} training images."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
