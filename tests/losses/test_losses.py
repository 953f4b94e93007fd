"""What every loss in the table promises."""

import pytest
import torch

from vouch.errors import VouchError
from vouch.losses import LOSSES, LossOutput, SpeakerLoss

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
    return LOSSES[request.param](DIM, SPEAKERS)


def test_contract(loss):
    assert isinstance(loss, SpeakerLoss)
    assert loss.utterances_per_speaker >= (2 if loss.distinct_speakers else 1)
    embeddings, labels = batch(loss)
    output = loss(embeddings, labels)
    assert isinstance(output, LossOutput)
    assert output.loss.shape == () and output.loss.dtype == torch.float32
    assert output.logits.shape[0] == output.targets.shape[0] == len(labels)
    assert output.targets.min() >= 0 and output.targets.max() < output.logits.shape[1]
    output.loss.backward()
    assert embeddings.grad.abs().sum(dim=1).min() > 0
    for key, parameter in loss.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_order_of_the_batch_does_not_matter(loss):
    embeddings, labels = batch(loss)
    expected = loss(embeddings, labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))
    shuffled = loss(embeddings[order], labels[order])
    torch.testing.assert_close(shuffled.loss, expected.loss)
    accuracies = [(output.logits.argmax(1) == output.targets).sum() for output in (expected, shuffled)]
    assert accuracies[0] == accuracies[1]


def test_gradient(loss):
    loss = loss.double()
    embeddings, labels = batch(loss, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels).loss, embeddings)
    for parameter in loss.parameters():
        assert parameter.dtype == torch.float64
    weights = tuple(loss.parameters())
    fixed = embeddings.detach()
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


def test_state_dict_round_trip(loss, tmp_path):
    torch.save(loss.state_dict(), tmp_path / "loss.pt")
    other = type(loss)(DIM, SPEAKERS)
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
    optimizer = torch.optim.SGD([embeddings, *loss.parameters()], lr=0.05)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(embeddings, labels).loss
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]
