"""Costs against arithmetic, receptive fields against gradients."""

import pytest
import torch
from fill import fill_state
from torch import nn

from vouch.layers.pooling import StatisticsPooling
from vouch.layers.se import SqueezeExcitation
from vouch.models import MODELS
from vouch.models.campplus import CAMPPlus
from vouch.models.ecapa_tdnn import EcapaTDNN
from vouch.models.info import FRAMES, Window, count_macs, describe, receptive_field
from vouch.models.lstm import GE2ELSTM
from vouch.models.resnet import ResNet
from vouch.models.xvector import XVector

BINS = 8


class Waveform(nn.Module):
    """Strides, windows and paddings of all kinds, of which one looks ahead."""

    input_kind, embedding_dim, min_length = "waveform", 4, 400

    def __init__(self):
        super().__init__()
        # Largest values pass their gradient to one frame only, means to frames far away: without both where it counts.
        self.local = False
        self.conv = nn.Conv1d(1, 2, 7, stride=3, bias=False)
        self.dilated = nn.Conv1d(2, 2, 3, dilation=4, padding=4, padding_mode="reflect")
        self.shrink = nn.AvgPool1d(4, stride=2, padding=1)
        self.se = SqueezeExcitation(2, 2)
        self.pool = StatisticsPooling(2)
        self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)

    def forward(self, x, lengths=None):
        x = self.conv(nn.functional.pad(x[:, None], (1, 0)))
        x = self.shrink(x + self.dilated(x))
        if self.local:
            return self.pool(self.se(nn.functional.avg_pool1d(x.tanh(), 3)))
        x = nn.functional.max_pool1d(x.tanh(), 3)
        return self.pool(self.se(x) - x.mean(dim=2, keepdim=True))


NETWORKS = {
    "waveform": Waveform,
    "xvector": lambda: XVector(BINS, 4, channels=(4, 4, 4, 4, 5)),
    "resnet18": lambda: ResNet(BINS, 4, depth=18, channels=2),
    "resnet50": lambda: ResNet(BINS, 4, depth=50, channels=2),
    "ecapa_tdnn": lambda: EcapaTDNN(BINS, 4, channels=16, aggregation_channels=8),
    "speechbrain": lambda: EcapaTDNN(BINS, 4, channels=16, variant="speechbrain", aggregation_channels=8),
    "campplus": lambda: CAMPPlus(BINS, 4, growth=2, channels=4, head_channels=2),
}


def make_linear_and_local(model):
    """Weights that no path cancels or dies in, and gates that are the same for every utterance."""
    fill_state(model, "info")
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.data.abs_().div_(parameter[0].numel() ** 0.5)
        elif key.endswith("bias"):
            parameter.data.fill_(0.1)
        else:
            parameter.data.abs_()
        if key.endswith(("fc.2.weight", "cam_layer.linear2.weight")):
            parameter.data.zero_()
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.zero_()


def frames_that_matter(model, at, size):
    """Return first and last input frame that the gradient of frame `at` of the pooling's input reaches."""
    model.local = True
    seen = []
    pooling = [m for name, m in model.named_modules() if name.split(".")[-1] in ("pooling", "pool", "stats")][-1]
    pooling.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.ones((1, size, BINS) if model.input_kind == "features" else (1, size), dtype=torch.float64)
    model.double().eval()(x.requires_grad_())
    seen[0][..., at].sum().backward()
    reached = x.grad.reshape(1, size, -1).abs().amax(dim=(0, 2)).nonzero()[:, 0]
    return reached[0].item(), reached[-1].item()


@pytest.mark.parametrize("name", NETWORKS)
def test_receptive_field_is_what_the_gradient_reaches(name):
    model = NETWORKS[name]()
    make_linear_and_local(model)
    window = receptive_field(model)
    at = -(window.first // window.step) + 2
    first, last = at * window.step + window.first, at * window.step + window.last
    assert first > 0
    assert frames_that_matter(model, at, last + 3 * window.step) == (first, last)


def test_published_receptive_fields():
    assert receptive_field(XVector(80)) == Window(step=1, first=0, last=14)
    assert receptive_field(EcapaTDNN(80)).size == 1 + 2 * (2 + 7 * (2 + 3 + 4))
    assert receptive_field(ResNet(80)) == Window(step=8, first=-112, last=112)
    assert receptive_field(GE2ELSTM(40)) is None


@pytest.mark.parametrize(
    ("model", "published"),
    [
        (lambda: ResNet(80), 4.53),
        (lambda: EcapaTDNN(80), 1.04),
        (lambda: EcapaTDNN(80, channels=1024), 2.65),
        (lambda: CAMPPlus(80), 1.13),
        (lambda: XVector(80), 0.53),
    ],
)
def test_published_costs(model, published):
    """What is the same in all frames is counted once here, and in every frame there."""
    with torch.device("meta"):
        model = model()
    saved = 0
    if isinstance(model, EcapaTDNN):
        saved = (FRAMES - 1) * 2 * 1536 * 128
    elif isinstance(model, CAMPPlus):
        # After the stride, 52 gates of 128 to 64 to 32 channels for one segment.
        saved = 52 * (FRAMES // 2 - 1) * (128 * 64 + 64 * 32)
    assert (count_macs(model) + saved) / 1e9 == pytest.approx(published, abs=0.006)


def test_costs_by_hand():
    layer, projection = 4 * 12 * (BINS + 12), 12 * 5
    assert count_macs(GE2ELSTM(BINS, 5, hidden_size=12, num_layers=1)) == FRAMES * layer + projection
    frames = (32000 + 1 - 7) // 3 + 1
    assert count_macs(Waveform()) == frames * (2 * 7 + 2 * 2 * 3) + 2 * 2 * 2


@pytest.mark.parametrize("name", MODELS)
def test_every_network_can_be_described(name):
    network = MODELS[name]
    model = network(40) if network.input_kind == "features" else network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    info = describe(model)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert info.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert info.macs > info.parameters / 2
    assert (info.minimum, info.embedding_dim) == (model.min_length, model.embedding_dim)


def test_frozen_parameters_do_not_count():
    info = describe(Waveform())
    assert (info.parameters, info.unit, info.minimum) == (2 * 7 + 2 * (2 * 3 + 1) + 2 * (2 * 2 + 2), "samples", 400)
