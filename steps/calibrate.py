#!/usr/bin/env python3
"""Turn scores into log-likelihood ratios: fit a calibration on development trials, then apply it to other scores.

    steps/calibrate.py exp/calibration.json exp/scores/dev.txt --fit data/dev/trials
    steps/calibrate.py exp/calibration.json exp/scores/test.txt --apply exp/scores/test_calibrated.txt

Several score files of the same trials are fused. Quality measures let the ratio depend on more than scores; give the
same measures and the same --top-n in both calls: --durations for the logarithms of durations, --embeddings for the
magnitudes of embeddings, --cohort for the mean cosines to a cohort. The fit is a logistic regression that minimises
Cllr at --prior. The development trials must differ from the evaluated ones, with other speakers, and must not be from
the training set.
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import numpy as np

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.cli.scoring_options import check_outputs
from vouch.evaluation.metrics import cllr
from vouch.kaldi.lineage.records import check_current, write_record
from vouch.kaldi.lists.scores import Scores, join_scores, read_scores, write_scores
from vouch.kaldi.lists.trials import Trials, read_trials
from vouch.scoring.calibration import fit_calibration, read_calibration, write_calibration
from vouch.scoring.overlap import CohortFiles, check_cohort
from vouch.scoring.quality import Quality, load_cohort_means, load_log_durations, load_magnitudes
from vouch.scoring.sides import check_rows, rows_of


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("calibration", type=Path, help="calibration file to write, or with --apply to read")
    parser.add_argument("scores", type=Path, nargs="+", help="score files; more than one are fused, in this order")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--fit", type=Path, metavar="TRIALS", help="trial list of the scores, with labels: fit")
    task.add_argument("--apply", type=Path, metavar="OUT", help="score file to write: apply")
    parser.add_argument("--prior", type=float, help="probability of a target trial the fit is for (default: 0.5)")
    parser.add_argument("--durations", type=Path, help="utt2dur: use the logarithms of the durations")
    parser.add_argument("--embeddings", type=Path, help="embedding.scp: use the magnitudes of the embeddings")
    parser.add_argument("--cohort", type=Path, help="embedding.scp: use the mean cosines of --embeddings to these")
    parser.add_argument("--cohort-utt2spk", type=Path, help="make each speaker one cohort member")
    parser.add_argument("--top-n", type=int, help="number of nearest cohort members to use (default: all)")
    parser.add_argument("--enrol-map", type=Path, help="'enrol-id utterance ...' table the trials were scored with")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="with --fit, leave out trials that a score file lacks, and say how many, instead of failing",
    )
    return parser.parse_args()


def load_qualities(options: Namespace) -> dict[str, Quality]:
    """Read the requested quality measures."""
    if options.cohort is not None and options.embeddings is None:
        raise VouchError("--cohort needs --embeddings, those of the trials")
    if options.cohort is None and (options.cohort_utt2spk is not None or options.top_n is not None):
        raise VouchError("--cohort-utt2spk and --top-n say how --cohort is used; give that")
    if options.enrol_map is not None and options.durations is None and options.embeddings is None:
        raise VouchError("--enrol-map says what quality measures are of; give --durations or --embeddings too")
    qualities = {}
    if options.durations is not None:
        qualities["log-duration"] = load_log_durations(options.durations, options.enrol_map)
    if options.embeddings is not None:
        qualities["magnitude"] = load_magnitudes(options.embeddings, options.enrol_map)
    if options.cohort is not None:
        qualities["cohort-mean"] = load_cohort_means(
            options.embeddings, options.cohort, options.cohort_utt2spk, options.enrol_map, options.top_n
        )
    return qualities


class Scored(NamedTuple):
    """Trials, a mask of those that all systems scored, (trials, systems) float64 scores, and the trials' file."""

    trials: Trials
    kept: np.ndarray
    scores: np.ndarray
    listed_in: Path


