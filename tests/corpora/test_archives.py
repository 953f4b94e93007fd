"""Unpacking: whole and split archives, interrupted runs, and archives that mean harm."""

import gzip
import io
import itertools
import re
import shutil
import tarfile
import tracemalloc
import zipfile
from hashlib import md5

import numpy as np
import pytest
from fileserver import FileServer
from hypothesis import given, settings
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.corpora.archives import Pieces, unpack
from vouch.corpora.obtain import Archive, obtain
from vouch.corpora.server import Server

FILES = {
    "corpus/a/1.wav": b"one" * 1000,
    "corpus/a/2.wav": b"",
    "corpus/b/deep/er/é.wav": np.random.default_rng(0).bytes(70_000),
}


def make_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("corpus/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        folder = tarfile.TarInfo("./corpus")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def make(path, files):
    return (make_zip if path.suffix == ".zip" else make_tar)(path, files)


def split(path, sizes):
    """Cut a file into pieces beside it."""
    content, pieces = path.read_bytes(), []
    for number, (start, stop) in enumerate(itertools.pairwise([0, *np.cumsum(sizes), len(path.read_bytes())])):
        pieces.append(path.with_name(f"{path.name}.{number}"))
        pieces[-1].write_bytes(content[start:stop])
    return pieces


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(name, pieces, target):
    with pytest.raises(VouchError) as error:
        unpack(name, pieces, target)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar"])
@pytest.mark.parametrize("sizes", [[], [1, 30_000, 0, 7]])
def test_all_files_are_unpacked(tmp_path, suffix, sizes):
    path = make(tmp_path / f"x{suffix}", FILES)
    assert unpack(path.name, split(path, sizes), tmp_path / "out") == []
    assert everything(tmp_path / "out") == FILES


@given(
    st.lists(st.binary(max_size=9), min_size=1, max_size=5), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)))
)
def test_pieces_read_like_one_file(tmp_path_factory, contents, steps):
    folder = tmp_path_factory.mktemp("pieces")
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    whole = io.BytesIO(b"".join(contents))
    with io.BufferedReader(Pieces([folder / str(number) for number in range(len(contents))]), 4) as pieces:
        for position, count in steps:
            assert pieces.seek(position) == whole.seek(position)
            assert pieces.read(count) == whole.read(count)
            assert pieces.tell() == whole.tell()
        assert pieces.seek(0, io.SEEK_END) == len(whole.getvalue())


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_interrupted_run_is_gone_on_with(tmp_path, suffix):
    path = make(tmp_path / f"x{suffix}", FILES)
    kept = tmp_path / "out" / "corpus" / "a" / "1.wav"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"two" * 1000)  # of the right size, thus written whole by an earlier run
    (kept.parent / "2.wav").write_bytes(b"half")
    (kept.parent / ".2.wav.partial").write_bytes(b"rest of a killed run")
    unpack(path.name, [path], tmp_path / "out")
    assert everything(tmp_path / "out") == FILES | {"corpus/a/1.wav": b"two" * 1000}


def test_only_what_is_wanted(tmp_path):
    path = make(tmp_path / "x.zip", FILES)
    unpack(path.name, [path], tmp_path / "out", lambda name: "/b/" in name)
    assert everything(tmp_path / "out").keys() == {"corpus/b/deep/er/é.wav"}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "corpus/../../evil", "/evil", "a\\..\\evil", "c:/evil"])
def test_paths_that_leave_the_target(tmp_path, suffix, name):
    path = make(tmp_path / f"x{suffix}", {"corpus/fine": b"1", name: b"2"})
    message = refusal(path.name, [path], tmp_path / "in" / "out")
    assert message == (
        f"{path.name}: {name!a} would lie outside {tmp_path}/in/out; the archive is not what it should be"
    )
    assert not list(tmp_path.rglob("*evil"))


