"""Computes the cost and context of a network: parameters, multiply-accumulates, receptive field."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from vouch.models.base import SpeakerNetwork

# Length of the input that costs are counted for: two seconds.
FRAMES, SAMPLES = 200, 32000
# Names of the attributes that hold a network's pooling over time.
POOLING_NAMES = ("pooling", "pool", "stats")
CONVOLUTIONS = ("conv1d", "conv2d")
WINDOW_POOLINGS = ("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")
REDUCTIONS = ("sum", "mean", "var", "std", "var_mean", "max", "amax", "min", "amin", "softmax", "vector_norm")
# Functions whose every output depends on all frames.
WHOLE_UTTERANCE = ("lstm", "gru", "adaptive_avg_pool1d", "adaptive_avg_pool2d")


class Window(NamedTuple):
    """Input frames that a frame depends on: frame t depends on frames `t * step + first` to `t * step + last`."""

    step: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of input frames (or samples)."""
        return self.last - self.first + 1


class ModelInfo(NamedTuple):
    """Size, cost and context of a network.

    Parameters
    ----------
    parameters : int
        Number of trainable parameters.
    macs : int
        Multiply-accumulates of convolutions and matrix products for 200 frames or 32,000 samples.
    window : Window or None
        See `receptive_field`.
    minimum : int
        Shortest input, in `unit`.
    unit : "frames" or "samples"
    embedding_dim : int
    """

    parameters: int
    macs: int
    window: Window | None
    minimum: int
    unit: str
    embedding_dim: int


def describe(model: SpeakerNetwork) -> ModelInfo:
    """Describe a network of `vouch.models.MODELS`, which is not changed."""
    return ModelInfo(
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        macs=count_macs(model),
        window=receptive_field(model),
        minimum=model.min_length,
        unit="frames" if model.input_kind == "features" else "samples",
        embedding_dim=model.embedding_dim,
    )


def count_macs(model: SpeakerNetwork) -> int:
    """Count the multiply-accumulates of all convolutions and matrix products for two seconds of input.

    A product that the network computes once per utterance counts once, even if publications count it for each frame.
    Additions, normalisation and nonlinearities do not count.
    """
    network, x = _copy_and_input(model)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(x)
    return counter.get_total_flops() // 2


def receptive_field(model: SpeakerNetwork) -> Window | None:
    """Return the part of the input that one frame depends on, at the input of the network's pooling over time.

    It follows from kernels, strides and dilations, through all branches. Dependence on the whole utterance (gates of
    squeeze and excitation, context-aware masks, instance normalisation) is left out.

    Returns
    -------
    Window or None
        The window in frames or samples; None if each frame depends on the whole input, as in a recurrent network.
    """
    seen: list[Window | None] = []
    network, x = _copy_and_input(model)
    for name, module in network.named_modules():
        if name.split(".")[-1] in POOLING_NAMES:
            module.register_forward_pre_hook(lambda module, inputs: seen.append(_window(inputs[0])))
    _set_window(x, Window(1, 0, 0))
    with torch.no_grad(), _Tracker():
        network(x)
    return seen[-1] if seen else None


def _copy_and_input(model: SpeakerNetwork) -> tuple[SpeakerNetwork, torch.Tensor]:
    """Copy a network in evaluation mode and make an input of two seconds, both on the meta device, without values.

    Waveform networks stay on the CPU, because their filters switch autocast off, which needs a real device.
    """
    if model.input_kind == "features":
        return copy.deepcopy(model).to("meta").eval(), torch.empty(1, FRAMES, model.num_bins, device="meta")
    return copy.deepcopy(model).to("cpu").eval(), torch.zeros(1, SAMPLES)


def _set_window(tensor: torch.Tensor, window: Window | None) -> None:
    vars(tensor)["window"] = window


def _window(value: object) -> Window | None:
    return getattr(value, "window", None)


class _Tracker(TorchFunctionMode):
    """Assigns each tensor the window of its frames, which lie along the last axis in layers that look across time."""

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        window = _merge(_tensors((*args, *kwargs.values())))
        if window is not None:
            window = _through(function.__name__, window, args, kwargs)
        for tensor in _tensors([result]):
            _set_window(tensor, window)
        return result


def _tensors(values: Sequence[object]) -> list[torch.Tensor]:
    """Return all tensors among the values and in the sequences among them."""
    nested = [value for value in values if isinstance(value, (tuple, list))]
    return [value for value in values if isinstance(value, torch.Tensor)] + [
        tensor for value in nested for tensor in _tensors(value)
    ]


def _merge(tensors: Sequence[torch.Tensor]) -> Window | None:
    """Combine the windows of several tensors; those without a window are weights or depend on the whole utterance."""
    windows = [window for window in map(_window, tensors) if window is not None]
    if not windows:
        return None
    (step,) = {window.step for window in windows}
    return Window(step, min(window.first for window in windows), max(window.last for window in windows))


def _through(name: str, window: Window, args: Sequence[Any], kwargs: dict[str, Any]) -> Window | None:
    """Return the window after a function, by its name; most functions keep it."""
    if name in WHOLE_UTTERANCE or (name in REDUCTIONS and _over_time(args, kwargs)):
        return None
    if name in CONVOLUTIONS:
        stride, padding, dilation = _settings(args, kwargs, {"stride": 3, "padding": 4, "dilation": 5})
        return _slide(window, args[1].shape[-1], stride or 1, padding or 0, dilation or 1)
    if name in WINDOW_POOLINGS:
        size, stride, padding = _settings(args, kwargs, {"kernel_size": 1, "stride": 2, "padding": 3})
        assert size is not None
        return _slide(window, size, stride or size, padding or 0, 1)
    if name == "__getitem__" and isinstance(args[1], tuple) and isinstance(args[1][-1], slice):
        return _slide(window, 1, args[1][-1].step or 1, 0, 1)
    if name == "pad":
        return _slide(window, 1, 1, args[1][0], 1)
    return window


def _slide(window: Window, size: int, stride: int, padding: int, dilation: int) -> Window:
    """Return the window after a kernel of `size` taps over frames `stride * t - padding + dilation * tap`."""
    first = window.first - padding * window.step
    return Window(window.step * stride, first, first + window.size - 1 + (size - 1) * dilation * window.step)


def _over_time(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Return whether a reduction includes the last axis."""
    axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
    axes = range(args[0].ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    return any(axis in (-1, args[0].ndim - 1) for axis in axes)


def _settings(args: Sequence[Any], kwargs: dict[str, Any], places: dict[str, int]) -> list[int | None]:
    """Return the settings for the last axis, given by name or position; None for those that are missing."""
    values = [args[place] if len(args) > place else kwargs.get(name) for name, place in places.items()]
    return [value[-1] if isinstance(value, (tuple, list)) and value else value or None for value in values]
