"""Checkpoints of pyannote.audio 1: the same audio gives what the original gives; its configuration is data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from foreign import embed, filled, imported, renamed_state

from vouch.base.errors import VouchError
from vouch.interop import import_checkpoint
from vouch.models.sinctdnn import SincTDNN

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "sinctdnn.json").read_text())
ARRAYS = np.load(GOLDEN / "sinctdnn.npz")
CLASS = "pyannote.audio.models.SincTDNN"
TINY = {
    "sincnet": {"stride": [5, 1, 1], "out_channels": [8, 7, 6]},
    "tdnn": {"embedding_dim": 6},
    "embedding": {"scale": None, "unit_normalize": False},
}


def write(root, state, params, name=CLASS, **sections):
    """Write an experiment as training leaves it and return the checkpoint's path."""
    weights = root / "train/VoxCeleb.SpeakerVerification.VoxCeleb2.train/weights"
    weights.mkdir(parents=True, exist_ok=True)
    torch.save(state, weights / "0221.pt")
    config = {"task": {"name": "AdditiveAngularMarginLoss"}, "architecture": {"name": name, "params": params}}
    (root / "config.yml").write_text(yaml.safe_dump(config | sections))
    return weights / "0221.pt"


def tiny_state():
    """A network with narrow filters; the frame layers of the original have one width only."""
    torch.manual_seed(0)
    model = SincTDNN(6, out_channels=(8, 7, 6))
    names = {"conv1d": "conv1d_", "instance_norm1d": "instance_norm1d_", "waveform_normalize": "waveform_normalize_"}

    def original(key):
        head, *rest = key.split(".")
        if head == "sincnet":
            rest = [names.get(part, part) for part in rest]
            rest = [f"{part}_" if part in ("low_hz", "band_hz") else part for part in rest]
            return ".".join(["sincnet_", *rest])
        if head == "tdnn":
            return f"tdnn_.tdnn.{rest[0]}.temporal_conv.{rest[1]}"
        return f"tdnn_.{key}"

    return renamed_state(model, original)


@pytest.mark.parametrize("name", ["seed_config", "defaults", "emb128_nowavnorm", "bn_unit", "logistic"])
def test_the_same_waveform_gives_the_same_embedding(name, tmp_path):
    case = FACTS["models"][name]
    path = write(tmp_path, filled(FACTS["salt"], case["state_keys"]), case["config"])
    encoder, notes, dropped = import_checkpoint(path, "pyannote")
    waves = ARRAYS["wave"][:1, :8000] if name == "defaults" else ARRAYS["wave"][:1]
    np.testing.assert_allclose(embed(encoder, waves), ARRAYS[f"{name}/emb"][:1], rtol=0, atol=3e-5)
    assert dropped == {"weights of segment7": 2}
    assert notes[0] == f"configuration {tmp_path / 'config.yml'}"
    assert encoder.config.front_end.type == "waveform"


def test_newer_weight_normalisation_and_places_of_the_configuration(tmp_path):
    state = tiny_state()
    path = write(tmp_path / "a", state, TINY)
    encoder = import_checkpoint(path, "pyannote").encoder
    newer = {}
    for key, value in state.items():
        for number, half in enumerate("gv"):
            key = key.replace(f"weight_{half}", f"parametrizations.weight.original{number}")
        newer[key] = value
    assert any("parametrizations" in key for key in newer)
    (tmp_path / "b").mkdir()
    # Beside the checkpoint, or wherever it is said to be.
    (tmp_path / "b/config.yml").write_text((tmp_path / "a/config.yml").read_text())
    beside = imported(tmp_path / "b", newer, "pyannote")
    named = imported(tmp_path, newer, "pyannote", config=str(tmp_path / "b/config.yml"))
    wave = 0.1 * np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    np.testing.assert_array_equal(embed(beside, wave), embed(encoder, wave))
    np.testing.assert_array_equal(embed(named, wave), embed(encoder, wave))


def test_no_configuration(tmp_path):
    with pytest.raises(VouchError, match=r"needs its config.yml, which is neither .*config.yml nor .*config.yml"):
        imported(tmp_path, tiny_state(), "pyannote")


@pytest.mark.parametrize(
    ("name", "params", "sections", "message"),
    [
        ("PyanNet", TINY, {}, "config.yml: architecture is 'PyanNet'; only SincTDNN is known"),
        ("os.system", {"command": "false"}, {}, "architecture is 'os.system'"),
        (CLASS, TINY | {"tdn": {}}, {}, r"SincTDNN has no section 'tdn' \(did you mean 'tdnn'\?\)"),
        (CLASS, TINY | {"tdnn": {"embedding_dims": 3}}, {}, r"tdnn has no 'embedding_dims' \(did you mean"),
        (CLASS, TINY | {"sincnet": {"activation": "tanh"}}, {}, "sincnet.activation is 'tanh'; only 'leaky_relu'"),
        (CLASS, TINY | {"embedding": {"unit_normalize": True}}, {}, "embedding.unit_normalize is True; only False"),
        (CLASS, TINY | {"embedding": {"scale": "units"}}, {}, "unknown scale 'units'"),
        (CLASS, TINY | {"sincnet": [1]}, {}, "sincnet should be a section"),
        (CLASS, TINY, {"feature_extraction": {"name": "LibrosaMFCC"}}, "only RawAudio is known"),
        (
            *(CLASS, TINY, {"feature_extraction": {"name": "RawAudio", "params": {"sample_rate": 8000}}}),
            "audio of 8000 Hz for filters at 16000 Hz",
        ),
        (CLASS, TINY | {"tdnn": {}}, {}, r"'tdnn_.segment6.weight' is torch.float32 of shape \(6, 3000\)"),
    ],
)
def test_configurations_that_do_not_fit(name, params, sections, message, tmp_path):
    path = write(tmp_path, tiny_state(), params, name, **sections)
    with pytest.raises(VouchError, match=message):
        import_checkpoint(path, "pyannote")


def test_a_configuration_cannot_run_code(tmp_path):
    path = write(tmp_path, tiny_state(), TINY)
    (tmp_path / "config.yml").write_text("architecture: !!python/object/apply:os.system ['touch ran']\n")
    with pytest.raises(VouchError, match=r"config.yml:1: not valid YAML"):
        import_checkpoint(path, "pyannote")
    assert not Path("ran").exists()


def test_a_classifier_is_no_network(tmp_path):
    with pytest.raises(VouchError, match=r"has a key 'tdnn_.segment6.weight'"):
        imported(tmp_path, {"W": torch.zeros(5, 6)}, "pyannote")
