"""Options for comparing embeddings, shared by the scripts for scoring and score normalisation."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.scoring.backends import (
    DEFAULT_AVERAGES,
    Backend,
    CosineBackend,
    DistanceBackend,
    load_plda,
    load_preparation,
)
from vouch.scoring.plda import LENGTHS
from vouch.scoring.sides import AVERAGES


def add_backend_options(parser: ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument("--backend", choices=list(DEFAULT_AVERAGES), default="cosine", help="how to compare")
    parser.add_argument(
        "--mean",
        help="vector to subtract from the embeddings; an embedding.scp: the mean of these; 'data': that of the trials'",
    )
    parser.add_argument("--lda", type=Path, help="matrix to apply to the embeddings, after centring")
    parser.add_argument("--plda", type=Path, help="model for --backend plda")
    parser.add_argument(
        "--plda-length",
        choices=list(LENGTHS),
        help="length normalisation within PLDA: to the expected length of a mean of so many utterances, to the root of"
        " the dimension, or none (default: expected)",
    )
    parser.add_argument(
        "--keep-length",
        action="store_true",
        help="for --backend distance: do not scale embeddings to length 1 (networks trained with the loss 'proto')",
    )
    parser.add_argument(
        "--enrol-map",
        type=Path,
        help="'enrol-id utterance ...' table; without it enrolment ids are utterance ids",
    )
    defaults = ", ".join(f"{average} for {name}" for name, average in DEFAULT_AVERAGES.items())
    parser.add_argument(
        "--enrol-average", choices=AVERAGES, help=f"how to combine an enrolment's utterances (default: {defaults})"
    )


def check_backend_options(options: Namespace) -> None:
    """Raise an error for options that contradict each other."""
    if options.backend == "plda" and options.plda is None:
        raise VouchError("--backend plda needs --plda MODEL, which steps/train_plda.py makes")
    if options.backend != "plda" and (options.plda is not None or options.plda_length is not None):
        raise VouchError("--plda and --plda-length are for --backend plda")
    if options.backend != "distance" and options.keep_length:
        raise VouchError("--keep-length is for --backend distance")
    if options.backend == "distance" and (options.mean is not None or options.lda is not None):
        raise VouchError("--mean and --lda are for the backends cosine and plda")
    if options.backend == "distance" and options.enrol_average not in (None, "scores"):
        raise VouchError(f"--enrol-average {options.enrol_average}: --backend distance can only average scores")
    if options.enrol_average is not None and options.enrol_map is None:
        raise VouchError("--enrol-average says what becomes of the utterances of an --enrol-map; give one")


def check_outputs(options: Namespace, name: str, outputs: Iterable[Path] = ()) -> None:
    """Raise an error if an output would overwrite an input.

    The option `name` is the file to write, or the place of the files `outputs`; all other paths are inputs.
    """
    written: list[Path] = list(outputs) or [getattr(options, name)]
    for output in filter(Path.exists, written):
        for other, value in vars(options).items():
            for path in value if isinstance(value, (list, tuple)) else [value]:
                is_path = isinstance(path, Path) or (other == "mean" and path)
                if other != name and is_path and Path(path).exists() and output.samefile(path):
                    raise VouchError(f"{output}: is to be written and is read too, as '{other}'; give another file")


def sources_of(options: Namespace) -> list[Path]:
    """Return the files that the scores depend on, except the trial list."""
    files = [options.embeddings, options.lda, options.plda, options.enrol_map]
    if options.mean not in (None, "data"):
        files.append(Path(options.mean))
    return [file for file in files if file is not None]


def load_backend(options: Namespace) -> Backend:
    """Read what the backend needs; `options.embeddings` are the embeddings of the trials."""
    if options.backend == "distance":
        return DistanceBackend(not options.keep_length)
    prepare = load_preparation(options.mean, options.lda, options.embeddings)
    if options.backend == "plda":
        return load_plda(options.plda, options.plda_length or "expected", prepare)
    return CosineBackend(prepare)
