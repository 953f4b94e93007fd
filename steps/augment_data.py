#!/usr/bin/env python3
"""Stage 2: add noisy copies to a training set, as features.

Reads the audio and the features of a data directory. Writes another one with its utterances and noisy copies of each,
with noise, music or babble (many voices); the kind is appended to the copy's id, and utt2uniq names the original.

    steps/augment_data.py egs/demo/data/train egs/demo/data/train_aug --musan egs/demo/data/musan
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import yaml

from vouch.augment.noise import NoiseFolder, draw_kinds, read_kinds
from vouch.base.errors import VouchError
from vouch.base.failures import describe_failures
from vouch.base.files import write_text
from vouch.base.options import read_yaml
from vouch.cli.parser import Parser, run_main
from vouch.cli.stage import add_job_options, run_shards
from vouch.features.config import FrontEndConfig
from vouch.jobs.results import Outcome
from vouch.jobs.shards import Shards
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.lineage.digests import digest_recordings, digest_sources
from vouch.kaldi.lineage.records import check_current, write_record
from vouch.kaldi.tables import read_table, write_table
from vouch.work.noisy import NoisyCopies


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with wav.scp and, from stage 1, feats.scp")
    parser.add_argument("out", type=Path, help="data directory to write")
    parser.add_argument("--musan", type=Path, required=True, help="folder with noise/, music/ and speech/")
    default = Path(__file__).resolve().parents[1] / "conf/augment.yaml"
    parser.add_argument("--config", type=Path, default=default, help="kinds of noise")
    parser.add_argument("--copies", type=int, default=1, help="noisy copies of each utterance, of different kinds")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    add_job_options(parser)
    args = parser.parse_args()
    if args.out.resolve() == args.data.resolve():
        raise VouchError(f"{args.out}: the output must be another data directory than the input")

    if (args.out / "wav.scp").exists():
        raise VouchError(f"{args.out}: holds recordings of its own (wav.scp); give another folder for the noisy copies")
    if args.copies < 1:
        raise VouchError(f"--copies {args.copies}: needs at least 1")

    data = DataDir.load(args.data, need=["wav.scp", "feats.scp"])
    config_file = args.data / "feature.yaml"
    if not config_file.exists():
        raise VouchError(f"{config_file}: no such file; the copies need the front end of stage 1 (steps/make_fbank.py)")
    front_end = FrontEndConfig.from_dict(read_yaml(config_file))
    config, feature = yaml.safe_dump(front_end.as_dict(), sort_keys=False), front_end.build()
    num_frames = read_table(args.data / "utt2num_frames")
    kinds = read_kinds(read_yaml(args.config))
    noises = NoiseFolder(args.musan, kinds)
    originals = {
        f"{utterance}-{kind}": (utterance, kind)
        for utterance in data.feats_scp
        for kind in draw_kinds(utterance, noises.kinds, args.copies, args.seed)
    }
    for copy in originals:
        if copy in data.feats_scp:
            raise VouchError(f"{args.data}/feats.scp: '{copy}' is there already; was this set augmented before?")
    check_current(args.data / "feats.scp")
    noise_files = digest_sources({str(file): str(file) for files in noises.files.values() for file in files})
    fingerprint = f"{config}{kinds}{noises.files}{noise_files}{args.seed}{data.wav_scp}{data.segments}"

    def digest_originals(copies: Sequence[str]) -> str:
        return digest_recordings(data, (originals[copy][0] for copy in copies))

    shards = Shards(args.out / "noisy", sorted(originals), fingerprint, size=args.shard_size, sources=digest_originals)
    shards.check_own_dir(args.out)

    def write_beside(outcome: Outcome) -> None:
        copies = {copy: originals[copy][0] for copy in outcome.rows}
        uniq = {utterance: utterance for utterance in data.feats_scp} | copies
        write_table(args.out / "utt2uniq", uniq)
        write_data_dir(args.out, {}, {copy: data.utt2spk[utterance] for copy, utterance in uniq.items()})
        rows = {copy: str(count) for copy, count in outcome.rows.items()}
        write_table(args.out / "utt2num_frames", num_frames | rows)
        write_text(args.out / "feature.yaml", config)

    outcome = run_shards(
        args,
        shards,
        args.out / "feats.scp",
        lambda: NoisyCopies(data, feature, noises, originals, args.seed, front_end.channel),
        write_beside,
        data.feats_scp,
    )
    if outcome is not None:
        folders = {args.musan / kind.folder for kind in kinds.values()}
        inputs = [args.data / "feats.scp", args.config, *sorted(filter(Path.is_dir, folders))]
        write_record(args.out / "feats.scp", "stage 2 (steps/augment_data.py)", inputs)
        if noises.left_out:
            left_out = describe_failures(noises.left_out)
            print(f"{args.musan}: {len(noises.left_out)} files left out: {left_out}", file=sys.stderr)
        for kind in kinds.keys() - noises.kinds.keys():
            print(
                f"{args.musan}: no recordings for '{kind}' in {kinds[kind].folder}/; copies without it", file=sys.stderr
            )
        print(f"{args.out}: {len(data.feats_scp)} utterances and {len(outcome.rows)} noisy copies")


if __name__ == "__main__":
    run_main(main)
