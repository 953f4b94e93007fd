"""The GE2E LSTM against reference vectors made by running a public GE2E implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import fill_state

from vouch.base.errors import VouchError
from vouch.models.lstm import GE2ELSTM

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "ge2e_lstm.npz")
FACTS = json.loads((GOLDEN / "ge2e_lstm.json").read_text())
CASES = [name for name in FACTS["models"] if name != "init_std"]


@pytest.mark.parametrize("name", CASES)
def test_embeddings(name):
    facts = FACTS["models"][name]
    model = GE2ELSTM(facts["nfeats"], facts["proj"], facts["hidden"], facts["num_layer"]).eval()
    fill_state(model, FACTS["fill_rule_salt"])
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["n_params"]

    features = torch.from_numpy(ARRAYS[f"{name}/x"])
    with torch.no_grad():
        embeddings = model(features)
    np.testing.assert_allclose(embeddings.numpy(), ARRAYS[f"{name}/emb"], atol=1e-5)
    exact = ARRAYS[f"{name}/proj64"]
    np.testing.assert_allclose(embeddings.numpy(), exact / np.linalg.norm(exact, axis=1, keepdims=True), atol=1e-5)


def test_initialisation():
    torch.manual_seed(0)
    model = GE2ELSTM(40)
    for key, deviation in FACTS["models"]["init_std"].items():
        parameter = model.state_dict()[key]
        # Four standard errors of an estimate from two samples of this size.
        tolerance = 4 * deviation / parameter.numel() ** 0.5
        assert parameter.std().item() == pytest.approx(deviation, abs=tolerance), key


def test_zero_projection_stays_finite():
    model = GE2ELSTM(5, embedding_dim=4, hidden_size=8, num_layers=1)
    torch.nn.init.zeros_(model.projection.weight)
    torch.nn.init.zeros_(model.projection.bias)
    embeddings = model(torch.randn(2, 10, 5))
    embeddings.sum().backward()
    assert not embeddings.any()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_embeddings_have_unit_length():
    embeddings = GE2ELSTM(5, embedding_dim=4, hidden_size=8, num_layers=1)(torch.randn(3, 10, 5))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def slow_lstm(state, frames, layers, projected):
    """The top layer's last output for one utterance, `(frames, bins)` float64, one frame and layer at a time."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    sequence = frames
    for layer in range(layers):
        inner = state[f"LSTM_stack.weight_hh_l{layer}"]
        output, cell = np.zeros(inner.shape[1]), np.zeros(inner.shape[0] // 4)
        bias = state[f"LSTM_stack.bias_ih_l{layer}"] + state[f"LSTM_stack.bias_hh_l{layer}"]
        outputs = []
        for frame in sequence:
            gates = state[f"LSTM_stack.weight_ih_l{layer}"] @ frame + inner @ output + bias
            enter, forget, candidate, leave = np.split(gates, 4)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
            output = sigmoid(leave) * np.tanh(cell)
            if projected:
                output = state[f"LSTM_stack.weight_hr_l{layer}"] @ output
            outputs.append(output)
        sequence = outputs
    return sequence[-1]


@pytest.mark.parametrize("projection", ["last", "every"])
@pytest.mark.parametrize("relu", [False, True])
def test_against_the_formula(projection, relu):
    model = GE2ELSTM(5, embedding_dim=7, hidden_size=12, num_layers=3, projection=projection, relu=relu).eval()
    fill_state(model, "lstm")
    features = np.random.default_rng(3).standard_normal((2, 9, 5))
    state = {key: value.double().numpy() for key, value in model.state_dict().items()}
    expected = []
    for utterance in features:
        top = slow_lstm(state, utterance, 3, projection == "every")
        embedding = state["projection.weight"] @ top + state["projection.bias"]
        embedding = np.maximum(embedding, 0) if relu else embedding
        expected.append(embedding / np.linalg.norm(embedding))
    embeddings = model(torch.from_numpy(features).float()).detach().numpy()
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    assert (embeddings >= 0).all() == relu


@pytest.mark.parametrize("projection", ["last", "every"])
def test_output_is_taken_at_the_last_real_frame(projection):
    torch.manual_seed(0)
    model = GE2ELSTM(5, embedding_dim=7, hidden_size=12, num_layers=2, projection=projection).eval()
    features = torch.randn(3, 11, 5)
    lengths = torch.tensor([11, 1, 6])
    alone = torch.cat([model(row[None, :length]) for row, length in zip(features, lengths.tolist(), strict=True)])
    features[1, 1:] = float("nan")
    features[2, 6:] = 1e4
    torch.testing.assert_close(model(features, lengths), alone)


@pytest.mark.parametrize(("options", "parameters"), [({}, 12_134_656), ({"projection": "every"}, 4_729_088)])
def test_number_of_parameters(options, parameters):
    assert sum(parameter.numel() for parameter in GE2ELSTM(40, **options).parameters()) == parameters


def test_unusable_options():
    with pytest.raises(VouchError, match=r"unknown projection 'each'.*last, every"):
        GE2ELSTM(40, projection="each")
    with pytest.raises(VouchError, match="hidden_size above 256, not 256"):
        GE2ELSTM(40, hidden_size=256, projection="every")
