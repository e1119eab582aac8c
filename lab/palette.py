"""Palette: the colour and the dash of every objective, the same in every picture, and how charts look.

Ink is `currentColor`: a chart takes the colour of the text around it, light or dark, and is black where there
is none.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

INK = "currentColor"
FONT = "Helvetica Neue, Arial, Liberation Sans, sans-serif"

# Okabe & Ito's colours, their yellow left out (too faint on white), and those of Tol's muted ones that are seen on dark
# paper as well: a page has either, and every colour a contrast of 3 with the dark one. Losses cool, smoothed accuracies
# warm, hinges green. What shares a colour or comes close in it differs in dash.
SOLID, DASHED, DOTTED, MIXED = [1, 0], [6, 3], [2, 2], [8, 2, 2, 2]
DASHES = (SOLID, DASHED, DOTTED, MIXED, [12, 4], [1, 4])
KNOWN = {
    "zero_one": (INK, SOLID),
    "cross_entropy": ("#0072B2", SOLID),
    "guarded_cross_entropy": ("#56B4E9", DASHED),
    "squared_error": ("#009E73", SOLID),
    "smoothed_error": ("#F0486C", SOLID),
    "expected_error": ("#D55E00", SOLID),
    "centred_expected_error": ("#E69F00", MIXED),
    "sigmoid_margin": ("#CC79A7", DASHED),
    "gaussian_margin": ("#E69F00", DASHED),
    "ramp": ("#AA4499", DOTTED),
    "ramp_collobert": ("#AA4499", MIXED),
    "epanechnikov_margin": ("#D55E00", DOTTED),
    "gaussian_logit_noise": ("#CC79A7", MIXED),
    "straight_through": ("#F0486C", DASHED),
    "mae": ("#D55E00", DASHED),
    "gce": ("#8E7CC3", SOLID),
    "truncated_gce": ("#8E7CC3", DASHED),
    "taylor_ce": ("#6650F0", SOLID),
    "reverse_ce": ("#CC0078", DOTTED),
    "symmetric_ce": ("#CC0078", SOLID),
    "normalized_ce": ("#6699CC", SOLID),
    "nce_plus_rce": ("#6699CC", MIXED),
    "focal": ("#6650F0", DASHED),
    "poly1": ("#56B4E9", SOLID),
    "phuber_ce": ("#6650F0", DOTTED),
    "label_smoothing_ce": ("#0072B2", DASHED),
    "bi_tempered": ("#8E7CC3", MIXED),
    "savage": ("#44AA99", SOLID),
    "brier": ("#44AA99", DASHED),
    "squared_logits": ("#009E73", DASHED),
    "squentropy": ("#009E73", MIXED),
    "crammer_singer": ("#2E8540", DOTTED),
    "weston_watkins": ("#2E8540", DASHED),
    "perceptron": ("#999933", DOTTED),
    "squared_hinge": ("#999933", SOLID),
    "smooth_svm": ("#2E8540", SOLID),
    "smooth_topk_svm": ("#2E8540", MIXED),
    "sparsemax": ("#44AA99", DOTTED),
    "sum_exp": ("#F0486C", MIXED),
    "unhinged": ("#999933", MIXED),
    "soft_balanced_error": ("#CC0078", DASHED),
    "soft_macro_f1": ("#F0486C", DOTTED),
}
FURTHER = [("#A6761D", SOLID), ("#6F7F9F", DASHED), ("#B3446C", MIXED), ("#7A8B00", DOTTED)]
EXAMPLES = "#8a8a8a"  # the histogram of examples, behind everything

# For the axis of what is counted: between two whole numbers there is neither a tick nor a label.
WHOLE: dict[str, Any] = {
    "labelExpr": "datum.value % 1 ? '' : format(datum.value, 'd')",
    "tickOpacity": alt.condition("datum.value % 1", alt.value(0), alt.value(1)),
}


def styles(keys: Sequence[str]) -> dict[str, tuple[str, list[int]]]:
    """A colour and a dash for every key, no two alike: the known ones their own, others in turn.

    A key is an objective's name, its title or what `lab.objective` reads. Of several with one name the plain one, or
    else the first, has the look that the name has in every picture, and the others its colour in another dash.

    >>> styles(["cross_entropy", "mine"])["mine"]
    ('#A6761D', [1, 0])
    >>> styles(["ramp T=1", "ramp T=2"])["ramp T=2"]
    ('#AA4499', [1, 0])
    """
    names = {key: re.split("[ :]", key)[0] for key in keys}
    strange = [name for name in dict.fromkeys(names.values()) if name not in KNOWN]
    own = KNOWN | {name: FURTHER[i % len(FURTHER)] for i, name in enumerate(strange)}
    first = {name: name if name in names else key for key, name in reversed(names.items())}
    in_turn = sorted(names, key=lambda key: (first[names[key]] != key, names[key] not in KNOWN))
    found = apart({key: own[names[key]] for key in in_turn})
    return {key: found[key] for key in names}


def apart(wanted: Mapping[str, tuple[str, list[int]]]) -> dict[str, tuple[str, list[int]]]:
    """For every key the look it wants; if an earlier one has that, its colour in a dash that is free, or any free look.

    >>> apart({"a": ("#AA4499", SOLID), "b": ("#AA4499", SOLID)})["b"]
    ('#AA4499', [6, 3])
    """
    found = {}
    for key, (colour, dash) in wanted.items():
        looks = [(colour, one) for one in (dash, *DASHES)]
        looks += [(other, one) for one in DASHES for other, _ in (*FURTHER, *KNOWN.values())]
        found[key] = next((look for look in looks if look not in found.values()), (colour, dash))
    return found


def look() -> dict[str, Any]:
    """Vega-Lite's configuration, shared by the static figures and the page."""
    text = {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    return {
        "font": FONT,
        "view": {"stroke": None},
        "axis": text
        | {"domainColor": INK, "domainOpacity": 0.4, "tickColor": INK, "tickOpacity": 0.4}
        | {"gridColor": INK, "gridOpacity": 0.09, "labelOpacity": 0.85},
        "header": text | {"labelFontWeight": "bold", "labelFontSize": 12},
        "legend": text | {"symbolStrokeWidth": 2.5, "symbolSize": 220, "labelLimit": 240},
        "title": {
            "color": INK,
            "subtitleColor": INK,
            "anchor": "start",
            "fontSize": 12,
            "subtitleFontSize": 11,
        },
        "text": {"fill": INK},
        "rule": {"stroke": INK},
    }


def on_squares() -> Any:
    """The fill of a number on the square of its mean: white or black, whichever is easier to read there."""
    # At this luminance both have the same contrast. `color` is what Vega-Lite calls the scale of the squares.
    dark = "luminance(scale('color', datum.mean)) < 0.213"
    return alt.condition(dark, alt.value("#ffffff"), alt.value("#222222"))


def _scales(keys: Sequence[str]) -> tuple[alt.Scale, alt.Scale]:
    chosen = styles(keys)
    domain = list(chosen)
    return (
        alt.Scale(domain=domain, range=[colour for colour, _ in chosen.values()]),
        alt.Scale(domain=domain, range=[dash for _, dash in chosen.values()]),
    )


def _key(shown: bool | Sequence[str]) -> alt.Legend | None:
    if not shown:
        return None
    values = alt.Undefined if shown is True else list(shown)
    return alt.Legend(title=None, orient="bottom", columns=5, symbolType="stroke", symbolOpacity=1, values=values)


def colour(keys: Sequence[str], field: str = "key", *, legend: bool | Sequence[str] = False) -> alt.Color:
    """The colour channel; its legend, where wanted (of all keys or of some), shows the dash as well."""
    return alt.Color(f"{field}:N", scale=_scales(keys)[0], legend=_key(legend))


def dash(keys: Sequence[str], field: str = "key", *, legend: bool | Sequence[str] = False) -> alt.StrokeDash:
    """The dash channel: the second cue for whoever does not see the colour."""
    return alt.StrokeDash(f"{field}:N", scale=_scales(keys)[1], legend=_key(legend))
