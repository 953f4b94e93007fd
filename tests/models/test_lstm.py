"""The GE2E LSTM against reference vectors made by running a public GE2E implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import fill_state

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
