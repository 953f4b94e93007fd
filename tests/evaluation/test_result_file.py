"""Results as JSON files, and files that are none."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.evaluation.html import write_report
from vouch.evaluation.result import PRIORS, Settings, evaluate
from vouch.evaluation.result_file import read_result, read_results, write_result
from vouch.evaluation.score_source import identify
from vouch.evaluation.table import drawn

FEW = Settings(draws=50, seed=3)


def trials(number: int = 300) -> tuple[np.ndarray, np.ndarray]:
    is_target = np.arange(number) % 3 == 0
    return np.random.default_rng(0).standard_normal(number) + 2 * is_target, is_target


def test_json_holds_every_figure(tmp_path):
    scores, is_target = trials()
    result = evaluate("größe", scores, is_target, replace(FEW, definitions=("feerci", "kaldi")), unscored=4)
    part = evaluate("größe: part", scores[:90], is_target[:90], FEW)
    result = replace(result, groups=(part,), notes=("something is missing",))
    write_result(tmp_path / "x.y.json", result)
    assert read_result(tmp_path / "x.y.json") == result
    assert read_results(tmp_path) == {"x.y": result}
    record = json.loads((tmp_path / "x.y.json").read_text(encoding="utf-8"))
    low, high = result.intervals["eer"]
    assert record["eer"] == {"percent": result.eer.value, "threshold": result.eer.threshold}
    how = {"level": 0.95, "draws": 50, "resampled": "trials", "speakers": None}
    assert record["eer_interval"] == {"low_percent": low, "high_percent": high, **how}
    assert (record["trials"], record["targets"], record["nontargets"], record["unscored"]) == (300, 100, 200, 4)
    for kind, points in (("min_dcf", result.min_dcf), ("act_dcf", result.act_dcf)):
        assert list(record[kind]) == [str(prior) for prior in PRIORS]
        for prior, (value, threshold) in points.items():
            low, high = result.intervals[f"{kind}({prior})"]
            expected = {"value": value, "threshold": threshold, "low": low, "high": high}
            assert record[kind][str(prior)] == expected
    low, high = result.intervals["min_cllr"]
    assert record["min_cllr"] == {"value": result.min_cllr, "low": low, "high": high}
    assert record["groups"][0]["system"] == "größe: part"


def test_results_know_the_file_of_their_scores(tmp_path):
    folder, scores = tmp_path / "exp" / "results", tmp_path / "exp" / "scores" / "x.txt"
    elsewhere = tmp_path / "elsewhere.txt"
    for path in (scores, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a b 1\n")
    figures = evaluate("x", *trials(), FEW)
    figures = replace(figures, groups=(replace(figures, system="x: part"),))
    for name, path in (("x", scores), ("y", elsewhere), ("z", tmp_path)):
        write_result(folder / f"{name}.json", replace(figures, source=identify(path, folder)))
    sha = hashlib.sha256(b"a b 1\n").hexdigest()
    written = [json.loads((folder / f"{name}.json").read_text())["scores"] for name in "xyz"]
    assert written == [{"path": "../scores/x.txt", "sha256": sha}, {"path": str(elsewhere), "sha256": sha}, None]
    assert not any(result.outdated for result in read_results(folder).values())
    # An experiment may be moved, and its score files touched.
    moved = (tmp_path / "exp").rename(tmp_path / "moved")
    (moved / "scores" / "x.txt").touch()
    assert not any(result.outdated for result in read_results(moved / "results").values())
    (moved / "scores" / "x.txt").write_text("a b 2\n")
    elsewhere.unlink()
    found = read_results(moved / "results")
    assert found["x"].outdated == found["x"].groups[0].outdated == "../scores/x.txt has changed since"
    assert (found["y"].outdated, found["z"].outdated) == (f"{elsewhere} is gone", None)


def test_json_has_no_infinity(tmp_path):
    result = evaluate("x", np.array([0.0, 1.0]), np.array([True, False]), Settings(draws=5))
    write_result(tmp_path / "x.json", result)
    record = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert (record["min_dcf"]["0.01"]["value"], record["min_dcf"]["0.01"]["threshold"]) == (1.0, None)
    assert read_result(tmp_path / "x.json") == result


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON (nested too deeply)"),
        ("[]", "not a result of this version of stage 7 (it is not an object)"),
        ("{}", "not a result of this version of stage 7 (it lacks 'eer_interval')"),
        ('{"eer_interval": 3}', "not a result of this version of stage 7 ('eer_interval' is not an object)"),
    ],
)
def test_other_files_are_no_results(tmp_path, content, problem):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(VouchError) as raised:
        read_results(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/x.json: {problem.removesuffix(')')}")
    assert "\n" not in str(raised.value)
    with pytest.raises(VouchError, match=r"y\.json: No such file"):
        read_result(tmp_path / "y.json")


def test_what_older_versions_did_not_write_is_not_known(tmp_path):
    record = whole_record(tmp_path)
    for each in (record, record["groups"][0]):
        del each["eer_interval"]["speakers"], each["calibrated"]
    (tmp_path / "x.json").write_text(json.dumps(record))
    result = read_result(tmp_path / "x.json")
    assert (result.resampled, result.speakers, result.calibrated) == ("speakers", None, False)
    assert drawn(result) == "speakers"


def places(value, path=()):
    """Yield the way to each value of JSON, whatever it is."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        yield from places(each, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def whole_record(tmp_path):
    scores, is_target = trials()
    enrol = np.arange(300) // 3 % 25
    speakers = (enrol, (enrol + ~is_target) % 25)
    result = evaluate("x", scores, is_target, replace(FEW, priors=(0.1,), definitions=("kaldi",)), speakers)
    result = replace(result, groups=(replace(result, system="x: part"),), notes=("a note",))
    write_result(tmp_path / "x.json", result)
    return json.loads((tmp_path / "x.json").read_text())


