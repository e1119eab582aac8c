"""The reference: the catalogue of objectives as a table for the terminal and as a page, from what each one carries."""

import re
from collections.abc import Sequence
from itertools import groupby

from rich.markup import escape
from rich.table import Table

from lab.catalogue import definitions
from lab.checks import Finding
from lab.objectives import FLAGS, Definition, Objective

LETTERS = dict(zip(FLAGS, "BNCSOI", strict=True))  # N: noise tolerant, O: half-way at the boundary
FAMILIES = {
    "book": "The metric and the chapter's losses",
    "smoothed accuracy": "Smoothed accuracy",
    "weighted CE": "Weighted cross entropies and other functions of the probabilities",
    "margin": "Functions of margins",
    "logit": "Functions of the logits themselves",
    "batch": "Metrics of a whole batch",
    "estimator": "Estimators",
    "own": "Your own",
}


def parameters(definition: Definition) -> list[str]:
    """Each hyper-parameter with its default and range.

    >>> import lab
    >>> parameters(lab.objective("gce").definition)
    ['q=0.7 (0 < q <= 1)']
    """
    words = [f"{name}={one.default} ({', '.join(one.allowed)})" for name, one in definition.choices.items()]
    numbers = [
        f"{name}={one.default:g} ({one.range(name)}{', whole' if one.whole else ''})"
        for name, one in definition.parameters.items()
    ]
    return words + numbers


def _letters(definition: Definition) -> str:
    if definition.flags is None:
        return "?"
    return "".join(letter if definition.has(flag) else "\u00b7" for flag, letter in LETTERS.items())


def _author(source: str) -> str:
    """Author and year; the page has the title as well."""
    cited = re.match(r"[^;:(]*? \d{4}", source)
    return cited[0] if cited else re.split("[;:,(]", source)[0].strip()


def _ordered() -> list[Definition]:
    known = list(FAMILIES)
    return sorted(definitions(), key=lambda one: known.index(one.family) if one.family in known else len(known))


def objectives_table() -> Table:
    """Every objective by family: name, formula, parameters, flags, source."""
    table = Table(
        title="Objectives: p = softmax(z), z logits, y the true class of K, T the temperature",
        caption=", ".join(f"{letter} {flag}" for flag, letter in LETTERS.items())
        + ".\nMore: docs/objectives.md; a picture: python -m lab show NAME",
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    for heading in ("objective", "formula", "parameters", "flags", "source"):
        table.add_column(heading, no_wrap=heading in ("objective", "flags"), overflow="fold")
    for family, members in groupby(_ordered(), key=lambda one: one.family):
        table.add_section()
        table.add_row(f"[bold]{escape(family)}[/bold]")
        for one in members:
            given = "\n".join(text.split(" (")[0] for text in parameters(one))
            table.add_row(*map(escape, (one.name, one.formula, given, _letters(one), _author(one.source))))
    return table


def findings_table(chosen: Objective, findings: Sequence[Finding]) -> Table:
    """What `lab.checks` found out about an objective, one line a check."""
    marks = {"fine": "", "note": "note", "wrong": "[bold red]wrong[/bold red]"}
    table = Table(title=escape(str(chosen)), title_justify="left", show_header=False)
    for one in findings:
        table.add_row(one.what, marks[one.rank], escape(one.said))
    return table


def objectives_page() -> str:
    """The page docs/objectives.md, in Markdown; `python -m lab list objectives --markdown` prints it."""
    parts = [_PREFACE]
    for family, members in groupby(_ordered(), key=lambda one: one.family):
        parts.append(f"## {FAMILIES.get(family, family)}\n")
        parts += [_entry(one) for one in members]
    return "\n".join(parts)


_FLAGS = "\n".join(f"- **{flag}** ({letter}): {FLAGS[flag]}" for flag, letter in LETTERS.items())
_PREFACE = f"""# Objectives

This page is made by `python -m lab list objectives --markdown` from what each objective carries, and a test holds it
to that. z are the logits, y is the true class of K, p = softmax(z), T > 0 a temperature. Every objective gives one
value per example, to be minimised; none contains a reduction, a factor or a sign that is not written here.

The **margin** m is the true class's lead: over its strongest rival (*hard*), over the soft sum of the rivals,
z_y - T log sum exp(z_j / T) (*soft*), over their soft mean (*centred*), or into the first k (*top-k*). An objective
that is a function phi(m) has the logit gradient -w(m) dm/dz with the **weight** w = -phi'. In a weight, p is
sigmoid(m / T), which is p_y for the soft margin at T = 1, and u is m over the width.

Flags, each measured by a test at the defaults of the parameters:

{_FLAGS}

Use one by name, `lab.objective("gce", q=0.5)` or `--objective gce:q=0.5`; look at one with `python -m lab show
gce:q=0.5`; try your own with `python -m lab check mine.py:my_loss`.
"""


def _entry(one: Definition) -> str:
    lines = [f"### {one.name}\n", f"    {one.formula}\n"]
    if one.margin_form is not None:
        lines.append(f"- weight: `{one.margin_form.text}`, of the {one.margin_form.of} margin")
    if given := parameters(one):
        lines.append(
            "- parameters: " + "; ".join(f"`{text.split(' (')[0]}` ({text.split(' (', 1)[1]}" for text in given)
        )
    flags = [flag for flag in FLAGS if one.has(flag)]
    lines.append(f"- flags: {', '.join(flags) if one.flags is not None else 'not known'}")
    if one.note:
        lines.append(f"- {one.note}")
    lines.append(f"- source: {one.source}\n")
    return "\n".join(lines)
