#!/usr/bin/env python3
"""Time stages 5 to 7 from files to files: 579,818 trials of 145,160 utterances of 256 dimensions, as VoxCeleb1-E has.

    tests/benchmarks/bench_scoring.py
    tests/benchmarks/bench_scoring.py --stream 20_000_000    # also so many trials; 150 bytes of disk for each

Each script is run whole, with the start of Python. Prints seconds by the clock and of the processor, of the run of
--repeats that was shortest by the clock, and the largest memory of the process. On a busy machine the seconds of the
processor are the meaningful ones; `taskset -c 0,1` leaves two processors. The scikit-learn line needs
`pip install scikit-learn`.
"""

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "utils")]

import numpy as np

from vouch.cli.parser import Parser, run_main
from vouch.evaluation.result import evaluate
from vouch.kaldi.lists.scores import join_scores, read_scores
from vouch.kaldi.lists.trials import read_trials
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.matrices.writing import open_ark

UTTERANCES, SPEAKERS, DIM, TRIALS, COHORT = 145_160, 1_251, 256, 579_818, 5_994
# Trials scored one by one; the time of all is extrapolated from these.
LOOPED = 5_000
CHUNK = 1_000_000
# The largest memory of a process counts from that of the one that starts it; this one is small.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)
"""


class Used(NamedTuple):
    """Seconds by the clock and of the processor, and largest memory in MB if a process of its own was measured."""

    clock: float
    processor: float
    memory: float | None = None


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--stream", type=int, default=0, help="also score so many trials")
    parser.add_argument("--work", type=Path, help="folder for the files of the run; they are removed again")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        make_data(work)
        print(f"{'seconds':62s} {'clock':>8s} {'processor':>10s} {'MB':>8s}")
        scoring = report(work, options.repeats)
        report_loop(work, scoring)
        if options.stream:
            report_stream(work, options.stream, options.repeats)


def make_data(work: Path) -> None:
    """Write embeddings whose speakers overlap somewhat, trials of which half are target trials, and a cohort."""
    rng = np.random.default_rng(0)
    speaker = np.sort(rng.integers(SPEAKERS, size=UTTERANCES))
    ids = [f"id{10001 + s}-{i:011d}-{i % 99_999:05d}" for i, s in enumerate(speaker)]
    centres = rng.standard_normal((SPEAKERS, DIM), np.float32)
    noise = rng.standard_normal((UTTERANCES, DIM), np.float32)
    write_embeddings(work / "test", ids, centres[speaker] + 2.5 * noise)
    cohort = rng.standard_normal((COHORT, DIM), np.float32)
    write_embeddings(work / "cohort", [f"c{i:05d}" for i in range(COHORT)], cohort)
    np.savez(work / "speakers.npz", ids=np.array(ids, "S"), speaker=speaker)
    make_trials(work, "trials", TRIALS)


def write_embeddings(stem: Path, ids: list[str], embeddings: np.ndarray) -> None:
    with open_ark(f"{stem}.ark", f"{stem}.scp") as ark:
        for key, embedding in zip(ids, embeddings, strict=True):
            ark.write(key, embedding)


def make_trials(work: Path, name: str, number: int) -> None:
    """Write trials in random order."""
    with np.load(work / "speakers.npz") as arrays:
        ids, speaker = arrays["ids"], arrays["speaker"]
    first, members = np.searchsorted(speaker, np.arange(SPEAKERS)), np.bincount(speaker, minlength=SPEAKERS)
    rng = np.random.default_rng(1)
    kind = np.dtype([("enrol", ids.dtype), ("gap", "S1"), ("test", ids.dtype), ("end", "S11")])
    with open(work / name, "wb") as file:
        for start in range(0, number, CHUNK):
            enrol, test = rng.integers(UTTERANCES, size=(2, min(CHUNK, number - start)))
            mates = first[speaker[enrol]] + rng.integers(members[speaker[enrol]])
            test = np.where(rng.random(len(enrol)) < 0.5, mates, test)
            lines = np.empty(len(enrol), kind)
            lines["enrol"], lines["gap"], lines["test"] = ids[enrol], b" ", ids[test]
            lines["end"] = np.where(speaker[enrol] == speaker[test], b" target\n", b" nontarget\n")
            text = lines.view(np.uint8)
            file.write(text[text > 0])


def report(work: Path, repeats: int) -> Used:
    trials, scores, normalized, results = (work / name for name in ("trials", "s.txt", "n.txt", "results"))
    scoring = best(repeats, lambda: step("score_trials", trials, work / "test.scp", scores))
    show(f"score_trials.py, cosine, {TRIALS} trials of {UTTERANCES} utterances", scoring)
    cohort = ("normalize_scores", scores, work / "test.scp", work / "cohort.scp", normalized)
    show(f"normalize_scores.py, asnorm, top 300 of {COHORT}", best(repeats, lambda: step(*cohort)))
    listed = read_trials(trials)
    arrays = join_scores(listed, read_scores(scores), trials, scores)
    speakers = tuple(np.array([name.split("-")[0] for name in side]) for side in (listed.enrol, listed.test))
    for what, clusters in (("trials", None), ("speakers", speakers)):
        used = best(repeats, lambda clusters=clusters: timed(lambda: evaluate("all", *arrays, speakers=clusters)))
        show(f"every figure with its interval, 1000 draws of {what}", used)
    judging = ("compute_metrics", trials, scores, results)
    show("compute_metrics.py with pictures", best(repeats, lambda: step(*judging)))
    return scoring


def report_loop(work: Path, scoring: Used) -> None:
    """Score some trials with one call each, and compare with the whole script."""
    if importlib.util.find_spec("sklearn") is None:
        print("scikit-learn is not installed, so nothing is compared with it: pip install scikit-learn")
        return
    from sklearn.metrics.pairwise import cosine_similarity

    ids, vectors = read_vectors(work / "test.scp")
    rows = {name: row for row, name in enumerate(ids)}
    trials = read_trials(work / "trials")
    pairs = [(rows[a], rows[b]) for a, b in zip(trials.enrol[:LOOPED], trials.test[:LOOPED], strict=True)]

    def loop() -> None:
        for a, b in pairs:
            cosine_similarity(vectors[a : a + 1], vectors[b : b + 1])

    used = timed(loop)
    whole = Used(used.clock * TRIALS / LOOPED, used.processor * TRIALS / LOOPED)
    show(f"scikit-learn's cosine_similarity, a call a trial (from {LOOPED})", whole)
    show("  ratio to score_trials.py", Used(whole.clock / scoring.clock, whole.processor / scoring.processor))


def report_stream(work: Path, number: int, repeats: int) -> None:
    make_trials(work, "stream", number)
    used = best(repeats, lambda: step("score_trials", work / "stream", work / "test.scp", work / "stream.txt"))
    show(f"score_trials.py, cosine, {number} trials", used)
    rate = Used(number / used.clock / 1e6, number / used.processor / 1e6)
    show("  million trials a second", rate)


def show(what: str, used: Used) -> None:
    memory = "" if used.memory is None else f"{used.memory:8.0f}"
    print(f"{what:62s} {used.clock:8.2f} {used.processor:10.2f} {memory}".rstrip(), flush=True)


def best(repeats: int, measure: Callable[[], Used]) -> Used:
    """Return the run that was shortest by the clock."""
    return min(measure() for _ in range(repeats))


def timed(work: Callable[[], object]) -> Used:
    start, used = time.perf_counter(), time.process_time()
    work()
    return Used(time.perf_counter() - start, time.process_time() - used)


def step(name: str, *arguments: object) -> Used:
    """Run a script."""
    command = [sys.executable, str(ROOT / "steps" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, text=True, check=True)
    return Used(*map(float, done.stdout.split()))


if __name__ == "__main__":
    run_main(main)
