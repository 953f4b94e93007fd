#!/usr/bin/env python3
"""Train a PLDA backend: the mean of the embeddings, LDA, and PLDA on the resulting vectors, scaled to unit length.

    steps/train_plda.py exp/embeddings/train/embedding.scp data/train/utt2spk exp/plda --lda-dim 150

Writes mean.vec, transform.mat (with --lda-dim) and plda, in Kaldi's formats, into the output folder; score with
    steps/score_trials.py ... --backend plda --plda exp/plda/plda --mean exp/plda/mean.vec --lda exp/plda/transform.mat
With --adapt and embeddings of another domain, whose speakers may be unknown, the model is adapted to that domain, and
mean.vec is the mean of these embeddings.
"""

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import numpy as np

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.kaldi.lineage.records import check_one_model, write_record
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.scoring.lda import train_lda
from vouch.scoring.plda_file import write_plda, write_single
from vouch.scoring.plda_training import adapt_plda, train_plda
from vouch.scoring.preparation import Preparation
from vouch.scoring.sides import group_speakers


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("embeddings", type=Path, help="embedding.scp of the training utterances")
    parser.add_argument("utt2spk", type=Path, help="their speakers; lines without an embedding are passed over")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--lda-dim", type=int, help="dimensions that LDA keeps (default: no LDA)")
    parser.add_argument(
        "--total-covariance-factor", type=float, default=0.0, help="share of the total covariance that LDA whitens"
    )
    parser.add_argument("--iterations", type=int, default=10, help="of EM")
    parser.add_argument(
        "--smoothing", type=float, default=0.0, help="share of the between-speaker covariance added to the other one"
    )
    parser.add_argument("--adapt", type=Path, help="embedding.scp of another domain to adapt to")
    parser.add_argument(
        "--within-scale", type=float, help="with --adapt: share of a larger variance there (default: 0.3)"
    )
    parser.add_argument("--between-scale", type=float, help="the same between speakers (default: 0.7)")
    parser.add_argument("--text", action="store_true", help="write text files instead of binary ones")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if not 0 <= options.smoothing < np.inf:
        raise VouchError(f"--smoothing {options.smoothing}: must be a number that is not negative")
    for name, default in (("within_scale", 0.3), ("between_scale", 0.7)):
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is None:
            setattr(options, name, default)
        elif options.adapt is None:
            raise VouchError(f"{option} says how to adapt: give --adapt too")
        elif not 0 <= value < np.inf:
            raise VouchError(f"{option} {value}: must be a number that is not negative")
    if options.total_covariance_factor and options.lda_dim is None:
        raise VouchError("--total-covariance-factor is a share of what LDA whitens: give --lda-dim too")
    inputs = [file for file in (options.embeddings, options.utt2spk, options.adapt) if file is not None]
    models = check_one_model(*inputs)
    names, embeddings = read_vectors(options.embeddings)
    by_speaker = group_speakers(names, options.utt2spk, options.embeddings)
    if len(by_speaker) == 1:
        raise VouchError(
            f"{options.utt2spk}: all {len(names)} utterances are of one speaker, '{next(iter(by_speaker))}'; PLDA and"
            " LDA tell speakers apart and need two or more"
        )
    groups = list(by_speaker.values())
    mean, lda = embeddings.mean(axis=0, dtype=np.float64), None
    if options.lda_dim is not None:
        lda = train_lda(embeddings - mean, groups, options.lda_dim, options.total_covariance_factor)
    plda = train_plda(ready(embeddings, names, mean, lda), groups, options.iterations).smooth(options.smoothing)
    if options.adapt is not None:
        names, embeddings = read_vectors(options.adapt)
        mean = embeddings.mean(axis=0, dtype=np.float64)
        adapted = ready(embeddings, names, mean, lda)
        plda = adapt_plda(plda, adapted, options.within_scale, options.between_scale)
    # A file of an earlier run would not belong to the new model.
    (options.out / "transform.mat").unlink(missing_ok=True)
    if lda is not None:
        write_single(options.out / "transform.mat", lda, options.text)
    write_single(options.out / "mean.vec", mean, options.text)
    write_plda(options.out / "plda", plda, options.text)
    for name in ("mean.vec", "plda") if lda is None else ("mean.vec", "plda", "transform.mat"):
        write_record(options.out / name, "steps/train_plda.py", inputs, models)
    print(f"{options.out}/plda: {len(plda.psi)} dimensions from {len(groups)} speakers")


def ready(embeddings: np.ndarray, names: list[str], mean: np.ndarray, lda: np.ndarray | None) -> np.ndarray:
    """Prepare embeddings, scaled to the square root of the dimension, which is a convenient length for PLDA."""
    unit = Preparation(mean, lda)(embeddings.astype(np.float64), names)
    return unit * np.sqrt(unit.shape[1])


if __name__ == "__main__":
    run_main(main)
