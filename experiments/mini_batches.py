"""How well does a mini-batch stand for the whole?

    python experiments/mini_batches.py [--full] [--seeds 5] [--data-dir DIR]

About 65 seconds on 2 cores with the embedded sample. Losses and gradients of mini-batches of 1 to 3,000 images are held
against those of all training images. Expect the loss's error to fall as 1 / sqrt(B) and the cosine of the gradients to
follow 1 / sqrt(1 + S (1/B - 1/N)) within 0.01. With 5 networks, 100 images have cosine 0.77 [0.73, 0.81] with the whole
at the start and 0.29 [0.18, 0.41] after 1,000 steps; a cosine of 0.9 takes 288 [221, 355] images, and then 3,179
[1,215, 5,143].
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import lab

NETWORK = lab.mlp([100], activation="relu")
LOSS, SGD = lab.objective("cross_entropy"), lab.optimiser("sgd", 0.1)
FEWEST, MOST = 30, 300  # mini-batches of a size
GOOD = 0.9  # a cosine with the whole gradient that one would call good


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """How well does a mini-batch stand for the whole?"""

    @property
    def stages(self) -> tuple[int, ...]:
        """Steps of training at which mini-batches are held against the whole."""
        return (0, 100, 1000, 5400) if self.full else (0, 100, 1000)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """How many images a mini-batch has."""
        return (1, 3, 10, 30, 100, 300, 1000, 3000, *((10_000, 30_000) if self.full else ()))


@jax.jit
def of_whole(parameters, images, labels):
    """Loss and gradient of all images, the spread of single images' losses, and the noise scale of their gradients."""
    losses = LOSS(NETWORK.apply(parameters, images), labels)
    moments = lab.example_moments(NETWORK, parameters, images, labels, [LOSS], chunk=1000)
    signal_to_noise = lab.signal_to_noise(moments.squared_norm, jnp.mean(moments.inner, axis=1))
    return jnp.mean(losses), moments.mean, jnp.std(losses, ddof=1), 1 / signal_to_noise[0]


@jax.jit
def of_batches(parameters, images, labels, batches, loss, gradient):
    """The error of a mini-batch's loss (root mean square) and its gradient's cosine with the whole one (mean)."""

    def one(batch):
        found = lab.objective_gradients(NETWORK, parameters, images[batch], labels[batch], [LOSS])
        return jnp.mean(found.values) - loss, lab.cosine(found.gradients, gradient)

    errors, cosines = jax.lax.map(one, batches)
    return jnp.sqrt(jnp.mean(errors**2)), jnp.mean(jnp.nan_to_num(cosines))  # a gradient of 0 points nowhere


