"""What every network in the table promises."""

import pytest
import torch

from vouch.errors import VouchError
from vouch.models import MODELS

BINS = 24


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    torch.manual_seed(0)
    network = MODELS[request.param](BINS, embedding_dim=19)
    # Two steps' worth of statistics, so that batch normalisation does something in evaluation mode.
    with torch.no_grad():
        for _ in range(2):
            network(2 * torch.randn(4, 40, BINS) + 1)
    return network.eval()


def test_declarations(model):
    assert model.input_kind == "features"
    assert (model.num_bins, model.embedding_dim) == (BINS, 19)
    assert model.min_frames >= 1


@pytest.mark.parametrize("frames", [15, 16, 17, 31, 50])
def test_any_batch_and_length(model, frames):
    features = torch.randn(3, frames, BINS)
    embeddings = model(features)
    assert embeddings.shape == (3, 19)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings[1:2], model(features[1:2]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan")])
def test_padding_changes_nothing(model, filler):
    lengths = torch.tensor([model.min_frames, 37, 20, 21, 22, 23, 40])
    utterances = [torch.randn(int(n), BINS) + 1 for n in lengths]
    padded = torch.full((len(lengths), 43, BINS), filler)
    for row, utterance in zip(padded, utterances, strict=True):
        row[: len(utterance)] = utterance
    alone = torch.cat([model(utterance[None]) for utterance in utterances])
    torch.testing.assert_close(model(padded, lengths), alone, atol=1e-5, rtol=1e-5)


def test_lengths_matter(model):
    features = torch.randn(2, 40, BINS) + 1
    cut = model(features, torch.tensor([40, 25]))
    whole = model(features)
    torch.testing.assert_close(cut[0], whole[0], atol=1e-5, rtol=1e-5)
    assert (cut[1] - whole[1]).abs().max() > 1e-4


def test_shortest_input(model):
    assert model(torch.randn(2, model.min_frames, BINS)).isfinite().all()
    message = f"{model.min_frames - 1} frames.* at least {model.min_frames}"
    with pytest.raises(VouchError, match=message):
        model(torch.randn(2, model.min_frames - 1, BINS))
    with pytest.raises(VouchError, match=message):
        model(torch.randn(2, 40, BINS), torch.tensor([40, model.min_frames - 1]))


def test_wrong_input(model):
    with pytest.raises(VouchError, match=r"41 frames.* holds only 40"):
        model(torch.randn(2, 40, BINS), torch.tensor([41, 30]))
    with pytest.raises(VouchError, match=f"frames, {BINS}.*2, 40, {BINS + 1}"):
        model(torch.randn(2, 40, BINS + 1))
    with pytest.raises(VouchError, match=r"\(40, 24\)"):
        model(torch.randn(40, BINS))
    with pytest.raises(VouchError, match="2 utterances"):
        model(torch.randn(2, 40, BINS), torch.tensor([40]))


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_round_trip(name, tmp_path):
    saved = MODELS[name](BINS, embedding_dim=7)
    saved(torch.randn(4, 30, BINS))
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    loaded = MODELS[name](BINS, embedding_dim=7)
    loaded.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    features = torch.randn(2, 30, BINS)
    assert torch.equal(saved.eval()(features), loaded.eval()(features))


@pytest.mark.parametrize("name", MODELS)
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    network = MODELS[name](BINS, embedding_dim=7)
    (network(torch.randn(6, 40, BINS)) * torch.randn(6, 7)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


def test_gradient_reaches_real_frames_only(model):
    features = torch.randn(2, 40, BINS, requires_grad=True)
    (model(features, torch.tensor([40, 29])) * torch.randn(2, 19)).sum().backward()
    assert features.grad.isfinite().all()
    assert features.grad[0].any(dim=1).all() and features.grad[1, :29].any(dim=1).all()
    assert not features.grad[1, 29:].any()


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_autocast(name):
    torch.manual_seed(0)
    network = MODELS[name](BINS)
    features = torch.randn(4, 40, BINS)
    network(features)
    network.eval()
    exact = network(features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(features)
    cosine = torch.cosine_similarity(exact, rounded.float())
    assert cosine.min() > 0.99


@pytest.mark.parametrize("name", ["resnetse34l", "xvector"])
def test_unusable_options(name):
    with pytest.raises(VouchError, match=r"unknown pooling 'spa'.*sap"):
        MODELS[name](BINS, pooling="spa")
    with pytest.raises(VouchError, match="channels must be"):
        MODELS[name](BINS, channels=(16, 32, 64))
