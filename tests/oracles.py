"""Every objective once more, in plain float64 NumPy, with gradients derived by hand.

Nothing here uses JAX or the lab. Each function takes logits [classes] and the true class y, and returns the value
and its derivative with respect to every logit. Gradients are those away from ties and kinks.

Two habits keep the digits, at logits of +-1000 as well: probabilities come from their logarithms, and 1 - p is never a
subtraction but the sum of the other classes. With p = softmax(z / T) and r = p - onehot(y), whose entry y is the
negative sum of the rivals, everything below follows from

    d log p_y / dz = -r / T,    d p_y / dz = -p_y r / T.
"""

from functools import wraps
from itertools import combinations

import numpy as np
from scipy.special import factorial, log_ndtr, ndtr


def _others(p):
    """Sum of all entries but each one, along the last axis: 1 - p of a distribution."""
    return np.where(np.eye(p.shape[-1], dtype=bool), 0, p[..., None, :]).sum(axis=-1)


def _log_sum_exp(x):
    top = x.argmax()
    return x[top] + np.log1p(np.exp(np.delete(x, top) - x[top]).sum())


def _log_softmax(z, temperature=1.0):
    x = (z - z.max()) / temperature
    return x - _log_sum_exp(x)


def _true_class(z, y, temperature=1.0):
    """log p_y, p_y, 1 - p_y and r."""
    log_p = _log_softmax(z, temperature)
    r = np.exp(log_p)
    p_y, wrong = r[y], _others(r)[y]
    r[y] = -wrong
    return log_p[y], p_y, wrong, r


def _rivals(z, y):
    return np.delete(np.arange(len(z)), y)


def _hard(z, y):
    """Hard margin and its derivative."""
    rivals = _rivals(z, y)
    top = rivals[np.argmax(z[rivals])]
    slope = np.zeros_like(z)
    slope[y], slope[top] = 1.0, -1.0
    return z[y] - z[top], slope


def _soft(z, y, temperature=1.0):
    """Soft margin z_y - T log sum over rivals exp(z_j / T) and its derivative."""
    rivals = _rivals(z, y)
    # Measured from z_y, so that logits far from zero lose nothing.
    x = (z[rivals] - z[y]) / temperature
    slope = np.ones_like(z)
    slope[rivals] = -np.exp(_log_softmax(x))
    return -temperature * _log_sum_exp(x), slope


def _logistic(x):
    return 1 / (1 + np.exp(-x)) if x >= 0 else np.exp(x) / (1 + np.exp(x))


def _normal_density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _box_cox(log_p, q):
    """(p^q - 1) / q, which is log p at q = 0."""
    return np.expm1(q * log_p) / q if q else log_p


# The target and the book


def zero_one(z, y):
    return float(_hard(z, y)[0] <= 0), np.zeros_like(z)


def squared_error(z, y):
    p, r = np.exp(_log_softmax(z)), _true_class(z, y)[-1]
    # d p_j / d z_k = p_j (1[j=k] - p_k), hence dL / d z_k = p_k (r_k - sum_j p_j r_j). As a sum of differences nothing
    # cancels where one p is nearly 1.
    return (r**2).sum() / 2, p * ((r[:, None] - r) * p).sum(axis=1)


def guarded_cross_entropy(z, y, guard=1e-7):
    _, p, wrong, r = _true_class(z, y)
    value = -np.log1p(guard - wrong) if p > 0.5 else -np.log(p + guard)
    return value, p / (p + guard) * r


def cross_entropy(z, y, temperature=1.0):
    log_p, _, _, r = _true_class(z, y, temperature)
    return -log_p, r / temperature


# Smoothed accuracy


def _kernel(name, u):
    """Error S(u), one minus the distribution function of the kernel, and its derivative."""
    inside = np.clip(u, -1, 1)
    return {
        "logistic": (_logistic(-u), -_logistic(u) * _logistic(-u)),
        "gaussian": (ndtr(float(-u)), -_normal_density(u)),
        "uniform": ((1 - inside) / 2, -0.5 * (abs(u) < 1)),
        # 1/2 - (3u - u^3)/4 with its double root at u = 1 taken out
        "epanechnikov": ((1 - inside) ** 2 * (2 + inside) / 4, -0.75 * (1 - inside) * (1 + inside)),
    }[name]


