"""Formats the part of --help on the options of the chosen model, the chosen loss and the training."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from vouch.base.options import describe_parameters
from vouch.encoder import NORMALIZATIONS
from vouch.layers.pooling import POOLINGS
from vouch.losses import LOSSES
from vouch.losses.config import LossConfig
from vouch.models import MODELS
from vouch.training.config import Config
from vouch.training.train_options import TrainOptions

WIDTH = 100
# Tables that docstrings refer to; the help lists the names in them.
TABLES = {"`POOLINGS`": POOLINGS}


def describe_recipe(config: Config) -> str:
    """Return lines on every option of `config`, with the current values in brackets."""
    model, loss = config.network.name, config.loss.name
    normalizations = (*NORMALIZATIONS, "none")
    lines = [
        "configuration, each option also as --OPTION=VALUE; in brackets what holds unless it is given:",
        *_entry("--model NAME", ", ".join(MODELS), model),
        *_entry("--loss NAME", f"{', '.join(LOSSES)}, or a sum of these such as aamsoftmax+angleproto", loss),
        *_entry("--normalization NAME", f"of the features: {', '.join(normalizations)}", config.normalization),
        "",
        f"the model {model}:",
        *_options("model", config.network.options, describe_parameters(MODELS[model])),
        "",
        f"the loss {loss}:",
        *_loss(config.loss),
        "",
        "training:",
        *_options("train", asdict(config.train), describe_parameters(TrainOptions)),
    ]
    return "\n".join(lines)


def _loss(loss: LossConfig) -> Iterator[str]:
    for part in loss.parts:
        described = describe_parameters(LOSSES[part.name])
        if len(loss.parts) == 1:
            yield from _options("loss", part.options, described)
        else:
            section = f"loss.{part.name}"
            yield from _entry(f"--{section}.weight", "float: factor of this loss in the sum", part.weight)
            yield from _options(section, part.options, described)


def _options(section: str, values: Mapping[str, object], described: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        yield from _entry(f"--{section}.{name}", described.get(name, ""), value)


def _entry(option: str, text: str, value: object) -> list[str]:
    for table, names in TABLES.items():
        text = re.sub(f"(A name in )?{table}", ", ".join(names), text)
    shown = list(value) if isinstance(value, tuple) else "null" if value is None else value
    paragraph = f"{text.replace('`', '').rstrip('.')} ({shown})".strip()
    return [f"  {option}", *textwrap.wrap(paragraph, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]
