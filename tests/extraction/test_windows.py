"""Sliding windows against reference vectors made by running pyannote.audio 1.1 and the GE2E programs."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from corpus import done
from foreign import filled, imported

from vouch.deploy.folding import fold_batch_norm
from vouch.extraction.embed import embed_parts
from vouch.extraction.pieces import Windows
from vouch.features.clock import Clock
from vouch.kaldi.datadirs.wavlist import read_wav_list
from vouch.work.embeddings import AudioEmbedding

GOLDEN = Path(__file__).parents[1] / "golden"
GE2E = json.loads((GOLDEN / "ge2e_windows.json").read_text())["partial_windows_160"]
FACTS = json.loads((GOLDEN / "pyannote_windows.json").read_text())
ARRAYS = np.load(GOLDEN / "pyannote_windows.npz")
WINDOWS = Windows(FACTS["duration"], FACTS["step_ratio"], "mean")
FRAMES, SAMPLES = Clock("frames", 100.0), Clock("samples", 16000.0)


def starts(cut, length, clock):
    return [int(window[0]) for window in cut.of_inputs(np.arange(length), clock)]


@pytest.mark.parametrize(("rule", "step"), [("overlap50", 0.5), ("rate1p3", 77 / 160)])
@pytest.mark.parametrize("case", GE2E, ids=lambda case: str(case["n_samples"]))
def test_windows_of_160_frames_lie_where_ge2e_puts_them(case, rule, step):
    """Up to the last: what is left beyond the regular windows, GE2E's programs pad with silence or drop when it is
    short, and here a window lies at the end."""
    frames = -(-(case["n_samples"] + 1) // 160)
    found = starts(Windows(1.6, step, "unit-mean"), frames, FRAMES)
    regular = [start for start, end in case[rule] if end <= frames]
    assert found[: len(regular)] == regular
    assert len(case[rule]) - len(regular) in (0, 1)
    assert found[len(regular) :] == ([] if regular and regular[-1] + 160 == frames else [max(0, frames - 160)])


@pytest.mark.parametrize("name", FACTS["slides"])
def test_windows_of_waveforms_lie_where_pyannote_puts_them(name):
    """To one sample: its times fall between two samples, and which one it takes is rounding noise of its floats."""
    facts = FACTS["slides"][name]
    found = starts(Windows(facts["duration"], facts["ratio"], "mean"), 117_603, SAMPLES)
    np.testing.assert_allclose(found, facts["start_samples"], atol=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The network that the reference vectors were made with."""
    folder = tmp_path_factory.mktemp("pyannote")
    network = json.loads((GOLDEN / "sinctdnn.json").read_text())
    case = network["models"]["seed_config"]
    config = {"architecture": {"name": "pyannote.audio.models.SincTDNN", "params": case["config"]}}
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    state = filled(network["salt"], case["state_keys"])
    return imported(folder, state, "pyannote", config=str(folder / "config.yml"))


@pytest.mark.parametrize("name", FACTS["start_samples"])
def test_means_over_windows_at_the_reference_positions(encoder, name):
    samples = ARRAYS[name].astype(np.float32) / 32768
    pieces = [samples[start : start + 32000] for start in FACTS["start_samples"][name]]
    np.testing.assert_allclose(embed_parts(encoder, pieces, WINDOWS), ARRAYS[f"mean_{name}"], atol=3e-5)


def test_from_recordings_to_distances(encoder, tmp_path):
    """Embeddings where the positions are the reference's; a sample beside it this random network gives others."""
    for name in FACTS["start_samples"]:
        soundfile.write(tmp_path / f"{name}.wav", ARRAYS[name], 16000)
    (tmp_path / "list").write_text("".join(f"{name} {tmp_path}/{name}.wav\n" for name in FACTS["start_samples"]))
    data = read_wav_list(tmp_path / "list")
    found, _ = done(AudioEmbedding(fold_batch_norm(encoder), data, 100.0, True, WINDOWS), list(data.segments))
    exact = [
        name
        for name, expected in FACTS["start_samples"].items()
        if starts(WINDOWS, len(ARRAYS[name]), SAMPLES) == expected
    ]
    assert {"u2", "u3"} <= set(exact)
    for name in exact:
        np.testing.assert_allclose(found[name], ARRAYS[f"mean_{name}"], atol=3e-5)
    trials = [trial for trial in FACTS["trials"] if set(trial[1:3]) <= set(exact)]
    assert trials
    for _, enrol, test, distance in trials:
        first, second = (found[side].astype(np.float64) for side in (enrol, test))
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        assert 1 - cosine == pytest.approx(distance, abs=1e-6)
