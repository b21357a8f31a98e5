#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Images that QEMU has written all over, compacted by byre and judged by QEMU.

Without this, compacting could lose a sector of a disk or of a snapshot, leave
what QEMU's check does not like, or leave the file as long as it was.
"""

import argparse
import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, run)
from flatdisk import Differs, FlatDisk, prepare

FILE = "t.qcow2"
SIZE = 4 << 20

# Options, and what else is special.
KINDS = {
    "plain": ("", {}),
    "tiny clusters": ("cluster_size=512", {}),
    "huge clusters": ("cluster_size=1M", {}),
    "version 2": ("compat=0.10,cluster_size=4k", {"version": 2}),
    "version 2 on a base": ("compat=0.10,cluster_size=4k",
                            {"version": 2, "below": True}),
    "on a base": ("cluster_size=4k", {"below": True}),
    "one-bit counts": ("cluster_size=4k,refcount_bits=1", {"alone": True}),
    "wide counts": ("cluster_size=512,refcount_bits=64", {}),
    "extended": ("extended_l2=on,cluster_size=16k", {}),
    "extended on a base": ("extended_l2=on,cluster_size=16k",
                           {"below": True}),
    "lazy": ("lazy_refcounts=on,cluster_size=4k", {}),
    "compressed": ("cluster_size=4k", {"packs": True}),
    "compressed, large": ("cluster_size=64k", {"packs": True}),
    "zstd": ("compression_type=zstd,cluster_size=16k", {"packs": True}),
    "data file": ("data_file=data.raw,cluster_size=4k", {"alone": True}),
    "luks": ("encrypt.format=luks,encrypt.iter-time=10,cluster_size=4k,"
             "encrypt.key-secret=" + images.SECRET_ID, {"encrypted": True}),
}
CLUSTERS = {"k": 1 << 10, "M": 1 << 20}


def cluster_of(options):
    for item in options.split(","):
        if item.startswith("cluster_size="):
            text = item.split("=")[1]
            unit = CLUSTERS.get(text[-1], 1)
            return int(text.rstrip("kM")) * unit
    return 65536


def new_disk(folder, name, rng):
    options, kind = KINDS[name]
    kind = dict(kind)
    kind.pop("alone", None)
    prepare(rng, folder)
    content = bytes(SIZE)
    argv = [QEMU_IMG, "create", "-q", "-f", "qcow2"]
    if kind.get("below"):
        content = rng.randbytes(SIZE)
        with open(os.path.join(folder, "base.raw"), "wb") as base:
            base.write(content)
        argv += ["-b", "base.raw", "-F", "raw"]
    if kind.get("encrypted"):
        argv += images.SECRET_OBJECT
    must(argv + (["-o", options] if options else []) + [FILE, str(SIZE)],
         folder)
    return FlatDisk(folder, FILE, content, rng, cluster=cluster_of(options),
                    resizes=False, **kind)


def zeroes(disk):
    """Data that is written as zeroes, which QEMU stores like any other."""
    start = disk.rng.randrange(SIZE // 2)
    length = min(disk.rng.choice([70000, 300000, 1 << 20]), SIZE - start)
    disk.flat[start:start + length] = bytes(length)
    disk._touch(start, length)
    return ["write -P 0 %d %d" % (start, length)]


def wear(disk, snapshots):
    """Sessions with snapshots between them, the first of which goes again."""
    for number in range(4):
        disk.session("qemu", disk.draw(15, "qemu") + zeroes(disk))
        if snapshots:
            disk.snapshot("s%d" % number)
    if snapshots:
        for name in ("s0", "s2"):
            must([QEMU_IMG, "snapshot", "-d", name] + disk.named(),
                 disk.folder)
            del disk.snapshots[name]
    disk.session("qemu", ["discard 0 1M"])
    if disk.below and disk.version == 2:
        return  # where a discard does what, QEMU says below
    disk.flat[:1 << 20] = bytes(1 << 20)
    disk._touch(0, 1 << 20)


def length(disk):
    return os.stat(disk.path(FILE)).st_size


def compact(disk):
    argv = [BYRE, "compact", "--output=json"] + disk.with_format()
    before = length(disk)
    result = json.loads(disk.must(argv).out)
    if (result["before-bytes"] != before or
            result["after-bytes"] != length(disk) or length(disk) > before):
        raise Differs(["%d bytes before, %d after: %s" %
                       (before, length(disk), result)])
    return result


def learn(disk):
    """What QEMU says that it holds is what it must go on to hold."""
    must([QEMU_IMG, "convert", "-O", "raw"] + disk.named() + ["now.raw"],
         disk.folder)
    with open(disk.path("now.raw"), "rb") as file:
        disk.flat[:] = file.read()


def judge(folder, seed, name, with_snapshots):
    disk = new_disk(folder, name, random.Random("%s/%s/%s" % (
        seed, name, with_snapshots)))
    wear(disk, with_snapshots)
    if disk.below:
        learn(disk)
    disk.judge()
    compact(disk)
    disk.judge()
    again = compact(disk)
    if again["freed-clusters"] != 0:
        raise Differs(["the second time there is something left: %s" % again])
    disk.judge()
    for tool in ("byre", "qemu"):
        disk.session(tool, disk.draw(10, tool))
        disk.judge()
    compact(disk)
    disk.judge()


def cases():
    """(label, what it takes)"""
    found = []
    for name, (_, kind) in KINDS.items():
        if missing_feature({"luks": ["crypto"], "zstd": ["zstd"]}.get(name,
                                                                      [])):
            continue
        found.append((name, (name, False)))
        if not kind.get("alone"):
            found.append((name + ", snapshots", (name, True)))
    return found


def outcome(scratch, number, seed, case):
    """(outcome, details) of one case; never raises."""
    try:
        judge(scratch.make("case%d" % number), seed, *case[1])
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    return "ok", []


def check_leaks_go(tap, scratch):
    """Leaks that QEMU's check knows of are gone; errors are refused."""
    folder = scratch.make("leaks")
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", FILE, "8M"], folder)
    must([QEMU_IO, "-c", "write -q -P 7 0 3M", FILE], folder)
    path = os.path.join(folder, FILE)
    with open(path, "r+b") as file:  # all counts of the next 40 clusters
        end = os.stat(path).st_size // 65536
        file.truncate((end + 40) * 65536)
        file.seek(2 * 65536 + end * 2)
        file.write(b"\0\1" * 40)
    leaky = run([QEMU_IMG, "check", FILE], folder).code
    result = run([BYRE, "compact", FILE], folder)
    tap.check(leaky == 3 and result.code == 0 and
              run([QEMU_IMG, "check", FILE], folder).code == 0 and
              os.stat(path).st_size <= end * 65536, "leaks go",
              result.text())
    with open(path, "r+b") as file:
        file.seek(2 * 65536 + 6 * 2)
        file.write(b"\0\0")
    before = open(path, "rb").read()
    result = run([BYRE, "compact", FILE], folder)
    tap.check(result.code == 1 and b"check" in result.err and
              open(path, "rb").read() == before,
              "a count that is too low is refused", result.text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        found = [(seed, case) for case in cases() for seed in
                 range(options.seed, options.seed + (20 if options.full
                                                     else 1))]
        with ThreadPoolExecutor(2) as pool:
            results = pool.map(
                lambda n: outcome(scratch, n, *found[n]), range(len(found)))
            for (seed, case), (what, details) in zip(found, results):
                label = "%s, seed %d" % (case[0], seed)
                if what == "skip":
                    tap.skip(label, " ".join(details))
                else:
                    tap.check(what == "ok", label, details)
        check_leaks_go(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
