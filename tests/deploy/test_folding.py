"""Batch normalisation folded into convolutions: the same embeddings, and nothing folded that must not be."""

import copy

import pytest
import torch
from corpus import TINY_BINS, make_encoder, tiny_encoder
from torch import nn

from vouch.base.errors import VouchError
from vouch.deploy.folding import find_pairs, fold_batch_norm
from vouch.encoder import EncoderConfig
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.pooling import POOLINGS
from vouch.models import MODELS
from vouch.models.config import NetworkConfig
from vouch.models.rawnet3 import POOLING_MODES
from vouch.models.resnetse34v2 import CHANNEL_POOLINGS

POOLING_TABLES = (POOLINGS, CHANNEL_POOLINGS, POOLING_MODES)


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


def norms(network):
    return sum(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in network.modules())


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def assert_folding_keeps_embeddings(encoder, x, lengths):
    folded = fold_batch_norm(encoder)
    assert norms(folded) == norms(encoder) - len(find_pairs(encoder))
    with torch.inference_mode():
        assert_same(folded(x), encoder(x))
        assert_same(folded(x, lengths), encoder(x, lengths))
        for row, length in enumerate(lengths):
            assert_same(folded(x, lengths)[row], folded(x[row : row + 1, :length])[0])


def tiny_with_poolings(model):
    """The tiny network with each pooling that it takes, or just itself."""
    encoder = tiny_encoder(model)
    config = encoder.config.network.as_dict()
    if "pooling" not in config:
        return [encoder]
    table = next(table for table in POOLING_TABLES if config["pooling"] in table and takes(config, encoder, table))
    return [make_encoder({**config, "pooling": pooling}, encoder.config.num_bins) for pooling in table]


def takes(config, encoder, table):
    """Whether a network takes all poolings of a table."""
    try:
        return all(make_encoder({**config, "pooling": pooling}, encoder.config.num_bins) for pooling in table)
    except VouchError:
        return False


