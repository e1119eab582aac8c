"""Print constraints.txt: what the extras resolve to on every Python given. `make constraints` runs it."""

import json
import subprocess
import sys

# Not here: torch and CUDA, which have a build for every kind of machine and driver.
PROJECT = [".[dev,baselines,cluster,docs]", "equinox", "flax", "keras"]
HEADER = """\
# The versions that are tested: all that the default install and the extras dev, baselines, cluster and docs
# resolve to, and the peers of the extra bench. Made by `make constraints`, on Linux: what a package needs on
# another system only is not pinned, and neither are torch and what the extras cuda and cuda13 bring along
# (jax, which decides about the latter, is).
"""


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """Python's minor version, and the newest set of packages that pip would install for it."""
    pip = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = json.loads(subprocess.run(pip + PROJECT, check=True, stdout=subprocess.PIPE).stdout)
    found = [package for package in report["install"] if "dir_info" not in package["download_info"]]
    # A version that only this machine holds is of no use to anybody else.
    local = [package["download_info"]["url"] for package in found if "+" in package["metadata"]["version"]]
    local += [url for package in found if (url := package["download_info"]["url"]).startswith("file:")]
    if local:
        sys.exit("not from an index; try PIP_CONFIG_FILE=/dev/null make constraints\n" + "\n".join(local))
    minor = report["environment"]["python_version"]
    return minor, {package["metadata"]["name"]: package["metadata"]["version"] for package in found}


def main() -> None:
    pins = dict(resolve(python) for python in sys.argv[1:])
    print(HEADER, end="")
    for name in sorted({name for versions in pins.values() for name in versions}, key=str.lower):
        pythons: dict[str, list[str]] = {}
        for minor, versions in pins.items():
            if name in versions:
                pythons.setdefault(versions[name], []).append(f'python_version == "{minor}"')
        for version, markers in pythons.items():
            print(f"{name}=={version}" + (f" ; {' or '.join(markers)}" if len(markers) < len(pins) else ""))


if __name__ == "__main__":
    main()
