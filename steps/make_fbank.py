#!/usr/bin/env python3
"""Stage 1: compute the features of a data directory.

Reads wav.scp (and segments), writes feats.scp, utt2num_frames and the archives; feature.yaml keeps the configuration.

    steps/make_fbank.py egs/demo/data/train --config conf/features/fbank40.yaml --nj 2
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "utils")]

from startup import guard_imports

guard_imports(__name__)

import yaml

from command_line import Parser, run_main
from stage import add_channel_option, add_job_options, run_shards
from vouch.audio import parse_channel
from vouch.features import build_feature, resolve_feature
from vouch.features.extract import feature_extractor
from vouch.features.waveform import Waveform
from vouch.files import write_text
from vouch.kaldi.ark import COMPRESSION
from vouch.kaldi.datadir import DataDir
from vouch.kaldi.tables import write_table
from vouch.options import read_yaml
from vouch.shards import FORMATS, Outcome, Shards


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with wav.scp and utt2spk")
    default = Path(__file__).resolve().parents[1] / "conf/features/fbank40.yaml"
    parser.add_argument("--config", type=Path, default=default, help="feature configuration")
    add_channel_option(parser, "that of --config, or mean")
    parser.add_argument("--format", choices=FORMATS, default="ark", help="archives, or one .npy file an utterance")
    parser.add_argument("--compress", choices=COMPRESSION, default="none", help="Kaldi's compressed matrices")
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    add_job_options(parser)
    args = parser.parse_args()
    if args.format == "npy" and args.compress != "none":
        parser.error("--compress is for archives; .npy files are not compressed")

    resolved = resolve_feature(read_yaml(args.config))
    if args.channel is not None:
        resolved["channel"] = parse_channel(args.channel)
    config = yaml.safe_dump(resolved, sort_keys=False)
    data = DataDir.load(args.data, need=["wav.scp"])
    feature = build_feature(resolved)
    if isinstance(feature, Waveform):
        print(f"{args.data}: nothing to compute: networks that take waveforms need no features")
        return
    fingerprint = f"{config}{data.wav_scp}{data.segments}"
    shards = Shards(args.data / "fbank", list(data.segments), fingerprint, args.format, args.compress, args.shard_size)

    def write_beside(outcome: Outcome) -> None:
        write_text(args.data / "feature.yaml", config)
        write_table(args.data / "utt2num_frames", {key: str(rows) for key, rows in outcome.rows.items()})

    scp = args.data / "feats.scp"
    outcome = run_shards(
        args,
        shards,
        scp,
        lambda progress: feature_extractor(data, feature, progress, resolved["channel"]),
        write_beside,
    )
    if outcome is not None:
        print(f"{args.data}: features of {len(outcome.rows)} utterances, {sum(outcome.rows.values())} frames")


if __name__ == "__main__":
    run_main(main)