def test_no_field_may_be_of_another_type(tmp_path):
    """Each value of a record, replaced by one of each other kind: one line that names the file, and never a report."""
    record = whole_record(tmp_path)
    nullable = {"threshold", "speakers"}
    counted = 0
    for path in places(record):
        old = record
        for key in path:
            old = old[key]
        # The sum of the trials is there for other readers; a part is read as the whole is.
        if path[-1:] == ("trials",) or path[:2] == ("groups", 0):
            continue
        for new in (None, True, -1, 0.5, "text", "<script>", "two\nlines", [], [3], {}, {"x": 1}, [[[]]]):
            # To Python True is a whole number too.
            kinds = (int, float) if isinstance(old, float) else type(old)
            same_kind = isinstance(new, kinds) and isinstance(new, bool) == isinstance(old, bool)
            if same_kind or (new is None and path[-1:] and path[-1] in nullable):
                continue
            (tmp_path / "x.json").write_text(json.dumps(changed(record, path, new)))
            with pytest.raises(VouchError, match=r"x\.json: not a result of this version of stage 7") as raised:
                write_report(tmp_path, "title")
            assert "\n" not in str(raised.value)
            counted += 1
    assert counted > 300
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("targets",), -1),
        (("eer_interval", "draws"), 0),
        (("eer_interval", "draws"), "<script>alert(1)</script>"),
        (("eer_interval", "resampled"), "<img src=x onerror=alert(1)>"),
        (("eer_interval", "level"), 1.5),
        (("system",), "two\nlines"),
        (("notes",), ["two\nlines"]),
        (("min_dcf",), {}),  # other priors than of act_dcf
        (("other_min_dcfs", "kaldi"), {"<b>": 1.0}),
        (("cllr", "value"), 10**400),
    ],
)
def test_values_that_cannot_be(tmp_path, path, new):
    (tmp_path / "x.json").write_text(json.dumps(changed(whole_record(tmp_path), path, new)))
    with pytest.raises(VouchError, match=r"x\.json: not "):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "source", [[], 3, {}, {"path": "t.txt"}, {"path": 1, "sha256": "0"}, {"path": "two\nlines", "sha256": "0"}]
)
def test_sources_that_cannot_be(tmp_path, source):
    (tmp_path / "x.json").write_text(json.dumps({**whole_record(tmp_path), "scores": source}))
    with pytest.raises(VouchError, match=r"x\.json: not a result of this version of stage 7"):
        read_results(tmp_path)


def test_groups_of_groups_are_refused_at_any_depth(tmp_path):
    record = whole_record(tmp_path)
    group = record["groups"][0]
    for depth in (1, 300):
        nested = group
        for _ in range(depth):
            nested = {**group, "groups": [nested]}
        (tmp_path / "x.json").write_text(json.dumps({**record, "groups": [nested]}))
        with pytest.raises(VouchError, match=r"x\.json: not "):
            read_results(tmp_path)
