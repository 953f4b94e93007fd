"""Check a data directory: the tables against Kaldi's rules and, with --audio, all recordings and trials.

    utils/validate_data_dir.py --no-feats --no-text egs/demo/data/train
    utils/validate_data_dir.py --audio --no-text --against egs/demo/data/test egs/demo/data/train

Each finding has file, line and reason. Errors make the exit status 1, warnings do not. Of features, only headers are
checked (vectors, matrices of 0 frames, differing dimensions), where the archives exist; with --features all numbers are
read. --audio reads every recording and checks whether it is readable, its sampling rate, channels, duration, silence,
clipping, NaN, and whether it occurs twice. An interrupted run continues where it stopped. Stage 1 checks samples too,
or stage 3 for networks that take waveforms; stage 0 reads headers only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vouch.base.errors import VouchError
from vouch.base.files import write_text
from vouch.cli.parser import Parser
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.datadirs.doctor import Limits, judge_audio, judge_duplicates, judge_frames, judge_shared, judge_trials
from vouch.kaldi.datadirs.examine import Facts, examine_audio
from vouch.kaldi.datadirs.featcheck import judge_features
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.validate import WAIVERS, validate_data_dir, waive

RECORD = ".doctor.jsonl"


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("dir", type=Path, help="data directory")
    parser.add_argument("--no-feats", action="store_true", help="feats.scp need not be there")
    parser.add_argument("--no-text", action="store_true", help="text need not be there, and is not looked at")
    parser.add_argument("--no-wav", action="store_true", help="wav.scp need not be there")
    parser.add_argument("--no-spk-sort", action="store_true", help="utt2spk need not be sorted by speaker")
    parser.add_argument("--non-print", action="store_true", help="text may have characters that cannot be printed")
    parser.add_argument("--audio", action="store_true", help="read all recordings and look at the trials")
    parser.add_argument("--features", action="store_true", help="read all features, for NaN and unreadable archives")
    parser.add_argument("--against", type=Path, help="data directory that may share no speaker and no audio")
    parser.add_argument("--min-seconds", type=float, default=0.0, help="shortest utterance, in seconds; with --audio")
    parser.add_argument("--min-frames", type=int, default=0, help="shortest utterance in utt2num_frames, in frames")
    parser.add_argument("--sample-rate", type=int, default=16000, help="expected sampling rate in Hz")
    parser.add_argument("--enrol-map", type=Path, help="'enrol-id utterance ...' table of the trials")
    parser.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="recordings read at once")
    parser.add_argument("--record", type=Path, help=f"what is known of an unfinished run; DIR/{RECORD} if not given")
    parser.add_argument("--report", type=Path, help="file for all findings")
    parser.add_argument("--show", type=int, default=10, help="findings of a kind to print")
    options = parser.parse_args()
    if options.nj < 1 or options.show < 0 or options.sample_rate < 1:
        parser.error("--nj and --sample-rate are at least 1, --show at least 0")
    for name in ("min_seconds", "enrol_map", "record"):
        if getattr(options, name) and not options.audio:
            parser.error(f"--{name.replace('_', '-')} goes with --audio")
    return options


def load(path: Path, need: Sequence[str], report: Report) -> DataDir | None:
    """Load a directory, or report why it cannot be checked further."""
    try:
        return DataDir.load(path, need)
    except VouchError as error:
        report.error("not examined", path, 0, f"not examined further before this is mended: {error}")
        return None


def examine(options: argparse.Namespace, report: Report) -> None:
    """Read all recordings if requested, and report faults of recordings and trials, and data shared with other sets."""
    need = ["wav.scp"] if options.audio else []
    data = load(options.dir, need, report)
    other = load(options.against, need, report) if options.against else None
    if data is None:
        return
    facts: list[dict[str, Facts]] = [{}, {}]
    record = options.record or options.dir / RECORD
    records = [record, record.with_name(f"{record.name}.against")]
    if options.audio:
        total = len(data.wav_scp) + (len(other.wav_scp) if other else 0)
        with tqdm(total=total, unit="file", disable=None) as bar:
            for index, directory in enumerate((data, other)):
                if directory is not None:
                    facts[index] = examine_audio(directory, records[index], options.nj, bar.update)
        judge_audio(data, facts[0], Limits(options.sample_rate, options.min_seconds), report)
        judge_duplicates(data, facts[0], report)
        judge_trials(data, options.enrol_map, report)
        hours = sum(known.frames / known.rate for known in facts[0].values() if known.rate) / 3600
        print(f"{options.dir}: {len(facts[0])} recordings of {hours:.2f} h, {len(data.segments)} utterances")
    if other is not None:
        judge_shared(data, other, facts[0], facts[1], report)
    if options.audio:
        for record in records:
            record.unlink(missing_ok=True)


def print_report(options: argparse.Namespace, report: Report) -> None:
    """Print the first findings and the numbers of all, and write all to a file if requested."""
    for line in report.shorten(options.show):
        print(line)
    if report.findings or options.audio:
        print(*report.summarize(), sep="\n")
    if options.report:
        write_text(options.report, "".join(f"{finding}\n" for finding in report.findings))


def main() -> None:
    """Check the directory, and exit with status 1 if there are errors."""
    options = parse_options()
    report = validate_data_dir(options.dir, waive(name for name in WAIVERS if getattr(options, name.replace("-", "_"))))
    if options.audio or options.against:
        examine(options, report)
    feats_scp = options.dir / "feats.scp"
    if feats_scp.exists():
        with tqdm(unit="utt", disable=None if options.features else True) as bar:
            judge_features(feats_scp, report, options.features, bar.update)
    elif options.features:
        raise VouchError(f"{feats_scp}: no such file; --features reads what it lists")
    if options.min_frames:
        judge_frames(options.dir, options.min_frames, report)
    print_report(options, report)
    errors = report.count("error")
    if errors:
        raise VouchError(f"{options.dir}: {errors} error{'s' if errors > 1 else ''}")
    print(f"{options.dir}: valid")
