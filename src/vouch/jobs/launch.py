"""Runs a command N times through a launcher: `$cmd [options] JOB=1:N log-file command ...`.

The launcher decides where the jobs run: `utils/run.py` on this machine, others on a cluster.
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
    """Run `command --job NUMBER/jobs` for each number from 1 to `jobs` through a launcher and wait for all of them.

    Parameters
    ----------
    cmd : str
        Launcher and its options, such as "utils/run.py --max-jobs-run 2".
    jobs : int
        Number of jobs.
    log_dir, stem : Path, str
        The log of job 3 is `<log_dir>/<stem>.3.log`; those of earlier runs are removed.
    command : sequence of str
        The command and its arguments.
    look : callable
        Called with the logs every few seconds while the jobs run.

    Raises
    ------
    VouchError
        The launcher cannot be started, or a job failed; the message has the first error line of the logs and their
        paths.
    """
    # Launchers replace every occurrence of the name in every word by the job number, so it must not occur elsewhere.
    name = "JOB"
    while any(name in word for word in (str(log_dir), stem, *command)):
        name += "X"
    log = f"{log_dir}/{stem}.{name}.log"
    words = [quote_for_launcher(word) for word in (*command, "--job", f"{name}/{jobs}")]
    log_dir.mkdir(parents=True, exist_ok=True)
    logs = [Path(log.replace(name, str(number))) for number in range(1, jobs + 1)]
    for old in logs:
        # The logs of an earlier run would be reported as progress and errors of this one.
        old.unlink(missing_ok=True)
    status = _run_launcher(cmd, [f"{name}=1:{jobs}", log, *words], lambda: look(logs))
    if status:
        raise VouchError(f"'{cmd}' failed with status {status}: {_first_error(logs)}; logs: {log}")


def _run_launcher(cmd: str, words: Sequence[str], look: Callable[[], None]) -> int:
    try:
        # Without this signal, killing this process would leave jobs behind that lock its outputs.
        launcher = subprocess.Popen([*(shlex.split(cmd) or [""]), *words], preexec_fn=end_with_this(signal.SIGTERM))
    except (OSError, ValueError) as error:
        raise VouchError(f"the launcher '{cmd}' cannot be started: {error}") from None
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return launcher.wait(SECONDS_BETWEEN_LOOKS)
            look()
    except BaseException:
        # A launcher that gets SIGTERM stops its jobs; one that is killed leaves jobs on the cluster behind.
        launcher.terminate()
        launcher.wait()
        raise


def quote_for_launcher(word: str) -> str:
    """Quote one word of a command for a launcher that joins words and passes them to bash.

    Such launchers quote a word themselves only if it has blanks. Bash's `$'...'` form survives both cases, since blanks
    are written as `\\x20` in it.

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
