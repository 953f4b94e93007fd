"""Imports checkpoints of pyannote.audio 1: `NNNN.pt` with the weights of SincTDNN, `config.yml` with everything else.

Source: pyannote.audio 1's tutorial on speaker embedding. Classes named in a configuration are compared with known
names, and never imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vouch.base.errors import VouchError, nearest
from vouch.base.options import read_yaml
from vouch.encoder import Encoder, EncoderConfig
from vouch.interop.keys import Weights, build_encoder, renamed
from vouch.models.config import NetworkConfig

# Options of SincTDNN by the section of the configuration that holds them.
SECTIONS = {
    "sincnet": (
        *("stride", "waveform_normalize", "instance_normalize", "sample_rate", "min_low_hz", "min_band_hz"),
        *("out_channels", "kernel_size", "max_pool", "dropout", "activation"),
    ),
    "tdnn": ("embedding_dim",),
    "embedding": ("batch_normalize", "scale", "unit_normalize"),
}
# Options with only one supported value, which is also the default.
FIXED = {"activation": "leaky_relu", "unit_normalize": False}
# Defaults of the original that differ from ours.
DEFAULTS = {"stride": [1, 1, 1], "scale": "none"}
ADVICE = "published scores are cosines of means over windows as long as in training, a quarter of that apart"


def read(weights: Weights, path: Path, config: str | None = None) -> tuple[Encoder, list[str]]:
    """Make an encoder of a checkpoint of pyannote.audio 1.

    Parameters
    ----------
    weights : Weights
        Weights of SincTDNN; `segment7`, which does not affect embeddings, is left out.
    path : Path
        Path of the checkpoint. Without `config`, `config.yml` is looked for beside it and where training put it, in the
        folder that holds `train/PROTOCOL/weights/NNNN.pt`.
    config : str, optional
        Path of the configuration.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        There is no configuration, or it is of another network, or keys or shapes do not fit.
    """
    if "tdnn_.segment6.weight" not in weights:
        raise VouchError("a checkpoint of pyannote.audio's SincTDNN has a key 'tdnn_.segment6.weight'")
    config_path = find_config(path) if config is None else Path(config)
    network = read_network(read_yaml(config_path), config_path)
    weights.drop("weights of segment7", r"tdnn_\.segment7\.")
    encoder = build_encoder(weights, renamed(vouch_key), EncoderConfig(network, 1, "none"))
    return encoder, [f"configuration {config_path}", ADVICE]


def vouch_key(pyannote_key: str) -> str | None:
    """Translate a key of pyannote.audio 1's SincTDNN into ours; None if there is no counterpart.

    `tdnn_.segment7` has none: the original uses this layer in a classification mode only, not for embeddings.

    Examples
    --------
    >>> vouch_key("sincnet_.conv1d_.0.low_hz_"), vouch_key("tdnn_.segment6.bias")
    ('sincnet.conv1d.0.low_hz', 'segment6.bias')
    >>> vouch_key("tdnn_.tdnn.2.temporal_conv.weight_g"), vouch_key("tdnn_.segment7.bias")
    ('tdnn.2.weight_g', None)
    """
    if pyannote_key.startswith("tdnn_.segment7."):
        return None
    parts = [part.rstrip("_") for part in pyannote_key.removeprefix("tdnn_.").split(".")]
    key = ".".join(part for part in parts if part not in ("temporal_conv", "batch_norm"))
    # Names of the two parts of a normalised weight in recent versions of torch.
    return key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def find_config(path: Path) -> Path:
    """Return the path of a checkpoint's configuration; `VouchError` if it is in neither place."""
    places = [path.parent / "config.yml"]
    if len(path.absolute().parents) > 3:
        places.append(path.absolute().parents[3] / "config.yml")
    for place in places:
        if place.is_file():
            return place
    raise VouchError(f"needs its config.yml, which is neither {places[0]} nor {places[-1]}; say where it is")


def read_network(config: Mapping[str, object], path: Path) -> NetworkConfig:
    """Return the configuration of our SincTDNN for a `config.yml`.

    Raises
    ------
    VouchError
        The network, the front end or an option is not supported.
    """
    network = _mapping(config.get("architecture"), f"{path}: architecture")
    _check_class(network, "SincTDNN", f"{path}: architecture")
    source = _mapping(config.get("feature_extraction") or {"name": "RawAudio"}, f"{path}: feature_extraction")
    _check_class(source, "RawAudio", f"{path}: feature_extraction")
    options: dict[str, object] = dict(DEFAULTS)
    for section, values in _mapping(network.get("params") or {}, f"{path}: params").items():
        if section not in SECTIONS:
            raise VouchError(f"{path}: SincTDNN has no section '{section}'{nearest(str(section), SECTIONS)}")
        for name, value in _mapping(values or {}, f"{path}: {section}").items():
            if name not in SECTIONS[section]:
                raise VouchError(f"{path}: {section} has no '{name}'{nearest(str(name), SECTIONS[section])}")
            if name in FIXED and value != FIXED[name]:
                raise VouchError(f"{path}: {section}.{name} is {value!r}; only {FIXED[name]!r} is supported")
            options[name] = value
    options["scale"] = options["scale"] or "none"
    rate = _mapping(source.get("params") or {}, f"{path}: feature_extraction.params").get("sample_rate", 16000)
    if rate != options.get("sample_rate", 16000):
        raise VouchError(f"{path}: audio of {rate} Hz for filters at {options.get('sample_rate', 16000)} Hz")
    return NetworkConfig("sinctdnn", {name: value for name, value in options.items() if name not in FIXED})


def _check_class(section: Mapping[str, object], expected: str, where: str) -> None:
    name = str(section.get("name", ""))
    if name.rpartition(".")[2] != expected:
        raise VouchError(f"{where} is '{name}'; only {expected} is known here")


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise VouchError(f"{where} should be a section of options")
    return value
