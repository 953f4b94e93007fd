"""Calibration, fusion and the verification of two recordings, as a user runs them."""

import re

import numpy as np
import pytest
import soundfile
from corpus import tiny_encoder, voice
from processes import fails, succeeds
from scipy.signal import resample_poly

from vouch.encoder import save_encoder
from vouch.evaluation.metrics import cllr
from vouch.extraction.embed import embed_matrices
from vouch.features.compute import compute
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.matrices.writing import open_ark
from vouch.scoring.calibration import fit_calibration, read_calibration, write_calibration
from vouch.scoring.plda_file import write_single

CALIBRATE, VERIFY = "steps/calibrate.py", "steps/verify.py"
SPEAKERS, EACH = 20, 3


def write_scores(path, pairs, scores):
    path.write_text("".join(f"{a} {b} {score:.6f}\n" for (a, b), score in zip(pairs, scores, strict=True)))


def read_scores(path):
    return np.array([float(line.split()[2]) for line in path.read_text().splitlines()])


@pytest.fixture
def data(tmp_path):
    """Development and test scores of two systems, durations, embeddings, and a cohort."""
    for seed, name in enumerate(("dev", "test")):
        rng = np.random.default_rng(seed)
        ids = [f"s{speaker:02d}-{number}" for speaker in range(SPEAKERS) for number in range(EACH)]
        seconds = dict(zip(ids, rng.uniform(1, 20, len(ids)), strict=True))
        pairs = [(a, b) for row, a in enumerate(ids) for b in ids[:row]]
        is_target = np.array([a[:3] == b[:3] for a, b in pairs])
        lines = [
            f"{a} {b} {'target' if same else 'nontarget'}\n" for (a, b), same in zip(pairs, is_target, strict=True)
        ]
        (tmp_path / f"{name}.trials").write_text("".join(lines))
        quality = np.array([np.log(min(seconds[a], seconds[b])) for a, b in pairs])
        noise = 0.3 * rng.standard_normal((2, len(pairs)))
        write_scores(tmp_path / f"{name}.1.txt", pairs, is_target * 0.7 + noise[0] + 0.2 * quality)
        # Another order of lines.
        second = is_target * 70 + 100 * noise[1]
        write_scores(tmp_path / f"{name}.2.txt", pairs[::-1], second[::-1])
        (tmp_path / f"{name}.utt2dur").write_text("".join(f"{key} {value:.3f}\n" for key, value in seconds.items()))
        for part, keys in (("", ids), (".cohort", [f"c{row:02d}" for row in range(12)])):
            with open_ark(tmp_path / f"{name}{part}.ark", tmp_path / f"{name}{part}.scp") as ark:
                for key in keys:
                    ark.write(key, rng.uniform(1, 3) * rng.standard_normal(5))
    return tmp_path


def labels(path):
    return np.array([line.endswith(" target") for line in path.read_text().splitlines()])


def calibrated(scripts, data, systems, options=()):
    """Fit on the development set, apply to the test set, and return the Cllr there."""

    def words(name):
        scores = [f"{name}.{system}.txt" for system in systems]
        return [*scores, *(option.format(name) for option in options)]

    done = succeeds(scripts.run(CALIBRATE, "c.json", *words("dev"), "--fit", "dev.trials", cwd=data))
    assert re.fullmatch(r"c\.json: Cllr 0\.\d{4} on these 1770 development trials\n", done.stdout)
    succeeds(scripts.run(CALIBRATE, "c.json", *words("test"), "--apply", "out.txt", cwd=data))
    pairs = [line.split()[:2] for line in (data / "out.txt").read_text().splitlines()]
    assert pairs == [line.split()[:2] for line in (data / f"test.{systems[0]}.txt").read_text().splitlines()]
    is_target = {
        tuple(line.split()[:2]): line.endswith(" target") for line in (data / "test.trials").read_text().splitlines()
    }
    return cllr(read_scores(data / "out.txt"), np.array([is_target[tuple(pair)] for pair in pairs]))


def test_fusion_and_durations_lower_the_cost(scripts, data):
    alone = calibrated(scripts, data, [1])
    informed = calibrated(scripts, data, [1], ["--durations", "{}.utt2dur"])
    fused = calibrated(scripts, data, [2, 1], ["--durations", "{}.utt2dur"])
    assert fused < informed - 0.02 < alone - 0.04
    assert cllr(read_scores(data / "test.1.txt"), labels(data / "test.trials")) > alone


