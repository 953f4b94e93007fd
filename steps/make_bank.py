#!/usr/bin/env python3
"""Stage 2, first part: pack noises and responses of rooms for augmentation.

Reads folders of noises in the layout of MUSAN, {noise,music,speech}/.../*.wav, and of room impulse responses, of any
layout. Writes all that is of use as 16-bit samples into one file, bank.raw, and where each lies, bank.json. What is
left out (unreadable, silent, at a lower sampling rate, noises of several channels) is counted, and listed there.

    steps/make_bank.py egs/demo/data/bank --musan egs/demo/data/musan
    steps/make_bank.py egs/voxceleb/data/bank --musan egs/musan/data/musan --rirs egs/rirs/data/RIRS_NOISES

--held-back keeps files for tests with noises that training did not have; of those, --only-held-back makes another bank.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.augment.bank import INDEX, read_bank
from vouch.augment.collect import ROOM, Collection, is_packed, pack, read_held_back
from vouch.augment.simulation import simulate
from vouch.base.errors import VouchError, visible
from vouch.base.failures import FAILURES_SHOWN
from vouch.cli.parser import Parser, run_main
from vouch.cli.stage import ProgressBar
from vouch.kaldi.lineage.records import write_record

# Kinds of noise and their folders, as MUSAN calls both.
NOISES = ("noise", "music", "speech")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--musan", type=Path, help="folder with any of noise/, music/ and speech/")
    parser.add_argument("--rirs", type=Path, help="folder of room impulse responses")
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="rooms to simulate (by pyroomacoustics)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the simulated rooms")
    parser.add_argument("--sample-rate", type=int, default=16000, help="sampling rate of the bank in Hz")
    parser.add_argument("--held-back", type=Path, help="file with files to leave out, as bank.json names them")
    parser.add_argument("--only-held-back", action="store_true", help="pack the files of --held-back instead")
    args = parser.parse_args()
    if args.simulate < 0 or args.seed < 0 or args.sample_rate < 1000:
        parser.error("--simulate and --seed must not be negative, --sample-rate not below 1000")
    if args.musan is None and args.rirs is None and not args.simulate:
        parser.error("needs --musan, --rirs or --simulate")
    if args.only_held_back and (args.held_back is None or args.simulate):
        parser.error("--only-held-back needs --held-back, and goes without --simulate")

    sources = {} if args.musan is None else noise_folders(args.musan)
    if args.rirs is not None:
        sources[ROOM] = args.rirs
    held_back = frozenset() if args.held_back is None else read_held_back(args.held_back)
    collection = Collection(sources, args.sample_rate, held_back, args.only_held_back, args.simulate, args.seed)
    found = collection.find()
    if is_packed(args.out, collection, found):
        record(args.out, collection)
        print(f"{args.out}: is the bank of these recordings already")
        return
    rooms = simulate(args.simulate, args.sample_rate, args.seed)
    with ProgressBar("recordings", sum(map(len, found.names.values())) + args.simulate) as bar:
        pack(args.out, collection, found, rooms, bar.update)
    for why, files in found.left_out.items():
        names = [*list(files)[:FAILURES_SHOWN], *(["..."] if len(files) > FAILURES_SHOWN else [])]
        print(visible(f"{args.out}: left out, {why}: {len(files)} files: {', '.join(names)}"), file=sys.stderr)
    record(args.out, collection)
    bank = read_bank(args.out, args.sample_rate)
    packed = ", ".join(
        f"{len(places.names)} of '{kind}' ({places.length.sum() / args.sample_rate / 60:.1f} min)"
        for kind, places in bank.places.items()
    )
    print(f"{args.out}: {packed}; {sum(map(len, found.left_out.values()))} files left out")


def record(out: Path, collection: Collection) -> None:
    """Write down what the bank was made from, so that later stages notice when that changes."""
    write_record(out / INDEX, "stage 2 (steps/make_bank.py)", collection.sources.values())


def noise_folders(musan: Path) -> dict[str, Path]:
    """Return the folders of the kinds of noise that are there; `VouchError` when none is."""
    if not musan.is_dir():
        raise VouchError(f"{musan}: no such folder")
    there = {kind: musan / kind for kind in NOISES if (musan / kind).is_dir()}
    if not there:
        raise VouchError(f"{musan}: has none of the folders {', '.join(f'{kind}/' for kind in NOISES)}")
    return there


if __name__ == "__main__":
    run_main(main)
