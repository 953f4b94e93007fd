"""Imports checkpoints of WeSpeaker (`avg_model.pt`): ResNets, ECAPA-TDNN, CAM++ and the x-vector network.

Source: Wang et al., "Wespeaker: a research and production oriented speaker embedding learning toolkit" (ICASSP 2023).
3D-Speaker's CAM++ has the same keys but another front end and other statistics: see `vouch.interop.threedspeaker`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.encoder import Encoder, EncoderConfig
from vouch.features.config import FrontEndConfig
from vouch.interop.keys import Translate, Weights, build_encoder, renamed, unchanged
from vouch.models.config import NetworkConfig
from vouch.models.resnet import DEPTHS, STRIDES

FBANK = {"window_type": "hamming", "snip_edges": True}
ADVICE = "published scores are cosines of embeddings from which the mean over the training set was subtracted"
CAMPPLUS_ADVICE = "3D-Speaker's CAM++ has the same keys and needs --from 3dspeaker: who trained the file must be known"
# Networks that Vouch does not have, by keys that identify them.
OTHERS = {
    "ERes2Net": r"layer1_downsample\.|fuse_mode\d",
    "ERes2NetV2": r"fuse34\.",
    "Res2Net": r"layer1\.0\.convs\.",
    "SimAM-ResNet": r"front\.layer1\.",
    "ReDimNet": r"backbone\.stage",
}
Configured = tuple[NetworkConfig, int, Translate]


def read(weights: Weights, path: Path, num_bins: int | None = None) -> tuple[Encoder, list[str]]:
    """Make an encoder of a checkpoint of WeSpeaker.

    Parameters
    ----------
    weights : Weights
        Weights of the network; those of the classifier, `projection.*`, are left out. Keys may have a prefix, such as
        that of a Lightning module that holds the network.
    path : Path
        Path of the checkpoint.
    num_bins : int, optional
        Dimensions of the features, 80 by default; needed for two-dimensional networks, whose weights do not show it.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes fit no network.
    """
    weights.strip_module(NETWORKS)
    weights.drop("weights of the classifier", r"projection\.")
    network, bins, translate = configure(weights, num_bins or 80)
    if num_bins not in (None, bins):
        raise VouchError(f"the network takes {bins} bins, not {num_bins}")
    front_end = FrontEndConfig("fbank", {**FBANK, "num_mel_bins": bins})
    notes = [f"network {network.name}", ADVICE]
    if network.name == "campplus":
        notes.insert(1, CAMPPLUS_ADVICE)
    return build_encoder(weights, translate, EncoderConfig(network, bins, "mean", front_end)), notes


def configure(weights: Weights, num_bins: int) -> Configured:
    """Return the configuration of our network with such keys, and the translation of the keys.

    Raises
    ------
    VouchError
        There is no such network.
    """
    refuse_others(weights)
    for key, read_options in NETWORKS.items():
        if key in weights:
            return read_options(weights, num_bins)
    raise VouchError("no network of WeSpeaker known here (ResNet, ECAPA-TDNN, CAM++, x-vector) has such keys")


def refuse_others(weights: Weights) -> None:
    """Raise `VouchError` with the name of the network if the keys are those of one in `OTHERS`."""
    for name, pattern in OTHERS.items():
        found = next((key for key in weights if re.match(pattern, key)), None)
        if found is not None:
            raise VouchError(f"an {name}, as its key '{found}' tells: Vouch has no such network yet")


def _pooling(weights: Weights, channels: int, what: str, otherwise: str = "") -> str:
    """Return the name of the pooling of `channels` channels whose output fits the input of `seg_1`.

    Parameters
    ----------
    what : str
        Description of the channels, for messages.
    otherwise : str
        Another possible reason why the number does not fit, followed by ", ".

    Raises
    ------
    VouchError
        The pooling is not supported.
    """
    pooled = weights.shape("seg_1.weight", 2)[1]
    heads = next((key for key in weights if re.match(r"pool\.(heads_att_trans|queries)\.", key)), None)
    if heads is not None:
        raise VouchError(f"its pooling has several heads of attention (MHASTP), as '{heads}' tells: not known here")
    if pooled != 2 * channels:
        raise VouchError(
            f"'seg_1.weight' takes {pooled} values; means and deviations of {what} are {2 * channels}: {otherwise}means"
            f" or deviations alone (TAP, TSDP: keys do not tell which), or a pooling that is not known here"
        )
    if "pool.linear1.weight" not in weights:
        return "tstp"
    context = weights.shape("pool.linear1.weight", 3)[1]
    return "local_astp" if context == channels else "astp"


def _resnet(weights: Weights, num_bins: int) -> Configured:
    blocks = tuple(_count(weights, f"layer{stage}") for stage in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in weights
    depths = [d for d, (block, count) in DEPTHS.items() if count == blocks and (block.expansion > 1) == bottleneck]
    if not depths:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        raise VouchError(f"stages of {blocks} {kind}; depths known here are {', '.join(map(str, DEPTHS))}")
    channels = weights.shape("conv1.weight", 4)[0]
    maps = weights.shape(f"layer4.{blocks[-1] - 1}.conv{3 if bottleneck else 2}.weight", 4)[0]
    bins = num_bins
    for stride in STRIDES:
        bins = -(-bins // stride)
    options = {
        "embedding_dim": weights.shape("seg_1.weight", 2)[0],
        "depth": depths[0],
        "channels": channels,
        "pooling": _pooling(weights, maps * bins, f"{maps} channels of {num_bins} bins", "another number of bins, "),
        "two_layers": "seg_2.weight" in weights,
    }
    return NetworkConfig("resnet34", options), num_bins, unchanged


def _ecapa(weights: Weights, num_bins: int) -> Configured:
    channels, bins, _ = weights.shape("layer1.conv.weight", 3)
    aggregated = weights.shape("conv.weight", 3)[0]
    context = weights.shape("pool.linear1.weight", 3)[1]
    if context != 3 * aggregated:
        raise VouchError("its attention does not see the whole utterance (no GLOB in its name): not known here")
    options = {
        "embedding_dim": weights.shape("linear.weight", 2)[0],
        "channels": channels,
        "variant": "wespeaker",
        "aggregation_channels": aggregated,
    }
    return NetworkConfig("ecapa_tdnn", options), bins, renamed(ecapa_key)


def ecapa_key(wespeaker_key: str) -> str:
    """Translate a key of WeSpeaker's ECAPA_TDNN into ours; only the gates have other names.

    Examples
    --------
    >>> ecapa_key("layer2.se_res2block.3.linear2.bias"), ecapa_key("pool.linear1.weight")
    ('layer2.se_res2block.3.fc.2.bias', 'pool.linear1.weight')
    """
    return re.sub(r"(se_res2block\.3)\.linear([12])", lambda m: f"{m[1]}.fc.{2 * int(m[2]) - 2}", wespeaker_key)


def _campplus(weights: Weights, num_bins: int) -> Configured:
    return read_campplus(weights, num_bins, "tstp"), num_bins, unchanged


def read_campplus(weights: Weights, num_bins: int, pooling: str) -> NetworkConfig:
    """Return the configuration of our CAM++ with these shapes, which do not show the pooling.

    Raises
    ------
    VouchError
        The number of bins does not fit.
    """
    channels, inputs, _ = weights.shape("xvector.tdnn.linear.weight", 3)
    head_channels = weights.shape("head.conv1.weight", 4)[0]
    if inputs != head_channels * -(-num_bins // 8):
        raise VouchError(f"'xvector.tdnn.linear.weight' takes {inputs} values, which {num_bins} bins do not give")
    options = {
        "embedding_dim": weights.shape("xvector.dense.linear.weight", 3)[0],
        "growth": weights.shape("xvector.block1.tdnnd1.cam_layer.linear_local.weight", 3)[0],
        "channels": channels,
        "head_channels": head_channels,
        "pooling": pooling,
    }
    return NetworkConfig("campplus", options)


def _xvector(weights: Weights, num_bins: int) -> Configured:
    channels = [weights.shape(f"frame_{layer}.conv_1d.weight", 3)[0] for layer in (1, 2, 3, 4, 5)]
    options = {
        "embedding_dim": weights.shape("seg_1.weight", 2)[0],
        "pooling": _pooling(weights, channels[-1], f"{channels[-1]} channels"),
        "channels": channels,
        # WeSpeaker's network returns the outputs of both affine layers; its training and extraction use the second.
        "two_layers": True,
    }
    return NetworkConfig("xvector", options), weights.shape("frame_1.conv_1d.weight", 3)[1], renamed(xvector_key)


def xvector_key(wespeaker_key: str) -> str:
    """Translate a key of WeSpeaker's XVEC into the one of `vouch.models.xvector`.

    Examples
    --------
    >>> xvector_key("frame_2.conv_1d.bias"), xvector_key("seg_bn_1.running_var"), xvector_key("seg_2.weight")
    ('frame2.conv.bias', 'segment6_bn.running_var', 'segment7.weight')
    """
    key = re.sub(r"^frame_(\d)\.", r"frame\1.", wespeaker_key)
    for theirs, ours in (
        (".conv_1d.", ".conv."),
        ("seg_1.", "segment6."),
        ("seg_bn_1.", "segment6_bn."),
        ("seg_2.", "segment7."),
        ("pool.", "pooling."),
    ):
        key = key.replace(theirs, ours)
    return key


# Functions that configure a network, by a key that only this network has.
NETWORKS: dict[str, Callable[[Weights, int], Configured]] = {
    "xvector.tdnn.linear.weight": _campplus,
    "layer2.se_res2block.0.conv.weight": _ecapa,
    "frame_1.conv_1d.weight": _xvector,
    "layer1.0.conv1.weight": _resnet,
}


def _count(weights: Weights, stage: str) -> int:
    return len({key.split(".")[1] for key in weights if key.startswith(f"{stage}.")})
