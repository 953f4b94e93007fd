"""Data directories before and after Kaldi's own scripts, as recorded by running these."""

import json
from pathlib import Path

_RECORDED = json.loads((Path(__file__).parent / "golden/kaldi_datadir.json").read_text())
VALIDATE = {case["case"]: case for case in _RECORDED["validate"]}
OPS = {case["case"]: case for case in _RECORDED["ops"]}


def contents(files):
    """The texts of files that are given by number."""
    return {name: _RECORDED["contents"][number] for name, number in files.items()}


def make_dir(path, tables):
    """Write files by name into a new folder."""
    path.mkdir(parents=True)
    for name, text in tables.items():
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read_tree(path):
    """The texts of all files under a folder, without those in hidden folders."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    names = {str(file.relative_to(path)): file for file in files}
    return {name: file.read_text() for name, file in names.items() if not name.startswith(".")}


def small_dir(path, **changes):
    """Two speakers with two utterances each, all tables in order; changes: contents by name, None to leave out."""
    utterances = ["a-1", "a-2", "b-1", "b-2"]
    tables = {
        "utt2spk": "".join(f"{u} {u[0]}\n" for u in utterances),
        "spk2utt": "a a-1 a-2\nb b-1 b-2\n",
        "wav.scp": "".join(f"{u} /audio/{u}.wav\n" for u in utterances),
        "feats.scp": "".join(f"{u} /ark/f.ark:{n}\n" for n, u in enumerate(utterances)),
        "utt2dur": "".join(f"{u} 1.5\n" for u in utterances),
        "utt2num_frames": "".join(f"{u} 148\n" for u in utterances),
        "spk2gender": "a f\nb m\n",
        **changes,
    }
    return make_dir(path, {name: text for name, text in tables.items() if text is not None})
