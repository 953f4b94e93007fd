"""The facts of a network as printed."""

import pytest
from processes import fails, succeeds

from vouch.models import MODELS


def test_one_network(scripts, tmp_path):
    done = succeeds(scripts.run("utils/model_info.py", "xvector", cwd=tmp_path))
    assert done.stdout.splitlines() == [
        "model            xvector",
        "input            80 bins",
        "shortest input   15 frames",
        "embedding        512",
        "parameters       4,347,868",
        "MACs at 2 s      0.531 G",
        "receptive field  15 frames (150 ms), one every 1 (10 ms)",
    ]


def test_options_of_the_network(scripts, tmp_path):
    words = ("--model.embedding_dim", 7, "xvector", "--model.channels=[8,8,8,8,9]", "--num-bins", 10)
    done = succeeds(scripts.run("utils/model_info.py", *words, cwd=tmp_path))
    parameters = (10 * 5 + 1) * 8 + 2 * (8 * 3 + 1) * 8 + (8 + 1) * 8 + (8 + 1) * 9 + (2 * 9 + 1) * 7
    assert f"parameters       {parameters:,}\n" in done.stdout
    assert "embedding        7\n" in done.stdout


def test_table_of_all_networks(scripts, tmp_path):
    done = succeeds(scripts.run("utils/model_info.py", "--all", cwd=tmp_path))
    header, *rows = done.stdout.splitlines()
    assert header.split()[:5] == ["model", "parameters", "GMAC", "at", "2"]
    assert [row.split()[0] for row in rows] == list(MODELS)
    (xvector,) = (row for row in rows if row.startswith("xvector"))
    assert xvector.split()[1:6] == ["4,347,868", "0.53", "512", "15", "frames"]
    (vggvox,) = (row for row in rows if row.startswith("vggvox40"))
    assert vggvox.split()[1] == "3,769,280" and vggvox.endswith("(of 40 bins)")
    (lstm,) = (row for row in rows if row.startswith("lstm"))
    assert lstm.endswith("1 frame  whole input")


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (["xvectr"], "unknown model 'xvectr' (did you mean 'xvector'?)", 1),
        (
            ["xvector", "--model.chanels", "3"],
            "unknown option 'chanels' of model 'xvector' (did you mean 'channels'?)",
            1,
        ),
        (["xvector", "--model.channels", "[1, 2]"], "channels must be five positive numbers", 1),
        (["xvector", "--num-bins", "0"], "--num-bins 0", 1),
        ([], "give the name of a network", 2),
        (["xvector", "--all"], "give the name of a network", 2),
        (["--all", "--model.channels", "3"], "give the name of a network", 2),
        (["xvector", "--model", "lstm"], "stands without '--model'", 2),
    ],
)
def test_refusals(scripts, tmp_path, words, message, status):
    fails(scripts.run("utils/model_info.py", *words, cwd=tmp_path), message, status)
