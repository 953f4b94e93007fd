"""Batch normalisation folded into the convolution before it: the same embeddings from fewer operations.

In evaluation mode batch normalisation is a scale and a shift of each channel, which the weights and the bias of a
convolution before it can take over. Source: Ioffe and Szegedy, "Batch normalization" (ICML 2015), algorithm 2 and
section 3.2; Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference" (CVPR 2018), equation 14.
"""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import nn
from torch.autograd.graph import Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vouch.encoder import Encoder
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.shortcut import NarrowShortcut

# Exactly these: what a subclass does after the convolution nobody knows.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, NarrowShortcut)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm2d)
# Frames, or samples, of the example beyond the fewest that a network takes.
EXAMPLE_FRAMES = 16


def fold_batch_norm(encoder: Encoder) -> Encoder:
    """Return a copy of an encoder, for inference alone, whose convolutions do what batch normalisation did after them.

    Embeddings are the same up to rounding. What is folded is found by `find_pairs`; what stands behind a ReLU, as in
    x-vectors, stays.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode; it is left as it is.

    Raises
    ------
    ValueError
        The encoder is in training mode.
    """
    if encoder.training:
        raise ValueError("batch normalisation is folded in evaluation mode only")
    if next(encoder.parameters()).device.type == "cuda":
        # Its ten bits of mantissa would make embeddings of one machine differ from those of another.
        torch.backends.cudnn.allow_tf32 = False
    folded = copy.deepcopy(encoder).requires_grad_(False)
    for conv, norm in find_pairs(encoder):
        convolution, normalisation = folded.get_submodule(conv), folded.get_submodule(norm)
        assert isinstance(convolution, CONVOLUTIONS) and isinstance(normalisation, NORMALISATIONS)
        folded.set_submodule(conv, fuse_conv_bn_eval(convolution, normalisation))
        folded.set_submodule(norm, nn.Identity())
    return folded


def find_pairs(encoder: Encoder) -> list[tuple[str, str]]:
    """Return the names of each convolution and of the batch normalisation that alone reads its output.

    The encoder embeds a short example, with and without padding, and the graph that torch keeps for gradients tells
    what was computed from what. A pair is one that is seen both times: each of the two is called once, the second on
    what the first gave, and no other operation gets that, not even one that overwrites it as a ReLU in place does.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.

    Returns
    -------
    list of (convolution, normalisation)
        Names as in `encoder.named_modules()`.
    """
    frames = encoder.min_frames + EXAMPLE_FRAMES
    parameter = next(encoder.parameters())
    example = parameter.new_zeros(2, frames, encoder.config.num_bins)
    lengths = torch.tensor([frames, encoder.min_frames], device=parameter.device)
    unpadded = _pairs_seen(encoder, example, None)
    padded = _pairs_seen(encoder, example, lengths)
    return [pair for pair in unpadded if pair in padded]


def _pairs_seen(encoder: Encoder, example: torch.Tensor, lengths: torch.Tensor | None) -> list[tuple[str, str]]:
    """Return the pairs that are seen while the encoder embeds one example; see `find_pairs`."""
    names = {module: name for name, module in encoder.named_modules()}
    calls: Counter[nn.Module] = Counter()
    # The node of the graph that stands for the output of a convolution, and that for the input of a normalisation.
    made: dict[Node, nn.Module] = {}
    normalised: dict[nn.Module, Node | None] = {}

    def before_norm(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        calls[module] += 1
        normalised[module] = given[0].grad_fn

    def after_conv(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls[module] += 1
        if output.grad_fn is not None:
            made[output.grad_fn] = module

    hooks = []
    for module in names:
        if type(module) in CONVOLUTIONS:
            hooks.append(module.register_forward_hook(after_conv))
        elif type(module) in NORMALISATIONS:
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        with torch.enable_grad():
            reads = _count_reads(encoder(example.requires_grad_(), lengths).grad_fn)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [(made[node], norm) for norm, node in normalised.items() if node and node in made and reads[node] == 1]
    return [(names[conv], names[norm]) for conv, norm in pairs if calls[conv] == calls[norm] == 1]


def _count_reads(end: Node | None) -> Counter[Node]:
    """Return how many operations of a graph, from its end on, get what each of its nodes stands for."""
    reads: Counter[Node] = Counter()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        for before, _ in node.next_functions if node is not None else ():
            if before is not None:
                reads[before] += 1
                if reads[before] == 1:
                    waiting.append(before)
    return reads
