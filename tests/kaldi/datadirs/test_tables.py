"""Choosing, cutting, combining, renaming and mending tables, beyond what the cases of Kaldi's own scripts show."""

import itertools
import os
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaldi_cases import make_dir, read_tree, small_dir

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.combine import combine_data_dirs
from vouch.kaldi.datadirs.rename import Renaming, copy_data_dir
from vouch.kaldi.datadirs.repair import repair_data_dir
from vouch.kaldi.datadirs.split import split_data_dir, split_evenly, split_speakers
from vouch.kaldi.datadirs.subset import choose, choose_listed, pick_evenly, pick_per_speaker, shuffle, write_subset
from vouch.kaldi.datadirs.tables import KEYED_TABLES, building, read_tables, write_dir
from vouch.kaldi.datadirs.validate import validate_data_dir, waive


def halve(items, count):
    if len(items) == 1:
        return items[:count]
    middle = len(items) // 2
    return halve(items[:middle], count // 2) + halve(items[middle:], count - count // 2)


@given(size=st.integers(1, 70), share=st.floats(0, 1))
def test_even_choice_is_the_recursion(size, share):
    items, count = list(range(size)), int(share * size)
    chosen = pick_evenly(items, count)
    assert chosen == halve(items, count)
    assert len(chosen) == count


def test_per_speaker_takes_the_widest_distance():
    listed = {"a": "1 2 3 4 5 6 7", "b": "8", "c": "9 10 11"}
    assert pick_per_speaker(listed, 3) == ["1", "3", "5", "8", "9", "10", "11"]


def test_shuffle_is_that_of_perl():
    """`perl -e 'srand(0); print rand(), " " for 1..6'` gives the keys."""
    keys = [0.17082803610629, 0.749901980484964, 0.0963716556235674]
    keys += [0.870465227027076, 0.577303506795108, 0.785799258839674]
    assert shuffle(range(6)) == sorted(range(6), key=keys.__getitem__)
    assert sorted(shuffle(range(1000))) == list(range(1000))


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12), share=st.floats(0, 1))
def test_no_speaker_could_move_to_a_neighbouring_part(sizes, share):
    parts = 1 + int(share * (len(sizes) - 1))
    spans = split_speakers(sizes, parts)
    assert [speaker for span in spans for speaker in span] == list(range(len(sizes)))
    assert all(len(span) for span in spans)
    totals = [sum(sizes[speaker] for speaker in span) for span in spans]
    for left, right in itertools.pairwise(range(parts)):
        difference = totals[left] - totals[right]
        if len(spans[left]) > 1:
            assert abs(difference - 2 * sizes[spans[left][-1]]) >= abs(difference)
        if len(spans[right]) > 1:
            assert abs(difference + 2 * sizes[spans[right][0]]) >= abs(difference)


@given(size=st.integers(0, 50), parts=st.integers(1, 9))
def test_even_parts(size, parts):
    cut = split_evenly(range(size), parts)
    assert [item for part in cut for item in part] == list(range(size))
    lengths = [len(part) for part in cut]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


def test_parts_are_made_again_only_when_the_tables_changed(tmp_path):
    path = small_dir(tmp_path / "set")
    target = split_data_dir(path, 2)
    (target / "1" / "mark").touch()
    calls = Counter()
    split_data_dir(path, 2, progress=lambda count: calls.update(parts=count))
    assert (target / "1" / "mark").exists()
    assert calls["parts"] == 2
    later = (target / "1" / "utt2spk").stat().st_mtime_ns + 10**9
    os.utime(path / "feats.scp", ns=(later, later))
    split_data_dir(path, 2)
    assert not (target / "1" / "mark").exists()
    (path / "utt2dur").unlink()
    split_data_dir(path, 2)
    assert not (target / "2" / "utt2dur").exists()
    assert sorted(os.listdir(path)) == sorted(["split2", *(name for name in read_tree(path) if "/" not in name)])


def test_lists(tmp_path):
    listed = tmp_path / "list"
    listed.write_text("b-2 anything\na-1\nnobody\n")
    utt2spk = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"}
    assert choose_listed(utt2spk, listed, by_speaker=False) == (["a-1", "b-2"], ["nobody"])
    with pytest.raises(VouchError, match=r"no speaker of this list is in utt2spk .first: 'b-2'"):
        choose_listed(utt2spk, listed, by_speaker=True)


