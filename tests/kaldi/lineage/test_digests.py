"""Digests of tables: the same for the same content, whatever it is called."""

import hashlib
import os
import shutil

import numpy as np
import pytest

from vouch.jobs.results import Result
from vouch.jobs.shards import Shards
from vouch.kaldi.lineage.digests import LIST_NAME, digest_data, digest_file, digest_sources
from vouch.kaldi.tables import read_table

ITEMS = [f"utt{number}" for number in range(5)]


def make(folder, value=0.0, archive="ark"):
    """Write features of a stage, whose archives are listed with their digests, and return their table."""
    shards = Shards(folder / "fbank", ITEMS, "f", archive, size=2)
    shards.prepare()
    shards.run(lambda items: (Result(item, np.full((4, 3), value + ITEMS.index(item))) for item in items))
    shards.finish(folder / "feats.scp")
    return read_table(folder / "feats.scp")


def touch(path, seconds=10):
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + seconds * 10**9))


def test_a_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"some bytes" * 200_000)
    assert digest_file(tmp_path / "x") == hashlib.sha256(b"some bytes" * 200_000).hexdigest()


@pytest.mark.parametrize("archive", ["ark", "npy"])
def test_what_a_stage_made_is_known_by_its_content(tmp_path, archive):
    """Made again, touched or copied it is the same; with another value, where table and sizes are equal, it is not."""
    table = make(tmp_path / "a", archive=archive)
    first = digest_sources(table)
    assert digest_sources(make(tmp_path / "a", archive=archive)) == first
    assert digest_sources(make(tmp_path / "elsewhere", archive=archive)) == first
    for path in (tmp_path / "a/fbank").glob(f"*.{archive}"):
        touch(path)
    assert digest_sources(table) == first
    shutil.copytree(tmp_path / "a/fbank", tmp_path / "copy")
    moved = {key: value.replace("/a/fbank/", "/copy/") for key, value in table.items()}
    assert moved != table and digest_sources(moved) == first
    other = make(tmp_path / "a", 0.5, archive)
    assert other == table
    assert digest_sources(other) != first


def test_bytes_are_read_again_only_when_size_or_time_changed(tmp_path, monkeypatch):
    table = make(tmp_path)
    first, read = digest_sources(table), []
    monkeypatch.setattr("vouch.kaldi.lineage.digests.digest_file", lambda path: read.append(path) or digest_file(path))
    assert digest_sources(table) == first and read == []
    touch(tmp_path / "fbank/fbank.2.ark")
    assert digest_sources(table) == first and read == [str(tmp_path / "fbank/fbank.2.ark")]
    assert digest_sources(table) == first and len(read) == 1  # the list has the new time


def test_what_another_program_writes_over_a_listed_archive_is_seen(tmp_path):
    table = make(tmp_path)
    first = digest_sources(table)
    path = tmp_path / "fbank/fbank.1.ark"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    touch(path)
    assert digest_sources(table) != first


def test_files_of_others_are_known_by_size_and_time(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF 1")
    table = {"u": str(path), "v": f"{path}:4", "w": f"cat {path} |", "x": f"{path}[0:3]"}
    first = digest_sources(table)
    assert digest_sources(table) == first
    path.rename(tmp_path / "b.wav")
    moved = {key: value.replace("a.wav", "b.wav") for key, value in table.items()}
    assert digest_sources({"u": moved["u"]}) == digest_sources({"u": f"{tmp_path}/b.wav"})
    (tmp_path / "b.wav").rename(path)
    for key, value in table.items():
        alone = {key: value}
        before = digest_sources(alone)
        touch(path)
        assert digest_sources(alone) != before, value
    path.write_bytes(b"RIFF 22")
    assert digest_sources(table) != first
    path.unlink()
    assert digest_sources(table) == digest_sources(table)


def test_recordings_of_one_size_and_time_are_told_apart(tmp_path):
    """As fixed-length clips are that an archive was unpacked to."""
    for name in "ab":
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (10**9, 10**9))
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert digest_sources({"u": a, "v": b}) != digest_sources({"u": b, "v": a})


@pytest.mark.parametrize(
    "command",
    [
        "cat a.wav |",
        "cat ./a.wav |",
        "cat <a.wav |",
        "cat < ./a.wav |",
        "cat ./a.wav| cat |",
        "(cat ./a.wav) |",
        "cat 'sp ace/a.wav' |",
        'cat "sp ace"/a.wav |',
        "cat sp\\ ace/a.wav |",
        "sox --in=a.wav -t wav - |",
        "x=1; cat a.wav&& true |",
    ],
)
def test_files_that_commands_read_count_however_they_are_written(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("sp ace/a.wav" if "ace" in command else "a.wav")
    path.parent.mkdir(exist_ok=True)
    path.write_text("RIFF")
    first = digest_sources({"u": command})
    assert digest_sources({"u": command}) == first
    touch(path)
    assert digest_sources({"u": command}) != first


def test_a_file_that_a_command_writes_does_not_count(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    table = {"u": f"echo x >> {tmp_path}/log; cat '{tmp_path}/a.wav' 2>{tmp_path}/errors |"}
    first = digest_sources(table)
    (tmp_path / "log").write_text("x")
    assert digest_sources(table) == first
    touch(tmp_path / "a.wav")
    assert digest_sources(table) != first


def test_keys_order_of_files_and_offsets_count(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name * (1 + (name == "b")))
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    digests = {digest_sources(table) for table in ({"u": a}, {"v": a}, {"u": b}, {"u": f"{a}:1"}, {"u": f"{a}:12"})}
    assert len(digests) == 5


@pytest.mark.parametrize("content", ["fbank.1.ark 1 2\n", "nonsense\n", "", "fbank.1.ark x y z\n"])
def test_a_file_that_only_has_the_name_of_a_list_is_passed_over(tmp_path, content):
    table = make(tmp_path)
    (tmp_path / "fbank" / LIST_NAME).write_text(content)
    before = digest_sources(table)
    touch(tmp_path / "fbank/fbank.1.ark")
    assert digest_sources(table) != before


def test_the_tables_of_a_data_directory_count_but_not_its_name(tmp_path):
    make(tmp_path / "a")
    (tmp_path / "a/utt2spk").write_text("u s\n")
    (tmp_path / "a/note").write_text("x")
    sources = read_table(tmp_path / "a/feats.scp")
    first = digest_data(tmp_path / "a", ("utt2spk", "trials"), sources)
    (tmp_path / "a/note").write_text("y")
    (tmp_path / "a").rename(tmp_path / "b")
    sources = {key: value.replace("/a/", "/b/") for key, value in sources.items()}
    assert digest_data(tmp_path / "b", ("utt2spk", "trials"), sources) == first
    (tmp_path / "b/trials").write_text("u u target\n")
    second = digest_data(tmp_path / "b", ("utt2spk", "trials"), sources)
    (tmp_path / "b/utt2spk").write_text("u t\n")
    assert len({first, second, digest_data(tmp_path / "b", ("utt2spk", "trials"), sources)}) == 3
