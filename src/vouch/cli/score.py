"""Stage 5: score trials by comparing the embeddings of their two sides.

    steps/score_trials.py data/test/trials exp/embeddings/test/embedding.scp exp/scores/trials.txt

Writes `enrol-id test-id score` for each trial, in the order of the trial list; larger scores mean the same speaker.
--backend cosine gives the cosine of the angle between the embeddings, from -1 to 1; plda the log-likelihood ratio of a
model from steps/train_plda.py; distance the negative mean distance of all pairs of crops, from -2 to 0, for embeddings
from `steps/extract_embeddings.py --crops 10`.

An enrolment is one utterance, or several with --enrol-map. --enrol-average says how to combine these: mean averages the
embeddings; unit-mean averages them after centring, LDA and scaling to length 1; scores averages their scores. The
default is unit-mean for cosine and mean for plda; distance always uses scores.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from vouch.cli.parser import Parser
from vouch.cli.scoring_options import (
    add_backend_options,
    check_backend_options,
    check_outputs,
    load_backend,
    sources_of,
)
from vouch.jobs.processors import count_processors
from vouch.kaldi.lineage.records import check_one_model, write_record
from vouch.scoring.backends import DEFAULT_AVERAGES
from vouch.scoring.stream import Sources, score_file

# More threads do not help, since they share the memory bandwidth for reading embeddings.
MOST_THREADS = 8


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list, 'enrol-id test-id target|nontarget' lines")
    parser.add_argument("embeddings", type=Path, help="embedding.scp of the utterances of both sides")
    parser.add_argument("scores", type=Path, help="score file to write")
    add_backend_options(parser)
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out trials with an utterance that has no embedding, and say how many, instead of failing; those of"
        " --enrol-map must all be there",
    )
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    check_backend_options(options)
    check_outputs(options, "scores")
    inputs = sources_of(options)
    models = check_one_model(*inputs)
    backend = load_backend(options)
    average = options.enrol_average or DEFAULT_AVERAGES[options.backend]
    sides = backend.load_sides(options.embeddings, options.enrol_map, average)
    sources = Sources(options.trials, options.enrol_map or options.embeddings, options.embeddings)
    threads = min(count_processors(), MOST_THREADS)
    scored, trials, left_out = score_file(
        sources, options.scores, sides, backend.scorer(sides, sides), options.allow_missing, threads
    )
    write_record(options.scores, "stage 5 (steps/score_trials.py)", [*inputs, options.trials], models)
    if left_out:
        print(f"warning: {trials - scored} of {trials} trials left out: {'; '.join(left_out)}", file=sys.stderr)
    print(f"{scored} trials scored: {options.scores}")
