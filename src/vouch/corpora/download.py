"""Downloads large files: continues interrupted downloads, checks finished ones, and reports errors in one line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import ssl
import time
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request

from tqdm import tqdm

from vouch.base.errors import VouchError, one_line
from vouch.base.files import open_exclusive, read_json, read_text, write_text
from vouch.corpora.server import SECONDS, Server

TRIES = 5  # consecutive attempts that receive nothing
FIRST_WAIT = 1.0  # seconds before the second attempt, doubled before each further one
BLOCK = 1 << 18
PASSING = {202, 408, 425, 429, 500, 502, 503, 504}  # HTTP statuses of temporary failures
RECORD = ".verified.json"
SIZE = "[0-9]{1,18}"  # size of a file in bytes; Python refuses to convert numbers of thousands of digits


class _Passing(Exception):
    """A temporary failure: the request is worth repeating."""


def fetch(server: Server, name: str, path: Path, md5: str | None = None) -> None:
    """Download the file `name` of a server to `path`.

    Data are written to `<path>.part` until the file is complete and its checksum is right; the next call continues
    there. An existing file is checked once and kept.

    Parameters
    ----------
    server : Server
        Server to download from.
    name : str
        Name of the file on the server.
    path : Path
        Destination.
    md5 : str, optional
        MD5 digest in hexadecimal; None if it is unknown.

    Raises
    ------
    VouchError
        The server refuses, lacks the file, sends something else or cannot be reached, the disk is full, or the checksum
        differs. Data received so far are kept.
    """
    if path.exists():
        if md5 is not None:
            check_md5(path, md5, f"remove it, or rename it to {path.name}.part to go on with it")
        return
    part = path.with_name(f"{path.name}.part")
    with open_exclusive(part) as file:
        _fill(server, name, part, file)
        if md5 is not None:
            check_md5(part, md5, "the file on the server has changed or was damaged on its way; remove this one")
        os.fsync(file.fileno())
        os.replace(part, path)
    _mark(part).unlink(missing_ok=True)
    if md5 is not None:
        _remember(path, md5)


def check_md5(path: Path, md5: str, advice: str) -> None:
    """Compare a file with its MD5 digest, unless this was done before and the file has not changed since."""
    known = _known(path.parent)
    status = path.stat()
    if known.get(path.name) == [md5, status.st_size, status.st_mtime_ns]:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with (
        open(path, "rb") as file,
        tqdm(
            total=status.st_size, desc=f"MD5 of {path.name}", unit="B", unit_scale=True, mininterval=1.0, disable=None
        ) as progress,
    ):
        while block := file.read(BLOCK):
            digest.update(block)
            progress.update(len(block))
    if digest.hexdigest() != md5:
        raise VouchError(f"{path}: its MD5 is {digest.hexdigest()} and not {md5}: {advice}")
    if path.suffix != ".part":
        _remember(path, md5)


def _known(folder: Path) -> dict[str, list]:
    try:
        known = read_json(folder / RECORD)
    except VouchError:
        return {}  # the checksums are then computed again
    return known if isinstance(known, dict) else {}


def _remember(path: Path, md5: str) -> None:
    status = path.stat()
    known = _known(path.parent) | {path.name: [md5, status.st_size, status.st_mtime_ns]}
    write_text(path.with_name(RECORD), json.dumps(known, indent=0, sort_keys=True) + "\n")


def _fill(server: Server, name: str, part: Path, file: FileIO) -> None:
    """Receive data until the file is complete, repeating the request after temporary failures."""
    failures = 0
    while True:
        before = os.fstat(file.fileno()).st_size
        try:
            return _receive(server, name, part, file)
        except _Passing as mishap:
            have = os.fstat(file.fileno()).st_size
            failures = 1 if have > before else failures + 1
            if failures == TRIES:
                raise VouchError(
                    f"{server.shown(name)}: {mishap}, {TRIES} times in a row; {have} bytes are kept in {part}, the same"
                    " command goes on from there"
                ) from None
            time.sleep(FIRST_WAIT * 2 ** (failures - 1))


def _receive(server: Server, name: str, part: Path, file: FileIO) -> None:
    """Send one request and append the answer to the partial file, or replace the file if the server sends all of it."""
    have = os.fstat(file.fileno()).st_size
    version = _begun_version(part) if have else ""
    request = server.request(name)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version:
            request.add_header("If-Range", version)
    response = _open(server, name, request, have)
    if response is None:
        return
    with response:
        start, total = _place(response, have)
        new_version = _version(response)
        if start == 0 and (not have or new_version != version):
            file.truncate(0)
            write_text(_mark(part), new_version)
        elif start > have:
            raise _Passing(f"asked for byte {have} and on, it sent byte {start} and on")
        _check_space(part, 0 if total is None else total - os.fstat(file.fileno()).st_size)
        file.seek(start)
        with tqdm(
            total=total, initial=start, desc=name, unit="B", unit_scale=True, mininterval=1.0, disable=None
        ) as progress:
            end = _copy(response, file, part, total, progress)
    if total is not None and end < total:
        raise _Passing("the connection ended early")
    if total is None and not end:
        raise _Passing("it sent nothing, and no length")
    file.truncate(end)


def _open(server: Server, name: str, request: Request, have: int) -> HTTPResponse | None:
    """Return the answer to a request; None if the server says that the partial file is already complete."""
    shown = server.shown(name)
    try:
        response = server.open(request)
    except HTTPError as error:
        with error:
            if error.code == 416 and error.headers.get("Content-Range", "").rpartition("/")[2] in ("", str(have)):
                return None
            raise _judge(error, shown, server, have) from None
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise VouchError(
                f"{shown}: the server's certificate is not valid ({error.reason.verify_message})"
            ) from None
        raise _Passing(f"cannot be reached ({_words(error.reason)})") from None
    except (HTTPException, OSError) as error:
        raise _Passing(f"cannot be reached ({_words(error)})") from None
    except Exception as error:
        # Our own address was checked; that of a redirection or a proxy may be malformed.
        raise VouchError(f"{shown}: leads to no address that can be followed ({_words(error)})") from None
    if response.status not in (200, 206):
        response.close()
        answer = f"the server answered {_status(response)} without the file"
        raise _Passing(answer) if response.status in PASSING else VouchError(f"{shown}: {answer}; {server.advice()}")
    kind = response.headers.get_content_type()
    if kind == "text/html" and not name.endswith((".html", ".htm")):
        response.close()
        raise VouchError(f"{shown}: the server sent a web page in the place of {name}; {server.advice()}")
    return response


def _judge(error: HTTPError, shown: str, server: Server, have: int) -> Exception:
    """Return the exception to raise for an error status."""
    status = _status(error)
    if error.code in PASSING:
        return _Passing(f"the server answered {status}")
    if error.code in (401, 403):
        return VouchError(f"{shown}: the server refuses access ({status}); {server.advice()}")
    if error.code in (404, 410):
        return VouchError(f"{shown}: the server has no such file ({status}); {server.elsewhere()}")
    if error.code == 416:
        return VouchError(
            f"{shown}: the file there is not the one that was begun, which has {have} bytes already; remove the .part"
        )
    if 300 <= error.code < 400:
        return VouchError(f"{shown}: redirected in a circle, or to no address that can be followed ({error.code})")
    return VouchError(f"{shown}: the server answered {status}")


def _status(answer: HTTPResponse | HTTPError) -> str:
    """Return the number and the words of an answer's status line."""
    return f"{answer.status} {one_line(answer.reason or '')}".strip()


