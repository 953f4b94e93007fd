"""What every loss in the table promises."""

import inspect

import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses import LOSSES, LossOutput, SpeakerLoss
from vouch.losses.config import LossConfig, LossPart

DIM, SPEAKERS = 12, 7


def batch(loss, scale=1.0, dtype=torch.float32):
    """A shuffled batch that suits the loss: embeddings and labels of four of the seven speakers."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.tensor([5, 0, 6, 2]).repeat_interleave(max(loss.utterances_per_speaker, 2))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    embeddings = scale * torch.randn(len(labels), DIM, generator=generator, dtype=dtype)
    return embeddings.requires_grad_(), labels


@pytest.fixture(params=LOSSES)
def loss(request):
    torch.manual_seed(2)
    return LOSSES[request.param](DIM, SPEAKERS, **LOSSES[request.param].tiny)


def test_contract(loss):
    assert isinstance(loss, SpeakerLoss)
    assert loss.utterances_per_speaker >= (2 if loss.distinct_speakers else 1)
    embeddings, labels = batch(loss)
    output = loss(embeddings, labels)
    assert isinstance(output, LossOutput)
    assert output.loss.shape == () and output.loss.dtype == torch.float32
    assert output.logits.shape[0] == output.targets.shape[0] > 0
    assert output.targets.min() >= 0 and output.targets.max() < output.logits.shape[1]
    output.loss.backward()
    assert embeddings.grad.abs().sum(dim=1).min() > 0
    for key, parameter in loss.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_order_of_the_speakers_does_not_matter(loss):
    """Nor how they are interleaved; only which of a speaker's utterances comes first may."""
    embeddings, labels = batch(loss)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))
    for speaker in labels.unique():
        places = labels[order] == speaker
        order[places] = order[places].sort().values
    assert (order != torch.arange(len(labels))).any()
    outputs = []
    for one, other in ((embeddings, labels), (embeddings[order], labels[order])):
        torch.manual_seed(1)
        outputs.append(loss(one, other))
    torch.testing.assert_close(outputs[1].loss, outputs[0].loss)
    accuracies = [(output.logits.argmax(1) == output.targets).float().mean() for output in outputs]
    torch.testing.assert_close(*accuracies)


def test_gradient(loss):
    loss = loss.double()
    embeddings, labels = batch(loss, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels).loss, embeddings)
    for parameter in loss.parameters():
        assert parameter.dtype == torch.float64
    weights = tuple(loss.parameters())
    fixed = embeddings.detach()
    if weights:
        assert torch.autograd.gradcheck(lambda *_: loss(fixed, labels).loss, weights)


def test_autocast_changes_nothing(loss):
    embeddings, labels = batch(loss)
    rounded = embeddings.detach().bfloat16()
    exact = loss(rounded.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        output = loss(rounded, labels)
    assert output.loss.dtype == output.logits.dtype == torch.float32
    assert torch.equal(output.loss, exact.loss) and torch.equal(output.logits, exact.logits)


@pytest.mark.parametrize("kind", ["zero", "one zero", "identical", "opposite", "tiny", "huge"])
def test_degenerate_embeddings_stay_finite(loss, kind):
    embeddings, labels = batch(loss)
    with torch.no_grad():
        if kind == "zero":
            embeddings.zero_()
        elif kind == "one zero":
            embeddings[0] = 0
        elif kind in ("identical", "opposite"):
            embeddings[:] = torch.ones(DIM)
            if kind == "opposite":
                embeddings[::2] *= -1
        else:
            embeddings.mul_(1e-12 if kind == "tiny" else 1e6)
    output = loss(embeddings, labels)
    output.loss.backward()
    assert output.loss.isfinite() and output.logits.isfinite().all()
    assert embeddings.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in loss.parameters())


def test_one_speaker_in_the_batch(loss):
    """Finite, or an error that says what the loss needs."""
    embeddings, _ = batch(loss)
    labels = torch.full((len(embeddings),), 3)
    if loss.distinct_speakers:
        with pytest.raises(VouchError, match=r"needs .* 2 or more speakers, not .* of 1 speakers"):
            loss(embeddings, labels)
        return
    output = loss(embeddings, labels)
    output.loss.backward()
    assert output.loss.isfinite() and embeddings.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in loss.parameters())


def test_state_dict_round_trip(loss, tmp_path):
    torch.save(loss.state_dict(), tmp_path / "loss.pt")
    other = type(loss)(DIM, SPEAKERS, **loss.tiny)
    other.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    embeddings, labels = batch(loss)
    assert torch.equal(loss(embeddings, labels).loss, other(embeddings, labels).loss)


def test_wrong_shapes(loss):
    embeddings, labels = batch(loss)
    with pytest.raises(VouchError, match=f"batch, {DIM}"):
        loss(embeddings[:, 1:], labels)
    with pytest.raises(VouchError, match="labels"):
        loss(embeddings, labels[1:])


def test_a_few_steps_reduce_it(loss):
    embeddings, labels = batch(loss)
    # Adam, since the gradients of the losses are of very different sizes.
    optimizer = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(embeddings, labels).loss
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_one_file_named_after_it(name):
    module = inspect.getmodule(LOSSES[name])
    assert module.__name__ == f"vouch.losses.{name}"
    assert len(inspect.getsource(module).splitlines()) <= 140
    assert [cls for cls in vars(module).values() if cls in LOSSES.values() and cls.__module__ == module.__name__] == [
        LOSSES[name]
    ]


@pytest.mark.parametrize("name", LOSSES)
def test_a_sum_with_any_loss(name):
    """Its value, gradients and needs follow from its parts."""
    torch.manual_seed(2)
    other = "softmax" if name != "softmax" else "center"
    loss = LossConfig.from_dict({"name": f"{name}+{other}", name: {"weight": 0.5}}).build(DIM, SPEAKERS)
    first, second = loss.get_submodule(name), loss.get_submodule(other)
    assert (loss.distinct_speakers, loss.utterances_per_speaker) == (
        first.distinct_speakers,
        first.utterances_per_speaker,
    )
    embeddings, labels = batch(loss)
    values = []
    for part in (loss, first, second):
        torch.manual_seed(1)
        values.append(part(embeddings, labels).loss)
    torch.testing.assert_close(values[0], 0.5 * values[1] + values[2])


def test_options_of_a_loss_and_of_the_parts_of_a_sum():
    assert LossConfig.from_dict({"name": "aamsoftmax", "margin": 0.4}).build(DIM, SPEAKERS).margin == 0.4
    parts = {"amsoftmax": {"margin": 0.1}, "ge2e": {"weight": 3}}
    loss = LossConfig.from_dict({"name": "amsoftmax+ge2e", **parts}).build(DIM, SPEAKERS)
    assert loss.get_submodule("amsoftmax").margin == 0.1
    assert loss.weights == {"amsoftmax": 1.0, "ge2e": 3.0}
    config = LossConfig.from_dict({"name": "coco+proto"})
    assert config == LossConfig((LossPart("coco"), LossPart("proto"))) == LossConfig.from_dict(config.as_dict())
    with pytest.raises(VouchError, match="angleproto 2, ge2e 4"):
        LossConfig.from_dict({"name": "angleproto+ge2e"}).build(DIM, SPEAKERS)
