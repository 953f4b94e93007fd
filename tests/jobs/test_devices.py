"""Which device a script computes on."""

import pytest
import torch

from vouch.base.errors import VouchError
from vouch.jobs.devices import pick_device


@pytest.mark.parametrize("name", ["gpu", "cudaa", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(VouchError, match=f"unknown device '{name}'"):
        pick_device(name)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(VouchError, match="--device cuda: torch finds no GPU here"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")


@pytest.fixture
def three_gpus(monkeypatch):
    """A machine with three GPUs, to all appearance."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_jobs_take_gpus_in_turn(three_gpus, name):
    found = [pick_device(name, f"{job}/7") for job in range(1, 8)]
    assert found == [torch.device("cuda", number) for number in (0, 1, 2, 0, 1, 2, 0)]
    assert pick_device("cpu", "2/7") == torch.device("cpu")
    assert pick_device(name) == torch.device("cuda")


def test_one_of_several_gpus(three_gpus, monkeypatch):
    assert pick_device("cuda:2") == pick_device("cuda:2", "1/4") == torch.device("cuda:2")
    with pytest.raises(VouchError, match="--device cuda:3: the GPUs here are cuda:0 to cuda:2"):
        pick_device("cuda:3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(VouchError, match="--device cuda:1: torch finds no GPU here"):
        pick_device("cuda:1")
    assert pick_device("auto", "2/4") == torch.device("cpu")
