"""Times functions side by side."""

import time
from collections.abc import Callable


def measure(functions: list[Callable[[], None]], repeats: int) -> list[list[tuple[float, float]]]:
    """Return the seconds of clock and of CPU time that each function took each time, called in turns."""
    times: list[list[tuple[float, float]]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for own, function in zip(times, functions, strict=True):
            clock, cpu = time.perf_counter(), time.process_time()
            function()
            if repeat:  # the first round fills the page cache
                own.append((time.perf_counter() - clock, time.process_time() - cpu))
    return times
