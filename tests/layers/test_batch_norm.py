"""Batch statistics and gradients against float64, on batches as training has them: large, contiguous features."""

import copy

import numpy as np
import pytest
import torch
from corpus import tiny_network
from layouts import Step, error, smooth_noise
from torch import nn

from vouch.layers.batch_norm import BatchNorm2d
from vouch.models import MODELS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def images(*shape, dtype=torch.float32, offset=1.5, seed=3):
    """Images with a mean, in the layout that layers of a channels_last network hand on."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=dtype) + offset).contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(80, 16, 20, 200), (200, 32, 16, 51), (64, 64, 5, 1), (2, 3, 1, 1)])
def test_statistics_outputs_and_gradients_against_numpy(shape, device, threads):
    x, dy = images(*shape), images(*shape, offset=0.3, seed=4)
    norm = BatchNorm2d(shape[1]).to(device)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, shape[1]))
        norm.bias.copy_(torch.linspace(1, 0, shape[1]))
    taken = x.to(device).requires_grad_()
    y = norm(taken)
    y.backward(dy.to(device))

    values, slopes = x.detach().double().numpy(), dy.double().numpy()
    axes, count = (0, 2, 3), x.numel() // shape[1]
    mean, variance = values.mean(axes, keepdims=True), values.var(axes, keepdims=True)
    standard = (values - mean) / np.sqrt(variance + norm.eps)
    weight, bias = (p.detach().double().cpu().numpy()[None, :, None, None] for p in (norm.weight, norm.bias))
    d_bias, d_weight = slopes.sum(axes, keepdims=True), (slopes * standard).sum(axes, keepdims=True)
    dx = weight / np.sqrt(variance + norm.eps) * (slopes - d_bias / count - standard * d_weight / count)

    def far(got, expected, scale):
        return np.abs(got.detach().double().cpu().numpy().reshape(expected.shape) - expected).max() / scale

    assert far(norm.running_var, 0.9 + 0.1 * variance * count / (count - 1), 1) < 1e-6 * variance.max()
    assert far(norm.running_mean, 0.1 * mean, 1) < 1e-6
    assert far(y, standard * weight + bias, np.abs(standard).max()) < 1e-5
    # Sums of count slopes: relative to what they are sums of.
    assert far(norm.bias.grad, d_bias, np.abs(slopes).sum(axes).max()) < 1e-6
    assert far(norm.weight.grad, d_weight, np.abs(slopes * standard).sum(axes).max()) < 1e-5
    assert far(taken.grad, dx, np.abs(dx).max() + 1e-9) < 2e-5 or shape == (2, 3, 1, 1)  # two values: 0 up to eps
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_gradients_of_gradients_check_out_in_float64():
    norm = BatchNorm2d(3).double()
    x = images(2, 3, 2, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w, b: _applied(norm, x, w, b), (x, norm.weight, norm.bias))


def _applied(norm, x, weight, bias):
    return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_statistics_follow_as_torch_has_them(momentum):
    ours, torchs = BatchNorm2d(4, momentum=momentum), nn.BatchNorm2d(4, momentum=momentum)
    for step in range(3):
        x = images(5, 4, 6, 7, offset=step)
        torch.testing.assert_close(ours(x), torchs(x.contiguous()), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(ours.state_dict(), torchs.state_dict(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x), atol=1e-6, rtol=1e-6)


def test_layers_that_work_in_place_may_follow():
    x = images(5, 4, 6, 7).requires_grad_()
    plain = x.detach().clone().requires_grad_()
    nn.Sequential(BatchNorm2d(4), nn.ReLU(inplace=True))(x).square().sum().backward()
    nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())(plain.contiguous()).square().sum().backward()
    torch.testing.assert_close(x.grad, plain.grad, atol=1e-5, rtol=1e-4)


def test_bfloat16_images_keep_statistics_in_float32():
    x = images(64, 8, 10, 100).bfloat16()
    norm = BatchNorm2d(8)
    y = norm(x)
    variance = x.double().var(dim=(0, 2, 3))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(norm.running_var.double(), 0.9 + 0.1 * variance, atol=0, rtol=1e-6)


def test_without_weights_it_is_torchs_own():
    x = images(5, 4, 6, 7)
    torch.testing.assert_close(BatchNorm2d(4, affine=False)(x), nn.BatchNorm2d(4, affine=False)(x))


def test_one_value_has_no_variance():
    with pytest.raises(ValueError, match="more than 1 value"):
        BatchNorm2d(3)(images(1, 3, 1, 1))


@pytest.mark.parametrize("name", MODELS)
def test_every_network_has_exact_statistics_in_the_layout_it_trains_in(name, threads):
    """Each batch normalisation against float64 statistics of what it was given, at batch 64 of contiguous input."""
    torch.manual_seed(0)
    network = tiny_network(name, 40)
    takes_features = network.input_kind == "features"
    x = smooth_noise(64, 200, network.num_bins) + 1 if takes_features else torch.randn(64, 8000) / 10
    network.train()
    seen = []

    def remember(norm, inputs, output):
        x = inputs[0].detach().double()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        seen.append((norm, 0.9 + 0.1 * x.var(dim=axes), 0.1 * x.mean(dim=axes), x.square().mean().sqrt()))

    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert not isinstance(module, nn.BatchNorm2d) or isinstance(module, BatchNorm2d)
            module.register_forward_hook(remember)
    network(x)
    for norm, variance, mean, size in seen:
        torch.testing.assert_close(norm.running_var.double(), variance, atol=0, rtol=1e-5)
        assert float((norm.running_mean.double() - mean).abs().max()) < 1e-6 * max(1, float(size))


@pytest.fixture(scope="module", params=[(64, (16, 32, 64, 128)), (200, (8, 16, 32, 64))], ids=["64", "200"])
def step(request):
    """A training step of ResNetSE34L at a batch size, with its exact gradient and the contiguous path's error."""
    batch, channels = request.param
    step = Step(
        "resnetse34l", smooth_noise(batch, 200 if batch < 100 else 100, 40), torch.arange(batch) % 50, channels=channels
    )
    exact, variances = step.gradient("as trained", torch.float64)
    contiguous = error(step.gradient("contiguous")[0], exact)
    return step, exact, variances, contiguous


def test_gradients_are_as_exact_as_on_contiguous_images(step, threads):
    step, exact, variances, contiguous = step
    gradient, running = step.gradient("as trained")
    assert contiguous < 5e-3  # float32 itself
    assert error(gradient, exact) < 2 * contiguous
    torch.testing.assert_close(running, variances, atol=0, rtol=1e-5)


def test_strides_of_the_caller_do_not_choose_the_layout():
    """A transposed array gives the embeddings of its contiguous copy, in training mode, to the bit."""
    torch.manual_seed(0)
    network = MODELS["resnetse34l"](40, channels=(8, 8, 8, 8)).train()
    x = smooth_noise(4, 50, 40)
    other = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert other.stride() != x.stride()
    assert torch.equal(copy.deepcopy(network)(x), copy.deepcopy(network)(other))
