"""The command `vouch`, which pip installs: the scripts that need no checkout, as subcommands.

    vouch verify a.wav b.wav --model final.pt

does the same as `steps/verify.py a.wav b.wav --model final.pt` in a checkout, with the same code.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

from vouch.cli.startup import guard_imports


class Command(NamedTuple):
    """A subcommand: the module whose `main` it runs, the script in a checkout that does the same, its purpose."""

    module: str
    script: str
    purpose: str


COMMANDS = {
    "embed": Command("vouch.cli.embed", "steps/extract_embeddings.py", "embeddings of many recordings"),
    "verify": Command("vouch.cli.verify", "steps/verify.py", "whether two recordings are of the same speaker"),
    "score": Command("vouch.cli.score", "steps/score_trials.py", "scores of the trials of a list"),
    "metrics": Command("vouch.cli.metrics", "steps/compute_metrics.py", "EER, minDCF and pictures of scores"),
    "validate-data-dir": Command(
        "vouch.cli.validate_data_dir", "utils/validate_data_dir.py", "what is wrong with a data directory"
    ),
    "copy-feats": Command(
        "vouch.cli.copy_feats", "utils/copy_feats.py", "matrices from one of Kaldi's forms to another"
    ),
    "model-info": Command("vouch.cli.model_info", "utils/model_info.py", "size, cost and context of a network"),
}


def usage() -> str:
    """Return the text of `vouch --help`."""
    lines = [f"  {name:<18} {command.purpose} ({command.script})" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: vouch COMMAND ...        vouch COMMAND --help lists the options of one",
            "",
            *lines,
            "",
            "In brackets the script that is the same in a checkout; the other stages, and training, need one.",
        ]
    )


def own_command() -> tuple[str, list[str]]:
    """Return a short name of the running program, and the words that start it again, without options."""
    script = Path(sys.argv[0])
    command = script.name.rpartition(" ")[2]
    if command in COMMANDS and not script.exists():
        return command, [sys.executable, "-m", "vouch.cli.entry", command]
    return script.stem, [sys.executable, str(script.resolve())]


def main() -> NoReturn:
    """Run the subcommand that the first word names."""
    guard_imports("__main__")
    from vouch.base.errors import nearest
    from vouch.cli.parser import run_main

    words = sys.argv[1:]
    if words and words[0] in ("-h", "--help"):
        run_main(lambda: print(usage()))
    if not words or words[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        problem = f"unknown command '{words[0]}'{nearest(words[0], COMMANDS)}" if words else "needs a command"
        print(f"vouch: error: {problem}; there are {known}", file=sys.stderr)
        sys.exit(2)
    # Messages begin with the program's name, which is taken from here.
    sys.argv = [str(Path(sys.argv[0]).with_name(f"vouch {words[0]}")), *words[1:]]
    run_main(import_module(COMMANDS[words[0]].module).main)


if __name__ == "__main__":
    main()
