"""The soft confusion matrix, and metrics of a whole batch made smooth with it.

C_ab = sum over the examples of class a of softmax(z / T)_b. These objectives are no averages over examples: the mean
over mini-batches is not their value on all the data (`lab.minibatch_bias` says by how much).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lab.margins import Labels, Logits, Scalar, residuals
from lab.objectives import Definition, of_sums, positive

Confusion = Float[Array, "classes classes"]


def soft_confusion(logits: Logits, labels: Labels, mask: Bool[Array, " batch"], temperature: Scalar) -> Confusion:
    """C_ab, the probability of class b summed over the examples of class a that the mask lets through.

    Each row sums to the number of its examples; T -> 0 gives the confusion matrix.

    >>> soft_confusion(jnp.zeros((1, 2)), jnp.array([1]), jnp.array([True]), 1.0).tolist()
    [[0.0, 0.0], [0.5, 0.5]]
    """
    true = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    probabilities = residuals(logits / temperature, labels) + true
    with jax.default_matmul_precision("highest"):  # of at most `batch` ones
        return (true * mask[:, None]).T @ probabilities


def _mean_over_present(score: Float[Array, " classes"], examples: Float[Array, " classes"]) -> Float[Array, ""]:
    present = ~(examples <= 0)  # NaN, as of a network that has diverged, is not left out
    return jnp.sum(jnp.where(present, score, 0.0)) / jnp.maximum(jnp.sum(present), 1)


def balanced_error(confusion: Confusion) -> Float[Array, ""]:
    """1 - the mean over the classes present of C_aa / sum_b C_ab, in [0, 1].

    Brodersen et al. 2010, The balanced accuracy and its posterior distribution.

    >>> float(balanced_error(jnp.array([[3.0, 1.0], [0.0, 0.0]])))
    0.25
    """
    examples = jnp.sum(confusion, axis=1)
    recall = jnp.diagonal(confusion) / jnp.where(examples > 0, examples, 1.0)
    return 1 - _mean_over_present(recall, examples)


def macro_f1_error(confusion: Confusion) -> Float[Array, ""]:
    """1 - the mean over the classes present of 2 C_aa / (sum_b C_ab + sum_b C_ba), in [0, 1].

    van Rijsbergen 1979, Information retrieval; averaged over classes.

    >>> float(macro_f1_error(jnp.array([[1.0, 0.0], [0.0, 2.0]])))
    0.0
    """
    examples = jnp.sum(confusion, axis=1)
    both = examples + jnp.sum(confusion, axis=0)
    # Of an absent class `both` may be next to nothing, and its square, in the derivative, nothing at all.
    f1 = 2 * jnp.diagonal(confusion) / jnp.where(examples > 0, both, 1.0)
    return 1 - _mean_over_present(f1, examples)


SOFT_BALANCED_ERROR = Definition(
    name="soft_balanced_error",
    family="batch",
    formula="1 - mean over classes a of C_aa / sum_b C_ab, C the soft confusion matrix of the batch",
    source="Brodersen et al. 2010, The balanced accuracy and its posterior distribution; made smooth",
    parameters={"temperature": positive(1.0)},
    batch_form=of_sums(soft_confusion, lambda confusion, temperature: balanced_error(confusion)),
    flags="bounded smooth invariant",
    note="Classes absent from the batch are left out of the mean.",
)

SOFT_MACRO_F1 = Definition(
    name="soft_macro_f1",
    family="batch",
    formula="1 - mean over classes a of 2 C_aa / (sum_b C_ab + sum_b C_ba), C the soft confusion matrix of the batch",
    source="Eban et al. 2017, Scalable learning of non-decomposable objectives; van Rijsbergen 1979",
    parameters={"temperature": positive(1.0)},
    batch_form=of_sums(soft_confusion, lambda confusion, temperature: macro_f1_error(confusion)),
    flags="bounded smooth invariant",
    note="Classes absent from the batch are left out of the mean; small batches see another objective than large ones.",
)

BATCHWISE = (SOFT_BALANCED_ERROR, SOFT_MACRO_F1)
