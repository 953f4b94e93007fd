"""Measures the samples of every recording of a data directory once, in several threads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from vouch.audio.reading import read_channels
from vouch.base.errors import VouchError
from vouch.base.files import lock_file, open_own
from vouch.base.rxfilename import parse_place
from vouch.kaldi.datadirs.datadir import DataDir, Segment, sample_bounds

# A sample counts as clipped from this magnitude on; the highest 16-bit value is 32767 / 32768.
FULL_SCALE = 0.9999
DIGEST_BYTES = 16
# Plausible sampling rates in Hz; any other number means a damaged header.
RATES = range(1000, 1_000_000)


@dataclass(frozen=True)
class Piece:
    """Measurements of one utterance.

    Attributes
    ----------
    frames : int
        Samples of each channel.
    peak : float
        Largest magnitude.
    clipped : float
        Share of samples at full scale.
    digest : str
        Digest of all samples; equal audio has equal digests.
    """

    frames: int
    peak: float
    clipped: float
    digest: str


@dataclass(frozen=True)
class Facts:
    """Measurements of one recording.

    Attributes
    ----------
    source : str
        Fingerprint of the file and of the segments cut out of it.
    problem : str
        Reason why it could not be read; empty if it could.
    rate, channels, frames : int
        Sampling rate in Hz, number of channels, samples of each channel.
    not_finite : int
        Number of samples that are NaN or infinite.
    pieces : dict of str to Piece
        Measurements by utterance, except for segments outside of the recording.
    """

    source: str
    problem: str = ""
    rate: int = 0
    channels: int = 0
    frames: int = 0
    not_finite: int = 0
    pieces: dict[str, Piece] = field(default_factory=dict)


def examine_recording(rxfilename: str, segments: Mapping[str, Segment], source: str = "") -> Facts:
    """Read a recording and measure the utterances cut out of it; an error while reading becomes `problem`."""
    try:
        samples, rate = read_channels(rxfilename)
    except VouchError as error:
        return Facts(source, problem=str(error))
    if not len(samples):
        return Facts(source, problem=f"{rxfilename}: no samples")
    if rate not in RATES:
        return Facts(source, problem=f"{rxfilename}: its header says {rate} samples a second")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    not_finite = samples.size - _finite(samples).size
    pieces = {}
    for utterance, segment in segments.items():
        first, last = sample_bounds(segment, rate)
        if first < len(samples):
            pieces[utterance] = _measure(samples[first:last])
    return Facts(source, "", rate, channels, len(samples), not_finite, pieces)


def _finite(samples: np.ndarray) -> np.ndarray:
    """Return the samples that are neither NaN nor infinite, usually all of them."""
    with np.errstate(invalid="ignore"):
        # Tested in one pass: the sum is NaN or infinite when any sample is.
        return samples if np.isfinite(samples.sum(dtype=np.float64)) else samples[np.isfinite(samples)]


def _measure(samples: np.ndarray) -> Piece:
    finite = _finite(samples)
    peak = float(max(finite.max(), -finite.min())) if finite.size else 0.0
    clipped = int(np.count_nonzero(np.abs(finite) >= FULL_SCALE)) if peak >= FULL_SCALE else 0
    digest = hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=DIGEST_BYTES).hexdigest()
    return Piece(len(samples), peak, clipped / samples.size, digest)


def _fingerprint(rxfilename: str, segments: Mapping[str, Segment]) -> str:
    """Return a text that changes with the file or the segments; for a command it depends on the command only."""
    path = rxfilename
    with contextlib.suppress(VouchError):
        path = parse_place(rxfilename).name
    try:
        status = os.stat(path)
        state = (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        state = (0, 0)
    described = repr((rxfilename, state, [(utterance, *segment) for utterance, segment in segments.items()]))
    return hashlib.blake2b(described.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()


def examine_audio(
    data: DataDir, record: Path, threads: int, progress: Callable[[int], object] = lambda count: None
) -> dict[str, Facts]:
    """Examine all recordings of a data directory; an interrupted run can be continued.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    record : Path
        File to which a line is added for each recording. Recordings in it are not examined again unless their audio
        file has changed. The caller removes it in the end.
    threads : int
        Number of recordings that are examined at the same time.
    progress : callable
        Called, by any thread, with the number of recordings just finished.

    Returns
    -------
    dict of str to Facts
        Measurements by recording, in the order of wav.scp.

    Raises
    ------
    VouchError
        Another process is writing the same record.
    """
    wanted: dict[str, dict[str, Segment]] = {recording: {} for recording in data.wav_scp}
    for utterance, segment in data.segments.items():
        wanted[segment.recording][utterance] = segment
    with _open_record(record) as (file, known):
        done: dict[str, Facts] = {}
        lock, stop = threading.Lock(), threading.Event()
        waiting = iter(data.wav_scp.items())

        def work() -> None:
            while not stop.is_set():
                with lock:
                    recording, rxfilename = next(waiting, (None, ""))
                if recording is None:
                    return
                source = _fingerprint(rxfilename, wanted[recording])
                facts = known.get(recording)
                is_new = facts is None or facts.source != source
                if facts is None or is_new:
                    facts = examine_recording(rxfilename, wanted[recording], source)
                with lock:
                    done[recording] = facts
                    if is_new:
                        file.write(json.dumps([recording, asdict(facts)]).encode() + b"\n")
                        file.flush()
                    progress(1)

        with ThreadPoolExecutor(threads) as pool:
            running = [pool.submit(work) for _ in range(threads)]
            try:
                for worker in running:
                    worker.result()
            finally:
                stop.set()
    return {recording: done[recording] for recording in data.wav_scp}


@contextlib.contextmanager
def _open_record(path: Path) -> Iterator[tuple[IO[bytes], dict[str, Facts]]]:
    """Open a record for appending, after removing an unfinished last line; also return its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", opener=open_own) as file:
        lock_file(file, f"{path}: another process is examining this directory; wait for it or stop it")
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
        lines = enumerate(content[:whole].splitlines(), start=1)
        yield file, dict(_parse_line(line, f"{path}:{number}") for number, line in lines)


def _parse_line(line: bytes, where: str) -> tuple[str, Facts]:
    try:
        recording, facts = json.loads(line)
        pieces = {utterance: Piece(**piece) for utterance, piece in facts.pop("pieces").items()}
        return recording, Facts(**facts, pieces=pieces)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise VouchError(f"{where}: not the record of an interrupted run; remove the file") from None
