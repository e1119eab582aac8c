"""Vega's programs, bundled for pages and kept."""

import re

import pytest

from lab import vega

BUNDLED = "var vega = {};\rvar vegaEmbed = 'ε';\n"  # what is kept must come back as it was, byte by byte


def test_a_chart_is_drawn_alike_each_time():
    """One whose lines are clipped: what clips them has a name, which a second chart in the file would take as well."""
    import altair as alt

    line = (
        alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 9, "y": 9}])).mark_line(clip=True).encode(x="x:Q", y="y:Q")
    )
    first, second = (vega.svg((line | line).to_dict()) for _ in range(2))
    assert first == second
    names, uses = (re.findall(pattern, first) for pattern in (r'id="(clip\d+)"', r"url\(#(clip\d+)\)"))
    assert len(set(names)) == len(names) == 2 and sorted(uses) == sorted(names)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder, and a bundler that is quick and counts."""
    import vl_convert

    made = []

    def bundle(*asked):
        made.append(asked)
        return BUNDLED

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    return tmp_path, made


def test_it_is_bundled_once(cache):
    folder, made = cache
    assert vega.library() == vega.library() == BUNDLED
    assert made == [("window.vegaEmbed = vegaEmbed;", vega.version())]
    (kept,) = (folder / "surrogate-lab").iterdir()
    assert vega.version() in kept.name


@pytest.mark.parametrize("damage", [lambda whole: whole[:-5], lambda whole: b"", lambda whole: b"\xff" + whole])
def test_what_was_damaged_is_bundled_anew(cache, damage):
    folder, made = cache
    vega.library()
    (kept,) = (folder / "surrogate-lab").iterdir()
    kept.write_bytes(damage(whole := kept.read_bytes()))
    assert vega.library() == BUNDLED and len(made) == 2
    assert kept.read_bytes() == whole


def test_where_it_cannot_be_kept_it_is_there_all_the_same(cache):
    folder, made = cache
    (folder / "surrogate-lab").write_text("a file where the folder should be")
    assert vega.library() == vega.library() == BUNDLED and len(made) == 2
