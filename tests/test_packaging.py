"""What pip installs: its requirements, the public names, and the command `vouch` without a checkout."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from corpus import RATE, make_encoder, voice
from packaging.requirements import Requirement
from packaging.version import Version

import vouch
from vouch.cli import entry, environment
from vouch.cli.entry import COMMANDS
from vouch.encoder import save_encoder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLED = {Requirement(line).name.lower(): Requirement(line) for line in PROJECT["dependencies"]}
COMPARED = {
    Requirement(line).name.lower(): Requirement(line) for line in PROJECT["optional-dependencies"]["comparisons"]
}
# What one function imports, which says so where it is missing, or does without.
OPTIONAL = {
    Requirement(line).name.lower() for extra in ("rooms", "m4a") for line in PROJECT["optional-dependencies"][extra]
}


def test_each_pin_lies_in_its_range():
    """And the range is that which `path.sh` accepts: up to the next major version."""
    pins, ranges = environment.requirements(), {**INSTALLED, **COMPARED}
    assert set(pins) == set(ranges)
    for name, pin in pins.items():
        assert pin in ranges[name].specifier, f"{name}=={pin} against {ranges[name].specifier}"
        assert f"{Version(pin).major}.999" in ranges[name].specifier
        assert f"{Version(pin).major + 1}.0" not in ranges[name].specifier


def test_the_library_imports_what_is_installed_and_nothing_else():
    modules = {environment.MODULES.get(name, name) for name in INSTALLED}
    for path in sorted((ROOT / "src/vouch").rglob("*.py")):
        tree = ast.parse(path.read_text())
        tests = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
        of_types = {id(inner) for test in tests if "TYPE_CHECKING" in ast.unparse(test.test) for inner in test.body}
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inside = {id(inner) for function in functions for inner in ast.walk(function)}
        for node in ast.walk(tree):
            if id(node) in of_types:
                continue  # only mypy gets there
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in names} - (OPTIONAL if id(node) in inside else set()):
                assert top in modules | {"vouch"} | set(sys.stdlib_module_names), f"{path} imports {top}"


def test_every_module_can_be_imported_without_kaldiio():
    """Its licence does not let everybody have it."""
    program = (
        "import sys, pkgutil, importlib\n"
        "sys.modules['kaldiio'] = sys.modules['torchaudio'] = None\n"
        "import vouch\n"
        "names = [module.name for module in pkgutil.walk_packages(vouch.__path__, 'vouch.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(list((ROOT / "src/vouch").rglob("*.py"))) - 1


def test_every_folder_is_a_package():
    """Others would not be installed."""
    for path in (ROOT / "src/vouch").rglob("*.py"):
        assert (path.parent / "__init__.py").exists()


def test_the_licences_of_all_requirements_are_told():
    table = re.search(r"\| package \|(?:.*\n)+?(?!\|)", (ROOT / "README.md").read_text()).group().lower()
    for name in environment.requirements():
        assert f"`{name}`" in table
    assert re.search(r"`kaldiio`.*evaluation", table)


def test_public_names():
    """Each is there, and where editors and type checkers are told that it is."""
    told = {}
    for node in ast.walk(ast.parse(Path(vouch.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("vouch."):
            told.update({alias.name: node.module for alias in node.names})
    assert sorted(told) == sorted(vouch.__all__) == sorted(vouch._HOME_OF)
    assert told == vouch._HOME_OF
    for name in vouch.__all__:
        assert getattr(vouch, name) is getattr(sys.modules[told[name]], name)
        assert name in dir(vouch)
    with pytest.raises(AttributeError, match="no attribute 'load_encodr'"):
        _ = vouch.load_encodr


def test_public_names_are_imported_when_they_are_asked_for():
    program = "import sys, vouch; vouch.VouchError; print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_the_code_of_its_script(name):
    command = COMMANDS[name]
    lines = (ROOT / command.script).read_text().splitlines()
    assert f"from {command.module} import main" in lines
    assert lines[-2:] == ['if __name__ == "__main__":', "    run_main(main)"]
    assert f"`vouch {name}`" in (ROOT / command.script).read_text()
    assert command.script in entry.usage() and f" {name} " in entry.usage()


def test_the_command_that_pip_makes():
    module, _, function = PROJECT["scripts"]["vouch"].partition(":")
    assert getattr(sys.modules[module], function) is entry.main


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The library alone in a folder, as pip puts it, and a way to run its command there."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "src/vouch", folder / "site/vouch", ignore=shutil.ignore_patterns("__pycache__"))
    surroundings = {**os.environ, "PYTHONPATH": str(folder / "site")}

    def run(*words, status=0):
        command = [sys.executable, "-m", "vouch.cli.entry", *map(str, words)]
        done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    for speaker in range(3):
        for utterance in range(2):
            soundfile.write(folder / f"s{speaker}-{utterance}.wav", voice(speaker, utterance, 1.0), RATE)
    names = [f"s{speaker}-{utterance}" for speaker in range(3) for utterance in range(2)]
    (folder / "list").write_text("".join(f"{name} {name}.wav\n" for name in names))
    pairs = [(a, b) for a in names for b in names if a < b]
    (folder / "trials").write_text(
        "".join(f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in pairs)
    )
    feature = {"type": "fbank", "num_mel_bins": 8, "sample_rate": RATE}
    encoder = make_encoder({"name": "xvector", "embedding_dim": 8, "channels": [8] * 5}, 8, feature=feature)
    save_encoder(encoder.eval(), folder / "final.pt")
    return folder, run


def test_from_recordings_to_figures_without_a_checkout(installed):
    folder, run = installed
    assert "6 embeddings of 8 dimensions" in run("embed", "list", "final.pt", "out", "--device", "cpu")
    assert "15 trials scored" in run("score", "trials", "out/embedding.scp", "scores/trials.txt")
    assert "EER" in run("metrics", "trials", "scores/trials.txt", "results")
    assert (folder / "results/report.html").exists()
    score = float((folder / "scores/trials.txt").read_text().split()[2])
    said = run("verify", "s0-0.wav", "s0-1.wav", "--model", "final.pt", "--device", "cpu")
    assert float(said.split()[1]) == pytest.approx(score, abs=1e-4)
    run("copy-feats", "scp:out/embedding.scp", "ark,t:out.txt")
    assert len((folder / "out.txt").read_text().splitlines()) == 6


def test_messages_name_the_command(installed):
    _, run = installed
    assert run("emed", status=2).startswith("vouch: error: unknown command 'emed' (did you mean 'embed'?)")
    assert run(status=2).startswith("vouch: error: needs a command")
    assert run("embed", "list", "final.pt", "out", "--shrt", status=2).startswith("vouch embed: error: unknown option")
    assert run("model-info", "resnet3", status=1).startswith("vouch model-info: error:")
    assert "in the checkout only" in run("embed", "list", "final.pt", "jobs", "--nj", "2", status=1)


def test_jobs_of_an_installed_command_run_it_again(installed):
    folder, run = installed
    run("embed", "list", "final.pt", "jobs", "--nj", "2", "--cmd", ROOT / "utils/run.py", "--device", "cpu")
    assert len((folder / "jobs/embedding.scp").read_text().splitlines()) == 6
    assert "vouch.cli.entry" in (folder / "jobs/log/embed.1.log").read_text()
