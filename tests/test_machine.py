"""What XLA is told before it begins, and what it leaves."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lab.machine import damaged_programs, prepare, programs_folder, release_memory

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "JAX_NUM_CPU_DEVICES")


@pytest.fixture
def untold(monkeypatch, tmp_path):
    """An environment that says nothing of it; what `prepare` says goes with the test."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "jax")  # what is said goes to the environment alone, not to this process's JAX
    return tmp_path / "cache"


def test_programs_are_kept_in_the_users_cache(untold):
    prepare()
    assert Path(os.environ["JAX_COMPILATION_CACHE_DIR"]) == programs_folder() == untold / "surrogate-lab" / "xla"
    assert int(os.environ["JAX_NUM_CPU_DEVICES"]) >= 1
    assert not untold.exists()  # JAX makes it once there is something to keep


def test_what_the_user_has_set_stays(untold, monkeypatch):
    for name, value in zip(NAMES, ("/elsewhere", "7", "3"), strict=True):
        monkeypatch.setenv(name, value)
    prepare()
    assert [os.environ[name] for name in NAMES] == ["/elsewhere", "7", "3"]
    assert programs_folder() == Path("/elsewhere")


@pytest.mark.parametrize(("system", "below"), [("linux", ".cache"), ("darwin", "Library/Caches")])
def test_without_a_cache_folder_it_is_the_systems(system, below, untold, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", system)
    assert programs_folder() == tmp_path / below / "surrogate-lab" / "xla"


def test_programs_that_are_not_whole_are_found(tmp_path, monkeypatch):
    """Two real ones, cut as a full disk cuts them: JAX goes on, and keeps them as they are."""
    told = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    program = "import jax; [print(jax.jit(f)(2.0)) for f in (jax.numpy.exp, lambda x: x * jax.numpy.sin(x))]"
    first = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kept = sorted(tmp_path.glob("*-cache"))
    assert len(kept) >= 2 and damaged_programs() == []
    kept[0].write_bytes(kept[0].read_bytes()[:-20])
    kept[1].write_bytes(b"")
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout
    assert damaged_programs() == kept[:2]


def test_it_does_not_wait_for_jax():
    program = "import sys; from lab.machine import prepare; prepare(); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("begun", [False, True])
def test_where_jax_was_imported_before_it_is_told_all_the_same(begun, untold):
    """As scripts do, that import it first; once something was computed it is too late for the devices alone."""
    program = (
        f"import jax; {'jax.devices()' if begun else ''}\nfrom lab.machine import prepare, programs_folder; prepare()\n"
        "print(len(jax.devices()), jax.config.jax_persistent_cache_min_compile_time_secs, end=' ')\n"
        "print(jax.config.jax_compilation_cache_dir == str(programs_folder()))"
    )
    told = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], env=told, capture_output=True, text=True, check=True)
    cores = len(os.sched_getaffinity(0))
    assert done.stdout.split() == [str(1 if begun else cores), "0.0", "True"]


def test_what_a_script_has_told_jax_stays(untold):
    program = (
        "import jax; jax.config.update('jax_num_cpu_devices', 3)\n"
        "jax.config.update('jax_compilation_cache_dir', '/own')\n"
        "from lab.machine import prepare; prepare()\n"
        "print(len(jax.devices()), jax.config.jax_compilation_cache_dir)"
    )
    told = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], env=told, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "/own"]


PROGRAM = """
import lab.machine
lab.machine.prepare()
import jax, lab
counts = {"hits": 0, "misses": 0}
def listen(event, **_):
    for name in counts:
        counts[name] += event == f"/jax/compilation_cache/cache_{name}"
jax.monitoring.register_event_listener(listen)
data = lab.load("mnist").train
list(lab.train(lab.mlp([8]), lab.objective("brier"), lab.optimiser("adam", 0.01), data.images[:100], data.labels[:100],
               key=jax.random.key(0), stages=[3], batch_size=10))
print(counts["hits"], counts["misses"])
"""


@pytest.mark.slow
def test_a_second_process_finds_the_programs_of_the_first(untold):
    def compiled():
        told = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=told, capture_output=True, text=True, check=True)
        return [int(number) for number in done.stdout.split()]

    hits, misses = compiled()
    kept = list((untold / "surrogate-lab" / "xla").iterdir())
    assert misses >= 1 and kept
    again, missed = compiled()
    assert missed < misses and again > hits


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc holds on to what was freed")
def test_freed_memory_goes_back_to_the_system():
    def held():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    blocks = [np.ones(20_000, dtype=np.uint8) for _ in range(5000)]  # 100 MB, each too small for a mapping of its own
    del blocks[:-1]  # the last one keeps the heap from shrinking of itself
    before = held()
    release_memory()
    assert before - held() > 80e6
    assert blocks[0].sum() == 20_000
