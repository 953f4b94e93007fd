"""Trainings for tests: what `Experiment.run` does, without a folder of data that has to be described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from vouch.features.config import FrontEndConfig
from vouch.training.config import Config
from vouch.training.data import TrainingSet
from vouch.training.experiment import open_bank, stored_front_end
from vouch.training.finetune import Start
from vouch.training.loop import train
from vouch.training.record import Callbacks, Record
from vouch.training.setup import Training, set_up
from vouch.training.validation import ValidationSet


@dataclass
class Run:
    """A training with its record, and the lines that it logs."""

    training: Training
    record: Record
    lines: list[str]

    def __call__(self) -> Path:
        return train(self.training, self.record)


def make_run(
    config: Config,
    train: Path,
    valid: Path | None,
    exp: Path,
    feature: FrontEndConfig | None = None,
    start: Start | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, int, float], None] = lambda *values: None,
    bank: Path | None = None,
) -> Run:
    """Set up a training of two data directories, on the CPU."""
    lines: list[str] = []
    data = TrainingSet(train, feature=stored_front_end(config, feature))
    trials = None if valid is None else ValidationSet(valid, feature)
    training = set_up(config, data, trials, feature, start, torch.device("cpu"), open_bank(config, bank, feature))
    return Run(training, Record(training, exp, "f", Callbacks(lines.append, progress, should_stop)), lines)
