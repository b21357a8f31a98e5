#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Snapshots that byre and QEMU take, apply and delete in turns, in images of every
combination of features.

Without this, one of them could lose what the other keeps, or leave counts and
flags that the other stumbles over.

    BYRE=build/tool/byre tests/interop/snapshot.py [--full] [--seed N]
                                                   [--only N] [--jobs N]
"""

import os
import shutil
import sys

import pairs
import write
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, missing_feature, must,
                    run)
from flatdisk import Differs

# Bounds the time; what is drawn depends on the seed alone.
CASES = 40
FULL_CASES = 600
TURNS = 9
COMMANDS = 10
MOST = 4

AXES = dict(write.AXES, datafile=["none"], snapshots=[2])


def is_legal(case):
    """
    Narrow counts take two snapshots; what QEMU applies counts once more.  Where
    it reserves encrypted space, its own resizes let noise show.
    """
    return (write.is_legal(case) and case["refcount"] > 2 and
            (case["crypt"] == "none" or case["prealloc"] == "off"))


def tool_of(disk):
    return disk.rng.choice([BYRE, QEMU_IMG])


def names_by(disk, tool):
    out = disk.must([tool, "snapshot", "-l"] + disk.named()).out.decode()
    return [line.split()[1] for line in out.splitlines()[2:]]


def act(disk, tool, letter, name):
    disk.must([tool, "snapshot", letter, name] + disk.named())


def create(disk, number):
    name = "snap%d" % number
    act(disk, tool_of(disk), "-c", name)
    disk.snapshots[name] = bytes(disk.flat)


def apply(disk):
    """QEMU resizes an overlay first, and not one of version 2."""
    name = disk.rng.choice(list(disk.snapshots))
    content = disk.snapshots[name]
    tool = tool_of(disk) if len(content) == disk.size else BYRE
    act(disk, tool, "-a", name)
    disk.flat[:] = content
    # What was never written may be written again, but not as if it were new.
    disk.touched.update(range(-(-disk.size // disk.cluster)))


def delete(disk):
    names = disk.rng.sample(list(disk.snapshots),
                            disk.rng.randint(1, len(disk.snapshots)))
    if disk.rng.random() < 0.5:
        argv = [word for name in names for word in ("-d", name)]
        disk.must([BYRE, "snapshot"] + argv + disk.named())
    else:
        for name in names:
            act(disk, tool_of(disk), "-d", name)
    for name in names:
        del disk.snapshots[name]


def judge(disk):
    disk.judge()
    for name, content in disk.snapshots.items():
        disk.holds(BYRE, content, ["-l", name])
    for tool in (BYRE, QEMU_IMG):
        if names_by(disk, tool) != list(disk.snapshots):
            raise Differs(["snapshots: %s, not %s" %
                           (names_by(disk, tool), list(disk.snapshots))])


def exercise(disk):
    for turn in range(TURNS):
        who = disk.rng.choice(["byre", "qemu"])
        disk.session(who, disk.draw(COMMANDS, who))
        what = disk.rng.random()
        if len(disk.snapshots) < MOST and (what < 0.5 or not disk.snapshots):
            create(disk, turn)
        elif what < 0.75 and disk.snapshots:
            apply(disk)
        else:
            delete(disk)
        disk.check()
    judge(disk)
    if disk.snapshots:
        apply(disk)
        judge(disk)


def check_case(case, scratch, seed):
    """(outcome, details) of one case; never raises."""
    folder = scratch.make("case%d" % case["number"])
    lacking = missing_feature(write.features(case))
    if lacking:
        return "skip", ["byre is built without " + lacking]
    try:
        exercise(write.make_disk(case, folder, seed))
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    if not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    return "ok", []


# ---- VM state ----


def check_vm_state(tap, scratch):
    """What QEMU has put behind the disk goes and comes with the snapshot."""
    folder = scratch.make("vmstate")
    for options in ("cluster_size=64k", "cluster_size=512",
                    "compat=0.10,cluster_size=4k"):
        must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options,
              "t.qcow2", "1M"], folder)
        must([QEMU_IO, "-c", "write -P 1 0 1M", "-c", "write -b -P 5 0 300k",
              "t.qcow2"], folder)
        steps = [
            ([BYRE, "snapshot", "-c", "one", "t.qcow2"], b""),
            ([QEMU_IO, "-c", "read -b -P 0 0 300k", "t.qcow2"], b"read"),
            ([QEMU_IMG, "check", "-q", "t.qcow2"], b""),
            ([QEMU_IO, "-c", "write -b -P 7 0 300k", "t.qcow2"], b"wrote"),
            ([BYRE, "snapshot", "-a", "one", "t.qcow2"], b""),
            ([QEMU_IO, "-c", "read -b -P 5 0 300k", "t.qcow2"], b"read"),
            ([QEMU_IMG, "check", "-q", "t.qcow2"], b""),
            ([BYRE, "snapshot", "-d", "one", "t.qcow2"], b""),
            ([QEMU_IO, "-c", "read -b -P 5 0 300k", "t.qcow2"], b"read"),
            ([QEMU_IMG, "check", "-q", "t.qcow2"], b""),
        ]
        for argv, wanted in steps:
            result = run(argv, folder)
            good = (result.code == 0 and result.out.startswith(wanted) and
                    b"failed" not in result.out + result.err)
            if not tap.check(good, "VM state, %s: %s" %
                             (options, " ".join(argv[1:])), result.text()):
                break


if __name__ == "__main__":
    sys.exit(pairs.main(AXES, is_legal, CASES, FULL_CASES, check_case,
                        check_vm_state))
