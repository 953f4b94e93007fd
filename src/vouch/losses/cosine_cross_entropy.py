"""Cross-entropy over scaled cosines, a few of which are changed by a margin, with the least memory.

With tens of thousands of speakers, the `(batch, speakers)` matrices dominate the cost of a training step. Two are
needed, the logits and their gradient; a margin written with masks or one-hot matrices makes eight more. Here only the
changed entries are gathered and written back in place, and the gradient overwrites the softmax that it is computed
from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.autograd.function import FunctionCtx

from vouch.losses.base import NORM_FLOOR, LossOutput, unit_length

# Function of cosines that returns their elementwise replacements and the derivatives of these.
Change = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def cosine_cross_entropy(
    embeddings: torch.Tensor,
    vectors: torch.Tensor,
    labels: torch.Tensor,
    scale: torch.Tensor,
    change: Change | None = None,
    hardest: int = 0,
    subcenters: int = 1,
) -> LossOutput:
    """Mean cross-entropy over `scale` times the cosines of embeddings and class vectors.

    Parameters
    ----------
    embeddings : (batch, dim) float32
    vectors : (classes * subcenters, dim) float32
        The sub-centres of a class are adjacent; the closest one gives the cosine of the class.
    labels : (batch,) int64
    scale : () float
    change : function, optional
        `(batch, 1 + hardest) -> (batch, 1 + hardest), (batch, 1 + hardest)`: replaces cosines, and returns the
        derivatives of the replacements. Column 0 is the target class.
    hardest : int
        Number of other classes whose cosines are changed too: those with the largest cosines of the row.
    subcenters : int
        Class vectors of each class, at most 255.

    Returns
    -------
    LossOutput
        Its logits are those after the change, without gradient. The loss can be differentiated once.
    """
    queries = scale * unit_length(embeddings)
    with torch.no_grad():
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        unit = (vectors / lengths.clamp(min=NORM_FLOOR)).view(-1, subcenters, vectors.shape[1])
        logits, closest = _logits(queries, unit)
        columns = _own_and_hardest(logits, labels, hardest)
        slopes = None
        if change is not None:
            before = logits.gather(1, columns)
            cosines = before / scale
            changed, slopes = change(cosines)
            after = scale * changed
            # An unchanged logit of another class stays equal to the last bit; dividing and multiplying might change it.
            after[:, 1:] = torch.where(changed == cosines, before, after)[:, 1:]
            logits.scatter_(1, columns, after)
        loss, gradient = _loss_and_gradient(logits, columns, slopes)
    loss = _WithGradient.apply(queries, vectors, loss, gradient, unit, lengths, closest)
    return LossOutput(loss, logits, labels)


def _logits(queries: torch.Tensor, unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Cosines of the closest sub-centre of each class, and its index: `(batch, classes)` float and uint8."""
    logits, closest = queries @ unit[:, 0].T, None
    for index in range(1, unit.shape[1]):
        products = queries @ unit[:, index].T
        closest = torch.zeros_like(logits, dtype=torch.uint8) if closest is None else closest
        # Indices increase, so the maximum keeps the last sub-centre that was closer; a masked fill would be slow.
        torch.maximum(closest, (products > logits).view(torch.uint8).mul_(index), out=closest)
        torch.maximum(logits, products, out=logits)
    return logits, closest


def _own_and_hardest(logits: torch.Tensor, labels: torch.Tensor, hardest: int) -> torch.Tensor:
    """Columns of the target class and of the `hardest` largest others: `(batch, 1 + hardest)` int64."""
    own = labels[:, None]
    if hardest == 0:
        return own
    kept = logits.gather(1, own)
    logits.scatter_(1, own, -torch.inf)
    others = logits.topk(hardest, dim=1).indices
    logits.scatter_(1, own, kept)
    return torch.cat([own, others], dim=1)


def _loss_and_gradient(
    logits: torch.Tensor, columns: torch.Tensor, slopes: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean loss, and the derivative of each row's loss with respect to its logits before the change."""
    gradient = logits.softmax(dim=1)
    # The largest probability of a row is at least 1 / classes; that of the target class may be 0 in float32.
    own = logits.gather(1, columns[:, :1]).squeeze(1)
    loss = (logits.amax(dim=1) - own - gradient.amax(dim=1).log()).mean()
    entries = gradient.gather(1, columns)
    entries[:, 0] -= 1.0
    gradient.scatter_(1, columns, entries if slopes is None else entries * slopes)
    return loss, gradient


class _Context(FunctionCtx):
    """Tensors that the forward pass saves for the backward pass."""

    saved_tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]

    if TYPE_CHECKING:  # torch takes None too

        def save_for_backward(self, *tensors: torch.Tensor | None) -> None: ...


class _WithGradient(torch.autograd.Function):
    """A loss whose derivative with respect to the products of queries and unit vectors is already known."""

    @staticmethod
    def forward(
        ctx: _Context,
        queries: torch.Tensor,
        vectors: torch.Tensor,
        loss: torch.Tensor,
        gradient: torch.Tensor,
        unit: torch.Tensor,
        lengths: torch.Tensor,
        closest: torch.Tensor | None,
    ) -> torch.Tensor:
        # `vectors` is an argument so that it gets a gradient, which is computed from the unit vectors and lengths.
        ctx.save_for_backward(queries, gradient, unit, lengths, closest)
        return loss.clone()

    @staticmethod
    def backward(ctx: _Context, factor: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():  # with create_graph, torch would take the gradient for a constant
            raise RuntimeError("cross-entropy over cosines can be differentiated once only")
        # Saved tensors are not modified, so that a retained graph can be used again.
        queries, gradient, unit, lengths, closest = ctx.saved_tensors
        factor = factor / len(queries)
        weighted = factor * queries
        to_queries, to_vectors = torch.zeros_like(queries), torch.empty_like(unit)
        part = gradient if closest is None else torch.empty_like(gradient)
        for index in range(unit.shape[1]):
            if closest is not None:
                part.copy_(closest == index).mul_(gradient)
            to_queries.addmm_(part, unit[:, index])
            to_vectors[:, index].addmm_(part.T, weighted, beta=0)
        # The direction does not depend on the length of a vector, except below the floor of the length.
        flat, to_vectors = unit.flatten(0, 1), to_vectors.flatten(0, 1)
        along = torch.einsum("cd,cd->c", to_vectors, flat)[:, None] * (lengths >= NORM_FLOOR)
        to_vectors.addcmul_(flat, along, value=-1.0).div_(lengths.clamp(min=NORM_FLOOR))
        return to_queries.mul_(factor), to_vectors, None, None, None, None, None
