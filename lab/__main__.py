"""`python -m lab ...`: compare, train, sweep, report, experiments, list, show, check, doctor.

What needs JAX is imported inside the commands that compute, so that `--help` answers at once and `report` works
without it.
"""

import ast
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console

import lab
from lab.collection import runs_at
from lab.console import cli, interruptible, plain_console, progress, read_again
from lab.errors import InputError
from lab.lifecycle import begun_with
from lab.runs import Run
from lab.settings import CompareSettings, DoctorSettings, ShowSettings, SweepCommand, TrainCommand, restored


def compare(settings: CompareSettings) -> None:
    """Compare the gradients of losses and smoothed accuracies at several stages of training."""
    console = plain_console()
    data = lab.load_from(settings.data)
    console.print(f"{data.description} ({data.detail})", markup=False)
    environment = lab.describe(precision=settings.precision, data=data.identity)
    with lab.new_run(settings.out, "compare", settings, environment) as run:
        with progress(settings.steps) as advance:
            results = lab.compare(settings, data, progress=advance)
        run.save_results(results)
        with console.status("drawing"):
            lab.draw(run)
            lab.write_report(run)
    lab.show_comparison(run, console)


def train(command: TrainCommand) -> None:
    """Train networks and keep them, with their metrics after every epoch; or go on with a run that was stopped."""
    from lab.learning import learn

    console = plain_console()
    settings = _settings("train", command)
    data = lab.load_from(settings.data)
    console.print(f"{data.description} ({data.detail})", markup=False)
    steps, images = settings.epochs * (len(data.train) // settings.training.batch_size), settings.training.batch_size
    with _run("train", settings, data, command.resume) as run:
        say = partial(console.print, markup=False, soft_wrap=True)
        with interruptible() as stop, progress(steps, images_per_step=images * settings.seeds) as advance:
            results, parameters = learn(settings, data, run, debug=command.debug, progress=advance, say=say, stop=stop)
        run.save_networks(parameters, range(settings.seed, settings.seed + settings.seeds))
        run.save_results(results)
        with console.status("drawing"):
            lab.draw(run)
            lab.write_report(run)
    console.print(lab.learning_table(results))
    console.print(f"Results: {run.path}\nThe page: {run.report}", markup=False, soft_wrap=True)


def sweep(command: SweepCommand) -> None:
    """Which objective trains the better network, each at its own best learning rate?"""
    console = plain_console()
    settings = _settings("sweep", command)
    data = lab.load_from(settings.data)
    console.print(f"{data.description} ({data.detail})", markup=False)
    with _run("sweep", settings, data, command.resume) as run:
        with interruptible() as stop, progress(0, images_per_step=settings.batch_size) as advance:
            results = lab.sweep(settings, data, run, progress=advance, say=console.print, stop=stop)
        run.save_results(results)
        with console.status("drawing"):
            lab.draw(run)
            lab.write_report(run)
    lab.show_sweep(run, console)


def _settings(kind: str, command: TrainCommand | SweepCommand) -> Any:
    """The settings that were given; of a run to be resumed its own, changed where an option was given that differs."""
    if command.resume is None:
        return command.settings
    stored = restored(type(command.settings), begun_with(command.resume, kind))
    return read_again(replace(command, settings=stored)).settings


def _run(kind: str, settings: Any, data: Any, resume: Path | None) -> AbstractContextManager[Run]:
    """A new run that lasts, or the one to be resumed."""
    if resume is not None:
        return lab.resumed_run(resume, kind, settings, data=data.identity)
    return lab.lasting_run(settings.out, kind, settings, lab.describe(precision="default", data=data.identity))


def report(run: tyro.conf.Positional[tuple[Path, ...]], out: Path | None = None, open: bool = False) -> None:
    """Redraw pictures and pages of runs from their folders, without JAX and without training; compare several.

    Several runs also get a page that shows them side by side: gallery.html in the folder that holds them all.

    Args:
        run: the run's folder, as in runs/20261123-120000-compare; several, or a folder of runs, for a gallery
        out: the file of the gallery, if it is to lie elsewhere
        open: show the page in the browser
    """
    if not run:
        raise InputError("report needs the folder of a run, as in runs/20261123-120000-compare. See the runs/ folder.")
    found = list({one.path.resolve(): one for path in run for one in runs_at(path)}.values())
    if out is not None and len(found) < 2:
        raise InputError(f"--out is for the gallery of several runs; got one, {found[0].path}, whose page lies in it.")
    for one in found:
        drawn = [*lab.draw(one), lab.write_report(one)]
        for path in drawn if len(found) == 1 else drawn[-1:]:
            print(path)
    page = found[0].report
    if len(found) > 1:
        from lab.gallery import gallery_place

        page = lab.write_gallery(found, out or gallery_place(found))
        print(f"The gallery: {page}")
    if open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def check(objective: tyro.conf.Positional[str]) -> None:
    """Try an objective, your own above all: gradient, extremes, margin, where its gradient dies, properties.

    Args:
        objective: as in path/to/mine.py:my_loss or gce:q=0.5
    """
    from lab.checks import check as findings_of
    from lab.reference import findings_table

    console = plain_console()
    chosen = lab.objective(objective)
    with console.status("trying"):
        findings = findings_of(chosen)
    console.print(findings_table(chosen, findings))
    if wrong := [one.what for one in findings if one.rank == "wrong"]:
        console.print(f"Wrong: {', '.join(wrong)}.", markup=False)
    sys.exit(1 if wrong else 0)


def show(settings: ShowSettings) -> None:
    """Draw an objective: its values and weights over the margin, beside cross entropy and its closest relatives."""
    from lab.portrait import portray

    console = plain_console()
    chosen = lab.objective(settings.objective)
    results = portray(chosen, span=settings.span)
    with lab.new_run(settings.out, "show", settings, lab.describe(precision="highest")) as run:
        run.save_results(results)
        drawn = lab.draw(run)
        lab.write_report(run)
    console.print(lab.portrait_table(results))
    for path in drawn:
        console.print(str(run.figures / path.name), markup=False, soft_wrap=True)
    console.print(f"The page: {run.report}", markup=False, soft_wrap=True)


def list_(
    what: tyro.conf.Positional[Literal["objectives", "metrics", "datasets", "diagnostics", "experiments"]],
    markdown: bool = False,
) -> None:
    """List what there is to choose from.

    Args:
        what: which list
        markdown: objectives only: as the page docs/objectives.md
    """
    console = plain_console()
    if markdown and what != "objectives":
        raise InputError(f"--markdown is for objectives alone; got {what}.")
    if markdown:
        from lab.reference import objectives_page

        print(objectives_page())
        return
    {
        "objectives": _list_objectives,
        "metrics": _list_metrics,
        "datasets": _list_datasets,
        "diagnostics": _list_diagnostics,
        "experiments": lambda console: experiments(),
    }[what](console)


def _list_objectives(console: Console) -> None:
    from lab.reference import objectives_table

    console.print(objectives_table())


def _list_metrics(console: Console) -> None:
    from lab import metrics
    from lab.scoring import METRICS

    for name in METRICS:
        console.print(f"{name}: {getattr(metrics, name).__doc__.splitlines()[0]}", markup=False, soft_wrap=True)
    own = "your own, a function of logits [batch, classes] and labels [batch] that gives a number from 0 to 1"
    console.print(f"path/to/mine.py:name: {own}", markup=False, soft_wrap=True)


def _list_datasets(console: Console) -> None:
    from lab.published import PUBLISHED
    from lab.userdata import GIVES

    for one in PUBLISHED.values():
        console.print(f"{one.name}: {one.title}, classes {', '.join(one.classes)}", markup=False)
    console.print(f"path/to/mine.py:make: your own, a function that gives {GIVES}", markup=False, soft_wrap=True)


def _list_diagnostics(console: Console) -> None:
    from lab.diagnostics import DIAGNOSTICS

    for one in DIAGNOSTICS:
        console.print(f"{one.__name__}: {(one.__doc__ or '').splitlines()[0]}", markup=False, soft_wrap=True)


def experiments() -> None:
    """List the experiments: the question of each, and the script that answers it."""
    folder = Path(__file__).resolve().parent.parent / "experiments"
    scripts = sorted(folder.glob("*.py"))
    if not scripts:
        raise InputError("the experiments are scripts in the repository; clone it to have them beside the package.")
    console = plain_console()
    for script in scripts:
        question = (ast.get_docstring(ast.parse(script.read_text())) or "").splitlines()[0]
        console.print(f"experiments/{script.name}: {question}", markup=False, soft_wrap=True)


def doctor(settings: DoctorSettings) -> None:
    """Say what is installed, what it runs on, where digits are found, and what is wrong."""
    from lab.doctor import examine

    console = plain_console(soft_wrap=True)
    table, complaints = examine(settings)
    console.print(table)
    for complaint in complaints:
        console.print(f"wrong: {complaint}", markup=False)
    if not complaints:
        console.print("Nothing is wrong.")
    sys.exit(1 if complaints else 0)


def main() -> None:
    """The entry point of `python -m lab` and of the `lab` command."""
    commands = {
        "compare": compare,
        "train": train,
        "sweep": sweep,
        "report": report,
        "experiments": experiments,
        "list": list_,
        "show": show,
        "check": check,
        "doctor": doctor,
    }
    description = "Why train on a loss and not on accuracy? Measure the gradients and see."
    cli(commands, prog="python -m lab", description=description)


if __name__ == "__main__":
    main()
