"""The picture of a training."""

import io
import warnings

import matplotlib.image
import numpy as np
import pytest

from vouch.evaluation.training_plot import draw_training, training_png

RATES = [1e-3, 5e-4, 1e-5, 1e-6]
LOSSES = [3.0, 2.0, 1.5, 1.4]
HISTORY = [
    {"epoch": row + 1, "loss": loss, "accuracy": 0.5, "learning_rate": rate}
    for row, (loss, rate) in enumerate(zip(LOSSES, RATES, strict=True))
]
# Measured in every second epoch.
HISTORY[1]["eer"], HISTORY[3]["eer"] = 0.1, 0.125


def test_every_figure_has_a_panel_with_its_values_and_unit():
    figure = draw_training(HISTORY, 2)
    loss, eer, rate = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "validation EER (%)", "learning rate"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch"]
    for axes, epochs, values in ((loss, [1, 2, 3, 4], LOSSES), (eer, [2, 4], [10, 12.5]), (rate, [1, 2, 3, 4], RATES)):
        curve, kept, point = axes.lines
        np.testing.assert_allclose(curve.get_xdata(), epochs)
        np.testing.assert_allclose(curve.get_ydata(), values)
        assert list(kept.get_xdata()) == [2, 2]
        np.testing.assert_allclose([point.get_xdata(), point.get_ydata()], [[2], [values[epochs.index(2)]]])
    assert loss.get_title() == "Training; epoch 2 is kept, validation EER 10.00 %"


@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        HISTORY[:1],
        [{"epoch": epoch, "loss": 1.0} for epoch in range(1, 200)],
        [{"epoch": 1, "loss": -1e308, "eer": 1e308, "learning_rate": 0.0}, {"epoch": 1e300, "loss": 1e308}, *HISTORY],
    ],
)
def test_every_history_gives_a_whole_picture(history):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = matplotlib.image.imread(io.BytesIO(training_png(history, 1)))
    assert min(pixels.shape[:2]) > 400
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == 1).all()  # no text is cut off


def test_of_no_epochs_there_is_no_picture():
    assert training_png([], 1) == b""
