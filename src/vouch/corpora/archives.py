"""Unpack zip and tar archives, whole or in pieces, without a path that leaves the target."""

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
# An archive that unpacks to more times its size holds no recordings.
MAX_RATIO = 100
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# What a member takes in a tar archive beside its content; millions of empty files are a bomb too.
HEADER = 512
# What LZMA needs to look back on is no longer than the content; its usual settings set aside up to 64 MiB, and some
# round the length up to a power of two.
LARGEST_USUAL_DICTIONARY = 1 << 26
# Bytes of a name or of attributes that stand before a member; file systems know names of 255, and paths of 4096.
LONGEST_NOTE = 1 << 16
_NOTES = {
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
}


class Member(NamedTuple):
    """One entry of an archive: a file, or something else that is not unpacked.

    Attributes
    ----------
    name : str
        Path in the archive, with '/'.
    size : bytes
    is_file : bool
        Whether it is a regular file.
    open : callable
        Gives its content.
    """

    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes] | None]


class Pieces(io.RawIOBase):
    """Several files read as one: an archive that was split does not have to be put together on the disk."""

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
    """Unpack an archive; files that are there with the right size are kept, so that an interrupted call goes on.

    Each file appears whole or not at all. Links and devices are not made.

    Parameters
    ----------
    name : str
        Name of the archive; its suffix tells the format.
    pieces : sequence of Path
        The archive, or the parts that it was split into, in order.
    target : Path
        Folder.
    wanted : callable
        Which members to unpack, by their names.

    Returns
    -------
    list of str
        Names of the wanted members that are neither files nor folders.

    Raises
    ------
    VouchError
        The archive is damaged, holds a name that leads out of the target, unpacks to more than 100 times its size, or
        holds names of more than 64 KiB; the disk is full.
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
            # Damage makes the modules fail in a dozen ways, with TypeError and IndexError among them.
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
    """Refuse a member whose LZMA header asks for a dictionary, and so for memory, far larger than its content.

    `zipfile` sets it aside unasked, and neither checksum nor directory covers the number. Where it stands: PKWARE's
    APPNOTE.TXT, 4.3.7 (lengths of the name and of the extra field) and 5.8.8 (what comes before the data).
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
    """A header of a tar archive whose stated sizes are checked, so that a damaged one does not read gigabytes.

    `tarfile` reads names and attributes whole, and lists of the pieces of a sparse file to their end: two megabytes
    can unpack to gigabytes of either.
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
        """Called by `tarfile` where the list of the pieces stands before the content of a sparse file."""
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
