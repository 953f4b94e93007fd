"""Training runs from beginning to end, interrupted and not."""

import os
import re
import signal

import numpy as np
import pytest
import torch
import yaml
from corpus import TINY, TINY_BINS, read_features, tiny_encoder, write_all_trials, write_features
from runs import make_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vouch.base.errors import VouchError
from vouch.base.torchfile import load_torch
from vouch.encoder import load_encoder
from vouch.kaldi.tables import read_table, write_table
from vouch.losses import LOSSES
from vouch.models import MODELS
from vouch.training import loop
from vouch.training.config import resolve_config
from vouch.training.loop import Interrupted
from vouch.training.record import BATCHES_BETWEEN_READINGS
from vouch.training.step import train_step
from vouch.training.validation import ValidationSet

# Enough for each network to tell four speakers apart.
EPOCHS = {"lstm": 30, "resnetse34": 24, "resnetse34v2": 24, "res2netse34": 40, "ecapa_tdnn": 24, "campplus": 24}
# Those that take features of the dimension and the length that the sets here have.
TRAINABLE = [name for name in MODELS if TINY_BINS[name] == 8 and MODELS[name].input_kind == "features"]
SHORT = {"epochs": 3, "batch_size": 8, "crop_seconds": 0.2}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Four speakers; other utterances of the same ones for validation, so that a short training is enough."""
    folder = tmp_path_factory.mktemp("sets")
    write_features(folder / "train")
    write_features(folder / "valid", utterances=range(6, 10))
    write_all_trials(folder / "valid")
    return folder


def make(sets, exp, valid=True, model="lstm", loss="softmax", should_stop=lambda: False, **train):
    """Return a training that can be run and the list that its log lines are appended to."""
    config = resolve_config({"model": TINY[model], "loss": loss, "train": {**SHORT, **train}}, {})
    run = make_run(config, sets / "train", sets / "valid" if valid else None, exp, should_stop=should_stop)
    return run, run.lines


def stop_after(batches):
    """Return a function that asks to stop once, after so many batches."""
    left = iter(range(batches, -1, -1))
    next(left)
    return lambda: next(left, 1) == 0


def untimed(lines):
    """Log lines of epochs without speeds, which no two runs share."""
    return [re.sub(r"\d+ utt/s, waiting for data \d+ %", "", line) for line in lines if line.startswith("epoch")]


def losses(lines):
    return [float(re.search(r"loss ([\d.]+)", line)[1]) for line in lines if line.startswith("epoch")]


def assert_same_state(found, expected, where="state"):
    """Compare two checkpoints to the last bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same_state(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for row, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same_state(one, other, f"{where}.{row}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


@pytest.mark.parametrize(
    ("model", "loss"),
    [*((model, "softmax") for model in TRAINABLE), *(("xvector", loss) for loss in LOSSES if loss != "softmax")],
)
def test_every_network_and_every_loss_learns(sets, tmp_path, model, loss):
    epochs = EPOCHS.get(model, 12)
    run, lines = make(sets, tmp_path, model=model, loss=loss, epochs=epochs, learning_rate=0.02)
    untrained = run.training.valid.eer(run.training.state.encoder.eval())
    final = run()
    assert losses(lines)[-1] < 0.5 * losses(lines)[0]
    eer = ValidationSet(sets / "valid").eer(load_encoder(final))
    # Some networks tell the four speakers apart before they have learnt anything.
    assert eer < 0.05 and eer < untrained + 0.01
    assert f"validation EER {100 * eer:.2f} % (best {100 * eer:.2f} %)" in "\n".join(lines)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "schedule": "step", "learning_rate": 0.3},
        {"precision": "bfloat16", "learning_rate": 0.02},
        {"clip_norm": 0.0, "schedule": "constant", "learning_rate": 0.01},
    ],
)
def test_other_ways_to_train_learn_too(sets, tmp_path, options):
    run, lines = make(sets, tmp_path, model="xvector", epochs=12, **options)
    run()
    assert losses(lines)[-1] < 0.7 * losses(lines)[0]


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("aamsoftmax", {"sampler": "speakers", "batch_size": 4, "epochs": 40}),
        ("ge2e", {"sampler": "speakers", "batch_size": 16, "epochs": 40}),
        ("softmax", {"sampler": "duration", "epoch_days": 640 / 8640000, "crops_per_utterance": 2, "epochs": 12}),
        ("angleproto", {"sampler": "duration", "crops_per_utterance": 2, "epochs": 12}),
        ("aamsoftmax", {"margin_schedule": "exponential", "margin_begin": 0.3, "margin_end": 0.6, "epochs": 12}),
        ("softmax+angleproto", {"epochs": 12}),
    ],
)
def test_samplers_margin_schedules_and_sums_learn(sets, tmp_path, loss, options):
    run, lines = make(sets, tmp_path, model="xvector", loss=loss, learning_rate=0.02, **options)
    final = run()
    assert ValidationSet(sets / "valid").eer(load_encoder(final)) < 0.1
    assert len(losses(lines)) == options["epochs"]


