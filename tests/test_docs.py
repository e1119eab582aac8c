"""The pages of docs/: their Python runs, their commands work, their links lead somewhere, their numbers come out.

That the site is built without a warning is checked by `make docs`. theory.md and the tutorial have tests of their own.
"""

import ast
import importlib.util
import json
import re
import shlex

import pytest
from test_commands import ROOT, SMALL, run

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
CHAPTER = PAGES["chapter.md"], PAGES["zh/chapter.md"]
PARTS = ["4.1.1", "4.1.2", "4.2", "4.2.1", "4.2.2", "4.2.3", "4.2.4", "4.2.5"]
GUIDES = [name for name in PAGES if name.startswith("howto/")]
README = (ROOT / "README.md").read_text()
ELSEWHERE = {"python -m lab compare", "python -m lab train", *re.findall(r"^\$ (python .*)$", README, re.MULTILINE)}
EACH_ALONE = "import json, sys\nfor block in json.loads(sys.argv[1]): exec(compile(block, 'block', 'exec'), {})"
TINY = {"--epochs": "1", "--subset": "500", "--batch-size": "20", "--network": "mlp:8"}
EXTRA = {
    "compare": dict(zip(SMALL[::2], SMALL[1::2], strict=True)),
    "train": TINY | {"--seeds": "2"},
    "sweep": TINY | {"--seeds": "2", "--learning-rates": "0.1", "--widenings": "0"},
}


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text):
    """After a prompt, and in the chapter's lists in backticks."""
    return re.findall(r"^ *\$ (?:JAX_PLATFORMS=cpu )?(python -m lab .*)$|`(python -m lab [^`]*)`", text, re.MULTILINE)


def said_by(text):
    return list(dict.fromkeys(first or second for first, second in commands(text)))


def links(text):
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)#:\s]*)(?:#[^)]*)?\)", without_code)


def small(command):
    """The command with what makes it small, where it does not say otherwise itself."""
    _, _, _, name, *rest = shlex.split(command)
    if "--imbalance" in rest:
        rest += ["--subset", "0"]  # few of few would leave a class empty
    more = {option: value for option, value in EXTRA.get(name, {}).items() if option not in rest}
    return [name, *rest, *(word for pair in more.items() for word in pair)]


def write_mine(folder, page):
    """mine.py, as the guides have it, and files that begin with their own name."""
    for block in blocks(PAGES[page]):
        if name := re.match(r"# (\w+\.py)\n", block):
            (folder / name[1]).write_text(block)
    whose = page if page in ("howto/network.md", "howto/metric.md", "howto/data.md") else "howto/objective.md"
    (folder / "mine.py").write_text(blocks(PAGES[whose])[0])


