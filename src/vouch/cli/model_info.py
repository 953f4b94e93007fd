"""Print the size and cost of a network: parameters, multiply-accumulates, receptive field, shortest input.

    utils/model_info.py resnet34
    utils/model_info.py ecapa_tdnn --model.channels 1024
    utils/model_info.py --all

Multiply-accumulates (MACs) are those of convolutions and matrix products for 2 s: 200 frames, or 32,000 samples at
16 kHz. The receptive field is the input that one frame before the pooling over time depends on, not counting gates that
depend on the whole utterance, with frames of 10 ms.
"""

from __future__ import annotations

from typing import cast

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser
from vouch.models import MODELS
from vouch.models.config import NetworkConfig
from vouch.models.info import ModelInfo, describe

MILLISECONDS = {"frames": 10, "samples": 1 / 16}


def facts(name: str, options: dict[str, str], num_bins: int) -> ModelInfo:
    """Build a network and describe it."""
    return describe(NetworkConfig(name, options).build(num_bins))


def field(info: ModelInfo) -> str:
    """Describe the receptive field in words."""
    if info.window is None:
        return "whole input"
    scale = MILLISECONDS[info.unit]
    return (
        f"{info.window.size:,} {info.unit} ({info.window.size * scale:,.0f} ms), "
        f"one every {info.window.step} ({info.window.step * scale:.3g} ms)"
    )


def shortest(info: ModelInfo) -> str:
    """Describe the shortest input in words."""
    return f"{info.minimum:,} {info.unit if info.minimum > 1 else info.unit.removesuffix('s')}"


def print_one(name: str, info: ModelInfo, num_bins: int) -> None:
    """Print one line for each fact."""
    lines = {
        "model": name,
        "input": f"{num_bins} bins" if info.unit == "frames" else "waveform",
        "shortest input": shortest(info),
        "embedding": info.embedding_dim,
        "parameters": f"{info.parameters:,}",
        "MACs at 2 s": f"{info.macs / 1e9:.3g} G",
        "receptive field": field(info),
    }
    for what, value in lines.items():
        print(f"{what:<16} {value}")


def print_all(num_bins: int) -> None:
    """Print a table of all networks with their default options."""
    row = "{:<16}{:>12}{:>13}{:>11}{:>16}  {}"
    print(row.format("model", "parameters", "GMAC at 2 s", "embedding", "shortest input", "receptive field"))
    for name in MODELS:
        try:
            info, bins = facts(name, {}, num_bins), num_bins
        except VouchError:  # it takes one number of bins alone, as its smallest self does too
            bins = cast(int, MODELS[name].tiny["num_bins"])
            info = facts(name, {}, bins)
        sizes = f"{info.parameters:,}", f"{info.macs / 1e9:.2f}", info.embedding_dim
        of_other = f" (of {bins} bins)" if bins != num_bins else ""
        print(row.format(name, *sizes, shortest(info), field(info) + of_other))


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("name", nargs="?", help=f"name of the network: {', '.join(MODELS)}")
    parser.add_argument("--all", action="store_true", help="a table of all networks with their default options")
    parser.add_argument("--num-bins", type=int, default=80, help="bins of the features, if it takes features")
    args, overrides = parser.parse_with_overrides(["model"])
    if args.num_bins < 1:
        raise VouchError(f"--num-bins {args.num_bins}: needs at least 1")
    if args.all == (args.name is not None) or (args.all and overrides):
        parser.error("give the name of a network, with --model.OPTION where wanted, or --all alone")
    if "model" in overrides:
        parser.error("the network's name stands without '--model'")
    if args.all:
        print_all(args.num_bins)
    else:
        options = {name.removeprefix("model."): value for name, value in overrides.items()}
        print_one(args.name, facts(args.name, options, args.num_bins), args.num_bins)
