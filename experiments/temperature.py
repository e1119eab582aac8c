"""Which temperature?

    python experiments/temperature.py [--full] [--seeds 5] [--data-dir DIR]

About 65 seconds on 2 cores with the embedded sample. Mini-batches' gradients of accuracy smoothed at temperatures from
0.01 to 20 are held against the way in which held-out accuracy rises. Expect a curve with a top: too cold, and few
images carry the gradient (about n f(0) T / R of them); too warm, and it points elsewhere. The top moves to warmer
temperatures as training spreads the margins. With 5 networks and mini-batches of 1,000 it lies at T = 0.1 at the start
and at 1 after 1,000 steps, where mini-batches of 10 cannot say where theirs is (3.2 [0.3, 20]); and with 100 images
the best of 11 temperatures, T = 2, cannot be told from cross entropy (+0.025 in cosine, -0.056 to 0.107; with 10
networks +0.022, -0.009 to 0.053).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import lab

NETWORK = lab.mlp([100], activation="relu")
LOSS, SGD = lab.objective("cross_entropy"), lab.optimiser("sgd", 0.1)
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
TRIED = float(np.log10(TEMPERATURES[0])), float(np.log10(TEMPERATURES[-1]))  # nothing beyond can be best
SMOOTHED = [lab.objective("sigmoid_margin", temperature=one) for one in TEMPERATURES]
ROUGHNESS = 1 / 6  # of the logistic kernel, which a sigmoid of the margin smooths by
FEWEST, MOST = 10, 100  # mini-batches of a size


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """Which temperature?"""

    @property
    def stages(self) -> tuple[int, ...]:
        """Steps of training at which temperatures are compared."""
        return (0, 100, 1000, 5400) if self.full else (0, 100, 1000)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """How many images a mini-batch has."""
        return (10, 100, 1000, 10_000) if self.full else (10, 100, 1000)


@jax.jit
def of_margins(parameters, images, labels):
    """Shares of the images that carry smoothed accuracy's gradient: as they are, and as the density foretells."""
    margins = lab.hard_margin(NETWORK.apply(parameters, images), labels)
    density, _ = lab.margin_density(margins)
    law = lab.effective_examples_law(density, jnp.array(TEMPERATURES), examples=1, roughness=ROUGHNESS)
    carry = lab.effective_examples(jnp.stack([one.weight(margins) for one in SMOOTHED])) / len(margins)
    return carry, jnp.where(law <= 1, law, jnp.nan)  # it is one of cold temperatures: more than all cannot carry


@jax.jit
def rise(parameters, images, labels):
    """The gradient of accuracy smoothed as densities of margins are estimated, by a Gaussian; of the error, that is."""
    width = lab.silverman_width(lab.hard_margin(NETWORK.apply(parameters, images), labels))
    smooth = lab.smoothed_error("gaussian", width, "max")
    return lab.objective_gradients(NETWORK, parameters, images, labels, [smooth], chunk=1000).gradients


@jax.jit
def of_batches(parameters, images, labels, batches, reference):
    """Mean cosines of mini-batches' gradients with the reference: smoothed accuracies', and cross entropy's."""

    def one(batch):
        found = lab.objective_gradients(NETWORK, parameters, images[batch], labels[batch], [*SMOOTHED, LOSS])
        stacks = jax.tree.map(lambda leaf: leaf[:, None], found.gradients)
        return jax.vmap(lambda gradient: lab.cosine(gradient, reference))(stacks)

    cosines = jnp.mean(jnp.nan_to_num(jax.lax.map(one, batches)), axis=0)  # a gradient of 0 points nowhere
    return cosines[:-1], cosines[-1]


