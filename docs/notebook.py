"""Runs a notebook's code cells in order, in one new namespace, and puts what they show into it.

    python docs/notebook.py docs/tutorial.ipynb

No kernel is needed, and no port, and nothing that a user's Jupyter is set to changes the outcome. What a cell prints,
and the value of its last line, become its outputs: a chart as a PNG, anything else as text.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """Runs the code cells; replaces their outputs and returns the namespace that they leave."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        cell["execution_count"], cell["outputs"] = count, []
        printed, value = run_cell("".join(cell["source"]), namespace, name=f"cell {count}")
        if printed:
            cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": lines(printed)})
        if value is not None:
            data, metadata = display(value)
            shown = {"output_type": "execute_result", "execution_count": count, "data": data, "metadata": metadata}
            cell["outputs"].append(shown)
    return namespace


def run_cell(source: str, namespace: dict[str, Any], *, name: str) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line if that is an expression."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, name, "exec"), namespace)
        value = last and eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    return printed.getvalue(), value


def display(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The value as Jupyter is given it, by its own `_repr_mimebundle_` or as text; and the sizes of pictures."""
    bundle = getattr(value, "_repr_mimebundle_", lambda: None)()
    if bundle is None:
        return {"text/plain": lines(repr(value))}, {}
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    return {
        kind: base64.b64encode(smaller(one)).decode() if kind == "image/png" else one for kind, one in data.items()
    }, metadata


def smaller(png: bytes) -> bytes:
    """A picture with 128 colours: a quarter of the bytes, and no difference that one sees in a chart."""
    few = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(few, "PNG", optimize=True)
    return few.getvalue()


def lines(text: str) -> list[str]:
    """Text as notebooks hold it, line by line."""
    return text.splitlines(keepends=True)


def main(path: Path) -> None:
    """Runs the notebook and writes it back."""
    notebook = json.loads(path.read_text())
    execute(notebook)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