def smoothed_error(z, y, kernel="logistic", width=1.0, rivals="sum", rival_temperature=1.0):
    margin, slope = _hard(z, y) if rivals == "max" else _soft(z, y, rival_temperature)
    if rivals == "mean":
        margin = margin + rival_temperature * np.log(len(z) - 1)
    value, derivative = _kernel(kernel, margin / width)
    return value, derivative / width * slope


def expected_error(z, y, temperature=1.0):
    _, p, wrong, r = _true_class(z, y, temperature)
    return wrong, p * r / temperature


def centred_expected_error(z, y, temperature=1.0):
    e = np.exp((z - z.max()) / temperature)
    rivals = _rivals(z, y)
    a, b = e[y], e[rivals].mean()
    slope = np.zeros_like(z)
    # L = B / (A + B): dL/dA = -B/(A+B)^2, dL/dB = A/(A+B)^2
    slope[y] = -b / (a + b) ** 2 * a / temperature
    slope[rivals] = a / (a + b) ** 2 * e[rivals] / len(rivals) / temperature
    return b / (a + b), slope


def sigmoid_margin(z, y, temperature=1.0):
    m, slope = _hard(z, y)
    wrong, right = _logistic(-m / temperature), _logistic(m / temperature)
    return wrong, -wrong * right / temperature * slope


def gaussian_margin(z, y, sigma=1.0):
    m, slope = _hard(z, y)
    # float: SciPy has no Phi for long doubles.
    return ndtr(float(-m / sigma)), -_normal_density(m / sigma) / sigma * slope


def ramp(z, y, temperature=1.0):
    m, slope = _hard(z, y)
    inside = float(abs(m) < temperature)
    return min(max((1 - m / temperature) / 2, 0.0), 1.0), -inside / (2 * temperature) * slope


def ramp_collobert(z, y, s=-1.0):
    m, slope = _hard(z, y)
    return max(0.0, 1 - m) - max(0.0, s - m), (float(m < s) - float(m < 1)) * slope


def epanechnikov_margin(z, y, temperature=1.0):
    m, slope = _hard(z, y)
    u = min(max(m / temperature, -1.0), 1.0)
    return (1 - u) ** 2 * (2 + u) / 4, -3 * (1 - u) * (1 + u) / (4 * temperature) * slope


# On a smooth integrand that decays like this one the trapezoidal rule converges faster than any power of the step: at
# this one its error is below rounding. The interval covers every u whose density float64 can hold.
NODES = np.arange(-39, 39, 1 / 16)


def gaussian_logit_noise(z, y, sigma=1.0):
    rivals = _rivals(z, y)
    v = np.asarray(z[y] - z[rivals], float)[:, None] / sigma + NODES
    log_phi = log_ndtr(v)
    log_all = log_phi.sum(axis=0)
    weight = _normal_density(NODES) / 16
    # The error itself is integrated, not one minus the accuracy: it keeps its digits where it is small.
    value = -(weight * np.expm1(log_all)).sum()
    # d/dz_j: the factor Phi(v_j) gives way to its derivative, the density at v_j, and d v_j / d z_j = -1 / sigma.
    log_product = log_all - log_phi - v**2 / 2
    slope = np.zeros(len(z))
    slope[rivals] = (weight * np.exp(log_product)).sum(axis=1) / np.sqrt(2 * np.pi) / sigma
    slope[y] = -slope.sum()
    return value, slope


def straight_through(z, y, backward="sigmoid_margin", **parameters):
    return zero_one(z, y)[0], ORACLES[backward](z, y, **parameters)[1]


# Weighted cross entropies


def mae(z, y):
    _, p, wrong, r = _true_class(z, y)
    return 2 * wrong, 2 * p * r


def gce(z, y, q=0.7):
    log_p, _, _, r = _true_class(z, y)
    return -_box_cox(log_p, q), np.exp(q * log_p) * r


def truncated_gce(z, y, q=0.7, k=0.5):
    p = _true_class(z, y)[1]
    return gce(z, y, q) if p > k else ((1 - k**q) / q, np.zeros_like(z))


def taylor_ce(z, y, order=2):
    _, p, wrong, r = _true_class(z, y)
    powers = wrong ** np.arange(order)
    return (wrong * powers / np.arange(1, order + 1)).sum(), p * powers.sum() * r


