"""Checks data directories against Kaldi's rules and reports each violation with file, line and reason.

The rules are those of Kaldi's utils/validate_data_dir.sh, with fewer gaps: all violations are reported, not only the
first; a malformed utt2spk is an error; utterances without a segment are found even without a `text`; and carriage
returns and keys without a value are errors, because Vouch's readers reject them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError, pick
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.scan import Rows, advise_order, check_keys, check_known, check_order, parse_number, scan_rows

FORBIDDEN_WORDS = ("<s>", "</s>", "#0")


@dataclass(frozen=True)
class Needs:
    """Requirements on a data directory.

    Attributes
    ----------
    feats, text, wav : bool
        Whether feats.scp, text and wav.scp must exist.
    spk_sort : bool
        Whether the utterances' speakers must be sorted too.
    printable : bool
        Whether the text must not contain unprintable characters.
    """

    feats: bool = True
    text: bool = True
    wav: bool = True
    spk_sort: bool = True
    printable: bool = True


# Names of the options that waive a requirement.
WAIVERS = {"no-feats": "feats", "no-text": "text", "no-wav": "wav", "no-spk-sort": "spk_sort", "non-print": "printable"}


def waive(options: Iterable[str]) -> Needs:
    """Return the requirements that remain when some are waived by name ("no-feats", "no-text", ...)."""
    return Needs(**{pick(WAIVERS, option, "option"): False for option in options})


def _is_positive(value: str) -> bool:
    return 0 < parse_number(value) < math.inf


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value) > 0


class Rule(NamedTuple):
    """Requirements on an optional table.

    Attributes
    ----------
    keys : "utterance", "speaker" or "recording"
    fits : callable, optional
        Function that returns whether a value is valid.
    wanted : str
        Description of a valid value, for the message.
    """

    keys: str
    fits: Callable[[str], bool] | None = None
    wanted: str = ""


RULES = {
    "feats.scp": Rule("utterance"),
    "vad.scp": Rule("utterance"),
    "utt2lang": Rule("utterance"),
    "utt2uniq": Rule("utterance"),
    "utt2dur": Rule("utterance", _is_positive, "one number of seconds above 0"),
    "utt2num_frames": Rule("utterance", _is_count, "one whole number above 0"),
    "utt2warp": Rule("utterance", lambda value: 0.5 < parse_number(value) < 1.5, "one number between 0.5 and 1.5"),
    "cmvn.scp": Rule("speaker"),
    "spk2gender": Rule("speaker", lambda value: value in ("m", "f"), "m or f"),
    "spk2warp": Rule("speaker", lambda value: 0.5 < parse_number(value) < 1.5, "one number between 0.5 and 1.5"),
    "reco2dur": Rule("recording", _is_positive, "one number of seconds above 0"),
    "reco2file_and_channel": Rule(
        "recording", lambda value: re.fullmatch(r"\S+\s+[AB]", value) is not None, "<file> A|B"
    ),
}


def validate_data_dir(path: str | Path, needs: Needs | None = None) -> Report:
    """Check the tables of a data directory against each other.

    Archives and audio are not opened, and trial lists are not checked.

    Raises
    ------
    VouchError
        There is no such directory.
    """
    path, needs, report = Path(path), needs or Needs(), Report()
    if not path.is_dir():
        raise VouchError(f"{path}: no such data directory")
    utt2spk = scan_rows(path / "utt2spk", report)
    spk2utt = scan_rows(path / "spk2utt", report)
    if utt2spk.keys and _check_utt2spk(utt2spk, needs, report):
        _check_spk2utt(spk2utt, utt2spk, report)
    references = {"utterance": utt2spk, "speaker": spk2utt}
    if needs.text:
        _check_text(path / "text", utt2spk, needs, report)
    references["recording"] = _check_audio_tables(path, utt2spk, needs, report)
    for name, rule in RULES.items():
        if (path / name).exists():
            _check_table(path / name, rule, references[rule.keys], report)
    if needs.feats and not (path / "feats.scp").exists():
        report.error("missing files", path / "feats.scp", 0, "no such file; waive it with --no-feats")
    _check_frame_shift(path / "frame_shift", report)
    return report


def _check_utt2spk(utt2spk: Rows, needs: Needs, report: Report) -> bool:
    """Check utt2spk by itself, and return whether each of its lines has one speaker."""
    check_order(utt2spk, report)
    previous, well_formed = "", True
    for utterance, speaker, number in zip(utt2spk.keys, utt2spk.values, utt2spk.numbers, strict=True):
        if len(speaker.split()) != 1:
            message = f"'{utterance} {speaker}' has {1 + len(speaker.split())} fields, '<utterance> <speaker>' has 2"
            report.error("columns", utt2spk.path, number, message)
            well_formed = False
            continue
        if speaker < previous and needs.spk_sort:
            message = (
                f"speaker '{speaker}' comes after '{previous}': utterances must sort as their speakers do;"
                f" {advise_order(utterance, speaker, previous)}"
            )
            report.error("speaker order", utt2spk.path, number, message)
        previous = speaker
    if len(set(utt2spk.values)) == 1:
        report.warning("speakers", utt2spk.path, 1, f"all utterances are of one speaker, '{utt2spk.values[0]}'")
    return well_formed


def _check_spk2utt(spk2utt: Rows, utt2spk: Rows, report: Report) -> None:
    if not spk2utt.keys:
        return
    check_order(spk2utt, report)
    lists = [value.split() for value in spk2utt.values]
    utterances = [utterance for listed in lists for utterance in listed]
    speakers = [speaker for speaker, listed in zip(spk2utt.keys, lists, strict=True) for _ in listed]
    if (utterances, speakers) == (utt2spk.keys, utt2spk.values):
        return
    found = report.count("error")
    wanted: dict[str, list[str]] = {}
    known = set(spk2utt.keys)
    for utterance, speaker, number in zip(utt2spk.keys, utt2spk.values, utt2spk.numbers, strict=True):
        if speaker not in wanted and speaker not in known:
            report.error("spk2utt", utt2spk.path, number, f"speaker '{speaker}' is not in spk2utt")
        wanted.setdefault(speaker, []).append(utterance)
    for speaker, listed, number in zip(spk2utt.keys, lists, spk2utt.numbers, strict=True):
        if speaker not in wanted:
            report.error("spk2utt", spk2utt.path, number, f"speaker '{speaker}' is not in utt2spk")
        elif listed != wanted[speaker]:
            odd = next(iter(set(listed) ^ set(wanted[speaker])), "")
            why = f"; '{odd}' is in one of them only" if odd else ": they are repeated or in another order"
            message = f"'{speaker}' has {len(listed)} utterances, {len(wanted[speaker])} in utt2spk{why}"
            report.error("spk2utt", spk2utt.path, number, message)
    if report.count("error") == found:
        message = "lists the utterances in another order than utt2spk; utterance ids must begin with the speaker's"
        report.error("spk2utt", spk2utt.path, 0, message)


def _check_text(path: Path, utt2spk: Rows, needs: Needs, report: Report) -> None:
    if not path.exists():
        report.error("missing files", path, 0, "no such file; waive it with --no-text")
        return
    rows = scan_rows(path, report, bare=True)
    check_order(rows, report)
    for words, number in zip(rows.values, rows.numbers, strict=True):
        odd = [character for character in words if character.isspace() and character not in " \t"]
        if needs.printable:
            odd += [character for character in words if not character.isprintable() and not character.isspace()]
        if odd:
            report.error(
                "text", path, number, f"character U+{ord(odd[0]):04X}, which is not printable or no plain blank"
            )
        for word in FORBIDDEN_WORDS:
            if word in words.split():
                report.error("text", path, number, f"'{word}' cannot be a word")
    check_keys(rows, utt2spk, "utterance", report)


def _check_audio_tables(path: Path, utt2spk: Rows, needs: Needs, report: Report) -> Rows:
    """Check wav.scp and segments, and return the rows with the recordings as keys (no rows: they are unknown)."""
    segmented = (path / "segments").exists()
    if not (path / "wav.scp").exists():
        if needs.wav or segmented:
            hint = "; segments need it" if segmented else "; waive it with --no-wav"
            report.error("missing files", path / "wav.scp", 0, f"no such file{hint}")
        return Rows(path / "wav.scp", [], [], ()) if segmented else utt2spk
    wav_scp = scan_rows(path / "wav.scp", report)
    check_order(wav_scp, report)
    for value, number in zip(wav_scp.values, wav_scp.numbers, strict=True):
        if value[0] == "~":
            report.error("file names", wav_scp.path, number, f"'{value}': ~ is not expanded; write the whole path")
        elif value[0] == "|":
            report.error("file names", wav_scp.path, number, f"'{value}': a command ends in |, it does not begin so")
    if segmented:
        _check_segments(scan_rows(path / "segments", report), wav_scp, utt2spk, report)
    else:
        check_keys(wav_scp, utt2spk, "utterance", report)
    return wav_scp


def _check_segments(segments: Rows, wav_scp: Rows, utt2spk: Rows, report: Report) -> None:
    check_order(segments, report)
    known, used = set(wav_scp.keys), {}
    for utterance, value, number in zip(segments.keys, segments.values, segments.numbers, strict=True):
        fields = value.split()
        if len(fields) != 3:
            message = f"'{utterance} {value}' is not '<utterance> <recording> <start> <end>'"
            report.error("columns", segments.path, number, message)
            continue
        recording, start, end = fields[0], parse_number(fields[1]), parse_number(fields[2])
        used[recording] = ""
        if not 0 <= start < end < math.inf:
            report.error(
                "segments", segments.path, number, f"'{utterance} {value}': needs 0 <= start < end, in seconds"
            )
        if recording not in known:
            report.error("matching keys", segments.path, number, f"recording '{recording}' is not in wav.scp")
    check_keys(segments, utt2spk, "utterance", report)
    if segments.keys:
        check_known(wav_scp, used, "segments", "recording", report)


def _check_table(path: Path, rule: Rule, reference: Rows, report: Report) -> None:
    rows = scan_rows(path, report)
    check_order(rows, report)
    if rule.fits is not None:
        for key, value, number in zip(rows.keys, rows.values, rows.numbers, strict=True):
            if not rule.fits(value):
                report.error("values", path, number, f"'{key} {value}': the value is not {rule.wanted}")
    check_keys(rows, reference, rule.keys, report)


def _check_frame_shift(path: Path, report: Report) -> None:
    if path.exists():
        content = path.read_text(encoding="utf-8", errors="replace").strip()
        if not _is_positive(content):
            report.warning("values", path, 1, f"'{content}' is not one number of seconds above 0")
