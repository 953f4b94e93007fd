"""Options from YAML and the command line."""

from collections.abc import Sequence

import pytest

from vouch.errors import VouchError
from vouch.options import convert, read_yaml, resolve_options


def function(
    count: int,
    rate: float = 0.5,
    flag: bool = False,
    name: str = "a",
    sizes: Sequence[int] = (1, 2),
    limit: int | None = None,
) -> None:
    """Has an option of each type."""


class Thing:
    def __init__(self, num_bins: int, width: int = 3) -> None: ...


def test_defaults_are_filled_in():
    expected = {"count": 3, "rate": 0.5, "flag": False, "name": "a", "sizes": [1, 2], "limit": None}
    assert resolve_options(function, {"count": 3}, "it") == expected
    assert resolve_options(Thing, {"width": 4}, "it", given=["num_bins"]) == {"width": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1, "rat": 2}, r"^unknown option 'rat' of it \(did you mean 'rate'\?\)$"),
        ({"count": 1, 40: 2}, "^unknown option '40' of it"),
        ({"count": 1, True: 2}, "^unknown option 'True' of it"),
        ({}, "^it needs the option 'count'$"),
        ({"count": "x"}, "^option 'count' of it: 'x' is not of type int$"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(VouchError, match=message):
        resolve_options(function, options, "it")


def test_what_the_program_passes_cannot_be_set():
    with pytest.raises(VouchError, match="unknown option 'num_bins' of it"):
        resolve_options(Thing, {"num_bins": 4}, "it", given=["num_bins"])


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, int, 3),
        ("3", int, 3),
        ("-3", int, -3),
        (3, float, 3.0),
        ("3", float, 3.0),
        ("5e-05", float, 5e-05),
        ("1e3", float, 1000.0),
        ("true", bool, True),
        (False, bool, False),
        ("3", str, "3"),
        ("true", str, "true"),
        ("[8, 16]", Sequence[int], [8, 16]),
        ((8, 16), Sequence[int], [8, 16]),
        ("[1, 2.5]", Sequence[float], [1.0, 2.5]),
        ("null", int | None, None),
        (None, int | None, None),
        ("7", int | None, 7),
    ],
)
def test_values_are_converted_to_their_type(value, kind, expected):
    found = convert(value, kind, "it")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("3.5", int),
        (3.0, int),
        (True, int),
        ("true", int),
        (1, bool),
        ("1", bool),
        (True, float),
        ("fast", float),
        ("", float),
        (None, float),
        ("nan", float),
        ("inf", float),
        (".nan", float),
        (float("-inf"), float),
        ("[3", int),
        ("{", float),
        ("a: b: c", bool),
        (3, str),
        ("8, 16", Sequence[int]),
        ("[8", Sequence[int]),
        ("[8, x]", Sequence[int]),
        (8, Sequence[int]),
        ("x", int | None),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line(value, kind):
    with pytest.raises(VouchError, match=r"^the thing: ") as caught:
        convert(value, kind, "the thing")
    assert "\n" not in str(caught.value)


def test_yaml(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\nb: {c: [1, 2]}\n")
    assert read_yaml(path) == {"a": 1, "b": {"c": [1, 2]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: [1\nc: 2\n", r"x\.yaml:3: not valid YAML"),
        (b"a: 1\n\tb: 2\n", r"x\.yaml:2: not valid YAML"),
        (b"", "holds no 'key: value' lines"),
        (b"- a\n- b\n", "holds no 'key: value' lines"),
        (b"just text", "holds no 'key: value' lines"),
        (b"a: \xff\n", "not UTF-8 text"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: !!python/object/apply:os.system ['false']\n", "not valid YAML"),
        (b"a: 1\nb: 2\na: 3\n", r"x\.yaml:3: not valid YAML: 'a' is there twice"),
        (b"t: {a: 1,\n    a: 3}\n", r"x\.yaml:2: not valid YAML: 'a' is there twice"),
    ],
)
def test_broken_yaml_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(VouchError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(VouchError, match=r"none\.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(VouchError, match="Is a directory"):
        read_yaml(tmp_path)