def test_the_margin_follows_its_schedule(sets, tmp_path, monkeypatch):
    run, _ = make(
        sets, tmp_path, loss="aamsoftmax+amsoftmax", epochs=4, batch_size=6, margin_schedule="linear", margin_begin=0.25
    )
    parts = [run.training.state.loss.get_submodule(name) for name in ("aamsoftmax", "amsoftmax")]
    shares = []

    def watched(training, batch, done):
        result = train_step(training, batch, done)
        shares.append((done, *(float(part.margin_share) for part in parts)))
        return result

    monkeypatch.setattr(loop, "train_step", watched)
    run()
    assert len(shares) == 16
    for done, first, second in shares:
        assert first == second == pytest.approx(min(max((done - 0.25) / (0.27 - 0.25), 0), 1))


def test_embeddings_of_the_crops_of_an_utterance_are_averaged(sets, tmp_path):
    run, _ = make(sets, tmp_path, batch_size=8, crops_per_utterance=2)
    batches = run.training.plan_epoch(0)
    assert batches.shape == (6, 8)
    assert (batches[:, ::2] == batches[:, 1::2]).all()
    seen, loss = [], run.training.state.loss.forward
    run.training.state.loss.forward = lambda embeddings, labels: (
        seen.append((embeddings, labels)) or loss(embeddings, labels)
    )
    batch = run.training.data.gather(batches[0], 20, np.random.default_rng(0))
    alone = run.training.state.encoder(batch.inputs)
    train_step(run.training, batch, 0.5)
    (embeddings, labels), *more = seen
    assert not more and labels.tolist() == run.training.data.labels[batches[0, ::2]].tolist()
    torch.testing.assert_close(embeddings, (alone[::2] + alone[1::2]) / 2)


def test_a_run_by_duration_is_as_long_as_asked_for(sets, tmp_path):
    # 3,000 frames at 100 a second, in batches of 8 crops of 20 frames: 18.75 batches.
    run, _ = make(sets, tmp_path, sampler="duration", epoch_days=30 / 86400)
    assert run.training.plan_epoch(0).shape == (19, 8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batches", [1, 2, 3, 4, 5])
def test_an_interrupted_run_ends_as_one_that_was_not(sets, tmp_path, loss, batches):
    """An epoch has 1 to 3 batches: stopped within one, after its last, and in the next."""
    whole, whole_lines = make(sets, tmp_path / "whole", loss=loss, epochs=5)
    whole()
    stopped, lines = make(sets, tmp_path / "part", loss=loss, epochs=5, should_stop=stop_after(batches))
    with pytest.raises(Interrupted):
        stopped()
    assert not (tmp_path / "part/final.pt").exists()
    torch.manual_seed(999)
    continued, more_lines = make(sets, tmp_path / "part", loss=loss, epochs=5)
    continued()
    epoch, batch = 0, batches
    while batch > len(whole.training.plan_epoch(epoch)):
        batch -= len(whole.training.plan_epoch(epoch))
        epoch += 1
    assert more_lines[1] == f"continuing after epoch {epoch}, batch {batch}"
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "final.pt"):
        assert_same_state(load_torch(tmp_path / "part" / name), load_torch(tmp_path / "whole" / name))
    assert untimed([*lines, *more_lines]) == untimed(whole_lines)


