"""local/prepare_musan.py and local/prepare_rirs.py on small trees of the real layouts."""

import hashlib
import io
import tarfile
import zipfile

import pytest
from adapters import prepare, refusal, sound
from fileserver import FileServer

import prepare_musan
import prepare_rirs
from vouch.augment.collect import Collection
from vouch.kaldi.datadirs.datadir import DataDir

MUSAN = [
    "noise/free-sound/noise-free-sound-0000.wav",
    "noise/sound-bible/noise-sound-bible-0000.wav",
    "music/fma/music-fma-0000.wav",
    "music/jamendo/music-jamendo-0001.wav",
    "speech/librivox/speech-librivox-0000.wav",
    "speech/us-gov/speech-us-gov-0000.wav",
]
RIRS = {
    "simulated_rirs/smallroom": ["Room001/Room001-00001.wav", "Room001/Room001-00002.wav", "Room200/Room200-00100.wav"],
    "simulated_rirs/mediumroom": ["Room001/Room001-00001.wav"],
    "simulated_rirs/largeroom": ["Room001/Room001-00001.wav"],
    "real_rirs_isotropic_noises": ["RVB2014_type1_rir_largeroom1_far_angla.wav", "air_type1_air_booth_0_0_1.wav"],
    "pointsource_noises": ["noise-free-sound-0000.wav"],
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def load(folder):
    return DataDir.load(folder, need=("wav.scp",))


def musan(root):
    for name in MUSAN:
        sound(root / "musan" / name)
    (root / "musan" / "README").write_text("words\n")
    (root / "musan" / "noise" / "free-sound" / "ANNOTATIONS").write_text("words\n")
    return root


def rirs(root):
    for part, names in RIRS.items():
        for name in names:
            sound(root / "RIRS_NOISES" / part / name, channels=8 if part.startswith("real") else 1)
        (root / "RIRS_NOISES" / part / "rir_list").write_text("")
    real = root / "RIRS_NOISES" / "real_rirs_isotropic_noises"
    sound(real / "RVB2014_type1_noise_largeroom1_1.wav")
    lines = [f"--rir-id 1 --room-id room RIRS_NOISES/{real.name}/{name}\n" for name in RIRS[real.name]]
    (real / "rir_list").write_text("".join(lines))
    return root


def test_musan_from_nothing(tmp_path, monkeypatch):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(musan(tmp_path / "made") / "musan", "musan")
    archive = prepare_musan.MUSAN._replace(md5=hashlib.md5(content.getvalue()).hexdigest())
    monkeypatch.setattr(prepare_musan, "MUSAN", archive)
    data = tmp_path / "data"
    with FileServer({"musan.tar.gz": content.getvalue()}) as web:
        done = prepare(prepare_musan, data, "--url", web.address + "/17/{name}")
    assert f"augment with: --musan {data}/musan\n" in done.output
    assert load(data / "noise").utt2spk == {"noise-free-sound-0000": "noise", "noise-sound-bible-0000": "noise"}
    assert load(data / "speech").wav_scp["speech-us-gov-0000"] == f"{data}/musan/{MUSAN[-1]}"
    found = Collection({kind: data / "musan" / kind for kind in ("noise", "music", "speech")}, 16000).find()
    assert {kind: len(names) for kind, names in found.names.items()} == {"noise": 2, "music": 2, "speech": 2}


def test_a_folder_that_is_only_shaped_like_musan(tmp_path):
    sound(tmp_path / "musan" / "noise" / "esc" / "1-100032-A-0.flac")
    prepare(prepare_musan, tmp_path / "data", "--root", tmp_path)
    assert load(tmp_path / "data" / "noise").utt2spk == {"noise-esc-1-100032-A-0": "noise"}
    assert not (tmp_path / "data" / "music").exists()


def test_rirs_from_nothing(tmp_path, monkeypatch):
    made, content = rirs(tmp_path / "made"), io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(made.rglob("*")):
            archive.write(path, path.relative_to(made))
    monkeypatch.setattr(prepare_rirs, "MD5", hashlib.md5(content.getvalue()).hexdigest())
    data = tmp_path / "data"
    with FileServer({"rirs_noises.zip": content.getvalue()}) as web:
        url = ("--url", web.address + "/28/{name}")
        prepare(prepare_rirs, data, *url)
        assert sorted(path.name for path in (data / "RIRS_NOISES").iterdir()) == ["simulated_rirs"]
        prepare(prepare_rirs, data, *url, "--parts", "real,largeroom")
        assert len(web.requests) == 1
    assert load(data / "smallroom").utt2spk == {
        f"smallroom-Room{room}": "smallroom" for room in ("001-00001", "001-00002", "200-00100")
    }
    assert load(data / "mediumroom").utt2spk.keys() == {"mediumroom-Room001-00001"}
    assert load(data / "real").wav_scp == {
        f"real-{name[:-4]}": f"{data}/RIRS_NOISES/real_rirs_isotropic_noises/{name}"
        for name in RIRS["real_rirs_isotropic_noises"]
    }
    assert not (data / "RIRS_NOISES" / "pointsource_noises").exists()


def test_rirs_that_are_there(tmp_path):
    rirs(tmp_path)
    prepare(prepare_rirs, tmp_path / "data", "--root", tmp_path, "--parts", ",".join(prepare_rirs.PARTS))
    assert load(tmp_path / "data" / "pointsource").utt2spk == {"pointsource-noise-free-sound-0000": "pointsource"}


def test_hidden_files_are_no_responses(tmp_path):
    rirs(tmp_path)
    room = tmp_path / "RIRS_NOISES" / "simulated_rirs" / "smallroom" / "Room001"
    (room / "._Room001-00001.wav").write_bytes(b"\x00\x05\x16\x07")
    prepare(prepare_rirs, tmp_path / "data", "--root", tmp_path, "--parts", "smallroom")
    assert load(tmp_path / "data" / "smallroom").utt2spk.keys() == {
        f"smallroom-Room{room}" for room in ("001-00001", "001-00002", "200-00100")
    }


def test_mistakes(tmp_path):
    message = refusal(prepare_rirs, tmp_path, "--parts", "smalroom")
    assert message == "unknown part 'smalroom' (did you mean 'smallroom'?)"
    (tmp_path / "noise").mkdir()
    assert "was not made by stage 0" in refusal(prepare_musan, tmp_path)
