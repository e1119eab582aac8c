"""How far off are gradients and cosines, in each precision of each device that JAX sees?

    python benchmarks/precision.py [--steps 2000] [--data-dir DIR]

784-100-10 ReLU at the start and after `--steps` steps on cross entropy, 8 objectives, 1,000 training images. Against
float64 on the CPU: |g - g64| / |g64|, and the largest difference of a cosine between two objectives' gradients. On a
GPU `default` multiplies in TF32, which has 10 bits of mantissa.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from timing import machine

import lab

OBJECTIVES = (
    "cross_entropy",
    "squared_error",
    "expected_error",
    "expected_error:temperature=0.1",
    "centred_expected_error",
    "sigmoid_margin:temperature=0.3",
    "gce",
    "ramp",
)

gradients_of = jax.jit(lab.objective_gradients, static_argnames=("network", "precision"))


def flat(gradients: Any) -> np.ndarray:
    """Gradients as rows, in float64."""
    return np.concatenate(
        [np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in jax.tree.leaves(gradients)], axis=1
    )


def cosines(rows: np.ndarray) -> np.ndarray:
    """Between each two rows."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def main(data_dir: Path | None = None, steps: int = 2000) -> None:
    """How far off are gradients and cosines, in each precision of each device that JAX sees?

    Args:
        data_dir: folder with the four IDX files; without it what the lab finds
        steps: training steps of the second network
    """
    print(machine())
    digits = lab.load("mnist", data_dir=data_dir)
    print(digits.description)
    network, objectives = lab.mlp([100], activation="relu"), [lab.objective(text) for text in OBJECTIVES]
    images, labels = digits.train.images[:1000] / 255, digits.train.labels[:1000]
    states = lab.train(
        network,
        lab.objective("cross_entropy"),
        lab.optimiser("sgd", 0.1),
        digits.train.images,
        digits.train.labels,
        key=jax.random.key(0),
        stages=[0, steps],
    )
    devices = list(dict.fromkeys([jax.devices("cpu")[0], jax.devices()[0]]))
    for state in states:
        print(f"after {state.step:,} steps")
        parameters = jax.device_get(state.parameters)

        def gradients(device: Any, precision: str, parameters: Any = parameters) -> np.ndarray:
            number = np.float64 if precision == "float64" else np.float32
            given = jax.tree.map(lambda leaf: leaf.astype(number), (parameters, images))
            with jax.enable_x64(precision == "float64"):
                placed = jax.device_put((*given, labels, objectives), device)
                matmul = "highest" if precision == "float64" else precision
                return flat(gradients_of(network, *placed, precision=matmul).gradients)

        exact = gradients(devices[0], "float64")
        for device in devices:
            for precision in ("float64", "highest", "default"):
                found = gradients(device, precision)
                off = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
                cosine = np.abs(cosines(found) - cosines(exact)).max()
                print(
                    f"  {device.device_kind}, {precision:7s}  gradients off by {np.median(off):.1e} (median), "
                    f"{off.max():.1e} (largest); cosines by {cosine:.1e}"
                )


if __name__ == "__main__":
    lab.cli(main)