@pytest.mark.parametrize("model", MODELS)
def test_every_network_with_every_pooling_gives_the_same_embeddings(model):
    """In batches as stage 4 makes them: five utterances of 4 s, one behind the other in memory."""
    for encoder in tiny_with_poolings(model):
        learnt(encoder)
        before = copy.deepcopy(encoder.state_dict())
        frames = 400 * (160 if encoder.takes_waveforms else 1)
        x = torch.randn(5, frames, *encoder.step_shape)
        lengths = torch.tensor([frames, encoder.min_length, frames // 2, frames - 1, encoder.min_length + 7])
        assert_folding_keeps_embeddings(encoder, x, lengths)
        assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("model", MODELS)
def test_networks_of_their_usual_size(model):
    if not find_pairs(tiny_encoder(model)):
        pytest.skip("nothing is folded")
    bins = 40 if MODELS[model].input_kind == "features" else 1
    encoder = learnt(make_encoder({"name": model}, bins))
    frames = 100 * (160 if encoder.takes_waveforms else 1)
    x, lengths = torch.randn(2, frames, *encoder.step_shape), torch.tensor([frames, encoder.min_length + 3])
    assert_folding_keeps_embeddings(encoder, x, lengths)


@pytest.mark.parametrize(
    ("model", "options", "left"),
    [
        # Each convolution is followed by its normalisation.
        ("vggvox40", {}, 0),
        ("resnet34", {}, 0),
        ("resnet34", {"depth": 50}, 0),
        # In each of the 16 blocks the first ReLU stands between the two.
        ("resnetse34", {}, 16),
        ("resnetse34l", {}, 16),
        # And so it does in the stem and in the attention of the pooling.
        ("resnetse34v2", {}, 18),
        ("res2netse34", {}, 2),
        # Behind ReLUs all of them.
        ("xvector", {}, 5),
        ("ecapa_tdnn", {}, 29),
        ("rawnet3", {}, 29),
    ],
)
def test_what_is_folded(model, options, left):
    config = {**tiny_encoder(model).config.network.as_dict(), **options}
    folded = fold_batch_norm(learnt(make_encoder(config, TINY_BINS[model])))
    assert norms(folded) == left


class AsEncoder(nn.Module):
    """A network with what an encoder offers."""

    min_length, step_shape, config = 4, (3,), EncoderConfig(NetworkConfig("lstm"), 3, "mean")

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.embed = forward

    def forward(self, features, lengths=None):
        return self.embed(self, features.transpose(1, 2), lengths).mean(dim=2)


def sequence(*layers):
    return AsEncoder(lambda self, x, lengths: self.layers(x), layers=nn.Sequential(*layers))


class Scaled(nn.Conv1d):
    """A convolution that does something else too."""

    def forward(self, x):
        return super().forward(x).abs()


CONV, NORM = nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3)


@pytest.mark.parametrize(
    ("encoder", "pairs"),
    [
        (sequence(CONV, NORM), 1),
        (sequence(nn.Conv1d(3, 3, 3, bias=False), nn.BatchNorm1d(3, affine=False)), 1),
        (sequence(NORM, CONV), 0),
        (sequence(CONV, nn.ReLU(), NORM), 0),
        # The tensor is the same, what it holds is not.
        (sequence(CONV, nn.ReLU(inplace=True), NORM), 0),
        (sequence(Scaled(3, 3, 1), NORM), 0),
        # Written where a reader would not look for it.
        (AsEncoder(lambda self, x, _: self.last(self.first(x)).relu(), last=NORM, first=CONV), 1),
        (AsEncoder(lambda self, x, _: self.norm(self.conv(x).relu()), conv=CONV, norm=NORM), 0),
        (AsEncoder(lambda self, x, _: (y := self.conv(x)) + self.norm(y), conv=CONV, norm=NORM), 0),
        (AsEncoder(lambda self, x, _: self.norm(self.conv(x)[:, :, 1:]), conv=CONV, norm=NORM), 0),
        (AsEncoder(lambda self, x, _: self.norm(self.conv(self.conv(x))), conv=CONV, norm=NORM), 0),
        (AsEncoder(lambda self, x, _: self.norm(self.norm(self.conv(x))), conv=CONV, norm=NORM), 0),
        # With padding something comes between the two.
        (
            AsEncoder(
                lambda self, x, lengths: self.norm(self.conv(x) * (1 if lengths is None else 2)), conv=CONV, norm=NORM
            ),
            0,
        ),
    ],
)
def test_only_a_convolution_that_the_normalisation_alone_reads_is_folded(encoder, pairs):
    encoder = copy.deepcopy(learnt(encoder))
    assert len(find_pairs(encoder)) == pairs
    folded, x = fold_batch_norm(encoder), torch.randn(4, 9, 3)
    assert norms(folded) == 1 - pairs
    torch.testing.assert_close(folded(x), encoder(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded(x, torch.tensor([9, 5, 4, 4])), encoder(x, torch.tensor([9, 5, 4, 4])))


def test_the_encoder_can_still_be_trained():
    """No hook and no flag stays behind."""
    encoder = tiny_encoder("resnet34")
    fold_batch_norm(encoder)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in encoder.parameters())


def test_folding_needs_statistics_that_stay():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norm(tiny_encoder("resnet34").train())


@pytest.mark.parametrize("model", MODELS)
def test_nan_reaches_the_embedding(model):
    """Of the utterance that has it, and of no other."""
    folded = fold_batch_norm(tiny_encoder(model))
    x = torch.randn(2, folded.min_length + 40, *folded.step_shape)
    x[1, 20] = torch.nan
    with torch.inference_mode():
        assert folded(x).isfinite().all(dim=1).tolist() == [True, False]


def test_weights_of_images_are_folded_channel_by_channel():
    """weight * gain / sqrt(variance + eps) and (bias - mean) * gain / sqrt(variance + eps) + shift."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(1, 6, 3, padding=1), BatchNorm2d(6)
    encoder = AsEncoder(lambda self, x, _: self.norm(self.conv(x[:, None])).flatten(1, 2), conv=conv, norm=norm)
    folded = fold_batch_norm(learnt(encoder))
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    torch.testing.assert_close(folded.conv.weight.double(), conv.weight.double() * scale[:, None, None, None])
    shift = (conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    torch.testing.assert_close(folded.conv.bias.double(), shift)
