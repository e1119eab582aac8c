"""docs/theory.md: its laws hold, its snippets run, its pictures are there and its script draws them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import quad
from scipy.stats import norm
from test_commands import ROOT, run

import lab
from lab.catalogue import definitions
from lab.diagnostics import effective_examples, weights
from lab.surrogates import KERNELS

TEXT = (ROOT / "docs/theory.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^\$ python (.*)$", TEXT, re.MULTILINE)
cotangents = jax.jit(lab.cotangents)


@pytest.fixture(scope="module")
def trained(mnist):
    """A small network after 200 steps, and 200 digits."""
    network, loss, sgd = lab.mlp([20], activation="relu"), lab.objective("cross_entropy"), lab.optimiser("sgd", 0.1)
    train, key = mnist.train, jax.random.key(0)
    (state,) = lab.train(network, loss, sgd, train.images, train.labels, key=key, stages=[200])
    return (
        network,
        state.parameters,
        jnp.asarray(train.images[:200], dtype=float) / 255,
        jnp.asarray(train.labels[:200]),
    )


def test_a_mixture_of_staircases_has_a_slope(trained, float64):
    """Statement 2: central differences of every A_t, mixed with w(t), are the gradient along that direction."""
    network, parameters, images, labels = trained
    parameters, images = jax.tree.map(lambda x: x.astype(float), (parameters, images))
    flat, back = ravel_pytree(parameters)
    direction = jax.random.normal(jax.random.key(1), flat.shape) / jnp.sqrt(flat.size)
    # Margins move by about 1e-4 along the line: the thresholds must lie closer, or their spacing is what one measures.
    t, h = np.arange(-15.0, 30.0, 1e-5), 3e-2
    counts = []
    soft_margin = jax.jit(lambda v: lab.soft_margin(network.apply(back(v), images), labels))
    for sign in (1, -1):
        margins = soft_margin(flat + sign * h * direction)
        counts.append(1 - np.searchsorted(np.sort(margins), t, side="right") / len(labels))
    slopes = (counts[0] - counts[1]) / (2 * h)  # of A_t, for each t
    assert np.mean(slopes == 0) > 0.9  # staircases: at most thresholds nothing has happened
    for name in ("cross_entropy", "expected_error", "savage"):
        loss = lab.objective(name)
        gradient = jax.jit(jax.grad(lambda v, loss=loss: jnp.mean(loss(network.apply(back(v), images), labels))))(flat)
        mixed = -np.sum(np.asarray(jax.jit(loss.weight)(t)) * slopes) * 1e-5
        assert mixed == pytest.approx(float(gradient @ direction), rel=0.003)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_carry_n_f_t_over_r(kernel, float64):
    """Statement 3: n f(0) T / R for each kernel, and with the curvature of f to second order in T."""
    n, at = 400_000, 0.3
    margins = jnp.asarray(np.random.default_rng(0).normal(at, 1.0, (1, n)))
    density, curvature = norm.pdf(at), at**2 - 1  # f(0), and f''(0) / f(0)

    def moment(power, of):
        return quad(
            lambda u: u**power * float(KERNELS[kernel].density(jnp.array(u))) ** of, -30, 30, points=(-1, 1), limit=200
        )[0]

    roughness = moment(0, 2)
    assert roughness == pytest.approx(KERNELS[kernel].roughness, rel=1e-6)
    bent = curvature * (moment(2, 1) - moment(2, 2) / (2 * roughness))
    for width, tolerance in ((np.sqrt(0.005 / -bent), 0.03), (np.sqrt(0.08 / -bent), 0.015)):
        found = effective_examples(lab.smoothed_error(kernel, width, "max").weight(margins))[0]
        expected = n * density * width / roughness * (1 + bent * width**2)
        assert float(found) == pytest.approx(expected, rel=tolerance), width


def test_variance_and_bias_of_a_kernel(float64):
    """Statement 3: as an estimate of f(0), the mean weight has variance f(0) R / (n T) and a bias that grows as T^2."""
    n, at, draws = 1000, 0.3, 2000
    margins = jnp.asarray(np.random.default_rng(1).normal(at, 1.0, (draws, n)))
    for kernel in ("logistic", "epanechnikov"):
        means = np.mean(lab.smoothed_error(kernel, 0.05, "max").weight(margins), axis=1)
        # Less the square of the mean, divided by n: exact for a mean of independent weights.
        expected = norm.pdf(at) * KERNELS[kernel].roughness / (n * 0.05) - norm.pdf(at) ** 2 / n
        assert means.var() == pytest.approx(expected, rel=0.12)  # 2,000 draws: standard error 3 %
    # Without sampling: the same normal distribution at evenly spaced quantiles.
    even = jnp.asarray(norm.ppf((np.arange(2_000_000) + 0.5) / 2_000_000, at))
    bias = [float(jnp.mean(lab.smoothed_error("gaussian", T, "max").weight(even))) - norm.pdf(at) for T in (0.1, 0.2)]
    assert bias[1] / bias[0] == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_where_the_kernels_sit(classes, float64):
    """Statement 4: with r of K - 1 rivals in the lead, expected error's kernel is T log r off, the centred the rest."""
    width = 0.5
    grid = np.linspace(-4, 8, 2401)
    labels = jnp.zeros(len(grid), dtype=int)
    objectives = [lab.objective(name, temperature=width) for name in ("expected_error", "centred_expected_error")]
    for rivals in {1, (classes - 1) // 3 or 1, classes - 1}:
        logits = jnp.full((len(grid), classes), -1e3).at[:, 0].set(jnp.asarray(grid)).at[:, 1 : 1 + rivals].set(0.0)
        assert np.array_equal(lab.hard_margin(logits, labels), grid)
        off, centred = grid[np.argmax(weights(cotangents(objectives, logits, labels)[1], labels), axis=1)]
        assert off == pytest.approx(width * np.log(rivals), abs=0.005)
        assert centred == pytest.approx(width * np.log(rivals / (classes - 1)), abs=0.005)
    tie = -cotangents(objectives, jnp.zeros((1, classes)), jnp.array([0]))[1][:, 0, 0]
    np.testing.assert_allclose(tie, [(classes - 1) / classes**2 / width, 1 / (4 * width)], rtol=1e-12)


def test_the_soft_margin_lies_between_bounds(trained):
    """m_0 - T log(K - 1) <= m_T <= m_0, and T -> 0 closes the gap."""
    network, parameters, images, labels = trained
    logits = network.apply(parameters, images)
    hard = lab.hard_margin(logits, labels)
    for temperature in (0.01, 1.0, 10.0):
        gap = np.asarray(hard - lab.soft_margin(logits, labels, temperature)) / temperature
        assert gap.min() > -1e-3 and gap.max() < np.log(9) + 1e-3


def test_perturbed_answers_and_reinforce():
    """Statement 6: Gumbel noise answers as the softmax says, and REINFORCE's mean is expected accuracy's gradient."""
    logits, label, width, draws = jnp.array([1.0, 1.5, -0.5, 0.2]), 0, 0.7, 200_000
    answers = jnp.argmax(logits + width * jax.random.gumbel(jax.random.key(0), (draws, 4)), axis=-1)
    error = lab.objective("expected_error", temperature=width)
    p = 1 - float(error(logits[None], jnp.array([label]))[0])
    assert np.mean(answers == label) == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / draws))
    score = (jax.nn.one_hot(answers, 4) - jax.nn.softmax(logits / width)) / width  # grad log p_k
    rewarded = np.asarray(jnp.where((answers == label)[:, None], score, 0.0))
    gradient = -jax.grad(lambda z: error(z[None], jnp.array([label]))[0])(logits)
    assert (np.abs(rewarded.mean(0) - gradient) < 4 * rewarded.std(0) / np.sqrt(draws)).all()


