"""Vouch: train and evaluate speaker-verification systems on Kaldi-format data.

The names that applications need are here. Each is imported when it is first used, so that a script that uses none of
them starts quickly.

>>> import vouch
>>> encoder = vouch.load_encoder("final.pt")  # doctest: +SKIP
>>> samples = vouch.read_audio("a.wav", encoder.feature.sample_rate, encoder.channel).samples  # doctest: +SKIP
>>> embedding = vouch.embed_samples(vouch.fold_batch_norm(encoder), samples)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vouch.audio.reading import read_audio
    from vouch.base.errors import VouchError
    from vouch.deploy.folding import fold_batch_norm
    from vouch.encoder import Encoder, EncoderConfig, load_encoder, save_encoder
    from vouch.evaluation.metrics import cllr, equal_error_rate, min_dcf
    from vouch.extraction.embed import embed_matrices, embed_samples
    from vouch.kaldi.datadirs.datadir import DataDir
    from vouch.kaldi.lists.scores import read_scores
    from vouch.kaldi.lists.trials import read_trials

__version__ = "0.1.0"
__all__ = [
    "DataDir",
    "Encoder",
    "EncoderConfig",
    "VouchError",
    "cllr",
    "embed_matrices",
    "embed_samples",
    "equal_error_rate",
    "fold_batch_norm",
    "load_encoder",
    "min_dcf",
    "read_audio",
    "read_scores",
    "read_trials",
    "save_encoder",
]
# The modules that define these names. The imports above say the same to editors and type checkers.
_HOMES = {
    "vouch.audio.reading": ("read_audio",),
    "vouch.base.errors": ("VouchError",),
    "vouch.deploy.folding": ("fold_batch_norm",),
    "vouch.encoder": ("Encoder", "EncoderConfig", "load_encoder", "save_encoder"),
    "vouch.evaluation.metrics": ("cllr", "equal_error_rate", "min_dcf"),
    "vouch.extraction.embed": ("embed_matrices", "embed_samples"),
    "vouch.kaldi.datadirs.datadir": ("DataDir",),
    "vouch.kaldi.lists.scores": ("read_scores",),
    "vouch.kaldi.lists.trials": ("read_trials",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'vouch' has no attribute '{name}'")
    globals()[name] = value = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
