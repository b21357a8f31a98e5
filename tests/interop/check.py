#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Checks of images, whole and damaged, beside those of qemu-img.

Without this, byre could call an image clean that QEMU calls corrupt, count
what callers compare otherwise than QEMU does, or repair an image so that it
reads differently, or that QEMU finds wrong.

CHECK is examples/check; --cases N and --seed S make it longer.
"""

import argparse
import json
import os
import random
import re
import sys

from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap, must,
                    need_tools, read_file, run, write_file)
from qcow2file import Qcow2File

CHECK = os.path.abspath(os.environ.get("CHECK", "check"))
COPIED = 1 << 63
OFFSETS = 0x00fffffffffffe00
KEYS = ("check-errors", "corruptions", "leaks", "image-end-offset",
        "total-clusters", "allocated-clusters", "fragmented-clusters",
        "compressed-clusters")

# What QEMU 7.2 does not see: a cluster that two things use beside its count,
# the zero flag in version 2, clusters of a data file that are elsewhere, flags
# on entries without a cluster.
ONLY_OURS = re.compile(
    rb"^corruption: .*(is used twice: (?!.*refcount block)"
    rb"|is used as .*, and as something else|is not where the guest has it"
    rb"|has the zero flag|without a cluster\) is marked as copied)", re.M)


# ---- Images ----

def fresh(options, size="8M"):
    return [QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options, "i", size]


def write(*commands):
    argv = [QEMU_IO, "-f", "qcow2"]
    for command in commands:
        argv += ["-c", command]
    return argv + ["i"]


def snapshot(name):
    return [QEMU_IMG, "snapshot", "-c", name, "i"]


IMAGES = {
    "64k": [fresh("cluster_size=64k"),
            write("write 0 1M", "write 3M 300k", "write -z 5M 256k")],
    "4k": [fresh("cluster_size=4k"),
           write("write 0 1M", "write 3M 300k", "write -z 3200k 64k"),
           write("write 256k 64k")],
    "512": [fresh("cluster_size=512", "1M"),
            write("write 0 300k", "write 700k 30k")],
    "snapshots": [fresh("cluster_size=4k", "4M"), write("write 0 1M"),
                  snapshot("a"), write("write 512k 1M"), snapshot("b"),
                  write("write 0 64k")],
    "version 2": [fresh("cluster_size=4k,compat=0.10", "4M"),
                  write("write 0 1M"), snapshot("a"),
                  write("write 512k 1M")],
    "extended": [fresh("cluster_size=16k,extended_l2=on"),
                 write("write 0 1M", "write 3M 3k", "write -z 1M 4k")],
    "bitmaps": [fresh("cluster_size=4k", "4M"),
                [QEMU_IMG, "bitmap", "--add", "-g", "512", "i", "one"],
                write("write 0 1M"),
                [QEMU_IMG, "bitmap", "--add", "i", "two"]],
    "data file": [fresh("cluster_size=4k,data_file=data", "4M"),
                  write("write 0 1M", "write -z 2M 64k")],
    "compressed": [[QEMU_IMG, "convert", "-f", "raw", "-O", "qcow2", "-c",
                    "-o", "cluster_size=4k", "raw", "i"],
                   write("write 64k 64k")],
    "preallocated": [fresh("cluster_size=4k,preallocation=metadata")],
}


def build(folder, name):
    rng = random.Random(name)
    text = b"".join(b"%06d\n" % rng.randrange(1 << 19) for _ in range(60000))
    write_file(os.path.join(folder, "raw"), text)
    for argv in IMAGES[name]:
        must(argv, folder)
    return os.path.join(folder, "i")


# ---- Damage ----

def places(image):
    """Where entries of each kind are, as (kind, offset)."""
    l1, entries = image.get("Q", 40), image.get("I", 36)
    table = image.get("Q", 48)
    yield from (("l1", l1 + 8 * i) for i in range(entries))
    words = 2 if image.version > 2 and image.get("Q", 72) & 16 else 1
    for i in range(entries):
        l2 = image.get("Q", l1 + 8 * i) & OFFSETS
        if l2:
            yield from (("l2", l2 + 8 * words * j)
                        for j in range(image.cluster // (8 * words)))
    for i in range(2):
        block = image.get("Q", table + 8 * i)
        yield "table", table + 8 * i
        if block:
            last = min(image.cluster // 2,
                       len(image.data) // image.cluster + 2)
            yield from (("count", block + 2 * j) for j in range(last))


def new_entry(rng, image, kind, old, others):
    """An entry that may be wrong; of L1 tables, none that QEMU takes the
    header for an L2 table by, or a place between two clusters."""
    cluster = image.cluster
    far = rng.randrange(1, 1 << 28) * cluster & OFFSETS
    value = rng.choice([
        0, rng.choice(others), far | COPIED, far, old ^ COPIED,
        old ^ 1 << rng.randrange(56, 62), old ^ 1 << rng.randrange(1, 9),
        (old & ~OFFSETS) | (old + 512 & OFFSETS),
        (old & ~OFFSETS) | (old + cluster & OFFSETS)])
    if kind == "l1" and (value & OFFSETS == 0 or
                         value & OFFSETS & cluster - 1):
        return 0
    return value


def damage(image, rng):
    """Spoils up to three entries; what was done, for messages."""
    found = [(k, at) for k, at in places(image) if at + 8 <= len(image.data)]
    log = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.choice(sorted({k for k, _ in found}))
        same = [at for k, at in found if k == kind]
        at = rng.choice(same)
        if kind == "count":
            old = image.get("H", at)
            new = rng.choice([0, 1, 2, old + 1 & 0xffff, rng.getrandbits(16)])
            image.put("H", at, new)
        else:
            old = image.get("Q", at)
            new = new_entry(rng, image, kind, old,
                            [image.get("Q", other) for other in same])
            image.put("Q", at, new)
        log.append("%s at %#x: %#x, was %#x" % (kind, at, new, old))
    return log


# ---- Verdicts ----

def counts_of_qemu(folder, name):
    result = run([QEMU_IMG, "check", "-f", "qcow2", "--output=json", name],
                 folder)
    try:
        return result, [json.loads(result.out).get(key, 0) for key in KEYS]
    except ValueError:
        return result, None


def counts_of_byre(folder, *argv):
    result = run([CHECK, *argv], folder)
    found = dict(re.findall(rb"^([a-z-]+) (\d+)$", result.out, re.M))
    return result, [int(found.get(key.encode(), -1)) for key in KEYS]


def disk(folder, name):
    must([BYRE, "convert", "-f", "qcow2", "-O", "raw", "--salvage", name,
          "out"], folder)
    return read_file(os.path.join(folder, "out"))


def judge_counts(folder, name):
    """Lines of a diagnostic; empty: the counts agree."""
    theirs, qemu = counts_of_qemu(folder, name)
    ours, byre = counts_of_byre(folder, name)
    if qemu is None:
        return [] if ours.code in (0, 1) else ours.text()
    byre[1] -= len(ONLY_OURS.findall(ours.out))
    if ours.code == 0 and byre == qemu:
        return []
    return ["%s: byre %s, qemu %s" % row for row in zip(KEYS, byre, qemu)
            if row[1] != row[2]] + ours.text() + theirs.text()


def judge_repair(folder, name):
    before = disk(folder, name)
    repaired, left = counts_of_byre(folder, "all", name)
    if repaired.code != 0:
        return repaired.text()
    if disk(folder, name) != before:
        return ["the disk reads differently"] + repaired.text()
    again, after = counts_of_byre(folder, name)
    if after[:3] != left[:3]:
        return ["it says it left %s, and left %s" % (left[:3], after[:3])]
    theirs, qemu = counts_of_qemu(folder, name)
    if after[:3] == [0, 0, 0] and (qemu is None or qemu[:3] != [0, 0, 0]):
        return again.text() + theirs.text()
    return []


def check_damaged(tap, folder, name, seed):
    rng = random.Random("%s/%s" % (name, seed))
    image = Qcow2File(os.path.join(folder, "i"))
    log = damage(image, rng)
    image.save(os.path.join(folder, "d"))
    lines = judge_counts(folder, "d") or judge_repair(folder, "d")
    if lines:
        tap.check(False, "%s, damaged by %s" % (name, seed), log + lines)
    return not lines


def check_image(tap, scratch, name, cases, seed):
    folder = scratch.make(name.replace(" ", "-"))
    try:
        build(folder, name)
    except BuildError as error:
        tap.skip(name, str(error))
        return
    tap.check(not judge_counts(folder, "i"), name + ": whole",
              judge_counts(folder, "i"))
    good = sum(check_damaged(tap, folder, name, "%d-%d" % (seed, i))
               for i in range(cases))
    tap.check(good == cases, "%s: %d ways to damage it" % (name, cases))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    need_tools(QEMU_IMG, QEMU_IO)
    if not os.access(CHECK, os.X_OK):
        sys.exit("CHECK=%s is not a program" % CHECK)
    tap = Tap()
    with Scratch() as scratch:
        for name in IMAGES:
            check_image(tap, scratch, name, options.cases, options.seed)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
