"""Performs one training step: forward and backward pass of a batch, and the update of the weights."""

from __future__ import annotations

import torch

from vouch.training.data import Batch
from vouch.training.draws import step_seed
from vouch.training.schedule import learning_rate_factor, margin_share
from vouch.training.setup import Training, margin_losses


def train_step(training: Training, batch: Batch, done: float) -> torch.Tensor:
    """Update the weights with one batch.

    Parameters
    ----------
    batch : Batch
        Batch on the CPU.
    done : float
        Share of the training done so far, 0 to 1, for the schedules.

    Returns
    -------
    (2,) float64
        The loss and the share of correct rows, each times the size of the batch, on the device.
    """
    state, options, device = training.state, training.options, training.device
    torch.manual_seed(step_seed(options.seed, state.progress.epoch, state.progress.batch))
    follow_schedules(training, done)
    inputs, plan = training.input.prepare(batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
        embeddings = state.encoder.model(training.input.mask(state.encoder.normalize(inputs), plan))
    crops = options.crops_per_utterance
    if crops > 1:
        embeddings = embeddings.view(-1, crops, embeddings.shape[1]).mean(dim=1)
    result = state.loss(embeddings, batch.labels[::crops].to(device, non_blocking=True))
    state.optimizer.zero_grad(set_to_none=True)
    result.loss.backward()
    if options.clip_norm:
        torch.nn.utils.clip_grad_norm_(training.parameters, options.clip_norm)
    state.optimizer.step()
    accuracy = (result.logits.detach().argmax(dim=1) == result.targets).double().mean()
    return torch.stack([result.loss.detach().double(), accuracy]) * len(batch.labels)


def follow_schedules(training: Training, done: float) -> None:
    """Set learning rate and margin according to their schedules after the share `done` of the training."""
    options = training.options
    rate = options.learning_rate * learning_rate_factor(options.schedule, options.warmup, done)
    for group in training.state.optimizer.param_groups:
        group["lr"].fill_(rate * group["share"])
    share = margin_share(options.margin_schedule, options.margin_begin, options.margin_end, done)
    for loss in margin_losses(training.state.loss):
        loss.margin_share.fill_(share)