def test_losses_that_draw_go_on_as_if_never_interrupted(sets, tmp_path):
    """Triplets whose negatives are drawn: what a step draws follows from where it is, not from earlier draws."""
    loss = {"name": "triplet", "mining": "rank", "hard_rank": 1}
    whole, _ = make(sets, tmp_path / "whole", loss=loss, epochs=5)
    whole()
    with pytest.raises(Interrupted):
        make(sets, tmp_path / "part", loss=loss, epochs=5, should_stop=stop_after(2))[0]()
    continued, _ = make(sets, tmp_path / "part", loss=loss, epochs=5)
    torch.manual_seed(999)
    continued()
    assert_same_state(*(load_torch(tmp_path / name / "checkpoints/last.pt") for name in ("part", "whole")))


def test_stopped_after_every_batch(sets, tmp_path):
    whole, whole_lines = make(sets, tmp_path / "whole", model="resnetse34l")
    whole()
    lines = []
    for _ in range(9):
        run, some = make(sets, tmp_path / "part", model="resnetse34l", should_stop=lambda: True)
        with pytest.raises(Interrupted):
            run()
        lines += some
    run, some = make(sets, tmp_path / "part", model="resnetse34l")
    run()
    assert untimed([*lines, *some]) == untimed(whole_lines)
    assert_same_state(load_torch(tmp_path / "part/final.pt"), load_torch(tmp_path / "whole/final.pt"))


def test_a_finished_run_only_writes_its_result_again(sets, tmp_path):
    """As after a kill between the last checkpoint and final.pt."""
    make(sets, tmp_path)[0]()
    expected = (tmp_path / "final.pt").read_bytes()
    (tmp_path / "final.pt").unlink()
    run, lines = make(sets, tmp_path)
    run()
    assert (tmp_path / "final.pt").read_bytes() == expected
    assert untimed(lines) == []


KILLED = """
import pathlib, sys, torch
from vouch.training.data import TrainingSet
from vouch.training.config import resolve_config
from vouch.training.loop import train
from vouch.training.record import Callbacks, Record
from vouch.training.setup import set_up
from vouch.training.validation import ValidationSet
import yaml
torch.set_num_threads(1)
sets, exp, config = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), yaml.safe_load(sys.argv[3])
batches = []
def wait_at_the_fifth():
    batches.append(1)
    if len(batches) == 5:
        print("in the middle", flush=True)
        sys.stdin.read()
    return False
calls = Callbacks(lambda line: None, should_stop=wait_at_the_fifth)
data, valid = TrainingSet(sets / "train"), ValidationSet(sets / "valid")
training = set_up(resolve_config(config, {}), data, valid, None, None, torch.device("cpu"))
train(training, Record(training, exp, "f", calls))
"""


@pytest.mark.parametrize("checkpoint_minutes", [0.0, 10.0])
def test_a_killed_run_goes_on_from_its_last_checkpoint(sets, tmp_path, start_python, checkpoint_minutes):
    """With a checkpoint after every batch, and with those after the epochs alone."""
    torch.set_num_threads(1)
    train = {**SHORT, "checkpoint_minutes": checkpoint_minutes}
    config = yaml.safe_dump({"model": TINY["lstm"], "loss": "softmax", "train": train})
    process = start_python(KILLED, sets, tmp_path / "part", config, stdin=-1)
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    continued, lines = make(sets, tmp_path / "part", checkpoint_minutes=checkpoint_minutes)
    continued()
    assert lines[1] == f"continuing after epoch 1, batch {0 if checkpoint_minutes else 1}"
    whole, _ = make(sets, tmp_path / "whole", checkpoint_minutes=checkpoint_minutes)
    whole()
    assert (tmp_path / "part/final.pt").read_bytes() == (tmp_path / "whole/final.pt").read_bytes()


