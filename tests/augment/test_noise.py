"""Additive noise."""

import numpy as np
import pytest
import soundfile
import torch

from vouch.augment.noise import NoiseFolder, NoiseKind, draw_kinds, mix, read_kinds
from vouch.base.errors import VouchError
from vouch.base.options import read_yaml

RATE = 16000
ONE = NoiseKind("noise", 1, 1, 7.5, 7.5)


def white(samples, seed=0, scale=0.1):
    return (scale * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def snr_db(speech, mixed):
    """10 log10 of the ratio of energies, in double precision."""
    added = mixed.astype(np.float64) - speech
    return 10 * np.log10(np.sum(speech.astype(np.float64) ** 2) / np.sum(added**2))


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.fixture
def folder(tmp_path):
    for name in ("noise", "music", "speech"):
        for row in range(3):
            write(tmp_path / name / "set" / f"{row}.wav", white(20000, seed=row))
    return tmp_path


@pytest.mark.parametrize("snr", [-10.0, 0.0, 7.5, 20.0])
def test_mixing_reaches_the_ratio(snr):
    speech, noise = white(4000), white(4000, seed=1, scale=3.0)
    mixed = mix(torch.from_numpy(speech), torch.from_numpy(noise), torch.tensor(snr)).numpy()
    assert snr_db(speech, mixed) == pytest.approx(snr, abs=1e-3)


def test_mixing_a_batch_mixes_each_row():
    speech = torch.from_numpy(np.stack([white(1000), white(1000, 1, 0.01)]))
    noise = torch.from_numpy(np.stack([white(1000, 2), white(1000, 3, 2.0)]))
    mixed = mix(speech, noise, torch.tensor([3.0, 12.0]))
    for row, snr in enumerate((3.0, 12.0)):
        assert snr_db(speech[row].numpy(), mixed[row].numpy()) == pytest.approx(snr, abs=1e-3)


@pytest.mark.parametrize(
    ("speech_scale", "noise_scale"), [(0.1, 0.0), (0.0, 0.1), (0.0, 0.0), (0.1, 1e-20), (0.5, 1e-23)]
)
def test_silence_leaves_the_speech_as_it_is(speech_scale, noise_scale):
    speech, noise = torch.from_numpy(white(500, 0, speech_scale)), torch.from_numpy(white(500, 1, noise_scale))
    assert torch.equal(mix(speech, noise, torch.tensor(5.0)), speech)


@pytest.mark.parametrize(
    ("rate", "shape"),
    [
        (RATE, (20000,)),
        (RATE, (500,)),
        (RATE, (1,)),
        (8000, (9000,)),
        (8000, (300,)),
        (44100, (700, 2)),
        (RATE, (9000, 2)),
    ],
)
def test_noise_of_any_length_rate_and_channels(tmp_path, rate, shape):
    write(tmp_path / "noise/x.wav", white(shape), rate)
    speech = white(6001, seed=9)
    noises = NoiseFolder(tmp_path, {"noise": ONE})
    mixed = noises.add(speech, "noise", RATE, np.random.default_rng(0))
    assert (mixed.dtype, mixed.shape) == (np.float32, speech.shape)
    assert snr_db(speech, mixed) == pytest.approx(7.5, abs=1e-2)


def test_a_short_noise_is_repeated(tmp_path):
    write(tmp_path / "noise/x.wav", white(500))
    speech = white(1400, seed=9)
    added = NoiseFolder(tmp_path, {"noise": ONE}).add(speech, "noise", RATE, np.random.default_rng(0)) - speech
    np.testing.assert_allclose(added[500:1000], added[:500], atol=1e-6)
    np.testing.assert_allclose(added[1000:], added[:400], atol=1e-6)
    assert np.abs(added).max() > 0.01


@pytest.mark.parametrize("count", [1, 3, 7])
def test_each_of_several_noises_has_its_ratio(tmp_path, count):
    """Excerpts of white noise from different places know nothing of each other: their energies add up."""
    write(tmp_path / "speech/x.wav", white(400_000))
    speech = white(20_000, seed=9)
    noises = NoiseFolder(tmp_path, {"babble": NoiseKind("speech", count, count, 10.0, 10.0)})
    mixed = noises.add(speech, "babble", RATE, np.random.default_rng(0))
    assert snr_db(speech, mixed) == pytest.approx(10 - 10 * np.log10(count), abs=0.3)


def test_numbers_and_ratios_are_drawn_from_their_ranges(folder):
    noises = NoiseFolder(folder, {"noise": NoiseKind("noise", 1, 1, 5.0, 15.0)})
    speech = white(2000, seed=9)
    ratios = [snr_db(speech, noises.add(speech, "noise", RATE, np.random.default_rng(seed))) for seed in range(40)]
    assert min(ratios) > 4.99
    assert max(ratios) < 15.01
    assert max(ratios) - min(ratios) > 5


def test_draws_follow_from_the_generator_alone(folder):
    noises = NoiseFolder(folder, {"noise": NoiseKind("noise", 1, 3, 0.0, 15.0)})
    speech = white(2000, seed=9)
    first = noises.add(speech, "noise", RATE, np.random.default_rng(4))
    noises.add(white(77), "noise", RATE, np.random.default_rng(5))
    np.testing.assert_array_equal(noises.add(speech, "noise", RATE, np.random.default_rng(4)), first)
    assert (noises.add(speech, "noise", RATE, np.random.default_rng(5)) != first).any()


def test_the_kinds_of_an_utterance_depend_on_its_name_and_the_seed_alone():
    kinds = dict.fromkeys(("noise", "music", "babble"), ONE)
    names = [f"s-{number}" for number in range(60)]
    drawn = {name: draw_kinds(name, kinds, 2, 0) for name in names}
    assert {name: draw_kinds(name, kinds, 2, 0) for name in reversed(names)} == drawn
    assert all(len(set(pair)) == 2 for pair in drawn.values())
    counts = np.array([sum(kind in pair for pair in drawn.values()) for kind in kinds])
    assert (counts > 25).all()
    assert {name: draw_kinds(name, kinds, 2, 1) for name in names} != drawn
    # More copies add to what was drawn.
    assert all(draw_kinds(name, kinds, 3, 0)[:2] == pair for name, pair in drawn.items())
    with pytest.raises(VouchError, match="4 copies need 4 kinds of noise, there are 3: noise, music, babble"):
        draw_kinds("x", kinds, 4, 0)


def test_kinds_without_recordings_are_left_out(folder):
    kinds = {"noise": ONE, "rain": NoiseKind("rain", 1, 1, 0.0, 0.0), "music": NoiseKind("music", 1, 1, 0.0, 0.0)}
    (folder / "rain").mkdir()
    (folder / "rain/readme.txt").write_text("not a recording")
    noises = NoiseFolder(folder, kinds)
    assert list(noises.kinds) == ["noise", "music"]
    assert [path.name for path in noises.files["noise"]] == ["0.wav", "1.wav", "2.wav"]


@pytest.mark.parametrize("name", ["", "none"])
def test_a_folder_without_noises_is_refused(tmp_path, name):
    with pytest.raises(VouchError, match=r"no recordings in any of noise/ \(wav, flac"):
        NoiseFolder(tmp_path / name, {"noise": ONE})


@pytest.mark.parametrize("content", [b"", b"not a sound"])
def test_a_broken_noise_is_named(tmp_path, content):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/x.wav").write_bytes(content)
    with pytest.raises(VouchError, match=r"noise/x\.wav: (not readable as audio|no audio, 0 bytes)"):
        NoiseFolder(tmp_path, {"noise": ONE}).add(white(100), "noise", RATE, np.random.default_rng(0))


def test_the_configuration_that_comes_along(request):
    kinds = read_kinds(read_yaml(request.config.rootpath / "conf/augment.yaml"))
    assert kinds["babble"] == NoiseKind("speech", 3, 7, 13.0, 20.0)
    assert list(kinds) == ["noise", "music", "babble"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folders": "noise"}, r"unknown option 'folders' of augmentation 'x' \(did you mean 'folder'\?\)"),
        ({"files_min": 0}, "needs 1 <= files_min <= files_max"),
        ({"files_min": 3}, "needs 1 <= files_min <= files_max"),
        ({"files_max": 10**12}, "files_min <= files_max <= 100$"),
        ({"snr_min": 9.5}, "-200 <= snr_min <= snr_max <= 200"),
        ({"snr_min": -1.7e308}, "-200 <= snr_min <= snr_max <= 200"),
        ({"snr_max": 1.7e308}, "-200 <= snr_min <= snr_max <= 200"),
        ({"snr_min": "loud"}, "'loud' is not a number"),
        ({"files_max": 1.5}, "1.5 is not of type int"),
    ],
)
def test_wrong_configurations_are_refused(options, message):
    right = {"folder": "noise", "files_min": 1, "files_max": 2, "snr_min": 0, "snr_max": 9}
    with pytest.raises(VouchError, match=message):
        read_kinds({"x": {**right, **options}})
    with pytest.raises(VouchError, match="augmentation 'x' needs the option 'files_max'"):
        read_kinds({"x": {key: value for key, value in right.items() if key != "files_max"}})
    with pytest.raises(VouchError, match="augmentation 'x' must hold 'option: value' lines"):
        read_kinds({"x": "noise"})


