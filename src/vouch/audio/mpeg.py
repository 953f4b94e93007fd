"""Finds out whether an mp3 file declares its number of samples, and makes libsndfile decode all of them if it does not.

A stream of MPEG frames does not declare its length. Encoders that write to a file put a frame "Xing" or "Info" first,
which counts frames and bytes. Without it libsndfile (mpg123) takes the bit rate of the first frame for the mean, stops
at the number of samples that follows from it, and reads nothing from positions after that. Sources: ISO 11172-3,
2.4.1.3; "MPEG Audio Frame Header" by K. Windström; revision 1 of the LAME tag.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from vouch.audio.views import Source, View
from vouch.base.errors import VouchError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# kbit/s of layer III by index, for MPEG 1 and for MPEG 2 and 2.5.
_BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44100, 48000, 32000)
# Programs disagree on whether the frame with the counts counts itself.
SLACK_FRAMES = 2
# Smallest and largest size of a frame in bytes.
_SHORTEST_FRAME, _LONGEST_FRAME = 24, 2881
# Size in bytes of an ID3 tag of version 1, which follows the frames.
_ID3_AT_END = 128
# Factor by which a file claims to be longer; the bit rates of its frames differ by less.
_STRETCH = 64
# An ID3 tag of version 2 without entries: ten bytes of padding.
_EMPTY_ID3 = b"ID3\3\0\0\0\0\0\n" + bytes(10)
# libsndfile looks for the resource fork of a file without a name in these places.
_RESOURCE_FORKS = ("._", ".AppleDouble")


class Frame(NamedTuple):
    """The first frame of an mp3 file, with the counts in it.

    Attributes
    ----------
    position : int
        Position of its first byte.
    size : int
        Its size in bytes, 0 if unknown.
    samples : int
        Samples of each channel in one frame.
    frames, bytes : int or None
        Length of the file according to the tag "Xing" or "Info"; None if the tag or the count is missing.
    """

    position: int
    size: int
    samples: int
    frames: int | None
    bytes: int | None

    def check(self, length: int, where: str) -> None:
        """Raise `VouchError` if a file of `length` bytes is shorter than its tag says, or the counts are impossible."""
        counted = length if self.bytes is None else self.bytes
        # Some programs include a tag before the frames, or the whole file, in the count.
        if self.position + counted > length and length - counted not in (0, _ID3_AT_END):
            raise VouchError(f"{where}: truncated mp3, its tag counts {counted} bytes and it holds {length}")
        if self.frames is not None and self.frames * _SHORTEST_FRAME > length:
            raise VouchError(f"{where}: damaged mp3, its tag counts {self.frames} frames in {length} bytes")


def find_first_frame(file: Source) -> Frame | None:
    """Find the first frame of layer III, after ID3 tags; None if the file is not mp3."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(256)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
        position += 10 + size + (10 if head[5] & 16 else 0)
    if len(head) < 4 or head[0] != 255 or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, padding = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or rate == 3 or head[2] >> 4 == 15:
        return None
    is_first = version == 3
    hertz = _RATES[rate] >> (0 if is_first else 1 if version == 2 else 2)
    samples = 1152 if is_first else 576
    kilobits = _BIT_RATES[0 if is_first else 1][head[2] >> 4]
    frame_bytes = samples * kilobits * 125 // hertz + padding if kilobits else 0
    # Skip the side information, which is shorter for one channel.
    is_mono = head[3] >> 6 == 3
    start = 4 + ((17 if is_mono else 32) if is_first else (9 if is_mono else 17)) + (0 if head[1] & 1 else 2)
    counts: list[int | None] = [None, None]
    if head[start : start + 4] in (b"Xing", b"Info"):
        flags, at = head[start + 7], start + 8
        for flag in (1, 2):
            if flags & flag and at + 4 <= len(head):
                counts[flag - 1] = int.from_bytes(head[at : at + 4], "big")
                at += 4
    return Frame(position, frame_bytes, samples, *counts)


def goes_on(file: Source, frame: Frame) -> bool:
    """Return whether another stream follows the one that the first frame's tag counts, as in concatenated files."""
    if frame.bytes is None:
        return False
    file.seek(max(0, frame.position + frame.bytes))
    rest = file.read(_LONGEST_FRAME + 4 + frame.size)
    # If the count leaves out the frame with the tag, the position is that of the last frame, and nothing follows it.
    for start in (0, frame.size):
        head = rest[start : start + 4]
        if head[:3] == b"ID3" or (len(head) == 4 and head[0] == 255 and head[1] & 0xE6 == 0xE2):
            return len(rest) - start > _LONGEST_FRAME
    return False


def missing_head(file: Source, start: int) -> bytes:
    """Return the bytes to put before an mp3 file so that libsndfile recognises it; usually none.

    Before libsndfile looks for an mp3 frame, it takes any file that has a "resource fork" for Sound Designer II. If the
    file has no name, such as an open descriptor, it looks for `._` in the current directory, where macOS and netatalk
    leave such files. Since it recognises an ID3 tag before that, an empty tag is put before the file, but only in such
    a directory, because libsndfile then reads through Python, which is slower.

    Parameters
    ----------
    start : int
        The byte of the file at which libsndfile begins to read.
    """
    if not any(map(os.path.lexists, _RESOURCE_FORKS)):
        return b""
    file.seek(start)
    sync = file.read(2)
    return _EMPTY_ID3 if len(sync) == 2 and sync[0] == 0xFF and sync[1] & 0xE0 == 0xE0 else b""


class Stream(View):
    """An mp3 file that claims to be far longer than it is, so that a decoder does not stop before its true end.

    Decoders estimate the number of samples from the length of the file, and stop there. Reads after the true end give
    nothing, except for the last 128 bytes of the claimed length, which are 0: decoders look for an ID3 tag there.
    """

    def __init__(self, file: Source, start: int, end: int, head: bytes = b"") -> None:
        super().__init__(file, start, end, head)
        self.length = _STRETCH * (end - start) + (1 << 20)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with the bytes that are left; see `io.RawIOBase`."""
        if self.position < self.length - 128:
            return super().readinto(buffer)
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self.length - self.position))
        target[:count] = bytes(count)
        self.position += count
        return count
