"""Effects on batches, each recomputed for single utterances by another formula."""

import io

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from vouch.augment import EFFECTS, FROM_BANK
from vouch.augment.bank import Bank, Places, copy_excerpts, gather_excerpts, read_bank, write_bank
from vouch.augment.base import Step, as_tensors, run
from vouch.augment.draws import draw_different
from vouch.augment.specaugment import SpecAugment
from vouch.augment.tree import build_tree
from vouch.base.errors import VouchError

RATE, SAMPLES, ROWS = 16000, 8000, 12


def speech(rows=ROWS, samples=SAMPLES, seed=0):
    """Modulated noise of several levels."""
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(-2.5, -0.5, (rows, 1))
    envelope = 0.1 + np.abs(np.sin(np.arange(samples) * 2 * np.pi * 3 / RATE + rng.uniform(0, 6, (rows, 1))))
    return (level * envelope * rng.standard_normal((rows, samples))).clip(-1, 1).astype(np.float32)


def recordings(seed=1):
    rng = np.random.default_rng(seed)
    noise = [0.2 * rng.standard_normal(length) for length in (20_000, 8000, 8001, 500, 1)]
    decay = [np.exp(-np.arange(length) / 400) for length in (1600, 4000, 9000)]
    room = [x * rng.uniform(-0.3, 0.3, len(x)) for x in decay]
    for response in room:
        response[23] = 0.9
    kinds = {"noise": noise, "room": room, "speech": speech(9, 24_000, seed=5)}
    return {kind: [(f"{row}.wav", x.astype(np.float32)) for row, x in enumerate(each)] for kind, each in kinds.items()}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    write_bank(folder, recordings(), RATE)
    return read_bank(folder, RATE)


def build(name, bank, **options):
    return EFFECTS[name](*([bank] if name in FROM_BANK else []), **options)


def both(effect, waves, seed=0):
    """What was drawn, and what came out."""
    drawn = effect.draw(np.random.default_rng(seed), len(waves), waves.shape[1])
    return drawn, effect.apply(torch.from_numpy(waves), as_tensors(drawn)).numpy()


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_keeps_shape_rows_and_silence(name, bank):
    effect, waves = build(name, bank, **EFFECTS[name].tiny), speech()
    waves[3] = 0
    drawn, found = both(effect, waves)
    assert found.dtype == np.float32 and found.shape == waves.shape and np.isfinite(found).all()
    assert not found[3].any()
    assert all(np.abs(found[row] - waves[row]).max() > 0 for row in range(ROWS) if row != 3)
    # A row alone, in other memory: the same.
    for row in (0, 7):
        one = as_tensors({key: value[row : row + 1] for key, value in drawn.items()})
        alone = effect.apply(torch.from_numpy(waves)[row : row + 1].clone(), one).numpy()[0]
        np.testing.assert_allclose(alone, found[row], atol=1e-6)
        spread = torch.from_numpy(np.asfortranarray(waves))[row : row + 1]
        np.testing.assert_allclose(effect.apply(spread, one).numpy()[0], found[row], atol=1e-6)


@pytest.mark.parametrize("name", EFFECTS)
def test_draws_follow_from_the_seed(name, bank):
    effect, waves = build(name, bank, **EFFECTS[name].tiny), speech()
    assert np.array_equal(both(effect, waves, 4)[1], both(effect, waves, 4)[1])


@pytest.mark.parametrize(("kind", "files", "snr"), [("noise", (1, 1), (0, 15)), ("speech", (3, 7), (13, 20))])
def test_each_noise_has_its_ratio(bank, kind, files, snr):
    """Recomputed with numpy, file by file: within 0.1 dB of what was drawn."""
    effect, waves = build("add_noise", bank, kind=kind, files=files, snr=snr), speech()
    drawn, found = both(effect, waves)
    sources = dict(enumerate(samples for _, samples in recordings()[kind]))
    starts = bank.kind(kind).first.tolist()
    for row in range(ROWS):
        count = int(drawn["is_used"][row].sum())
        assert files[0] <= count <= files[1]
        which = [starts.index(first) for first in drawn["first"][row, :count]]
        assert len(set(which)) == count
        total = waves[row].astype(np.float64)
        for number, source in enumerate(which):
            ratio = drawn["snr"][row, number]
            assert snr[0] <= ratio <= snr[1]
            offset, recording = drawn["offset"][row, number], sources[source].astype(np.float64)
            noise = np.array([recording[(offset + n) % len(recording)] for n in range(SAMPLES)])
            gain = np.sqrt(np.mean(waves[row].astype(np.float64) ** 2) / np.mean(noise**2) / 10 ** (ratio / 10))
            if count == 1:
                added = found[row].astype(np.float64) - waves[row]
                measured = 10 * np.log10(np.sum(waves[row].astype(np.float64) ** 2) / np.sum(added**2))
                assert measured == pytest.approx(ratio, abs=0.1)
            total += gain * noise
        # The bank has 16 bits.
        np.testing.assert_allclose(found[row], total, atol=2e-3 * np.abs(total).max())


