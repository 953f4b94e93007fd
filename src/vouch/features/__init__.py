"""Front ends: waveforms to features. Adding one is a file here and a line in `FEATURES`.

A front end is a module from `(batch, samples) float in [-1, 1]` to `(batch, frames, dim)` with `dim`, `sample_rate`
(Hz) and `output_length(samples)`. Its options have defaults, `sample_rate` among them, and `frame_shift` (ms) where its
frames do not come every 10 ms; those that make it small for tests its class declares in `tiny`.
"""

from vouch.features.base import FrontEnd
from vouch.features.fbank import Fbank
from vouch.features.logmel import LogMel
from vouch.features.mfcc import Mfcc
from vouch.features.waveform import Waveform

FEATURES: dict[str, type[FrontEnd]] = {"fbank": Fbank, "logmel": LogMel, "mfcc": Mfcc, "waveform": Waveform}
