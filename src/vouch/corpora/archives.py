"""Unpacks zip and tar archives, whole or split, and refuses paths that lead out of the target folder."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, NoReturn

from tqdm import tqdm

from vouch.base.errors import VouchError, is_out_of_memory, reason
from vouch.base.files import open_own

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20
# Largest ratio of unpacked to packed size; no archive of recordings exceeds it.
MAX_RATIO = 100
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# Size of a tar header for each member; it counts, since millions of empty files fill a disk too.
HEADER = 512
# Largest LZMA dictionary that is always accepted. A dictionary need not be longer than the content, but usual settings
# request up to 64 MiB, and some round up to a power of two.
LARGEST_USUAL_DICTIONARY = 1 << 26
# Largest name or attributes of a member in bytes; file systems allow names of 255 and paths of 4096 bytes.
LONGEST_NOTE = 1 << 16
_NOTES = {
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
}


class Member(NamedTuple):
    """One entry of an archive: a regular file, or something that is not unpacked.

    Attributes
    ----------
    name : str
        Path in the archive, with '/'.
    size : bytes
    is_file : bool
        Whether it is a regular file.
    open : callable
        Function that opens its content.
    """

    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes] | None]


class Pieces(io.RawIOBase):
    """Reads several files as one, so that a split archive need not be joined on disk."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._sizes = [path.stat().st_size for path in paths]
        self._position = 0
        self._open: tuple[int, io.FileIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: sum(self._sizes)}[whence]
        if origin + offset < 0:
            raise OSError("position before the beginning")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        start = 0
        for number, size in enumerate(self._sizes):
            if self._position < start + size:
                file = self._piece(number)
                file.seek(self._position - start)
                count = file.readinto(buffer)
                self._position += count
                return count
            start += size
        return 0

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
        super().close()

    def _piece(self, number: int) -> io.FileIO:
        if self._open is None or self._open[0] != number:
            if self._open is not None:
                self._open[1].close()
            self._open = (number, open(self._paths[number], "rb", buffering=0))  # noqa: SIM115  # closed by close()
        return self._open[1]


def unpack(
    name: str, pieces: Sequence[Path], target: Path, wanted: Callable[[str], bool] = lambda name: True
) -> list[str]:
    """Unpack an archive; existing files of the right size are kept, so that an interrupted call can be continued.

    Each file appears whole or not at all. Links and devices are not created.

    Parameters
    ----------
    name : str
        Name of the archive; its suffix determines the format.
    pieces : sequence of Path
        The archive, or its parts in order.
    target : Path
        Folder to unpack into.
    wanted : callable
        Function that returns whether to unpack a member, by its name.

    Returns
    -------
    list of str
        Names of the wanted members that are neither files nor folders.

    Raises
    ------
    VouchError
        The archive is damaged, a member's name leads out of the target or is longer than 64 KiB, it unpacks to more
        than 100 times its size, or the disk is full.
    """
    left_out, total, folders = [], 0, set()
    bound = MAX_RATIO * sum(path.stat().st_size for path in pieces)
    with (
        io.BufferedReader(Pieces(pieces), BLOCK) as file,
        tqdm(desc=name, unit="file", mininterval=1.0, disable=None) as progress,
    ):
        try:
            for member in _members(name, file):
                if member.size < 0:
                    raise tarfile.HeaderError("a size below 0")
                total += HEADER + member.size
                if total > bound:
                    raise VouchError(f"{name}: unpacks to more than {MAX_RATIO} times its size; it is no corpus")
                parts = _safe_parts(name, member.name, target)
                if not parts or member.name.endswith("/") or not wanted(member.name):
                    continue
                if not member.is_file:
                    left_out.append(member.name)
                    continue
                path = target.joinpath(*parts)
                if path.parent not in folders:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    folders.add(path.parent)
                _write(member, path)
                progress.update()
        except VouchError:
            raise
        except Exception as error:
            if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
                where = getattr(error, "filename", None) or target
                raise VouchError(f"{where}: {reason(error)}; what is unpacked is kept") from None
            # On damaged archives the modules raise a dozen kinds of exceptions, TypeError and IndexError among them.
            text = f"{name}: the archive is damaged ({reason(error)}); remove {pieces[0]} to get it again"
            raise VouchError(text) from None
    return left_out


def _members(name: str, file: IO[bytes]) -> Iterator[Member]:
    if name.endswith(".zip"):
        with zipfile.ZipFile(file) as packed:
            for info in packed.infolist():
                _check_dictionary(file, info)
                kind = stat.S_IFMT(info.external_attr >> 16)
                is_file = kind in (0, stat.S_IFREG) and not info.is_dir()
                yield Member(info.filename, info.file_size, is_file, partial(packed.open, info))
    elif name.endswith(TAR_SUFFIXES):
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
            for entry in archive:
                is_file = entry.isreg() and not entry.issparse()
                folder = "/" if entry.isdir() else ""
                yield Member(entry.name + folder, entry.size, is_file, partial(archive.extractfile, entry))
                archive.members = []  # type: ignore[attr-defined]  # not in typeshed; they would pile up
    else:
        raise VouchError(f"{name}: neither .zip nor {', '.join(TAR_SUFFIXES)}")


def _check_dictionary(file: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Raise an error for a member whose LZMA header requests a dictionary far larger than its content.

    `zipfile` allocates it without a check, and no checksum covers the number. Its position is given in PKWARE's
    APPNOTE.TXT, 4.3.7 (lengths of the name and of the extra field) and 5.8.8 (bytes before the data).
    """
    if info.compress_type != zipfile.ZIP_LZMA:
        return
    file.seek(info.header_offset + 26)
    lengths = file.read(4)
    file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), os.SEEK_CUR)
    dictionary = int.from_bytes(file.read(9)[5:], "little")
    if dictionary > max(LARGEST_USUAL_DICTIONARY, 2 * info.file_size):
        raise zipfile.BadZipFile(f"{info.filename} of {info.file_size} bytes has a dictionary of {dictionary} bytes")


class _Header(tarfile.TarInfo):
    """A tar header whose sizes are checked, so that a damaged archive does not fill the memory.

    `tarfile` reads names, attributes and lists of the pieces of sparse files completely; two megabytes can unpack to
    gigabytes of these.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _NOTES and not 0 <= info.size <= LONGEST_NOTE:
            raise tarfile.HeaderError(f"a name or attributes of {info.size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE and buf[482]:  # "isextended": more of the list follows
            raise tarfile.HeaderError("a sparse file in many pieces")
        return info

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        """Raise an error; `tarfile` calls this if a list of pieces precedes the content of a sparse file."""
        raise tarfile.HeaderError("a sparse file in many pieces")


def _safe_parts(archive: str, name: str, target: Path) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or (parts and ":" in parts[0]):
        raise VouchError(f"{archive}: {name!a} would lie outside {target}; the archive is not what it should be")
    return parts


def _write(member: Member, path: Path) -> None:
    if path.is_file() and path.stat().st_size == member.size:
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        _copy(member, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _copy(member: Member, path: Path) -> None:
    content = member.open()
    assert content is not None  # it is a regular file
    with content, open(path, "wb", buffering=0, opener=open_own) as file:
        left = member.size
        while block := content.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{member.name} is longer than it says")
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) or 0 :]
    if left:
        raise zipfile.BadZipFile(f"{member.name} is shorter than it says")
