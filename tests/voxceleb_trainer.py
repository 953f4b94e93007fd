"""Reference vectors made by running voxceleb_trainer's networks, with its front ends written out in plain formulas."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import fill_state

from vouch.interop.voxceleb_trainer import vouch_key

GOLDEN = Path(__file__).parent / "golden"
FACTS = json.loads((GOLDEN / "voxceleb_trainer_networks.json").read_text())
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_networks.npz")

WINDOW, SHIFT, TRANSFORM, RATE = 400, 160, 512, 16000


def names(model):
    """Cases of one of its networks."""
    return [name for name, case in FACTS["cases"].items() if case["model"] == model]


def power_spectrum(wave, hamming, centred):
    """Power of the 257 bins of `wave : (samples,)`, `(frames, 257)`, by a matrix of cosines and one of sines."""
    phase = 2 * np.pi * np.arange(WINDOW) / WINDOW
    window = 0.54 - 0.46 * np.cos(phase) if hamming else 0.5 - 0.5 * np.cos(phase)
    margin = (TRANSFORM - WINDOW) // 2
    if centred:
        wave = np.pad(wave, TRANSFORM // 2, mode="reflect")
    starts = range(margin, len(wave) - TRANSFORM + margin + 1, SHIFT)
    frames = np.stack([wave[start : start + WINDOW] * window for start in starts])
    angle = 2 * np.pi * np.outer(np.arange(WINDOW), np.arange(TRANSFORM // 2 + 1)) / TRANSFORM
    return (frames @ np.cos(angle)) ** 2 + (frames @ np.sin(angle)) ** 2


def mel_weights(bands):
    """Triangles between points equally spaced in mel from 0 to 8000 Hz, `(257, bands)`."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, TRANSFORM // 2 + 1)[:, None]
    low, centre, high = points[:-2], points[1:-1], points[2:]
    return np.maximum(0, np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre)))


def features(model, waves, bins, log):
    """What a network of voxceleb_trainer gets to see of `waves : (batch, samples)`: `(batch, frames, bins)` float32."""
    utterances = []
    for wave in waves.astype(np.float64):
        if model == "ResNetSE34":
            values = np.sqrt(power_spectrum(wave, hamming=False, centred=False))
        else:
            if model == "ResNetSE34V2":
                wave = wave - 0.97 * np.concatenate([wave[1:2], wave[:-1]])
            power = power_spectrum(wave, hamming=model != "VGGVox", centred=True)
            values = power @ mel_weights(bins) + 1e-6
        values = np.log(values) if log else values
        utterances.append((values - values.mean(axis=0)) / np.sqrt(values.var(axis=0) + 1e-5))
    return torch.from_numpy(np.stack(utterances)).float()


def check_gradients(model, features, facts, tolerance=1e-3):
    """Train one step on mean squared embeddings, check the norms of all gradients, return embeddings and loss.

    `model` and `features : (batch, frames, bins)` are float32, and so are the embeddings that come back. Norms are held
    to `tolerance` in float64, where nothing is rounded away, and to 2 % in float32: with a batch of two, a unit that
    lies within rounding of zero falls on either side of its ReLU, and a maximum on either of two neighbours, by the
    processor and the number of threads. That happened to two of the recorded steps too, whose `tolerance` is larger.
    """
    exact = copy.deepcopy(model).double()
    check_norms(exact, exact.train()(features.double()), facts, tolerance)
    embeddings = model.train()(features)
    return embeddings, check_norms(model, embeddings, facts, 2e-2)


def check_norms(model, embeddings, facts, tolerance):
    """The gradients of mean squared embeddings have the recorded norms; return the loss."""
    loss = embeddings.square().mean()
    loss.backward()
    norms = {key: parameter.grad.norm().item() for key, parameter in model.named_parameters()}
    assert norms.keys() == {vouch_key(key) for key in facts["grad_l2"]}
    for key, expected in facts["grad_l2"].items():
        assert norms[vouch_key(key)] == pytest.approx(expected, rel=tolerance, abs=1e-5), key
    return loss


class Case:
    """One network of voxceleb_trainer, its weights filled by rule, and what it made of the stored waveforms."""

    def __init__(self, name, network):
        self.name, self.facts = name, FACTS["cases"][name]
        self.model = network(self.facts["bins"], embedding_dim=512, pooling=self.facts["pooling"])
        keys = self.model.state_dict()
        fill_state(self.model, FACTS["salt"], {vouch_key(key): key for key in map(original_key, keys)})

    def features(self, wave):
        """Features of the stored waveforms "wave_odd" or "wave_dense"."""
        return features(self.facts["model"], ARRAYS[wave], self.facts["bins"], self.facts["log"])

    def stored_features(self):
        """Features the original made of other waveforms; batch normalisation of a batch of two needs them exactly.

        They are contiguous, as a batch of training is.
        """
        stored = torch.from_numpy(ARRAYS[f"features/{self.facts['model']}_mel{self.facts['bins']}_log"])
        return stored.transpose(1, 2).contiguous()

    def difference(self, embeddings, which):
        """Largest difference from the reference embeddings, relative to the largest of their values."""
        expected = ARRAYS[f"{self.name}/{which}"]
        return np.abs(embeddings.detach().numpy() - expected).max() / np.abs(expected).max()

    def check_training_step(self, tolerance=1e-3):
        """One forward and backward pass of mean squared embeddings: loss, gradients and running statistics.

        How exact gradients are over real batches is measured in models/test_batch_norm.py.
        """
        facts = self.facts["train"]
        embeddings, loss = check_gradients(self.model, self.stored_features(), facts, tolerance)
        assert self.difference(embeddings, "emb_train") < 1e-4
        assert loss.item() == pytest.approx(facts["loss_value"], rel=1e-5)
        state = self.model.state_dict()
        for key, expected in (facts["running_mean_l2_after"] | facts["running_var_l2_after"]).items():
            assert state[vouch_key(key)].norm().item() == pytest.approx(expected, rel=1e-5), key

    def check_stages(self, modules):
        """Shape, mean, deviation and first values of what `modules` (name of the stage: module) put out."""
        seen = {}

        def hook(stage):
            # A copy: the layers that follow may work in place.
            return lambda module, inputs, output: seen.update({stage: output.detach().clone()})

        handles = [module.register_forward_hook(hook(stage)) for stage, module in modules.items()]
        with torch.no_grad():
            self.model.eval()(self.stored_features())
        for handle in handles:
            handle.remove()
        assert seen.keys() == self.facts["stages"].keys()
        for stage, expected in self.facts["stages"].items():
            output = seen[stage]
            assert list(output.shape) == expected["shape"], stage
            measured = [output.mean(), output.std(), *output.flatten()[:8]]
            wanted = torch.tensor([expected["mean"], expected["std"], *expected["first8"]])
            torch.testing.assert_close(torch.stack(measured), wanted, atol=1e-4, rtol=1e-4, msg=stage)


def original_key(key):
    """The inverse of `vouch_key`."""
    return key.removeprefix("pooling.")


def check_keys(name, model):
    """The state dict has the keys and shapes of the original, but for the front end's."""
    originals = {key: shape for key, shape in FACTS["state_keys"][name].items() if not key.startswith("torchfb.")}
    state = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert state == {vouch_key(key): shape for key, shape in originals.items()}
