"""Networks rearranged for inference: the same embeddings from fewer and other operations."""

import copy

import pytest
import torch
from corpus import TINY_BINS, tiny_encoder
from torch import nn

from vouch.deploy import cpu as inference
from vouch.deploy.cpu import Gate, PackedConv2d, rearrange, rearranged
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.se import SqueezeExcitation
from vouch.models import MODELS
from vouch.models.resnet import ResNet
from vouch.models.resnetse34l import ResNetSE34L
from vouch.models.resnetse34v2 import ResNetSE34V2

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

    def record(self, x):
        shapes.append(tuple(x.shape))
        return convolve(self, x)

    monkeypatch.setattr(inference._Winograd, "_convolve", record)
    return shapes


@pytest.mark.parametrize("work", [0, 10**12])
@pytest.mark.parametrize(
    ("build", "folded", "activated", "normalised"),
    [
        (lambda: ResNet(16, 8, channels=64), 36, 0, 0),
        (lambda: ResNet(16, 8, depth=50, channels=16), 53, 0, 0),
        (lambda: ResNetSE34L(16, 8, channels=(16, 64, 64, 64)), 19, 16, 16),
        (lambda: ResNetSE34V2(16, 8, channels=(16, 64, 64, 64)), 20, 17, 17),
    ],
)
def test_wide_networks(build, folded, activated, normalised, work, monkeypatch, blocks):
    """With Winograd's algorithm wherever it is possible, and nowhere; convolutions do what follows on them."""
    monkeypatch.setattr(inference, "WINOGRAD_WORK", work)
    network = learnt(build())
    faster = rearranged(network, CPU)
    convolutions = [module for module in faster.modules() if isinstance(module, PackedConv2d)]
    assert sum(module.conv.bias is not None for module in convolutions) == folded
    assert sum(module.with_relu for module in convolutions) == activated
    assert sum(module.shift is not None for module in convolutions) == normalised
    with torch.inference_mode():
        for frames in (1, 2, 37, 44):
            x, lengths = torch.randn(2, frames, 16), torch.tensor([frames, (frames + 1) // 2])
            assert_same(faster(x), network(x))
            assert_same(faster(x, lengths), network(x, lengths))
    assert bool(blocks) == (work == 0)


@pytest.mark.parametrize("outputs", [2, 3, 4, 5])
def test_winograd_matrices(outputs):
    """y = A ((G g) * (B x)) is the sum of three taps, for each unit vector of taps and of inputs."""
    after, taps, before = inference.winograd_matrices(outputs)
    assert (after.shape, taps.shape, before.shape) == (
        (outputs, outputs + 2),
        (outputs + 2, 3),
        (outputs + 2, outputs + 2),
    )
    for tap in range(3):
        found = after @ (taps[:, tap, None] * before)
        torch.testing.assert_close(found, torch.eye(outputs + 2, dtype=torch.float64)[tap : tap + outputs])


SHAPES = [(1, 2, 1), (3, 4, 5), (2, 7, 6), (1, 1, 2), (5, 40, 30), (1, 5, 3), (2, 3, 8), (3, 10, 4), (2, 13, 9)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at_once", [1, 4, 7, 10**6])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_follow_their_definition(shape, at_once, bias, monkeypatch, blocks):
    """In double precision, however few frames fit into a block, and however the image lies in memory."""
    images, bins, frames = shape
    monkeypatch.setattr(inference, "WINOGRAD_WORK", 0)
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 80, 3, padding=1, bias=bias)
    x = torch.randn(images, 64, bins, frames)
    expected = copy.deepcopy(conv).double()(x.double()).detach()
    packed = PackedConv2d(conv)
    with torch.inference_mode():
        packed(x)
        monkeypatch.setattr(inference, "WINOGRAD_BLOCK", at_once * packed.winograd.products * 80)
        blocks.clear()
        for image in (x, x.contiguous(memory_format=torch.channels_last), x.mT.contiguous().mT):
            torch.testing.assert_close(packed(image).double(), expected, atol=1e-5, rtol=1e-5)
    assert max(images * frames for images, frames, *_ in blocks) <= max(at_once, 1) + 2
    assert sum(images * frames for images, frames, *_ in blocks) >= 3 * images * frames


@pytest.mark.parametrize("channels", [64, 96])
def test_weights_are_kept_in_each_order_once(channels):
    """Every size is asked for once; most of them have the same order."""
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    kernel = PackedConv2d(conv).kernel
    sizes = [*range(5, 100, 8)]
    with torch.inference_mode():
        for frames in 2 * sizes:
            x = torch.randn(1, channels, 6, frames).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(kernel(x), conv(x), atol=1e-5, rtol=1e-5)
    assert kernel.packed.cache_info().misses == len(sizes)
    assert 1 <= len(kernel.orders) < len(sizes) / 2


def test_images_of_another_height(monkeypatch, blocks):
    """The same convolution meets 5 bins and then 8."""
    monkeypatch.setattr(inference, "WINOGRAD_WORK", 0)
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1)
    packed = PackedConv2d(conv)
    with torch.inference_mode():
        for bins, outputs in ((5, 5), (8, 4), (5, 5)):
            x = torch.randn(2, 64, bins, 7)
            torch.testing.assert_close(packed(x), conv(x), atol=1e-5, rtol=1e-5)
            assert packed.winograd.outputs == outputs
    assert len(blocks) == 3


@pytest.mark.parametrize("shape", [(2, 16, 7), (2, 16, 3, 7)])
def test_gate(shape):
    """As squeeze and excitation, with and without padding and residual; only a residual has it overwrite its input."""
    torch.manual_seed(0)
    plain = SqueezeExcitation(16, 4)
    gate = Gate(plain)
    x, residual = torch.randn(shape), torch.randn(shape)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    with torch.inference_mode():
        for masked, given in ((x, None), (x * mask.view(2, *(1,) * (len(shape) - 2), 7), mask)):
            before = masked.clone()
            torch.testing.assert_close(gate(masked, given), plain(masked, given))
            assert torch.equal(masked, before)
            torch.testing.assert_close(gate(masked.clone(), given, residual), plain(masked, given) + residual)


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


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("work", [0, 10**12])
def test_nan_reaches_the_embedding(model, work, monkeypatch):
    """Of the utterance that has it, and of no other."""
    monkeypatch.setattr(inference, "WINOGRAD_WORK", work)
    faster = rearrange(tiny_encoder(model))
    x = torch.randn(2, faster.min_frames + 40, TINY_BINS.get(model, 8))
    x[1, 20] = torch.nan
    with torch.inference_mode():
        assert faster(x).isfinite().all(dim=1).tolist() == [True, False]


def test_what_a_convolution_cannot_take_over_is_refused():
    class Block(nn.Module):
        conv_chains = (("conv", "relu", "norm", "again"),)

        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.norm, self.again = nn.Conv2d(2, 2, 3), nn.ReLU(), BatchNorm2d(2), nn.ReLU()

    with pytest.raises(TypeError, match="cannot take ReLU over"):
        rearranged(Block().eval(), CPU)
