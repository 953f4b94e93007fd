#!/usr/bin/env python3
"""Make a data directory from existing features: one .npy file per utterance, in a folder for each speaker.

    utils/npy_to_data_dir.py features/train egs/mine/data/train
    utils/npy_to_data_dir.py --bins-first pase/train egs/mine/data/train

ROOT/<speaker>/<utterance>.npy becomes utterance <speaker>-<utterance>. The files hold (frames, dimensions) float32 or
float64 numbers, all with the same number of dimensions, and feats.scp refers to them. Files with (dimensions, frames)
or (1, dimensions, frames), as the feature extractors for GE2E and PASE+ write them, are transposed and copied into one
archive beside feats.scp.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.datadir import write_data_dir
from vouch.kaldi.datadirs.npytree import count_frames, find_npy_tree, read_bins_first
from vouch.kaldi.matrices.npy import npy_layout
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import read_table, write_table


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("root", type=Path, help="folder of the speakers' folders")
    parser.add_argument("data", type=Path, help="data directory to make")
    parser.add_argument("--bins-first", action="store_true", help="files hold (dimensions, frames): turn them")
    args = parser.parse_args()
    files, utt2spk = find_npy_tree(args.root.absolute())
    if (args.data / "utt2spk").exists():
        raise VouchError(f"{args.data}: there is a data directory already; remove it or name another")
    num_frames: dict[str, str] = {}
    if args.bins_first:
        dim = None
        with open_ark(args.data / "feats.ark", args.data / "feats.scp") as writer:
            for utterance in sorted(files):
                matrix = read_bins_first(files[utterance])
                dim = dim or matrix.shape[1]
                if matrix.shape[1] != dim:
                    raise VouchError(f"{files[utterance]}: {matrix.shape[1]} dimensions; the files before have {dim}")
                writer.write(utterance, matrix)
                num_frames[utterance] = str(len(matrix))
    else:
        dim = npy_layout(str(next(iter(files.values())))).cols
        num_frames = {utterance: str(count_frames(path, dim)) for utterance, path in files.items()}
        write_table(args.data / "feats.scp", {utterance: str(path) for utterance, path in files.items()})
    write_table(args.data / "utt2num_frames", num_frames)
    write_data_dir(args.data, {}, utt2spk)
    speakers = len(read_table(args.data / "spk2utt"))
    print(f"{args.data}: {len(files)} utterances of {speakers} speakers, {dim} dimensions")


if __name__ == "__main__":
    run_main(main)