def test_the_best_epoch_is_kept(sets, tmp_path, monkeypatch):
    rates = iter([0.4, 0.2, 0.3, 0.2, 0.25])
    weights = []

    def eer(valid, encoder):
        assert not encoder.training
        weights.append({name: value.clone() for name, value in encoder.model.state_dict().items()})
        return next(rates)

    monkeypatch.setattr(ValidationSet, "eer", eer)
    run, lines = make(sets, tmp_path, epochs=5)
    run()
    assert_same_state(dict(load_torch(tmp_path / "final.pt")["weights"]), weights[1])
    assert lines[-1].endswith("final.pt: the encoder of epoch 2")
    assert "validation EER 30.00 % (best 20.00 %)" in lines[3]


def test_validation_every_few_epochs_and_after_the_last(sets, tmp_path):
    run, lines = make(sets, tmp_path, epochs=5, valid_interval=2)
    run()
    assert ["validation" in line for line in lines[1:6]] == [False, True, False, True, True]


def test_without_a_validation_set_the_last_epoch_is_kept(sets, tmp_path):
    run, lines = make(sets, tmp_path, valid=False)
    run()
    assert lines[-1].endswith("the encoder of epoch 3")
    assert "EER" not in "".join(lines)
    last = load_torch(tmp_path / "checkpoints/last.pt")["encoder"]
    final = load_torch(tmp_path / "final.pt")
    assert final.pop("provenance")["epoch"] == 3
    assert_same_state(final, last)


@pytest.mark.parametrize("batches", [1, 30])
def test_a_loss_that_is_not_finite_is_an_error_and_not_saved(sets, tmp_path, batches, monkeypatch):
    """Also in a run that is asked to stop just then: its checkpoint would never recover."""
    run, _ = make(sets, tmp_path, epochs=20, batch_size=2, should_stop=stop_after(batches))
    count = iter(range(1000))

    def poisoned(training, batch, done):
        if next(count) == (0 if batches == 1 else 13):
            batch.inputs[0, 3, 2] = np.nan
        return train_step(training, batch, done)

    monkeypatch.setattr(loop, "train_step", poisoned)
    with pytest.raises(VouchError, match=r"the loss became nan in epoch \d, batch \d+; try a smaller"):
        run()
    last = tmp_path / "checkpoints/last.pt"
    if last.exists():
        assert all(value.isfinite().all() for value in load_torch(last)["encoder"]["weights"].values())


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_useless_embeddings_are_no_equal_error_rate(sets, value):
    encoder = tiny_encoder("xvector")
    with torch.no_grad():
        encoder.model.segment6.weight.zero_()
        encoder.model.segment6.bias.fill_(value)
    with pytest.raises(VouchError, match=r"of 16 of 16 validation utterances are zero, NaN or infinite, .* 's0-6'"):
        ValidationSet(sets / "valid").eer(encoder)


def test_tensorboard_gets_the_scalars_of_every_epoch_once(sets, tmp_path):
    run, _ = make(sets, tmp_path, should_stop=stop_after(5))
    with pytest.raises(Interrupted):
        run()
    run, _ = make(sets, tmp_path)
    run()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    names = {
        "train/loss",
        "train/accuracy",
        "train/learning_rate",
        "speed/utterances_per_second",
        "speed/waiting_share",
    }
    assert set(board.Tags()["scalars"]) == {*names, "valid/eer"}
    for name in names:
        assert [event.step for event in board.Scalars(name)] == [1, 2, 3]
    best = load_torch(tmp_path / "checkpoints/last.pt")["progress"]["best_eer"]
    assert min(event.value for event in board.Scalars("valid/eer")) == pytest.approx(best)


