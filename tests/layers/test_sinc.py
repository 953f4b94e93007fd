"""Sinc filters against averages over their band, and against reference vectors made by running the originals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.layers.sinc import SincFilters, paired_sinc_filters, sincnet_filters

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "sinc.npz")
CASES = json.loads((GOLDEN / "sinc.json").read_text())


def small_bank(low=(0.0, 300.0, -1000.0), band=(100.0, -700.0, 9000.0), quadrature=True):
    """Three filters of 9 taps at 8 kHz whose edges one may choose, in double precision."""
    bank = SincFilters(3, 9, 2, 8000, 40.0, 30.0, torch.tensor([0.1, 0.4, 0.7, 0.9]), quadrature).double()
    bank.load_state_dict({"low_hz": torch.tensor(low)[:, None], "band_hz": torch.tensor(band)[:, None]})
    return bank


def slow_filter(low, band, rate=8000, min_low=40.0, min_band=30.0):
    """The impulse responses, cosine and sine, as averages of pure tones over the band."""
    first = min_low + abs(low)
    last = min(first + min_band + abs(band), rate / 2)
    steps = 20000
    tones = first + (last - first) * (np.arange(steps) + 0.5) / steps
    window = [0.1, 0.4, 0.7, 0.9, 1.0, 0.9, 0.7, 0.4, 0.1]
    phases = [2 * np.pi * tones * (tap - 4) / rate for tap in range(9)]
    cosine = [w * np.cos(phase).mean() for w, phase in zip(window, phases, strict=True)]
    sine = [w * np.sin(phase).mean() for w, phase in zip(window, phases, strict=True)]
    return cosine, sine


def test_filters_are_averages_of_tones_over_the_band():
    bank = small_bank()
    edges = zip(bank.low_hz[:, 0].tolist(), bank.band_hz[:, 0].tolist(), strict=True)
    slow = [slow_filter(low, band) for low, band in edges]
    expected = np.array([cosine for cosine, _ in slow] + [sine for _, sine in slow])
    np.testing.assert_allclose(bank.filters().detach().numpy(), expected, atol=1e-7)
    np.testing.assert_array_equal(small_bank(quadrature=False).filters().detach(), bank.filters()[:3].detach())


def test_convolution_is_correlation_with_a_stride():
    bank = small_bank()
    waveform = torch.randn(2, 14, dtype=torch.float64)
    outputs = bank(waveform)
    assert outputs.shape == (2, bank.out_channels, 3)
    filters = bank.filters()
    for frame in range(3):
        expected = torch.einsum("bs,cs->bc", waveform[:, 2 * frame : 2 * frame + 9], filters)
        torch.testing.assert_close(outputs[:, :, frame], expected)


# At 3960 + 40 Hz and beyond the band lies at half the sampling rate of 8 kHz and has no width left.
@pytest.mark.parametrize("low", [3960.0, 3960.0001, 3970.0, 5000.0, -5000.0])
def test_closed_band_stays_finite(low):
    bank = small_bank(low=(low, low, 300.0), band=(0.0, 50.0, 100.0))
    filters = bank.filters()
    assert filters.abs().max() <= 1
    filters.square().sum().backward()
    assert bank.low_hz.grad.isfinite().all() and bank.band_hz.grad.isfinite().all()


def test_gradient():
    bank = small_bank()

    def filters(low, band):
        return torch.func.functional_call(bank, {"low_hz": low, "band_hz": band}, torch.eye(9, dtype=torch.float64))

    low, band = (torch.tensor(x, dtype=torch.float64)[:, None] for x in ([10.0, 300.0, -900.0], [90.0, -700.0, 50.0]))
    assert torch.autograd.gradcheck(filters, (low.requires_grad_(), band.requires_grad_()), atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_initial_filters_of_sincnet(name):
    facts = CASES[name]
    size, rate = facts["kernel_size"], facts["sample_rate"]
    bank = sincnet_filters(facts["out_channels"], size, 1, rate, facts["min_low_hz"], facts["min_band_hz"])
    np.testing.assert_allclose(bank.low_hz.detach(), ARRAYS[f"{name}/low_hz_"], rtol=1e-6)
    np.testing.assert_allclose(bank.band_hz.detach(), ARRAYS[f"{name}/band_hz_"], rtol=1e-6)
    filters = bank.filters().detach().numpy()
    expected = ARRAYS[f"{name}/filters"]
    np.testing.assert_allclose(filters[:: len(filters) // len(expected)], expected, atol=2e-5)


def test_trained_filters_of_sincnet():
    bank = sincnet_filters(12, 251, 1, 16000, 50, 50)
    bank.load_state_dict({key: torch.from_numpy(ARRAYS[f"custom/{key}_"])[:, None] for key in ("low_hz", "band_hz")})
    # One band is 10 Hz wide: the original, which divides by the width, loses digits there.
    np.testing.assert_allclose(bank.filters().detach(), ARRAYS["custom/filters"], atol=1e-4)
    outputs = bank(torch.from_numpy(ARRAYS["custom/x"][:, 0]))
    np.testing.assert_allclose(outputs.detach(), ARRAYS["custom/y"], atol=1e-3)
    (outputs * torch.from_numpy(ARRAYS["custom/R"])).sum().backward()
    for parameter, key in ((bank.low_hz, "custom/grad_low"), (bank.band_hz, "custom/grad_band")):
        expected = ARRAYS[key]
        np.testing.assert_allclose(parameter.grad, expected, atol=1e-3 * np.abs(expected).max())


def test_initial_filters_of_rawnet3():
    bank = paired_sinc_filters(128, 251, 10, 16000)
    # The original spaces the edges in single precision.
    np.testing.assert_allclose(bank.low_hz.detach(), ARRAYS["RawNet3/low_hz_"], atol=5e-3)
    np.testing.assert_allclose(bank.band_hz.detach(), ARRAYS["RawNet3/band_hz_"], atol=5e-3)
    filters = bank.filters()[[0, 5, 127, 128, 133, 255]]
    np.testing.assert_allclose(filters.detach(), ARRAYS["RawNet3/filters_0_5_127_128_133_255"], atol=2e-5)


def test_state_is_the_edges_alone():
    assert set(paired_sinc_filters(4, 31, 10, 16000).state_dict()) == {"low_hz", "band_hz"}


def test_autocast_changes_nothing():
    bank = paired_sinc_filters(4, 31, 10, 16000)
    waveforms = torch.randn(2, 400)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bank(waveforms), bank(waveforms.clone()))
        inside = bank(waveforms)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, bank(waveforms))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 250}, "odd number of samples, not 250"),
        ({"num_bands": 0}, "at least one band"),
        ({"stride": 0}, "at least one band and a stride, not 8 and 0"),
        ({"min_low_hz": 7950.0}, "at 16000 Hz there is no room for bands of at least 50 Hz above 7950 Hz"),
    ],
)
def test_unusable_options(options, message):
    usable = {"num_bands": 8, "kernel_size": 251, "stride": 1, "sample_rate": 16000}
    with pytest.raises(VouchError, match=message):
        sincnet_filters(**usable | {"min_low_hz": 50.0, "min_band_hz": 50.0} | options)
