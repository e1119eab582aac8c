"""The portrait of an objective: its values and weights over the margin, and the objectives most like it.

A function of a margin is drawn as phi(m) and w(m). Any other is measured with equal rivals, where all margins say
the same but for a constant: its value, and its pull on the true logit, over the soft margin.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lab.catalogue import definitions
from lab.errors import InputError
from lab.objectives import Objective
from lab.properties import equal_rivals, measured

if TYPE_CHECKING:
    import xarray

CLASSES = 10
POINTS = 401
RELATIVES = 4
REFERENCE = "cross_entropy"


class Curve(NamedTuple):
    """Value and weight at each margin."""

    value: Float[np.ndarray, " margins"]
    weight: Float[np.ndarray, " margins"]


def curve(chosen: Objective, margins: Float[np.ndarray, " margins"]) -> Curve:
    """The objective over its margin, or over the soft margin (T = 1) of ten classes with equal rivals."""
    form = chosen.definition.margin_form
    if form is not None:
        at = jnp.asarray(margins)
        return Curve(np.asarray(form.phi(at, **chosen.parameters)), np.asarray(chosen.weight(at)))
    logits, labels = equal_rivals(margins + np.log(CLASSES - 1), CLASSES)
    values, slopes = measured(chosen, logits, labels)
    return Curve(values, -slopes[:, 0])


def likeness(one: Curve, other: Curve) -> float:
    """Cosine between two weights over the margins, in [-1, 1]; NaN if one of them is 0 everywhere.

    >>> likeness(Curve(np.zeros(2), np.array([1.0, 0.0])), Curve(np.zeros(2), np.array([2.0, 0.0])))
    1.0
    """
    with np.errstate(over="ignore", invalid="ignore"):  # far out exp(-m) is more than a float can hold
        lengths = np.linalg.norm(one.weight) * np.linalg.norm(other.weight)
        return float(np.clip(one.weight @ other.weight / lengths, -1, 1)) if lengths > 0 else float("nan")


def portray(chosen: Objective, *, span: float = 10.0) -> "xarray.Dataset":
    """Value and weight (objective x margin) of one objective, cross entropy and its closest relatives.

    Relatives are the objectives of the catalogue, each at its defaults, whose weights have the highest cosine with
    this one's over margins from -span to span (logits), whatever the margin they are functions of.

    Raises: InputError for an objective of a whole batch, which has no value at a margin.
    """
    import xarray

    if chosen.whole_batch:
        raise InputError(
            f"objective {chosen.name!r} is one of a whole batch: it has no weight at a margin to be shown. "
            f"Its formula: {chosen.definition.formula or 'not given'}."
        )
    margins = np.linspace(-span, span, POINTS)
    drawn = {str(chosen): (chosen, curve(chosen, margins))}
    others = [
        one for one in (known.make() for known in definitions()) if not one.whole_batch and str(one) != str(chosen)
    ]
    curves = {str(one): (one, curve(one, margins)) for one in others}
    cosines = {name: likeness(drawn[str(chosen)][1], found) for name, (_, found) in curves.items()}
    closest = sorted((name for name in cosines if np.isfinite(cosines[name])), key=lambda name: -cosines[name])
    for name in [REFERENCE, *closest[:RELATIVES]]:
        drawn.setdefault(name, curves.get(name, drawn[str(chosen)]))
    forms = [one.definition.margin_form for one, _ in drawn.values()]
    return xarray.Dataset(
        {
            "value": (("objective", "margin"), np.array([found.value for _, found in drawn.values()])),
            "weight": (("objective", "margin"), np.array([found.weight for _, found in drawn.values()])),
            "likeness": ("objective", [1.0, *(cosines[name] for name in list(drawn)[1:])]),
        },
        coords={
            "objective": list(drawn),
            "name": ("objective", [one.name for one, _ in drawn.values()]),
            "title": ("objective", [one.title for one, _ in drawn.values()]),
            "of": ("objective", [form.of if form else "" for form in forms]),
            "margin": margins,
        },
        attrs={"formula": chosen.definition.formula, "source": chosen.definition.source, "classes": CLASSES},
    )