def test_the_floor_of_voxceleb_trainer(bank):
    """10 log10(mean square + 1e-4) on both sides: quiet speech is taken for louder than it is."""
    effect, waves = build("add_noise", bank, snr=(7.5, 7.5), power_floor=1e-4), speech()
    waves *= 0.01
    drawn, found = both(effect, waves)
    for row in range(ROWS):
        place = (torch.from_numpy(drawn[name][row, :1]) for name in ("first", "length", "offset"))
        noise = bank.excerpts(*place, SAMPLES)[0].double().numpy()
        level = [10 * np.log10(np.mean(x.astype(np.float64) ** 2) + 1e-4) for x in (waves[row], noise)]
        expected = waves[row] + 10 ** ((level[0] - level[1] - 7.5) / 20) * noise
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_noises_of_all_lengths_begin_anywhere(bank):
    effect, waves = build("add_noise", bank), speech(4000, 100)
    drawn, _ = both(effect, waves)
    for first, length in zip(bank.kind("noise").first, bank.kind("noise").length, strict=True):
        offsets = drawn["offset"][drawn["first"] == first]
        latest = length - 100 if length > 100 else length - 1
        assert len(offsets) > 600 and offsets.min() >= 0 and offsets.max() <= latest
        assert offsets.min() <= 0.02 * latest and offsets.max() >= 0.98 * latest - 1


@pytest.mark.parametrize("keep_delay", [False, True])
def test_rooms(bank, keep_delay):
    effect, waves = build("reverberate", bank, keep_delay=keep_delay, seconds=0.25), speech()
    drawn, found = both(effect, waves)
    sources = [samples for _, samples in recordings()["room"]]
    starts = bank.kind("room").first.tolist()
    for row in range(ROWS):
        response = sources[starts.index(drawn["first"][row])][:4000].astype(np.float64)
        wave = waves[row].astype(np.float64)
        if keep_delay:
            expected = scipy.signal.convolve(wave, response / np.linalg.norm(response), method="direct")[:SAMPLES]
        else:
            wet = scipy.signal.convolve(wave, response, method="direct")
            wet *= np.sqrt(np.mean(wave**2) / np.mean(wet**2))
            expected = wet[response.argmax() :][:SAMPLES]
        np.testing.assert_allclose(found[row], expected, atol=1e-3 * np.abs(expected).max())


def test_ratios_of_a_list_are_drawn_equally_often(bank):
    effect = build("add_noise", bank, snrs=[15, 10, 8, 5], files=(2, 2), from_start=True)
    drawn, _ = both(effect, speech(5000, 10))
    values, counts = np.unique(drawn["snr"], return_counts=True)
    assert values.tolist() == [5, 8, 10, 15]
    assert (np.abs(counts - 2500) < 4 * np.sqrt(10_000 * 3 / 16)).all()
    assert not drawn["offset"].any()
    for name in ("add_noise", "add_foreground"):
        with pytest.raises(VouchError, match=f"{name} takes snr .* or snrs .*, not both"):
            build(name, bank, snr=[0, 1], snrs=[3])
        with pytest.raises(VouchError, match=f"snrs of {name} must be numbers from -200 to 200"):
            build(name, bank, snrs=[3, 300])


@pytest.mark.parametrize(("count", "known"), [(1, 5), (3, 4), (7, 9), (4, 4)])
def test_different_recordings_are_drawn_evenly(count, known):
    drawn = draw_different(np.random.default_rng(3), 6000, count, known)
    assert all(len(set(row)) == count for row in drawn.tolist())
    for column in drawn.T:
        often = np.bincount(column, minlength=known)
        assert len(often) == known and (np.abs(often - 6000 / known) < 5 * np.sqrt(6000 / known)).all()


