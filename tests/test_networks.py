"""LeNet-5 and its layer: against loops, against XLA's convolution, on digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lab
from lab.convolutions import pooled_convolution

KEY = jax.random.key(5)


def looped(images, kernels):
    """Convolution and maxima over 2 x 2 units, number by number: images [channels, height, width, batch]."""
    size = kernels.shape[-1]
    _, height, width, batch = images.shape
    units = np.empty((len(kernels), height - size + 1, width - size + 1, batch))
    for k, i, j, b in np.ndindex(*units.shape):
        units[k, i, j, b] = np.sum(kernels[k] * images[:, i : i + size, j : j + size, b])
    pooled = np.empty((len(kernels), units.shape[1] // 2, units.shape[2] // 2, batch))
    for k, i, j, b in np.ndindex(*pooled.shape):
        pooled[k, i, j, b] = units[k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, b].max()
    return pooled


def by_xla(images, kernels):
    """The same by XLA's own convolution."""
    layout = ("CHWN", "OIHW", "CHWN")
    units = jax.lax.conv_general_dilated(images, kernels, (1, 1), "VALID", dimension_numbers=layout)
    count, height, width, batch = units.shape
    return jnp.max(units.reshape(count, height // 2, 2, width // 2, 2, batch), axis=(2, 4))


def starts(network, count):
    """Parameters with biases that are not 0; of several networks stacked."""
    parameters = jax.vmap(network.init)(jax.random.split(KEY, count))
    noise = jax.random.normal(KEY, (500,)) / 10
    return [{**layer, "bias": layer["bias"] + noise[: layer["bias"].shape[1]]} for layer in parameters]


class TestPooledConvolution:
    @pytest.mark.parametrize(("shape", "size"), [((2, 8, 12, 3), 5), ((3, 4, 6, 2), 3), ((1, 4, 4, 1), 1)])
    def test_loops_give_the_same(self, float64, shape, size):
        random = np.random.default_rng(0)
        images, kernels = random.normal(size=shape), random.normal(size=(4, shape[0], size, size))
        found = pooled_convolution(jnp.asarray(images), jnp.asarray(kernels))
        np.testing.assert_allclose(found, looped(images, kernels), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-6), (True, 1e-14)])
    def test_xlas_convolution_is_the_same(self, double, tolerance):
        """In value and in derivatives of first and second order, with respect to images and kernels."""
        with jax.enable_x64(double):
            keys = jax.random.split(KEY, 4)
            shapes = (3, 12, 8, 7), (4, 3, 5, 5)
            images, kernels, *direction = map(jax.random.normal, keys, (*shapes, *shapes))
            point = images, kernels / 10

            def derivatives(way):
                gradient = jax.grad(lambda point: jnp.sum(jnp.sin(way(*point))))
                return way(*point), jax.jvp(gradient, (point,), (tuple(direction),))

            ours, xlas = (jax.jit(derivatives, static_argnums=0)(way) for way in (pooled_convolution, by_xla))
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(xlas), strict=True):
            assert np.linalg.norm(one - other) < tolerance * np.linalg.norm(other)

    def test_a_batch_may_be_empty(self):
        assert pooled_convolution(jnp.zeros((1, 8, 8, 0)), jnp.zeros((2, 1, 5, 5))).shape == (2, 2, 2, 0)

    @pytest.mark.parametrize(("height", "width", "size"), [(7, 8, 3), (8, 9, 3), (8, 8, 4), (4, 8, 5)])
    def test_what_does_not_divide_is_refused(self, height, width, size):
        with pytest.raises(lab.InputError, match=f"kernels of {size} x {size} and images of {height} x {width}"):
            pooled_convolution(jnp.zeros((1, height, width, 2)), jnp.zeros((2, 1, size, size)))


class TestLeNet5:
    @pytest.mark.parametrize("pixels", [144, pytest.param(784, marks=pytest.mark.slow)])
    def test_logits_are_what_loops_compute(self, float64, pixels):
        network = lab.lenet5(pixels=pixels, classes=7)
        parameters = jax.tree.map(lambda leaf: leaf[0], starts(network, 1))
        images = np.random.default_rng(1).random((2, pixels))
        side = round(pixels**0.5)
        weights = jax.tree.map(np.asarray, parameters)
        units = np.pad(images.reshape(2, 1, side, side), ((0, 0), (0, 0), (2, 2), (2, 2)))
        units = units.transpose(1, 2, 3, 0)
        for layer in weights[:2]:
            units = np.maximum(looped(units, layer["weight"]) + layer["bias"].reshape(-1, 1, 1, 1), 0)
        units = units.transpose(3, 0, 1, 2).reshape(2, -1)
        for layer in weights[2:]:
            logits = units @ layer["weight"].T + layer["bias"]
            units = np.maximum(logits, 0)
        np.testing.assert_allclose(network.apply(parameters, jnp.asarray(images)), logits, rtol=1e-12)

    def test_the_start(self):
        parameters = lab.lenet5().init(KEY)
        assert [layer["weight"].shape for layer in parameters] == [
            (6, 1, 5, 5),
            (16, 6, 5, 5),
            (120, 400),
            (84, 120),
            (10, 84),
        ]
        for layer in parameters[1:]:
            inputs = layer["weight"][0].size
            assert float(layer["weight"].std()) == pytest.approx((2 / inputs) ** 0.5, rel=0.05)
            assert not layer["bias"].any()

    @pytest.mark.slow
    def test_networks_side_by_side_are_those_alone(self):
        network = lab.lenet5()
        several, images = starts(network, 3), jax.random.uniform(KEY, (5, 784))
        apply = jax.jit(network.apply)
        together = jax.jit(jax.vmap(network.apply, in_axes=(0, None)))(several, images)
        for number, found in enumerate(together):
            alone = apply(jax.tree.map(lambda leaf, number=number: leaf[number], several), images)
            np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("pixels", [0, -4, 64, 100, 196, 783, 900])
    def test_pixels_must_make_a_square_that_halves_twice(self, pixels):
        with pytest.raises(lab.InputError, match=rf"sides 12, 16, 20, ..., 28, ...; got {pixels} pixels"):
            lab.lenet5(pixels=pixels)

    def test_classes_are_needed(self):
        with pytest.raises(lab.InputError, match="at least one class; got 0"):
            lab.lenet5(classes=0)

    @pytest.mark.slow
    def test_digits_are_learnt(self, mnist):
        network, objective = lab.lenet5(), lab.objective("cross_entropy")
        images, labels = mnist.train.images[:4000], mnist.train.labels[:4000]
        *_, state = lab.train(
            network, objective, lab.optimiser("momentum", 0.02), images, labels, key=KEY, stages=[150]
        )
        logits = jax.jit(network.apply)(state.parameters, mnist.test.images / np.float32(255))
        assert lab.accuracy(logits, mnist.test.labels) > 0.9
