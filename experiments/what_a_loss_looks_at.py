"""Where on the margin axis does the gradient come from?

    python experiments/what_a_loss_looks_at.py [--full] [--objective gce:q=0.3] [--seeds 5] [--data-dir DIR]

About 30 seconds on 2 cores with the embedded sample. A digit's margin is the lead of its true class. What to expect,
measured with 5 networks (784-100-10 ReLU, trained on cross entropy): at the start all objectives look at all digits.
After 2,000 steps 2.1 % of the digits are read wrongly. 26 % of cross entropy's weight lies on them, 64 % of focal's,
but 9 % of expected error's, which has given up on what it gets most wrong. A cold expected error (T = 0.25) looks at
the boundary alone; its gradient is the least like cross entropy's: cosine 0.77 [0.52, 1.00].
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import lab

OBJECTIVES = (
    "cross_entropy",
    "squared_error",
    "gce",
    "focal",
    "crammer_singer",
    "sigmoid_margin",
    "centred_expected_error",
    "expected_error",
    "expected_error:temperature=0.25",
)
EDGES = np.linspace(-12.0, 12.0, 49)  # of the margins, in logits; what lies beyond counts to the outermost bins
NETWORK = lab.mlp([100], activation="relu")


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """Where on the margin axis does the gradient come from?"""

    objective: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """a further objective, as in gce:q=0.5 or path/to/mine.py:name; may be given several times"""
    examples: int = 2000
    """training images whose margins and gradients are looked at"""

    @property
    def stages(self) -> tuple[int, ...]:
        """The steps of training at which they are."""
        return (0, 100, 540, 5400, 54_000) if self.full else (0, 100, 540, 2000)

    @property
    def objectives(self) -> list[lab.Objective]:
        """What is compared."""
        return list({one.title: one for one in map(lab.objective, OBJECTIVES + self.objective)}.values())


@jax.jit
def looked_at(parameters, images, labels, objectives):
    """Shares of examples and of each objective's weight |dl/dz_y| by margin, and the cosines of the gradients."""
    logits = NETWORK.apply(parameters, images)
    margins = lab.hard_margin(logits, labels)
    in_bin = jnp.searchsorted(jnp.asarray(EDGES[1:-1]), margins)[:, None] == jnp.arange(len(EDGES) - 1)
    _, derivatives = lab.cotangents(objectives, logits, labels)
    weights = jnp.abs(jnp.take_along_axis(derivatives, labels[None, :, None], axis=2))[..., 0]
    shares = weights / jnp.sum(weights, axis=1, keepdims=True)
    wrong = margins <= 0
    inner = lab.gram(lab.objective_gradients(NETWORK, parameters, images, labels, objectives).gradients)
    length = jnp.sqrt(jnp.diagonal(inner))
    return {
        "share": shares @ in_bin.astype(float),
        "examples_share": jnp.broadcast_to(jnp.mean(in_bin, axis=0), (len(shares), len(EDGES) - 1)),
        "wrong_share": shares @ wrong.astype(float),
        "wrong_examples": jnp.mean(wrong),
        "cosine": inner / (length[:, None] * length[None, :]),
    }


def measure(settings: Settings, data, seed, advance):
    """One network, at every stage of its training on cross entropy."""
    images = jnp.asarray(data.train.images[: settings.examples]) / 255.0
    labels = jnp.asarray(data.train.labels[: settings.examples])
    states = lab.train(
        NETWORK,
        lab.objective("cross_entropy"),
        lab.optimiser("sgd", 0.1),
        data.train.images,
        data.train.labels,
        key=jax.random.key(seed),
        stages=settings.stages,
        progress=advance,
    )
    found = [looked_at(state.parameters, images, labels, settings.objectives) for state in states]
    axes = {
        "share": ("objective", "margin"),
        "examples_share": ("objective", "margin"),
        "wrong_share": ("objective",),
        "wrong_examples": (),
        "cosine": ("objective", "other"),
    }
    return {name: (("step", *of), np.stack([one[name] for one in found])) for name, of in axes.items()}


