"""Imports checkpoints of other toolkits as encoders. A new family is a file beside this one and a line in `FAMILIES`.

Each family has a function `read(weights, path, **options) -> (encoder, notes)` whose options are annotated and have
defaults, and a regular expression that recognises its keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError, pick
from vouch.base.options import resolve_options
from vouch.base.torchfile import load_torch
from vouch.encoder import Encoder
from vouch.interop import ge2e, pyannote, resemblyzer, speechbrain, threedspeaker, voxceleb_trainer, wespeaker
from vouch.interop.keys import Weights


class Family(NamedTuple):
    """The reader for checkpoints of a toolkit, and a pattern that recognises them.

    Parameters
    ----------
    read : callable
        Function of `(weights, path, **options)` that returns an encoder and notes for the user.
    mark : str
        Regular expression that matches the beginning of one of its keys; a key may match several families.
    """

    read: Callable[..., tuple[Encoder, list[str]]]
    mark: str


FAMILIES: dict[str, Family] = {
    "voxceleb_trainer": Family(
        voxceleb_trainer.read, r"__S__\.|torchfb\.|netcnn\.|sap_linear\.|conv1\.filterbank\.|preprocess\."
    ),
    "pyannote": Family(pyannote.read, r"sincnet_\.|tdnn_\."),
    "ge2e": Family(ge2e.read, r"LSTM_stack\."),
    "resemblyzer": Family(resemblyzer.read, r"lstm\."),
    "wespeaker": Family(wespeaker.read, r"seg_1\.|layer2\.se_res2block\.|xvector\."),
    "3dspeaker": Family(threedspeaker.read, r"seg_1\.|xvector\."),
    "speechbrain": Family(speechbrain.read, r"blocks\.0\.conv\.conv\.|mfa\."),
}


class Imported(NamedTuple):
    """An imported checkpoint.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    notes : list of str
        Lines for the user: what was found or chosen, and how the toolkit's authors score.
    dropped : dict of str to int
        Number of tensors that were left out, by their kind.
    """

    encoder: Encoder
    notes: list[str]
    dropped: dict[str, int]


def import_checkpoint(path: str | Path, family: str, options: Mapping[str, object] | None = None) -> Imported:
    """Turn a checkpoint of another toolkit into an encoder.

    The file is read as data: no code in it can run. Every tensor must match a parameter of the network, and every
    parameter a tensor; tensors that are left out on purpose are counted in `dropped`.

    Parameters
    ----------
    path : str or Path
        Path of the checkpoint.
    family : str
        A name in `FAMILIES`.
    options : mapping of str to object, optional
        Options for what the file does not contain; see the family's `read`.

    Raises
    ------
    VouchError
        The file is unreadable, the family or an option is unknown, or the checkpoint is of another kind.
    """
    path = Path(path)
    reader = pick(FAMILIES, family, "family of checkpoints")
    resolved = resolve_options(reader.read, options or {}, f"{family} checkpoints", given=["weights", "path"])
    if not path.exists():
        raise VouchError(f"{path}: no such file")
    content = load_torch(path)
    try:
        weights = Weights(content)
        guesses = recognise_families(weights)
        if guesses and family not in guesses:
            raise VouchError(f"not of {family}: its keys are those of {' or '.join(guesses)}")
        encoder, notes = reader.read(weights, path, **resolved)
    except VouchError as error:
        raise VouchError(f"{path}: {error}") from None
    return Imported(encoder, notes, weights.dropped)


def recognise_families(weights: Weights) -> list[str]:
    """Return the families with such keys; there may be several: WeSpeaker and 3D-Speaker name CAM++'s parts alike."""
    return [name for name, family in FAMILIES.items() if any(re.match(family.mark, key) for key in weights)]
