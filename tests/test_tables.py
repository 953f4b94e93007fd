"""A new network, loss or front end is one file and one line, and what lists the tables lists all of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vouch.losses import LOSSES
from vouch.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "models/newnet.py": '''
from typing import ClassVar

import torch
from torch import nn

from vouch.layers.inputs import strided_mask
from vouch.layers.pooling import POOLINGS
from vouch.models.base import SpeakerNetwork


class NewNet(SpeakerNetwork):
    """One convolution, and statistics over time.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    channels : int
        Of the convolution.
    """

    tiny: ClassVar = {"num_bins": 6, "embedding_dim": 8, "channels": 5}

    def __init__(self, num_bins: int, embedding_dim: int = 64, channels: int = 256) -> None:
        super().__init__()
        self.num_bins, self.embedding_dim, self.min_length = num_bins, embedding_dim, 3
        self.conv = nn.Conv1d(num_bins, channels, kernel_size=3)
        self.pooling = POOLINGS["stats"](channels)
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = self.conv(features.transpose(1, 2)).tanh()
        return self.fc(self.pooling(x, strided_mask(mask, 1, 2)))
''',
    "losses/newloss.py": '''
import torch
from torch import nn
from torch.nn import functional

from vouch.losses.base import LossOutput, SpeakerLoss


class NewLoss(SpeakerLoss):
    """Cross-entropy of scaled products.

    Parameters
    ----------
    embedding_dim, num_speakers : int
    scale : float
        Factor of the products.
    """

    def __init__(self, embedding_dim: int, num_speakers: int, scale: float = 2.0) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(num_speakers, embedding_dim) / embedding_dim**0.5)

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        logits = self.scale * functional.linear(embeddings, self.weight)
        return LossOutput(functional.cross_entropy(logits, labels), logits, labels)
''',
    "features/newfeature.py": '''
from typing import ClassVar

import torch

from vouch.features.base import FrontEnd


class NewFeature(FrontEnd):
    """Mean and largest magnitude of each 10 ms.

    Parameters
    ----------
    sample_rate : Hz
    """

    tiny: ClassVar = {"sample_rate": 8000}
    dim = 2

    def __init__(self, sample_rate: int = 16000) -> None:
        super().__init__()
        self.sample_rate, self.size = sample_rate, sample_rate // 100

    def output_length(self, samples: int) -> int:
        return samples // self.size

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        frames = samples[:, : self.output_length(samples.shape[1]) * self.size].reshape(len(samples), -1, self.size)
        return torch.stack([frames.mean(dim=2), frames.abs().amax(dim=2)], dim=2)
''',
    # The three lines, and where the files of this test lie instead of in src.
    "newcomers.py": """
from pathlib import Path

from vouch import features, losses, models

for room in (features, losses, models):
    room.__path__.append(str(Path(__file__).parent / room.__name__.split(".")[-1]))

from vouch.features.newfeature import NewFeature
from vouch.losses.newloss import NewLoss
from vouch.models.newnet import NewNet

models.MODELS["newnet"] = NewNet
losses.LOSSES["newloss"] = NewLoss
features.FEATURES["newfeature"] = NewFeature
""",
}
# Tests that every network, loss or front end of the tables goes through, and how many of them each newcomer does.
GENERIC = {
    "newnet": (
        *("tests/models/test_models.py", "tests/test_encoder.py", "tests/base/test_torchfile.py"),
        *("tests/layers/test_batch_norm.py", "tests/extraction/test_embed.py", "tests/deploy/test_folding.py"),
    ),
    "newloss": ("tests/losses/test_losses.py",),
    "newfeature": ("tests/features/test_features.py", "tests/features/test_clock.py"),
}


def test_newcomers_pass_the_generic_tests(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.lstrip("\n"))
    options = ["-v", "-p", "newcomers", "-p", "no:cacheprovider", "-k", " or ".join(GENERIC)]
    files = [file for group in GENERIC.values() for file in group]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = [line for line in done.stdout.splitlines() if " PASSED" in line]
    for newcomer, generic in GENERIC.items():
        for file in generic:
            assert any(line.startswith(file) and newcomer in line for line in passed), (newcomer, file)


@pytest.mark.parametrize(("option", "table"), [("--model", MODELS), ("--loss", LOSSES)])
def test_the_help_of_run_sh_lists_what_the_table_holds(option, table, tmp_path):
    done = subprocess.run([ROOT / "run.sh", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    entry = re.search(rf"^  {option} NAME .*\n((?: {{26}}.*\n)+)", done.stdout, flags=re.MULTILINE)
    assert entry[1].replace(",", " ").split() == list(table)


def first_cells(page):
    """For each Markdown table the names in backticks in the first column, below its head."""
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(), flags=re.MULTILINE)
    for table in tables:
        yield {name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize("table", [MODELS, LOSSES], ids=["models", "losses"])
def test_a_page_lists_what_the_table_holds(table):
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    listed = max((cells for page in pages for cells in first_cells(page)), key=lambda cells: len(cells & table.keys()))
    assert {name for name in listed if "+" not in name} == set(table)