def coordinates(settings: Settings):
    """Objectives by their titles, bins by their middle."""
    titles = [one.title for one in settings.objectives]
    return {"step": settings.stages, "margin": (EDGES[1:] + EDGES[:-1]) / 2, "objective": titles, "other": titles}


def last_with_errors(results):
    """The results after the last steps at which any of the digits is read wrongly: all may be learnt in the end."""
    return results.isel(step=np.flatnonzero(results["wrong_examples"].mean("seed") > 0)[-1])


def answer(results) -> str:
    """How much of each looks at what the network gets wrong, and who looks elsewhere than cross entropy."""
    late = last_with_errors(results)
    loss, error = (
        lab.mean_interval(100 * late["wrong_share"].sel(objective=name).values, within=(0.0, 100.0))
        for name in ("cross_entropy", "expected_error T=1")
    )
    wrong = lab.mean_interval(100 * late["wrong_examples"].values, within=(0.0, 100.0))
    of_loss = late["cosine"].sel(objective="cross_entropy")
    least = of_loss.mean("seed").idxmin("other").item()
    among = of_loss.sizes["other"] - 1
    cosine = lab.mean_interval(of_loss.sel(other=least).values, among=among, within=(-1.0, 1.0))
    return (
        f"After {int(late['step']):,} steps {wrong.text(1)} % of these images are read wrongly; {loss.text(0)} % of "
        f"cross entropy's weight lies on them and {error.text(0)} % of expected error's. Least like cross entropy's is "
        f"the gradient of {least}: cosine {cosine.text(2)} (n = {cosine.n})."
    )


def pictures(results) -> list[lab.Picture]:
    """The weight over the margin, its share on wrong answers, and the cosines."""
    late = last_with_errors(results)
    wrong, when = 100 * late["wrong_share"].mean("seed"), f"After {int(late['step']):,} steps"
    # Its own cosine with itself is 1 at every step, and says nothing of the others.
    of_others = results["cosine"].sel(objective="cross_entropy").drop_sel(other="cross_entropy")
    cosines = of_others.mean(("seed", "other")).values
    steps = results["step"].values
    return [
        lab.Picture(
            "weight",
            f"{when} {float(wrong.sel(objective='cross_entropy')):.0f} % of cross entropy's weight lies on the "
            f"{100 * float(late['wrong_examples'].mean('seed')):.1f} % of images that are read wrongly.",
            "share",
            "share of the weight (%)",
            "margin",
            "hard margin (logits)",
            by="step",
            panels="objective",
            scale=100.0,
            share=True,
            beside="examples_share",
            beside_title="share of the examples",
            note="Weight: how hard an objective pulls on an example's true logit, |dl/dz_y|, in bins of half a logit. "
            "Lines: after so many steps. Left of 0 the answer is wrong.",
        ),
        lab.Picture(
            "wrong",
            f"{when} {wrong.idxmax('objective').item()} looks most at what is read wrongly, "
            f"{wrong.idxmin('objective').item()} least.",
            "wrong_share",
            "share of the weight on wrong answers (%)",
            "step",
            "step",
            by="objective",
            scale=100.0,
            share=True,
        ),
        lab.Picture(
            "cosines",
            f"Mean cosine of the others with cross entropy's gradient: {cosines[0]:.2f} at step {steps[0]}, "
            f"{cosines[-1]:.2f} at {steps[-1]:,}.",
            "cosine",
            "cosine of the gradients",
            "other",
            "",
            by="objective",
            panels="step",
            kind="heat",
            within=(-1.0, 1.0),
        ),
    ]


def main(settings: Settings) -> None:
    """Look at networks at several stages of their training, with the eyes of every objective."""
    lab.study(
        "what_a_loss_looks_at",
        __doc__,
        settings,
        measure=measure,
        coordinates=coordinates,
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: settings.stages[-1],
        images=lambda settings: settings.examples,
        method=lambda settings: (
            f"Network {NETWORK.name}, trained by sgd at 0.1 on cross entropy, mini-batches of 100; margins and "
            f"gradients of {settings.examples:,} training images."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