def test_links_and_devices_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE}.items():
            member = tarfile.TarInfo(f"corpus/{name}")
            member.type, member.linkname = kind, "/etc"
            archive.addfile(member)
        member = tarfile.TarInfo("corpus/sym/evil")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    left_out = unpack("x.tar", [tmp_path / "x.tar"], tmp_path / "out")
    assert left_out == ["corpus/sym", "corpus/hard", "corpus/pipe"]
    assert everything(tmp_path / "out") == {"corpus/sym/evil": b"x"}  # below a folder, not below the link
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("corpus/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert unpack("x.zip", [tmp_path / "x.zip"], tmp_path / "zip") == ["corpus/link"]
    assert not list(tmp_path.glob("zip/*"))


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_archives_that_fill_the_disk(tmp_path, suffix):
    files = {f"corpus/{number}": bytes(1_000_000) for number in range(3)}
    path = make_zip(tmp_path / "x.zip", files, compression=zipfile.ZIP_DEFLATED) if suffix == ".zip" else None
    path = path or make_tar(tmp_path / "x.tar.gz", files)
    message = refusal(path.name, [path], tmp_path / "out")
    assert message == f"{path.name}: unpacks to more than 100 times its size; it is no corpus"
    assert sum(len(content) for content in everything(tmp_path / "out").values()) <= 100 * path.stat().st_size


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar"])
@pytest.mark.parametrize("keep", [0, 10, 40_000])
def test_truncated_archives(tmp_path, suffix, keep):
    path = make(tmp_path / f"x{suffix}", FILES)
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(path.name, [path], tmp_path / "out")
    assert re.fullmatch(rf"x{suffix}: the archive is damaged \(.*\); remove {path} to get it again", message)
    assert FILES.items() >= everything(tmp_path / "out").items()


def test_a_flipped_bit(tmp_path):
    path = make(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.index(FILES["corpus/b/deep/er/é.wav"][:100]) + 5000] ^= 1
    path.write_bytes(content)
    assert "the archive is damaged (Bad CRC-32" in refusal(path.name, [path], tmp_path / "out")
    assert everything(tmp_path / "out").keys() == {*FILES} - {"corpus/b/deep/er/é.wav"}


def small_zip(path, method=zipfile.ZIP_DEFLATED):
    return make_zip(path, {"d/é.wav": b"sound" * 20}, compression=method)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("é".encode(), b"\xb1\xb9", "not UTF-8 text"),
        (b"d/", b"\0/", "string index out of range"),
        (b"d/", b"\0\0", "string index out of range"),
    ],
)
def test_names_that_are_none(tmp_path, old, new, words):
    """The first: the directory says that names are UTF-8. The others: a name ends at its first zero byte."""
    path = small_zip(tmp_path / "x.zip")
    content = path.read_bytes()
    path.write_bytes(content.replace(old, new))
    message = refusal(path.name, [path], tmp_path / "out")
    assert message == f"x.zip: the archive is damaged ({words}); remove {path} to get it again"


@pytest.mark.parametrize(("dictionary", "is_damage"), [(1 << 26, False), ((1 << 26) + 1, True), ((1 << 32) - 1, True)])
def test_dictionaries_larger_than_the_content(tmp_path, dictionary, is_damage):
    """Their size stands in the five bytes of properties that LZMA data begin with, which no checksum covers."""
    files = {"d/a.wav": b"sound" * 20, "d/é.wav": bytes(300)}
    path = make_zip(tmp_path / "x.zip", files, compression=zipfile.ZIP_LZMA)
    first, properties, last = path.read_bytes().rpartition(b"]\0\0\x80\0")
    path.write_bytes(first + properties[:1] + dictionary.to_bytes(4, "little") + last)
    if not is_damage:
        assert unpack(path.name, [path], tmp_path / "out") == []
        assert everything(tmp_path / "out") == files
        return
    assert refusal(path.name, [path], tmp_path / "out") == (
        f"x.zip: the archive is damaged (d/é.wav of 300 bytes has a dictionary of {dictionary} bytes); remove {path} to"
        " get it again"
    )


