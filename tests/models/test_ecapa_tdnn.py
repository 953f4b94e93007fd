"""ECAPA-TDNN against transcriptions of its two variants, under their own names, and against published sizes."""

import numpy as np
import pytest
import torch
from fill import fill, fill_state
from slow_layers import (
    SlowLayers,
    assert_like,
    assert_padding_changes_nothing,
    assert_silence_and_shortest_input_stay_finite,
    mean_and_deviation,
    relu,
    sigmoid,
    softmax,
)

from vouch.base.errors import VouchError
from vouch.interop.speechbrain import vouch_weight
from vouch.interop.wespeaker import ecapa_key
from vouch.models.ecapa_tdnn import EcapaTDNN

BINS = 6
TINY = {"embedding_dim": 5, "channels": 16, "aggregation_channels": 10}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

# What the table calls a layer, and what WeSpeaker and SpeechBrain call it. N is the number of a block, 1 to 3.
WESPEAKER = {
    "stem conv": "layer1.conv",
    "stem norm": "layer1.bn",
    "first conv": "layer{next}.se_res2block.0.conv",
    "first norm": "layer{next}.se_res2block.0.bn",
    "res2 conv": "layer{next}.se_res2block.1.convs.{group}",
    "res2 norm": "layer{next}.se_res2block.1.bns.{group}",
    "last conv": "layer{next}.se_res2block.2.conv",
    "last norm": "layer{next}.se_res2block.2.bn",
    "squeeze": "layer{next}.se_res2block.3.linear1",
    "excite": "layer{next}.se_res2block.3.linear2",
    "aggregation conv": "conv",
    "attention in": "pool.linear1",
    "attention out": "pool.linear2",
    "statistics norm": "bn",
    "embedding": "linear",
}
SPEECHBRAIN = {
    "stem conv": "blocks.0.conv.conv",
    "stem norm": "blocks.0.norm.norm",
    "first conv": "blocks.{block}.tdnn1.conv.conv",
    "first norm": "blocks.{block}.tdnn1.norm.norm",
    "res2 conv": "blocks.{block}.res2net_block.blocks.{group}.conv.conv",
    "res2 norm": "blocks.{block}.res2net_block.blocks.{group}.norm.norm",
    "last conv": "blocks.{block}.tdnn2.conv.conv",
    "last norm": "blocks.{block}.tdnn2.norm.norm",
    "squeeze": "blocks.{block}.se_block.conv1.conv",
    "excite": "blocks.{block}.se_block.conv2.conv",
    "aggregation conv": "mfa.conv.conv",
    "aggregation norm": "mfa.norm.norm",
    "attention in": "asp.tdnn.conv.conv",
    "attention norm": "asp.tdnn.norm.norm",
    "attention out": "asp.conv.conv",
    "statistics norm": "asp_bn.norm",
    "embedding": "fc.conv",
}


def original_state(names, channels=16, aggregated=10, bins=BINS, embedding_dim=5):
    """State dict as the published implementation would save it, filled by rule."""
    width = channels // 8
    shapes = {
        "stem conv": (channels, bins, 5),
        "first conv": (channels, channels, 1),
        "res2 conv": (width, width, 3),
        "last conv": (channels, channels, 1),
        "squeeze": (128, channels, 1),
        "excite": (channels, 128, 1),
        "aggregation conv": (aggregated, 3 * channels, 1),
        "attention in": (128, 3 * aggregated, 1),
        "attention out": (aggregated, 128, 1),
        "embedding": (embedding_dim, 2 * aggregated, 1),
    }
    norms = {"aggregation norm": aggregated, "attention norm": 128, "statistics norm": 2 * aggregated}
    norms |= {"stem norm": channels, "first norm": channels, "last norm": channels, "res2 norm": width}
    linear = () if names is SPEECHBRAIN else ("squeeze", "excite", "embedding")
    layers = {
        pattern.format(block=block, next=block + 1, group=group): layer
        for layer, pattern in names.items()
        for block in (1, 2, 3)
        for group in range(7)
    }
    state = {}
    for name, layer in layers.items():
        for part in NORM if layer in norms else ("weight", "bias"):
            shape = (norms[layer],) if layer in norms else shapes[layer][: 3 if part == "weight" else 1]
            shape = shape[:2] if layer in linear else shape
            state[f"{name}.{part}"] = torch.tensor(0) if part == NORM[-1] else fill("ecapa", f"{name}.{part}", shape)
    return state


