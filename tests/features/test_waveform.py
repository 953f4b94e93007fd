"""The front end that leaves waveforms as they are."""

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig


@pytest.mark.parametrize("length", [0, 1, 2, 16000])
def test_it_is_the_samples(length):
    feature = FrontEndConfig.from_dict({"type": "waveform"}).build()
    waves = torch.randn(3, length, generator=torch.Generator().manual_seed(length))
    features = feature(waves)
    assert features.shape == (3, feature.output_length(length)) == (3, length)
    assert torch.equal(features, waves)


def test_extraction_refuses_only_an_empty_one():
    feature = FrontEndConfig.from_dict({"type": "waveform"}).build()
    assert compute(feature, np.array([0.5, -1], np.float32)).tolist() == [0.5, -1]
    with pytest.raises(VouchError, match="shorter than one frame"):
        compute(feature, np.zeros(0, np.float32))


def test_the_rate_is_its_only_option():
    assert FrontEndConfig("waveform").as_dict() == {"type": "waveform", "sample_rate": 16000, "channel": "mean"}
    assert FrontEndConfig.from_dict({"type": "waveform", "sample_rate": 8000}).build().sample_rate == 8000
    assert not FrontEndConfig.from_dict({"type": "waveform"}).build().state_dict()
    with pytest.raises(VouchError, match="sample_rate must be from 1 to 1000000 Hz, not 0"):
        FrontEndConfig.from_dict({"type": "waveform", "sample_rate": 0}).build()
    with pytest.raises(VouchError, match="unknown option 'num_mel_bins'"):
        FrontEndConfig.from_dict({"type": "waveform", "num_mel_bins": 40}).build()
