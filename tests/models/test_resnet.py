"""Residual networks against a transcription of their table, and against published sizes."""

import pytest
import torch
from fill import fill_state
from slow_layers import (
    SlowLayers,
    assert_like,
    assert_padding_changes_nothing,
    assert_silence_and_shortest_input_stay_finite,
    mean_and_deviation,
    relu,
)

from vouch.base.errors import VouchError
from vouch.models.resnet import ResNet

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    221: (6, 16, 48, 3),
    293: (10, 20, 64, 3),
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def tiny(**options):
    torch.manual_seed(0)
    model = ResNet(9, **{"embedding_dim": 7, "channels": 2, **options})
    fill_state(model, "resnet")
    return model


def slow_resnet(model, depth):
    layers = SlowLayers(model.state_dict())
    convolutions = 2 if depth < 50 else 3

    def block(name, x, stride):
        out = x
        for number in range(1, convolutions + 1):
            strided = number == (1 if convolutions == 2 else 2)
            out = layers.conv(f"{name}.conv{number}", out, stride if strided else 1)
            out = layers.norm(f"{name}.bn{number}", out)
            out = relu(out) if number < convolutions else out
        if f"{name}.shortcut.0.weight" in layers.state:
            x = layers.norm(f"{name}.shortcut.1", layers.conv(f"{name}.shortcut.0", x, stride))
        return relu(out + x)

    def embed(features):
        x = relu(layers.norm("bn1", layers.conv("conv1", features.T[None])))
        for stage, blocks in enumerate(BLOCKS[depth], start=1):
            for number in range(blocks):
                x = block(f"layer{stage}.{number}", x, 2 if stage > 1 and number == 0 else 1)
        embedding = layers.affine("seg_1", mean_and_deviation(x.reshape(-1, x.shape[2])))
        if "seg_2.weight" in layers.state:
            embedding = layers.affine("seg_2", layers.norm("seg_bn_1", relu(embedding)))
        return embedding

    return embed


@pytest.mark.parametrize(("depth", "two_layers"), [(18, False), (34, True), (50, False)])
@pytest.mark.parametrize("frames", [1, 8, 21])
def test_against_the_table(depth, two_layers, frames):
    model = tiny(depth=depth, two_layers=two_layers)
    assert_like(model, slow_resnet(model, depth), torch.randn(2, frames, 9))


@pytest.mark.parametrize(
    ("depth", "parameters", "published_millions"),
    [(34, 6_634_336, 6.63), (221, 23_792_224, 23.79), (293, 28_626_016, 28.62)],
)
def test_published_number_of_parameters(depth, parameters, published_millions):
    with torch.device("meta"):
        model = ResNet(80, depth=depth)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert parameters / 1e6 == pytest.approx(published_millions, abs=0.01)


def expected_keys(depth):
    """Names in published state dicts."""

    def norm(name):
        return {f"{name}.{part}" for part in NORM}

    convolutions = 2 if depth < 50 else 3
    keys = {"conv1.weight", "seg_1.weight", "seg_1.bias", *norm("bn1")}
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for block in (f"layer{stage}.{number}" for number in range(blocks)):
            for number in range(1, convolutions + 1):
                keys |= {f"{block}.conv{number}.weight", *norm(f"{block}.bn{number}")}
        if stage > 1 or convolutions == 3:
            keys |= {f"layer{stage}.0.shortcut.0.weight", *norm(f"layer{stage}.0.shortcut.1")}
    return keys


@pytest.mark.parametrize("depth", BLOCKS)
def test_names(depth):
    with torch.device("meta"):
        state = ResNet(80, depth=depth).state_dict()
    assert state.keys() == expected_keys(depth)
    if depth == 34:
        assert len(state) == 218
        assert state["seg_1.weight"].shape == (256, 5120)
        assert state["layer4.0.shortcut.0.weight"].shape == (256, 128, 1, 1)


def test_names_of_two_layers():
    added = tiny(two_layers=True).state_dict().keys() - tiny().state_dict().keys()
    running = {f"seg_bn_1.{part}" for part in NORM[2:]}
    assert added == {"seg_2.weight", "seg_2.bias", *running}


@pytest.mark.parametrize("options", [{"depth": 18}, {"depth": 50}, {"pooling": "astp"}, {"two_layers": True}])
def test_padding_changes_nothing(options):
    assert_padding_changes_nothing(tiny(**options), [1, 40, 33, 16, 17, 8])


@pytest.mark.parametrize("depth", [18, 50])
def test_silence_and_one_frame(depth):
    assert_silence_and_shortest_input_stay_finite(ResNet(9, embedding_dim=7, depth=depth, channels=2))


def test_unusable_options():
    with pytest.raises(VouchError, match=r"depth 35: there are 18, 34, 50"):
        ResNet(80, depth=35)
    with pytest.raises(VouchError, match=r"unknown pooling 'tsp'.*tstp"):
        ResNet(80, pooling="tsp")
    with pytest.raises(VouchError, match="channels must be"):
        ResNet(80, channels=0)
