import os

import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir, Segment, write_data_dir
from vouch.kaldi.tables import read_table

GOOD = {
    "utt2spk": "s1-a s1\ns1-b s1\ns2-a s2\n",
    "wav.scp": "s1-a a.wav\ns1-b sox 'b b.mp3' - |\ns2-a x.ark:17\n",
    "feats.scp": "s1-a f.ark:5\ns2-a f.ark:99\n",
}
SEGMENTED = {
    "utt2spk": "s1-a s1\ns1-b s1\n",
    "wav.scp": "call1 call1.wav\n",
    "segments": "s1-a call1 0 1.5\ns1-b call1 1.5 -1\n",
}


def data_dir(tmp_path, tables, **changes):
    for name, content in {**tables, **changes}.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_only_what_is_needed_is_read(tmp_path):
    data = DataDir.load(data_dir(tmp_path, {"utt2spk": GOOD["utt2spk"]}))
    assert data.utt2spk == {"s1-a": "s1", "s1-b": "s1", "s2-a": "s2"}
    assert (data.wav_scp, data.segments, data.feats_scp) == ({}, {}, {})


def test_recordings_without_segments_are_their_own(tmp_path):
    data = DataDir.load(data_dir(tmp_path, GOOD), need=["wav.scp"])
    assert data.segments["s1-b"] == Segment("s1-b", 0.0, None)
    assert data.wav_scp["s1-b"] == "sox 'b b.mp3' - |"


def test_segments(tmp_path):
    data = DataDir.load(data_dir(tmp_path, SEGMENTED), need=["wav.scp"])
    assert data.segments == {"s1-a": Segment("call1", 0.0, 1.5), "s1-b": Segment("call1", 1.5, None)}


def test_features_may_cover_a_part_of_the_utterances(tmp_path):
    data = DataDir.load(data_dir(tmp_path, GOOD), need=["feats.scp"])
    assert list(data.feats_scp) == ["s1-a", "s2-a"]


@pytest.mark.parametrize(
    ("tables", "name", "content", "where"),
    [
        (GOOD, "utt2spk", "s1-a s1 s2\n", "utt2spk:1: 's1-a s1 s2' has more than two fields"),
        (GOOD, "utt2spk", "s1-b s1\ns1-a s1\n", "utt2spk:2: 's1-a' comes after"),
        (GOOD, "utt2spk", GOOD["utt2spk"] + "s2-b s2\n", "utt2spk:4: 's2-b' is not in "),
        (GOOD, "wav.scp", GOOD["wav.scp"] + "s3-a x.wav\n", "wav.scp:4: utterance 's3-a' has no speaker"),
        (GOOD, "wav.scp", "s1-a\n", "wav.scp:1: 's1-a' has no value"),
        (GOOD, "feats.scp", "s1-a f.ark:5\ns9-a f.ark:5\n", "feats.scp:2: utterance 's9-a' has no speaker"),
        (SEGMENTED, "segments", "s1-a call1 0 1\n", "utt2spk:2: 's1-b' is not in "),
        (SEGMENTED, "segments", SEGMENTED["segments"] + "s2-a call1 0 1\n", "segments:3: utterance 's2-a' has no"),
        (SEGMENTED, "segments", "s1-a call1 0 1\ns1-b call2 0 1\n", "segments:2: recording 'call2' is not in"),
        (SEGMENTED, "segments", "s1-a call1 0\n", "segments:1: 's1-a call1 0' is not '<utterance> <recording>"),
        (SEGMENTED, "segments", "s1-a call1 zero one\n", "segments:1: "),
        (SEGMENTED, "segments", "s1-a call1 0 1 2\n", "segments:1: "),
        (SEGMENTED, "segments", "s1-a call1 1 1\n", "segments:1: 's1-a call1 1 1': needs 0 <= start < end"),
        (SEGMENTED, "segments", "s1-a call1 -0.5 1\n", "segments:1: "),
        (SEGMENTED, "segments", "s1-a call1 nan 1\n", "segments:1: "),
        (SEGMENTED, "segments", "s1-a call1 0 nan\n", "segments:1: "),
        (SEGMENTED, "segments", "s1-a call1 0 inf\n", "segments:1: "),
    ],
)
def test_malformed_directories_are_named_by_file_and_line(tmp_path, tables, name, content, where):
    path = data_dir(tmp_path, tables, **{name: content})
    with pytest.raises(VouchError) as caught:
        DataDir.load(path, need=["wav.scp", "feats.scp"] if "feats.scp" in tables else ["wav.scp"])
    assert str(caught.value).startswith(f"{path}/{where}")
    assert "\n" not in str(caught.value)


def test_missing_tables_say_which_stage_makes_them(tmp_path):
    with pytest.raises(VouchError, match="no such data directory; stage 0"):
        DataDir.load(tmp_path / "none")
    with pytest.raises(VouchError, match="utt2spk: no such file"):
        DataDir.load(tmp_path)
    (tmp_path / "utt2spk").write_text(GOOD["utt2spk"])
    with pytest.raises(VouchError, match=r"feats\.scp: no such file; run stage 1"):
        DataDir.load(tmp_path, need=["feats.scp"])
    with pytest.raises(VouchError, match=r"wav\.scp: no such file"):
        DataDir.load(tmp_path, need=["wav.scp"])


def test_written_directories_are_sorted_and_read_back(tmp_path):
    write_data_dir(
        tmp_path / "set",
        {"b-2": "2.wav", "a-1": "1 1.wav", "b-10": "cat x |"},
        {"b-2": "b", "b-10": "b", "a-1": "a"},
        {"b-2": 1.23456, "a-1": 2, "b-10": 0.5},
    )
    contents = {name: (tmp_path / "set" / name).read_text() for name in os.listdir(tmp_path / "set")}
    assert contents == {
        "wav.scp": "a-1 1 1.wav\nb-10 cat x |\nb-2 2.wav\n",
        "utt2spk": "a-1 a\nb-10 b\nb-2 b\n",
        "spk2utt": "a a-1\nb b-10 b-2\n",
        "utt2dur": "a-1 2.000\nb-10 0.500\nb-2 1.235\n",
    }
    assert DataDir.load(tmp_path / "set", need=["wav.scp"]).utt2spk == {"a-1": "a", "b-10": "b", "b-2": "b"}


def test_a_failed_rewrite_leaves_no_directory_that_loads(tmp_path):
    data_dir(tmp_path, GOOD)
    with pytest.raises(VouchError):
        write_data_dir(tmp_path, {"two words": "x.wav"}, {"u": "s"})
    with pytest.raises(VouchError, match="utt2spk: no such file"):
        DataDir.load(tmp_path)
    assert list(read_table(tmp_path / "wav.scp")) == ["s1-a", "s1-b", "s2-a"]
