"""The pictures of theory.md, and its figures: six statements about objectives, measured on digits.

    python docs/theory.py [--out docs/pictures]

About 80 seconds on 2 cores with the embedded sample. Each picture is a function that computes its numbers, prints
them and gives a chart; the figures in theory.md are those of the output.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import lab
from lab import diagnostics
from lab.figures import SCALE
from lab.nodes import gram_from_margins, margin_gram
from lab.palette import EXAMPLES, colour, dash, look
from lab.runs import write_bytes
from lab.statistics import mean_interval
from lab.surrogates import KERNELS
from lab.vega import svg

LOSSES = "cross_entropy phuber_ce gce focal savage expected_error".split()  # of the soft margin at T = 1, as are
MORE_LOSSES = "taylor_ce symmetric_ce poly1 smooth_svm sum_exp unhinged".split()
HARD = dict(zip("sigmoid_margin gaussian_margin ramp epanechnikov_margin".split(), KERNELS, strict=True))
RATES = (0.1, 0.3, 1.0)  # learning rates; the networks that are looked at are trained at the first
Rows = list[dict[str, Any]]
cotangents = jax.jit(lab.cotangents)  # one program, not one per operation


@dataclass(frozen=True)
class Settings:
    """Draw the pictures of docs/theory.md, and print their numbers."""

    out: Path = Path(__file__).parent / "pictures"
    """folder for theory-1.png to theory-6.png"""
    networks: int = 5
    """networks that every mean is taken over"""
    examples: int = 1000
    """training images in a batch"""
    steps: tuple[int, ...] = (0, 100, 540, 5400)
    """training steps at which the networks are looked at; the second is drawn most"""
    pairs: int = 256
    """antithetic pairs of an evolution strategy in all weights; 16 times as many in the last layer alone"""


class World:
    """The digits, and the networks trained on cross entropy, that all pictures are computed from."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.data, self.network = settings, lab.load("mnist"), lab.mlp([100], activation="relu")
        self.sgd = {rate: lab.optimiser("sgd", rate) for rate in RATES}  # made once: each is compiled anew
        train, n, self.seeds = self.data.train, settings.examples, range(settings.networks)
        self.images = jnp.asarray(train.images[: n * min(9, len(train) // n)], dtype=float) / 255
        self.labels = jnp.asarray(train.labels[: len(self.images)])
        self.batch = self.images[:n], self.labels[:n]
        runs = [self.train("cross_entropy", RATES[0], seed, settings.steps) for seed in self.seeds]
        self.stages = list(zip(*runs, strict=True))  # [stages][networks], the parameters
        self.logits = [jnp.stack([self.network.apply(one, self.images) for one in stage]) for stage in self.stages]
        self.when = [f"after {step:,} steps" if step else "at the start" for step in settings.steps]
        recipe = f"{self.network.name}, sgd at learning rate {RATES[0]} on cross_entropy, mini-batches of 100"
        self.caption = f"{self.data.description}. {recipe}; n = {settings.networks} networks."

    def train(self, objective: str, rate: float, seed: int, steps: Sequence[int]) -> list[Any]:
        """The parameters at each of `steps`."""
        images, labels, key = self.data.train.images, self.data.train.labels, jax.random.key(seed)
        trained_on = lab.objective(objective)
        states = lab.train(self.network, trained_on, self.sgd[rate], images, labels, key=key, stages=steps)
        return [state.parameters for state in states]

    def margins(self, stage: int, margin: Callable[..., Any] = lab.hard_margin) -> np.ndarray:
        """Margins [networks, images] at a stage."""
        return np.stack([margin(logits, self.labels) for logits in self.logits[stage]])

    def answers(self, theta: Any, images: Any) -> np.ndarray:
        """The network's answer to each image."""
        return np.argmax(self.network.apply(theta, jnp.asarray(images, dtype=float) / 255), axis=1)

    def neglected(self, objective: str, thetas: Sequence[Any]) -> str:
        """The mean weight of training digits of classes that are never answered, relative to all digits'."""
        shares = []
        for theta in thetas:
            logits = self.network.apply(theta, self.images)
            weight = diagnostics.weights(cotangents([lab.objective(objective)], logits, self.labels)[1], self.labels)[0]
            lost = ~jnp.isin(self.labels, jnp.argmax(logits, axis=1))
            shares.append(jnp.sum(weight * lost) / jnp.sum(lost) / jnp.mean(weight))
        return text(shares, 4)


def text(values: Any, digits: int = 2) -> str:
    """The mean over networks with its 95 % interval."""
    return mean_interval(np.asarray(values, dtype=float)).text(digits)


def points(x: Any, y: Any, **rest: Any) -> Rows:
    """A row for each point of a curve; for each mean with its 95 % interval, where y is [x, networks]."""
    found = [mean_interval(one.reshape(-1)) for one in np.asarray(y, dtype=float)]
    ends = [{"low": f.low, "high": f.high} if f.n > 1 else {"low": f.mean, "high": f.mean} for f in found]
    return [{"x": float(a), "y": f.mean} | end | rest for a, f, end in zip(np.asarray(x), found, ends, strict=True)]


def chart(rows: Rows) -> Any:
    """A chart that holds its rows."""
    return alt.Chart(alt.InlineData(values=rows))


def axes(x: str, y: str, across: Any = None, up: Any = None, log: str = "", at_x: Any = None, at_y: Any = None) -> dict:
    """The channels x and y: titles, ranges, ticks; logarithmic where `log` names them."""

    def how(name: str, title: str, domain: Any, ticks: Any) -> dict[str, Any]:
        scale = alt.Scale(type="log" if name in log else "linear", domain=domain or alt.Undefined, nice=False)
        style: dict[str, Any] = {"format": "~g"} if name in log else {}
        style |= {"values": ticks} if ticks else {"tickCount": 6, "labelOverlap": True}
        axis = alt.Axis(**style, grid=name == "y", labels=bool(title))
        return {"shorthand": f"{name}:Q", "title": title or None, "scale": scale, "axis": axis}

    return {"x": alt.X(**how("x", x, across, at_x)), "y": alt.Y(**how("y", y, up, at_y))}


def drawn(rows: Rows, channels: dict, keys: Sequence[str], marks: str = "line") -> Any:
    """The rows in the colours of their objectives, as any of line, dot, band and bar (their intervals)."""
    base = chart(rows).encode(**channels, color=colour(keys, legend=True), detail="of:N")
    interval = {"y": alt.Y("low:Q", scale=channels["y"]["scale"]), "y2": "high:Q"}
    kinds = {
        "band": base.mark_area(opacity=0.15, clip=True).encode(**interval),
        "bar": base.mark_rule(clip=True).encode(**interval),
        "line": base.mark_line(clip=True, strokeWidth=2).encode(strokeDash=dash(keys, legend=True)),
        "dot": base.mark_circle(size=34, opacity=1, clip=True),
    }
    return alt.layer(*(kinds[mark] for mark in marks.split()))


def rule(**at: float) -> Any:
    """A thin dashed line at one x or y."""
    return chart([at]).mark_rule(strokeDash=[3, 2], opacity=0.6).encode(**{name: f"{name}:Q" for name in at})


def words(rows: Rows) -> Any:
    """The `text` of each row at its place in the panel."""
    return chart(rows).mark_text(fontSize=11, align="left").encode(x="x:Q", y="y:Q", text="text:N")


def row(*panels: Any, width: int = 340, height: int = 250) -> Any:
    """Panels of one size beside each other."""
    return alt.hconcat(*(panel.properties(width=width, height=height) for panel in panels), spacing=20)


def titled(picture: Any, headline: str, note: str) -> Any:
    """The picture with its finding above it, and under that what is drawn and from what."""
    title, subtitle = (
        textwrap.wrap(one.replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0"), chars, break_on_hyphens=False)
        for one, chars in ((headline, 92), (note, 138))
    )
    title = alt.Title(title, subtitle=subtitle, fontSize=16, subtitleFontSize=12, subtitlePadding=6, offset=14)
    return picture.properties(title=title, padding=14, background="white").configure(**look())


def one_direction(world: World) -> Any:
    """1. The weights of losses over the soft margin, and the pulls of digits on them."""
    objectives, n = [lab.objective(name) for name in LOSSES], len(world.batch[1])
    logits, labels = world.logits[1][:, :n].reshape(-1, 10), jnp.tile(world.batch[1], len(world.seeds))
    margins, slopes = lab.soft_margin(logits, labels), cotangents(objectives, logits, labels)[1]
    pulls, unit = diagnostics.weights(slopes, labels), slopes / jnp.linalg.norm(slopes, axis=-1)[..., None]
    off = jnp.max(jnp.abs(pulls / jnp.stack([one.weight(margins) for one in objectives]) - 1))
    print(
        f"pull / w(m) - 1: at most {off:.0e}; cosine with cross entropy's: at least {jnp.sum(unit * unit[0], -1).min()}"
    )
    wrong = jnp.where(lab.hard_margin(logits, labels) <= 0, pulls, 0).reshape(len(LOSSES), -1, n).sum(axis=-1)
    share = 100 * wrong / pulls.reshape(len(LOSSES), -1, n).sum(axis=-1)
    print("wrong answers' share of the pull (%):", dict(zip(LOSSES, (text(one, 0) for one in share), strict=True)))

    some = jnp.stack([jnp.argmin(jnp.abs(margins - at)) for at in np.arange(-6, 8, 0.5)])
    seen, lines, grid, panels = [], [], jnp.linspace(-8, 8, 321), []
    for one, pull in zip(objectives, pulls, strict=True):
        seen += points(margins[some], pull[some], key=one.name)
        lines += points(grid, one.weight(grid), key=one.name)
    looks = {"w(m)": {"up": (0, 1.2)}, "w(m), log scale": {"up": (1e-3, 2), "log": "y", "at_y": [0.001, 0.01, 0.1, 1]}}
    for title, how in looks.items():
        channels = axes("soft margin m (logits)", f"weight {title}", (-8, 8), **how)
        panels.append(drawn(lines, channels, LOSSES) + drawn(seen, channels, LOSSES, "dot") + rule(x=0))
    return titled(
        row(*panels),
        f"One direction, one weight: the pulls of {len(labels):,} digits all lie on their objective's w(m). Wrong "
        f"answers give {share[0].mean():.0f} % of cross entropy's pull, {share[-1].mean():.0f} % of expected error's.",
        f"Lines: w = -phi'. Dots: measured pulls -dl/dz_y of {len(some)} digits, {world.when[1]}. {world.caption}",
    )


def mixture(world: World) -> Any:
    """2. What each objective pays at each threshold, the accuracy there, and what it adds up to."""
    objectives = [lab.objective("cross_entropy"), lab.objective("expected_error"), lab.smoothed_error(width=0.25)]
    margins, step, paid, parts, below = world.margins(1, lab.soft_margin), 0.02, [], [], []
    grid = np.arange(margins.min() - 1, 25.0, step)
    missed = np.stack([np.searchsorted(np.sort(one), grid, side="right") / len(one) for one in margins])
    for one in objectives:
        weight, value = one.weight(jnp.asarray(grid)), one.definition.margin_form.phi(margins, **one.parameters)
        part = np.asarray(weight) * missed
        total, low = (step * some.sum(axis=1) for some in (part, part[:, grid < 0]))
        below.append(100 * low / total)
        off = np.max(np.abs(total / value.mean(axis=1) - 1))
        print(f"{one.name}: mean {text(total, 3)}, off by a share of {off:.0e}; {text(below[-1], 0)} % from t < 0")
        paid += points(grid[::3], weight[::3], key=one.name)
        parts += points(grid[::3], part.T[::3], key=one.name)
    print(
        "accuracy", text(np.mean(world.margins(1) > 0, axis=1), 3), "p_y > 1/2", text(np.mean(margins > 0, axis=1), 3)
    )

    keys, name = ["zero_one", *(one.name for one in objectives)], "threshold t on the soft margin (logits)"
    needle = chart([{"x": 0, "key": "zero_one"}]).mark_rule(strokeWidth=2.5).encode(x="x:Q", color=colour(keys))
    share = chart(points(grid[::3], missed.T[::3])).encode(**axes("", "1 - A_t", (-8, 10), (0, 1)))
    panels = [
        drawn(paid, axes("", "weight w(t)", (-8, 10), (0, 1.1)), keys) + needle,
        share.mark_line(color=EXAMPLES, strokeWidth=2, clip=True),
        drawn(parts, axes(name, "w(t) (1 - A_t)", (-8, 10)), keys, "band line"),
    ]
    return titled(
        alt.vconcat(*((panel + rule(x=0)).properties(width=700, height=120) for panel in panels)),
        f"Every objective of a margin is a mixture of accuracies. Cross entropy takes {below[0].mean():.0f} % of its "
        f"value from thresholds below 0, expected error {below[1].mean():.0f} %.",
        "Top: what an objective pays at each threshold; zero_one pays at 0 alone; smoothed_error has width 0.25. "
        f"Middle: share of {margins.shape[1]:,} training images with a margin of t or less, {world.when[1]}. Bottom: "
        f"the product, whose area is the objective's mean; bands: 95 % t intervals. {world.caption}",
    )


def bandwidth(world: World) -> Any:
    """3. How many examples carry the gradient of four kernels, by width, and what the law says."""
    n, half, widths, ticks = world.settings.examples, 0.5, np.geomspace(0.003, 10, 22), [0.01, 0.1, 1, 10]
    densities = [np.mean(np.abs(world.margins(i)) < half, axis=1) / (2 * half) for i in range(len(world.when))]
    print("f(0) per logit:", dict(zip(world.when, (text(one, 3) for one in densities), strict=True)))
    margins, carried, ratios, laws, held = jnp.asarray(world.margins(1)), [], [], [], []
    for name, kernel in HARD.items():
        weights = [lab.smoothed_error(kernel, width, "max").weight(margins).reshape(-1, n) for width in widths]
        found = np.stack([diagnostics.effective_examples(w).reshape(len(margins), -1).mean(axis=1) for w in weights])
        law = n * densities[1] * widths[:, None] / KERNELS[kernel].roughness
        carried, ratios = carried + points(widths, found, key=name), ratios + points(widths, found / law, key=name)
        laws += points(widths, law.mean(axis=1), key=name)
        held += list(np.mean(found / law, axis=1)[(law.mean(axis=1) >= 10) & (widths <= half)])
        print(f"{name}, measured / law:", {f"T={widths[i]:.2g}": text((found / law)[i]) for i in (0, 9, 13, 15, 21)})
    worst = max((100 * abs(one - 1) for one in held), default=np.nan)
    print(f"{len(held)} points where the law says 10 or more and T <= {half}: within {worst:.1f} %")

    title, span, names = "width T (logits)", (0.0026, 12), list(HARD)
    channels = axes(title, "effective examples", span, (0.3, 1500), "xy", ticks, [1, 10, 100, 1000])
    left = drawn(laws, channels, names) + drawn(carried, channels, names, "bar dot")
    right = drawn(ratios, axes(title, "measured / law", span, (0, 2), "x", ticks), names, "band line") + rule(y=1)
    return titled(
        row(left, right),
        f"Temperature is a bandwidth: n f(0) T / R counts the examples that carry a gradient, to within {worst:.0f} % "
        "where it says 10 or more and T is at most half a logit.",
        f"Left: (sum w)^2 / sum w^2 in batches of {n:,} training images, {world.when[1]} (dots), and the law (lines); "
        f"f(0) = {densities[1].mean():.3f} per logit, from the share of |m| < {half}, m the hard margin. Right: their "
        f"ratio. Bars and bands: 95 % t intervals. {world.caption}",
    )


def wrong_place(world: World) -> Any:
    """4. Where the kernels of expected error and of its centred form sit, and what becomes of classes."""
    names, grid, rows, ideal = ["expected_error", "centred_expected_error"], np.linspace(-6, 10, 161), [], []
    keys, zeros = ["cross_entropy", *names], jnp.zeros(len(grid), dtype=int)
    for classes in (2, 10, 100):
        logits = jnp.zeros((len(grid), classes)).at[:, 0].set(jnp.asarray(grid))
        pulls = diagnostics.weights(cotangents([lab.objective(name) for name in names], logits, zeros)[1], zeros)
        print(
            f"K = {classes}: peak at {grid[np.argmax(pulls[0])]:.1f}; at a tie {pulls[0, 60]:.4f}, {pulls[1, 60]:.4f}"
        )
        lines = points(grid, pulls[0], key=names[0]) + points(grid, pulls[1], key=names[1])
        channels = axes("hard margin (logits), T = 1", "weight", (-6, 10), (0, 0.27), at_x=[-5, 0, 5, 10])
        ideal.append((drawn(lines, channels, keys) + rule(x=0)).properties(title=f"{classes} classes, rivals equal"))
    widths = np.geomspace(0.1, 10, 13)
    for stage, when in list(enumerate(world.when))[:3]:
        hard, off = world.margins(stage), []
        for width in widths:
            soft = world.margins(stage, partial(lab.soft_margin, temperature=float(width)))
            off.append([np.mean((h - s)[np.abs(h) < 0.25]) / width for h, s in zip(hard, soft, strict=True)])
        for name, moved in zip(names, (np.array(off), np.array(off) - np.log(9)), strict=True):
            rows += points(widths, moved, key=name, of=stage)
            print(f"{name} {when}, off by T times", {f"T={widths[i]:.2g}": text(moved[i]) for i in (0, 3, 6, 12)})
    title, places = "kernel's centre - boundary (in T)", ((0.13, 1.35), (0.4, 0.85), (2.5, 0.55))
    channels = axes("temperature T (logits)", title, (0.1, 10), (-2.4, 2.4), "x", [0.1, 0.3, 1, 3, 10])
    named = words([{"x": x, "y": y, "text": when} for (x, y), when in zip(places, world.when, strict=False)])
    measured = drawn(rows, channels, keys, "band line") + named + rule(y=0)

    lost, learnt, steps, labels = {}, [], world.settings.steps[2], world.data.validation.labels
    for name in keys:
        full = f"{name}:temperature=0.25" if name in names else name
        found = [[world.train(full, rate, seed, [steps])[0] for seed in world.seeds] for rate in RATES]
        answers = np.array([[world.answers(one, world.data.validation.images) for one in each] for each in found])
        right = 100 * np.mean(answers == labels, axis=2)
        lost[name] = np.array([[10 - len(set(one.tolist())) for one in each] for each in answers])
        learnt += points(RATES, right, key=name)
        if name == names[0]:
            print("weight of a lost class's digits / of all digits:", [world.neglected(full, one) for one in found])
        print(full, steps, "steps, right:", [text(r, 1) for r in right], "lost:", [text(one, 1) for one in lost[name]])
    span = (min(one["low"] for one in learnt) - 3, 100)
    channels = axes("learning rate", "validation accuracy (%)", (0.08, 1.25), span, "x", list(RATES))
    below = row(measured, drawn(learnt, channels, keys, "line bar dot"), width=325, height=210)
    return titled(
        alt.vconcat(row(*ideal, width=195, height=100), below),
        "Expected error smooths at the wrong place while all rivals tie: trained at T = 0.25 it loses "
        f"{lost[names[0]].mean():.1f} of 10 classes, its centred form {lost[names[1]].mean():.1f}.",
        "Top: measured pulls. Bottom left: where the kernel sits for training images within 0.25 logits of the "
        f"boundary, the mean of (hard margin - margin) / T. Bottom right: networks trained anew for {steps:,} steps, "
        f"smoothed accuracies at T = 0.25. Bands and bars: 95 % t intervals. {world.caption}",
    )


def gram_matrix(world: World) -> Any:
    """5. Cosines predicted from nodes on the margin axis against exact ones."""
    (images, labels), widths, network = world.batch, np.geomspace(0.1, 10, 9), world.network
    losses, keys = [lab.objective(name) for name in LOSSES + MORE_LOSSES], ["smoothed_error", *HARD]
    hard = {(name, width): lab.smoothed_error(HARD[name], width, "max") for name in HARD for width in widths}
    families = [  # a margin; objectives that are compared among each other; kernels, with the first of them
        (lab.soft_margin, losses, {("smoothed_error", width): lab.smoothed_error(width=width) for width in widths}),
        (lab.hard_margin, [lab.objective("sigmoid_margin")], hard),
    ]
    exactly, pairs, seen, worst, smooth = jax.jit(partial(lab.objective_gradients, network)), [], [], {}, 0.0
    for margin, several, kernels in families:
        binned = jax.jit(partial(margin_gram, network.apply, margin=margin, nodes=min(64, len(labels))))
        objectives, among = [*several, *kernels.values()], np.triu_indices(len(several), 1)
        for theta in (one for stage in world.stages for one in stage):
            few, exact = binned(theta, images, labels), exactly(theta, images, labels, objectives).gradients
            found = gram_from_margins(few.inner, jnp.stack([one.weight(few.margins) for one in objectives]))
            x, y = (np.nan_to_num(diagnostics.cosine(one)) for one in (lab.gram(exact), found))  # 0: a dead gradient's
            pairs += points(x[among], y[among])
            for i, (name, width) in enumerate(kernels, start=len(several)):
                seen += points(x[0, [i]], y[0, [i]], key=name) if x[0, i] else []
                worst[name, width] = max(worst.get((name, width), 0.001), float(abs(x[0, i] - y[0, i])))
            wide = [
                i for i, (name, width) in enumerate(kernels, start=len(several)) if width > 0.99 and name in keys[:3]
            ]
            smooth = max(smooth, np.max(np.abs(x - y)[np.ix_(wide, wide)]))
    most = max(abs(one["x"] - one["y"]) for one in pairs)
    print(
        f"{len(pairs):,} pairs of {len(losses)} losses: within {most:.4f}; smooth kernels from T = 1 on: {smooth:.4f}"
    )
    print({f"{name} T={width:.2g}": round(error, 3) for (name, width), error in worst.items()})

    channels = axes("exact cosine", "cosine from the nodes", (-0.7, 1.02), (-0.7, 1.02))
    black = chart(pairs).mark_circle(color="black", size=7, opacity=1).encode(**channels)
    left = drawn(seen, channels, keys, "dot") + black
    rows, ticks = [{"x": w, "y": error, "key": name} for (name, w), error in worst.items()], [0.001, 0.01, 0.1, 1]
    names = "width of the kernel (logits)", "largest error of a cosine"
    channels = axes(*names, (0.09, 11), (9e-4, 1.2), "xy", [0.1, 0.3, 1, 3, 10], ticks)
    return titled(
        row(left, drawn(rows, channels, keys, "line dot") + rule(y=0.01), height=300),
        f"One matrix of 64 x 64 numbers gives the cosines between {len(losses)} losses to within {most:.3f}, and those "
        f"between smooth kernels 1 logit wide or more to within {smooth:.3f}.",
        "Left, black: pairs of losses of the soft margin; coloured: kernels, with cross entropy (smoothed_error) or "
        f"with sigmoid_margin T = 1. Right: each kernel's largest error (dashed: 0.01). {len(labels):,} images, "
        f"all networks at {len(world.when)} stages, the last {world.when[-1]}. {world.caption}",
    )


def estimators(world: World) -> Any:
    """6. Perturbed answers against the softmax; an evolution strategy against the gradient, and against its law."""
    (images, labels), loss, key = world.batch, lab.objective("cross_entropy"), jax.random.key(0)
    order, temperatures, draws = np.argsort(world.margins(1)[0, : len(labels)]), np.geomspace(0.3, 10, 25), 2000
    some = order[[int(share * len(order)) for share in (0.01, 0.07, 0.14, 0.3, 0.8)]]
    logits, true = world.logits[1][0][some], labels[some]
    exact = np.stack([1 - lab.objective("expected_error", temperature=t)(logits, true) for t in temperatures])
    noise = jax.random.gumbel(key, (draws, len(temperatures), *logits.shape))
    hit = np.mean(np.argmax(logits / temperatures[:, None, None] + noise, axis=-1) == true, axis=0)  # [T, digits]
    bar, lines, seen = 2 * np.sqrt(exact * (1 - exact) / draws), [], []
    for i in range(len(some)):
        lines += points(temperatures, exact[:, i], key="expected_error", of=i)
        dots = points(temperatures, hit[:, i], key="zero_one")[::3]
        seen += [
            dot | {"low": dot["y"] - e, "high": dot["y"] + e} for dot, e in zip(dots, bar[::3, i].tolist(), strict=True)
        ]
    near = np.mean(np.abs(hit - exact) < bar)
    print(f"{100 * near:.0f} % of {hit.size} shares of right answers are within 2 standard errors of the softmax")

    @partial(jax.jit, static_argnames=("layers", "pairs"))
    def cosines(theta: Any, key: Any, layers: int, pairs: int) -> Any:
        """The estimate's cosine with the gradient after every pair, where the last layers are moved."""
        (flat, back), sigma = ravel_pytree(theta[-layers:]), 1e-3

        def value(moved: Any) -> Any:
            return jnp.mean(loss(world.network.apply(theta[:-layers] + back(moved), images[:100]), labels[:100]))

        def add(total: Any, key: Any) -> Any:
            noise = jax.random.normal(key, flat.shape)
            total += (value(flat + sigma * noise) - value(flat - sigma * noise)) / (2 * sigma) * noise
            return total, jnp.vdot(total, slope) / jnp.linalg.norm(total) / jnp.linalg.norm(slope)

        slope = jax.grad(value)(flat)
        return jax.lax.scan(add, jnp.zeros_like(flat), jax.random.split(key, pairs))[1]

    laws, reached, named, most = [], [], [], world.settings.pairs
    for layers, pairs in ((1, 16 * most), (2, most)):
        counts = 4 ** np.arange(int(np.log2(pairs)) // 2 + 1)
        runs = [cosines(one, jax.random.fold_in(key, i), layers, pairs) for i, one in enumerate(world.stages[1])]
        found, weights = np.array(runs).T[counts - 1], ravel_pytree(world.stages[1][0][-layers:])[0].size
        law = np.sqrt(counts / (counts + weights + 1))
        laws += points(counts, law, key="cross_entropy", of=layers)
        reached += [one | {"low": max(one["low"], 1e-4)} for one in points(counts, found, key="cross_entropy")]
        named.append({"x": 12, "y": float(law[0]) * 1.6, "text": f"{weights:,} weights"})
        print(f"{weights:,} weights, {counts} pairs:", [text(one, 3) for one in found], "law", law.round(3))

    keys, ticks = ["expected_error", "zero_one", "cross_entropy"], [0.001, 0.01, 0.1, 1]
    channels = axes("temperature T (logits)", "share of right answers", (0.27, 11), (0, 1.02), "x", [0.3, 1, 3, 10])
    left = drawn(lines, channels, keys) + drawn(seen, channels, keys, "bar dot")
    names = "antithetic pairs", "cosine with the gradient"
    channels = axes(*names, (0.8, 6000), (5e-4, 1.3), "xy", [1, 10, 100, 1000], ticks)
    right = drawn(laws, channels, keys) + drawn(reached, channels, keys, "bar dot") + words(named)
    return titled(
        row(left, right),
        "Perturbed answers are right as often as the softmax says; an evolution strategy's cosine is what its law "
        f"says, {found[-1].mean():.2f} with {counts[-1]} pairs for {weights:,} weights.",
        f"Left: five digits of one network, {world.when[1]}; lines: softmax(z/T)_y = 1 - expected_error; dots: how "
        f"often argmax(z + T Gumbel) is right in {draws:,} draws, with 2 standard errors. Right: cross entropy of 100 "
        f"digits, sigma = 0.001 (dots, with 95 % t intervals), and the law sqrt(m/(m+d+1)). {world.caption}",
    )


PICTURES = (one_direction, mixture, bandwidth, wrong_place, gram_matrix, estimators)


def main(settings: Settings) -> None:
    """Compute, print and draw."""
    import vl_convert

    world = World(settings)
    settings.out.mkdir(parents=True, exist_ok=True)
    print(world.caption)
    for number, picture in enumerate(PICTURES, start=1):
        print(f"\n{number}. {picture.__name__}")
        png = vl_convert.svg_to_png(svg(picture(world).to_dict(validate=False)), scale=SCALE)
        write_bytes(settings.out / f"theory-{number}.png", png)


if __name__ == "__main__":
    lab.cli(main)