def raw_header(kind, size, name="x"):
    """A header of 512 bytes, whatever its size says."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(**words):
    """A pax header that gives the next member attributes, with `length key=value` lines."""
    lines = b""
    for key, value in words.items():
        rest = f" {key.replace('_', '.')}={value}\n".encode()
        digits = next(digits for digits in range(1, 9) if len(str(digits + len(rest))) == digits)
        lines += str(digits + len(rest)).encode() + rest
    return raw_header(tarfile.XHDTYPE, len(lines)) + lines + bytes(-len(lines) % 512)


MEGABYTES = 30 << 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (raw_header(tarfile.GNUTYPE_LONGNAME, MEGABYTES) + b"a" * MEGABYTES, "a name or attributes of"),
        (raw_header(tarfile.GNUTYPE_LONGLINK, MEGABYTES) + b"a" * MEGABYTES, "a name or attributes of"),
        (raw_header(tarfile.XHDTYPE, MEGABYTES) + b"9" * MEGABYTES, "a name or attributes of"),
        (raw_header(tarfile.XGLTYPE, MEGABYTES) + b"9" * MEGABYTES, "a name or attributes of"),
        (raw_header(tarfile.GNUTYPE_LONGNAME, 1 << 40), "a name or attributes of"),
        (
            pax(GNU_sparse_major=1, GNU_sparse_minor=0) + raw_header(tarfile.REGTYPE, MEGABYTES) + b"9" * MEGABYTES,
            "many pieces",
        ),
        (pax(size=-5) + raw_header(tarfile.REGTYPE, 3), "a size below 0"),
        (raw_header(tarfile.REGTYPE, 3)[:100] + b"\xff" * 412, ""),
    ],
)
def test_headers_that_mean_harm(tmp_path, content, words):
    """Compressed a thousandfold; read whole they would take the memory that the disk is spared."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(content, 6))
    tracemalloc.start()
    try:
        message = refusal("x.tar.gz", [path], tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert message.startswith("x.tar.gz: the archive is damaged (") and words in message
    assert everything(tmp_path) == {"x.tar.gz": path.read_bytes()}


def test_a_sparse_file_whose_list_does_not_end(tmp_path):
    header = bytearray(raw_header(tarfile.GNUTYPE_SPARSE, 0))
    header[482] = 1  # more of the list follows
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    piece = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(bytes(header) + piece * 20_000, 6))
    assert "a sparse file in many pieces" in refusal("x.tar.gz", [tmp_path / "x.tar.gz"], tmp_path / "out")


def test_millions_of_empty_files(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(raw_header(tarfile.REGTYPE, 0, "corpus/x") * 20_000, 9))
    assert "unpacks to more than 100 times" in refusal(path.name, [path], tmp_path / "out")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
@settings(max_examples=25)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4
    )
)
def test_damaged_archives_are_one_line(tmp_path_factory, suffix, changes):
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / f"x{suffix}"
    if suffix == ".zip":
        make_zip(path, FILES, compression=zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(path, f"w:{suffix.rpartition('.')[2]}", format=tarfile.PAX_FORMAT) as archive:
            for name, content in {**FILES, "corpus/" + "long" * 60: b"1"}.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    content = path.read_bytes()
    for place, piece in changes:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + len(piece) :]
    path.write_bytes(content)
    try:
        unpack(path.name, [path], folder / "out")
    except VouchError as error:
        assert "\n" not in str(error)
    shutil.rmtree(folder)


def test_something_else(tmp_path):
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    assert refusal("x.rar", [tmp_path / "x.rar"], tmp_path).startswith("x.rar: neither .zip nor .tar, .tar.gz")


# --- obtain --------------------------------------------------------------------------------------------------------


def test_obtain(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "made").mkdir()
    content = make(tmp_path / "made" / "x.zip", FILES).read_bytes()
    pieces = {"xa": content[:500], "xb": content[500:]}
    archive = Archive(
        "x.zip", md5(content).hexdigest(), "corpus", pieces={n: md5(c).hexdigest() for n, c in pieces.items()}
    )
    root = tmp_path / "root"
    with FileServer(pieces) as web:
        assert obtain(archive, root, Server(web.address + "/{name}")) == root / "corpus"
    assert everything(root / "corpus") == {name.removeprefix("corpus/"): data for name, data in FILES.items()}
    nobody = Server("http://127.0.0.1:9/{name}")
    # There: used as it is, with or without archives.
    (root / "corpus" / "a" / "1.wav").unlink()
    obtain(archive, root, nobody)
    assert not (root / "corpus" / "a" / "1.wav").exists()
    # Interrupted: unpacked again from what was downloaded.
    (root / ".x.zip.unpacking").touch()
    obtain(archive, root, nobody)
    assert (root / "corpus" / "a" / "1.wav").exists() and not (root / ".x.zip.unpacking").exists()
    # Put together by hand.
    other = tmp_path / "other"
    (other / "archives").mkdir(parents=True)
    (other / "archives" / "x.zip").write_bytes(content)
    assert everything(obtain(archive, other, nobody)) == everything(root / "corpus")


def test_obtain_an_archive_of_something_else(tmp_path):
    (tmp_path / "archives").mkdir()
    path = make(tmp_path / "archives" / "x.tar.gz", {"else/where": b"1"})
    digest = md5(path.read_bytes()).hexdigest()
    with pytest.raises(VouchError, match=r"^x.tar.gz: there is no corpus/speakers in it$"):
        obtain(Archive("x.tar.gz", digest, "corpus/speakers"), tmp_path, Server("http://x/{name}"))
