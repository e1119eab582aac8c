"""Products with the Hessian, and what Lanczos and random probes read off them, against dense matrices in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lab
from lab import curvature
from lab.errors import InputError

NAMES = ("cross_entropy", "squared_error", "expected_error", "gaussian_margin")
NETWORK = lab.mlp([4], pixels=3, classes=3)
LINEAR = lab.mlp([], pixels=3, classes=3)
KEY = jax.random.key(7)
# As the module says: compiled in one piece, the product being part of the program.
top_eigenvalues = jax.jit(curvature.top_eigenvalues, static_argnums=0, static_argnames=("count", "steps", "vectors"))
trace = jax.jit(curvature.trace, static_argnums=0, static_argnames="samples")
spectral_density = jax.jit(curvature.spectral_density, static_argnums=0, static_argnames=("probes", "steps"))

pytestmark = pytest.mark.usefixtures("float64")


def problem(network, *, examples=20):
    """Parameters of size 1, where sigmoids bend, and a batch, in float64."""
    rng = np.random.default_rng(0)
    like = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), network.init(jax.random.key(0)))
    return like, jnp.asarray(rng.normal(size=(examples, 3))), jnp.asarray(rng.integers(0, 3, examples))


def dense(product, parameters):
    """The matrix of a product, column by column."""
    flat, unravel = ravel_pytree(parameters)
    columns = jax.lax.map(lambda v: ravel_pytree(product(unravel(v)))[0], jnp.eye(flat.size))
    return np.asarray(columns).T


def diagonal(values):
    """A product whose eigenvalues are known, and parameters that it fits."""
    values = jnp.asarray(values, dtype=float)
    return (lambda v: values * v), jnp.zeros(len(values))


@partial(jax.jit, static_argnames=("count", "steps"))
def ends(values, *, count, steps):
    """`top_eigenvalues` of a diagonal: one program for all of one length."""
    return curvature.top_eigenvalues(lambda v: values * v, jnp.zeros_like(values), key=KEY, count=count, steps=steps)


@pytest.fixture(scope="module", params=NAMES)
def hessian(request):
    """A product of a tiny network, the parameters, and the same matrix by another route: jax.hessian."""
    with jax.enable_x64(True):
        parameters, images, labels = problem(NETWORK)
        objective = lab.objective(request.param)
        flat, unravel = ravel_pytree(parameters)
        matrix = jax.jit(jax.hessian(lambda w: jnp.mean(objective(NETWORK.apply(unravel(w), images), labels))))(flat)
        product = partial(curvature.hessian_vector, NETWORK.apply, parameters, images, labels, objective)
        return product, parameters, np.asarray(matrix)


def test_hessian_vector_is_the_dense_hessian_times_the_vector(hessian):
    product, parameters, matrix = hessian
    np.testing.assert_allclose(dense(product, parameters), matrix, atol=1e-12)
    assert np.abs(matrix).max() > 1e-3


@pytest.mark.parametrize("name", ["cross_entropy", "gaussian_margin"])
def test_hessian_vector_against_differences_of_the_gradient(name):
    """Another derivative than autodiff's: how the gradient changes from one side of the network to the other."""
    parameters, images, labels = problem(NETWORK)
    objective, h = lab.objective(name), 1e-5
    vector = jax.tree.map(jnp.cos, parameters)

    @jax.jit
    def gradient(t):
        moved = jax.tree.map(lambda x, v: x + t * v, parameters, vector)
        stack = lab.objective_gradients(NETWORK, moved, images, labels, [objective]).gradients
        return ravel_pytree(stack)[0]

    found = jax.jit(curvature.hessian_vector, static_argnums=0)(
        NETWORK.apply, parameters, images, labels, objective, vector
    )
    np.testing.assert_allclose(ravel_pytree(found)[0], (gradient(h) - gradient(-h)) / (2 * h), rtol=1e-6, atol=1e-9)


