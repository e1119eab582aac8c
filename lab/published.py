"""The datasets as their authors published them: names, addresses, SHA-256 digests."""

from dataclasses import dataclass

# The four files of MNIST and of every dataset made to replace it; all share these names.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Published:
    """A dataset as its authors published it; the tuples follow the order of `FILES`."""

    name: str
    title: str
    url: str
    """The folder of the four .gz files, as registered by tensorflow-datasets."""
    builder: str
    """The name of its class in `tensorflow_datasets.image_classification.mnist`."""
    classes: tuple[str, ...]
    brightness: float
    """Mean pixel of the training images, 0 to 1, as published with every normalisation recipe."""
    packed_sha256: tuple[str, ...]
    """Of the .gz files, as registered by tensorflow-datasets."""
    plain_sha256: tuple[str, ...] = ()
    """Of the unpacked files; empty where nobody has published them."""
    counts: tuple[int, int] = (60_000, 10_000)


PUBLISHED = {
    "mnist": Published(
        name="mnist",
        title="MNIST",
        url="https://storage.googleapis.com/cvdf-datasets/mnist/",
        builder="MNIST",
        classes=tuple("0123456789"),
        brightness=0.1307,
        packed_sha256=(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        plain_sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": Published(
        name="fashion_mnist",
        title="Fashion-MNIST",
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        builder="FashionMNIST",
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        brightness=0.2860,
        packed_sha256=(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "kmnist": Published(
        name="kmnist",
        title="KMNIST",
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        builder="KMNIST",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        brightness=0.1918,
        packed_sha256=(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
}  # fmt: skip
