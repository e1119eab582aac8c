"""Peers with BackPACK: single examples' gradients, or their norms alone, from one backward pass of PyTorch."""

import warnings
from typing import Any

import torch
from backpack import backpack, extend, extensions
from case import Case
from peers import Peer
from torch import nn
from torch_peers import copied, finished, norms_and_inner, rows

# It is said of any network whose images need no gradient, which is usual.
warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)


def examples(case: Case) -> dict[str, Peer]:
    """BatchGrad with norms and inner products taken afterwards; BatchL2Grad, which has the norms and no more."""
    assert case.objectives[0].name == "cross_entropy"
    model, images, labels = copied(case)
    # A sum: with the mean, BackPACK divides each example's gradient by the number of examples.
    model, loss = extend(model), extend(nn.CrossEntropyLoss(reduction="sum"))

    def backward(extension) -> list[Any]:  # parameters, with what the extension writes on them
        model.zero_grad()
        with backpack(extension):
            loss(model(images), labels).backward()
        return list(model.parameters())

    def batch_grad():
        return norms_and_inner([parameter.grad_batch for parameter in backward(extensions.BatchGrad())])

    def batch_l2_grad():
        return (torch.stack([parameter.batch_l2 for parameter in backward(extensions.BatchL2Grad())]).sum(dim=0),)

    return {
        "BackPACK, BatchGrad": Peer(finished(batch_grad), rows),
        "BackPACK, BatchL2Grad (norms alone)": Peer(finished(batch_l2_grad), rows),
    }