def load_scores(options: Namespace) -> Scored:
    """Read the score files and match them."""
    files = [read_scores(path) for path in options.scores]
    if options.fit is not None:
        trials, listed_in = read_trials(options.fit), options.fit
    else:
        # The first file determines the trials; no labels are needed.
        trials = Trials(files[0].enrol, files[0].test, np.zeros(len(files[0].enrol), bool))
        listed_in = options.scores[0]
    pairs = list(zip(trials.enrol, trials.test, strict=True))
    table = np.full((len(pairs), len(files)), np.nan)
    for column, (path, scores) in enumerate(zip(options.scores, files, strict=True)):
        joined, _ = join_scores(trials, scores, listed_in, path, options.allow_missing)
        scored = set(zip(scores.enrol, scores.test, strict=True))
        table[[pair in scored for pair in pairs], column] = joined
    kept = ~np.isnan(table).any(axis=1)
    if not kept.all():
        left_out = len(pairs) - np.count_nonzero(kept)
        print(f"warning: {left_out} of {len(pairs)} trials left out: without a score", file=sys.stderr)
    return Scored(trials, kept, table, listed_in)


def measure(quality: Quality, scored: Scored) -> np.ndarray:
    """Return a quality measure of the scored trials, (scored trials, 2) float64."""
    trials, kept, _, listed_in = scored
    sides = ((trials.enrol, quality.enrol, quality.enrol_source), (trials.test, quality.test, quality.test_source))
    for ids, known, source in sides:
        # Looked up for all trials, so that messages have line numbers of the file; trials without a score are ignored.
        check_rows(np.where(kept, rows_of(ids, known), 0), ids, listed_in, source)
    rows = np.flatnonzero(kept)
    return quality.of_trials([trials.enrol[row] for row in rows], [trials.test[row] for row in rows], listed_in)


def main() -> None:
    options = parse_options()
    if options.apply is not None and (options.prior is not None or options.allow_missing):
        raise VouchError("--prior and --allow-missing are for --fit")
    check_outputs(options, "calibration" if options.apply is None else "apply")
    qualities_from = (options.durations, options.embeddings, options.cohort, options.cohort_utt2spk, options.enrol_map)
    inputs = [*options.scores, *filter(None, qualities_from)]
    models = check_current(*inputs)
    if options.apply is not None:
        fitted = check_current(options.calibration)
        if models and fitted and models != fitted:
            raise VouchError(f"{options.calibration}: was fitted on scores of another model; fit it again")
    qualities = load_qualities(options)
    settings = {} if options.cohort is None else {"top-n": options.top_n}
    scored = load_scores(options)
    if options.cohort is not None:
        ids = [*scored.trials.enrol, *scored.trials.test]
        check_cohort(CohortFiles(options.cohort, options.cohort_utt2spk), ids, scored.listed_in, options.enrol_map)
    scores = scored.scores[scored.kept]
    measures = {name: measure(quality, scored) for name, quality in qualities.items()}
    if options.fit is not None:
        prior = 0.5 if options.prior is None else options.prior
        is_target = scored.trials.is_target[scored.kept]
        calibration = fit_calibration(scores, measures, is_target, prior)._replace(settings=settings)
        write_calibration(options.calibration, calibration)
        write_record(options.calibration, "steps/calibrate.py --fit", [*inputs, options.fit], models)
        after = cllr(calibration.apply(scores, measures), is_target)
        print(f"{options.calibration}: Cllr {after:.4f} on these {len(scores)} development trials")
        return
    calibration = read_calibration(options.calibration)
    try:
        calibration.check_settings(settings)
        ratios = calibration.apply(scores, measures)
    except VouchError as error:
        raise VouchError(f"{options.calibration}: {error}") from None
    write_scores(options.apply, Scores(scored.trials.enrol, scored.trials.test, ratios))
    write_record(options.apply, "steps/calibrate.py --apply", [options.calibration, *inputs], models)
    print(f"{len(ratios)} scores calibrated: {options.apply}")


if __name__ == "__main__":
    run_main(main)
