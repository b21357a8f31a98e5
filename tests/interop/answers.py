# SPDX-License-Identifier: MIT
"""
Reads what qemu-img 7.2 and byre print into forms that must be equal.

byre prints what QEMU 11 prints.  Only what QEMU added since 7.2 is taken out,
by name; everything else, the order of keys included, has to agree.
"""

import difflib
import json
import re

# Keys that QEMU 7.2 does not print yet.
NEWER_INFO_KEYS = {"children", "detached-header"}
NEWER_MAP_KEYS = {"compressed"}


def _strip(value, keys):
    """Objects become lists of pairs, so that the order of keys counts."""
    if isinstance(value, dict):
        return [(k, _strip(v, keys)) for k, v in value.items()
                if k not in keys]
    if isinstance(value, list):
        return ["list"] + [_strip(v, keys) for v in value]
    return value


def info_json(out):
    return _strip(json.loads(out), NEWER_INFO_KEYS)


def map_json(out):
    """The map with equal neighbours joined."""
    joined = []
    for entry in json.loads(out):
        entry = {k: v for k, v in entry.items() if k not in NEWER_MAP_KEYS}
        if joined and _joins(joined[-1], entry):
            joined[-1]["length"] += entry["length"]
        else:
            joined.append(entry)
    return [list(entry.items()) for entry in joined]


def _joins(a, b):
    for key in ("depth", "present", "zero", "data"):
        if a[key] != b[key]:
            return False
    if ("offset" in a) != ("offset" in b):
        return False
    if "offset" in a and a["offset"] + a["length"] != b["offset"]:
        return False
    return a["start"] + a["length"] == b["start"]


def info_human(out):
    """Lines without the child nodes; the snapshot table by its words."""
    lines = []
    in_child = in_table = False
    for line in out.decode().splitlines():
        if in_child and line.startswith("    "):
            continue
        in_child = line.startswith("Child node ")
        if in_child or line.strip().startswith("detached header:"):
            continue
        if line == "Snapshot list:":
            in_table = True
        elif line.startswith("Format specific") or not line:
            in_table = False
        lines.append(_table_line(line) if in_table else line)
    return lines


def _table_line(line):
    line = line.replace("VM_SIZE", "VM SIZE").replace("VM_CLOCK", "VM CLOCK")
    line = re.sub(r"\b0*(\d{2,}:\d\d:\d\d\.\d{3})\b", r"\1", line)
    return " ".join(line.split())


def lines(out):
    return out.decode("utf-8", "replace").splitlines()


def strict_mismatch(result):
    """Where `compare -s` stops at the block status; None for any other end."""
    if result.code == 0 and result.out == b"Images are identical.\n":
        return float("inf")
    match = re.fullmatch(rb"Strict mode: Offset (\d+) block status mismatch!\n",
                         result.out)
    return int(match.group(1)) if result.code == 1 and match else None


def difference(ours, theirs):
    """A few lines of diagnostic."""
    def show(value):
        return [v if isinstance(v, str) else json.dumps(v) for v in value]

    diff = difflib.unified_diff(show(theirs), show(ours), "qemu", "byre",
                                lineterm="", n=2)
    return list(diff)[:30]


def byte_difference(ours, theirs):
    if len(ours) != len(theirs):
        return ["byre made %d bytes, qemu %d" % (len(ours), len(theirs))]
    for at in range(0, len(ours), 512):
        if ours[at:at + 512] != theirs[at:at + 512]:
            return ["first difference in the sector at %d" % at,
                    "byre %s" % ours[at:at + 16].hex(),
                    "qemu %s" % theirs[at:at + 16].hex()]
    return []
