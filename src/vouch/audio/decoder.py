"""Opens a recording and gives its sampling rate, its number of samples as far as it is known, and its samples.

All audio is read through this module, so that counting samples, reading all and reading a part agree. Recordings are
decoded to the end, block by block, since the length in a header is reliable in some formats only.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator

import numpy as np
import soundfile

from vouch.audio.containers import find_end
from vouch.audio.mpeg import SLACK_FRAMES, Frame, Stream, find_first_frame, goes_on, missing_head
from vouch.audio.riff import Samples, find_samples
from vouch.audio.views import Source, View
from vouch.base.errors import VouchError, reason

# Encodings in which decoding from the middle gives the same samples as decoding from the beginning.
_SEEKABLE = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
# Formats whose declared length is checked, by `vouch.audio.containers`, `vouch.audio.mpeg` or libsndfile itself.
_HELD = {"WAV", "WAVEX", "RF64", "AIFF", "AU", "NIST", "CAF", "W64", "OGG", "FLAC", "MP3", "HTK"}
# Formats whose headers declare samples rather than bytes.
_COUNTED = {"FLAC", "MP3"}
# Samples, over all channels, that are decoded at a time and in all: 37 hours at 16 kHz, which are 8 GiB.
_BLOCK = 1 << 20
MAX_SAMPLES = 1 << 31
# libsndfile keeps the error of a failed opening in a global variable, shared by all threads.
_OPENING = threading.Lock()


class Pcm16Decoder:
    """Reads 16-bit PCM from a wav file; see `SoundDecoder`."""

    is_seekable = True

    def __init__(self, file: Source, samples: Samples) -> None:
        self._file, self._samples = file, samples
        self.rate, self.frames = samples.rate, samples.frames

    def count(self) -> int:
        """Return the number of samples of each channel."""
        return self.frames

    def read(self) -> np.ndarray:
        """Read all samples."""
        return self._samples.read_pcm16(self._file, 0, self.frames)

    def read_span(self, first: int, count: int) -> np.ndarray:
        """Read `count` samples of each channel from sample `first` on; the caller knows that there are so many."""
        return self._samples.read_pcm16(self._file, first, count)


class SoundDecoder:
    """Decodes every format that libsndfile supports.

    Attributes
    ----------
    rate : int
        Sampling rate in Hz, from the header.
    frames : int or None
        Samples of each channel, from the header; None if the header has no number, or only an estimate.
    is_seekable : bool
        Whether `read_span` gives exactly the samples that `read` gives.
    """

    def __init__(self, sound: soundfile.SoundFile, source: Source, where: str, tag: Frame | None) -> None:
        self._sound, self._source, self._where = sound, source, where
        # Unknown lengths are 0 or at the top of the range; damaged headers hold any number.
        is_known = 0 < sound.frames < 1 << 62 and (sound.format != "MP3" or tag is not None)
        self.frames = sound.frames if is_known else None
        self.rate = sound.samplerate
        self.is_seekable = is_known and sound.subtype in _SEEKABLE
        self._slack = SLACK_FRAMES * tag.samples if tag else 0

    def count(self) -> int:
        """Return the number of samples of each channel that `read` gives; decodes the file if its header has none."""
        if self.frames is None:
            return sum(len(block) for block in self._blocks())
        if self._sound.format == "FLAC":
            # The frames are numbered: seeking to the last sample finds the length without decoding the others.
            try:
                self.read_span(self.frames - 1, 1)
            except VouchError:
                raise self._truncated("less") from None
        return self.frames

    def read(self) -> np.ndarray:
        """Read all samples, (samples,) or (samples, channels) float32; `VouchError` if the file lacks some of them."""
        blocks = list(self._blocks())
        # A block of a recording of unknown length is a view of a larger buffer, so it is copied.
        return blocks[0] if len(blocks) == 1 and self.frames is not None else np.concatenate(blocks)

    def read_span(self, first: int, count: int) -> np.ndarray:
        """Read `count` samples of each channel from sample `first` on, all of which the header declares."""
        with _naming(self._where):
            self._sound.seek(first)
        span = self._read_block(count)
        if len(span) < count:
            raise VouchError(f"{self._where}: truncated, {count - len(span)} samples are missing")
        return span

    def _blocks(self) -> Iterator[np.ndarray]:
        """Decode from the beginning to the end."""
        size = max(1, _BLOCK // self._sound.channels)
        total = 0
        while True:
            # The length is usually known, so that the last buffer is no larger than what is left.
            left = size if self.frames is None else self.frames - total
            block = self._read_block(min(size, left) if left > 0 else 0)
            total += len(block)
            if total * self._sound.channels > MAX_SAMPLES:
                raise VouchError(f"{self._where}: more than {MAX_SAMPLES} samples; cut it into several files")
            if len(block) or not total:
                yield block
            if not len(block) or total == self.frames:
                break
        if self.frames is not None and total + self._slack < self.frames:
            raise self._truncated(total)

    def _truncated(self, held: int | str) -> VouchError:
        return VouchError(f"{self._where}: truncated, it promises {self.frames} samples and holds {held}")

    def _read_block(self, count: int) -> np.ndarray:
        with _naming(self._where):
            return self._after_failure(self._sound.read(count, dtype="float32"))

    def _after_failure(self, block: np.ndarray) -> np.ndarray:
        """Return a block, or raise the error of reading the file, which libsndfile takes for the end of the file."""
        failure = self._source.failure if isinstance(self._source, View) else None
        if failure is not None:
            raise failure
        return block


class _Sound(soundfile.SoundFile):
    """A `SoundFile` that never seeks while it reads: it would seek after each block, which fails in some decoders."""

    def seekable(self) -> bool:
        """Return False."""
        return False


Decoder = Pcm16Decoder | SoundDecoder


@contextlib.contextmanager
def open_decoder(file: Source, length: int, where: str, offset: int = 0) -> Iterator[Decoder]:
    """Open the recording that begins at a byte of a file.

    Parameters
    ----------
    file : Source
        A regular file, or `io.BytesIO`.
    length : int
        Its number of bytes.
    where : str
        Name of the recording in messages.
    offset : int
        First byte of the recording; if it is not 0, the file is an archive and may hold more after the recording.

    Raises
    ------
    VouchError
        The file is not audio, is in a format without a reliable length, or ends earlier than its header declares.
    """
    if offset >= length:
        raise VouchError(f"{where}: no audio, 0 bytes")
    if offset:
        file, length = View(file, offset, length), length - offset
    samples = find_samples(file, length, where)
    if samples is not None and samples.is_pcm16:
        yield Pcm16Decoder(file, samples)
        return
    end = find_end(file, length, where)
    if end is not None and end < length and (offset or samples is None):
        # libsndfile looks for some tags at the end of the file, which here would be the end of the archive, and in some
        # formats takes the bytes that follow the samples for more samples.
        file, length = View(file, 0, end), end
    # This comes before libsndfile gets the file, since libsndfile relies on the file position.
    frame = find_first_frame(file)
    is_counted = frame is not None and frame.frames is not None and (bool(offset) or not goes_on(file, frame))
    size = length
    if offset and frame is not None and frame.bytes is not None:
        size = min(length, frame.position + frame.bytes)
        file = View(file, 0, size)
    head = missing_head(file, 0)
    source = View(file, 0, size, head) if head else file
    with open_sound(source, where) as sound:
        is_mp3 = sound.format == "MP3"
        if is_mp3 and frame is not None:
            frame.check(length, where)
        if not is_mp3 or is_counted:
            decoder = SoundDecoder(sound, source, where, frame if is_mp3 else None)
            if offset and end is None and not (decoder.frames is not None and sound.format in _COUNTED):
                raise _endless(where)
            yield decoder
            return
    if offset:
        raise _endless(where)
    # A tag that counts only a part of the file is skipped.
    start = 0 if frame is None or frame.frames is None else frame.position + frame.size
    # libsndfile has moved the position of the descriptor: seeking here discards what Python has buffered.
    file.seek(0, io.SEEK_END)
    stream = Stream(file, start, length, missing_head(file, start))
    with open_sound(stream, where) as sound:
        yield SoundDecoder(sound, stream, where, None)


def _endless(where: str) -> VouchError:
    return VouchError(f"{where}: it does not say where it ends, as a recording within an archive has to")


def open_sound(file: Source, where: str) -> soundfile.SoundFile:
    """Open a file with libsndfile, from its beginning, wherever its position is now.

    Raises
    ------
    VouchError
        The file, named as `where`, is not audio, or in a format without a reliable length.
    """
    file.seek(0)
    source: Source | int = file
    if not isinstance(file, (io.BytesIO, View)):
        # Reading by descriptor is faster than through Python, and hides the file's name, whose ending may mislead.
        descriptor = file.fileno()
        os.lseek(descriptor, 0, os.SEEK_SET)
        source = descriptor
    with _naming(where), _OPENING:
        sound = _Sound(source, closefd=False)
    if sound.format not in _HELD:
        # In these formats, libsndfile returns a truncated file as if it were whole, or pads it with earlier samples.
        name = sound.format_info
        sound.close()
        raise VouchError(f"{where}: {name}: whether such a file is whole cannot be told; convert it to wav or flac")
    return sound


@contextlib.contextmanager
def _naming(where: str) -> Iterator[None]:
    try:
        yield
    except (VouchError, BrokenPipeError):
        raise
    except Exception as error:
        if isinstance(error, (OSError, MemoryError)):
            raise VouchError(f"{where}: {reason(error)}") from None
        # libsndfile's own message, without the path that it begins with.
        words = str(getattr(error, "error_string", error))
        raise VouchError(f"{where}: not readable as audio ({words.strip().rstrip('.')})") from None
