#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
One image goes back and forth between byre and QEMU, which both write to it.

Without this, either program could trip over what the other leaves behind: a
flag, a count, a table that is shared, space that is only reserved.

    BYRE=build/tool/byre tests/interop/pingpong.py [--full] [--seed N]
                                        [--only NAME] [--jobs N]
"""

import argparse
import os
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file)
from flatdisk import Differs, FlatDisk, prepare

TURNS, FULL_TURNS = 10, 100
COMMANDS = 14
SECRET = "encrypt.key-secret=" + images.SECRET_ID
LUKS = "encrypt.format=luks,encrypt.iter-time=10," + SECRET
BACKED = {"backing": True}

# What the image is: its options, and what else is about it.
KINDS = {
    "plain": ("", {}),
    "tiny clusters": ("cluster_size=512", {}),
    "tiny clusters, wide counts": ("cluster_size=512,refcount_bits=64", {}),
    "huge clusters": ("cluster_size=2M", {}),
    "one-bit counts": ("cluster_size=1k,refcount_bits=1", {}),
    "version 2": ("cluster_size=4k,compat=0.10", {"version": 2}),
    "version 2, overlay": ("cluster_size=4k,compat=0.10",
                           dict(BACKED, version=2)),
    "overlay": ("cluster_size=8k", BACKED),
    "extended": ("extended_l2=on,cluster_size=16k", {}),
    "extended overlay": ("extended_l2=on", BACKED),
    "extended, preallocated": ("extended_l2=on,preallocation=metadata", {}),
    "preallocated": ("cluster_size=4k,preallocation=falloc", {}),
    "lazy": ("cluster_size=4k,lazy_refcounts=on", {}),
    "zlib": ("cluster_size=4k", {"packs": True}),
    "zstd": ("cluster_size=32k,compression_type=zstd",
             {"packs": True, "needs": "zstd"}),
    "data file": ("cluster_size=4k,data_file=data.raw", {}),
    "raw data file": ("cluster_size=4k,data_file=data.raw,data_file_raw=on",
                      {}),
    "snapshots": ("cluster_size=4k", {"snapshots": True}),
    "snapshots, version 2": ("compat=0.10,cluster_size=1k",
                             {"snapshots": True, "version": 2}),
    "snapshots, compressed": ("cluster_size=16k",
                              {"snapshots": True, "packs": True}),
    "snapshots, extended": ("cluster_size=16k,extended_l2=on",
                            dict(BACKED, snapshots=True)),
    "aes": ("encrypt.format=aes," + SECRET,
            {"encrypted": True, "needs": "crypto"}),
    "luks": ("cluster_size=4k," + LUKS,
             {"encrypted": True, "needs": "crypto"}),
    "luks, version 2": ("compat=0.10," + LUKS,
                        {"encrypted": True, "version": 2, "needs": "crypto"}),
    "luks, snapshots": (LUKS, {"encrypted": True, "snapshots": True,
                               "needs": "crypto"}),
    "luks, extended, overlay": ("extended_l2=on," + LUKS,
                                dict(BACKED, encrypted=True,
                                     needs="crypto")),
    "luks, data file": ("data_file=data.raw," + LUKS,
                        {"encrypted": True, "needs": "crypto"}),
    "version 1": ("", {"driver": "qcow"}),
    "version 1, overlay": ("", dict(BACKED, driver="qcow")),
    "version 1, aes": ("encrypt.format=aes," + SECRET,
                       {"driver": "qcow", "encrypted": True,
                        "needs": "crypto"}),
}
SIZES = {"cluster_size=2M": 8 << 20, "cluster_size=512": 3 << 18}


def cluster_of(options, kind):
    """In bytes; what create takes where it is not told."""
    if kind.get("driver") == "qcow":
        return 512 if kind.get("backing") else 4096
    for option in options.split(","):
        if option.startswith("cluster_size="):
            value = option.partition("=")[2]
            unit = {"k": 10, "M": 20}.get(value[-1], 0)
            return int(value.rstrip("kM")) << unit
    return 65536


def make_base(folder, rng, size):
    """A disk that goes on behind the end of the overlay."""
    raw = os.path.join(folder, "base.raw")
    images.raw_file(rng, raw, size + 300 * 512)
    must([QEMU_IMG, "convert", "-f", "raw", "-O", "qcow2", "base.raw",
          "base.qcow2"], folder)
    return ["-b", "base.qcow2", "-F", "qcow2"], read_file(raw)[:size]


def make_disk(folder, name, maker, seed):
    options, kind = KINDS[name]
    rng = random.Random("%s/%s/%s" % (seed, name, maker))
    prepare(rng, folder)
    size = SIZES.get(options.split(",")[0], 1 << 20) - 512
    base, content = [], bytes(size)
    if kind.get("backing"):
        base, content = make_base(folder, rng, size)
    driver = kind.get("driver", "qcow2")
    disk = FlatDisk(folder, "t." + driver, content, rng, driver=driver,
                    cluster=cluster_of(options, kind),
                    version=kind.get("version", 3),
                    encrypted=kind.get("encrypted", False),
                    packs=kind.get("packs", False), below=bool(base),
                    resizes=driver == "qcow2")
    argv = ["-f", driver] + (["-o", options] if options else []) + base
    if disk.encrypted:
        argv += images.SECRET_OBJECT
    if maker == "byre":
        disk.must([BYRE, "create", "-q"] + argv + [disk.file, str(size)])
    else:
        images.qemu_create(argv + [disk.file, str(size)], folder)
    return disk


def play(disk, turns, has_snapshots):
    """Who does not write reads: what one leaves is judged by the other."""
    for turn in range(turns):
        writer, reader = (("byre", QEMU_IMG), ("qemu", BYRE))[turn % 2]
        disk.session(writer, disk.draw(COMMANDS, writer))
        disk.check()
        disk.holds(reader)
        if has_snapshots and turn in (2, 5):
            disk.snapshot("snap%d" % turn)
    disk.judge()


def play_kind(scratch, name, maker, seed, turns):
    """(outcome, details); never raises."""
    _, kind = KINDS[name]
    folder = scratch.make("%s-%s" % (name.replace(" ", "-"), maker))
    lacking = missing_feature([kind["needs"]] if "needs" in kind else [])
    if lacking:
        return "skip", ["byre is built without " + lacking]
    try:
        play(make_disk(folder, name, maker, seed), turns,
             kind.get("snapshots"))
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    if not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    return "ok", []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    need_tools(QEMU_IMG, QEMU_IO)
    turns = FULL_TURNS if options.full else TURNS
    games = [(name, maker) for name in KINDS for maker in ("byre", "qemu")
             if options.only in name]
    tap = Tap()
    with Scratch() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(
            lambda game: play_kind(scratch, *game, options.seed, turns), games)
        for (name, maker), (outcome, details) in zip(games, results):
            label = "%s, made by %s, %d turns" % (name, maker, turns)
            if outcome == "skip":
                tap.skip(label, " ".join(details))
            else:
                tap.check(outcome == "ok", label, details)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
