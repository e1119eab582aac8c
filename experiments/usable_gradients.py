"""Whose gradient raises true accuracy most, and when?

    python experiments/usable_gradients.py [--full] [--seeds 5] [--data-dir DIR]

About 60 seconds on 2 cores with the embedded sample. The gradient of each objective is followed in a straight line for
as long as its own 1,000 images are read better and better, and the gain is counted on the test images. Expect much at
the start, next to nothing later, and differences that few networks can hardly tell: with 5, cross entropy's step gains
30.3 [22.8, 37.8], 1.6 [0.9, 2.4], 0.6 [-0.2, 1.4] and 0.1 [-0.2, 0.4] points after 0, 30, 100 and 1,000 steps. Beyond
chance (Holm) one of ten others gains more, focal after 30 steps, and three less: 1 at the start and 2 after 30 steps.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import lab

NETWORK = lab.mlp([100], activation="relu")
LOSS, SGD = lab.objective("cross_entropy"), lab.optimiser("sgd", 0.1)
NAMES = (
    "cross_entropy",
    "squared_error",
    "gce",
    "focal",
    "crammer_singer",
    "expected_error:temperature=1",
    "expected_error:temperature=0.1",
    "centred_expected_error:temperature=1",
    "sigmoid_margin:temperature=1",
    "sigmoid_margin:temperature=0.1",
    "ramp:temperature=1",
)
OBJECTIVES = [lab.objective(name) for name in NAMES]
DRAWS = 5  # of images, for each network: what a step gains depends on who asked for it


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """Whose gradient raises true accuracy most, and when?"""

    examples: int = 1000
    """training images that the gradients are taken on"""

    @property
    def stages(self) -> tuple[int, ...]:
        """Steps of training at which gradients are followed."""
        return (0, 100, 540, 5400) if self.full else (0, 30, 100, 1000)


@jax.jit
def followed(parameters, images, labels, batches, held_out):
    """How much accuracy the best step along each objective's gradient gains, for each mini-batch."""

    def one(batch):
        own = images[batch], labels[batch]
        gradients = lab.objective_gradients(NETWORK, parameters, *own, OBJECTIVES).gradients
        return lab.accuracy_gain(NETWORK, parameters, gradients, OBJECTIVES, own, held_out)

    return jax.lax.map(one, batches)


def measure(settings: Settings, data, seed, advance):
    """One network: what a step along every gradient gains, on the gradient's own images and on others."""
    of_training, of_images = jax.random.split(jax.random.key(seed))
    batches = lab.shuffled(of_images, 0, DRAWS, examples=len(data.train), batch_size=settings.examples)
    images, labels = jnp.asarray(data.train.images) / 255.0, jnp.asarray(data.train.labels)
    held_out = jnp.asarray(data.test.images) / 255.0, jnp.asarray(data.test.labels)
    states = lab.train(
        NETWORK, LOSS, SGD, data.train.images, data.train.labels, key=of_training, stages=settings.stages
    )
    rows = []
    for state in states:
        found = followed(state.parameters, images, labels, batches, held_out)
        rows.append([np.mean(one, axis=0, dtype=float) for one in (found.own, found.held_out, found.length)])
        advance(1)
    own, others, length = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "gain": (("stage", "images", "objective"), np.stack([own, others], axis=1)),
        "ahead": (("stage", "objective"), others - others[:, :1]),
        "length": (("stage", "objective"), length),
    }


def nearest(results, stage) -> str:
    """How cross entropy compares, on held-out images, with the one of the others that gains most."""
    gains = 100 * results["gain"].isel(stage=stage).sel(images="held out").transpose("seed", "objective").values
    loss, others = gains[:, 0], gains[:, 1:]
    best = int(others.mean(axis=0).argmax())
    name, among = str(results["objective"].values[1 + best]), others.shape[1]
    said = lab.compared(name, others[:, best], "cross entropy", loss, among=among, digits=2)
    return f"after {results['stage'][stage].item()} {said}"


