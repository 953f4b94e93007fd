"""Pictures: they appear for every kind of score set, and what they draw is right."""

import warnings

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy.stats import norm

from vouch.base.errors import VouchError
from vouch.evaluation import plots
from vouch.evaluation.metrics import Roc
from vouch.evaluation.plots import System, plot_det, plot_histogram
from vouch.evaluation.result import Settings, evaluate


def system(scores: np.ndarray, is_target: np.ndarray, name: str = "mine") -> System:
    return System(evaluate(name, scores, is_target, Settings(draws=10)), scores, is_target)


def overlapping(number: int, shift: float, decimals: int = 9, name: str = "mine") -> System:
    rng = np.random.default_rng(number)
    is_target = np.arange(number) < number // 3
    return system(np.round(rng.standard_normal(number) + shift * is_target, decimals), is_target, name)


SETS = {
    "two trials": system(np.array([1.0, 0.0]), np.array([True, False])),
    "equal scores": system(np.zeros(6), np.arange(6) < 2),
    "separable": overlapping(60, 20),
    "inverted": overlapping(60, -20),
    "tied": overlapping(500, 1.5, 0),
    "chance": overlapping(500, 0),
    "small": overlapping(40, 1),
    "large": overlapping(20_000, 4.5),
    "a float apart": system(np.array([1.0000000000000002, 1.0, 1.0, 1.0]), np.array([True, False, True, False])),
    "equal and large": system(np.full(4, 1e16), np.array([True, False, True, False])),
    "next to zero": system(np.array([5e-324, 0.0]), np.array([True, False])),
    "enormous": system(np.array([1e300, -1e300, 1e300, 1.0]), np.array([True, False, False, True])),
    "formula": overlapping(60, 1, name="a $x_1 b " + "very_" * 30 + "long"),
}


