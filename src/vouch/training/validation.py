"""The EER on held-out speakers, measured with the extraction, scoring and metric that tests use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vouch.embedding import embed_store
from vouch.encoder import Encoder
from vouch.errors import VouchError
from vouch.kaldi.trials import read_trials
from vouch.kaldi.wavestore import open_store
from vouch.metrics import equal_error_rate
from vouch.scoring.cosine import normalize_length, score_trials


class ValidationSet:
    """Features or waveforms, and trials, of speakers that the training set does not have.

    Parameters
    ----------
    path : data directory with trials and feats.scp, or wav.scp for waveforms
    feature : see `vouch.training.batches.TrainingSet`
    """

    def __init__(self, path: str | Path, feature: Mapping[str, object] | None = None) -> None:
        path = Path(path)
        _, self._store = open_store(path, feature)
        trials = read_trials(path / "trials")
        position = {utterance: index for index, utterance in enumerate(self._store.utterances)}
        for number, pair in enumerate(zip(trials.enrol, trials.test, strict=True), start=1):
            for utterance in pair:
                if utterance not in position:
                    raise VouchError(f"{path}/trials:{number}: '{utterance}' is not in {self._store.path}")
        self.dim = self._store.dim
        self._used = np.array(sorted({position[u] for u in (*trials.enrol, *trials.test)}))
        row = {int(index): row for row, index in enumerate(self._used)}
        self._enrol = np.array([row[position[utterance]] for utterance in trials.enrol])
        self._test = np.array([row[position[utterance]] for utterance in trials.test])
        self._is_target = trials.is_target

    def eer(self, encoder: Encoder) -> float:
        """Return the equal error rate, 0 to 1, of cosine scores; `encoder` must be in evaluation mode.

        Raises
        ------
        VouchError : an embedding is zero, NaN or infinite, as those of a network whose training diverged
        """
        names = [self._store.utterances[index] for index in self._used]
        embeddings = embed_store(encoder, self._store, self._used)
        length = np.linalg.norm(embeddings, axis=1)
        useless = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
        if len(useless):
            raise VouchError(
                f"the embeddings of {len(useless)} of {len(names)} validation utterances are zero, NaN or infinite, the"
                f" first is that of '{names[useless[0]]}': try a smaller train.learning_rate, or look for NaN in"
                f" {self._store.path}"
            )
        unit = normalize_length(embeddings, names)
        return equal_error_rate(score_trials(unit, self._enrol, self._test), self._is_target).value
