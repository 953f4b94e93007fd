#!/usr/bin/env python3
"""Time stages 5 to 7 on one core: 580,000 trials over 5,000 utterances of 256 dimensions, from files to files.

    OMP_NUM_THREADS=1 tests/benchmarks/bench_scoring.py

Prints seconds by the clock and of the processor, the best of --repeats runs; on a busy machine the second is the
meaningful one. "Process" means a whole script, with the start of Python.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("src", "utils")]

import numpy as np

from command_line import Parser, run_main
from vouch.kaldi.ark import open_ark, read_vectors
from vouch.kaldi.scores import join_scores, read_scores
from vouch.kaldi.trials import Trials, read_trials, write_trials
from vouch.metrics import equal_error_rate, min_dcf
from vouch.report import evaluate
from vouch.scoring.cosine import normalize_length
from vouch.scoring.snorm import cohort_statistics

UTTERANCES, SPEAKERS, DIM, TRIALS, COHORT = 5_000, 120, 256, 580_000, 6_000
LOOPED = 20_000
COHORT_SPEAKERS = 5_994


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--rows", type=int, default=145_160, help="embeddings of the large adaptive s-norm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_data(work)
        report(work, options.repeats)
    report_large_cohort(options.rows)


def make_data(work: Path) -> None:
    """Write embeddings whose speakers overlap somewhat, half target and half non-target trials, and a cohort."""
    rng = np.random.default_rng(0)
    speaker = np.sort(rng.integers(SPEAKERS, size=UTTERANCES))
    centres = rng.standard_normal((SPEAKERS, DIM))
    ids = [f"id{10000 + s}-{i:011d}" for i, s in enumerate(speaker)]
    write_embeddings(work / "test", ids, centres[speaker] + 2.5 * rng.standard_normal((UTTERANCES, DIM)))
    write_embeddings(work / "cohort", [f"c{i:05d}" for i in range(COHORT)], rng.standard_normal((COHORT, DIM)))
    enrol, test = rng.integers(UTTERANCES, size=(2, TRIALS))
    mates = np.searchsorted(speaker, speaker[enrol]) + rng.integers(np.bincount(speaker)[speaker[enrol]])
    test = np.where(rng.random(TRIALS) < 0.5, mates, test)
    trials = Trials([ids[row] for row in enrol], [ids[row] for row in test], speaker[enrol] == speaker[test])
    write_trials(work / "trials", trials)


def write_embeddings(stem: Path, ids: list[str], embeddings: np.ndarray) -> None:
    with open_ark(f"{stem}.ark", f"{stem}.scp") as ark:
        for key, embedding in zip(ids, embeddings, strict=True):
            ark.write(key, embedding)


def report(work: Path, repeats: int) -> None:
    trials, scores, normalized, results = (work / name for name in ("trials", "s.txt", "n.txt", "results"))
    print(f"{'seconds':64s} {'clock':>8s} {'processor':>10s}")
    scoring = best(repeats, lambda: step("score_trials", trials, work / "test.scp", scores))
    show("score_trials.py, process", scoring)
    pairs, embeddings = load_pairs(work)
    loop = [seconds * TRIALS / LOOPED for seconds in best(repeats, lambda: per_trial_loop(pairs, embeddings))]
    show(f"  numpy cosine in a loop, extrapolated from {LOOPED} trials", loop)
    show("  ratio of that loop to the whole process", [a / b for a, b in zip(loop, scoring, strict=True)])
    cohort = ("normalize_scores", scores, work / "test.scp", work / "cohort.scp", normalized)
    show(f"normalize_scores.py, asnorm, cohort of {COHORT}, process", best(repeats, lambda: step(*cohort)))
    arrays = join_scores(read_trials(trials), read_scores(scores), trials, scores)
    show("EER and minDCF from trial and score file", best(repeats, lambda: judge_files(trials, scores)))
    show("EER and minDCF from arrays", best(repeats, lambda: judge(*arrays)))
    listed = read_trials(trials)
    speakers = tuple(np.array([name.split("-")[0] for name in side]) for side in (listed.enrol, listed.test))
    for what, clusters in (("trials", None), ("speakers", speakers)):
        used = best(repeats, lambda clusters=clusters: evaluate("", *arrays, speakers=clusters))
        show(f"every figure with its interval, 1000 draws of {what}", used)
    judging = ("compute_metrics", trials, scores, "--out-dir", results)
    show("compute_metrics.py with pictures, process", best(repeats, lambda: step(*judging)))


def report_large_cohort(rows: int) -> None:
    """Time the cohort statistics of all utterances of VoxCeleb1 against the speakers of VoxCeleb2, or of fewer."""
    rng = np.random.default_rng(0)
    names = [str(row) for row in range(rows)]
    unit, cohort = (
        normalize_length(rng.standard_normal((number, DIM), np.float32), range(number))
        for number in (rows, COHORT_SPEAKERS)
    )
    used = best(1, lambda: cohort_statistics(unit, names, cohort, 300))
    show(f"statistics of {rows} embeddings, top 300 of {COHORT_SPEAKERS}", used)
    print(f"largest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def show(what: str, figures: Sequence[float]) -> None:
    print(f"{what:64s} {figures[0]:8.2f} {figures[1]:10.2f}")


def best(repeats: int, work: Callable[[], object]) -> tuple[float, float]:
    """Return the shortest times of `work` in seconds, by the clock and of the processor, with child processes."""
    times = []
    for _ in range(repeats):
        start, used = time.perf_counter(), sum(os.times()[:4])
        work()
        times.append((time.perf_counter() - start, sum(os.times()[:4]) - used))
    clock, processor = zip(*times, strict=True)
    return min(clock), min(processor)


def step(name: str, *arguments: object) -> None:
    subprocess.run(
        [sys.executable, ROOT / "steps" / f"{name}.py", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )


def judge_files(trials: Path, scores: Path) -> None:
    judge(*join_scores(read_trials(trials), read_scores(scores), trials, scores))


def judge(scores: np.ndarray, is_target: np.ndarray) -> None:
    equal_error_rate(scores, is_target)
    min_dcf(scores, is_target, 0.01)


def load_pairs(work: Path) -> tuple[list[tuple[str, str]], dict[str, np.ndarray]]:
    ids, vectors = read_vectors(work / "test.scp")
    trials = read_trials(work / "trials")
    return list(zip(trials.enrol, trials.test, strict=True))[:LOOPED], dict(zip(ids, vectors, strict=True))


def per_trial_loop(pairs: Sequence[tuple[str, str]], embeddings: Mapping[str, np.ndarray]) -> None:
    """Score the plain way: look up the two embeddings of each trial and compute their cosine."""
    for enrol, test in pairs:
        a, b = embeddings[enrol], embeddings[test]
        _ = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


if __name__ == "__main__":
    run_main(main)
