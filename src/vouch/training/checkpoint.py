"""Checkpoints: an encoder and, beside it, everything that makes a continued run equal to an uninterrupted one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vouch.encoder import Encoder
from vouch.errors import VouchError
from vouch.losses.base import SpeakerLoss
from vouch.torchfile import load_torch, save_torch

FORMAT = "vouch-training-1"


@dataclass
class Progress:
    """Where a run is, and what it has measured.

    Attributes
    ----------
    epoch : complete epochs
    batch : batches done of the epoch that follows them
    loss_sum, correct, rows : sums over the batches of the unfinished epoch, for its log line
    best_eer : lowest validation EER so far, 0 to 1; infinite before the first
    best_epoch : the epoch it belongs to
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    rows: int = 0
    best_eer: float = float("inf")
    best_epoch: int = 0


@dataclass
class TrainingState:
    """What the training loop changes, and the speakers that the rows of the loss belong to."""

    encoder: Encoder
    loss: SpeakerLoss
    optimizer: torch.optim.Optimizer
    loss_name: str = ""
    speakers: Sequence[str] = ()
    progress: Progress = field(default_factory=Progress)


def save_checkpoint(state: TrainingState, fingerprint: str, path: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    fingerprint : of configuration and data; a checkpoint is only continued by a run of the same
    """
    content = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "encoder": state.encoder.state(),
        "loss": state.loss.state_dict(),
        "loss_name": state.loss_name,
        "speakers": list(state.speakers),
        "optimizer": state.optimizer.state_dict(),
        "progress": vars(state.progress),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }
    save_torch(content, path)


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of a checkpoint, or "" when there is no checkpoint."""
    if not path.exists():
        return ""
    content = load_torch(path)
    if content.get("format") != FORMAT:
        raise VouchError(f"{path}: not a training checkpoint of Vouch ({FORMAT})")
    return str(content["fingerprint"])


def restore_checkpoint(state: TrainingState, path: Path) -> None:
    """Put a run back to where its checkpoint was written, random number generators included."""
    content = load_torch(path)
    state.encoder.model.load_state_dict(content["encoder"]["weights"])
    state.loss.load_state_dict(content["loss"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.progress = Progress(**content["progress"])
    torch.set_rng_state(content["rng"])
    if content["cuda_rng"]:
        torch.cuda.set_rng_state_all(content["cuda_rng"])
