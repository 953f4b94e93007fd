"""The x-vector network against a transcription of its table, frame by frame."""

import numpy as np
import pytest
import torch
from fill import fill_state

from vouch.models.xvector import XVector

# Frames seen by each layer relative to its output frame.
CONTEXTS = {
    "frame1": (-2, -1, 0, 1, 2),
    "frame2": (-2, 0, 2),
    "frame3": (-3, 0, 3),
    "frame4": (0,),
    "frame5": (0,),
}


def slow_xvector(state, frames):
    """One utterance, `(frames, bins)` float64, through the network; frames are addressed by their time."""
    sequence = dict(enumerate(frames))
    for name, context in CONTEXTS.items():
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        outputs = {}
        for time in sequence:
            if all(time + offset in sequence for offset in context):
                affine = bias + sum(weight[:, :, k] @ sequence[time + offset] for k, offset in enumerate(context))
                outputs[time] = (np.maximum(affine, 0) - mean) / np.sqrt(variance + 1e-5)
        sequence = outputs
    stacked = np.stack(list(sequence.values()))
    spread = stacked.std(axis=0, ddof=1) if len(stacked) > 1 else np.zeros(stacked.shape[1])
    statistics = np.concatenate([stacked.mean(axis=0), spread])
    first = state["segment6.weight"] @ statistics + state["segment6.bias"]
    if "segment7.weight" not in state:
        return first
    mean, variance = state["segment6_bn.running_mean"], state["segment6_bn.running_var"]
    return (
        state["segment7.weight"] @ ((np.maximum(first, 0) - mean) / np.sqrt(variance + 1e-5)) + state["segment7.bias"]
    )


@pytest.mark.parametrize("frames", [15, 16, 40])
@pytest.mark.parametrize("two_layers", [False, True])
def test_against_the_table(frames, two_layers):
    model = XVector(13, embedding_dim=21, channels=(16, 17, 18, 19, 20), two_layers=two_layers).eval()
    fill_state(model, "xvector")
    features = np.random.default_rng(frames).standard_normal((2, frames, 13))
    state = {key: value.double().numpy() for key, value in model.state_dict().items()}
    expected = np.stack([slow_xvector(state, utterance) for utterance in features])
    embeddings = model(torch.from_numpy(features).float()).detach().numpy()
    np.testing.assert_allclose(embeddings, expected, atol=1e-5 * np.abs(expected).max())


def test_number_of_parameters():
    def affine(inputs, outputs):
        return (inputs + 1) * outputs

    expected = affine(80 * 5, 512) + 2 * affine(512 * 3, 512) + affine(512, 512) + affine(512, 1500) + affine(3000, 512)
    assert sum(parameter.numel() for parameter in XVector(80).parameters()) == expected == 4_347_868
