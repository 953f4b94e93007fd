#!/usr/bin/env python3
"""How hard the demo corpus is for systems that have learnt nothing: EER on its test trials.

Cosine of mean log-mel frames (as they are, and after subtracting their mean over the training set), and untrained
networks (those named, or a few), several seeds each. Needs stages 0 and 1: ./run.sh --stop-stage 1

    python3 tests/benchmarks/demo_difficulty.py egs/demo/data xvector ecapa_tdnn
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np
import torch

from vouch.encoder import Encoder, EncoderConfig
from vouch.evaluation.metrics import equal_error_rate
from vouch.extraction.embed import embed_store
from vouch.kaldi.lists.trials import read_trials
from vouch.scoring.cosine import normalize_length, score_trials
from vouch.stores.features import FeatureStore

SEEDS = range(3)


def main() -> None:
    data = Path(sys.argv[1])
    test = FeatureStore(data / "test/feats.scp")
    trials = read_trials(data / "test/trials")
    row = {utterance: index for index, utterance in enumerate(test.utterances)}
    enrol, probe = (np.array([row[utterance] for utterance in side]) for side in (trials.enrol, trials.test))

    def eer(vectors: np.ndarray) -> float:
        unit = normalize_length(vectors, test.utterances)
        return 100 * equal_error_rate(score_trials(unit, enrol, probe), trials.is_target).value

    means, centre = means_of(test), means_of(FeatureStore(data / "train/feats.scp")).mean(axis=0)
    print(f"mean log-mel frames                {eer(means):6.2f} % EER")
    print(f"the same, centred on the training  {eer(means - centre):6.2f} % EER")
    for name in sys.argv[2:] or ("resnetse34l", "xvector", "lstm"):
        rates = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            encoder = Encoder(EncoderConfig.from_dict({"model": {"name": name}, "num_bins": test.dim})).eval()
            rates.append(eer(embed_store(encoder, test, np.arange(len(test)))))
        print(f"untrained {name:12s}             {' '.join(f'{rate:6.2f}' for rate in rates)} % EER (seeds 0 to 2)")


def means_of(store: FeatureStore) -> np.ndarray:
    return np.stack([store.matrix(index).mean(axis=0) for index in range(len(store))])


if __name__ == "__main__":
    main()
