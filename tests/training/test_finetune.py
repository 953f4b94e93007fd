"""Starting from a trained network."""

from dataclasses import replace

import pytest
import torch
from corpus import TINY, tiny_encoder, write_features
from runs import make_run

from vouch.base.errors import VouchError
from vouch.base.torchfile import load_torch
from vouch.encoder import save_encoder
from vouch.features.config import FrontEndConfig
from vouch.losses import LOSSES
from vouch.losses.config import LossConfig
from vouch.training.checkpoint import TrainingState, save_checkpoint
from vouch.training.config import resolve_config
from vouch.training.finetune import check_features, configure, load_start, transfer_loss

OLD, NEW = ["s0", "s1", "s3", "s4"], ["s1", "s2", "s4"]


def checkpoint(path, loss="aamsoftmax", speakers=OLD):
    """Write a training checkpoint with random weights and return its state."""
    torch.manual_seed(5)
    encoder = tiny_encoder("xvector", seed=3)
    criterion = LossConfig.from_dict({"name": loss}).build(encoder.embedding_dim, len(speakers))
    state = TrainingState(encoder, criterion, torch.optim.Adam(encoder.parameters()), loss, speakers)
    save_checkpoint(state, "f", path)
    return state


@pytest.mark.parametrize("name", [*LOSSES, "aamsoftmax+angleproto"])
def test_rows_of_the_same_speakers_are_kept(tmp_path, name):
    state = checkpoint(tmp_path / "last.pt", name)
    torch.manual_seed(77)
    loss = LossConfig.from_dict({"name": name}).build(8, len(NEW))
    fresh = {key: value.clone() for key, value in loss.state_dict().items()}
    told = transfer_loss(load_start(tmp_path / "last.pt"), loss, name, NEW)
    assert told == "the loss keeps its rows for 2 of 3 speakers"
    old = state.loss.state_dict()
    for key, value in loss.state_dict().items():
        if value.ndim == 0:
            assert value == old[key]
            continue
        each = len(value) // len(NEW)
        assert len(old[key]) == each * len(OLD)
        for label, speaker in enumerate(NEW):
            rows = slice(label * each, (label + 1) * each)
            if speaker in OLD:
                before = OLD.index(speaker) * each
                assert torch.equal(value[rows], old[key][before : before + each])
            else:
                assert torch.equal(value[rows], fresh[key][rows])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("softmax", "the loss starts afresh: softmax, where the file has aamsoftmax"),
        ("aamsoftmax", "the file holds only"),
    ],
)
def test_another_loss_or_none_starts_afresh(tmp_path, name, told):
    state = checkpoint(tmp_path / "model.pt")
    if name == "aamsoftmax":
        save_encoder(state.encoder, tmp_path / "model.pt")
    loss = LossConfig.from_dict({"name": name}).build(8, 3)
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    assert told in transfer_loss(load_start(tmp_path / "model.pt"), loss, name, NEW)
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_other_numbers_of_subcentres_start_afresh(tmp_path):
    checkpoint(tmp_path / "last.pt", "subcenter_aamsoftmax")
    loss = LossConfig.from_dict({"name": "subcenter_aamsoftmax", "subcenters": 2}).build(8, 3)
    before = loss.weight.detach().clone()
    transfer_loss(load_start(tmp_path / "last.pt"), loss, "subcenter_aamsoftmax", NEW)
    assert torch.equal(loss.weight, before)


def test_the_network_is_that_of_the_file(tmp_path):
    checkpoint(tmp_path / "last.pt")
    start = load_start(tmp_path / "last.pt")
    config = configure(start, resolve_config({"model": "lstm", "normalization": "meanvar"}, {}), {})
    assert config.network == start.encoder.config.network and config.normalization == "mean"
    assert config.train == resolve_config({}, {}).train
    same = {"model": "xvector", "model.embedding_dim": "8", "train.epochs": "3"}
    configure(start, resolve_config({"model": TINY["xvector"]}, same), same)
    for over, message in (
        ({"model": "lstm"}, "has model xvector, not lstm; leave --model out"),
        ({"model": "xvector", "model.embedding_dim": "9"}, "has model.embedding_dim 8, not 9"),
        ({"normalization": "none"}, "has normalization mean, not none"),
    ):
        with pytest.raises(VouchError, match=message):
            configure(start, resolve_config({}, over), over)


