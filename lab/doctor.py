"""The doctor: what is installed, what it runs on, where digits are found, and what is wrong."""

import os
import tempfile
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from lab.data import load_from
from lab.environment import describe
from lab.errors import InputError, unknown
from lab.machine import damaged_programs, programs_folder
from lab.published import PUBLISHED
from lab.settings import DataSettings, DoctorSettings
from lab.sources import availability
from lab.userfile import is_own


def examine(settings: DoctorSettings) -> tuple[Table, list[str]]:
    """A table of what was found, and a list of complaints (empty if all is well)."""
    dataset, data_dir = settings.data.dataset, settings.data.data_dir
    if dataset not in PUBLISHED and not is_own(dataset):
        raise unknown("dataset", dataset, PUBLISHED, see="python -m lab list datasets")
    found, complaints = describe(precision="highest"), []
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    git, device = found["git"], found["device"]
    changed = " with changes" if git["dirty"] else ""
    table.add_row("lab", f"revision {git['revision']}{changed}" if git["revision"] else "not a git checkout")
    table.add_row("python", f"{found['python']} on {found['platform']}, {found['cores']} cores")
    for name, version in found["packages"].items():
        table.add_row(name, version or "not installed")
        if version is None:
            complaints.append(f"{name} is not installed: `pip install .` in the lab's folder installs all it needs.")
    table.add_row("device", f"{device['count']} x {device['kind']} ({device['backend']})")
    programs = programs_folder()
    table.add_row("compiled", f"{len(list(programs.glob('*-cache')))} programs are kept in {escape(str(programs))}")
    if damaged := damaged_programs():
        complaints.append(
            f"{len(damaged)} of the compiled programs are not whole, as after a full disk, and are compiled anew each "
            f"time. Delete {damaged[0]}{f' and {len(damaged) - 1} more, or the folder' if len(damaged) > 1 else ''}."
        )
    table.add_row("precision", ", ".join(f"{key} {value}" for key, value in found["precision"].items()))
    if is_own(dataset):
        try:
            table.add_row(escape(dataset), escape(load_from(settings.data).description))
        except InputError as error:
            complaints.append(str(error))
    else:
        sources = availability(PUBLISHED[dataset], data_dir)
        for source in sources:
            there = "yes" if source.available else "no"
            table.add_row(f"{dataset}: {source.source}", f"{there}: {escape(source.reason)}")
        if data_dir is not None and not sources[0].available:
            complaints.append(sources[0].reason)
        if not any(source.available for source in sources):
            complaints.append(f"no source has {dataset}: give the folder of its four files with --data-dir.")
        elif settings.data != DataSettings(dataset, data_dir, settings.data.sample):
            try:
                table.add_row("training part", escape("; ".join(load_from(settings.data).conditions)))
            except InputError as error:
                complaints.append(str(error))
    return table, complaints + _unwritable(settings.out)


def _unwritable(out: Path) -> list[str]:
    """Whether results can be written: tried in the nearest folder that exists."""
    folder = out.resolve()
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        return [f"results cannot be written to {out}: {os.strerror(error.errno or 0)}."]
