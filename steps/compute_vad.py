#!/usr/bin/env python3
"""Optional step after stage 1: decide by energy which frames are voiced.

Reads feats.scp, whose first dimension must be the log energy; writes vad.scp and the archives it lists, a vector of
ones and zeros for each utterance, as Kaldi's compute-vad does.

    steps/compute_vad.py egs/demo/data/train --nj 2
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.options import read_yaml, resolve_options
from vouch.cli.parser import Parser, run_main
from vouch.cli.stage import add_job_options, run_shards
from vouch.features.config import read_feature
from vouch.features.vad import energy_vad
from vouch.jobs.shards import Shards
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lineage.digests import digest_sources
from vouch.kaldi.lineage.records import check_current, write_record
from vouch.work.voiced import VoiceActivity, check_energy


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with feats.scp")
    default = Path(__file__).resolve().parents[1] / "conf/vad.yaml"
    parser.add_argument("--config", type=Path, default=default, help="options of the decision")
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    add_job_options(parser)
    args = parser.parse_args()

    options = resolve_options(energy_vad, read_yaml(args.config), "voice activity detection", given=["log_energy"])
    data = DataDir.load(args.data, need=["feats.scp"])
    feature = read_feature(args.data)
    if feature is not None:
        check_energy(feature, args.data / "feature.yaml")
    check_current(args.data / "feats.scp")
    # The digest is needed because stage 1 may write other features under the same table.
    fingerprint = f"{options}{data.feats_scp}{digest_sources(data.feats_scp)}"
    shards = Shards(args.data / "vad", list(data.feats_scp), fingerprint, size=args.shard_size)
    outcome = run_shards(args, shards, args.data / "vad.scp", lambda: VoiceActivity(data, options))
    if outcome is not None:
        write_record(args.data / "vad.scp", "steps/compute_vad.py", [args.data / "feats.scp"])
        print(f"{args.data}: voice activity of {len(outcome.rows)} utterances")


if __name__ == "__main__":
    run_main(main)
