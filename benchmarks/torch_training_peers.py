"""Peers in PyTorch: all images on the device and a loop over steps, the same compiled, and a DataLoader."""

import shutil
from collections.abc import Callable, Iterable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torch_peers import DEVICE, NOTE
from training_peers import BATCH, CLASSES, HIDDEN, PIXELS, RATE, Data, weights


class Preloaded:
    """Images in float32 on the device; a step takes its rows of them."""

    def __init__(self, data: Data, seed: int, *, compiled: bool = False):
        torch.manual_seed(seed)
        first, last = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        for layer, weight in zip((first, last), weights(seed), strict=True):
            layer.weight.data.copy_(torch.from_numpy(weight.T))
            layer.bias.data.zero_()
        self.model = nn.Sequential(first, nn.ReLU(), last).to(DEVICE)
        self.loss: Callable[[Tensor, Tensor], Tensor] = torch.compile(self.loss_of) if compiled else self.loss_of
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=RATE)
        self.images, self.labels = on_device(data.scaled, data.labels)
        self.test_images, self.test_labels = on_device(data.test_scaled, data.test_labels)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Those of a new epoch."""
        for rows in torch.randperm(len(self.labels), device=DEVICE).split(BATCH):
            yield self.images[rows], self.labels[rows]

    def loss_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy."""
        return functional.cross_entropy(self.model(images), labels)

    def epoch(self) -> float:
        for images, labels in self.batches():
            self.optimiser.zero_grad()
            self.loss(images, labels).backward()
            self.optimiser.step()
        with torch.no_grad():
            return (self.model(self.test_images).argmax(dim=1) == self.test_labels).float().mean().item()


class Digits(Dataset):
    """One image at a time, made float32 in [0, 1] when it is asked for: the least that a dataset has to do."""

    def __init__(self, data: Data):
        self.images, self.labels = torch.from_numpy(data.images), data.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index].float().div(255), self.labels[index]


def pictures(data: Data) -> Dataset:
    """torchvision's MNIST with ToTensor, as PyTorch's quickstart has it, of images that need not be read anew."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    found = MNIST.__new__(MNIST)
    found.data, found.targets = torch.from_numpy(data.images).view(-1, 28, 28), torch.from_numpy(data.labels).long()
    found.transform, found.target_transform = ToTensor(), None
    return found


class Loaded(Preloaded):
    """Batches from a DataLoader, in this process."""

    def __init__(self, data: Data, seed: int, *, dataset: Callable[[Data], Dataset] = Digits):
        super().__init__(data, seed)
        self.loader = DataLoader(dataset(data), batch_size=BATCH, shuffle=True)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Those of a new epoch."""
        for images, labels in self.loader:
            yield images.flatten(1).to(DEVICE), labels.to(DEVICE)


def on_device(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """On CPU the images' memory is shared, not copied."""
    return torch.from_numpy(images).to(DEVICE), torch.from_numpy(labels).long().to(DEVICE)


PEERS = {
    "PyTorch, tensors preloaded": Preloaded,
    "PyTorch, its DataLoader of tensors": Loaded,
}
if find_spec("torchvision"):
    PEERS["PyTorch, its DataLoader of torchvision's MNIST"] = lambda data, seed: Loaded(data, seed, dataset=pictures)
else:
    NOTE += "; left out: torchvision, which is not installed"
if DEVICE == "cuda" or shutil.which("g++"):
    PEERS["PyTorch, torch.compile"] = lambda data, seed: Preloaded(data, seed, compiled=True)
else:
    NOTE += "; left out: torch.compile, which needs g++"