def test_features_that_do_not_fit_are_refused(tmp_path):
    checkpoint(tmp_path / "last.pt")
    start = load_start(tmp_path / "last.pt")
    check_features(start, 8, None, tmp_path)
    with pytest.raises(VouchError, match=r"last\.pt: takes 8 dimensions, the features have 9"):
        check_features(start, 9, None, tmp_path)
    start.encoder.config = replace(start.encoder.config, front_end=FrontEndConfig("fbank", {"num_mel_bins": 8}))
    check_features(start, 8, FrontEndConfig("fbank", {"num_mel_bins": 8}), tmp_path)
    with pytest.raises(
        VouchError, match=r"feature\.yaml: type is logmel, the model was trained with fbank; rerun stage 1"
    ):
        check_features(start, 8, FrontEndConfig("logmel", {"num_mel_bins": 8}), tmp_path)


def make(tmp_path, name, start=None, loss="aamsoftmax", **train):
    write_features(tmp_path / "set")
    train = {"epochs": 1, "batch_size": 8, "crop_seconds": 0.2, "freeze": [], **train}
    config = resolve_config({"model": TINY["xvector"], "loss": loss, "train": train}, {})
    return make_run(config, tmp_path / "set", None, tmp_path / name, start=start)


def test_fine_tuning_begins_where_training_ended(tmp_path):
    first = make(tmp_path, "first", epochs=3)
    first()
    start = load_start(tmp_path / "first/checkpoints/last.pt")
    second = make(tmp_path, "second", start)
    ours, theirs = second.training.state, first.training.state
    for one, other in ((ours.encoder, theirs.encoder), (ours.loss, theirs.loss)):
        for key, value in other.state_dict().items():
            assert torch.equal(one.state_dict()[key], value), key
    second()
    assert second.lines[1].endswith("last.pt: the loss keeps its rows for 4 of 4 speakers")
    assert ours.progress.epoch == 1


def test_frozen_modules_stay_to_the_last_bit(tmp_path):
    run = make(tmp_path, "exp", freeze=["frame1", "frame2.conv"], epochs=2)
    before = {key: value.clone() for key, value in run.training.state.encoder.model.state_dict().items()}
    run()
    changed = {
        key
        for key, value in run.training.state.encoder.model.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert {"frame2.bn.running_mean", "frame3.conv.weight", "segment6.weight"} <= changed
    assert not {key for key in changed if key.startswith(("frame1.", "frame2.conv."))}


def test_freezing_what_is_not_there_or_everything_is_refused(tmp_path):
    with pytest.raises(
        VouchError, match=r"train.freeze: the network has no module 'segment7' \(did you mean 'segment6'"
    ):
        make(tmp_path, "exp", freeze=["segment7"])
    with pytest.raises(VouchError, match=r"train\.freeze leaves nothing to train"):
        make(tmp_path, "exp", loss="proto", freeze=[*(f"frame{n}" for n in range(1, 6)), "segment6"])


def test_trunk_and_head_have_rates_of_their_own(tmp_path):
    run = make(tmp_path, "exp", trunk_rate=0.1, optimizer="sgd", clip_norm=0.0, warmup=0.0)
    trunk, head = run.training.state.optimizer.param_groups
    assert {id(p) for p in trunk["params"]} == {id(p) for p in run.training.state.encoder.parameters()}
    assert {id(p) for p in head["params"]} == {id(p) for p in run.training.state.loss.parameters()}
    run()
    assert float(trunk["lr"]) == pytest.approx(0.1 * float(head["lr"])) and head["lr"] > 0


def test_checkpoints_name_the_loss_and_its_speakers(tmp_path):
    make(tmp_path, "exp")()
    content = load_torch(tmp_path / "exp/checkpoints/last.pt")
    assert (content["loss_name"], content["speakers"]) == ("aamsoftmax", ["s0", "s1", "s2", "s3"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss", [1]), ("loss", None), ("loss", {"weight": "x"}), ("speakers", 5), ("speakers", [[1]]), ("loss_name", 3)],
)
def test_a_damaged_loss_is_one_line(tmp_path, field, value):
    checkpoint(tmp_path / "last.pt")
    content = load_torch(tmp_path / "last.pt")
    torch.save({**content, field: value}, tmp_path / "last.pt")
    with pytest.raises(VouchError, match=r"last\.pt: its loss or its speakers are damaged.*; start from the final\.pt"):
        load_start(tmp_path / "last.pt")


def test_a_loss_of_other_sizes_is_left_out(tmp_path):
    checkpoint(tmp_path / "last.pt")
    content = load_torch(tmp_path / "last.pt")
    for loss in ({"weight": torch.zeros(5)}, {"weight": torch.zeros(())}, {"weight": torch.zeros(0, 8)}):
        torch.save({**content, "loss": loss, "speakers": []}, tmp_path / "last.pt")
        fresh = LossConfig.from_dict({"name": "aamsoftmax"}).build(8, len(NEW))
        before = {name: value.clone() for name, value in fresh.state_dict().items()}
        transfer_loss(load_start(tmp_path / "last.pt"), fresh, "aamsoftmax", NEW)
        assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())
