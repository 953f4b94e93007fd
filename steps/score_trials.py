#!/usr/bin/env python3
"""Stage 5: score trials by the cosine between the embeddings of their two sides.

    steps/score_trials.py data/test/trials exp/embeddings/test/embedding.scp exp/scores/trials.txt

Writes `enrol-id test-id score` for each trial, in the order of the trial list; scores lie between -1 and 1. An
enrolment is one utterance, or several with --enrol-map: then the mean of their length-normalised embeddings.
"""

import sys
from argparse import Namespace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "utils")]

from command_line import Parser, run_main
from vouch.errors import VouchError
from vouch.kaldi.scores import Scores, write_scores
from vouch.kaldi.trials import read_trials
from vouch.scoring.cosine import score_trials
from vouch.scoring.sides import check_rows, load_sides, rows_of


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list, 'enrol-id test-id target|nontarget' lines")
    parser.add_argument("embeddings", type=Path, help="embedding.scp of the utterances of both sides")
    parser.add_argument("scores", type=Path, help="score file to write")
    parser.add_argument(
        "--enrol-map",
        type=Path,
        help="'enrol-id utterance ...' table; without it enrolment ids are utterance ids",
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out trials with an utterance that has no embedding, and say how many, instead of failing",
    )
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    trials = read_trials(options.trials)
    sides = load_sides(options.embeddings, options.enrol_map)
    enrol, test = rows_of(trials.enrol, sides.enrol), rows_of(trials.test, sides.test)
    enrol_ids, test_ids = trials.enrol, trials.test
    known = (enrol >= 0) & (test >= 0)
    if not known.all():
        if not options.allow_missing:
            check_rows(enrol, enrol_ids, options.trials, options.enrol_map or options.embeddings)
            check_rows(test, test_ids, options.trials, options.embeddings)
        if not known.any():
            raise VouchError(f"{options.trials}: no trial has the embeddings of both sides in {options.embeddings}")
        enrol_ids = [name for name, keep in zip(enrol_ids, known, strict=True) if keep]
        test_ids = [name for name, keep in zip(test_ids, known, strict=True) if keep]
        enrol, test = enrol[known], test[known]
        left_out = len(known) - len(enrol)
        print(f"warning: {left_out} of {len(known)} trials left out: an utterance without embedding", file=sys.stderr)
    write_scores(options.scores, Scores(enrol_ids, test_ids, score_trials(sides.unit, enrol, test)))
    print(f"{len(enrol)} trials scored: {options.scores}")


if __name__ == "__main__":
    run_main(main)
