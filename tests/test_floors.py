"""The house holds: imports of src/vouch go down, floor by floor, and the library knows nothing of the scripts."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "src/vouch"
# A room may import rooms of lower floors, and the rooms within itself.
FLOORS = {
    1: ["base"],
    2: ["audio", "features", "layers", "losses"],
    3: ["augment", "kaldi", "models"],
    4: ["encoder", "evaluation", "jobs", "stores"],
    5: ["corpora", "extraction", "interop", "scoring"],
    6: ["deploy", "training", "work"],
    7: ["cli"],
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def imports(path):
    """Names of the modules that a file imports, in functions too; `from a import b` counts as `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports of the project are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_file(name, library):
    """The file of a module of the library; None for a name that is something in a module."""
    path = library.parent.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def arrows(library):
    """All imports from one file of the library to another, as pairs of paths relative to it.

    But for those of its front door, which hands on names of all rooms when they are asked for.
    """
    for path in sorted(set(library.rglob("*.py")) - {library / "__init__.py"}):
        for name in imports(path):
            if name.split(".")[0] == "vouch" and name != "vouch":
                target = module_file(name, library)
                if target is not None and target != path:
                    yield path.relative_to(library), target.relative_to(library)


def room_of(path):
    """The room of a file, by the folder that it is in, or the file itself where it is loose."""
    return path.parts[0].removesuffix(".py")


def upward(library):
    """What breaks the rule, one line each."""
    for source, target in arrows(library):
        own, other = room_of(source), room_of(target)
        if own != other and FLOOR_OF[other] >= FLOOR_OF[own]:
            places = (
                f"{source} (room {own}, floor {FLOOR_OF[own]})",
                f"{target} (room {other}, floor {FLOOR_OF[other]})",
            )
            yield f"{' imports '.join(places)}; imports go down only"


def test_every_room_has_a_floor():
    rooms = {room_of(path.relative_to(LIBRARY)) for path in LIBRARY.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOOR_OF)


def test_imports_go_down_only():
    assert list(upward(LIBRARY)) == []


def test_no_circle_between_rooms():
    """Counting the rooms within a room, as kaldi/matrices, for themselves."""
    below = defaultdict(set)
    for source, target in arrows(LIBRARY):
        if source.parent != target.parent:
            below[source.parent].add(target.parent)
    done = set()

    def visit(room, path):
        assert room not in path, f"a circle: {' -> '.join(map(str, [*path, room]))}"
        if room not in done:
            for other in below[room]:
                visit(other, [*path, room])
            done.add(room)

    for room in list(below):
        visit(room, [])


@pytest.mark.parametrize("text", ["import vouch.cli.parser", "def f():\n    from vouch.training import loop\n"])
def test_an_import_upward_is_named(tmp_path, text):
    library = tmp_path / "vouch"
    for name in ("cli/parser", "training/loop", "audio/reading"):
        (library / name).parent.mkdir(parents=True)
        (library / f"{name}.py").write_text("")
    (library / "audio/reading.py").write_text(text)
    (line,) = upward(library)
    assert "audio/reading.py (room audio, floor 2)" in line and "imports go down only" in line


@pytest.mark.parametrize("folder", ["steps", "utils", "local"])
def test_scripts_import_the_library_and_no_other_script(folder):
    """But for the folder beside an adapter, which is its own."""
    adapters = {path.name for path in (ROOT / "local").iterdir() if path.is_dir()}
    for path in sorted((ROOT / folder).glob("*.py")):
        own = {"vouch"} | ({path.stem.removeprefix("prepare_")} & adapters)
        for name in imports(path):
            top = name.split(".")[0]
            others = [other for other in ("steps", "utils", "local") if (ROOT / other / f"{top}.py").is_file()]
            assert top in own or not (others or top in adapters), f"{path.name} imports {name}, which is a script"


def test_the_library_neither_parses_options_nor_prints():
    """But for the room of the scripts' own parts; what others have to say they return, raise or log."""
    for path in sorted(LIBRARY.rglob("*.py")):
        if path.relative_to(LIBRARY).parts[0] == "cli":
            continue
        assert "argparse" not in imports(path), path
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)], path


def test_the_library_needs_no_script():
    known = set(sys.stdlib_module_names) | {"vouch"}
    scripts = {path.stem for folder in ("steps", "utils", "local") for path in (ROOT / folder).iterdir()}
    for path in sorted(LIBRARY.rglob("*.py")):
        found = {name.split(".")[0] for name in imports(path)} - known
        assert not found & scripts, f"{path} imports {sorted(found & scripts)}"
