"""Story: the words of the page, from the question to the methods. Everything that comes from data is escaped.

Written for somebody who has read chapter 4: a loss is known, and that accuracy's derivative is 0 almost everywhere.
"""

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from lab import headlines, legend, ranking, series
from lab.columns import COLUMNS
from lab.findings import counts, summarise
from lab.frame import intervals, means, rivals, source, spans
from lab.markup import Style, boxes, figure, glossary, plain, radio, unbroken
from lab.markup import legend as buttons
from lab.palette import styles
from lab.quantities import QUANTITIES, interval, metric_of
from lab.race import raced
from lab.statistics import Interval

if TYPE_CHECKING:
    import xarray


class Part(NamedTuple):
    """One section of the page: what is asked, what is said first, what is shown, what is said of it."""

    heading: str
    words: str
    figure: str = ""


TITLE = "We want {metric}. Why train on a loss?"

QUESTION = """<p>We judge a network by its accuracy: the share of images it reads rightly. Chapter 4 trains
it on something else, a loss, and gives the reason in one sentence: the derivative of accuracy with respect
to a weight is 0 almost everywhere, so gradient descent would stand still.</p>
<p>This page makes that sentence visible, in networks that were trained for it, and then asks what the
chapter leaves open. If accuracy is smoothed a little, so that its steps become slopes, would that do in
place of a loss?</p>"""

JUDGED = """<p>What counts here is another metric, {metric}: what a step along a gradient gains is counted in it, and
it decides a race. The smoothed accuracies are stand-ins for accuracy all the same.</p>"""

STAIRCASE = """<p>Take one network and {images} images. Move a single weight to and fro, leave all the
others alone, and write down what happens. The error (1 &minus; accuracy) can only change when some
image&rsquo;s answer flips, so it is a staircase: level, then a jump. Cross entropy notices how sure the
network is of every image, so it bends without a break.</p>
<p>The lower pictures are the slopes, which is what gradient descent is told. The error&rsquo;s is 0 and
then a needle; neither says where to go. The thick orange line is the error with its steps smoothed, about
which more below.</p>"""

DIFFERENCES = """<p>Perhaps a derivative is too strict, and one should simply try a step <i>h</i> each way,
as the chapter does with numerical differentiation? For a loss this works: from large steps to small ones
the quotient settles on the gradient. For accuracy no <i>h</i> is right. Small steps meet no flipping image
and find exactly 0; large ones find something, and no longer anything about the place where the weight
stands.</p>"""

COSINES = """<p>Smoothing the step of accuracy gives a family of objectives that do have gradients. How wide
the slope is, measured in logits, is called the temperature <i>T</i>: cold is close to accuracy itself, warm
is blurred. For two objectives at the same weights one can ask whether they want to go the same way. The
cosine answers: 1 is the same direction, 0 is at right angles.</p>"""

MARGINS = """<p>Why do they disagree? Because they look at different images. An image&rsquo;s margin is the
lead of its true class over the strongest rival: negative where the answer is wrong, large where it is sure
and right. Grey shows where the images are. The coloured line shows where an objective&rsquo;s pull comes
from: the weight of an image is how hard it pulls on its own true logit.</p>
<p>Choose an objective, move the temperature, change the stage. Cross entropy at <i>T</i> = 1 stays as the
blue line to compare with.</p>"""

TEMPERATURES = """<p>Between too cold and too warm, which? A cold objective looks only at images close to
the boundary: as training clears them away, fewer and fewer are left to carry the gradient. A warm one
listens to everybody, and then its direction is another question&rsquo;s answer. A gradient is called dead
when it is exactly 0, or so small that float32 cannot tell the weights before a step from those after.</p>"""

