"""Downloads that break off, are refused, change, or do not fit on the disk."""

import hashlib
import resource
import signal
import socket
from collections import namedtuple

import numpy as np
import pytest
from fileserver import FileServer

import vouch.corpora.download as download
from vouch.base.errors import VouchError
from vouch.base.files import open_exclusive
from vouch.cli.messages import ask
from vouch.corpora.credentials import Credentials
from vouch.corpora.download import fetch
from vouch.corpora.server import Server

NAME = "corpus.tar.gz"
CONTENT = np.random.default_rng(0).bytes(200_001)
MD5 = hashlib.md5(CONTENT).hexdigest()
SECRET = "s3cr&t+ /key"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def web():
    with FileServer({NAME: CONTENT}) as server:
        yield server


def get(web, path, md5=MD5, name=NAME, **credentials):
    fetch(Server(web.address + "/corpus/{name}", **credentials), name, path, md5)


def complaint(web, path, *words, **options):
    with pytest.raises(VouchError) as error:
        get(web, path, *words, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != download.RECORD)


@pytest.mark.parametrize("length", [True, False])
def test_a_file_arrives(web, tmp_path, length):
    web.length = length
    get(web, tmp_path / "in" / NAME)
    assert (tmp_path / "in" / NAME).read_bytes() == CONTENT
    assert leftovers(tmp_path / "in") == [NAME]
    assert [path for path, _ in web.requests] == [f"/corpus/{NAME}"]


def test_an_empty_file_arrives(web, tmp_path):
    web.files["empty"] = b""
    get(web, tmp_path / "empty", md5=None, name="empty")
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_broken_connections_are_gone_on_with(web, tmp_path, seed, ranges):
    web.ranges = ranges
    rng = np.random.default_rng(seed)
    web.cuts = [int(cut) for cut in rng.integers(1, 60_000, 6)]
    if not ranges:
        web.cuts = sorted(web.cuts)  # a server without ranges begins anew each time: only then does each go further
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    asked = [headers.get("Range") for _, headers in web.requests]
    assert asked[0] is None and None not in asked[1:] and len(asked) >= 3


def test_without_a_byte_more_it_gives_up_and_keeps_what_came(web, tmp_path):
    web.cuts = [70_000, *[0] * 5]
    assert complaint(web, tmp_path / NAME) == (
        f"{web.address}/corpus/{NAME}: the connection ended early, 5 times in a row; 70000 bytes are kept in"
        f" {tmp_path}/{NAME}.part, the same command goes on from there"
    )
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:70_000]
    get(web, tmp_path / NAME)
    assert web.requests[-1][1]["Range"] == "bytes=70000-"
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert leftovers(tmp_path) == [NAME]


def test_a_file_that_changed_meanwhile_is_begun_anew(web, tmp_path):
    web.cuts = [70_000, *[0] * 5]
    complaint(web, tmp_path / NAME)
    web.files[NAME], web.tag = CONTENT[::-1][:90_000], '"2"'
    get(web, tmp_path / NAME, md5=hashlib.md5(web.files[NAME]).hexdigest())
    assert (tmp_path / NAME).read_bytes() == CONTENT[::-1][:90_000]


