"""Training checkpoints."""

import os
import resource

import pytest
import torch
from corpus import tiny_encoder

from vouch.base.errors import VouchError
from vouch.encoder import load_encoder
from vouch.losses import LOSSES
from vouch.training.checkpoint import (
    Progress,
    TrainingState,
    read_final,
    read_fingerprint,
    restore_checkpoint,
    save_checkpoint,
)
from vouch.training.setup import build_optimizer
from vouch.training.train_options import TrainOptions


def make_state(seed, loss="aamsoftmax"):
    """A state after two steps, so that the optimizer has a memory."""
    encoder = tiny_encoder("lstm", seed=seed).train()
    criterion = LOSSES[loss](8, 4)
    options = TrainOptions(learning_rate=0.01 * (seed + 1))
    optimizer = build_optimizer(encoder, criterion, options, torch.device("cpu"))
    state = TrainingState(encoder, criterion, optimizer)
    for _ in range(2):
        learn(state)
    return state


def learn(state):
    torch.manual_seed(3)
    utterances = state.loss.utterances_per_speaker
    features = torch.randn(4 * utterances, 20, 8)
    result = state.loss(state.encoder(features), torch.arange(4).repeat_interleave(utterances))
    state.optimizer.zero_grad()
    result.loss.backward()
    state.optimizer.step()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_restored_state_goes_on_as_the_saved_one(tmp_path, loss):
    """Weights and optimizer: the next steps are the same to the last bit."""
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


BROKEN = {
    "fingerprint": [None],
    "progress": [None, 5, {}, {"epoch": "3"}, {"epoch": -1}, {"epochs": 3}, {"loss_sum": float("nan")}, {"history": 5}],
    "optimizer": [None, {}, [], {"state": {}, "param_groups": []}, {"state": 5, "param_groups": None}],
    "encoder": [None, {}, {"weights": {}}, {"weights": 5}],
    "loss": [None, {}, {"weight": torch.zeros(3, 3)}],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BROKEN.items() for value in values])
def test_a_checkpoint_with_a_broken_field_is_one_line(tmp_path, field, value):
    state, path = make_state(0), tmp_path / "last.pt"
    save_checkpoint(state, "abc", path)
    content = torch.load(path, weights_only=True)
    content[field] = content[field] | value if field == "progress" and isinstance(value, dict) and value else value
    changed = {name: field_value for name, field_value in content.items() if not (name == field and value is None)}
    for broken in (content, changed):  # of a wrong type, and missing
        torch.save(broken, path)
        with pytest.raises(
            VouchError, match=r"last\.pt: damaged, or of another version of Vouch.*; remove it to train"
        ):
            read_fingerprint(path)
            restore_checkpoint(make_state(1), path)


def test_the_memory_of_an_optimizer_for_other_parameters_is_refused(tmp_path):
    state, path = make_state(0), tmp_path / "last.pt"
    save_checkpoint(state, "abc", path)
    for spoil in (
        lambda first: first.update(exp_avg=torch.zeros(2, 2)),
        lambda first: first.pop("exp_avg"),
    ):
        content = torch.load(path, weights_only=True)
        spoil(next(iter(content["optimizer"]["state"].values())))
        torch.save(content, tmp_path / "broken.pt")
        with pytest.raises(VouchError, match=r"broken\.pt: damaged, or of another version .*its optimizer"):
            restore_checkpoint(make_state(1), tmp_path / "broken.pt")


def test_an_older_checkpoint_with_the_states_of_generators_is_read(tmp_path):
    """Of a GPU too, where there is none."""
    path = tmp_path / "last.pt"
    save_checkpoint(make_state(0), "abc", path)
    content = torch.load(path, weights_only=True)
    older = {"rng": torch.get_rng_state(), "cuda_rng": [torch.zeros(16, dtype=torch.uint8)] * 64}
    torch.save(content | older, path)
    state, before = make_state(1), torch.get_rng_state()
    restore_checkpoint(state, path)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in make_state(0).encoder.state_dict().items():
        assert torch.equal(state.encoder.state_dict()[name], value)


def test_a_restored_learning_rate_is_the_tensor_that_steps_read(tmp_path):
    """Also from a checkpoint of before, where it is a plain number."""
    path = tmp_path / "last.pt"
    save_checkpoint(make_state(0), "abc", path)
    content = torch.load(path, weights_only=True)
    for group in content["optimizer"]["param_groups"]:
        group["lr"] = float(group["lr"])
        group["fused"] = True  # as on a GPU
    torch.save(content, tmp_path / "older.pt")
    for name in ("last.pt", "older.pt"):
        state = make_state(1)
        rates = [group["lr"] for group in state.optimizer.param_groups]
        restore_checkpoint(state, tmp_path / name)
        for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
            assert group["lr"] is rate and rate.dtype == torch.float64 and rate == 0.01
            assert not group["fused"]


def test_a_final_model_is_read_with_its_provenance(tmp_path):
    path = tmp_path / "final.pt"
    assert read_final(path) is None
    for content in (b"", b"damaged"):
        path.write_bytes(content)
        assert read_final(path) is None
    state = tiny_encoder().state()
    torch.save(state, path)
    assert read_final(path) == {}
    torch.save({**state, "provenance": {"fingerprint": "abc"}}, path)
    assert read_final(path) == {"fingerprint": "abc"}
    torch.save({**state, "weights": {}}, path)
    assert read_final(path) is None
