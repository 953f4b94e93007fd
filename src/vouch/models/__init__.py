"""Networks: features `(batch, frames, bins)` or waveforms `(batch, samples)` to `(batch, embedding_dim)` embeddings.

A new network is one file beside this one with a subclass of `vouch.models.base.SpeakerNetwork`, and a line in `MODELS`.
"""

from vouch.models.base import SpeakerNetwork
from vouch.models.campplus import CAMPPlus
from vouch.models.ecapa_tdnn import EcapaTDNN
from vouch.models.lstm import GE2ELSTM
from vouch.models.rawnet3 import RawNet3
from vouch.models.res2netse34 import Res2NetSE34
from vouch.models.resnet import ResNet
from vouch.models.resnetse34 import ResNetSE34
from vouch.models.resnetse34l import ResNetSE34L
from vouch.models.resnetse34v2 import ResNetSE34V2
from vouch.models.sinctdnn import SincTDNN
from vouch.models.vggvox40 import VGGVox40
from vouch.models.xvector import XVector

MODELS: dict[str, type[SpeakerNetwork]] = {
    "xvector": XVector,
    "vggvox40": VGGVox40,
    "resnetse34": ResNetSE34,
    "resnetse34l": ResNetSE34L,
    "resnetse34v2": ResNetSE34V2,
    "res2netse34": Res2NetSE34,
    "resnet34": ResNet,
    "ecapa_tdnn": EcapaTDNN,
    "campplus": CAMPPlus,
    "lstm": GE2ELSTM,
    "sinctdnn": SincTDNN,
    "rawnet3": RawNet3,
}
