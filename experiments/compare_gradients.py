"""How do the gradients of loss and smoothed accuracy differ?

    python experiments/compare_gradients.py [--objective gce:q=0.3] [--data-dir DIR] [--seeds 10]

About 40 seconds on 2 cores with the embedded sample. What to expect, measured with 5 networks (784-100-10 ReLU)
on the sample: accuracy's gradient is exactly 0 at every stage. Cross entropy's is carried by nearly all of 1,000
digits at the start and by 120 after 5,400 steps; that of expected error at T = 0.1 by 240 and then by 1 or 2, so
that most mini-batches would say nothing at all. `python -m lab compare` does the same with the standard set.
"""

from dataclasses import replace

from rich.console import Console

import lab

# What one can minimise; change a number, or add path/to/mine.py:name.
OBJECTIVES = (
    "cross_entropy",
    "squared_error",
    "gce:q=0.7",
    "expected_error:temperature=1",
    "expected_error:temperature=0.1",
    "centred_expected_error:temperature=1",
    "sigmoid_margin:temperature=1",
)


def main(settings: lab.CompareSettings) -> None:
    """Compare the objectives named in this file, and those given with --objective."""
    settings = replace(settings, objective=OBJECTIVES + settings.objective, standard=False)
    data = lab.load_from(settings.data)
    environment = lab.describe(precision=settings.precision, data=data.identity)

    with lab.new_run(settings.out, "compare", settings, environment) as run:
        with lab.progress(settings.steps) as advance:
            results = lab.compare(settings, data, progress=advance)
        run.save_results(results)
        lab.draw(run)
        lab.write_report(run)

    lab.show_comparison(run, Console(highlight=False, emoji=False))


if __name__ == "__main__":
    lab.cli(main)
