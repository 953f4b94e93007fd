"""The training loop: `Trainer.run` reads top to bottom."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from vouch.base.errors import VouchError
from vouch.base.files import atomic_write, write_text
from vouch.base.torchfile import save_torch
from vouch.encoder import Encoder, load_encoder, save_encoder
from vouch.losses import build_loss
from vouch.training.checkpoint import Progress, TrainingState, is_model, restore_checkpoint, save_checkpoint
from vouch.training.clock import Clock
from vouch.training.config import Config, batch_demand, check_crops, frozen_modules, margin_losses
from vouch.training.curves import Curves
from vouch.training.data import Batch, TrainingSet, find_not_finite, prefetch
from vouch.training.finetune import Start, transfer_loss
from vouch.training.sampler import Sampling, epoch_batches
from vouch.training.schedule import learning_rate_factor, margin_share
from vouch.training.validation import ValidationSet

SGD_MOMENTUM = 0.9
# Reading the loss makes the host wait for the device, so it is done once in so many batches.
BATCHES_BETWEEN_READINGS = 20
# Where batches take seconds, it is done more often, so that whoever watches sees the training go on.
SECONDS_BETWEEN_READINGS = 30.0


class Interrupted(Exception):
    """The run was asked to stop and has written a checkpoint."""


@dataclass(frozen=True)
class Callbacks:
    """How a run talks to whoever started it.

    Attributes
    ----------
    log : called with each line for the log
    progress : called with the epoch, batches done, batches in the epoch, and the mean loss of the epoch so far
    should_stop : asked after every batch; when it says so, a checkpoint is written and `Interrupted` raised
    """

    log: Callable[[str], None]
    progress: Callable[[int, int, int, float], None] = lambda epoch, done, total, loss: None
    should_stop: Callable[[], bool] = lambda: False


class Trainer:
    """Trains an encoder, or goes on where an interrupted run of the same configuration and data stopped.

    Every random draw follows from the seed and the position in the training, and checkpoints hold the rest: on a CPU
    a continued run ends with the weights of one that was never interrupted, bit for bit.

    Parameters
    ----------
    config : resolved
    data : training utterances
    valid : trials of held-out speakers, which choose the epoch that is kept; None keeps the last epoch
    feature : configuration of the front end that made the features, if it is known
    start : where fine-tuning begins; None: fresh weights
    folder : of the experiment; gets checkpoints/, tensorboard/, provenance.json, training.png and final.pt
    fingerprint : of configuration and data; an earlier checkpoint in the folder must have the same
    device : where to train
    calls : for log lines, progress and requests to stop
    provenance
        what is known of the run, see `vouch.training.provenance.describe_run`; final.pt gets it, together with the
        fingerprint, the epoch that was kept and the figures of all epochs

    Raises
    ------
    VouchError : the configuration and the data do not fit each other, with the numbers
    """

    def __init__(
        self,
        config: Config,
        data: TrainingSet,
        valid: ValidationSet | None,
        feature: dict[str, object] | None,
        start: Start | None,
        folder: Path,
        fingerprint: str,
        device: torch.device,
        calls: Callbacks,
        provenance: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.options = config.train
        self.data, self.valid, self.device, self.calls = data, valid, device, calls
        self.folder, self.fingerprint, self.provenance = folder, fingerprint, provenance
        self.last, self.best = folder / "checkpoints/last.pt", folder / "checkpoints/best.pt"
        torch.manual_seed(self.options.seed)
        self.state = _build(config, data, feature, start, device)
        self._parameters = [*self.state.encoder.parameters(), *self.state.loss.parameters()]
        self._frozen = frozen_modules(self.state.encoder, self.options.freeze)
        for module in self._frozen:
            module.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self._parameters):
            raise VouchError("train.freeze leaves nothing to train")
        self.started_from = ""
        if start is not None:
            told = transfer_loss(start, self.state.loss, str(config.loss["name"]), data.speakers)
            self.started_from = f"fine-tuning {start.path}: {told}"
        if valid is not None and valid.dim != data.store.dim:
            raise VouchError(f"validation features have {valid.dim} dimensions, training features {data.store.dim}")
        self._plan_epoch(0)  # a batch that the data cannot fill is an error now, not after hours

    def run(self) -> Path:
        """Train to the end and return the path of `final.pt`.

        Raises
        ------
        VouchError : the loss became NaN or infinite
        Interrupted : `should_stop` asked for it; the same run goes on from the checkpoint
        """
        self.calls.log(self._describe())
        if self.last.exists():
            restore_checkpoint(self.state, self.last)
            self.calls.log(f"continuing after epoch {self.progress.epoch}, batch {self.progress.batch}")
            self._replace_lost_best()
        elif self.started_from:
            self.calls.log(self.started_from)
        remarks = [self.data.left_out, self.data.unreadable, self.data.short]
        if self.valid:
            remarks += [self.valid.left_out, self.valid.unreadable]
        for remark in remarks:
            if remark:
                self.calls.log(remark)
        curves = Curves(self.folder / "tensorboard", self.progress.epoch + 1)
        while self.progress.epoch < self.options.epochs:
            clock = Clock()
            mean_loss, accuracy = self._train_epoch(clock)
            eer = self._validate()
            self._keep_if_best(eer)
            if self.data.unreadable not in remarks:
                remarks.append(self.data.unreadable)
                self.calls.log(remarks[-1])
            self._report(curves, clock, mean_loss, accuracy, eer)
            self._start_next_epoch()
            save_checkpoint(self.state, self.fingerprint, self.last)
        curves.close()
        final = self.folder / "final.pt"
        provenance = json.dumps(self._provenance(), indent=1, allow_nan=False)
        write_text(self.folder / "provenance.json", f"{provenance}\n")
        # Here, since matplotlib takes a second to load: whoever only checks options should not wait for it.
        from vouch.evaluation.training_plot import training_png

        with atomic_write(self.folder / "training.png", "wb") as file:
            file.write(training_png(self.progress.history, self.progress.best_epoch))
        # Read back from the text: what is pickled then does not depend on which of the values are the same objects.
        save_torch({**load_encoder(self.best).state(), "provenance": json.loads(provenance)}, final)
        self.calls.log(f"{final}: the encoder of epoch {self.progress.best_epoch}")
        return final

    def _describe(self) -> str:
        """What is trained, on what and where, as the first line of the log."""
        data, encoder, loss = self.data, self.state.encoder, self.state.loss
        parts = [sum(weights.numel() for weights in module.parameters()) for module in (encoder, loss)]
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)
        return (
            f"{len(data.speakers)} speakers, {len(data.labels)} utterances, {data.hours:.2f} hours;"
            f" {encoder.config['model']['name']} of {parts[0]} parameters, loss {self.state.loss_name} of {parts[1]};"
            f" device {device}"
        )

    def _replace_lost_best(self) -> None:
        """If the file of the best epoch is gone, let the epochs from the last complete one on compete anew."""
        progress = self.progress
        if not progress.best_epoch:
            return
        if not is_model(self.best):
            self.calls.log(
                f"{self.best}: is missing or damaged; epochs before {progress.epoch} can no longer be chosen"
            )
            progress.best_eer, progress.best_epoch = float("inf"), 0
            if not progress.batch:  # the weights are those of the last complete epoch
                progress.epoch -= 1
                eer = None if self.valid is None else self.valid.eer(self.state.encoder.eval())
                self._keep_if_best(eer)
                progress.epoch += 1

    def _provenance(self) -> dict[str, object]:
        progress = self.progress
        return {
            **self.provenance,
            "fingerprint": self.fingerprint,
            "epoch": progress.best_epoch,
            "validation_eer": progress.best_eer if math.isfinite(progress.best_eer) else None,
            "history": progress.history,
        }

    @property
    def progress(self) -> Progress:
        """Where the run is."""
        return self.state.progress

    def _plan_epoch(self, epoch: int) -> np.ndarray:
        """Utterances of the batches of an epoch, `(batches, batch_size)`; those of several crops are repeated."""
        options = self.options
        sampling = Sampling(
            cap=options.max_utterances_per_speaker,
            longer_than=options.crop_frames,
            epoch_frames=round(options.epoch_days * 86400 * self.data.frames_per_second),
            frames_per_utterance=options.crop_frames * options.crops_per_utterance,
        )
        demand = batch_demand(self.state.loss, options)
        seed = options.seed + epoch
        batches = epoch_batches(options.sampler, self.data.labels, self.data.num_frames, demand, sampling, seed)
        return np.repeat(batches, options.crops_per_utterance, axis=1)

    def _train_epoch(self, clock: Clock) -> tuple[float, float]:
        """Do what is left of an epoch and return its mean loss and its accuracy."""
        progress, options = self.progress, self.options
        batches = self._plan_epoch(progress.epoch)
        seed = (options.seed, progress.epoch)
        crops = prefetch(self.data, batches, progress.batch, options.crop_frames, seed, self.device.type == "cuda")
        self.state.encoder.train()
        for module in self._frozen:
            module.eval()
        sums = torch.tensor([progress.loss_sum, progress.correct], dtype=torch.float64).to(self.device)
        for batch in clock.timed(crops):
            done = (progress.epoch + progress.batch / len(batches)) / options.epochs
            sums += self._step(batch, done)
            progress.batch += 1
            progress.rows += len(batch.labels)
            stop = self.calls.should_stop()
            due = stop or clock.minutes_since_checkpoint() > options.checkpoint_minutes
            counted = progress.batch % BATCHES_BETWEEN_READINGS == 0 or progress.batch == len(batches)
            if due or counted or clock.seconds_since_reading() > SECONDS_BETWEEN_READINGS:
                clock.loss_read()
                progress.loss_sum, progress.correct = sums.tolist()
                self._show(progress.loss_sum / progress.rows, batches)
            if due:
                save_checkpoint(self.state, self.fingerprint, self.last)
                clock.checkpoint_written()
            if stop:
                raise Interrupted
        return progress.loss_sum / progress.rows, progress.correct / progress.rows

    def _step(self, batch: Batch, done: float) -> torch.Tensor:
        """Learn from one batch; returns the sums of loss and of correct rows, on the device: `(2,) float64`."""
        state, options = self.state, self.options
        rate = options.learning_rate * learning_rate_factor(options.schedule, options.warmup, done)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        for loss in margin_losses(state.loss):
            begin, end = options.margin_begin, options.margin_end
            loss.margin_share = margin_share(options.margin_schedule, begin, end, done)
        features = batch.features.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            embeddings = state.encoder(features)
        crops = options.crops_per_utterance
        if crops > 1:
            embeddings = embeddings.view(-1, crops, embeddings.shape[1]).mean(dim=1)
        result = state.loss(embeddings, batch.labels[::crops].to(self.device, non_blocking=True))
        state.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, options.clip_norm)
        state.optimizer.step()
        accuracy = (result.logits.detach().argmax(dim=1) == result.targets).double().mean()
        return torch.stack([result.loss.detach().double(), accuracy]) * len(batch.labels)

    def _show(self, loss: float, batches: np.ndarray) -> None:
        if not math.isfinite(loss):
            self._blame_data(batches)
            raise VouchError(
                f"the loss became {loss} in epoch {self.progress.epoch + 1}, batch {self.progress.batch}; "
                f"try a smaller train.learning_rate or train.clip_norm"
            )
        self.calls.progress(self.progress.epoch + 1, self.progress.batch, len(batches), loss)

    def _blame_data(self, batches: np.ndarray) -> None:
        """Raise `VouchError` if one of the batches since the loss was last read holds NaN or infinite numbers.

        Looking at every batch before it is used would cost time in every training; its crops can be drawn again.
        """
        options, last = self.options, self.progress.batch
        seed = (options.seed, self.progress.epoch)
        first = max(0, last - BATCHES_BETWEEN_READINGS)
        names = find_not_finite(self.data, batches, first, last, options.crop_frames, seed)
        if names:
            more = f", and {len(names) - 1} more utterances of these batches do" if len(names) > 1 else ""
            raise VouchError(
                f"{self.data.store.path}: '{names[0]}' holds NaN or infinite values{more};"
                f" utils/validate_data_dir.py --features finds all such"
            )

    def _validate(self) -> float | None:
        """EER on the validation set, 0 to 1, in the epochs that have one."""
        epoch = self.progress.epoch + 1
        if self.valid is None or (epoch % self.options.valid_interval and epoch < self.options.epochs):
            return None
        return self.valid.eer(self.state.encoder.eval())

    def _keep_if_best(self, eer: float | None) -> None:
        progress = self.progress
        if self.valid is None:
            progress.best_epoch = progress.epoch + 1
        elif eer is not None and eer < progress.best_eer:
            progress.best_eer, progress.best_epoch = eer, progress.epoch + 1
        if progress.best_epoch == progress.epoch + 1:
            save_encoder(self.state.encoder, self.best)

    def _report(self, curves: Curves, clock: Clock, mean_loss: float, accuracy: float, eer: float | None) -> None:
        epoch, rate = self.progress.epoch + 1, self.state.optimizer.param_groups[-1]["lr"]
        speed, waiting = clock.utterances_per_second(), clock.waiting_share()
        line = (
            f"epoch {epoch}/{self.options.epochs}: loss {mean_loss:.4f}, accuracy {100 * accuracy:.1f} %,"
            f" learning rate {rate:.1e}, {speed:.0f} utt/s, waiting for data {100 * waiting:.0f} %"
        )
        scalars = {"train/loss": mean_loss, "train/accuracy": accuracy, "train/learning_rate": rate}
        scalars |= {"speed/utterances_per_second": speed, "speed/waiting_share": waiting}
        if eer is not None:
            line += f"; validation EER {100 * eer:.2f} % (best {100 * self.progress.best_eer:.2f} %)"
            scalars["valid/eer"] = eer
        record = {"epoch": epoch, "loss": mean_loss, "accuracy": accuracy, "learning_rate": rate}
        self.progress.history.append(record if eer is None else {**record, "eer": eer})
        curves.add(scalars, epoch)
        self.calls.log(line)

    def _start_next_epoch(self) -> None:
        progress = self.progress
        progress.epoch += 1
        progress.batch = progress.rows = 0
        progress.loss_sum = progress.correct = 0.0


def _build(
    config: Config, data: TrainingSet, feature: dict[str, object] | None, start: Start | None, device: torch.device
) -> TrainingState:
    """Make encoder, loss and optimizer; the weights are fresh, except that the encoder may have those of `start`."""
    options = config.train
    encoder = Encoder(config.model, data.store.dim, config.normalization, feature).to(device)
    if start is not None:
        encoder.model.load_state_dict(start.encoder.model.state_dict())
    check_crops(encoder, options)
    loss = build_loss(config.loss, encoder.embedding_dim, len(data.speakers)).to(device)
    groups = [
        {"params": list(encoder.parameters()), "share": options.trunk_rate},
        {"params": list(loss.parameters()), "share": 1.0},
    ]
    if options.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, options.learning_rate, weight_decay=options.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            groups, options.learning_rate, momentum=SGD_MOMENTUM, weight_decay=options.weight_decay
        )
    return TrainingState(encoder, loss, optimizer, str(config.loss["name"]), data.speakers)
