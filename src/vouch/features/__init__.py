"""Front ends, which compute features of waveforms. A new front end is a file here and a line in `FEATURES`.

A front end is a module from `(batch, samples) float in [-1, 1]` to `(batch, frames, dim)` with `dim`, `sample_rate`
(Hz) and `output_length(samples)`. Its options have defaults. They include `sample_rate`, and `frame_shift` (ms) unless
that is 10 ms. The attribute `tiny` of its class declares options that make it small for tests.
"""

from vouch.features.base import FrontEnd
from vouch.features.fbank import Fbank
from vouch.features.logmel import LogMel
from vouch.features.mfcc import Mfcc
from vouch.features.waveform import Waveform

FEATURES: dict[str, type[FrontEnd]] = {"fbank": Fbank, "logmel": LogMel, "mfcc": Mfcc, "waveform": Waveform}
