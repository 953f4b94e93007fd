"""Whoever follows one crop from feats.scp into memory turns few pages."""

import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import vouch
from vouch.base.errors import attempt
from vouch.base.rxfilename import parse_rxfilename
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import read_table
from vouch.stores.waves import open_store

LIBRARY = Path(vouch.__file__).parent
# A stay is what is read in one module before going on to another one, or back to that which called.
MOST_STAYS, MOST_ROOMS, MOST_MODULES = 20, 8, 8


def follow(work):
    """Modules of the library in the order in which they run, those that are returned to again."""
    modules, callers = [], []

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event not in ("call", "return") or not path.is_relative_to(LIBRARY):
            return
        if event == "call":
            callers.append(path.relative_to(LIBRARY))
        else:
            callers.pop()
        modules.extend(callers[-1:])

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return [module for module, _ in groupby(modules)]


@pytest.mark.parametrize("kind", ["none", "8bit"])
def test_the_way_of_a_crop_is_short(tmp_path, kind):
    """From opening the store of a data directory, as training does, to one crop, which maps the archive."""
    matrix = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    with open_ark(tmp_path / "feats.ark", tmp_path / "feats.scp", kind) as writer:
        writer.write("s0-0", matrix)
    (tmp_path / "utt2spk").write_text("s0-0 s0\n")
    out = np.empty((200, 20), np.float32)

    def work():
        _, store = open_store(tmp_path, None)
        store.crop(0, 30, out)

    work()  # what is imported, or computed once, is not on the way of each crop
    out[:] = np.nan
    stays = follow(work)
    np.testing.assert_allclose(out, matrix[30:230], atol=0.1 if kind == "8bit" else 0)
    assert len(stays) <= MOST_STAYS, " -> ".join(map(str, stays))
    assert len(set(stays)) <= MOST_MODULES and len({module.parent for module in stays}) <= MOST_ROOMS
    # It has been followed all the way: from where the store is opened to where numbers are copied, and back.
    ends = [Path("stores/waves.py"), Path("stores/features.py")]
    assert [stays[0], stays[-1]] == ends and Path("kaldi/matrices/layout.py") in stays


def test_following_counts_the_way_back(tmp_path):
    (tmp_path / "x.scp").write_text("a b\n")
    assert follow(lambda: read_table(tmp_path / "x.scp")) == [Path("kaldi/tables.py")]
    ways = follow(lambda: attempt(parse_rxfilename, "x.ark:5"))
    assert ways == [Path("base/errors.py"), Path("base/rxfilename.py"), Path("base/errors.py")]
