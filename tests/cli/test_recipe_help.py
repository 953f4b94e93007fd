"""What steps/train.py --help says of models, losses and training."""

import re

import pytest

from vouch.base.options import describe_parameters, plain_values
from vouch.cli.recipe_help import describe_recipe
from vouch.layers.pooling import POOLINGS
from vouch.losses import LOSSES
from vouch.losses.config import LossPart
from vouch.models import MODELS
from vouch.training.config import resolve_config
from vouch.training.train_options import TrainOptions


def entries(text):
    """Option to the text below it."""
    found = re.findall(r"^  (--\S+)[^\n]*\n((?:      [^\n]*\n?)*)", text, re.M)
    return {option: " ".join(words.split()) for option, words in found}


@pytest.mark.parametrize("model", MODELS)
def test_every_option_of_every_model_is_told_with_its_value(model):
    config = resolve_config({}, {"model": model})
    found = entries(describe_recipe(config))
    assert set(found) >= {f"--model.{name}" for name in config.network.options}
    for name, value in plain_values(config.network.options).items():
        text = found[f"--model.{name}"]
        shown = "null" if value is None else value
        assert text.endswith(f"({shown})") and len(text) > len(f"({shown})"), name


@pytest.mark.parametrize("loss", [*LOSSES, "softmax+triplet"])
def test_every_option_of_every_loss_is_told(loss):
    found = entries(describe_recipe(resolve_config({}, {"loss": loss})))
    for part in loss.split("+"):
        head = f"--loss.{part}." if "+" in loss else "--loss."
        for name, value in LossPart(part).options.items():
            assert re.search(r"[a-z]{3}.*\(" + re.escape(str(value)), found[head + name]), name
    assert ("--loss.triplet.weight" in found) == ("+" in loss)


def test_training_poolings_and_names_are_told():
    text = describe_recipe(
        resolve_config({"model": "resnetse34l", "train": {"epochs": 7}}, {"train.freeze": "[conv1]"})
    )
    found = entries(text)
    assert found["--train.epochs"] == "int: Passes over the training set (7)"
    assert found["--train.freeze"].endswith("(['conv1'])")
    assert {f"--train.{name}" for name in TrainOptions.__dataclass_fields__} <= set(found)
    assert all(name in found["--model.pooling"] for name in POOLINGS)
    assert all(name in found["--model"] for name in MODELS) and all(name in found["--loss"] for name in LOSSES)
    assert "radians" in found["--loss.margin"] and "training example" in found["--train.crop_seconds"]
    assert max(map(len, text.splitlines())) <= 110 and "`" not in text


def test_help_is_of_what_is_chosen(scripts, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: lstm\nloss: triplet\ntrain:\n  epochs: 3\n")
    for words in (["--loss", "triplet", "--help", "--model=lstm"], ["--help", "--config", "mine.yaml"]):
        done = scripts.run("steps/train.py", *words, cwd=tmp_path)
        assert done.returncode == 0
        assert "--loss.mining" in done.stdout and "--model.hidden_size" in done.stdout
    assert entries(done.stdout)["--train.epochs"].endswith("(3)")
    done = scripts.run("steps/train.py", "--loss", "tripled", "--help", cwd=tmp_path)
    assert done.returncode == 1 and "did you mean 'triplet'?" in done.stderr


def test_docstrings_of_both_forms():
    class Example:
        """An example.

        Some words : that are no entry.

        Parameters
        ----------
        width, height : float
            In metres,
            at least 0.
        name : of the thing
        long
            described below

        Raises
        ------
        VouchError : never
        """

    assert describe_parameters(Example) == {
        "width": "float: In metres, at least 0.",
        "height": "float: In metres, at least 0.",
        "name": "of the thing",
        "long": "described below",
    }
    assert describe_parameters(object()) == {}