USABLE = """<p>Direction and support are means. The end is {metric} itself: follow each gradient in a straight
line, as far as is best, and {count}. The length of the step is chosen
on the images that the gradient was taken from, so the gain there is flattered (the small ticks). The dots
are the gain of the same step on images that neither the gradient nor its length has seen.</p>
<p>And if one could choose any weight over the margin? The last picture shows the one whose gradient points
best where held-out accuracy rises, beside cross entropy&rsquo;s. Where the two part, cross entropy spends
its pull on images that accuracy does not ask for.</p>"""

RACE = """<p>A gradient is a means, and a network is the end. So let objectives train networks of their own, from
the same starts and on the same mini-batches: {recipe}. {asked}</p>
<p>These networks are young: for longer training, and for more objectives and temperatures, there is
<code>python -m lab sweep</code>.</p>"""

NO_RACE = """<p>A gradient is a means, and a network is the end. This comparison trained none with the other objectives;
<code>python -m lab compare --race 300</code> does, and <code>python -m lab sweep</code> asks nothing else.</p>"""

NUMBERS = """<p>All of it in figures. Means over the networks; in brackets, where there are two networks or
more, the 95&nbsp;% interval of the mean. What each column means stands below the table.</p>"""


def _glossary(results: "xarray.Dataset") -> dict[str, str]:
    """Every column of the table of diagnostics, and how to read it."""
    first = {
        "value": QUANTITIES["mean_value"].reading + " In its own unit: not comparable between objectives.",
        "cos": "Cosine with cross entropy&rsquo;s gradient. " + QUANTITIES["cosine"].reading,
        "dead": "In how many networks the gradient is 0, or a step along it is lost to float32.",
    }
    metric = metric_of(results)
    return first | {column.heading: plain(column.explained(metric)) for column in COLUMNS}


def title(results: "xarray.Dataset") -> str:
    """What the page asks."""
    return TITLE.format(metric=metric_of(results))


def parts(results: "xarray.Dataset") -> list[Part]:
    """The page from top to bottom, up to its methods."""
    images = f"{int(results.attrs['line_examples'])} of its training"
    race, metric = raced(results), metric_of(results)
    plainly = metric == "accuracy"
    count = "count how many more images are read rightly" if plainly else f"see by how much {metric} rises"
    return [
        Part(
            "What we want, and what we train on",
            QUESTION if plainly else QUESTION + JUDGED.format(metric=escape(metric)),
        ),
        Part(
            "One weight, moved",
            STAIRCASE.format(images=images),
            _figure(
                headlines.staircase(results),
                boxes(
                    ["staircase-error-value", "staircase-loss-value", "staircase-error-slope", "staircase-loss-slope"]
                ),
                "The first network. The weight is the one that cross entropy depends on most; the dashed line is where "
                "it stands. Smoothed: expected_error at T = 0.1. Slopes are differences of neighbouring points; the "
                "needles would grow without end as the points move together, and are cut.",
                series.moved(results),
            ),
        ),
        Part(
            "And if one only tries?",
            DIFFERENCES,
            _figure(
                headlines.differences(results),
                boxes(["differences"]),
                f"(f(w + h) &minus; f(w &minus; h)) / 2h at {int(results.attrs['difference_weights'])} weights of each "
                f"network, drawn at random; cross entropy&rsquo;s is held against its exact gradient. "
                f"{intervals(results)}",
                results,
            ),
        ),
        Part(
            "Losses and smoothed accuracies have a direction. The same one?",
            COSINES,
            _figure(
                headlines.cosines(results),
                boxes(["cosines"]),
                f"{means(results)}; columns are numbered like the rows."
                f"{' Point at a square for its interval.' * (results.sizes['seed'] > 1)}",
                results,
            ),
        ),
        Part(
            "Where each one looks",
            MARGINS,
            _figure(
                headlines.margins(results),
                _controls(results) + boxes(["margins"]),
                f"{means(results)}; bins of the hard margin, finer near 0. Grey: share of images.",
                results,
            ),
        ),
        Part(
            "Which temperature?",
            TEMPERATURES,
            _figure(
                headlines.temperatures(results),
                buttons(_styled(legend.swept_keys(results), results))
                + boxes([f"temperatures-{measure}" for measure in (*series.TEMPERATURE_MEASURES, "dead")]),
                f"{intervals(results)} Thin and dotted: as many examples as n f(0) T / R, by the density f(0) of "
                "margins at the boundary, foretells; R is the kernel&rsquo;s roughness. What is 0 has no place on a "
                "logarithmic axis; bands are cut at its lower end.",
                results,
            ),
        ),
        Part(
            "Which gradient is usable?",
            USABLE.format(metric=escape(metric), count=escape(count)),
            _figure(
                headlines.gains(results),
                boxes(["gains"]),
                f"Dots: gain on {int(results.attrs['held_out_examples']):,} held-out images; ticks: on the "
                f"gradient&rsquo;s own. {spans(results)}",
                results,
            )
            + _figure(
                headlines.weights(results),
                boxes(["weights"]),
                f"Both scaled to a gradient of norm 1. {intervals(results)}",
                results,
            ),
        ),
        Part("Who trains the better network?", NO_RACE) if race is None else _race(race),
        Part("What was measured", NUMBERS, _table(results) + _findings(results)),
    ]


