"""SincTDNN against reference vectors made by running pyannote.audio 1, and its promises about padding."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import fill_state
from torch.nn import functional

from vouch.base.errors import VouchError
from vouch.interop.pyannote import vouch_key
from vouch.layers.pooling import StatisticsPooling
from vouch.models.sinctdnn import EmbeddingHead, SincTDNN, WeightNormConv1d

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "sinctdnn.npz")
SINC_ARRAYS = np.load(GOLDEN / "sinc.npz")
FACTS = json.loads((GOLDEN / "sinctdnn.json").read_text())
SEED = "seed_config"
TINY = {"embedding_dim": 6, "out_channels": (8, 7, 6), "tdnn_channels": (8, 9, 8, 9, 10)}
TOLERANCE = 3e-5


@cache
def options(name):
    """The options of a case: the original's, in one mapping."""
    sections = FACTS["models"][name]["config"].values()
    flat = {key: value for section in sections for key, value in section.items() if key != "unit_normalize"}
    return {"stride": (1, 1, 1), **flat}


@cache
def reference(name):
    """The filled network of a case, in evaluation mode."""
    model = SincTDNN(**options(name))
    keys = FACTS["models"][name]["state_keys"]
    fill_state(model, FACTS["salt"], {vouch_key(key): key for key in keys if vouch_key(key)})
    return model.eval()


def wave(name="wave"):
    return torch.from_numpy(ARRAYS[name])


def tiny(**changes):
    torch.manual_seed(0)
    model = SincTDNN(**TINY | changes)
    with torch.no_grad():
        model(torch.randn(4, 9000))
    return model.eval()


@pytest.mark.parametrize("name", FACTS["models"])
def test_embeddings(name):
    # The case with the first stride 1 has one short utterance.
    waveforms = wave()[:1, :8000] if name == "defaults" else wave()
    with torch.no_grad():
        embeddings = reference(name)(waveforms)
    np.testing.assert_allclose(embeddings, ARRAYS[f"{name}/emb"], atol=TOLERANCE)


@pytest.mark.parametrize("name", FACTS["models"])
def test_keys_and_shapes_are_the_originals(name):
    originals = FACTS["models"][name]["state_keys"]
    expected = {vouch_key(key): shape for key, shape in originals.items() if not key.startswith("tdnn_.segment7")}
    model = SincTDNN(**options(name))
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected
    unused = sum(int(np.prod(shape)) for key, shape in originals.items() if vouch_key(key) is None)
    assert unused == sum(np.prod(originals[f"tdnn_.segment7.{key}"]) for key in ("weight", "bias"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == FACTS["models"][name]["n_params"] - unused


def test_number_of_parameters():
    assert sum(parameter.numel() for parameter in SincTDNN().parameters()) == 4_342_898


def test_keys_of_newer_weight_normalisation():
    assert vouch_key("tdnn_.tdnn.4.temporal_conv.parametrizations.weight.original0") == "tdnn.4.weight_g"
    assert vouch_key("tdnn_.tdnn.4.temporal_conv.parametrizations.weight.original1") == "tdnn.4.weight_v"


def test_other_lengths():
    with torch.no_grad():
        for key in ("odd", "short"):
            embeddings = reference(SEED)(wave(f"wave_{key}"))
            np.testing.assert_allclose(embeddings, ARRAYS[f"{SEED}/emb_{key}"], atol=TOLERANCE)


def test_windows_of_a_recording():
    recording = wave("wave_file")
    for name, facts in FACTS["models"][SEED]["slide"].items():
        windows = [recording[start : start + facts["n_samples"]] for start in facts["start_samples"]]
        with torch.no_grad():
            embeddings = reference(SEED)(torch.stack(windows))
        np.testing.assert_allclose(embeddings, ARRAYS[f"{SEED}/{name}"], atol=TOLERANCE)


def test_intermediate_outputs():
    model = reference(SEED)
    outputs = {}
    watched = {
        "raw": model.sincnet.conv1d[0],
        "layer0": model.sincnet.instance_norm1d[0],
        "frames": model.tdnn[-1],
        "stats": model.pooling,
    }
    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: outputs.update({name: output}))
        for name, module in watched.items()
    ]
    with torch.no_grad():
        model(wave())
        sincnet, _ = model.sincnet(wave(), None)
    for handle in handles:
        handle.remove()

    channels = [0, 40, 79]
    raw = ARRAYS[f"{SEED}/sinc_raw_b0_ch0_40_79_t64"]
    np.testing.assert_allclose(outputs["raw"][0, channels, :64], raw, atol=1e-4 * np.abs(raw).max())
    layer0 = functional.leaky_relu(outputs["layer0"][0, channels, :64], 0.2)
    np.testing.assert_allclose(layer0, ARRAYS[f"{SEED}/layer0_b0_ch0_40_79_t64"], atol=1e-4)
    np.testing.assert_allclose(sincnet[0].T, ARRAYS[f"{SEED}/sincnet_out_b0"], atol=1e-4)
    frames = outputs["frames"].relu().transpose(1, 2)
    np.testing.assert_allclose(frames[0, :10, :64], ARRAYS[f"{SEED}/frames_b0_t10_ch64"], atol=TOLERANCE)
    np.testing.assert_allclose(outputs["stats"], ARRAYS[f"{SEED}/stats"], atol=TOLERANCE)
    for name, output in (("sincnet", sincnet.transpose(1, 2)), ("frames", frames), ("stats", outputs["stats"])):
        facts = FACTS["models"][SEED]["stages"][name]
        assert list(output.shape) == facts["shape"]
        assert output.mean().item() == pytest.approx(facts["mean"], abs=1e-5)
        assert output.std().item() == pytest.approx(facts["std"], rel=1e-4)


