"""Every objective once more, in plain float64 NumPy, with gradients derived by hand.

Nothing here uses JAX or the lab. Each function takes logits [classes] and the true class y, and returns the value
and its derivative with respect to every logit.
"""

import numpy as np


def _softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def _rivals(z, y):
    return np.delete(np.arange(len(z)), y)


def _hard(z, y):
    """Hard margin and its derivative, away from ties."""
    rivals = _rivals(z, y)
    top = rivals[np.argmax(z[rivals])]
    slope = np.zeros(len(z))
    slope[y], slope[top] = 1.0, -1.0
    return z[y] - z[top], slope


def _logistic(x):
    return 1 / (1 + np.exp(-x)) if x >= 0 else np.exp(x) / (1 + np.exp(x))


def zero_one(z, y):
    return float(_hard(z, y)[0] <= 0), np.zeros(len(z))


def squared_error(z, y):
    p = _softmax(z)
    r = p - np.eye(len(z))[y]
    # d p_j / d z_k = p_j (1[j=k] - p_k)
    return 0.5 * (r**2).sum(), p * r - p * (p * r).sum()


def brier(z, y):
    value, slope = squared_error(z, y)
    return 2 * value, 2 * slope


def cross_entropy(z, y, temperature=1.0):
    p = _softmax(z / temperature)
    top = (z / temperature).max()
    value = top + np.log(np.exp(z / temperature - top).sum()) - z[y] / temperature
    return value, (p - np.eye(len(z))[y]) / temperature


def guarded_cross_entropy(z, y, guard=1e-7):
    p = _softmax(z)
    return -np.log(p[y] + guard), p[y] / (p[y] + guard) * (p - np.eye(len(z))[y])


def expected_error(z, y, temperature=1.0):
    p = _softmax(z / temperature)
    return 1 - p[y], p[y] * (p - np.eye(len(z))[y]) / temperature


def centred_expected_error(z, y, temperature=1.0):
    e = np.exp((z - z.max()) / temperature)
    rivals = _rivals(z, y)
    a, b = e[y], e[rivals].mean()
    slope = np.zeros(len(z))
    # L = B / (A + B): dL/dA = -B/(A+B)^2, dL/dB = A/(A+B)^2
    slope[y] = -b / (a + b) ** 2 * a / temperature
    slope[rivals] = a / (a + b) ** 2 * e[rivals] / len(rivals) / temperature
    return b / (a + b), slope


def sigmoid_margin(z, y, temperature=1.0):
    m, slope = _hard(z, y)
    wrong, right = _logistic(-m / temperature), _logistic(m / temperature)
    return wrong, -wrong * right / temperature * slope


def ramp(z, y, temperature=1.0):
    m, slope = _hard(z, y)
    inside = float(abs(m) < temperature)
    return min(max((1 - m / temperature) / 2, 0.0), 1.0), -inside / (2 * temperature) * slope


def crammer_singer(z, y, delta=1.0):
    m, slope = _hard(z, y)
    return max(0.0, delta - m), -float(m < delta) * slope


def gce(z, y, q=0.7):
    p = _softmax(z)
    return (1 - p[y] ** q) / q, p[y] ** q * (p - np.eye(len(z))[y])


ORACLES = {
    function.__name__: function
    for function in (
        zero_one,
        squared_error,
        guarded_cross_entropy,
        cross_entropy,
        brier,
        gce,
        crammer_singer,
        expected_error,
        centred_expected_error,
        sigmoid_margin,
        ramp,
    )
}


def batch(name, logits, labels, **parameters):
    """Values [batch] and derivatives [batch, classes] of one objective over a batch."""
    pairs = [ORACLES[name](z, y, **parameters) for z, y in zip(logits, labels, strict=True)]
    return np.array([value for value, _ in pairs]), np.array([slope for _, slope in pairs])