def test_softmax_regression_has_the_hessian_of_the_textbook():
    """(1/n) sum over examples of (diag(p) - p p^T) x (1, x)(1, x)^T, and its Gauss-Newton part is all of it."""
    parameters, images, labels = problem(LINEAR)
    weight, bias = (np.asarray(parameters[0][name]) for name in ("weight", "bias"))
    logits = np.asarray(images) @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    bend = np.einsum("nk,kl->nkl", p, np.eye(3)) - np.einsum("nk,nl->nkl", p, p)
    inputs = np.concatenate([np.ones((len(p), 1)), images], axis=1)
    expected = np.einsum("nkl,ni,nj->kilj", bend, inputs, inputs) / len(p)
    # Parameters are flattened as all biases, then the weights row by row.
    order = np.concatenate([np.arange(3) * 4, (np.arange(3)[:, None] * 4 + np.arange(1, 4)[None, :]).reshape(-1)])
    expected = expected.reshape(12, 12)[np.ix_(order, order)]
    for kind in (curvature.hessian_vector, curvature.gauss_newton_vector):
        product = partial(kind, LINEAR.apply, parameters, images, labels, lab.objective("cross_entropy"))
        np.testing.assert_allclose(dense(product, parameters), expected, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_gauss_newton_is_j_h_j(name):
    """The dense J^T H_z J. For cross entropy it is positive, for a smoothed accuracy it is not."""
    parameters, images, labels = problem(NETWORK)
    objective = lab.objective(name)
    flat, unravel = ravel_pytree(parameters)

    def logits_of(w):
        return NETWORK.apply(unravel(w), images).reshape(-1)

    bend = jax.jit(jax.hessian(lambda z: jnp.mean(objective(z.reshape(-1, 3), labels))))(logits_of(flat))
    jacobian = jax.jit(jax.jacobian(logits_of))(flat)
    product = partial(curvature.gauss_newton_vector, NETWORK.apply, parameters, images, labels, objective)
    found = dense(product, parameters)
    np.testing.assert_allclose(found, jacobian.T @ bend @ jacobian, atol=1e-12)
    lowest = np.linalg.eigvalsh(found)[0]
    assert lowest > -1e-14 if name == "cross_entropy" else lowest < -1e-4


def test_accuracy_has_no_curvature():
    """Nothing anywhere, nothing NaN; and nothing to converge to but 0."""
    parameters, images, labels = problem(NETWORK)
    zero_one = lab.objective("zero_one")
    product = partial(curvature.hessian_vector, NETWORK.apply, parameters, images, labels, zero_one)
    found = top_eigenvalues(product, parameters, key=KEY, count=2, steps=10)
    for end in found:
        assert not end.values.any() and not end.residuals.any() and end.converged.all()
    assert trace(product, parameters, key=KEY) == (0, 0)
    density = spectral_density(product, parameters, key=KEY, steps=10)
    assert float(density.mass) == pytest.approx(1, abs=1e-6)
    assert float(density.grid[jnp.argmax(density.density)]) == pytest.approx(0, abs=0.01)


def test_top_eigenvalues_are_numpys(hessian):
    product, parameters, matrix = hessian
    expected, size = np.linalg.eigvalsh(matrix), len(matrix)
    found = top_eigenvalues(product, parameters, key=KEY, count=3, steps=size, vectors=True)
    scale = np.abs(expected).max()
    for end, wanted in ((found.highest, expected[::-1][:3]), (found.lowest, expected[:3])):
        np.testing.assert_allclose(end.values, wanted, atol=1e-12 * scale)
        assert end.converged.all() and (end.residuals < 1e-10 * scale).all()
        for i, value in enumerate(end.values):
            vector, _ = ravel_pytree(jax.tree.map(lambda leaf, i=i: leaf[i], end.vectors))
            assert float(vector @ vector) == pytest.approx(1, abs=1e-12)
            # The residual that is reported is that of the vector that is returned.
            residual = np.linalg.norm(matrix @ np.asarray(vector) - value * np.asarray(vector))
            assert residual == pytest.approx(float(end.residuals[i]), abs=1e-12 * scale)


def test_too_few_steps_say_so():
    """The residual is honest: some true eigenvalue is no farther away than that."""
    values = np.linspace(-1, 1, 300) ** 3
    found = ends(values, count=2, steps=6)
    for end in found:
        assert not end.converged.any()
        for value, residual in zip(end.values, end.residuals, strict=True):
            assert 1e-4 < residual and np.abs(values - float(value)).min() <= residual
    enough = ends(values, count=2, steps=120)
    assert all(end.converged.all() for end in enough)
    np.testing.assert_allclose(enough.highest.values, values[::-1][:2], atol=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_what_has_converged_does_not_depend_on_the_loss_s_unit(scale):
    values = np.linspace(-1, 1, 300) ** 3
    for steps, converged in ((6, False), (120, True)):
        found = ends(scale * values, count=2, steps=steps)
        assert all((end.converged == converged).all() for end in found)


def test_a_pair_of_opposite_eigenvalues_is_shown_at_both_ends():
    values = np.concatenate([[5.0, -5.0], np.linspace(-0.5, 0.5, 98)])
    found = top_eigenvalues(*diagonal(values), key=KEY, count=1, steps=30, vectors=True)
    assert float(found.highest.values[0]) == pytest.approx(5, abs=1e-12)
    assert float(found.lowest.values[0]) == pytest.approx(-5, abs=1e-12)
    np.testing.assert_allclose(np.abs(found.highest.vectors[0]), np.eye(100)[0], atol=1e-10)
    np.testing.assert_allclose(np.abs(found.lowest.vectors[0]), np.eye(100)[1], atol=1e-10)
    assert found.highest.converged.all() and found.lowest.converged.all()


def test_no_ghosts_in_float32():
    """Without orthogonalising, converged eigenvalues come back as copies after some dozens of steps."""
    values = np.concatenate([np.linspace(-1, 1, 400), [30.0, 40.0, 50.0]]).astype(np.float32)

    def product(v):
        return jnp.asarray(values) * v

    found = top_eigenvalues(product, jnp.zeros(403, jnp.float32), key=KEY, count=4, steps=100)
    assert found.highest.values.dtype == jnp.float32
    np.testing.assert_allclose(found.highest.values[:3], [50, 40, 30], rtol=1e-6)
    assert float(found.highest.values[3]) < 1.001


@pytest.mark.parametrize("values", [[2.0, 1.0, -1.0], [4.0], [0.0, 1e-7, 1000.0]])
def test_an_invariant_subspace_is_left_for_the_next(values):
    """A few different eigenvalues are found in a few steps; then a new vector begins, and shows them once more.

    All vectors are still orthogonal to all others, up to rounding.
    """
    values = np.sort(np.repeat(values, 24 // len(values)))
    found = curvature.top_eigenvalues(*diagonal(values), key=KEY, count=24, steps=50, vectors=True)
    np.testing.assert_allclose(found.highest.values, values[::-1], atol=1e-12)
    np.testing.assert_allclose(found.lowest.values, values, atol=1e-12)
    assert found.highest.converged.all()
    np.testing.assert_allclose(found.highest.vectors @ found.highest.vectors.T, np.eye(24), atol=1e-13)


def test_tiny_curvature_is_not_taken_for_none():
    """Eigenvalues whose squares are below float32's range are as good as others."""
    values = jnp.linspace(-1, 1, 50, dtype=jnp.float32) ** 3
    one, small = (ends(np.float32(c) * values, count=2, steps=50) for c in (1, 2**-90))
    np.testing.assert_allclose(small.highest.values * 2.0**90, one.highest.values, rtol=1e-5)
    assert small.highest.converged.all()


@pytest.mark.parametrize("hessian", ["cross_entropy", "expected_error"], indirect=True)
def test_trace_is_within_its_error(hessian):
    product, parameters, matrix = hessian
    found = trace(product, parameters, key=KEY, samples=200)
    assert abs(float(found.value) - np.trace(matrix)) < 4 * float(found.standard_error)
    beside = matrix - np.diag(np.diag(matrix))
    expected = np.sqrt(2 * (beside**2).sum() / 200)
    assert float(found.standard_error) == pytest.approx(expected, rel=0.25)


def test_trace_of_a_diagonal_is_exact():
    found = trace(*diagonal(np.full(10, 3.0)), key=KEY, samples=4)
    assert (float(found.value), float(found.standard_error)) == (30, 0)
    other = trace(*diagonal(np.arange(10)), key=KEY, samples=7)
    assert float(other.value) == pytest.approx(45, rel=1e-14) and float(other.standard_error) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("hessian", ["cross_entropy", "expected_error"], indirect=True)
def test_density_integrates_to_one_and_has_the_traces_mean(hessian):
    product, parameters, matrix = hessian
    size = len(matrix)
    found = spectral_density(product, parameters, key=KEY, probes=20, steps=size)
    assert float(found.mass) == pytest.approx(1, abs=0.001)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-12)
    same_probes = trace(product, parameters, key=KEY, samples=20)
    mean = np.trapezoid(found.grid * found.density, found.grid)
    assert mean == pytest.approx(float(same_probes.value) / size, abs=1e-4 * float(found.grid[-1]))
    means = (found.weights * found.nodes).sum(axis=1)
    assert float(means.mean()) == pytest.approx(float(same_probes.value) / size, rel=1e-10)
    expected = np.linalg.eigvalsh(matrix)
    smooth = np.exp(-(((np.asarray(found.grid)[:, None] - expected) / float(found.width)) ** 2) / 2).mean(axis=1)
    smooth /= float(found.width) * np.sqrt(2 * np.pi)
    # Within the spread over probes, all along the grid: on average 1 standard error off, nowhere many.
    off = np.abs(np.asarray(found.density) - smooth) / (np.asarray(found.standard_error) + 0.01 * smooth.max())
    assert off.max() < 5 and np.sqrt((off**2).mean()) < 1.5


def test_density_of_a_diagonal_is_where_its_eigenvalues_are():
    """Two heaps of 30 and 70 % of the eigenvalues; the Lanczos steps end where there are no more."""
    values = np.repeat([-1.0, 2.0], [30, 70])
    grid = jnp.linspace(-2, 3, 2001)
    found = spectral_density(*diagonal(values), key=KEY, steps=40, grid=grid, width=0.05)
    expected = (
        np.exp(-(((np.asarray(grid)[:, None] - [-1, 2]) / 0.05) ** 2) / 2) @ [0.3, 0.7] / (0.05 * np.sqrt(2 * np.pi))
    )
    np.testing.assert_allclose(found.density, expected, atol=1e-9)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-9)
    assert float(found.mass) == pytest.approx(1, abs=1e-6)
    half = spectral_density(*diagonal(values), key=KEY, grid=jnp.linspace(0, 3, 2001), width=0.05)
    assert float(half.mass) == pytest.approx(0.7, abs=1e-6)  # a grid that is too short is said


def test_density_of_a_multiple_of_the_identity_is_one_heap():
    found = spectral_density(*diagonal(np.full(20, 4.0)), key=KEY)
    assert float(found.mass) == pytest.approx(1, abs=1e-6)
    assert float(found.grid[jnp.argmax(found.density)]) == pytest.approx(4, abs=1e-3)


@pytest.mark.slow
def test_same_key_same_result_and_compiled_once():
    """Jitted as the module says, other parameters and temperatures do not compile anew."""
    parameters, images, labels = problem(NETWORK)
    traces = 0

    @jax.jit
    def everything(parameters, objective, key):
        nonlocal traces
        traces += 1
        product = partial(curvature.hessian_vector, NETWORK.apply, parameters, images, labels, objective)
        return (
            curvature.top_eigenvalues(product, parameters, key=key, count=2, steps=10),
            curvature.trace(product, parameters, key=key, samples=5),
            curvature.spectral_density(product, parameters, key=key, probes=2, steps=10),
        )

    def flat(temperature, key):
        objective = lab.objective("expected_error", temperature=temperature)
        return np.asarray(ravel_pytree(everything(parameters, objective, key))[0])

    one, again, warm = flat(1.0, KEY), flat(1.0, KEY), flat(2.0, KEY)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, warm) and not np.array_equal(one, flat(1.0, jax.random.key(8)))
    assert traces == 1


def test_whole_numbers_have_no_curvature_and_python_s_own_have():
    for call in (curvature.top_eigenvalues, curvature.trace, curvature.spectral_density):
        with pytest.raises(InputError, match="must be real numbers; some are int"):
            call(lambda v: v, jnp.arange(5), key=KEY)
    assert float(curvature.trace(lambda v: {"w": 3 * v["w"]}, {"w": 1.0}, key=KEY).value) == 3


def test_bad_input_is_refused():
    parameters, images, labels = problem(NETWORK)
    loss = lab.objective("cross_entropy")
    short = jax.tree.map(lambda leaf: leaf[:1], parameters)
    for kind in (curvature.hessian_vector, curvature.gauss_newton_vector):
        with pytest.raises(InputError, match="the vector must be a pytree like the parameters"):
            kind(NETWORK.apply, parameters, images, labels, loss, short)
    product, like = diagonal(np.ones(5))
    for call, message in (
        (lambda: curvature.top_eigenvalues(product, like, key=KEY, count=0), "weights, 5; got 0"),
        (lambda: curvature.top_eigenvalues(product, like, key=KEY, count=6), "weights, 5; got 6"),
        (lambda: curvature.top_eigenvalues(product, like, key=KEY, count=3, steps=2), "weights, 2; got 3"),
        (lambda: curvature.trace(product, like, key=KEY, samples=1), "at least 2 random vectors; got 1"),
        (lambda: curvature.trace(lambda v: v[:3], like, key=KEY), "what the product gives must be a pytree"),
        (lambda: curvature.spectral_density(product, like, key=KEY, probes=1), "at least 2 random vectors; got 1"),
        (lambda: curvature.spectral_density(product, like, key=KEY, steps=0), "at least 1 step"),
        (lambda: curvature.spectral_density(product, like, key=KEY, width=0.0), "finite width > 0; got 80 and 0.0"),
    ):
        with pytest.raises(InputError, match=message):
            call()
