#!/usr/bin/env python3
"""Print one table of the results of several experiments.

    utils/results.py egs/voxceleb/exp
    utils/results.py exp/ecapa exp/resnet --format markdown

Each argument is an experiment, a folder with results/*.json from stage 7, or a folder of experiments. Results of
run.sh --protocol NAME are in results_NAME/*.json there. --format json prints all digits, and null for figures that an
experiment lacks.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.evaluation.result import Result
from vouch.evaluation.result_file import read_results
from vouch.evaluation.table import format_markdown, format_text, notes_of, table_records, table_rows


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("exp", type=Path, nargs="+", help="experiment, or folder of experiments")
    parser.add_argument("--format", choices=["text", "markdown", "json"], default="text", help="format of the table")
    options = parser.parse_args()
    found = [entry for path in options.exp for entry in results_of(path)]
    results = [entry.result for entry in found]
    if options.format == "json":
        records = [
            {"experiment": entry.experiment, "protocol": entry.protocol, **record}
            for entry, record in zip(found, table_records(results), strict=True)
        ]
        print(json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False))
        return
    heading, *table = table_rows(results, every_figure=True)
    rows = [("experiment", heading[0], "protocol", *heading[1:])]
    rows += [(entry.experiment, row[0], entry.protocol, *row[1:]) for entry, row in zip(found, table, strict=True)]
    print({"text": format_text, "markdown": format_markdown}[options.format](rows), end="")
    named = [replace(entry.result, system=f"{entry.experiment}, {entry.result.system}", groups=()) for entry in found]
    for number, note in enumerate(notes_of(named, every_figure=True)):
        # Markdown needs a blank line between the table and the list of notes.
        print(note if options.format == "text" else f"{'' if number else chr(10)}- {note.replace('*', chr(92) + '*')}")


class Found(NamedTuple):
    """A result, with the names of its experiment and protocol."""

    experiment: str
    protocol: str
    result: Result


def results_of(path: Path) -> list[Found]:
    """Return all results below a folder."""
    if not path.is_dir():
        raise VouchError(f"{path}: no such folder")
    children = [child for child in sorted(path.iterdir()) if child.is_dir()]
    # A folder of experiments may contain one named results_something; an experiment contains no experiments.
    experiments = [child for child in children if result_folders(child)] or [path]
    found = [
        Found(experiment.resolve().name, protocol, result)
        for experiment in experiments
        for protocol, folder in result_folders(experiment)
        for result in read_results(folder).values()
    ]
    if not found:
        raise VouchError(f"{path}: neither it nor a folder in it has results/*.json; run stage 7")
    return found


def result_folders(experiment: Path) -> list[tuple[str, Path]]:
    """Return the protocols and their folders of results, with the default protocol first."""
    folders = [("default", experiment / "results")]
    folders += [(folder.name.removeprefix("results_"), folder) for folder in sorted(experiment.glob("results_*"))]
    return [(protocol, folder) for protocol, folder in folders if folder.is_dir() and any(folder.glob("*.json"))]


if __name__ == "__main__":
    run_main(main)
