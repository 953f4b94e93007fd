"""Learning rates and margins over the training."""

import math

import numpy as np
import pytest

from vouch.training.schedule import MARGIN_RAMPS, SCHEDULES, learning_rate_factor, margin_share


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
def test_a_linear_rise_and_then_never_up_again(schedule, warmup):
    progress = np.linspace(0, 1, 2001)
    factors = np.array([learning_rate_factor(schedule, warmup, float(done)) for done in progress])
    rising = progress < warmup
    np.testing.assert_allclose(factors[rising], progress[rising] / max(warmup, 1e-9), atol=1e-12)
    assert (np.diff(factors[~rising]) <= 1e-12).all()
    assert factors[~rising][0] == pytest.approx(1.0, abs=1e-5)
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.01)
    assert (factors >= 0).all()


@pytest.mark.parametrize("done", [0.2, 0.36, 0.6, 0.9])
def test_the_cosine_after_a_warm_up(done):
    rest = (done - 0.2) / 0.8
    expected = 0.01 + 0.99 * (1 + math.cos(math.pi * rest)) / 2
    assert learning_rate_factor("cosine", 0.2, done) == pytest.approx(expected)


def test_ten_steps_of_equal_ratio():
    factors = [learning_rate_factor("step", 0.0, (number + 0.5) / 10) for number in range(10)]
    np.testing.assert_allclose(np.array(factors[1:]) / factors[:-1], 0.01 ** (1 / 9))
    assert (factors[0], factors[-1]) == (1.0, pytest.approx(0.01))
    assert learning_rate_factor("step", 0.0, 0.1999) == pytest.approx(factors[1])


@pytest.mark.parametrize("schedule", MARGIN_RAMPS)
def test_a_margin_rises_over_its_ramp_only(schedule):
    shares = [margin_share(schedule, 0.2, 0.6, done) for done in np.linspace(0, 1, 1001)]
    assert set(shares[:200]) == {0.0} and set(shares[600:]) == {1.0}
    assert (np.diff(shares[200:601]) > 0).all()
    assert margin_share("constant", 0.2, 0.6, 0.0) == 1.0


@pytest.mark.parametrize("done", [0.0, 0.25, 0.5, 0.75])
def test_the_ramps_by_their_formulae(done):
    assert margin_share("linear", 0.2, 0.6, 0.2 + 0.4 * done) == pytest.approx(done)
    # WeSpeaker's: between epochs 20 and 40 of 150.
    exponential = margin_share("exponential", 20 / 150, 40 / 150, (20 + 20 * done) / 150)
    assert exponential == pytest.approx(1 - 0.001**done, abs=1e-9)