@pytest.mark.parametrize(
    "name", ["dev.trials", *(f"{part}.{kind}" for part in ("dev", "test") for kind in ("utt2dur", "map", "cohort2spk"))]
)
def test_a_change_of_anything_that_was_read_is_seen(scripts, data, name):
    for each in ("dev", "test"):
        ids = [line.split()[0] for line in (data / f"{each}.utt2dur").read_text().splitlines()]
        (data / f"{each}.map").write_text("".join(f"{key} {key}\n" for key in ids))
        (data / f"{each}.cohort2spk").write_text("".join(f"c{row:02d} of{row // 2}\n" for row in range(12)))
    for each, task in (("dev", ("--fit", "dev.trials")), ("test", ("--apply", "out.txt"))):
        options = ["--durations", f"{each}.utt2dur", "--embeddings", f"{each}.scp", "--enrol-map", f"{each}.map"]
        options += ["--cohort", f"{each}.cohort.scp", "--cohort-utt2spk", f"{each}.cohort2spk"]
        succeeds(scripts.run(CALIBRATE, "c.json", f"{each}.1.txt", *task, *options, cwd=data))
    judge = "steps/compute_metrics.py", "test.trials", "out.txt", "results", "--draws", "20"
    succeeds(scripts.run(*judge, cwd=data))
    lines = (data / name).read_text().splitlines(keepends=True)
    (data / name).write_text("".join(lines[1:]))
    fails(scripts.run(*judge, cwd=data), f"{name} has changed since this was made from it")


def test_every_measure_is_what_it_is_called(scripts, data):
    (data / "map").write_text("m0 s00-0 s00-1\nm1 s01-0 s01-1 s01-2\nm2 s02-1\n")
    pairs = [(f"m{model}", f"s{speaker:02d}-2") for model in range(3) for speaker in range(12)]
    is_target = np.array([int(a[1]) == int(b[1:3]) for a, b in pairs])
    scores = is_target + 0.5 * np.random.default_rng(5).standard_normal(len(pairs))
    write_scores(data / "s.txt", pairs, scores)
    lines = [f"{a} {b} {'target' if same else 'nontarget'}\n" for (a, b), same in zip(pairs, is_target, strict=True)]
    (data / "t").write_text("".join(lines))
    options = (
        "--enrol-map",
        "map",
        "--durations",
        "dev.utt2dur",
        "--embeddings",
        "dev.scp",
        "--cohort",
        "dev.cohort.scp",
    )
    succeeds(scripts.run(CALIBRATE, "c.json", "s.txt", "--fit", "t", *options, "--top-n", 4, cwd=data))

    x = {key: v.astype(np.float64) for key, v in zip(*read_vectors(data / "dev.scp"), strict=True)}
    cohort = [v / np.linalg.norm(v) for v in read_vectors(data / "dev.cohort.scp")[1].astype(np.float64)]
    seconds = {line.split()[0]: float(line.split()[1]) for line in (data / "dev.utt2dur").read_text().splitlines()}
    members = {line.split()[0]: line.split()[1:] for line in (data / "map").read_text().splitlines()}

    def side(name):
        keys = members.get(name, [name])
        direction = sum(x[key] / np.linalg.norm(x[key]) for key in keys)
        nearest = sorted(member @ direction / np.linalg.norm(direction) for member in cohort)[-4:]
        return (
            np.log(sum(seconds[key] for key in keys)),
            np.mean([np.linalg.norm(x[key]) for key in keys]),
            np.mean(nearest),
        )

    sides = np.array([[side(a), side(b)] for a, b in pairs])
    measures = {name: sides[:, :, at] for at, name in enumerate(("log-duration", "magnitude", "cohort-mean"))}
    expected = fit_calibration(np.round(scores, 6)[:, None], measures, is_target)
    found = read_calibration(data / "c.json")
    assert found.measures == ("log-duration", "magnitude", "cohort-mean")
    assert found.apply(scores[:, None], measures) == pytest.approx(expected.apply(scores[:, None], measures), rel=1e-3)


