"""Surrogates: smoothed accuracy, the step 1[m <= 0] replaced by a slope of a given width.

Two knobs that are easily mixed up: who counts as a rival (the strongest one, their sum, their mean) and how
wide the boundary is (the temperature). All of these fall to `zero_one` as the temperature goes to 0.
"""

import jax.numpy as jnp

from lab.margins import centred_margin, hard_margin, sigmoid, soft_margin
from lab.objectives import Definition, MarginForm, positive


def _hard(logits, labels, temperature):
    return hard_margin(logits, labels)


def _step(m, temperature):
    return sigmoid(-m / temperature)


def _step_weight(m, temperature):
    return sigmoid(m / temperature) * sigmoid(-m / temperature) / temperature


EXPECTED_ERROR = Definition(
    name="expected_error",
    family="smoothed accuracy",
    formula="1 - softmax(z/T)_y = sigmoid(-m_T/T), m_T the soft margin",
    source="Ghosh et al. 2017, Robust loss functions under label noise; Janocha & Czarnecki 2017",
    parameters={"temperature": positive(1.0)},
    function=MarginForm(soft_margin, _step, _step_weight),
    bounded=True,
    symmetric=True,
    calibrated=True,
    smooth=True,
    centred=False,
)

CENTRED_EXPECTED_ERROR = Definition(
    name="centred_expected_error",
    family="smoothed accuracy",
    formula="B/(A+B), A = exp(z_y/T), B = mean over rivals of exp(z_j/T)",
    source="this lab: expected error moved onto the decision boundary (see `centred_margin`)",
    parameters={"temperature": positive(1.0)},
    function=MarginForm(centred_margin, _step, _step_weight),
    bounded=True,
    symmetric=False,
    calibrated=True,
    smooth=True,
    centred=True,
)

SIGMOID_MARGIN = Definition(
    name="sigmoid_margin",
    family="smoothed accuracy",
    formula="sigmoid(-m/T), m the hard margin",
    source="Nguyen & Sanner 2013, Algorithms for direct 0-1 loss optimization in binary classification",
    parameters={"temperature": positive(1.0)},
    function=MarginForm(_hard, _step, _step_weight),
    bounded=True,
    symmetric=False,
    calibrated=False,
    smooth=False,  # the maximum over the rivals has corners
    centred=True,
)

RAMP = Definition(
    name="ramp",
    family="smoothed accuracy",
    formula="clip((1 - m/T)/2, 0, 1), m the hard margin",
    source="Collobert et al. 2006, Trading convexity for scalability; centred",
    parameters={"temperature": positive(1.0)},
    function=MarginForm(
        _hard,
        lambda m, temperature: jnp.clip((1 - m / temperature) / 2, 0.0, 1.0),
        lambda m, temperature: (jnp.abs(m) < temperature) / (2 * temperature),
    ),
    bounded=True,
    symmetric=False,
    calibrated=False,
    smooth=False,
    centred=True,
)

SURROGATES = (EXPECTED_ERROR, CENTRED_EXPECTED_ERROR, SIGMOID_MARGIN, RAMP)