def test_gradients():
    model = reference(SEED).train()
    model.zero_grad()
    (model(wave()) * torch.from_numpy(ARRAYS[f"{SEED}/grad_R"])).sum().backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    norms = FACTS["models"][SEED]["grad_l2"]
    assert {vouch_key(key) for key, norm in norms.items() if norm is not None} == gradients.keys()
    for key, norm in norms.items():
        if norm is not None:
            assert gradients[vouch_key(key)].norm().item() == pytest.approx(norm, rel=5e-3, abs=1e-5), key
    stored = [key for key in ARRAYS.files if "/grad/" in key]
    assert len(stored) == 6
    for key in stored:
        expected = ARRAYS[key]
        computed = gradients[vouch_key(key.split("/grad/")[1])]
        # Both are 0.1 to 0.3 percent of the largest away from the gradients in double precision.
        np.testing.assert_allclose(computed, expected, atol=5e-3 * np.abs(expected).max(), err_msg=key)
    model.eval()


def test_weight_normalisation():
    torch.manual_seed(0)
    layer = WeightNormConv1d(3, 4, 2, 3).double()
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    # It starts as a convolution of these very kernels.
    torch.testing.assert_close(layer(x), functional.conv1d(x, layer.weight_v, layer.bias, dilation=3))
    torch.nn.init.normal_(layer.weight_g)
    kernels = []
    for kernel, length in zip(layer.weight_v.tolist(), layer.weight_g.flatten().tolist(), strict=True):
        norm = sum(value * value for row in kernel for value in row) ** 0.5
        kernels.append([[length * value / norm for value in row] for row in kernel])
    expected = functional.conv1d(x, torch.tensor(kernels, dtype=torch.float64), layer.bias, dilation=3)
    torch.testing.assert_close(layer(x), expected)


