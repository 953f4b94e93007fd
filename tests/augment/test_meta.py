"""The input pipeline on torch's meta device, which has no data: whatever waits for the device, or forgets it, fails.

`.item()`, `bool()` and copies to the CPU are errors of the meta device itself. Tensors on the CPU are looked for in the
arguments and results of all operations, since an index, for one, may lie on the CPU: it would be copied, with a wait.
"""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vouch.augment import EFFECTS, FROM_BANK
from vouch.augment.bank import Bank, Places
from vouch.augment.base import as_tensors
from vouch.augment.config import AugmentConfig
from vouch.features import FEATURES

META, RATE, ROWS, SAMPLES = torch.device("meta"), 16000, 8, 8000
LENGTHS = np.array([900, 4000, 12_000])

ON_DEVICE = {name: kind for name, kind in EFFECTS.items() if not kind.is_offline}


class OnMetaOnly(TorchDispatchMode):
    """Looks at the tensors of all operations."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device == META, f"{func} has a tensor on the {leaf.device}"
        return result


@pytest.fixture
def bank():
    places = Places(list("abc"), np.cumsum(LENGTHS) - LENGTHS, LENGTHS, np.array([0.1, 0.2, 0.3]))
    samples = torch.empty(int(LENGTHS.sum()), dtype=torch.int16, device=META)
    return Bank(samples, dict.fromkeys(("noise", "music", "speech", "room"), places), RATE)


def test_what_is_looked_for_is_found():
    on_meta, on_cpu = torch.ones(3, device=META), torch.tensor([0, 2])
    with OnMetaOnly(), pytest.raises(AssertionError, match="on the cpu"):
        on_meta[on_cpu]
    with OnMetaOnly(), pytest.raises(AssertionError, match="on the cpu"):
        on_cpu.to(META)
    with OnMetaOnly(), pytest.raises(RuntimeError):
        on_meta.sum().item()
    with OnMetaOnly(), pytest.raises((RuntimeError, NotImplementedError)):
        assert on_meta.any()


@pytest.mark.parametrize("name", ON_DEVICE)
def test_every_effect(name, bank):
    effect = EFFECTS[name](*([bank] if name in FROM_BANK else []), **EFFECTS[name].tiny)
    drawn = as_tensors(effect.draw(np.random.default_rng(0), ROWS, SAMPLES))
    drawn = {key: value.to(META) for key, value in drawn.items()}
    waves = torch.empty(ROWS, SAMPLES, device=META)
    effect.apply(waves, drawn)  # tables are copied to a device once
    with OnMetaOnly():
        found = effect.apply(waves, drawn)
    assert found.shape == (ROWS, SAMPLES) and found.dtype == torch.float32


@pytest.mark.parametrize("name", FEATURES)
def test_from_the_crop_to_masked_features(name, bank):
    """A tree of all effects, speeds, a front end and masks."""
    effects = [{effect: dict(kind.tiny)} for effect, kind in ON_DEVICE.items()]
    config = AugmentConfig(
        speed={"factors": [1.0, 0.9, 1.1], "as_speakers": True},
        waveform={"sequence": [{"one_of": ["none", *effects]}, *effects]},
        features={},
    )
    augmentation = config.build(bank, RATE)
    front_end = FEATURES[name](sample_rate=RATE).to(META)
    shape = (front_end.output_length(SAMPLES), *front_end.step_shape)
    labels = np.arange(200) % 40
    plan, classes = augmentation.plan(np.random.default_rng(0), labels, SAMPLES, shape, 40)
    assert len(np.unique(classes)) == 40 and set(classes // 40) == {0, 1, 2}
    plan = plan.to(META)
    crops = torch.empty(200, augmentation.samples_needed(SAMPLES), dtype=torch.int16, device=META)

    def whole():
        waves = augmentation.change_waves(crops.float() / 32768, plan, SAMPLES)
        return augmentation.mask(front_end(waves), plan)

    whole()  # tables are copied to a device once
    with OnMetaOnly():
        found = whole()
    assert found.shape == (200, *shape)
