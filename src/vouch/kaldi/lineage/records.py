"""Records the inputs of an output, so that no stage uses an outdated output or mixes outputs of different models.

Beside `embedding.scp`, scores, a PLDA model and the like lies a file of the same name with the ending `.made`. It holds
the digests of the files that the output was made from and of the model that it descends from. A stage that reads such
an output calls `check_current`, which compares these files. Outputs without a record, such as those of other programs,
are accepted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.files import read_json, write_text
from vouch.kaldi.lineage.digests import digest_file, digest_folder, digest_sources
from vouch.kaldi.tables import read_table

SUFFIX = ".made"


def write_record(output: str | Path, by: str, inputs: Iterable[str | Path], models: Iterable[str] = ()) -> None:
    """Write the record of an output; call this after the output itself is written.

    Parameters
    ----------
    output : str or Path
        A file, or an `.scp` that lists archives.
    by : str
        Command that makes the output again, for messages.
    inputs : iterable of str or Path
        Files that it was made from. For an `.scp`, including `wav.scp`, the listed content counts; for a folder, the
        recordings below it. Pipes are left out, since they cannot be read again.
    models : iterable of str
        Digests of the models that the output descends from.
    """
    content = {
        "output": _digest(output),
        "by": by,
        "models": sorted(set(models)),
        # Relative to the record's folder, so that the folders can be moved or copied together.
        "inputs": {
            os.path.relpath(path, Path(output).parent): _digest(path)
            for path in map(Path, inputs)
            if path.is_file() or path.is_dir()
        },
    }
    write_text(_record_of(output), json.dumps(content, indent=1) + "\n")


def check_current(*outputs: str | Path) -> tuple[str, ...]:
    """Check that outputs of earlier stages are up to date with their inputs.

    Parameters
    ----------
    outputs : str or Path
        Files, with or without a record. Their inputs are checked in turn, as far as they still exist.

    Returns
    -------
    tuple of str
        Digests of the models that the outputs descend from, as far as they are recorded, sorted.

    Raises
    ------
    VouchError
        An input of one of them has changed since.
    """
    models: set[str] = set()
    for output in outputs:
        models.update(_check(Path(output)))
    return tuple(sorted(models))


def check_one_model(*outputs: str | Path) -> tuple[str, ...]:
    """Do `check_current`, and raise `VouchError` with two of the outputs if they descend from different models."""
    first: tuple[Path, tuple[str, ...]] | None = None
    for output in map(Path, outputs):
        models = check_current(output)
        if models and first is None:
            first = output, models
        if first is not None and models and models != first[1]:
            raise VouchError(f"{first[0]} and {output} are of different models; make both with the same")
    return () if first is None else first[1]


def _record_of(output: str | Path) -> Path:
    return Path(output).with_name(f"{Path(output).name}{SUFFIX}")


def _digest(path: str | Path) -> str:
    if Path(path).is_dir():
        return digest_folder(path)
    return digest_sources(read_table(path)) if Path(path).suffix == ".scp" else digest_file(path)


def _check(output: Path) -> list[str]:
    path = _record_of(output)
    if not path.exists():
        return []
    record = read_json(path)
    try:
        if not isinstance(record, dict):
            raise TypeError
        wanted, by, models, inputs = (record[name] for name in ("output", "by", "models", "inputs"))
        inputs, models = dict(inputs), [str(model) for model in models]
    except (KeyError, TypeError, ValueError):
        raise VouchError(f"{path}: damaged, or of another version; remove it, or make {output} again") from None
    if wanted != _digest(output):
        return []  # the record is of an earlier output of that name
    for name, digest in inputs.items():
        # Resolve ".." by name: with links, the system would resolve it from the link's target.
        path = Path(os.path.normpath(output.absolute().parent / name))
        if not path.exists():
            continue
        if _digest(path) != digest:
            raise VouchError(f"{output}: {path} has changed since this was made from it; run {by} again")
        _check(path)
    return models