def test_progress_is_told_now_and_then(sets, tmp_path):
    config = resolve_config(
        {"model": TINY["lstm"], "loss": "softmax", "train": {**SHORT, "batch_size": 1, "epochs": 1}}, {}
    )
    told = []
    make_run(config, sets / "train", None, tmp_path, progress=lambda *values: told.append(values))()
    assert [values[:3] for values in told] == [(1, BATCHES_BETWEEN_READINGS, 24), (1, 24, 24)]
    assert all(0 < values[3] < 3 for values in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 25}, "24 training utterances do not fill a batch"),
        ({"loss": "ge2e", "batch_size": 20}, "batches of 5 speakers x 4 utterances need 5 speakers"),
        (
            {"model": "xvector", "crop_seconds": 0.14},
            "crop_seconds 0.14 is too short, the network needs at least 15",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_training(sets, tmp_path, options, message):
    with pytest.raises(VouchError, match=message):
        make(sets, tmp_path, **options)
    assert os.listdir(tmp_path) == []


def test_validation_sets_that_do_not_fit_are_refused(sets, tmp_path):
    write_features(tmp_path / "valid", dim=9)
    write_all_trials(tmp_path / "valid")
    (tmp_path / "train").symlink_to(sets / "train")
    with pytest.raises(VouchError, match="validation features have 9 dimensions, training features 8"):
        make(tmp_path, tmp_path / "exp")
    (tmp_path / "valid/trials").write_text("s0-0 s0-1 target\ns0-0 s9-1 nontarget\n")
    with pytest.raises(VouchError, match=r"trials:2: 's9-1' is not in .*valid/feats\.scp"):
        ValidationSet(tmp_path / "valid")


def test_features_that_are_not_finite_are_named_and_not_the_optimizer(tmp_path):
    """Only crops that hold the number spoil the loss, and it is read once in many batches."""
    write_features(tmp_path / "train")
    table = read_table(tmp_path / "train/feats.scp")
    matrix = read_features(tmp_path / "train/feats.scp")["s2-3"]
    matrix[len(matrix) // 2, 1] = np.nan
    np.save(tmp_path / "x.npy", matrix)
    write_table(tmp_path / "train/feats.scp", table | {"s2-3": str(tmp_path / "x.npy")})
    run, _ = make(tmp_path, tmp_path / "exp", valid=False, epochs=20)
    with pytest.raises(VouchError, match=r"train/feats\.scp: 's2-3' holds NaN or infinite values; utils/validate"):
        run()


def test_what_has_no_frames_is_logged_and_left_out(tmp_path):
    (tmp_path / "empty.ark").write_bytes(b"\0BFM \4\0\0\0\0\4\0\0\0\0")
    for name, utterances in (("train", range(6)), ("valid", range(6, 10))):
        write_features(tmp_path / name, utterances=utterances)
        table = read_table(tmp_path / name / "feats.scp")
        write_table(tmp_path / name / "feats.scp", table | {f"s1-{utterances[0]}": f"{tmp_path}/empty.ark:0"})
    write_all_trials(tmp_path / "valid")
    run, lines = make(tmp_path, tmp_path / "exp", epochs=1)
    run()
    assert f"{tmp_path}/train/feats.scp: 1 utterances of 0 frames left out: s1-0" in lines
    expected = f"{tmp_path}/valid/feats.scp: 15 of 120 trials have an utterance of 0 frames and are left out"
    assert expected in lines
    (tmp_path / "valid/trials").write_text("s1-6 s0-6 nontarget\n")
    with pytest.raises(VouchError, match="1 of 1 trials have an utterance of 0 frames; none is left"):
        ValidationSet(tmp_path / "valid")


def test_a_lost_best_epoch_lets_the_others_compete_and_changes_nothing_else(sets, tmp_path):
    """As after a kill, with the file gone: the random numbers and weights of the run stay what they would have been."""
    make(sets, tmp_path / "whole", epochs=4)[0]()
    batches = 2 * len(make(sets, tmp_path / "x")[0].training.plan_epoch(0))
    stopped, _ = make(sets, tmp_path / "part", epochs=4, should_stop=stop_after(batches))
    with pytest.raises(Interrupted):
        stopped()
    (tmp_path / "part/checkpoints/best.pt").unlink()
    continued, lines = make(sets, tmp_path / "part", epochs=4)
    continued()
    assert "best.pt: is missing or damaged" in lines[2] and "can no longer be chosen" in lines[2]
    found, expected = (load_torch(tmp_path / name / "checkpoints/last.pt") for name in ("part", "whole"))
    for name in ("encoder", "loss", "optimizer"):
        assert_same_state(found[name], expected[name], name)
    assert found["progress"]["history"] == expected["progress"]["history"]
    assert load_torch(tmp_path / "part/final.pt")["provenance"]["epoch"] == found["progress"]["best_epoch"] > 1
