"""Studies: a question asked of data, part by part, and answered with its uncertainty; what an experiment is made of.

An experiment says what is measured in a part (most often: by one network) and how the answer reads. The rest is here:
the run's folder, progress, going on after a kill, intervals, pictures, the page.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lab.console import plain_console, progress
from lab.data import DATASETS, Dataset, load_from
from lab.environment import describe
from lab.errors import InputError
from lab.figures import draw
from lab.lifecycle import begun_with, lasting_run, resumed_run
from lab.pictures import Picture, declare
from lab.report import write_report
from lab.runs import differing
from lab.settings import StudySettings, restored
from lab.userfile import is_own

if TYPE_CHECKING:
    import xarray

S = TypeVar("S", bound=StudySettings)
Measured = Mapping[str, tuple[Sequence[str], Any]]


def study(
    name: str,
    question: str | None,
    settings: S,
    *,
    measure: Callable[[S, Dataset, Any, Callable[[int], object]], Measured],
    coordinates: Callable[[S], Mapping[str, Iterable[Any]]],
    answer: Callable[["xarray.Dataset"], str],
    pictures: Callable[["xarray.Dataset"], Sequence[Picture]],
    method: Callable[[S], str],
    steps: Callable[[S, Dataset], int] = lambda settings, data: 1,
    images: Callable[[S], int] = lambda settings: 100,
    over: str = "seed",
    parts: Callable[[S], Sequence[Any]] | None = None,
    own_data: bool = False,
) -> "xarray.Dataset":
    """Asks the question, keeps what was found in a run's folder, draws it and prints the answer; gives the results.

    The question is the first line of what is given: a script gives its `__doc__`.

    `measure(settings, data, part, advance)` gives variables by name, each with its axes and values; those of all parts
    are put together along the axis `over`. Parts are the seeds unless `parts` names others. What has been measured is
    kept part by part: a run that was stopped or killed goes on with `settings.resume`. `coordinates` are the places
    along the axes; `steps` is how often a part calls `advance(1)`, for the time that is left; `images` how many
    training images there have to be (one mini-batch, if it is not given). `answer` and `pictures` see the results only,
    so that all that is said is computed from what is kept. `own_data` says that it may be asked of a user's own data as
    well: of other than 28 x 28 pixels as bytes, in other than ten classes.

    Raises: InputError if the run to be resumed is none of this study or was begun with other settings, if there are too
      few training images, or for a user's own data, unless it may be asked of those.
    """
    import xarray

    console = plain_console()
    resume = settings.resume
    if resume:
        # What the run was begun with, and what is given now: if that differs it is refused below.
        begun = restored(type(settings), begun_with(resume, name))
        settings = replace(_given(settings, type(settings)(), begun), resume=None)
    if is_own(settings.data.dataset) and not own_data:
        raise InputError(
            f"{name} is asked of images of 28 x 28 pixels in ten classes: --dataset must be {', '.join(DATASETS)}; got "
            f"{settings.data.dataset}. Of your own data ask python -m lab compare, train or sweep."
        )
    data = load_from(settings.data)
    console.print(f"{data.description} ({data.detail})", markup=False)
    if (there := len(data.train)) < (least := images(settings)):
        raise InputError(
            f"{name}, as it is asked here, takes {least:,} training images at least; got {there:,}. Give it more, or "
            "less to do: --help says with which options."
        )
    all_parts = list(parts(settings) if parts else settings.seed_range)
    each = steps(settings, data)
    again = f"python {sys.argv[0]}"
    if resume:
        options = differing([asdict(type(settings)()), asdict(settings)])
        begun = ", ".join(f"{option} {value}" for option, (_, value) in options.items()) or "no options"
        console.print(f"Going on with {resume}, begun with {begun}.", markup=False, soft_wrap=True)
        opened = resumed_run(resume, name, settings, data=data.identity, command=again)
    else:
        environment = describe(precision="highest", data=data.identity)
        opened = lasting_run(settings.out, name, settings, environment, command=again)
    with opened as run:
        with progress(len(all_parts) * each) as advance:
            for i, part in enumerate(all_parts):
                what = f"{over} {part}"
                advance(0, what)
                if run.part(i) is None:
                    found = measure(settings, data, part, lambda count, what=what: advance(count, what))
                    run.keep_part(i, xarray.Dataset(dict(found), _used(found, coordinates(settings))))
                else:
                    advance(each, what)
        measured = [run.part(i) for i in range(len(all_parts))]
        results = xarray.concat([one for one in measured if one is not None], dim=over)
        results = results.assign_coords({over: all_parts})
        results.attrs = {
            "question": (question or name).splitlines()[0],
            "data": data.description,
            "method": inspect.cleandoc(method(settings)),
        }
        results.attrs |= {"answer": answer(results), "pictures": declare(pictures(results))}
        run.save_results(results)
        with console.status("drawing"):
            draw(run)
            write_report(run)
    console.print(results.attrs["answer"], markup=False)
    console.print(f"\nResults: {run.path}\nThe page: {run.report}", markup=False, soft_wrap=True)
    return results


def _given(settings: Any, default: Any, begun: Any) -> Any:
    """What a run was `begun` with, but for the settings that are not as they are by default."""
    values = {}
    for name in (field.name for field in fields(begun)):
        now, usual, then = (getattr(of, name) for of in (settings, default, begun))
        values[name] = _given(now, usual, then) if is_dataclass(then) else now if now != usual else then
    return replace(begun, **values)


def _used(found: Measured, coordinates: Mapping[str, Iterable[Any]]) -> dict[str, list[Any]]:
    """The coordinates of the axes that there are."""
    axes = {axis for of, _ in found.values() for axis in of}
    return {axis: list(places) for axis, places in coordinates.items() if axis in axes}