def _place(response: HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return the position of the first byte sent, and the size of the whole file or None if it is unknown."""
    if response.status == 206:
        found = re.fullmatch(rf"bytes ({SIZE})-({SIZE})/({SIZE}|\*)", response.headers.get("Content-Range", "").strip())
        if found is None or not int(found[1]) <= int(found[2]):
            raise _Passing("it sent a part of the file without saying which")
        total = None if found[3] == "*" else int(found[3])
        if total is not None and total <= int(found[2]):
            raise _Passing("it sent a part that lies behind the file's end")
        return int(found[1]), total
    # A server without support for ranges sends the whole file, which overwrites the existing part.
    length = response.headers.get("Content-Length", "").strip()
    if not length:
        return 0, None
    if not re.fullmatch(SIZE, length):
        raise _Passing("it sent a length that is none")
    return 0, int(length)


def _version(response: HTTPResponse) -> str:
    """Return a text that changes when the file on the server changes (its ETag or date)."""
    tag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _begun_version(part: Path) -> str:
    """Return the version of the partial file, or an empty text if it is unknown."""
    try:
        version = read_text(_mark(part), most=BLOCK)
    except VouchError:
        return ""
    return version if version.isascii() and version.isprintable() else ""


def _mark(part: Path) -> Path:
    return part.with_name(f".{part.name}.version")


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise VouchError(f"{part}: {needed / 1e9:.1f} GB more are needed and {free / 1e9:.1f} GB are free on this disk")


def _copy(response: HTTPResponse, file: FileIO, part: Path, total: int | None, progress: tqdm) -> int:
    """Write the received data at the file's position, and return the position after it."""
    position = file.tell()
    # Stop at the expected size, because a server may keep the connection open after the last byte.
    while total is None or position < total:
        try:
            block = response.read1(BLOCK if total is None else min(BLOCK, total - position))
        except Exception as error:
            # This includes chunked transfers with malformed sizes.
            raise _Passing(f"the connection broke ({_words(error)})") from None
        if not block:
            break
        rest = memoryview(block)
        while rest:
            rest = rest[_write(file, rest, part) :]
        position += len(block)
        progress.update(len(block))
    return position


def _write(file: FileIO, block: memoryview, part: Path) -> int:
    try:
        return file.write(block) or 0
    except OSError as error:
        advice = "what has arrived is kept, the same command goes on from there"
        raise VouchError(f"{part}: {error.strerror}; {advice}") from None


def _words(error: object) -> str:
    """Return the message of a network error, without any URL, which may contain a key."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {SECONDS:.0f} seconds"
    return getattr(error, "strerror", None) or type(error).__name__
