"""What an output was made from: a record beside it, so that no stage takes old output for new or mixes models.

Beside `embedding.scp`, scores, a PLDA and the like lies a file of the same name with `.made` at its end. It says by
digests which files the output was made from and which model it descends from. A stage that reads such an output asks
`check_current` whether these files are still the same. Outputs without a record, as of other programs, are believed.
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
    """Write what an output was made from, after the output itself.

    Parameters
    ----------
    output : str or Path
        A file, or an `.scp` that lists archives.
    by : str
        What to run to make it again, for messages.
    inputs : iterable of str or Path
        Files it was made from; of an `.scp` and a `wav.scp` what they list counts, of a folder the recordings below it.
        Pipes are left out, since they cannot be looked at again.
    models : iterable of str
        Digests of the models that it descends from.
    """
    content = {
        "output": _digest(output),
        "by": by,
        "models": sorted(set(models)),
        # From the record's own folder, so that a tree of files may be moved or copied.
        "inputs": {
            os.path.relpath(path, Path(output).parent): _digest(path)
            for path in map(Path, inputs)
            if path.is_file() or path.is_dir()
        },
    }
    write_text(_record_of(output), json.dumps(content, indent=1) + "\n")


def check_current(*outputs: str | Path) -> tuple[str, ...]:
    """Check that what earlier stages made is still what they would make.

    Parameters
    ----------
    outputs : str or Path
        Files, with or without a record; what they were made from is checked too, as far as it is still there.

    Returns
    -------
    tuple of str
        Digests of the models that they descend from, as far as records say so, sorted.

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
    """As `check_current`, and check that the outputs descend from one model; `VouchError` names two that do not."""
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
        return []  # the output is another one than the record is about
    for name, digest in inputs.items():
        # By the names of the folders: with links among them, the system would take ".." from where a link leads to.
        path = Path(os.path.normpath(output.absolute().parent / name))
        if not path.exists():
            continue
        if _digest(path) != digest:
            raise VouchError(f"{output}: {path} has changed since this was made from it; run {by} again")
        _check(path)
    return models
