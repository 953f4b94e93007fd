#!/usr/bin/env python3
"""Test whether two score files differ: EER and minDCF of both, the difference with its 95 % interval, and a p-value.

    utils/compare_scores.py exp/a/scores/test_trials.txt exp/b/scores/test_trials.txt data/test/trials

A positive difference means that the first file has more errors. The bootstrap evaluates both files on the same
resampled lists. It resamples speakers, using utt2spk beside the trial list (or --utt2spk), and trials only if the
speakers are unknown, which makes differences look more significant than they are. The p-value is the probability of a
difference of at least this size by chance between equally good systems.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import numpy as np

from vouch.base.files import write_text
from vouch.cli.bootstrap_options import add_bootstrap_options, known_speakers
from vouch.cli.parser import Parser, run_main
from vouch.cli.scoring_options import check_outputs
from vouch.evaluation.comparison import Comparison, compare_systems
from vouch.evaluation.result import LEVEL, PRIORS, remarks
from vouch.evaluation.table import format_text
from vouch.kaldi.lists.scores import join_scores, read_scores
from vouch.kaldi.lists.trials import read_trials


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("first", type=Path, help="score file")
    parser.add_argument("second", type=Path, help="score file of the same trials")
    parser.add_argument("trials", type=Path, help="trial list, 'enrol-id test-id target|nontarget' lines")
    parser.add_argument("--priors", type=float, nargs="+", default=PRIORS, help="target priors of the detection costs")
    add_bootstrap_options(parser)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if options.json is not None:
        check_outputs(options, "json")

    trials = read_trials(options.trials)
    first, second = (
        join_scores(trials, read_scores(path), options.trials, path)[0] for path in (options.first, options.second)
    )
    speakers, notes = known_speakers(options, trials)
    number = None if speakers is None else len(np.union1d(*speakers))
    if options.resample == "trials":
        speakers = None
    resampled = "trials" if speakers is None else "speakers"
    notes = [*remarks(resampled, number), *notes]
    found = compare_systems(first, second, trials.is_target, speakers, options.priors, options.draws, options.seed)
    if options.json:
        record = {
            "first": str(options.first),
            "second": str(options.second),
            "resampled": resampled,
            "speakers": number,
            "notes": notes,
            "draws": options.draws,
            "level": LEVEL,
            "figures": {each.name: figures(each) for each in found},
        }
        write_text(options.json, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    over = resampled if speakers is None else f"{number} speakers"
    heading = ("", "first", "second", f"difference [{100 * LEVEL:.0f} % interval over {over}]", "p")
    print(format_text([heading, *map(row, found)]), end="")
    for note in notes:
        print(note)


def figures(comparison: Comparison) -> dict[str, float]:
    difference = comparison.difference
    return {
        "first": comparison.first,
        "second": comparison.second,
        "difference": difference.value,
        **difference.interval._asdict(),
        "p_value": difference.p_value,
    }


def row(comparison: Comparison) -> tuple[str, ...]:
    is_eer = comparison.name == "eer"
    name = "EER %" if is_eer else comparison.name.replace("min_dcf", "minDCF")
    digits = 2 if is_eer else 4
    value, (low, high), p_value = comparison.difference
    difference = f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return name, f"{comparison.first:.{digits}f}", f"{comparison.second:.{digits}f}", difference, f"{p_value:.3g}"


if __name__ == "__main__":
    run_main(main)
