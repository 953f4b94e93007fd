"""The training loop."""

from __future__ import annotations

from pathlib import Path

import torch

from vouch.training.data import prefetch
from vouch.training.draws import crop_seed
from vouch.training.record import Record
from vouch.training.setup import Training
from vouch.training.step import train_step


class Interrupted(Exception):
    """Raised when the run was asked to stop and has written a checkpoint."""


def train(training: Training, record: Record) -> Path:
    """Train from the last checkpoint, if there is one, to the end, and return the path of `final.pt`.

    On a CPU, an interrupted and continued run ends with the same weights as an uninterrupted one, bit for bit.

    Raises
    ------
    VouchError
        The loss became NaN or infinite, or a checkpoint is damaged.
    Interrupted
        The record requested a stop; the same run can continue from the checkpoint.
    """
    record.begin()
    options, progress, device = training.options, training.state.progress, training.device
    while progress.epoch < options.epochs:
        batches = training.plan_epoch(progress.epoch)
        seed = crop_seed(options.seed, progress.epoch)
        source, pin = training.input, device.type == "cuda"
        crops = prefetch(training.data, batches, progress.batch, source.piece, seed, pin, source.draw)
        training.begin_learning()
        sums = torch.tensor([progress.loss_sum, progress.correct], dtype=torch.float64).to(device)
        for batch in record.timed(crops):
            done = (progress.epoch + progress.batch / len(batches)) / options.epochs
            sums += train_step(training, batch, done)
            progress.batch += 1
            progress.rows += len(batch.labels)
            if record.batch_done(sums, batches):
                raise Interrupted
        record.epoch_done(validate(training))
    return record.finish()


def validate(training: Training) -> float | None:
    """Return the EER on the validation set, 0 to 1; None in epochs without validation."""
    epoch, options = training.state.progress.epoch + 1, training.options
    if training.valid is None or (epoch % options.valid_interval and epoch < options.epochs):
        return None
    return training.valid.eer(training.state.encoder.eval())
