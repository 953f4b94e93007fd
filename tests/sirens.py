"""Recordings of speakers who are sirens, for tests of waveforms."""

import numpy as np
import soundfile
from corpus import RATE

from vouch.kaldi.datadirs.datadir import write_data_dir

# Hz. The networks take out what stays the same over time, so the speakers of these sets are sirens.
TONES = [(400, 1500), (800, 3000), (1500, 6000)]


def write_sirens(path, utterances):
    """Write a data directory of three speakers, each of whom goes to and fro between two tones of his own."""
    utt2dur, utt2spk = {}, {}
    folder = path.with_name(f"{path.name}.wavs")
    folder.mkdir(parents=True)
    for speaker, tones in enumerate(TONES):
        for utterance in utterances:
            name, rng = f"s{speaker}-{utterance:02d}", np.random.default_rng((9, speaker, utterance))
            time = np.arange(5000 + 300 * (utterance % 4)) / RATE
            low, high = (np.sin(2 * np.pi * tone * time + rng.uniform(0, 6)) for tone in tones)
            samples = np.where(np.sin(2 * np.pi * (15 * time + rng.random())) > 0, low, high)
            soundfile.write(folder / f"{name}.wav", 0.3 * samples + 0.03 * rng.standard_normal(len(time)), RATE)
            utt2dur[name], utt2spk[name] = time[-1], f"s{speaker}"
    write_data_dir(path, {name: str(folder / f"{name}.wav") for name in utt2spk}, utt2spk, utt2dur)
