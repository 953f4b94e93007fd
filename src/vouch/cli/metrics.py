"""Stage 7: compute EER, minDCF and Cllr of scores with bootstrap intervals, DET and histogram plots, an HTML report.

    steps/compute_metrics.py data/test/trials exp/scores/trials.txt exp/scores/trials_asnorm.txt exp/results

For each score file <stem>.txt writes <stem>.txt (table), <stem>.json (all figures), <stem>_det.png and <stem>_hist.png
into the output folder, and for several score files also <first stem>_det.all.png with all curves. report.html shows all
results in the folder with their plots, including those of earlier runs, which are marked if their score file is gone or
has changed. It also shows how the model was made, if provenance.json and the configuration of the experiment lie beside
the folder. The file is self-contained. The EER is where the linearly interpolated rates of misses and false alarms are
equal. minDCF(0.01) is the lowest detection cost at a target prior of 0.01 with unit costs, divided by the smaller of
the costs of accepting and of rejecting all trials.

Intervals show how much the figures would vary with other speakers: the bootstrap resamples speakers with all their
trials, using utt2spk beside the trial list (or --utt2spk). Only if the speakers are unknown are trials resampled, which
gives intervals that are far too narrow; table and report say which of the two was done.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError, nearest
from vouch.base.files import write_text
from vouch.cli.bootstrap_options import add_bootstrap_options, known_speakers
from vouch.cli.parser import Parser
from vouch.cli.scoring_options import check_outputs
from vouch.evaluation.breakdown import SIDES, by_condition, by_duration, evaluate_groups, scored_trials
from vouch.evaluation.definitions import EQUAL_ERROR_RATES
from vouch.evaluation.html import write_report
from vouch.evaluation.plots import System, plot_det, plot_histogram
from vouch.evaluation.result import PRIORS, Settings, evaluate
from vouch.evaluation.result_file import write_result
from vouch.evaluation.score_source import identify
from vouch.evaluation.table import format_table
from vouch.kaldi.lineage.records import check_current
from vouch.kaldi.lists.scores import join_scores, read_scores
from vouch.kaldi.lists.trials import Trials, read_trials
from vouch.kaldi.tables import read_table


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list, 'enrol-id test-id target|nontarget' lines")
    parser.add_argument("scores", type=Path, nargs="+", help="score files of these trials, in any order of lines")
    # Older command lines name the folder with --out-dir; as in all other steps, it is now the last argument.
    is_named = any(word.partition("=")[0] == "--out-dir" for word in sys.argv[1:])
    if is_named:
        parser.add_argument("--out-dir", required=True, type=Path, help="folder to write to")
    else:
        parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument(
        "--name",
        action="append",
        help="name of a system in tables and pictures; once for each score file, in their order (default: the stems)",
    )
    parser.add_argument(
        "--calibrated",
        type=Path,
        action="append",
        default=[],
        metavar="SCORES",
        help="one of the score files, which holds natural-logarithm likelihood ratios, as steps/calibrate.py --apply"
        " writes them; actDCF and Cllr of the others are marked as those of uncalibrated scores",
    )
    parser.add_argument("--priors", type=float, nargs="+", default=PRIORS, help="target priors of the detection costs")
    parser.add_argument(
        "--definitions",
        nargs="+",
        default=(),
        choices=list(EQUAL_ERROR_RATES),
        help="also show the EER, and the minDCF of those that have one, as these programs define it",
    )
    add_bootstrap_options(parser)
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out trials without a score, and say how many, instead of failing",
    )
    parser.add_argument(
        "--experiment-config",
        type=Path,
        help="file to show in report.html (default: config.yaml in the folder above the one"
        " written to, if it is there)",
    )
    parts = parser.add_argument_group("parts of the list, each with all figures")
    parts.add_argument("--utt2dur", type=Path, help="durations: figures for ranges of them")
    parts.add_argument("--duration-edges", type=float, nargs="+", help="limits of ranges in seconds (default: 2 4 8)")
    parts.add_argument("--duration-of", choices=list(SIDES), help="side whose duration counts (default: shorter)")
    parts.add_argument(
        "--conditions", type=Path, help="'enrol-id test-id name=value ...' lines: figures for each value"
    )
    return parser.parse_args()


def judge(path: Path, name: str, trials: Trials, options: Namespace) -> System:
    """Compute the figures of one score file."""
    settings = Settings(
        options.draws,
        options.seed,
        tuple(options.priors),
        tuple(options.definitions),
        options.resample or "speakers",
        path in options.calibrated,
    )
    check_current(path)
    # Identified before reading: if the file changes meanwhile, the result is marked as outdated.
    source = identify(path, options.out_dir)
    scores = read_scores(path)
    joined = join_scores(trials, scores, options.trials, path, options.allow_missing)
    unscored = len(trials.is_target) - len(joined[0])
    if unscored:
        trials = scored_trials(trials, scores)
    speakers, unknown = known_speakers(options, trials)
    groups: dict[str, np.ndarray] = {}
    if options.utt2dur:
        edges, side = options.duration_edges or (2.0, 4.0, 8.0), options.duration_of or "shorter"
        groups |= by_duration(trials, read_table(options.utt2dur), edges, side)
    if options.conditions:
        groups |= by_condition(trials, options.conditions)
    try:
        result = evaluate(name, *joined, settings, speakers, unscored)
        result = replace(result, notes=(*result.notes, *unknown), source=source)
        return System(evaluate_groups(result, *joined, groups, settings, speakers), *joined)
    except VouchError as error:
        raise VouchError(f"{path}: {error}") from None


def main() -> None:
    options = parse_options()
    stems = [path.stem for path in options.scores]
    for stem in stems:
        if stems.count(stem) > 1:
            raise VouchError(
                f"two score files are called '{stem}': their results would overwrite each other; rename one"
            )
    names = options.name or stems
    if len(names) != len(stems):
        raise VouchError(f"{len(stems)} score files but {len(names)} --name; give one for each")
    for path in options.calibrated:
        if path not in options.scores:
            raise VouchError(
                f"--calibrated {path}: is none of the score files{nearest(str(path), map(str, options.scores))}"
            )
    if options.utt2dur is None and (options.duration_edges or options.duration_of):
        raise VouchError("--duration-edges and --duration-of say how durations are used; give --utt2dur too")
    if options.out_dir.exists() and not options.out_dir.is_dir():
        raise VouchError(f"{options.out_dir}: is a file; the last name is that of the folder to write to")
    endings = (".txt", ".json", "_det.png", "_hist.png", "_det.all.png")
    outputs = [options.out_dir / f"{stem}{ending}" for stem in stems for ending in endings]
    check_outputs(options, "out_dir", [*outputs, options.out_dir / "report.html"])
    trials = read_trials(options.trials)
    systems = [judge(path, name, trials, options) for path, name in zip(options.scores, names, strict=True)]
    pictures = []
    for stem, system in zip(stems, systems, strict=True):
        pictures.append(options.out_dir / f"{stem}_det.png")
        plot_det(pictures[-1], [system])
        plot_histogram(options.out_dir / f"{stem}_hist.png", system)
        write_text(options.out_dir / f"{stem}.txt", format_table([system.result]))
        write_result(options.out_dir / f"{stem}.json", system.result)
    if len(systems) > 1:
        pictures.append(options.out_dir / f"{stems[0]}_det.all.png")
        plot_det(pictures[-1], systems)
    config = options.out_dir.parent / "config.yaml"
    config = options.experiment_config or (config if config.exists() else None)
    provenance = options.out_dir.parent / "provenance.json"
    report = write_report(
        options.out_dir, title_of(options.out_dir), config, provenance if provenance.exists() else None
    )
    print(format_table([system.result for system in systems]), end="")
    print(f"report: {report}")
    print(f"DET plot: {pictures[-1]}")


def title_of(out_dir: Path) -> str:
    """Return a title with the name of the experiment, and that of the results folder unless it is the usual one."""
    folder = out_dir.resolve()
    return f"Results of {folder.parent.name}" + ("" if folder.name == "results" else f", {folder.name}")
