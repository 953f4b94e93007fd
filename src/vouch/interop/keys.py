"""Unwraps state dicts of other toolkits, renames their keys, and matches them with a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

import torch

from vouch.base.errors import VouchError
from vouch.base.torchfile import check_tensors
from vouch.encoder import Encoder, EncoderConfig

# Names under which toolkits store the state dict among other contents of a checkpoint.
WRAPPERS = ("model_state_dict", "model_state", "state_dict", "model")
NAMED = 3

Translate = Callable[[str, torch.Tensor], tuple[str, torch.Tensor]]


class Weights:
    """Tensors of a foreign checkpoint, which are taken or dropped by name until none are left.

    Parameters
    ----------
    content : mapping of str to object
        Content of a checkpoint: a state dict, bare or under one of the names in `WRAPPERS`. Prefixes `module.` of
        parallel training are removed wherever they occur in a key.

    Attributes
    ----------
    dropped : dict[str, int]
        Number of tensors that were left out, by their kind.

    Raises
    ------
    VouchError
        There is no state dict, or it holds anything but tensors, or the tensors claim more bytes than they hold.
    """

    def __init__(self, content: Mapping[str, object]) -> None:
        self.dropped: dict[str, int] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        state = _state_dict(content)
        for original, value in check_tensors(state).items():
            key = re.sub(r"(^|\.)module\.", r"\1", str(original))
            if key in self._tensors:
                raise VouchError(f"'{key}' is there twice, once with 'module.' in its name")
            self._tensors[key] = value

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def shape(self, key: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a tensor; `VouchError` if it is missing or has another number of axes."""
        self._require(key)
        shape = tuple(self._tensors[key].shape)
        if len(shape) != axes or min(shape, default=1) < 1:
            raise VouchError(f"'{key}' has the shape {shape}; it should have {axes} axes, none of them empty")
        return shape

    def take(self, key: str) -> torch.Tensor:
        """Take a tensor out; `VouchError` if it is missing."""
        self._require(key)
        return self._tensors.pop(key)

    def drop(self, what: str, pattern: str) -> None:
        """Drop every tensor whose key starts with a match of `pattern`, and count it as `what`."""
        keys = [key for key in self._tensors if re.match(pattern, key)]
        for key in keys:
            del self._tensors[key]
        if keys:
            self.dropped[what] = self.dropped.get(what, 0) + len(keys)

    def strip_prefix(self, prefix: str) -> None:
        """Remove a prefix from all keys that have it; `VouchError` if the rest is already another key."""
        for key in [key for key in self._tensors if key.startswith(prefix)]:
            bare = key.removeprefix(prefix)
            if bare in self._tensors:
                raise VouchError(f"'{bare}' is there twice, once as '{key}'")
            self._tensors[bare] = self._tensors.pop(key)

    def strip_module(self, marks: Collection[str]) -> None:
        """Remove a prefix such as "model." from all keys; it is what precedes the first of the keys `marks` found.

        A module that holds the network, such as a Lightning module, puts its name before the network's keys.
        """
        if any(mark in self for mark in marks):
            return
        for mark in marks:
            found = next((key for key in self if key.endswith(f".{mark}")), None)
            if found is not None:
                self.strip_prefix(found.removesuffix(mark))
                return

    def match(self, wanted: Mapping[str, torch.Tensor], translate: Translate) -> dict[str, torch.Tensor]:
        """Return the state dict of a network, made of all remaining tensors.

        Parameters
        ----------
        wanted : mapping of str to Tensor
            State dict of the network; only the shapes are used.
        translate : Translate
            Function from a key and a tensor of the other toolkit to those of the network.

        Raises
        ------
        VouchError
            A tensor does not fit, is left over, or is missing. Only batch counters may be missing, since early versions
            of torch had none.
        """
        state: dict[str, torch.Tensor] = {}
        unused = []
        for original, tensor in self._tensors.items():
            key, value = translate(original, tensor)
            if key not in wanted:
                unused.append(original)
                continue
            if key in state:
                raise VouchError(f"'{original}' stands for '{key}', and so does another key")
            shape = tuple(wanted[key].shape)
            if tuple(value.shape) != shape or value.is_floating_point() != wanted[key].is_floating_point():
                raise VouchError(
                    f"'{original}' is {value.dtype} of shape {tuple(tensor.shape)}; for '{key}' the network needs"
                    f" {wanted[key].dtype} of shape {shape}"
                )
            state[key] = value
        counters = {key for key in wanted if key.endswith("num_batches_tracked")}
        missing = [key for key in wanted if key not in state and key not in counters]
        if unused or missing:
            raise VouchError("; ".join(filter(None, [_list("left over", unused), _list("missing", missing)])))
        return {**{key: torch.tensor(0) for key in counters}, **state}

    def _require(self, key: str) -> None:
        if key not in self._tensors:
            raise VouchError(f"'{key}' is missing")


def renamed(vouch_key: Callable[[str], str | None]) -> Translate:
    """Make a `Translate` from a function of keys; a key for which it returns None stays unchanged."""
    return lambda key, tensor: (vouch_key(key) or key, tensor)


def unchanged(key: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Return key and tensor unchanged, for toolkits whose keys are ours."""
    return key, tensor


def build_encoder(weights: Weights, translate: Translate, config: EncoderConfig) -> Encoder:
    """Make an encoder of all remaining weights.

    Parameters
    ----------
    weights : Weights
        Weights of another toolkit.
    translate : Translate
        See `Weights.match`.
    config : EncoderConfig

    Raises
    ------
    VouchError
        The weights do not fit the network, or the configuration does not make an encoder.
    """
    # Check against shapes without memory first, so that a forged file cannot make us allocate more than it holds.
    state = weights.match(config.network.build_without_memory(config.num_bins).state_dict(), translate)
    encoder = Encoder(config)
    encoder.model.load_state_dict(state)
    return encoder.eval()


def _state_dict(content: Mapping[str, object]) -> Mapping[str, object]:
    found = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
    if len(found) > 1:
        raise VouchError(f"state dicts under {' and '.join(found)}: which one counts is not clear")
    if found:
        state = content[found[0]]
        assert isinstance(state, Mapping)
        return state
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    inside = ", ".join(repr(name) for name in list(content)[:NAMED]) or "nothing"
    raise VouchError(f"no state dict, neither bare nor under {', '.join(WRAPPERS)}; the file holds {inside}")


def _list(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return f"{what}: {', '.join(repr(key) for key in keys[:NAMED])}{more}" if keys else ""
