"""Writes files of `torch.save` whole, and reads them as data only and never much larger in memory than on disk."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from vouch.base.errors import VouchError, shorten
from vouch.base.files import atomic_write

# Largest file in bytes; the largest published network with its optimizer and a million speakers has a quarter of it.
MAX_BYTES = 2**34
# Limits for a configuration: number of values, depth of nesting, length of a text, magnitude of an integer. The options
# of Vouch are far below; nested references to the same list, or numbers with millions of digits, would otherwise take
# minutes or fill the memory.
MAX_OPTIONS, MAX_DEPTH, MAX_TEXT, MAX_INTEGER = 1000, 4, 1000, 10**6
# A TorchScript file has this entry; torch.load would reject it without saying what it is.
TORCHSCRIPT = "constants.pkl"

Key = TypeVar("Key")


def save_torch(content: Mapping[str, object], path: str | Path) -> None:
    """Write a file for `load_torch`, whole or not at all.

    Raises
    ------
    OSError
        The disk is full.
    """
    buffer = io.BytesIO()
    # Through memory: when torch itself cannot write a file, it hides the reason behind an error of its own.
    torch.save(content, buffer)
    with atomic_write(path, "wb") as file:
        file.write(buffer.getbuffer())


def load_torch(path: str | Path) -> dict[str, object]:
    """Read a file of `torch.save` as data only: no code in it can run.

    Raises
    ------
    VouchError
        There is no such file, it is damaged, it holds code or no dictionary, or it would unpack to more than its size.
    """
    path = Path(path)
    if not path.exists():
        raise VouchError(f"{path}: no such file; stage 3 (steps/train.py) or steps/import_checkpoint.py makes it")
    if not path.is_file():
        raise VouchError(f"{path}: {'a folder; give the file in it' if path.is_dir() else 'not a regular file'}")
    try:
        _check_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except VouchError as error:
        raise VouchError(f"{path}: {error}") from None
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # torch fails on a damaged file in one of many ways, with advice that is not meant for our users.
        raise VouchError(f"{path}: not readable as a checkpoint: {_reason(error)}") from None
    if not isinstance(state, dict):
        raise VouchError(f"{path}: holds no table of weights, as a checkpoint does")
    return state


def check_tensors(tensors: Mapping[Key, object]) -> dict[Key, torch.Tensor]:
    """Check a state dict before its shapes are used.

    A tensor of a few bytes can claim any size through its strides, and many tensors can share memory: a network of such
    shapes would need far more memory than the file has.

    Returns
    -------
    dict of Key to Tensor
        The same keys and tensors.

    Raises
    ------
    VouchError
        A value is not a plain tensor, or the tensors claim more bytes than they hold.
    """
    plain: dict[Key, torch.Tensor] = {}
    claimed, held = 0, {}
    for key, value in tensors.items():
        if not isinstance(value, torch.Tensor) or not _is_plain(value):
            raise VouchError(f"'{shorten(str(key))}' is no plain tensor, so this is not a state dict")
        plain[key] = value
        claimed += value.numel() * value.element_size()
        storage = value.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
    if claimed > sum(held.values()):
        raise VouchError(
            f"its tensors stand for {claimed} bytes, of which it holds {sum(held.values())}: damaged, or made to fill"
            f" the memory"
        )
    return plain


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"


def check_plain(config: object) -> None:
    """Check the size and the types of a configuration before its options are read.

    Raises
    ------
    VouchError
        It holds anything but texts, numbers, truth values, None, and lists and dictionaries of them, or it is larger
        than any real configuration.
    """
    pending, values = [(config, 0)], 0
    while pending:
        value, depth = pending.pop()
        values += 1
        if values > MAX_OPTIONS or depth > MAX_DEPTH:
            raise VouchError("its configuration is larger or more deeply nested than any: damaged, or made to do harm")
        if isinstance(value, (Mapping, list, tuple)):
            # The keys of a dictionary count too; the parts beyond the limit need not be looked at.
            parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
            pending += [(part, depth + 1) for part in parts[: MAX_OPTIONS + 1]]
        elif isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise VouchError(f"its configuration holds a text of {len(value)} letters: '{shorten(value)}'")
        elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise VouchError(f"its configuration holds an integer beyond {MAX_INTEGER}, which is no size")
        elif not isinstance(value, (int, float, type(None))):
            raise VouchError(f"its configuration holds a value of type {type(value).__name__}")


def _check_size(path: Path) -> None:
    """Refuse a file that would take more memory than its size: a compressed one, or one whose parts overlap."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise VouchError(f"{size} bytes; more than {MAX_BYTES} are not read")
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(Path(entry.filename).name == TORCHSCRIPT for entry in entries):
        raise VouchError("a TorchScript program, not a checkpoint: ask for the state dict that it was made of")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise VouchError("a compressed archive, which torch.save never makes; if the checkpoint is in it, unpack it")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise VouchError(f"damaged: {size} bytes that promise {unpacked}")


def _reason(error: Exception) -> str:
    """Return the reason why torch cannot read a file, as part of a message."""
    found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if found:
        return (
            f"it is one with code in it ({shorten(found[1])}), and only data is read; where the program that made it is"
            f" at hand, save its state dict alone"
        )
    return "damaged, of another kind, or with code in it"
