"""The demo corpus: the same from the same seed, well formed, and made of voices with the asked anatomy."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import soundfile

from demo.phones import CONSONANTS
from demo.score import SAMPLE_RATE
from demo.session import draw_room, draw_session, record
from demo.speaker import Manner, Speaker, draw_speaker
from demo.voice import synthesise
from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lists.trials import read_trials
from vouch.kaldi.tables import read_table

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "prepare_demo.py"
TINY = ["--speakers", "4,2,4", "--sessions", "2", "--utterances", "1"]


def prepare(data: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, data, *TINY, *options], capture_output=True, text=True)


def digests(data: Path) -> dict[str, str]:
    return {str(p.relative_to(data)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(data.rglob("*.wav"))}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("demo") / "data"
    done = prepare(data, "--nj", "2")
    assert done.returncode == 0, done.stderr
    return data


def test_same_seed_gives_the_same_samples_whatever_the_number_of_jobs(corpus, tmp_path):
    assert prepare(tmp_path / "data", "--nj", "1").returncode == 0
    assert digests(tmp_path / "data") == digests(corpus)
    for name in ("valid", "test"):
        assert (tmp_path / "data" / name / "trials").read_bytes() == (corpus / name / "trials").read_bytes()


def test_recordings_of_the_same_options_are_left_as_they_are(tmp_path):
    """Features and noisy copies that were made of them stay valid."""
    data = tmp_path / "data"
    assert prepare(data).returncode == 0
    times = {path: path.stat().st_mtime_ns for path in sorted(data.rglob("*.wav"))}
    (data / "train/feats.scp").write_text("features of stage 1\n")
    again = prepare(data)
    assert again.returncode == 0 and "they are left as they are" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in sorted(data.rglob("*.wav"))} == times
    assert (data / "train/feats.scp").exists()
    tables = {path: path.read_text() for path in data.glob("*/utt2dur")}
    next(iter(times)).unlink()
    assert "left as they are" not in prepare(data).stdout
    assert sorted(data.rglob("*.wav")) == list(times) and not (data / "train/feats.scp").exists()
    assert {path: path.read_text() for path in data.glob("*/utt2dur")} == tables
    assert "left as they are" not in prepare(data, "--seed", "2").stdout


def test_another_seed_changes_every_file(corpus, tmp_path):
    assert prepare(tmp_path / "data", "--seed", "1").returncode == 0
    first, second = digests(corpus), digests(tmp_path / "data")
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_sets_are_valid_and_share_no_speaker(corpus):
    speakers = []
    for name, count in {"train": 4, "valid": 2, "test": 4}.items():
        data = DataDir.load(corpus / name, need=["wav.scp"])
        assert len(data.utt2spk) == 2 * count
        assert all(utterance.startswith(f"{speaker}-") for utterance, speaker in data.utt2spk.items())
        speakers += sorted(set(data.utt2spk.values()))
        durations = read_table(corpus / name / "utt2dur")
        for utterance, path in data.wav_scp.items():
            assert float(durations[utterance]) == pytest.approx(soundfile.info(path).duration, abs=1e-3)
    assert len(speakers) == len(set(speakers)) == 10


@pytest.mark.parametrize("name", ["valid", "test"])
def test_trials_cross_sessions_and_name_existing_utterances(corpus, name):
    trials = read_trials(corpus / name / "trials")
    utt2spk = read_table(corpus / name / "utt2spk")
    # Odd speakers are men, even ones women.
    genders = {speaker: int(speaker[1:]) % 2 for speaker in utt2spk.values()}
    pairs = list(zip(trials.enrol, trials.test, strict=True))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert 0.4 <= trials.is_target.mean() <= 0.6
    kinds = set()
    for (enrol, test), target in zip(pairs, trials.is_target, strict=True):
        assert enrol.split("-")[1] != test.split("-")[1]
        assert (utt2spk[enrol] == utt2spk[test]) == target
        if not target:
            kinds.add(genders[utt2spk[enrol]] == genders[utt2spk[test]])
    # Two speakers are a woman and a man; among four there are pairs of both kinds.
    assert kinds == ({True, False} if name == "test" else {False})


def test_audio_is_sound_and_not_clipped(corpus):
    paths = sorted(corpus.rglob("*.wav"))
    assert len(paths) == 20 + 26
    for path in paths:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        assert (rate, samples.shape[1], soundfile.info(path).subtype) == (16000, 1, "PCM_16")
        assert 2.0 < len(samples) / rate < 10.0
        assert np.abs(samples.astype(int)).max() < 0.96 * 32768
        rms_db = 10 * np.log10(np.mean((samples / 32768.0) ** 2))
        assert -40.0 < rms_db < -15.0, path
        # No two rows of 100 ms alike: neither silence nor a loop.
        rows = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
        assert len(np.unique(rows, axis=0)) == len(rows)


def test_musan_folder_holds_its_three_classes(corpus):
    found = [path.relative_to(corpus / "musan").parts for path in sorted((corpus / "musan").rglob("*.wav"))]
    assert {parts[0] for parts in found} == {"noise", "music", "speech"}
    assert all(len(parts) == 3 for parts in found)


def test_killed_run_leaves_no_data_dir_and_the_next_one_completes(corpus, tmp_path):
    data = tmp_path / "data"
    run = subprocess.Popen(
        [sys.executable, SCRIPT, data, "--nj", "1"], stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60.0
    while not list(data.rglob("*.wav")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert list(data.rglob("*.wav"))
    for name in ("train", "valid", "test"):
        with pytest.raises(VouchError):
            DataDir.load(data / name, need=["wav.scp"])
    (data / "train").mkdir(exist_ok=True)
    (data / "train" / "feats.scp").write_text("features of other audio\n")
    assert prepare(data).returncode == 0
    assert digests(data) == digests(corpus)
    assert not (data / "train" / "feats.scp").exists()


def children(pid: int) -> list[int]:
    """Process ids of the living children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("victim", "number", "status", "message"),
    [
        ("worker", signal.SIGKILL, 1, "utterances: one of 2 processes was killed, as the system does when memory is"),
        ("parent", signal.SIGTERM, 143, ""),
        ("parent", signal.SIGINT, 130, "interrupted"),
        ("parent", signal.SIGKILL, -9, ""),
    ],
)
def test_no_end_of_a_process_leaves_one_that_waits(tmp_path, victim, number, status, message):
    """More to do than anybody waits for, so that what ends has been ended."""
    words = [sys.executable, SCRIPT, tmp_path / "data", "--speakers", "400,2,4", "--nj", "2"]
    run = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60.0
        while not list(tmp_path.rglob("*.wav")) and time.monotonic() < deadline:
            time.sleep(0.02)
        workers = children(run.pid)
        assert len(workers) == 2
        os.kill(workers[0] if victim == "worker" else run.pid, number)
        assert run.wait(timeout=30) == status
        while any(Path(f"/proc/{worker}/exe").exists() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(Path(f"/proc/{worker}/exe").exists() for worker in workers)
    finally:
        run.kill()
    said = run.stderr.read().splitlines()
    assert len(said) == (message != "")
    assert message in "".join(said)
    assert not (tmp_path / "data" / "train" / "wav.scp").exists()


def test_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "wav.scp").write_text("a a.wav\n")
    done = prepare(tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "was not made by stage 0" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize(
    "options", [["--speakers", "4,2"], ["--speakers", "4,x,2"], ["--sessions", "1"], ["--nj", "0"], ["--seeds", "1"]]
)
def test_wrong_options_are_one_line(tmp_path, options):
    done = prepare(tmp_path / "data", *options)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1 and options[0] in done.stderr
    assert not (tmp_path / "data").exists()


def plain_speaker(f0: float, formant_scale: float) -> Speaker:
    """A speaker of average habits whose pitch hardly moves, without consonants that hide the formants."""
    sonorants = np.array([name in ("l", "j", "w") for name in CONSONANTS])
    return replace(
        draw_speaker(np.random.default_rng(5), female=False),
        f0=f0,
        f0_range=0.0,
        declination=0.0,
        formant_scale=np.full(8, formant_scale),
        breath=0.002,
        jitter=0.002,
        nasality=0.0,
        sinus_bandwidth=4000.0,
        consonant_weights=sonorants / sonorants.sum(),
    )


def lpc_envelope(frame: np.ndarray, order: int = 18) -> np.ndarray:
    """(samples,) -> (512,): LPC log envelope from 0 to 8 kHz, by solving the normal equations."""
    correlation = np.correlate(frame, frame, "full")[len(frame) - 1 : len(frame) + order]
    correlation[0] *= 1.0 + 1e-5
    predictor = scipy.linalg.solve_toeplitz(correlation[:-1], correlation[1:])
    return -np.log(np.abs(np.fft.rfft(np.append(1.0, -predictor), 1024))[:512])


def detrended(envelope: np.ndarray) -> np.ndarray:
    """Peaks and valleys without the slope of the source, which does not move with the tract."""
    x = np.linspace(-1.0, 1.0, len(envelope))
    return envelope - np.polyval(np.polyfit(x, envelope, 3), x)


def test_shorter_tract_moves_the_spectral_envelope_up():
    ratio = 1.2
    # The same draws: both say the same at the same time.
    long, short = (
        synthesise(plain_speaker(110.0, scale), Manner(), 6.0, np.random.default_rng(3)) for scale in (1.0, ratio)
    )
    frequency = np.arange(512) * 8000 / 512
    inside = (frequency > 300) & (frequency < 4500)
    stretches = np.arange(0.8, 1.41, 0.02)
    match = np.zeros(len(stretches))
    frames = [np.lib.stride_tricks.sliding_window_view(np.diff(x), 480)[::400] * np.hamming(480) for x in (long, short)]
    energy = (frames[0] ** 2).sum(1)
    for frame in np.flatnonzero(energy > np.median(energy)):
        one, other = (lpc_envelope(rows[frame]) for rows in frames)
        # How well the stretched axis lays one envelope over the other.
        match += [
            np.corrcoef(detrended(np.interp(frequency[inside] * s, frequency, other)), detrended(one[inside]))[0, 1]
            for s in stretches
        ]
    assert stretches[np.argmax(match)] == pytest.approx(ratio, abs=0.05)


@pytest.mark.parametrize("f0", [95.0, 140.0, 220.0])
def test_fundamental_frequency_is_the_asked_one(f0):
    speech = synthesise(plain_speaker(f0, 1.0), Manner(), 4.0, np.random.default_rng(4))
    frames = np.lib.stride_tricks.sliding_window_view(speech, 640)[::160]
    frames = frames[(frames**2).sum(1) > np.median((frames**2).sum(1))]
    periods = []
    lags = np.arange(SAMPLE_RATE // 320, SAMPLE_RATE // 70)
    for frame in frames - frames.mean(1, keepdims=True):
        correlation = [
            frame[:-lag] @ frame[lag:] / np.sqrt((frame[:-lag] ** 2).sum() * (frame[lag:] ** 2).sum()) for lag in lags
        ]
        # The first lag that correlates nearly as well as the best one: later ones are multiples of the period.
        peak = np.flatnonzero(np.array(correlation) > 0.93 * max(correlation))[0]
        while peak + 1 < len(lags) and correlation[peak + 1] > correlation[peak]:
            peak += 1
        periods.append(lags[peak])
    assert SAMPLE_RATE / np.median(periods) == pytest.approx(f0, rel=0.04)


def test_pitch_shift_is_in_semitones():
    speaker = plain_speaker(100.0, 1.0)
    spectra = []
    for shift in (0.0, 12.0):
        speech = synthesise(speaker, Manner(pitch_shift=shift), 4.0, np.random.default_rng(6))
        correlation = np.fft.irfft(np.abs(np.fft.rfft(speech, 2**18)) ** 2)
        spectra.append(60 + np.argmax(correlation[60:120]))
    # An octave up the period of 160 samples has halved; before, there is no period as short as that.
    assert spectra[1] == pytest.approx(80, abs=5)


def test_room_decays_by_its_reverberation_time():
    for seed in range(20):
        room = draw_room(np.random.default_rng(seed))
        assert 0.15 <= len(room) / SAMPLE_RATE <= 0.6
        assert np.sum(room**2) == pytest.approx(1.0)
        decay_db = 10 * np.log10(np.cumsum(room[::-1] ** 2)[::-1])
        # Beyond the early reflections the energy that is left falls by 60 dB over the whole response.
        late = slice(int(0.03 * SAMPLE_RATE), int(0.7 * len(room)))
        slope = np.polyfit(np.arange(len(room))[late] / len(room), decay_db[late], 1)[0]
        assert slope == pytest.approx(-60.0, abs=6.0)


def test_recording_has_the_asked_signal_to_noise_ratio():
    rng = np.random.default_rng(8)
    session = replace(
        draw_session(rng), snr_db=10.0, level_db=-20.0, noise="coloured", room=np.ones(1), tone_db=np.zeros(6)
    )
    session = replace(session, low_hz=1.0, high_hz=8000.0)
    # A tone that stops half-way leaves the noise alone in the second half.
    tone = np.sin(2 * np.pi * 1000 * np.arange(64000) / SAMPLE_RATE) * (np.arange(64000) < 32000)
    recorded = record(tone, session, rng) / 32768.0
    noise = np.mean(recorded[33000:] ** 2)
    signal = np.mean(recorded**2) - noise
    assert 10 * np.log10(signal / noise) == pytest.approx(10.0, abs=1.5)
    assert 10 * np.log10(np.mean(recorded**2)) == pytest.approx(-20.0, abs=0.2)
