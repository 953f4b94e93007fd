"""Builds and checks the parts of a training before its first step: network, loss, optimizer and batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vouch.augment.bank import Bank
from vouch.augment.config import AugmentConfig
from vouch.augment.pipeline import Augmentation
from vouch.base.errors import VouchError, nearest
from vouch.encoder import Encoder, EncoderConfig
from vouch.features.clock import Clock, clock_of
from vouch.features.config import FrontEndConfig
from vouch.losses import SpeakerLoss
from vouch.losses.margin import MarginSoftmax
from vouch.models.shapes import build_without_memory
from vouch.training.checkpoint import TrainingState
from vouch.training.config import Config
from vouch.training.data import TrainingSet
from vouch.training.draws import order_seed
from vouch.training.finetune import Start, transfer_loss
from vouch.training.input import TrainingInput
from vouch.training.sampler import Demand, Sampling, epoch_batches
from vouch.training.train_options import TrainOptions
from vouch.training.validation import ValidationSet

# Sizes for building networks and losses before the data are known.
PLACEHOLDER_BINS, PLACEHOLDER_SPEAKERS = 40, 1000
MOST_PARAMETERS = 4_000_000_000
SGD_MOMENTUM = 0.9
# Share of the memory of a GPU that noises and rooms may take; those that need more stay on the host.
BANK_SHARE = 0.25


@dataclass(frozen=True)
class Training:
    """A training that is ready for its first step, or to be continued from a checkpoint.

    Attributes
    ----------
    options : TrainOptions
        Training options.
    data : TrainingSet
        Training utterances.
    valid : ValidationSet or None
        Trials of held-out speakers, whose EER selects the best epoch; None: the last epoch is kept.
    device : torch.device
        Device to train on.
    state : TrainingState
        Network, loss and optimizer, on the device, and the progress of the training.
    parameters : sequence of nn.Parameter
        Parameters of network and loss, frozen ones included.
    frozen : sequence of nn.Module
        Modules of the network that are not trained.
    started_from : str
        A line about the model that is fine-tuned; empty for random initial weights.
    input : TrainingInput
        What happens to batches before the network.
    augmented_by : str
        A line about the augmentation; empty without one.
    """

    options: TrainOptions
    data: TrainingSet
    valid: ValidationSet | None
    device: torch.device
    state: TrainingState
    parameters: Sequence[nn.Parameter]
    frozen: Sequence[nn.Module]
    started_from: str
    input: TrainingInput
    augmented_by: str

    def plan_epoch(self, epoch: int) -> np.ndarray:
        """Return the utterances of an epoch's batches, `(batches, batch_size) int64`, repeated for several crops.

        Raises
        ------
        VouchError
            The training set cannot fill one batch; the message has the numbers.
        """
        options = self.options
        sampling = Sampling(
            cap=options.max_utterances_per_speaker,
            longer_than=self.input.length,
            epoch_length=self.data.clock.count(options.epoch_days * 86400),
            length_per_utterance=self.input.length * options.crops_per_utterance,
        )
        demand = batch_demand(self.state.loss, options)
        seed = order_seed(options.seed, epoch)
        batches = epoch_batches(options.sampler, self.data.labels, self.data.lengths, demand, sampling, seed)
        return np.repeat(batches, options.crops_per_utterance, axis=1)

    def begin_learning(self) -> None:
        """Switch the network to training mode, except for frozen modules, whose batch statistics stay fixed too."""
        self.state.encoder.train()
        for module in self.frozen:
            module.eval()


def set_up(
    config: Config,
    data: TrainingSet,
    valid: ValidationSet | None,
    feature: FrontEndConfig | None,
    start: Start | None,
    device: torch.device,
    bank: Bank | None = None,
) -> Training:
    """Build network, loss and optimizer for the data.

    Parameters
    ----------
    config : Config
        Resolved configuration.
    data : TrainingSet
    valid : ValidationSet or None
    device : torch.device
        See `Training`.
    feature : FrontEndConfig or None
        Front end of the features, if known.
    start : Start or None
        Model to fine-tune; None: random initial weights, which follow from the seed.
    bank : Bank, optional
        Noises and rooms, for an augmentation that takes any.

    Raises
    ------
    VouchError
        Configuration and data do not fit each other; the message has the numbers.
    """
    options = config.train
    torch.manual_seed(options.seed)
    dim = input_dim(config, data.store.dim, feature)
    encoder = Encoder(EncoderConfig(config.network, dim, config.normalization, feature)).to(device)
    if start is not None:
        encoder.model.load_state_dict(start.encoder.model.state_dict())
    check_crops(encoder.min_length, encoder.clock, options)
    augmentation, augmented_by = build_augmentation(config.augment, bank, feature, device)
    source = TrainingInput(encoder, data, options.crop_seconds, augmentation, device)
    loss = config.loss.build(encoder.embedding_dim, len(source.speakers)).to(device)
    optimizer = build_optimizer(encoder, loss, options, device)
    state = TrainingState(encoder, loss, optimizer, config.loss.name, source.speakers)
    frozen = frozen_modules(encoder, options.freeze)
    for module in frozen:
        module.requires_grad_(False)
    parameters = [*encoder.parameters(), *loss.parameters()]
    if not any(parameter.requires_grad for parameter in parameters):
        raise VouchError("train.freeze leaves nothing to train")
    started_from = ""
    if start is not None:
        told = transfer_loss(start, loss, state.loss_name, source.speakers)
        started_from = f"fine-tuning {start.path}: {told}"
    if valid is not None and valid.dim != dim:
        raise VouchError(f"validation features have {valid.dim} dimensions, training features {dim}")
    training = Training(options, data, valid, device, state, parameters, frozen, started_from, source, augmented_by)
    training.plan_epoch(0)  # raises the error for a batch that the data cannot fill before hours of training
    return training


def input_dim(config: Config, stored: int, feature: FrontEndConfig | None) -> int:
    """Return the dimensions of the network's input, of which `stored` are in the store."""
    if config.reads_waveforms and not config.network.takes_waveforms:
        assert feature is not None
        return feature.build().dim
    return stored