def test_shortest_needs_numbers_of_frames(tmp_path):
    path = small_dir(tmp_path / "set", utt2num_frames="a-1 7\na-2 x\n")
    with pytest.raises(VouchError, match=r"utt2num_frames:2: 'a-2 x' is not"):
        choose("shortest", path, read_tables(path, KEYED_TABLES), 1)
    (path / "utt2num_frames").unlink()
    with pytest.raises(VouchError, match=r"utt2num_frames: no such file; --shortest needs it"):
        choose("shortest", path, read_tables(path, KEYED_TABLES), 1)


def test_what_is_written_over_loses_the_tables_that_are_not_there_any_more(tmp_path):
    source, target = small_dir(tmp_path / "a", utt2dur=None), small_dir(tmp_path / "b", vad_scp="x\n")
    (target / "trials").write_text("kept\n")
    tables = read_tables(source, KEYED_TABLES)
    write_subset(source, ["b-1"], tables, target)
    assert read_tree(target) == {
        "utt2spk": "b-1 b\n",
        "spk2utt": "b b-1\n",
        "wav.scp": "b-1 /audio/b-1.wav\n",
        "feats.scp": "b-1 /ark/f.ark:2\n",
        "utt2num_frames": "b-1 148\n",
        "spk2gender": "b m\n",
        "trials": "kept\n",
        "vad_scp": "x\n",
    }


def test_only_data_directories_are_written_over(tmp_path):
    source = small_dir(tmp_path / "a")
    tables = read_tables(source, KEYED_TABLES)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("x")
    (tmp_path / "file").write_text("x")
    for name, message in (
        ("home", "is not empty and no data"),
        ("file", "is a file"),
        ("a", "is the source"),
    ):
        with pytest.raises(VouchError, match=message):
            write_subset(source, ["b-1"], tables, tmp_path / name)
    with pytest.raises(VouchError, match="no utterances are left"):
        write_dir(tmp_path / "new", {"utt2spk": {}}, {})
    assert sorted(os.listdir(tmp_path)) == ["a", "file", "home"]


def test_one_writer_at_a_time(tmp_path):
    with building(tmp_path / "set") as folder:
        assert os.listdir(folder) == []
        with pytest.raises(VouchError, match="another process is writing this directory"), building(tmp_path / "set"):
            pass
    (tmp_path / ".set.partial" / "left").mkdir(parents=True)
    with building(tmp_path / "set") as folder:
        assert os.listdir(folder) == []
    assert os.listdir(tmp_path) == []


def test_copies_are_checked_and_sorted_again(tmp_path):
    # With the suffix, a-1 comes after a-1-x.
    source = small_dir(
        tmp_path / "a",
        **{"utt2spk": "a-1 a\na-1-x a\n", "spk2utt": "a a-1 a-1-x\n", "wav.scp": "a-1 x\na-1-x 'y  z' |\n"},
        **dict.fromkeys(["feats.scp", "utt2dur", "utt2num_frames", "spk2gender"]),
    )
    assert copy_data_dir(source, tmp_path / "b", Renaming(utt_suffix="~")) == 2
    assert (tmp_path / "b/wav.scp").read_text() == "a-1-x~ 'y  z' |\na-1~ x\n"
    assert (tmp_path / "b/spk2utt").read_text() == "a a-1-x~ a-1~\n"
    with pytest.raises(VouchError, match="cannot be a key"):
        copy_data_dir(source, tmp_path / "c", Renaming(utt_prefix="two words "))
    (source / "utt2lang").write_text("a-1 en\n")
    with pytest.raises(VouchError, match=r"not be valid .1 errors.: .*/c/utt2spk:2: utterance 'a-1-x' is not in utt2l"):
        copy_data_dir(source, tmp_path / "c", Renaming())
    assert not (tmp_path / "c").exists()