def told_apart(results) -> tuple[list[int], list[int]]:
    """How many of the others gain more than cross entropy beyond chance, and how many less, stage by stage."""
    more, less = [], []
    for i in range(results.sizes["stage"]):
        ahead = results["ahead"].isel(stage=i, objective=slice(1, None)).transpose("objective", "seed").values
        sure = lab.holm(np.array([lab.paired_test(one, np.zeros_like(one)) for one in ahead])) < 0.05
        more.append(int(np.sum(sure & (ahead.mean(axis=1) > 0))))
        less.append(int(np.sum(sure & (ahead.mean(axis=1) < 0))))
    return more, less


def listed(values) -> str:
    """Values stage by stage."""
    return ", ".join(map(str, values))


def answer(results) -> str:
    """What cross entropy's gradient gains, how many gain more or less, and the nearest of them first and last."""
    loss = 100 * results["gain"].sel(images="held out").isel(objective=0)
    gains = [lab.mean_interval(loss.isel(stage=i).values).text(1) for i in range(results.sizes["stage"])]
    more, less = told_apart(results)
    return (
        f"The best step along cross entropy's gradient gains {listed(gains)} points of held-out accuracy after "
        f"{listed(results['stage'].values)}; of {results.sizes['objective'] - 1} others {listed(more)} gain more and "
        f"{listed(less)} less, beyond chance (Holm, n = {results.sizes['seed']}). "
        f"The best of them: {nearest(results, 0)}; {nearest(results, -1)}."
    )


def pictures(results) -> list[lab.Picture]:
    """Gains, the lead over cross entropy, and how far the best step goes."""
    mean = results.mean("seed")
    held_out = mean["gain"].sel(images="held out")
    first, last = (str(held_out.isel(stage=i).idxmax("objective").item()) for i in (0, -1))
    more, less = told_apart(results)
    names = [str(results["stage"][i].item()) for i in (0, -1)]
    lengths = mean["length"].sel(objective=results["objective"][0])
    return [
        lab.Picture(
            "gains",
            f"On average {first} gains most after {names[0]}, {100 * float(held_out[0].max()):.0f} points, and {last} "
            f"after {names[1]}, {100 * float(held_out[-1].max()):.1f}.",
            "gain",
            "gain of accuracy (points)",
            "objective",
            "",
            by="images",
            panels="stage",
            kind="dots",
            scale=100,
            zero=True,
            free=True,
            within=(-100.0, 100.0),
            note="The length of the step is the best for the gradient's own images, which flatters them.",
        ),
        lab.Picture(
            "ahead",
            f"Beyond chance {listed(more)} of {len(NAMES) - 1} gain more than cross entropy, stage by stage, and "
            f"{listed(less)} less.",
            "ahead",
            "held-out gain less cross entropy's (points)",
            "objective",
            "",
            panels="stage",
            kind="dots",
            scale=100,
            zero=True,
            free=True,
            within=(-100.0, 100.0),
            note="Counted stage by stage where Holm's correction leaves p < 0.05.",
        ),
        lab.Picture(
            "length",
            f"Cross entropy's best step is {float(lengths[0]):.2f} long after {names[0]}, {float(lengths[-1]):.2f} "
            f"after {names[1]}.",
            "length",
            "length of the best step, units of weight",
            "stage",
            "",
            by="objective",
            kind="heat",
            within=(0.0, np.inf),
        ),
    ]


def main(settings: Settings) -> None:
    """Follow every objective's gradient for as far as it raises accuracy, at several stages of training."""
    lab.study(
        "usable_gradients",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {
            "stage": [f"{step:,} steps" for step in settings.stages],
            "images": ["own", "held out"],
            "objective": [one.title for one in OBJECTIVES],
        },
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: len(settings.stages),
        images=lambda settings: settings.examples,
        method=lambda settings: (
            f"Network {NETWORK.name}, sgd at 0.1 on cross entropy in mini-batches of 100. Of each network the mean "
            f"over {DRAWS} draws of {settings.examples:,} training images; held out: the test images."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
