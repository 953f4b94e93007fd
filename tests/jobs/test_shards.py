import errno
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.base.failures import describe_failures
from vouch.jobs.results import Result
from vouch.jobs.shards import Shards
from vouch.kaldi.matrices.mapped import read_matrix
from vouch.kaldi.tables import read_table
from vouch.stores.features import FeatureStore

ITEMS = [f"utt{number:02d}" for number in range(10)]


def matrix(item):
    rows = 3 + int(item[-1])
    return np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) + ITEMS.index(item) * 100


class Worker:
    """Work that keeps count of what it was asked for and fails where it is told to."""

    def __init__(self, failing=(), raising=()):
        self.failing, self.raising, self.seen = failing, raising, []

    def __call__(self, items):
        for item in items:
            self.seen.append(item)
            if item in self.raising:
                raise RuntimeError(f"at {item}")
            if item in self.failing:
                yield Result(item, VouchError("no voice"))
            else:
                yield Result(item, matrix(item), {"odd" if int(item[-1]) % 2 else "even": 1})


def shards(tmp_path, fingerprint="f", **options):
    return Shards(tmp_path / "feats", ITEMS, fingerprint, size=3, **options)


def check_output(tmp_path, items=ITEMS):
    table = read_table(tmp_path / "feats.scp")
    assert list(table) == items
    for item, rxfilename in table.items():
        assert rxfilename.startswith(f"{tmp_path}/feats/")
        np.testing.assert_array_equal(read_matrix(rxfilename), matrix(item))
    assert sorted(os.listdir(tmp_path)) == ["feats", "feats.scp"]


@pytest.mark.parametrize("format", ["ark", "npy"])
def test_all_at_once(tmp_path, format):
    made = shards(tmp_path, format=format)
    assert len(made) == 4
    assert made.prepare() == 0
    made.run(Worker())
    outcome = made.finish(tmp_path / "feats.scp")
    assert outcome.rows == {item: len(matrix(item)) for item in ITEMS}
    assert outcome.failed == {}
    assert outcome.notes == Counter(odd=5, even=5)
    check_output(tmp_path)


