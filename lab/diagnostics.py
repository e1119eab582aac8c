"""Diagnostics: what one learns from gradients, each with its formula, unit and range.

The weight of an example is its pull on the true logit, w_i = -dl_i/dz_iy. For a function phi of a margin this
is -phi'(m_i) exactly; it is defined for every other objective as well. What cannot be said (a cosine with a gradient
that is 0) is NaN, and `is_dead` says why.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lab.margins import soft_margin

PerObjective = Float[Array, " objectives"]
Pairs = Float[Array, "objectives objectives"]

SILENT = 0.01  # an example with less than this share of the largest weight has next to no say

_FLOAT32_RESOLUTION = float(np.finfo(np.float32).eps)


def weights(
    cotangents: Float[Array, "objectives batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, "objectives batch"]:
    """Each example's pull on its true logit, w_i = -dl_i/dz_iy; any real number, in objective per logit."""
    return -jnp.take_along_axis(cotangents, labels[None, :, None], axis=-1)[..., 0]


def norm(gram: Float[Array, "objectives objectives"]) -> Float[Array, " objectives"]:
    """Gradient norm |g| = sqrt(<g, g>), in objective per unit of weight; >= 0.

    >>> norm(jnp.array([[9.0, 0.0], [0.0, 0.0]])).tolist()
    [3.0, 0.0]
    """
    return jnp.sqrt(jnp.diagonal(gram))


