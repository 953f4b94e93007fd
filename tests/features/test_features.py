"""What every front end in the table promises."""

import pytest
import torch

from vouch.base.errors import VouchError
from vouch.features import FEATURES
from vouch.features.config import FrontEndConfig


def tiny(name):
    """Its configuration in the size that its class declares."""
    return {"type": name, **vars(FEATURES[name])["tiny"]}


@pytest.fixture(params=FEATURES)
def feature(request):
    return FrontEndConfig.from_dict(tiny(request.param)).build()


def waves(rows, samples):
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("samples", [1, 79, 500, 1999, 4000])
def test_frames_are_as_many_as_told(feature, samples):
    features = feature(waves(3, samples))
    assert features.shape == (3, feature.output_length(samples), *feature.step_shape)
    assert features.dtype == torch.float32 and features.isfinite().all()


def test_an_utterance_does_not_see_the_others(feature):
    batch = waves(4, 3000)
    torch.testing.assert_close(feature(batch)[1:2], feature(batch[1:2]))
    assert (feature(batch)[0] - feature(batch)[1]).abs().max() > 1e-3


def test_silence_stays_finite(feature):
    assert feature(torch.zeros(1, 4000)).isfinite().all()


def test_input_stays_as_it_is(feature):
    batch = waves(2, 2000)
    before = batch.clone()
    feature(batch)
    assert torch.equal(batch, before)


def test_nothing_is_stored_with_a_model(feature):
    assert not feature.state_dict() and not list(feature.parameters())


@pytest.mark.parametrize("name", FEATURES)
def test_configurations(name):
    resolved = FrontEndConfig.from_dict(tiny(name))
    assert FrontEndConfig.from_dict(resolved.as_dict()) == resolved
    assert resolved.build().sample_rate == resolved.sample_rate
    with pytest.raises(VouchError, match=rf"'sample_rat' of feature '{name}' \(did you mean 'sample_rate'\?\)"):
        FrontEndConfig.from_dict({**tiny(name), "sample_rat": 8000}).build()
