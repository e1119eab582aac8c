"""The architecture: imports go one way, and what draws needs no JAX."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lab

FOLDER = Path(lab.__file__).parent

# From the top down: a module may import those before it.
LAYERS = """
errors machine options settings files labels userfile
idx published sample prepared sources conditions userdata data sample.make checkpoints runs lifecycle collection
batches convolutions networks book
margins objectives losses tempered weighted surrogates hinges confusion catalogue metrics scoring properties checks
optimisers schedules devices evaluation
gradients nodes moments estimators diagnostics rays landscape curvature staircase measurement training
blame journal
environment statistics saved learning tuning sweeps race quantities comparison portrait
ranking findings legend columns series tallies palette charts grids curves races headlines frame
vega pictures figures markup page links story scenes sections report gallery tables
console studies doctor reference __main__
""".split()
# What is drawn and read back, and what answers `--help`, must work where JAX is not installed.
WITHOUT_JAX = [
    "errors",
    "machine",
    "options",
    "settings",
    "checkpoints",
    "statistics",
    "runs",
    "lifecycle",
    "collection",
    "race",
    "quantities",
    *LAYERS[LAYERS.index("ranking") : LAYERS.index("studies")],
]
DRAWING = (
    "palette",
    "charts",
    "grids",
    "curves",
    "races",
    "frame",
    "pictures",
    "figures",
    "report",
)  # altair is their job, and only drawing imports them
HEAVY = ("tensorflow_datasets", "xarray", "altair", "vl_convert", "PIL", "h5netcdf", "ray", "sklearn")


def modules():
    paths = [path for path in FOLDER.rglob("*.py") if path != FOLDER / "__init__.py"]
    return {".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imported(node):
    """The names of lab's modules that one import statement brings in."""
    if isinstance(node, ast.ImportFrom) and node.module == "lab":
        homes = lab._MODULE  # a public name may be imported from the package itself
        return [homes.get(alias.name, alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lab."):
        return [node.module.removeprefix("lab.")]
    if isinstance(node, ast.Import):
        return [alias.name.removeprefix("lab.") for alias in node.names if alias.name.startswith("lab.")]
    return []


def test_every_module_has_its_place():
    assert sorted(modules()) == sorted(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_imports_come_from_above(name):
    tree = ast.parse(modules()[name].read_text())
    above = LAYERS[: LAYERS.index(name)]
    for node in ast.walk(tree):
        for other in imported(node):
            assert other in above, f"lab/{name}.py imports {other}, which is not above it"


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in DRAWING])
def test_heavy_packages_are_imported_where_they_are_used(name):
    for node in ast.parse(modules()[name].read_text()).body:  # the module's own level only
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
        roots = {one.split(".")[0] for one in names}
        assert not roots & set(HEAVY), f"lab/{name}.py imports {roots & set(HEAVY)} at import time"
        if name in WITHOUT_JAX:
            assert not roots & {"jax", "optax"}


def test_public_names_are_what_the_type_checker_sees():
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    typed = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lab.")
        for alias in node.names
    }
    assert typed == {(f"lab.{module}", name) for name, module in lab._MODULE.items()}
    assert all(callable(getattr(lab, name)) for name in lab.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lab.nonsense


def run(code, *, without=()):
    """Runs code in a fresh process in which some packages cannot be imported."""
    block = f"import sys\nfor name in {list(without)}: sys.modules[name] = None\n"
    return subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, cwd=FOLDER.parent)


def test_help_does_not_import_jax():
    done = run(
        "sys.argv = ['lab', '--help']\nfrom lab.__main__ import main\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\n",
        without=["jax", "xarray", "altair", "tensorflow_datasets"],
    )
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


def test_the_core_runs_on_six_packages():
    """jax, optax, numpy, tyro, rich and jaxtyping are enough until results are stored or drawn."""
    done = run(
        "import jax, lab\n"
        "data = lab.load('mnist')\n"
        "network = lab.mlp([5])\n"
        "sgd, loss = lab.optimiser('sgd', 0.1), lab.objective('cross_entropy')\n"
        "for state in lab.train(network, loss, sgd, data.train.images, data.train.labels,\n"
        "                       key=jax.random.key(0), stages=[0, 3]): pass\n"
        "print(lab.evaluate(network.apply, loss, state.parameters, data.test.images, data.test.labels))\n",
        without=[*HEAVY, "h5py", "pandas", "beartype"],
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
