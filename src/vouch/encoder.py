"""An encoder: front end, normalisation and network as one thing, built from its configuration, saved and loaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, nearest, pick
from vouch.base.torchfile import check_plain, check_tensors, load_torch, save_torch
from vouch.features.clock import Clock, clock_of
from vouch.features.cmvn import sliding_cmvn
from vouch.features.config import FrontEndConfig
from vouch.layers.inputs import length_mask
from vouch.models.config import NetworkConfig

FORMAT = "vouch-encoder-1"
# What the configuration in a file holds, see `EncoderConfig.as_dict`.
KEYS = ("model", "num_bins", "normalization", "feature")
# Added to the variance before its root is taken, as instance normalisation does.
VARIANCE_FLOOR = 1e-5


def _mean_only(centred: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return centred


def _unit_variance(centred: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return centred / (_mean(centred.square(), mask) + VARIANCE_FLOOR).sqrt()


def _sliding_mean(centred: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return sliding_cmvn(centred, None if mask is None else mask.sum(dim=(1, 2)))


# What follows after the mean of each dimension over the utterance has been subtracted.
NORMALIZATIONS = {"mean": _mean_only, "meanvar": _unit_variance, "sliding": _sliding_mean}


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is built from.

    Attributes
    ----------
    network : NetworkConfig
    num_bins : int
        Dimensions of the features; 1 for a network that takes waveforms.
    normalization : str
        "mean": subtract each dimension's mean over the utterance; "meanvar": divide by its standard deviation too;
        "sliding": subtract its mean over the 300 frames around each frame; "none", as waveforms must have it.
    front_end : FrontEndConfig, optional
        What made the features; None when it is not known, as for archives from elsewhere: such an encoder takes
        features only. That of waveforms follows from the network.

    Raises
    ------
    VouchError
        A front end or a normalization that the network cannot have.
    """

    network: NetworkConfig
    num_bins: int
    normalization: str
    front_end: FrontEndConfig | None = None

    def __post_init__(self) -> None:
        check_normalization(self.normalization, self.network)
        waveform = self.network.front_end
        if waveform is None:
            return
        found = waveform if self.front_end is None else self.front_end
        if (replace(found, channel=MEAN), self.num_bins) != (waveform, 1):
            raise VouchError(
                f"{self.network.name} takes waveforms of {waveform.sample_rate} Hz, not features of {self.num_bins}"
                f" dimensions from the front end '{found.type}' of {found.sample_rate} Hz"
            )
        object.__setattr__(self, "front_end", found)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> EncoderConfig:
        """Read what checkpoints hold: "model", "num_bins", "normalization" and "feature".

        "normalization" may be left out where it is what is usual: "mean" for features; and "feature" where the front
        end is not known, or is that of waveforms.

        Raises
        ------
        VouchError
            See the classes; or another key.
        KeyError
            There is no "model", or no "num_bins".
        """
        for key in config:
            if key not in KEYS:
                raise VouchError(f"unknown key '{key}' of an encoder's configuration{nearest(str(key), KEYS)}")
        network = NetworkConfig.from_dict(config["model"])
        normalization, feature = (config.get(key) for key in ("normalization", "feature"))
        return cls(
            network,
            config["num_bins"],
            usual_normalization(network) if normalization is None else normalization,
            None if feature is None else FrontEndConfig.from_dict(feature),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for checkpoints."""
        feature = None if self.front_end is None else self.front_end.as_dict()
        values = (self.network.as_dict(), self.num_bins, self.normalization, feature)
        return dict(zip(KEYS, values, strict=True))


class Encoder(nn.Module):
    """From features (or waveforms) to embeddings.

    Parameters
    ----------
    config : EncoderConfig

    Raises
    ------
    VouchError
        An impossible value of an option, or a front end that gives other dimensions than the network takes.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.takes_waveforms = config.network.takes_waveforms
        self.feature = None if config.front_end is None else config.front_end.build()
        if self.feature is not None and self.feature.dim != config.num_bins:
            raise VouchError(f"the front end gives {self.feature.dim} dimensions, the features have {config.num_bins}")
        self.model = config.network.build(config.num_bins)

    @property
    def channel(self) -> int | str:
        """Channel of a recording that the front end was given in training, see `vouch.audio.reading.read_audio`."""
        front_end = self.config.front_end
        return MEAN if front_end is None else front_end.channel

    @property
    def embedding_dim(self) -> int:
        """Size of an embedding."""
        return self.model.embedding_dim

    @property
    def min_length(self) -> int:
        """Shortest input, in steps of the `clock`."""
        return self.model.min_length

    @property
    def clock(self) -> Clock:
        """What the input counts time in."""
        return clock_of(self.config.front_end)

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of one step of the input: (num_bins,) of a frame, () of a sample."""
        return () if self.takes_waveforms else (self.config.num_bins,)

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of features or waveforms.

        Parameters
        ----------
        inputs : (batch, frames, num_bins) or (batch, samples) float32
            As the network takes them.
        lengths : (batch,) int64, optional
            Real frames (or samples) of each utterance where shorter ones are padded.

        Returns
        -------
        (batch, embedding_dim) float32
        """
        normalization = self.config.normalization
        if normalization != "none":
            mask = None if lengths is None else length_mask(lengths.to(inputs.device), inputs.shape[1])[..., None]
            inputs = NORMALIZATIONS[normalization](inputs - _mean(inputs, mask), mask)
        return self.model(inputs, lengths)

    def state(self) -> dict[str, object]:
        """Return what `Encoder.from_state` needs: configuration and weights."""
        return {"format": FORMAT, "config": self.config.as_dict(), "weights": self.model.state_dict()}

    @classmethod
    def from_state(cls, state: object, where: str | Path) -> Encoder:
        """Rebuild an encoder from what `load_torch` gave; `VouchError` naming `where` when it is none.

        What is built takes no more memory than the weights that are there: see `NetworkConfig.build_without_memory`.
        """
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise VouchError(f"{where}: not a model of Vouch ({FORMAT})")
        config, weights = state.get("config"), state.get("weights")
        if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
            raise VouchError(f"{where}: damaged: it does not hold a configuration and weights")
        try:
            check_plain(config)
            check_tensors(weights)
            resolved = EncoderConfig.from_dict(config)
            with warnings.catch_warnings():
                # That copying into a tensor without memory does nothing is what is wanted.
                warnings.simplefilter("ignore")
                resolved.network.build_without_memory(resolved.num_bins).load_state_dict(weights)
            encoder = cls(resolved)
            encoder.model.load_state_dict(weights)
        except VouchError as error:
            raise VouchError(f"{where}: {error}") from None
        except (AttributeError, KeyError, TypeError):
            raise VouchError(f"{where}: damaged: it does not hold a configuration and weights") from None
        except RuntimeError as error:
            raise VouchError(
                f"{where}: the weights do not fit the network: {str(error).splitlines()[-1].strip()}"
            ) from None
        return encoder


def usual_normalization(network: NetworkConfig) -> str:
    """Return the normalization that a network's input has unless another is asked for."""
    return "none" if network.takes_waveforms else "mean"


def check_normalization(normalization: str, network: NetworkConfig) -> None:
    """Raise `VouchError` for an unknown normalization, or one of waveforms."""
    pick({**NORMALIZATIONS, "none": None}, normalization, "normalization")
    if network.takes_waveforms and normalization != "none":
        raise VouchError(
            f"normalization '{normalization}' is for features, and {network.name} takes waveforms, which it normalises"
            f" itself; leave it out"
        )


def save_encoder(encoder: Encoder, path: str | Path) -> None:
    """Write an encoder to a file, whole or not at all."""
    save_torch(encoder.state(), path)


def load_encoder(path: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Load an encoder for inference from `final.pt` or from a training checkpoint.

    Raises
    ------
    VouchError
        The file is missing, damaged, or not a model of Vouch.
    """
    state = load_torch(path)
    return Encoder.from_state(state.get("encoder", state), path).to(device).eval()


def _mean(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean over time of `(batch, frames, bins)`, over real frames where there is a `(batch, frames, 1)` mask."""
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    return (x * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
