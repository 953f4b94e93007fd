"""What every network in the table promises."""

import pytest
import torch
from corpus import tiny_network

from vouch.base.errors import VouchError
from vouch.models import MODELS
from vouch.models.base import SpeakerNetwork

# More than the smallest networks have, so that some bins are left where bins are reduced by eight.
BINS = 24
# Of what a network takes: so much more than its minimum gives several frames before the pooling.
SPARE = {"features": 40, "waveform": 4000}
# The smallest networks have layers of one or two units, which may be dead behind their ReLU, but not in all of these.
SEEDS = range(20)


def draw(network, rows, spare=1.0):
    """A batch of `min_length` and that share of `SPARE` more."""
    frames = network.min_length + int(spare * SPARE[network.input_kind])
    tail = (network.num_bins,) if network.input_kind == "features" else ()
    return torch.randn(rows, frames, *tail)


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    torch.manual_seed(0)
    network = tiny_network(request.param, BINS, embedding_dim=19)
    # Two steps' worth of statistics, so that batch normalisation does something in evaluation mode.
    with torch.no_grad():
        for _ in range(2):
            network(2 * draw(network, 4) + 1)
    return network.eval()


def assert_close(embeddings, expected):
    """Equal up to rounding, of which logarithms of small filter outputs (RawNet3) make the most."""
    torch.testing.assert_close(
        embeddings, expected, atol=5e-5 * max(1.0, float(expected.detach().abs().max())), rtol=1e-4
    )


def test_declarations(model):
    assert isinstance(model, SpeakerNetwork)
    assert "tiny" in vars(type(model)) and "forward" not in vars(type(model))
    assert model.input_kind in SPARE
    assert model.embedding_dim == 19
    assert model.min_length >= 1
    assert model.input_kind == "waveform" or model.num_bins in (BINS, model.tiny["num_bins"])
    assert model.input_kind == "features" or model.sample_rate >= 8000


@pytest.mark.parametrize("spare", [0.0, 0.03, 0.05, 0.4, 1.0])
def test_any_batch_and_length(model, spare):
    inputs = draw(model, 3, spare)
    embeddings = model(inputs)
    assert embeddings.shape == (3, 19)
    assert embeddings.dtype == torch.float32
    assert_close(embeddings[1:2], model(inputs[1:2]))


@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan")])
def test_padding_changes_nothing(model, filler):
    utterances = [draw(model, 1, spare)[0] + 1 for spare in (0, 0.9, 0.5, 0.53, 0.55, 0.58, 1)]
    lengths = torch.tensor([len(utterance) for utterance in utterances])
    padded = torch.full((len(lengths), *draw(model, 1, 1.1)[0].shape), filler)
    for row, utterance in zip(padded, utterances, strict=True):
        row[: len(utterance)] = utterance
    alone = torch.cat([model(utterance[None]) for utterance in utterances])
    assert_close(model(padded, lengths), alone)


def test_lengths_matter(model):
    inputs = draw(model, 2) + 1
    cut = model(inputs, torch.tensor([inputs.shape[1], model.min_length]))
    whole = model(inputs)
    assert_close(cut[0], whole[0])
    assert (cut[1] - whole[1]).abs().max() > 1e-4


def test_shortest_input(model):
    assert model(draw(model, 2, 0.0)).isfinite().all()
    message = f"{model.min_length - 1} (frames|samples).* at least {model.min_length}"
    with pytest.raises(VouchError, match=message):
        model(draw(model, 2, 0.0)[:, 1:])
    inputs = draw(model, 2)
    with pytest.raises(VouchError, match=message):
        model(inputs, torch.tensor([inputs.shape[1], model.min_length - 1]))


def test_silence(model):
    assert model(torch.zeros_like(draw(model, 2))).isfinite().all()


def test_wrong_input(model):
    inputs = draw(model, 2)
    longest = inputs.shape[1]
    with pytest.raises(VouchError, match=rf"{longest + 1} (frames|samples).* holds only {longest}"):
        model(inputs, torch.tensor([longest + 1, longest]))
    with pytest.raises(VouchError, match=rf"\(2, {longest}, 41\)"):
        model(torch.randn(2, longest, 41))
    with pytest.raises(VouchError, match=r"not \(1000000,\)"):
        model(torch.randn(1000000))
    with pytest.raises(VouchError, match="2 utterances"):
        model(inputs, torch.tensor([longest]))


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_round_trip(name, tmp_path):
    saved = tiny_network(name, BINS)
    inputs = draw(saved, 4)
    saved(inputs)
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    loaded = tiny_network(name, BINS)
    loaded.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(saved.eval()(inputs), loaded.eval()(inputs))


@pytest.mark.parametrize("name", MODELS)
def test_gradient_reaches_every_parameter(name):
    unreached = None
    for seed in SEEDS:
        torch.manual_seed(seed)
        network = tiny_network(name, BINS)
        embeddings = network(draw(network, 6))
        (embeddings * torch.randn_like(embeddings)).sum().backward()
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        zero = {key for key, parameter in network.named_parameters() if not parameter.grad.any()}
        unreached = zero if unreached is None else unreached & zero
        if not unreached:
            return
    assert not unreached


def test_gradient_reaches_real_frames_only(model):
    inputs = draw(model, 12).requires_grad_()
    longest, real = inputs.shape[1], model.min_length + SPARE[model.input_kind] // 2
    (model(inputs, torch.tensor([longest, real]).repeat(6)) * torch.randn(12, 19)).sum().backward()
    assert inputs.grad.isfinite().all()
    assert not inputs.grad[1::2, real:].any()
    # In any of the utterances: the few units behind the ReLUs of a tiny network may be dead for one of them.
    touched = inputs.grad.reshape(6, 2, longest, -1).any(dim=3).any(dim=0)
    # A network with strides and without padding (VGG, those on waveforms) leaves out some frames at the end.
    assert touched[0].float().mean() > 0.7 and touched[1, :real].float().mean() > 0.7


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_autocast(name):
    torch.manual_seed(0)
    network = tiny_network(name, BINS)
    inputs = draw(network, 4)
    network(inputs)
    network.eval()
    exact = network(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(inputs)
    assert torch.cosine_similarity(exact, rounded.float()).min() > 0.99


@pytest.mark.parametrize("name", ["resnetse34l", "xvector", "resnet34", "vggvox40"])
def test_unknown_pooling(name):
    with pytest.raises(VouchError, match=r"unknown pooling 'stat'.*stats"):
        tiny_network(name, pooling="stat")


@pytest.mark.parametrize("name", ["resnetse34l", "xvector"])
def test_unusable_channels(name):
    with pytest.raises(VouchError, match="channels must be"):
        tiny_network(name, channels=(16, 32, 64))
