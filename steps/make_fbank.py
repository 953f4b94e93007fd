#!/usr/bin/env python3
"""Stage 1: compute the features of a data directory.

Reads wav.scp (and segments). Writes feats.scp, utt2num_frames, frame_shift, the archives, and the configuration as
feature.yaml. Silent recordings fail. Short, quiet or clipped recordings, and audio that also occurs under another
speaker or in a neighbouring set, are named and counted (utt2digest identifies equal audio).

    steps/make_fbank.py egs/demo/data/train --config conf/features/fbank40.yaml --nj 2
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import yaml

from vouch.base.files import write_text
from vouch.base.options import read_yaml
from vouch.cli.parser import Parser, run_main
from vouch.cli.stage import add_channel_option, add_job_options, run_shards
from vouch.features.config import FrontEndConfig
from vouch.features.waveform import Waveform
from vouch.jobs.results import Outcome
from vouch.jobs.shards import FORMATS, Shards
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lineage.digests import digest_recordings
from vouch.kaldi.matrices.writing import COMPRESSION
from vouch.kaldi.tables import write_table
from vouch.work.features import FeatureExtraction
from vouch.work.soundcheck import DIGESTS, find_same_audio, refuse_remarks


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with wav.scp and utt2spk")
    default = Path(__file__).resolve().parents[1] / "conf/features/fbank40.yaml"
    parser.add_argument("--config", type=Path, default=default, help="feature configuration")
    add_channel_option(parser, "that of --config, or mean")
    parser.add_argument("--format", choices=FORMATS, default="ark", help="archives, or one .npy file an utterance")
    parser.add_argument("--compress", choices=COMPRESSION, default="none", help="Kaldi's compressed matrices")
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    parser.add_argument("--min-seconds", type=float, default=0.25, help="shorter utterances are named, in seconds")
    parser.add_argument("--strict", action="store_true", help="audio that is named for any such reason ends the stage")
    add_job_options(parser)
    args = parser.parse_args()
    if args.format == "npy" and args.compress != "none":
        parser.error("--compress is for archives; .npy files are not compressed")

    front_end = FrontEndConfig.from_dict(read_yaml(args.config))
    if args.channel is not None:
        front_end = replace(front_end, channel=args.channel)
    config = yaml.safe_dump(front_end.as_dict(), sort_keys=False)
    data = DataDir.load(args.data, need=["wav.scp"])
    feature = front_end.build()
    if isinstance(feature, Waveform):
        print(f"{args.data}: nothing to compute: networks that take waveforms need no features")
        return
    fingerprint = f"{config}{args.min_seconds}{data.wav_scp}{data.segments}"
    shards = Shards(
        args.data / "fbank",
        list(data.segments),
        fingerprint,
        args.format,
        args.compress,
        args.shard_size,
        lambda utterances: digest_recordings(data, utterances),
    )

    def write_beside(outcome: Outcome) -> None:
        write_text(args.data / "feature.yaml", config)
        write_table(args.data / "utt2num_frames", {key: str(rows) for key, rows in outcome.rows.items()})
        if outcome.digests:
            write_table(args.data / DIGESTS, outcome.digests)
        if "frame_shift" in front_end.options:
            write_text(args.data / "frame_shift", f"{front_end.options['frame_shift'] / 1000:g}\n")

    def check(outcome: Outcome) -> None:
        outcome.remarks.update(find_same_audio(data, outcome.digests))
        if args.strict:
            refuse_remarks(outcome, args.data)

    scp = args.data / "feats.scp"
    outcome = run_shards(
        args,
        shards,
        scp,
        lambda: FeatureExtraction(data, feature, args.min_seconds, front_end.channel),
        write_beside,
        check=check,
    )
    if outcome is not None:
        print(f"{args.data}: features of {len(outcome.rows)} utterances, {sum(outcome.rows.values())} frames")


if __name__ == "__main__":
    run_main(main)
