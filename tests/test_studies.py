"""Studies: parts that are kept, a run that is taken up again, an answer from what is kept."""

import dataclasses
import signal

import numpy as np
import pytest
import xarray
from test_commands import ROOT, run, signalled

import lab
from lab.settings import StudySettings


def asked(settings, *, measured, fail_at=None, **options):
    """A study of what the seeds are when squared; `measured` takes note of the parts that were measured."""

    def measure(settings, data, seed, advance):
        if seed == fail_at:
            raise RuntimeError("killed")
        measured.append(seed)
        advance(1)
        return {"square": (("power",), [seed**2.0, seed**3.0]), "count": ((), len(data.train))}

    return lab.study(
        "squares",
        "What is a square?",
        settings,
        measure=measure,
        coordinates=lambda settings: {"power": [2, 3], "elsewhere": [1]},
        answer=lambda results: f"On average {float(results['square'].sel(power=2).mean()):g}.",
        pictures=lambda results: [
            lab.Picture("squares", "They grow.", "square", "square", "power", "power", note="Of the seeds.")
        ],
        method=lambda settings: "Multiplied.",
        **options,
    )


@pytest.fixture
def settings(tmp_path):
    return StudySettings(data=lab.DataSettings(sample=True, subset=100), seeds=3, seed=2, out=tmp_path / "runs")


def only_run(settings):
    (folder,) = settings.out.iterdir()
    return lab.Run(folder)


def test_what_was_measured_is_kept_drawn_and_answered(settings, capsys):
    measured = []
    results = asked(settings, measured=measured)
    assert measured == [2, 3, 4]
    assert results["square"].sel(seed=4, power=3).item() == 64
    found = only_run(settings)
    xarray.testing.assert_identical(found.results(), results)
    assert "elsewhere" not in results.coords
    assert results.attrs["answer"] == f"On average {(4 + 9 + 16) / 3:g}."
    said = capsys.readouterr().out
    assert results.attrs["answer"] in said and str(found.report) in said.replace("\n", "")
    assert found.report.is_file() and (found.figures / "squares.png").is_file()
    assert not list(found.path.glob("part-*"))
    assert found.config()["kind"] == "squares" and found.config()["seeds"] == 3


def test_a_study_that_was_stopped_goes_on_with_what_is_missing(settings, capsys):
    with pytest.raises(RuntimeError, match="killed"):
        asked(settings, fail_at=4, measured=[])
    found = only_run(settings)
    assert sorted(path.name for path in found.path.glob("part-*")) == ["part-0.nc", "part-1.nc"]
    measured = []
    capsys.readouterr()
    results = asked(dataclasses.replace(settings, resume=found.path), measured=measured)
    assert measured == [4]
    begun = f"data.sample True, data.subset 100, out {settings.out}, seed 2, seeds 3"
    assert f"Going on with {found.path}, begun with {begun}.\n" in capsys.readouterr().out
    assert results["square"].sel(power=2).values.tolist() == [4, 9, 16]
    with pytest.raises(lab.InputError, match="complete"):
        asked(dataclasses.replace(settings, resume=found.path), measured=[])


def test_a_part_that_is_damaged_is_measured_again(settings):
    with pytest.raises(RuntimeError):
        asked(settings, fail_at=4, measured=[])
    found = only_run(settings)
    whole = (found.path / "part-1.nc").read_bytes()
    (found.path / "part-1.nc").write_bytes(whole[: len(whole) // 2])
    measured = []
    results = asked(dataclasses.replace(settings, resume=found.path), measured=measured)
    assert measured == [3, 4]
    assert results["square"].sel(power=2).values.tolist() == [4, 9, 16]


def test_a_study_in_which_nothing_was_measured_leaves_nothing(settings):
    with pytest.raises(RuntimeError):
        asked(settings, fail_at=2, measured=[])
    assert list(settings.out.iterdir()) == []


def test_a_study_goes_on_as_it_was_begun_without_any_option(settings):
    with pytest.raises(RuntimeError):
        asked(settings, fail_at=4, measured=[])
    measured = []
    results = asked(StudySettings(resume=only_run(settings).path), measured=measured)
    assert measured == [4] and results["seed"].values.tolist() == [2, 3, 4]


def test_too_few_images_are_said_before_anything_is_measured(settings):
    measured, asks = [], {"images": lambda settings: 10 * settings.seeds + 71}
    with pytest.raises(
        lab.InputError, match="squares, as it is asked here, takes 101 training images at least; got 100"
    ):
        asked(settings, measured=measured, **asks)
    assert not measured and not settings.out.exists()


def test_another_study_cannot_take_it_up(settings):
    with pytest.raises(RuntimeError):
        asked(settings, fail_at=3, measured=[])
    found = only_run(settings)
    with pytest.raises(lab.InputError, match="no run of `other`"), lab.resumed_run(found.path, "other", settings):
        pass


@pytest.mark.slow
def test_an_experiment_that_was_killed_gives_the_same_results(tmp_path):
    script = ROOT / "experiments" / "why_not_accuracy.py"
    options = ["--sample", "--steps", "50", "--examples", "50", "--seeds", "3"]
    whole = run(*options, "--out", tmp_path / "whole", cwd=tmp_path, program=(script,))
    assert whole.returncode == 0, whole.stderr
    main = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    killing = signalled("SIGKILL", "part-1.nc", 1, main=main)
    killed = run(*options, "--out", tmp_path / "killed", cwd=tmp_path, program=killing)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = (tmp_path / "killed").iterdir()
    assert not lab.Run(folder).complete
    resumed = run("--resume", folder, cwd=tmp_path, program=(script,))
    assert resumed.returncode == 0, resumed.stderr
    (other,) = (tmp_path / "whole").iterdir()
    ours, theirs = lab.Run(folder).results(), lab.Run(other).results()
    for name in theirs.data_vars:
        np.testing.assert_array_equal(ours[name].values, theirs[name].values)
    assert ours.attrs == theirs.attrs
