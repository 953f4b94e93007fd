"""Picks the device that a script computes on, and distributes GPUs over jobs."""

from __future__ import annotations

import re

import torch

from vouch.base.errors import VouchError, nearest


def check_device(name: str) -> None:
    """Raise `VouchError` if this is not the name of a device; the device itself need not exist here."""
    if not re.fullmatch("auto|cpu|cuda(:[0-9]+)?", name):
        # By its letters "gpu" would be nearer to "cpu" than to "cuda", which is what it means.
        meant = re.sub("^gpu", "cuda", name)
        raise VouchError(f"unknown device '{name}'{nearest(meant, ['auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1'])}")


def pick_device(name: str, job: str = "") -> torch.device:
    """Return the device that a name ("auto", "cpu", "cuda", "cuda:1") means on this machine.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda" or "cuda:" and a number.
    job : str
        "3/8" in the third of eight jobs, else empty. Jobs on one machine take its GPUs in turn; if a cluster's launcher
        reserves a GPU for each job, the job sees only that one.

    Raises
    ------
    VouchError
        There is no such device.
    """
    check_device(name)
    kind, colon, number = name.partition(":")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise VouchError(f"--device {name}: torch finds no GPU here; use --device cpu or auto")
    count = torch.cuda.device_count()
    if colon:
        if int(number) >= count:
            raise VouchError(f"--device {name}: the GPUs here are cuda:0 to cuda:{count - 1}")
        return torch.device("cuda", int(number))
    return torch.device("cuda", (int(job.split("/")[0]) - 1) % count) if job else torch.device("cuda")
