"""Options from YAML and the command line."""

from collections.abc import Sequence

import pytest

from vouch.base.errors import VouchError
from vouch.base.options import convert, read_yaml, resolve_options


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
        ({"count": "1_000"}, "^option 'count' of it: '1_000' is not a number$"),
        ({"count": "３"}, "^option 'count' of it: '３' is not a number$"),
        ({"count": 1, "rate": "1_0.5"}, "^option 'rate' of it: '1_0.5' is not a number$"),
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
        (2**70, int),
        (str(2**70), int),
        ("9" * 5000, int),
        (10**400, float),
        ("2001-99-99", int),
        ("[" * 5000, Sequence[int]),
        ("? [a, b]", Sequence[int]),
        ("&a [*a, *a]", Sequence[int]),
        ("x" * 100_000, int),
        (["x" * 100_000], int),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line(value, kind):
    with pytest.raises(VouchError, match=r"^the thing: ") as caught:
        convert(value, kind, "the thing")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


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
        (b"a: 1\nb: 2001-99-99\n", r"x\.yaml:2: not valid YAML: month must be in 1\.\.12"),
        (b"a: 1\nb: %s\n" % (b"9" * 5000), r"x\.yaml:2: not valid YAML: a number has too many digits"),
        (b"a:\n  %s1%s\n" % (b"[" * 3000, b"]" * 3000), r"x\.yaml:2: not valid YAML: nested too deeply"),
        (b"%s1\n" % b"".join(b"%sa:\n" % (b" " * depth) for depth in range(40)), "not valid YAML: nested too deeply"),
        (b"? [a, b]\n: c\n", r"x\.yaml:1: not valid YAML: a key must be a word"),
        (b"? {a: b}\n: c\n", r"x\.yaml:1: not valid YAML: a key must be a word"),
        (b"a: &a [1, *a]\n", r"x\.yaml:1: not valid YAML: a value that holds itself"),
        (b"a: 1\nb: !!timestamp x\n", r"x\.yaml:2: not valid YAML: 'NoneType' object has no attribute"),
        (b"a: !!int ''\n", r"x\.yaml:1: not valid YAML: "),
        (b"a: [%s]\n" % (b"1," * 30_000), r"x\.yaml:1: not valid YAML: more than 20000 values"),
        (b"a: %s\n" % (b"x" * (1 << 20)), r"x\.yaml: has more than 1048576 bytes"),
    ],
)
def test_broken_yaml_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(VouchError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_aliases_are_counted_as_often_as_they_occur(tmp_path):
    """Thirty lines of lists that each hold the one before twice stand for 2^30 values."""
    path = tmp_path / "x.yaml"
    path.write_text("a: &base {rate: 1}\nb: *base\n")
    assert read_yaml(path) == {"a": {"rate": 1}, "b": {"rate": 1}}
    lines = ["x0: &z0 [1, 1]"] + [f"x{n}: &z{n} [*z{n - 1}, *z{n - 1}]" for n in range(1, 31)]
    path.write_text("\n".join(lines))
    with pytest.raises(VouchError, match=r"x\.yaml:1\d: not valid YAML: more than 20000 values$"):
        read_yaml(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(VouchError, match=r"none\.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(VouchError, match="Is a directory"):
        read_yaml(tmp_path)
