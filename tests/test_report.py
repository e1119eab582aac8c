"""The report: one page, complete in itself, that shows what was measured and does what it offers."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from test_figures import EVIL, renamed

import lab
from lab import headlines, legend, scenes, story
from lab.columns import COLUMNS
from lab.frame import source
from lab.markup import plain
from lab.race import raced
from lab.ranking import answer
from lab.runs import Run, write_json

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def folder(path, results):
    """A run's folder with results and all that a page tells."""
    path.mkdir(exist_ok=True)
    run = Run(path)
    run.save_results(results)
    write_json(path / "config.json", {"kind": "compare", "objective": [EVIL]})
    write_json(path / "environment.json", {"python": "3.11"})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory, comparison):
    return folder(tmp_path_factory.mktemp("runs") / "20261123-120000-compare", comparison)


@pytest.fixture(scope="module")
def path(run):
    return lab.write_report(run)


def test_a_run_from_before_there_were_other_metrics_has_the_same_page(tmp_path, comparison, path):
    older = comparison.drop_vars("test_metric")
    older.attrs = {name: value for name, value in comparison.attrs.items() if name != "metric"}
    again = lab.write_report(folder(tmp_path / path.parent.name, older))
    assert again.read_text() == path.read_text()


class Page(HTMLParser):
    """A page taken apart: its elements, the text outside scripts, the scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self.inside = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())

    @property
    def content(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text())


# -- the file ---------------------------------------------------------------------------------------------------


def test_the_page_is_one_small_file(run, path):
    assert path == run.report
    assert path.stat().st_size < 3_000_000
    assert not list(run.path.glob(".*partial"))


def test_the_page_fetches_nothing(path, page):
    for tag, attributes in page.elements:
        assert not {"src", "href", "action", "data", "srcset", "background"} & set(attributes), (tag, attributes)
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
    style = path.read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "http" not in policy


def test_the_libraries_are_there_once(page):
    assert sum(script.count("window.vegaEmbed") for script in page.scripts) == 1
    assert len(page.scripts) == 3


@pytest.mark.slow
def test_drawn_without_jax_the_page_is_the_same(run, path, comparison, tmp_path):
    copy = folder(tmp_path / run.path.name, comparison)
    code = (
        "import sys\nfor name in ('jax', 'jaxlib', 'optax'): sys.modules[name] = None\n"
        f"import lab\nfrom pathlib import Path\nlab.write_report(lab.Run(Path({str(copy.path)!r})))"
    )
    root = Path(lab.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert copy.report.read_bytes() == path.read_bytes()


def test_names_stay_text(tmp_path, comparison):
    page = Page(lab.write_report(folder(tmp_path / "evil", renamed(comparison, "gce", EVIL))).read_text())
    assert len(page.scripts) == 3  # none came with the name
    assert EVIL in page.words
    assert "<" not in page.scripts[0]
    titles = {row["title"] for row in page.content["datasets"]["weights"]}
    assert EVIL in titles
    assert any(a.get("data-focus") == EVIL for tag, a in page.elements if tag == "button")


def test_a_missing_config_is_named(tmp_path, comparison):
    run = folder(tmp_path / "run", comparison)
    (run.path / "config.json").unlink()
    with pytest.raises(lab.DataError, match=re.escape(str(run.path / "config.json"))):
        lab.write_report(run)
    assert not run.report.exists()


# -- what it says -----------------------------------------------------------------------------------------------


def test_the_page_says_what_the_figures_and_the_table_say(page, comparison):
    for name in ("staircase", "differences", "cosines", "margins", "temperatures"):
        assert getattr(headlines, name)(comparison) in page.words
    for finding in lab.summarise(comparison):
        assert finding.claim in page.words and finding.evidence in page.words
    assert "n = 2 networks, 200 training images each." in page.words
    assert "n = 1 network, 100 training images." in page.words  # of the staircase
    assert not re.search(r"\d %|n = \d", " ".join(page.text)), "a number may part from its sign at a line's end"
    assert comparison.attrs["data"] in page.words
    race = raced(comparison)
    assert " ".join(answer(race)[:2]) in page.words and source(race) in page.words


def test_the_table_holds_the_means_of_the_networks(path, comparison):
    text = path.read_text()
    body = re.search(r'<tbody class="of-stage-1">(.*?)</tbody>', text, re.S).group(1)
    rows = dict(re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', body, re.S))
    assert list(rows) == [html.escape(t) for t in comparison["title"].values[comparison["in_table"].values]]
    cells = [re.sub(r"<small>.*?</small>", "", c).strip() for c in re.findall(r"<td>(.*?)</td>", rows["brier"])]
    at = comparison.sel(objective="brier").isel(stage=1)
    assert cells[1] == f"{float(at['cosine'].sel(other='cross_entropy').mean()):.2f}"
    headings = re.findall(r'<th scope="col">(.*?)</th>', text)[1:]
    for heading, name, digits in (
        ("|g|", "norm", ".2g"),
        ("n", "effective_examples", ",.0f"),
        ("noise", "noise_scale", ",.0f"),
        ("align", "alignment", ".2f"),
    ):
        assert cells[headings.index(heading)] == f"{float(at[name].mean()):{digits}}", name
    assert all(plain(column.explained("accuracy")) in text for column in COLUMNS)
    assert "<td>2&nbsp;of&nbsp;2</td>" in rows["zero_one"] and "<td>none</td>" in rows["zero_one"]


def test_the_charts_hold_the_measured_numbers(page, comparison):
    assert page.content["datasets"] == json.loads(json.dumps(scenes.datasets(comparison)))
    (row,) = (
        row
        for row in page.content["datasets"]["cosines"]
        if (row["stage"], row["row"], row["column"]) == ("after 20 steps", "6  gce", "cross_entropy")
    )
    measured = comparison["cosine"].sel(objective="gce", other="cross_entropy", stage="20 steps").values
    assert row["mean"] == pytest.approx(measured.mean(), rel=1e-3)


def test_every_chart_has_its_place_and_its_data(page):
    specs, datasets = page.content["specs"], page.content["datasets"]
    places = {a["id"] for _, a in page.elements if a.get("class") == "chart"}
    assert places == set(specs)
    used = set(re.findall(r'"data": \{"name": "(\w+)"\}', json.dumps(specs)))
    assert used == set(datasets)


def test_every_chart_says_its_finding_to_who_does_not_see_it(page, comparison):
    said = {place: spec["description"] for place, spec in page.content["specs"].items()}
    assert said["staircase-loss-slope"] == headlines.staircase(comparison)
    assert said["temperatures-dead"] == headlines.temperatures(comparison)
    assert said["race"] == " ".join(answer(raced(comparison))[:2])


def test_notes_over_the_margins_are_the_measured_numbers(comparison):
    lines = scenes.notes(comparison)["after 20 steps"]["expected_error"]["0"]
    at = comparison.sel(objective="expected_error:temperature=0.1", stage="20 steps")
    assert lines[0] == "expected_error T=0.1"
    assert f"carried by {float(at['effective_examples'].mean()):.0f} [" in lines[1]
    assert f"cosine with cross entropy {float(at['cosine'].sel(other='cross_entropy').mean()):.2f} [" in lines[2]
    dead = scenes.notes(comparison)["at the start"]["zero_one"]["fixed"]
    assert "cosine with cross entropy undefined" in dead and "dead in 2 of 2 networks" in dead


def test_peaks_are_above_all_that_is_drawn(comparison):
    rows = scenes.datasets(comparison)
    peaks = scenes.peaks(rows, 3)
    for row in rows["weights"]:
        if row["t"] is not None:
            assert peaks[row["stage"]][row["t"]] > max(row["share"])
    assert all(peak < 106 for by_place in peaks.values() for peak in by_place)


def test_weights_that_are_no_numbers_are_left_out_of_the_peaks(comparison):
    unknown = comparison.copy(deep=True)
    unknown["weight_by_margin"].loc[{"objective": "gce", "stage": "20 steps"}] = np.nan
    peaks = [scenes.peaks(scenes.datasets(one), 3) for one in (comparison, unknown)]
    assert peaks[0].keys() == peaks[1].keys() and np.isfinite(list(peaks[1].values())).all()
    assert peaks[1]["at the start"] == peaks[0]["at the start"]


def test_the_slider_begins_at_the_temperature_nearest_to_1(comparison, page):
    (slider,) = (a for tag, a in page.elements if tag == "input" and a.get("type") == "range")
    assert legend.swept_temperatures(comparison) == [0.1, 1, 10]
    assert slider["max"] == "2" and slider["value"] == "1" == str(story.first_temperature(comparison))


@pytest.mark.slow
def test_one_network_and_two_objectives_make_a_page(tmp_path, mnist):
    settings = lab.CompareSettings(seeds=1, stages="3", standard=False, examples=50, temperatures="0.5,2")
    results = lab.compare(settings, mnist)
    page = Page(lab.write_report(folder(tmp_path / "least", results)).read_text())
    figures = page.words[: page.words.index("In short")]
    assert "nan" not in figures.lower().split()
    assert "One network: no interval." in page.words
    assert story.first_focus(results) == "cross_entropy"


# -- what it does -----------------------------------------------------------------------------------------------

# What every page's test can do: wait, and see which objectives a chart shows and does not fade.
TOOLS = """
const settle = () => new Promise((done) => setTimeout(done, 300));
const marks = function* (item) {
  for (const one of item.items ?? []) yield one, yield* marks(one);
};
const bright = async (id) => {
  const { view, spec } = await drawn[places.findIndex((place) => place.id === id)];
  const found = new Set();
  for (const one of marks(view.scenegraph().root)) {
    const key = one.datum?.[spec.usermeta.link];
    if (key && !one.items && (one.opacity ?? 1) > 0.12) found.add(key);
  }
  return [...found].sort();
};
const press = async (query) => (document.querySelector(query).click(), await settle());
const type = async (key) => {
  (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  await settle();
};
const files = {};  // what is given away: text, or the type of what is none
Blob = class extends Blob { constructor(parts, given) { super(parts, given); this.written = parts.join(""); } };
URL.createObjectURL = (blob) => "blob:" + (blob.written ?? `${blob.type} ${blob.size}`);
HTMLAnchorElement.prototype.click = function () { files[this.download] = this.getAttribute("href").slice(5); };
/** Pictures are made in real time; a browser whose time is virtual waits for them only while it is kept busy. */
const linger = async (done) => {
  for (let round = 0, sum = 0; round < 60 && !done(); round++) {
    for (let i = 0; i < 2e7; i++) sum += Math.sqrt(i);
    await new Promise((next) => setTimeout(next, sum ? 10 : 20));
  }
};
async function finish(result) {
  result.requests = performance.getEntriesByType("resource").map((one) => one.name);
  document.body.innerHTML = "<pre id='result'></pre>";
  document.getElementById("result").textContent = JSON.stringify(result);
}
"""

ACT = """
const shown = (id) => document.getElementById(id).innerHTML;
async function act() {
  const views = await Promise.all(drawn);
  const result = { drawn: views.length, opened: performance.now(), wide: document.body.scrollWidth - innerWidth };
  const set = async (input, value) => {
    if (input.type === "radio") input.checked = true; else input.value = value;
    for (const event of ["input", "change"]) input.dispatchEvent(new Event(event, { bubbles: true }));
    await settle();
  };
  await settle();
  let before = shown("margins");
  await set(document.getElementById("temperature"), 0);
  result.slider = shown("margins") !== before && shown("margins").includes("expected_error T=0.1");
  result.output = document.querySelector("output").value;
  result.spoken = document.getElementById("temperature").getAttribute("aria-valuetext");
  before = shown("margins");
  await press("[data-focus=all]");
  result.all = shown("margins") !== before;
  await press("[data-focus=expected_error]");
  result.alone = Object.fromEntries(await Promise.all(places.map(async ({ id }) => [id, await bright(id)])));
  await press("[data-focus=expected_error]");
  result.hash = location.hash;
  const charts = views.map((_, i) => document.querySelectorAll(".chart")[i].id);
  const content = (id) => {  // all but the title, which names the stage
    const copy = document.getElementById(id).cloneNode(true);
    copy.querySelectorAll(".role-title").forEach((title) => title.remove());
    return copy.innerHTML;
  };
  before = charts.map(content);
  await set(document.getElementById("stage-0"));
  result.stage = charts.filter((id, i) => content(id) === before[i]);
  result.tables = [...document.querySelectorAll("tbody")].filter((one) => one.offsetHeight).map((one) => one.className);
  result.ink = getComputedStyle(document.querySelector("#cosines .role-axis-label text")).fill;
  result.cut = charts.filter((id) => {
    const chart = document.getElementById(id), svg = chart.querySelector("svg");
    return svg.getBoundingClientRect().right > chart.getBoundingClientRect().right + 1;
  });
  await finish(result);
}
"""


def opened(path, tmp_path, *, act=ACT, fragment="", width=1200, dark=False):
    """The page opened and used: what it did, and what the console said."""
    copy = tmp_path / "page.html"
    before, end, after = path.read_text().rpartition("</body>")  # Vega holds one in a string
    copy.write_text(f"{before}<script>{TOOLS}{act}addEventListener('load', act);</script>{end}{after}")
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    flags += " disable-component-update disable-sync dump-dom virtual-time-budget=30000 enable-logging=stderr"
    if dark:
        flags += " blink-settings=preferredColorScheme=0"
    command = [CHROMIUM, *(f"--{flag}" for flag in flags.split()), f"--window-size={width},900"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", copy.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    result = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert result, (console, done.stdout[-2000:])
    return json.loads(html.unescape(result.group(1))), console


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1200, 500])  # headless Chromium opens no window narrower than 500
def test_the_page_does_what_it_offers(path, tmp_path, width):
    result, console = opened(path, tmp_path, width=width)
    assert console == []
    assert result["requests"] == []
    assert result["drawn"] == 15
    assert result["slider"], "the temperature slider changed nothing"
    assert result["output"] == result["spoken"] == "0.1"
    assert result["all"], "the objective chosen changed nothing"
    alone = {place: keys for place, keys in result["alone"].items() if place not in ("margins", "weights")}
    assert alone.pop("staircase-loss-value") == alone.pop("staircase-loss-slope") == ["cross_entropy"]  # have no other
    assert alone.pop("differences") == ["cross_entropy", "zero_one"]
    alone.pop("temperatures-dead")  # in these few steps nothing dies: all of it is faint
    assert set(map(tuple, alone.values())) == {("expected_error",)}, alone
    assert result["hash"] == "#temperature=0.1&focus=all"
    # In these few steps no swept gradient dies: the picture of deaths is the same at both stages.
    # The race has its own networks, at the end of their training.
    assert set(result["stage"]) - {"temperatures-dead"} == {"race"}, "these charts did not follow the stage"
    assert result["tables"] == ["of-stage-0"]
    assert result["wide"] <= 0, "the page is wider than the screen"
    assert result["cut"] == [], "these charts are wider than their place"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_opens_as_its_address_says_and_goes_back(path, tmp_path):
    act = """async function act() {
      await Promise.all(drawn); await settle();
      const state = async () => [
        document.querySelector("input[name=stage]:checked").id, document.querySelector("output").value,
        document.getElementById("margins").textContent.includes("ramp T=0.1"), await bright("gains"),
        document.getElementById("cosines").textContent.includes("at the start"),
      ];
      const result = { began: await state() };
      const input = document.getElementById("stage-1"); input.checked = true;
      input.dispatchEvent(new Event("change", { bubbles: true })); await settle();
      result.changed = await state();
      history.back(); await settle(); result.back = await state();
      location.hash = "#focus=nobody&stage=never&temperature=7"; await settle(); result.strange = await state();
      await finish(result);
    }"""
    said = "#stage=at+the+start&temperature=0.1&focus=ramp"
    result, console = opened(path, tmp_path, act=act, fragment=said)
    assert console == []
    assert result["began"] == result["back"] == ["stage-0", "0.1", True, ["ramp"], True]
    assert result["changed"] == ["stage-1", "0.1", True, ["ramp"], False]
    stage, temperature, _, everything, _ = result["strange"]  # what is not there is not chosen
    assert (stage, temperature) == ("stage-1", "1") and len(everything) > 5


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_ink_is_light_in_the_dark(path, tmp_path):
    ink, _ = opened(path, tmp_path, dark=True)
    paper, _ = opened(path, tmp_path)
    light, dark = (np.mean([int(x) for x in re.findall(r"\d+", one["ink"])[:3]]) for one in (ink, paper))
    assert light > 180 and dark < 80


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_name_that_is_a_script_is_not_run(tmp_path, comparison):
    strange = lab.write_report(folder(tmp_path / "run", renamed(comparison, "gce", EVIL)))
    result, console = opened(strange, tmp_path)
    assert console == [] and result["drawn"] == 15  # an alert would have stopped the page