def test_bad_input_is_refused(scripts, data):
    def refused(message, *words, status=1):
        fails(scripts.run(CALIBRATE, "c.json", *words, cwd=data), message, status)

    fit = ("dev.1.txt", "--fit", "dev.trials")
    refused("dev.utt2dur:1: 's00-0 zero' is not a duration", *fit, "--durations", spoilt(data, "zero"))
    refused("dev.utt2dur:1: 's00-0 0' is not a duration", *fit, "--durations", spoilt(data, "0"))
    refused("is not in test.cohort.scp", *fit, "--embeddings", "test.cohort.scp")
    refused("--cohort needs --embeddings", *fit, "--cohort", "test.cohort.scp")
    refused("--cohort-utt2spk and --top-n say how --cohort is used", *fit, "--top-n", 3)
    refused("the prior is 2, but must be between 0 and 1", *fit, "--prior", 2)
    refused("one of the arguments --fit --apply is required", "dev.1.txt", status=2)
    refused("c.json: No such file", "dev.1.txt", "--apply", "out.txt")
    (data / "c.json").write_text("{}")
    refused("c.json: not a calibration file", "dev.1.txt", "--apply", "out.txt")
    refused("--prior and --allow-missing are for --fit", "dev.1.txt", "--apply", "out.txt", "--prior", 0.1)
    succeeds(scripts.run(CALIBRATE, "c.json", *fit, cwd=data))
    refused("c.json: the calibration is for 1 score files, not 2", "test.1.txt", "test.2.txt", "--apply", "out.txt")
    short = (data / "test.2.txt").read_text().splitlines(keepends=True)
    (data / "short.txt").write_text("".join(short[1:]))
    refused("has no score in short.txt (1 such)", "test.1.txt", "short.txt", "--apply", "out.txt")
    assert not (data / "out.txt").exists()
    lacking = (data / "dev.1.txt").read_text().splitlines(keepends=True)
    (data / "lacking.txt").write_text("".join(lacking[3:]))
    refused("has no score in lacking.txt (3 such)", "lacking.txt", "--fit", "dev.trials")
    done = succeeds(scripts.run(CALIBRATE, "c.json", "lacking.txt", "--fit", "dev.trials", "--allow-missing", cwd=data))
    assert "3 of 1770 trials left out" in done.stderr
    assert "on these 1767 development trials" in done.stdout
    both = ("lacking.txt", "dev.2.txt", "--fit", "dev.trials", "--allow-missing")
    done = succeeds(scripts.run(CALIBRATE, "c.json", *both, cwd=data))
    assert "on these 1767 development trials" in done.stdout
    (data / "more.txt").write_text("".join([*lacking, "x y 0.5\n"]))
    refused("'x y' is not a trial of dev.trials", "more.txt", "--fit", "dev.trials")


def test_what_measures_are_made_of_is_checked(scripts, data):
    measures = ("--embeddings", "dev.scp", "--cohort", "dev.cohort.scp")
    fit = ("dev.1.txt", "--fit", "dev.trials")
    succeeds(scripts.run(CALIBRATE, "c.json", *fit, *measures, "--top-n", 4, cwd=data))
    apply = (CALIBRATE, "c.json", "dev.1.txt", "--apply", "out.txt", *measures)
    fails(scripts.run(*apply, "--top-n", 5, cwd=data), "c.json: the calibration was fitted with top-n 4, not 5")
    fails(scripts.run(*apply, cwd=data), "c.json: the calibration was fitted with top-n 4, not the default")
    assert not (data / "out.txt").exists()
    succeeds(scripts.run(*apply, "--top-n", 4, cwd=data))
    (data / "map").write_text("m0 s00-0\n")
    alone = scripts.run(CALIBRATE, "d.json", *fit, "--enrol-map", "map", cwd=data)
    fails(alone, "--enrol-map says what quality measures are of; give --durations or --embeddings")


def test_an_utterance_without_a_measure_is_found_by_its_line(scripts, data):
    trials = [line.split()[:2] for line in (data / "dev.trials").read_text().splitlines()]
    lines = (data / "dev.1.txt").read_text().splitlines(keepends=True)
    (data / "lacking.txt").write_text("".join(lines[100:]))
    durations = (data / "dev.utt2dur").read_text().splitlines(keepends=True)

    def fit_without(utterance):
        (data / "short").write_text("".join(line for line in durations if line.split()[0] != utterance))
        options = ("--fit", "dev.trials", "--allow-missing", "--durations", "short")
        return scripts.run(CALIBRATE, "c.json", "lacking.txt", *options, cwd=data)

    last = trials[-1][0]
    first = next(number for number, pair in enumerate(trials, start=1) if pair[0] == last)
    done = fit_without(last)
    assert done.returncode == 1
    assert f"dev.trials:{first}: '{last}' is not in short (59 such)" in done.stderr
    # What only trials without a score are of needs no measure.
    left_out = [pair for pair in trials if "s00-0" in pair]
    scored = [line for line in lines if line.split()[:2] not in left_out]
    (data / "lacking.txt").write_text("".join(scored))
    assert "59 of 1770 trials left out" in succeeds(fit_without("s00-0")).stderr


