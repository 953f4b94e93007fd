"""Builds requests to a server of corpus files, with passwords and restricted redirections."""

from __future__ import annotations

import string
from base64 import b64encode
from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vouch.base.errors import VouchError, reason
from vouch.corpora.credentials import Credentials

SECONDS = 60.0  # time without data after which a connection counts as broken
FIELDS = {"name", "key"}


class Server:
    """The server of a corpus's files.

    Parameters
    ----------
    template : str
        Address in which {name} stands for the name of a file and {key}, if present, for the access key.
    credentials : Credentials, optional
        Source of the key, or of user and password for a template without {key}; None if the server needs neither.
    option : str
        Command-line option with the template, for messages.

    Raises
    ------
    VouchError
        The template is not an http address with {name}, or contains a user or password.
    """

    def __init__(self, template: str, credentials: Credentials | None = None, option: str = "--url") -> None:
        fields = _fields(template)
        plain = template.isprintable() and " " not in template and template.startswith(("http://", "https://"))
        if not plain or "name" not in fields or fields - FIELDS:
            raise VouchError(
                f"{option}: must begin with http:// or https:// and hold {{name}}, and {{key}} for an access key"
            )
        _check_address(template, option)
        if "key" in fields and credentials is None:
            raise VouchError(f"{option}: what is fetched from there needs no {{key}}")
        self._template = template
        self._option = option
        self._credentials = credentials
        self._wants_key = "key" in fields

    def shown(self, name: str) -> str:
        """Return the address for messages, without key and query."""
        path, question, _ = self._template.partition("?")
        return path.format(name=name, key="KEY") + ("?..." if question else "")

    def advice(self) -> str:
        """Return advice for the case that the server refuses access."""
        if self._credentials is None:
            return self.elsewhere()
        return f"the key or password may be wrong or expired; they come from {self._credentials.advice()}"

    def elsewhere(self) -> str:
        """Return advice on how to use another server."""
        return f"{self._option} gives another address"

    def request(self, name: str) -> Request:
        """Return the request for a file with its secrets; `VouchError` if they are not found."""
        key = self._credentials.key() if self._credentials is not None and self._wants_key else ""
        request = Request(self._template.format(name=quote(name), key=quote(key, safe="")))
        request.add_header("User-Agent", "vouch")
        request.add_header("Accept-Encoding", "identity")
        if self._credentials is not None and not self._wants_key:
            words = ":".join(self._credentials.login())
            # Not sent along on redirections, because another server must not see it.
            request.add_unredirected_header("Authorization", "Basic " + b64encode(words.encode()).decode())
        return request

    def open(self, request: Request) -> HTTPResponse:
        """Send a request; errors are those of `urllib`."""
        return build_opener(_Redirections).open(request, timeout=SECONDS)


class _Redirections(HTTPRedirectHandler):
    """Follows redirections, and sends the password along only within the same server."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(req.full_url, code, "redirected to something else than a web server", headers, fp)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        password = req.get_header("Authorization")
        if new is not None and password is not None and _origin(new) == _origin(req):
            new.add_unredirected_header("Authorization", password)
        return new


def _fields(template: str) -> set[str]:
    """Return the fields in braces; format specifications are refused, since {name:>9999999999} would take 10 GB."""
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError:
        return set()
    return {f"{field}{f'!{conversion}' if conversion else ''}{spec}" for _, field, spec, conversion in parts}


def _check_address(template: str, option: str) -> None:
    try:
        parts = urlsplit(template)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise VouchError(f"{option}: not an address ({reason(error)})") from None
    if parts.username is not None:
        raise VouchError(f"{option}: holds a user or password, which others can see; leave them out of it")
    if not host or "{" in host or not template.isascii():
        raise VouchError(
            f"{option}: not an address: it needs a host before {{name}}, and other letters than English ones as %XX"
        )


def _origin(request: Request) -> tuple[str, str]:
    parts = urlsplit(request.full_url)
    return parts.scheme, parts.netloc
