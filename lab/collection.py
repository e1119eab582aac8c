"""The collection: several runs, found in their folders and read together."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import DataError, InputError
from lab.runs import Run, differing

if TYPE_CHECKING:
    import xarray


def runs_at(path: Path) -> list[Run]:
    """The run in a folder, or those with results in a folder of runs, by name.

    Raises: DataError if there is none.
    """
    if Run(path).has_results or not path.is_dir():
        found = [Run(path)]
    else:
        found = [run for run in map(Run, _visible(path)) if run.has_results]
    if not found or not found[0].has_results:
        raise DataError(f"{path} holds no results.nc, so it is not a run of the lab. See the runs/ folder.")
    return found


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, but for what is hidden: a run that is still being made."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def open_runs(pattern: str | Path) -> "xarray.Dataset":
    """The results of all runs that match, in one dataset with the axis `run`.

    `pattern` is a folder of runs or a pattern as in "runs/*-train". Where runs have other seeds, stages or objectives
    than one another, what a run lacks is NaN. Settings that differ between the runs become coordinates of `run`, named
    as in config.json ("training.learning_rate"), so that one can select by them; one named as an axis or a quantity of
    the results (seed) has "settings." before its name.

    Raises: InputError if no run with results matches, or runs of several kinds do.
    """
    import xarray

    pattern = Path(pattern)
    if pattern.is_dir():  # by its name as it is: there may be brackets in it
        paths = [pattern] if Run(pattern).has_results else _visible(pattern)
    else:
        paths = sorted(map(Path, glob.glob(str(pattern))))
    runs = [run for run in map(Run, paths) if run.has_results]
    if not runs:
        raise InputError(f"no run of the lab with results matches {str(pattern)!r}. See the runs/ folder.")
    configs = [run.config() for run in runs]
    if len(kinds := sorted({config["kind"] for config in configs})) > 1:
        raise InputError(
            f"{str(pattern)!r} matches runs of {' and '.join(kinds)}; narrow it, as in 'runs/*-{kinds[0]}'."
        )
    joined = xarray.concat(
        [run.results() for run in runs],
        dim="run",
        join="outer",
        combine_attrs="drop_conflicts",
        data_vars="all",
        coords="different",
        compat="equals",
    )
    joined = joined.assign_coords({name: _common(joined[name]) for name in joined.coords if name not in joined.dims})
    settings: dict[str, Any] = {}
    for name, values in differing(configs).items():
        numbers = all(isinstance(value, int | float) for value in values)
        settings[f"settings.{name}" if name in joined.variables else name] = (
            "run",
            values if numbers else [str(value) for value in values],
        )
    return joined.assign_coords({"run": [run.name for run in runs], **settings})


def _common(said: "xarray.DataArray") -> "xarray.DataArray":
    """What runs say along an axis, without the axis `run` if none says otherwise than another."""
    if "run" not in said.dims:
        return said
    once = said.isel(run=0)
    for number in range(1, said.sizes["run"]):
        once = once.combine_first(said.isel(run=number))
    return once if bool(((said == once) | said.isnull()).all()) else said
