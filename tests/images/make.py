#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Makes the folders of hostile images beside this file, one hazard each.

  make.py          writes every folder anew
  make.py --check  says, in TAP, whether the folders hold what would be written

Compressed files are compared by what they unpack to, so that another release
of the compressor changes nothing.
"""
import lzma
import pathlib
import shutil
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from damage import counts, parts  # noqa: E402
from damage import mapping as damaged_mapping  # noqa: E402
from damage import qcow1 as damaged_qcow1  # noqa: E402
from hazards import (bitmaps, compressed, extensions, header, luks, mapping,
                     qcow1, references, snapshots)  # noqa: E402

PARTS = [header, extensions, references, mapping, compressed, snapshots,
         bitmaps, luks, qcow1, counts, damaged_mapping, parts, damaged_qcow1]
MAX_PACKED_BYTES = 4096


def all_cases():
    """Every case by its name."""
    found = {}
    for part in PARTS:
        for case in part.cases():
            if case.name in found:
                raise SystemExit(f"two cases are called {case.name}")
            found[case.name] = case
    return found


def pack(data):
    return lzma.compress(data, format=lzma.FORMAT_XZ,
                         check=lzma.CHECK_CRC32,
                         preset=6)


def folders():
    """The folders of cases that are there."""
    return {path.parent.name: path.parent for path in HERE.glob("*/case")}


def write(case):
    folder = HERE / case.name
    folder.mkdir()
    (folder / "case").write_text(case.text(), encoding="utf-8")
    for name, data in case.files.items():
        packed = pack(data)
        if len(packed) >= MAX_PACKED_BYTES:
            raise SystemExit(f"{case.name}/{name}.xz has {len(packed)} bytes,"
                             f" the limit is {MAX_PACKED_BYTES}")
        (folder / f"{name}.xz").write_bytes(packed)


def trouble(case, folder):
    """What is wrong with the folder of a case, or None."""
    if not (folder / "case").exists():
        return "is missing"
    if (folder / "case").read_text(encoding="utf-8") != case.text():
        return "has another case file"
    wanted = {f"{name}.xz" for name in case.files} | {"case"}
    if {path.name for path in folder.iterdir()} != wanted:
        return "has other files"
    for name, data in case.files.items():
        if lzma.decompress((folder / f"{name}.xz").read_bytes()) != data:
            return f"has another {name}"
    return None


def check():
    """Prints one line of TAP for each case; false if one failed."""
    cases, present = all_cases(), folders()
    names = sorted(cases.keys() | present.keys())
    failures = 0
    print(f"1..{len(names)}")
    for number, name in enumerate(names, 1):
        what = ("is made by no case" if name not in cases
                else trouble(cases[name], HERE / name))
        failures += what is not None
        print(f"{'not ' if what else ''}ok {number} - {name}")
        if what:
            print(f"# {name} {what}: run make.py")
    return failures == 0


def main():
    if sys.argv[1:] == ["--check"]:
        return 0 if check() else 1
    if sys.argv[1:]:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    for folder in folders().values():
        shutil.rmtree(folder)
    cases = all_cases()
    for case in cases.values():
        write(case)
    print(f"{len(cases)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
