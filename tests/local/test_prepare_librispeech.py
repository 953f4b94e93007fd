"""local/prepare_librispeech.py on small parts of the real layout."""

import hashlib
import io
import tarfile

from adapters import prepare, refusal, sound
from fileserver import FileServer

import prepare_librispeech
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lists.trials import read_trials

# Speakers and chapters of each part, two utterances a chapter; "19" and "198" as in the corpus.
PARTS = {
    "train-clean-5": {"19": ["198"], "198": ["209", "126831"], "26": ["495"], "32": ["1", "2"]},
    "dev-clean-2": {"84": ["121123", "121550"], "777": ["126732"]},
    "train-clean-100": {"103": ["1240"], "1034": ["121119"]},
    "train-clean-360": {"14": ["208"]},
    "train-other-500": {"20": ["205"]},
    "dev-clean": {"174": ["50561"], "251": ["118436"]},
    "dev-other": {"116": ["288045"]},
    "test-clean": {"61": ["70968"], "121": ["121726"]},
    "test-other": {"367": ["130732"], "533": ["131556"]},
}


def make_part(root, part):
    for speaker, chapters in PARTS[part].items():
        for chapter in chapters:
            folder = root / "LibriSpeech" / part / speaker / chapter
            for number in range(2):
                sound(folder / f"{speaker}-{chapter}-{number:04d}.flac")
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("words\n")
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("; words\n")


def speakers_of(folder):
    return set(DataDir.load(folder, need=("wav.scp",)).utt2spk.values())


def test_mini(tmp_path):
    make_part(tmp_path, "train-clean-5")
    make_part(tmp_path, "dev-clean-2")
    prepare(prepare_librispeech, tmp_path / "data", "--root", tmp_path, "--subset", "mini")
    sets = {name: speakers_of(tmp_path / "data" / name) for name in ("train", "valid", "test")}
    assert sets["train"] | sets["valid"] == {*PARTS["train-clean-5"]} and len(sets["valid"]) == 2
    assert sets["test"] == {*PARTS["dev-clean-2"]}
    made = DataDir.load(tmp_path / "data" / "test", need=("wav.scp",))
    assert made.wav_scp["84-121123-0000"] == f"{tmp_path}/LibriSpeech/dev-clean-2/84/121123/84-121123-0000.flac"
    trials = read_trials(tmp_path / "data" / "test" / "trials")
    for enrol, test, is_target in zip(*trials, strict=True):
        across = enrol.split("-")[1] != test.split("-")[1]
        assert is_target == (enrol.split("-")[0] == test.split("-")[0])
        assert not is_target or across or enrol.startswith("777-")


def test_full(tmp_path):
    for part in PARTS:
        make_part(tmp_path, part)
    prepare(prepare_librispeech, tmp_path / "data", "--root", tmp_path)
    assert speakers_of(tmp_path / "data" / "train") == {"103", "1034", "14", "20"}
    assert speakers_of(tmp_path / "data" / "valid") == {"174", "251", "116"}
    assert speakers_of(tmp_path / "data" / "test") == {"61", "121"}
    assert speakers_of(tmp_path / "data" / "test_other") == {"367", "533"}
    prepare(prepare_librispeech, tmp_path / "data", "--root", tmp_path, "--subset", "clean100")
    assert speakers_of(tmp_path / "data" / "train") == {"103", "1034"}


def test_download(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    files = {}
    for part in ("train-clean-5", "dev-clean-2"):
        make_part(tmp_path / part, part)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            archive.add(tmp_path / part / "LibriSpeech", "LibriSpeech")
        files[f"{part}.tar.gz"] = content.getvalue()
        monkeypatch.setitem(prepare_librispeech.MD5, part, hashlib.md5(content.getvalue()).hexdigest())
    with FileServer(files) as web:
        prepare(prepare_librispeech, tmp_path / "data", "--subset", "mini", "--url", web.address + "/31/{name}")
    assert speakers_of(tmp_path / "data" / "test") == {*PARTS["dev-clean-2"]}
    assert (tmp_path / "data" / "LibriSpeech" / "SPEAKERS.TXT").exists()


def test_something_else_in_the_folder(tmp_path):
    make_part(tmp_path, "dev-clean-2")
    make_part(tmp_path, "train-clean-5")
    odd = sound(tmp_path / "LibriSpeech" / "train-clean-5" / "19" / "198" / "other.flac")
    message = refusal(prepare_librispeech, tmp_path / "data", "--root", tmp_path, "--subset", "mini")
    assert message == f"{odd}: its name does not begin with its speaker and chapter"


def test_the_real_addresses():
    parts = [
        part for subset in prepare_librispeech.SUBSETS.values() for found in subset.sets.values() for part in found
    ]
    assert set(parts) == set(prepare_librispeech.MD5)
    assert all(len(md5) == 32 and int(md5, 16) for md5 in prepare_librispeech.MD5.values())
