"""Pages of studies and of several runs: what they hold is what was measured, and they do what they offer."""

import csv
import io
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest
import xarray
from test_figures import EVIL
from test_ranking import results as sweep
from test_report import CHROMIUM, Page, folder, opened

import lab
from lab import figures, links, pictures, races, sections
from lab.frame import source
from lab.gallery import gallery_place
from lab.runs import write_json

NAMES = ["cross_entropy", "ramp", EVIL]
LONG = "gain on held-out images, less another's (points)"  # as long as a phone is wide
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def study():
    """A study of three networks: lines of three objectives in two panels, dots, a heat map; one name is a script."""
    rng = np.random.default_rng(0)
    shape = (("seed", 3), ("stage", 2), ("objective", 3), ("step", 4))
    slope = (("seed", "stage", "objective", "step"), 1 + rng.random([size for _, size in shape]))
    declared = [
        lab.Picture("slopes", f"It falls by 5 % ({EVIL}).", "slope", "slope", "step", "step", "objective", "stage"),
        lab.Picture("ends", "One is best.", "last", LONG, "objective", "", kind="dots", zero=True, note="A note."),
        lab.Picture("all", "They differ.", "end", LONG, "stage", "", "objective", kind="heat"),
    ]
    return xarray.Dataset(
        {
            "slope": slope,
            "end": (("seed", "stage", "objective"), rng.random((3, 2, 3))),
            "last": (("seed", "objective"), rng.random((3, 3))),
        },
        coords={"seed": range(3), "stage": ["start", "end"], "objective": NAMES, "step": [1, 10, 100, 1000]},
        attrs={
            "question": "Does it fall?",
            "data": "digits",
            "method": "Looked at it.",
            "answer": f"It does, by 5 % <b>{EVIL}",
            "pictures": pictures.declare(declared),
        },
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory, study):
    return lab.write_report(folder(tmp_path_factory.mktemp("runs") / "20261124-120000-falling", study))


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text())


# -- what it says -----------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_fetches_nothing(path, page):
    assert path.stat().st_size < 3_000_000
    for tag, attributes in page.elements:
        assert not {"src", "href", "action", "data", "srcset", "background"} & set(attributes), (tag, attributes)
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "http" not in policy


def test_the_answer_comes_first_and_each_picture_has_its_section(page, study):
    words = page.words.split("Does it fall?")[2]  # after the title and the heading
    places = [words.index(said) for said in ("It does, by", "It falls by", "One is best.", "They differ.", "Looked at")]
    assert places == sorted(places)
    assert "Bands: 95 % t intervals of the mean over 3 networks." in words
    assert "A note. Lines: 95 % t intervals of the mean over 3 networks." in words
    assert "Means over 3 networks. Point at a square" in words
    assert "n = 3" in words and '"kind": "compare"' in words  # what config.json says


def test_every_figure_says_over_how_many_networks(study):
    for figure in figures._figures(study).values():
        assert "over 3 networks." in " ".join(figure(study).to_dict(validate=False)["title"]["subtitle"])


def test_names_stay_text(page):
    assert len(page.scripts) == 3 and "<" not in page.scripts[0]
    assert f"({EVIL})" in page.words and f"<b>{EVIL}" in page.words
    for tag, name in (("button", "data-focus"), ("option", "value")):
        assert [a[name] for one, a in page.elements if one == tag if a[name] != "all"] == NAMES


def test_every_chart_has_its_place_its_panel_and_its_numbers(page, study):
    specs, datasets = page.content["specs"], page.content["datasets"]
    assert [a["id"] for _, a in page.elements if a.get("class") == "chart"] == list(specs)
    assert list(specs) == ["slopes-0", "slopes-1", "ends", "all"]
    assert [specs[name]["title"]["text"] for name in ("slopes-0", "slopes-1")] == ["start", "end"]
    for picture in pictures.declared(study):
        assert datasets[picture.name] == json.loads(json.dumps(pictures.rows(picture, study)))
    assert set(datasets) == {name for spec in specs.values() for name in spec["usermeta"]["data"]}


