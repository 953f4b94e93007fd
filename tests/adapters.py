"""Running adapters in this process, and small recordings for them."""

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from vouch.base.errors import VouchError
from vouch.cli.messages import reports_shown


class Done(NamedTuple):
    output: str
    warnings: list
    error: str


def run(module, *words):
    """Run an adapter's `main` as its script would be run."""
    output, messages, error = io.StringIO(), io.StringIO(), ""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(messages):
        patch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, words)])
        try:
            with reports_shown():
                module.main()
        except VouchError as refusal:
            error = str(refusal)
        except SystemExit:
            error = messages.getvalue()
    warnings = re.findall(r"\w+\.py: warning: (.*)\n", messages.getvalue())
    return Done(output.getvalue(), warnings, error)


def prepare(module, *words):
    done = run(module, *words)
    assert not done.error, done.error
    return done


def refusal(module, *words):
    """The one line that an adapter refuses with."""
    done = run(module, *words)
    assert done.error and "\n" not in done.error.strip()
    return done.error


def sound(path, seconds=0.05, channels=1):
    """Write a recording; its samples depend on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(list(path.name.encode())).standard_normal((int(seconds * 16000), channels))
    with open(path, "wb") as file:
        soundfile.write(file, samples, 16000, format=path.suffix[1:].upper(), subtype="PCM_16")
    return path
