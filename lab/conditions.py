"""Conditions that make data harder: which images are kept, and which labels are made wrong.

What is drawn depends on a seed alone, for good, and less of a condition is a part of more of it.
"""

import numpy as np
from jaxtyping import Int32, Int64

from lab.errors import InputError


def subset(labels: Int32[np.ndarray, " n"], size: int, *, seed: int) -> Int64[np.ndarray, " kept"]:
    """Which `size` images to keep, as rising row numbers.

    They are the first of `shuffled`: a smaller subset lies within every larger one.

    Raises: InputError if there are fewer images, or if a class is left without one.

    >>> subset(np.int32([0, 1, 1, 0, 1]), 3, seed=0)
    array([1, 2, 3])
    """
    order = shuffled(len(labels), seed=seed)
    if size > len(labels):
        raise InputError(f"a subset must be at most {len(labels):,}, the training images there are; got {size:,}.")
    least = 1 + int(np.unique(labels[order], return_index=True)[1].max())
    if size < least:
        raise InputError(f"a subset must be at least {least:,}, so that each class has an image; got {size:,}.")
    return np.sort(order[:size])


def imbalanced(labels: Int32[np.ndarray, " n"], ratio: float, *, seed: int) -> Int64[np.ndarray, " kept"]:
    """Which images to keep, as rising row numbers, so that the first class is `ratio` times as large as the last.

    Class k of 0..K-1 keeps n_0 ratio^(-k/(K-1)) images, rounded, with n_0 as large as all classes allow. A ratio of 1
    thus makes all as large as the smallest.

    Raises: InputError if a class is left without an image.
    Source: Cui et al., 2019, Class-balanced loss based on effective number of samples (long-tailed CIFAR).

    >>> labels = np.int32([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    >>> np.bincount(labels[imbalanced(labels, 4.0, seed=0)])
    array([4, 2, 1])
    """
    counts = np.bincount(labels)
    shares = ratio ** -np.linspace(0, 1, len(counts))
    sizes = np.rint((counts / shares).min() * shares).astype(int)
    if sizes.min() < 1:
        raise InputError(
            f"an imbalance of {ratio:g}:1 leaves class {sizes.argmin()} without a training image; "
            f"--imbalance {counts.min()} leaves each class one at least."
        )
    order = shuffled(len(labels), seed=seed)
    return np.sort(np.concatenate([order[labels[order] == k][:size] for k, size in enumerate(sizes)]))


def symmetric_noise(
    labels: Int32[np.ndarray, " n"], share: float, *, classes: int, seed: int
) -> Int32[np.ndarray, " n"]:
    """The labels, of which exactly round(share n) are replaced by one of the other classes, each as probable.

    With the same seed, those wrong at a smaller share are wrong in the same way at a larger one.

    The trap: elsewhere the new label is drawn from all K classes, and only share (K - 1) / K of the labels are wrong.

    Source: Han et al., 2018, Co-teaching: robust training of deep neural networks with extremely noisy labels.

    >>> symmetric_noise(np.int32([0, 1, 2, 0, 1]), 0.4, classes=3, seed=0)
    array([0, 1, 1, 2, 1], dtype=int32)
    """
    # The first n draws say which labels; these say what becomes of them.
    draws = np.random.PCG64(seed).random_raw((2, len(labels)))[1]
    return _shifted(labels, 1 + (draws % np.uint64(classes - 1)).astype(np.int32), share, classes=classes, seed=seed)


def pair_noise(labels: Int32[np.ndarray, " n"], share: float, *, classes: int, seed: int) -> Int32[np.ndarray, " n"]:
    """The labels, of which exactly round(share n) are replaced by the next class, the last by the first.

    With the same seed, they are the same as in `symmetric_noise`.

    The trap: above 1/2 most labels of a class are wrong in the same way, and no network can know it.

    Source: Han et al., 2018, Co-teaching: robust training of deep neural networks with extremely noisy labels.

    >>> pair_noise(np.int32([0, 1, 2, 0, 1]), 0.4, classes=3, seed=0)
    array([0, 1, 0, 1, 1], dtype=int32)
    """
    return _shifted(labels, np.ones_like(labels), share, classes=classes, seed=seed)


def _shifted(
    labels: Int32[np.ndarray, " n"], shifts: Int32[np.ndarray, " n"], share: float, *, classes: int, seed: int
) -> Int32[np.ndarray, " n"]:
    """The labels, a share of them moved on by so many classes."""
    chosen = shuffled(len(labels), seed=seed)[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + shifts[chosen]) % classes
    return noisy


def shuffled(count: int, *, seed: int) -> Int64[np.ndarray, " count"]:
    """The numbers 0..count-1 in an order that depends on `seed` alone, for good.

    NumPy promises the raw stream of its PCG64 for all versions, but not `Generator.permutation`:
    so each number draws 64 bits, and the bits are sorted.

    >>> shuffled(5, seed=0)
    array([3, 2, 1, 0, 4])
    """
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
