"""A `python3` for PATH that runs the project's scripts without the seconds that importing torch takes each time.

Programs that start scripts themselves, as run.sh does, find it instead of Python. It is a small client that passes its
words, folder, environment and open files to a server, which has imported the heavy packages and forks; it ends as the
script ends, and when it is killed the script is too. What is no script, or one of those that need no packages and
become other programs, is left to Python. Linux; elsewhere there is no such thing.
"""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import BEGINNING

CLIENT = r"""#!{python} -IS
import json, os, socket, sys

words = sys.argv[1:]
folder, name = os.path.split(words[0]) if words else ("", "")
try:
    for number in range(3):
        os.fstat(number)
    whole = True
except OSError:
    whole = False
light = ("environment.py", "end_with_parent.py", "run.py")
if not (whole and name.endswith(".py") and os.path.basename(folder) in ("steps", "local", "utils")) or name in light:
    os.execv("{python}", ["{python}", *words])
with socket.socket(socket.AF_UNIX) as server:
    server.connect("{address}")
    request = {{"words": words, "cwd": os.getcwd(), "environment": dict(os.environ)}}
    content = json.dumps(request).encode()
    socket.send_fds(server, [b"%12d" % len(content)], [0, 1, 2])
    server.sendall(content)
    status = int(server.makefile().readline() or 1)
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
"""

SERVER = r"""
import gc, json, os, select, signal, socket
BEGINNING

def become(request, files):
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["words"]
    paths = os.environ.get("PYTHONPATH", "").split(":")
    sys.path[:1] = [os.path.dirname(os.path.abspath(sys.argv[0])), *filter(None, paths)]
    return run_script()

def serve(client):
    message, files, *_ = socket.recv_fds(client, 12, 3)
    content = client.makefile("rb").read(int(message))
    child = os.fork()
    if not child:
        client.close()
        status = become(json.loads(content), files)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 120
        os._exit(status)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, client], [], [])[0]:
        os.kill(child, signal.SIGKILL)  # the client is no more
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    client.sendall(b"%d\n" % status)

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who serve
gc.freeze()
print("ready", flush=True)
while sys.stdin not in (there := select.select([listener, sys.stdin], [], [])[0]):
    client, _ = listener.accept()
    if not os.fork():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        sys.stdin.close()
        try:
            serve(client)
        finally:
            os._exit(0)
    client.close()
"""


@functools.cache
def quick_python() -> Path | None:
    """Start the server, once in a process, and return the folder of the `python3` that asks it."""
    if not sys.platform.startswith("linux"):
        return None
    folder = Path(tempfile.mkdtemp(prefix="python-"))
    client, address = folder / "python3", folder / "server"
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)  # a script must find the library by itself
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", SERVER.replace("BEGINNING", BEGINNING), str(address)]
    server = subprocess.Popen(command, env=environment, text=True, **pipes)
    assert server.stdout.readline() == "ready\n"

    def stop() -> None:
        server.stdin.close()
        server.stdout.close()
        server.wait()
        for path in (client, address):
            path.unlink()
        folder.rmdir()

    atexit.register(stop)
    return folder
