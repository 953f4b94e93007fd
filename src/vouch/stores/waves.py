"""Random access to whole or cropped waveforms of a data directory, directly from the audio files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from vouch.audio.loudness import SILENCE_LEVEL, measure_loudness
from vouch.audio.pcm16 import OTHER, Place, find_place, read_place, to_pcm16
from vouch.audio.reading import count_samples, read_span
from vouch.audio.seeking import MPEG4_SUFFIXES, read_seeking
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError
from vouch.base.failures import MAX_FAILED, describe_failures
from vouch.base.numbers import plain_float
from vouch.features.config import FrontEndConfig
from vouch.kaldi.datadirs.datadir import DataDir, sample_bounds
from vouch.kaldi.tables import read_table
from vouch.stores.features import FeatureStore
from vouch.stores.reader import WaveReader

HEADER_THREADS = 16
Answer = TypeVar("Answer")


class WaveStore:
    """Waveforms of the recordings in a `wav.scp`.

    The class is used like `vouch.stores.features.FeatureStore`, with samples in place of frames. From files without
    lossy compression and with the right sampling rate, a crop reads only its own samples; other files and pipes are
    read completely each time. Several threads may use a store at once.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    sample_rate : int
        Sampling rate in Hz; recordings at other rates are resampled.
    channel : int or str
        Channel to use of recordings with several, see `vouch.audio.reading.read_audio`.

    Attributes
    ----------
    path : Path
        Path of the wav.scp, for messages.
    utterances : list of str
        Utterance ids, in file order.
    lengths : (utterances,) int64 ndarray
        Lengths in samples: for segments from `segments`, for whole recordings from utt2num_samples or utt2dur if one
        exists (small errors in these do no harm), otherwise from the header of the file.
    dim : int
        Dimensions of a sample: 1.
    step_shape : tuple of int
        Shape of one sample: ().
    failed : dict of str to str
        Reason for each utterance that has proved unreadable so far; at most 5 % of all.

    Raises
    ------
    VouchError
        A table of lengths is malformed, or, without one, more than 5 % of the utterances are not readable.
    """

    dim, step_shape = 1, ()

    def __init__(self, data: DataDir, sample_rate: int, channel: int | str = MEAN) -> None:
        self.path = data.path / "wav.scp"
        self.utterances = list(data.segments)
        self._data, self._rate, self._channel = data, sample_rate, channel
        self.failed: dict[str, str] = {}
        self.lengths = np.fromiter(self._read_lengths(), np.int64, len(self.utterances))
        # A `Place` in each row, once it was looked for; zeros before.
        self._places = np.zeros((len(self.utterances), len(Place._fields)), np.int64)

    def __len__(self) -> int:
        return len(self.utterances)

    def matrix(self, index: int) -> np.ndarray:
        """Return all samples of utterance `index`, whatever its expected length, as (samples,) float32."""
        first, last = self._bounds(index)
        samples = self._read_span(index, first, last)
        if len(samples) < (1 if last is None else last - first):
            # The recording has no samples, or ends before the segment does, perhaps by a rounding error.
            try:
                samples = WaveReader(self._data, self._rate, self._channel).read(self.utterances[index])
            except VouchError as error:
                raise self._named(index, error) from None
        return samples

    def crop(self, index: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (samples,) float32, with the samples of utterance `index` from `first` on.

        An utterance that ends before the crop does is repeated from its beginning. If it ends early only because it is
        shorter than expected, the crop begins earlier instead.
        """
        begin, _ = self._bounds(index)
        is_inside = first + len(out) <= self.lengths[index]
        samples = np.empty(0, np.float32)
        if is_inside:
            samples = self._read_span(index, begin + first, begin + first + len(out))
        if len(samples) < len(out):
            whole = self.matrix(index)
            if is_inside:
                first = max(0, len(whole) - len(out))
            samples = np.take(whole, np.arange(first, first + len(out)), mode="wrap")
        out[:] = samples

    def crop16(self, index: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (samples,) contiguous int16, with what `crop` gives, times 32768, rounded and clipped.

        From 16-bit mono files with the right sampling rate, wav (also within archives) and FLAC, the samples are read
        straight into `out`; where they lie is found at the first crop. Of m4a files, only the samples that are asked
        for are decoded where PyAV is installed; about noise in these, see `vouch.audio.seeking.read_seeking`.
        """
        if first + len(out) <= self.lengths[index]:
            position = self._bounds(index)[0] + first
            if self._read_placed(index, position, out) or self._read_seeking(index, position, out):
                return
        samples = np.empty(len(out), np.float32)
        self.crop(index, first, samples)
        out[:] = to_pcm16(samples)

    def find_silent(self, whole: bool = False) -> np.ndarray:
        """Return which utterances are silent, see `vouch.audio.loudness`, as (utterances,) bool.

        Half a second from the middle of each is read; if that is silent, or with `whole`, all of it is read. Utterances
        without samples are skipped. Unreadable utterances are added to `failed`, and do not count as silent.

        Raises
        ------
        VouchError
            More than 5 % of the utterances are not readable.
        """

        def is_silent(index: int) -> bool:
            length = int(self.lengths[index])
            if not length:
                return False
            probe = np.empty(min(length, self._rate // 2), np.float32)
            try:
                self.crop(index, (length - len(probe)) // 2, probe)
                return (whole or self._sounds_silent(probe)) and self._sounds_silent(self.matrix(index))
            except VouchError as error:
                self.leave_out(index, error)
                return False

        return np.fromiter(self._each(is_silent, range(len(self))), bool, len(self))

    def _sounds_silent(self, samples: np.ndarray) -> bool:
        return measure_loudness(samples, self._rate, bands=False).level < SILENCE_LEVEL

    def leave_out(self, index: int, error: VouchError) -> None:
        """Add an unreadable utterance to `failed`; `VouchError` if these become more than 5 %."""
        self.failed.setdefault(self.utterances[index], str(error).removeprefix(self._prefix(index)))
        count = len(self.failed)
        if count > MAX_FAILED * len(self):
            if count == 1:
                raise error
            failures = describe_failures(dict(sorted(self.failed.items())))
            raise VouchError(
                f"{self.path}: more than {MAX_FAILED:.0%} of {len(self)} utterances cannot be read: {failures}"
            )

    def _read_span(self, index: int, first: int, last: int | None) -> np.ndarray:
        try:
            return read_span(self._rxfilename(index), first, last, self._rate, self._channel)
        except VouchError as error:
            raise self._named(index, error) from None

    def _read_placed(self, index: int, first: int, out: np.ndarray) -> bool:
        """Fill `out` from sample `first` of a recording that has a `Place` on; return whether that was possible."""
        place = Place(*self._places[index].tolist())
        if not place.kind:
            place = find_place(self._rxfilename(index), self._rate)
            self._places[index] = place
        # The decoder complains about a channel that a mono file does not have.
        if place.kind == OTHER or self._channel not in (MEAN, 0):
            return False
        is_read = read_place(self._rxfilename(index), place, first, out)
        if not is_read:
            # The file may have changed.
            self._places[index] = 0
        return is_read

    def _read_seeking(self, index: int, first: int, out: np.ndarray) -> bool:
        """Fill `out` from sample `first` of an m4a file on; return whether that was possible."""
        rxfilename = self._rxfilename(index)
        if not rxfilename.lower().endswith(MPEG4_SUFFIXES):
            return False
        samples = read_seeking(rxfilename, first, len(out), self._rate, self._channel)
        if samples is not None:
            out[:] = samples
        return samples is not None

    def _rxfilename(self, index: int) -> str:
        return self._data.wav_scp[self._data.segments[self.utterances[index]].recording]

    def _bounds(self, index: int) -> tuple[int, int | None]:
        return sample_bounds(self._data.segments[self.utterances[index]], self._rate)

    def _named(self, index: int, error: VouchError) -> VouchError:
        return VouchError(f"{self._prefix(index)}{error}")

    def _prefix(self, index: int) -> str:
        return f"{self.path}: '{self.utterances[index]}': "

    def _read_lengths(self) -> Iterator[int]:
        """Yield the expected length of each utterance in samples."""
        bounds = [self._bounds(index) for index in range(len(self))]
        open_ended = [index for index, (_, last) in enumerate(bounds) if last is None]
        lengths = self._tabled_lengths(open_ended) or self._counted_lengths(open_ended)
        for index, (first, last) in enumerate(bounds):
            yield lengths[index] if last is None else last - first

    def _tabled_lengths(self, indices: Sequence[int]) -> dict[int, int]:
        """Return lengths from utt2num_samples or utt2dur by index; an empty result if neither table exists."""
        for name, scale in (("utt2num_samples", 1), ("utt2dur", self._rate)):
            path = self._data.path / name
            if path.exists() and indices:
                table = read_table(path)
                return {index: _parse_length(table, self.utterances[index], path, scale) for index in indices}
        return {}

    def _counted_lengths(self, indices: Sequence[int]) -> dict[int, int]:
        """Return lengths by index, from the headers of the files."""

        def count(index: int) -> int:
            try:
                samples = count_samples(self._rxfilename(index), self._rate)
            except VouchError as error:
                self.leave_out(index, self._named(index, error))
                return 0
            return max(0, samples - self._bounds(index)[0])

        return dict(zip(indices, self._each(count, indices), strict=True))

    @staticmethod
    def _each(work: Callable[[int], Answer], indices: Sequence[int]) -> Iterator[Answer]:
        """Yield the result of `work` for each utterance, computed in threads."""
        pool = ThreadPoolExecutor(HEADER_THREADS)
        try:
            yield from pool.map(work, indices)
        finally:
            # After an error or an interruption, the remaining utterances are skipped.
            pool.shutdown(cancel_futures=True)


Store = FeatureStore | WaveStore


def open_store(path: str | Path, feature: FrontEndConfig | None) -> tuple[DataDir, Store]:
    """Open the input of a network from a data directory.

    Parameters
    ----------
    path : str or Path
        Data directory with feats.scp, or wav.scp for waveforms.
    feature : FrontEndConfig or None
        The front end; None: features of an unknown front end.

    Returns
    -------
    data : DataDir
        The tables of the directory.
    store : Store
        A `WaveStore` for the front end "waveform", a `FeatureStore` for all others.
    """
    if feature is not None and feature.gives_waveforms:
        data = DataDir.load(path, need=["wav.scp"])
        return data, WaveStore(data, feature.sample_rate, feature.channel)
    data = DataDir.load(path, need=["feats.scp"])
    return data, FeatureStore(data.path / "feats.scp", data.feats_scp)


def _parse_length(table: Mapping[str, str], utterance: str, path: Path, scale: int) -> int:
    """Return the length of an utterance in samples, from a table whose unit is `scale` samples."""
    if utterance not in table:
        raise VouchError(f"{path}: no line for '{utterance}'; make the table again, or remove it")
    try:
        length = plain_float(table[utterance]) * scale
        if not 0 <= length < 2**62:
            raise ValueError
    except ValueError:
        raise VouchError(f"{path}: '{utterance} {table[utterance]}' is not a length") from None
    return int(length + 0.5)