def reverse_ce(z, y, floor=1e-4):
    _, p, wrong, r = _true_class(z, y)
    return -np.log(floor) * wrong, -np.log(floor) * p * r


def symmetric_ce(z, y, alpha=0.1, beta=1.0, floor=1e-4):
    (forward, forward_slope), (reverse, reverse_slope) = cross_entropy(z, y), reverse_ce(z, y, floor)
    return alpha * forward + beta * reverse, alpha * forward_slope + beta * reverse_slope


def normalized_ce(z, y):
    log_p = _log_softmax(z)
    p = np.exp(log_p)
    rest, total = _others(p), log_p.sum()
    # (total dlog p_y - log p_y dtotal) / total^2 = sum over rivals k of (log p_k dlog p_y - log p_y dlog p_k) / total^2
    # with dlog p_k / dz_i = 1[i=k] - p_i: k = i gives the first two terms of slope i, every other k p_i (z_y - z_k).
    slope = np.zeros_like(z)
    for i in _rivals(z, y):
        slope[i] = -log_p[i] * p[i] - log_p[y] * rest[i] + p[i] * np.delete(z[y] - z, [i, y]).sum()
    slope[y] = rest[y] * np.delete(log_p, y).sum() + (len(z) - 1) * p[y] * log_p[y]
    return log_p[y] / total, slope / total**2


def nce_plus_rce(z, y, alpha=1.0, beta=10.0, floor=1e-4):
    (normal, normal_slope), (reverse, reverse_slope) = normalized_ce(z, y), reverse_ce(z, y, floor)
    return alpha * normal + beta * reverse, alpha * normal_slope + beta * reverse_slope


def focal(z, y, gamma=2.0):
    log_p, p, wrong, r = _true_class(z, y)
    # d(1-p)^gamma = gamma (1-p)^(gamma-1) p r; the power is kept whole, since log p / (1-p) has a limit.
    ratio = -log_p / wrong if wrong > 0 else 1.0
    return -(wrong**gamma) * log_p, wrong**gamma * (1 + gamma * p * ratio) * r


def poly1(z, y, epsilon=2.0):
    log_p, p, wrong, r = _true_class(z, y)
    return -log_p + epsilon * wrong, (1 + epsilon * p) * r


def phuber_ce(z, y, tau=10.0):
    log_p, p, _, r = _true_class(z, y)
    return (1 + np.log(tau) - tau * p, tau * p * r) if p <= 1 / tau else (-log_p, r)


def label_smoothing_ce(z, y, alpha=0.1):
    log_p, r = _log_softmax(z), _true_class(z, y)[-1]
    value = -(1 - alpha) * log_p[y] - alpha * log_p.mean()
    return value, (1 - alpha) * r + alpha * (np.exp(log_p) - 1 / len(z))


def _tempered_log_softmax(z, t):
    """log p with p_j = exp_t(z_j - normaliser), where log exp_t(x) = log(1 + (1-t) x) / (1-t)."""
    if t == 1:
        return _log_softmax(z)
    x, top = z - z.max(), z.argmax()

    def log_p(shift):
        inside = (t - 1) * (shift - x)
        positive = inside > -1
        return np.where(positive, np.log1p(np.where(positive, inside, 0)) / (1 - t), -np.inf)

    # sum_j p_j - 1 is convex and decreasing in the shift and not negative at 0: Newton's method climbs to the root.
    shift = z.dtype.type(0)
    for _ in range(200):
        log = log_p(shift)
        excess = np.expm1(log[top]) + np.exp(np.delete(log, top)).sum()
        step = excess / np.exp(t * log).sum()
        shift = shift + step
        if abs(step) <= np.finfo(z.dtype).eps * shift:
            break
    return log_p(shift)


