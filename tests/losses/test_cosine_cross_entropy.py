"""Cross-entropy over changed cosines: against autograd through every matrix, and how many matrices it makes itself."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from vouch.losses.cosine_cross_entropy import cosine_cross_entropy


def halve_and_shift(cosines):
    """A change with a slope of its own in each column."""
    factors = 0.5 + 0.1 * torch.arange(cosines.shape[1], dtype=cosines.dtype)
    return factors * cosines - 0.1, factors.expand_as(cosines)


def plain_autograd(embeddings, vectors, labels, scale, change, hardest, subcenters):
    """The same loss with masks over whole matrices, all of it differentiated by torch."""
    cosines = functional.normalize(embeddings, eps=1e-8) @ functional.normalize(vectors, eps=1e-8).T
    cosines = cosines.view(len(embeddings), -1, subcenters).amax(dim=2)
    own = functional.one_hot(labels, cosines.shape[1]).bool()
    order = cosines.masked_fill(own, torch.inf).argsort(dim=1, descending=True)
    ordered = cosines.gather(1, order)
    if change is not None:
        changed = change(ordered[:, : 1 + hardest])[0]
        ordered = torch.cat([changed, ordered[:, 1 + hardest :]], dim=1)
    logits = scale * torch.zeros_like(cosines).scatter(1, order, ordered)
    return functional.cross_entropy(logits, labels), logits


def random_batch(subcenters, dtype=torch.float64):
    generator = torch.Generator().manual_seed(subcenters)
    embeddings = torch.randn(9, 6, generator=generator, dtype=dtype)
    vectors = torch.randn(7 * subcenters, 6, generator=generator, dtype=dtype)
    # Neither a vector of zeros nor one below the floor of the length may upset the others.
    vectors[0] = 0.0
    vectors[1] = 1e-10
    labels = torch.tensor([3, 3, 0, 6, 1, 5, 2, 4, 0])
    return embeddings.requires_grad_(), vectors.requires_grad_(), labels


@pytest.mark.parametrize("subcenters", [1, 2, 3])
@pytest.mark.parametrize(
    ("change", "hardest"), [(None, 0), (halve_and_shift, 0), (halve_and_shift, 2), (halve_and_shift, 6)]
)
def test_against_autograd(subcenters, change, hardest):
    embeddings, vectors, labels = random_batch(subcenters)
    output = cosine_cross_entropy(embeddings, vectors, labels, 12.0, change, hardest, subcenters)
    loss, logits = plain_autograd(embeddings, vectors, labels, 12.0, change, hardest, subcenters)
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(output.logits, logits.detach())
    assert output.targets is labels and not output.logits.requires_grad
    expected = torch.autograd.grad(3.0 * loss, (embeddings, vectors))
    for gradient, wanted in zip(torch.autograd.grad(3.0 * output.loss, (embeddings, vectors)), expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_loss_of_confident_and_of_hopeless_rows():
    vectors = torch.eye(3)
    for label, expected in ((0, 2.0611536e-09), (1, 20.0)):
        value = cosine_cross_entropy(vectors[:1], vectors, torch.tensor([label]), 20.0).loss
        assert value.item() == pytest.approx(expected, abs=1e-7)
    # A probability of exp(-200) is 0 in single precision; the loss is not infinite.
    row = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    value = cosine_cross_entropy(row, torch.cat([vectors[:1], -vectors[:1]]), torch.tensor([1]), 100.0).loss
    assert value.item() == pytest.approx(200.0)


def test_kept_graph_gives_the_same_gradients_again():
    embeddings, vectors, labels = random_batch(2)
    loss = cosine_cross_entropy(embeddings, vectors, labels, 12.0, halve_and_shift, 2, 2).loss
    first = torch.autograd.grad(loss, (embeddings, vectors), retain_graph=True)
    for gradient, again in zip(first, torch.autograd.grad(loss, (embeddings, vectors)), strict=True):
        assert torch.equal(gradient, again)


def test_second_derivatives_are_refused():
    embeddings, vectors, labels = random_batch(1)
    loss = cosine_cross_entropy(embeddings, vectors, labels, 12.0).loss
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(loss, embeddings, create_graph=True)


def test_without_gradients():
    embeddings, vectors, labels = random_batch(3)
    expected = cosine_cross_entropy(embeddings, vectors, labels, 12.0, halve_and_shift, 2, 3)
    with torch.inference_mode():
        output = cosine_cross_entropy(embeddings, vectors, labels, 12.0, halve_and_shift, 2, 3)
    assert torch.equal(output.loss, expected.loss) and torch.equal(output.logits, expected.logits)


class LargeTensors(TorchDispatchMode):
    """Counts the memory blocks of at least so many bytes that operations return."""

    def __init__(self, least_bytes):
        super().__init__()
        self.least_bytes = least_bytes
        self.blocks = {}  # holds them, so that no block takes the place of an earlier one

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() >= self.least_bytes:
                self.blocks[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return result


@pytest.mark.parametrize("hardest", [0, 3])
def test_two_matrices_are_all_it_makes(hardest):
    embeddings = torch.randn(64, 4, requires_grad=True)
    vectors = torch.randn(500, 4, requires_grad=True)
    labels = torch.arange(64)
    with LargeTensors(least_bytes=64 * 500) as large:  # a matrix of bytes would count
        output = cosine_cross_entropy(embeddings, vectors, labels, 12.0, halve_and_shift, hardest)
        output.loss.backward()
    assert len(large.blocks) == 2