def spoilt(data, value):
    lines = (data / "dev.utt2dur").read_text().splitlines(keepends=True)
    (data / "dev.utt2dur").write_text("".join([f"s00-0 {value}\n", *lines[1:]]))
    return "dev.utt2dur"


@pytest.fixture
def recordings(tmp_path):
    encoder = tiny_encoder(num_bins=20, feature={"type": "fbank", "num_mel_bins": 20})
    save_encoder(encoder, tmp_path / "final.pt")
    x, seconds = [], []
    for name, speaker, duration in (("a", 0, 0.7), ("b", 1, 1.2)):
        soundfile.write(tmp_path / f"{name}.wav", voice(speaker, 0, duration), 16000, subtype="FLOAT")
        samples = voice(speaker, 0, duration).astype(np.float32)
        x.append(embed_matrices(encoder, [compute(encoder.feature, samples)])[0].astype(np.float64))
        seconds.append(len(samples) / 16000)
    return tmp_path, np.stack(x), seconds


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_what_makes_a_comparison_doubtful_is_said_beside_it(scripts, recordings):
    folder = recordings[0]
    samples = soundfile.read(folder / "a.wav")[0]
    narrow = resample_poly(resample_poly(np.random.default_rng(0).standard_normal(32000) / 20, 1, 2), 2, 1)
    for name, changed in {
        "short": samples[:8000],
        "quiet": np.random.default_rng(0).standard_normal(32000) / 1000,
        "narrow": narrow,
        "clipped": np.clip(np.random.default_rng(0).standard_normal(32000), -1, 1),
    }.items():
        soundfile.write(folder / f"{name}.wav", changed, 16000)
    done = succeeds(scripts.run(VERIFY, "short.wav", "quiet.wav", "--model", "final.pt", cwd=folder))
    assert done.stdout.startswith("score ")
    assert done.stderr.splitlines() == [
        "verify.py: warning: short.wav: 0.50 s long, shorter than 1 s",
        "verify.py: warning: quiet.wav: quiet, its loudest 0.1 s is at -60 dB of full scale",
    ]
    done = succeeds(scripts.run(VERIFY, "narrow.wav", "clipped.wav", "--model", "final.pt", cwd=folder))
    first, second = done.stderr.splitlines()
    assert first.endswith("narrow.wav: nothing above 4 kHz, it was sampled at 8 kHz once, as telephone speech is")
    assert "clipped.wav: clipped, 3" in second


def test_a_channel_of_two_is_compared(scripts, recordings):
    folder = recordings[0]
    both = [soundfile.read(folder / name)[0] for name in ("a.wav", "b.wav")]
    length = min(map(len, both))
    soundfile.write(folder / "stereo.wav", np.stack([samples[:length] for samples in both], 1), 16000)
    soundfile.write(folder / "first.wav", both[0][:length], 16000)
    words = (VERIFY, "stereo.wav", "first.wav", "--model", "final.pt", "--channel", 0)
    assert succeeds(scripts.run(*words, cwd=folder)).stdout == "score 1.0000\n"
    assert succeeds(scripts.run(*words[:-2], cwd=folder)).stdout != "score 1.0000\n"


