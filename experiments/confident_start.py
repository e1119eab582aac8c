"""What when the network starts out sure and wrong?

    python experiments/confident_start.py [--full] [--seeds 5] [--data-dir DIR]

About 25 seconds on 2 cores with the embedded sample. One class is given a lead in all answers before training, so that
the network is sure, and wrong nine times in ten. What to expect, measured with 5 networks (196-20-10 ReLU of shrunk
images, 200 steps): cross entropy learns from every start (89 to 90 %): its pull is 1 - p_y. All others pull in
proportion to p_y. At a lead of 10 logits they pull with less than 0.001 and lose between 3 points (centred expected
error) and 72 (sigmoid_margin); at 20 none of them has moved at all.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import lab

OBJECTIVES = ("cross_entropy", "squared_error", "expected_error", "centred_expected_error", "sigmoid_margin")
LEADS = (0.0, 5.0, 10.0, 20.0)  # of the first class at the start, in logits
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
NETWORK = lab.mlp([20], activation="relu", pixels=196)


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """What when the network starts out sure and wrong?"""

    @property
    def stages(self) -> tuple[int, ...]:
        """The steps at which accuracy is looked at."""
        return (0, 30, 100, 300, 1000, 3000) if self.full else (0, 20, 50, 100, 200)


@jax.jit
def starts(keys, lead):
    """A network for each key, that answers the first class, by so many logits."""
    *first, last = jax.vmap(NETWORK.init)(keys)
    return [*first, last | {"bias": last["bias"].at[:, 0].add(lead)}]


@jax.jit
def pull(parameters, images, labels, objective):
    """How hard the objective pulls on the true logit of an example, and how sure the network is of its answers."""
    logits = NETWORK.apply(parameters, images)
    _, derivatives = lab.cotangents([objective], logits, labels)
    of_true = jnp.take_along_axis(derivatives[0], labels[:, None], axis=1)
    return jnp.mean(jnp.abs(of_true)), jnp.mean(jnp.max(jax.nn.softmax(logits), axis=1))


def shrunk(part: lab.Split) -> lab.Split:
    """Its images at 14 x 14 pixels, each the mean of 2 x 2: quick to learn from, and the question is not of pixels."""
    images = part.images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return replace(part, images=np.rint(images).astype(np.uint8).reshape(-1, 196))


def measure(settings: Settings, data, name, advance):
    """One objective, from every start: the gradient at the start, and test accuracy on the way."""
    data = replace(data, **{part: shrunk(getattr(data, part)) for part in ("train", "validation", "test")})
    keys = jax.vmap(jax.random.key)(np.array(settings.seed_range))
    objective = lab.objective(name)
    images, labels = jnp.asarray(data.train.images[:1000]) / 255.0, jnp.asarray(data.train.labels[:1000])
    pulls, confidences, accuracies, rates = [], [], [], []
    for lead in LEADS:
        start = starts(keys, lead)
        pulled, confidence = jax.vmap(pull, in_axes=(0, None, None, None))(start, images, labels, objective)
        found = lab.tuned(
            NETWORK,
            objective,
            data,
            learning_rates=RATES,
            keys=keys,
            stages=settings.stages,
            start=start,
            progress=advance,
        )
        pulls.append(pulled)
        confidences.append(confidence)
        accuracies.append(found.test["accuracy"])
        rates.append(found.learning_rate)
    return {
        "pull": (("lead", "seed"), pulls),
        "confidence": (("lead", "seed"), confidences),
        "accuracy": (("lead", "seed", "step"), accuracies),
        "end_accuracy": (("lead", "seed"), np.array(accuracies)[..., -1]),
        "learning_rate": (("lead",), rates),
    }


def answer(results) -> str:
    """Who recovers from the surest start, and who does not."""
    sure = 100 * results["accuracy"].isel(lead=-1, step=-1)
    slowest = sure.mean("seed").idxmin("objective").item()
    said = lab.compared(
        "cross entropy",
        sure.sel(objective="cross_entropy").values,
        slowest,
        sure.sel(objective=slowest).values,
        among=sure.sizes["objective"] - 1,
    )
    lead, steps = float(results["lead"][-1]), int(results["step"][-1])
    certain = 100 * float(results["confidence"].isel(lead=-1, objective=0).mean("seed"))
    return (
        f"With a lead of {lead:g} logits for one class a network is {certain:.1f} % sure before it has learnt. "
        f"After {steps} steps from there {said}; {stalled(results)}."
    )


def stalled(results) -> str:
    """How many objectives lose more than 10 points to their own unsure start, and which."""
    end = 100 * results["accuracy"].isel(step=-1).mean("seed")
    lost = (end.isel(lead=0) - end.isel(lead=-1)).values
    names = [name for name, by in zip(results["objective"].values, lost, strict=True) if by > 10]
    return f"{', '.join(names) or 'none'} lost more than 10 points to the usual start"


def pictures(results) -> list[lab.Picture]:
    """Where they come to, how they come there, and the gradient that they start with."""
    pulls = results["pull"].mean("seed").isel(lead=-1)
    early = 100 * results["accuracy"].sel(objective="cross_entropy").isel(step=1).mean("seed").values
    percent = {"scale": 100.0, "share": True, "by": "objective"}
    return [
        lab.Picture(
            "recovery",
            f"From the surest start {stalled(results)}.",
            "end_accuracy",
            "test accuracy (%)",
            "lead",
            "lead of one class at the start (logits)",
            note=f"After {int(results['step'][-1])} steps, each at its own best learning rate.",
            **percent,
        ),
        lab.Picture(
            "progress",
            f"After {int(results['step'][1])} steps cross entropy reads {early[0]:.0f} % rightly from the usual start, "
            f"{early[-1]:.0f} % from the surest.",
            "accuracy",
            "test accuracy (%)",
            "step",
            "step",
            panels="lead",
            **percent,
        ),
        lab.Picture(
            "pull",
            f"Where the network is surest, cross entropy pulls with {float(pulls.sel(objective='cross_entropy')):.2f}, "
            f"expected error with {float(pulls.sel(objective='expected_error')):.1g}.",
            "pull",
            "mean |dl/dz_y| at the start",
            "lead",
            "lead of one class at the start (logits)",
            by="objective",
            log="y",
            within=(0.0, np.inf),
            note="How hard an objective pulls on an example's true logit: mean over 1,000 training images.",
        ),
    ]


def main(settings: Settings) -> None:
    """Train from ever surer starts on one objective after another."""
    lab.study(
        "confident_start",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {"lead": LEADS, "seed": settings.seed_range, "step": settings.stages},
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: len(LEADS) * settings.stages[-1],
        over="objective",
        parts=lambda settings: OBJECTIVES,
        method=lambda settings: (
            f"Network {NETWORK.name} of images shrunk to 14 x 14, a lead for one class added to its last biases before "
            "training; sgd, mini-batches of 100, for every objective and start the rate of "
            f"{', '.join(map(str, RATES))} that validates best."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
