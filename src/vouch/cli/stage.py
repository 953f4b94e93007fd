"""Shared code of the scripts of heavy stages: device, jobs, progress, and final messages."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from tqdm import tqdm

from vouch.base.errors import VouchError, is_out_of_memory, mishap
from vouch.base.failures import MAX_FAILED, describe_failures
from vouch.cli.entry import own_command
from vouch.cli.parser import Parser
from vouch.jobs.launch import launch
from vouch.jobs.results import Outcome, Work
from vouch.jobs.shards import Shards

# Size in bytes of the largest buffers that are allocated for each utterance or batch, see `keep_freed_memory`; glibc
# does not adapt to larger ones.
KEPT_BYTES = 31 << 20
SECONDS_BETWEEN_LINES = 60.0
LAUNCHER = Path(__file__).resolve().parents[3] / "utils/run.py"
LOG_TAIL = 4096  # bytes at the end of a job's log


def keep_freed_memory() -> None:
    """Make the allocator keep freed memory, which the kernel would otherwise clear at each new allocation.

    glibc derives how much it keeps from the largest block ever freed. Without this, computing features spends as much
    time in the kernel as in arithmetic. With other C libraries this has no effect to rely on.
    """
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


class ProgressBar:
    """Progress bar on a terminal; elsewhere, as in the log of a job, a line on stderr every minute.

    Parameters
    ----------
    unit : str
        Name of the items that are counted.
    total : int, optional
        Number of items, if known.
    done : int
        Number of items that are already done.
    """

    def __init__(self, unit: str, total: int | None = None, done: int = 0) -> None:
        self._bar = tqdm(total=total, initial=done, unit=unit, disable=None)
        self._unit, self._total, self._done = unit, total, done
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bar and leave it on the screen."""
        self._bar.close()

    def is_due(self) -> bool:
        """Return whether there is a bar, or it is time for a line."""
        return not self._bar.disable or time.monotonic() >= self._next_line

    def update(self, count: int) -> None:
        """Add `count` finished items."""
        self._done += count
        self._bar.update(count)
        self._write_line("")

    def show(self, text: str, done: int, total: int) -> None:
        """Show a text and how many of how many items are done."""
        self._done, self._total = done, total
        if not self._bar.disable:
            self._bar.n, self._bar.total = done, total
            self._bar.set_description(text)
        self._write_line(f"{text}, ")

    def write(self, line: str) -> None:
        """Print a line on stdout without disturbing the bar."""
        self._bar.write(line)

    def _write_line(self, text: str) -> None:
        if self._bar.disable and self.is_due():
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            print(f"{text}{self._done} of {self._total} {self._unit} done", file=sys.stderr, flush=True)


class JobProgress:
    """Progress of jobs, as a bar on a terminal or as a line every minute; see `ProgressBar`.

    Parameters
    ----------
    shards : Shards
        Shards that the jobs make.
    jobs : int
        Number of jobs.
    """

    def __init__(self, shards: Shards, jobs: int) -> None:
        self._shards, self._jobs = shards, jobs
        self._bar = ProgressBar("utt", *shards.count())

    def __enter__(self) -> JobProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def look(self, logs: Sequence[Path]) -> None:
        """Show, if it is time, how many jobs and utterances are done.

        Parameters
        ----------
        logs : sequence of Path
            Existing log files of the jobs; each job writes its progress there every minute.
        """
        if not self._bar.is_due():
            return
        counts = [self._shards.count(job, self._jobs) for job in range(1, self._jobs + 1)]
        finished = sum(done == total for total, done in counts)
        done = sum(max(done, min(_last_count(log), total)) for (total, done), log in zip(counts, logs, strict=True))
        self._bar.show(f"{finished} of {self._jobs} jobs done", done, len(self._shards.items))