def bi_tempered(z, y, t1=0.8, t2=1.2):
    log_p = _tempered_log_softmax(z, t2)
    p, log_y, rivals = np.exp(log_p), log_p[y], _rivals(z, y)
    # own = -log_t1 p_y - (1 - p_y^(2-t1)) / (2-t1), whose first order in log p_y cancels: a series where p_y is near 1.
    if log_y > -0.5:
        n = np.arange(2, 30)
        own = (((2 - t1) ** (n - 1) - (1 - t1) ** (n - 1)) * log_y**n / factorial(n)).sum()
    else:
        own = _box_cox(log_y, 2 - t1) - _box_cox(log_y, 1 - t1)
    value = own + (p[rivals] ** (2 - t1)).sum() / (2 - t1)
    # With the escort distribution rho_k = p_k^t2 / P, P = sum p^t2: d p_j / d z_k = p_j^t2 (1[j=k] - rho_k), and with
    # g_j = dL / d p_j = p_j^-t1 (p_j - 1[j=y]): dL / d z_k = P sum_j rho_k rho_j (g_k - g_j). A small p_y overflows
    # g_y but not rho_y g_y.
    total = np.exp(t2 * log_p).sum()
    rho = np.exp(t2 * log_p) / total
    rho_g = np.exp((1 + t2 - t1) * log_p) / total
    rho_g[y] = -_others(p)[y] * np.exp((t2 - t1) * log_y) / total
    return value, total * (rho_g[:, None] * rho - rho[:, None] * rho_g).sum(axis=1)


def savage(z, y):
    _, p, wrong, r = _true_class(z, y)
    return wrong**2, 2 * wrong * p * r


def brier(z, y):
    value, slope = squared_error(z, y)
    return 2 * value, 2 * slope


# Functions of logits and margins


def squared_logits(z, y, k=1.0, target=1.0):
    rivals = _rivals(z, y)
    slope = 2 * z / len(z)
    slope[y] = 2 * k * (z[y] - target) / len(z)
    return (k * (z[y] - target) ** 2 + (z[rivals] ** 2).sum()) / len(z), slope


def squentropy(z, y):
    value, slope = cross_entropy(z, y)
    rivals = _rivals(z, y)
    slope[rivals] += 2 * z[rivals] / len(rivals)
    return value + (z[rivals] ** 2).mean(), slope


def crammer_singer(z, y, delta=1.0):
    m, slope = _hard(z, y)
    return max(0.0, delta - m), -float(m < delta) * slope


def weston_watkins(z, y, delta=1.0):
    gaps = delta - z[y] + z
    gaps[y] = 0
    slope = (gaps > 0).astype(z.dtype)
    slope[y] = -slope.sum()
    return np.maximum(0, gaps).sum(), slope


def perceptron(z, y):
    m, slope = _hard(z, y)
    return max(0.0, -m), -float(m < 0) * slope


def squared_hinge(z, y, delta=1.0):
    m, slope = _hard(z, y)
    return max(0.0, delta - m) ** 2, -2 * max(0.0, delta - m) * slope


def smooth_svm(z, y, tau=1.0, alpha=1.0):
    # tau times the cross entropy at temperature tau of logits whose rivals have a head start of alpha
    log_p, _, _, r = _true_class(np.where(np.arange(len(z)) == y, z, z + alpha), y, tau)
    return -tau * log_p, r


def smooth_topk_svm(z, y, k=2, tau=1.0, alpha=1.0):
    if k >= len(z):  # the true class is always among so many
        return 0.0, np.zeros_like(z)
    subsets = list(combinations(range(len(z)), k))
    member = np.array([np.isin(np.arange(len(z)), subset) for subset in subsets])
    hit = member[:, y]
    score = (np.array([(z[list(subset)] - z[y]).mean() for subset in subsets]) + alpha * ~hit) / tau
    odds = _log_sum_exp(score[~hit]) - _log_sum_exp(score[hit])

    def share(among, what):
        return np.exp(_log_softmax(score[among])) @ what[among]

    # tau log(1 + exp(odds)): its slope in tau odds, times the difference of the two mean memberships over k. A class in
    # nearly every subset is counted by its absences.
    present = share(~hit, member) - share(hit, member)
    absent = share(hit, ~member) - share(~hit, ~member)
    often = share(~hit, member) > 0.5
    return tau * np.logaddexp(0, odds), _logistic(odds) * np.where(often, absent, present) / k


