"""The local launcher, against reference cases made by running Kaldi's run.pl and against the ways jobs can end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "utils" / "run.py"
CASES = {case["case"]: case for case in json.loads((ROOT / "tests/golden/kaldi_runpl_cases.json").read_text())}

# Where run.py departs from run.pl on purpose, and how: None is "the same".
STRICTER = {
    # run.pl passes over the options of qsub and over any other it does not know; a misspelt one would go unnoticed.
    "opts_ignored": "unknown option '-q'",
    "tc": "unknown option '-tc'",
    # The same exit status, in words of our own and on one line.
    "range_bad": "invalid job range JOB=3:1",
    "range_zero": "invalid job range JOB=0:2",
    "forgot_JOB_in_log": "2 jobs would share the log exp/log/a.log",
    "forgot_range": "is JOB=1:$nj missing before it?",
}
# run.pl loses the shell's complaint about an unbalanced quote to the terminal; run.py has it in the log, with the rest.
COMPLAINT_IN_LOG = {"quotes"}


def run(tmp_path, line):
    """Run the launcher with arguments as a shell reads them."""
    command = ["bash", "-c", f'"$0" "$@" {line}', sys.executable, RUN]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def run_words(tmp_path, *words, **options):
    return subprocess.run(
        [sys.executable, RUN, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, check=False, **options
    )


def normalised(log):
    log = re.sub(r"(Started at|\) at) [A-Z][^,\n]*", r"\1 <DATE>", log)
    return re.sub(r"time([ =])\d+", r"time\1<N>", log)


def written(folder):
    return {str(path.relative_to(folder)): normalised(path.read_text()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_as_run_pl(tmp_path, name):
    case = CASES[name]
    done = run(tmp_path, case["args"])
    assert done.stdout == ""
    if name in STRICTER:
        assert STRICTER[name] in done.stderr
        assert done.stderr.startswith("run.py: ")
        assert done.stderr.count("\n") == 1
        assert done.returncode == (case["exit_status"] or 255)
        assert written(tmp_path).keys() == (case["logs"].keys() if case["exit_status"] else set())
        return
    assert done.returncode == case["exit_status"]
    if name in COMPLAINT_IN_LOG:
        complaint, failure = case["stderr"].splitlines(keepends=True)
        assert done.stderr == failure.replace("run.pl", "run.py")
        (log,) = written(tmp_path).values()
        assert complaint.split(": ")[-1] in log
        assert log.endswith(case["logs"]["exp/log/a.log"].split("#\n")[-1])
        return
    assert done.stderr == case["stderr"].replace("run.pl", "run.py")
    assert written(tmp_path) == case["logs"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no log file and no command"),
        ("JOB=1:2", "no log file and no command"),
        ("x.log", "no command after the log file"),
        ("--max-job-run 2 x.log true", "unknown option '--max-job-run' (did you mean '--max-jobs-run'?)"),
        ("--mem=2G x.log true", "unknown option '--mem=2G' (did you mean '--mem'?)"),
        ("--mem", "--mem needs a value"),
        ("--max-jobs-run 0 x.log true", "--max-jobs-run takes a whole number of at least 1, not '0'"),
        ("--num-threads two x.log true", "--num-threads takes a whole number of at least 1, not 'two'"),
        ("--gpu -1 x.log true", "--gpu takes a whole number of at least 0, not '-1'"),
        ("JOB=1: x.JOB.log true", "invalid job range JOB=1:"),
        ("JOB= x.JOB.log true", "invalid job range JOB="),
        ("JOB=1:x x.JOB.log true", "invalid job range JOB=1:x"),
        ("JOB=-1:2 x.JOB.log true", "invalid job range JOB=-1:2"),
    ],
)
def test_misuse_is_one_line_and_starts_nothing(tmp_path, line, message):
    done = run(tmp_path, line)
    assert done.returncode == 255
    assert done.stderr.startswith(f"run.py: error: {message}")
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_help():
    done = run(ROOT, "--help")
    assert done.returncode == 0
    assert "--max-jobs-run" in done.stdout


def test_options_of_clusters_are_taken(tmp_path):
    line = "--mem 2G JOB=1:2 --time 1:00:00 --num-threads 3 --gpu 0 exp/a.JOB.log echo JOB"
    assert run(tmp_path, line).returncode == 0
    assert "threads=3\n" in (tmp_path / "exp/a.2.log").read_text()


def test_a_log_name_with_an_equals_sign_is_no_range(tmp_path):
    assert run(tmp_path, "lr=0.1/x.log true").returncode == 0
    assert run(tmp_path, "exp/lr=0.1.log true").returncode == 0
    assert run(tmp_path, "J=1 J=2.J.log true").returncode == 0
    assert sorted(written(tmp_path)) == ["1=2.1.log", "exp/lr=0.1.log", "lr=0.1/x.log"]


def test_logs_are_whole_and_written_over(tmp_path):
    (tmp_path / "x.log").write_text("old\n" * 1000)
    (tmp_path / "count.py").write_text(
        "import sys\nfor i in range(2000): print(i, file=[sys.stdout, sys.stderr][i % 2], flush=True)\n"
    )
    assert run_words(tmp_path, "x.log", sys.executable, "count.py").returncode == 0
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert lines[0] == f"# {sys.executable} count.py "
    assert lines[3:-2] == [str(number) for number in range(2000)]
    assert lines[-1].startswith("# Ended (code 0) at ")


def test_no_more_jobs_than_asked_for_at_once(tmp_path):
    script = tmp_path / "count.sh"
    script.write_text("job=$1; mkdir running.$job; set -- running.*; echo $#; sleep 0.2; rmdir running.$job\n")
    for options, most in (("--max-jobs-run 2", 2), ("--max-jobs-run 1", 1), ("--max-jobs-run 9 --num-threads 64", 6)):
        assert run(tmp_path, f"{options} J=1:6 x.J.log bash count.sh J").returncode == 0
        counts = [int((tmp_path / f"x.{job}.log").read_text().splitlines()[3]) for job in range(1, 7)]
        assert 1 <= max(counts) <= most


def test_the_default_is_one_job_for_each_processor(tmp_path):
    (tmp_path / "count.sh").write_text("job=$1; mkdir r.$job; set -- r.*; echo $#; sleep 0.2; rmdir r.$job\n")
    one = min(os.sched_getaffinity(0))
    done = run_words(
        tmp_path, "J=1:3", "x.J.log", "bash", "count.sh", "J", preexec_fn=lambda: os.sched_setaffinity(0, {one})
    )
    assert done.returncode == 0
    assert [(tmp_path / f"x.{job}.log").read_text().splitlines()[3] for job in (1, 2, 3)] == ["1", "1", "1"]


def test_gpus_limit_jobs_that_use_them(tmp_path):
    """A stand-in for nvidia-smi lists two."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: B (UUID: y)'\n")
    program.chmod(0o755)
    (tmp_path / "count.sh").write_text("job=$1; mkdir r.$job; set -- r.*; echo $#; sleep 0.2; rmdir r.$job\n")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for gpus, most in (("1", 2), ("2", 1), ("3", 1)):
        words = ("--gpu", gpus, "J=1:5", "x.J.log", "bash", "count.sh", "J")
        assert run_words(tmp_path, *words, env=environment).returncode == 0
        counts = [int((tmp_path / f"x.{job}.log").read_text().splitlines()[3]) for job in range(1, 6)]
        assert max(counts) <= most


