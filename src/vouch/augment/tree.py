"""Which effects a batch gets: a small tree, written as a sentence.

    sequence:
      - one_of:
          - none: {}
          - gain: {db: [-6, 6]}
            weight: 2
      - band: {low: [0, 300], high: [3400, 3700]}
        p: 0.2

`sequence` does one thing after the other, `one_of` one of several in proportion to their weights (1 where none is
given), and `p` says how often something happens at all (always where it is not given). A `name` is for those who copy
utterances: see `vouch.augment.config`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vouch.augment.bank import FULL_SCALE
from vouch.augment.base import RECORDINGS, BankEffect, Effect, Step, as_tensors
from vouch.base.errors import VouchError

SEQUENCE, ONE_OF, NONE = "sequence", "one_of", "none"
# What stands beside the name of a node.
WEIGHT, PROBABILITY, NAME = "weight", "p", "name"


class Tree(ABC):
    """A node; see the module."""

    @abstractmethod
    def plan(self, rng: np.random.Generator, rows: np.ndarray, samples: int) -> list[Step]:
        """Draw what happens to the rows of a batch.

        Parameters
        ----------
        rng : np.random.Generator
        rows : (rows,) int64
            Positions in the batch of the waveforms that come here.
        samples : int
            Length of the crops.

        Returns
        -------
        list of Step
            In the order in which they are done, on the CPU.
        """


class Leaf(Tree):
    """An effect on every waveform that comes."""

    def __init__(self, effect: Effect) -> None:
        self._effect = effect

    def plan(self, rng: np.random.Generator, rows: np.ndarray, samples: int) -> list[Step]:
        if not len(rows):
            return []
        drawn = self._effect.draw(rng, len(rows), samples)
        if self._effect.sorted_by is not None:
            order = np.argsort(drawn[self._effect.sorted_by], kind="stable")
            rows, drawn = rows[order], {name: value[order] for name, value in drawn.items()}
        tensors = as_tensors(drawn)
        if isinstance(self._effect, BankEffect) and not self._effect.bank.is_resident:
            found = self._effect.fetch(tensors, self._effect.reach(samples))
            tensors[RECORDINGS] = (found * FULL_SCALE).round_().to(torch.int16)
        return [Step(self._effect, torch.from_numpy(rows), tensors)]


class InOrder(Tree):
    """One node after the other."""

    def __init__(self, parts: Sequence[Tree]) -> None:
        self._parts = parts

    def plan(self, rng: np.random.Generator, rows: np.ndarray, samples: int) -> list[Step]:
        return [step for part in self._parts for step in part.plan(rng, rows, samples)]


class OneOf(Tree):
    """One of several nodes for each waveform, in proportion to their weights."""

    def __init__(self, parts: Sequence[Tree], weights: Sequence[float]) -> None:
        self._parts, self._share = parts, np.array(weights) / sum(weights)

    def plan(self, rng: np.random.Generator, rows: np.ndarray, samples: int) -> list[Step]:
        choice = rng.choice(len(self._parts), size=len(rows), p=self._share)
        return [
            step for number, part in enumerate(self._parts) for step in part.plan(rng, rows[choice == number], samples)
        ]


def build_tree(config: Mapping[str, Any] | str, build_effect: Callable[[str, Mapping[str, Any]], Effect]) -> Tree:
    """Build a tree from what its YAML file holds.

    Parameters
    ----------
    config : mapping or str
        One node; see the module.
    build_effect : callable
        Given the name of an effect and its options; `VouchError` when it does not know them.

    Raises
    ------
    VouchError
        A node has no name, or two; a weight or a share is not a number in range; or see `build_effect`.
    """
    return _build_node(config, build_effect)[0]


def node_name(config: object) -> str:
    """Return the name of a node, an effect's or one of this module's; `VouchError` when it has none, or several."""
    if isinstance(config, str):
        return config
    known = (WEIGHT, PROBABILITY, NAME)
    names = [name for name in config if name not in known] if isinstance(config, Mapping) else []
    if len(names) != 1:
        raise VouchError(
            f"a node of an augmentation is one effect, {SEQUENCE} or {ONE_OF}, with {', '.join(known)} beside it:"
            f" {config}"
        )
    return str(names[0])


def _build_node(config: object, build_effect: Callable[[str, Mapping[str, Any]], Effect]) -> tuple[Tree, float]:
    """Return a node and its weight among its neighbours."""
    name = node_name(config)
    config = {name: {}} if isinstance(config, str) else config
    assert isinstance(config, Mapping)
    weight = _number(config.get(WEIGHT, 1), f"{WEIGHT} of '{name}'", 1e9)
    share = _number(config.get(PROBABILITY, 1), f"{PROBABILITY} of '{name}'", 1)
    content = config[name]
    node: Tree
    if name in (SEQUENCE, ONE_OF):
        if not isinstance(content, Sequence) or isinstance(content, str) or not content:
            raise VouchError(f"'{name}' of an augmentation needs a list of nodes")
        parts = [_build_node(part, build_effect) for part in content]
        trees, weights = [tree for tree, _ in parts], [each for _, each in parts]
        if name == ONE_OF and not sum(weights):
            raise VouchError(f"'{ONE_OF}' of an augmentation: all weights are 0")
        node = InOrder(trees) if name == SEQUENCE else OneOf(trees, weights)
    elif name == NONE:
        node = InOrder([])
    else:
        content = {} if content is None else content
        if not isinstance(content, Mapping):
            raise VouchError(f"augmentation '{name}' must hold 'option: value' lines")
        node = Leaf(build_effect(name, content))
    return (node if share == 1 else OneOf([node, InOrder([])], [share, 1 - share])), weight


def _number(value: object, what: str, most: float) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise VouchError(f"{what} in an augmentation must be a number from 0 to {most:g}, not {value}")
    return float(value)
