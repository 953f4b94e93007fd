"""Reads who speaks when in a meeting, from RTTM files or from AMI's manual annotations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from vouch.base.errors import VouchError, about_file
from vouch.corpora.tree import safe
from vouch.kaldi.tables import read_lines


class Turn(NamedTuple):
    """A turn of one speaker, from `start` to `end` seconds."""

    speaker: str
    start: float
    end: float


def read_turns(folder: Path, meetings: list[str]) -> dict[str, list[Turn]]:
    """Read the turns of meetings, in order of time.

    Parameters
    ----------
    folder : Path
        Holds *.rttm files, at any depth, or AMI's manual annotations: `corpusResources/meetings.xml` and
        `segments/<meeting>.<agent>.segments.xml`.
    meetings : list of str
        Names of the meetings.

    Raises
    ------
    VouchError
        The folder holds neither, lacks a meeting, or a file is malformed.
    """
    if not folder.is_dir():
        raise VouchError(f"{folder}: no such folder of annotations")
    tables = sorted(folder.rglob("*.rttm"))
    found = _read_rttm(tables) if tables else _read_manual(folder, meetings)
    lacking = [meeting for meeting in meetings if not found.get(meeting)]
    if lacking:
        raise VouchError(
            f"{folder}: no annotation of {lacking[0]} ({len(lacking)} of {len(meetings)} meetings lack one)"
        )
    return {meeting: sorted(set(found[meeting]), key=lambda turn: (turn.start, turn.end)) for meeting in meetings}


def _read_rttm(paths: list[Path]) -> dict[str, list[Turn]]:
    """Read `SPEAKER <meeting> <channel> <start> <duration> <NA> <NA> <speaker> ...` lines."""
    turns: dict[str, list[Turn]] = {}
    for path in paths:
        for number, line in enumerate(read_lines(path), start=1):
            fields = line.split()
            if not fields or fields[0] != "SPEAKER":
                continue
            if len(fields) < 8:
                raise VouchError(f"{path}:{number}: '{line.strip()}' is not an RTTM line of at least 8 fields")
            start, seconds = (_seconds(text, f"{path}:{number}") for text in fields[3:5])
            meeting = fields[1].removesuffix(".Mix-Headset")
            turns.setdefault(meeting, []).append(Turn(_speaker(fields[7]), start, start + seconds))
    return turns


def _read_manual(folder: Path, meetings: list[str]) -> dict[str, list[Turn]]:
    path = folder / "corpusResources" / "meetings.xml"
    if not path.is_file():
        raise VouchError(f"{folder}: neither *.rttm files nor corpusResources/meetings.xml in it")
    speakers = {}
    for element in _parse(path).iter("meeting"):
        observation = element.get("observation")
        for speaker in element.iter("speaker"):
            agent = speaker.get("nxt_agent")
            speakers[observation, agent] = speaker.get("global_name") or f"{observation}{agent}"
    turns: dict[str, list[Turn]] = {}
    for meeting in meetings:
        for table in sorted((folder / "segments").glob(f"{meeting}.*.segments.xml")):
            agent = table.name.split(".")[1]
            if (meeting, agent) not in speakers:
                raise VouchError(f"{table}: {path} knows no speaker '{agent}' of {meeting}")
            name = _speaker(speakers[meeting, agent])
            for segment in _parse(table).iter("segment"):
                start, end = (_seconds(segment.get(f"transcriber_{edge}"), str(table)) for edge in ("start", "end"))
                turns.setdefault(meeting, []).append(Turn(name, start, end))
    return turns


def _parse(path: Path) -> ElementTree.Element:
    with about_file(path, "not readable as XML"):
        return ElementTree.parse(path).getroot()


def _seconds(text: str | None, where: str) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise VouchError(f"{where}: '{text}' is not a time in seconds")
    return seconds


def _speaker(name: str) -> str:
    return safe(name, keep="_.")
