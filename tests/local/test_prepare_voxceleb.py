"""local/prepare_voxceleb.py on a small VoxCeleb of the real layout: downloaded, converted, divided, refused."""

import hashlib
import io
import itertools
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from adapters import prepare, refusal, sound
from fileserver import FileServer

import prepare_voxceleb
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lists.trials import read_trials
from vouch.kaldi.tables import read_table
from voxceleb import parts, protocol

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "prepare_voxceleb.py"
VIDEOS = ("1zcIwhmdeo4", "-_x-9aBcDeF")
DEV = ("id10001", "id10002", "id11198", "id11199", "id11220", "id11239", "id11240")
TEST = ("id10270", "id10271", "id10309")
VOX2 = tuple(f"id{number:05d}" for number in range(12, 36))
PATHS = [f"{video}/0000{number}.wav" for video in VIDEOS for number in (1, 2)]
FFMPEG = '#!/bin/sh\nfor target; do :; done\ncp "$RECORDING" "${target#file:}"\n'


def speakers(folder, names, suffix=".wav"):
    for name in names:
        for path in PATHS:
            target = folder / name / path.replace(".wav", suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("aac") if suffix == ".m4a" else sound(target)


def trial_list(path, names):
    """All pairs of the first utterances of both videos of each speaker, and of neighbours, as the published lists."""
    lines = [f"1 {name}/{PATHS[0]} {name}/{PATHS[2]}\n" for name in names]
    lines += [f"0 {one}/{PATHS[0]} {other}/{PATHS[3]}\n" for one, other in itertools.pairwise(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The folders as they are after unpacking and conversion, with the lists; never written to."""
    root = tmp_path_factory.mktemp("corpus")
    speakers(root / "voxceleb1/dev/wav", DEV)
    speakers(root / "voxceleb1/test/wav", TEST)
    speakers(root / "voxceleb2/dev/wav", VOX2)
    for name in ("veri_test.txt", "veri_test2.txt"):
        trial_list(root / "meta" / name, TEST)
    for name in ("list_test_all2.txt", "list_test_hard2.txt"):
        trial_list(root / "meta" / name, DEV + TEST)
    return root


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(FFMPEG)
    (folder / "ffmpeg").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORDING", str(sound(tmp_path / "recording.wav")))


def zipped(folder, inside):
    """The content of a zip archive with all files of a folder, below `inside`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"{inside}/{path.relative_to(folder)}")
    return content.getvalue()


def speakers_of(folder):
    return set(DataDir.load(folder, need=("wav.scp",)).utt2spk.values())


def publish(monkeypatch, module, name, content):
    """Put an archive of other content in the place of a real one; returns the files that a server must have."""
    archive = getattr(module, name)
    step = len(content) // max(1, len(archive.pieces)) + 1
    pieces = {piece: content[n * step : (n + 1) * step] for n, piece in enumerate(archive.pieces)}
    sums = {piece: hashlib.md5(data).hexdigest() for piece, data in pieces.items()}
    monkeypatch.setattr(module, name, archive._replace(md5=hashlib.md5(content).hexdigest(), pieces=sums))
    return pieces or {archive.name: content}


@pytest.fixture
def web(tmp_path, monkeypatch, corpus):
    """A server of the whole corpus, with the key "the-key" for the archives and none for the lists."""
    speakers(tmp_path / "vox2", VOX2, ".m4a")
    files = {
        **publish(monkeypatch, prepare_voxceleb, "VOX1_DEV", zipped(corpus / "voxceleb1/dev/wav", "wav")),
        **publish(monkeypatch, prepare_voxceleb, "VOX1_TEST", zipped(corpus / "voxceleb1/test/wav", "wav")),
        **publish(monkeypatch, parts, "VOX2_DEV", zipped(tmp_path / "vox2", "dev/aac")),
    }
    monkeypatch.setenv("no_proxy", "*")
    lists = {name: (corpus / "meta" / name).read_bytes() for name in ("veri_test.txt", "veri_test2.txt")}
    with FileServer(files) as web, FileServer(lists) as meta:
        web.key = "the-key"
        web.options = ("--url", web.address + "/download?file={name}&key={key}", "--meta-url", meta.address + "/{name}")
        yield web


def test_everything_from_nothing(tmp_path, monkeypatch, web, ffmpeg):
    data = tmp_path / "data"
    monkeypatch.setenv("VOXCELEB_KEY", "wrong-key")
    message = refusal(prepare_voxceleb, data, *web.options, "--train-on", "both")
    assert message.startswith(f"{web.address}/download?...: the server refuses access (403 Forbidden); the key")
    monkeypatch.setenv("VOXCELEB_KEY", "the-key")
    web.cuts = [50, 100]
    output, warnings, _ = prepare(prepare_voxceleb, data, *web.options, "--train-on", "both")
    asked = Counter(path.partition("file=")[2].partition("&")[0] for path, _ in web.requests)
    assert asked == dict.fromkeys(web.files, 1) | {"vox1_test_wav.zip": 4}  # refused once, broken off twice
    counts = {"veri_test2.txt": 37611, "veri_test.txt": 37720}
    assert warnings == [f"{data}/meta/{name}: 5 trials, the published list has {n}" for name, n in counts.items()]
    assert "the-key" not in output
    assert speakers_of(data / "valid") == {"id11199", "id11220", "id11239"}
    assert speakers_of(data / "train") == {"id10001", "id10002", "id11198", "id11240", *VOX2}
    assert len(list((data / "voxceleb2/dev/wav").rglob("*.wav"))) == 4 * len(VOX2)
    # Again, with neither server nor archives, and without ffmpeg.
    before = {path: path.read_bytes() for path in data.glob("t*/*")}
    for path in (data / "archives").iterdir():
        path.unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    prepare(prepare_voxceleb, data, "--train-on", "both")
    assert {path: path.read_bytes() for path in data.glob("t*/*")} == before


def test_train_on_vox2_and_test_on_all_lists(tmp_path, corpus):
    data = tmp_path / "data"
    done = prepare(prepare_voxceleb, data, "--root", corpus, "--trials", "O,O-original,E,H", "--nj", 2)
    train, valid, test = (speakers_of(data / name) for name in ("train", "valid", "test"))
    assert len(valid) == 2 and train | valid == set(VOX2) and not train & valid
    assert test == set(DEV + TEST)
    assert sorted(path.name for path in (data / "test").glob("trials*")) == [
        "trials_E", "trials_H", "trials_O", "trials_O-original",
    ]  # fmt: skip
    trials = read_trials(data / "test" / "trials_O")
    assert trials.enrol[0] == "id10270-1zcIwhmdeo4-00001" and trials.test[0] == "id10270--_x-9aBcDeF-00001"
    assert trials.is_target.tolist() == [True] * 3 + [False] * 2
    assert len(read_trials(data / "test" / "trials_E").enrol) == 19
    # Only what the lists name is embedded.
    tested = DataDir.load(data / "test", need=("wav.scp",))
    assert len(tested.utt2spk) == 3 * 10 - 1
    assert tested.wav_scp["id10001-1zcIwhmdeo4-00001"] == f"{corpus}/voxceleb1/dev/wav/id10001/{PATHS[0]}"
    assert set(read_table(data / "test" / "utt2dur").values()) == {"0.050"}
    validation = read_trials(data / "valid" / "trials")
    pairs = [(e.split("-", 1)[1][:11], t.split("-", 1)[1][:11]) for e, t in zip(*validation[:2], strict=True)]
    assert all(one != other for (one, other), t in zip(pairs, validation.is_target, strict=True) if t)
    assert validation.is_target.sum() == 8 and len(validation.is_target) == 16
    assert "trials_O: 3 target, 2 nontarget" in done.output


def test_train_on_vox1(tmp_path, corpus):
    data = tmp_path / "data"
    prepare(prepare_voxceleb, data, "--root", corpus, "--train-on", "vox1", "--trials", "O")
    assert speakers_of(data / "train") == {"id10001", "id10002", "id11198", "id11240"}
    assert speakers_of(data / "valid") == {"id11199", "id11220", "id11239"}
    assert speakers_of(data / "test") == set(TEST)


def test_lists_of_voxceleb_trainer(tmp_path, corpus):
    lines = [f"{name} {name}/{path}\n" for name in VOX2[:20] for path in PATHS[:3]]
    lines += [f"{VOX2[20]} voxceleb2/dev/wav/{VOX2[20]}/{PATHS[0]}\n", f"{VOX2[21]} {VOX2[21]}-1zcIwhmdeo4-00002 x\n"]
    (tmp_path / "train_list.txt").write_text("".join(lines))
    own = trial_list(tmp_path / "my list.txt", ("id10001", "id10270"))
    data = tmp_path / "data"
    lists = ("--train-list", tmp_path / "train_list.txt", "--trials", f"{own},O")
    prepare(prepare_voxceleb, data, "--root", corpus, *lists)
    sets = [DataDir.load(data / name).utt2spk for name in ("train", "valid")]
    assert len(sets[0]) + len(sets[1]) == 62
    assert {*sets[0].values(), *sets[1].values()} == set(VOX2[:22])
    assert sorted(path.name for path in (data / "test").glob("trials*")) == ["trials_O", "trials_my_list"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("id00012", "1: 'id00012' is not '<speaker> <path>'"),
        ("id00012 id00012/1zcIwhmdeo4/00009.wav", "1: 'id00012/1zcIwhmdeo4/00009.wav' is neither a file below"),
        ("id00013 id00012/1zcIwhmdeo4/00001.wav", "1: 'id00012/1zcIwhmdeo4/00001.wav' is of 'id00012' and not of"),
        ("id00012 id00012/1zcIwhmdeo4/00001.wav\n" * 2, "2: 'id00012/1zcIwhmdeo4/00001.wav' is there twice"),
        ("id10001 id10001/1zcIwhmdeo4/00001.wav", "1: 'id10001/1zcIwhmdeo4/00001.wav' is neither a file below"),
    ],
)
def test_a_train_list_with_a_mistake(tmp_path, corpus, line, words):
    path = tmp_path / "list"
    path.write_text(line.rstrip() + "\n")
    message = refusal(prepare_voxceleb, tmp_path / "data", "--root", corpus, "--train-list", path)
    assert message.startswith(f"{path}:{words}")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trials", "O,E", "--train-on", "both"), "--trials O,E: E and H test on the development speakers of"),
        (("--trials", "Q"), "unknown trial list, nor is there a file of this name: 'Q' (choose from: O, O-original, E"),
        (("--trials", "O,O"), "--trials O,O: 'O' would be 'trials_O', as "),
        (("--url", "https://me:secret@x/{name}"), "--url: holds a user or password"),
        (("--nj", "0"), "--nj 0: must be at least 1"),
        (("--train-on", "vox3"), "prepare_voxceleb.py: error: argument --train-on: unknown value 'vox3'"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_done(tmp_path, corpus, options, words):
    message = refusal(prepare_voxceleb, tmp_path / "data", "--root", corpus, *options)
    assert words in message and "secret" not in message
    assert not (tmp_path / "data").exists()


def test_own_trials_of_trained_speakers(tmp_path, corpus):
    (tmp_path / "own").write_text(f"1 id10270/{PATHS[0]} id10270/{PATHS[1]}\n0 id10270/{PATHS[0]} id11199/{PATHS[0]}\n")
    options = ("--root", corpus, "--train-on", "vox1", "--trials", tmp_path / "own")
    assert refusal(prepare_voxceleb, tmp_path / "data", *options) == (
        "trials_own:2: id11199 is a speaker that is trained or validated on; --train-on vox2 leaves all of VoxCeleb1"
        " for testing"
    )
    (tmp_path / "own").write_text(f"0 id10270/{PATHS[0]} id10270/{PATHS[1]}\n1 id10270/{PATHS[0]} id10271/{PATHS[0]}\n")
    done = prepare(prepare_voxceleb, tmp_path / "data", *options)
    assert done.warnings == ["trials_own: 2 of 2 trials are labelled against their folders"]


def test_without_ffmpeg_nothing_is_downloaded_that_it_would_have_to_convert(tmp_path, monkeypatch):
    root = tmp_path / "corpus"
    speakers(root / "voxceleb1/test/wav", TEST)
    trial_list(root / "meta/veri_test2.txt", TEST)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refusal(prepare_voxceleb, tmp_path / "data", "--root", root, "--trials", "O")
    assert message == f"{root}: VoxCeleb2 comes as m4a files, and ffmpeg, which converts them, is not installed"


def test_m4a_as_it_is_and_recordings_that_are_left_out(tmp_path, monkeypatch):
    root = tmp_path / "corpus"
    speakers(root / "voxceleb1/test/wav", TEST)
    speakers(root / "voxceleb2/dev/aac", VOX2, ".m4a")
    trial_list(root / "meta/veri_test2.txt", TEST)
    probe = tmp_path / "bin"
    probe.mkdir()
    answer = '{"streams": [{"codec_name": "aac"}], "format": {"duration": "2.5"}}'
    (probe / "ffprobe").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (probe / "ffprobe").chmod(0o700)
    (probe / "ffmpeg").symlink_to(probe / "ffprobe")
    monkeypatch.setenv("PATH", f"{probe}:{os.environ['PATH']}")
    (root / "voxceleb2/dev/aac" / VOX2[0] / VIDEOS[0] / "00001.m4a").write_bytes(b"")
    options = ("--root", root, "--encoding", "m4a", "--trials", "O")
    train = tmp_path / "train_list"
    train.write_text("".join(f"{name} {name}/{path}\n" for name in VOX2 for path in PATHS[1:]))
    done = prepare(prepare_voxceleb, tmp_path / "data", *options, "--train-list", train)
    assert done.warnings[1] == f"{root}/voxceleb2/dev/aac/{VOX2[0]}/{VIDEOS[0]}/00001.m4a: left out: 0 bytes"
    made = DataDir.load(tmp_path / "data" / "train", need=("wav.scp",))
    assert all(path.endswith(".m4a") for path in made.wav_scp.values())
    train.write_text(f"{VOX2[0]} {VOX2[0]}/{PATHS[0]}\n")
    message = refusal(prepare_voxceleb, tmp_path / "data", *options, "--train-list", train)
    assert message == f"{train}:1: '{VOX2[0]}/{PATHS[0]}' was left out: 0 bytes"


def test_the_script_itself_ends_in_one_line_without_the_secret(tmp_path):
    environment = {**os.environ, "VOXCELEB_USER": "me", "VOXCELEB_PASSWORD": "s3cret", "no_proxy": "*"}
    trial_list(tmp_path / "list", TEST)
    with FileServer({}) as web:
        web.login = "me:other"
        done = subprocess.run(
            [
                sys.executable,
                SCRIPT,
                tmp_path / "data",
                "--url",
                web.address + "/{name}",
                "--trials",
                tmp_path / "list",
            ],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.count("\n") == 1 and "refuses access (401 Unauthorized)" in done.stderr
    assert "s3cret" not in done.stderr


def test_held_out_speakers_are_those_of_the_protocol():
    assert len(protocol.VALID_SPEAKERS) == 41
    assert min(protocol.VALID_SPEAKERS) == "id11199" and max(protocol.VALID_SPEAKERS) == "id11239"
    assert len(protocol.valid_speakers("vox2", [f"id{number:05d}" for number in range(5994)])) == 41