def source_of(drawn_first, kind, bank, among):
    """Recording of the bank, as it was given, that holds a sample; and the place of the sample in it."""
    places = bank.kind(kind)
    (number,) = np.flatnonzero((places.first <= drawn_first) & (drawn_first < places.first + places.length))
    return among[kind][number][1].astype(np.float64), drawn_first - places.first[number]


@pytest.mark.parametrize("interval", [0.0, 0.05, 1.0])
def test_noises_in_the_foreground(bank, interval):
    """Recomputed as a chain of whole recordings and pauses, cut at the end."""
    effect = build("add_foreground", bank, snrs=[15, 10, 5, 0], interval=interval)
    waves, among = speech(), recordings()
    drawn, found = both(effect, waves)
    several = 0
    for row, wave in enumerate(waves.astype(np.float64)):
        chain, ratios = np.zeros(0), []
        for first, snr in zip(drawn["first"][row], drawn["snr"][row], strict=True):
            recording, place = source_of(first, "noise", bank, among)
            assert place == 0 and snr in (0, 5, 10, 15)
            if len(chain) >= SAMPLES:
                break
            gain = np.sqrt(np.mean(wave**2) / np.mean(recording**2) / 10 ** (snr / 10))
            if len(chain) + len(recording) <= SAMPLES:  # a whole one has its ratio
                part = slice(len(chain), len(chain) + len(recording))
                added = found[row, part] - wave[part]
                measured = 10 * np.log10(np.mean(wave**2) / np.mean(added**2))
                # One sample is known to a step of 16 bits alone.
                ratios.append((measured, snr) if len(recording) > 1 else (snr, snr))
            chain = np.concatenate([chain, gain * recording, np.zeros(round(interval * RATE))])
        several += len(ratios) > 1
        np.testing.assert_allclose(*np.array(ratios).reshape(-1, 2).T, atol=0.1)
        assert len(chain) >= SAMPLES
        np.testing.assert_allclose(found[row], wave + chain[:SAMPLES], atol=2e-3 * np.abs(chain).max())
    assert several or interval == 1.0


def test_noise_beside_speech_of_unit_level(bank):
    """Each piece is brought to a root mean square of 1 of its own; together they cover the speech."""
    effect = build("add_unit_noise", bank, kind=["noise", "speech"], snr=[5, 20])
    waves, among = speech(40), recordings()
    waves[11] = 0
    drawn, found = both(effect, waves)
    assert not found[11].any()
    kinds, counts = set(), []
    for row in np.delete(np.arange(40), 11):
        noise = np.zeros(0)
        for first, length in zip(drawn["first"][row], drawn["length"][row], strict=True):
            if len(noise) == SAMPLES:
                assert length == 0
                continue
            kind = "speech" if first >= bank.kind("speech").first[0] else "noise"
            recording, place = source_of(first, kind, bank, among)
            kinds.add(kind)
            left = SAMPLES - len(noise)
            assert length == min(left, len(recording)) and (place == 0 or len(recording) > left)
            piece = recording[place : place + length]
            noise = np.concatenate([noise, piece / np.sqrt(np.mean(piece**2))])
            counts.append(len(piece))
        assert len(noise) == SAMPLES
        wave, snr = waves[row].astype(np.float64), drawn["snr"][row]
        unit = wave / np.sqrt(np.mean(wave**2))
        expected = unit + 10 ** (-snr / 20) * noise
        assert 10 * np.log10(1 / np.mean((found[row] - unit) ** 2)) == pytest.approx(snr, abs=0.1)
        # Pieces of a single sample, known to a step of 16 bits, are 1 or -1 all the same.
        np.testing.assert_allclose(found[row], expected, atol=3e-3)
    assert kinds == {"noise", "speech"} and {1, 500} <= set(counts)
    with pytest.raises(VouchError, match="names no kind"):
        build("add_unit_noise", bank, kind=[])


def test_peaks(bank):
    _, found = both(build("normalize_peak", bank), speech())
    largest = np.abs(speech()).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found, speech() / (largest + 1e-4), rtol=1e-5)


