#!/usr/bin/env python3
"""Stage 6: normalise cosine scores against a cohort of other speakers.

    steps/normalize_scores.py exp/scores/trials.txt exp/embeddings/test/embedding.scp \\
        exp/embeddings/train/embedding.scp exp/scores/trials_asnorm.txt --cohort-utt2spk data/train/utt2spk

A normalised score is (score - mean) / standard deviation, of the cohort scores of the enrolment side (znorm) or the
test side (tnorm), or the mean of both (snorm). In asnorm, adaptive s-norm, only the highest cohort scores of each side
count. The cohort must hold no speaker of the trials; training speakers are the usual choice.
"""

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "utils")]

from command_line import Parser, run_main
from vouch.errors import VouchError
from vouch.kaldi.scores import Scores, read_scores, write_scores
from vouch.scoring.backends import load_preparation
from vouch.scoring.sides import check_rows, load_cohort, load_sides, rows_of
from vouch.scoring.snorm import NORMALIZATIONS, trial_statistics

AUTO_TOP_N = 300
# What can stand for several utterances here: the score of one cohort member has no mean over them.
MEANS = ("mean", "unit-mean")


def top_n(word: str) -> int | None:
    """Read the value of --top-n; "auto" is None."""
    if word == "auto":
        return None
    if not word.isdecimal():
        raise ArgumentTypeError(f"'{word}' is neither a number nor 'auto'")
    return int(word)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("scores", type=Path, help="score file, 'enrol-id test-id score' lines")
    parser.add_argument("embeddings", type=Path, help="embedding.scp of the utterances of the trials")
    parser.add_argument("cohort", type=Path, help="embedding.scp of the cohort")
    parser.add_argument("normalized", type=Path, help="score file to write")
    parser.add_argument("--method", choices=sorted(NORMALIZATIONS), default="asnorm", help="normalisation")
    parser.add_argument(
        "--top-n",
        type=top_n,
        default="auto",
        help=f"cohort scores that count in asnorm; auto is {AUTO_TOP_N}, or the whole cohort if that is smaller",
    )
    parser.add_argument(
        "--cohort-utt2spk",
        type=Path,
        help="make each speaker one cohort member, see --cohort-average; without it each utterance is one",
    )
    parser.add_argument(
        "--cohort-average",
        choices=MEANS,
        help="what stands for a cohort speaker: the mean of its embeddings as they are, or of those that are centred,"
        " mapped and scaled to length 1 (default: unit-mean)",
    )
    parser.add_argument(
        "--mean", help="vector that was subtracted in scoring; 'data': the mean of the trials' embeddings"
    )
    parser.add_argument("--lda", type=Path, help="matrix that was applied in scoring")
    parser.add_argument(
        "--enrol-map", type=Path, help="'enrol-id utterance ...' table, the one the trials were scored with"
    )
    parser.add_argument(
        "--enrol-average", choices=MEANS, help="the one the trials were scored with (default: unit-mean)"
    )
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    method = NORMALIZATIONS[options.method]
    if options.top_n is not None and not method.adaptive:
        raise VouchError(f"--top-n is for --method asnorm; {options.method} counts the whole cohort")
    if options.cohort_average is not None and options.cohort_utt2spk is None:
        raise VouchError("--cohort-average says what stands for the speakers of --cohort-utt2spk; give that")
    if options.enrol_average is not None and options.enrol_map is None:
        raise VouchError("--enrol-average says what stands for the enrolments of --enrol-map; give that")
    scores = read_scores(options.scores)
    prepare = load_preparation(options.mean, options.lda, options.embeddings)
    sides = load_sides(options.embeddings, options.enrol_map, options.enrol_average or "unit-mean", prepare)
    enrol, test = rows_of(scores.enrol, sides.enrol), rows_of(scores.test, sides.test)
    check_rows(enrol, scores.enrol, options.scores, options.enrol_map or options.embeddings)
    check_rows(test, scores.test, options.scores, options.embeddings)
    cohort = load_cohort(options.cohort, options.cohort_utt2spk, options.cohort_average or "unit-mean", prepare)
    number = len(cohort)
    if method.adaptive:
        number = min(AUTO_TOP_N, len(cohort)) if options.top_n is None else options.top_n
    statistics = trial_statistics(sides.unit, sides.names, enrol, test, cohort, number)
    normalized = method.formula(scores.score, *statistics)
    write_scores(options.normalized, Scores(scores.enrol, scores.test, normalized))
    print(
        f"{len(normalized)} scores normalised ({options.method}, {number} of {len(cohort)} cohort members):"
        f" {options.normalized}"
    )


if __name__ == "__main__":
    run_main(main)
