"""Starts a training from a trained network: its encoder, and the parts of its loss that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vouch.base.errors import VouchError
from vouch.base.options import plain_values
from vouch.base.torchfile import load_torch
from vouch.encoder import Encoder
from vouch.features.config import FrontEndConfig, check_same_feature
from vouch.losses.base import SpeakerLoss
from vouch.models.config import NetworkConfig
from vouch.training.config import Config


@dataclass(frozen=True)
class Start:
    """The model from which fine-tuning starts.

    Attributes
    ----------
    path : Path
        Path of `final.pt`, which has no loss, or of a training checkpoint.
    encoder : Encoder
        Encoder with its trained weights.
    loss_name : str
        Name of the loss; "" if there is none.
    loss : mapping of str to Tensor
        State dict of the loss.
    speakers : sequence of str
        Names of the speakers by label, for the rows of the loss.
    """

    path: Path
    encoder: Encoder
    loss_name: str
    loss: Mapping[str, torch.Tensor]
    speakers: Sequence[str]


def load_start(path: Path) -> Start:
    """Read `final.pt` or a training checkpoint.

    Raises
    ------
    VouchError
        The file is missing, damaged, or not a model of Vouch.
    """
    content = load_torch(path)
    encoder = Encoder.from_state(content.get("encoder", content), path)
    loss, speakers = content.get("loss", {}), content.get("speakers", [])
    name = content.get("loss_name", "")
    if not (
        isinstance(loss, Mapping)
        and all(isinstance(value, torch.Tensor) for value in loss.values())
        and isinstance(speakers, (list, tuple))
        and all(isinstance(speaker, str) for speaker in speakers)
        and isinstance(name, str)
    ):
        raise VouchError(
            f"{path}: its loss or its speakers are damaged, or of another version of Vouch; start from the final.pt"
            " beside it, which has the network alone"
        )
    return Start(path, encoder, name, loss, speakers)


def configure(start: Start, config: Config, overrides: Mapping[str, object]) -> Config:
    """Return the configuration with the network and the normalisation of the trained weights.

    Parameters
    ----------
    overrides : mapping of str to object
        Options on the command line. They must agree with the trained weights, which take precedence over a file.

    Raises
    ------
    VouchError
        `overrides` request another network or normalisation.
    """
    theirs = _by_option(start.encoder.config.network, start.encoder.config.normalization)
    ours = _by_option(config.network, config.normalization)
    for name in overrides:
        if name in ours and ours[name] != theirs.get(name):
            raise VouchError(f"{start.path}: has {name} {theirs.get(name)}, not {ours[name]}; leave --{name} out")
    return replace(config, network=start.encoder.config.network, normalization=start.encoder.config.normalization)


def _by_option(network: NetworkConfig, normalization: str) -> dict[str, object]:
    """Return the network's options by their names on the command line."""
    own = {f"model.{name}": value for name, value in plain_values(network.options).items()}
    return {"model": network.name, "normalization": normalization, **own}


def check_features(start: Start, dim: int, feature: FrontEndConfig | None, where: Path) -> None:
    """Raise `VouchError` unless the network takes features of `dim` dimensions, from the front end `feature` if known.

    `where` is the data directory, for the message.
    """
    if start.encoder.config.num_bins != dim:
        raise VouchError(f"{start.path}: takes {start.encoder.config.num_bins} dimensions, the features have {dim}")
    check_same_feature(start.encoder.config.front_end, feature, f"{where}/feature.yaml")


def transfer_loss(start: Start, loss: SpeakerLoss, loss_name: str, speakers: Sequence[str]) -> str:
    """Copy the fitting parts of a trained loss in place: rows of common speakers, and weights that no speaker has.

    Parameters
    ----------
    start : Start
        Model to copy from.
    loss : SpeakerLoss
        Loss with initial weights.
    loss_name : str
        Name of `loss`; a loss of another name is not copied.
    speakers : sequence of str
        Names of the speakers of `loss` by label.

    Returns
    -------
    str
        Description of what was copied.
    """
    if not start.loss_name:
        return "the loss starts afresh: the file holds only the encoder"
    if start.loss_name != loss_name:
        return f"the loss starts afresh: {loss_name}, where the file has {start.loss_name}"
    row = {speaker: number for number, speaker in enumerate(start.speakers)}
    new = torch.tensor([number for number, speaker in enumerate(speakers) if speaker in row], dtype=torch.int64)
    old = torch.tensor([row[speaker] for speaker in speakers if speaker in row], dtype=torch.int64)
    for name, value in loss.state_dict().items():
        source = start.loss.get(name)
        if source is None or source.ndim != value.ndim or source.shape[1:] != value.shape[1:]:
            continue
        if value.ndim == 0:
            value.copy_(source)
        elif len(start.speakers) and len(source) * len(speakers) == len(value) * len(
            start.speakers
        ):  # the same number of rows for each speaker
            kept = source.view(len(start.speakers), -1, *value.shape[1:])[old]
            value.view(len(speakers), -1, *value.shape[1:])[new] = kept.to(value)
    return f"the loss keeps its rows for {len(new)} of {len(speakers)} speakers"
