"""Legend: what stages and objectives are called in pictures, which are shown, and in which order."""

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray


def rounded(value: float, digits: int = 4) -> float | None:
    """`value` to a few significant digits, and None (JSON has no NaN) where it is not finite.

    >>> rounded(0.123456), rounded(float("nan"))
    (0.1235, None)
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def stage_titles(results: "xarray.Dataset") -> list[str]:
    """The stages as they stand over a picture: "at the start", "after 100 steps"."""
    names = [str(name) for name in results["stage"].values]
    return [f"after {name}" if name[0].isdigit() else name for name in names]


def keys(results: "xarray.Dataset") -> list[str]:
    """For each objective, what it shares with itself at other temperatures: its colour and its place in a legend.

    That is its name if it differs from the defaults in its temperature alone, and its title otherwise.
    """
    swept = re.compile(r":temperature=[^,]*")
    return [
        str(name) if str(one) == name or swept.fullmatch(str(one).removeprefix(str(name))) else str(title)
        for one, name, title in zip(
            results["objective"].values, results["name"].values, results["title"].values, strict=True
        )
    ]


def titles(results: "xarray.Dataset") -> list[str]:
    """The objectives as they stand in tables and pictures, each under a title of its own."""
    return [str(title) for title in results["title"].values]


def in_table(results: "xarray.Dataset") -> "xarray.Dataset":
    """The objectives that the table shows, along both axes of the cosines."""
    chosen = results["in_table"].values
    return results.isel(objective=chosen, other=chosen)


def swept_temperatures(results: "xarray.Dataset") -> list[float]:
    """Every temperature at which some objective was measured, rising."""
    found = {rounded(float(value)) for value in results["temperature"].values}
    return sorted(value for value in found if value is not None)


def places(results: "xarray.Dataset") -> list[tuple[str, int | None]]:
    """For each objective its key and its place among the swept temperatures, None where it has none to sweep."""
    at = swept_temperatures(results)
    found = []
    for key, name, value in zip(keys(results), results["name"].values, results["temperature"].values, strict=True):
        temperature = rounded(float(value))
        found.append((key, at.index(temperature) if temperature is not None and key == name else None))
    return found


def swept_keys(results: "xarray.Dataset") -> list[str]:
    """The objectives that have a temperature, in the order of the results."""
    return list(dict.fromkeys(key for key, place in places(results) if place is not None))


def table_keys(results: "xarray.Dataset") -> list[str]:
    """The objectives of the table, each once at whatever temperature."""
    return list(dict.fromkeys(keys(in_table(results))))


def numbered(results: "xarray.Dataset") -> list[str]:
    """The table's objectives, each with its number in front."""
    return [f"{i}  {title}" for i, title in enumerate(in_table(results)["title"].values, start=1)]
