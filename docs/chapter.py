"""The pictures of chapter.md that belong to no experiment, and the numbers that it quotes with them.

    python docs/chapter.py [--out docs/pictures]

About 10 seconds on 2 cores with the embedded sample. Each picture is a function that computes its numbers, prints
them and gives a chart.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import jax
import jax.numpy as jnp
import numpy as np

import lab
from lab.figures import SCALE
from lab.palette import colour, dash, look
from lab.runs import write_bytes
from lab.vega import svg

FEW, STAGES = 500, (10, 30, 100, 300, 1000, 3000)  # images to learn from; steps
SIZES, DRAWS = (1, 10, 100, 1000), 200  # mini-batches
BLUE = "#0072B2"


@dataclass(frozen=True)
class Settings:
    """Draw the pictures of docs/chapter.md, and print their numbers."""

    out: Path = Path(__file__).parent / "pictures"
    """folder for chapter-losses.png, chapter-split.png and chapter-batches.png"""
    stages: tuple[int, ...] = STAGES
    """steps of training at which accuracies are drawn"""


def losses(settings: Settings) -> alt.TopLevelMixin:
    """4.2.1 and 4.2.2: what the two losses charge for the right class's probability, the others sharing the rest."""
    p = np.geomspace(1e-9, 1, 200)
    y = jnp.asarray(np.column_stack([p, np.repeat((1 - p[:, None]) / 9, 9, axis=1)]))
    by_name = {
        "cross_entropy": -np.log(p),
        "guarded_cross_entropy": jax.vmap(lambda row: lab.cross_entropy_error(row, 0))(y),
        "squared_error": jax.vmap(lambda row: lab.mean_squared_error(row, 0))(y),
    }
    print({name: round(float(values[0]), 3) for name, values in by_name.items()}, f"at a probability of {p[0]:.0e}")
    decades = alt.Axis(values=[10.0**k for k in range(-9, 1)], format="~e")
    rows = [{"p": a, "loss": float(b), "key": name} for name, v in by_name.items() for a, b in zip(p, v, strict=True)]
    return (
        alt.Chart(alt.InlineData(values=rows), width=520, height=260)
        .mark_line(strokeWidth=2)
        .encode(
            alt.X("p:Q", title="probability of the right class", scale=alt.Scale(type="log"), axis=decades),
            alt.Y("loss:Q", title="loss"),
            color=colour(list(by_name), legend=True),
            strokeDash=dash(list(by_name), legend=True),
        )
    )


def split(settings: Settings) -> alt.TopLevelMixin:
    """4.1.2: a network that learns few digits by heart, on what it has seen and on what it has not."""
    data = lab.load_from(lab.DataSettings(subset=FEW))
    network, loss, sgd = lab.mlp([50], activation="relu"), lab.objective("cross_entropy"), lab.optimiser("sgd", 0.1)
    parts = {f"{FEW} training digits": data.train, f"{len(data.test):,} test digits": data.test}
    rows = []
    for state in lab.train(
        network, loss, sgd, data.train.images, data.train.labels, key=jax.random.key(0), stages=settings.stages
    ):
        for name, part in parts.items():
            found = lab.evaluate(network.apply, loss, state.parameters, part.images, part.labels)
            rows.append({"step": state.step, "accuracy": found["accuracy"], "on": name})
    print(f"after {settings.stages[-1]} steps: " + ", ".join(f"{r['accuracy']:.3f} on {r['on']}" for r in rows[-2:]))
    ticks = alt.Axis(values=list(settings.stages))
    scale = alt.Scale(domain=list(parts), range=[BLUE, "#D55E00"])
    return (
        alt.Chart(alt.InlineData(values=rows), width=520, height=260)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            alt.X("step:Q", title="steps of training", scale=alt.Scale(type="log"), axis=ticks),
            alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1])),
            alt.Color("on:N", title="accuracy on", scale=scale, legend=alt.Legend(orient="bottom")),
        )
    )


def batches(settings: Settings) -> alt.TopLevelMixin:
    """4.2.3: the loss of mini-batches, each a dot, beside that of all the digits they are drawn from."""
    train, network, loss = lab.load("mnist").train, lab.mlp([50], activation="relu"), lab.objective("cross_entropy")
    (state,) = lab.train(
        network, loss, lab.optimiser("sgd", 0.1), train.images, train.labels, key=jax.random.key(0), stages=[100]
    )
    each = np.asarray(loss(network.apply(state.parameters, train.images / 255), train.labels))
    rows = []
    for size in SIZES:
        drawn = lab.drawn(jax.random.key(1), 0, DRAWS, examples=len(train), batch_size=size)
        means = each[drawn].mean(axis=1)
        print(f"mini-batches of {size}: {means.mean():.3f}, standard deviation {means.std(ddof=1):.3f}")
        rows += [{"size": f"{size:,}", "loss": float(m)} for m in means]
    print(f"all {len(train):,}: {each.mean():.3f}")
    dots = alt.Chart(alt.InlineData(values=rows), width=520, height=260).mark_tick(thickness=1, opacity=0.5, color=BLUE)
    whole = alt.Chart(alt.InlineData(values=[{"loss": float(each.mean())}])).mark_rule(strokeDash=[6, 3])
    sizes = [f"{size:,}" for size in SIZES]
    return dots.encode(
        alt.X("loss:Q", title=f"mean cross entropy of a mini-batch; dashed: of all {len(train):,} digits"),
        alt.Y("size:N", title="digits in a mini-batch", sort=sizes),
    ) + whole.encode(x="loss:Q")


def main(settings: Settings) -> None:
    """Compute, print and draw."""
    import vl_convert

    settings.out.mkdir(parents=True, exist_ok=True)
    for picture in (losses, split, batches):
        print(f"\n{picture.__name__}")
        chart: Any = picture(settings)
        written = chart.configure(**look()).to_dict(validate=False)
        png = vl_convert.svg_to_png(svg(written), scale=SCALE)
        write_bytes(settings.out / f"chapter-{picture.__name__}.png", png)


if __name__ == "__main__":
    lab.cli(main)
