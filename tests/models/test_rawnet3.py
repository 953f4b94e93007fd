"""RawNet3 against reference vectors made by running voxceleb_trainer, and its promises about padding."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import fill_state
from torch.nn import functional

from vouch.base.errors import VouchError
from vouch.interop.voxceleb_trainer import rawnet3_key
from vouch.models.rawnet3 import FeatureMapScaling, RawNet3, RawNet3Pooling

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "rawnet3.npz")
FACTS = json.loads((GOLDEN / "rawnet3.json").read_text())
CASES = list(FACTS["models"])
# Of the largest value: the logarithm of filter outputs near zero magnifies rounding.
TOLERANCE = 2e-3
UNUSED = ("bn1.", "bn6.", "preprocess.0.", "conv1.filterbank.window_", "conv1.filterbank.n_")


def build(name):
    arguments = FACTS["models"][name]["args"]
    return RawNet3(arguments["nOut"], arguments["encoder_type"].lower(), arguments["sinc_stride"])


@cache
def evaluated(name):
    """Embeddings of a case, and the outputs of the layers that the reference names."""
    model = build(name)
    keys = FACTS["models"][name]["state_keys"]
    fill_state(model, FACTS["salt"], {rawnet3_key(key): key for key in keys if rawnet3_key(key)})
    outputs = {}
    layers = ("normalize", "conv1", "layer1", "layer2", "layer3", "layer4", "pooling.linear2", "bn5")
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(
            lambda module, inputs, output, layer=layer: outputs.update({layer: output})
        )
    with torch.no_grad():
        embeddings = model.eval()(torch.from_numpy(ARRAYS["wave"]))
    # The original counts the softmax to its attention.
    outputs["attention"] = outputs.pop("pooling.linear2").softmax(dim=2)
    return embeddings, outputs


def tiny(**changes):
    torch.manual_seed(0)
    model = RawNet3(**{"embedding_dim": 6, "channels": 16} | changes)
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 5000))
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_embeddings(name):
    expected = ARRAYS[f"{name}/emb_eval"]
    embeddings, _ = evaluated(name)
    np.testing.assert_allclose(embeddings, expected, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_intermediate_outputs(name):
    _, outputs = evaluated(name)
    for stage, facts in FACTS["models"][name]["stages"].items():
        output = outputs[stage]
        assert list(output.shape) == facts["shape"], stage
        spread = facts["std"]
        assert output.std().item() == pytest.approx(spread, rel=TOLERANCE), stage
        assert output.mean().item() == pytest.approx(facts["mean"], abs=TOLERANCE * spread), stage
        first = output.flatten()[:8].numpy()
        np.testing.assert_allclose(first, facts["first8"], atol=5e-3 * np.abs(facts["first8"]).max())


def test_front_end():
    _, outputs = evaluated(CASES[0])
    normalised = outputs["normalize"][:, 0, :256]
    np.testing.assert_allclose(normalised, ARRAYS["RawNet3/preprocess_t0_256"], atol=1e-5)
    logarithm = torch.log(outputs["conv1"].abs() + 1e-6)
    logarithm = logarithm - logarithm.mean(dim=2, keepdim=True)
    channels = [0, 16, 64, 127, 128, 144, 255]
    np.testing.assert_allclose(logarithm[:, channels, :64], ARRAYS["RawNet3/ch0_16_last_t0_64"], atol=1e-2)


@pytest.mark.parametrize("name", CASES)
def test_keys_and_shapes_are_the_originals(name):
    originals = FACTS["models"][name]["state_keys"]
    unused = {key for key in originals if key.startswith(UNUSED)}
    assert {key for key in originals if rawnet3_key(key) is None} == unused
    model = build(name)
    state = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert state == {rawnet3_key(key): shape for key, shape in originals.items() if key not in unused}
    dropped = sum(int(np.prod(originals[f"{bn}.{key}"])) for bn in ("bn1", "bn6") for key in ("weight", "bias"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == FACTS["models"][name]["n_params"] - dropped


def test_number_of_parameters():
    assert sum(parameter.numel() for parameter in RawNet3().parameters()) == 16_279_298


@pytest.mark.parametrize("pooling", ["eca", "asp"])
@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan")])
@pytest.mark.parametrize("stride", [10, 3])
def test_padding_changes_nothing(pooling, filler, stride):
    model = tiny(pooling=pooling, sinc_stride=stride)
    shortest = model.min_length
    lengths = torch.tensor([shortest, shortest + 1, shortest + 77, 3001, 3009, 3010, 3160])
    rows = [torch.randn(int(length)) + 0.1 for length in lengths]
    padded = torch.full((len(rows), 3333), filler)
    for row, samples in zip(padded, rows, strict=True):
        row[: len(samples)] = samples
    with torch.no_grad():
        alone = torch.cat([model(row[None]) for row in rows])
        # Convolutions of different lengths add up in another order, which the logarithm magnifies.
        torch.testing.assert_close(model(padded, lengths), alone, atol=1e-4, rtol=1e-5)


def test_lengths_matter():
    model = tiny()
    waveforms = torch.randn(2, 4000)
    cut = model(waveforms, torch.tensor([4000, 2500]))
    torch.testing.assert_close(cut[0], model(waveforms)[0], atol=1e-5, rtol=1e-5)
    assert (cut[1] - model(waveforms)[1]).abs().max() > 1e-3


def test_gradient_reaches_real_samples_and_every_parameter():
    waveforms = torch.full((4, 3000), float("nan"))
    waveforms[:3] = torch.randn(3, 3000)
    waveforms[3, :2000] = torch.randn(2000)
    waveforms.requires_grad_()
    model = tiny().train()
    (model(waveforms, torch.tensor([3000, 3000, 3000, 2000])) * torch.randn(4, 6)).sum().backward()
    assert waveforms.grad.isfinite().all()
    assert waveforms.grad[3, :2000].any() and not waveforms.grad[3, 2000:].any()
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), key


@pytest.mark.parametrize(("stride", "shortest"), [(10, 541), (1, 280), (16, 715)])
def test_shortest_input(stride, shortest):
    model = tiny(sinc_stride=stride)
    assert model.min_length == shortest
    assert model(torch.randn(2, shortest)).isfinite().all()
    message = f"{shortest - 1} samples.* at least {shortest}"
    with pytest.raises(VouchError, match=message):
        model(torch.randn(2, shortest - 1))
    with pytest.raises(VouchError, match=message):
        model(torch.randn(2, 3000), torch.tensor([3000, shortest - 1]))


@pytest.mark.parametrize("value", [0.0, -0.7])
@pytest.mark.parametrize("lengths", [None, torch.tensor([3000, 600])])
def test_silence_stays_finite(value, lengths):
    model = tiny().train()
    embeddings = model(torch.full((2, 3000), value), lengths)
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_front_end_by_loops():
    model = tiny()
    torch.nn.init.constant_(model.normalize.weight, 1.3)
    torch.nn.init.constant_(model.normalize.bias, -0.2)
    waveform = torch.randn(600)
    samples = waveform.double().tolist()
    emphasised = np.array([now - 0.97 * before for now, before in zip(samples, [samples[1], *samples], strict=False)])
    deviation = np.sqrt(emphasised.var() + 1e-4)
    normalised = 1.3 * (emphasised - emphasised.mean()) / deviation - 0.2
    filters = model.conv1.filters().detach().double().numpy()
    frames = [filters @ normalised[start : start + 251] for start in range(0, 350, 10)]
    logarithms = np.log(np.abs(np.array(frames).T) + 1e-6)
    expected = logarithms - logarithms.mean(axis=1, keepdims=True)
    computed, _ = model._log_magnitudes(waveform[None], None)
    np.testing.assert_allclose(computed[0].detach(), expected, atol=1e-2)
    assert np.median(np.abs(computed[0].detach().numpy() - expected)) < 1e-5


def test_feature_map_scaling():
    scaling = FeatureMapScaling(3).double()
    torch.nn.init.normal_(scaling.alpha)
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    means = torch.stack([x[0, channel].mean() for channel in range(3)])
    gates = 1 / (1 + torch.exp(-(scaling.fc.weight @ means + scaling.fc.bias)))
    expected = torch.stack([(x[0, channel] + scaling.alpha[channel]) * gates[channel] for channel in range(3)])
    torch.testing.assert_close(scaling(x, None)[0], expected)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_pooling_by_formula(per_channel, size):
    torch.manual_seed(1)
    pooling = RawNet3Pooling(5, per_channel).double().eval()
    x = size * torch.randn(1, 5, 7, dtype=torch.float64)
    # One channel that hardly varies meets the lower limit, at the larger size the others meet the upper one.
    x[:, 0] = 2 + 1e-4 * torch.randn(7, dtype=torch.float64)
    deviation = x.var(dim=2, keepdim=True).clamp(1e-4, 1e4).sqrt()
    context = torch.cat([x, x.mean(dim=2, keepdim=True).expand_as(x), deviation.expand_as(x)], dim=1)
    scores = pooling.linear2(pooling.bn(pooling.linear1(context).relu()))
    weights = (scores - scores.amax()).exp()
    weights = weights / weights.sum(dim=2, keepdim=True)
    mean = (x * weights).sum(dim=2)
    variance = (x.square() * weights).sum(dim=2) - mean.square()
    expected = torch.cat([mean, variance.clamp(1e-4, 1e4).sqrt()], dim=1)
    torch.testing.assert_close(pooling(x), expected, atol=1e-8, rtol=1e-6)
    assert weights.shape[1] == (5 if per_channel else 1)


def test_pooling_of_one_frame():
    pooling = RawNet3Pooling(4, True).eval()
    x = torch.randn(2, 4, 1)
    pooled = pooling(x)
    torch.testing.assert_close(pooled, torch.cat([x[:, :, 0], torch.full((2, 4), 1e-2)], dim=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "eac"}, "unknown pooling 'eac'.*'eca'"),
        ({"channels": 12}, "multiple of 8, not 12"),
        ({"sinc_stride": 0}, "stride"),
    ],
)
def test_unusable_options(changes, message):
    with pytest.raises(VouchError, match=message):
        RawNet3(**changes)


def test_bfloat16_autocast():
    model = tiny(embedding_dim=64, channels=64)
    waveforms = torch.randn(4, 4000)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(waveforms)
    assert functional.cosine_similarity(model(waveforms), rounded.float()).min() > 0.99
