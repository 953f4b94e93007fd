"""Files of torch.save: small files that would fill the memory or take minutes are refused before anything is built."""

import io
import resource
import subprocess
import sys
import zipfile

import pytest
import torch
from corpus import TINY, TINY_BINS, tiny_encoder, write_all_trials, write_features
from processes import fails

from vouch.base.errors import VouchError
from vouch.base.torchfile import check_plain, check_tensors, load_torch, save_torch
from vouch.encoder import Encoder, load_encoder, save_encoder
from vouch.models import MODELS
from vouch.models.config import NetworkConfig

# For a process that reads a few kilobytes; torch's libraries alone take four of them.
ADDRESS_SPACE = 8 * 2**30


def nested(levels, width=9):
    """A list that is a billion and more when it is written out, in a few hundred bytes of a file."""
    value = ["x"]
    for _ in range(levels):
        value = [value] * width
    return value


def cyclic():
    value = []
    value.append(value)
    return value


def state(**config):
    original = tiny_encoder("xvector", feature={"type": "fbank", "num_mel_bins": 8}).state()
    model, feature = config.pop("model", {}), config.pop("feature", {})
    changed = original["config"] | config
    changed |= {"model": changed["model"] | model, "feature": changed["feature"] | feature}
    return original | {"config": changed}


FORGED = {
    "wide": (state(model={"channels": [9000] * 5}), "the weights do not fit the network: size mismatch"),
    "wider": (state(model={"channels": [20000] * 5}), "the weights do not fit the network: size mismatch"),
    "beyond any size": (state(model={"embedding_dim": 10**12}), "an integer beyond 1000000"),
    "endless digits": (state(num_bins=10**500), "an integer beyond 1000000"),
    "layers": (state(model={"name": "lstm", "num_layers": 10**6}), "unknown option|network of more than"),
    "shared lists": (state(model={"channels": nested(30)}), "larger or more deeply nested"),
    "shared lists of few levels": (state(model={"channels": nested(3, 500)}), "larger or more deeply nested"),
    "a list in itself": (state(model={"channels": cyclic()}), "larger or more deeply nested"),
    "a name of a megabyte": (state(model={"name": "x" * 10**6}), "a text of 1000000 letters"),
    "rate": (state(feature={"sample_rate": 300_000_000}), "an integer beyond 1000000"),
    "bins": (state(feature={"num_mel_bins": 300_000}), "num_mel_bins must be from 1 to 1024, not 300000"),
    "more bins": (state(feature={"num_mel_bins": 10**9}), "an integer beyond 1000000"),
    "frames": (state(feature={"frame_length": 1e12}), "frame_length must be at most 32768 samples"),
    "a tensor as an option": (state(model={"embedding_dim": torch.zeros(3)}), "a value of type Tensor"),
}


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    for name, (content, _) in FORGED.items():
        torch.save(content, folder / f"{name}.pt")
    lstm = {"name": "lstm", "embedding_dim": 8, "hidden_size": 8, "num_layers": 10**6}
    layers = state()
    layers["config"] = layers["config"] | {"model": lstm}
    torch.save(layers, folder / "layers.pt")
    return folder


@pytest.mark.parametrize("name", FORGED)
def test_forged_configurations_cost_one_line(name, forged, monkeypatch):
    """No tensor with memory is made of the sizes that they ask for."""
    built = []
    monkeypatch.setattr(Encoder, "__init__", lambda *_, **__: built.append(1) or pytest.fail("built"))
    if name not in ("bins", "frames"):  # the front end has limits of its own, which come before any tensor
        with pytest.raises(VouchError, match=FORGED[name][1]) as caught:
            load_encoder(forged / f"{name}.pt")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
    monkeypatch.undo()
    with pytest.raises(VouchError, match=rf"{name}\.pt: .*({FORGED[name][1]})"):
        load_encoder(forged / f"{name}.pt")


@pytest.mark.parametrize(
    "words",
    [
        ("steps/verify.py", "a.wav", "b.wav", "--model", "FILE"),
        ("steps/extract_embeddings.py", "list", "FILE", "out"),
        ("steps/train.py", "train", "exp", "--valid", "valid", "--finetune", "FILE"),
    ],
)
def test_every_way_in_has_these_defences(words, forged, tmp_path, scripts):
    write_features(tmp_path / "train")
    write_features(tmp_path / "valid")
    write_all_trials(tmp_path / "valid")
    for name in ("wide", "layers", "shared lists", "rate", "frames"):
        path = forged / f"{name}.pt"
        fails(scripts.run(*(path if word == "FILE" else word for word in words), cwd=tmp_path), f"{path}: ")
    assert {path.name for path in tmp_path.iterdir()} <= {"train", "valid"}


