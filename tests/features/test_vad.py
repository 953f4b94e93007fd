"""Voice activity: against Kaldi's decisions, and frame by frame."""

from pathlib import Path

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.base.options import read_yaml, resolve_options
from vouch.features.vad import energy_vad, select_voiced

# Made by running Kaldi's compute-vad.
GOLDEN = np.load(Path(__file__).parents[1] / "golden/kaldi_vad.npz")
CASES = {
    "default": {},
    "voxv1": {"energy_threshold": 5.5},
    "voxv2": {"energy_threshold": 5.5, "proportion_threshold": 0.12, "frames_context": 2},
    "abs": {"energy_threshold": 14.0, "energy_mean_scale": 0.0, "frames_context": 5, "proportion_threshold": 0.5},
    "from_fbank40_energy": {},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_kaldi(name):
    keys = [key for key in GOLDEN if key.startswith(f"{name}/")]
    assert len(keys) == 23
    for key in keys:
        voiced = energy_vad(GOLDEN["energy/" + key.split("/")[1]], **CASES[name])
        assert voiced.dtype == bool
        np.testing.assert_array_equal(voiced, GOLDEN[key] != 0, err_msg=key)
    if f"omit/{name}" in GOLDEN:
        # Those with a voiced frame.
        assert sorted(key.split("/")[1] for key in keys if GOLDEN[key].any()) == list(GOLDEN[f"omit/{name}"])


def slow_vad(energies, threshold, scale, context, proportion):
    limit = threshold + scale * sum(energies) / len(energies)
    voiced = []
    for t in range(len(energies)):
        around = energies[max(0, t - context) : t + context + 1]
        voiced.append(sum(energy > limit for energy in around) >= proportion * len(around))
    return voiced


@pytest.mark.parametrize("context", [0, 1, 4, 50])
@pytest.mark.parametrize("frames", [1, 2, 7, 40])
def test_equals_the_definition(frames, context):
    rng = np.random.default_rng((frames, context))
    # Quarters, whose sums and shares are exact: no decision hangs on rounding.
    energies = rng.integers(0, 80, frames).astype(np.float32) / 4
    for proportion in (0.25, 0.5, 0.75):
        got = energy_vad(energies, 2.0, 0.5, context, proportion)
        np.testing.assert_array_equal(got, slow_vad(energies.astype(float), 2.0, 0.5, context, proportion))


def test_no_frames():
    assert energy_vad(np.zeros(0, np.float32)).shape == (0,)


def test_the_configuration_is_that_of_the_recipes():
    config = read_yaml(Path(__file__).parents[2] / "conf/vad.yaml")
    resolved = resolve_options(energy_vad, config, "voice activity detection", given=["log_energy"])
    assert resolved == {"energy_mean_scale": 0.5, **CASES["voxv2"]}


@pytest.mark.parametrize(
    "options", [{"energy_mean_scale": -0.1}, {"frames_context": -1}, {"proportion_threshold": 0.0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(VouchError, match="vad: "):
        energy_vad(np.zeros(3, np.float32), **options)


def test_voiced_frames_are_selected():
    matrix = np.arange(8, dtype=np.float32).reshape(4, 2)
    voiced = np.array([0, 1, 0, 1], np.float32)
    np.testing.assert_array_equal(select_voiced(matrix, voiced), [[2, 3], [6, 7]])
    with pytest.raises(VouchError, match="4 frames of features, 3 of voice activity"):
        select_voiced(matrix, voiced[:3])
    with pytest.raises(VouchError, match="no voiced frame"):
        select_voiced(matrix, np.zeros(4))


def test_a_context_longer_than_the_recording_is_all_of_it():
    energies = np.array([9.0, 1.0, 9.0, 9.0], np.float32)
    for context in (4, 2**62, 2**63 - 1):
        assert energy_vad(energies, frames_context=context, proportion_threshold=0.7).tolist() == [True] * 4
        assert energy_vad(energies, frames_context=context, proportion_threshold=0.8).tolist() == [False] * 4
