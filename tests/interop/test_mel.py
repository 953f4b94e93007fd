"""The mel front end of a checkpoint, recognised from its window and matrix."""

import pytest
import torch
import torchaudio

from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig
from vouch.features.mel import triangles
from vouch.interop.mel import recognise_options


def stored_buffers(n_mels, window_fn):
    """What a checkpoint of voxceleb_trainer holds under torchfb."""
    state = torchaudio.transforms.MelSpectrogram(
        sample_rate=16000, n_fft=512, win_length=400, hop_length=160, window_fn=window_fn, n_mels=n_mels
    ).state_dict()
    return state["spectrogram.window"], state["mel_scale.fb"]


@pytest.mark.parametrize(
    ("name", "window_fn", "n_mels"), [("hamming", torch.hamming_window, 40), ("hann", torch.hann_window, 64)]
)
def test_the_front_end_of_a_checkpoint_is_recognised(name, window_fn, n_mels):
    window, matrix = stored_buffers(n_mels, window_fn)
    options = recognise_options(window, matrix)
    assert options["window_type"] == name
    feature = FrontEndConfig.from_dict({"type": "logmel", **options}).build()
    assert (feature.dim, feature.n_fft) == (n_mels, 512)
    torch.testing.assert_close(feature.window[56:456], window, atol=1e-6, rtol=0)
    torch.testing.assert_close(feature.bands(torch.eye(257)), matrix, atol=1e-4, rtol=0)
    assert recognise_options(window.half(), matrix.half()) == options


def test_slaney_matrices_are_recognised():
    window = torch.hann_window(200)
    for scale, norm in (("slaney", "area"), ("slaney", "none"), ("htk", "area")):
        options = recognise_options(window, triangles(23, 256, 8000, 0, 4000, scale, norm), 8000)
        assert (options["mel_scale"], options["mel_norm"], options["n_fft"]) == (scale, norm, 256)
        assert (options["frame_length"], options["num_mel_bins"]) == (25.0, 23)


def test_another_front_end_is_not_taken_for_ours():
    window, matrix = stored_buffers(40, torch.hann_window)
    for other in (torch.hamming_window(400, periodic=False), torch.hann_window(400, periodic=False), window**2):
        with pytest.raises(VouchError, match="400 samples is no periodic hann or hamming"):
            recognise_options(other, matrix)
    for other in (2 * matrix, matrix.roll(1, dims=1), triangles(40, 512, 16000, 20, 8000)):
        with pytest.raises(VouchError, match="mel matrix of 40 bands is none of htk or slaney"):
            recognise_options(window, other)
    for shapes in ((window[None], matrix), (window[:1], matrix), (window, matrix[:1]), (window, matrix[:, :0])):
        with pytest.raises(VouchError, match="no window and mel matrix"):
            recognise_options(*shapes)
