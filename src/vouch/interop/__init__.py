"""Checkpoints of other toolkits, turned into encoders. Adding a family is a file here and a line in `FAMILIES`.

Each family is a function `read(weights, path, **options) -> (encoder, notes)` whose options are annotated and have
defaults, and a key (a regular expression) that few other families have.
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
    """How checkpoints of a toolkit are read, and what tells them from those of others.

    Parameters
    ----------
    read : callable
        `(weights, path, **options)` to an encoder and notes for the user.
    mark : str
        Regular expression that one of its keys matches from the start; some keys are of more than one family.
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
        What was found or chosen, and how the toolkit's authors score; lines for the user.
    dropped : dict of str to int
        Numbers of tensors that were left out, by what they are.
    """

    encoder: Encoder
    notes: list[str]
    dropped: dict[str, int]


def import_checkpoint(path: str | Path, family: str, options: Mapping[str, object] | None = None) -> Imported:
    """Turn a checkpoint of another toolkit into an encoder.

    The file is read as data: nothing in it can run. Every tensor must find its place in the network, and every place
    its tensor; what is left out by name is counted in `dropped`.

    Parameters
    ----------
    path : str or Path
        Path of the checkpoint.
    family : str
        A name in `FAMILIES`.
    options : mapping of str to object, optional
        What the file does not tell, by name; see the family's `read`.

    Raises
    ------
    VouchError
        An unreadable file, an unknown family or option, or a checkpoint of another kind.
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
    """Return the families that have such keys; WeSpeaker and 3D-Speaker, for one, call the parts of CAM++ alike."""
    return [name for name, family in FAMILIES.items() if any(re.match(family.mark, key) for key in weights)]
