"""Cohorts that hold utterances or speakers of the trials."""

import pytest

from vouch.base.errors import VouchError
from vouch.scoring.overlap import CohortFiles, check_cohort


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def cohort(tmp_path):
    """Three utterances of two speakers, of whom a third one, x-1, is known but has no embedding."""
    scp = write(tmp_path / "cohort.scp", "c1-1 a.ark:5", "c1-2 a.ark:9", "c2-1 a.ark:13")
    return CohortFiles(scp, write(tmp_path / "cohort_utt2spk", "c1-1 c1", "c1-2 c1", "c2-1 c2", "c2-9 c2", "x-1 x"))


def test_other_speakers_are_no_objection(cohort, tmp_path):
    check_cohort(cohort, ["t-1", "t-2"], "s.txt")
    # A speaker that the table knows but of whom the cohort has no embedding.
    check_cohort(cohort, ["x-1"], "s.txt", utt2spk=write(tmp_path / "utt2spk", "x-1 x"))
    # Without speakers of the cohort, those of the trials have nothing to be compared with.
    check_cohort(CohortFiles(cohort.embedding_scp), ["t-1"], "s.txt", utt2spk=write(tmp_path / "utt2spk", "t-1 c1"))
    # An enrolment's name is no utterance.
    check_cohort(CohortFiles(cohort.embedding_scp), ["c1-1"], "s.txt", write(tmp_path / "map", "c1-1 t-1 t-2"))


def test_utterances_of_the_trials(cohort, tmp_path):
    message = r"cohort.scp: 'c1-2' is in the cohort and in the trials of s.txt \(2 such\)"
    with pytest.raises(VouchError, match=message):
        check_cohort(CohortFiles(cohort.embedding_scp), ["t-1", "c1-2", "t-1", "c2-1", "c1-2"], "s.txt")
    with pytest.raises(VouchError, match=r"'c1-2' is in the cohort and in the trials of s.txt \(1 such\)"):
        check_cohort(cohort, ["m", "t-3"], "s.txt", write(tmp_path / "map", "m t-1 c1-2"))


@pytest.mark.parametrize(
    ("ids", "table", "found"),
    [
        (["t-1", "t-2"], ["t-1 t", "t-2 c2"], "'c2', whose 't-2' is"),  # as the trials' table has it
        (["t-1", "c2-9"], None, "'c2', whose 'c2-9' is"),  # as the cohort's table has it
        (["c1", "t-1"], None, "'c1', whose 'c1' is"),  # an enrolment called like its speaker
        (["m", "t-1"], ["t-1 t", "t-2 c1"], "'c1', whose 't-2' is"),  # behind an enrolment map
    ],
)
def test_speakers_of_the_trials(cohort, tmp_path, ids, table, found):
    utt2spk = write(tmp_path / "utt2spk", *table) if table else None
    with pytest.raises(VouchError, match=rf"cohort_utt2spk: {found} in the trials of s.txt, .*too \(1 such\)"):
        check_cohort(cohort, ids, "s.txt", write(tmp_path / "map", "m t-2 t-1"), utt2spk)
