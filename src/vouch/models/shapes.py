"""Builds networks with shapes but without memory, to check the weights of an untrusted file against them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules import module as registration
from torch.overrides import TorchFunctionMode

from vouch.base.errors import VouchError

# Most tensors and modules of a network; the deepest network of Vouch has 2600.
MAX_PARTS = 6000


Built = TypeVar("Built", bound=nn.Module)


class _ShapesOnly(TorchFunctionMode):
    """Skips work that a network without memory does not need, and calls that make torch load its compiler for seconds.

    Initial values are skipped. Vectors of constants are allocated, since no option makes them large.
    """

    RANDOM = (torch.Tensor.normal_, torch.Tensor.uniform_)
    VECTORS = (torch.arange, torch.linspace, torch.hamming_window)

    def __torch_function__(
        self, function: Callable, types: object, args: tuple = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        options = dict(kwargs or {})
        if function in self.RANDOM or getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else options["tensor"]
        if function in self.VECTORS:
            options["device"] = "cpu"
        if function is torch.linalg.vector_norm:
            function = torch.sum  # its result has the same shape
        return function(*args, **options)


def build_without_memory(build: Callable[[], Built]) -> Built:
    """Call `build`, and return a network on torch's meta device: its tensors have shapes but no values.

    Raises
    ------
    VouchError
        The sizes are impossible, or give more than `MAX_PARTS` tensors and modules.
    """
    parts = itertools.count(1)

    def limit(*_: object) -> None:
        if next(parts) > MAX_PARTS:
            raise VouchError(f"its configuration asks for a network of more than {MAX_PARTS} parts: there is none such")

    hooks = [
        registration.register_module_parameter_registration_hook(limit),
        registration.register_module_buffer_registration_hook(limit),
        registration.register_module_module_registration_hook(limit),
    ]
    try:
        with torch.device("meta"), _ShapesOnly():
            return build()
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise VouchError(f"its configuration makes no network: {str(error).splitlines()[0]}") from None
    finally:
        for hook in hooks:
            hook.remove()
