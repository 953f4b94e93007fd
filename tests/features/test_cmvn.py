"""Mean and variance normalisation: against Kaldi's programs, and frame by frame."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.features.cmvn import apply_cmvn, cmvn_stats, sliding_cmvn
from vouch.features.vad import select_voiced

FOLDER = Path(__file__).parents[1] / "golden"
# Made by running apply-cmvn-sliding, compute-cmvn-stats and apply-cmvn; of each matrix three columns.
GOLDEN = np.load(FOLDER / "kaldi_cmvn.npz")
CASES = {
    "xvec": {},
    "default": {"window": 600, "center": False},
    "center50": {"window": 50},
    "left50": {"window": 50, "min_window": 20, "center": False},
    "vars": {"window": 100, "norm_vars": True},
    "left_vars": {"window": 120, "min_window": 30, "center": False, "norm_vars": True},
    "odd": {"window": 101},
}


def of(name):
    keys = [key for key in GOLDEN if key.startswith(f"{name}/")]
    assert keys
    return [(key.split("/")[1], GOLDEN[key]) for key in keys]


@pytest.mark.parametrize("name", CASES)
def test_sliding_windows_equal_kaldi(name):
    for utterance, expected in of(name):
        got = sliding_cmvn(torch.from_numpy(GOLDEN[f"in/{utterance}"])[None], **CASES[name])[0]
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5, err_msg=utterance)


def test_statistics_equal_kaldi():
    for utterance, expected in of("stats"):
        stats = cmvn_stats(GOLDEN[f"in/{utterance}"])
        np.testing.assert_allclose(stats, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    for utterance, expected in of("utt_cmvn"):
        stats = GOLDEN[f"stats/{utterance}"]
        got = apply_cmvn(GOLDEN[f"in/{utterance}"], stats, norm_vars=True)
        # Kaldi multiplies and adds in single precision.
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_pipeline_of_the_recipes_equals_kaldi():
    """Sliding mean, then voiced frames, within the steps of the compressed archive that Kaldi wrote."""
    voiced = np.load(FOLDER / "kaldi_vad.npz")
    for utterance, expected in of("nosil"):
        normalized = sliding_cmvn(torch.from_numpy(GOLDEN[f"nosil_in/{utterance}"])[None])[0].numpy()
        got = select_voiced(normalized, voiced[f"voxv2/{utterance}"])
        assert got.shape == expected.shape
        step = GOLDEN[f"nosil_range/{utterance}"] / 60 + 1e-3
        assert (np.abs(got - expected) <= step).all(), utterance


def slow_sliding(x, window, min_window, center, norm_vars):
    out = np.zeros_like(x)
    frames = len(x)
    for t in range(frames):
        start, end = (t - window // 2, t - window // 2 + window) if center else (t - window, t + 1)
        if start < 0:
            start, end = 0, end - start
        if not center and end > t:
            end = max(t + 1, min_window)
        if end > frames:
            start, end = max(0, start - (end - frames)), frames
        part = x[start:end]
        out[t] = x[t] - part.mean(axis=0)
        if norm_vars:
            variance = np.maximum(part.var(axis=0), 1e-10)
            out[t] = out[t] / np.sqrt(variance) if len(part) > 1 else 0
    return out


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("norm_vars", [True, False])
@pytest.mark.parametrize(("window", "min_window"), [(1, 1), (7, 3), (8, 20), (30, 1), (500, 100)])
def test_padded_batches_equal_the_definition(window, min_window, center, norm_vars):
    rng = np.random.default_rng(window)
    lengths = [25, 1, 60, 13]
    x = 1000 + rng.standard_normal((4, 60, 2))
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    got = sliding_cmvn(
        torch.from_numpy(x), torch.tensor(lengths), window, min_window, center=center, norm_vars=norm_vars
    )
    for row, length in enumerate(lengths):
        expected = slow_sliding(x[row, :length], window, min_window, center, norm_vars)
        np.testing.assert_allclose(got[row, :length], expected, atol=1e-6)


def test_no_frames():
    assert sliding_cmvn(torch.zeros(2, 0, 3)).shape == (2, 0, 3)


def test_a_speaker_is_the_sum_of_the_utterances():
    rng = np.random.default_rng(0)
    parts = [3 + 2 * rng.standard_normal((frames, 4)).astype(np.float32) for frames in (5, 1, 30)]
    together = np.concatenate(parts).astype(float)
    stats = sum(cmvn_stats(part) for part in parts)
    np.testing.assert_allclose(stats, cmvn_stats(together))
    means_only = apply_cmvn(parts[2], stats)
    np.testing.assert_allclose(means_only, parts[2] - together.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(apply_cmvn(parts[2], stats, True), means_only / together.std(axis=0), atol=1e-5)
    # A dimension that never changes has no variance to divide by.
    assert np.isfinite(apply_cmvn(np.ones((3, 4), np.float32), cmvn_stats(np.ones((3, 4))), True)).all()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(VouchError, match="at least one frame, not 0 and 100"):
        sliding_cmvn(torch.zeros(1, 3, 2), window=0)
    with pytest.raises(VouchError, match=r"statistics of shape \(2, 4\) are not for features of 4 dimensions"):
        apply_cmvn(np.zeros((2, 4)), cmvn_stats(np.zeros((2, 3))))
    with pytest.raises(VouchError, match="no frames"):
        apply_cmvn(np.zeros((2, 3)), np.zeros((2, 4)))
