"""The Python environment is made once, whole, and says why when it cannot be."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vouch.cli import environment

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "utils/environment.py"


@pytest.fixture
def commands(monkeypatch):
    """Commands that were run instead of Python's venv and pip; each makes what the real one would."""
    ran = []

    def run(command, hint):
        ran.append(command)
        time.sleep(0.05)
        if "venv" in command:
            python = Path(command[-1]) / "bin/python3"
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)

    monkeypatch.setattr(environment, "run", run)
    return ran


def made(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_environment_is_made_once(tmp_path, commands, capsys):
    environment.make(tmp_path / "venv")
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert commands[1][0] == str(tmp_path / "venv/bin/python3")
    assert commands[1][-1] == str(environment.REQUIREMENTS)
    assert made(tmp_path / "venv") == ["bin/python3", "complete"]
    assert len(capsys.readouterr().err.splitlines()) == 1
    environment.make(tmp_path / "venv")
    assert len(commands) == 2
    assert capsys.readouterr().err == ""


def test_jobs_that_ask_at_the_same_time_make_it_once(tmp_path, commands):
    threads = [threading.Thread(target=environment.make, args=[tmp_path / "venv"]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(commands) == 2


def test_processes_wait_for_the_one_that_makes_it(tmp_path):
    """The lock holds between processes too."""
    code = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vouch.cli import environment
def run(command, hint):
    with open(sys.argv[2] + ".ran", "a") as file:
        file.write(command[2] + chr(10))
    time.sleep(0.3)
    python = Path(sys.argv[2]) / "bin/python3"
    if "venv" in command:
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
environment.run = run
environment.make(Path(sys.argv[2]))
"""
    command = [sys.executable, "-c", code, str(ROOT / "src"), str(tmp_path / "venv")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum("making the Python environment" in error for error in errors) == 1
    assert (tmp_path / "venv.ran").read_text().split() == ["venv", "pip"]


def test_a_half_made_environment_is_made_again(tmp_path, commands):
    (tmp_path / "venv/lib").mkdir(parents=True)
    (tmp_path / "venv/lib/half.py").write_text("")
    environment.make(tmp_path / "venv")
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert made(tmp_path / "venv") == ["bin/python3", "complete"]


def test_one_whose_python_is_gone_is_made_again(tmp_path, commands):
    """As after an upgrade of the system's Python."""
    environment.make(tmp_path / "venv")
    (tmp_path / "venv/bin/python3").unlink()
    (tmp_path / "venv/bin/python3").symlink_to(tmp_path / "python3.9")
    environment.make(tmp_path / "venv")
    assert [command[2] for command in commands] == ["venv", "pip", "venv", "pip"]


def test_other_requirements_are_installed_into_it(tmp_path, commands, monkeypatch):
    environment.make(tmp_path / "venv")
    (tmp_path / "other.txt").write_text("numpy==1.0\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "other.txt")
    environment.make(tmp_path / "venv")
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]
    assert commands[-1][-1] == str(tmp_path / "other.txt")


def test_a_failing_command_gives_one_line(capfd):
    code = "import sys; print('looking'); print('ERROR: no such package'); print('[notice] a new pip'); sys.exit(1)"
    with pytest.raises(SystemExit) as caught:
        environment.run([sys.executable, "-c", code], "is the package index reachable?")
    message = caught.value.code
    assert message.startswith("environment.py: error: ")
    assert message.endswith("failed (ERROR: no such package); is the package index reachable?")
    assert "\n" not in message
    with pytest.raises(SystemExit, match=r"\(no message\)"):
        environment.run([sys.executable, "-c", "import sys; sys.exit(1)"], "hint")
    environment.run([sys.executable, "-c", "print('fine')"], "hint")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("failing", ["venv", "pip"])
def test_an_environment_that_could_not_be_made_is_not_taken_for_one(tmp_path, commands, monkeypatch, failing):
    working = environment.run

    def run(command, hint):
        if command[2] == failing:
            sys.exit("environment.py: error: no network")
        working(command, hint)

    monkeypatch.setattr(environment, "run", run)
    with pytest.raises(SystemExit, match="no network"):
        environment.make(tmp_path / "venv")
    assert not (tmp_path / "venv/complete").exists()
    monkeypatch.setattr(environment, "run", working)
    del commands[:]
    environment.make(tmp_path / "venv")
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert (tmp_path / "venv/complete").exists()


def test_a_failed_upgrade_does_not_leave_the_old_one_complete(tmp_path, commands, monkeypatch):
    environment.make(tmp_path / "venv")
    (tmp_path / "other.txt").write_text("numpy==1.0\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "other.txt")
    monkeypatch.setattr(environment, "run", lambda command, hint: sys.exit("no network"))
    with pytest.raises(SystemExit):
        environment.make(tmp_path / "venv")
    assert not (tmp_path / "venv/complete").exists()


def call(*words, **options):
    command = [sys.executable, str(PROGRAM), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_check_tells_whether_the_packages_are_there(tmp_path):
    assert call("--check").returncode == 0
    # -S hides the installed packages.
    command = [sys.executable, "-S", "-I", str(PROGRAM), "--check"]
    bare = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (bare.returncode, bare.stderr) == (1, f"{sys.executable} has no package torch\n")


@pytest.mark.parametrize(
    ("pinned", "found", "fits"),
    [
        ("1.15.3", "1.15.3", True),
        ("1.15.3", "1.16", True),
        ("1.15.3", "1.11.4", False),
        ("1.15.3", "1.9.0", False),  # not as text
        ("1.15.3", "2.0.0", False),
        ("2.11.0", "2.11.0+cu130", True),
        ("2.11.0", "2.11.0a0+git1234", True),
        ("2.11.0", "1.12.1", False),
        ("0.13.1", "0.14.0rc1", True),
        ("0.13.1", "0.12.9", False),
    ],
)
def test_versions_count(tmp_path, monkeypatch, pinned, found, fits):
    """A package in an environment that was made for something else."""
    (tmp_path / "scipy-x.dist-info").mkdir()
    (tmp_path / "scipy-x.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: scipy\nVersion: {found}\n")
    (tmp_path / "requirements.txt").write_text(f"# a comment\nscipy=={pinned}\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    message = environment.wrong_package()
    assert (message is None) == fits
    assert fits or f"has scipy {found}; requirements.txt asks for {pinned} or later" in message


def test_the_version_of_python_counts():
    assert [environment.wrong_python((3, minor)) is None for minor in range(8, 16)] == [
        False,
        False,
        *[True] * 4,
        False,
        False,
    ]
    project = (ROOT / "pyproject.toml").read_text()
    (first, end) = (".".join(map(str, version)) for version in environment.PYTHONS)
    assert f'requires-python = ">={first},<{end}"' in project


def test_pins_have_no_marker_that_is_not_understood():
    for name, version in environment.requirements().items():
        assert environment.release(version) and set(version) <= set("0123456789."), name


def test_every_requirement_is_checked():
    lines = environment.REQUIREMENTS.read_text().splitlines()
    assert len(environment.required_modules()) == len([line for line in lines if line and line[0] != "#"])
    assert {"torch", "yaml", "tensorboard"} <= set(environment.required_modules())


def test_wrong_calls(tmp_path):
    for words in ([], ["--chek"], ["a", "b"]):
        done = call(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert "utils/environment.py .venv" in done.stderr
    done = call(tmp_path / "none/venv")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "environment.py: error: " in done.stderr
    assert "none" in done.stderr
    assert list(tmp_path.iterdir()) == []
