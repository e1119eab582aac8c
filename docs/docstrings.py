"""Markdown from the lab's docstrings, for the reference: mkdocstrings loads this as an extension of griffe.

The docstrings are plain text. Paragraphs stay as they are, character by character; what is in backticks is code, and
so are indented lines and examples.
"""

import re

import griffe

_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\*_\[\]#])")


def markdown(text: str) -> str:
    """The docstring as Markdown that shows the same characters.

    >>> print(markdown("Half of `a_b` * c_d.\\n\\n>>> 1 + 1\\n2"))
    Half of `a_b` \\* c\\_d.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    return "\n\n".join(_paragraph(part) for part in re.split(r"\n\s*\n", text.strip()))


def _paragraph(text: str) -> str:
    before, prompt, example = re.match(r"(.*?)(^>>> |\Z)(.*)", text, re.DOTALL | re.MULTILINE).groups()
    parts = []
    if before.startswith("    "):
        parts.append(f"```text\n{before.rstrip()}\n```")
    elif before.strip():
        parts.append(_prose(before.strip()))
    if prompt:
        parts.append(f"```pycon\n{prompt}{example.rstrip()}\n```")
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    # Args, Returns, Raises begin a paragraph of their own.
    text = re.sub(r"\n(?=(?:Args|Returns|Raises|Sources?|Reference)\b[^:\n]*: )", "\n\n", text)
    pieces = _CODE.split(text)
    return "".join(piece if piece.startswith("`") else _escaped(piece) for piece in pieces)


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text).replace("<", "&lt;")


class Plain(griffe.Extension):
    """Rewrites each docstring once it has been read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
