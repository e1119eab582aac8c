"""Hand-made features or end to end?

    python experiments/data_driven.py [--full] [--seeds 5] [--data-dir DIR]

About 75 seconds on 2 cores with the embedded sample; it needs the extra `baselines` (scikit-learn, scikit-image). A
linear SVM on HOG, nearest neighbours on pixels and a network (784-50-10) learn from the same images, each tuned on
validation images. Expect the hand-made features to be ahead, most so with few images: with 5 draws they beat the
network by 10.0 points (8.5 to 11.6) with 100 images and by 2.4 (1.4 to 3.3) with 9,000, where the network still reads
its training images 4.0 [3.4, 4.7] points better than others. Moved by 2 pixels, its accuracy falls by 27.0 [26.1, 27.8]
points, that of HOG by 7.5; noise takes 16.9 from HOG, 11.3 [8.8, 13.7] from the network, 0.2 from the neighbours.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lab

NETWORK = lab.mlp([50], activation="relu")
LOSS = lab.objective("cross_entropy")
# What is tried of each on the validation images: the network's learning rate, the SVM's C, the number of neighbours.
RATES, PENALTIES, NEIGHBOURS = (0.25, 0.5, 1.0), (0.3, 1.0), (1, 3, 5)
FEATURES, PIXELS, END_TO_END = CLASSIFIERS = ["HOG + linear SVM", "k-NN on pixels", "network"]
SHIFTED = ["as they are", "moved by 2 pixels", "turned by 15 degrees", "noisy"]
SEEN = 1000  # training images, at most, that training accuracy is taken on


@dataclass(frozen=True)
class Settings(lab.StudySettings):
    """Hand-made features or end to end?"""

    @property
    def steps(self) -> int:
        """Training steps of every network."""
        return 10_000 if self.full else 1000

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many training images there are to learn from."""
        return (100, 300, 1000, 3000, 10_000, 30_000) if self.full else (100, 300, 1000, 3000, 9000)


def baselines() -> tuple[Any, Any, Any]:
    """What does not learn its features: scikit-image's HOG, scikit-learn's linear SVM and nearest neighbours."""
    try:
        from skimage.feature import hog
        from sklearn.neighbors import NearestNeighbors
        from sklearn.svm import LinearSVC
    except ImportError as missing:
        raise lab.InputError(
            f"hand-made features need scikit-learn and scikit-image ({missing}): "
            '`pip install ".[baselines]"` in the lab\'s folder installs them.'
        ) from missing
    return hog, LinearSVC, NearestNeighbors


def shifted(images: np.ndarray) -> list[np.ndarray]:
    """Test images as they are, and as other hands, pens and scanners might make them: what SHIFTED names."""
    from scipy import ndimage

    stack = images.reshape(-1, 28, 28)
    moved, turned = np.empty_like(stack), np.empty_like(stack)
    for i, (down, right) in enumerate(((2, 0), (-2, 0), (0, 2), (0, -2))):
        moved[i::4] = ndimage.shift(stack[i::4], (0, down, right), order=0)
    for i, angle in enumerate((15, -15)):
        turned[i::2] = ndimage.rotate(stack[i::2], angle, axes=(1, 2), reshape=False, order=1)
    noise = 0.3 * 255 * np.asarray(jax.random.normal(jax.random.key(0), images.shape))
    noisy = np.clip(images + noise, 0, 255).astype(np.uint8)
    return [images, moved.reshape(images.shape), turned.reshape(images.shape), noisy]


@cache
def prepared(data):
    """Pixels from 0 to 1 and features of the training and the validation images, and of every kind of test images."""
    hog, *_ = baselines()

    def both(images):  # one block: cells are compared with the whole image, not with those beside them
        features = [hog(one.reshape(28, 28), pixels_per_cell=(4, 4), cells_per_block=(7, 7)) for one in images]
        return images.astype(np.float32) / 255, np.array(features, dtype=np.float32)

    return both(data.train.images), both(data.validation.images), [both(one) for one in shifted(data.test.images)]


