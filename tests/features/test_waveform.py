"""The waveform as a feature."""

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.features import build_feature, resolve_feature
from vouch.features.compute import compute


@pytest.mark.parametrize("length", [0, 1, 2, 16000])
def test_it_is_the_samples(length):
    feature = build_feature({"type": "waveform"})
    waves = torch.randn(3, length, generator=torch.Generator().manual_seed(length))
    features = feature(waves)
    assert features.shape == (3, feature.num_frames(length), feature.dim) == (3, length, 1)
    assert torch.equal(features.squeeze(-1), waves)


def test_extraction_refuses_only_an_empty_one():
    feature = build_feature({"type": "waveform"})
    assert compute(feature, np.array([0.5, -1], np.float32)).tolist() == [[0.5], [-1]]
    with pytest.raises(VouchError, match="shorter than one frame"):
        compute(feature, np.zeros(0, np.float32))


def test_the_rate_is_its_only_option():
    assert resolve_feature({"type": "waveform"}) == {"type": "waveform", "sample_rate": 16000, "channel": "mean"}
    assert build_feature({"type": "waveform", "sample_rate": 8000}).sample_rate == 8000
    assert not build_feature({"type": "waveform"}).state_dict()
    with pytest.raises(VouchError, match="sample_rate must be from 1 to 1000000 Hz, not 0"):
        build_feature({"type": "waveform", "sample_rate": 0})
    with pytest.raises(VouchError, match="unknown option 'num_mel_bins'"):
        build_feature({"type": "waveform", "num_mel_bins": 40})