def test_a_shorter_file_on_a_server_without_ranges_leaves_no_tail(web, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    web.ranges, web.tag = False, ""
    web.files[NAME] = CONTENT[:1000]
    get(web, tmp_path / NAME, md5=hashlib.md5(CONTENT[:1000]).hexdigest())
    assert (tmp_path / NAME).read_bytes() == CONTENT[:1000]


def test_a_complete_part_is_only_checked(web, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_part_that_is_too_long(web, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"more")
    message = complaint(web, tmp_path / NAME)
    assert "the file there is not the one that was begun, which has 200005 bytes already; remove the .part" in message


def test_wrong_bytes_are_kept_and_named(web, tmp_path):
    web.files[NAME] = b"x" * 500
    wrong = hashlib.md5(b"x" * 500).hexdigest()
    expected = (
        f"{tmp_path}/{NAME}.part: its MD5 is {wrong} and not {MD5}: the file on the server has changed or was damaged"
        " on its way; remove this one"
    )
    assert complaint(web, tmp_path / NAME) == expected
    assert complaint(web, tmp_path / NAME) == expected
    assert (tmp_path / f"{NAME}.part").read_bytes() == b"x" * 500
    assert not (tmp_path / NAME).exists()


def test_a_passing_mishap_of_the_server(web, tmp_path):
    web.statuses = [503, 500, 429, 502]
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the server refuses access (401 Unauthorized); --url gives another address"),
        (404, "the server has no such file (404 Not Found); --url gives another address"),
        (418, "the server answered 418 I'm a Teapot"),
        (304, "redirected in a circle, or to no address that can be followed (304)"),
    ],
)
def test_refusals_are_final(web, tmp_path, status, words):
    web.statuses = [status]
    assert complaint(web, tmp_path / NAME).replace("a teapot", "a Teapot") == f"{web.address}/corpus/{NAME}: {words}"
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (204, "the server answered 204 No Content without the file; --url gives another address"),
        (205, "the server answered 205 Reset Content without the file; --url gives another address"),
        (202, "the server answered 202 Accepted without the file, 5 times in a row; 0 bytes are kept in"),
    ],
)
def test_good_words_without_a_file(web, tmp_path, status, words):
    web.statuses = [status] * 5
    assert f"{web.address}/corpus/{NAME}: {words}" in complaint(web, tmp_path / NAME, md5=None)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Length": "9" * 5000}, "it sent a length that is none"),
        ({"Content-Length": "-1"}, "it sent a length that is none"),
        ({"Content-Length": "1_0"}, "it sent a length that is none"),
        ({"Content-Length": "²"}, "it sent a length that is none"),
        ({"Content-Length": None, "Transfer-Encoding": "chunked"}, "the connection broke"),
    ],
)
def test_lengths_that_are_none(web, tmp_path, headers, words):
    web.headers = headers
    web.files = {NAME: b"zz\r\nno number\r\n"}
    assert words in complaint(web, tmp_path / NAME, md5=None)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    "placed",
    [
        *(f"bytes 100-{'9' * 5000}/*", f"bytes {'9' * 5000}-1/*", f"bytes 100-200/{'9' * 5000}", "bytes 100-99/200"),
        *("bytes 100-200/150", "bytes -5-200/300", "bytes ²00-200/300"),
    ],
)
def test_parts_that_are_none(web, tmp_path, placed):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:100])
    web.headers = {"Content-Range": placed}
    assert "it sent a part " in complaint(web, tmp_path / NAME)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:100]


def test_nothing_and_no_length(web, tmp_path):
    web.length, web.files = False, {NAME: b""}
    assert "it sent nothing, and no length, 5 times in a row" in complaint(web, tmp_path / NAME, md5=None)
    assert not (tmp_path / NAME).exists()


def test_words_of_the_server_are_shown_without_what_upsets_a_terminal(web, tmp_path):
    web.statuses, web.reason = [418], "\x1b[2Jred"
    assert complaint(web, tmp_path / NAME).endswith("the server answered 418 \\x1b[2Jred")


