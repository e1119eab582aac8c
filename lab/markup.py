"""Markup: the pieces of HTML that pages are put together from; what comes from data is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

Style = tuple[str, list[int]]  # colour and dash

ALL = "all"  # the choice of no objective in particular


def plain(text: str) -> str:
    """Text as HTML; a number keeps its % sign, and "n =" its number.

    >>> plain("<b> is 5 %")
    '&lt;b&gt; is 5&nbsp;%'
    """
    return unbroken(escape(text))


def unbroken(html: str) -> str:
    """HTML in which a number keeps its % sign, and "n =" its number."""
    return html.replace(" %", "&nbsp;%").replace("n = ", "n&nbsp;=&nbsp;")


def swatch(style: Style) -> str:
    """A short line in a colour and a dash."""
    colour, dash = style
    dashes = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash[-1] else ""
    return (
        f'<svg class="swatch" width="26" height="10" aria-hidden="true">'
        f'<line x1="1" x2="25" y1="5" y2="5" stroke="{colour}" stroke-width="3"{dashes}/></svg>'
    )


def legend(entries: Mapping[str, Style], *, first: str = "", every: bool = False) -> str:
    """Which colour and dash is what, as buttons that show one alone; `first` is shown so before anything is chosen.

    With `every` there is a button for all of them at once.
    """
    if not entries:
        return ""
    buttons = [_choice(key, swatch(style) + escape(key), pressed=key == first) for key, style in entries.items()]
    if every:
        buttons.append(_choice(ALL, "all of them"))
    return f'<p class="legend" role="group" aria-label="show one alone">{"".join(buttons)}</p>'


def _choice(key: str, label: str, *, pressed: bool = False) -> str:
    state = 'aria-pressed="true" data-first' if pressed else 'aria-pressed="false"'
    return f'<button type="button" data-focus="{escape(key)}" {state}>{label}</button>'


def chooser(keys: Iterable[str]) -> str:
    """The list from which one thing is chosen to be shown alone in all charts; nothing where there is no choice."""
    names = list(dict.fromkeys(key for key in keys if key))
    if len(names) < 2:
        return ""
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in names)
    return (
        f'<label class="chooser"><span>Show</span> <select id="focus" autocomplete="off">'
        f'<option value="{ALL}">everything</option>{options}</select></label>'
    )


def radio(name: str, value: str, label: str, *, checked: bool = False, identity: str = "") -> str:
    """One choice among several; `label` is HTML."""
    identity = f' id="{identity}"' if identity else ""
    return (
        f'<label><input type="radio" name="{name}" value="{escape(value)}" autocomplete="off"{identity}'
        f"{' checked' if checked else ''}><span>{label}</span></label>"
    )


def boxes(names: Sequence[str], *, kind: str = "many") -> str:
    """The places that charts are drawn in; several stand in a grid of that kind."""
    places = "".join(f'<div class="box"><div class="chart" id="{escape(name)}"></div></div>' for name in names)
    return f'<div class="charts{f" {kind}" if len(names) > 1 else ""}">{places}</div>'


def figure(content: str, note: str, *, headline: str = "") -> str:
    """A figure with its finding above and its note below; `content` and `note` are HTML."""
    above = f"<h3>{plain(headline)}</h3>" if headline else ""
    return f"<figure>{above}{content}<figcaption>{note}</figcaption></figure>"


def glossary(facts: Mapping[str, Any]) -> str:
    """Names and what they stand for."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{plain(str(value))}</dd>" for name, value in facts.items())
    return f'<dl class="glossary">{items}</dl>'


def folded(texts: Mapping[str, str]) -> str:
    """Texts that are there for who asks for them."""
    return "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>" for name, text in texts.items()
    )
