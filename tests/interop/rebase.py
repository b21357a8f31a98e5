#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What `byre rebase` makes of an overlay, beside what `qemu-img rebase` makes.

Without this, a disk could change when its backing file does, or be copied whole
where a few clusters would do.

    BYRE=build/tool/byre tests/interop/rebase.py [--full] [--seed N]
                                            [--only N] [--jobs N]
"""

import json
import os
import random
import shutil
import sys

import chains
import pairs
from chains import Layer
from common import BYRE, BuildError, QEMU_IMG, missing_feature, must
from flatdisk import Differs, prepare

CASES, FULL_CASES = 40, 600
SIZE = 5 << 20

AXES = {
    "top": ["qcow2", "extl2", "2M", "512", "v2", "data", "luks", "snapshot"],
    "old": ["raw", "qcow2", "2M", "v2", "qcow", "none"],
    "new": ["raw", "qcow2", "extl2", "qcow", "none", "below", "copy"],
    "lengths": ["same", "short old", "short new", "long both", "short both"],
    "way": ["", "-u", "-c", "-p", "-t none -T none"],
}


def is_legal(case):
    return not (
        (case["old"] == "none" and case["new"] in ("below", "copy", "none")) or
        (case["new"] == "below" and case["old"] in ("raw", "none", "qcow")) or
        (case["new"] == "copy" and case["old"] == "none") or
        (case["way"] == "-c" and case["top"] in ("data", "luks")))


def lengths(case):
    old = new = SIZE
    if "old" in case["lengths"] or "short both" == case["lengths"]:
        old = SIZE - 2001 * 512
    if "new" in case["lengths"] or "short both" == case["lengths"]:
        new = SIZE - 3003 * 512
    if case["lengths"] == "long both":
        old, new = SIZE + 999 * 512, SIZE + 100 * 512
    return old, new


def build(rng, case, folder):
    """The overlay, what it stands on, what it shall stand on."""
    old_size, new_size = lengths(case)
    below = old = new = None
    if case["new"] == "below":
        below = new = Layer("below", "raw", new_size)
    if case["old"] != "none":
        old = Layer("old", case["old"], old_size, below)
    if case["new"] not in ("none", "below", "copy"):
        new = Layer("new", case["new"], new_size)
    top = Layer("top", case["top"], SIZE, old)
    for layer in (below, old, new if new is not below else None, top):
        if layer:
            layer.create(folder)
            layer.fill(rng, folder)
    if case["new"] == "copy":
        shutil.copy(os.path.join(folder, "old"), os.path.join(folder, "new"))
        new = Layer("new", case["old"], old_size)
        new.qemu_io(folder, ["write -q -P 3 1M 64k"])
    return top, old, new


def rebase_args(case, top, new):
    way = case["way"].split()
    name = ["-b", "", ] if new is None else ["-b", new.name, "-F", new.driver]
    return way + name + top.named()


def check_name(top, new, folder):
    info = json.loads(must([QEMU_IMG, "info", "-U", "--output=json", top.name],
                           folder).out)
    wanted = (new.name, new.driver) if new else (None, None)
    found = (info.get("backing-filename"), info.get("backing-filename-format"))
    if found != wanted:
        raise Differs(["it stands on %s, not on %s" % (found, wanted)])


def rebase_qemu(case, top, new, folder):
    """QEMU 7.2 has no -c."""
    args = [a for a in rebase_args(case, top, new) if a != "-c"]
    result = chains.run([QEMU_IMG, "rebase"] + args, folder)
    if result.code != 0:
        raise BuildError("; ".join(result.text()))


def judge(case, images, before, ours, theirs):
    top, _, new = images
    after = chains.disk_of(top, ours)
    if case["way"] == "-u":
        chains.same_disk("the disk", after, chains.disk_of(top, theirs))
    else:
        chains.same_disk("the disk", after, before)
    chains.check(top, ours)
    check_name(top, new, ours)
    if case["way"] in ("", "-p"):
        sizes = [os.path.getsize(os.path.join(f, "top"))
                 for f in (ours, theirs)]
        if sizes[0] > sizes[1] + (1 << 20):
            raise Differs(["a file of %d bytes, QEMU's has %d" % tuple(sizes)])


def check_case(case, scratch, seed):
    """(outcome, details) of one case; never raises."""
    folder = scratch.make("case%d" % case["number"])
    lacking = missing_feature(["crypto"] if case["top"] == "luks" else [])
    if lacking:
        return "skip", ["byre is built without " + lacking]
    rng = random.Random("%s/%d" % (seed, case["number"]))
    try:
        prepare(rng, folder)
        made = build(rng, case, folder)
        before = chains.disk_of(made[0], folder)
        theirs = chains.copy_folder(scratch, folder, "-qemu")
        chains.step([BYRE, "rebase"] + rebase_args(case, made[0], made[2]),
                    folder, None if case["way"] == "-p" else b"")
        rebase_qemu(case, made[0], made[2], theirs)
        judge(case, made, before, folder, theirs)
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    if not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(theirs, ignore_errors=True)
    return "ok", []


if __name__ == "__main__":
    sys.exit(pairs.main(AXES, is_legal, CASES, FULL_CASES, check_case))
