#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Images that byre writes, of every combination of features, judged by QEMU.

Without this, byre could leave an image that only byre reads, or whose counts
are wrong, or change what a snapshot holds.

    BYRE=build/tool/byre tests/interop/write.py [--full] [--seed N]
                                                [--only N] [--jobs N]
"""

import os
import random
import shutil
import sys

import images
import matrix
import pairs
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO,
                    missing_feature, must, read_file, run)
from flatdisk import Differs, FlatDisk, prepare

FILE = "t.qcow2"
# Bounds the time; what is drawn depends on the seed alone.
CASES = 90
FULL_CASES = 1500
SESSIONS = 3
COMMANDS = 22

AXES = {
    "maker": ["byre", "qemu"],
    "format": ["v3", "v2"],
    "cluster": matrix.CLUSTERS,
    "refcount": [16, 1, 2, 4, 8, 32, 64],
    "extl2": ["off", "on"],
    "lazy": ["off", "on"],
    "pack": ["none", "zlib", "zstd"],
    "datafile": ["none", "plain", "raw"],
    "backing": ["none", "raw", "qcow2"],
    "length": ["-", "same", "shorter", "longer"],
    "crypt": ["none", "aes", "luks"],
    "snapshots": [0, 1, 2],
    "prealloc": ["off", "metadata", "falloc", "full"],
}


def is_legal(case):
    """What the format allows, and qemu-img makes."""
    v2 = case["format"] == "v2"
    return not (
        (v2 and (case["refcount"] != 16 or case["extl2"] == "on" or
                 case["lazy"] == "on" or case["pack"] == "zstd" or
                 case["datafile"] != "none")) or
        (case["extl2"] == "on" and case["cluster"] < 16384) or
        (case["pack"] != "none" and
         (case["datafile"] != "none" or case["crypt"] != "none" or
          case["prealloc"] != "off")) or
        (case["datafile"] != "none" and case["snapshots"]) or
        (case["datafile"] == "raw" and
         (case["backing"] != "none" or case["crypt"] != "none")) or
        ((case["backing"] == "none") != (case["length"] == "-")) or
        # Reserved space that reads as zeroes although it deciphers to noise
        # takes an entry that version 2 lacks: byre does not make it.
        (v2 and case["crypt"] != "none" and case["prealloc"] != "off" and
         case["maker"] == "byre") or
        (case["snapshots"] and case["refcount"] == 1) or
        (case["snapshots"] and case["refcount"] in (2, 4) and
         case["pack"] != "none") or
        (case["backing"] != "none" and case["prealloc"] != "off" and
         case["extl2"] == "off"))


def features(case):
    needed = ["zstd"] if case["pack"] == "zstd" else []
    return needed + (["crypto"] if case["crypt"] != "none" else [])


def disk_size(rng, case):
    """Small, but several clusters of any size; the last one is not whole."""
    cluster = case["cluster"]
    size = max(1 << 20, 4 * cluster)
    return size - rng.randrange(max(1, min(cluster, 65536) // 512)) * 512


def make_base(rng, case, folder, size):
    """Returns the options that name it, and what shows of it on the disk."""
    if case["backing"] == "none":
        return [], bytes(size)
    sectors = {"same": size // 512, "shorter": size // 512 * 5 // 8,
               "longer": size // 512 + 300}[case["length"]]
    raw = os.path.join(folder, "base.raw")
    images.raw_file(rng, raw, sectors * 512)
    content = read_file(raw)[:size]
    if case["backing"] == "qcow2":
        must([QEMU_IMG, "convert", "-f", "raw", "-O", "qcow2", "-o",
              "cluster_size=%d" % rng.choice([4096, 65536]), "base.raw",
              "base.qcow2"], folder)
    name = "base." + case["backing"]
    return (["-b", name, "-F", case["backing"]],
            content + bytes(size - len(content)))


def options_of(case):
    options = ["cluster_size=%d" % case["cluster"],
               "compat=" + {"v2": "0.10", "v3": "1.1"}[case["format"]],
               "preallocation=" + case["prealloc"]]
    if case["format"] == "v3":
        options += ["refcount_bits=%d" % case["refcount"],
                    "extended_l2=" + case["extl2"],
                    "lazy_refcounts=" + case["lazy"]]
    if case["pack"] == "zstd":
        options.append("compression_type=zstd")
    if case["datafile"] != "none":
        options.append("data_file=data.raw")
    if case["datafile"] == "raw":
        options.append("data_file_raw=on")
    if case["crypt"] == "aes":
        options += ["encrypt.format=aes",
                    "encrypt.key-secret=" + images.SECRET_ID]
    elif case["crypt"] == "luks":
        kind = matrix.LUKS_KINDS[case["number"] % len(matrix.LUKS_KINDS)]
        options += images.luks_options(kind)
    return ["-o", ",".join(options)]


def make_disk(case, folder, seed):
    rng = random.Random("%s/%d" % (seed, case["number"]))
    prepare(rng, folder)
    size = disk_size(rng, case)
    base, content = make_base(rng, case, folder, size)
    disk = FlatDisk(folder, FILE, content, rng, cluster=case["cluster"],
                    version=int(case["format"][1]), below=bool(base),
                    encrypted=case["crypt"] != "none",
                    packs=case["pack"] != "none")
    secret = images.SECRET_OBJECT if disk.encrypted else []
    argv = ["-f", "qcow2"] + options_of(case) + base + secret
    if case["maker"] == "byre":
        disk.must([BYRE, "create", "-q"] + argv + [FILE, str(size)])
    else:
        images.qemu_create(argv + [FILE, str(size)], folder)
        if disk.encrypted and case["prealloc"] != "off":
            # What QEMU reserves deciphers to noise.
            disk.flat[:] = b"\x11" * size
            disk.session("byre", ["write -P 17 0 %d" % size])
    return disk


def data_file_is_the_disk(disk):
    data = read_file(disk.path("data.raw"))
    if data != bytes(disk.flat):
        raise Differs(["the raw data file is not the disk"])


def exercise(case, disk):
    for turn in range(SESSIONS):
        if turn > 0 and turn <= case["snapshots"]:
            disk.snapshot("snap%d" % turn)
        disk.session("byre", disk.draw(COMMANDS, "byre"))
        disk.check()
        if case["format"] == "v3" or not disk.snapshots:
            disk.resize("byre", disk.new_size("byre"))
            disk.check()
    disk.judge()
    if case["datafile"] == "raw":
        data_file_is_the_disk(disk)


def check_case(case, scratch, seed):
    """(outcome, details) of one case; never raises."""
    folder = scratch.make("case%d" % case["number"])
    lacking = missing_feature(features(case))
    if lacking:
        return "skip", ["byre is built without " + lacking]
    try:
        exercise(case, make_disk(case, folder, seed))
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    if not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    return "ok", []


# ---- What is refused, and changes nothing ----


def check_refused(tap, scratch):
    """Each command fails with a reason, and the image stays what it is."""
    folder = scratch.make("refused")
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", FILE, "1M"], folder)
    images.qemu_io([FILE], ["write -P 3 0 1M"], folder)
    before = read_file(os.path.join(folder, FILE))
    for command in ("write 1M 1", "write 1048575 2", "write -z 1M 512",
                    "discard 1M 512", "read 1048000 1000",
                    "write -c 100 65536", "write -c 0 1000",
                    "write -c -P 5 0 64k"):
        result = run([BYRE, "io", "-c", command, FILE], folder)
        theirs = run([QEMU_IO, "-c", command, FILE], folder)
        same = read_file(os.path.join(folder, FILE)) == before
        said = result.out + result.err
        tap.check(same and result.code == theirs.code == 1 and said,
                  "refused: " + command, result.text() + theirs.text())
    result = run([BYRE, "resize", FILE, "512k"], folder)
    tap.check(result.code == 1 and b"--shrink" in result.err and
              read_file(os.path.join(folder, FILE)) == before,
              "refused: to shrink unasked", result.text())


if __name__ == "__main__":
    sys.exit(pairs.main(AXES, is_legal, CASES, FULL_CASES, check_case,
                        check_refused))
