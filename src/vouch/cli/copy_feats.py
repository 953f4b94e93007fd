"""Copy matrices, vectors or numbers from one of Kaldi's formats to another, as copy-feats and copy-vector do.

    utils/copy_feats.py scp:feats.scp ark,scp:plain.ark,plain.scp                        what pipes and ranges give
    utils/copy_feats.py --compress 8bit scp:feats.scp ark,scp:small.ark,small.scp
    utils/copy_feats.py --text "ark:gunzip -c feats.ark.gz |" ark:- | less
    utils/copy_feats.py ark,t:x.txt "ark:| gzip -c > x.ark.gz"
    utils/copy_feats.py --holds int ark:num_utts.ark ark,t:num_utts
    utils/copy_feats.py --text mean.vec -                                                one file, not a table

Tables are named by rspecifiers and wspecifiers: 'ark:FILE', 'scp:FILE', 'ark:command |', 'ark:| command', '-' for the
standard input or output, with options as in 'ark,t:' and 'scp,p:' (p leaves out what cannot be read). The lines of an
scp may name 'FILE:offset', 'FILE.npy' or 'command |', with a range of rows and columns such as '[0:99]' or '[:,0:12]'.
An 'ark,scp:ARK,SCP' stores the archive's name as it is given: make it absolute. Files appear whole or not at all.
"""

from __future__ import annotations

import sys

import numpy as np

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser
from vouch.kaldi.matrices.compression import METHODS
from vouch.kaldi.matrices.layout import to_float32
from vouch.kaldi.matrices.objects import HOLDS, encode_object
from vouch.kaldi.matrices.reading import read_entries, read_entry
from vouch.kaldi.matrices.specifiers import open_output, split_specifier
from vouch.kaldi.matrices.writing import open_entries


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("source", help="rspecifier; or the name of a file with one matrix, vector or number")
    parser.add_argument("target", help="wspecifier; or the name of a file")
    parser.add_argument(
        "--compress",
        choices=("none", "auto", *METHODS),
        default="none",
        help="matrices to one or two bytes a number. 8bit: quartiles of each column; 16bit, 8bit-linear: even steps"
        " from the lowest to the highest; 16bit-int, 8bit-int, 8bit-unit: -32768..32767, 0..255, 0..1, others are"
        " clipped; auto: 8bit, for up to eight rows 16bit. Kaldi's methods are 1 auto, then 2 to 7 in this order",
    )
    parser.add_argument("--text", action="store_true", help="write text")
    parser.add_argument("--double", action="store_true", help="keep and write numbers of 64 bits, not 32")
    parser.add_argument(
        "--holds", choices=HOLDS, default="any", help="kind of entries; single numbers must be declared: int or float"
    )
    args = parser.parse_args()
    is_table = split_specifier(args.source) is not None
    if is_table != (split_specifier(args.target) is not None):
        raise VouchError("source and target are both tables (ark:... or scp:...) or both single files")

    def convert(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind == "i":
            return array
        return array.astype(np.float64) if args.double else to_float32(array)

    if not is_table:
        array = convert(read_entry(args.source, args.holds))
        encoded = encode_object(array, args.compress, args.text)
        with open_output(args.target) as file:
            file.writelines(encoded)
        return
    count = 0
    skipped: list[str] = []
    with open_entries(args.target, args.compress, args.text) as writer:
        for key, array in read_entries(args.source, args.holds, skipped):
            writer.write(key, convert(array))
            count += 1
        if not count:
            raise VouchError(f"{args.source}: no entries{f': {skipped[0]}' if skipped else ''}")
    left_out = f"; {len(skipped)} left out, the first: {skipped[0]}" if skipped else ""
    print(f"copied {count} entries{left_out}", file=sys.stderr)