def test_two_recordings_are_compared(scripts, recordings):
    folder, x, seconds = recordings
    words = (VERIFY, "a.wav", "b.wav", "--model", "final.pt")
    assert succeeds(scripts.run(*words, cwd=folder)).stdout == f"score {cosine(*x):.4f}\n"
    write_single(folder / "mean", x[0] / 2)
    done = succeeds(scripts.run(*words, "--mean", "mean", cwd=folder))
    assert done.stdout == f"score {cosine(*(x - x[0] / 2)):.4f}\n"

    with open_ark(folder / "centre.ark", folder / "centre.scp") as ark:
        ark.write("u1", x[0].astype(np.float32))
        ark.write("u2", np.zeros(x.shape[1], np.float32))
    assert succeeds(scripts.run(*words, "--mean", "centre.scp", cwd=folder)).stdout == done.stdout

    rng = np.random.default_rng(0)
    is_target = np.arange(4000) < 1000
    scores = (0.2 * is_target + cosine(*x) - 0.1 + 0.1 * rng.standard_normal(4000))[:, None]
    measures = {"log-duration": rng.uniform(-1, 3, (4000, 2)), "magnitude": rng.uniform(0, 9, (4000, 2))}
    calibration = fit_calibration(scores, measures, is_target, 0.3)
    write_calibration(folder / "c.json", calibration)
    sides = {"log-duration": np.log([seconds]), "magnitude": np.linalg.norm(x, axis=1)[None]}
    ratio = calibration.apply(np.array([[cosine(*x)]]), sides)[0]
    for options, threshold in (
        ((), np.log(0.7 / 0.3)),
        (("--prior", 0.5), 0.0),
        (("--prior", 0.500001), 0.0),
        (("--prior", 0.999), np.log(0.001 / 0.999)),
        (("--prior", 0.001), np.log(999)),
        (("--false-alarm", 0.01), calibration.threshold(0.01)),
    ):
        lines = succeeds(scripts.run(*words, "--calibration", "c.json", *options, cwd=folder)).stdout.splitlines()
        assert float(lines[1].removeprefix("log-likelihood ratio ")) == pytest.approx(ratio, abs=1e-3)
        decision = "same speaker" if ratio >= threshold else "different speakers"
        assert lines[2] == f"decision: {decision} (threshold {threshold:.4f})"


def test_questions_without_an_answer(scripts, recordings):
    folder, _, _ = recordings

    def refused(message, *words, status=1):
        fails(scripts.run(VERIFY, *words, cwd=folder), message, status)

    words = ("a.wav", "b.wav", "--model", "final.pt")
    refused("--prior and --false-alarm need --calibration", *words, "--prior", 0.1)
    refused("--mean data: two recordings have no mean to speak of; give the embedding.scp", *words, "--mean", "data")
    refused("c.wav", "a.wav", "c.wav", "--model", "final.pt")
    refused("not allowed with argument", *words, "--prior", 0.1, "--false-alarm", 0.1, status=2)
    soundfile.write(folder / "short.wav", np.sin(np.arange(20)), 16000)
    refused("short.wav: 20 samples are shorter than one frame", "a.wav", "short.wav", "--model", "final.pt")
    for name, samples in {"zeros": np.zeros(16000), "equal": np.full(16000, 0.1)}.items():
        soundfile.write(folder / f"{name}.wav", samples, 16000)
        refused(f"{name}.wav: silence, all samples are ", "a.wav", f"{name}.wav", "--model", "final.pt")
    refused("a.wav: there is no channel 1, it has 1", *words, "--channel", "1")
    refused("channel 'left': is mean, or the number of one channel", *words, "--channel", "left")
    save_encoder(tiny_encoder(), folder / "unknown.pt")
    refused("unknown.pt: trained on features of an unknown front end", "a.wav", "b.wav", "--model", "unknown.pt")
    rng = np.random.default_rng(0)
    is_target = np.arange(100) < 50
    scores = (is_target + rng.standard_normal(100))[:, None]
    write_calibration(folder / "c.json", fit_calibration(scores, {"cohort-mean": rng.random((100, 2))}, is_target))
    refused("needs the quality measure 'cohort-mean'", *words, "--calibration", "c.json")
    refused("can tell rates from 0.2 to 0.5", *words, "--calibration", "c.json", "--false-alarm", 0.01)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("dev.trials", "dev.1.txt", "--fit", "dev.trials"), "fit"),
        (("dev.2.txt", "dev.1.txt", "dev.2.txt", "--fit", "dev.trials"), "scores"),
        (("c.json", "test.1.txt", "--apply", "./test.1.txt"), "scores"),
        (("c.json", "test.1.txt", "--apply", "c.json"), "calibration"),
    ],
)
def test_an_input_is_not_overwritten(scripts, data, words, name):
    succeeds(scripts.run(CALIBRATE, "c.json", "dev.1.txt", "--fit", "dev.trials", cwd=data))
    before = {path: path.read_bytes() for path in data.iterdir() if path.is_file()}
    done = scripts.run(CALIBRATE, *words, cwd=data)
    fails(done, f"is to be written and is read too, as '{name}'; give another file")
    assert {path: path.read_bytes() for path in data.iterdir() if path.is_file()} == before
