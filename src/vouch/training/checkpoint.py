"""Saves and restores checkpoints: the encoder, and the state from which a run continues as if uninterrupted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from vouch.base.errors import VouchError, about_file
from vouch.base.torchfile import load_torch, save_torch
from vouch.encoder import Encoder, load_encoder
from vouch.kaldi.lineage.digests import digest_file
from vouch.losses.base import SpeakerLoss

FORMAT = "vouch-training-1"
_PROBLEM, _ADVICE = "damaged, or of another version of Vouch", "remove it to train anew from the beginning"

Kind = TypeVar("Kind")


@dataclass
class Progress:
    """Position of a run, and its measurements so far.

    Attributes
    ----------
    epoch : int
        Number of complete epochs.
    batch : int
        Number of batches done in the current epoch.
    loss_sum, correct : float
    rows : int
        Sums over the batches of the current epoch, for its log line.
    best_eer : float
        Lowest validation EER so far, 0 to 1; infinite before the first.
    best_epoch : int
        Epoch with that EER.
    history : list of dict of str to float
        For each complete epoch: epoch, loss, accuracy, learning_rate and, where it was measured, eer (0 to 1).
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    rows: int = 0
    best_eer: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts = (self.epoch, self.batch, self.rows, self.best_epoch)
        sums = (self.loss_sum, self.correct, self.best_eer)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError("its counts are not counts")
        if any(not isinstance(value, float) or math.isnan(value) for value in sums):
            raise ValueError("its sums are no numbers")
        if not isinstance(self.history, list) or not all(isinstance(epoch, dict) for epoch in self.history):
            raise ValueError("its history is no list of epochs")


@dataclass
class TrainingState:
    """State that the training loop changes, and the speakers of the rows of the loss.

    The learning rates of the optimizer's groups are tensors, see `vouch.training.setup.build_optimizer`.
    """

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
    fingerprint : str
        Digest of configuration and data; only a run with the same digest can continue from the checkpoint.
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
    }
    save_torch(content, path)


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of a checkpoint, or "" if there is no checkpoint."""
    if not path.exists():
        return ""
    content = _load(path)
    if content.get("format") != FORMAT:
        raise VouchError(f"{path}: not a training checkpoint of Vouch ({FORMAT}); {_ADVICE}")
    with about_file(path, _PROBLEM, _ADVICE):
        return _of_type(content["fingerprint"], str, "fingerprint")


def restore_checkpoint(state: TrainingState, path: Path) -> None:
    """Restore the state of a run from its checkpoint.

    Random draws follow from the position (see `vouch.training.draws`); generator states in older checkpoints are
    ignored.

    Raises
    ------
    VouchError
        The checkpoint is damaged, or has another network, loss, optimizer or version.
    """
    content = _load(path)
    with about_file(path, _PROBLEM, _ADVICE):
        entries = _of_type(content["progress"], dict, "progress")
        progress = Progress(**entries)
        if len(entries) < len(vars(progress)) - 1:  # checkpoints of the first version have no history
            raise ValueError("'progress' is not complete")
        encoder = _of_type(content["encoder"], dict, "encoder")
        state.encoder.model.load_state_dict(encoder["weights"])
        state.loss.load_state_dict(_of_type(content["loss"], dict, "loss"))
        _restore_optimizer(state.optimizer, _of_type(content["optimizer"], dict, "optimizer"))
    state.progress = progress


def is_model(path: Path) -> bool:
    """Return whether a file exists and holds an encoder; `VouchError` if it cannot be read because of the disk."""
    if not path.is_file():
        return False
    digest_file(path)
    try:
        load_encoder(path)
    except VouchError:
        return False
    return True


def read_final(path: Path) -> dict[str, object] | None:
    """Return the provenance in `final.pt`, {} if it has none; None if the file is missing or not a model."""
    if not is_model(path):
        return None
    provenance = load_torch(path).get("provenance", {})
    return dict(provenance) if isinstance(provenance, Mapping) else {}


def _load(path: Path) -> dict[str, object]:
    try:
        return load_torch(path)
    except VouchError as error:
        raise VouchError(f"{error}; {_ADVICE}") from None


def _of_type(value: object, kind: type[Kind], name: str) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"'{name}' is not a {kind.__name__}")
    return value


def _restore_optimizer(optimizer: torch.optim.Optimizer, content: Mapping[str, object]) -> None:
    """Load the state of an optimizer; `ValueError` if it is for other parameters."""
    fresh = optimizer.state_dict()["param_groups"]
    groups = _of_type(content["param_groups"], list, "param_groups")
    if [_kinds(group) for group in fresh] != [_kinds(group) for group in groups]:
        raise ValueError("its optimizer has other options")
    rates = [group["lr"] for group in optimizer.param_groups]
    # Whether updates are fused depends on the device, which may have changed.
    groups = [{**group, "fused": own["fused"]} for group, own in zip(groups, fresh, strict=True)]
    optimizer.load_state_dict({**content, "param_groups": groups})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate.fill_(float(group["lr"]))
    names = set()
    for parameter, remembered in optimizer.state.items():
        names.add(frozenset(remembered))
        for value in remembered.values():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError("its optimizer is for parameters of other sizes")
    if len(names) > 1:
        raise ValueError("its optimizer remembers some parameters in part")


def _kinds(group: Mapping[str, object]) -> dict[str, str]:
    """Return the type of each option of an optimizer's parameter group.

    Lists count as tuples and plain numbers as tensors, since older checkpoints have learning rates as numbers.
    """

    def kind(value: object) -> str:
        is_number = isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.ndim == 0)
        return "number" if is_number else "list" if isinstance(value, (list, tuple)) else type(value).__name__

    return {name: kind(value) for name, value in group.items() if name != "fused"}
