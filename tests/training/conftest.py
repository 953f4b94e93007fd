"""What tests of trainings share."""

import pytest
from corpus import write_all_trials
from sirens import write_sirens


@pytest.fixture(scope="module")
def sirens(tmp_path_factory):
    """Recordings; other ones of the same speakers for validation, so that a short training is enough."""
    folder = tmp_path_factory.mktemp("sets")
    write_sirens(folder / "train", range(8))
    write_sirens(folder / "valid", range(8, 11))
    write_all_trials(folder / "valid")
    return folder


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Drawing how a training went takes longer than the training; tests of pictures and of stage 3 draw it."""
    monkeypatch.setattr("vouch.evaluation.training_plot.training_png", lambda history, kept: b"")
