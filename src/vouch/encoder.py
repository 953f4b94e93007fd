"""The encoder, which combines front end, normalisation and network: built from a configuration, saved and loaded."""

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
# Keys of the configuration in a file, see `EncoderConfig.as_dict`.
KEYS = ("model", "num_bins", "normalization", "feature")
# Added to the variance before its square root, as in instance normalisation.
VARIANCE_FLOOR = 1e-5


def _mean_only(centred: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return centred


def _unit_variance(centred: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return centred / (_mean(centred.square(), mask) + VARIANCE_FLOOR).sqrt()


def _sliding_mean(centred: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return sliding_cmvn(centred, None if mask is None else mask.sum(dim=(1, 2)))


# Second step of each normalisation, after subtracting the mean of each dimension over the utterance.
NORMALIZATIONS = {"mean": _mean_only, "meanvar": _unit_variance, "sliding": _sliding_mean}


@dataclass(frozen=True)
class EncoderConfig:
    """Configuration of an encoder.

    Attributes
    ----------
    network : NetworkConfig
    num_bins : int
        Dimensions of the features; 1 for a network that takes waveforms.
    normalization : str
        "mean": subtract each dimension's mean over the utterance; "meanvar": divide by its standard deviation too;
        "sliding": subtract its mean over the 300 frames around each frame; "none", the only choice for waveforms.
    front_end : FrontEndConfig, optional
        Front end of the features; None if unknown, as for archives of other programs, in which case the encoder takes
        features only. For waveforms it follows from the network.

    Raises
    ------
    VouchError
        The network does not support the front end or the normalisation.
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
        """Read a configuration from a checkpoint: "model", "num_bins", "normalization" and "feature".

        "normalization" may be missing if it is the default, which is "mean" for features, and "feature" if the front
        end is unknown or is that of waveforms.

        Raises
        ------
        VouchError
            As from the classes, or there is another key.
        KeyError
            "model" or "num_bins" is missing.
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
    """Maps features (or waveforms) to embeddings.

    Parameters
    ----------
    config : EncoderConfig

    Raises
    ------
    VouchError
        An option has an impossible value, or the front end gives other dimensions than the network takes.
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
        """Channel of recordings that the front end got in training, see `vouch.audio.reading.read_audio`."""
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
        """Time unit of the input."""
        return clock_of(self.config.front_end)

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of one step of the input: (num_bins,) for a frame, () for a sample."""
        return () if self.takes_waveforms else (self.config.num_bins,)

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of features or waveforms.

        Parameters
        ----------
        inputs : (batch, frames, num_bins) or (batch, samples) float32
            Features or waveforms, whichever the network takes.
        lengths : (batch,) int64, optional
            Number of real frames (or samples) of each utterance, if shorter ones are padded.

        Returns
        -------
        (batch, embedding_dim) float32
        """
        return self.model(self.normalize(inputs, lengths), lengths)

    def normalize(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return what `forward` passes to the network: the inputs, normalised; see there."""
        normalization = self.config.normalization
        if normalization == "none":
            return inputs
        mask = None if lengths is None else length_mask(lengths.to(inputs.device), inputs.shape[1])[..., None]
        return NORMALIZATIONS[normalization](inputs - _mean(inputs, mask), mask)

    def state(self) -> dict[str, object]:
        """Return configuration and weights, for `Encoder.from_state`."""
        return {"format": FORMAT, "config": self.config.as_dict(), "weights": self.model.state_dict()}

    @classmethod
    def from_state(cls, state: object, where: str | Path) -> Encoder:
        """Rebuild an encoder from the result of `load_torch`; `VouchError` naming `where` if it is not one.

        The network takes no more memory than the weights in the file: see `NetworkConfig.build_without_memory`.
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
                # torch warns that copying into a tensor without memory does nothing, which is intended here.
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
    """Return the default normalisation of a network's input."""
    return "none" if network.takes_waveforms else "mean"


def check_normalization(normalization: str, network: NetworkConfig) -> None:
    """Raise `VouchError` for an unknown normalisation, or one that is applied to waveforms."""
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
    """Mean over time of `(batch, frames, bins)`; with a `(batch, frames, 1)` mask, over real frames only."""
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    return (x * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
