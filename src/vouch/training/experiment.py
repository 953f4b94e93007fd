"""Runs a training in an experiment folder, which belongs to one configuration and one content of the data."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import torch
import yaml

from vouch.augment.bank import INDEX, Bank, read_bank
from vouch.augment.offline import check_copies
from vouch.base.errors import VouchError
from vouch.base.files import lock_file, write_text
from vouch.features.config import FrontEndConfig, read_feature
from vouch.kaldi.lineage.digests import digest_data, digest_file
from vouch.kaldi.lineage.records import check_current
from vouch.kaldi.tables import read_table
from vouch.training.checkpoint import read_final, read_fingerprint
from vouch.training.config import Config
from vouch.training.data import TrainingSet
from vouch.training.finetune import Start, check_features
from vouch.training.loop import Interrupted, train
from vouch.training.provenance import describe_run
from vouch.training.record import Callbacks, Record
from vouch.training.setup import input_dim, set_up
from vouch.training.validation import ValidationSet


class Experiment:
    """A training configuration, its data, and the folder for the results.

    Parameters
    ----------
    folder : Path
        Experiment folder, for config.yaml, train.log and the files of `vouch.training.record.Record`.
    config : Config
        Resolved configuration.
    train : Path
    valid : Path or None
        Data directories; without `valid`, the last epoch is kept.
    feature : FrontEndConfig or None
        Front end of the data, if known.
    start : Start or None
        Model to fine-tune; None: start from random weights.
    bank : Path, optional
        Folder with noises and rooms, from stage 2, for an augmentation that takes any.

    Attributes
    ----------
    fingerprint : str
        Digest of everything that the weights depend on.

    Raises
    ------
    VouchError
        A data directory is not usable for training, or does not fit the network of `start`.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        train: Path,
        valid: Path | None,
        feature: FrontEndConfig | None,
        start: Start | None,
        bank: Path | None = None,
    ) -> None:
        self.folder, self.config, self.feature, self.start = folder, config, feature, start
        self.bank = open_bank(config, bank, feature)
        check_copies(train, config.augment)
        options = config.train
        try:
            stored = stored_front_end(config, feature)
        except VouchError as error:
            raise VouchError(f"{train}: {error}") from None
        self.data = TrainingSet(train, options.data_ratio, options.min_speaker_seconds, stored)
        self.valid = None if valid is None else ValidationSet(valid, feature)
        if start is not None:
            check_features(start, input_dim(config, self.data.store.dim, feature), feature, train)
        self._paths = {"train": train} | ({} if valid is None else {"valid": valid})
        reads = {"train": config.reads_waveforms, "valid": config.network.takes_waveforms}
        self._digests = {part: digest_set(path, reads[part]) for part, path in self._paths.items()}
        made_from = [*self._digests.values(), *([] if self.bank is None else [self.bank.digest])]
        self.fingerprint = describe(config, feature, made_from, None if start is None else start.path)

    def make_room(self, tell: Callable[[str], None]) -> bool:
        """Move another experiment out of the folder; return whether there is training left to do.

        A damaged final.pt, as after a crash of the machine, is written again from the checkpoints.

        Parameters
        ----------
        tell : callable
            Called with a line about the content of the folder.

        Raises
        ------
        VouchError
            Another training is running in the folder.
        """
        final, last = self.folder / "final.pt", self.folder / "checkpoints/last.pt"
        # A run that was killed before its first checkpoint is not worth keeping, so it starts again in the same folder.
        open_log(self.folder).close()
        provenance = read_final(final)
        belongs_to = str((provenance or {}).get("fingerprint", "")) or read_fingerprint(last)
        if belongs_to != self.fingerprint and (final.exists() or last.exists()):
            old = move_aside(self.folder)
            tell(f"{self.folder}: held an experiment with another configuration or other data; it is now {old}")
            return True
        if provenance is None and final.exists():
            tell(f"{final}: is no model; it is written anew from the checkpoints")
        return provenance is None

    def run(self, device: torch.device, command: Sequence[str], calls: Callbacks) -> Path:
        """Train in the folder, with a log file, and return the path of `final.pt`.

        Parameters
        ----------
        device : torch.device
            Device to train on.
        command : sequence of str
            Words of the command line, for the provenance.
        calls : Callbacks
            Callbacks of the run; the log file gets each log line too, with date and time.

        Raises
        ------
        VouchError
            Configuration and data do not fit each other, or the loss became NaN or infinite.
        Interrupted
            `calls` requested a stop; the same experiment can continue from the checkpoint.
        """
        settings = self.config.as_dict() | {"feature": None if self.feature is None else self.feature.as_dict()}
        write_text(self.folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        provenance = describe_run(command, settings, self._describe_sets())
        with open_log(self.folder) as log:

            def write(line: str) -> None:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
                log.flush()
                calls.log(line)

            training = set_up(self.config, self.data, self.valid, self.feature, self.start, device, self.bank)
            heard = Callbacks(write, calls.progress, calls.should_stop)
            try:
                return train(training, Record(training, self.folder, self.fingerprint, heard, provenance))
            except Interrupted:
                write("interrupted; the same command goes on from here")
                raise

    def _describe_sets(self) -> dict[str, dict[str, object]]:
        """Return the description of each set, and of noises and rooms, for the provenance."""
        told: dict[str, dict[str, object]] = {
            part: {"folder": str(path.absolute()), "digest": self._digests[part]} for part, path in self._paths.items()
        }
        data = self.data
        told["train"] |= {"utterances": len(data.labels), "speakers": len(data.speakers), "hours": round(data.hours, 3)}
        if self.valid is not None:
            told["valid"]["utterances"] = self.valid.num_utterances
        if self.bank is not None:
            told["bank"] = {"digest": self.bank.digest}
        return told


def stored_front_end(config: Config, feature: FrontEndConfig | None) -> FrontEndConfig | None:
    """Return the front end of what training reads: "waveform" where it computes the features itself.

    Raises
    ------
    VouchError
        Features are to be computed, and their front end is not known.
    """
    if not config.reads_waveforms:
        return feature
    if feature is None:
        raise VouchError("features of augmented recordings need a front end; run stage 1")
    return FrontEndConfig("waveform", {"sample_rate": feature.sample_rate}, feature.channel)


def open_bank(config: Config, folder: Path | None, feature: FrontEndConfig | None) -> Bank | None:
    """Open the noises and rooms that the augmentation takes; None where it takes none.

    Raises
    ------
    VouchError
        There is no bank, it is damaged or of another sampling rate, lacks recordings of some kind, or its folders have
        changed since.
    """
    kinds = config.augment.kinds if config.augment.is_online else []
    if not kinds:
        return None
    if folder is None:
        raise VouchError(
            f"the augmentation takes recordings ({', '.join(kinds)}); give their --bank, which stage 2 makes"
        )
    check_current(folder / INDEX)
    bank = read_bank(folder, 16000 if feature is None else feature.sample_rate)
    for kind in kinds:
        bank.kind(kind)
    return bank


def agree_on_front_end(
    config: Config, train: Path, valid: Path | None, wanted: object, wanted_by: Path | None
) -> FrontEndConfig | None:
    """Return the common front end of both sets, if it is known.

    Parameters
    ----------
    train : Path
    valid : Path or None
        Data directories.
    wanted : object
        Configuration of the front end that the features must have; None: any.
    wanted_by : Path or None
        File that requires it, for messages.

    Raises
    ------
    VouchError
        A set has features of another front end than required, or the two sets differ.
    """
    feature = front_end(train, config)
    if wanted is not None and feature is not None:
        if not isinstance(wanted, dict):
            raise VouchError(f"{wanted_by}: section 'feature' must hold 'option: value' lines")
        if FrontEndConfig.from_dict(wanted) != feature:
            raise VouchError(f"{train}/feature.yaml: not the front end of {wanted_by}; run stages 1 and 2 with it")
    other = None if valid is None else front_end(valid, config)
    if None not in (feature, other) and other != feature:
        raise VouchError(f"{valid}/feature.yaml: another front end than that of {train}; rerun stage 1 for both")
    return feature


def front_end(data: Path, config: Config) -> FrontEndConfig | None:
    """Return the front end of a data directory, if it is known."""
    return config.network.front_end or read_feature(data)


def describe(config: Config, feature: FrontEndConfig | None, data: list[str], start: Path | None) -> str:
    """Return the fingerprint of everything that the weights depend on; `data` are the digests of the sets."""
    made_by = None if feature is None else feature.as_dict()
    digest = hashlib.sha256(json.dumps([config.as_dict(), made_by, data], sort_keys=True).encode())
    digest.update(b"" if start is None else digest_file(start).encode())
    return digest.hexdigest()


def digest_set(path: Path, reads_waveforms: bool) -> str:
    """Return the digest of the content of a data directory that training reads: recordings, or features."""
    if reads_waveforms:
        tables = ("utt2spk", "trials", "segments", "utt2num_samples", "utt2dur")
        return digest_data(path, tables, read_table(path / "wav.scp"))
    check_current(path / "feats.scp")
    return digest_data(path, ("utt2spk", "trials"), read_table(path / "feats.scp"))


def open_log(folder: Path) -> IO[str]:
    """Open train.log for appending, and lock it so that two runs cannot write into one folder.

    Raises
    ------
    VouchError
        Another training is running in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder / "train.log", "a", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    lock_file(log, f"{folder}: another training is running in this folder; wait for it, or give --name")
    return log


def move_aside(folder: Path) -> Path:
    """Rename the folder of another experiment, to keep its results, and return the new name."""
    number = 1
    while folder.with_name(f"{folder.name}.old{number}").exists():
        number += 1
    return folder.rename(folder.with_name(f"{folder.name}.old{number}"))
