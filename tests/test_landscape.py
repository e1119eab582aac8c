"""Slices through weight space: lines, planes, their directions, and what never happens to the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lab
from lab import landscape
from lab.errors import InputError

NAMES = ("zero_one", "cross_entropy", "squared_error", "expected_error:temperature=0.5", "gaussian_margin")
OBJECTIVES = [lab.objective(name) for name in NAMES]
SMOOTH = slice(1, None)  # of OBJECTIVES
NETWORK = lab.mlp([8], pixels=20, classes=4)


@pytest.fixture
def parameters():
    """Far enough from 0 for the sigmoids to bend."""
    return jax.tree.map(lambda leaf: 50 * leaf + 0.1, NETWORK.init(jax.random.key(0)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.random((40, 20)), dtype=float), jnp.asarray(rng.integers(0, 4, 40))


@jax.jit
def accuracy(theta, images, labels):
    return lab.accuracy(NETWORK.apply(theta, images), labels)


@pytest.fixture
def value(batch):
    return landscape.slice_values(NETWORK.apply, *batch, OBJECTIVES)


@jax.jit
def directions(parameters):
    keys = jax.random.split(jax.random.key(1), 2)
    return [landscape.filter_normalised(landscape.random_direction(parameters, key=key), parameters) for key in keys]


def same_bits(one, other):
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_the_centre_is_the_network_bit_for_bit(parameters, value):
    first, second = directions(parameters)
    on_line = landscape.line(lambda theta: theta, parameters, first, jnp.array([-1.0, 0.0]))
    assert same_bits(jax.tree.map(lambda leaf: leaf[1], on_line), parameters)
    zero, some = jnp.zeros(1), jnp.array([0.0, 0.7])
    on_plane = landscape.plane(lambda theta: theta, parameters, first, second, some, zero)
    assert same_bits(jax.tree.map(lambda leaf: leaf[0, 0], on_plane), parameters)
    assert not same_bits(jax.tree.map(lambda leaf: leaf[1, 0], on_plane), parameters)
    at_centre = landscape.line(value, parameters, first, zero)
    for found, expected in zip(at_centre, jax.jit(value)(parameters), strict=True):
        np.testing.assert_allclose(found[0], expected, rtol=2e-7)


@pytest.mark.parametrize("batch_size", [None, pytest.param(4, marks=pytest.mark.slow)])
def test_plane_is_what_a_plain_loop_gives_and_leaves_the_network_alone(parameters, value, batch_size):
    (first, second), alone = directions(parameters), jax.jit(value)
    before, leaves = jax.tree.map(np.array, parameters), jax.tree.leaves(parameters)
    across, up = np.array([-1.0, 0.0, 0.5]), np.array([-0.25, 1.0])
    found = landscape.plane(
        value, parameters, first, second, jnp.asarray(across), jnp.asarray(up), batch_size=batch_size
    )
    assert found.objectives.shape == (3, 2, len(OBJECTIVES)) and found.accuracy.shape == (3, 2)
    for i, s in enumerate(across):
        for j, t in enumerate(up):
            moved = jax.tree.map(lambda x, a, b, s=s, t=t: x + s * a + t * b, parameters, first, second)
            expected = alone(moved)
            np.testing.assert_allclose(found.objectives[i, j], expected.objectives, rtol=1e-5)
            assert found.accuracy[i, j] == expected.accuracy
    assert same_bits(parameters, before)
    assert all(a is b for a, b in zip(jax.tree.leaves(parameters), leaves, strict=True))


def test_accuracy_on_a_slice_is_exact(parameters, value, batch):
    """Equal to the last bit to the metric evaluated at each point on its own; one-hot labels change nothing."""
    direction, offsets = landscape.random_direction(parameters, key=jax.random.key(2)), np.linspace(-3, 3, 41)
    found = landscape.line(value, parameters, direction, jnp.asarray(offsets))
    moved = [jax.tree.map(lambda x, d, t=t: x + t * d, parameters, direction) for t in offsets]
    expected = [accuracy(theta, *batch) for theta in moved]
    assert found.accuracy.tolist() == [float(one) for one in expected]
    assert len(set(found.accuracy.tolist())) > 3
    np.testing.assert_allclose(found.objectives[:, 0], 1 - found.accuracy, rtol=1e-6, atol=1e-7)  # zero_one
    one_hot = landscape.slice_values(NETWORK.apply, batch[0], jnp.eye(4)[batch[1]], OBJECTIVES)
    again = landscape.line(one_hot, parameters, direction, jnp.asarray(offsets))
    assert same_bits(again, found)


def test_a_slice_is_one_forward_pass_per_point(parameters, batch):
    passes = 0

    def apply(theta, images):
        nonlocal passes
        passes += 1
        return NETWORK.apply(theta, images)

    value = landscape.slice_values(apply, *batch, OBJECTIVES)
    landscape.line(value, parameters, parameters, jnp.linspace(-1.0, 1.0, 50))
    assert passes == 1  # traced once: one program for all points and all objectives


def test_an_objective_of_a_whole_batch_and_none_at_all(parameters, batch):
    offsets = jnp.array([0.0, 0.5])
    value = landscape.slice_values(NETWORK.apply, *batch, [lab.objective("soft_macro_f1")])
    found = landscape.line(value, parameters, parameters, offsets)
    assert found.objectives.shape == (2, 1) and np.isfinite(found.objectives).all()
    none = landscape.line(landscape.slice_values(NETWORK.apply, *batch, []), parameters, parameters, offsets)
    assert none.objectives.shape == (2, 0) and none.accuracy.tolist() == found.accuracy.tolist()


def test_derivatives_along_a_line(parameters, batch, float64):
    """Central differences in float64 for what is smooth; exactly 0 for accuracy, and for the error it is made of."""
    images, labels = batch[0].astype(float), batch[1]
    theta = jax.tree.map(lambda leaf: leaf.astype(float), parameters)
    direction = jax.tree.map(lambda leaf: leaf.astype(float), directions(parameters)[0])
    value = landscape.slice_values(NETWORK.apply, images, labels, OBJECTIVES)
    offsets, h = jnp.linspace(-2.0, 2.0, 9), 1e-5
    values, slopes = landscape.line_derivatives(value, theta, direction, offsets)
    around = jnp.concatenate([offsets, offsets + h, offsets - h])
    here, ahead, behind = landscape.line(value, theta, direction, around).objectives.reshape(3, 9, -1)
    differences = (ahead - behind) / (2 * h)
    np.testing.assert_allclose(slopes.objectives[:, SMOOTH], differences[:, SMOOTH], rtol=1e-7, atol=1e-9)
    assert np.abs(slopes.objectives[:, SMOOTH]).min() > 1e-4
    assert slopes.accuracy.dtype == values.accuracy.dtype == float
    assert not slopes.accuracy.any() and not slopes.objectives[:, 0].any()
    assert len(set(values.accuracy.tolist())) > 1
    np.testing.assert_allclose(values.objectives, here, rtol=1e-12)


def test_the_gradients_direction_falls_as_fast_as_its_length(parameters, batch):
    """Along g / |g| the loss changes by |g| per unit: the gradient is one of the directions."""
    loss = lab.objective("cross_entropy")
    gradient = jax.jit(jax.grad(lambda theta: jnp.mean(loss(NETWORK.apply(theta, batch[0]), batch[1]))))(parameters)
    value = landscape.slice_values(NETWORK.apply, *batch, [loss])
    _, slopes = landscape.line_derivatives(value, parameters, landscape.normalised(gradient), jnp.zeros(1))
    assert float(slopes.objectives[0, 0]) == pytest.approx(float(landscape.length(gradient)), rel=1e-5)


def test_unit_moves_one_weight(parameters):
    flat, _ = ravel_pytree(parameters)
    for position in (0, np.int64(7), flat.size - 1):
        expected = np.zeros(flat.size)
        expected[position] = 1
        np.testing.assert_array_equal(ravel_pytree(landscape.unit(parameters, position))[0], expected)
    traced = jax.jit(landscape.unit)(parameters, jnp.array(7))
    assert same_bits(traced, landscape.unit(parameters, 7))
    for outside in (-1, flat.size):
        with pytest.raises(InputError, match=f"0..{flat.size - 1}; got {outside}"):
            landscape.unit(parameters, outside)


def test_towards_reaches_the_other_network(parameters):
    other = NETWORK.init(jax.random.key(5))
    there = landscape.line(lambda theta: theta, parameters, landscape.towards(parameters, other), jnp.ones(1))
    np.testing.assert_allclose(ravel_pytree(there)[0], ravel_pytree(other)[0], atol=2e-6)


def test_random_directions_are_gaussian_and_repeatable():
    wide = [{"weight": jnp.zeros((100, 100)), "bias": jnp.zeros(100)}] * 2
    one, again, other = (landscape.random_direction(wide, key=jax.random.key(i)) for i in (0, 0, 1))
    assert same_bits(one, again)
    flat, second = ravel_pytree(one)[0], ravel_pytree(other)[0]
    assert float(flat.mean()) == pytest.approx(0, abs=0.03) and float(flat.std()) == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(flat, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(flat[: flat.size // 2], flat[flat.size // 2 :])[0, 1]) < 0.04  # no leaf repeats another


def test_filter_normalisation_gives_every_unit_the_networks_own_length(parameters):
    """Li et al. 2018: each row as long as the network's, along the direction's own; biases are not moved."""
    direction = landscape.random_direction(parameters, key=jax.random.key(3))
    direction[0]["weight"] = direction[0]["weight"].at[2].set(0.0)
    found = landscape.filter_normalised(direction, parameters)
    for layer, own, given in zip(found, parameters, direction, strict=True):
        assert not layer["bias"].any()
        lengths, cosines = np.linalg.norm(layer["weight"], axis=1), []
        expected = np.linalg.norm(own["weight"], axis=1)
        for row, before in zip(np.asarray(layer["weight"]), np.asarray(given["weight"]), strict=True):
            cosines.append(row @ before / max(np.linalg.norm(row) * np.linalg.norm(before), 1e-30))
        moved = np.ones(len(expected), dtype=bool)
        if layer is found[0]:
            moved[2] = False
            assert not layer["weight"][2].any()
        np.testing.assert_allclose(lengths[moved], expected[moved], rtol=1e-6)
        np.testing.assert_allclose(np.array(cosines)[moved], 1, rtol=1e-6)


def test_filter_normalisation_of_a_convolution():
    weights = jax.random.normal(jax.random.key(0), (6, 3, 5, 5))
    found = jax.jit(landscape.filter_normalised)(jnp.ones_like(weights), weights)
    np.testing.assert_allclose(
        np.linalg.norm(found.reshape(6, -1), axis=1), np.linalg.norm(weights.reshape(6, -1), axis=1), rtol=1e-6
    )


def test_normalised_and_orthogonalised(parameters):
    first, second = directions(parameters)
    kept, across = landscape.orthogonalised(first, second)
    assert kept is first
    a, b, before = (np.asarray(ravel_pytree(tree)[0], dtype=float) for tree in (first, across, second))
    assert abs(a @ b) < 1e-6 * np.linalg.norm(a) * np.linalg.norm(b)
    np.testing.assert_allclose(b, before - a * (a @ before) / (a @ a), atol=1e-6)
    assert float(landscape.length(landscape.normalised(second))) == pytest.approx(1, rel=1e-6)
    # All but parallel, and so small that squares are below float32's range: still orthogonal.
    near = jax.tree.map(lambda x, y: 1e-25 * (x + 1e-4 * y), first, second)
    c = np.asarray(ravel_pytree(landscape.orthogonalised(first, near)[1])[0], dtype=float)
    assert abs(a @ c) < 1e-6 * np.linalg.norm(a) * np.linalg.norm(c)
    assert c @ b > 0.99 * np.linalg.norm(c) * np.linalg.norm(b)


@pytest.mark.parametrize("factor", [1.0, -3.0, 0.1, 1e-20])
def test_parallel_directions_span_no_plane(parameters, factor):
    (first, _) = directions(parameters)
    with pytest.raises(InputError, match="parallel"):
        landscape.orthogonalised(first, jax.tree.map(lambda x: factor * x, first))


def test_bad_directions_are_refused(parameters, value):
    nothing = jax.tree.map(jnp.zeros_like, parameters)
    infinite = jax.tree.map(lambda x: x + jnp.inf, parameters)
    for bad in (nothing, infinite):
        with pytest.raises(InputError, match="not 0 to be normalised"):
            landscape.normalised(bad)
        with pytest.raises(InputError, match="not 0 to be normalised"):
            landscape.orthogonalised(bad, parameters)
        with pytest.raises(InputError, match="not 0 to be normalised"):
            landscape.orthogonalised(parameters, bad)
    # Broadcasting would take these, and change the network's shapes.
    short = jax.tree.map(lambda x: x[:1], parameters)
    offsets = jnp.zeros(1)
    for call in (
        lambda: landscape.line(value, parameters, short, offsets),
        lambda: landscape.line(value, parameters, parameters[0], offsets),
        lambda: landscape.line_derivatives(value, parameters, short, offsets),
        lambda: landscape.plane(value, parameters, parameters, short, offsets, offsets),
        lambda: landscape.towards(parameters, short),
        lambda: landscape.filter_normalised(short, parameters),
    ):
        with pytest.raises(InputError, match="a pytree like the parameters"):
            call()
    with pytest.raises(InputError, match="1 or more; got 0"):
        landscape.line(value, parameters, parameters, offsets, batch_size=0)


def test_whole_numbers_are_no_weights_and_python_s_own_are():
    """Moved by a quarter of 2, the whole number 1 would stay where it is."""
    offsets, whole = jnp.array([0.0, 0.25, 0.5]), {"w": jnp.array(1)}
    for call in (
        lambda: landscape.line(lambda theta: theta["w"], whole, whole, offsets),
        lambda: landscape.line_derivatives(lambda theta: theta["w"], whole, whole, offsets),
        lambda: landscape.plane(lambda theta: theta["w"], whole, whole, whole, offsets, offsets),
        lambda: landscape.random_direction(whole, key=jax.random.key(0)),
    ):
        with pytest.raises(InputError, match="must be real numbers; some are int32"):
            call()
    assert landscape.line(lambda theta: theta**2, 1.0, 2.0, offsets).tolist() == [1.0, 2.25, 4.0]
    assert landscape.plane(lambda theta: theta, 1.0, 2.0, 3.0, offsets[1:2], offsets[2:]).tolist() == [[3.0]]
    assert landscape.random_direction(1.0, key=jax.random.key(0)).shape == ()


def test_principal_plane_of_a_training_path_is_numpys(parameters):
    rng, size = np.random.default_rng(0), ravel_pytree(parameters)[0].size
    _, unravel = ravel_pytree(parameters)
    points = rng.normal(size=(7, size)) * np.linspace(3, 0.1, 7)[:, None] + 0.5
    found = landscape.principal_plane([unravel(jnp.asarray(point, dtype=jnp.float32)) for point in points])
    rows = points - points[-1]
    _, sizes, right = np.linalg.svd(rows, full_matrices=False)
    expected = rows @ right[:2].T
    signs = np.sign(expected[np.abs(expected).argmax(axis=0), [0, 1]])
    np.testing.assert_allclose(found.coordinates, expected * signs, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found.explained, sizes[:2] ** 2 / (sizes**2).sum(), rtol=1e-4)
    flat = np.stack([ravel_pytree(one)[0] for one in (found.first, found.second)])
    np.testing.assert_allclose(flat, signs[:, None] * right[:2], atol=2e-5)
    np.testing.assert_allclose(flat @ flat.T, np.eye(2), atol=1e-5)
    assert not np.abs(np.asarray(found.coordinates[-1])).max() > 1e-6  # the plane passes through the last point


def test_a_path_in_a_plane_is_explained_and_found_again(parameters):
    """Where the path lies in a plane, the coordinates lead back to every one of its points."""
    first, second = directions(parameters)
    steps = [(2.0, 0.0), (1.0, -0.5), (0.3, 0.4), (0.0, 0.0)]
    path = [jax.tree.map(lambda x, a, b, s=s, t=t: x + s * a + t * b, parameters, first, second) for s, t in steps]
    found = landscape.principal_plane(path)
    assert float(found.explained.sum()) == pytest.approx(1, abs=1e-6)
    for (s, t), point in zip(found.coordinates, path, strict=True):
        back = jax.tree.map(lambda x, a, b, s=s, t=t: x + s * a + t * b, path[-1], found.first, found.second)
        np.testing.assert_allclose(ravel_pytree(back)[0], ravel_pytree(point)[0], atol=1e-5)


def test_a_random_walk_explains_as_much_as_the_docstring_warns_of():
    walk = np.cumsum(np.random.default_rng(0).normal(size=(100, 20_000)), axis=0)
    found = landscape.principal_plane([jnp.asarray(point, dtype=jnp.float32) for point in walk])
    np.testing.assert_allclose(found.explained, 8 / np.pi**2 / np.array([1, 9]), rtol=0.02)


def test_paths_without_a_plane_are_refused(parameters):
    other = NETWORK.init(jax.random.key(9))
    way = landscape.towards(parameters, other)
    straight = [jax.tree.map(lambda x, d, t=t: x + t * d, parameters, way) for t in (0.0, 0.3, 0.7, 1.0)]
    for path, message in (
        (straight[:2], "at least 3 points; got 2"),
        (straight, "straight line"),
        ([parameters] * 4, "straight line"),
        ([*straight[:3], jax.tree.map(lambda x: x * jnp.nan, other)], "not finite"),
        ([jnp.ones(1), jnp.zeros(1), jnp.ones(1)], "straight line"),
        ([*straight[:3], other[0]], "every point of a path must be a pytree"),
    ):
        with pytest.raises(InputError, match=message):
            landscape.principal_plane(path)
