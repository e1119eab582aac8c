"""What MkDocs is told beyond mkdocs.yml: pages that are made from the code, and links that leave docs/.

The reference has a page for each module with public names; the list of experiments comes from their docstrings, the
tutorial from its notebook. A link to a file elsewhere in the repository leads to a page that shows the file. Nothing
of this can be out of date, and a file that is not there makes the strict build fail.
"""

import ast
import base64
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import lab

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
from docstrings import markdown  # noqa: E402

_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")  # a colon: an address elsewhere
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The reference's pages, in the navigation."""
    assert config.nav is not None
    for entry in config.nav:
        if "Reference" in entry:
            entry["Reference"] = [entry["Reference"], *({module: f"reference/{module}.md"} for module in _modules())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds all pages that are made here."""

    def add(path: str, content: str | bytes) -> None:
        files.append(File.generated(config, path, content=content))

    add("experiments.md", experiments_page())
    for path, content in reference_pages().items():
        add(path, content)
    for path, content in notebook_page("tutorial").items():
        add(path, content)
    for path in sorted(linked_outside({file.src_uri: file.content_string for file in files.documentation_pages()})):
        add(f"repository/{path}.md", file_page(path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them."""
    here = page.file.src_uri
    if not home(here).endswith(".md"):
        return markdown  # a file of code: brackets in it are no links

    def moved(link: re.Match[str]) -> str:
        before, target, anchor = link.groups(default="")
        return (
            before + posixpath.relpath(shown_at(in_repository(target, here)), posixpath.dirname(here) or ".") + anchor
        )

    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in _FENCE.split(markdown))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Chinese pages say that they are: fonts and screen readers go by it."""
    chinese = page.file.src_uri.startswith("zh/")
    return output.replace('<html lang="en"', '<html lang="zh-Hans"', 1) if chinese else output


# Links


def home(page: str) -> str:
    """The file of the repository that a page of the site shows."""
    return page[len("repository/") : -len(".md")] if page.startswith("repository/") else f"docs/{page}"


def in_repository(link: str, page: str) -> str:
    """The file of the repository that a link on a page means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(home(page)), link))


def shown_at(path: str) -> str:
    """The page, or other file of the site, that shows a file of the repository."""
    made = {"experiments": "experiments.md", "docs/tutorial.ipynb": "tutorial.md"}
    return made.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}.md")


def linked_outside(pages: dict[str, str]) -> set[str]:
    """Files elsewhere in the repository to which the pages link, or pages that those link to."""
    found: set[str] = set()
    while pages:
        page, text = pages.popitem()
        for link in _LINK.finditer(_FENCE.sub("", text)):
            path = in_repository(link[2], page)
            if not path.startswith("docs/") and path not in found and (ROOT / path).is_file():
                found.add(path)
                if path.endswith(".md"):
                    pages[f"repository/{path}.md"] = (ROOT / path).read_text()
    return found


def file_page(path: str) -> str:
    """A file of the repository: Markdown as it is, other text as code."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n`````{'python' if path.endswith('.py') else 'text'}\n{text.rstrip()}\n`````\n"


# Pages


def experiments_page() -> str:
    """One section for each experiment, from its docstring: the question, the command, what to expect."""
    parts = [
        "# Experiments",
        "One script, one question. Each opens with what this page shows: the question, the command, the time it takes "
        "and what to expect. `--help` has all options. Run them in the environment that `make compare` has made "
        "(`source .venv/bin/activate`).",
        "`python -m lab experiments` lists them. `make experiments` runs them all on the embedded sample, one after "
        "another, and shows their answers and pictures side by side on one page.",
        "`--sample` takes the embedded digits even where all of MNIST is to be had; `--full` is the real thing in "
        "place of a quick look. Every run has a page of its own; `python -m lab report RUN RUN --open` shows several "
        "in a gallery. One that was stopped goes on with `--resume RUN`. "
        "[An experiment of your own](howto/experiment.md) takes one file.",
        "| script | question |\n| --- | --- |",
    ]
    sections = []
    for path in sorted((ROOT / "experiments").glob("*.py")):
        question, command, *rest = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")
        parts[-1] += f"\n| [{path.stem}](#{path.stem}) | {question} |"
        sections += [
            f"## {question} {{#{path.stem}}}",
            f"```text\n{command.strip()}\n```",
            *map(markdown, rest),
            f"[experiments/{path.name}](../experiments/{path.name})",
        ]
    return "\n\n".join(parts + sections) + "\n"


def reference_pages() -> dict[str, str]:
    """A page for each module with public names, and one that lists them all."""
    listed, pages = [], {}
    for module, names in _modules().items():
        tree = ast.parse((ROOT / f"lab/{module}.py").read_text())
        documented = {getattr(node, "name", None): ast.get_docstring(node) for node in tree.body if _has_docs(node)}
        what = _line(ast.get_docstring(tree))
        pages[f"reference/{module}.md"] = "\n\n".join([f"# {module}", what, *(f"::: lab.{name}" for name in names)])
        rows = [f"| [`{name}`]({module}.md#lab.{name}) | {_line(documented[name])} |" for name in names]
        listed.append(f"## {module}\n\n{what}\n\n| name | what it gives |\n| --- | --- |\n" + "\n".join(rows))
    start = (
        "# Reference\n\nWhat `import lab` offers, module by module, with all docstrings. "
        "For the command line: `python -m lab --help`."
    )
    return pages | {"reference/index.md": "\n\n".join([start, *listed])}


def notebook_page(name: str) -> dict[str, str | bytes]:
    """A notebook as it was run: a page, and its pictures."""
    parts, pictures = [], {}
    for cell in json.loads((ROOT / f"docs/{name}.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "image/png" in shown:
                size = output["metadata"]["image/png"]
                path = f"{name}/{len(pictures) + 1}.png"
                pictures[path] = base64.b64decode(shown["image/png"])
                parts.append(f"![What the cell draws]({path}){{ width={size['width']} }}")
            else:
                text = "".join(shown.get("text/plain") or output["text"])
                parts.append(f"```text\n{text.rstrip()}\n```")
    parts.insert(1, f'<a href="{name}.ipynb" download>This page as a notebook</a>')
    return {f"{name}.md": "\n\n".join(parts) + "\n", **pictures}


def _modules() -> dict[str, list[str]]:
    """The public names, grouped by module as in lab/__init__.py."""
    found: dict[str, list[str]] = {}
    for name in lab.__all__:
        found.setdefault(lab._MODULE[name], []).append(name)
    return found


def _has_docs(node: Any) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef)


def _line(text: str | None) -> str:
    """A docstring's first line, for a table."""
    return markdown((text or "").strip().split("\n")[0]).replace("|", "&#124;")
