#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What `byre commit` leaves of a chain, beside what `qemu-img commit` leaves.

Without this, committing could change a disk, lose what only the overlay has, or
leave images that QEMU finds fault with.

    BYRE=build/tool/byre tests/interop/commit.py [--full] [--seed N]
                                            [--only N] [--jobs N]
"""

import os
import random
import shutil
import sys

import chains
import pairs
from chains import Layer
from common import (BYRE, BuildError, QEMU_IMG, missing_feature)
from flatdisk import Differs, prepare

CASES, FULL_CASES = 40, 600
SIZE = 5 << 20

AXES = {
    "top": ["qcow2", "extl2", "2M", "512", "v2", "data", "qcow", "luks",
            "snapshot"],
    "base": ["raw", "qcow2", "2M", "v2", "extl2", "qcow"],
    "middle": ["none", "same", "shorter"],
    "length": ["same", "shorter", "longer"],
    "way": ["", "-d", "-b", "-p", "-t none", "-r 200M"],
}


def is_legal(case):
    return not (
        (case["way"] == "-b" and case["middle"] == "none") or
        # Their size cannot be changed, and they record no format.
        (case["base"] == "qcow" and case["length"] == "shorter") or
        # QEMU's own writer of version 1 has no copy on write.
        case["base"] == "qcow" and case["middle"] != "none")


def build(rng, case, folder):
    base_size = {"same": SIZE, "shorter": SIZE - 1234 * 512,
                 "longer": SIZE + 700 * 512}[case["length"]]
    layers = [Layer("base", case["base"], base_size)]
    if case["middle"] != "none":
        middle = SIZE if case["middle"] == "same" else SIZE // 2
        layers.insert(0, Layer("middle", "qcow2", middle, layers[0]))
    layers.insert(0, Layer("top", case["top"], SIZE, layers[0]))
    for layer in reversed(layers):
        layer.create(folder)
        layer.fill(rng, folder)
    return layers


def commit_args(case, layers):
    way = [] if case["way"] == "" else case["way"].split()
    if case["way"] == "-b":
        way.append("base")
    return way + layers[0].named()


def commit_both(case, layers, ours, theirs):
    probe = ["--probe-backing"] * (case["top"] == "qcow")
    out = None if case["way"] == "-p" else b"Image committed.\n"
    chains.step([BYRE, "commit"] + probe + commit_args(case, layers), ours,
                out)
    result = chains.run([QEMU_IMG, "commit"] + commit_args(case, layers),
                        theirs)
    if result.code != 0:
        raise BuildError("; ".join(result.text()))


def judge(case, layers, before, ours, theirs):
    top, base = layers[0], layers[-1]
    chains.same_disk("the disk", chains.disk_of(top, ours), before)
    target = base if case["way"] == "-b" else layers[1]
    chains.same_disk("the base", chains.disk_of(target, ours),
                     chains.disk_of(target, theirs))
    for layer in layers:
        chains.check(layer, ours)
    emptied = case["way"] not in ("-d", "-b")
    taken = os.path.getsize(os.path.join(ours, "top"))
    # The disk's clusters are gone, and the file is as short as tables allow.
    if emptied and case["top"] not in ("2M", "snapshot", "luks") and \
            taken > 600000:
        raise Differs(["emptied, it still has %d bytes" % taken])


def check_case(case, scratch, seed):
    """(outcome, details) of one case; never raises."""
    folder = scratch.make("case%d" % case["number"])
    lacking = missing_feature(["crypto"] if case["top"] == "luks" else [])
    if lacking:
        return "skip", ["byre is built without " + lacking]
    rng = random.Random("%s/%d" % (seed, case["number"]))
    try:
        prepare(rng, folder)
        layers = build(rng, case, folder)
        before = chains.disk_of(layers[0], folder)
        theirs = chains.copy_folder(scratch, folder, "-qemu")
        commit_both(case, layers, folder, theirs)
        judge(case, layers, before, folder, theirs)
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