def sparsemax(z, y):
    x = z - z.max()
    ordered = np.sort(x)[::-1]
    thresholds = (np.cumsum(ordered) - 1) / np.arange(1, len(z) + 1)
    tau = thresholds[ordered > thresholds][-1]
    r = np.maximum(0, x - tau)
    r[y] = -_others(r)[y]
    # The loss is (|onehot - x|^2 - |p - x|^2) / 2 = (onehot - p)(onehot + p - 2x) / 2, the same for every shift of x.
    # Counted from tau, x = p on the support: that leaves a square, and how far below the support z_y lies.
    return (r**2).sum() / 2 + max(0.0, tau - x[y]), r


def sum_exp(z, y):
    # Overflows to inf, as the objective does: there is no finite value to tell.
    with np.errstate(over="ignore"):
        slope = np.exp(z - z[y])
        slope[y] = 0
        slope[y] = -slope.sum()
    return -slope[y], slope


def unhinged(z, y):
    margin, slope = _soft(z, y)
    return -margin, -slope


# Of a whole batch: logits [batch, classes] and labels [batch] give one value and its derivative [batch, classes].


def _soft_predictions(logits, labels, temperature):
    """p and 1 - p of every example, 1[y_i = a] [batch, classes], and the classes that occur."""
    p = np.exp(np.array([_log_softmax(z, temperature) for z in logits]))
    own = np.asarray(labels)[:, None] == np.arange(p.shape[1])
    return p, _others(p), own, own.any(axis=0)


def soft_balanced_error(logits, labels, temperature=1.0):
    p, rest, own, present = _soft_predictions(logits, labels, temperature)
    # 1 - C_aa / n_a = sum over i in a of (1 - p_ia) / n_a, so that example i weighs 1 / (n_a classes present).
    weight = 1 / (own.sum(axis=0) @ own.T * present.sum())
    return (weight * rest[own]).sum(), (weight * p[own])[:, None] * np.where(own, -rest, p) / temperature


def soft_macro_f1(logits, labels, temperature=1.0):
    p, rest, own, present = _soft_predictions(logits, labels, temperature)
    count, hits = own.sum(axis=0), np.where(own, p, 0).sum(axis=0)
    missed, strays = np.where(own, rest, 0).sum(axis=0), np.where(own, 0, p).sum(axis=0)
    # With D = n + C_aa + strays, 1 - 2 C_aa / D = (missed + strays) / D; d/dC_aa = -2 (n + strays) / D^2 and
    # d/dstrays = 2 C_aa / D^2. C_aa adds up the p_ia of the class's own examples, strays those of the others.
    size = np.where(present, count + hits + strays, 1)
    value = ((missed + strays) / size)[present].mean()
    w = np.where(own, -2 * (count + strays) / size**2, 2 * hits / size**2) * present / present.sum()
    # Through the softmax: p_k (w_k - sum_j p_j w_j), as a sum of differences.
    return value, p * ((w[:, :, None] - w[:, None, :]) * p[:, None, :]).sum(axis=2) / temperature


def _wide(function):
    """The same function for logits of any kind: float64, unless they are wider already."""

    @wraps(function)
    def widened(z, y, **parameters):
        z = np.asarray(z)
        return function(z.astype(np.result_type(z, np.float64)), y, **parameters)

    return widened


# fmt: off
ORACLES = {
    function.__name__: _wide(function)
    for function in (
        zero_one, squared_error, guarded_cross_entropy, cross_entropy, smoothed_error, expected_error,
        centred_expected_error, sigmoid_margin, gaussian_margin, ramp, ramp_collobert, epanechnikov_margin,
        gaussian_logit_noise, straight_through, mae, gce, truncated_gce, taylor_ce, reverse_ce, symmetric_ce,
        normalized_ce, nce_plus_rce, focal, poly1, phuber_ce, label_smoothing_ce, bi_tempered, savage, brier,
        squared_logits, squentropy, crammer_singer, weston_watkins, perceptron, squared_hinge, smooth_svm,
        smooth_topk_svm, sparsemax, sum_exp, unhinged,
    )
}
# fmt: on

BATCH_ORACLES = {function.__name__: _wide(function) for function in (soft_balanced_error, soft_macro_f1)}


def batch(name, logits, labels, **parameters):
    """Values [batch] and derivatives [batch, classes] of one objective over a batch."""
    pairs = [ORACLES[name](z, y, **parameters) for z, y in zip(np.asarray(logits), np.asarray(labels), strict=True)]
    return np.array([value for value, _ in pairs]), np.array([slope for _, slope in pairs])