def test_a_chart_says_what_it_shows_to_who_does_not_see_it(page):
    said = {place: spec["description"] for place, spec in page.content["specs"].items()}
    assert said["slopes-1"] == f"It falls by 5 % ({EVIL}). (end)" and said["ends"] == "One is best."


def test_panels_have_one_axis_unless_each_is_free(study):
    picture = pictures.declared(study)[0]
    highs = [row["high"] for row in pictures.rows(picture, study)]

    def domains(one):
        specs = sections.declared(one, study).specs.values()
        return [layer["encoding"]["y"].get("scale", {}).get("domain") for spec in specs for layer in spec["layer"]]

    assert {domain[1] for domain in domains(picture)} == {max(highs)}
    assert set(domains(picture._replace(free=True))) == {None}


@pytest.mark.parametrize("change", [{}, {"log": "xy"}, {"free": True, "steps": True}, {"beside": "slope"}])
def test_charts_of_pages_are_valid_vega_lite(study, change):
    import altair as alt

    for picture in pictures.declared(study):
        for spec in sections.declared(
            picture._replace(**change) if picture.kind == "lines" else picture, study
        ).specs.values():
            alt.LayerChart.from_dict(spec)  # checked against the schema


def test_what_has_no_legend_to_choose_from_does_not_fade(study):
    picture = lab.Picture("plain", "It is so.", "slope", "slope", "step", "step")
    spec = sections.declared(picture, study.isel(stage=0, objective=0)).specs["plain"]
    assert links.keys(spec, {"plain": [{"x": 1}]}) == [] and "opacity" not in json.dumps(spec["layer"][1]["encoding"])


def test_of_one_network_nothing_is_said_that_takes_several(study):
    """No interval to point at, no means, and no comparison by seed."""
    alone = study.isel(seed=[0])
    *_, heat = sections.sections(alone)
    assert heat.note == "One network." and sections.sections(study)[2].note.endswith("for its interval.")
    chart = figures.standings(sweep(n=1)).to_dict(validate=False)
    assert "pairwise" not in " ".join(chart["title"]["subtitle"])
    assert "pairwise" in " ".join(figures.standings(sweep()).to_dict(validate=False)["title"]["subtitle"])
    training = xarray.Dataset({"loss": (("seed", "epoch"), np.ones((1, 2)))}, {"epoch": [0, 1]})
    assert sections.question(training) == "What does this network learn?"


def test_a_formula_ends_with_one_full_stop():
    results = lab.portray(lab.objective("mae"))
    assert " = It is 1 - p. " in source(results.assign_attrs(formula="It is 1 - p."))


def test_a_legend_in_one_row_has_the_room_that_long_names_leave():
    spec = links.fitted(races.ranking(["a"], "accuracy"))
    *_, points = spec["layer"]
    least = int(re.search(r"< (\d+) \? 2 : 0", points["encoding"]["shape"]["legend"]["columns"]["expr"])[1])
    row = 290  # of four verdicts, drawn: 278 pixels
    assert least >= races.BARE["labelLimit"] + row


# -- what it does -----------------------------------------------------------------------------------------------

