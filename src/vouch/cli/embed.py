"""Stage 4: extract an embedding of every utterance of a data directory or of a list of recordings.

Reads feats.scp or, with --input wav or a network that takes waveforms, audio, which goes through the model's own front
end. Writes embedding.scp and the archives it lists. A list has on each line a file, whose name becomes its id, or an id
and a file or a command that ends in |, as in wav.scp.

    steps/extract_embeddings.py egs/demo/data/test egs/demo/exp/mine/final.pt egs/demo/exp/mine/embeddings/test
    find /data -name '*.wav' > list; steps/extract_embeddings.py list final.pt out

An utterance is embedded whole by default. --crops embeds evenly spaced crops of each utterance and writes a matrix for
`steps/score_trials.py --backend distance`; audio is cut before the front end. --windows writes the mean of the
embeddings of sliding windows.

An interrupted run continues after its last archive when it is started again. Archives are made again if the model, the
features or the recordings have changed since.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from vouch.base.channels import parse_channel
from vouch.base.errors import VouchError
from vouch.cli.parser import Parser
from vouch.cli.stage import add_channel_option, add_job_options, memory_advice, run_shards
from vouch.deploy.folding import fold_batch_norm
from vouch.encoder import Encoder, load_encoder
from vouch.extraction.embed import check_max_seconds
from vouch.extraction.pieces import MAX_SECONDS, WINDOW_AVERAGES, Crops, Cut, Windows, check_cut
from vouch.features.config import check_same_feature, read_feature
from vouch.jobs.devices import check_device, pick_device
from vouch.jobs.results import Work
from vouch.jobs.shards import Shards
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.datadirs.wavlist import read_wav_list
from vouch.kaldi.lineage.digests import digest_file, digest_recordings, digest_sources
from vouch.kaldi.lineage.records import check_current, write_record
from vouch.work.embeddings import AudioEmbedding, FeatureEmbedding


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "data", type=Path, help="data directory with feats.scp, or wav.scp for audio; or a list of recordings"
    )
    parser.add_argument("model", type=Path, help="final.pt or a checkpoint of stage 3")
    parser.add_argument("out", type=Path, help="folder for embedding.scp and the archives")
    parser.add_argument("--input", choices=("feats", "wav"), help="what to start from (default: what the model takes)")
    add_channel_option(parser, "that of the model's training")
    parser.add_argument(
        "--max-seconds",
        type=float,
        help=f"longer recordings are embedded in pieces (default: {MAX_SECONDS:g})",
    )
    parser.add_argument(
        "--short",
        choices=("repeat", "fail"),
        default="repeat",
        help="whether utterances shorter than the network's minimum are repeated up to it, or fail",
    )
    parts = parser.add_argument_group("parts of utterances")
    mode = parts.add_mutually_exclusive_group()
    mode.add_argument("--crops", type=int, metavar="NUMBER", help="crops of an utterance")
    mode.add_argument("--windows", type=float, metavar="SECONDS", help="length of the windows")
    parts.add_argument("--crop-seconds", type=float, help="length of the crops (default: 4)")
    parts.add_argument("--window-step", type=float, help="from one window to the next, in windows (default: 0.25)")
    parts.add_argument(
        "--window-average", choices=WINDOW_AVERAGES, help="average of the windows' embeddings (default: mean)"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu or cuda (of several GPUs each job takes another), or such as cuda:1"
    )
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    add_job_options(parser)
    args = parser.parse_args()
    # A process that only starts jobs computes nothing, and may run where there is no GPU.
    starts_jobs = args.nj > 1 and not args.job
    check_device(args.device)
    device = torch.device("cpu") if starts_jobs and args.cmd else pick_device(args.device, args.job)
    encoder = load_encoder(args.model, "cpu" if starts_jobs else device)
    max_seconds = MAX_SECONDS if args.max_seconds is None else args.max_seconds
    check_max_seconds(encoder, max_seconds)
    cut = build_cut(args)
    if cut is not None:
        check_cut(cut, encoder)
    if args.input == "feats" and encoder.takes_waveforms:
        raise VouchError(f"--input feats: {args.model} takes waveforms; leave --input out")

    data, source = load_data(args, encoder)
    if data.feats_scp and args.channel is not None:
        raise VouchError("--channel is for audio (--input wav); the channel of features was chosen in stage 1")
    channel = encoder.channel if args.channel is None else parse_channel(args.channel)
    items = data.feats_scp or data.segments
    model_digest = digest_file(args.model)
    fingerprint = f"{model_digest} {max_seconds} {args.short} {cut} {channel} {source}"

    def digest_audio(utterances: Sequence[str]) -> str:
        return "" if data.feats_scp else digest_recordings(data, utterances)

    shards = Shards(args.out / "embedding", list(items), fingerprint, size=args.shard_size, sources=digest_audio)

    def make_work() -> Work:
        network, repeat_short = fold_batch_norm(encoder), args.short == "repeat"
        if data.feats_scp:
            return FeatureEmbedding(network, data, max_seconds, repeat_short, cut)
        return AudioEmbedding(network, data, max_seconds, repeat_short, cut, channel)

    with memory_advice(f"make --max-seconds ({max_seconds:g}) smaller" if cut is None else "give another --device"):
        outcome = run_shards(args, shards, args.out / "embedding.scp", make_work, threads=0)
    if outcome is not None:
        tables = [args.data / name for name in (("feats.scp",) if data.feats_scp else ("wav.scp", "segments"))]
        inputs = [args.model, *(table for table in tables if table.exists())]
        write_record(args.out / "embedding.scp", "stage 4 (steps/extract_embeddings.py)", inputs, [model_digest])
        print(f"{args.out}: {len(outcome.rows)} embeddings of {encoder.embedding_dim} dimensions")


def load_data(args: Namespace, encoder: Encoder) -> tuple[DataDir, object]:
    """Return the data with either features or audio, and what else from the data the embeddings depend on."""
    is_list = args.data.is_file()
    if args.data.exists() and not is_list and not args.data.is_dir():
        raise VouchError(f"{args.data}: a list of recordings is read again by each job; write it to a file")
    if is_list and args.input == "feats":
        raise VouchError(f"--input feats: {args.data} is a list of recordings; leave --input out")
    if is_list or encoder.takes_waveforms or args.input == "wav":
        data = read_wav_list(args.data) if is_list else DataDir.load(args.data, need=["wav.scp"])
        return data, (data.wav_scp, data.segments)
    data = DataDir.load(args.data, need=["feats.scp"])
    check_same_feature(encoder.config.front_end, read_feature(args.data), f"{args.data}/feature.yaml")
    check_current(args.data / "feats.scp")
    # The digest is needed because stage 1 may write other features under the same table.
    return data, (data.feats_scp, digest_sources(data.feats_scp))


def build_cut(args: Namespace) -> Cut | None:
    """Return the crops or windows in which utterances are embedded; None: whole utterances."""
    if args.crops is None and args.crop_seconds is not None:
        raise VouchError("--crop-seconds is for --crops")
    if args.windows is None and (args.window_step is not None or args.window_average is not None):
        raise VouchError("--window-step and --window-average are for --windows")
    if args.max_seconds is not None and (args.crops is not None or args.windows is not None):
        raise VouchError("--max-seconds is for whole utterances, not for --crops or --windows")
    if args.crops is not None:
        return Crops(args.crops, 4.0 if args.crop_seconds is None else args.crop_seconds)
    if args.windows is not None:
        return Windows(
            args.windows, 0.25 if args.window_step is None else args.window_step, args.window_average or "mean"
        )
    return None