def measure(settings: Settings, data, seed, advance):
    """One network: mini-batches of every size at every stage, beside what the spread of single images foretells."""
    of_training, of_batch = jax.random.split(jax.random.key(seed))
    images, labels = jnp.asarray(data.train.images) / 255.0, jnp.asarray(data.train.labels)
    sizes = np.array(settings.batch_sizes, dtype=float)
    # Drawn without replacement: the variance of a mean of B out of N is the spread times 1/B - 1/N.
    share = np.where(sizes < len(data.train), 1 / sizes - 1 / len(data.train), np.nan)
    states = lab.train(
        NETWORK, LOSS, SGD, data.train.images, data.train.labels, key=of_training, stages=settings.stages
    )
    rows = []
    for state in states:
        loss, gradient, spread, noise = of_whole(state.parameters, images, labels)
        found = np.full((2, len(sizes)), np.nan)
        for i, size in enumerate(settings.batch_sizes):
            if size < len(labels):
                count = min(max(len(labels) // size, FEWEST), MOST)
                batches = lab.shuffled(of_batch, 0, count, examples=len(labels), batch_size=size)
                found[:, i] = of_batches(state.parameters, images, labels, batches, loss, gradient)
            advance(1)
        rows.append(
            {
                "error": found[0] / loss,
                "error_law": np.sqrt(share) * spread / loss,
                "cosine": found[1],
                "cosine_law": 1 / np.sqrt(1 + noise * share),
                "noise_scale": noise,
                "enough": 1 / ((GOOD**-2 - 1) / noise + 1 / len(labels)),  # the law, solved for the batch size
            }
        )
    found = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    return {name: (("stage", "batch_size")[: values.ndim], values) for name, values in found.items()}


def answer(results) -> str:
    """What a mini-batch of 100 says of the loss and of the gradient, first and last, and how many images it takes."""
    stages = [results.isel(stage=i) for i in (0, -1)]
    hundred = [one.sel(batch_size=100) for one in stages]
    errors = [lab.mean_interval(100 * one["error"].values, within=(0.0, np.inf)).text(1) for one in hundred]
    enough = [lab.mean_interval(one["enough"].values, within=(1.0, np.inf)).text(0) for one in stages]
    names = [str(one["stage"].item()) for one in stages]
    (first, last), n = (one["cosine"].values for one in hundred), results.sizes["seed"]
    cosines = [lab.mean_interval(one, within=(-1.0, 1.0)).text() for one in (first, last)]
    return (
        f"A mini-batch of 100 misses the loss of the whole by {errors[0]} % after {names[0]} and by {errors[1]} % "
        f"after {names[1]}; its gradient has cosine {cosines[0]} and {cosines[1]} with "
        f"that of the whole, less by {lab.paired_difference(first, last).text()} (n = {n}). A cosine of {GOOD:g} takes "
        f"{enough[0]} and {enough[1]} images."
    )


def pictures(results) -> list[lab.Picture]:
    """The error of the loss, the cosine of the gradient, and the noise scale, which foretells it."""
    mean = results.mean("seed")
    tenth = float((mean["error"].sel(batch_size=100) / mean["error"].sel(batch_size=1)).median())
    apart = float(abs(mean["cosine"] - mean["cosine_law"]).max())
    at = [f"{float(value):.2f}" for value in mean["cosine"].sel(batch_size=100)]
    scale = [f"{float(value):,.0f}" for value in mean["noise_scale"]]
    replaced = "Drawn without replacement from N training images: 1/B - 1/N in place of 1/B."
    return [
        lab.Picture(
            "loss",
            f"A hundred times the images leave 1/{1 / tenth:.0f} of the loss's error.",
            "error",
            "error of the mini-batch's loss, % of the loss",
            "batch_size",
            "images in the mini-batch",
            by="stage",
            log="xy",
            scale=100,
            beside="error_law",
            beside_title="spread of single losses x sqrt(1/B - 1/N)",
            within=(0.0, np.inf),
            note=f"Root mean square. {replaced}",
        ),
        lab.Picture(
            "cosine",
            f"The gradient of 100 images has cosine {at[0]} with the whole one, and {at[-1]} at the last stage.",
            "cosine",
            "cosine with the whole gradient",
            "batch_size",
            "images in the mini-batch",
            by="stage",
            log="x",
            zero=True,
            beside="cosine_law",
            beside_title="1 / sqrt(1 + S (1/B - 1/N)), S the noise scale",
            within=(-1.0, 1.0),
            note=f"The law holds within {apart:.2f}. {replaced}",
        ),
        lab.Picture(
            "noise_scale",
            f"Signal and noise are equal at {scale[0]} images, and at {scale[-1]} at the last stage.",
            "noise_scale",
            "noise scale tr(C) / |g|^2 (images)",
            "stage",
            "",
            kind="dots",
            zero=True,
            within=(0.0, np.inf),
            note="g is the gradient of the whole, C the covariance of single images' gradients.",
        ),
    ]


def main(settings: Settings) -> None:
    """Hold mini-batches of every size against all training images, at several stages of training."""
    lab.study(
        "mini_batches",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {
            "stage": [f"{step:,} steps" for step in settings.stages],
            "batch_size": settings.batch_sizes,
        },
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: len(settings.stages) * len(settings.batch_sizes),
        images=lambda settings: 101,  # a mini-batch of 100 is held against more
        method=lambda settings: (
            f"Network {NETWORK.name}, sgd at 0.1 on cross entropy in mini-batches of 100. {FEWEST} to {MOST} "
            "mini-batches of each size against all training images."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
