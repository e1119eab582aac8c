"""Peers in PyTorch: the same objectives, a loop over them, and torch.func for single examples."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from case import Case
from peers import Peer
from torch import Tensor, nn
from torch.nn import functional

import lab

DEVICE = "cuda" if jax.default_backend() == "gpu" else "cpu"  # where JAX is
if DEVICE == "cuda" and not torch.cuda.is_available():
    raise ImportError("this build sees no GPU, and JAX runs on one")
NOTE = f" on {DEVICE}, {torch.get_num_threads()} threads"


def is_true(logits: Tensor, labels: Tensor) -> Tensor:
    """1[j = y]."""
    return functional.one_hot(labels, logits.shape[1]).bool()


def probability(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax(z)_y."""
    return torch.softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]


def squared_residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """sum_j (softmax(z)_j - 1[j = y])^2."""
    return torch.sum((torch.softmax(logits, dim=1) - functional.one_hot(labels, logits.shape[1])) ** 2, dim=1)


def hard_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The true class's lead over its strongest rival."""
    rivals = logits.masked_fill(is_true(logits, labels), -torch.inf)
    return logits.gather(1, labels[:, None])[:, 0] - rivals.amax(dim=1)


def centred_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The true class's lead over the mean of its rivals' exponentials."""
    rivals = logits.masked_fill(is_true(logits, labels), -torch.inf)
    mean = torch.logsumexp(rivals, dim=1) - math.log(logits.shape[1] - 1)
    return logits.gather(1, labels[:, None])[:, 0] - mean


# By the names and parameters of the lab's catalogue; one value per example.
OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": lambda z, y, temperature: functional.cross_entropy(z / temperature, y, reduction="none"),
    "guarded_cross_entropy": lambda z, y, guard: -torch.log(probability(z, y) + guard),
    "squared_error": lambda z, y: squared_residuals(z, y) / 2,
    "brier": squared_residuals,
    "gce": lambda z, y, q: (1 - probability(z, y) ** q) / q,
    "crammer_singer": lambda z, y, delta: torch.relu(delta - hard_margin(z, y)),
    "expected_error": lambda z, y, temperature: 1 - probability(z / temperature, y),
    "centred_expected_error": lambda z, y, temperature: torch.sigmoid(-centred_margin(z / temperature, y)),
    "sigmoid_margin": lambda z, y, temperature: torch.sigmoid(-hard_margin(z, y) / temperature),
    "ramp": lambda z, y, temperature: torch.clamp((1 - hard_margin(z, y) / temperature) / 2, 0, 1),
}


def mean_of(objective: lab.Objective) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean over a batch, of logits and labels."""
    function = OBJECTIVES[objective.name]
    parameters = {name: float(value) for name, value in objective.parameters.items()}
    return lambda logits, labels: torch.mean(function(logits, labels, **parameters))


def copied(case: Case) -> tuple[nn.Sequential, Tensor, Tensor]:
    """The network with the lab's weights; images; labels."""
    model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    leaves = [leaf for layer in case.parameters for leaf in (layer["weight"], layer["bias"])]
    with torch.no_grad():
        for parameter, leaf in zip(model.parameters(), leaves, strict=True):
            parameter.copy_(torch.tensor(np.asarray(leaf)))
    images, labels = (torch.tensor(np.asarray(array), device=DEVICE) for array in (case.images, case.labels))
    return model.to(DEVICE), images, labels.long()


def finished(run: Callable[[], Any]) -> Callable[[], Any]:
    """`run`, and not back before it is done."""

    def wait():
        result = run()
        torch.cuda.synchronize()
        return result

    return wait if DEVICE == "cuda" else run


def gradients(case: Case) -> dict[str, Peer]:
    """A backward pass for each objective, with a forward pass each time or on one graph that is retained."""
    model, images, labels = copied(case)
    weights, objectives = list(model.parameters()), [mean_of(one) for one in case.objectives]

    def afresh():
        return [torch.autograd.grad(one(model(images), labels), weights) for one in objectives]

    def one_graph():
        logits = model(images)
        return [torch.autograd.grad(one(logits, labels), weights, retain_graph=True) for one in objectives]

    def read(found):
        return np.stack([np.concatenate([leaf.cpu().numpy().ravel() for leaf in one]) for one in found])

    return {"torch": Peer(finished(afresh), read), "torch, one graph": Peer(finished(one_graph), read)}


def norms_and_inner(gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """|g_i|^2 and <g_i, mean> of gradients [examples, ...]."""
    flat = [gradient.flatten(1) for gradient in gradients]
    # vector_norm squared: quicker than the sum of part**2.
    norms = torch.stack([torch.linalg.vector_norm(part, dim=1) ** 2 for part in flat]).sum(dim=0)
    return norms, torch.stack([part @ part.mean(dim=0) for part in flat]).sum(dim=0)


def rows(found: Sequence[Tensor]) -> np.ndarray:
    """What `norms_and_inner` gives, to be compared."""
    return np.stack([row.cpu().numpy() for row in found])


def examples(case: Case) -> dict[str, Peer]:
    """torch.func: the gradients of all examples, then their norms and inner products."""
    assert case.objectives[0].name == "cross_entropy"
    model, images, labels = copied(case)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights, image, label):
        logits = torch.func.functional_call(model, weights, (image[None],))
        return functional.cross_entropy(logits, label[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    run = finished(lambda: norms_and_inner(list(each(weights, images, labels).values())))
    return {"torch.func, vmap(grad)": Peer(run, rows)}
