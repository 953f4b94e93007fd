"""LDA and PLDA against reference vectors made by running Kaldi, and against densities written out."""

from pathlib import Path

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.reading import read_entries
from vouch.kaldi.tables import read_table
from vouch.scoring.cosine import normalize_length, score_trials
from vouch.scoring.lda import apply_affine, train_lda
from vouch.scoring.plda import LENGTHS, Plda, likelihood_ratios
from vouch.scoring.plda_file import read_mean, read_plda, read_transform, write_plda, write_single
from vouch.scoring.plda_training import adapt_plda, train_plda

KALDI = Path(__file__).parents[1] / "golden" / "kaldi_plda"


def vectors(name: str) -> dict[str, np.ndarray]:
    return dict(read_entries(f"ark:{KALDI / name}.ark", "vector"))


@pytest.fixture(scope="module")
def train():
    """Training embeddings, rows of each speaker, and the embeddings after centring, LDA and length normalisation."""
    raw = vectors("train")
    groups: dict[str, list[int]] = {}
    for row, speaker in enumerate(read_table(KALDI / "train.utt2spk").values()):
        groups.setdefault(speaker, []).append(row)
    assert list(raw) == list(read_table(KALDI / "train.utt2spk"))
    matrix = np.stack(list(raw.values())).astype(np.float64)
    return matrix, list(groups.values()), prepared(matrix, matrix.mean(axis=0))


def prepared(matrix: np.ndarray, mean: np.ndarray) -> np.ndarray:
    mapped = apply_affine(read_transform(KALDI / "lda.mat"), matrix - mean)
    return normalize_length(mapped, range(len(mapped))) * np.sqrt(mapped.shape[1])


