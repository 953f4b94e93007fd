"""What tests of trainings share."""

import pytest


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Drawing how a training went takes longer than the training; tests of pictures and of stage 3 draw it."""
    monkeypatch.setattr("vouch.evaluation.training_plot.training_png", lambda history, kept: b"")
