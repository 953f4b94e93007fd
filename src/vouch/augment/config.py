"""Configuration of an augmentation, in conf/augment/NAME.yaml: what happens to speech, and in which stage.

    when: online              # stage 3 draws anew for every batch; offline: stage 2 writes copies
    speed: {factors: [1.0, 0.9, 1.1], as_speakers: true}
    waveform:                 # a tree, see vouch.augment.tree
      one_of:
        - none
        - add_noise: {kind: noise, snr: [0, 15]}
        - reverberate: {}
    features: {time_masks: 1} # SpecAugment, always in stage 3

Offline, each node below `one_of` has a `name`, which ends the ids of its copies, and `copies` says how many of them an
utterance gets, besides one at each other speed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vouch.augment import EFFECTS, FROM_BANK
from vouch.augment.bank import Bank, Places
from vouch.augment.base import Effect
from vouch.augment.pipeline import Augmentation
from vouch.augment.specaugment import SpecAugment
from vouch.augment.speed import Speed
from vouch.augment.tree import NAME, NONE, ONE_OF, SEQUENCE, Tree, build_tree, node_name
from vouch.base.errors import VouchError, nearest, pick
from vouch.base.options import read_yaml, resolve_options

ONLINE, OFFLINE = "online", "offline"
MOST_COPIES = 100
# Recordings of each kind in the bank by which options are checked before there is one.
_IMAGINED = 100


@dataclass(frozen=True)
class AugmentConfig:
    """An augmentation as its file holds it; see the module.

    Attributes
    ----------
    when : "online" or "offline"
    copies : int
        Offline: copies of each utterance, of different names.
    speed : mapping or None
        Options of `vouch.augment.speed.Speed`.
    waveform : mapping or str
        A tree of effects.
    features : mapping or None
        Options of `vouch.augment.specaugment.SpecAugment`.

    Raises
    ------
    VouchError
        A name or option is unknown (the message names the nearest), or a value is impossible.
    """

    when: str = ONLINE
    copies: int = 1
    speed: Mapping[str, Any] | None = None
    waveform: Mapping[str, Any] | str = NONE
    features: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.when not in (ONLINE, OFFLINE):
            raise VouchError(f"when of an augmentation must be {ONLINE} or {OFFLINE}, not {self.when}")
        for name, _ in _leaves(self.waveform):
            if self.when == ONLINE and pick(EFFECTS, name, "augmentation").is_offline:
                raise VouchError(f"augmentation '{name}' is for copies (when: {OFFLINE}): it works on the host alone")
        places = Places([""] * _IMAGINED, *np.full((3, _IMAGINED), 16000))
        places.first[:] = 0
        self.build(Bank(torch.ones(16000, dtype=torch.int16), dict.fromkeys(self.kinds, places), 16000), 16000)
        if self.when == OFFLINE and self.waveform != NONE:
            names = self.branches
            if not 1 <= self.copies <= len(names):
                raise VouchError(
                    f"copies of an augmentation must be from 1 to the number of its names, {len(names)}"
                    f" ({', '.join(names)}), not {self.copies}"
                )

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> AugmentConfig:
        """Read what a file or a configuration of training holds; `VouchError` as for the class."""
        options = {name: config[name] for name in config}
        for name in options:
            if name not in cls.__dataclass_fields__:
                raise VouchError(
                    f"unknown key '{name}' of an augmentation{nearest(str(name), cls.__dataclass_fields__)}"
                )
        for name in ("speed", "features"):
            if not isinstance(options.get(name), (Mapping, type(None))):
                raise VouchError(f"'{name}' of an augmentation must hold 'option: value' pairs")
        if not isinstance(options.get("copies", 1), int) or isinstance(options.get("copies"), bool):
            raise VouchError(f"copies of an augmentation must be a whole number, not {options['copies']}")
        return cls(**options)

    @classmethod
    def read(cls, path: str | Path) -> AugmentConfig:
        """Read conf/augment/NAME.yaml; errors name the file."""
        try:
            return cls.from_dict(read_yaml(path))
        except VouchError as error:
            raise VouchError(str(error) if str(path) in str(error) else f"{path}: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for YAML, without keys that have their defaults."""
        usual = {name: field.default for name, field in self.__dataclass_fields__.items()}
        return {name: value for name, value in vars(self).items() if value != usual[name]}

    @property
    def is_online(self) -> bool:
        """Whether stage 3 changes waveforms, which it then has to read."""
        return self.when == ONLINE and (self.speed is not None or self.waveform != NONE)

    @property
    def kinds(self) -> list[str]:
        """Kinds of recordings that the effects take from a bank, sorted."""
        found: set[str] = set()
        for name, options in _leaves(self.waveform):
            if name in FROM_BANK:
                kind = _resolve(name, options, ("bank", "sample_rate"))["kind"]
                found |= {kind} if isinstance(kind, str) else set(kind)
        return sorted(found)

    @property
    def branches(self) -> dict[str, Mapping[str, Any]]:
        """The nodes of an offline augmentation by their names."""
        nodes = self.waveform[ONE_OF] if isinstance(self.waveform, Mapping) and ONE_OF in self.waveform else None
        if nodes is None or set(self.waveform) != {ONE_OF}:
            raise VouchError(f"an {OFFLINE} augmentation of waveforms is a '{ONE_OF}' of nodes with names")
        found: dict[str, Mapping[str, Any]] = {}
        for node in nodes:
            name = node.get(NAME) if isinstance(node, Mapping) else None
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.]+", name) or name in found:
                raise VouchError(
                    f"each node of an {OFFLINE} augmentation needs a {NAME} of its own, of letters, digits, '_' and"
                    f" '.': {node}"
                )
            found[name] = node
        return found

    def build(self, bank: Bank | None, sample_rate: int) -> Augmentation:
        """Return the augmentation.

        Parameters
        ----------
        bank : Bank or None
            Recordings for the effects, on the device; None where no effect takes any.
        sample_rate : int
            In Hz.

        Raises
        ------
        VouchError
            The bank lacks recordings of some kind.
        """
        masks = None
        if self.features is not None:
            masks = SpecAugment(**resolve_options(SpecAugment, self.features, "augmentation 'features'"))
        return Augmentation(self.build_speed(), self._build_tree(self.waveform, bank, sample_rate), masks)

    def build_speed(self) -> Speed | None:
        """Return the speeds; None: all speech stays as fast as it is."""
        if self.speed is None:
            return None
        return Speed(**resolve_options(Speed, self.speed, "augmentation 'speed'"))

    def build_branch(self, name: str, bank: Bank | None, sample_rate: int) -> Augmentation:
        """Return what happens to the copies of a name; see `build`."""
        return Augmentation(None, self._build_tree(self.branches[name], bank, sample_rate), None)

    @staticmethod
    def _build_tree(node: Mapping[str, Any] | str, bank: Bank | None, sample_rate: int) -> Tree:
        given = {"bank": bank, "sample_rate": sample_rate}

        def build_effect(name: str, options: Mapping[str, Any]) -> Effect:
            kind = pick(EFFECTS, name, "augmentation")
            passed = {key: value for key, value in given.items() if key in inspect.signature(kind).parameters}
            if name in FROM_BANK and bank is None:
                raise VouchError(f"augmentation '{name}' needs recordings; run stage 2 with --musan or --rirs")
            return kind(**passed, **_resolve(name, options, tuple(passed)))

        return build_tree(node, build_effect)


def _resolve(name: str, options: Mapping[str, Any], given: tuple[str, ...]) -> dict[str, Any]:
    return resolve_options(pick(EFFECTS, name, "augmentation"), options, f"augmentation '{name}'", given)


def _leaves(node: Mapping[str, Any] | str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and options of each effect of a tree."""
    name = node_name(node)
    content = node.get(name) if isinstance(node, Mapping) else None
    if name in (SEQUENCE, ONE_OF):
        for part in content if isinstance(content, list) else []:
            yield from _leaves(part)
    elif name != NONE:
        yield name, content if isinstance(content, Mapping) else {}
