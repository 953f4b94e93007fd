"""Conversion of a tree by a program in the place of ffmpeg, and by ffmpeg where there is one."""

import os
import shutil
import subprocess

import pytest
import soundfile
from adapters import sound

from vouch.audio.reading import read_audio
from vouch.base.errors import VouchError
from vouch.corpora.conversion import convert_tree

# Copies what it is given, as "converted:<content>", unless the name says otherwise; writes down how it was called.
PROGRAM = """#!/bin/sh
echo "$*" >> "$FFMPEG_CALLS"
while [ "$1" != -i ]; do shift; done
source=${2#file:}
for target; do :; done
target=${target#file:}
case $source in
  *broken*) printf half > "$target"; echo 'moov atom
 not   found' >&2; exit 1 ;;
  *empty*) : > "$target" ;;
  *) printf 'converted:' > "$target"; cat "$source" >> "$target" ;;
esac
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Put the program first on PATH; returns a function that gives the calls so far."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(PROGRAM)
    (folder / "ffmpeg").chmod(0o700)
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FFMPEG_CALLS", str(calls))
    return lambda: calls.read_text().splitlines()


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def everything(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_tree_is_converted_once(tmp_path, ffmpeg):
    names = ["id1/-v_/00001.m4a", "id1/-v_/00002.m4a", "id2/a b/it's.m4a"]
    aac = tree(tmp_path / "aac", *names, "id1/notes.txt")
    assert convert_tree(aac, tmp_path / "wav", ".m4a", "wav", 3) == {}
    expected = {name.replace(".m4a", ".wav"): f"converted:{name}" for name in names}
    assert everything(tmp_path / "wav") == expected
    assert sorted(ffmpeg())[0].startswith("-v error -nostdin -y -i file:")
    assert all("-ac 1 -ar 16000 -sample_fmt s16 -c:a pcm_s16le -f wav file:" in call for call in ffmpeg())
    tree(aac, "id3/x/1.m4a")
    (tmp_path / "wav" / "id1" / "-v_" / "00002.wav").unlink()
    convert_tree(aac, tmp_path / "wav", ".m4a", "wav", 1)
    assert len(ffmpeg()) == 5
    assert everything(tmp_path / "wav") == expected | {"id3/x/1.wav": "converted:id3/x/1.m4a"}
    assert not (tmp_path / "wav.failed").exists()


def test_failures_are_listed_and_tried_again(tmp_path, ffmpeg):
    aac = tree(tmp_path / "aac", *[f"s/{number}.m4a" for number in range(58)], "s/broken.m4a", "s/empty.m4a")
    failed = convert_tree(aac, tmp_path / "flac", ".m4a", "flac", 2)
    reasons = {
        "s/broken.m4a": "ffmpeg ended with status 1: not found",
        "s/empty.m4a": "ffmpeg ended with status 0: no message",
    }
    assert failed == reasons
    assert (tmp_path / "flac.failed").read_text() == "".join(f"{name}\t{why}\n" for name, why in reasons.items())
    assert len(everything(tmp_path / "flac")) == 58
    assert len(ffmpeg()) == 60
    (aac / "s" / "broken.m4a").rename(aac / "s" / "mended.m4a")
    (aac / "s" / "empty.m4a").unlink()
    assert convert_tree(aac, tmp_path / "flac", ".m4a", "flac", 2) == {}
    assert len(ffmpeg()) == 61
    assert not (tmp_path / "flac.failed").exists()


def test_many_failures_stop_it(tmp_path, ffmpeg):
    aac = tree(tmp_path / "aac", *[f"s/broken{number}.m4a" for number in range(50)])
    with pytest.raises(
        VouchError, match=r"more than 5% of 50 files cannot be converted: 's/broken0.m4a': ffmpeg ended"
    ):
        convert_tree(aac, tmp_path / "wav", ".m4a", "wav", 1)
    assert everything(tmp_path / "wav") == {}


def test_without_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    aac = tree(tmp_path / "aac", "s/1.m4a", "s/2.m4a")
    with pytest.raises(VouchError, match=r"^converting 2 .m4a files takes ffmpeg, which is not installed$"):
        convert_tree(aac, tmp_path / "wav", ".m4a", "wav", 1)
    tree(tmp_path / "wav", "s/1.wav", "s/2.wav")
    assert convert_tree(aac, tmp_path / "wav", ".m4a", "wav", 1) == {}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="takes ffmpeg")
@pytest.mark.parametrize("encoding", ["wav", "flac"])
def test_real_recordings(tmp_path, encoding):
    original = sound(tmp_path / "x.wav", seconds=0.5, channels=2)
    (tmp_path / "aac" / "s").mkdir(parents=True)
    command = ["ffmpeg", "-v", "error", "-i", original, "-ar", "44100", tmp_path / "aac" / "s" / "1.m4a"]
    subprocess.run(command, check=True)
    convert_tree(tmp_path / "aac", tmp_path / "out", ".m4a", encoding, 1)
    info = soundfile.info(tmp_path / "out" / "s" / f"1.{encoding}")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert len(read_audio(str(tmp_path / "out" / "s" / f"1.{encoding}")).samples) == pytest.approx(8000, abs=2000)
