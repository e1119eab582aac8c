"""What every test shares: settings of JAX, the small data, one small comparison."""

import os
from pathlib import Path

os.environ["LAB_OFFLINE"] = "1"  # tests know only the embedded sample, whatever this machine can reach

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_default_matmul_precision", "highest")  # also on a GPU tests compare what rounding leaves alike


def pytest_configure(config):
    """Compiled programs are kept, apart from the user's: most of what a test takes is the compiler's time.

    The tests, the commands that they run and the next run of the tests find them again.
    """
    from lab.machine import programs_folder

    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    os.environ["XDG_CACHE_HOME"] = str(config.cache.mkdir("programs"))
    jax.config.update("jax_compilation_cache_dir", str(programs_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # Of two processes one may find what the other is still writing; JAX then compiles, and says so.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry")


@pytest.fixture(scope="session", autouse=True)
def _no_prepared_data(tmp_path_factory):
    """No prepared folder of this machine's user may change what a test sees."""
    os.environ["TFDS_DATA_DIR"] = str(tmp_path_factory.mktemp("no-tfds"))


@pytest.fixture(scope="module", autouse=True)
def _no_compiled_programs_are_left():
    """Each compiled program holds some memory maps; thousands of them exceed what Linux gives a process (65,530)."""
    yield
    jax.clear_caches()


@pytest.fixture
def float64():
    """JAX in float64, for comparisons to the last digits."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def mnist():
    """The embedded sample."""
    import lab

    return lab.load("mnist")


@pytest.fixture(scope="session")
def small_settings():
    """A comparison that takes seconds."""
    import lab

    training = lab.TrainingSettings(weight_decay=0.01)
    return lab.CompareSettings(
        training=training, seeds=2, stages="0,20", examples=200, temperatures="0.1,1,10", race=90
    )


@pytest.fixture(scope="session")
def comparison(mnist, small_settings):
    """A whole small comparison: 2 networks, at the start and after 20 steps, on real digits."""
    import lab

    return lab.compare(small_settings, mnist)


@pytest.fixture
def mnist_dir() -> Path:
    """The folder with the four real files of MNIST; what needs it skips where there is none."""
    folder = os.environ.get("LAB_MNIST_DIR") or Path(__file__).parents[2] / "shared/data/mnist"
    if not Path(folder).is_dir():
        pytest.skip("the four files of MNIST are not here (LAB_MNIST_DIR)")
    return Path(folder)
