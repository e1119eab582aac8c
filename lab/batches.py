"""Mini-batches: which examples come at which step, as a pure function of a key and the step.

Drawn on the host: sorting 60,000 random numbers on the device takes as long as a tenth of an epoch. The counter
generator (Philox, Salmon et al. 2011) makes any step available without the ones before it.
"""

import jax
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from lab.errors import InputError

Indices = Int[np.ndarray, "steps batch"]


def _generator(key: PRNGKeyArray, number: int) -> np.random.Generator:
    high, low = (int(word) for word in np.asarray(jax.random.key_data(key)).ravel()[-2:])
    # Where the first word is 2^31 or more, NumPy makes the pair float64 on its way, and its last 11 bits are lost:
    # kept as it is, for with other mini-batches all published numbers would be others.
    return np.random.Generator(np.random.Philox(key=[(high << 32) | low, number]))


def check_batch_size(batch_size: int, examples: int) -> None:
    """Raises: InputError if a batch does not fit into the examples."""
    if not 1 <= batch_size <= examples:
        raise InputError(f"the batch size must be 1..{examples}, the number of examples; got {batch_size}.")


def shuffled(key: PRNGKeyArray, first_step: int, steps: int, *, examples: int, batch_size: int) -> Indices:
    """Indices of the batches of `steps` steps from `first_step` on: every epoch is a new order of all examples.

    An epoch has examples // batch_size steps; what is left over sits out that epoch.
    Raises: InputError if a batch does not fit into the examples.

    >>> shuffled(jax.random.key(0), 0, 2, examples=4, batch_size=2).ravel().tolist() == [0, 1, 2, 3]
    False
    >>> sorted(shuffled(jax.random.key(0), 0, 2, examples=4, batch_size=2).ravel().tolist())
    [0, 1, 2, 3]
    """
    check_batch_size(batch_size, examples)
    per_epoch = examples // batch_size
    first_epoch, last_epoch = first_step // per_epoch, (first_step + max(steps, 1) - 1) // per_epoch
    epochs = [
        _generator(key, epoch).permutation(examples)[: per_epoch * batch_size].reshape(per_epoch, batch_size)
        for epoch in range(first_epoch, last_epoch + 1)
    ]
    start = first_step - first_epoch * per_epoch
    return np.concatenate(epochs)[start : start + steps].astype(np.int32)


def drawn(key: PRNGKeyArray, first_step: int, steps: int, *, examples: int, batch_size: int) -> Indices:
    """Indices drawn with replacement, each step on its own, as the chapter's np.random.choice does (4.2.3).

    Raises: InputError if a batch does not fit into the examples.

    >>> drawn(jax.random.key(0), 5, 1, examples=60_000, batch_size=10).shape
    (1, 10)
    """
    check_batch_size(batch_size, examples)
    rows = [_generator(key, step).integers(0, examples, batch_size) for step in range(first_step, first_step + steps)]
    return np.array(rows, dtype=np.int32).reshape(steps, batch_size)


ORDERS = {"shuffled": shuffled, "drawn": drawn}
