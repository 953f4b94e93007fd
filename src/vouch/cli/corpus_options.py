"""Options shared by the adapters of all published corpora."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser


def parse_common(parser: Parser, url: str | None) -> Namespace:
    """Add `data`, `--root`, `--url` and `--nj` to the options of an adapter, and parse the command line.

    Parameters
    ----------
    parser : Parser
        Parser with the other options.
    url : str or None
        Address of the corpus, in which {name} stands for a file; None if another option determines it.

    Returns
    -------
    Namespace
        The parsed options, with an absolute `root`.

    Raises
    ------
    VouchError
        `--nj` is less than 1.
    """
    parser.add_argument("data", type=Path, help="folder for the sets; those that an earlier run made are replaced")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the corpus (default: the data folder)")
    parser.add_argument("--url", default=url, metavar="URL", help="where to download from; {name} stands for the file")
    parser.add_argument("--nj", type=int, default=os.cpu_count(), help="files looked at in parallel")
    options = parser.parse_args()
    if options.nj < 1:
        raise VouchError(f"--nj {options.nj}: must be at least 1")
    options.root = Path(os.path.abspath(options.root or options.data))
    return options