def test_there_is_something_to_run():
    assert len(GUIDES) == 7 and len(blocks(CHAPTER[0])) == 7
    assert sum(len(said_by(PAGES[name])) for name in GUIDES) >= 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["chapter.md", *(f"howto/{of}.md" for of in ("objective", "metric", "data", "network"))]
)
def test_python_blocks_run(page, tmp_path):
    own = [block for block in blocks(PAGES[page]) if "import equinox" not in block]
    done = run(json.dumps(own), cwd=tmp_path, program=("-c", EACH_ALONE))
    assert done.returncode == 0, done.stderr
    if page == "chapter.md":
        printed = [float(number) for number in re.findall(r"\d+\.\d{2,}", done.stdout)]
        assert printed[:5] == pytest.approx([0.0975, 0.5975, 0.5108, 2.3026, 16.118], abs=1e-3)
        assert re.search(r"\[0\. +0\.[1-9]", done.stdout)  # the gradients' lengths: accuracy's is 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "command"),
    [
        (name, one)
        for name in ("chapter.md", *GUIDES)
        if name != "howto/cluster.md"
        for one in said_by(PAGES[name])
        if one not in ELSEWHERE
    ],
)
def test_commands_run(page, command, tmp_path):
    if blank := re.search(r"\b(DIR|RUN)\b", command):  # the reader's to fill in: as it stands it is refused, and named
        refused = run(*shlex.split(command)[3:], cwd=tmp_path)
        assert refused.returncode == 2 and blank[0] in refused.stderr and "Traceback" not in refused.stderr
        return
    write_mine(tmp_path, page)
    done = run(*small(command), cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_parts_are_joined(tmp_path):
    """What the guide says of several machines, on one: the parts, one after the other, then the joining."""
    page = PAGES["howto/cluster.md"]
    for command in said_by(page):
        if "--resume" not in command:
            done = run(*small(command), "--seeds", "2", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
    sweep, train, _ = blocks(page)
    done = run(json.dumps([sweep, train]), cwd=tmp_path, program=("-c", EACH_ALONE))
    assert done.returncode == 0, done.stderr
    assert {"brier", "cross_entropy", "gce"} == set(re.findall(r"^(\w+): .* n = 2$", done.stdout, re.MULTILINE))
    assert "less cross_entropy: 0.000 [0.000, 0.000], n = 2" in done.stdout


@pytest.mark.slow
def test_the_experiment_of_the_guide_answers(tmp_path):
    (tmp_path / "widths.py").write_text(blocks(PAGES["howto/experiment.md"])[0])
    done = run("--sample", "--seeds", "2", "--steps", "100", cwd=tmp_path, program=("widths.py",))
    assert done.returncode == 0, done.stderr
    assert re.search(r"(beats|cannot tell) .*\(.*n = 2\)", done.stdout.replace("\n", " "))
    (found,) = (tmp_path / "runs").iterdir()
    assert found.name.endswith("-widths")
    assert {"report.html", "results.nc", "figures"} <= {path.name for path in found.iterdir()}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra cluster)")
def test_ray_trains(tmp_path):
    done = run(cwd=tmp_path, program=("-c", blocks(PAGES["howto/cluster.md"])[-1]))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^cross_entropy \[0\.9", done.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("equinox") is None, reason="Equinox is not installed (extra bench)")
def test_equinox_trains(tmp_path):
    (tmp_path / "mine.py").write_text(blocks(PAGES["howto/network.md"])[-1])
    done = run(*small("python -m lab train --network mine.py:make"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "784-50-10 Equinox" in next((tmp_path / "runs").iterdir()).joinpath("results.nc").read_bytes().decode(
        "latin1"
    )


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page):
    for path in links(PAGES[page]):
        assert not path or (DOCS / page).parent.joinpath(path).exists(), path


@pytest.mark.parametrize("page", ["chapter.md", "zh/chapter.md"])
def test_every_part_has_code_something_to_run_and_a_picture(page):
    text = PAGES[page]
    rows = dict(re.findall(r"^\| \[(4[\d.]+) [^|]*\| (.*) \|$", text, re.MULTILINE))
    assert list(rows) == PARTS
    for row in rows.values():
        code, to_run, picture = row.split(" | ")
        assert "lab/" in code and ("`python " in to_run or "](" in to_run) and "pictures/" in picture
    assert re.findall(r"^##+ (4\.[\d.]*\d) ", text, re.MULTILINE) == ["4.1", *PARTS]


@pytest.mark.parametrize("page", ["chapter.md", "zh/chapter.md"])
def test_every_experiment_has_its_place(page):
    there = {(DOCS / page).parent.joinpath(path).resolve() for path in links(PAGES[page])}
    assert set((ROOT / "experiments").glob("*.py")) <= there


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="MkDocs is not installed (extra docs)")
def test_the_list_of_experiments_has_them_all():
    """In a process of its own, for the page's code puts docs/ into the path."""
    done = run(cwd=DOCS, program=("-c", "import hooks; print(hooks.experiments_page())"))
    assert done.returncode == 0, done.stderr
    scripts = sorted((ROOT / "experiments").glob("*.py"))
    sections = dict(re.findall(r"^## [^\n]*\? \{#(\w+)\}\n(.*?)^\[experiments/", done.stdout, re.DOTALL | re.MULTILINE))
    assert list(sections) == [path.stem for path in scripts]
    for path in scripts:
        assert f"python experiments/{path.name}" in sections[path.stem] and "xpect" in sections[path.stem]
    assert "`python -m lab experiments`" in done.stdout and "`make experiments`" in done.stdout


def test_the_chinese_page_says_the_same():
    """The same code up to comments, the same links, commands and numbers."""
    english, chinese = ([re.sub(r" +#.*", "", block) for block in blocks(text)] for text in CHAPTER)
    assert english == chinese
    assert said_by(CHAPTER[0]) == said_by(CHAPTER[1])
    pages = [(DOCS / name).parent for name in ("chapter.md", "zh/chapter.md")]
    there = [{(page / path).resolve() for path in links(text)} for page, text in zip(pages, CHAPTER, strict=True)]
    assert there[0] ^ there[1] <= {DOCS / "chapter.md", DOCS / "zh/chapter.md", *pages}
    quoted = [set(re.findall(r"\d\.\d{3,}", text)) for text in CHAPTER]
    assert quoted[0] == quoted[1]


@pytest.mark.parametrize("text", CHAPTER, ids=["English", "Chinese"])
def test_the_number_of_objectives(text):
    said = re.search(r"(?:There are|一共有) (\d+)", text)
    assert int(said[1]) == len(re.findall("^### ", PAGES["objectives.md"], re.MULTILINE))


@pytest.mark.slow
def test_the_chapters_pictures_are_drawn_and_its_numbers_come_out(tmp_path):
    done = run("--out", tmp_path, cwd=tmp_path, program=(DOCS / "chapter.py",))
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"pictures/(chapter-\w+\.png)", CHAPTER[0]):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    learned, others = re.search(r"after 3000 steps: (\S+) on .*, (\S+) on", done.stdout).groups()
    assert learned == "1.000" and float(others) == pytest.approx(0.857, abs=0.02)
    spread = {int(n): float(s) for n, s in re.findall(r"mini-batches of (\d+): .*deviation (\S+)", done.stdout)}
    assert spread[100] == pytest.approx(0.072, rel=0.2) and spread[1000] / spread[100] == pytest.approx(
        0.1**0.5, rel=0.2
    )
    assert float(re.search(r"all 9,000: (\S+)", done.stdout)[1]) == pytest.approx(0.472, abs=0.01)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_experiments_open_with_question_and_command(path):
    """The list of experiments is made from these."""
    question, command, *rest = ast.get_docstring(ast.parse(path.read_text())).split("\n\n")
    assert question.endswith("?") and "\n" not in question
    assert command.strip().startswith(f"python experiments/{path.name}")
    assert rest
