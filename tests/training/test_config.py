"""The configuration of a run: defaults, file, command line."""

import dataclasses

import pytest
import yaml

from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.losses import LOSSES
from vouch.models import MODELS
from vouch.training.config import LONGEST_NAME, experiment_name, resolve_config
from vouch.training.setup import check_networks
from vouch.training.train_options import TrainOptions

FILE = {
    "model": {"name": "xvector", "embedding_dim": 64},
    "loss": {"name": "aamsoftmax", "margin": 0.3},
    "normalization": "meanvar",
    "train": {"epochs": 7, "learning_rate": "5e-04"},
}


def test_defaults_hold_everywhere_without_a_file():
    config = resolve_config({}, {})
    assert (config.network.name, config.loss.name, config.normalization) == ("resnetse34l", "aamsoftmax", "mean")
    assert config.train == TrainOptions()


def test_the_file_overrides_the_defaults_and_the_command_line_the_file():
    config = resolve_config(FILE, {})
    assert config.network.options["embedding_dim"] == 64 and config.loss.as_dict()["margin"] == 0.3
    assert config.normalization == "meanvar"
    assert (config.train.epochs, config.train.learning_rate, config.train.batch_size) == (7, 0.0005, 64)
    over = {"loss.margin": "0.1", "train.epochs": "3", "model.embedding_dim": "32", "normalization": "none"}
    config = resolve_config(FILE, over)
    assert config.network.options["embedding_dim"] == 32 and config.loss.as_dict()["margin"] == 0.1
    assert config.normalization == "none"
    assert (config.train.epochs, config.train.learning_rate) == (3, 0.0005)
    assert FILE["train"]["epochs"] == 7


def test_another_loss_or_model_starts_from_its_own_defaults():
    config = resolve_config(FILE, {"loss": "softmax", "model": "lstm"})
    assert config.loss.as_dict() == {"name": "softmax"}
    own = {"name": "lstm", "embedding_dim": 256, "hidden_size": 768, "num_layers": 3}
    assert config.network.as_dict() == {**own, "projection": "last", "relu": False}
    assert config.train.epochs == 7
    config = resolve_config(FILE, {"loss.variant": "contrast", "loss": "ge2e"})
    assert config.loss.as_dict()["variant"] == "contrast"
    # The same name again is no other loss.
    assert resolve_config(FILE, {"loss": "aamsoftmax", "model": "xvector"}) == resolve_config(FILE, {})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_saved_is_read_back_as_the_same(model, loss, tmp_path):
    config = resolve_config({"model": model, "loss": loss}, {"train.weight_decay": "1e-4"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.as_dict()))
    assert resolve_config(read_yaml(tmp_path / "config.yaml"), {}) == config


def test_the_recipes_that_come_along(request):
    recipes = sorted((request.config.rootpath / "conf/recipes").glob("*.yaml"))
    assert len(recipes) >= 3
    for recipe in recipes:
        resolve_config(read_yaml(recipe), {})


