"""Checks whether an audio file is as long as its header says: libsndfile reads truncated files without an error.

Only some formats declare their length: by a size in the header (unless it is the placeholder of a program that wrote to
a pipe), or by a mark on the last page of an Ogg stream. Sources: AIFF-C draft (Apple 1991), au(4) of SunOS,
NIST SPHERE 2.6, CAF specification 1.0 (Apple), Sony Wave64, RFC 3533 (Ogg).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from vouch.audio.riff import find_samples
from vouch.audio.views import Source
from vouch.base.errors import VouchError

# When sox writes AIFF to a pipe, it declares as many whole samples, or blocks of them, as fit into 0x7F000000 bytes.
_AIFF_MADE_UP = 0x7F000000 - (1 << 17)
# Header of an Ogg page: capture pattern, version, flags, position, serial number, number, checksum, segments.
_OGG_PAGE = struct.Struct("<4sBBqIIIB")
_OGG_FIRST, _OGG_LAST = 2, 4


def find_end(file: Source, length: int, where: str) -> int | None:
    """Return where the recording ends that begins at byte 0 of a file of `length` bytes.

    Returns
    -------
    int or None
        The byte after its last sample, for formats that declare it; None where only decoding can tell.

    Raises
    ------
    VouchError
        The file ends earlier; the message names it as `where`.
    """
    file.seek(0)
    head = file.read(16)
    if len(head) < 16:
        return None
    samples = find_samples(file, length, where)
    if samples is not None:
        return samples.position + samples.size
    for magic, name, find in _FORMATS:
        if head.startswith(magic):
            end = find(file, length, where)
            if end is not None and end > length:
                raise VouchError(f"{where}: truncated {name}, by its header it has {end} bytes and it holds {length}")
            return end
    return None


def _aiff_end(file: Source, length: int, where: str) -> int | None:
    file.seek(8)
    if file.read(4) not in (b"AIFF", b"AIFC"):
        return None
    position = 12
    while position + 8 <= length:
        file.seek(position)
        chunk, size = struct.unpack(">4sI", file.read(8))
        position += 8
        if chunk == b"SSND":
            return None if size == 0 or size >= _AIFF_MADE_UP else position + size
        position += size + size % 2
    raise VouchError(f"{where}: truncated aiff, it ends before its samples begin")


def _au_end(file: Source, length: int, where: str) -> int | None:
    file.seek(0)
    head = file.read(12)
    start, size = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:])
    return None if size in (0, 0xFFFFFFFF) else start + size


def _sphere_end(file: Source, length: int, where: str) -> int | None:
    file.seek(8)
    size = file.read(8).strip()
    if not re.fullmatch(rb"\d{1,7}", size):
        return None
    file.seek(0)
    header = file.read(int(size))
    fields = dict(re.findall(rb"^(\w+) -(?:i|s\d+) (\d{1,15})\s*$", header, re.MULTILINE))
    wanted = (b"sample_count", b"channel_count", b"sample_n_bytes")
    # libsndfile does not read compressed samples, and their size does not follow from the header.
    if any(name not in fields for name in wanted) or b",embedded-" in header:
        return None
    count, channels, width = (int(fields[name]) for name in wanted)
    return int(size) + count * channels * width


def _caf_end(file: Source, length: int, where: str) -> int | None:
    position = 8
    while position + 12 <= length:
        file.seek(position)
        chunk, size = struct.unpack(">4sq", file.read(12))
        position += 12
        if chunk == b"data" or size < 0:
            # A size of -1 means that the chunk reaches to the end of the file.
            return position + size if size > 0 else None
        position += size
    raise VouchError(f"{where}: truncated caf, it ends before its samples begin")


def _w64_end(file: Source, length: int, where: str) -> int | None:
    position = 40
    while position + 24 <= length:
        file.seek(position)
        chunk, size = struct.unpack("<4s12xQ", file.read(24))
        if chunk == b"data" or size < 24:
            return position + size if 24 < size < 1 << 63 else None
        position += size + -size % 8
    raise VouchError(f"{where}: truncated w64, it ends before its samples begin")


def _ogg_end(file: Source, length: int, where: str) -> int | None:
    """Walk over the pages up to the last one of each stream; streams may follow each other or be interleaved."""
    position = 0
    is_open: set[int] = set()
    while position < length:
        file.seek(position)
        page = file.read(_OGG_PAGE.size)
        if not page.startswith(b"OggS") and not is_open:
            return position
        if len(page) < _OGG_PAGE.size:
            break
        magic, _, flags, _, serial, _, _, segments = _OGG_PAGE.unpack(page)
        if magic != b"OggS":
            raise VouchError(f"{where}: damaged ogg, no page begins at byte {position}")
        sizes = file.read(segments)
        position += _OGG_PAGE.size + segments + sum(sizes)
        if len(sizes) < segments:
            break
        if flags & _OGG_FIRST:
            is_open.add(serial)
        if flags & _OGG_LAST:
            is_open.discard(serial)
    if is_open or position > length:
        raise VouchError(f"{where}: truncated ogg, it ends before a page that is marked as the last")
    return position


_FORMATS: list[tuple[bytes, str, Callable[[Source, int, str], int | None]]] = [
    (b"FORM", "aiff", _aiff_end),
    (b".snd", "au", _au_end),
    (b"dns.", "au", _au_end),
    (b"NIST_1A\n", "sph", _sphere_end),
    (b"caff", "caf", _caf_end),
    (b"riff\x2e\x91\xcf\x11", "w64", _w64_end),
    (b"OggS", "ogg", _ogg_end),
]
