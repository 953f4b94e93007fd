#!/usr/bin/env python3
"""Stage 7: judge scores: EER with a bootstrap interval, minDCF, Cllr, DET and histogram pictures.

    steps/compute_metrics.py data/test/trials exp/scores/trials.txt exp/scores/trials_asnorm.txt --out-dir exp/results

For each score file <stem>.txt writes <stem>.txt (table), <stem>.json (all figures), <stem>_det.png and <stem>_hist.png
into the output folder; for several of them also <first stem>_all_det.png with all curves. The EER is where the linearly
interpolated rates of misses and false alarms are equal. minDCF(0.01) is the lowest detection cost at a target prior of
0.01, both errors costing 1, divided by the cost of the better of accepting and of rejecting all trials.
"""

import sys
from argparse import Namespace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "utils")]

from command_line import Parser, run_main
from vouch.errors import VouchError
from vouch.kaldi.scores import join_scores, read_scores
from vouch.kaldi.trials import Trials, read_trials
from vouch.plots import System, plot_det, plot_histogram
from vouch.report import evaluate, format_table, write_result


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("trials", type=Path, help="trial list, 'enrol-id test-id target|nontarget' lines")
    parser.add_argument("scores", type=Path, nargs="+", help="score files of these trials, in any order of lines")
    parser.add_argument("--out-dir", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--name",
        action="append",
        help="name of a system in tables and pictures; once for each score file, in their order (default: the stems)",
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap samples for the 95 %% interval of the EER")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out trials without a score, and say how many, instead of failing",
    )
    return parser.parse_args()


def judge(path: Path, name: str, trials: Trials, options: Namespace) -> System:
    """Compute the figures of one score file."""
    joined = join_scores(trials, read_scores(path), options.trials, path, options.allow_missing)
    unscored = len(trials.is_target) - len(joined[0])
    try:
        return System(evaluate(name, *joined, options.draws, options.seed, unscored), *joined)
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
    trials = read_trials(options.trials)
    systems = [judge(path, name, trials, options) for path, name in zip(options.scores, names, strict=True)]
    pictures = []
    for stem, system in zip(stems, systems, strict=True):
        write_result(options.out_dir / stem, system.result)
        pictures.append(options.out_dir / f"{stem}_det.png")
        plot_det(pictures[-1], [system])
        plot_histogram(options.out_dir / f"{stem}_hist.png", system)
    if len(systems) > 1:
        pictures.append(options.out_dir / f"{stems[0]}_all_det.png")
        plot_det(pictures[-1], systems)
    print(format_table([system.result for system in systems]), end="")
    print(f"DET plot: {pictures[-1]}")


if __name__ == "__main__":
    run_main(main)
