"""Trial lists scored block by block, against a loop over their lines."""

import time

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.writing import open_ark
from vouch.scoring import stream
from vouch.scoring.backends import CosineBackend, DistanceBackend, PldaBackend
from vouch.scoring.plda import Plda
from vouch.scoring.preparation import Preparation
from vouch.scoring.stream import Sources, score_file

# Names of many lengths, one beyond all blocks, and such as are the beginning of another.
IDS = sorted(
    {"a", "ab", "abcdefgh", "abcdefghi", "sprecher-ü", "話者-1", "x" * 700, *(f"id{i:04d}" for i in range(40))}
)
MODEL = Plda(np.zeros(6), np.eye(6), np.linspace(2, 0, 6))
BACKENDS = {
    "cosine": (CosineBackend(), "unit-mean"),
    "scores": (CosineBackend(), "scores"),
    "plda": (PldaBackend(Preparation(), MODEL, "plda"), "mean"),
    "distance": (DistanceBackend(), "scores"),
}


@pytest.fixture
def scp(tmp_path):
    rng = np.random.default_rng(0)
    with open_ark(tmp_path / "e.ark", tmp_path / "e.scp") as ark:
        for name in IDS:
            ark.write(name, rng.standard_normal(6))
    return tmp_path / "e.scp"


@pytest.fixture(params=[64, 1 << 22])
def blocks(request, monkeypatch):
    monkeypatch.setattr(stream, "_BLOCK_BYTES", request.param)


def random_pairs(enrol, test, number):
    rng = np.random.default_rng(1)
    return [
        (enrol[a], test[b]) for a, b in zip(*(rng.integers(len(x), size=number) for x in (enrol, test)), strict=True)
    ]


def write_trials(path, pairs):
    blank = [" ", " ", " ", "\t", "  "]
    rows = (f"{a}{blank[row % 5]}{b} {'target' if row % 3 else 'nontarget'}" for row, (a, b) in enumerate(pairs))
    path.write_text("\n".join(rows))


def run(tmp_path, backend, average, enrol_map=None, **options):
    sides = backend.load_sides(tmp_path / "e.scp", enrol_map, average)
    sources = Sources(tmp_path / "trials", enrol_map or tmp_path / "e.scp", tmp_path / "e.scp")
    return score_file(sources, tmp_path / "s", sides, backend.scorer(sides, sides), **options)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", BACKENDS)
def test_lines_are_those_of_a_loop(scp, tmp_path, blocks, name, threads):
    backend, average = BACKENDS[name]
    (tmp_path / "map").write_text("m1 id0001 id0002\nm2 ab\nm3 id0003 id0004 id0005\n")
    pairs = random_pairs(["m1", "m2", "m3"], IDS, 300)
    write_trials(tmp_path / "trials", pairs)
    assert run(tmp_path, backend, average, tmp_path / "map", threads=threads) == (300, 300, [])
    sides = backend.load_sides(scp, tmp_path / "map", average)
    scorer = backend.scorer(sides, sides)
    lines = []
    for enrol, test in pairs:
        rows = [sides.enrol[enrol]] if sides.members is None else sides.members[sides.enrol[enrol]]
        each = [scorer.pairs(np.array([row]), np.array([sides.test[test]]))[0] for row in rows]
        lines.append((enrol, test, np.mean(each)))
    written = [line.split(" ") for line in (tmp_path / "s").read_text().removesuffix("\n").split("\n")]
    assert [tuple(words[:2]) for words in written] == [tuple(line[:2]) for line in lines]
    assert [float(words[2]) for words in written] == pytest.approx([line[2] for line in lines], rel=1e-6, abs=1e-7)


def test_unknown_ids_are_counted_in_the_whole_list_or_left_out(scp, tmp_path, blocks):
    backend, average = BACKENDS["cosine"]
    pairs = [("a", "ab")] * 20 + [("a", "zz"), ("id000", "ab"), ("a", "y")] + [("ab", "a")] * 20 + [("a", "id00011")]
    write_trials(tmp_path / "trials", pairs)
    (tmp_path / "s").write_text("old\n")
    with pytest.raises(VouchError, match=r"trials:22: 'id000' is not in .*e\.scp \(1 such\)$"):
        run(tmp_path, backend, average, threads=2)
    write_trials(tmp_path / "trials", [pair for pair in pairs if pair[0] != "id000"])
    with pytest.raises(VouchError, match=r"trials:21: 'zz' is not in .*e\.scp \(3 such\)$"):
        run(tmp_path, backend, average, threads=2)
    assert (tmp_path / "s").read_text() == "old\n"
    scored, trials, (left_out,) = run(tmp_path, backend, average, allow_missing=True)
    assert (scored, trials) == (40, 43)
    assert left_out == f"{tmp_path}/trials:21: 'zz' is not in {tmp_path}/e.scp (3 such)"
    assert [line.split()[:2] for line in (tmp_path / "s").read_text().splitlines()] == [["a", "ab"]] * 20 + [
        ["ab", "a"]
    ] * 20
    write_trials(tmp_path / "trials", [("y", "a"), ("z", "z")])
    with pytest.raises(VouchError, match=r"trials: no trial has the embeddings of both sides; .*'y' .*; .*'z' "):
        run(tmp_path, backend, average, allow_missing=True)


@pytest.mark.parametrize(
    "line", ["a ab", "a ab maybe", "a ab target x", "", "a ab nontargeT", "a ab nontargex", "a ab xtarget"]
)
def test_malformed_line_far_down_is_named(scp, tmp_path, blocks, line):
    good = "a ab nontarget\n" * 30
    (tmp_path / "trials").write_text(f"{good}{line}\n{good}")
    with pytest.raises(VouchError) as caught:
        run(tmp_path, *BACKENDS["cosine"], threads=2)
    assert str(caught.value) == f"{tmp_path}/trials:31: '{line}' is not '<enrol-id> <test-id> target|nontarget'"
    assert not list(tmp_path.glob("*s*partial")) and not (tmp_path / "s").exists()


def test_one_trial(scp, tmp_path):
    (tmp_path / "trials").write_text("a a target")
    assert run(tmp_path, *BACKENDS["cosine"]) == (1, 1, [])
    enrol, test, score = (tmp_path / "s").read_text().split()
    assert (enrol, test, float(score)) == ("a", "a", pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize("threads", [1, 4])
def test_only_a_few_blocks_are_held(threads):
    read, done = [], []

    def work(block):
        # The first of each few is slow: the others must wait for it to be written.
        time.sleep(0.01 * (block % 4 == 0))
        return block

    def blocks():
        for block in range(40):
            read.append(block)
            yield block

    for part in stream._in_order(work, blocks(), threads):
        done.append(part)
        assert len(read) - len(done) <= threads + 2
    assert done == list(range(40))