def assert_same_rows(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Rows of a basis are the same up to their sign."""
    signs = np.sign((found * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found * signs, expected, atol=tolerance * np.abs(expected).max())


def assert_same_model(found: Plda, expected: Plda, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(found.psi, expected.psi, rtol=tolerance)
    assert_same_rows(found.transform, expected.transform, 1e-4)


def test_mean_and_lda_equal_kaldis(train):
    matrix, groups, _ = train
    np.testing.assert_allclose(matrix.mean(axis=0), read_mean(KALDI / "mean.vec"), rtol=1e-6)
    found = train_lda(matrix - matrix.mean(axis=0), groups, 12)
    # The last column is the offset, of vectors that are centred already: nothing but rounding.
    assert_same_rows(found[:, :-1], read_transform(KALDI / "lda.mat")[:, :-1], 1e-4)
    np.testing.assert_allclose(found[:, -1], 0, atol=1e-6)
    assert_same_rows(train_lda(matrix, groups, 12, 0.1), read_transform(KALDI / "lda_tcf0.1.mat"), 1e-4)


def test_lda_makes_the_chosen_covariance_the_identity(train):
    matrix, groups, _ = train
    for factor in (0.0, 0.4, 1.0):
        mapped = apply_affine(train_lda(matrix, groups, 7, factor), matrix)
        assert mapped.mean(axis=0) == pytest.approx(np.zeros(7), abs=1e-9)
        total = mapped.T @ mapped / len(mapped)
        within = sum((mapped[g] - mapped[g].mean(axis=0)).T @ (mapped[g] - mapped[g].mean(axis=0)) for g in groups)
        np.testing.assert_allclose(factor * total + (1 - factor) * within / len(mapped), np.eye(7), atol=1e-6)


def test_training_equals_kaldis(train):
    matrix, groups, ready = train
    assert_same_model(train_plda(ready, groups), read_plda(KALDI / "plda"))
    assert_same_model(train_plda(ready, groups, 1), read_plda(KALDI / "plda_1iter.txt"))
    assert_same_model(train_plda(matrix, groups), read_plda(KALDI / "plda_raw.txt"), 2e-5)


def test_smoothing_and_adaptation_equal_kaldis():
    plda = read_plda(KALDI / "plda")
    assert_same_model(plda.smooth(0.1), read_plda(KALDI / "plda_smooth0.1.txt"))
    assert plda.smooth(0).psi.tolist() == plda.psi.tolist()
    new = prepared(np.stack(list(vectors("indomain").values())), read_mean(KALDI / "mean.vec"))
    assert_same_model(adapt_plda(plda, new, 0.75, 0.25), read_plda(KALDI / "plda_adapt.txt"))


@pytest.fixture(scope="module")
def evaluation():
    """Enrolments (means of utterances), how many utterances of each, test vectors, and the scores of Kaldi."""
    tests = vectors("eval")
    enrolments = {name: words.split() for name, words in read_table(KALDI / "enroll.spk2utt").items()}
    enrol = np.stack([np.mean([tests[word] for word in words], axis=0) for words in enrolments.values()])
    counts = np.array([len(words) for words in enrolments.values()])
    scores = np.load(KALDI / "scores.npz")
    index = [list(enrolments).index(name) for name in scores["enrol"]], [list(tests).index(n) for n in scores["test"]]
    return enrol, counts, np.stack(list(tests.values())), tuple(map(np.array, index)), scores


@pytest.mark.parametrize(
    ("name", "model", "length", "counted"),
    [
        ("numutts", "plda", "expected", True),
        ("numutts", "plda.txt", "expected", True),
        ("nonum", "plda", "expected", False),
        ("nolen", "plda", "none", True),
        ("simple", "plda", "simple", True),
        ("smooth", "plda_smooth0.1.txt", "expected", True),
        ("adapt", "plda_adapt.txt", "expected", True),
        ("raw", "plda_raw.txt", "expected", True),
    ],
)
def test_scores_equal_kaldis(evaluation, name, model, length, counted):
    enrol, counts, test, index, scores = evaluation
    plda = read_plda(KALDI / model)
    if name != "raw":
        enrol, test = (prepared(side, read_mean(KALDI / "mean.vec")) for side in (enrol, test))
    counts = counts if counted else np.ones_like(counts)
    enrol, test = plda.project(enrol, counts, length), plda.project(test, 1, length)
    scorer = likelihood_ratios(plda, enrol, counts, test)
    found = scorer.pairs(*index)
    np.testing.assert_allclose(found, scores[name], atol=1e-4)
    np.testing.assert_allclose(scorer.matrix(slice(None), slice(None))[index], found, atol=1e-9)


def test_cosines_of_means_equal_kaldis(evaluation):
    enrol, _, test, (enrol_index, test_index), scores = evaluation
    unit = normalize_length(np.concatenate([enrol, test]), range(len(enrol) + len(test)))
    np.testing.assert_allclose(score_trials(unit, enrol_index, len(enrol) + test_index), scores["cosine"], atol=1e-5)


def log_density(x: np.ndarray, covariance: np.ndarray) -> float:
    _, log_determinant = np.linalg.slogdet(covariance)
    return -0.5 * (log_determinant + x @ np.linalg.solve(covariance, x) + len(x) * np.log(2 * np.pi))


def test_score_is_the_ratio_of_joint_densities():
    rng = np.random.default_rng(0)
    within, between = (a @ a.T + 0.1 * np.eye(4) for a in rng.standard_normal((2, 4, 4)))
    whiten = np.linalg.inv(np.linalg.cholesky(within))
    psi, basis = np.linalg.eigh(whiten @ between @ whiten.T)
    plda = Plda(rng.standard_normal(4), basis.T[::-1] @ whiten, psi[::-1])
    enrol, test = rng.standard_normal((2, 5, 4))
    counts = np.array([1, 3, 1, 2, 7])
    index = rng.integers(5, size=(2, 30))
    sides = plda.project(enrol, counts, "none"), plda.project(test, 1, "none")
    found = likelihood_ratios(plda, sides[0], counts, sides[1]).pairs(*index)
    for score, a, b in zip(found, *index, strict=True):
        # The mean of n recordings varies by W / n about the speaker's part.
        own, other = between + within / counts[a], between + within
        joint = np.block([[own, between], [between, other]])
        x, y = enrol[a] - plda.mean, test[b] - plda.mean
        expected = log_density(np.concatenate([x, y]), joint) - log_density(x, own) - log_density(y, other)
        assert score == pytest.approx(expected, abs=1e-9)


def test_training_finds_the_covariances_that_made_the_data():
    rng = np.random.default_rng(1)
    between, within = np.diag([4.0, 1.0, 0.25]), np.diag([1.0, 1.0, 1.0])
    speakers = np.repeat(rng.standard_normal((1500, 3)) @ np.sqrt(between), 4, axis=0)
    data = 5 + speakers + rng.standard_normal((6000, 3)) @ np.sqrt(within)
    plda = train_plda(data, np.arange(6000).reshape(1500, 4), 30)
    np.testing.assert_allclose(plda.psi, [4, 1, 0.25], rtol=0.15)
    np.testing.assert_allclose(plda.mean, 5, atol=0.15)
    back = np.linalg.inv(plda.transform)
    np.testing.assert_allclose(back @ back.T, within, atol=0.1)


def test_adaptation_to_data_of_the_same_kind_changes_little():
    rng = np.random.default_rng(2)
    plda = Plda(np.zeros(3), np.eye(3), np.array([2.0, 1.0, 0.5]))
    data = rng.standard_normal((20_000, 3)) * np.sqrt(1 + plda.psi)
    np.testing.assert_allclose(adapt_plda(plda, data).psi, plda.psi, rtol=0.05)
    # Twice the spread: the excess is shared out as said.
    wider = adapt_plda(plda, 2 * data, within_scale=1.0, between_scale=0.0)
    np.testing.assert_allclose(wider.psi, plda.psi / (1 + 3 * (1 + plda.psi)), rtol=0.1)


def test_zero_vector_has_a_score_with_every_length():
    plda = Plda(np.zeros(2), np.eye(2), np.ones(2))
    for length in LENGTHS:
        assert np.isfinite(plda.project(np.zeros((1, 2)), 1, length)).all()


@pytest.mark.parametrize("text", [False, True])
def test_models_survive_their_files(tmp_path, text):
    plda = read_plda(KALDI / "plda")
    write_plda(tmp_path / "plda", plda, text)
    assert (tmp_path / "plda").read_bytes() == (KALDI / ("plda.txt" if text else "plda")).read_bytes()
    assert_same_model(read_plda(tmp_path / "plda"), plda)
    lda = read_transform(KALDI / "lda.mat")
    write_single(tmp_path / "lda", lda, text)
    assert (tmp_path / "lda").read_bytes() == (KALDI / ("lda.txt" if text else "lda.mat")).read_bytes()
    write_single(tmp_path / "mean", plda.mean, text)
    np.testing.assert_allclose(read_mean(tmp_path / "mean"), plda.mean, rtol=0 if not text else 1e-6)


def test_damaged_models_are_refused(tmp_path):
    binary, text = (KALDI / "plda").read_bytes(), (KALDI / "plda.txt").read_bytes()
    damages = {
        "does not begin with <Plda>": [b"hello", b"", b"\0B", (KALDI / "lda.mat").read_bytes()],
        "is truncated": [binary[:200], text[:900]],
        "</Plda> is missing": [binary[:-8], text.replace(b"</Plda>", b"")],
        "is not a number": [text.replace(b"0.0", b"zero", 1)],
        "negative variances": [text[: text.rindex(b"[") + 1] + b" -" + text[text.rindex(b"[") + 2 :]],
        "differ": [b"<Plda>  [ 1 2 ]\n [\n 1 0\n 0 1 ]\n [ 1 2 3 ]\n</Plda> "],
    }
    for message, contents in damages.items():
        for content in contents:
            (tmp_path / "plda").write_bytes(content)
            with pytest.raises(VouchError, match=f"plda.*{message}") as raised:
                read_plda(tmp_path / "plda")
            assert "\n" not in str(raised.value)
    with pytest.raises(VouchError, match="nowhere: No such file"):
        read_plda(tmp_path / "nowhere")


def test_impossible_training_is_refused():
    data = np.random.default_rng(3).standard_normal((6, 4))
    with pytest.raises(VouchError, match="needs more than 4 utterances, these are 4"):
        train_plda(data, [[0, 1], [2, 3]])
    with pytest.raises(VouchError, match="two or more utterances"):
        train_plda(data, [[row] for row in range(6)])
    with pytest.raises(VouchError, match="PLDA needs two or more speakers, there is 1"):
        train_plda(data, [range(6)])
    flat = np.concatenate([data, np.zeros((6, 1))], axis=1)
    with pytest.raises(VouchError, match="do not vary in all of their dimensions"):
        train_plda(flat, [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(VouchError, match="LDA to 5 dimensions: must be between 1 and 4"):
        train_lda(data, [[0, 1], [2, 3, 4]], 5)
    for groups, dim, message in (
        ([range(6)], 1, "LDA to 1 dimensions: 1 speaker differs in 0 directions at most"),
        ([[0, 1], [2, 3, 4]], 2, "LDA to 2 dimensions: 2 speakers differ in 1 directions at most"),
    ):
        with pytest.raises(VouchError, match=message):
            train_lda(data, groups, dim)
    assert train_lda(data, [[0, 1], [2, 3], [4, 5]], 2).shape == (2, 5)
    with pytest.raises(VouchError, match="factor is 2, but must be"):
        train_lda(data, [[0, 1], [2, 3, 4]], 1, 2)
    with pytest.raises(VouchError, match="takes embeddings of 3 dimensions, these have 2"):
        apply_affine(np.zeros((2, 4)), np.zeros((1, 2)))
    with pytest.raises(VouchError, match="PLDA model takes 2 dimensions, these embeddings have 3"):
        Plda(np.zeros(2), np.eye(2), np.ones(2)).project(np.zeros((1, 3)))
