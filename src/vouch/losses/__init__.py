"""Losses: `(embeddings (batch, dim), labels (batch,)) -> LossOutput(loss, logits, targets)`.

A new loss is one file beside this one and one line in `LOSSES`. Each is built as
`LOSSES[name](embedding_dim, num_speakers, **its own options)`, owns its weights, and says through
`utterances_per_speaker` and `distinct_speakers` what batches it needs. Angles are in radians.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vouch.base.errors import VouchError, pick
from vouch.base.options import convert, resolve_options
from vouch.losses.aamsoftmax import AAMSoftmax
from vouch.losses.amsoftmax import AMSoftmax
from vouch.losses.angleproto import AngleProto
from vouch.losses.base import LossOutput, SpeakerLoss
from vouch.losses.center import Center
from vouch.losses.coco import Coco
from vouch.losses.contrastive import Contrastive
from vouch.losses.ge2e import GE2E
from vouch.losses.proto import Proto
from vouch.losses.softmax import Softmax
from vouch.losses.softmaxproto import SoftmaxProto
from vouch.losses.subcenter_aamsoftmax import SubcenterAAMSoftmax
from vouch.losses.triplet import Triplet
from vouch.losses.weighted_sum import WeightedSum

LOSSES: dict[str, type[SpeakerLoss]] = {
    "softmax": Softmax,
    "amsoftmax": AMSoftmax,
    "aamsoftmax": AAMSoftmax,
    "subcenter_aamsoftmax": SubcenterAAMSoftmax,
    "ge2e": GE2E,
    "proto": Proto,
    "angleproto": AngleProto,
    "softmaxproto": SoftmaxProto,
    "triplet": Triplet,
    "contrastive": Contrastive,
    "center": Center,
    "coco": Coco,
}
# What the program itself passes to a loss.
_GIVEN = ("embedding_dim", "num_speakers")

__all__ = ["LOSSES", "LossOutput", "SpeakerLoss", "build_loss", "resolve_loss"]


def resolve_loss(config: Mapping[str, object]) -> dict[str, Any]:
    """Return the configuration of a loss with all defaults filled in.

    Parameters
    ----------
    config : mapping of str to object
        "name" and options. A name such as "aamsoftmax+angleproto" is the sum of both losses; each has its options, and
        its "weight" in the sum, under its own name: `{"name": "softmax+triplet", "triplet": {"weight": 0.5}}`.

    Raises
    ------
    VouchError
        An unknown name or option, or an option of the wrong type.
    """
    name = str(config["name"])
    options = {key: value for key, value in config.items() if key != "name"}
    parts = name.split("+")
    if len(parts) == 1:
        return {"name": name, **resolve_options(pick(LOSSES, name, "loss"), options, f"loss '{name}'", _GIVEN)}
    if len(set(parts)) < len(parts):
        raise VouchError(f"loss '{name}' names a loss twice; give it a larger weight")
    for part in options:
        pick(dict.fromkeys(parts), part, f"part of the loss '{name}'")
    return {"name": name, **{part: _resolve_part(part, options.get(part, {})) for part in parts}}


def _resolve_part(name: str, options: object) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        raise VouchError(f"'{name}' in the configuration of the loss must hold 'option: value' lines, not {options!r}")
    own = {key: value for key, value in options.items() if key != "weight"}
    weight = convert(options.get("weight", 1.0), float, f"the weight of loss '{name}'")
    return {"weight": weight, **resolve_options(pick(LOSSES, name, "loss"), own, f"loss '{name}'", _GIVEN)}


def build_loss(config: Mapping[str, object], embedding_dim: int, num_speakers: int) -> SpeakerLoss:
    """Build the loss that a configuration describes (see `resolve_loss`).

    Raises
    ------
    VouchError
        An unknown name or option, an impossible value, or parts of a sum that need different batches.
    """
    resolved = resolve_loss(config)
    name = str(resolved.pop("name"))
    if "+" not in name:
        return LOSSES[name](embedding_dim, num_speakers, **resolved)
    weights = {part: options.pop("weight") for part, options in resolved.items()}
    parts = {part: LOSSES[part](embedding_dim, num_speakers, **options) for part, options in resolved.items()}
    return WeightedSum(embedding_dim, num_speakers, parts, weights)
