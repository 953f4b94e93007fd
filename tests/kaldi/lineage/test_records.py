"""Records of what outputs were made from."""

import os
import shutil

import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.lineage.records import check_current, check_one_model, write_record


@pytest.fixture
def chain(tmp_path):
    """Scores from embeddings from a model and features, as files."""
    for name in ("model", "features", "embeddings", "scores", "other"):
        (tmp_path / name).write_text(name)
    write_record(tmp_path / "embeddings", "stage 4", [tmp_path / "model", tmp_path / "features"], ["m1"])
    write_record(tmp_path / "scores", "stage 5", [tmp_path / "embeddings"], ["m1"])
    return tmp_path


def test_what_has_not_changed_is_current(chain):
    assert check_current(chain / "scores") == check_current(chain / "embeddings", chain / "scores") == ("m1",)
    assert check_current(chain / "other") == ()
    (chain / "features").unlink()
    assert check_current(chain / "scores") == ("m1",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model", r"embeddings: .*model has changed since this was made from it; run stage 4 again"),
        ("features", "embeddings: .*features has changed"),
        ("embeddings", "scores: .*embeddings has changed since this was made from it; run stage 5 again"),
    ],
)
def test_a_change_anywhere_before_is_seen(chain, name, message):
    (chain / name).write_text("new")
    with pytest.raises(VouchError, match=message):
        check_current(chain / "scores")


def test_a_copied_tree_is_checked_where_it_is(chain, tmp_path):
    shutil.copytree(chain, tmp_path / "copy")
    (tmp_path / "copy/features").write_text("new")
    assert check_current(chain / "scores") == ("m1",)
    with pytest.raises(VouchError, match=r"copy/features has changed"):
        check_current(tmp_path / "copy/scores")
    # Through a link, of which the names of the folders around it know nothing.
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "exp").symlink_to(tmp_path / "far/away")
    (tmp_path / "exp/scores").write_text("x")
    write_record(tmp_path / "exp/scores", "stage 5", [chain / "other"])
    (chain / "other").write_text("new")
    with pytest.raises(VouchError, match="other has changed"):
        check_current(tmp_path / "exp/scores")


def test_a_record_of_another_output_says_nothing(chain):
    (chain / "scores").write_text("of another program")
    (chain / "model").write_text("new")
    assert check_current(chain / "scores") == ()


def test_models_are_not_mixed(chain):
    write_record(chain / "other", "stage 4", [chain / "features"], ["m2"])
    assert check_current(chain / "scores", chain / "other") == ("m1", "m2")
    assert check_one_model(chain / "scores", chain / "embeddings", chain / "model") == ("m1",)
    with pytest.raises(VouchError, match=r"scores and .*other are of different models; make both with the same"):
        check_one_model(chain / "model", chain / "scores", chain / "other")


@pytest.mark.parametrize("content", ["[]", '{"output": 1}', '{"output": 1, "by": 1, "models": 5, "inputs": {}}'])
def test_a_damaged_record_is_one_line(chain, content):
    (chain / "scores.made").write_text(content)
    with pytest.raises(VouchError, match=r"scores\.made: damaged, or of another version; remove it"):
        check_current(chain / "scores")


@pytest.mark.parametrize("change", ["samples", "more", "fewer"])
def test_a_folder_of_recordings_is_known_by_what_it_holds(chain, change):
    """Sizes and names alone would not tell one noise from another that was put in its place."""
    for name in ("music/a.wav", "music/b.flac"):
        (chain / name).parent.mkdir(exist_ok=True)
        (chain / name).write_bytes(b"samples")
    (chain / "music/gone.wav").symlink_to("nowhere")
    write_record(chain / "other", "stage 2", [chain / "music"])
    (chain / "music/._a.wav").write_bytes(b"of a Mac")
    (chain / "music/README").write_text("no recording")
    check_current(chain / "other")
    (chain / "music").rename(chain / "away")
    check_current(chain / "other")
    (chain / "away").rename(chain / "music")
    check_current(chain / "other")
    if change == "samples":
        (chain / "music/a.wav").write_bytes(b"elpmaxe")
    elif change == "more":
        (chain / "music/c.wav").write_bytes(b"samples")
    else:
        (chain / "music/b.flac").unlink()
    with pytest.raises(VouchError, match=r"other: .*music has changed since this was made from it; run stage 2 again"):
        check_current(chain / "other")


def test_pipes_are_no_part_of_a_record(chain):
    """What came through one is gone, and the next stage must not wait for more."""
    os.mkfifo(chain / "pipe")
    write_record(chain / "scores", "stage 5", [chain / "embeddings", chain / "pipe"], ["m1"])
    assert check_current(chain / "scores") == ("m1",)
    assert "pipe" not in (chain / "scores.made").read_text()