def trained(data, rows, steps, key):
    """Parameters of a network for each learning rate, trained on some rows of the training images alone."""

    def order(key, first, count, *, examples, batch_size):
        return rows[lab.shuffled(key, first, count, examples=len(rows), batch_size=batch_size)]

    by = [lab.optimiser("sgd", rate) for rate in RATES]
    images, labels = data.train.images, data.train.labels
    (state,) = lab.train_together(
        NETWORK, [LOSS] * len(by), by, images, labels, keys=key[None], stages=[steps], order=order
    )
    return jax.tree.map(lambda leaf: leaf[0], state.parameters)


@jax.jit
def answers(parameters, pixels):
    """The answers of each network."""
    return jnp.argmax(jax.vmap(NETWORK.apply, in_axes=(0, None))(parameters, pixels), axis=-1)


def classifiers(data, rows, steps, key):
    """What has learnt from some rows of the training images, by CLASSIFIERS: it takes (pixels, features) to answers.

    Of each the setting that reads most validation images rightly, the first of equals.
    """
    from scipy.stats import mode

    _, svm, neighbours = baselines()
    (pixels, features), validation, _ = prepared(data)
    labels = data.train.labels[rows]
    with ThreadPoolExecutor() as pool:  # the primal problem: the dual one draws numbers, which threads would share
        machines = list(pool.map(lambda penalty: svm(C=penalty, dual=False).fit(features[rows], labels), PENALTIES))
    search = neighbours(n_neighbors=max(NEIGHBOURS), algorithm="brute").fit(pixels[rows])
    parameters = trained(data, rows, steps, key)

    def by_features(images):
        return [machine.predict(images[1]) for machine in machines]

    def by_neighbours(images):
        nearest = labels[search.kneighbors(images[0], return_distance=False)]
        return [mode(nearest[:, :count], axis=1).mode for count in NEIGHBOURS]

    def end_to_end(images):
        return np.asarray(answers(parameters, images[0]))

    def tuned(of_each_setting):
        right = [np.mean(answer == data.validation.labels) for answer in of_each_setting(validation)]
        return lambda images: of_each_setting(images)[np.argmax(right)]

    return [tuned(one) for one in (by_features, by_neighbours, end_to_end)]


def measure(settings: Settings, data, seed, advance):
    """One draw of training images: what is learnt from the first 100 of them, from the first 300, and so on."""
    of_images, of_training = jax.random.split(jax.random.key(seed))
    (pixels, features), _, tests = prepared(data)
    (drawn,) = lab.shuffled(of_images, 0, 1, examples=len(data.train), batch_size=len(data.train))
    training, test = np.full((2, len(CLASSIFIERS), len(settings.sizes)), np.nan)
    anyone = np.full((len(CLASSIFIERS), len(SHIFTED)), np.nan)
    largest = max(size for size in settings.sizes if size <= len(drawn))
    for i, size in enumerate(settings.sizes):
        if size <= largest:
            rows, seen = drawn[:size], drawn[: min(size, SEEN)]
            found = classifiers(data, rows, settings.steps, of_training)

            def read_rightly(images, labels, found=found):
                return [np.mean(classify(images) == labels) for classify in found]

            training[:, i] = read_rightly((pixels[seen], features[seen]), data.train.labels[seen])
            test[:, i] = read_rightly(tests[0], data.test.labels)
            if size == largest:
                others = [read_rightly(images, data.test.labels) for images in tests[1:]]
                anyone = np.stack([test[:, i], *others], axis=1)
        advance(1)
    return {
        "training": (("classifier", "size"), training),
        "test": (("classifier", "size"), test),
        "gap": (("classifier", "size"), training - test),
        "anyone": (("classifier", "images"), anyone),
    }


def listed(values) -> str:
    """Settings that were tried, as in "1, 3 or 5"."""
    *first, last = (f"{value:g}" for value in values)
    return f"{', '.join(first)} or {last}"


def sizes_there(results) -> list[int]:
    """The numbers of training images that there were enough for."""
    return [int(size) for size in results["size"] if bool(np.isfinite(results["test"].sel(size=size)).all())]


