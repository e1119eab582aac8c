"""The folder that tensorflow-datasets keeps: read, decoded once, and filled by a download. No TensorFlow.

It is $TFDS_DATA_DIR, else ~/tensorflow_datasets, as tensorflow-datasets itself would choose.
"""

import hashlib
import http.client
import importlib.util
import io
import logging
import os
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8

from lab.errors import DataError
from lab.files import replacing
from lab.idx import read_idx
from lab.published import FILES, Published

VERSION = "3.0.1"  # of all three datasets in tensorflow-datasets
PROBE_SECONDS = 2.0
_log = logging.getLogger(__name__)

Arrays = tuple[
    UInt8[np.ndarray, "train 28 28"],
    UInt8[np.ndarray, " train"],
    UInt8[np.ndarray, "test 28 28"],
    UInt8[np.ndarray, " test"],
]


class Unavailable(DataError):
    """A source that nobody asked for by name has nothing to give; the message is one phrase saying why."""


def data_folder() -> Path:
    """The folder of all prepared datasets, whether it exists or not."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def folder(published: Published) -> Path:
    """Where a dataset lies once prepared, whether it exists or not."""
    return data_folder() / published.name / VERSION


def require(published: Published) -> Path:
    """The folder of a prepared dataset. Raises: Unavailable if it is not there."""
    if not (folder(published) / "dataset_info.json").is_file():
        raise Unavailable(f"no prepared {published.name}/{VERSION} in {data_folder()}")
    return folder(published)


def read(published: Published) -> Arrays:
    """The arrays of a prepared dataset, in the order of the published files.

    The first call decodes 70,000 PNGs (seconds) and keeps the arrays beside them, where it may write.

    Raises: Unavailable if the dataset is not prepared, or cannot be read.
    """
    cache = require(published) / "lab-decoded.npz"
    try:
        return _read_cache(published, cache)
    except FileNotFoundError:
        pass
    except Exception as damage:  # a damaged zip fails in a dozen ways, and the copy can be made again
        _log.info("%s is damaged (%s): decoding again", cache, damage)
    try:
        with _quiet():
            arrays = _whole(published, [*_decode(published, "train"), *_decode(published, "test")])
    except Exception as error:  # whatever the library raises, there are no digits here
        raise Unavailable(f"{folder(published)} cannot be read ({_brief(error)}); delete it") from error
    try:
        with replacing(cache) as file:
            np.savez(file, *arrays)
    except OSError as error:  # a read-only folder or a full disk only means that the next call decodes again
        _log.info("%s was not kept: %s", cache, error)
    return arrays


def _read_cache(published: Published, cache: Path) -> Arrays:
    with zipfile.ZipFile(cache) as archive:
        # Before numpy looks: with one bit flipped in an array's header it reads too little, and the CRC,
        # which is checked at the end, never is.
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad CRC in {damaged}")
    with np.load(cache, allow_pickle=False) as arrays:
        return _whole(published, [arrays[f"arr_{position}"] for position in range(4)])


def _whole(published: Published, arrays: list[np.ndarray]) -> Arrays:
    """The same arrays. Raises: ValueError if they are not a complete dataset."""
    train, test = published.counts
    shapes = [(train, 28, 28), (train,), (test, 28, 28), (test,)]
    if [(array.shape, array.dtype) for array in arrays] != [(shape, np.uint8) for shape in shapes]:
        raise ValueError(f"shapes {[array.shape for array in arrays]}, expected {shapes}")
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _decode(published: Published, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split, put back into the order of the published files."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder(published))
    records = builder.as_data_source(split=split)
    images = np.empty((len(records), 28, 28), np.uint8)
    labels = np.empty(len(records), np.uint8)
    # tensorflow-datasets shuffles by the MD5 of the split's name and the example's number.
    keys = [hashlib.md5(f"{split}{number}".encode()).digest() for number in range(len(records))]
    order = sorted(range(len(records)), key=keys.__getitem__)
    for start in range(0, len(records), 1_000):  # in batches it decodes four times as fast as one by one
        numbers = order[start : start + 1_000]
        batch = records.__getitems__(range(start, start + len(numbers)))
        images[numbers] = [record["image"][..., 0] for record in batch]
        labels[numbers] = [record["label"] for record in batch]
    return images, labels


def download(published: Published) -> None:
    """Nothing; fetches the four files, checks their SHA-256 and prepares the folder, if the network answers.

    Raises: Unavailable if it does not answer, or the download fails half way.
    """
    host = probe(published)
    _log.info("downloading %s from %s to %s", published.title, host, data_folder())
    try:
        prepare(published)
    except Exception as error:  # network, disk, checksum: the library has an exception for each
        raise Unavailable(f"download from {host} failed: {_brief(error)}") from error


def prepare(published: Published, *, files: Path | None = None) -> None:
    """Nothing; prepares the folder from the network, or from the four .gz files in `files`.

    The layout is tensorflow-datasets' own, so that its other users can read it; TensorFlow is not needed.

    Raises: what tensorflow-datasets raises; the folder then stays as it was.
    """
    with _quiet():
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import downloader

        settings = tfds.download.DownloadConfig(
            manual_dir=files, try_download_gcs=False, force_checksums_validation=True
        )
        retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 0  # else three minutes of warnings
        try:
            _builder(published).download_and_prepare(download_config=settings)
        finally:
            downloader.MAX_RETRIES = retries


def _builder(published: Published) -> Any:
    """tensorflow-datasets' builder of the dataset, with TensorFlow's file reading and PNG coding replaced."""
    from PIL import Image
    from tensorflow_datasets.image_classification import mnist

    class Builder(getattr(mnist, published.builder), skip_registration=True):  # pyright: ignore
        name = published.name

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            paths = dl_manager.download([f"{published.url}{file}.gz" for file in FILES])
            return {
                "train": self._generate_examples(*paths[:2]),
                "test": self._generate_examples(*paths[2:]),
            }

        def _generate_examples(self, image_path: Any, label_path: Any) -> Iterator[tuple[int, Any]]:
            images, labels = read_idx(image_path, dimensions=3), read_idx(label_path, dimensions=1)
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield number, {"image": Image.fromarray(image), "label": int(label)}

    return Builder(data_dir=data_folder(), file_format="array_record")


def probe(published: Published) -> str:
    """The host that offers the dataset for download, after it has answered within two seconds.

    Raises: Unavailable if it does not answer, if LAB_OFFLINE is set, or without tensorflow-datasets.
    """
    if os.environ.get("LAB_OFFLINE", "0") != "0":
        raise Unavailable("LAB_OFFLINE is set")
    if importlib.util.find_spec("tensorflow_datasets") is None:
        raise Unavailable("tensorflow-datasets is not installed")
    host, answers = urlsplit(published.url).netloc, []
    # A daemon thread, because a hanging name look-up ignores every timeout.
    thread = threading.Thread(target=_ask, args=(f"{published.url}{FILES[1]}.gz", answers), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    answer = answers[0] if answers else f"no answer from {host} in {PROBE_SECONDS:g} s"
    if answer:
        raise Unavailable(answer)
    return host


def _ask(url: str, answers: list[str]) -> None:
    """Appends "" if the file is there, else why not."""
    host = urlsplit(url).netloc
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            answers.append("")
    except urllib.error.HTTPError as error:
        answers.append(f"{host} answers {error.code} {error.reason}")
        error.close()
    except (OSError, http.client.HTTPException) as error:
        answers.append(f"no answer from {host}: {_brief(error)}")


def _brief(error: Exception) -> str:
    """What an exception says in one line, for a sentence."""
    cause = getattr(error, "reason", error)  # URLError wraps what happened
    if text := getattr(cause, "strerror", None):
        return text
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0][:120]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences tensorflow-datasets for a while; its exceptions still come through."""
    import tensorflow_datasets as tfds
    from absl import logging as absl_logging

    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)  # "OpenCV is not installed", and retries
    tfds.disable_progress_bar()
    try:
        with redirect_stdout(io.StringIO()):  # "Downloading and preparing dataset Unknown size"
            yield
    finally:
        absl_logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()
