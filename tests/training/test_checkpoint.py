"""Training checkpoints."""

import os
import resource

import pytest
import torch
from corpus import tiny_encoder

from vouch.encoder import load_encoder
from vouch.errors import VouchError
from vouch.losses import LOSSES
from vouch.training.checkpoint import Progress, TrainingState, read_fingerprint, restore_checkpoint, save_checkpoint


def make_state(seed, loss="aamsoftmax"):
    """A state after two steps, so that the optimizer has a memory."""
    encoder = tiny_encoder("lstm", seed=seed).train()
    criterion = LOSSES[loss](8, 4)
    optimizer = torch.optim.Adam([*encoder.parameters(), *criterion.parameters()], 0.01 * (seed + 1))
    state = TrainingState(encoder, criterion, optimizer)
    for _ in range(2):
        learn(state)
    return state


def learn(state):
    utterances = state.loss.utterances_per_speaker
    features = torch.randn(4 * utterances, 20, 8)
    result = state.loss(state.encoder(features), torch.arange(4).repeat_interleave(utterances))
    state.optimizer.zero_grad()
    result.loss.backward()
    state.optimizer.step()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_restored_state_goes_on_as_the_saved_one(tmp_path, loss):
    """Weights, optimizer and random numbers: the next steps are the same to the last bit."""
    state = make_state(0, loss)
    state.progress = Progress(3, 5, 1.25, 7.0, 40, 0.125, 2)
    save_checkpoint(state, "abc", tmp_path / "last.pt")
    learn(state)
    other = make_state(1, loss)
    restore_checkpoint(other, tmp_path / "last.pt")
    learn(other)
    assert other.progress == Progress(3, 5, 1.25, 7.0, 40, 0.125, 2)
    for found, expected in ((other.encoder, state.encoder), (other.loss, state.loss)):
        for name, value in expected.state_dict().items():
            assert torch.equal(found.state_dict()[name], value), name
    assert other.optimizer.param_groups[0]["lr"] == 0.01


def test_a_checkpoint_holds_an_encoder_for_inference(tmp_path):
    state = make_state(0)
    save_checkpoint(state, "abc", tmp_path / "last.pt")
    x = torch.randn(2, 30, 8)
    with torch.inference_mode():
        assert torch.equal(load_encoder(tmp_path / "last.pt")(x), state.encoder.eval()(x))


def test_fingerprints(tmp_path):
    assert read_fingerprint(tmp_path / "last.pt") == ""
    save_checkpoint(make_state(0), "abc", tmp_path / "last.pt")
    assert read_fingerprint(tmp_path / "last.pt") == "abc"
    torch.save(tiny_encoder().state(), tmp_path / "final.pt")
    with pytest.raises(VouchError, match=r"final\.pt: not a training checkpoint of Vouch \(vouch-training-1\)"):
        read_fingerprint(tmp_path / "final.pt")
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:999])
    with pytest.raises(VouchError, match=r"last\.pt: not readable as a checkpoint"):
        read_fingerprint(tmp_path / "last.pt")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(make_state(0), "old", path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    state = make_state(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(state, "new", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]