def test_memory_of_a_fresh_process(forged):
    """Everything that is refused, in one process that may take no more than a fresh one needs."""
    program = """
import pathlib, resource, sys
import torch
from vouch.encoder import load_encoder
from vouch.base.errors import VouchError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pt")):
    try:
        load_encoder(path)
    except VouchError:
        print(path.name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    limit = (ADDRESS_SPACE, ADDRESS_SPACE)
    done = subprocess.run(
        [sys.executable, "-c", program, forged],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    grown = [int(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()]
    assert len(grown) == len(FORGED)
    assert max(grown) < 300_000  # kB; of it the first use of parts of torch


def test_tensors_that_pose_as_larger_ones(tmp_path):
    whole = state()
    weights = {key: torch.zeros(1).expand(value.shape) for key, value in whole["weights"].items() if value.ndim > 1}
    torch.save(whole | {"weights": whole["weights"] | weights}, tmp_path / "x.pt")
    with pytest.raises(VouchError, match=r"x\.pt: its tensors stand for \d+ bytes, of which it holds \d+"):
        load_encoder(tmp_path / "x.pt")
    shared = torch.zeros(10)
    with pytest.raises(VouchError, match="stand for 80 bytes, of which it holds 40"):
        check_tensors({"a": shared, "b": shared})
    # Parts of one piece of memory are whole: so cuDNN lays out an LSTM.
    flat = torch.zeros(10)
    check_tensors({"a": flat[:4], "b": flat[4:].view(2, 3)})
    for value in (torch.zeros(2, device="meta"), torch.zeros(2).to_sparse(), 3, None):
        with pytest.raises(VouchError, match="'a' is no plain tensor"):
            check_tensors({"a": value})


def repacked(path, compression=zipfile.ZIP_STORED, **extra):
    """The bytes of an archive, packed anew, with further entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w", compression) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        for name, content in extra.items():
            target.writestr(name, content)
    return buffer.getvalue()


def test_archives_that_unpack_to_more_than_their_size(tmp_path):
    path = tmp_path / "x.pt"
    save_encoder(tiny_encoder(), path)
    whole = path.read_bytes()
    path.write_bytes(repacked(path))
    load_encoder(path)
    path.write_bytes(repacked(path, zipfile.ZIP_DEFLATED, zeros=bytes(10**7)))
    assert path.stat().st_size < 10**6
    with pytest.raises(VouchError, match=r"x\.pt: a compressed archive, which torch\.save never makes"):
        load_torch(path)
    # Many entries that are the same piece of the file.
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 100
        names = len(archive.filelist)
        archive.fp = buffer = io.BytesIO(whole[: archive.start_dir])
        buffer.seek(0, io.SEEK_END)
        archive._write_end_record()
        archive.fp = None
    path.write_bytes(buffer.getvalue())
    assert len(zipfile.ZipFile(path).infolist()) == names
    with pytest.raises(VouchError, match=r"x\.pt: damaged: \d+ bytes that promise \d+"):
        load_torch(path)


def test_what_a_file_is_instead_is_said(tmp_path):
    path = tmp_path / "x.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(VouchError, match=r"x\.pt: a TorchScript program, not a checkpoint"):
        load_torch(path)
    torch.save({"state_dict": {"w": torch.zeros(1)}, "specifications": zipfile.ZipInfo()}, path)
    with pytest.raises(VouchError, match=r"with code in it \(zipfile\.ZipInfo\), .* save its state dict alone"):
        load_torch(path)
    for place, message in [(tmp_path, "a folder; give the file in it"), ("/dev/zero", "not a regular file")]:
        with pytest.raises(VouchError, match=message):
            load_torch(place)


def test_what_is_saved_comes_back(tmp_path):
    save_torch({"a": torch.arange(3), "b": {"c": [1, 2.5, "x", None, True]}}, tmp_path / "x.pt")
    found = load_torch(tmp_path / "x.pt")
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"] == {"c": [1, 2.5, "x", None, True]}


@pytest.mark.parametrize("model", MODELS)
def test_networks_without_memory_have_the_shapes_of_real_ones(model):
    bins = TINY_BINS[model]
    real = tiny_encoder(model).model
    shapes = NetworkConfig.from_dict(TINY[model]).build_without_memory(bins).state_dict()
    assert {key: value.shape for key, value in shapes.items()} == {
        key: value.shape for key, value in real.state_dict().items()
    }
    generator = torch.get_rng_state()
    NetworkConfig.from_dict(TINY[model]).build_without_memory(bins)
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("model", MODELS)
def test_any_number_makes_a_network_without_memory_or_one_line(model):
    resolved = NetworkConfig.from_dict(TINY[model]).as_dict()
    for name, value in resolved.items():
        if isinstance(value, bool) or not isinstance(value, (int, list)):
            continue
        for number in (10**6, 0, -5):
            changed = [number] * len(value) if isinstance(value, list) else number
            try:
                NetworkConfig.from_dict({**resolved, name: changed}).build_without_memory(TINY_BINS[model])
            except VouchError as error:
                assert "\n" not in str(error)


def test_ordinary_configurations_are_plain():
    for model in MODELS:
        check_plain(tiny_encoder(model).config.as_dict())
    check_plain({"a": {"b": {"c": [1, -2.5, "x", None, True]}}})
