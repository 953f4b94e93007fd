#!/usr/bin/env python3
"""Stage 5: score trials by comparing the embeddings of their two sides.

    steps/score_trials.py data/test/trials exp/embeddings/test/embedding.scp exp/scores/trials.txt

Writes `enrol-id test-id score` for each trial, in the order of the trial list; larger scores are for the same speaker.
--backend cosine: of the angle between the embeddings, from -1 to 1. plda: log-likelihood ratio of a model that
steps/train_plda.py makes. distance: minus the mean distance of all pairs of crops, from -2 to 0; the embeddings are
those of `steps/extract_embeddings.py --crops 10`.

An enrolment is one utterance, or several with --enrol-map. --enrol-average says what stands for these: mean, of the
embeddings as they are; unit-mean, of the embeddings after centring, LDA and scaling to length 1; or scores, the mean of
the scores of each. It is unit-mean for cosine, mean for plda, and for distance always scores.
"""

import sys
from argparse import Namespace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "utils")]

from command_line import Parser, run_main
from vouch.errors import VouchError
from vouch.kaldi.scores import Scores, write_scores
from vouch.kaldi.trials import read_trials
from vouch.scoring.backends import (
    DEFAULT_AVERAGES,
    Score,
    cosine_scorer,
    load_distance,
    load_preparation,
    plda_scorer,
)
from vouch.scoring.plda import LENGTHS
from vouch.scoring.sides import AVERAGES, Sides, check_rows, load_sides, rows_of, score_sides


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list, 'enrol-id test-id target|nontarget' lines")
    parser.add_argument("embeddings", type=Path, help="embedding.scp of the utterances of both sides")
    parser.add_argument("scores", type=Path, help="score file to write")
    parser.add_argument("--backend", choices=list(DEFAULT_AVERAGES), default="cosine", help="how to compare")
    parser.add_argument("--mean", help="vector to subtract from the embeddings; 'data': their own mean")
    parser.add_argument("--lda", type=Path, help="matrix to apply to the embeddings, after centring")
    parser.add_argument("--plda", type=Path, help="model for --backend plda")
    parser.add_argument(
        "--plda-length",
        choices=list(LENGTHS),
        help="length normalisation within PLDA: to the expected length of a mean of so many utterances, to the root of"
        " the dimension, or none (default: expected)",
    )
    parser.add_argument(
        "--keep-length",
        action="store_true",
        help="for --backend distance: do not scale embeddings to length 1 (networks trained with the loss 'proto')",
    )
    parser.add_argument(
        "--enrol-map",
        type=Path,
        help="'enrol-id utterance ...' table; without it enrolment ids are utterance ids",
    )
    parser.add_argument("--enrol-average", choices=AVERAGES, help="what stands for an enrolment of the map, see above")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out trials with an utterance that has no embedding, and say how many, instead of failing",
    )
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    check_options(options)
    trials = read_trials(options.trials)
    sides, score = load_backend(options)
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
    write_scores(options.scores, Scores(enrol_ids, test_ids, score_sides(sides.members, enrol, test, score)))
    print(f"{len(enrol)} trials scored: {options.scores}")


def check_options(options: Namespace) -> None:
    """Refuse options that have no meaning together."""
    if options.backend == "plda" and options.plda is None:
        raise VouchError("--backend plda needs --plda MODEL, which steps/train_plda.py makes")
    if options.backend != "plda" and (options.plda is not None or options.plda_length is not None):
        raise VouchError("--plda and --plda-length are for --backend plda")
    if options.backend != "distance" and options.keep_length:
        raise VouchError("--keep-length is for --backend distance")
    if options.backend == "distance" and (options.mean is not None or options.lda is not None):
        raise VouchError("--mean and --lda are for the backends cosine and plda")
    if options.backend == "distance" and options.enrol_average not in (None, "scores"):
        raise VouchError(f"--enrol-average {options.enrol_average}: --backend distance can only average scores")
    if options.enrol_average is not None and options.enrol_map is None:
        raise VouchError("--enrol-average says what becomes of the utterances of an --enrol-map; give one")


def load_backend(options: Namespace) -> tuple[Sides, Score]:
    """Read the embeddings and whatever is needed to compare them."""
    if options.backend == "distance":
        return load_distance(options.embeddings, options.enrol_map, not options.keep_length)
    average = options.enrol_average or DEFAULT_AVERAGES[options.backend]
    prepare = load_preparation(options.mean, options.lda, options.embeddings)
    sides = load_sides(options.embeddings, options.enrol_map, average, prepare)
    if options.backend == "plda":
        return sides, plda_scorer(sides, options.plda, options.plda_length or "expected")
    return sides, cosine_scorer(sides)


if __name__ == "__main__":
    run_main(main)
