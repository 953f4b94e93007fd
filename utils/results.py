#!/usr/bin/env python3
"""Print one table of the results of several experiments.

    utils/results.py egs/voxceleb/exp
    utils/results.py exp/ecapa exp/resnet --format markdown

Each argument is an experiment, a folder with results/*.json as stage 7 writes them, or a folder of experiments.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "utils")]

from command_line import Parser, run_main
from vouch.errors import VouchError
from vouch.report import Result, read_results
from vouch.result_table import format_markdown, format_text, table_rows


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, nargs="+", help="experiment, or folder of experiments")
    parser.add_argument("--format", choices=["text", "markdown", "json"], default="text", help="of the table")
    options = parser.parse_args()
    found = [entry for path in options.exp for entry in results_of(path)]
    table = table_rows([result for _, result in found], every_figure=True)
    rows = [(name, *row) for name, row in zip(["experiment", *(name for name, _ in found)], table, strict=True)]
    if options.format == "json":
        # The same cells as in the other formats; every digit is in the experiments' own files.
        print(json.dumps([dict(zip(rows[0], row, strict=True)) for row in rows[1:]], indent=2, ensure_ascii=False))
    else:
        print({"text": format_text, "markdown": format_markdown}[options.format](rows), end="")


def results_of(path: Path) -> list[tuple[str, Result]]:
    """Return the name of the experiment and the result, for all results below a folder."""
    if not path.is_dir():
        raise VouchError(f"{path}: no such folder")
    folders = [path] if (path / "results").is_dir() else sorted(path.glob("*/"))
    found = [(f.resolve().name, result) for f in folders for result in read_results(f / "results").values()]
    if not found:
        raise VouchError(f"{path}: neither it nor a folder in it has results/*.json; run stage 7")
    return found


if __name__ == "__main__":
    run_main(main)