def test_gain(bank):
    drawn, found = both(build("gain", bank, db=(-20, 6)), speech())
    np.testing.assert_allclose(found, speech() * 10 ** (drawn["db"] / 20)[:, None], rtol=1e-5)
    assert drawn["db"].min() >= -20 and drawn["db"].max() <= 6 and np.ptp(drawn["db"]) > 10


def test_clipping(bank):
    drawn, found = both(build("clip", bank, share=(0.2, 0.9)), speech())
    for wave, share, result in zip(speech(), drawn["share"], found, strict=True):
        limit = share * np.abs(wave).max()
        np.testing.assert_allclose(result, np.clip(wave, -limit, limit), atol=1e-6)
        assert np.abs(result).max() == pytest.approx(limit, rel=1e-5)


@pytest.mark.parametrize(("law", "subtype"), [("mu", "ULAW"), ("a", "ALAW")])
def test_telephone_codecs_are_those_of_libsndfile(bank, law, subtype):
    every = np.arange(-32768, 32768).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, every, 8000, format="WAV", subtype=subtype)
    file.seek(0)
    expected = soundfile.read(file, dtype="float32")[0]
    _, found = both(build("g711", bank, law=law), every[None].astype(np.float32) / 32768)
    assert np.array_equal(found[0], expected)
    drawn, _ = both(build("g711", bank), speech(400, 10))
    assert 150 < drawn["law"].sum() < 250


@pytest.mark.parametrize("samples", [400, 8000, 8191])
def test_bands(bank, samples):
    """Tones inside pass, tones outside do not, and nothing moves in time."""
    effect = build("band", bank, low=(300, 300), high=(3400, 3400))
    time = np.arange(32_000) / RATE
    passed = {100: 0.0, 180: 0.0, 300: 0.5, 1000: 1.0, 3000: 1.0, 3400: 0.5, 3600: 0.0, 7000: 0.0}
    for hertz, kept in passed.items():
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        _, found = both(effect, tone[None])
        middle = slice(4000, 28_000)
        np.testing.assert_allclose(found[0, middle], kept * tone[middle], atol=0.01)
    drawn, found = both(build("band", bank, low=(0, 0), high=(2000, 3000)), speech(samples=samples))
    spectrum = np.abs(np.fft.rfft(found * np.hanning(samples))) ** 2
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    for high, power in zip(drawn["high"], spectrum, strict=True):
        assert 2000 <= high <= 3000
        assert power[frequency > high + 400].sum() < 0.01 * power.sum()


def test_spec_augment_hides_what_was_drawn():
    effect, rng = SpecAugment(2, 7, 1, 5), np.random.default_rng(0)
    features = torch.from_numpy(rng.standard_normal((300, 40, 20)).astype(np.float32))
    drawn = effect.draw(rng, 300, 40, 20)
    found = effect.apply(features, {name: torch.from_numpy(value) for name, value in drawn.items()})
    for row in range(300):
        expected = features[row].numpy().copy()
        for first, last in zip(drawn["first_frame"][row], drawn["last_frame"][row], strict=True):
            expected[first:last] = 0
        for first, last in zip(drawn["first_bin"][row], drawn["last_bin"][row], strict=True):
            expected[:, first:last] = 0
        assert np.array_equal(found[row].numpy(), expected)
    widths = drawn["last_frame"] - drawn["first_frame"]
    assert set(np.unique(widths)) == set(range(8))
    assert drawn["first_frame"].min() == 0 and drawn["last_frame"].max() == 40 and drawn["last_bin"].max() == 20
    short = effect.draw(rng, 50, 3, 2)
    assert (short["last_frame"] <= 3).all() and (short["last_bin"] <= 2).all()


SENTENCE = {
    "sequence": [
        {"one_of": ["none", {"gain": {"db": [6, 6]}, "weight": 2}, {"clip": {"share": [0.5, 0.5]}}]},
        {"g711": {"law": "mu"}, "p": 0.25},
    ]
}


@pytest.mark.parametrize("name", FROM_BANK)
def test_a_bank_that_stays_on_the_host_gives_the_same(name, bank):
    """What a batch needs of it is cut while it is drawn, and travels with it."""
    found = []
    for held in (bank, bank.on_host()):
        tree = build_tree(
            {name: dict(FROM_BANK[name].tiny)}, lambda name, options, held=held: build(name, held, **options)
        )
        (step,) = tree.plan(np.random.default_rng(3), np.arange(ROWS), SAMPLES)
        assert ("recordings" in step.drawn) == (held is not bank)
        if held is not bank:
            assert step.drawn["recordings"].dtype == torch.int16
            step.effect.bank = None
        found.append(run([step], torch.from_numpy(speech())))
    assert torch.equal(*found)


