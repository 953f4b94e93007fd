"""Decide whether two recordings are of the same speaker.

    steps/verify.py a.wav b.wav --model exp/mine/final.pt --calibration exp/mine/calibration.json --prior 0.01

Prints the score (cosine of the two embeddings) and, with --calibration (a file that steps/calibrate.py fitted to such
scores), the log-likelihood ratio and the decision. With --prior, the probability of the same speaker before listening,
the decision makes the fewest errors. --false-alarm instead limits how often different speakers are accepted as the
same.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np

from vouch.audio.loudness import judge_loudness, measure_loudness
from vouch.audio.reading import read_audio
from vouch.base.channels import parse_channel
from vouch.base.errors import VouchError
from vouch.cli.parser import Parser
from vouch.cli.stage import add_channel_option
from vouch.deploy.folding import fold_batch_norm
from vouch.encoder import load_encoder
from vouch.extraction.embed import embed_samples
from vouch.jobs.devices import pick_device
from vouch.scoring.backends import load_preparation
from vouch.scoring.calibration import Calibration, prior_threshold, read_calibration
from vouch.scoring.preparation import Preparation
from vouch.scoring.verification import verify_pair


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("recordings", nargs=2, metavar="RECORDING", help="the two recordings")
    parser.add_argument("--model", type=Path, required=True, help="final.pt or a checkpoint of stage 3")
    parser.add_argument("--mean", help="the --mean of scoring: vector to subtract, or embedding.scp to average")
    parser.add_argument("--calibration", type=Path, help="calibration file of steps/calibrate.py")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--prior", type=float, help="probability of the same speaker (default: that of the calibration)")
    limit.add_argument("--false-alarm", type=float, help="share of different speakers that may be accepted")
    add_channel_option(parser, "that of the model's training")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or such as cuda:1")
    return parser.parse_args()


def find_threshold(options: Namespace, calibration: Calibration | None) -> float | None:
    """Return the log-likelihood ratio from which on to accept; None: no decision is made."""
    if calibration is None:
        if options.prior is not None or options.false_alarm is not None:
            raise VouchError("--prior and --false-alarm need --calibration: a cosine alone says nothing about either")
        return None
    if options.false_alarm is not None:
        return calibration.threshold(options.false_alarm)
    return prior_threshold(calibration.prior if options.prior is None else options.prior)


def load_centre(mean: str | None) -> Preparation:
    """Read the mean that `steps/score_trials.py --mean` used; "data" is not possible for two recordings."""
    if mean == "data":
        raise VouchError("--mean data: two recordings have no mean to speak of; give the embedding.scp that was scored")
    return load_preparation(mean, None, "")


def check_loudness(samples: np.ndarray, rate: int) -> list[str]:
    """Raise an error for silence, and return the faults that make a comparison doubtful."""
    faults = judge_loudness(measure_loudness(samples, rate))
    if "silence" in faults:
        raise VouchError(f"{faults['silence']}; there is no speech to compare")
    return list(faults.values())


def decimal(value: float) -> str:
    """Format with four decimals, without a sign if the result is zero."""
    return f"{round(value, 4) + 0.0:.4f}"


def main() -> None:
    options = parse_options()
    calibration = None if options.calibration is None else read_calibration(options.calibration)
    threshold = find_threshold(options, calibration)
    prepare = load_centre(options.mean)
    encoder = fold_batch_norm(load_encoder(options.model, pick_device(options.device)))
    channel = encoder.channel if options.channel is None else parse_channel(options.channel)
    embeddings, seconds, doubts = [], [], []
    for recording in options.recordings:
        if encoder.feature is None:
            raise VouchError(f"{options.model}: trained on features of an unknown front end, it cannot take recordings")
        samples = read_audio(recording, encoder.feature.sample_rate, channel).samples
        try:
            doubts += [f"{recording}: {fault}" for fault in check_loudness(samples, encoder.feature.sample_rate)]
            embeddings.append(embed_samples(encoder, samples))
        except VouchError as error:
            raise VouchError(f"{recording}: {error}") from None
        seconds.append(len(samples) / encoder.feature.sample_rate)
    answer = verify_pair(np.stack(embeddings), seconds, options.recordings, prepare, calibration)
    for doubt in doubts:
        print(f"{Path(sys.argv[0]).name}: warning: {doubt}", file=sys.stderr)
    print(f"score {decimal(answer.score)}")
    if answer.ratio is not None and threshold is not None:
        print(f"log-likelihood ratio {decimal(answer.ratio)}")
        decision = "same speaker" if answer.ratio >= threshold else "different speakers"
        print(f"decision: {decision} (threshold {decimal(threshold)})")
