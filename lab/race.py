"""Race: the sweep that a comparison holds beside its gradients, under names of its own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray

PREFIX = "race_"  # of everything that is the sweep's


def entered(results: "xarray.Dataset", swept: "xarray.Dataset") -> "xarray.Dataset":
    """The results of a comparison with those of a sweep in them."""
    own = swept.rename({name: f"{PREFIX}{name}" for name in {*swept.variables, *swept.dims}})
    said = {f"{PREFIX}{name}": value for name, value in swept.attrs.items()}
    return results.assign_coords(own.coords).assign(own.data_vars).assign_attrs(said)


def raced(results: "xarray.Dataset") -> "xarray.Dataset | None":
    """The sweep that is in a comparison's results, None if there is none.

    >>> import xarray
    >>> compared = xarray.Dataset({"norm": ("seed", [1.0])}, {"seed": [0]}, {"data": "digits"})
    >>> swept = xarray.Dataset({"tuning": ("seed", [0.5, 0.6])}, {"seed": [0, 1]}, {"reference": "brier"})
    >>> raced(compared) is None, raced(entered(compared, swept)).identical(swept)
    (True, True)
    """
    own = [name for name in results.variables if str(name).startswith(PREFIX)]
    if not own:
        return None
    found = results.drop_vars(set(results.variables) - set(own))
    said = {name.removeprefix(PREFIX): value for name, value in results.attrs.items() if name.startswith(PREFIX)}
    found = found.rename({name: str(name).removeprefix(PREFIX) for name in {*found.variables, *found.dims}})
    found.attrs = said
    return found
