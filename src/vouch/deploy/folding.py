"""Folds batch normalisation into the convolution before it: the same embeddings with fewer operations.

In evaluation mode, batch normalisation scales and shifts each channel, which the weights and the bias of the
convolution before it can do as well. Source: Ioffe and Szegedy, "Batch normalization" (ICML 2015), algorithm 2 and
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

# Only these types: a subclass may do more after the convolution.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, NarrowShortcut)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm2d)
# Length of the example in frames (or samples), beyond the network's minimum.
EXAMPLE_LENGTH = 16


def fold_batch_norm(encoder: Encoder) -> Encoder:
    """Return a copy of an encoder, for inference only, with batch normalisation folded into convolutions.

    Embeddings are the same up to rounding. `find_pairs` finds the layers to fold; batch normalisation after a ReLU, as
    in x-vectors, stays.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode; it is not changed.

    Raises
    ------
    ValueError
        The encoder is in training mode.
    """
    if encoder.training:
        raise ValueError("batch normalisation is folded in evaluation mode only")
    if next(encoder.parameters()).device.type == "cuda":
        # TF32 has a mantissa of ten bits, so embeddings would differ between machines.
        torch.backends.cudnn.allow_tf32 = False
    folded = copy.deepcopy(encoder).requires_grad_(False)
    for conv, norm in find_pairs(encoder):
        convolution, normalisation = folded.get_submodule(conv), folded.get_submodule(norm)
        assert isinstance(convolution, CONVOLUTIONS) and isinstance(normalisation, NORMALISATIONS)
        folded.set_submodule(conv, fuse_conv_bn_eval(convolution, normalisation))
        folded.set_submodule(norm, nn.Identity())
    return folded


def find_pairs(encoder: Encoder) -> list[tuple[str, str]]:
    """Find each convolution whose output is read by a batch normalisation only; return the names of both.

    The encoder embeds a short example, with and without padding, and torch's graph for gradients shows which operation
    reads which output. A pair is returned if it occurs both times: each of the two is called once, the normalisation
    reads the convolution's output, and no other operation reads or overwrites it, such as a ReLU in place.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.

    Returns
    -------
    list of (convolution, normalisation)
        Names as in `encoder.named_modules()`.
    """
    longest = encoder.min_length + EXAMPLE_LENGTH
    parameter = next(encoder.parameters())
    example = parameter.new_zeros(2, longest, *encoder.step_shape)
    lengths = torch.tensor([longest, encoder.min_length], device=parameter.device)
    unpadded = _pairs_seen(encoder, example, None)
    padded = _pairs_seen(encoder, example, lengths)
    return [pair for pair in unpadded if pair in padded]


def _pairs_seen(encoder: Encoder, example: torch.Tensor, lengths: torch.Tensor | None) -> list[tuple[str, str]]:
    """Return the pairs that occur while the encoder embeds one example; see `find_pairs`."""
    names = {module: name for name, module in encoder.named_modules()}
    calls: Counter[nn.Module] = Counter()
    # `made` maps the graph node of a convolution's output to the convolution, `normalised` a normalisation to its
    # input.
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
    """Count for each node of a graph, starting from its end, how many operations read the node's output."""
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