def cosine(gram: Float[Array, "objectives objectives"]) -> Float[Array, "objectives objectives"]:
    """Cosine of the angle between gradients, <g_a, g_b> / (|g_a| |g_b|), in [-1, 1]; NaN where a norm is 0.

    Or too large for its square to be a number: above 1.8e19 in float32.

    >>> cosine(jnp.array([[9.0, 12.0], [12.0, 16.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    unit = _known(norm(gram))
    return jnp.clip(gram / unit[:, None] / unit[None, :], -1.0, 1.0)


def _known(length: PerObjective) -> PerObjective:
    return jnp.where((length > 0) & jnp.isfinite(length), length, jnp.nan)


def effective_examples(weights: Float[Array, "objectives batch"]) -> Float[Array, " objectives"]:
    """How many examples carry the gradient, (sum w)^2 / sum w^2; in [0, batch], 0 if all weights are 0.

    Equal weights give the batch size, a single non-zero weight gives 1 (Kish 1965, Survey sampling).

    >>> effective_examples(jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).tolist()
    [2.0, 0.0]
    """
    largest = jnp.max(jnp.abs(weights), axis=-1, keepdims=True)
    # Scaled first: the squares of very small weights are below float32's range.
    scaled = weights / jnp.where(largest > 0, largest, 1.0)
    squares = jnp.sum(scaled**2, axis=-1)
    return jnp.sum(scaled, axis=-1) ** 2 / jnp.where(squares > 0, squares, 1.0)


def vanishing_share(weights: Float[Array, "objectives batch"]) -> Float[Array, " objectives"]:
    """Share of examples with less than 1 % of the batch's largest |w|, in [0, 1]; 1 if all weights are 0.

    >>> vanishing_share(jnp.array([[1.0, 0.5, 0.001, 0.0], [0.0, 0.0, 0.0, 0.0]])).tolist()
    [0.5, 1.0]
    """
    size = jnp.abs(weights)
    largest = jnp.max(size, axis=-1, keepdims=True)
    return jnp.mean((size < SILENT * largest) | (largest == 0), axis=-1)


def is_dead(norm: Float[Array, " objectives"], parameter_norm: Float[Array, ""]) -> Bool[Array, " objectives"]:
    """Whether the gradient is exactly 0 or a step of 1 along it would be lost to rounding.

    |g| <= 2^-23 |theta|: float32 cannot tell theta - g from theta. A flag, true or false.

    >>> is_dead(jnp.array([0.0, 1e-9, 1e-3]), jnp.array(1.0)).tolist()
    [True, True, False]
    """
    return norm <= _FLOAT32_RESOLUTION * parameter_norm


def layer_norms(gradients: Any) -> Float[Array, "objectives layers"]:
    """Gradient norm of each layer, the first level of the parameters' pytree; in objective per unit of weight.

    What holds no parameters there (None, an activation's empty pair) is no layer. Its squares sum to the square of
    `norm`.

    >>> layer_norms([{"w": jnp.array([[3.0, 4.0]])}, {"w": jnp.array([[1.0]])}]).tolist()
    [[5.0, 1.0]]
    """
    parts = jax.tree.leaves(gradients, is_leaf=lambda part: part is not gradients)
    layers = [part for part in parts if jax.tree.leaves(part)]
    squares = [
        sum(jnp.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in jax.tree.leaves(layer)) for layer in layers
    ]
    return jnp.sqrt(jnp.stack(squares, axis=1))


def angle(cosine: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The angle of a cosine, in degrees, in [0, 180].

    >>> angle(jnp.array([1.0, 0.0])).tolist()
    [0.0, 90.0]
    """
    return jnp.degrees(jnp.arccos(cosine))


def norm_ratio(gram: Pairs) -> Pairs:
    """|g_a| / |g_b|, >= 0: by how much the learning rate of b has to be larger for steps of one length.

    NaN over 0, or over one too large (see `cosine`).

    >>> norm_ratio(jnp.array([[9.0, 0.0], [0.0, 1.0]])).tolist()
    [[1.0, 3.0], [0.333..., 1.0]]
    """
    length = norm(gram)
    return length[:, None] / _known(length)[None, :]


def projection(gram: Pairs) -> Pairs:
    """<g_a, g_b> / |g_b|^2: how much of g_b is in g_a, any real number; NaN where g_b is 0 or too large (see `cosine`).

    >>> projection(jnp.array([[4.0, 2.0], [2.0, 1.0]])).tolist()
    [[1.0, 2.0], [0.5, 1.0]]
    """
    return gram / _known(jnp.diagonal(gram))[None, :]


def explained_share(gram: Pairs, by: Sequence[int]) -> PerObjective:
    """Share of |g_a|^2 that lies in the span of the gradients `by`, in [0, 1]; NaN where g_a is 0.

    |P g_a|^2 / |g_a|^2 = c^T B^+ c with c_b the cosine of g_a with g_b, and B those within the span.

    >>> explained_share(jnp.array([[1.0, 1.0], [1.0, 2.0]]), by=[0]).round(6).tolist()
    [1.0, 0.5]
    """
    chosen = jnp.asarray(by)
    # Cosines, not inner products: of those the pseudo-inverse drops what is small, a short gradient with it.
    with_span = jnp.nan_to_num(cosine(gram))[chosen]
    inside = jnp.sum(with_span * (jnp.linalg.pinv(with_span[:, chosen], hermitian=True) @ with_span), axis=0)
    return jnp.where(jnp.diagonal(gram) > 0, jnp.clip(inside, 0.0, 1.0), jnp.nan)


def sign_agreement(gradients: Any) -> Pairs:
    """Share of parameters whose two slopes have the same sign, of those where neither is 0; in [0, 1], NaN of none.

    >>> sign_agreement({"w": jnp.array([[1.0, 2.0, 0.0], [1.0, -1.0, 5.0]])})[0].tolist()
    [1.0, 0.5]
    """
    signs = jnp.concatenate([jnp.sign(leaf.reshape(len(leaf), -1)) for leaf in jax.tree.leaves(gradients)], axis=1)
    both = jnp.abs(signs) @ jnp.abs(signs).T
    return (1 + signs @ signs.T / jnp.where(both > 0, both, jnp.nan)) / 2


def participation_ratio(weights: Float[Array, "objectives batch"]) -> PerObjective:
    """How many examples carry the gradient's square, (sum w^2)^2 / sum w^4; in [0, batch].

    Never more than `effective_examples` for weights of one sign: heavy ones count for more.

    >>> participation_ratio(jnp.array([[1.0, 1.0, 0.0]])).tolist()
    [2.0]
    """
    largest = jnp.max(jnp.abs(weights), axis=-1, keepdims=True)
    return effective_examples((weights / jnp.where(largest > 0, largest, 1.0)) ** 2)


def silverman_width(values: Float[Array, " batch"]) -> Float[Array, ""]:
    """The width of a Gaussian kernel for a density estimate, 0.9 min(sd, interquartile range / 1.34) n^(-1/5).

    Silverman 1986, Density estimation; in the unit of the values, >= 0.

    >>> silverman_width(jnp.array([0.0, 1.0])).round(3).item()
    0.29...
    """
    spread = (jnp.quantile(values, 0.75) - jnp.quantile(values, 0.25)) / 1.34
    return 0.9 * jnp.minimum(jnp.std(values), jnp.where(spread > 0, spread, jnp.inf)) * len(values) ** -0.2


def margin_density(margins: Float[Array, " batch"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The density of margins at 0, per logit, with its standard error: a Gaussian kernel of `silverman_width`.

    NaN where all margins are the same.

    >>> density, error = margin_density(jnp.linspace(-1.0, 1.0, 2001))
    >>> bool(jnp.abs(density - 0.5) < 0.01)
    True
    """
    width = silverman_width(margins)
    kernel = jnp.exp(-((margins / width) ** 2) / 2) / (jnp.sqrt(2 * jnp.pi) * width)
    return jnp.mean(kernel), jnp.std(kernel) / jnp.sqrt(len(margins))


def effective_examples_law(
    density: Float[Array, ""], temperature: Float[Array, "*shape"] | float, *, examples: int, roughness: float
) -> Float[Array, "*shape"]:
    """n f(0) T / R: the effective examples of a smoothed accuracy whose kernel of width T is narrow.

    f(0) is the density of its margin at 0, R the integral of the kernel's square (`lab.surrogates.KERNELS`): sum w is
    n f(0), sum w^2 is n f(0) R / T.

    >>> float(effective_examples_law(jnp.array(0.1), 0.5, examples=1000, roughness=0.5))
    100.0
    """
    return examples * density * temperature / roughness


def dead_share(cotangents: Float[Array, "objectives batch classes"]) -> PerObjective:
    """Share of examples whose gradient is exactly 0, in [0, 1].

    >>> dead_share(jnp.array([[[0.0, 0.0], [1.0, -1.0]]])).tolist()
    [0.5]
    """
    return jnp.mean(jnp.all(cotangents == 0, axis=-1), axis=-1)


def wrong_way_share(weights: Float[Array, "objectives batch"]) -> PerObjective:
    """Share of examples whose true logit is pushed down, in [0, 1]: 0 for every sensible margin objective.

    >>> wrong_way_share(jnp.array([[1.0, -1.0]])).tolist()
    [0.5]
    """
    return jnp.mean(weights < 0, axis=-1)


def margin_direction_share(
    cotangents: Float[Array, "objectives batch classes"],
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
) -> PerObjective:
    """Share of the squared logit gradients that lies along the soft margin's direction e_y - q, in [0, 1].

    1 for every function of the soft margin at T = 1; NaN where all logit gradients are 0.

    >>> margin_direction_share(jnp.array([[[-2.0, 2.0]]]), jnp.zeros((1, 2)), jnp.array([0])).tolist()
    [1.0]
    """
    direction = jax.grad(lambda z: jnp.sum(soft_margin(z, labels)))(logits)
    along = jnp.einsum("kbc,bc->kb", cotangents, direction) ** 2 / jnp.sum(direction**2, axis=-1)[None, :]
    whole = jnp.sum(cotangents**2, axis=(1, 2))
    return jnp.clip(jnp.sum(along, axis=1) / jnp.where(whole > 0, whole, jnp.nan), 0.0, 1.0)


def signal_to_noise(squared_norm: Float[Array, "objectives batch"], mean_square: PerObjective) -> PerObjective:
    """|g|^2 / tr(C), C the covariance of single examples' gradients; >= 0, NaN where examples do not differ.

    `squared_norm` holds |g_i|^2, `mean_square` is |g|^2 of their mean (`lab.example_moments`). Of n examples noise
    alone gives 1/n, for |g|^2 is not free of it; `noise_scale` takes that off.

    >>> signal_to_noise(jnp.array([[1.0, 9.0]]), jnp.array([4.0])).tolist()  # gradients 1 and 3
    [2.0]
    """
    batch = squared_norm.shape[1]
    spread = (jnp.mean(squared_norm, axis=1) - mean_square) * batch / max(batch - 1, 1)
    return mean_square / jnp.where((spread > 0) & (batch > 1), spread, jnp.nan)


def component_signal_to_noise(mean: Any, square: Any, batch: int) -> Any:
    """mean^2 / variance of each component of the gradient over examples, a pytree like `mean`; NaN without spread.

    >>> component_signal_to_noise(jnp.array([1.0]), jnp.array([2.0]), batch=2).tolist()
    [0.5]
    """

    def of(mean, square):
        variance = square - mean**2
        told = variance > 8 * jnp.finfo(square.dtype).eps * square  # what is less may be rounding alone
        return mean**2 / jnp.where(told & (batch > 1), variance * batch / max(batch - 1, 1), jnp.nan)

    return jax.tree.map(of, mean, square)


def certain_share(mean: Any, square: Any, batch: int) -> PerObjective:
    """Share of weights whose slope is more than two standard errors from 0, of those whose examples differ; in [0, 1].

    n mean^2 / variance > 4; NaN where no weight's examples differ. By chance alone it is about 0.05.

    >>> certain_share({"w": jnp.array([[1.0, 0.0]])}, {"w": jnp.array([[2.0, 2.0]])}, batch=10).tolist()
    [0.5]
    """
    ratios = jax.tree.leaves(component_signal_to_noise(mean, square, batch))
    each = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in ratios], axis=1)
    known = jnp.sum(jnp.isfinite(each), axis=1)
    return jnp.sum(each * batch > 4, axis=1) / jnp.where(known > 0, known, jnp.nan)


def noise_scale(
    squared_norm: Float[Array, "objectives batch"],
    inner: Float[Array, "objectives batch"],
) -> tuple[PerObjective, PerObjective]:
    """The simple noise scale tr(C) / |G|^2, in examples, with its jackknife standard error; NaN where |G|^2 <= 0.

    Unbiased estimates of both from batches of 1 and of n examples: |G|^2 = (n |g|^2 - mean |g_i|^2) / (n - 1) and
    tr(C) = (mean |g_i|^2 - |g|^2) n / (n - 1). `inner` holds <g_i, g>; leaving one example out needs no new gradient.
    A mini-batch far below it is mostly noise. McCandlish et al. 2018, An empirical model of large-batch training.

    >>> scale, error = noise_scale(jnp.full((1, 4), 2.0), jnp.ones((1, 4)))  # |g| = 1, tr(C) = 4/3, |G|^2 = 2/3
    >>> float(scale.round(3)[0])
    2.0
    """
    batch = squared_norm.shape[1]

    def scale(size, mean_of_squares, square_of_mean):
        signal = (size * square_of_mean - mean_of_squares) / (size - 1)
        noise = jnp.maximum(mean_of_squares - square_of_mean, 0.0) * size / (size - 1)
        return noise / jnp.where(signal > 0, signal, jnp.nan)

    mean_of_squares, square_of_mean = jnp.mean(squared_norm, axis=1), jnp.mean(inner, axis=1)
    total = batch * mean_of_squares[:, None]
    without = (batch**2 * square_of_mean[:, None] - 2 * batch * inner + squared_norm) / (batch - 1) ** 2
    left_out = scale(batch - 1, (total - squared_norm) / (batch - 1), without)
    spread = jnp.sum((left_out - jnp.mean(left_out, axis=1, keepdims=True)) ** 2, axis=1)
    return scale(batch, mean_of_squares, square_of_mean), jnp.sqrt(spread * (batch - 1) / batch)


DIAGNOSTICS: tuple[Callable[..., Any], ...] = (
    norm,
    layer_norms,
    cosine,
    angle,
    norm_ratio,
    projection,
    explained_share,
    sign_agreement,
    effective_examples,
    participation_ratio,
    margin_density,
    effective_examples_law,
    vanishing_share,
    dead_share,
    wrong_way_share,
    margin_direction_share,
    signal_to_noise,
    component_signal_to_noise,
    certain_share,
    noise_scale,
    is_dead,
)
