"""Make, complete or leave alone the virtual environment that the Makefile's targets run in.

python3 .ci/environment.py .venv dev,cuda

An environment counts as whole only if it carries a stamp, which is written last. The stamp says for which
folder, Python, pyproject.toml and constraints.txt it was made, and with which extras. If one of the first
four differs the environment is made afresh; a missing extra is added. Standard library only: this runs
before anything is installed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # standard output belongs to the command that follows


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def base_python() -> str:
    """The Python to build on; in an activated environment that is the one beneath it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def wanted_for() -> dict[str, str]:
    """What an environment must have been made for to be of use here and now."""
    return {
        "the folder": os.getcwd(),
        "Python": f"{base_python()} {sys.version}",
        "pyproject.toml": digest("pyproject.toml"),
        "constraints.txt": digest("constraints.txt"),
    }


def read_stamp(venv: Path) -> dict:
    """The stamp, or {} for an environment that is missing, half made or without its Python."""
    try:
        stamp = json.loads((venv / "stamp.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if os.access(venv / "bin" / "python", os.X_OK) else {}


def write_stamp(venv: Path, stamp: dict) -> None:
    temporary = venv / "stamp.json.new"
    temporary.write_text(json.dumps(stamp, indent=1))
    os.replace(temporary, venv / "stamp.json")


@contextlib.contextmanager
def alone(venv: Path):
    """Hold the environment's lock, so that two calls of make do not install into each other."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{venv}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another make that is installing ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: go on as if alone
        yield lock


def run(command: list[str], log: Path, lock) -> int:
    """Run quietly, the output into the log. The child keeps the lock, should this process be killed."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            env=os.environ | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def install(venv: Path, extras: list[str], log: Path, lock) -> int:
    python = str(venv / "bin" / "python")
    project = f".[{','.join(extras)}]" if extras else "."
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--no-input",
        "--no-compile",
        "-c",
        "constraints.txt",
        "-e",
        project,
    ]
    code = run(pip, log, lock)
    if code == 0:  # on all cores, where pip compiles on one; some packages hold files that do not compile
        run([python, "-m", "compileall", "-q", "-j", "0", str(venv / "lib")], Path(os.devnull), lock)
    return code


def remove(venv: Path) -> None:
    """Remove an environment; renamed first, so that a killed removal leaves nothing that looks like one."""
    old = Path(f"{venv}.old")
    shutil.rmtree(old, ignore_errors=True)
    if not venv.exists():
        return
    names = {path.name for path in venv.iterdir()}
    if "pyvenv.cfg" not in names and names - {"bin", "include", "lib", "lib64"}:
        sys.exit(f"make: {venv} exists and is no virtual environment: remove it, or choose another VENV=")
    venv.rename(old)
    shutil.rmtree(old)


def complete(name: str, venv: Path, extras: set[str], lock) -> None:
    here = wanted_for()
    stamp = read_stamp(venv)
    stale = [what for what, value in here.items() if stamp.get(what) != value]
    missing = extras - set(stamp.get("extras", ()))
    if not stale and not missing:
        return
    extras = extras | set(stamp.get("extras", ()))
    log = venv / "install.log"
    start = time.monotonic()
    if stale:
        because = f" again: {' and '.join(stale)} changed" if stamp else ""
        say(f"Making {name}{because} (about a minute, once) ...")
        remove(venv)
        venv.mkdir()
        code = run([base_python(), "-m", "venv", str(venv)], log, lock)
        code = code or install(venv, sorted(extras), log, lock)
    else:
        say(f"Adding {', '.join(sorted(missing))} to {name} ...")
        (venv / "stamp.json").unlink()
        log.unlink(missing_ok=True)
        code = install(venv, sorted(extras), log, lock)
    if code:
        lines = log.read_text(errors="replace").splitlines()
        if not stale and not any(line.startswith("Installing collected packages") for line in lines):
            write_stamp(venv, stamp)  # pip gave up before it changed anything
        say("\n".join(["", *lines[-12:], ""]))
        sys.exit(f"make: installing into {name} failed; all that pip said is in {name}/install.log")
    write_stamp(venv, here | {"extras": sorted(extras)})
    say(f"... done in {time.monotonic() - start:.0f} s.")


def main() -> None:
    name = sys.argv[1]
    venv = Path(name).resolve()
    extras = set(re.findall(r"[^\s,]+", " ".join(sys.argv[2:])))
    known = set(tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"])
    if unknown := sorted(extras - known):
        sys.exit(f"make: unknown extra {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        sys.exit(f"make: {sys.executable} cannot make virtual environments. Debian, Ubuntu: install python3-venv.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with alone(venv) as lock:
            complete(name, venv, extras, lock)
    except KeyboardInterrupt:
        say(f"\nInterrupted. The next make starts {name} afresh.")
        sys.exit(130)


if __name__ == "__main__":
    main()