@pytest.mark.parametrize("pairs", [1, 10, 100])
def test_cosine_of_an_evolution_strategy(pairs):
    """Statement 6: E[h^T g] / (|g| sqrt(E|h|^2)) is the law; the mean cosine falls short of it at one pair only."""
    dimensions, draws = 50, 4000
    noise = np.random.default_rng(0).normal(size=(draws, pairs, dimensions))
    estimate = np.mean(noise * noise[..., :1], axis=1)  # e e^T g, with g the first axis
    law = np.sqrt(pairs / (pairs + dimensions + 1))
    size = np.linalg.norm(estimate, axis=1)
    assert estimate[:, 0].mean() / np.sqrt(np.mean(size**2)) == pytest.approx(law, rel=0.05)
    shortfall = np.sqrt(2 / np.pi) if pairs == 1 else 1.0
    assert np.mean(estimate[:, 0] / size) == pytest.approx(law * shortfall, rel=0.04)


def test_accuracy_of_perturbed_weights(trained):
    """Statement 6: E[accuracy(theta + sigma e)] is the mean of Phi(m / (sigma |grad m|)) while that width is small."""
    network, parameters, images, labels = trained
    flat, back = ravel_pytree(parameters)

    def margin(flat, image, label):
        return lab.hard_margin(network.apply(back(flat), image[None]), label[None])[0]

    margins, slopes = jax.jit(jax.vmap(jax.value_and_grad(margin), in_axes=(None, 0, 0)))(flat, images, labels)
    size = jnp.linalg.norm(slopes, axis=1)

    @jax.jit
    def perturbed(key, sigma):
        noise = sigma * jax.random.normal(key, flat.shape)
        both = [lab.accuracy(network.apply(back(flat + sign * noise), images), labels) for sign in (1, -1)]
        return (both[0] + both[1]) / 2

    off = {}
    for sigma in (0.005, 0.1):
        found = np.array([perturbed(key, sigma) for key in jax.random.split(jax.random.key(0), 400)])
        off[sigma] = found.mean() - norm.cdf(margins / (sigma * size)).mean()
        if sigma == 0.005:
            assert float(jnp.median(sigma * size)) < 0.3
            assert abs(off[sigma]) < 4 * found.std() / 20 + 0.003
    assert off[0.1] < -0.03  # too wide: the formula says too much


