"""The reference, portraits and the commands that show them."""

import numpy as np
import pytest
import xarray
from rich.console import Console
from test_commands import ROOT, run

import lab
from lab import figures, headlines, sections, series
from lab.catalogue import definitions
from lab.palette import KNOWN, styles
from lab.portrait import curve
from lab.reference import objectives_page, objectives_table

OWN = [one for one in definitions() if one.family != "own"]


def test_the_page_of_objectives_is_what_they_carry():
    assert (ROOT / "docs/objectives.md").read_text() == objectives_page() + "\n", (
        "make it again: python -m lab list objectives --markdown > docs/objectives.md"
    )


def test_the_table_has_every_objective_with_its_formula_and_source():
    console = Console(width=400, record=True)
    console.print(objectives_table())
    said = console.export_text()
    for one in OWN:
        assert f"{one.name} " in said and one.formula[:40] in said


def test_every_objective_has_a_look_of_its_own():
    assert {one.name for one in OWN} == set(KNOWN)
    looks = [(colour, tuple(dash)) for colour, dash in KNOWN.values()]
    assert len(set(looks)) == len(looks)


@pytest.mark.slow
def test_a_portrait_holds_phi_and_the_weight():
    results = lab.portray(lab.objective("gce", q=0.5), span=5.0)
    m = results["margin"].values
    p = 1 / (1 + np.exp(-m))
    np.testing.assert_allclose(results["value"].values[0], (1 - p**0.5) / 0.5, rtol=1e-5)
    np.testing.assert_allclose(results["weight"].values[0], p**0.5 * (1 - p), rtol=1e-5)
    rows = series.portrait_rows(results)
    ratio = next(row for row in rows if row["subject"] and row["quantity"] == "ratio")
    np.testing.assert_allclose(ratio["y"], 1 / np.sqrt(1 + np.exp(-np.array(ratio["margin"]))), rtol=1e-3)
    # Its closest relative is itself at another q.
    assert results["objective"].values[2] == "gce"
    assert np.all(np.diff(results["likeness"].values[2:]) <= 0)


def test_a_portrait_tells_an_objective_from_itself_at_other_parameters():
    """Cross entropy at T = 0.5 beside cross entropy: two looks in the legend, and room for the higher of the two."""
    results = lab.portray(lab.objective("cross_entropy:temperature=0.5"))
    rows = series.portrait_rows(results)
    keys = [row["key"] for row in rows if row["quantity"] == "weight"]
    assert keys[:2] == ["cross_entropy T=0.5", "cross_entropy"] and len(set(keys)) == len(keys)
    spec = next(iter(sections.sections(results)[0].specs.values()))
    assert all(layer["encoding"]["color"]["scale"]["domain"] == keys for layer in spec["layer"][1:])
    assert styles(keys)["cross_entropy T=0.5"] != styles(keys)["cross_entropy"] == KNOWN["cross_entropy"]
    highest = max(max(row["y"]) for row in rows if row["quantity"] == "ratio")
    assert highest > 2 and series.portrait_top(rows, "ratio") > highest


def test_measured_and_declared_curves_are_one():
    """Equal rivals: what is measured on ten classes is phi and w of the soft margin."""
    m = np.linspace(-6, 6, 13)
    declared = curve(lab.objective("savage"), m)

    def plain(logits, labels):
        return lab.objective("savage")(logits, labels)

    measured = curve(lab.Definition(name="plain", family="own", formula="", source="", function=plain).make(), m)
    np.testing.assert_allclose(measured.value, declared.value, rtol=1e-5)
    np.testing.assert_allclose(measured.weight, declared.weight, rtol=1e-5)


@pytest.mark.parametrize("text", ["zero_one", "sum_exp", "cross_entropy:temperature=0.3", "normalized_ce"])
def test_portraits_of_all_kinds_are_drawn(text):
    results = lab.portray(lab.objective(text))
    chart = figures.portrait(results)
    chart.to_dict()  # checked against Vega-Lite's schema
    assert (text == "zero_one") == ("pulls nowhere" in headlines.portrait(results))


def test_the_title_of_a_portrait_says_where_the_weight_lies_and_what_is_most_like_it():
    found = xarray.Dataset(
        {
            "weight": (("objective", "margin"), np.array([[3.0, 2.0, 2.0, 1.0]] * 3)),
            "likeness": ("objective", [1.0, 0.5, 0.875]),
        },
        coords={"margin": [-2.0, -1.0, 0.0, 2.0], "title": ("objective", ["mine", "far", "near"])},
    )
    assert headlines.portrait(found) == (
        "mine has 62 % of its weight below margin 0 (of -2 to 2) and is most like near, at cosine 0.875."
    )


def test_an_objective_of_a_batch_has_no_portrait():
    with pytest.raises(lab.InputError, match="one of a whole batch"):
        lab.portray(lab.objective("soft_macro_f1"))


@pytest.mark.slow
def test_show_draws_and_report_draws_again(tmp_path):
    done = run("show", "gce:q=0.3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "likeness" in done.stdout and "cross_entropy" in done.stdout
    (made,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in (made / "figures").iterdir()} == {
        f"portrait.{kind}" for kind in ("png", "svg", "pdf")
    }
    assert f"The page: runs/{made.name}/report.html" in done.stdout
    assert "Where does gce q=0.3 look?" in (made / "report.html").read_text()
    before = (made / "figures/portrait.svg").read_bytes()
    (made / "figures/portrait.svg").unlink()
    assert run("report", made, cwd=tmp_path).returncode == 0
    assert (made / "figures/portrait.svg").read_bytes() == before


@pytest.mark.slow
def test_check_tells_a_good_objective_from_a_bad_one(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\nimport lab\n\n\n"
        "def good(logits, labels, *, temperature=1.0):\n"
        "    return 1 - jnp.tanh(lab.soft_margin(logits, labels) / temperature)\n\n\n"
        "def bad(logits, labels):\n"
        "    return -jnp.log(jnp.exp(logits)[:, 0] / jnp.exp(logits).sum(axis=1))\n"
    )
    good, bad = (run("check", f"mine.py:{name}", cwd=tmp_path) for name in ("good", "bad"))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "a function of the soft margin at T = 1" in good.stdout
    assert bad.returncode == 1 and "Wrong: finite, death." in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "mine.py:nothing"), "no file 'mine.py'"),
        (("show", "gce:q=2"), "needs 0 < q <= 1"),
        (("show", "gce", "--span", "0"), "--span must be a finite number > 0; got 0"),
        (("show", "soft_macro_f1"), "one of a whole batch"),
    ],
)
def test_mistakes_are_one_clear_message(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
