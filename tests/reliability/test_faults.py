"""Calls of the operating system that fail: one line that says so, nothing lost, and the same command finishes."""

import errno
import os

import numpy as np
import pytest
from counts import count, seed
from pipeline import STAGES, TRIED

KINDS = {
    "open": (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM),
    "read": (errno.EIO, errno.ESTALE),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "sync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EBUSY, errno.EIO, errno.ENOSPC),
}
FAULTS = count(1, 228 // len(TRIED) + 1)


def count_calls(pipeline, number, kind, path):
    """Return how many calls of a kind a stage makes on files of its folder."""
    pipeline.restore(number)
    path.unlink(missing_ok=True)
    pipeline.start(number, VOUCH_FAULT=f"{kind} 0 0 {pipeline.work}", VOUCH_FAULT_COUNT=str(path)).wait()
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("number", TRIED, ids=[STAGES[number].name for number in TRIED])
def test_a_stage_whose_disk_fails(pipeline, fault_library, tmp_path, number):
    if fault_library is None:
        pytest.skip("needs a C compiler and Linux")
    rng = np.random.default_rng((seed(), number))
    kinds = list(KINDS)
    rng.shuffle(kinds)
    for fault in range(FAULTS):
        kind = kinds[fault % len(kinds)]
        calls = count_calls(pipeline, number, kind, tmp_path / "count")
        if not calls:
            continue
        at, code = int(rng.integers(1, calls + 1)), int(rng.choice(KINDS[kind]))
        pipeline.restore(number)
        done = pipeline.start(number, VOUCH_FAULT=f"{kind} {at} {code} {pipeline.work}").wait()
        what = f"{STAGES[number].name}, {kind} {at} of {calls} with {errno.errorcode[code]}: {done}"
        check_words(done, code, what)
        # What a stage can do without, a recording or a table beside the trials, is passed over with a word.
        said = os.strerror(code) in done.stdout + done.stderr or "left out" in done.stderr
        if done.returncode or not said:
            pipeline.check_nothing_half_made(number)
        pipeline.finish(number)


def check_words(done, code, what):
    """Check that a script failed with one line that names a file, or passed over what it can do without.

    libsndfile keeps what the system said of a recording to itself.
    """
    assert "Traceback" not in done.stdout + done.stderr, what
    assert "b'" not in done.stderr, what
    if done.returncode == 0:
        return
    errors = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert done.returncode == 1 and len(errors) == 1, what
    words = errors[0].partition(": error: ")[2]
    assert "/" in words or ".yaml: " in words, what
    assert os.strerror(code) in words or "not readable as audio" in words, what
