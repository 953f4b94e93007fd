#!/usr/bin/env python3
"""Optional step after compute_vad.py: make a data directory with the voiced frames only.

Reads feats.scp and vad.scp. Writes feats.scp, the archives it lists, utt2num_frames, and the trial lists and all tables
of the data directory that do not describe recordings. With --cmvn, features are normalised over all frames before the
selection; train with --normalization none then. Utterances without a voiced frame are named and left out.

    steps/select_voiced_frames.py egs/demo/data/train egs/demo/data/train_voiced --cmvn sliding
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.cli.stage import add_job_options, run_shards
from vouch.jobs.results import Outcome
from vouch.jobs.shards import Shards
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.datadirs.tables import read_tables, restrict, write_tables
from vouch.kaldi.lineage.digests import digest_sources
from vouch.kaldi.lineage.records import check_current, write_record
from vouch.kaldi.lists.trials import trial_lists
from vouch.kaldi.matrices.writing import COMPRESSION
from vouch.kaldi.tables import read_table
from vouch.work.voiced import CMVN, VoicedFrames

# Tables that remain valid when frames are dropped.
TABLES = ("text", "utt2lang", "utt2uniq", "spk2gender")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with feats.scp and vad.scp")
    parser.add_argument("out", type=Path, help="data directory to write")
    parser.add_argument("--vad", type=Path, help="voice activity from elsewhere (default: vad.scp of the directory)")
    parser.add_argument("--cmvn", choices=CMVN, default="none", help="frames over which means are subtracted")
    parser.add_argument("--window", type=int, default=300, help="frames that --cmvn sliding averages, centred")
    parser.add_argument("--norm-vars", action="store_true", help="divide by standard deviations too")
    parser.add_argument("--compress", choices=COMPRESSION, default="none", help="Kaldi's compressed matrices")
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    add_job_options(parser)
    args = parser.parse_args()
    if args.norm_vars and args.cmvn == "none":
        parser.error("--norm-vars needs --cmvn")
    if args.window < 1:
        raise VouchError(f"--window {args.window}: needs at least 1 frame")
    if args.out.resolve() == args.data.resolve():
        raise VouchError(f"{args.out}: the output must be another data directory than the input")
    if (args.out / "wav.scp").exists():
        raise VouchError(
            f"{args.out}: holds recordings of its own (wav.scp); give another folder for the voiced frames"
        )

    data = DataDir.load(args.data, need=["feats.scp"])
    vad_file = args.vad or args.data / "vad.scp"
    if not vad_file.exists():
        raise VouchError(f"{vad_file}: no such file; run steps/compute_vad.py first")
    vad_scp = read_table(vad_file)
    inputs = [args.data / "feats.scp", vad_file]
    check_current(*inputs)
    content = [digest_sources(table) for table in (data.feats_scp, vad_scp)]
    fingerprint = f"{args.cmvn} {args.window} {args.norm_vars} {content}{data.feats_scp}{vad_scp}{data.utt2spk}"
    shards = Shards(args.out / "voiced", list(data.feats_scp), fingerprint, "ark", args.compress, args.shard_size)
    shards.check_own_dir(args.out)

    def write_beside(outcome: Outcome) -> None:
        tables = restrict(read_tables(args.data, TABLES), list(outcome.rows))
        tables["utt2num_frames"] = {utterance: str(rows) for utterance, rows in outcome.rows.items()}
        write_tables(args.out, tables, {path.name: path.read_bytes() for path in trial_lists(args.data)})

    outcome = run_shards(
        args,
        shards,
        args.out / "feats.scp",
        lambda: VoicedFrames(data, vad_scp, args.cmvn, args.window, args.norm_vars),
        write_beside,
    )
    if outcome is not None:
        write_record(args.out / "feats.scp", "steps/select_voiced_frames.py", inputs)
        frames = sum(outcome.rows.values())
        print(f"{args.out}: {frames} voiced frames of {len(outcome.rows)} of {len(data.feats_scp)} utterances")


if __name__ == "__main__":
    run_main(main)
