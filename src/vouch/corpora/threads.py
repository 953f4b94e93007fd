"""Applies a function to many items in several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")
# Items that are submitted at a time: each waiting item takes a kilobyte, and a large corpus has a million.
BATCH = 4096


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int, what: str
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the result of `work`, in order, and show a progress bar named `what`.

    If the caller stops early or is interrupted, no further items are begun.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        with tqdm(total=len(items), desc=what, unit="file", mininterval=1.0, disable=None) as progress:
            for start in range(0, len(items), BATCH):
                batch = items[start : start + BATCH]
                for item, result in zip(batch, pool.map(work, batch), strict=True):
                    progress.update()
                    yield item, result
    finally:
        pool.shutdown(cancel_futures=True)