USE = """
async function act() {
  await Promise.all(drawn); await settle();
  const alone = async () => Object.fromEntries(await Promise.all(places.map(async ({ id }) => [id, await bright(id)])));
  const chosen = () => [location.hash, document.getElementById("focus").value,
    ...[...document.querySelectorAll("[aria-pressed=true]")].map((one) => one.dataset.focus)];
  const result = { wide: document.body.scrollWidth - innerWidth, began: [await alone(), ...chosen()] };
  result.cut = places.filter((place) =>
    place.querySelector("svg").getBoundingClientRect().right > place.getBoundingClientRect().right + 1);
  result.said = places.map((place) => place.querySelector("svg").parentElement.ariaLabel ?? place.ariaLabel);
  result.labels = document.querySelectorAll("#ends .role-axis-label text").length;
  await press("[data-focus=ramp]"); result.legend = [await alone(), ...chosen()];
  await press("[data-focus=ramp]"); result.again = [await alone(), ...chosen()];
  history.back(); await settle(); result.back = [await alone(), ...chosen()];
  document.querySelector(".legend button").focus();
  await type("ArrowRight"); await type("ArrowRight");
  result.arrow = document.activeElement.dataset.focus;
  document.activeElement.click(); await settle(); result.evil = [await alone(), ...chosen()];
  await type("Escape"); result.escape = [await alone(), ...chosen()];
  const list = document.getElementById("focus"); list.value = "ramp";
  list.dispatchEvent(new Event("change", { bubbles: true })); await settle();
  result.list = [await alone(), ...chosen()];
  document.querySelector("#ends .mark-symbol path").dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await settle(); result.mark = [await alone(), ...chosen()];
  for (const button of document.querySelectorAll("#slopes-1 + .take button")) button.click();
  await linger(() => Object.keys(files).length === 3);
  result.files = files;
  result.ink = getComputedStyle(document.querySelector("#ends .role-axis-label text")).fill;
  document.querySelector("main").style.width = "340px";
  for (const { id } of places) await vegaEmbed("#" + id, { ...page.specs[id], datasets: page.datasets }, options);
  result.clipped = places.flatMap((place) => [...place.querySelectorAll("svg text")].filter((text) =>
    text.getBoundingClientRect().right > place.getBoundingClientRect().right + 1).map((text) => text.textContent));
  await finish(result);
}
"""


@pytest.fixture(scope="module")
def used(path, tmp_path_factory):
    """What the page did when it was used, on a narrow screen and in the dark."""
    return opened(path, tmp_path_factory.mktemp("used"), act=USE, width=500, dark=True)


ALL = {place: sorted(NAMES) for place in ("slopes-0", "slopes-1", "ends", "all")}


def only(name):
    return {place: [name] for place in ALL}


@pytest.mark.browser
@needs_browser
def test_the_page_opens_without_a_complaint_and_fits(used):
    result, console = used
    assert console == [] and result["requests"] == []
    assert result["wide"] <= 0 and result["cut"] == result["clipped"] == []
    assert result["labels"] >= 3
    assert result["said"][2:] == ["One is best.", "They differ."]
    assert np.mean([int(x) for x in re.findall(r"\d+", result["ink"])[:3]]) > 180, "dark ink on dark paper"


@pytest.mark.browser
@needs_browser
def test_what_is_chosen_is_shown_alone_in_all_charts_until_it_is_chosen_again(used):
    result, _ = used
    assert result["began"] == [ALL, "", "all"]
    assert result["legend"] == [only("ramp"), "#focus=ramp", "ramp", "ramp"]
    assert result["again"] == [ALL, "#focus=all", "all"]
    assert result["back"] == result["legend"]
    assert result["list"] == result["legend"]
    assert result["mark"] == [only("cross_entropy"), "#focus=cross_entropy", "cross_entropy", "cross_entropy"]


@pytest.mark.browser
@needs_browser
def test_the_keyboard_is_enough(used):
    result, _ = used
    assert result["arrow"] == EVIL
    found, fragment, *pressed = result["evil"]
    assert found == only(EVIL) and pressed == [EVIL, EVIL]
    assert unquote(fragment) == f"#focus={EVIL}"
    assert result["escape"] == result["again"]


@pytest.mark.browser
@needs_browser
def test_numbers_and_pictures_can_be_taken_away(used, study):
    result, _ = used
    numbers, svg, png = (result["files"][f"20261124-120000-falling-slopes-1.{kind}"] for kind in ("csv", "svg", "png"))
    rows = list(csv.DictReader(io.StringIO(numbers)))
    measured = study["slope"].sel(stage="end").mean("seed")
    assert len(rows) == measured.size
    for row in rows:
        mean = float(measured.sel(objective=row["objective"], step=int(row["step"])))
        assert float(row["mean"]) == pytest.approx(mean, rel=1e-3) and row["n"] == "3" and row["stage"] == "end"
    kind, size = png.split()
    assert kind == "image/png" and int(size) > 5000
    for name in ("cross_entropy", "ramp", "&lt;script&gt;"):
        assert f">{name}" in svg  # the legend that the page writes over the chart is in its picture
    assert "<script" not in svg and "currentColor" not in svg


