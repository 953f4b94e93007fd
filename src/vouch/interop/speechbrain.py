"""Imports SpeechBrain's ECAPA-TDNN (`embedding_model.ckpt`).

Source: Desplanques et al., "ECAPA-TDNN" (Interspeech 2020), and SpeechBrain's recipe for VoxCeleb. Network and front
end follow their descriptions; they have not been compared with embeddings computed by SpeechBrain.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vouch.base.errors import VouchError
from vouch.encoder import Encoder, EncoderConfig
from vouch.features.config import FrontEndConfig
from vouch.interop.keys import Weights, build_encoder
from vouch.models import ecapa_tdnn
from vouch.models.config import NetworkConfig

LOGMEL = {
    "n_fft": 400,
    "window_type": "hamming",
    "padding": "zeros",
    "mel_falling": "mirror",
    "log": "decibel",
    "log_offset": 0.0,
    "log_floor": 1e-10,
    "dynamic_range": 80.0,
}
# Patterns of SpeechBrain's keys and their replacements; `blocks.N` becomes `layer(N + 1)`.
KEYS = (
    (r"^blocks\.0\.", "layer1."),
    (r"^blocks\.(\d+)\.", lambda m: f"layer{int(m[1]) + 1}.se_res2block."),
    (r"\.tdnn1\.", ".0."),
    (r"\.res2net_block\.blocks\.(\d+)\.conv\.conv\.", r".1.convs.\1."),
    (r"\.res2net_block\.blocks\.(\d+)\.norm\.norm\.", r".1.bns.\1."),
    (r"\.tdnn2\.", ".2."),
    (r"\.se_block\.conv1\.conv\.", ".3.fc.0."),
    (r"\.se_block\.conv2\.conv\.", ".3.fc.2."),
    (r"^mfa\.conv\.conv\.", "conv."),
    (r"^mfa\.norm\.norm\.", "conv_bn."),
    (r"^asp\.tdnn\.conv\.conv\.", "pool.linear1."),
    (r"^asp\.tdnn\.norm\.norm\.", "pool.bn."),
    (r"^asp\.conv\.conv\.", "pool.linear2."),
    (r"^asp_bn\.norm\.", "bn."),
    (r"^fc\.conv\.", "linear."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.norm\.norm\.", ".bn."),
)
ADVICE = "published scores are cosines of embeddings of whole utterances, normalised with a cohort"


def read(weights: Weights, path: Path) -> tuple[Encoder, list[str]]:
    """Make an encoder of an ECAPA-TDNN of SpeechBrain.

    Parameters
    ----------
    weights : Weights
        Keys `blocks.*`, `mfa.*`, `asp.*`, `asp_bn.*` and `fc.*`.
    path : Path
        Path of the checkpoint.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes do not fit.
    """
    if "mfa.conv.conv.weight" not in weights:
        raise VouchError("an ECAPA-TDNN of SpeechBrain has a key 'mfa.conv.conv.weight'")
    channels, num_bins, _ = weights.shape("blocks.0.conv.conv.weight", 3)
    options = {
        "embedding_dim": weights.shape("fc.conv.weight", 3)[0],
        "channels": channels,
        "variant": "speechbrain",
        "aggregation_channels": weights.shape("mfa.conv.conv.weight", 3)[0],
    }
    front_end = FrontEndConfig("logmel", {**LOGMEL, "num_mel_bins": num_bins})
    config = EncoderConfig(NetworkConfig("ecapa_tdnn", options), num_bins, "mean", front_end)
    return build_encoder(weights, vouch_weight, config), [ADVICE]


def vouch_weight(key: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Translate a key and tensor of SpeechBrain's ECAPA_TDNN into ours, of the variant "speechbrain".

    In SpeechBrain the first group of a Res2 convolution passes through, here the last one. The channels of the layers
    around it are therefore rotated by one group, which changes nothing else.

    Examples
    --------
    >>> name, weight = vouch_weight("blocks.1.se_block.conv1.conv.weight", torch.zeros(128, 16, 1))
    >>> name, weight.shape
    ('layer2.se_res2block.3.fc.0.weight', torch.Size([128, 16]))
    """
    for pattern, replacement in KEYS:
        key = re.sub(pattern, replacement, key)
    if re.search(r"\.fc\.\d\.weight$|^linear\.weight$", key):
        tensor = tensor.squeeze(-1)
    if re.search(r"se_res2block\.0\.", key) and tensor.ndim:
        tensor = tensor.roll(-len(tensor) // ecapa_tdnn.SCALE, dims=0)
    elif key.endswith("se_res2block.2.conv.weight"):
        tensor = tensor.roll(-tensor.shape[1] // ecapa_tdnn.SCALE, dims=1)
    return key, tensor
