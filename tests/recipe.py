"""The project as a fresh clone has it, and run.sh in it as its users run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from quickpython import quick_python

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("conf", "egs", "local", "src", "steps", "utils", "path.sh", "run.sh", "requirements.txt")


def copy_project(target: Path) -> Path:
    """Copy the project without anything generated."""
    ignore = shutil.ignore_patterns("__pycache__", "data", "exp")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, target / part)
    return target


# What stage 3 says of augmentations: see the test of its --print-name.
AUGMENTATIONS = {
    "none": "none plain 16000",
    "noise": "offline plain 16000 music noise speech",
    "masked": "offline masks 16000 music noise speech",
    "kaldi": "offline plain 16000 music noise room speech",
    "pyannote": "online plain 16000 music noise",
    "hyperion": "online masks 16000 music noise room speech",
    "voxceleb_trainer": "online plain 16000 music noise room speech",
    "wespeaker": "online plain 16000 music noise room speech",
}


def replace_training(clone: Path) -> Path:
    """Put a program in the place of stage 3 that only says, at once, what run.sh asks it before all stages."""
    script = clone / "steps/train.py"
    script.write_text(
        "#!/bin/sh\n"
        'case "$*" in *sinctdnn*) echo sinctdnn_aamsoftmax waveform ;; *) echo xvector_aamsoftmax features ;; esac\n'
        'case "$*" in\n'
        + "".join(f"*augment/{name}.yaml*) echo {line} ;;\n" for name, line in AUGMENTATIONS.items())
        + "esac\n"
    )
    return clone


def environment(fresh: bool = True) -> dict[str, str]:
    """The environment that runs the tests has the packages: a clone must use it and not make one of its own.

    Unless each script is to have a fresh Python, they are run by the one of `quickpython`.
    """
    folders = [Path(sys.executable).parent, os.environ["PATH"]]
    if not fresh and (quick := quick_python()):
        folders.insert(0, quick)
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": ":".join(map(str, folders))}


def run(
    clone: Path, *options: str, cwd: Path | None = None, status: int = 0, fresh: bool = False
) -> subprocess.CompletedProcess:
    """Run its run.sh, there or from another folder, and check the exit status."""
    done = subprocess.run(
        [str(clone / "run.sh") if cwd else "./run.sh", *options],
        cwd=cwd or clone,
        env=environment(fresh),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
