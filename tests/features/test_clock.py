"""Seconds in frames and in samples."""

import pytest
from corpus import tiny_encoder

from vouch.base.errors import VouchError
from vouch.features import FEATURES
from vouch.features.clock import Clock, clock_of
from vouch.features.config import FrontEndConfig


def test_frames_and_samples():
    assert clock_of(None) == clock_of(FrontEndConfig("fbank")) == Clock("frames", 100.0)
    assert clock_of(FrontEndConfig("mfcc", {"frame_shift": 12.5})) == Clock("frames", 80.0)
    assert clock_of(FrontEndConfig("waveform")) == Clock("samples", 16000.0)
    assert clock_of(FrontEndConfig("waveform", {"sample_rate": 8000})).count(1.5) == 12000


@pytest.mark.parametrize("name", FEATURES)
def test_as_many_as_the_front_end_makes_in_a_minute(name):
    config = FrontEndConfig(name)
    front_end, rate = config.build(), config.sample_rate
    made = front_end.output_length(61 * rate) - front_end.output_length(rate)
    assert made == clock_of(config).count(60)


def test_to_the_nearest_and_back():
    clock = Clock("frames", 100.0)
    assert [clock.count(seconds) for seconds in (0.0, 0.004, 0.006, 1.15, 2.675)] == [0, 0, 1, 115, 268]
    assert all(clock.count(clock.seconds(steps)) == steps for steps in range(1000))


def test_what_a_message_tells_is_enough():
    for clock in (
        Clock("frames", 100.0),
        Clock("samples", 16000.0),
        Clock("samples", 22050.0),
        Clock("frames", 1000 / 11.6),
    ):
        for steps in (1, 15, 541, 2646, 1_000_001):
            told = clock.seconds_needed(steps)
            assert clock.count(told) >= steps
            assert told - 1e-4 < steps / clock.per_second + 1e-9


def test_frames_that_are_not_apart_are_refused():
    with pytest.raises(VouchError, match="frame_shift must be positive, not 0"):
        clock_of(FrontEndConfig("fbank", {"frame_shift": 0}))


def test_an_encoder_of_waveforms_counts_samples_whether_its_front_end_was_named_or_not():
    assert tiny_encoder("sinctdnn").clock.unit == tiny_encoder("rawnet3").clock.unit == "samples"
    assert tiny_encoder("xvector").clock == Clock("frames", 100.0)
