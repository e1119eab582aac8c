"""Peers in NumPy: as tightly as it goes, and two ways of the book, Saito 2016, Deep Learning from Scratch.

The book's keep to its habits: float64 weights on float32 images, one-hot labels, gradients in a dictionary, and the
loss of every step from another forward pass. Units are ReLU in both.
"""

from collections.abc import Callable

import numpy as np
from training_peers import BATCH, CLASSES, HIDDEN, PIXELS, RATE, Data, batches, weights


class Tight:
    """float32; what every step needs is made once and written over."""

    def __init__(self, data: Data, seed: int):
        self.data, self.random = data, np.random.default_rng(seed)
        self.layers = [(weight, np.zeros(weight.shape[1], np.float32)) for weight in weights(seed)]

    def epoch(self) -> float:
        (w1, b1), (w2, b2) = self.layers
        images, labels, each = self.data.scaled, self.data.labels, np.arange(BATCH)
        x, h, z, back = (np.empty((BATCH, n), np.float32) for n in (PIXELS, HIDDEN, CLASSES, HIDDEN))
        step1, step2 = np.empty_like(w1), np.empty_like(w2)
        for rows in batches(self.random, len(labels)):
            np.take(images, rows, axis=0, out=x, mode="clip")  # "raise" would copy once more
            np.matmul(x, w1, out=h)
            h += b1
            np.maximum(h, 0, out=h)
            np.matmul(h, w2, out=z)
            z += b2
            z -= z.max(axis=1, keepdims=True)
            np.exp(z, out=z)
            z /= z.sum(axis=1, keepdims=True)
            z[each, labels[rows]] -= 1
            z *= RATE / BATCH  # from here on gradients times the rate
            np.matmul(z, w2.T, out=back)
            back *= h > 0
            w2 -= np.matmul(h.T, z, out=step2)
            b2 -= z.sum(axis=0)
            w1 -= np.matmul(x.T, back, out=step1)
            b1 -= back.sum(axis=0)
        logits = np.maximum(self.data.test_scaled @ w1 + b1, 0) @ w2 + b2
        return float(np.mean(logits.argmax(axis=1) == self.data.test_labels))


def softmax(z: np.ndarray) -> np.ndarray:
    """Of each row."""
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy_error(y: np.ndarray, t: np.ndarray) -> float:
    """The mean over a batch, of probabilities and one-hot labels; 1e-7 guards the logarithm."""
    return -np.sum(np.log(y[np.arange(len(y)), t.argmax(axis=1)] + 1e-7)) / len(y)


def starting(seed: int) -> dict[str, np.ndarray]:
    """W1, b1, W2, b2 in float64."""
    first, last = (weight.astype(float) for weight in weights(seed))
    return {"W1": first, "b1": np.zeros(HIDDEN), "W2": last, "b2": np.zeros(CLASSES)}


class WrittenOut:
    """The two-layer network of chapter 4 whose backward pass is written out line by line."""

    def __init__(self, seed: int):
        self.params = starting(seed)

    def predict(self, x: np.ndarray) -> np.ndarray:
        hidden = np.maximum(np.dot(x, self.params["W1"]) + self.params["b1"], 0)
        return softmax(np.dot(hidden, self.params["W2"]) + self.params["b2"])

    def loss(self, x: np.ndarray, t: np.ndarray) -> float:
        return cross_entropy_error(self.predict(x), t)

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        before = np.dot(x, self.params["W1"]) + self.params["b1"]
        hidden = np.maximum(before, 0)
        y = softmax(np.dot(hidden, self.params["W2"]) + self.params["b2"])
        at_logits = (y - t) / len(x)
        at_hidden = np.dot(at_logits, self.params["W2"].T) * (before > 0)
        return {
            "W1": np.dot(x.T, at_hidden),
            "b1": np.sum(at_hidden, axis=0),
            "W2": np.dot(hidden.T, at_logits),
            "b2": np.sum(at_logits, axis=0),
        }


class Affine:
    """x W + b."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        self.weight, self.bias = weight, bias

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.dot(x, self.weight) + self.bias

    def backward(self, at_output: np.ndarray) -> np.ndarray:
        self.at_weight = np.dot(self.x.T, at_output)
        self.at_bias = np.sum(at_output, axis=0)
        return np.dot(at_output, self.weight.T)


class Relu:
    """max(x, 0), by a mask."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.off = x <= 0
        out = x.copy()
        out[self.off] = 0
        return out

    def backward(self, at_output: np.ndarray) -> np.ndarray:
        at_output[self.off] = 0
        return at_output


class SoftmaxWithLoss:
    """Cross entropy of the softmax, the layer at the end."""

    def forward(self, z: np.ndarray, t: np.ndarray) -> float:
        self.y, self.t = softmax(z), t
        return cross_entropy_error(self.y, t)

    def backward(self) -> np.ndarray:
        return (self.y - self.t) / len(self.t)


class OfLayers:
    """The two-layer network of chapter 5: layers that know their way back, the first one's to the images included."""

    def __init__(self, seed: int):
        self.params = starting(seed)
        self.first = Affine(self.params["W1"], self.params["b1"])
        self.last = Affine(self.params["W2"], self.params["b2"])
        self.layers = self.first, Relu(), self.last
        self.end = SoftmaxWithLoss()

    def predict(self, x: np.ndarray) -> np.ndarray:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def loss(self, x: np.ndarray, t: np.ndarray) -> float:
        return self.end.forward(self.predict(x), t)

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        self.loss(x, t)
        back = self.end.backward()
        for layer in reversed(self.layers):
            back = layer.backward(back)
        first, last = self.first, self.last
        return {"W1": first.at_weight, "b1": first.at_bias, "W2": last.at_weight, "b2": last.at_bias}


class Book:
    """The book's loop around one of its networks."""

    def __init__(self, network: Callable[[int], WrittenOut | OfLayers], data: Data, seed: int):
        self.data, self.random = data, np.random.default_rng(seed)
        self.network, self.one_hot = network(seed), np.eye(CLASSES)[data.labels]
        self.losses: list[float] = []

    def epoch(self) -> float:
        for rows in batches(self.random, len(self.data.labels)):
            x, t = self.data.scaled[rows], self.one_hot[rows]
            gradient = self.network.gradient(x, t)
            for key in self.network.params:
                self.network.params[key] -= RATE * gradient[key]
            self.losses.append(self.network.loss(x, t))
        y = self.network.predict(self.data.test_scaled)
        return float(np.mean(np.argmax(y, axis=1) == self.data.test_labels))


PEERS = {
    "NumPy, float32, written tightly": Tight,
    "NumPy, the book's network of layers": lambda data, seed: Book(OfLayers, data, seed),
    "NumPy, the book's written-out gradient": lambda data, seed: Book(WrittenOut, data, seed),
}