def test_an_interrupted_run_goes_on_after_its_finished_shards(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    with pytest.raises(RuntimeError, match="at utt07"):
        made.run(Worker(raising=["utt07"]))
    assert sorted(path.name for path in made.work.iterdir()) == [
        f"feats.{shard}.{suffix}" for shard in (1, 2) for suffix in ("ark", "json")
    ]
    with pytest.raises(VouchError, match="shard 3 of 4 is missing; run the same command again"):
        made.finish(tmp_path / "feats.scp")
    assert not (tmp_path / "feats.scp").exists()

    again, worker = shards(tmp_path), Worker()
    assert again.prepare() == 2
    again.run(worker)
    assert worker.seen == ITEMS[6:]
    again.finish(tmp_path / "feats.scp")
    check_output(tmp_path)


@pytest.mark.parametrize("format", ["ark", "npy"])
def test_a_killed_run_goes_on_after_its_finished_shards(tmp_path, format, start_python):
    code = """
import os, pathlib, sys
import numpy as np
from vouch.jobs.results import Result
from vouch.jobs.shards import Shards
def work(items):
    for item in items:
        if item == "utt04":
            print("in the middle", flush=True)
            sys.stdin.read()
        yield Result(item, np.arange(4 * (3 + int(item[-1])), dtype="f4").reshape(-1, 4) + int(item[3:]) * 100)
made = Shards(pathlib.Path(sys.argv[1]) / "feats", sys.argv[3:], "f", format=sys.argv[2], size=3)
made.prepare()
made.run(work)
"""
    process = start_python(code, tmp_path, format, *ITEMS, stdin=-1)
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    again, worker = shards(tmp_path, format=format), Worker()
    assert again.prepare() == 1
    again.run(worker)
    assert worker.seen == ITEMS[3:]
    again.finish(tmp_path / "feats.scp")
    check_output(tmp_path)


@pytest.mark.parametrize("change", [{"fingerprint": "other"}, {"format": "npy"}, {"compression": "8bit"}])
def test_shards_of_other_inputs_are_thrown_away(tmp_path, change):
    old = shards(tmp_path)
    old.prepare()
    old.run(Worker())
    new, worker = shards(tmp_path, **change), Worker()
    assert new.prepare() == 0
    assert not old.work.exists()
    new.run(worker)
    assert worker.seen == ITEMS


def test_the_old_output_stays_until_the_new_one_is_complete(tmp_path):
    first = shards(tmp_path)
    first.prepare()
    first.run(Worker())
    first.finish(tmp_path / "feats.scp")
    second = shards(tmp_path, fingerprint="new", format="npy")
    second.prepare()
    with pytest.raises(RuntimeError):
        second.run(Worker(raising=["utt09"]))
    assert list(read_table(tmp_path / "feats.scp")) == ITEMS
    assert (tmp_path / "feats" / "feats.1.ark").exists()
    second.run(Worker())
    second.finish(tmp_path / "feats.scp")
    check_output(tmp_path)


def test_working_folders_of_similar_names_are_left_alone(tmp_path):
    """The output's name may hold characters that a file pattern would expand."""
    other = Shards(tmp_path / "feats1", ITEMS, "f")
    other.prepare()
    mine = Shards(tmp_path / "feats[12]", ITEMS, "f")
    mine.prepare()
    stale = mine.work
    Shards(tmp_path / "feats[12]", ITEMS, "g").prepare()
    assert other.work.exists()
    assert not stale.exists()


def test_a_few_failures_are_reported(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    made.run(Worker(failing=["utt04"]))
    outcome = made.finish(tmp_path / "feats.scp", max_failed=0.1)
    assert outcome.failed == {"utt04": "no voice"}
    assert "utt04" not in outcome.rows
    check_output(tmp_path, [item for item in ITEMS if item != "utt04"])


def test_too_many_failures_name_the_items_and_only_their_shards_are_made_again(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    made.run(Worker(failing=["utt04", "utt09"]))
    with pytest.raises(VouchError, match=r"^2 of 10 items failed: 'utt04': no voice; 'utt09': no voice$"):
        made.finish(tmp_path / "feats.scp", max_failed=0.1)
    assert not (tmp_path / "feats.scp").exists()
    again, worker = shards(tmp_path), Worker()
    assert again.prepare() == 2
    again.run(worker)
    assert worker.seen == [*ITEMS[3:6], ITEMS[9]]
    again.finish(tmp_path / "feats.scp")
    check_output(tmp_path)


def test_nothing_but_failures_is_an_error_whatever_may_fail(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    made.run(Worker(failing=ITEMS))
    with pytest.raises(VouchError, match="10 of 10 items failed"):
        made.finish(tmp_path / "feats.scp", max_failed=1.0)


def test_many_failures_are_cut_short():
    line = describe_failures({f"u{number}": "bad" for number in range(25)})
    assert line.endswith("'u9': bad; and 15 more")


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_jobs_share_the_shards(tmp_path, order):
    workers = {job: Worker() for job in order}
    shards(tmp_path).prepare()
    for job in order:
        shards(tmp_path).run(workers[job], job, 2)
    assert workers[1].seen == ITEMS[0:3] + ITEMS[6:9]
    assert workers[2].seen == ITEMS[3:6] + ITEMS[9:]
    shards(tmp_path).finish(tmp_path / "feats.scp")
    check_output(tmp_path)


def test_more_jobs_than_shards(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    for job in range(1, 8):
        made.run(Worker(), job, 7)
    made.finish(tmp_path / "feats.scp")
    check_output(tmp_path)


def test_npy_files_of_odd_ids(tmp_path):
    ids = sorted(["spk/../utt", "50%", "50%25", "a:5", "..", "naïve", "it's", "-x", "x.npy"])
    made = Shards(tmp_path / "a folder" / "feats", ids, "f", format="npy")
    made.prepare()
    made.run(lambda items: (Result(item, np.full((2, 3), ids.index(item))) for item in items))
    made.finish(tmp_path / "feats.scp")
    store = FeatureStore(tmp_path / "feats.scp")
    assert store.utterances == ids
    assert [store.matrix(index)[0, 0] for index in range(len(ids))] == list(range(len(ids)))
    assert len(list((tmp_path / "a folder" / "feats").glob("*.npy"))) == len(ids)


def test_work_that_forgets_an_item_is_a_bug(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    with pytest.raises(AssertionError, match="utt00"):
        made.run(lambda items: iter(()))


@pytest.mark.parametrize("format", ["ark", "npy"])
def test_what_cannot_be_written_is_a_failure_of_its_item(tmp_path, format):
    bad = {"utt03": np.full((2, 4), np.nan), "utt08": np.empty((0, 4))}
    made, done = shards(tmp_path, format=format), []
    made.prepare()
    made.run(lambda items: (Result(item, bad.get(item, matrix(item))) for item in items), progress=done.append)
    assert sum(done) == len(ITEMS)
    outcome = made.finish(tmp_path / "feats.scp", max_failed=0.2)
    assert outcome.failed == {
        "utt03": "'utt03': NaN or infinite values are not written",
        "utt08": "'utt08': an empty matrix is not written",
    }
    check_output(tmp_path, [item for item in ITEMS if item not in bad])


def test_what_is_said_of_an_item_is_kept_whether_it_is_made_or_not(tmp_path):
    """Of all jobs, and of those shards too that an earlier run finished."""

    def work(items):
        for item in items:
            value = VouchError("no voice") if item == "utt04" else matrix(item)
            yield Result(item, value, {"resampled": 2}, {"clipping": f"{item} is loud"}, f"digest of {item}")

    made = shards(tmp_path)
    made.prepare()
    made.run(work, 1, 2)
    again = shards(tmp_path)
    assert again.prepare() == 2
    again.run(work)
    outcome = again.finish(tmp_path / "feats.scp", max_failed=0.1)
    assert outcome.failed == {"utt04": "no voice"}
    assert outcome.notes == {"resampled": 2 * len(ITEMS)}
    assert outcome.remarks == {"clipping": {item: f"{item} is loud" for item in ITEMS}}
    assert list(outcome.digests.items()) == [(item, f"digest of {item}") for item in ITEMS]


@pytest.mark.parametrize("text", ["[]", "{}", '{"sources": "", "more": 1}'])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    made = shards(tmp_path)
    made.prepare()
    (made.work / "feats.2.json").write_text(text)
    with pytest.raises(VouchError, match=r"feats\.2\.json: not the record of a part of this stage; remove its folder"):
        made.prepare()


def test_killed_while_the_output_changes_places(tmp_path, monkeypatch):
    """Whatever step a run dies before, the next one goes on from complete shards or finds the output whole."""
    for step in ("rmtree", "rename"):
        made = shards(tmp_path)
        made.prepare()
        made.run(Worker())
        with monkeypatch.context() as patch:

            def die(*_args, **_options):
                raise KeyboardInterrupt

            patch.setattr(*(("shutil.rmtree", die) if step == "rmtree" else ("pathlib.Path.rename", die)))
            with pytest.raises(KeyboardInterrupt):
                made.finish(tmp_path / "feats.scp")
        assert not (tmp_path / "feats.scp").exists()
        again, worker = shards(tmp_path), Worker()
        assert again.prepare() == 4
        again.run(worker)
        assert worker.seen == []
        again.finish(tmp_path / "feats.scp")
        check_output(tmp_path)


def test_an_output_folder_on_another_disk_is_reached_through_its_link(tmp_path):
    """Twice: the second time the folder holds the archives of the first."""
    disk = tmp_path / "disk"
    (disk / "mine").mkdir(parents=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / "feats").symlink_to(disk / "mine")
    for fingerprint in "fg":
        made = shards(home, fingerprint)
        made.check_own(home / "feats.scp")
        made.prepare()
        made.run(Worker())
        made.finish(home / "feats.scp")
        assert (home / "feats").is_symlink()
        check_output(home)
        assert os.listdir(disk) == ["mine"]


def test_links_of_two_directories_to_one_folder_are_refused(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    for home, items in (("a", ITEMS), ("b", ["other1", "other2"])):
        (tmp_path / home).mkdir()
        (tmp_path / home / "feats").symlink_to(disk)
        made = Shards(tmp_path / home / "feats", items, "f", size=3)
        if home == "b":
            with pytest.raises(VouchError, match="holds files that this stage did not make for this directory"):
                made.check_own(tmp_path / home / "feats.scp")
            continue
        made.prepare()
        made.run(Worker())
        made.finish(tmp_path / home / "feats.scp")


def test_nothing_is_lost_when_the_new_cannot_be_put_in_place(tmp_path, monkeypatch):
    made = shards(tmp_path)
    made.prepare()
    made.run(Worker())
    made.finish(tmp_path / "feats.scp")
    again = shards(tmp_path, "g")
    again.prepare()
    again.run(Worker())
    rename = Path.rename

    def fail(path, target):
        if path == again.work:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        again.finish(tmp_path / "feats.scp")
    monkeypatch.undo()
    shutil.rmtree(again.work)
    check_output(tmp_path)


@pytest.mark.parametrize(
    ("line", "is_own"),
    [
        ("{home}/feats/feats.1.ark:7", True),
        ("/moved/from/here/feats/feats.12.ark:7", True),
        ("/corpus/mfcc/raw_mfcc_train.1.ark:7", False),
        ("{home}/feats/mine.ark:7", False),
        ("/elsewhere/feats.1.ark:7", False),
        ("gunzip -c x.ark.gz |", False),
        ("{home}/feats/feats.1.ark:99999999999999999999", False),
        ("{home}/feats/feats.1.ark:7[1:0]", False),
    ],
)
def test_only_a_table_of_its_own_archives_is_replaced(tmp_path, line, is_own):
    scp = tmp_path / "feats.scp"
    scp.write_text(f"utt00 {line.format(home=tmp_path)}\n")
    if is_own:
        shards(tmp_path).check_own(scp)
        return
    with pytest.raises(VouchError, match=r"feats\.scp: was not made by this stage, it lists .*--stage 3.*move it away"):
        shards(tmp_path).check_own(scp)


def test_a_folder_of_other_files_is_not_removed(tmp_path):
    (tmp_path / "feats").mkdir()
    shards(tmp_path).check_own(tmp_path / "feats.scp")
    (tmp_path / "feats/raw_fbank.1.ark").write_bytes(b"mine")
    with pytest.raises(VouchError, match="feats: holds files that this stage did not make"):
        shards(tmp_path).check_own(tmp_path / "feats.scp")


def test_a_refused_outcome_replaces_nothing_and_keeps_the_shards(tmp_path):
    made = shards(tmp_path)
    made.prepare()
    made.run(Worker())
    made.finish(tmp_path / "feats.scp")
    again, worker = shards(tmp_path, "g"), Worker()
    again.prepare()
    again.run(Worker())

    def refuse(outcome):
        raise VouchError(f"{len(outcome.rows)} are too many")

    with pytest.raises(VouchError, match="10 are too many"):
        again.finish(tmp_path / "feats.scp", check=refuse)
    assert len(read_table(tmp_path / "feats.scp")) == 10
    assert again.prepare() == 4
    again.run(worker)
    assert worker.seen == []


def test_shards_whose_sources_have_changed_are_made_again(tmp_path):
    sources = dict.fromkeys(ITEMS, "old")

    def made():
        return shards(tmp_path, sources=lambda items: " ".join(sources[item] for item in items))

    first = made()
    first.prepare()
    with pytest.raises(RuntimeError, match="at utt07"):
        first.run(Worker(raising=["utt07"]))
    sources["utt04"] = "new"
    again, worker = made(), Worker()
    assert again.prepare() == 1
    again.run(worker)
    assert worker.seen == ITEMS[3:]
    again.finish(tmp_path / "feats.scp")
    check_output(tmp_path)