def build_augmentation(
    config: AugmentConfig, bank: Bank | None, feature: FrontEndConfig | None, device: torch.device
) -> tuple[Augmentation | None, str]:
    """Return what stage 3 does to batches, None if nothing, and a line about it; errors as of `AugmentConfig.build`."""
    if not config.is_online:
        # Stage 2 has changed the waveforms.
        config = AugmentConfig(features=config.features)
    if config == AugmentConfig():
        return None, ""
    what = [f"{part} {value}" for part, value in config.as_dict().items()]
    if bank is not None:
        is_small = device.type != "cuda" or bank.bytes <= BANK_SHARE * torch.cuda.mem_get_info(device)[1]
        bank = bank.to(device) if is_small else bank.on_host()
        count = sum(len(places.names) for places in bank.places.values())
        where = device if is_small else f"the host, since they are more than {BANK_SHARE:.0%} of the memory of {device}"
        what.append(f"{count} recordings, {bank.bytes / 2**20:.0f} MiB, on {where}")
    rate = 16000 if feature is None else feature.sample_rate
    return config.build(bank, rate), f"augmentation: {'; '.join(what)}"


def build_optimizer(
    encoder: Encoder, loss: SpeakerLoss, options: TrainOptions, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimizer of a network and a loss, with a group of parameters for each.

    In each group, "share" is the factor on the learning rate of the training, and "lr" is a tensor, so that a compiled
    or captured step sees its changes.
    """
    # Fused kernels of a GPU read the learning rate from the GPU, in single precision only. On a CPU it has the double
    # precision of Python numbers.
    is_fused = device.type == "cuda"
    rate = torch.tensor(options.learning_rate, dtype=torch.float32 if is_fused else torch.float64, device=device)
    groups = [
        {"params": list(encoder.parameters()), "lr": rate.clone(), "share": options.trunk_rate},
        {"params": list(loss.parameters()), "lr": rate.clone(), "share": 1.0},
    ]
    decay, fused = options.weight_decay, is_fused or None
    if options.optimizer == "adam":
        return torch.optim.Adam(groups, rate, weight_decay=decay, fused=fused)
    return torch.optim.SGD(groups, rate, momentum=SGD_MOMENTUM, weight_decay=decay, fused=fused)


def check_networks(config: Config, front_end: FrontEndConfig | None = None) -> None:
    """Build network and loss with placeholder sizes, so that errors of their constructors are reported early.

    Parameters
    ----------
    config : Config
        Resolved.
    front_end : FrontEndConfig, optional
        The front end of the features; if it is not known yet, crops of features are checked when the data are.

    Raises
    ------
    VouchError
        An option has an impossible value, crops are too short for the network, the loss cannot use such a batch, or
        there is a schedule for a margin that the loss does not have.
    """
    bins = 1 if config.network.takes_waveforms else PLACEHOLDER_BINS
    # Without memory, so that the parameters of a network that is too large can still be counted.
    with _about(f"model '{config.network.name}'"):
        encoder = build_without_memory(lambda: Encoder(EncoderConfig(config.network, bins, config.normalization)))
        if encoder.embedding_dim < 1:
            raise VouchError("embedding_dim must be at least 1")
        count = sum(weights.numel() for weights in encoder.parameters())
        if count > MOST_PARAMETERS:
            raise VouchError(f"{count} parameters with these options, more than any machine trains")
    if config.network.takes_waveforms or front_end is not None:
        check_crops(encoder.min_length, clock_of(config.network.front_end or front_end), config.train)
    frozen_modules(encoder, config.train.freeze)
    with _about(f"loss '{config.loss.name}'"):
        loss = build_without_memory(lambda: config.loss.build(encoder.embedding_dim, PLACEHOLDER_SPEAKERS))
    batch_demand(loss, config.train)
    if config.train.margin_schedule != "constant" and not margin_losses(loss):
        raise VouchError(
            f"train.margin_schedule is {config.train.margin_schedule}, but the loss '{config.loss.name}' has no"
            f" margin on the angle or cosine"
        )


@contextlib.contextmanager
def _about(part: str) -> Iterator[None]:
    """Add the name of the network or loss to errors about its options."""
    try:
        yield
    except VouchError as error:
        raise VouchError(f"{part}: {error}") from None


def check_crops(least: int, clock: Clock, options: TrainOptions) -> None:
    """Raise `VouchError` when the crops are shorter than the network's minimum, in steps of the clock."""
    if clock.count(options.crop_seconds) < least:
        raise VouchError(
            f"train.crop_seconds {options.crop_seconds} is too short, the network needs at least {least}"
            f" {clock.unit}, {clock.seconds_needed(least)} s"
        )


def batch_demand(loss: SpeakerLoss, options: TrainOptions) -> Demand:
    """Return the requirements of a loss on batches; `VouchError` if the batch size does not fit."""
    utterances = options.batch_size // options.crops_per_utterance
    distinct = loss.distinct_speakers or options.distinct_speakers
    return Demand(utterances, loss.utterances_per_speaker, distinct, options.crops_per_utterance)


def margin_losses(loss: SpeakerLoss) -> list[MarginSoftmax]:
    """Return the loss, or the parts of a sum of losses, whose margin a schedule can change."""
    return [part for part in loss.modules() if isinstance(part, MarginSoftmax)]


def frozen_modules(encoder: Encoder, names: Sequence[str]) -> list[nn.Module]:
    """Return the modules of the network with these names; `VouchError` naming the nearest if there is none."""
    known = {name: module for name, module in encoder.model.named_modules() if name}
    for name in names:
        if name not in known:
            raise VouchError(f"train.freeze: the network has no module '{name}'{nearest(name, known)}")
    return [known[name] for name in names]
