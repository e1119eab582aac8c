"""Metrics: what is reported, exact over a whole data set.

Sums with a mask, not means of batches: the last batch is smaller, and an average of averages is not the average.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from lab.objectives import Objective


def correct(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    """Whether the largest logit is the true class's; the first of several equal ones counts, as in argmax.

    >>> correct(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([1, 1])).tolist()
    [True, False]
    """
    return jnp.argmax(logits, axis=-1) == labels


def accuracy(logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]) -> Float[Array, ""]:
    """The share of examples whose largest logit is the true class's, in [0, 1].

    >>> float(accuracy(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([1, 1])))
    0.5
    """
    return jnp.mean(correct(logits, labels))


@partial(jax.jit, static_argnames="apply")
def _sums(
    apply: Callable[..., Any],
    objective: Objective,
    parameters: Any,
    images: UInt8[Array, "chunks batch pixels"],
    labels: Int[Array, "chunks batch"],
    mask: Bool[Array, "chunks batch"],
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    def chunk(part):
        images, labels, mask = part
        logits = apply(parameters, images.astype(float) / 255)
        hits = jnp.sum(correct(logits, labels) & mask)
        return hits, jnp.sum(jnp.where(mask, objective(logits, labels), 0.0))

    hits, losses = jax.lax.map(chunk, (images, labels, mask))
    return jnp.sum(hits), jnp.sum(losses)


def evaluate(
    apply: Callable[..., Any],
    objective: Objective,
    parameters: Any,
    images: UInt8[np.ndarray, "examples pixels"],
    labels: Int[np.ndarray, " examples"],
    *,
    batch_size: int = 1000,
) -> dict[str, float]:
    """{"accuracy", "loss"} of a network over all the examples, a fixed number of them in memory at a time."""
    count = len(labels)
    padding = -count % min(batch_size, count)
    chunks = (count + padding) // min(batch_size, count)

    def chunked(array: np.ndarray) -> np.ndarray:
        padded = np.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(chunks, -1, *array.shape[1:])

    mask = chunked(np.ones(count, dtype=bool))
    hits, loss = _sums(apply, objective, parameters, chunked(images), chunked(labels), mask)
    return {"accuracy": int(hits) / count, "loss": float(loss) / count}
