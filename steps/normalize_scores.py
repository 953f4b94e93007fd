#!/usr/bin/env python3
"""Stage 6: normalise scores against a cohort of other speakers.

    steps/normalize_scores.py exp/scores/trials.txt exp/embeddings/test/embedding.scp \\
        exp/embeddings/train/embedding.scp exp/scores/trials_asnorm.txt --cohort-utt2spk data/train/utt2spk

A normalised score is (score - mean) / standard deviation, with the statistics of the cohort scores of the enrolment
side (znorm) or the test side (tnorm), or the mean of both (snorm). Adaptive s-norm (asnorm) uses only the highest
cohort scores of each side. The cohort must have no utterance and no speaker of the trials; training speakers are the
usual choice. Its utterances are compared with those of the trials and, with --cohort-utt2spk and --utt2spk, the
speakers too.

The cohort is scored like the trials, so give the same --backend and other options. With plda, cohort members are single
test utterances for the enrolment side, and enrolments for the test side.
"""

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import numpy as np

from vouch.base.errors import VouchError
from vouch.base.numbers import plain_int
from vouch.cli.parser import Parser, run_main
from vouch.cli.scoring_options import (
    add_backend_options,
    check_backend_options,
    check_outputs,
    load_backend,
    sources_of,
)
from vouch.kaldi.lineage.records import check_one_model, write_record
from vouch.kaldi.lists.scores import Scores, read_scores, write_scores
from vouch.scoring.backends import DEFAULT_AVERAGES, cohort_scores
from vouch.scoring.overlap import CohortFiles, check_cohort
from vouch.scoring.sides import check_rows, rows_of, score_sides
from vouch.scoring.snorm import SCORE_NORMALIZATIONS, trial_statistics

AUTO_TOP_N = 300
# Number of trials that are scored again, to check that the options are those of stage 5.
SAMPLE = 1000


class TopN(NamedTuple):
    """Number of cohort scores to use, and whether a smaller cohort may be used as a whole."""

    number: int
    at_most: bool


def top_n(word: str) -> TopN:
    """Parse the value of --top-n: "400", "auto:400" or "auto"."""
    number = word.removeprefix("auto:")
    if word == "auto":
        return TopN(AUTO_TOP_N, True)
    if not (number.isascii() and number.isdigit()):
        raise ArgumentTypeError(f"'{word}' is neither a number nor 'auto'")
    return TopN(plain_int(number), number != word)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("scores", type=Path, help="score file, 'enrol-id test-id score' lines")
    parser.add_argument("embeddings", type=Path, help="embedding.scp of the utterances of the trials")
    parser.add_argument("cohort", type=Path, help="embedding.scp of the cohort")
    parser.add_argument("normalized", type=Path, help="score file to write")
    parser.add_argument("--method", choices=sorted(SCORE_NORMALIZATIONS), default="asnorm", help="normalisation")
    parser.add_argument(
        "--top-n",
        type=top_n,
        help="cohort scores that count in asnorm; auto:N is N, or the whole cohort if that is smaller; auto is"
        f" auto:{AUTO_TOP_N} (default: auto)",
    )
    parser.add_argument(
        "--cohort-utt2spk",
        type=Path,
        help="make each speaker one cohort member, see --cohort-average; without it each utterance is one",
    )
    parser.add_argument(
        "--utt2spk",
        type=Path,
        help="whose the utterances of the trials are: with --cohort-utt2spk, none of these may be in the cohort",
    )
    parser.add_argument(
        "--cohort-average",
        choices=("mean", "unit-mean"),
        help="what stands for a cohort speaker: the mean of its embeddings as they are, or of those that are centred,"
        " mapped and scaled to length 1 (default: unit-mean for cosine, mean for plda)",
    )
    add_backend_options(parser)
    return parser.parse_args()


def check_scores(options: Namespace, given: np.ndarray, computed: np.ndarray) -> None:
    """Raise an error unless these options reproduce the scores: `given` begins with the trials of `computed`."""
    far = np.abs(given[: len(computed)] - computed) > 1e-3 * np.abs(computed).max()
    if far.any():
        row = int(np.argmax(far))
        raise VouchError(
            f"{options.scores}:{row + 1}: the score is {given[row]:.6g}, and {computed[row]:.6g} with --backend"
            f" {options.backend} and the other options; give those that stage 5 was given"
        )


def main() -> None:
    options = parse_options()
    method = SCORE_NORMALIZATIONS[options.method]
    if options.top_n is not None and not method.adaptive:
        raise VouchError(f"--top-n is for --method asnorm; {options.method} counts the whole cohort")
    if options.cohort_average is not None and options.cohort_utt2spk is None:
        raise VouchError("--cohort-average says what stands for the speakers of --cohort-utt2spk; give that")
    check_backend_options(options)
    check_outputs(options, "normalized")
    if options.backend == "distance" and options.cohort_utt2spk:
        raise VouchError(
            "--backend distance: the crops of several utterances have no mean that could stand for a cohort speaker;"
            " leave out --cohort-utt2spk"
        )
    inputs = [options.scores, *sources_of(options), options.cohort]
    models = check_one_model(*inputs)
    if options.cohort_utt2spk is not None:
        inputs.append(options.cohort_utt2spk)
    scores = read_scores(options.scores)
    members = CohortFiles(options.cohort, options.cohort_utt2spk)
    check_cohort(members, [*scores.enrol, *scores.test], options.scores, options.enrol_map, options.utt2spk)
    backend = load_backend(options)
    average = DEFAULT_AVERAGES[options.backend]
    sides = backend.load_sides(options.embeddings, options.enrol_map, options.enrol_average or average)
    enrol, test = rows_of(scores.enrol, sides.enrol), rows_of(scores.test, sides.test)
    check_rows(enrol, scores.enrol, options.scores, options.enrol_map or options.embeddings)
    check_rows(test, scores.test, options.scores, options.embeddings)
    check_scores(
        options,
        scores.score,
        score_sides(sides.members, enrol[:SAMPLE], test[:SAMPLE], backend.scorer(sides, sides).pairs),
    )
    cohort = backend.load_cohort(options.cohort, options.cohort_utt2spk, options.cohort_average or average)
    against = cohort_scores(backend, sides, cohort)
    number = against.size
    if method.adaptive:
        wanted = options.top_n or TopN(AUTO_TOP_N, True)
        number = min(wanted.number, number) if wanted.at_most else wanted.number
    enrol_names = None if sides.members is None else list(sides.enrol)
    statistics = trial_statistics(against, sides.names, enrol, test, number, enrol_names)
    normalized = method.formula(scores.score, *statistics)
    write_scores(options.normalized, Scores(scores.enrol, scores.test, normalized))
    write_record(options.normalized, "stage 6 (steps/normalize_scores.py)", inputs, models)
    print(
        f"{len(normalized)} scores normalised ({options.method}, {number} of {against.size} cohort members):"
        f" {options.normalized}"
    )


if __name__ == "__main__":
    run_main(main)
