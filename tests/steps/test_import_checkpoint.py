"""Import of checkpoints as a user runs it, and what stage 4 makes of them."""

import numpy as np
import pytest
import soundfile
import torch
from corpus import write_recordings
from foreign import embed
from processes import fails, succeeds

from vouch.encoder import load_encoder
from vouch.kaldi.matrices.mapped import read_vectors

IMPORT = "steps/import_checkpoint.py"
HIDDEN, DIM = 8, 4


@pytest.fixture
def checkpoint(tmp_path):
    """A GE2E network of one narrow layer, as its training leaves it."""
    torch.manual_seed(0)
    lstm, linear = torch.nn.LSTM(40, HIDDEN), torch.nn.Linear(HIDDEN, DIM)
    state = {f"LSTM_stack.{key}": value for key, value in lstm.state_dict().items()}
    state |= {f"projection.{key}": value for key, value in linear.state_dict().items()}
    torch.save(state, tmp_path / "best.model")
    return state


def test_help_is_for_people(scripts, tmp_path):
    done = succeeds(scripts.run(IMPORT, "--help", cwd=tmp_path))
    words = " ".join(done.stdout.split())
    for word in (
        "voxceleb_trainer,pyannote,ge2e",
        "--log-input, --no-log-input",
        "before April 2021",
        "keys do not tell a CAM++ of wespeaker from one of 3dspeaker",
    ):
        assert word in words


def test_imported_models_take_audio(scripts, checkpoint, tmp_path):
    done = succeeds(scripts.run(IMPORT, "best.model", "final.pt", "--from", "ge2e", cwd=tmp_path))
    first, *notes = done.stdout.splitlines()
    assert first == "final.pt: lstm, 4 dimensions, front end logmel, normalization none"
    assert "windows of 160 frames" in notes[-1]
    write_recordings(tmp_path / "data")
    extract = ("data", "final.pt", "out", "--input", "wav")
    succeeds(scripts.run("steps/extract_embeddings.py", *extract, cwd=tmp_path))
    names, embeddings = read_vectors(tmp_path / "out/embedding.scp")
    encoder = load_encoder(tmp_path / "final.pt")
    waves = [soundfile.read(tmp_path / f"data.wavs/{name}.wav", dtype="float32")[0] for name in names]
    expected = np.concatenate([embed(encoder, wave[None]) for wave in waves])
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_what_is_left_out_is_said(scripts, checkpoint, tmp_path):
    state = {key.replace("LSTM_stack", "lstm").replace("projection", "linear"): x for key, x in checkpoint.items()}
    torch.save({"model_state": state | {"similarity_weight": torch.ones(1)}, "step": 1}, tmp_path / "encoder.pt")
    done = succeeds(scripts.run(IMPORT, "encoder.pt", "final.pt", "--from", "resemblyzer", cwd=tmp_path))
    assert "  left out: 1 tensors, weights of the loss" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (("best.model", "x.pt", "--from", "pyanote"), "unknown value 'pyanote' (did you mean 'pyannote'?)", 2),
        (("best.model", "x.pt"), "required: --from", 2),
        (("best.model", "x.pt", "--from", "ge2e", "--pading", "zeros"), "(did you mean '--padding'?)", 2),
        (("best.model", "x.pt", "--from", "wespeaker"), "best.model: not of wespeaker: its keys are those of ge2e", 1),
        (("none.pt", "x.pt", "--from", "ge2e"), "none.pt: no such file", 1),
        (("best.model", "x.pt", "--from", "ge2e", "--num-bins", 80), "unknown option 'num_bins' of ge2e", 1),
        (("best.model", "x.pt", "--from", "ge2e", "--no-log-input"), "unknown option 'log_input' of ge2e", 1),
        (("best.model", "best.model", "--from", "ge2e"), "would overwrite the checkpoint itself", 1),
    ],
)
def test_mistakes_cost_one_line(words, message, status, scripts, checkpoint, tmp_path):
    before = (tmp_path / "best.model").read_bytes()
    fails(scripts.run(IMPORT, *words, cwd=tmp_path), message, status)
    assert [path.name for path in tmp_path.iterdir()] == ["best.model"]
    assert (tmp_path / "best.model").read_bytes() == before
