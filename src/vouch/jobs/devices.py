"""Which device a script computes on, and which of several GPUs a job gets."""

from __future__ import annotations

import re

import torch

from vouch.base.errors import VouchError, nearest


def check_device(name: str) -> None:
    """Raise `VouchError` when this can be the name of no device, whether there is one here or not."""
    if not re.fullmatch("auto|cpu|cuda(:[0-9]+)?", name):
        # By its letters "gpu" is nearer to "cpu" than to what it means.
        meant = re.sub("^gpu", "cuda", name)
        raise VouchError(f"unknown device '{name}'{nearest(meant, ['auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1'])}")


def pick_device(name: str, job: str = "") -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or, of several GPUs, such as "cuda:1" means here.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda" or "cuda:" and a number.
    job : str
        "3/8" in the third of eight jobs, else empty. Jobs of one machine take its GPUs in turn; where the launcher of a
        cluster lends each job a GPU of its own, the job sees no other.

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