def test_hidden_and_unreadable_files_are_no_noises(folder):
    """A `._name.wav` of macOS is passed over; what has no samples or is damaged is named before anything is drawn."""
    (folder / "noise/set/._0.wav").write_bytes(b"\0\5\x16\7" + bytes(60))
    (folder / "noise/.hidden").mkdir()
    write(folder / "noise/.hidden/9.wav", white(20))
    (folder / "noise/set/empty.wav").write_bytes(b"")
    (folder / "noise/set/text.wav").write_text("no audio")
    write(folder / "music/set/none.wav", white(0))
    noises = NoiseFolder(folder, {"noise": ONE, "music": NoiseKind("music", 1, 1, 5, 5)})
    assert [file.name for file in noises.files["noise"]] == ["0.wav", "1.wav", "2.wav"]
    assert [file.name for file in noises.files["music"]] == ["0.wav", "1.wav", "2.wav"]
    names = [f"{folder}/noise/set/empty.wav", f"{folder}/noise/set/text.wav", f"{folder}/music/set/none.wav"]
    assert list(noises.left_out) == names
    for file in (folder / "noise/set").glob("[0-9].wav"):
        file.write_bytes(b"")
    with pytest.raises(VouchError, match=r"noise: no file of 5 can be read: .*0\.wav"):
        NoiseFolder(folder, {"noise": ONE})