def test_the_same_id_may_not_stand_for_two_things(tmp_path):
    one = small_dir(tmp_path / "one")
    two = small_dir(tmp_path / "two", **{"wav.scp": (one / "wav.scp").read_text().replace("/b-1.", "/other.")})
    with pytest.raises(VouchError, match=r"two/wav.scp: 'b-1 /audio/other.wav', and in .*one: 'b-1 /audio/b-1.wav'"):
        combine_data_dirs(tmp_path / "all", [one, two])
    assert not (tmp_path / "all").exists()
    with pytest.raises(VouchError, match="the directory to write is given first"):
        combine_data_dirs(one, [one, two])


def test_segments_of_sources_without_them_need_durations(tmp_path):
    one = small_dir(tmp_path / "one", segments="".join(f"{u} {u} 0 1\n" for u in ("a-1", "a-2", "b-1", "b-2")))
    two = small_dir(tmp_path / "two", utt2dur=None)
    with pytest.raises(VouchError, match=r"two/utt2dur: no such file; it is needed because other sources"):
        combine_data_dirs(tmp_path / "all", [one, two])


def test_mending_says_what_it_did_and_keeps_the_originals(tmp_path):
    changes = {
        "wav.scp": "b-2 x.wav\r\na-1 /audio/a-1.wav\na-1 again\n\nb-1 cat  x |\na-2\n",
        "utt2num_frames": "a-1 0\na-2 148\nb-1 148\nb-2 148\n",
        "spk2gender": None,
    }
    path = small_dir(tmp_path / "set", **changes)
    before = read_tree(path)
    done = repair_data_dir(path)
    assert (done.kept, done.before, done.gaps) == (2, 4, [])
    assert (path / "wav.scp").read_text() == "b-1 cat  x |\nb-2 x.wav\n"
    assert (path / "spk2utt").read_text() == "b b-1 b-2\n"
    assert [line for line in done.done if line.startswith("wav.scp")][:-1] == [
        "wav.scp: 1 x line ends (first: line 1: carriage return, on 1 lines in all)",
        "wav.scp: 1 x blank lines (first: line 4: blank line)",
        "wav.scp: 1 x columns (first: line 6: 'a-2' has no value; each line is '<key> <value>')",
        "wav.scp: 1 repeated lines removed, the first one of each kept (first: 'a-1')",
        "wav.scp: sorted",
    ]
    assert "utt2spk: 1 removed, not in utt2num_frames (first: 'a-1')" in done.done
    assert "utt2spk: 1 removed, not in wav.scp (first: 'a-2')" in done.done
    assert {name: (path / ".backup" / name).read_bytes() for name in before} == {
        name: text.encode() if name != "wav.scp" else changes["wav.scp"].encode() for name, text in before.items()
    }
    again = repair_data_dir(path)
    assert (again.kept, again.before, again.done) == (2, 2, [])
    assert "\r" in (path / ".backup/wav.scp").read_bytes().decode(), "nothing to mend, so the backup stays"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feats.scp": "c-1 x\n"}, "no utterance would be left: utt2spk: 4 removed, not in feats.scp"),
        ({"utt2spk": "a-1 b\na-2 a\nb-1 b\nb-2 b\n"}, r"'a-2' of 'a' sorts after utterances of 'b'"),
        ({"wav.scp": b"\xff\n"}, r"wav.scp:1: not UTF-8 text"),
        ({"wav.scp": "a-1\n"}, r"wav.scp: no line of this table is"),
        ({"wav.scp": ""}, r"wav.scp: the file is empty"),
    ],
)
def test_what_cannot_be_mended_is_left_alone(tmp_path, changes, message):
    path = small_dir(tmp_path / "set", **changes)
    before = {name: (path / name).read_bytes() for name in os.listdir(path)}
    with pytest.raises(VouchError, match=message):
        repair_data_dir(path)
    assert {name: (path / name).read_bytes() for name in os.listdir(path)} == before


def test_the_advice_about_the_order_is_one_that_helps(tmp_path):
    """Ids do begin with the speaker's, and yet 13_1 sorts before 1_2: '-' instead of '_' mends it."""
    names = ["13_1", "1_2", "1_4"]
    path = make_dir(tmp_path / "set", {"utt2spk": "".join(f"{name} {name.split('_')[0]}\n" for name in names)})
    advice = "'1' is the beginning of '13', and '_' sorts after '3': give ids one length, or put '-' after them"
    with pytest.raises(VouchError, match=advice):
        repair_data_dir(path)
    findings = [str(finding) for finding in validate_data_dir(path, waive(["no-feats", "no-text", "no-wav"])).findings]
    assert any(advice in line for line in findings)
    dashed = sorted(name.replace("_", "-") for name in names)
    path = make_dir(tmp_path / "dashed", {"utt2spk": "".join(f"{name} {name.split('-')[0]}\n" for name in dashed)})
    assert repair_data_dir(path).kept == 3


