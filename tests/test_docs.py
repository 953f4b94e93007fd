"""The commands of README and docs/ do what the pages say.

A comment before a block of commands says how it is tested. `<!-- run -->`: as printed, in a copy of the project with
the demo corpus walked at a tiny size; each page in a copy of its own. `<!-- check -->`: it needs a download, hours or
data of the reader's; `run.sh` takes it with --dry-run, and scripts know the options. `<!-- not run: why -->`: neither.
`<!-- file: PATH -->` and `<!-- lines: PATH -->` stand before what the reader writes into files.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from recipe import copy_project, environment, replace_training, run

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path.read_text() for path in (*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/*.md")))}
_BLOCK = re.compile(r"(?:^<!-- ([a-z ]+?)(?:: (.+?))? -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: how it is tested, the path or reason beside that, its language and its text."""

    mark: str
    about: str
    language: str
    text: str


def blocks(page, *marks):
    found = (Block(*(part or "" for part in match.groups())) for match in _BLOCK.finditer(PAGES[page]))
    return [block for block in found if not marks or block.mark in marks]


def lines(block):
    """The commands of a block, without comments and with continued lines as one."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


RUN = [page for page in PAGES if blocks(page, "run")]
CHECKED = [page for page in PAGES if blocks(page, "check")]


def test_every_block_of_commands_says_how_it_is_tested():
    for page in PAGES:
        for block in blocks(page):
            expected = {
                "sh": ("run", "check", "not run"),
                "python": ("file", "lines"),
                "bash": ("file",),
                "yaml": ("file", ""),
            }
            assert block.mark in expected.get(block.language, ("",)), f"{page}: {block}"
            assert block.about or block.mark in ("run", "check", ""), f"{page}: why is it not run? {block}"
    assert len(RUN) > 5 and len(CHECKED) > 5


def shrink(clone):
    """Make the recipes and the demo corpus of a copy tiny."""
    train = {"epochs": 1, "batch_size": 8, "crop_seconds": 0.8, "valid_interval": 1}
    xvector = {"name": "xvector", "channels": [8, 8, 8, 8, 16], "embedding_dim": 20}
    tiny = {"demo": xvector, "folders": {"name": "resnetse34l", "channels": [8, 8, 8, 8], "embedding_dim": 8}}
    for recipe, model in tiny.items():
        path = clone / f"conf/recipes/{recipe}.yaml"
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**content, "model": model, "train": {**content["train"], **train}}))
    with open(clone / "egs/demo/corpus.sh", "a") as file:
        file.write("prepare_values=(--speakers 8,3,4 --sessions 2 --utterances 2)\n")
    return clone


def write(clone, block):
    """Do what the reader does with a block that belongs into a file."""
    path = clone / block.about
    if block.mark == "file":
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
        return
    imported, entry = block.text.splitlines()
    text = path.read_text()
    package = imported.split()[1].rpartition(".")[0]
    assert text.count(f"\nfrom {package}.") and len(re.findall(r"^[A-Z]+: dict.* = \{$", text, re.MULTILINE)) == 1
    text = text.replace(f"\nfrom {package}.", f"\n{imported}\nfrom {package}.", 1)
    path.write_text(re.sub(r"^([A-Z]+: dict.* = \{)$", rf"\1\n{entry}", text, count=1, flags=re.MULTILINE))


def follow(clone, page):
    """Write the files of a page and run its commands, in one shell."""
    for block in blocks(page, "file", "lines"):
        write(clone, block)
    script = "\n".join(["set -eu", *(block.text for block in blocks(page, "run"))])
    return subprocess.run(
        ["bash", "-c", script], cwd=clone, env=environment(fresh=False), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """How the commands of each page ended: those of README first, whose demo corpus is there for the others."""
    folder = tmp_path_factory.mktemp("docs")
    walked = shrink(copy_project(folder / "walked"))
    done = {"README.md": follow(walked, "README.md")}
    assert done["README.md"].returncode == 0, done["README.md"].stdout + done["README.md"].stderr
    pages = [page for page in RUN if page not in done]
    with ThreadPoolExecutor(2) as pool:
        copies = {page: folder / page.removesuffix(".md") for page in pages}
        for copy in copies.values():
            shutil.copytree(walked, copy, symlinks=True)
        done |= dict(zip(pages, pool.map(follow, copies.values(), pages), strict=True))
    return done


@pytest.mark.parametrize("page", RUN)
def test_commands_run_as_printed(followed, page):
    done = followed[page]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A copy with a corpus made by hand, in which stage 3 only says its name."""
    clone = replace_training(copy_project(tmp_path_factory.mktemp("quick") / "vouch"))
    (clone / "egs/mine/data/valid").mkdir(parents=True)
    return clone


def check(words, quick, scripts):
    """Fail unless a command exists and takes these options."""
    program = words[0]
    if program == "./run.sh":
        done = run(quick, *words[1:], *([] if "--help" in words else ["--dry-run"]))
        for line in done.stdout.splitlines():
            if line.startswith(" steps/train.py"):
                told = scripts.run("steps/train.py", *shlex.split(line)[1:], "--print-name", cwd=ROOT)
                assert told.returncode == 0, told.stderr
    elif program.startswith(("steps/", "utils/", "local/")):
        if "--help" in words:
            assert scripts.run(*words, cwd=ROOT).returncode == 0
            return
        told = scripts.run(program, "--help", cwd=ROOT)
        assert told.returncode == 0, told.stderr
        missing = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", told.stdout)]
        assert not missing, f"{program} has no {missing}"
    elif words[:2] == ["python3", "-m"]:
        assert words[2] == "pytest" and all((ROOT / word).exists() for word in words[3:] if not word.startswith("-"))
    elif program == "python3":
        text = (ROOT / words[1]).read_text()
        assert all(f'"{word}"' in text for word in words[2:] if word.startswith("--")), words
    elif not re.fullmatch(r"\w+=\S+", program):
        assert words == [".", "./path.sh"], f"a check of '{program}' has to be written"


@pytest.mark.parametrize("page", CHECKED)
def test_commands_that_are_not_run_have_options_that_exist(page, quick, scripts):
    for block in blocks(page, "check"):
        for words in lines(block):
            check(words, quick, scripts)
