"""Writes the output of a training: log lines, curves, checkpoints, the best epoch and finally the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from vouch.base.errors import VouchError
from vouch.base.files import atomic_write, write_text
from vouch.base.torchfile import save_torch
from vouch.encoder import load_encoder, save_encoder
from vouch.training.checkpoint import is_model, restore_checkpoint, save_checkpoint
from vouch.training.curves import Curves
from vouch.training.data import Batch, find_not_finite
from vouch.training.draws import crop_seed
from vouch.training.setup import Training
from vouch.training.stopwatch import Stopwatch

# Reading the loss makes the host wait for the device, so it is read once in this number of batches,
BATCHES_BETWEEN_READINGS = 20
# or after this number of seconds if batches are slow, to keep the progress display up to date.
SECONDS_BETWEEN_READINGS = 30.0


@dataclass(frozen=True)
class Callbacks:
    """Functions by which a run communicates with its caller.

    Attributes
    ----------
    log : callable
        Called with each line for the log.
    progress : callable
        Called with the epoch, batches done, batches in the epoch, and the mean loss of the epoch so far.
    should_stop : callable
        Called after every batch; if it returns True, a checkpoint is written and the run ends.
    """

    log: Callable[[str], None]
    progress: Callable[[int, int, int, float], None] = lambda epoch, done, total, loss: None
    should_stop: Callable[[], bool] = lambda: False


class Record:
    """Records a training in its experiment folder; the training loop calls it.

    Parameters
    ----------
    training : Training
        The training; its progress is read, and advanced at the end of an epoch.
    folder : Path
        Folder of the experiment, for checkpoints/, tensorboard/, provenance.json, training.png and final.pt.
    fingerprint : str
        Digest of configuration and data, which an earlier checkpoint in the folder must share.
    calls : Callbacks
        For log lines, progress and stop requests.
    provenance : mapping of str to object
        Description of the run, see `vouch.training.provenance.describe_run`. It is stored in final.pt, with the
        fingerprint, the number of the best epoch and the figures of all epochs.
    """

    def __init__(
        self,
        training: Training,
        folder: Path,
        fingerprint: str,
        calls: Callbacks,
        provenance: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.training, self.state, self.calls = training, training.state, calls
        self.folder, self.fingerprint, self.provenance = folder, fingerprint, provenance
        self.last, self.best = folder / "checkpoints/last.pt", folder / "checkpoints/best.pt"
        self._remarks: set[str] = set()

    def begin(self) -> None:
        """Log a description of the training, and restore the last checkpoint if there is one.

        Raises
        ------
        VouchError
            The checkpoint is damaged, or has another network, loss or optimizer.
        """
        self.calls.log(self._describe())
        if self.last.exists():
            restore_checkpoint(self.state, self.last)
            progress = self.state.progress
            self.calls.log(f"continuing after epoch {progress.epoch}, batch {progress.batch}")
            self._replace_lost_best()
        elif self.training.started_from:
            self.calls.log(self.training.started_from)
        data, valid = self.training.data, self.training.valid
        self._remark(self.training.augmented_by, data.left_out, data.unreadable, data.short)
        if valid is not None:
            self._remark(valid.left_out, valid.unreadable)
        self._curves = Curves(self.folder / "tensorboard", self.state.progress.epoch + 1)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of an epoch, and measure the time spent waiting for and working on them."""
        self._stopwatch = Stopwatch()
        return self._stopwatch.timed(batches)

    def batch_done(self, sums: torch.Tensor, batches: np.ndarray) -> bool:
        """Read and show the loss and write a checkpoint when due; return whether a stop was requested.

        Parameters
        ----------
        sums : (2,) float64
            Loss and number of correct rows of the epoch so far, on the device.
        batches : (batches, batch_size) int64
            Utterances of all batches of the epoch.

        Raises
        ------
        VouchError
            The loss is NaN or infinite.
        """
        progress, stopwatch = self.state.progress, self._stopwatch
        stop = self.calls.should_stop()
        due = stop or stopwatch.minutes_since_checkpoint() > self.training.options.checkpoint_minutes
        counted = progress.batch % BATCHES_BETWEEN_READINGS == 0 or progress.batch == len(batches)
        if due or counted or stopwatch.seconds_since_reading() > SECONDS_BETWEEN_READINGS:
            stopwatch.loss_read()
            progress.loss_sum, progress.correct = sums.tolist()
            loss = progress.loss_sum / progress.rows
            self._check_finite(loss, batches)
            self.calls.progress(progress.epoch + 1, progress.batch, len(batches), loss)
        if due:
            save_checkpoint(self.state, self.fingerprint, self.last)
            stopwatch.checkpoint_written()
        return stop

    def epoch_done(self, eer: float | None) -> None:
        """Save the network if it is the best so far, report the epoch, and write a checkpoint.

        Parameters
        ----------
        eer : float or None
            EER on the validation set, 0 to 1; None if it was not measured.
        """
        progress = self.state.progress
        self._keep_if_best(eer)
        self._remark(self.training.data.unreadable)
        self._report(eer)
        progress.epoch += 1
        progress.batch = progress.rows = 0
        progress.loss_sum = progress.correct = 0.0
        save_checkpoint(self.state, self.fingerprint, self.last)

    def finish(self) -> Path:
        """Write the model of the best epoch with its provenance, and the training plot; return the model's path."""
        self._curves.close()
        progress, final = self.state.progress, self.folder / "final.pt"
        provenance = json.dumps(self._provenance(), indent=1, allow_nan=False)
        write_text(self.folder / "provenance.json", f"{provenance}\n")
        # Imported here because matplotlib takes a second to load, which a mere check of options should not wait for.
        from vouch.evaluation.training_plot import training_png

        with atomic_write(self.folder / "training.png", "wb") as file:
            file.write(training_png(progress.history, progress.best_epoch))
        # Parsed from the text, so that the pickled bytes do not depend on which values are the same objects.
        save_torch({**load_encoder(self.best).state(), "provenance": json.loads(provenance)}, final)
        self.calls.log(f"{final}: the encoder of epoch {progress.best_epoch}")
        return final

    def _describe(self) -> str:
        """Describe model, data and device, for the first line of the log."""
        data, device = self.training.data, self.training.device
        encoder, loss = self.state.encoder, self.state.loss
        parts = [sum(weights.numel() for weights in module.parameters()) for module in (encoder, loss)]
        place = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        return (
            f"{len(data.speakers)} speakers, {len(data.labels)} utterances, {data.hours:.2f} hours;"
            f" {encoder.config.network.name} of {parts[0]} parameters, loss {self.state.loss_name} of {parts[1]};"
            f" device {place}"
        )

    def _remark(self, *remarks: str) -> None:
        """Log the remarks that are not empty and were not logged before."""
        for remark in remarks:
            if remark and remark not in self._remarks:
                self.calls.log(remark)
                self._remarks.add(remark)

    def _replace_lost_best(self) -> None:
        """If the file of the best epoch is lost, choose the best among the epochs from the last complete one on."""
        progress, valid = self.state.progress, self.training.valid
        if not progress.best_epoch or is_model(self.best):
            return
        self.calls.log(f"{self.best}: is missing or damaged; epochs before {progress.epoch} can no longer be chosen")
        progress.best_eer, progress.best_epoch = float("inf"), 0
        if not progress.batch:  # the weights are those of the last complete epoch
            progress.epoch -= 1
            self._keep_if_best(None if valid is None else valid.eer(self.state.encoder.eval()))
            progress.epoch += 1

    def _check_finite(self, loss: float, batches: np.ndarray) -> None:
        """Raise `VouchError` if the loss is not finite, naming the utterance if its features are not finite.

        Checking every batch in advance would cost time in every training; here the same crops are drawn again.
        """
        if math.isfinite(loss):
            return
        data, options, progress = self.training.data, self.training.options, self.state.progress
        first, seed = max(0, progress.batch - BATCHES_BETWEEN_READINGS), crop_seed(options.seed, progress.epoch)
        names = find_not_finite(data, batches, first, progress.batch, self.training.input.piece, seed)
        if names:
            more = f", and {len(names) - 1} more utterances of these batches do" if len(names) > 1 else ""
            raise VouchError(
                f"{data.store.path}: '{names[0]}' holds NaN or infinite values{more};"
                f" utils/validate_data_dir.py --features finds all such"
            )
        raise VouchError(
            f"the loss became {loss} in epoch {progress.epoch + 1}, batch {progress.batch}; "
            f"try a smaller train.learning_rate or train.clip_norm"
        )

    def _keep_if_best(self, eer: float | None) -> None:
        progress = self.state.progress
        if self.training.valid is None:
            progress.best_epoch = progress.epoch + 1
        elif eer is not None and eer < progress.best_eer:
            progress.best_eer, progress.best_epoch = eer, progress.epoch + 1
        if progress.best_epoch == progress.epoch + 1:
            save_encoder(self.state.encoder, self.best)

    def _report(self, eer: float | None) -> None:
        """Report the epoch to the log, the curves and the history."""
        progress, epochs = self.state.progress, self.training.options.epochs
        epoch, rate = progress.epoch + 1, float(self.state.optimizer.param_groups[-1]["lr"])
        loss, accuracy = progress.loss_sum / progress.rows, progress.correct / progress.rows
        speed, waiting = self._stopwatch.utterances_per_second(), self._stopwatch.waiting_share()
        line = (
            f"epoch {epoch}/{epochs}: loss {loss:.4f}, accuracy {100 * accuracy:.1f} %,"
            f" learning rate {rate:.1e}, {speed:.0f} utt/s, waiting for data {100 * waiting:.0f} %"
        )
        scalars = {"train/loss": loss, "train/accuracy": accuracy, "train/learning_rate": rate}
        scalars |= {"speed/utterances_per_second": speed, "speed/waiting_share": waiting}
        if eer is not None:
            line += f"; validation EER {100 * eer:.2f} % (best {100 * progress.best_eer:.2f} %)"
            scalars["valid/eer"] = eer
        figures = {"epoch": epoch, "loss": loss, "accuracy": accuracy, "learning_rate": rate}
        progress.history.append(figures if eer is None else {**figures, "eer": eer})
        self._curves.add(scalars, epoch)
        self.calls.log(line)

    def _provenance(self) -> dict[str, object]:
        progress = self.state.progress
        return {
            **self.provenance,
            "fingerprint": self.fingerprint,
            "epoch": progress.best_epoch,
            "validation_eer": progress.best_eer if math.isfinite(progress.best_eer) else None,
            "history": progress.history,
        }
