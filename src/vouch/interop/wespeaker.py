"""Checkpoints of WeSpeaker (`avg_model.pt`): ResNets, ECAPA-TDNN, CAM++ and the x-vector network.

Source: Wang et al., "Wespeaker: a research and production oriented speaker embedding learning toolkit" (ICASSP 2023).
Checkpoints of 3D-Speaker have keys like these but another front end and other statistics: they are not for this
module.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vouch.encoder import Encoder
from vouch.errors import VouchError
from vouch.interop.keys import Translate, Weights, build_encoder, renamed
from vouch.models import ecapa_tdnn
from vouch.models.resnet import DEPTHS, STRIDES

FEATURE = {"type": "fbank", "window_type": "hamming", "snip_edges": True}
ADVICE = "published scores are cosines of embeddings from which the mean over the training set was subtracted"
Configured = tuple[dict[str, object], int, Translate]


def read(weights: Weights, path: Path, num_bins: int | None = None) -> tuple[Encoder, list[str]]:
    """Make an encoder of a checkpoint of WeSpeaker.

    Parameters
    ----------
    weights : of the network; the classifier's, `projection.*`, are left out
    path : of the file
    num_bins : of the features, 80 by default; only two-dimensional networks do not tell it exactly

    Returns
    -------
    the encoder, and notes for the user

    Raises
    ------
    VouchError : keys or shapes that fit no network
    """
    weights.drop("weights of the classifier", r"projection\.")
    model, bins, translate = configure(weights, num_bins or 80)
    if num_bins not in (None, bins):
        raise VouchError(f"the network takes {bins} bins, not {num_bins}")
    feature = {**FEATURE, "num_mel_bins": bins}
    return build_encoder(weights, translate, model, bins, "mean", feature), [f"network {model['name']}", ADVICE]


def configure(weights: Weights, num_bins: int) -> Configured:
    """Return the options of our network that has such keys, its bins, and how its keys are translated."""
    marks: dict[str, Callable[[Weights, int], Configured]] = {
        "xvector.tdnn.linear.weight": _campplus,
        "layer2.se_res2block.0.conv.weight": _ecapa,
        "frame_1.conv_1d.weight": _xvector,
        "layer1.0.conv1.weight": _resnet,
    }
    for key, read_options in marks.items():
        if key in weights:
            return read_options(weights, num_bins)
    raise VouchError("no network of WeSpeaker known here (ResNet, ECAPA-TDNN, CAM++, x-vector) has such keys")


def _resnet(weights: Weights, num_bins: int) -> Configured:
    blocks = tuple(_count(weights, f"layer{stage}") for stage in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in weights
    depths = [d for d, (block, count) in DEPTHS.items() if count == blocks and (block.expansion > 1) == bottleneck]
    if not depths:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        raise VouchError(f"stages of {blocks} {kind}; depths known here are {', '.join(map(str, DEPTHS))}")
    channels = weights.shape("conv1.weight", 4)[0]
    embedding_dim, pooled = weights.shape("seg_1.weight", 2)
    maps = weights.shape(f"layer4.{blocks[-1] - 1}.conv{3 if bottleneck else 2}.weight", 4)[0]
    bins = num_bins
    for stride in STRIDES:
        bins = -(-bins // stride)
    if pooled != 2 * maps * bins:
        raise VouchError(
            f"'seg_1.weight' takes {pooled} values; means and deviations of {maps} channels of {num_bins} bins are"
            f" {2 * maps * bins}: another number of bins, or a pooling that is not known here"
        )
    model = {
        "name": "resnet34",
        "embedding_dim": embedding_dim,
        "depth": depths[0],
        "channels": channels,
        "pooling": "astp" if "pool.linear1.weight" in weights else "tstp",
        "two_layers": "seg_2.weight" in weights,
    }
    return model, num_bins, _unchanged


def _ecapa(weights: Weights, num_bins: int) -> Configured:
    channels, bins, _ = weights.shape("layer1.conv.weight", 3)
    aggregated = weights.shape("conv.weight", 3)[0]
    context = weights.shape("pool.linear1.weight", 3)[1]
    if context != 3 * aggregated:
        raise VouchError("its attention does not see the whole utterance (no GLOB in its name): not known here")
    model = {
        "name": "ecapa_tdnn",
        "embedding_dim": weights.shape("linear.weight", 2)[0],
        "channels": channels,
        "variant": "wespeaker",
        "aggregation_channels": aggregated,
    }
    return model, bins, renamed(ecapa_tdnn.vouch_key)


def _campplus(weights: Weights, num_bins: int) -> Configured:
    channels, inputs, _ = weights.shape("xvector.tdnn.linear.weight", 3)
    head_channels = weights.shape("head.conv1.weight", 4)[0]
    if inputs != head_channels * -(-num_bins // 8):
        raise VouchError(f"'xvector.tdnn.linear.weight' takes {inputs} values, which {num_bins} bins do not give")
    model = {
        "name": "campplus",
        "embedding_dim": weights.shape("xvector.dense.linear.weight", 3)[0],
        "growth": weights.shape("xvector.block1.tdnnd1.cam_layer.linear_local.weight", 3)[0],
        "channels": channels,
        "head_channels": head_channels,
        "pooling": "tstp",
    }
    return model, num_bins, _unchanged


def _xvector(weights: Weights, num_bins: int) -> Configured:
    # Embeddings are read before these layers.
    weights.drop("weights of segment7", r"seg_(bn_1|2)\.")
    model = {
        "name": "xvector",
        "embedding_dim": weights.shape("seg_1.weight", 2)[0],
        "pooling": "tstp",
        "channels": [weights.shape(f"frame_{layer}.conv_1d.weight", 3)[0] for layer in (1, 2, 3, 4, 5)],
    }
    return model, weights.shape("frame_1.conv_1d.weight", 3)[1], renamed(xvector_key)


def xvector_key(wespeaker_key: str) -> str:
    """Translate a key of WeSpeaker's XVEC into the one of `vouch.models.xvector`.

    Examples
    --------
    >>> xvector_key("frame_2.conv_1d.bias"), xvector_key("frame_5.bn.running_var"), xvector_key("seg_1.weight")
    ('frame2.conv.bias', 'frame5.bn.running_var', 'segment6.weight')
    """
    key = re.sub(r"^frame_(\d)\.", r"frame\1.", wespeaker_key)
    return key.replace(".conv_1d.", ".conv.").replace("seg_1.", "segment6.")


_unchanged: Translate = renamed(lambda key: key)


def _count(weights: Weights, stage: str) -> int:
    return len({key.split(".")[1] for key in weights if key.startswith(f"{stage}.")})