def test_byte_order_marks_are_mended_without_loss(tmp_path):
    """As programs of Windows write them, and in the middle where two such files were joined; in lists too."""
    mark = b"\xef\xbb\xbf"
    plain = small_dir(tmp_path / "plain")
    (plain / "trials").write_bytes(b"a-1 a-2 target\na-1 b-1 nontarget\n")
    (plain / "trials_hard").write_bytes(b"a-2 b-1 nontarget\n")
    (plain / "enrol_map").write_bytes(b"m a-1 a-2\n")
    (plain / "trials.bak").write_bytes(mark + b"not a list of this directory\n")
    marked = tmp_path / "marked"
    shutil.copytree(plain, marked)
    for file in plain.iterdir():
        if file.name not in ("trials.bak", "trials_hard"):
            lines = file.read_bytes().splitlines(keepends=True)
            lines[0] = mark + lines[0]
            lines[-1] = lines[-1] if len(lines) == 1 else mark + lines[-1]
            (marked / file.name).write_bytes(b"".join(lines))
    (marked / "trials_hard").write_bytes(b"a-2 b-1 nontarget\r\n")
    before = {file.name: file.read_bytes() for file in marked.iterdir()}
    findings = validate_data_dir(marked, waive(["no-text"])).findings
    assert {finding.path.name for finding in findings if finding.check == "byte order mark"} == {
        *("utt2spk", "spk2utt", "wav.scp", "feats.scp", "utt2dur", "utt2num_frames", "spk2gender")
    }
    assert {finding.check for finding in findings} == {"byte order mark"}
    done = repair_data_dir(marked)
    assert (done.kept, done.before) == (4, 4)
    assert "wav.scp: 2 x byte order mark (first: line 1: byte order mark before the line)" in done.done
    assert "trials: 2 x byte order mark (first: line 1: byte order mark before the line)" in done.done
    names = sorted(file.name for file in plain.iterdir())
    assert sorted(file.name for file in marked.iterdir() if file.is_file()) == names
    assert {name: (marked / name).read_bytes() for name in names} == {
        name: (plain / name).read_bytes() for name in names
    }
    backup = marked / ".backup"
    assert {name: (backup / name).read_bytes() for name in names if name != "trials.bak"} == {
        name: content for name, content in before.items() if name != "trials.bak"
    }
    assert repair_data_dir(marked).done == []


def test_a_killed_mending_points_to_its_originals(tmp_path):
    path = small_dir(tmp_path / "set", utt2spk=None)
    (path / ".backup").mkdir()
    with pytest.raises(VouchError, match=r"utt2spk: no such file; a repair that was killed left the originals in .*"):
        repair_data_dir(path)


def test_further_tables_are_mended_by_what_their_keys_are(tmp_path):
    path = small_dir(tmp_path / "set", spk2age="a 1\nc 2\n", utt2mood="a-1 x\nc-1 x\n", other="c x\n")
    repair_data_dir(path, ["utt2mood"], ["spk2age"])
    assert [(path / name).read_text() for name in ("spk2age", "utt2mood", "other")] == ["a 1\n", "a-1 x\n", "c x\n"]


def test_tables_without_some_utterances_are_told(tmp_path):
    assert repair_data_dir(small_dir(tmp_path / "set", **{"vad.scp": "a-1 x\nb-1 x\nb-2 x\n"})).gaps == [
        "vad.scp: 1 utterances that were kept have no line (first: 'a-2')"
    ]


def test_a_link_at_the_name_of_the_unfinished_directory_is_not_cleared(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    (tmp_path / ".new.partial").symlink_to(victim)
    write_dir(tmp_path / "new", {"utt2spk": {"a-1": "a"}}, {})
    assert (victim / "precious").read_text() == "x"
    assert (tmp_path / "new/utt2spk").read_text() == "a-1 a\n"
    assert not (tmp_path / "new").is_symlink()
