"""A small web server that does to downloads what large ones do now and then."""

import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class FileServer:
    """Serves `files` on this machine; use it as a context manager.

    Attributes
    ----------
    files : content by name, the part of the path after the last '/' or the query's `file`
    requests : (path, headers) of all requests so far
    cuts : numbers of bytes after which the next answers break off
    statuses : of the next answers
    ranges : whether it knows ranges
    length : whether it says how long a file is
    tag : its ETag
    key, login : that it wants, in the query and as basic authorisation
    moved : addresses by name, to send clients on to
    kind : the content type
    headers : of all answers, instead of or beside the right ones; with None a header is left out
    reason : the words after the status
    """

    def __init__(self, files):
        self.files = dict(files)
        self.requests, self.cuts, self.statuses = [], [], []
        self.ranges, self.length, self.linger = True, True, False
        self.tag, self.key, self.login, self.kind = '"1"', None, None, "application/octet-stream"
        self.moved, self.headers, self.reason = {}, {}, None

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.done = threading.Event()
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, handler):
        """Answer one request."""
        self.requests.append((handler.path, handler.headers))
        handler.close_connection = True
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = query.get("file", parts.path.rpartition("/")[2])
        status = self.refusal(handler.headers, query, name)
        if status:
            return self.reply(handler, status, {"Location": self.moved.get(name)}, b"")
        content = self.files[name]
        wanted = handler.headers.get("Range", "")
        fresh = handler.headers.get("If-Range", self.tag) == self.tag
        if not (wanted and self.ranges and fresh):
            return self.reply(handler, 200, {}, content)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return self.reply(handler, 416, {"Content-Range": f"bytes */{len(content)}"}, b"")
        placed = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.reply(handler, 206, {"Content-Range": placed}, content[start:])

    def refusal(self, headers, query, name):
        """The status of an answer without a file; None for one with it."""
        if self.statuses:
            return self.statuses.pop(0)
        given = b64decode(headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if self.login and given != self.login:
            return 401
        if self.key and query.get("key") != self.key:
            return 403
        if name in self.moved:
            return 302
        return None if name in self.files else 404

    def reply(self, handler, status, headers, body):
        """Send an answer, or its beginning."""
        handler.send_response(status, self.reason)
        length = {"Content-Length": str(len(body))} if self.length else {}
        for header, value in {"Content-Type": self.kind, "ETag": self.tag, **length, **headers, **self.headers}.items():
            if value:
                handler.send_header(header, value)
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts and status in (200, 206) else body)
        handler.wfile.flush()
        if self.linger:
            self.done.wait(30)
