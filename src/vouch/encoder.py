"""An encoder: front end, normalisation and network as one thing, built from its configuration, saved and loaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, pick
from vouch.base.options import resolve_options
from vouch.base.torchfile import check_plain, check_tensors, load_torch, save_torch
from vouch.features import build_feature, resolve_feature
from vouch.features.cmvn import sliding_cmvn
from vouch.layers.inputs import length_mask
from vouch.models import MODELS
from vouch.models.base import SpeakerNetwork
from vouch.models.shapes import build_without_memory

FORMAT = "vouch-encoder-1"
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


class EncoderConfig(TypedDict):
    """What an encoder is built from, resolved; the parameters of `Encoder` say what each means."""

    model: dict[str, Any]
    num_bins: int
    normalization: str
    feature: dict[str, Any] | None


class Encoder(nn.Module):
    """From features (or waveforms) to embeddings.

    Parameters
    ----------
    model : mapping of str to object
        Name in `vouch.models.MODELS` under "name", and options of that network.
    num_bins : int
        Dimensions of the features; 1 for a network that takes waveforms.
    normalization : str, optional
        "mean": subtract each dimension's mean over the utterance; "meanvar": divide by its standard deviation too;
        "sliding": subtract its mean over the 300 frames around each frame; "none"; None: "mean" for features, and for
        waveforms "none", which is all that they can have.
    feature : mapping of str to object, optional
        Configuration of the front end that made the features (see `vouch.features.build_feature`); None when it is not
        known, as for archives from elsewhere: such an encoder takes features only. That of waveforms follows from the
        network.

    Raises
    ------
    VouchError
        An unknown name or option, or a front end or a normalization that the network cannot have.
    """

    def __init__(
        self,
        model: Mapping[str, object],
        num_bins: int,
        normalization: str | None = None,
        feature: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        resolved = resolve_model(model)
        waveform = waveform_feature(resolved)
        self.takes_waveforms = waveform is not None
        front_end = waveform if feature is None else resolve_feature(feature)
        self.config: EncoderConfig = {
            "model": resolved,
            "num_bins": num_bins,
            "normalization": resolve_normalization(normalization, resolved),
            "feature": front_end,
        }
        if (
            waveform is not None
            and front_end is not None
            and ({**front_end, "channel": MEAN}, num_bins) != (waveform, 1)
        ):
            raise VouchError(
                f"{resolved['name']} takes waveforms of {waveform['sample_rate']} Hz, not features of {num_bins}"
                f" dimensions from the front end '{front_end['type']}' of {front_end['sample_rate']} Hz"
            )
        self.feature = None if front_end is None else build_feature(front_end)
        if self.feature is not None and self.feature.dim != num_bins:
            raise VouchError(f"the front end gives {self.feature.dim} dimensions, the features have {num_bins}")
        self.model = build_network(resolved, num_bins)

    @property
    def channel(self) -> int | str:
        """Channel of a recording that the front end was given in training, see `vouch.audio.reading.read_audio`."""
        feature = self.config["feature"]
        return MEAN if feature is None else feature["channel"]

    @property
    def embedding_dim(self) -> int:
        """Size of an embedding."""
        return self.model.embedding_dim

    @property
    def min_frames(self) -> int:
        """Shortest input in frames; of waveforms a frame is a sample."""
        return self.model.min_frames

    @property
    def unit(self) -> str:
        """What `min_frames` counts."""
        return "samples" if self.takes_waveforms else "frames"

    def forward(self, features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of features.

        Parameters
        ----------
        features : (batch, frames, num_bins) float32
            Waveforms are (batch, samples, 1).
        lengths : (batch,) int64, optional
            Real frames of each utterance where shorter ones are padded.

        Returns
        -------
        (batch, embedding_dim) float32
        """
        normalization = self.config["normalization"]
        if normalization != "none":
            mask = None if lengths is None else length_mask(lengths.to(features.device), features.shape[1])[..., None]
            features = NORMALIZATIONS[normalization](features - _mean(features, mask), mask)
        return self.model(features.squeeze(-1) if self.takes_waveforms else features, lengths)

    def state(self) -> dict[str, object]:
        """Return what `Encoder.from_state` needs: configuration and weights."""
        return {"format": FORMAT, "config": self.config, "weights": self.model.state_dict()}

    @classmethod
    def from_state(cls, state: object, where: str | Path) -> Encoder:
        """Rebuild an encoder from what `load_torch` gave; `VouchError` naming `where` when it is none.

        What is built takes no more memory than the weights that are there: see `network_without_memory`.
        """
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise VouchError(f"{where}: not a model of Vouch ({FORMAT})")
        config, weights = state.get("config"), state.get("weights")
        if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
            raise VouchError(f"{where}: damaged: it does not hold a configuration and weights")
        try:
            check_plain(config)
            check_tensors(weights)
            with warnings.catch_warnings():
                # That copying into a tensor without memory does nothing is what is wanted.
                warnings.simplefilter("ignore")
                network_without_memory(config["model"], config["num_bins"]).load_state_dict(weights)
            encoder = cls(**config)
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


def build_network(model: Mapping[str, object], num_bins: int) -> SpeakerNetwork:
    """Build a network from its resolved configuration; `num_bins` counts only for one that takes features."""
    options = {name: value for name, value in model.items() if name != "name"}
    dimensions = () if waveform_feature(model) is not None else (num_bins,)
    return MODELS[str(model["name"])](*dimensions, **options)


def network_without_memory(model: Mapping[str, object], num_bins: int) -> SpeakerNetwork:
    """Build a network whose tensors have shapes but no memory, to compare weights with before they are believed.

    A file is not to be trusted: in a few bytes it can ask for a network of any size.

    Raises
    ------
    VouchError
        An unknown name or option, or sizes of no network.
    """
    check_plain(model)
    check_plain(num_bins)
    return build_without_memory(lambda: build_network(resolve_model(model), num_bins))


def resolve_model(model: Mapping[str, object]) -> dict[str, Any]:
    """Return a model configuration with all defaults filled in; `VouchError` on an unknown name or option."""
    name = str(model.get("name", ""))
    options = {key: value for key, value in model.items() if key != "name"}
    return {
        "name": name,
        **resolve_options(pick(MODELS, name, "model"), options, f"model '{name}'", given=["num_bins"]),
    }


def waveform_feature(model: Mapping[str, object]) -> dict[str, Any] | None:
    """Return the front end of a network that takes waveforms, from its resolved configuration; None for any other.

    Waveforms are features of one dimension with a frame a sample, at the sampling rate that the network is made for.
    """
    if MODELS[str(model["name"])].input_kind != "waveform":
        return None
    return resolve_feature({"type": "waveform", "sample_rate": model["sample_rate"]})


def resolve_normalization(normalization: str | None, model: Mapping[str, object]) -> str:
    """Return the normalization of a network's input; None: what is usual for it.

    Parameters
    ----------
    normalization : str or None
        See `Encoder`.
    model : mapping of str to object
        Resolved configuration.

    Raises
    ------
    VouchError
        An unknown name, or a normalization of waveforms.
    """
    is_waveform = waveform_feature(model) is not None
    if normalization is None:
        return "none" if is_waveform else "mean"
    pick({**NORMALIZATIONS, "none": None}, normalization, "normalization")
    if is_waveform and normalization != "none":
        raise VouchError(
            f"normalization '{normalization}' is for features, and {model['name']} takes waveforms, which it normalises"
            f" itself; leave it out"
        )
    return normalization


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
