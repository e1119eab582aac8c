"""docs/tutorial.ipynb: every cell runs in a fresh process, and what the notebook shows and says comes out."""

import base64
import json
import re

import numpy as np
import pytest
from test_commands import ROOT, run

import lab

PATH = ROOT / "docs/tutorial.ipynb"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def printed(path):
    """What each code cell prints."""
    return ["".join("".join(out.get("text", "")) for out in cell["outputs"]) for cell in cells(path, "code")]


def numbers(text):
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


@pytest.fixture(scope="module")
def anew(tmp_path_factory):
    """The notebook, run once more."""
    path = tmp_path_factory.mktemp("tutorial") / PATH.name
    path.write_text(PATH.read_text())
    done = run(path, cwd=path.parent, program=(ROOT / "docs/notebook.py",))
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.slow
def test_outputs_are_those_of_the_code(anew):
    """The same words, and numbers that agree as far as another machine or JAX lets them."""
    for old, new in zip(printed(PATH), printed(anew), strict=True):
        assert NUMBER.sub("#", old).split() == NUMBER.sub("#", new).split()
        assert numbers(new) == pytest.approx(numbers(old), rel=0.1, abs=0.03)


@pytest.mark.slow
def test_what_the_text_claims(anew):
    said = "".join(printed(anew))
    assert "0.0975 0.5975 0.5108 2.3026\n" in said and "\n16.118\n" in f"\n{said}"
    for name, value in {"squared error": 0.3475, "cross entropy": 1.4067}.items():
        assert f"{name}: {value} from class numbers, {value} from one-hot rows" in said
    assert numbers(re.search(r"all 9,000 digits: (.*)", said)[1])[0] == pytest.approx(np.log(10), abs=0.01)
    assert 0.8 < float(re.search(r" 1000 steps: .* accuracy (\S+)", said)[1]) < 0.9
    assert "'accuracy': 0.0," in said and re.search(r"largest of 39,760 derivatives: 0\.0 and 0\.0[1-9]", said)
    carriers = [float(n) for n in re.findall(r"sigmoid_margin T=.* digits +(\d+)", said)]
    assert len(carriers) == 6 and carriers == sorted(carriers) and carriers[0] < 50
    reached = {name: float(v) for name, v in re.findall(r"(\w+) +after 600 steps: (\S+)", said)}
    assert reached["cross_entropy"] > 0.88 > reached["expected_error"] > 0.2 > reached["zero_one"]
    assert "cosine of the two: 1.0000" in said
    mean, low, high = numbers(re.search(r"seed by seed: (.*)", said)[1])
    assert low < mean < high < 0


def test_numbers_in_the_text_are_printed():
    said = "".join(printed(PATH))
    quoted = {number for cell in cells(PATH, "markdown") for number in re.findall(r"\d+\.\d{3,}", source(cell))}
    assert {"0.0975", "0.5975", "0.5108", "2.3026", "0.3475", "1.4067", "16.118"} <= quoted
    assert quoted - {"2.303"} <= set(re.findall(r"\d+\.\d{3,}", said))  # 2.303 is log 10


def test_it_is_committed_as_it_was_run():
    assert PATH.stat().st_size < 1_000_000
    code = cells(PATH, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    pictures = [
        out["data"]["image/png"] for cell in code for out in cell["outputs"] if "image/png" in out.get("data", {})
    ]
    assert len(pictures) == 6
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


def test_it_uses_public_names_alone():
    code = "\n".join(map(source, cells(PATH, "code")))
    assert "from lab" not in code and "import lab." not in code
    assert set(re.findall(r"\blab\.(\w+)", code)) <= set(lab.__all__)


def test_linked_files_exist():
    text = "\n".join(map(source, cells(PATH, "markdown")))
    for path in re.findall(r"\]\(([^)#:]+)", text):
        assert (PATH.parent / path).exists(), path