def plain(name, options):
    return EFFECTS[name](**options)


def test_a_tree_draws_as_often_as_it_says():
    tree, rng = build_tree(SENTENCE, plain), np.random.default_rng(0)
    counts = {}
    for _ in range(10):
        for step in tree.plan(rng, np.arange(1000), SAMPLES):
            name = type(step.effect).__name__
            counts[name] = counts.get(name, 0) + len(step.rows)
    # Of 10,000, within four standard deviations.
    for name, share in {"Gain": 0.5, "Clip": 0.25, "G711": 0.25}.items():
        assert abs(counts[name] - 10_000 * share) < 4 * np.sqrt(10_000 * share * (1 - share))


ROOMS_AND_NOISES = {
    "sequence": [
        {"reverberate": {"seconds": 0.4}, "p": 0.8},
        {"one_of": ["none", {"add_noise": {"kind": "speech", "files": [3, 7]}, "weight": 3}]},
    ]
}


@pytest.mark.parametrize("sentence", [SENTENCE, ROOMS_AND_NOISES])
def test_a_tree_does_what_it_planned(sentence, bank):
    """Row by row as in groups, in whatever order the rows of a step are."""
    tree, waves = build_tree(sentence, lambda name, options: build(name, bank, **options)), speech(40)
    steps = tree.plan(np.random.default_rng(1), np.arange(40), SAMPLES)
    found = run(steps, torch.from_numpy(waves.copy())).numpy()
    for row in range(40):
        expected = waves[row]
        for step in steps:
            if row in step.rows.tolist():
                one = {name: value[step.rows == row] for name, value in step.drawn.items()}
                expected = step.effect.apply(torch.from_numpy(expected)[None], one)[0].numpy()
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    untouched = set(range(40)) - {row for step in steps for row in step.rows.tolist()}
    assert untouched and all(np.array_equal(found[row], waves[row]) for row in untouched)


def test_parts_of_a_step_are_the_step():
    effect = build("clip", None)
    rows, share = torch.arange(10), torch.rand(10)
    for drawn in ({"share": share}, {}):
        parts = list(Step(effect, rows, drawn).split(4))
        assert [len(part.rows) for part in parts] == [4, 4, 2]
        assert torch.equal(torch.cat([part.rows for part in parts]), rows)
        for name, value in drawn.items():
            assert torch.equal(torch.cat([part.drawn[name] for part in parts]), value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "is one effect"),
        ({"gain": {}, "clip": {}}, "is one effect"),
        ({"sequence": []}, "a list"),
        ({"sequence": "gain"}, "a list"),
        ({"one_of": [{"gain": {}, "weight": 0}]}, "all weights are 0"),
        ({"one_of": [{"gain": {}, "weight": -1}]}, "from 0 to"),
        ({"gain": {}, "p": 1.5}, "from 0 to 1, not 1.5"),
        ({"gain": [3]}, "'option: value' lines"),
        ({"gain": {"db": [3, -3]}}, "must rise"),
        ({"gain": {"db": "loud"}}, "a pair of numbers"),
        ({"band": {"low": [300, 3300]}}, "must lie 200 Hz below"),
        ({"clip": {"share": [0, 1]}}, "at least 0.001"),
        ({"g711": {"law": "mue"}}, "law of g711.*'mu'"),
        ({"normalize_peak": {"floor": 0}}, "above 0"),
    ],
)
def test_what_is_no_sentence_is_refused(config, message):
    with pytest.raises(VouchError, match=message):
        build_tree(config, plain)


