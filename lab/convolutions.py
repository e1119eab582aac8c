"""Convolution and max-pooling in one, as one matrix product.

Images here are [channels, height, width, batch]: with the batch last, every shift is a copy of whole runs of memory.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lab.errors import InputError


def pooled_convolution(
    images: Float[Array, "channels height width batch"], kernels: Float[Array, "kernels channels size size"]
) -> Float[Array, "kernels rows columns batch"]:
    """The maxima of a convolution over squares of 2 x 2 units; no padding.

    u_k(i, j) = sum_cab kernels_k(c, a, b) images(c, i + a, j + b) and its maximum over i in {2r, 2r + 1} and
    j in {2s, 2s + 1}; there are (height - size + 1) / 2 rows r and (width - size + 1) / 2 columns s.

    Each pooled unit's window is multiplied with the kernels at their 4 places in it. The device's own convolution takes
    longer to train `lenet5`, in a loop on CPU and on GPU, most of all where several networks train at once:
    `benchmarks/convolutions.py`. A window, one larger than a kernel, is copied once and not 4 times; windows lie 2
    apart, so that images are first parted into the 4 phases of even and odd rows and columns, in which windows are
    shifts by 1.

    Raises: InputError unless the kernels' size is odd, height and width are even and not less than size + 1.
    Reference: LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition.

    >>> images = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> pooled_convolution(images, jnp.ones((1, 1, 3, 3))).ravel().tolist()
    [90.0]
    """
    channels, height, width, batch = images.shape
    size = kernels.shape[-1]
    if size % 2 == 0 or height % 2 or width % 2 or min(height, width) <= size:
        raise InputError(
            f"kernels must have an odd size, and images an even height and width greater than it; got kernels of "
            f"{size} x {size} and images of {height} x {width}."
        )
    shifts = (size + 1) // 2
    rows, columns = height // 2 - shifts + 1, width // 2 - shifts + 1
    phases = images.reshape(channels, height // 2, 2, width // 2, 2, batch).transpose(2, 4, 0, 1, 3, 5)
    windows = jnp.stack([phases[..., i : i + rows, j : j + columns, :] for i, j in np.ndindex(shifts, shifts)])
    placed = jnp.stack([jnp.pad(kernels, ((0, 0), (0, 0), (i, 1 - i), (j, 1 - j))) for i, j in np.ndindex(2, 2)])
    placed = placed.reshape(-1, channels, shifts, 2, shifts, 2).transpose(0, 2, 4, 3, 5, 1)  # axes in windows' order
    numbers = 4 * shifts**2 * channels  # of a window
    units = placed.reshape(-1, numbers) @ windows.reshape(numbers, rows * columns * batch)
    for _ in range(2):
        # Halves, not max(axis=0) or slices: those take 3 to 10 times as long on the way back.
        units = jnp.maximum(*jnp.split(units, 2))
    return units.reshape(len(kernels), rows, columns, batch)
