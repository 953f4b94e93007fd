import pytest

from vouch.base.errors import VouchError
from vouch.base.rxfilename import Source, parse_place, parse_rxfilename, resolve_range


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("x.ark", Source("x.ark")),
        ("a b.ark:17", Source("a b.ark", 17)),
        ("a:b.npy", Source("a:b.npy")),
        ("a:b.ark:0", Source("a:b.ark", 0)),
        ("x.ark:17[0:9]", Source("x.ark", 17, rows=(0, 9))),
        ("x.ark:17[:,0:3]", Source("x.ark", 17, cols=(0, 3))),
        ("x.ark:17[2:2,0:3]", Source("x.ark", 17, rows=(2, 2), cols=(0, 3))),
        ("x.ark[:]", Source("x.ark")),
        ("x[1].npy[4:5]", Source("x[1].npy", rows=(4, 5))),
        ("copy-feats ark:x:7 - |", Source("copy-feats ark:x:7 - ", is_pipe=True)),
        ("cat x |[0:9]", Source("cat x ", is_pipe=True, rows=(0, 9))),
        ("x.ark:" + "9" * 18, Source("x.ark", 10**18 - 1)),
        ("x.ark:٣", Source("x.ark:٣")),
    ],
)
def test_names(text, source):
    assert parse_rxfilename(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "x[]",
        "x[1]",
        "x[1:]",
        "x[:3]",
        "x[-1:3]",
        "x[a:b]",
        "x[1:2:3]",
        "x]",
        "[1:2]",
        "x[٣:٤]",
        "x[0:" + "9" * 5000 + "]",
        "x[²:³]",
    ],
)
def test_malformed_ranges(text):
    with pytest.raises(VouchError, match="a range is "):
        parse_rxfilename(text)


@pytest.mark.parametrize("digits", [19, 20, 5000])
def test_offsets_that_no_file_has(digits):
    for parse, text in ((parse_rxfilename, "[0:9]"), (parse_rxfilename, ""), (parse_place, "")):
        with pytest.raises(VouchError, match=r"^a b\.ark: the offset 9{19,100}(\.\.\.)? is larger than any file"):
            parse("a b.ark:" + "9" * digits + text)


@pytest.mark.parametrize("text", ["", "-", "| cat"])
@pytest.mark.parametrize("parse", [parse_rxfilename, parse_place])
def test_what_names_nothing_to_read(parse, text):
    with pytest.raises(VouchError, match="neither a file nor a command"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("x[0:9]", Source("x[0:9]")),
        ("x.wav:17", Source("x.wav", 17)),
        ("x.wav:²", Source("x.wav:²")),
        (":17", Source(":17")),
        ("sox x.wav -t wav - |  ", Source("sox x.wav -t wav - ", is_pipe=True)),
    ],
)
def test_names_of_recordings_have_no_ranges(text, source):
    assert parse_place(text) == source


def test_ranges_backwards():
    with pytest.raises(VouchError, match=r"'x\[5:4\]': the range ends before it begins"):
        parse_rxfilename("x[5:4]")


def test_rows_may_end_two_late_and_columns_not():
    source = parse_rxfilename("x[8:11,0:3]")
    assert resolve_range(source, (10, 4)) == (slice(8, 10), slice(0, 4))
    assert resolve_range(source, (9, 4)) == (slice(8, 9), slice(0, 4))
    for shape in ((8, 4), (10, 3)):
        with pytest.raises(VouchError, match="is outside of"):
            resolve_range(source, shape)
    assert resolve_range(parse_rxfilename("x[1:6]"), (5,)) == (slice(1, 5),)
    with pytest.raises(VouchError, match="range 1:8 is outside of 5 values"):
        resolve_range(parse_rxfilename("x[1:8]"), (5,))
    with pytest.raises(VouchError, match="more axes"):
        resolve_range(parse_rxfilename("x[:,1:2]"), (5,))
    with pytest.raises(VouchError, match="more axes"):
        resolve_range(parse_rxfilename("x[0:0]"), ())