@pytest.mark.browser
@needs_browser
def test_a_page_opens_as_its_address_says(path, tmp_path):
    act = (
        "async function act() { await Promise.all(drawn); await settle(); await finish({ all: await bright('all') }); }"
    )
    result, console = opened(path, tmp_path, act=act, fragment="#focus=ramp")
    assert console == [] and result["all"] == ["ramp"]


# -- several runs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory, study):
    """Two drawn runs of a study that differ in two settings and in what they found."""
    root = tmp_path_factory.mktemp("several")
    found = []
    for name, steps in (("a & b", 100), ("c", 200)):
        run = folder(root / name, study.assign_attrs(answer=f"After {steps} steps it does. {EVIL}"))
        write_json(run.path / "config.json", {"kind": "falling", "training": {"steps": steps}, "out": name, "seeds": 3})
        lab.draw(run)
        lab.write_report(run)
        found.append(run)
    return found


def test_a_gallery_shows_runs_side_by_side(runs):
    path = lab.write_gallery(runs, gallery_place(runs))
    assert path == runs[0].path.parent / "gallery.html"
    text = path.read_text()
    page = Page(text)
    assert page.scripts == [] and "script-src" not in text  # nothing to run
    assert f"After 100 steps it does. {EVIL}" in page.words and "After 200 steps it does." in page.words
    table = re.search(r"<tbody>(.*?)</tbody>", text).group(1)
    assert re.findall(r"<t[hd].*?>(.*?)</t", table) == ["training.steps", "100", "200"]
    assert page.words.index("training.steps") < page.words.index("After 100 steps")
    addresses = [a["href"] for tag, a in page.elements if tag == "a"]
    assert [(path.parent / unquote(one)).resolve() for one in addresses] == [run.report.resolve() for run in runs]
    assert text.count("<svg") == 2 and text.count(">It falls by 5") == 2
    labels = [a["aria-label"] for tag, a in page.elements if tag == "svg" and a.get("role") == "img"]
    assert labels == [f"After {steps} steps it does. {EVIL}" for steps in (100, 200)]
    identities = re.findall(r'\bid="([^"]+)"', text)
    assert len(identities) == len(set(identities))  # each figure has its own clips and colours
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(identities)


def test_a_gallery_lies_where_it_is_told_to_and_finds_its_runs(runs, tmp_path):
    path = lab.write_gallery(runs, tmp_path / "two.html")
    addresses = [a["href"] for tag, a in Page(path.read_text()).elements if tag == "a"]
    assert [(tmp_path / unquote(one)).resolve() for one in addresses] == [run.report.resolve() for run in runs]


def test_a_gallery_without_figures_says_what_to_do(runs, study, tmp_path):
    with pytest.raises(lab.DataError, match="python -m lab report"):
        lab.write_gallery([*runs, folder(tmp_path / "bare", study)], tmp_path / "gallery.html")
    assert not (tmp_path / "gallery.html").exists()


# -- other kinds of runs ----------------------------------------------------------------------------------------


def test_a_training_has_a_page(tmp_path):
    values = np.linspace(0.1, 0.912, 4)[:, None] + np.array([-0.002, 0.002])[:, None, None] + np.zeros(3)
    results = xarray.Dataset(
        {"loss": (("seed", "epoch", "split"), 2 - values), "accuracy": (("seed", "epoch", "split"), values)},
        coords={"seed": [0, 1], "epoch": np.arange(4), "split": ["train", "validation", "test"]},
        attrs={"data": "digits", "network": "784-100-10 relu", "recipe": "sgd"},
    )
    page = Page(lab.write_report(folder(tmp_path / "train", results)).read_text())
    assert "in its own unit" not in page.words
    handed = results.assign_attrs(objective="brier, from step 1500 on mae")
    for note in (sections.sections(handed)[0].note, " ".join(figures.learning(handed).to_dict()["title"]["subtitle"])):
        assert "From step 1,500 on the loss is that of mae, in its own unit." in note
    assert "After 3 epochs 91.2 [88.7, 93.7] % of the test images are read rightly." in page.words
    assert list(page.content["specs"]) == ["loss", "accuracy"] and "784-100-10 relu" in page.words
    assert [a["data-focus"] for tag, a in page.elements if tag == "button"] == ["train", "validation", "test"]
