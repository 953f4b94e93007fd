"""Files about the project say what the project is: its checks, its version, its pages."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from test_floors import FLOORS

from vouch.losses import LOSSES
from vouch.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
HOOKS = {
    hook["id"]: hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
}
RUN = (ROOT / "tests/run.sh").read_text()


def command(line):
    """The words of a check, whoever starts it: without the environment, the path to the program and its files."""
    line = re.sub(r"^bash -c '\. \./path\.sh && (.*)'$", r"\1", line)
    line = re.sub(r'^"\$\(python3 -c .*\)/(\w+)"', r"\1", line)
    return line.removesuffix(' "$@"').removesuffix(' "${shell_files[@]}"')


def test_hooks_make_the_checks_of_the_test_run():
    checks = [line for line in RUN.splitlines() if re.match(r'python3 -m (?!pip)|"\$\(python3.*/shellcheck"', line)]
    assert len(checks) >= 4
    assert [command(hook["entry"]) for hook in HOOKS.values()] == [command(check) for check in checks]


def test_hooks_have_the_versions_of_the_test_run():
    pinned = set((ROOT / "tests/requirements.txt").read_text().splitlines())
    wanted = {package for hook in HOOKS.values() for package in hook.get("additional_dependencies", [])}
    assert wanted and wanted <= pinned


def test_hooks_look_at_the_shell_files_of_the_test_run():
    lines = RUN[RUN.index("shell_files=(") : RUN.index("--external-sources")].splitlines()[:-1]
    listed = subprocess.run(
        ["bash", "-c", "\n".join([*lines, 'printf "%s\\n" "${shell_files[@]}"'])],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    found = (path for pattern in ("*", "*/*", "*/*/*") for path in ROOT.glob(pattern))
    files = [path.relative_to(ROOT).as_posix() for path in found if path.is_file()]
    pattern = re.compile(HOOKS["shellcheck"]["files"])
    assert sorted(filter(pattern.search, files)) == sorted(listed)


def test_what_mypy_passes_over_has_a_reason():
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("src", "steps", "utils", "local")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if "type: ignore" in line
    ]
    assert [line for line in lines if not re.search(r"# type: ignore\[[a-z-]+\]  # \w+ ", line)] == []


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search('^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert citation["version"] == version
    assert f"\n## {version}: " in (ROOT / "CHANGELOG.md").read_text()
    assert citation["license"] == (ROOT / "LICENSE").read_text().split()[0]


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("egs/*/*.md")], ids=str)
def test_links_of_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_leads_to_every_page():
    readme = (ROOT / "README.md").read_text()
    pages = [*(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")), "CONTRIBUTING.md", "CHANGELOG.md"]
    assert [page for page in pages if f"]({page})" not in readme] == []


def test_the_picture_of_the_house_has_every_room_on_its_floor():
    picture = (ROOT / "docs/architecture.md").read_text()
    drawn = {
        int(floor): set(words.split()) for floor, words in re.findall(r"^ floor (\d) (.*)$", picture, re.MULTILINE)
    }
    for floor, rooms in FLOORS.items():
        assert {room if room != "encoder" else "encoder.py" for room in rooms} <= drawn[floor]
        for room in rooms:
            assert re.search(rf"^\| {floor} \| `{room}(\.py)?` \|", picture, re.MULTILINE), room


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/models_and_losses.md", {*MODELS, *LOSSES}),
        ("README.md", {*MODELS, *LOSSES}),
        ("docs/models_and_losses.md", {path.stem for path in ROOT.glob("conf/features/*.yaml")}),
        ("docs/published_figures.md", {path.stem for path in ROOT.glob("conf/protocols/*.sh")}),
        (
            "docs/add_a_corpus.md",
            {path.parent.name for path in ROOT.glob("egs/*/corpus.sh")} - {"demo"},
        ),
    ],
)
def test_tables_of_pages_list_all_that_there_is(page, names):
    told = set(re.findall(r"(?:`|--corpus )(\w+)\b", (ROOT / page).read_text()))
    assert names - told == set()