@pytest.mark.parametrize(
    ("file", "over", "message"),
    [
        ({"modell": "lstm"}, {}, r"unknown section 'modell' of the configuration \(did you mean 'model'\?\)"),
        ({3: "lstm"}, {}, "unknown section '3' of the configuration"),
        ({"model": "lstmm"}, {}, r"unknown model 'lstmm' \(did you mean 'lstm'\?\)"),
        ({"model": {"embedding_dim": 3}}, {}, "section 'model' of the configuration needs a 'name'"),
        ({"model": {"name": ["lstm"]}}, {}, "section 'model' of the configuration needs a 'name'"),
        ({"model": None}, {}, "section 'model' of the configuration needs a 'name'"),
        ({"train": None}, {}, "section 'train' of the configuration must hold"),
        ({"train": {"epoch": 3}}, {}, r"unknown option 'epoch' of train \(did you mean 'epochs'\?\)"),
        ({"train": {"epochs": "many"}}, {}, "option 'epochs' of train: 'many' is not of type int"),
        ({"loss": {"name": "softmax", "margin": 1}}, {}, "unknown option 'margin' of loss 'softmax'"),
        ({"loss": {"name": "aamsoftmax", "num_speakers": 1}}, {}, "unknown option 'num_speakers'"),
        ({"normalization": "means"}, {}, r"unknown normalization 'means' \(did you mean 'mean'\?\)"),
        ({}, {"loss": "aamsofmax"}, r"unknown loss 'aamsofmax' \(did you mean 'aamsoftmax'\?\)"),
        ({}, {"loss.margn": "1"}, r"unknown option 'margn' of loss 'aamsoftmax' \(did you mean 'margin'\?\)"),
        ({}, {"losss": "1"}, r"unknown configuration option 'losss' \(did you mean 'loss'\?\)"),
        ({}, {"trian.epochs": "1"}, r"unknown configuration option 'trian.epochs' \(did you mean 'train.epochs'\?\)"),
        ({}, {"train": "1"}, "unknown configuration option 'train'"),
        ({}, {"model.name": "lstm"}, r"unknown configuration option 'model.name'"),
        ({}, {"normalization.x": "1"}, "unknown configuration option 'normalization.x'"),
        ({}, {"train.": "1"}, "unknown option '' of train"),
        ({}, {"train.schedule": "cosin"}, r"unknown train.schedule 'cosin' \(did you mean 'cosine'\?\)"),
        ({}, {"train.optimizer": "adm"}, r"unknown train.optimizer 'adm' \(did you mean 'adam'\?\)"),
        ({}, {"train.precision": "bfloat"}, r"did you mean 'bfloat16'\?"),
        ({}, {"train.epochs": "0"}, "train.epochs must be at least 1, not 0"),
        ({}, {"train.clip_norm": "-1"}, "train.clip_norm must not be negative"),
        ({}, {"train.learning_rate": "0"}, "train.learning_rate and train.trunk_rate must be positive"),
        ({}, {"train.learning_rate": "nan"}, "nan is not a finite number"),
        ({}, {"train.warmup": "1"}, "train.warmup from 0 to below 1"),
        ({}, {"train.sampler": "speaker"}, r"unknown train.sampler 'speaker' \(did you mean 'speakers'\?\)"),
        ({}, {"train.margin_schedule": "lin"}, r"unknown train.margin_schedule 'lin' \(did you mean 'linear'\?\)"),
        ({}, {"train.margin_begin": "0.5"}, "train.margin_end must be rising shares .* not 0.5 and 0.27"),
        ({}, {"train.data_ratio": "0"}, "train.data_ratio must be above 0 and at most 1, not 0"),
        ({}, {"train.epoch_days": "5"}, "train.epoch_days is for train.sampler duration, which is utterances"),
        ({}, {"train.crops_per_utterance": "3"}, "train.batch_size 64 must be a multiple of .* 3"),
        ({}, {"loss.scale": "autoo"}, r"'autoo' is not a number \(did you mean 'auto'\?\)"),
        ({}, {"loss": "softmax+gee2e"}, r"unknown loss 'gee2e' \(did you mean 'ge2e'\?\)"),
        ({}, {"loss": "softmax+softmax"}, "names a loss twice"),
        (
            {},
            {"loss": "softmax+ge2e", "loss.g2e.weight": "2"},
            r"unknown part of the loss .* \(did you mean 'ge2e'\?\)",
        ),
        ({}, {"loss": "softmax+ge2e", "loss.ge2e.wight": "2"}, r"unknown option 'wight' of loss 'ge2e'"),
        ({}, {"loss": "softmax+ge2e", "loss.ge2e": "2"}, "'ge2e' in the configuration of the loss must hold"),
        ({}, {"loss": "softmax+ge2e", "loss.ge2e.weight": "x"}, "the weight of loss 'ge2e': 'x' is not a number"),
        ({}, {"loss": "softmax+ge2e", "los.ge2e.weight": "1"}, r"did you mean 'loss.ge2e.weight'\?"),
    ],
)
def test_mistakes_are_refused_naming_the_nearest(file, over, message):
    with pytest.raises(VouchError, match=message) as caught:
        resolve_config(file, over)
    assert "\n" not in str(caught.value)


def test_a_sum_of_losses_from_the_file_and_from_the_command_line():
    parts = {"name": "aamsoftmax+angleproto", "aamsoftmax": {"margin": 0.3}, "angleproto": {"weight": 0.5}}
    config = resolve_config({"loss": parts}, {})
    assert [part.name for part in config.loss.parts] == ["aamsoftmax", "angleproto"]
    assert config.loss.parts[0].options["margin"] == 0.3
    assert [part.weight for part in config.loss.parts] == [1.0, 0.5]
    over = {"loss": "aamsoftmax+angleproto", "loss.aamsoftmax.margin": "0.3", "loss.angleproto.weight": "0.5"}
    assert resolve_config(FILE, over) == resolve_config({**FILE, "loss": parts}, {})
    assert resolve_config({"loss": parts}, {"loss.aamsoftmax.margin": "0.4"}).loss.parts[1].weight == 0.5
    assert experiment_name({}, config, {}) == "resnetse34l_aamsoftmax+angleproto"
    assert resolve_config(config.as_dict(), {}) == config


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"loss": "ge2e", "train.batch_size": "30"}, "batches of 30 utterances .* multiple of, 4"),
        ({"loss": "angleproto", "train.batch_size": "2"}, "batches of 2 utterances must be at least twice"),
        (
            {"loss": "ge2e", "train.batch_size": "24", "train.crops_per_utterance": "4"},
            "batches of 6 utterances .* multiple of, 4",
        ),
        ({"loss": "softmax+ge2e", "train.batch_size": "30"}, "batches of 30 utterances"),
        ({"loss": "ge2e+angleproto"}, "2.*4|4.*2"),
        ({"loss": "softmax+triplet", "train.margin_schedule": "linear"}, "'softmax.triplet' has no margin"),
        ({"loss.margin": "-0.2"}, "margin"),
    ],
)
def test_what_cannot_work_together_is_refused_before_there_are_data(over, message):
    with pytest.raises(VouchError, match=message):
        check_networks(resolve_config({}, over))