def _race(race: "xarray.Dataset") -> Part:
    """Who trains the better network; one that diverged at every rate is named and not drawn."""
    lost = f" Diverged at every learning rate: {race.attrs['lost']}." if race.attrs["lost"] else ""
    note = f"{rivals(race)}{lost}"
    headline, metric = " ".join(ranking.answer(race)[:2]), metric_of(race)
    asked = "How many of the test images do their networks read rightly?"
    if metric != "accuracy":
        asked = f"What {metric} do they come to on the test images?"
    return Part(
        "Who trains the better network?",
        RACE.format(recipe=escape(race.attrs["recipe"]), asked=escape(asked)),
        figure(boxes(["race"]), plain(f"{note} {source(race)}"), headline=headline),
    )


def _figure(headline: str, content: str, note: str, results: "xarray.Dataset") -> str:
    """A figure with its finding above and its note, which is HTML, below."""
    return figure(content, unbroken(f"{note} {counts(results)} Data and training: above."), headline=headline)


def first_focus(results: "xarray.Dataset") -> str:
    """The objective that the page brings forward at first: expected error, or what there is in its place."""
    keys = [key for key in legend.table_keys(results) if key not in ("zero_one", "cross_entropy")]
    return "expected_error" if "expected_error" in keys else (keys or ["cross_entropy"])[0]


def first_temperature(results: "xarray.Dataset") -> int:
    """The place among the swept temperatures of the one nearest to 1."""
    at = legend.swept_temperatures(results)
    return min(range(len(at)), key=lambda place: abs(at[place] - 1))


def _styled(shown: list[str], results: "xarray.Dataset") -> dict[str, Style]:
    chosen = styles(legend.keys(results))
    return {key: chosen[key] for key in shown}


def _controls(results: "xarray.Dataset") -> str:
    """Which objective, at which temperature: native inputs."""
    at, place = legend.swept_temperatures(results), first_temperature(results)
    options = "".join(f'<option value="{i}" label="{t:g}"></option>' for i, t in enumerate(at))
    return (
        f"{buttons(_styled(legend.table_keys(results), results), first=first_focus(results), every=True)}"
        f'<p class="slider"><label for="temperature">Temperature</label><input type="range" id="temperature" '
        f'name="temperature" autocomplete="off" min="0" max="{len(at) - 1}" step="1" value="{place}" '
        f'list="temperatures" aria-valuetext="{at[place]:g}"><output for="temperature">{at[place]:g}</output>'
        f'<datalist id="temperatures">{options}</datalist></p>'
    )


