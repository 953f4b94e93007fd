"""local/prepare_ami.py on small meetings of the real layout."""

import pytest
from adapters import prepare, refusal, sound
from fileserver import FileServer

import prepare_ami
from ami.meetings import SETS
from vouch.kaldi.datadirs.datadir import DataDir, Segment
from vouch.kaldi.tables import read_table

MEETINGS = ("ES2004a", "IS1009b")
XML = (
    '<?xml version="1.0" encoding="ISO-8859-1"?>\n<nite:root xmlns:nite="http://nite.sourceforge.net/">{}</nite:root>\n'
)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setitem(prepare_ami.SETS, "test", MEETINGS)
    for meeting in MEETINGS:
        sound(tmp_path / "amicorpus" / meeting / "audio" / f"{meeting}.Mix-Headset.wav", seconds=2)
    return tmp_path


def manual(folder):
    """AMI's manual annotations: two agents in each meeting, one person in both."""
    people = {("ES2004a", "A"): "MEE013", ("ES2004a", "B"): "FEE016", ("IS1009b", "A"): "MEE013"}
    meetings = ""
    for meeting in MEETINGS:
        speakers = [f'<speaker nxt_agent="{a}" global_name="{p}"/>' for (m, a), p in people.items() if m == meeting]
        meetings += f'<meeting nite:id="meet" observation="{meeting}" type="scenario">{"".join(speakers)}</meeting>'
    (folder / "corpusResources").mkdir(parents=True)
    (folder / "corpusResources" / "meetings.xml").write_text(XML.format(meetings))
    (folder / "segments").mkdir()
    turns = {("ES2004a", "A"): [(0.5, 0.75), (1.0, 1.0)], ("ES2004a", "B"): [(0.6, 2.01)], ("IS1009b", "A"): [(0, 1)]}
    for (meeting, agent), times in turns.items():
        found = [f'<segment nite:id="x" transcriber_start="{s}" transcriber_end="{e}"><b/></segment>' for s, e in times]
        (folder / "segments" / f"{meeting}.{agent}.segments.xml").write_text(XML.format("".join(found)))
    return folder


EXPECTED = {
    "FEE016-ES2004a-00000600-00002000": Segment("ES2004a", 0.6, 2.0),
    "MEE013-ES2004a-00000500-00000750": Segment("ES2004a", 0.5, 0.75),
    "MEE013-IS1009b-00000000-00001000": Segment("IS1009b", 0.0, 1.0),
}


def test_whole_meetings(tmp_path, corpus):
    prepare(prepare_ami, tmp_path / "data", "--root", corpus)
    made = DataDir.load(tmp_path / "data" / "test", need=("wav.scp",))
    assert made.utt2spk == {meeting: meeting for meeting in MEETINGS}
    assert made.wav_scp["ES2004a"] == f"{corpus}/amicorpus/ES2004a/audio/ES2004a.Mix-Headset.wav"
    assert not (tmp_path / "data" / "test" / "segments").exists()


def test_turns_of_the_manual_annotations(tmp_path, corpus):
    data = tmp_path / "data"
    done = prepare(prepare_ami, data, "--root", corpus, "--annotations", manual(tmp_path / "manual"))
    made = DataDir.load(data / "test", need=("wav.scp",))
    assert made.segments == EXPECTED and made.wav_scp.keys() == {*MEETINGS}
    assert made.utt2spk == {utterance: utterance.partition("-")[0] for utterance in EXPECTED}
    assert read_table(data / "test" / "utt2dur")["FEE016-ES2004a-00000600-00002000"] == "1.400"
    assert done.warnings == ["1 turns without length are left out"]
    # Features of the same turns are kept, those of others are not.
    (data / "test" / "feats.scp").write_text("x")
    prepare(prepare_ami, data, "--root", corpus, "--annotations", tmp_path / "manual")
    assert (data / "test" / "feats.scp").exists()
    prepare(prepare_ami, data, "--root", corpus)
    assert not (data / "test" / "feats.scp").exists() and not (data / "test" / "segments").exists()