def _last_count(log: Path) -> int:
    """Return the last number of finished utterances in a job's log; 0 if there is none or it cannot be read here."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL))
        found = re.findall(rb"^(\d+) of \d+ utt done$", file.read(), re.MULTILINE)
        return int(found[-1]) if found else 0
    return 0


@contextlib.contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn an out-of-memory error into a one-line `VouchError` with advice on how to need less."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise VouchError(f"{mishap(error)}; {advice}") from None


def add_job_options(parser: Parser) -> None:
    """Add the options of a script that can be split into jobs."""
    group = parser.add_argument_group("jobs")
    group.add_argument("--nj", type=int, default=1, help="number of jobs")
    group.add_argument("--cmd", default="", help="launcher of the jobs; empty: utils/run.py")
    group.add_argument("--max-failed", type=float, default=MAX_FAILED, help="largest share of utterances that may fail")
    group.add_argument("--job", default="", help=argparse.SUPPRESS)


def add_channel_option(parser: Parser, default: str) -> None:
    """Add the option for recordings with several channels; `vouch.base.channels.parse_channel` reads its value."""
    parser.add_argument(
        "--channel",
        help=f"channel of recordings with several: mean of all, or a number from 0 (default: {default})",
    )


def own_launcher() -> str:
    """Return the launcher that runs jobs on this machine, quoted for a shell."""
    if not LAUNCHER.exists():
        raise VouchError("--nj: utils/run.py, which runs jobs on this machine, is in the checkout only; give --cmd")
    return shlex.quote(str(LAUNCHER))


def run_shards(
    args: argparse.Namespace,
    shards: Shards,
    scp: Path,
    make_work: Callable[[], Work],
    beside: Callable[[Outcome], None] = lambda outcome: None,
    listed_too: Mapping[str, str] = MappingProxyType({}),
    threads: int = 1,
    check: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome | None:
    """Make all shards, in this process or in `args.nj` jobs, and write the table that lists their archives.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed options, including those of `add_job_options`.
    shards : Shards
        The shards to make.
    scp : Path
        Table to write; logs of jobs go to `log/` beside it.
    make_work : callable
        Function that returns the work on a shard; it is called only where the shards are made.
    beside : callable
        Function that writes further files of the same output, before the table.
    listed_too : mapping of str to str
        Further entries of the table.
    threads : int
        Number of PyTorch's threads if there is only one job; 0: PyTorch's default.
    check : callable
        Function that may reject the outcome, see `Shards.finish`.

    Returns
    -------
    Outcome or None
        The outcome; None inside a job, since the script that started the jobs does the rest.
    """
    if args.nj < 1:
        raise VouchError(f"--nj {args.nj}: needs at least 1 job")
    if shards.size < 1:
        raise VouchError(f"--shard-size {shards.size}: an archive holds at least 1 utterance")
    if not 0 <= args.max_failed <= 1:
        raise VouchError(f"--max-failed {args.max_failed}: is a share, from 0 to 1")
    keep_freed_memory()
    if args.job:
        # One thread per job, because jobs that each use all cores slow each other down.
        torch.set_num_threads(1)
        job, jobs = (int(number) for number in args.job.split("/"))
        total, already = shards.count(job, jobs)
        # The log of a job is not a terminal, so the bar prints the lines that `JobProgress` reads.
        with ProgressBar("utt", total, already) as bar:
            shards.run(make_work(), job, jobs, bar.update)
        return None
    shards.check_own(scp)
    done = shards.prepare()
    if done:
        print(f"{scp}: {done} of {len(shards)} parts are there from a run that was interrupted", file=sys.stderr)
    if args.nj == 1:
        if threads:
            torch.set_num_threads(threads)
        with ProgressBar("utt", *shards.count()) as bar:
            shards.run(make_work(), progress=bar.update)
    else:
        name, command = own_command()
        launcher, log = args.cmd or own_launcher(), scp.parent / "log"
        with JobProgress(shards, args.nj) as progress:
            launch(launcher, args.nj, log, name, [*command, *sys.argv[1:]], progress.look)
    outcome = shards.finish(scp, args.max_failed, beside, listed_too, check)
    for note, count in sorted(outcome.notes.items()):
        print(f"{scp}: {count} recordings {note}", file=sys.stderr)
    for what, items in sorted(outcome.remarks.items()):
        print(f"{scp}: warning: {what}: {len(items)} utterances: {describe_failures(items)}", file=sys.stderr)
    if outcome.failed:
        print(f"{scp}: {len(outcome.failed)} failed: {describe_failures(outcome.failed)}", file=sys.stderr)
    return outcome
