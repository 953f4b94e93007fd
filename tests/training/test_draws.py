"""Seeds of the random draws."""

from itertools import product

from vouch.training.draws import step_seed


def test_every_step_has_a_seed_of_its_own():
    places = list(product(range(3), range(20), range(20)))
    seeds = [step_seed(*place) for place in places]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert [step_seed(*place) for place in places] == seeds


def test_seeds_stay_what_they_are():
    """They are part of the results that are published with a seed."""
    assert step_seed(0, 0, 0) == 16814875612303392341
    assert step_seed(2**62, 40, 12345) == 2887221407422763927
