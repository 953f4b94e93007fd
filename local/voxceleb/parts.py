"""Lists the archives of VoxCeleb with their checksums, and the folders that they unpack to.

The folders are those of voxceleb_trainer, so that a corpus prepared by or for it can be used:
`voxceleb1/dev/wav`, `voxceleb1/test/wav`, `voxceleb2/dev/aac` (the original m4a files) and `voxceleb2/dev/wav`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.cli.messages import warn
from vouch.corpora.conversion import convert_tree
from vouch.corpora.obtain import Archive, obtain
from vouch.corpora.server import Server

URL = "https://cn01.mmai.io/download/voxceleb?file={name}&key={key}"
ENCODINGS = ("wav", "flac", "m4a")
AAC, CONVERTED = "voxceleb2/dev/aac", "voxceleb2/dev"

VOX1_DEV = Archive(
    "vox1_dev_wav.zip",
    "ae63e55b951748cc486645f532ba230b",
    folder="voxceleb1/dev/wav",
    into="voxceleb1/dev",
    pieces={
        "vox1_dev_wav_partaa": "e395d020928bc15670b570a21695ed96",
        "vox1_dev_wav_partab": "bbfaaccefab65d82b21903e81a8a8020",
        "vox1_dev_wav_partac": "017d579a2a96a077f40042ec33e51512",
        "vox1_dev_wav_partad": "7bb1e9f70fddc7a678fa998ea8b3ba19",
    },
)
VOX1_TEST = Archive(
    "vox1_test_wav.zip", "185fdc63c3c739954633d50379a3d102", folder="voxceleb1/test/wav", into="voxceleb1/test"
)
VOX2_DEV = Archive(
    "vox2_dev_aac.zip",
    "bbc063c46078a602ca71605645c2a402",
    folder=AAC,
    into="voxceleb2",
    pieces={
        "vox2_dev_aac_partaa": "da070494c573e5c0564b1d11c3b20577",
        "vox2_dev_aac_partab": "17fe6dab2b32b48abaf1676429cdd06f",
        "vox2_dev_aac_partac": "1de58e086c5edf63625af1cb6d831528",
        "vox2_dev_aac_partad": "5a043eb03e15c5a918ee6a52aad477f9",
        "vox2_dev_aac_partae": "cea401b624983e2d0b2a87fb5d59aa60",
        "vox2_dev_aac_partaf": "fc886d9ba90ab88e7880ee98effd6ae9",
        "vox2_dev_aac_partag": "d160ecc3f6ee3eed54d55349531cb42e",
        "vox2_dev_aac_partah": "6b84a81b9af72a9d9eecbb3b1f602e65",
    },
)


def vox2_folder(root: Path, server: Server, encoding: str, threads: int) -> Path:
    """Return the folder of VoxCeleb2's development set in one of `ENCODINGS`; download and convert it if missing.

    Recordings that cannot be converted are listed in `<folder>.failed`. A converted folder is used even if the m4a
    files have been deleted.
    """
    converted = root / CONVERTED / encoding
    if encoding != "m4a" and converted.is_dir() and not (root / AAC).is_dir():
        return converted
    if encoding != "m4a" and not (root / AAC).is_dir() and shutil.which("ffmpeg") is None:
        # Checked before hours of downloading; the number of files is known only afterwards.
        raise VouchError(f"{root}: VoxCeleb2 comes as m4a files, and ffmpeg, which converts them, is not installed")
    aac = obtain(VOX2_DEV, root, server)
    if encoding == "m4a":
        return aac
    failed = convert_tree(aac, converted, ".m4a", encoding, threads)
    if failed:
        warn(f"{len(failed)} recordings could not be converted and are left out; see {converted}.failed")
    return converted