def test_there_is_something_to_run():
    assert len(PYTHON) == 6 and len(COMMANDS) == 2


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"statement {PYTHON.index(block) + 1}")
def test_python_blocks_run(block):
    for name in ("lab", "jax.numpy"):
        assert re.search(rf"^import {name}\b", block, re.MULTILINE)
    exec(compile(block, "docs/theory.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, tmp_path):
    arguments = command.removeprefix("-m lab ").split()
    done = run(*arguments, "--epochs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_linked_files_exist():
    links = [path for path in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT) if not path.startswith("http")]
    assert {f"pictures/theory-{number}.png" for number in range(1, 7)} <= set(links)
    for path in links:
        assert (ROOT / "docs" / path).exists(), path


def test_named_tests_exist():
    named = re.findall(r"`tests/(\w+\.py)::(\w+)`", TEXT)
    assert len(named) >= 14
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), (file, name)


@pytest.mark.slow
def test_the_pictures_are_drawn(tmp_path):
    """Everything at a tenth of the size: the numbers are computed, and six pictures written."""
    small = "--networks 2 --examples 100 --steps 0 20 40 --pairs 4 --out pictures".split()
    done = run(*small, cwd=tmp_path, program=(ROOT / "docs/theory.py",))
    assert done.returncode == 0, done.stderr
    for number in range(1, 7):
        assert f"\n{number}. " in done.stdout
        assert (tmp_path / f"pictures/theory-{number}.png").read_bytes().startswith(b"\x89PNG")


def test_numerical_traps():
    """What the section on traps says of float32: where smoothed accuracy dies, and how the book's guard ends."""

    @jax.jit
    def slope(objective, lead):
        return jax.grad(lambda z: objective(z, jnp.array([0]))[0])(jnp.array([[lead, 0.0]]))[0, 0]

    for temperature in (0.1, 1.0):
        smoothed = lab.objective("expected_error", temperature=temperature)
        for side in (1, -1):
            assert slope(smoothed, side * 87.0 * temperature) != 0
            assert slope(smoothed, side * 87.5 * temperature) == 0
    guarded = lab.objective("guarded_cross_entropy")
    assert float(guarded(jnp.array([[-100.0, 0.0]]), jnp.array([0]))[0]) == pytest.approx(16.118, abs=1e-3)
    assert float(slope(guarded, -np.log(1e7))) == pytest.approx(-0.5, rel=1e-3)
    assert float(slope(guarded, -30.0)) == pytest.approx(-9.4e-7, rel=0.01)

    @jax.jit
    def of_label(label):
        logits = jnp.arange(10.0)[None, :]
        return {one.name: one.make()(logits, label[None])[0] for one in definitions() if one.family != "own"}

    beyond, below = (of_label(jnp.array(label)) for label in (10, -1))
    no_class = {"squared_error", "brier", "soft_balanced_error", "soft_macro_f1"}
    assert {name for name, value in beyond.items() if not np.isnan(value)} == no_class
    assert not any(np.isnan(value) for value in below.values())
    ties = jax.grad(lambda z: lab.hard_margin(z, jnp.array([0]))[0])(jnp.array([[0.0, 1.0, 1.0]]))
    assert ties.tolist() == [[1.0, -0.5, -0.5]]