def test_turns_of_rttm_files(tmp_path, corpus):
    (tmp_path / "rttm").mkdir()
    for meeting in MEETINGS:
        lines = [
            f"SPEAKER {meeting} 1 {segment.start} {segment.end - segment.start:.2f} <NA> <NA> {utterance[:6]} <NA>\n"
            for utterance, segment in EXPECTED.items()
            if segment.recording == meeting
        ]
        (tmp_path / "rttm" / f"{meeting}.rttm").write_text("SPKR-INFO x\n" + "".join(lines))
    prepare(prepare_ami, tmp_path / "data", "--root", corpus, "--annotations", tmp_path / "rttm")
    assert DataDir.load(tmp_path / "data" / "test", need=("wav.scp",)).segments == EXPECTED


def test_download(tmp_path, corpus, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    names = [f"{meeting}.Mix-Headset.wav" for meeting in MEETINGS]
    files = {name: (corpus / "amicorpus" / name[:7] / "audio" / name).read_bytes() for name in names}
    with FileServer(files) as web:
        web.cuts = [5000]
        prepare(prepare_ami, tmp_path / "data", "--url", web.address + "/amicorpus/{name}")
        assert [path for path, _ in web.requests][-1] == "/amicorpus/IS1009b/audio/IS1009b.Mix-Headset.wav"
    path = tmp_path / "data" / "amicorpus" / "ES2004a" / "audio" / "ES2004a.Mix-Headset.wav"
    assert path.read_bytes() == files["ES2004a.Mix-Headset.wav"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("SPEAKER ES2004a 1 0.5 1 <NA> <NA> A\n", "no annotation of IS1009b (1 of 2 meetings lack one)"),
        ("SPEAKER ES2004a 1 0.5\n", "x.rttm:1: 'SPEAKER ES2004a 1 0.5' is not an RTTM line of at least 8 fields"),
        ("SPEAKER ES2004a 1 nan 1 <NA> <NA> A\n", "x.rttm:1: 'nan' is not a time in seconds"),
        (
            "SPEAKER ES2004a 1 5.5 1 <NA> <NA> A\nSPEAKER IS1009b 1 0.5 1 <NA> <NA> A\n",
            "ES2004a.Mix-Headset.wav: 'A' speaks at 5.5 s, after the end at 2.0 s",
        ),
    ],
)
def test_annotations_with_a_mistake(tmp_path, corpus, content, words):
    (tmp_path / "rttm").mkdir()
    (tmp_path / "rttm" / "x.rttm").write_text(content)
    message = refusal(prepare_ami, tmp_path / "data", "--root", corpus, "--annotations", tmp_path / "rttm")
    assert words in message


def test_folders_without_annotations(tmp_path, corpus):
    options = ("--root", corpus, "--annotations", tmp_path / "manual")
    assert refusal(prepare_ami, tmp_path / "data", *options).endswith("manual: no such folder of annotations")
    manual(tmp_path / "manual")
    (tmp_path / "manual" / "segments" / "ES2004a.A.segments.xml").write_text("<root>")
    assert "ES2004a.A.segments.xml: not readable as XML" in refusal(prepare_ami, tmp_path / "data", *options)
    (tmp_path / "manual" / "corpusResources" / "meetings.xml").unlink()
    message = refusal(prepare_ami, tmp_path / "data", *options)
    assert message.endswith("manual: neither *.rttm files nor corpusResources/meetings.xml in it")


def test_the_partition():
    meetings = [meeting for found in SETS.values() for meeting in found]
    assert len(meetings) == len(set(meetings)) == 171
    assert [len(SETS[name]) for name in ("dev", "test")] == [18, 16]
    assert {"ES2004a", "EN2002d"} <= {*SETS["test"]} and {"IB4011", "IS1008c"} <= {*SETS["dev"]}
    assert "IB4005" in SETS["train"] and "EN2001c" not in SETS["train"]
