"""Applies a function to many items in several processes."""

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
CHUNK = 4  # items that are sent to a process at a time


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], processes: int, what: str) -> Iterator[Result]:
    """Yield the result of `work` for each item, in order, and show a progress bar named `what`.

    The worker processes end when this process ends for any reason, or when the caller stops early.

    Parameters
    ----------
    work : callable
        Function that can be sent to other processes: a function of a module, or a `functools.partial` of one.
    items : sequence of Item
        Its arguments, one per call.
    processes : int
        Number of processes.
    what : str
        Name of the items, for the progress bar and for messages.

    Raises
    ------
    VouchError
        A process was killed, as the system does when memory is short.
    """
    pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(os.getpid(),))
    try:
        # pool.map is not used: it cancels the remaining futures when a process is killed, while the pool sets the error
        # on the same futures; a pool that finds a future cancelled meanwhile never ends its other processes.
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
        # Otherwise the items that the processes are working on would be awaited.
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent gets it too, and decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not end_with(parent, signal.SIGKILL)():
        os._exit(1)