def test_statistics_and_unit_length():
    pooled = StatisticsPooling(5)(torch.from_numpy(SINC_ARRAYS["statspool/x"]).transpose(1, 2))
    np.testing.assert_allclose(pooled, SINC_ARRAYS["statspool/y"], atol=1e-6)
    x = torch.from_numpy(SINC_ARRAYS["scaling/x"])
    np.testing.assert_allclose(EmbeddingHead(6, False, "unit")(x), SINC_ARRAYS["scaling/unit"], atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stride": (4, 2, 1), "max_pool": (2, 3, 1), "kernel_size": (31, 4, 3)},
        {"instance_normalize": False},
        {"waveform_normalize": False},
        {"batch_normalize": True, "scale": "logistic", "dropout": 0.5},
    ],
)
@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan")])
def test_padding_changes_nothing(changes, filler):
    model = tiny(**changes)
    lengths = torch.tensor([model.min_length, model.min_length + 1, 3333, 4000, 3999])
    lengths = lengths.clamp(min=model.min_length)
    rows = [torch.randn(int(length)) + 0.1 for length in lengths]
    padded = torch.full((len(rows), 4100), filler)
    for row, samples in zip(padded, rows, strict=True):
        row[: len(samples)] = samples
    with torch.no_grad():
        alone = torch.cat([model(row[None]) for row in rows])
        torch.testing.assert_close(model(padded, lengths), alone, atol=1e-5, rtol=1e-5)


def test_gradient_reaches_real_samples_only():
    waveforms = torch.full((2, 4000), float("nan"))
    waveforms[0] = torch.randn(4000)
    waveforms[1, :3000] = torch.randn(3000)
    waveforms.requires_grad_()
    model = tiny().train()
    model(waveforms, torch.tensor([4000, 3000])).square().sum().backward()
    assert waveforms.grad.isfinite().all()
    assert waveforms.grad[0].any() and waveforms.grad[1, :3000].any() and not waveforms.grad[1, 3000:].any()
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), key


@pytest.mark.parametrize(("stride", "shortest"), [((5, 1, 1), 2646), ((1, 1, 1), 730), ((10, 1, 1), 5041)])
def test_shortest_input(stride, shortest):
    model = tiny(stride=stride)
    assert model.min_length == shortest
    assert model(torch.randn(2, shortest)).isfinite().all()
    message = f"{shortest - 1} samples.* at least {shortest}"
    with pytest.raises(VouchError, match=message):
        model(torch.randn(2, shortest - 1))
    with pytest.raises(VouchError, match=message):
        model(torch.randn(2, 9000), torch.tensor([9000, shortest - 1]))


@pytest.mark.parametrize("value", [0.0, 0.5])
@pytest.mark.parametrize("changes", [{}, {"scale": "unit"}, {"scale": "logistic", "waveform_normalize": False}])
def test_silence_stays_finite(value, changes):
    model = tiny(**changes).train()
    embeddings = model(torch.full((2, 4000), value))
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_level_does_not_matter():
    waveforms = torch.randn(2, 4000)
    model = tiny()
    torch.testing.assert_close(model(3 * waveforms), model(waveforms), atol=1e-4, rtol=1e-4)


def test_wrong_input():
    model = tiny()
    with pytest.raises(VouchError, match=r"waveforms \(batch, samples\), not \(2, 4000, 1\)"):
        model(torch.randn(2, 4000, 1))
    with pytest.raises(VouchError, match="4001 samples, but the batch holds only 4000"):
        model(torch.randn(2, 4000), torch.tensor([4001, 4000]))
    with pytest.raises(VouchError, match="2 utterances"):
        model(torch.randn(2, 4000), torch.tensor([4000]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "Unit"}, "unknown scale 'Unit'.*'unit'"),
        ({"stride": (5, 1)}, r"stride must be three positive numbers, not \[5, 1\]"),
        ({"max_pool": (3, 0, 3)}, "max_pool must be three"),
        ({"kernel_size": (250, 5, 5)}, "odd"),
        ({"tdnn_channels": (8, 8)}, "tdnn_channels must be five"),
    ],
)
def test_unusable_options(changes, message):
    with pytest.raises(VouchError, match=message):
        SincTDNN(**TINY | changes)


def test_bfloat16_autocast():
    model = tiny(embedding_dim=64)
    waveforms = torch.randn(4, 8000)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(waveforms)
    assert torch.cosine_similarity(model(waveforms), rounded.float()).min() > 0.99
