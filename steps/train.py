#!/usr/bin/env python3
"""Stage 3: train an encoder.

Reads the features (or audio, if the network takes waveforms) of the training set and, for the EER on held-out speakers,
of the validation set with its trials. Writes config.yaml, train.log, checkpoints/, tensorboard/, final.pt,
provenance.json (how the model was made) and training.png (the training curves). The same command continues an
interrupted run. An experiment with another configuration or other data in the same folder is moved aside.

    steps/train.py egs/demo/data/train egs/demo/exp/mine --valid egs/demo/data/valid --config conf/recipes/demo.yaml

Any option of the configuration can be set on the command line: --train.epochs 3 --loss.margin 0.3. After --model NAME,
--loss NAME or --config FILE, --help lists their options.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import torch

from vouch.augment.config import AugmentConfig
from vouch.augment.tree import NONE
from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.cli.parser import Parser, catch_stops, run_main
from vouch.cli.recipe_help import describe_recipe
from vouch.cli.stage import ProgressBar, memory_advice
from vouch.features.config import FrontEndConfig
from vouch.jobs.devices import check_device, pick_device
from vouch.training.config import SECTIONS, experiment_name, resolve_config
from vouch.training.experiment import Experiment, agree_on_front_end
from vouch.training.finetune import configure, load_start
from vouch.training.loop import Interrupted
from vouch.training.record import Callbacks
from vouch.training.setup import check_networks


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
    parser.add_argument("--augment", type=Path, help="augmentation; see conf/augment")
    parser.add_argument(
        "--bank", type=Path, help="noises and rooms that the augmentation takes, from steps/make_bank.py"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or such as cuda:1")
    parser.add_argument(
        "--print-name",
        action="store_true",
        help="only check the options and print name and input, and what --augment takes",
    )
    args, overrides = parser.parse_with_overrides(SECTIONS, describe_options)

    file, wanted = read_recipe(args.config)
    wanted_by = args.config
    if args.augment:
        AugmentConfig.read(args.augment)  # errors name the file
        file["augment"] = read_yaml(args.augment)
    config = resolve_config(file, overrides)
    start = load_start(args.finetune) if args.finetune else None
    if start is not None:
        config = configure(start, config, overrides)
    check_device(args.device)
    if args.feature:
        wanted, wanted_by = read_yaml(args.feature), args.feature
    # Impossible options are refused before anything is read from the data.
    check_networks(config, read_front_end(wanted, wanted_by))
    if args.print_name:
        name = experiment_name(file, config, overrides) + ("_finetuned" if start else "")
        print(name, "waveform" if config.network.takes_waveforms else "features")
        if args.augment:
            front_end = config.network.front_end or read_front_end(wanted, wanted_by)
            describe_augmentation(config.augment, 16000 if front_end is None else front_end.sample_rate)
        return
    if args.data is None or args.exp is None:
        parser.error("needs the training set and the folder of the experiment")
    device = pick_device(args.device)
    if args.feature and config.network.takes_waveforms:
        raise VouchError(f"{config.network.name} takes waveforms; leave --feature {args.feature.stem} out")
    feature = agree_on_front_end(config, args.data, args.valid, wanted, wanted_by)
    experiment = Experiment(args.exp, config, args.data, args.valid, feature, start, args.bank)
    if not experiment.make_room(lambda line: print(line, file=sys.stderr)):
        print(
            f"{args.exp}/final.pt: is trained already, with this configuration and these data; remove the folder to"
            " train again"
        )
        return
    sizes = f"train.batch_size ({config.train.batch_size}) or train.crop_seconds ({config.train.crop_seconds:g})"
    with memory_advice(f"make {sizes} smaller"):
        run(experiment, device)


def run(experiment: Experiment, device: torch.device) -> None:
    """Train with a progress bar; signals stop the training after the current batch."""
    signals: list[int] = []
    catch_stops(signals.append)
    with ProgressBar("batches") as bar:

        def show(epoch: int, done: int, total: int, loss: float) -> None:
            bar.show(f"epoch {epoch}, loss {loss:.3f}", done, total)

        try:
            experiment.run(device, sys.argv, Callbacks(bar.write, show, lambda: bool(signals)))
        except Interrupted:
            sys.exit(128 + signals[0])


def describe_options(words: list[str], overrides: dict[str, str]) -> str:
    """Return the part of --help on the options of the recipe that the command line selects."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    chosen = parser.parse_known_args(words)[0].config
    return describe_recipe(resolve_config(read_recipe(chosen)[0], overrides))


def describe_augmentation(augment: AugmentConfig, sample_rate: int) -> None:
    """Print what other stages do for an augmentation.

    That is: when waveforms change (online, offline or none), whether features do (masks or plain), the sampling rate,
    and the kinds of recordings that are taken.
    """
    changes_waveforms = augment.speed is not None or augment.waveform != NONE
    masks = "plain" if augment.features is None else "masks"
    print(augment.when if changes_waveforms else "none", masks, sample_rate, *augment.kinds)


def read_front_end(wanted: object, wanted_by: Path | None) -> FrontEndConfig | None:
    """Return the front end that a configuration asks for, if it does; `VouchError` names the file it is in."""
    if not isinstance(wanted, Mapping):
        return None
    try:
        return FrontEndConfig.from_dict(wanted)
    except VouchError as error:
        raise VouchError(f"{wanted_by}: {error}") from None


def read_recipe(path: Path | None) -> tuple[dict[str, object], object]:
    """Return a configuration and the front end that its features must have, which an experiment's config.yaml has."""
    file = read_yaml(path) if path else {}
    return file, file.pop("feature", None)


if __name__ == "__main__":
    run_main(main)
