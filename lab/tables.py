"""Tables: the results of a comparison on one screen of a terminal."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.findings import summarise
from lab.runs import Run
from lab.statistics import mean_interval

if TYPE_CHECKING:
    import xarray


def comparison_table(results: "xarray.Dataset", *, width: int) -> Table:
    """Objectives in rows, stages in columns: gradient norm, cosine with cross entropy, effective examples.

    Means over networks; a gradient that is dead in all of them reads "dead: 0" where it is exactly 0, and
    "dead: ~0" where it is lost in float32. The norm is left out where `width`, in characters, is too narrow for it.
    """
    with_norm = width >= 26 + 20 * results.sizes["stage"]
    table = Table(
        title=f"Gradients of {results.sizes['seed']} networks ({results.attrs['network']}), "
        f"{results.attrs['examples']:,} images each",
        caption=("|g| gradient norm, " if with_norm else "")
        + "cos with cross entropy's gradient, n how many examples carry it; means over "
        f"n = {results.sizes['seed']} networks.\n{results.attrs['data']}",
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("objective", no_wrap=True)
    heading = ("    |g| " if with_norm else "") + "  cos    n"
    for stage in results["stage"].values:
        table.add_column(
            f"{stage.replace('at the ', '').replace(' (', chr(10) + '(')}\n{heading}", justify="right", no_wrap=True
        )
    for one in results["objective"].values[results["in_table"].values]:
        row = results.sel(objective=one)
        table.add_row(str(row["title"].item()), *(_cell(row.sel(stage=s), with_norm) for s in results["stage"].values))
    return table


def _cell(row: "xarray.Dataset", with_norm: bool) -> str:
    dead = int(row["dead"].sum())
    if dead == row.sizes["seed"]:
        return "dead: 0" if not row["norm"].any() else "dead: ~0"
    cosine = mean_interval(row["cosine"].sel(other="cross_entropy").values).mean
    cell = f"{cosine:5.2f} {float(row['effective_examples'].mean()):4.0f}"
    return (f"{float(row['norm'].mean()):7.2g} " if with_norm else "") + cell


def show_comparison(run: Run, console: Console) -> None:
    """Prints a comparison: its table, its findings, and where everything lies."""
    results = run.results()
    console.print(comparison_table(results, width=console.width))
    for finding in summarise(results):
        console.print(f"[bold]{escape(finding.claim)}[/bold] {escape(finding.evidence)}")
    if results.sizes["seed"] > 1:
        console.print(f"In brackets: 95 % intervals of the mean over n = {results.sizes['seed']} networks.")
    console.print(f"\nResults: {run.path}\nThe page: {run.report}", markup=False, soft_wrap=True)


def learning_table(results: "xarray.Dataset") -> Table:
    """Loss and accuracy by epoch, for each part of the data."""
    table = Table(
        title=f"{results.attrs['network']}, {results.attrs['recipe']}",
        caption=f"n = 1 network. {results.attrs['data']}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("epoch", justify="right")
    for split in results["split"].values:
        table.add_column(f"{split}/loss", justify="right")
        table.add_column(f"{split}/accuracy", justify="right")
    for epoch in results["epoch"].values:
        row = results.sel(epoch=epoch)
        cells = [
            text
            for split in results["split"].values
            for text in (f"{row['loss'].sel(split=split):.4f}", f"{row['accuracy'].sel(split=split):.4f}")
        ]
        table.add_row(str(epoch), *cells)
    return table


def portrait_table(results: "xarray.Dataset") -> Table:
    """An objective's closest relatives, each with the cosine between their weights over the margin."""
    span = float(results["margin"].max())
    table = Table(
        title=f"{results['title'].values[0]}: {results.attrs['formula']}",
        caption=f"likeness: cosine between weights over margins from {-span:g} to {span:g}",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("relative", "function of", "likeness"):
        table.add_column(heading, justify="right" if heading == "likeness" else "left")
    for one in list(results["objective"].values)[1:]:
        row = results.sel(objective=one)
        margin = f"the {row['of'].item()} margin" if row["of"].item() else "the logits"
        table.add_row(escape(str(row["title"].item())), margin, f"{float(row['likeness']):.3f}")
    return table