def measure(settings: Settings, data, seed, advance):
    """One network: how near mini-batches' gradients come to how held-out accuracy rises, stage by stage."""
    of_training, of_batch = jax.random.split(jax.random.key(seed))
    images, labels = jnp.asarray(data.train.images) / 255.0, jnp.asarray(data.train.labels)
    others = jnp.concatenate([data.validation.images, data.test.images]) / 255.0
    their_labels = jnp.concatenate([data.validation.labels, data.test.labels])
    halves = slice(0, None, 2), slice(1, None, 2)
    states = lab.train(
        NETWORK, LOSS, SGD, data.train.images, data.train.labels, key=of_training, stages=settings.stages
    )
    rows = []
    for state in states:
        reference = rise(state.parameters, others, their_labels)
        of_halves = [rise(state.parameters, others[half], their_labels[half]) for half in halves]
        carry, law = of_margins(state.parameters, images, labels)
        cosines = np.full((len(settings.batch_sizes), len(SMOOTHED)), np.nan)
        of_loss = np.full(cosines.shape, np.nan)
        for i, size in enumerate(settings.batch_sizes):
            if size <= len(labels):
                count = min(max(len(labels) // size, FEWEST), MOST)
                batches = lab.shuffled(of_batch, 0, count, examples=len(labels), batch_size=size)
                cosines[i], of_loss[i] = of_batches(state.parameters, images, labels, batches, reference)
            advance(1)
        best = np.where(np.isnan(cosines[:, 0]), np.nan, np.log10(TEMPERATURES)[np.argmax(cosines, axis=1)])
        agreement = lab.cosine(*of_halves)
        rows.append((cosines, of_loss, best, carry, law, agreement))
    axes = {
        "cosine": ("batch_size", "temperature"),
        "of_loss": ("batch_size", "temperature"),
        "best": ("batch_size",),
        "carry": ("temperature",),
        "law": ("temperature",),
        "agreement": (),
    }
    stacks = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return {name: (("stage", *axes[name]), stack) for name, stack in zip(axes, stacks, strict=True)}


def best_temperature(results, stage, batch_size) -> str:
    """The geometric mean of the networks' best temperatures, with its interval as far as temperatures were tried."""
    best = results["best"].isel(stage=stage).sel(batch_size=batch_size).values
    found = lab.mean_interval(best, within=TRIED)
    return lab.Interval(10**found.mean, 10**found.low, 10**found.high, found.n).text()


def smallest_and_largest(results) -> tuple[int, int]:
    """How many images the mini-batches have, of those sizes that there were images for."""
    sizes = results["best"].dropna("batch_size", how="all")["batch_size"]
    return int(sizes[0]), int(sizes[-1])


def answer(results) -> str:
    """The best temperature of small and large mini-batches, first and last, and whether it beats the loss."""
    small, large = smallest_and_largest(results)
    said = [
        f"after {results['stage'][i].item()} the best temperature is {best_temperature(results, i, small)} for "
        f"mini-batches of {small} and {best_temperature(results, i, large)} for {large:,}"
        for i in (0, -1)
    ]
    last = results.isel(stage=-1).sel(batch_size=100)
    ours, loss = (last[name].transpose("seed", "temperature").values for name in ("cosine", "of_loss"))
    best = int((ours - loss).mean(axis=0).argmax())
    name = f"accuracy smoothed at T = {TEMPERATURES[best]:g}, the best of {len(TEMPERATURES)},"
    by = lab.compared(
        name, ours[:, best], "cross entropy", loss[:, best], among=len(TEMPERATURES), unit="in cosine", digits=3
    )
    return f"A{'; '.join(said)[1:]} (n = {results.sizes['seed']}). There, with 100 images, {by}."


def pictures(results) -> list[lab.Picture]:
    """The curve over temperatures, where its top is, and who carries the gradient."""
    mean = results.mean("seed")
    first, last = (str(results["stage"][i].item()) for i in (0, -1))
    small, large = smallest_and_largest(results)
    at_one = 100 * mean["carry"].sel(temperature=1)
    agreement = ", ".join(f"{float(value):.2f}" for value in mean["agreement"])
    return [
        lab.Picture(
            "curve",
            f"After {last} mini-batches of {small} point best at T = {best_temperature(results, -1, small)}, "
            f"of {large:,} at T = {best_temperature(results, -1, large)}.",
            "cosine",
            "cosine with the rise of held-out accuracy",
            "temperature",
            "temperature T",
            by="batch_size",
            panels="stage",
            log="x",
            beside="of_loss",
            beside_title="cross entropy with the same mini-batches",
            within=(-1.0, 1.0),
            note="Lines: images in the mini-batch. The rise is steepest ascent of accuracy smoothed as densities of "
            f"margins are estimated; taken on either half of the held-out images it agrees with cosine {agreement}, "
            "stage by stage: that lowers all cosines alike.",
        ),
        lab.Picture(
            "best",
            f"For mini-batches of 100 the best temperature is {best_temperature(results, 0, 100)} after {first} "
            f"and {best_temperature(results, -1, 100)} after {last}.",
            "best",
            "best temperature, log10 T",
            "batch_size",
            "images in the mini-batch",
            by="stage",
            log="x",
            within=TRIED,
            note="0 is T = 1, -1 is T = 0.1. The networks choose from "
            f"{len(TEMPERATURES)} temperatures from {TEMPERATURES[0]:g} to {TEMPERATURES[-1]:g}.",
        ),
        lab.Picture(
            "carry",
            f"{float(at_one[0]):.0f} % of the images carry the gradient of T = 1 after {first}, "
            f"{float(at_one[-1]):.0f} % after {last}.",
            "carry",
            "effective examples, % of the training images",
            "temperature",
            "temperature T",
            by="stage",
            log="xy",
            scale=100,
            beside="law",
            beside_title="f(0) T / R, f(0) the density of margins at 0, R = 1/6",
            within=(0.0, 100.0),
            note="The law is one of cold temperatures, where the density is level within the kernel's width.",
        ),
    ]


def main(settings: Settings) -> None:
    """Hold mini-batches' gradients of smoothed accuracy at every temperature against the rise of held-out accuracy."""
    lab.study(
        "temperature",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {
            "stage": [f"{step:,} steps" for step in settings.stages],
            "batch_size": settings.batch_sizes,
            "temperature": TEMPERATURES,
        },
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: len(settings.stages) * len(settings.batch_sizes),
        method=lambda settings: (
            f"Network {NETWORK.name}, sgd at 0.1 on cross entropy in mini-batches of 100. Accuracy smoothed over the "
            f"margin, sigmoid(m/T); {FEWEST} to {MOST} mini-batches of training images of each size, held against "
            "validation and test images together."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