def test_a_margin_schedule_for_a_part_of_a_sum():
    check_networks(resolve_config({}, {"loss": "angleproto+amsoftmax", "train.margin_schedule": "linear"}))


def test_options_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve_config({}, {}).train.epochs = 3


@pytest.mark.parametrize(
    ("over", "name"),
    [
        ({}, "resnetse34l_aamsoftmax"),
        ({"model": "xvector", "loss": "ge2e"}, "xvector_ge2e"),
        ({"train.epochs": "3", "loss.margin": "0.3"}, "resnetse34l_aamsoftmax_loss.margin0.3_train.epochs3"),
        ({"loss.margin": "0.3", "train.epochs": "3"}, "resnetse34l_aamsoftmax_loss.margin0.3_train.epochs3"),
        ({"normalization": "none"}, "resnetse34l_aamsoftmax_normalizationnone"),
        ({"loss": "softmax+ge2e", "loss.ge2e.weight": "0.5"}, "resnetse34l_softmax+ge2e_loss.ge2e.weight0.5"),
        # What is there already, however it is written, makes no other experiment.
        ({"train.epochs": "40", "train.learning_rate": "1e-3", "normalization": "mean"}, "resnetse34l_aamsoftmax"),
        ({"train.learning_rate": "5e-4"}, "resnetse34l_aamsoftmax_train.learning_rate0.0005"),
        ({"model.channels": "[8, 8,8, 16]"}, "resnetse34l_aamsoftmax_model.channels8-8-8-16"),
    ],
)
def test_the_name_of_an_experiment(over, name):
    assert experiment_name({}, resolve_config({}, over), over) == name


def test_the_recipe_is_no_part_of_the_name():
    over = {"train.epochs": "7", "loss.margin": "0.2", "model.embedding_dim": "64"}
    assert experiment_name(FILE, resolve_config(FILE, over), over) == "xvector_aamsoftmax_loss.margin0.2"
    # The options of the recipe are those of its own network.
    over = {"model": "resnetse34l", "model.embedding_dim": "64"}
    name = experiment_name(FILE, resolve_config(FILE, over), over)
    assert name == "resnetse34l_aamsoftmax_model.embedding_dim64"


def test_long_names_end_in_a_digest():
    """Twelve options, one at a time another: a file system refuses names of more than 255 bytes."""
    over = {
        "loss": "aamsoftmax+angleproto+softmax",
        **{f"loss.{part}.weight": "0.123456789" for part in ("aamsoftmax", "angleproto", "softmax")},
        **{"train.learning_rate": "0.00123456", "train.weight_decay": "0.000123456", "train.warmup": "0.123456"},
        **{"train.margin_begin": "0.123456", "train.margin_end": "0.23456", "train.clip_norm": "1.23456"},
    }
    overs = [over, *({**over, key: "0.2"} for key in over if key != "loss")]
    names = [experiment_name({}, resolve_config({}, one), one) for one in overs]
    assert len(set(names)) == len(overs)
    assert {len(name) for name in names} == {LONGEST_NAME}
    assert all(name.startswith("resnetse34l_aamsoftmax+angleproto+softmax_loss.aamsoftmax.weight0.") for name in names)
    assert experiment_name({}, resolve_config({}, over), dict(reversed(over.items()))) == names[0]


def test_names_of_different_experiments_differ_and_are_single_folders():
    values = ["[8,8,8,8]", "[16, 8, 8, 8]", "[8,16,8,8]", "[88,8,8,8]", "[8,88,8,8]"]
    overs = [{"model.channels": value} for value in values] + [{"train.learning_rate": rate} for rate in ("1e-3", "13")]
    names = [experiment_name({}, resolve_config({}, over), over) for over in overs]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set("/ []'\"") for name in names)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.seed": 2**70}, "option 'seed' of train: a number that large fits no 64 bits"),
        ({"train.batch_size": 2**40}, "train.batch_size must be at most 1000000000"),
        ({"train.epoch_days": 1e300, "train.sampler": "duration"}, "train.epoch_days must be at most"),
        ({"model.embedding_dim": 0}, "model 'xvector': embedding_dim must be at least 1"),
        ({"model.embedding_dim": -1}, "model 'xvector': its configuration makes no network"),
        ({"model.channels": [9**9] * 5}, "model 'xvector': .* parameters with these options, more than any machine"),
        ({"model.channels": [65_000] * 5}, "model 'xvector': 33879885512 parameters"),
        (
            {"model": "lstm", "model.num_layers": 10**9},
            "model 'lstm': .* a network of more than .* parts",
        ),
        ({"model": "lstm", "model.hidden_size": 0}, "model 'lstm': its configuration makes no network: hidden_size"),
    ],
)
def test_impossible_numbers_are_refused_before_there_are_data(overrides, message):
    with pytest.raises(VouchError, match=message):
        check_networks(resolve_config({"model": "xvector"}, overrides))
