"""What holds for checkpoints of every family: safe reading, strict keys, and advice when the family is wrong."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from foreign import imported

from vouch.base.errors import VouchError
from vouch.interop import FAMILIES, import_checkpoint, keys, recognise_families
from vouch.interop.keys import Weights

# A key that no family has but those that are alike.
TYPICAL = {
    "voxceleb_trainer": "__S__.conv1.weight",
    "pyannote": "tdnn_.segment6.weight",
    "ge2e": "LSTM_stack.weight_ih_l0",
    "resemblyzer": "lstm.weight_ih_l0",
    "wespeaker": "layer2.se_res2block.0.conv.weight",
    "3dspeaker": "xvector.tdnn.linear.weight",
    "speechbrain": "mfa.conv.conv.weight",
}


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return Path("ran").touch, ()


def test_every_family_is_recognised():
    assert set(TYPICAL) == set(FAMILIES)
    for family, key in TYPICAL.items():
        found = recognise_families(Weights({key: torch.zeros(2, 2)}))
        assert found == (["wespeaker", "3dspeaker"] if family == "3dspeaker" else [family])
    assert recognise_families(Weights({"weight": torch.zeros(2, 2)})) == []


@pytest.mark.parametrize("asked", FAMILIES)
@pytest.mark.parametrize("real", FAMILIES)
def test_the_wrong_family_is_named(asked, real, tmp_path):
    with pytest.raises(VouchError) as caught:
        imported(tmp_path, {TYPICAL[real]: torch.zeros(2, 2)}, asked)
    theirs = "wespeaker or 3dspeaker" if real == "3dspeaker" else real
    assert (f"not of {asked}: its keys are those of {theirs}" in str(caught.value)) == (asked not in theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_of_none(family, tmp_path):
    with pytest.raises(VouchError, match=r"foreign.pt: "):
        imported(tmp_path, {"some.weight": torch.zeros(2, 2)}, family)


def test_an_unknown_family():
    with pytest.raises(VouchError, match=r"unknown family of checkpoints 'wespaker' \(did you mean 'wespeaker'\?\)"):
        import_checkpoint("x.pt", "wespaker")


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(VouchError, match=r"x.pt: no such file$"):
        import_checkpoint(path, "ge2e")
    with pytest.raises(VouchError, match="a folder; give the file in it"):
        import_checkpoint(tmp_path, "ge2e")
    torch.save({"lstm.weight": torch.zeros(100)}, path)
    whole = path.read_bytes()
    for content in (whole[:300], whole[:-40], b"", b"text", whole[:200] + b"\xff" * 200 + whole[400:]):
        path.write_bytes(content)
        with pytest.raises(VouchError, match=r"x.pt: .*(not readable|damaged)"):
            import_checkpoint(path, "ge2e")


@pytest.mark.parametrize("legacy", [True, False])
def test_code_is_not_run(legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Code()}, "x.pt", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "y.pt").write_bytes(pickle.dumps({"weight": Code()}))
    for name in ("x.pt", "y.pt"):
        with pytest.raises(VouchError, match="with code in it"):
            import_checkpoint(name, "ge2e")
    assert not Path("ran").exists()


def test_sizes_are_limited(tmp_path):
    # A few bytes that pose as a tensor of a terabyte.
    with pytest.raises(VouchError, match="its tensors stand for 1099511627776 bytes, of which it holds 4"):
        imported(tmp_path, {"lstm.weight": torch.zeros(1).expand(2**38)}, "resemblyzer")
    # The first layer of a network whose other layers would fill the memory.
    forged = {"lstm.weight_ih_l0": torch.zeros(2**16, 2), "linear.weight": torch.zeros(2, 2)}
    with pytest.raises(VouchError, match=r"the network needs torch.float32 of shape \(2, 16384\)"):
        imported(tmp_path, forged, "resemblyzer")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(VouchError, match=r"bomb.pt: a compressed archive"):
        import_checkpoint(tmp_path / "bomb.pt", "ge2e")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "config": {}}, "no state dict, neither bare nor under .*; the file holds 'epoch', 'config'"),
        ({}, "the file holds nothing"),
        ({"weight": torch.zeros(2), "epoch": 3}, "'epoch' is no plain tensor"),
        ({"weight": torch.zeros(2).to_sparse()}, "'weight' is no plain tensor"),
        ({"model": {"a": torch.zeros(1)}, "state_dict": {"a": torch.zeros(1)}}, "which one counts is not clear"),
        ({"a.weight": torch.zeros(1), "module.a.weight": torch.zeros(1)}, "'a.weight' is there twice"),
    ],
)
def test_contents_that_are_no_state_dict(content, message):
    with pytest.raises(VouchError, match=message):
        Weights(content)


def test_two_keys_for_one_place():
    weights = Weights({"a": torch.zeros(1), "b": torch.zeros(1)})
    with pytest.raises(VouchError, match="'b' stands for 'c', and so does another key"):
        weights.match({"c": torch.zeros(1)}, keys.renamed(lambda key: "c"))


def test_only_a_few_of_many_keys_are_named():
    weights = Weights({f"w{number}": torch.zeros(1) for number in range(9)})
    with pytest.raises(VouchError, match=r"^left over: 'w0', 'w1', 'w2' and 6 more; missing: 'v'$"):
        weights.match({"v": torch.zeros(1)}, keys.renamed(lambda key: key))
