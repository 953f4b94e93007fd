#!/usr/bin/env python3
"""Stage 3: train an encoder.

Reads the features (or for a network that takes waveforms the audio) of the training set and, for the EER on held-out
speakers, of the validation set with its trials; writes config.yaml, train.log, checkpoints/, tensorboard/, final.pt,
provenance.json, which says what made it, and training.png, which shows how it learnt.
An interrupted run is continued by the same command; an experiment of another configuration or other data in the same
folder is moved aside.

    steps/train.py egs/demo/data/train egs/demo/exp/mine --valid egs/demo/data/valid --config conf/recipes/demo.yaml

Any option of the configuration can be set on the command line: --train.epochs 3 --loss.margin 0.3. With --model NAME,
--loss NAME or --config FILE beside it, --help lists the options of these.
"""

import hashlib
import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import yaml

from vouch.base.errors import VouchError
from vouch.base.files import lock_file, write_text
from vouch.base.options import read_yaml
from vouch.cli.parser import Parser, catch_stops, run_main
from vouch.cli.recipe_help import describe_recipe
from vouch.cli.stage import ProgressBar, memory_advice
from vouch.encoder import waveform_feature
from vouch.features import read_feature, resolve_feature
from vouch.jobs.devices import check_device, pick_device
from vouch.kaldi.lineage.digests import digest_data, digest_file
from vouch.kaldi.lineage.records import check_current
from vouch.kaldi.tables import read_table
from vouch.training.checkpoint import read_final, read_fingerprint
from vouch.training.config import SECTIONS, Config, check_networks, experiment_name, resolve_config
from vouch.training.data import TrainingSet
from vouch.training.finetune import check_features, configure, load_start
from vouch.training.loop import Callbacks, Interrupted, Trainer
from vouch.training.provenance import describe_run
from vouch.training.validation import ValidationSet


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="training set: a data directory")
    parser.add_argument("exp", type=Path, nargs="?", help="folder of the experiment")
    parser.add_argument("--valid", type=Path, help="validation set: a data directory with features and trials")
    parser.add_argument("--config", type=Path, help="configuration file; see conf/recipes")
    parser.add_argument(
        "--finetune", type=Path, help="model to start from: final.pt or a checkpoint, which has the loss"
    )
    parser.add_argument("--feature", type=Path, help="configuration that the features must have been made with")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or such as cuda:1")
    parser.add_argument("--print-name", action="store_true", help="only check the options and print name and input")
    args, overrides = parser.parse_with_overrides(SECTIONS, describe_options)

    file, wanted = read_recipe(args.config)
    wanted_by = args.config
    config = resolve_config(file, overrides)
    start = load_start(args.finetune) if args.finetune else None
    if start is not None:
        config = configure(start, config, overrides)
    check_device(args.device)
    if args.print_name:
        check_networks(config)
        name = experiment_name(file, config, overrides) + ("_finetuned" if start else "")
        print(name, "waveform" if waveform_feature(config.model) else "features")
        return
    if args.data is None or args.exp is None:
        parser.error("needs the training set and the folder of the experiment")
    device = pick_device(args.device)
    check_networks(config)
    if args.feature and waveform_feature(config.model):
        raise VouchError(f"{config.model['name']} takes waveforms; leave --feature {args.feature.stem} out")
    if args.feature:
        wanted, wanted_by = read_yaml(args.feature), args.feature
    feature, options = front_end(args.data, config), config.train
    data = TrainingSet(args.data, options.data_ratio, options.min_speaker_seconds, feature)
    valid = ValidationSet(args.valid, feature) if args.valid else None
    if wanted is not None and feature is not None and resolve_wanted(wanted, wanted_by) != feature:
        raise VouchError(f"{args.data}/feature.yaml: not the front end of {wanted_by}; run stages 1 and 2 with it")
    if args.valid and None not in (feature, front_end(args.valid, config)) and front_end(args.valid, config) != feature:
        raise VouchError(
            f"{args.valid}/feature.yaml: another front end than that of {args.data}; rerun stage 1 for both"
        )
    if start is not None:
        check_features(start, data.store.dim, feature, args.data)
    sets = {"train": args.data} | ({"valid": args.valid} if args.valid else {})
    digests = {part: digest_set(path, config) for part, path in sets.items()}
    fingerprint = describe(config, feature, list(digests.values()), args.finetune)
    if not make_room(args.exp, fingerprint):
        print(
            f"{args.exp}/final.pt: is trained already, with this configuration and these data; remove the folder to"
            " train again"
        )
        return
    settings = config.as_dict() | {"feature": feature}
    write_text(args.exp / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    told = {part: {"folder": str(path.absolute()), "digest": digests[part]} for part, path in sets.items()}
    told["train"] |= {"utterances": len(data.labels), "speakers": len(data.speakers), "hours": round(data.hours, 3)}
    if valid is not None:
        told["valid"]["utterances"] = valid.num_utterances
    provenance = describe_run(sys.argv, settings, told)
    advice = f"make train.batch_size ({options.batch_size}) or train.crop_frames ({options.crop_frames}) smaller"
    with memory_advice(advice):
        run(
            args.exp,
            lambda calls: Trainer(
                config, data, valid, feature, start, args.exp, fingerprint, device, calls, provenance
            ),
        )


def make_room(exp: Path, fingerprint: str) -> bool:
    """Move another experiment out of the folder; whether there is something left to train.

    A final.pt that is no model, as after a crash of the machine, is written anew from the checkpoints.
    """
    final, last = exp / "final.pt", exp / "checkpoints/last.pt"
    # A run that was killed before its first checkpoint leaves nothing worth keeping: it starts again in its place.
    open_log(exp).close()
    provenance = read_final(final)
    belongs_to = str((provenance or {}).get("fingerprint", "")) or read_fingerprint(last)
    if belongs_to != fingerprint and (final.exists() or last.exists()):
        move_aside(exp)
        return True
    if provenance is None and final.exists():
        print(f"{final}: is no model; it is written anew from the checkpoints", file=sys.stderr)
    return provenance is None


def resolve_wanted(feature: object, where: Path) -> dict[str, object]:
    """Resolve the configuration of a front end from a file."""
    if not isinstance(feature, dict):
        raise VouchError(f"{where}: section 'feature' must hold 'option: value' lines")
    return resolve_feature(feature)


def describe_options(words: list[str], overrides: dict[str, str]) -> str:
    """Return what --help says of the options of the recipe that the command line chooses."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    chosen = parser.parse_known_args(words)[0].config
    return describe_recipe(resolve_config(read_recipe(chosen)[0], overrides))


def read_recipe(path: Path | None) -> tuple[dict[str, object], object]:
    """Return a configuration, and the front end that its features must have; an experiment's config.yaml says it."""
    file = read_yaml(path) if path else {}
    return file, file.pop("feature", None)


def run(exp: Path, make_trainer: Callable[[Callbacks], Trainer]) -> None:
    """Train with a log file, a progress bar, and signals that stop after the batch in hand."""
    signals: list[int] = []
    catch_stops(signals.append)
    with open_log(exp) as log, ProgressBar("batches") as bar:

        def write(line: str) -> None:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            log.flush()
            bar.write(line)

        def show(epoch: int, done: int, total: int, loss: float) -> None:
            bar.show(f"epoch {epoch}, loss {loss:.3f}", done, total)

        try:
            make_trainer(Callbacks(write, show, lambda: bool(signals))).run()
        except Interrupted:
            write("interrupted; the same command goes on from here")
            sys.exit(128 + signals[0])


def open_log(exp: Path) -> IO[str]:
    """Open the log for appending; it is locked, so that two runs cannot write into one folder."""
    exp.mkdir(parents=True, exist_ok=True)
    log = open(exp / "train.log", "a", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    lock_file(log, f"{exp}: another training is running in this folder; wait for it, or give --name")
    return log


def front_end(data: Path, config: Config) -> dict[str, object] | None:
    """Configuration of the front end that makes the network's input of a data directory, if it is known."""
    return waveform_feature(config.model) or read_feature(data)


def describe(config: Config, feature: dict[str, object] | None, data: list[str], start: Path | None) -> str:
    """Fingerprint of everything that the weights depend on; `data` are the digests of the sets."""
    digest = hashlib.sha256(json.dumps([config.as_dict(), feature, data], sort_keys=True).encode())
    digest.update(digest_file(start).encode() if start else b"")
    return digest.hexdigest()


def digest_set(path: Path, config: Config) -> str:
    """Digest of what training reads of a data directory."""
    if waveform_feature(config.model):
        tables = ("utt2spk", "trials", "segments", "utt2num_samples", "utt2dur")
        return digest_data(path, tables, read_table(path / "wav.scp"))
    check_current(path / "feats.scp")
    return digest_data(path, ("utt2spk", "trials"), read_table(path / "feats.scp"))


def move_aside(exp: Path) -> None:
    """Rename the folder of another experiment: what it took hours to compute is not overwritten."""
    number = 1
    while exp.with_name(f"{exp.name}.old{number}").exists():
        number += 1
    old = exp.rename(exp.with_name(f"{exp.name}.old{number}"))
    print(f"{exp}: held an experiment with another configuration or other data; it is now {old}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
