"""Work on many items by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from vouch.base.errors import VouchError
from vouch.base.lifetime import end_with

Item = TypeVar("Item")
Result = TypeVar("Result")
CHUNK = 4  # items that a process is sent at a time


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], processes: int, what: str) -> Iterator[Result]:
    """Yield what `work` makes of each item, in order, with a progress bar named `what`.

    The processes end with this one, however it ends, and when the caller stops early.

    Parameters
    ----------
    work : callable
        A function that other processes can be sent: of a module, or a `functools.partial` of one.
    items : sequence of Item
        What it is called with, one after the other.
    processes : int
        How many work at a time.
    what : str
        The items' name, for the progress bar and for messages.

    Raises
    ------
    VouchError
        A process was killed, as the system does when memory is short.
    """
    pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(os.getpid(),))
    try:
        # Not pool.map: it cancels what is left when a process is killed, while the pool tells the same futures of it,
        # and a pool that meets a future cancelled under its hands lets its other processes live for ever.
        parts = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
        futures = deque(pool.submit(_each, work, part) for part in parts)
        with tqdm(total=len(items), unit="file", desc=what, mininterval=1.0, disable=None) as bar:
            while futures:
                for result in futures.popleft().result():
                    bar.update()
                    yield result
    except BrokenProcessPool:
        raise VouchError(
            f"{what}: one of {processes} processes was killed, as the system does when memory is short; fewer"
            f" (--nj {max(1, processes // 2)}) need less"
        ) from None
    except BaseException:
        # What they are at would be waited for otherwise.
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent gets it too and decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not end_with(parent, signal.SIGKILL)():
        os._exit(1)