def answer(results) -> str:
    """Who reads more digits with few and with many images, the over-fitting, and the losses on anyone's digits."""
    sizes = sizes_there(results)
    test, gap = 100 * results["test"], 100 * results["gap"].sel(classifier=END_TO_END)
    said = []
    for size in (sizes[0], sizes[-1]):
        ours, theirs = (test.sel(classifier=one, size=size).values for one in (END_TO_END, FEATURES))
        said.append(f"with {size:,} training images " + lab.compared("the network", ours, FEATURES, theirs))
    gaps = [lab.mean_interval(gap.sel(size=size).values).text(1) for size in (sizes[0], sizes[-1])]
    lost = 100 * (results["anyone"].sel(images=SHIFTED[0]) - results["anyone"]).sel(images=SHIFTED[1:])
    worst = str(lost.sel(classifier=END_TO_END).mean("seed").idxmax("images").item())
    losses = [
        lab.mean_interval(lost.sel(classifier=one, images=worst).values, among=lost.sizes["images"]).text(1)
        for one in (END_TO_END, FEATURES)
    ]
    return (
        f"{said[0][0].upper()}{said[0][1:]}; {said[1]}. The network reads {gaps[0]} points more of its training images "
        f"than of test images with {sizes[0]:,} of them, {gaps[1]} with {sizes[-1]:,}; of test images {worst} it loses "
        f"{losses[0]} points, {FEATURES} {losses[1]}."
    )


def pictures(results) -> list[lab.Picture]:
    """Accuracy and the gap to training accuracy against training images, and other people's digits."""
    sizes = sizes_there(results)
    mean = results.mean("seed")
    few, many = (str(mean["test"].sel(size=size).idxmax("classifier").item()) for size in (sizes[0], sizes[-1]))
    gaps = [100 * float(mean["gap"].sel(classifier=END_TO_END, size=size)) for size in (sizes[0], sizes[-1])]
    best = mean["anyone"].idxmax("classifier")
    winners = "; ".join(f"{where}, {best.sel(images=where).item()}" for where in SHIFTED[1:])
    return [
        lab.Picture(
            "accuracy",
            f"Most test images are read by {few} with {sizes[0]:,} training images, "
            + (f"and with {sizes[-1]:,} as well." if few == many else f"by {many} with {sizes[-1]:,}."),
            "test",
            "test accuracy (%)",
            "size",
            "training images",
            by="classifier",
            log="x",
            scale=100,
            share=True,
            beside="training",
            beside_title="training accuracy",
        ),
        lab.Picture(
            "gap",
            f"The network reads its training images better by {gaps[0]:.0f} points with {sizes[0]:,} of them, by "
            f"{gaps[1]:.0f} with {sizes[-1]:,}.",
            "gap",
            "training less test accuracy (points)",
            "size",
            "training images",
            by="classifier",
            log="x",
            scale=100,
            zero=True,
            within=(-100.0, 100.0),
            note="Over-fitting: what is known of these images and not of others.",
        ),
        lab.Picture(
            "anyone",
            f"Who reads most images: {winners}.",
            "anyone",
            "accuracy (%)",
            "images",
            "",
            by="classifier",
            kind="dots",
            scale=100,
            share=True,
            note=f"Learnt from {sizes[-1]:,} images as they are. Noise: Gaussian, 0.3 of the way from black to white.",
        ),
    ]


def main(settings: Settings) -> None:
    """Let hand-made features, nearest neighbours and a network learn from the same images, few and many."""
    baselines()
    lab.study(
        "data_driven",
        __doc__,
        settings,
        measure=measure,
        coordinates=lambda settings: {"classifier": CLASSIFIERS, "size": settings.sizes, "images": SHIFTED},
        answer=answer,
        pictures=pictures,
        steps=lambda settings, data: len(settings.sizes),
        images=lambda settings: settings.sizes[0],
        method=lambda settings: (
            f"HOG (cells of 4 x 4 pixels in one block) with a linear SVM (C of {listed(PENALTIES)}); "
            f"{listed(NEIGHBOURS)} nearest neighbours; network {NETWORK.name}, {settings.steps:,} steps of sgd (at "
            f"{listed(RATES)}) on cross entropy in mini-batches of 100: each with the setting that reads most "
            "validation images rightly. Every seed draws training images of its own; where it draws all there are, "
            "networks alone differ."
        ),
    )


if __name__ == "__main__":
    lab.cli(main)
