"""State dicts of other toolkits: unwrapped, renamed, and matched with a network key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

import torch

from vouch.base.errors import VouchError
from vouch.base.torchfile import check_tensors
from vouch.encoder import Encoder, EncoderConfig

# What toolkits call the state dict among the other contents of a checkpoint.
WRAPPERS = ("model_state_dict", "model_state", "state_dict", "model")
NAMED = 3

Translate = Callable[[str, torch.Tensor], tuple[str, torch.Tensor]]


class Weights:
    """Tensors of a foreign checkpoint, taken out or dropped by name until nothing is left over.

    Parameters
    ----------
    content : mapping of str to object
        What a checkpoint holds: a state dict, bare or under one of the names in `WRAPPERS`. Prefixes `module.` of
        parallel training are removed wherever they stand in a key.

    Attributes
    ----------
    dropped : dict[str, int]
        How many tensors were left out, by what they are.

    Raises
    ------
    VouchError
        No state dict, or one that holds anything but tensors, or tensors that stand for more than they hold.
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
        """Return the shape of a tensor; `VouchError` if it is missing or has not as many axes."""
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
        """Leave out, and count as `what`, every tensor whose key starts with a regular expression."""
        keys = [key for key in self._tensors if re.match(pattern, key)]
        for key in keys:
            del self._tensors[key]
        if keys:
            self.dropped[what] = self.dropped.get(what, 0) + len(keys)

    def strip_prefix(self, prefix: str) -> None:
        """Remove a prefix from the keys that have it; `VouchError` if another key already has the rest."""
        for key in [key for key in self._tensors if key.startswith(prefix)]:
            bare = key.removeprefix(prefix)
            if bare in self._tensors:
                raise VouchError(f"'{bare}' is there twice, once as '{key}'")
            self._tensors[bare] = self._tensors.pop(key)

    def strip_module(self, marks: Collection[str]) -> None:
        """Remove what stands before the first of the keys `marks` that is there, such as "model.", from all keys.

        So the keys of a network are called in a module that holds it, as a Lightning module does.
        """
        if any(mark in self for mark in marks):
            return
        for mark in marks:
            found = next((key for key in self if key.endswith(f".{mark}")), None)
            if found is not None:
                self.strip_prefix(found.removesuffix(mark))
                return

    def match(self, wanted: Mapping[str, torch.Tensor], translate: Translate) -> dict[str, torch.Tensor]:
        """Return the state dict of a network, made of all tensors that are left.

        Parameters
        ----------
        wanted : mapping of str to Tensor
            Tensors of the network, of which only the shapes count.
        translate : Translate
            Key and tensor of the other toolkit to those of the network.

        Raises
        ------
        VouchError
            A tensor that does not fit, is left over, or is missing. Only counters of batches may be missing: early
            versions of torch had none.
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
    """Make a translation out of one that changes only keys; a key without counterpart stays as it is."""
    return lambda key, tensor: (vouch_key(key) or key, tensor)


def unchanged(key: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Translate nothing: the other toolkit's keys are ours."""
    return key, tensor


def build_encoder(weights: Weights, translate: Translate, config: EncoderConfig) -> Encoder:
    """Make an encoder of all the weights that are left.

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
        The weights do not fit the network, or the configuration makes no encoder.
    """
    # Shapes first, without memory for the values: a forged file must not make us allocate what it does not hold.
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