def test_the_jobs_have_no_input_to_wait_for(tmp_path):
    done = run_words(tmp_path, "x.log", "cat", stdin=subprocess.PIPE, timeout=30)
    assert done.returncode == 0


def test_an_unwritable_log_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = run_words(tmp_path, "file/x.log", "true")
    assert done.returncode == 1
    assert done.stderr == "run.py: error: file/x.log: the job cannot be started (File exists)\n"


def test_a_log_may_be_a_device(tmp_path):
    assert run_words(tmp_path, "/dev/null", "echo", "x").returncode == 0
    assert Path("/dev/null").is_char_device()


def test_bytes_that_are_not_utf8_pass_through(tmp_path):
    done = subprocess.run([sys.executable, RUN, b"x\xff.log", "echo", b"a\xfe b"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert b"\na\xfe b\n" in Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.log")).read_bytes()


@pytest.fixture
def running(tmp_path):
    """A launcher with two jobs of two processes each, one of which takes no notice of SIGTERM."""
    (tmp_path / "work.sh").write_text(
        "bash -c 'trap : TERM; echo $$; while :; do sleep 0.1; done' &\necho $$\nwait\nexit 3\n"
    )
    process = subprocess.Popen(
        [sys.executable, RUN, "--max-jobs-run", "2", "J=1:3", "x.J.log", "bash", "work.sh"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids = []
    for job in (1, 2):
        log = tmp_path / f"x.{job}.log"
        _until(lambda log=log: log.exists() and len(log.read_text().splitlines()) == 5)
        pids += [int(pid) for pid in log.read_text().splitlines()[3:]]
    yield process, pids
    for pid in [process.pid, *pids]:
        if _lives(pid):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def _until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lives(pid):
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_launcher_takes_its_jobs_along(tmp_path, running, number, status):
    process, pids = running
    process.send_signal(number)
    assert process.wait(30) == status
    assert not any(_lives(pid) for pid in pids)
    assert not (tmp_path / "x.3.log").exists()
    for job in (1, 2):
        assert "# Ended (code 0; signal 15) at " in (tmp_path / f"x.{job}.log").read_text().splitlines()[-1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's parent-death signal")
def test_a_killed_launcher_takes_its_jobs_along(tmp_path):
    """Those that are one program, as all of ours are: the shell makes way for it."""
    assert shutil.which("sleep")
    process = subprocess.Popen(
        [sys.executable, RUN, "J=1:2", "--max-jobs-run", "2", "x.J.log", "sleep", "600"], cwd=tmp_path
    )
    found = []

    def jobs():
        found[:] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return len(found) == 2 and all(b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found)

    _until(jobs)
    process.kill()
    process.wait()
    _until(lambda: not any(_lives(pid) for pid in found))
