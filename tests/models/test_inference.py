"""Networks rearranged for inference: the same embeddings from fewer and other operations."""

import copy

import pytest
import torch
from corpus import TINY_BINS, tiny_encoder
from torch import nn

from vouch.encoder import rearrange
from vouch.models import MODELS, inference
from vouch.models.inference import PackedConv2d, rearranged
from vouch.models.resnet import ResNet
from vouch.models.resnetse34l import ResNetSE34L

CPU = torch.device("cpu")


def learnt(network):
    """Statistics and weights as training may leave them, negative ones among them."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.2, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
    return network.eval()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("model", MODELS)
def test_every_network_gives_the_same_embeddings(model):
    encoder = tiny_encoder(model)
    learnt(encoder.model)
    before = copy.deepcopy(encoder.state_dict())
    faster = rearrange(encoder)
    lengths = encoder.min_frames + torch.tensor([40, 0, 21])
    x = torch.randn(3, int(lengths.max()), TINY_BINS.get(model, 8))
    with torch.inference_mode():
        assert_same(faster(x), encoder(x))
        assert_same(faster(x, lengths), encoder(x, lengths))
        for row, length in enumerate(lengths):
            assert_same(faster(x, lengths)[row], faster(x[row : row + 1, :length])[0])
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.fixture
def blocks(monkeypatch):
    """The shapes of what goes through Winograd's algorithm."""
    shapes = []
    convolve = inference._Winograd._convolve

    def record(self, x, y):
        shapes.append(tuple(x.shape))
        convolve(self, x, y)

    monkeypatch.setattr(inference._Winograd, "_convolve", record)
    return shapes


@pytest.mark.parametrize("work", [0, 10**12])
@pytest.mark.parametrize(
    ("build", "folded"),
    [
        (lambda: ResNet(16, 8, channels=64), 36),
        (lambda: ResNet(16, 8, depth=50, channels=16), 53),
        (lambda: ResNetSE34L(16, 8, channels=(16, 64, 64, 64)), 19),
    ],
)
def test_wide_networks(build, folded, work, monkeypatch, blocks):
    """With Winograd's algorithm wherever it is possible, and nowhere."""
    monkeypatch.setattr(inference, "WINOGRAD_WORK", work)
    network = learnt(build())
    faster = rearranged(network, CPU)
    convolutions = [module for module in faster.modules() if isinstance(module, PackedConv2d)]
    assert sum(module.conv.bias is not None for module in convolutions) == folded
    with torch.inference_mode():
        for frames in (1, 2, 37, 44):
            x, lengths = torch.randn(2, frames, 16), torch.tensor([frames, (frames + 1) // 2])
            assert_same(faster(x), network(x))
            assert_same(faster(x, lengths), network(x, lengths))
    assert bool(blocks) == (work == 0)


@pytest.mark.parametrize("shape", [(1, 2, 1), (3, 4, 5), (2, 7, 6), (1, 1, 2), (5, 40, 30), (1, 5, 3), (2, 3, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_follow_their_definition(shape, bias, monkeypatch, blocks):
    """In double precision; also in blocks of one image."""
    monkeypatch.setattr(inference, "WINOGRAD_WORK", 0)
    monkeypatch.setattr(inference, "WINOGRAD_BLOCK", 64 * shape[1] * -(-shape[2] // 4) * 4)
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 80, 3, padding=1, bias=bias)
    x = torch.randn(shape[0], 64, *shape[1:])
    expected = copy.deepcopy(conv).double()(x.double())
    packed = PackedConv2d(conv)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x).double(), expected.detach(), atol=1e-5, rtol=1e-5)
    assert blocks == shape[0] * [(1, 64, shape[1], -(-shape[2] // 4) * 4)]


@pytest.mark.parametrize("lacking", ["onednn", "convolution", "packing"])
def test_where_there_is_no_onednn(monkeypatch, lacking):
    if lacking == "onednn":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    elif lacking == "convolution":
        monkeypatch.setattr(torch.ops, "mkldnn", object())
    else:
        monkeypatch.delattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    network = learnt(ResNet(8, 8, channels=8))
    faster = rearranged(network, CPU)
    assert not any(isinstance(module, (PackedConv2d, nn.BatchNorm2d)) for module in faster.modules())
    x = torch.randn(2, 20, 8)
    with torch.inference_mode():
        assert_same(faster(x), network(x))


def test_a_gpu_gets_no_packed_weights():
    faster = rearranged(learnt(ResNet(8, 8, channels=8)), torch.device("cuda"))
    assert not any(isinstance(module, (PackedConv2d, nn.BatchNorm2d)) for module in faster.modules())


def test_only_neighbours_in_a_sequence_are_joined():
    """Neither across a ReLU nor in a class of its own, whose forward nobody knows."""

    class Other(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).relu())

    conv, norm = nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3)
    for sequence in (nn.Sequential(conv, nn.ReLU(), norm), Other(conv, norm), nn.Sequential(norm, conv)):
        network = learnt(sequence)
        x = torch.randn(4, 3, 5)
        faster = rearranged(network, CPU)
        assert any(isinstance(module, nn.BatchNorm1d) for module in faster)
        torch.testing.assert_close(faster(x), network(x))
    joined = rearranged(learnt(nn.Sequential(conv, norm)), CPU)
    assert isinstance(joined[1], nn.Identity)
    torch.testing.assert_close(joined(x), norm(conv(x)), atol=1e-5, rtol=1e-5)