def test_a_record_of_a_version_that_is_damaged(web, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 500)
    (tmp_path / f".{NAME}.part.version").write_bytes(b"\xff\r\nX: y")
    web.ranges = False
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_nobody_there(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(VouchError, match=r"cannot be reached \(Connection refused\), 5 times in a row; 0 bytes"):
            fetch(Server(address + "/{name}"), NAME, tmp_path / NAME)


def test_a_connection_that_is_held_open_after_the_last_byte(web, tmp_path):
    web.linger = True
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_web_page_in_the_place_of_the_file(web, tmp_path, monkeypatch):
    web.kind = "text/html; charset=utf-8"
    message = complaint(web, tmp_path / NAME, credentials=credentials(monkeypatch, USER="a", PASSWORD="b"))
    assert message.endswith(
        f"the server sent a web page in the place of {NAME}; the key or password may be wrong or expired;"
        " they come from SOME_KEY, or SOME_USER and SOME_PASSWORD, or --login FILE"
    )
    assert (tmp_path / f"{NAME}.part").read_bytes() == b""


def test_a_full_disk_before(web, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(0, 0, 1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    message = complaint(web, tmp_path / NAME)
    assert message == f"{tmp_path}/{NAME}.part: 0.0 GB more are needed and 0.0 GB are free on this disk"


def test_a_full_disk_meanwhile(web, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        message = complaint(web, tmp_path / NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert message == (
        f"{tmp_path}/{NAME}.part: File too large; what has arrived is kept, the same command goes on from there"
    )
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:50_000]
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_two_processes_do_not_mix(web, tmp_path):
    with open_exclusive(tmp_path / f"{NAME}.part"):
        message = complaint(web, tmp_path / NAME)
    assert "another process is working on this file" in message
    assert not web.requests


# --- files that are there ------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_checked_once(web, tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(CONTENT)
    get(web, tmp_path / NAME)
    get(web, tmp_path / NAME, md5=None)
    with monkeypatch.context() as patch:
        patch.setattr(download.hashlib, "md5", None)
        get(web, tmp_path / NAME)
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    message = complaint(web, tmp_path / NAME)
    assert message.startswith(f"{tmp_path}/{NAME}: its MD5 is ") and message.endswith(
        f"remove it, or rename it to {NAME}.part to go on with it"
    )
    (tmp_path / NAME).rename(tmp_path / f"{NAME}.part")
    (tmp_path / download.RECORD).write_text("{")
    get(web, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert web.requests[-1][1]["Range"] == f"bytes={len(CONTENT) - 1}-"


# --- addresses and secrets -----------------------------------------------------------------------------------------


def credentials(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"SOME_{name}", value)
    return Credentials("SOME")


def test_user_and_password(web, tmp_path, monkeypatch):
    web.login = "me:pass:word"
    wrong = credentials(monkeypatch, USER="me", PASSWORD=SECRET)
    message = complaint(web, tmp_path / NAME, credentials=wrong)
    assert message == (
        f"{web.address}/corpus/{NAME}: the server refuses access (401 Unauthorized); the key or password may be wrong"
        " or expired; they come from SOME_KEY, or SOME_USER and SOME_PASSWORD, or --login FILE"
    )
    assert len(web.requests) == 1
    get(web, tmp_path / NAME, credentials=credentials(monkeypatch, USER="me", PASSWORD="pass:word"))
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_key_in_the_address(web, tmp_path, monkeypatch):
    web.key = SECRET
    template = web.address + "/download?file={name}&key={key}"
    fetch(Server(template, credentials(monkeypatch, KEY=SECRET)), NAME, tmp_path / NAME, MD5)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    for trouble in ({"key": "other"}, {"key": SECRET, "statuses": [503] * 5}, {"files": {}}):
        vars(web).update(trouble)
        with pytest.raises(VouchError) as error:
            fetch(Server(template, credentials(monkeypatch, KEY=SECRET)), NAME, tmp_path / "new")
        assert str(error.value).startswith(f"{web.address}/download?...: ") and "s3cr" not in str(error.value)


def test_redirection(web, tmp_path):
    web.moved = {"old": f"/elsewhere/{NAME}"}
    web.cuts = [1000]
    get(web, tmp_path / NAME, name="old")
    assert (tmp_path / NAME).read_bytes() == CONTENT
    web.moved = {"old": "/old"}
    assert "redirected in a circle" in complaint(web, tmp_path / "x", name="old")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "http://[::1",
            "http://h\u00e9\u00e9.example/x",
            "http://a:99999999/",
            "http://a:x/",
            "http://",
            "http://a..b/",
        ),
        *("file:///etc/passwd", "ftp://127.0.0.1/x", "javascript:x", "http://[::1]:0x/", f"http://{'a' * 300}/"),
    ],
)
def test_redirections_to_nowhere(web, tmp_path, address):
    web.moved = {NAME: address}
    message = complaint(web, tmp_path / NAME, md5=None)
    assert message.startswith(f"{web.address}/corpus/{NAME}: ")
    assert "no address that can be followed" in message or "cannot be reached" in message
    assert not (tmp_path / NAME).exists()


def test_a_password_stays_with_its_server(web, tmp_path, monkeypatch):
    with FileServer({NAME: CONTENT}) as other:
        web.login = "me:secret"
        known = credentials(monkeypatch, USER="me", PASSWORD="secret")
        web.moved = {"here": f"/{NAME}", "there": f"{other.address}/{NAME}"}
        get(web, tmp_path / "here", name="here", credentials=known)
        get(web, tmp_path / "there", name="there", credentials=known)
        assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes() == CONTENT
        assert all("Authorization" in headers for _, headers in web.requests)
        assert "Authorization" not in other.requests[0][1]


@pytest.mark.parametrize(
    "template",
    [
        *(
            "ftp://x/{name}",
            "http://x/corpus",
            "http://x/{name}/{other}",
            "http://x/{name",
            "http://x/ {name}",
            "{name}",
        ),
        *("http://x/{name:>9999999999}", "http://x/{name!r}", "http://x/{name.__class__}", "http://x/{name}{}"),
    ],
)
def test_addresses_that_are_none(template):
    with pytest.raises(VouchError, match=r"^--url: must begin with http:// or https:// and hold \{name\}"):
        Server(template, Credentials("X"))


@pytest.mark.parametrize(
    "template",
    [
        *("http://[x/{name}", "http://[::1/{name}", "http://x:99999/{name}", "http://x:y/{name}", "http:///{name}"),
        *("http://{name}/", "http://x.{name}/", "http://x/é/{name}", "https://é/{name}"),
    ],
)
def test_addresses_that_nothing_can_be_fetched_from(template):
    with pytest.raises(VouchError, match=r"^--url: not an address"):
        Server(template)


def test_secrets_do_not_belong_in_addresses():
    with pytest.raises(VouchError, match=r"^--url: holds a user or password"):
        Server("http://me:secret@x/{name}", Credentials("X"))
    with pytest.raises(VouchError, match=r"^--x: what is fetched from there needs no \{key\}"):
        Server("http://x/{name}?{key}", option="--x")


def test_secrets_from_a_file(tmp_path):
    (tmp_path / "key").write_text(f"{SECRET}\n")
    (tmp_path / "login").write_text("me\nsecret\n")
    assert Credentials("X", tmp_path / "key").key() == SECRET
    assert Credentials("X", tmp_path / "login").login() == ("me", "secret")
    for file, wanted in {"key": "login", "login": "key"}.items():
        with pytest.raises(VouchError, match=r"has \d lines; this server wants (one|two) line") as error:
            getattr(Credentials("X", tmp_path / file), wanted)()
        assert SECRET not in str(error.value)


def test_secrets_from_the_environment_are_not_handed_on(monkeypatch):
    known = credentials(monkeypatch, KEY=SECRET)
    assert known.key() == known.key() == SECRET
    assert "SOME_KEY" not in download.os.environ
    assert SECRET not in repr(known)


def test_secrets_from_the_keyboard(monkeypatch, capsys):
    class Terminal:
        isatty, readline = staticmethod(lambda: True), staticmethod(lambda: "me\n")

    monkeypatch.setattr("sys.stdin", Terminal)
    monkeypatch.setattr("getpass.getpass", lambda prompt: SECRET if "password" in prompt else "")
    assert Credentials("NEW", ask=ask).login() == ("me", SECRET)
    with pytest.raises(VouchError, match=r"^the server wants an access key: set NEW_KEY, or give --login FILE$"):
        Credentials("NEW", ask=ask).key()
    assert SECRET not in "".join(capsys.readouterr())


def test_secrets_that_are_nowhere(monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    with pytest.raises(VouchError, match=r"^the server wants a user: set NEW_USER, or give --login FILE$"):
        Credentials("NEW", ask=ask).login()
