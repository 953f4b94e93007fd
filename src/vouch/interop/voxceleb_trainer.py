"""Imports checkpoints of voxceleb_trainer, old and new, with their networks, front ends and input amplitude.

Source: Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), and the networks'
own modules. A checkpoint holds the window and the mel matrix that it was trained with. They are used, because those of
the program changed between versions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from vouch.base.errors import VouchError, pick
from vouch.encoder import Encoder, EncoderConfig
from vouch.features.config import FrontEndConfig
from vouch.interop.keys import Translate, Weights, build_encoder, renamed
from vouch.interop.mel import recognise_options
from vouch.models import rawnet3
from vouch.models.config import NetworkConfig

INT16 = 32768.0
# Published checkpoints of 2020, when waveforms were still read as 16-bit integers.
INT16_FILES = ("baseline_ap", "baseline_lite_ap", "baseline_half_ap", "baseline_v2_ap", "baseline_v2_smproto")
HALF_CHANNELS = [32, 64, 128, 256]
# Largest difference between a stored constant and ours, relative to the largest value.
SAME = 1e-3
# Layers of RawNet3's attention by their number in the checkpoint.
ATTENTION_LAYERS = {"0": "linear1", "2": "bn", "3": "linear2"}
# Bins of ResNetSE34's spectrogram, all of a 512-point FFT; its checkpoints hold no front end.
SPECTROGRAM_BINS = 257
SPECTROGRAM = {
    "num_mel_bins": None,
    "window_type": "hann",
    "padding": "none",
    "spectrum": "magnitude",
    "log_offset": 0.0,
}
# The configuration of an encoder, and the translation of its network's keys.
Configured = tuple[EncoderConfig, Translate]
ADVICE = (
    "published scores are minus the mean Euclidean distance between unit embeddings of ten crops of 4 s of either"
    " utterance; cosines of whole utterances come close"
)


class Options(NamedTuple):
    """Options for what the keys and shapes of a checkpoint do not show; None means the published default.

    Parameters
    ----------
    pooling : str or None
        "tap" or "max", for a VGGVox without attention.
    log_input : bool or None
        Whether to take the logarithm of the spectrum. voxceleb_trainer's option is off by default, but was on for all
        published networks except ResNetSE34.
    input_scale : float or None
        Factor on samples in [-1, 1]: 32768 for networks trained on 16-bit integers.
    sinc_stride : int or None
        Stride of the filterbank of RawNet3, in samples.
    """

    pooling: str | None
    log_input: bool | None
    input_scale: float | None
    sinc_stride: int | None

    def refuse(self, name: str, *unused: str) -> None:
        """Raise `VouchError` when an option is given that network `name` does not have."""
        for option in unused:
            if getattr(self, option) is not None:
                raise VouchError(f"{name} has no {option.replace('_', '-')}")


def read(
    weights: Weights,
    path: Path,
    model: str | None = None,
    pooling: str | None = None,
    log_input: bool | None = None,
    input_scale: float | None = None,
    sinc_stride: int | None = None,
) -> tuple[Encoder, list[str]]:
    """Make an encoder of a checkpoint of voxceleb_trainer.

    Parameters
    ----------
    weights : Weights
        Keys with or without `__S__.`; those of the loss, `__L__.*`, are left out.
    path : Path
        Path of the checkpoint; the names of some published files imply their input amplitude.
    model : str, optional
        A name in `NETWORKS`; by default recognised from the keys.
    pooling : str, optional
    log_input : bool, optional
    input_scale : float, optional
    sinc_stride : int, optional
        See `Options`.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes fit no network, the front end is unknown, or a necessary option is missing.
    """
    weights.drop("weights of the loss", r"__L__\.")
    weights.strip_prefix("__S__.")
    name = recognise(weights) if model is None else model
    options = Options(pooling, log_input, input_scale, sinc_stride)
    configure = pick(NETWORKS, name, "network of voxceleb_trainer")
    config, translate = configure(name, weights, options, path.stem)
    encoder = build_encoder(weights, translate, config)
    notes = [f"network {name}", ADVICE]
    if config.front_end is not None and "input_scale" in config.front_end.options:
        notes.insert(1, _amplitude(config.front_end.options["input_scale"], options))
    return encoder, notes


def recognise(weights: Weights) -> str:
    """Return the name in `NETWORKS` of the network with such keys; `VouchError` if there is none."""
    marks = {
        "RawNet3": ("conv1.filterbank.low_hz_",),
        "VGGVox": ("netcnn.0.weight",),
        "ResNetSE34V2": ("attention.0.weight", "layer1.0.conv1.weight"),
        "ResNetSE34L": ("sap_linear.weight", "layer1.0.conv1.weight", "torchfb.mel_scale.fb"),
        "ResNetSE34": ("sap_linear.weight", "layer1.0.conv1.weight"),
    }
    for name, keys in marks.items():
        if all(key in weights for key in keys):
            return name
    raise VouchError(f"no network of voxceleb_trainer ({', '.join(marks)}) has such keys")


def _resnet(name: str, weights: Weights, options: Options, stem: str) -> Configured:
    """Configure ResNetSE34, ResNetSE34L or ResNetSE34Half, which is ResNetSE34L with twice the channels."""
    options.refuse(name, "pooling", "sinc_stride")
    channels = [weights.shape(f"layer{stage}.0.conv1.weight", 4)[0] for stage in (1, 2, 3, 4)]
    embedding_dim, pooled = weights.shape("fc.weight", 2)
    network_options = {
        "embedding_dim": embedding_dim,
        "pooling": _attentive(pooled, channels[-1]),
        "channels": channels,
    }
    if name == "ResNetSE34":
        log_input = False if options.log_input is None else options.log_input
        levels = _levels(log_input, INT16 if options.input_scale is None else options.input_scale)
        front_end = FrontEndConfig("logmel", {**SPECTROGRAM, **levels})
        config = EncoderConfig(NetworkConfig("resnetse34", network_options), SPECTROGRAM_BINS, "meanvar", front_end)
        return config, renamed(vouch_key)
    front_end = _mel(weights, "torchfb.", options, stem)
    if options.input_scale is None and (front_end.options["window_type"] == "hann" or channels == HALF_CHANNELS):
        # Files with a Hann window or the wide network are from the time when waveforms were read as 16-bit integers.
        front_end = _changed(front_end, input_scale=INT16)
    return _of_mel(NetworkConfig("resnetse34l", network_options), front_end)


def _resnet_v2(name: str, weights: Weights, options: Options, stem: str) -> Configured:
    options.refuse(name, "pooling", "sinc_stride")
    channels = [weights.shape(f"layer{stage}.0.conv1.weight", 4)[0] for stage in (1, 2, 3, 4)]
    embedding_dim, pooled = weights.shape("fc.weight", 2)
    network_options = {
        "embedding_dim": embedding_dim,
        "pooling": _attentive(pooled, weights.shape("attention.0.weight", 3)[1]),
        "channels": channels,
    }
    preemphasis = _preemphasis(weights.take("torchfb.0.flipped_filter"))
    front_end = _changed(_mel(weights, "torchfb.1.", options, stem), preemphasis=preemphasis)
    return _of_mel(NetworkConfig("resnetse34v2", network_options), front_end)


def _vggvox(name: str, weights: Weights, options: Options, stem: str) -> Configured:
    options.refuse(name, "sinc_stride")
    kind = options.pooling
    if "sap_linear.weight" in weights:
        options.refuse(f"{name} with attention", "pooling")
        kind = "sap"
    if kind not in ("sap", "tap", "max"):
        raise VouchError("this VGGVox has no attention, and its weights do not tell its pooling: give tap or max")
    network_options = {
        "embedding_dim": weights.shape("fc.weight", 2)[0],
        "pooling": kind,
        "channels": [weights.shape(f"netcnn.{layer}.weight", 4)[0] for layer in (0, 4, 8, 11, 14, 18)],
    }
    return _of_mel(NetworkConfig("vggvox40", network_options), _mel(weights, "torchfb.", options, stem))


def _rawnet3(name: str, weights: Weights, options: Options, stem: str) -> Configured:
    options.refuse(name, "pooling", "log_input", "input_scale")
    weights.drop("layers that RawNet3 never uses", r"bn[16]\.")
    half, rate = rawnet3.KERNEL_SAMPLES // 2, 16000
    window = torch.hamming_window(2 * half + 1, periodic=False)[:half]
    _same(weights.take("conv1.filterbank.window_"), window, "the window of the sinc filters")
    times = 2 * torch.pi * torch.arange(-half, 0)[None] / rate
    _same(weights.take("conv1.filterbank.n_"), times, f"the times of the sinc filters at {rate} Hz")
    preemphasis = _preemphasis(weights.take("preprocess.0.flipped_filter"))
    if abs(preemphasis - rawnet3.PREEMPHASIS) > SAME:
        raise VouchError(f"RawNet3 has the pre-emphasis {rawnet3.PREEMPHASIS}, not {preemphasis:g}")
    network_options = {
        "embedding_dim": weights.shape("fc6.weight", 2)[0],
        "pooling": "asp" if weights.shape("attention.3.weight", 3)[0] == 1 else "eca",
        "sinc_stride": 10 if options.sinc_stride is None else options.sinc_stride,
        "channels": weights.shape("layer1.conv1.weight", 3)[0],
        "sample_rate": rate,
    }
    return EncoderConfig(NetworkConfig("rawnet3", network_options), 1, "none"), renamed(rawnet3_key)


def vouch_key(voxceleb_trainer_key: str) -> str:
    """Translate a key of a network of voxceleb_trainer (without its `__S__.`) into ours.

    Only the attention is renamed, since it is part of the pooling module here. Front-end buffers (`torchfb.*`) have no
    counterpart.

    Examples
    --------
    >>> vouch_key("sap_linear.weight"), vouch_key("attention.0.bias"), vouch_key("layer1.0.conv1.weight")
    ('pooling.sap_linear.weight', 'pooling.attention.0.bias', 'layer1.0.conv1.weight')
    """
    moves = voxceleb_trainer_key.split(".")[0] in ("attention", "sap_linear")
    return f"pooling.{voxceleb_trainer_key}" if moves else voxceleb_trainer_key


def rawnet3_key(voxceleb_trainer_key: str) -> str | None:
    """Translate a key of its RawNet3 (without its `__S__.`) into ours; None if there is no counterpart.

    The pre-emphasis filter and the window and times of the sinc filters have none, because they are constants here,
    nor have the layers bn1 and bn6, which the original never uses.

    Examples
    --------
    >>> rawnet3_key("layer2.convs.3.bias"), rawnet3_key("layer2.bn1.bias"), rawnet3_key("bn1.bias")
    ('layer2.res2.convs.3.bias', 'layer2.bn1.bias', None)
    """
    head, _, rest = voxceleb_trainer_key.partition(".")
    if head in ("bn1", "bn6") or rest in ("0.flipped_filter", "filterbank.window_", "filterbank.n_"):
        return None
    if head == "preprocess":
        return f"normalize.{rest.removeprefix('1.')}"
    if head == "conv1":
        return f"conv1.{rest.removeprefix('filterbank.').rstrip('_')}"
    if head == "attention":
        layer, _, parameter = rest.partition(".")
        return f"pooling.{ATTENTION_LAYERS[layer]}.{parameter}"
    if rest.startswith(("convs.", "bns.")):
        return f"{head}.res2.{rest}"
    return f"{head}.{rest.replace('residual.0.', 'residual.')}"


def _mel(weights: Weights, prefix: str, options: Options, stem: str) -> FrontEndConfig:
    """Take window and mel matrix out of the weights, and return the front end with these."""
    window, mel = (weights.take(prefix + key) for key in ("spectrogram.window", "mel_scale.fb"))
    scale = options.input_scale
    if scale is None:
        scale = INT16 if stem in INT16_FILES else 1.0
    log_input = True if options.log_input is None else options.log_input
    return FrontEndConfig("logmel", {**recognise_options(window, mel), **_levels(log_input, scale)})


def _changed(front_end: FrontEndConfig, **options: float) -> FrontEndConfig:
    return replace(front_end, options={**front_end.options, **options})


def _of_mel(network: NetworkConfig, front_end: FrontEndConfig) -> Configured:
    return EncoderConfig(network, front_end.options["num_mel_bins"], "meanvar", front_end), renamed(vouch_key)


def _levels(log_input: bool, input_scale: float) -> dict[str, object]:
    return {"log": "natural" if log_input else "none", "input_scale": input_scale}


def _amplitude(scale: object, options: Options) -> str:
    if options.input_scale is not None:
        return f"input amplitude {scale:g}, as asked"
    if scale == INT16:
        return "input amplitude 32768: the weights are of 2020, when waveforms were read as 16-bit integers"
    return "input amplitude 1; networks trained before April 2021 need 32768, which the file does not tell"


def _attentive(pooled: int, channels: int) -> str:
    kinds = {channels: "sap", 2 * channels: "asp"}
    if pooled not in kinds:
        raise VouchError(f"'fc.weight' takes {pooled} values; pooling gives {channels} (SAP) or {2 * channels} (ASP)")
    return kinds[pooled]


def _preemphasis(filter_: torch.Tensor) -> float:
    """Return the coefficient of the pre-emphasis filter `(1, 1, 2)`, which subtracts the previous sample."""
    if filter_.numel() != 2 or abs(float(filter_.flatten()[1]) - 1) > SAME:
        raise VouchError(f"the filter of the pre-emphasis, {filter_.flatten()[:4].tolist()}, is none")
    return round(-float(filter_.flatten()[0]), 6)


def _same(found: torch.Tensor, own: torch.Tensor, what: str) -> None:
    if found.shape != own.shape or not bool((found.float() - own).abs().max() <= SAME * own.abs().max()):
        raise VouchError(f"{what} is not what RawNet3 has")


NETWORKS: dict[str, Callable[[str, Weights, Options, str], Configured]] = {
    "ResNetSE34L": _resnet,
    "ResNetSE34V2": _resnet_v2,
    "VGGVox": _vggvox,
    "RawNet3": _rawnet3,
    "ResNetSE34": _resnet,
    "ResNetSE34Half": _resnet,
}