def test_a_bank_of_a_folder(tmp_path, bank):
    for kind, each in recordings().items():
        places = bank.kind(kind)
        assert places.names == [name for name, _ in each]
        for first, length, (_, samples) in zip(places.first, places.length, each, strict=True):
            assert length == len(samples)
            np.testing.assert_allclose(bank.samples[first : first + length].numpy() / 32768, samples, atol=1 / 65000)
        expected = [np.mean(samples.astype(np.float64) ** 2) for _, samples in each]
        np.testing.assert_allclose(places.power, expected, rtol=1e-3)
    both_kinds = bank.kind("noise", "speech")
    assert both_kinds.first.tolist() == [*bank.kind("noise").first, *bank.kind("speech").first]
    assert len(both_kinds.names) == len(both_kinds.length) == len(both_kinds.power) == 14
    with pytest.raises(VouchError, match=r"'nois'.*did you mean 'noise'"):
        bank.kind("nois")
    with pytest.raises(VouchError, match="up to 6 recordings of 'noise' at once, the bank has 5"):
        build("add_noise", bank, files=(1, 6))
    for name in ("add_foreground", "add_unit_noise"):
        clicks = Places(["click.wav"], np.array([0]), np.array([150]), np.ones(1))
        options = {"interval": 0.0} if name == "add_foreground" else {}
        with pytest.raises(VouchError, match=r"click\.wav, last 0\.0094 s in the mean"):
            build(name, Bank(torch.ones(150, dtype=torch.int16), {"noise": clicks}, RATE), **options)
    with pytest.raises(VouchError, match="no bank of noises and rooms; run stage 2"):
        read_bank(tmp_path / "gone", RATE)
    write_bank(tmp_path / "empty", {"noise": []}, RATE)
    with pytest.raises(VouchError, match="holds no recordings"):
        read_bank(tmp_path / "empty", RATE)
    write_bank(tmp_path / "slow", {"noise": [("a", np.ones(3, np.float32))]}, 8000)
    with pytest.raises(VouchError, match="is of 8000 Hz, the speech of 16000 Hz"):
        read_bank(tmp_path / "slow", RATE)
    (tmp_path / "slow/bank.raw").write_bytes((tmp_path / "empty/bank.raw").read_bytes())
    with pytest.raises(VouchError, match=r"does not hold what bank\.json says"):
        read_bank(tmp_path / "slow", 8000)


@pytest.mark.parametrize("cut", [copy_excerpts, gather_excerpts])
def test_excerpts_begin_again(cut):
    samples, places = torch.arange(10, dtype=torch.int16), ([[0, 4]], [[4, 6]], [[2, 5]])
    found = cut(samples, *map(torch.tensor, places), 7) * 32768
    assert found.tolist() == [[[2, 3, 0, 1, 2, 3, 0], [9, 4, 5, 6, 7, 8, 9]]]


def test_both_ways_to_cut_excerpts_agree(bank):
    rng, places = np.random.default_rng(0), bank.kind("noise", "speech", "room")
    which = rng.integers(len(places.names), size=(30, 4))
    first, length = places.first[which], places.length[which]
    drawn = [torch.from_numpy(each) for each in (first, length, rng.integers(length))]
    found = [cut(bank.samples, *drawn, 5000) for cut in (copy_excerpts, gather_excerpts)]
    assert torch.equal(*found) and found[0].shape == (30, 4, 5000) and found[0].dtype == torch.float32


@pytest.mark.parametrize("name", ["add_noise", "add_foreground"])
def test_the_power_of_the_speech_may_be_kept(name, bank):
    """As wav-reverberate scales its output: the same sum, with the mean square that the speech had."""
    waves = speech()
    louder = both(build(name, bank, snr=[0, 5]), waves)[1].astype(np.float64)
    kept = both(build(name, bank, snr=[0, 5], keep_power=True), waves)[1]
    expected = louder * np.sqrt((waves.astype(np.float64) ** 2).mean(1) / (louder**2).mean(1))[:, None]
    np.testing.assert_allclose(kept, expected, atol=2e-6)
    # Some have met a pause alone.
    assert ((louder**2).mean(1) > 1.2 * (waves.astype(np.float64) ** 2).mean(1)).sum() >= 5


def test_a_response_that_is_cut_before_its_sound(tmp_path):
    late = np.zeros(RATE, np.float32)
    late[RATE // 2] = 1
    write_bank(tmp_path, {"room": [("early.wav", late[RATE // 2 :]), ("late.wav", late)]}, RATE)
    held = read_bank(tmp_path, RATE)
    for keep_delay in (True, False):
        with pytest.raises(VouchError, match=r"'late\.wav' of 'room' is silent for 6400 samples"):
            build("reverberate", held, seconds=0.4, keep_delay=keep_delay)
    build("reverberate", held, seconds=0.6)
