"""Measures the EER on held-out speakers, with the same extraction, scoring and metric as for test sets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.encoder import Encoder
from vouch.evaluation.metrics import equal_error_rate
from vouch.extraction.embed import embed_store
from vouch.features.config import FrontEndConfig
from vouch.kaldi.lists.trials import Trials, read_trials
from vouch.scoring.cosine import normalize_length, score_trials
from vouch.stores.waves import open_store
from vouch.training.data import describe_empty, describe_unreadable, find_unusable


class ValidationSet:
    """Features or waveforms, and trials, of speakers that are not in the training set.

    Parameters
    ----------
    path : str or Path
        Data directory with trials and feats.scp, or wav.scp for waveforms.
    feature : FrontEndConfig, optional
        See `vouch.training.data.TrainingSet`.

    Attributes
    ----------
    dim : int
        Number of feature dimensions.
    num_utterances : int
        Number of different utterances in the trials.
    left_out : str
        A line about trials that are left out because an utterance has no frames, is silent or cannot be read; or empty.
    unreadable : str
        A line about recordings that cannot be read; or empty.

    Raises
    ------
    VouchError
        A trial names an unknown utterance, or no trial is left.
    """

    def __init__(self, path: str | Path, feature: FrontEndConfig | None = None) -> None:
        path = Path(path)
        _, self._store = open_store(path, feature)
        trials = read_trials(path / "trials")
        position = {utterance: index for index, utterance in enumerate(self._store.utterances)}
        for number, pair in enumerate(zip(trials.enrol, trials.test, strict=True), start=1):
            for utterance in pair:
                if utterance not in position:
                    raise VouchError(f"{path}/trials:{number}: '{utterance}' is not in {self._store.path}")
        self.dim = self._store.dim
        trials, self.left_out = self._leave_out_unusable(trials, position)
        self.unreadable = describe_unreadable(self._store)
        self._used = np.array(sorted({position[u] for u in (*trials.enrol, *trials.test)}))
        self.num_utterances = len(self._used)
        row = {int(index): row for row, index in enumerate(self._used)}
        self._enrol = np.array([row[position[utterance]] for utterance in trials.enrol])
        self._test = np.array([row[position[utterance]] for utterance in trials.test])
        self._is_target = trials.is_target

    def _leave_out_unusable(self, trials: Trials, position: Mapping[str, int]) -> tuple[Trials, str]:
        is_empty, is_unreadable = find_unusable(self._store, whole=True)
        is_unusable = (is_empty | is_unreadable).tolist()
        is_whole = [
            not (is_unusable[position[a]] or is_unusable[position[b]]) for a, b in zip(*trials[:2], strict=True)
        ]
        if all(is_whole):
            return trials, ""
        left_out = (
            f"{self._store.path}: {is_whole.count(False)} of {len(is_whole)} trials have an utterance of"
            f" {describe_empty(self._store)}{' or one that cannot be read' if is_unreadable.any() else ''}"
        )
        if not any(is_whole):
            raise VouchError(f"{left_out}; none is left")
        enrol, test = (list(compress(column, is_whole)) for column in trials[:2])
        return Trials(enrol, test, trials.is_target[is_whole]), f"{left_out} and are left out"

    def eer(self, encoder: Encoder) -> float:
        """Return the equal error rate, 0 to 1, of cosine scores; `encoder` must be in evaluation mode.

        Raises
        ------
        VouchError
            An embedding is zero, NaN or infinite, as after a diverged training.
        """
        names = [self._store.utterances[index] for index in self._used]
        embeddings = embed_store(encoder, self._store, self._used)
        length = np.linalg.norm(embeddings, axis=1)
        useless = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
        if len(useless):
            first = names[useless[0]]
            if not np.isfinite(self._store.matrix(int(self._used[useless[0]]))).all():
                raise VouchError(f"{self._store.path}: '{first}' holds NaN or infinite values; mend or remove it")
            raise VouchError(
                f"the embeddings of {len(useless)} of {len(names)} validation utterances are zero, NaN or infinite, the"
                f" first is that of '{first}', whose features in {self._store.path} are not: try a smaller"
                " train.learning_rate"
            )
        unit = normalize_length(embeddings, names)
        return equal_error_rate(score_trials(unit, self._enrol, self._test), self._is_target).value
