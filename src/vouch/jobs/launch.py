"""The launcher contract: `$cmd [options] JOB=1:N log-file command ...` runs a command N times.

The launcher decides where: `utils/run.py` on this machine, others on a cluster.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.lifetime import end_with_this

SECONDS_BETWEEN_LOOKS = 5.0
_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def launch(
    cmd: str,
    jobs: int,
    log_dir: Path,
    stem: str,
    command: Sequence[str],
    look: Callable[[Sequence[Path]], None] = lambda logs: None,
) -> None:
    """Run `command --job NUMBER/jobs` for each number from 1 to `jobs` through a launcher and wait for all.

    Parameters
    ----------
    cmd : str
        Launcher and its options, such as "utils/run.py --max-jobs-run 2".
    jobs : int
        How many.
    log_dir, stem : Path, str
        The log of job 3 is `<log_dir>/<stem>.3.log`; those of earlier runs are removed.
    command : sequence of str
        What to run.
    look : callable
        Called with the logs every few seconds while jobs run.

    Raises
    ------
    VouchError
        The launcher cannot be started, or a job failed: the message has the first error line of the logs and says
        where they are.
    """
    # Launchers replace every occurrence of the name, in any word, by the number: take one that occurs nowhere else.
    name = "JOB"
    while any(name in word for word in (str(log_dir), stem, *command)):
        name += "X"
    log = f"{log_dir}/{stem}.{name}.log"
    words = [quote_for_launcher(word) for word in (*command, "--job", f"{name}/{jobs}")]
    log_dir.mkdir(parents=True, exist_ok=True)
    logs = [Path(log.replace(name, str(number))) for number in range(1, jobs + 1)]
    for old in logs:
        # What another run reached, or died of, is not to be told as this one's.
        old.unlink(missing_ok=True)
    status = _run_launcher(cmd, [f"{name}=1:{jobs}", log, *words], lambda: look(logs))
    if status:
        raise VouchError(f"'{cmd}' failed with status {status}: {_first_error(logs)}; logs: {log}")


def _run_launcher(cmd: str, words: Sequence[str], look: Callable[[], None]) -> int:
    try:
        # Killed with no chance to stop the launcher, this process would leave jobs behind that lock its outputs.
        launcher = subprocess.Popen([*(shlex.split(cmd) or [""]), *words], preexec_fn=end_with_this(signal.SIGTERM))
    except (OSError, ValueError) as error:
        raise VouchError(f"the launcher '{cmd}' cannot be started: {error}") from None
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return launcher.wait(SECONDS_BETWEEN_LOOKS)
            look()
    except BaseException:
        # A launcher that is asked to stop takes its jobs with it; one that is killed leaves those of a cluster behind.
        launcher.terminate()
        launcher.wait()
        raise


def quote_for_launcher(word: str) -> str:
    """Quote one word of a command for a launcher that joins words and gives them to bash.

    Such launchers quote a word themselves when it holds blanks, and pass it to the shell as it is otherwise. Bash's
    `$'...'` form survives both, since blanks are written as `\\x20` in it.

    Examples
    --------
    >>> quote_for_launcher("it's here")
    "$'it\\\\x27s\\\\x20here'"
    """
    if _SAFE.fullmatch(word):
        return word
    return "$'" + "".join(c if _SAFE.fullmatch(c) else _escape(c) for c in word) + "'"


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def _first_error(logs: Sequence[Path]) -> str:
    for log in logs:
        if log.exists():
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                if ": error: " in line:
                    return line.split(": error: ", 1)[1]
    return "no message"
