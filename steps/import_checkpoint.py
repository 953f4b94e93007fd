#!/usr/bin/env python3
"""Convert a checkpoint of another toolkit into a model for stage 4 and later stages.

The model includes front end, input amplitude and normalisation, so it takes audio. The file is read as data: no code in
it can run. Options supply what the file does not contain; their defaults are the published values, which are printed.

    steps/import_checkpoint.py baseline_v2_ap.model --from voxceleb_trainer egs/voxceleb/exp/v2_ap/final.pt
    steps/extract_embeddings.py egs/voxceleb/data/test egs/voxceleb/exp/v2_ap/final.pt OUT --input wav
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.encoder import save_encoder
from vouch.interop import FAMILIES, import_checkpoint
from vouch.interop.voxceleb_trainer import NETWORKS


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("file", type=Path, help="checkpoint of another toolkit")
    parser.add_argument("out", type=Path, help="model to write")
    parser.add_argument(
        "--from",
        dest="family",
        choices=FAMILIES,
        required=True,
        help="toolkit that made it; keys do not tell a CAM++ of wespeaker from one of 3dspeaker, which are not alike",
    )
    trainer = parser.add_argument_group("voxceleb_trainer")
    trainer.add_argument("--model", choices=NETWORKS, help="network, by default recognised from the keys")
    trainer.add_argument("--pooling", choices=("tap", "max"), help="pooling of a VGGVox without attention")
    trainer.add_argument(
        "--log-input",
        action=argparse.BooleanOptionalAction,
        help="whether the logarithm of the spectrum is taken, by default in all networks but ResNetSE34",
    )
    trainer.add_argument(
        "--input-scale", type=float, help="1, or 32768 for networks trained on 16-bit integers (before April 2021)"
    )
    trainer.add_argument("--sinc-stride", type=int, help="stride of RawNet3's filters in samples, by default 10")
    others = parser.add_argument_group("other toolkits")
    others.add_argument(
        "--experiment-config", dest="config", help="pyannote: config.yml, by default that of the experiment's folder"
    )
    others.add_argument("--feature", help="ge2e: configuration of the front end, as in conf/features")
    others.add_argument(
        "--padding",
        choices=("reflect", "zeros"),
        help="padding at the ends of a recording: librosa reflected until 0.8, and pads zeros since 0.9; by default"
        " reflect for ge2e, zeros for resemblyzer",
    )
    others.add_argument("--num-bins", type=int, help="wespeaker, 3dspeaker: bins of the features, by default 80")
    args = parser.parse_args()
    if args.out.exists() and args.file.exists() and args.out.samefile(args.file):
        raise VouchError(f"{args.out}: would overwrite the checkpoint itself; give another name")

    fixed = ("file", "out", "family")
    options = {name: value for name, value in vars(args).items() if name not in fixed and value is not None}
    imported = import_checkpoint(args.file, args.family, options)
    save_encoder(imported.encoder, args.out)
    config = imported.encoder.config
    front_end = config.front_end.type if config.front_end else "none"
    print(
        f"{args.out}: {config.network.name}, {imported.encoder.embedding_dim} dimensions, front end {front_end},"
        f" normalization {config.normalization}"
    )
    for what, count in imported.dropped.items():
        print(f"  left out: {count} tensors, {what}")
    for note in imported.notes:
        print(f"  {note}")


if __name__ == "__main__":
    run_main(main)