def stage_choice(results: "xarray.Dataset") -> str:
    """The stages of training with what the networks know by then: one choice for all pictures."""
    first = min(1, results.sizes["stage"] - 1)
    metric = metric_of(results)
    of = results.get("test_metric", results["test_accuracy"])  # older runs know of accuracy alone
    score = 100 * of.mean("seed").values
    radios = []
    for i, stage in enumerate(legend.stage_titles(results)):
        # On a phone only what tells the stages apart is shown.
        name, more, epochs = stage.removeprefix("after ").partition(" (")
        after = '<span class="more">after </span>' if stage.startswith("after ") else ""
        epochs = f'<span class="more">{escape(more + epochs)}</span>'
        percent = f"{score[i]:.0f}&nbsp;%"
        said = f"{percent} right" if metric == "accuracy" else f"{escape(metric)} {percent}"
        label = f"{after}{escape(name)}{epochs}<small>{said}</small>"
        radios.append(radio("stage", stage, label, checked=i == first, identity=f"stage-{i}"))
    return f'<fieldset class="choice"><legend>The networks</legend>{"".join(radios)}</fieldset>'


def _table(results: "xarray.Dataset") -> str:
    """All diagnostics of the table's objectives: a body of rows for each stage."""
    glossary = _glossary(results)
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in glossary)
    columns = len(glossary) + 1
    table = legend.in_table(results)
    found = [series.column_intervals(results, column) for column in COLUMNS]
    bodies = []
    for s, stage in enumerate(legend.stage_titles(results)):
        rows = "".join(
            _row(
                table.isel(stage=s, objective=i),
                [of[s][i] for of in found],
            )
            for i in range(table.sizes["objective"])
        )
        title = f'<tr class="stage"><th scope="rowgroup" colspan="{columns}">{escape(stage)}</th></tr>'
        bodies.append(f'<tbody class="of-stage-{s}">{title}{rows}</tbody>')
    words = "".join(f"<dt>{escape(name)}</dt><dd>{meaning}</dd>" for name, meaning in glossary.items())
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="all diagnostics"><table><thead><tr>'
        f'<th scope="col">objective</th>{heads}</tr></thead>{"".join(bodies)}</table></div>'
        f'<dl class="glossary">{words}</dl>'
    )


def _row(one: "xarray.Dataset", columns: list[Interval]) -> str:
    """One objective at one stage; of each column its mean over the networks."""
    dead, n = int(one["dead"].sum()), one.sizes["seed"]
    cells = [
        _cell(interval(one, "mean_value", one["mean_value"].values), ".3g"),
        _cell(interval(one, "cosine", one["cosine"].sel(other="cross_entropy").values), ".2f"),
        f"<td>{f'{dead}&nbsp;of&nbsp;{n}' if dead else '&ndash;'}</td>",
        *(_cell(found, column.digits) for found, column in zip(columns, COLUMNS, strict=True)),
    ]
    return f'<tr><th scope="row">{escape(str(one["title"].item()))}</th>{"".join(cells)}</tr>'


def _cell(found: Interval, digits: str) -> str:
    if not found.n:
        return "<td>none</td>"
    span = f"<small>[{found.low:{digits}}, {found.high:{digits}}]</small>" if found.n > 1 else ""
    return f"<td>{found.mean:{digits}} {span}</td>"


def _findings(results: "xarray.Dataset") -> str:
    items = "".join(f"<dt>{escape(one.claim)}</dt><dd>{plain(one.evidence)}</dd>" for one in summarise(results))
    return f'<h3>In short</h3><dl class="findings">{items}</dl>'


def methods(results: "xarray.Dataset") -> str:
    """Data, network, recipe, precision."""
    facts: dict[str, Any] = {
        "data": results.attrs["data"],
        "network": results.attrs["network"],
        "training": results.attrs["recipe"],
        "networks": f"{results.sizes['seed']}, each with its own start, mini-batches and images",
        "gradients of": f"{int(results.attrs['examples']):,} training images, the same for all objectives",
        "products at precision": results.attrs["precision"],
        "intervals": "95 %, Student t over networks; comparisons paired by network",
    }
    return glossary(facts)
