"""Converts a tree of recordings to 16 kHz mono once, so that training need not decode them in every epoch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.failures import MAX_FAILED, describe_failures
from vouch.base.files import write_text
from vouch.corpora.threads import in_threads

ENCODINGS = {"wav": "pcm_s16le", "flac": "flac"}


def convert_tree(source: Path, target: Path, suffix: str, encoding: str, threads: int) -> dict[str, str]:
    """Convert each `<source>/.../<name><suffix>` to a 16 kHz mono, 16-bit `<target>/.../<name>.<encoding>`.

    Existing files are kept. `<target>.failed` lists the files that could not be converted, with the reasons; the next
    call tries them again.

    Parameters
    ----------
    source, target : Path
        The folders.
    suffix : str
        Ending of the recordings' names, such as ".m4a".
    encoding : "wav" or "flac"
    threads : int
        Number of ffmpeg processes at a time.

    Returns
    -------
    dict of str to str
        Reason for each file that could not be converted, by its path below the source.

    Raises
    ------
    VouchError
        ffmpeg is not installed, or more than 5 % of the files fail.
    """
    names = [os.path.relpath(path, source) for path in _walk(source, suffix)]
    missing = [name for name in names if not _is_done(_converted(target, name, encoding))]
    manifest = target.with_name(f"{target.name}.failed")
    if not missing:
        manifest.unlink(missing_ok=True)
        return {}
    if shutil.which("ffmpeg") is None:
        raise VouchError(f"converting {len(missing)} {suffix} files takes ffmpeg, which is not installed")
    failed: dict[str, str] = {}
    for name, reason in in_threads(partial(_convert, source, target, encoding), missing, threads, f"to {encoding}"):
        if reason:
            failed[name] = reason
        if len(failed) > MAX_FAILED * len(names):
            raise VouchError(
                f"{source}: more than {MAX_FAILED:.0%} of {len(names)} files cannot be converted:"
                f" {describe_failures(failed)}"
            )
    manifest.unlink(missing_ok=True)
    if failed:
        write_text(manifest, "".join(f"{name}\t{reason}\n" for name, reason in failed.items()))
    return failed


def _walk(folder: Path, suffix: str) -> Iterator[str]:
    for here, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (os.path.join(here, name) for name in sorted(files) if name.endswith(suffix) and name[0] != ".")


def _converted(target: Path, name: str, encoding: str) -> Path:
    return target / f"{os.path.splitext(name)[0]}.{encoding}"


def _is_done(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _convert(source: Path, target: Path, encoding: str, name: str) -> str:
    """Convert one file; return the reason in one line if it fails, else an empty text."""
    path = _converted(target, name, encoding)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.partial")
    # Otherwise ffmpeg would write through a link of this name.
    unfinished.unlink(missing_ok=True)
    # "file:" keeps ffmpeg from taking a name for an option or a URL.
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", f"file:{source / name}", "-vn", "-ac", "1"]
    command += ["-ar", "16000", "-sample_fmt", "s16", "-c:a", ENCODINGS[encoding], "-f", encoding, f"file:{unfinished}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode or not _is_done(unfinished):
        unfinished.unlink(missing_ok=True)
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        return f"ffmpeg ended with status {done.returncode}: {' '.join(last[0].split())}"
    os.replace(unfinished, path)
    return ""
