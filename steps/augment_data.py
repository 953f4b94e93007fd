#!/usr/bin/env python3
"""Stage 2, second part: add changed copies to a training set, as an offline augmentation says.

Reads the audio and the features of a data directory. Writes another one with its utterances and copies of each in noise
or in rooms, and their features; a name for the change is appended to a copy's id, and utt2uniq names the original.

    steps/augment_data.py egs/demo/data/train egs/demo/data/train_aug \\
        --augment conf/augment/noise.yaml --bank egs/demo/data/bank

With --write-audio the copies have recordings too, in archives of 16-bit wav files, for networks that take waveforms; a
set without features is copied as audio alone. What is too loud for 16 bits is made quieter there. With --keep-ids the
copies take the place of the originals, under their ids and with their trials: a noisy version of a test set.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import yaml

from vouch.augment.bank import INDEX, Bank, read_bank
from vouch.augment.config import AugmentConfig
from vouch.augment.offline import COPIED_BY, draw_copies
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError
from vouch.base.files import write_text
from vouch.base.options import read_yaml
from vouch.cli.parser import Parser, run_main
from vouch.cli.stage import add_job_options, run_shards
from vouch.features.config import FrontEndConfig
from vouch.jobs.results import Outcome
from vouch.jobs.shards import WAV, Shards
from vouch.kaldi.datadirs.copies import write_copies
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lineage.digests import digest_recordings
from vouch.kaldi.lineage.records import check_current, write_record
from vouch.kaldi.tables import read_table
from vouch.work.copies import CopyMaker

# Sampling rate in Hz where there are no features that say another.
SAMPLE_RATE = 16000


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="data directory with wav.scp and, from stage 1, feats.scp")
    parser.add_argument("out", type=Path, help="data directory to write")
    parser.add_argument("--augment", type=Path, required=True, help="an offline augmentation; see conf/augment")
    parser.add_argument("--bank", type=Path, help="noises and rooms, from steps/make_bank.py")
    parser.add_argument(
        "--copies",
        type=int,
        help="copies of each utterance, besides those at other speeds (default: what --augment says)",
    )
    parser.add_argument("--subset", type=int, metavar="N", help="keep N of all copies, spread over all utterances")
    parser.add_argument("--keep-ids", action="store_true", help="copies take place and ids of the originals")
    parser.add_argument("--write-audio", action="store_true", help="write the audio of the copies too")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--shard-size", type=int, default=1000, help="utterances an archive")
    add_job_options(parser)
    args = parser.parse_args()
    if args.keep_ids and (args.copies not in (None, 1) or args.subset is not None):
        parser.error("--keep-ids makes one copy of each utterance; leave --copies and --subset out")
    if args.seed < 0:
        parser.error("--seed must not be negative")
    if args.out.resolve() == args.data.resolve():
        raise VouchError(f"{args.out}: the output must be another data directory than the input")

    has_features = not args.write_audio or (args.data / "feats.scp").exists()
    data = DataDir.load(args.data, need=["wav.scp", "feats.scp"] if has_features else ["wav.scp"])
    front_end = read_front_end(args.data) if has_features else None
    feature = None if front_end is None else front_end.build()
    rate = SAMPLE_RATE if feature is None else feature.sample_rate
    config = AugmentConfig.read(args.augment)
    utterances = list(data.feats_scp or data.segments)
    number = 1 if args.keep_ids else config.copies if args.copies is None else args.copies
    try:
        copies = draw_copies(utterances, config, number, args.seed, args.subset)
        bank = open_bank(config, args.bank, rate)
    except VouchError as error:
        raise VouchError(f"{args.augment}: {error}") from None
    if args.keep_ids:
        if config.speed is not None:
            raise VouchError(f"{args.augment}: --keep-ids makes one copy of each utterance; leave 'speed' out")
        copies = {copy.utterance: copy for copy in copies.values()}
    elif already := next((copy for copy in copies if copy in data.utt2spk), None):
        raise VouchError(f"{args.data}/utt2spk: '{already}' is there already; was this set augmented before?")
    channel = MEAN if front_end is None else front_end.channel
    made_with = None if front_end is None else front_end.as_dict()
    fingerprint = (
        f"{made_with}{config.as_dict()}{bank and bank.digest}{args.seed}{args.keep_ids}{data.wav_scp}{data.segments}"
    )

    def digest_originals(ids: Sequence[str]) -> str:
        return digest_recordings(data, (copies[each].utterance for each in ids))

    shards = Shards(
        args.out / "noisy",
        sorted(copies),
        fingerprint,
        WAV if feature is None else "ark",
        size=args.shard_size,
        sources=digest_originals,
        audio_rate=rate if args.write_audio else 0,
    )
    shards.check_own_dir(args.out)
    table = args.out / ("wav.scp" if feature is None else "feats.scp")
    for name in ("wav.scp", "feats.scp"):
        shards.check_own(args.out / name)
    inputs = [args.data / ("wav.scp" if feature is None else "feats.scp"), args.augment]
    if args.bank is not None:
        inputs.append(args.bank / INDEX)
    check_current(*inputs)

    def write_beside(outcome: Outcome) -> None:
        write_text(args.out / COPIED_BY, yaml.safe_dump(config.as_dict(), sort_keys=False))
        made = {each: copies[each].utterance for each in outcome.rows}
        samples = outcome.rows if feature is None else {each: count for each, (_, count) in outcome.audio.items()}
        num_frames = None
        if feature is not None:
            clean = {} if args.keep_ids else read_table(args.data / "utt2num_frames")
            num_frames = clean | {each: str(rows) for each, rows in outcome.rows.items()}
            write_text(args.out / "feature.yaml", yaml.safe_dump(made_with, sort_keys=False))
        wav_scp = {each: place for each, (place, _) in outcome.audio.items()} or None
        seconds = {each: count / rate for each, count in samples.items()}
        speakers = {each: copies[each].speaker(data.utt2spk[original]) for each, original in made.items()}
        speeds = {each: float(copies[each].speed) for each in made if copies[each].speed != 1}
        write_copies(args.out, data, made, args.keep_ids, table.name, num_frames, wav_scp, seconds, speakers, speeds)

    clean = {} if args.keep_ids else data.wav_scp if feature is None else data.feats_scp
    outcome = run_shards(
        args,
        shards,
        table,
        lambda: CopyMaker(data, config, bank, copies, args.seed, rate, feature, args.write_audio, channel),
        write_beside,
        clean,
    )
    if outcome is not None:
        write_record(table, "stage 2 (steps/augment_data.py)", inputs)
        names = Counter(copies[each].name for each in outcome.rows)
        how_many = ", ".join(f"{count} '{name}'" for name, count in sorted(names.items()))
        what = "copies in place of the utterances" if args.keep_ids else f"copies of {len(utterances)} utterances"
        print(f"{args.out}: {len(outcome.rows)} {what}: {how_many}")


def read_front_end(data: Path) -> FrontEndConfig:
    """Return the front end of the features of a data directory; `VouchError` when it is not known."""
    path = data / "feature.yaml"
    if not path.exists():
        raise VouchError(f"{path}: no such file; the copies need the front end of stage 1 (steps/make_fbank.py)")
    return FrontEndConfig.from_dict(read_yaml(path))


def open_bank(config: AugmentConfig, folder: Path | None, rate: int) -> Bank | None:
    """Return the bank; `VouchError` when it lacks what the augmentation takes."""
    if not config.kinds:
        return None
    if folder is None:
        raise VouchError(f"takes recordings ({', '.join(config.kinds)}); give their --bank")
    bank = read_bank(folder, rate)
    for name in config.branches:
        config.build_branch(name, bank, rate)
    return bank


if __name__ == "__main__":
    run_main(main)