@pytest.mark.parametrize("name", SETS)
def test_every_set_gives_whole_pictures(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_det(tmp_path / "det.png", [SETS[name]])
        plot_histogram(tmp_path / "hist.png", SETS[name])
    for picture in ("det.png", "hist.png"):
        pixels = matplotlib.image.imread(tmp_path / picture)
        assert min(pixels.shape[:2]) > 500
        # Nothing touches the border: no text is cut off.
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (border == 1).all()
    assert {path.name for path in tmp_path.iterdir()} == {"det.png", "hist.png"}


def drawn_lines(monkeypatch, systems: list[System], path) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return the lines that `plot_det` draws: the diagonal, then a curve for each system; markers are no lines."""
    curves = []
    plot = Axes.plot

    def record(axes, x, y, *rest, **options):
        if np.ndim(x):
            curves.append((np.asarray(x), np.asarray(y)))
        return plot(axes, x, y, *rest, **options)

    monkeypatch.setattr(Axes, "plot", record)
    monkeypatch.setattr(plots, "save_picture", lambda path, figure: None)  # what takes long
    plot_det(path, systems)
    return curves


@pytest.mark.parametrize("name", ["tied", "small", "large", "equal scores"])
def test_curve_follows_the_error_rates(monkeypatch, tmp_path, name):
    chosen = SETS[name]
    x, y = drawn_lines(monkeypatch, [chosen], tmp_path / "det.png")[1]
    false_alarm, miss = norm.cdf(x), norm.cdf(y)
    assert (np.diff(false_alarm) <= 1e-9).all()
    assert (np.diff(miss) >= -1e-9).all()
    curve = plots.roc(chosen.scores, chosen.is_target)
    # Rates of 0 and 1 are drawn elsewhere.
    edge = 0.003 if name == "large" else 0.021
    inside = np.all([rate > edge for rate in (false_alarm, 1 - false_alarm, miss, 1 - miss)], axis=0)
    assert inside.sum() > 5
    # Among many points only those that make a visible difference are drawn.
    tolerance = 2e-3 if name == "large" else 1e-6
    for a, b in zip(false_alarm[inside], miss[inside], strict=True):
        assert distance_to_roc(curve, np.array([a, b])) < tolerance
    if name == "large":
        assert len(x) < 5000


def distance_to_roc(curve: Roc, point: np.ndarray) -> float:
    """Return how far a point is from the lines between neighbouring points of the ROC."""
    corners = np.column_stack([curve.false_alarm, curve.miss])
    steps, offsets = np.diff(corners, axis=0), point - corners[:-1]
    along = np.clip((offsets * steps).sum(axis=1) / (steps**2).sum(axis=1), 0, 1)
    return float(np.linalg.norm(offsets - along[:, None] * steps, axis=1).min())


def test_several_systems_have_a_curve_each(monkeypatch, tmp_path):
    systems = [overlapping(300, shift, name=f"s{shift}") for shift in range(8)]
    assert len(drawn_lines(monkeypatch, systems, tmp_path / "det.png")) == 1 + len(systems)


def test_axes_are_the_same_and_markers_off_them_say_their_rates(monkeypatch, tmp_path):
    limits, markers, written = [], [], []
    plot, annotate = Axes.plot, Axes.annotate

    def record(axes, x, y, *rest, **options):
        if rest:
            markers.append((x, y))
        return plot(axes, x, y, *rest, **options)

    def write(axes, text, place, *rest, **options):
        written.append((text, place))
        return annotate(axes, text, place, *rest, **options)

    def look(path, figure):  # and do not write it, which takes long
        limits.append((figure.axes[0].get_xlim(), figure.axes[0].get_ylim()))

    monkeypatch.setattr(Axes, "plot", record)
    monkeypatch.setattr(Axes, "annotate", write)
    monkeypatch.setattr(plots, "save_picture", look)
    low, high = 0.0001, 0.6
    for name, chosen in SETS.items():
        markers.clear()
        written.clear()
        plot_det(tmp_path / "det.png", [chosen])
        assert limits[-1] == (pytest.approx(norm.ppf([low, high])),) * 2, name
        result = chosen.result
        expected = [(result.eer.value / 100,) * 2]
        for threshold in (point.threshold for point in result.min_dcf.values()):
            accepted = chosen.scores >= threshold
            expected.append((accepted[~chosen.is_target].mean(), 1 - accepted[chosen.is_target].mean()))
        assert norm.cdf(markers) == pytest.approx(np.clip(expected, low, high)), name
        off = [pair for pair in expected if min(pair) < low or max(pair) > high]
        assert {text for text, _ in written} == {f"{100 * a:.3g} / {100 * b:.3g} %" for a, b in off}, name
        for _, place in written:
            assert place in markers, name


def test_more_priors_have_more_signs(monkeypatch, tmp_path):
    scores, is_target = SETS["tied"].scores, SETS["tied"].is_target
    many = tuple(np.linspace(0.1, 0.9, 8))
    signs = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda axes, *rest, **options: signs.append(rest[2:]) or plot(axes, *rest, **options)
    )
    systems = [
        System(evaluate("mine", scores, is_target, Settings(draws=1, priors=many[:number])), scores, is_target)
        for number in (1, 7, 8)
    ]
    for number, chosen in zip((1, 7), systems, strict=False):
        signs.clear()
        plot_det(tmp_path / "det.png", [chosen])
        assert len([sign for sign in signs if sign]) == 1 + number
    for refused in (systems[2:], systems[:2]):
        with pytest.raises(VouchError, match="same target priors"):
            plot_det(tmp_path / "no.png", refused)
    assert not (tmp_path / "no.png").exists()


def test_bins_follow_from_the_narrower_kind_and_the_rarer_number():
    """By Freedman and Diaconis's rule; of normal scores the quartiles are 1.349 deviations apart."""
    deviates = norm.ppf((np.arange(8000) + 0.5) / 8000)
    targets, nontargets = 10 + deviates[::8], 2 * deviates
    width = 2 * 1.349 * 1000 ** (-1 / 3)
    reach = targets.max() - nontargets.min()
    assert plots.count_bins(targets, nontargets) == pytest.approx(reach / width, rel=0.02)
    assert plots.count_bins(nontargets, targets) == plots.count_bins(targets, nontargets)
    # One far score would ask for thousands, and scores of which most are tied for none.
    assert plots.count_bins(np.append(targets, 1e5), nontargets) == 200
    assert plots.count_bins(np.zeros(5), np.zeros(5)) == plots.count_bins(np.ones(1), np.zeros(1)) == 20
    assert plots.count_bins(np.ones(1000), nontargets) == plots.count_bins(nontargets[::8], nontargets)


def test_histogram_shows_every_threshold(monkeypatch, tmp_path):
    drawn = []
    line = Axes.axvline
    monkeypatch.setattr(Axes, "axvline", lambda axes, x, **options: drawn.append(x) or line(axes, x, **options))
    result = SETS["tied"].result
    plot_histogram(tmp_path / "hist.png", SETS["tied"])
    assert drawn == [result.eer.threshold, *(point.threshold for point in result.min_dcf.values())]
    drawn.clear()
    # Rejecting every trial is best there, which is no score.
    plot_histogram(tmp_path / "hist.png", SETS["inverted"])
    assert drawn == [SETS["inverted"].result.eer.threshold]
