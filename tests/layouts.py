"""Training steps of a network in the layout it has, with torch's own batch normalisation, and on contiguous images."""

import copy

import torch
from torch import nn

from vouch.layers.batch_norm import BatchNorm2d
from vouch.losses import LOSSES
from vouch.models import MODELS

KINDS = ("as trained", "torch's own kernel", "contiguous")


def smooth_noise(batch, frames, bins, seed=0):
    """`(batch, frames, bins)` float32, contiguous as batches of training are: noise with speech's slow changes."""
    noise = torch.randn(batch, 1, frames + 8, bins + 4, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.avg_pool2d(noise, (9, 5), stride=1)[:, 0]
    return (smooth - smooth.mean(dim=1, keepdim=True)) / smooth.std()


class Step:
    """Forward and backward pass of one network, AAM-softmax behind it, always with the same weights.

    Parameters
    ----------
    name, options : a network and its options
    features : (batch, frames, bins) float32
    labels : (batch,) int64
    """

    def __init__(self, name, features, labels, **options):
        torch.manual_seed(0)
        self.features, self.labels = features, labels
        self.network = MODELS[name](features.shape[2], **options).train()
        self.loss = LOSSES["aamsoftmax"](self.network.embedding_dim, int(labels.max()) + 1)

    def gradient(self, kind, dtype=torch.float32):
        """All gradients one behind the other, float64, and the running variances after the step."""
        network, loss = copy.deepcopy(self.network).to(dtype), copy.deepcopy(self.loss).to(dtype)
        change_layout(network, kind)
        loss(network(self.features.to(dtype)), self.labels).loss.backward()
        gradients = [parameter.grad for parameter in [*network.parameters(), *loss.parameters()]]
        variances = [value for key, value in network.state_dict().items() if key.endswith("running_var")]
        return tuple(torch.cat([part.flatten().double().cpu() for part in parts]) for parts in (gradients, variances))


def change_layout(network, kind):
    """Let a two-dimensional network work as one of `KINDS` says."""
    if kind == "as trained":
        return
    for module in network.modules():
        if type(module) is BatchNorm2d:
            module.__class__ = nn.BatchNorm2d
        if kind == "contiguous" and isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: tuple(x.contiguous() for x in inputs))
            module.register_forward_hook(lambda _, inputs, output: output.contiguous())


def error(got, expected):
    """Norm of the difference, relative to what is expected."""
    return float((got - expected).norm() / expected.norm())