def slow_ecapa(state, names):
    layers = SlowLayers(state)
    speechbrain = names is SPEECHBRAIN
    mode = "reflect" if speechbrain else "constant"

    def name(layer, block=0, group=0):
        return names[layer].format(block=block, next=block + 1, group=group)

    def frame_layer(which, x, block=0, group=0, dilation=1):
        out = layers.conv(name(f"{which} conv", block, group), x, dilation=dilation, mode=mode)
        return layers.norm(name(f"{which} norm", block, group), relu(out))

    def res2(x, block):
        groups = np.split(x, 8)
        passed = groups.pop(0) if speechbrain else groups.pop()
        outputs = []
        for number, group in enumerate(groups):
            inputs = group + outputs[-1] if outputs else group
            outputs.append(frame_layer("res2", inputs, block, number, dilation=block + 1))
        return np.concatenate([passed, *outputs] if speechbrain else [*outputs, passed])

    def se_res2(x, block):
        out = frame_layer("last", res2(frame_layer("first", x, block), block), block)
        hidden = relu(layers.affine(name("squeeze", block), out.mean(axis=1)))
        return x + out * sigmoid(layers.affine(name("excite", block), hidden))[:, None]

    def attend(x):
        if speechbrain:
            context = np.concatenate([x.mean(axis=1), np.sqrt(np.maximum(x.var(axis=1), 1e-12))])
        else:
            context = mean_and_deviation(x)
        hidden = layers.conv(name("attention in"), np.concatenate([x, np.repeat(context[:, None], x.shape[1], axis=1)]))
        hidden = layers.norm(name("attention norm"), relu(hidden)) if speechbrain else hidden
        weights = softmax(layers.conv(name("attention out"), np.tanh(hidden)))
        mean = (weights * x).sum(axis=1)
        variance = (weights * x**2).sum(axis=1) - mean**2
        return np.concatenate([mean, np.sqrt(np.maximum(variance, 1e-12 if speechbrain else 1e-7))])

    def embed(features):
        x = frame_layer("stem", features.T)
        outputs = []
        for block in (1, 2, 3):
            x = se_res2(x, block)
            outputs.append(x)
        x = relu(layers.conv(name("aggregation conv"), np.concatenate(outputs)))
        x = layers.norm(name("aggregation norm"), x) if speechbrain else x
        return layers.affine(name("embedding"), layers.norm(name("statistics norm"), attend(x)))

    return embed


@pytest.mark.parametrize("frames", [1, 2, 5, 40])
def test_wespeaker_against_the_table(frames):
    state = original_state(WESPEAKER)
    model = EcapaTDNN(BINS, **TINY)
    model.load_state_dict({ecapa_key(key): value for key, value in state.items()})
    assert_like(model, slow_ecapa(state, WESPEAKER), torch.randn(2, frames, BINS))


@pytest.mark.parametrize("frames", [5, 6, 40])
def test_speechbrain_against_the_table(frames):
    state = original_state(SPEECHBRAIN)
    model = EcapaTDNN(BINS, variant="speechbrain", **TINY)
    model.load_state_dict(dict(vouch_weight(key, value) for key, value in state.items()))
    assert_like(model, slow_ecapa(state, SPEECHBRAIN), torch.randn(2, frames, BINS))


def test_names_and_shapes_are_the_originals():
    state = original_state(WESPEAKER, channels=512, aggregated=1536, bins=80, embedding_dim=192)
    expected = {ecapa_key(key): value.shape for key, value in state.items()}
    assert {key: value.shape for key, value in EcapaTDNN(80).state_dict().items()} == expected
    translated = dict(vouch_weight(key, value) for key, value in original_state(SPEECHBRAIN).items())
    expected = {key: value.shape for key, value in translated.items()}
    model = EcapaTDNN(BINS, variant="speechbrain", **TINY)
    assert {key: value.shape for key, value in model.state_dict().items()} == expected


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({}, 6_190_720), ({"channels": 1024}, 14_657_088), ({"channels": 1024, "variant": "speechbrain"}, 20_767_552)],
)
def test_published_number_of_parameters(options, parameters):
    with torch.device("meta"):
        model = EcapaTDNN(80, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("variant", ["wespeaker", "speechbrain"])
def test_padding_changes_nothing(variant):
    model = EcapaTDNN(BINS, variant=variant, **TINY)
    fill_state(model, "ecapa")
    assert_padding_changes_nothing(model, [40, 39, 38, 37, 36, 35, 20, 6, model.min_length])


@pytest.mark.parametrize("variant", ["wespeaker", "speechbrain"])
def test_silence_and_shortest_input(variant):
    assert_silence_and_shortest_input_stay_finite(EcapaTDNN(BINS, variant=variant, **TINY))


def test_mirroring_needs_five_frames():
    model = EcapaTDNN(BINS, variant="speechbrain", **TINY)
    with pytest.raises(VouchError, match=r"4 frames.* at least 5"):
        model(torch.randn(2, 4, BINS))


def test_unusable_options():
    with pytest.raises(VouchError, match=r"unknown variant 'speechbran'.*speechbrain"):
        EcapaTDNN(80, variant="speechbran")
    with pytest.raises(VouchError, match="multiple of 8, not 20"):
        EcapaTDNN(80, channels=20)
    with pytest.raises(VouchError, match="aggregation_channels must be"):
        EcapaTDNN(80, aggregation_channels=0)
