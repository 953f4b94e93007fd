"""The first moments of a script: its own failures there are one line too."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vouch.cli.startup as startup
from vouch.cli.environment import requirements, wrong_python

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path
    for folder in ("steps", "local", "utils")
    for path in (ROOT / folder).glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text() and path.name not in ("environment.py", "end_with_parent.py")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_without_the_packages_a_script_says_one_line(script):
    """As in a shell where path.sh was not sourced; -S hides the packages that are installed."""
    done = subprocess.run([sys.executable, "-S", str(script), "--help"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return  # needs nothing but the standard library
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"{script.name}: error: ") and ". ./path.sh" in done.stderr


def test_there_are_scripts_and_most_need_packages():
    assert len(SCRIPTS) > 25
    done = subprocess.run([sys.executable, "-S", str(ROOT / "steps/train.py")], capture_output=True, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_guarded_before_it_imports_packages(script):
    lines = script.read_text().splitlines()
    guard = lines.index("guard_imports(__name__)")
    imported = {line.split()[1] for line in lines[:guard] if line.startswith(("import ", "from "))}
    others = imported - {"vouch.cli.startup", "__future__"}
    assert {name.split(".")[0] for name in others} <= sys.stdlib_module_names


@pytest.fixture
def slow_import(tmp_path):
    """A script whose import of a package takes long, and turns an interruption into an error of its own."""
    (tmp_path / "package.py").write_text(
        "import time\nprint('importing', flush=True)\n"
        "try: time.sleep(60)\nexcept BaseException as error: raise TypeError('not this') from error\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from vouch.cli.startup import guard_imports\nguard_imports(__name__)\nimport package\n"
    )
    return script


def start(script, **options):
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    assert process.stdout.readline() == "importing\n"
    return process


def test_an_interruption_of_the_imports_is_one_line(slow_import):
    process = start(slow_import)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == (
        "script.py: interrupted; the same command starts again where that is possible\n"
    )
    assert process.returncode == 130


def test_a_script_in_the_background_goes_on(slow_import):
    """A shell lets its background jobs ignore Ctrl-C."""
    process = start(slow_import, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_an_old_package_is_one_line(tmp_path, slow_import):
    """It has the module, but not the function."""
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy/__init__.py").write_text("")
    slow_import.write_text(slow_import.read_text().replace("import package", "from scipy import no_such_function"))
    done = subprocess.run([sys.executable, slow_import], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot import name 'no_such_function'" in done.stderr and "requirements.txt" in done.stderr


def test_a_bug_among_the_imports_keeps_its_traceback(slow_import):
    slow_import.write_text(slow_import.read_text().replace("import package", "import vouch.no_such_module"))
    done = subprocess.run([sys.executable, slow_import], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" in done.stderr and "no_such_module" in done.stderr


def test_a_closed_standard_output_is_refused(slow_import):
    """The first file that a script opened would get what it prints."""
    done = subprocess.run(
        ["bash", "-c", '"$0" "$1" >&-', sys.executable, slow_import], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "script.py: error: the standard output is closed\n")


def test_the_wrong_python_is_named(monkeypatch, capsys):
    monkeypatch.setattr(startup, "wrong_python", lambda: wrong_python((3, 9)))
    with pytest.raises(SystemExit, match=r"Python 3\.9 \(.*\) is not supported: Vouch needs 3\.10 to 3\.13; run"):
        startup.guard_imports("__main__")


def test_a_script_that_is_imported_is_not_guarded():
    before = (sys.excepthook, signal.getsignal(signal.SIGINT))
    startup.guard_imports("prepare_demo")
    assert (sys.excepthook, signal.getsignal(signal.SIGINT)) == before


def test_only_packages_of_vouch_count_as_missing():
    for name in requirements():
        assert "path.sh" in startup.missing_package(ImportError("x", name=f"{name}.part".replace("pyyaml", "yaml")))
    assert startup.missing_package(ImportError("x", name="vouch.x")) is None
    assert startup.missing_package(ImportError("x")) is None
    assert startup.missing_package(TypeError("x")) is None


def test_config_means_one_thing():
    """The file with what a script does, as in conf/; what others are called after, they say."""
    taking = {script.name for script in SCRIPTS if '"--config"' in script.read_text()}
    assert taking == {"compute_vad.py", "make_fbank.py", "train.py"}
