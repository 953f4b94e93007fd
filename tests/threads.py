"""Reads a store of waveforms from several threads at once."""

import threading

import numpy as np


def wrong_crops(store, wholes, cut):
    """Return the random crops, cut by four threads, that are not those of the whole recordings, repeated."""
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            index, first = int(rng.integers(len(store))), int(rng.integers(3000))
            expected = np.take(wholes[index], np.arange(first, first + 150), mode="wrap")
            if not np.array_equal(cut(store, index, first, 150), expected):
                wrong.append((seed, index, first))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong
