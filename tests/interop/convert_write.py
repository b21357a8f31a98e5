#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What `byre convert` makes of a disk in every format, and what it becomes when
byre and QEMU write to it then.

Without this, byre could make images that QEMU trips over later, or that depend
on the number of workers.

    BYRE=build/tool/byre tests/interop/convert_write.py [--full] [--seed N]
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
                    missing_feature, must, read_file)
from flatdisk import Differs, FlatDisk, prepare

CASES, FULL_CASES = 50, 800
SIZE = 3 << 20

AXES = {
    "source": ["raw", "qcow2", "snapshot", "packed", "qcow"],
    "format": ["v3", "v2", "v1"],
    "cluster": matrix.CLUSTERS,
    "refcount": [16, 1, 4, 64],
    "extl2": ["off", "on"],
    "pack": ["none", "zlib", "zstd"],
    "datafile": ["none", "plain", "raw"],
    "backing": ["none", "same", "shorter", "longer"],
    "crypt": ["none", "aes", "luks"],
    "prealloc": ["off", "metadata", "falloc", "full"],
    "way": ["new", "-n", "-m 1", "-m 4", "-W -m 4", "-S 0", "-S 64k"],
    "tail": [0, 512, 40000 // 512 * 512],
}


def is_legal(case):
    """What the format allows, and byre makes."""
    version = case["format"]
    return not (
        (version != "v3" and
         (case["refcount"] != 16 or case["extl2"] == "on" or
          case["pack"] == "zstd" or case["datafile"] != "none")) or
        (version == "v1" and
         (case["cluster"] != 4096 or case["crypt"] == "luks" or
          case["prealloc"] != "off" or case["backing"] != "none")) or
        (case["extl2"] == "on" and case["cluster"] < 16384) or
        (case["pack"] != "none" and
         (case["datafile"] != "none" or case["crypt"] != "none" or
          case["prealloc"] != "off")) or
        (case["datafile"] == "raw" and
         (case["backing"] != "none" or case["crypt"] != "none")) or
        (version == "v2" and case["crypt"] != "none" and
         case["prealloc"] != "off") or
        (case["way"] == "-n" and case["prealloc"] != "off") or
        (case["backing"] != "none" and case["prealloc"] != "off" and
         case["extl2"] == "off"))


def features(case):
    needed = ["zstd"] if case["pack"] == "zstd" else []
    return needed + (["crypto"] if case["crypt"] != "none" else [])


def make_source(rng, case, folder, size):
    """The disk as bytes; and the arguments that name it."""
    raw = os.path.join(folder, "source.raw")
    images.raw_file(rng, raw, size)
    content = read_file(raw)
    kind = case["source"]
    if kind == "raw":
        return content, ["-f", "raw", "source.raw"]
    target = "qcow" if kind == "qcow" else "qcow2"
    argv = [QEMU_IMG, "convert", "-f", "raw", "-O", target]
    must(argv + (["-c"] if kind == "packed" else []) +
         ["source.raw", "source.img"], folder)
    if kind != "snapshot":
        return content, ["-f", target, "source.img"]
    must([QEMU_IMG, "snapshot", "-c", "then", "source.img"], folder)
    images.qemu_io(["source.img"], ["write -P 9 0 1M"], folder)
    return content, ["-f", "qcow2", "-l", "then", "source.img"]


def make_base(rng, case, folder, content):
    """A base with what the disk has in part; the options that name it."""
    if case["backing"] == "none":
        return []
    base = bytearray(content)
    at = rng.randrange(len(base) - 600000)
    base[at:at + 500000] = rng.randbytes(500000)
    if case["backing"] == "shorter":
        del base[len(base) // 1024 * 512:]
    elif case["backing"] == "longer":
        base += rng.randbytes(70000)
    with open(os.path.join(folder, "base.raw"), "wb") as f:
        f.write(base)
    return ["-B", "base.raw", "-F", "raw"]


def options_of(case):
    options = []
    if case["format"] != "v1":
        options += ["cluster_size=%d" % case["cluster"],
                    "compat=" + {"v2": "0.10", "v3": "1.1"}[case["format"]],
                    "preallocation=" + case["prealloc"]]
    if case["format"] == "v3":
        options += ["refcount_bits=%d" % case["refcount"],
                    "extended_l2=" + case["extl2"]]
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
    return ["-o", ",".join(options)] if options else []


def convert(disk, case, source, base):
    """One run of `byre convert`, or two for a target that is there."""
    driver = ["-O", disk.driver]
    flags = ["-c"] if case["pack"] != "none" else []
    secret = images.SECRET_OBJECT if disk.encrypted else []
    if case["way"] != "-n":
        way = [] if case["way"] == "new" else case["way"].split()
        disk.must([BYRE, "convert"] + driver + flags + way + secret +
                  options_of(case) + base + source + [disk.file])
        return
    disk.must([BYRE, "create", "-q", "-f", disk.driver] + secret +
              options_of(case) +
              [a.replace("-B", "-b") for a in base] +
              [disk.file, str(disk.size)])
    if disk.encrypted:
        target = ["--target-image-opts", disk.named()[-1]]
        disk.must([BYRE, "convert", "-n"] + secret + source + target)
    else:
        disk.must([BYRE, "convert", "-n"] + driver + flags +
                  base + source + [disk.file])


def same_for_any_workers(disk, case, source, base):
    """Keys and salts apart, the same bytes."""
    ours = read_file(disk.path(disk.file))
    flags = ["-c"] if case["pack"] != "none" else []
    disk.must([BYRE, "convert", "-O", disk.driver, "-m", "3"] + flags +
              options_of(case) + base + source + ["again"])
    if read_file(disk.path("again")) != ours:
        raise Differs(["three workers make another file"])


def judge(disk, case, source, base):
    disk.judge()
    if case["datafile"] == "raw" and \
            read_file(disk.path("data.raw")) != bytes(disk.flat):
        raise Differs(["the raw data file is not the disk"])
    if case["way"] in ("new", "-m 1") and not disk.encrypted and \
            case["datafile"] == "none":
        same_for_any_workers(disk, case, source, base)
    for tool in ("byre", "qemu"):
        disk.session(tool, disk.draw(8, tool))
        disk.check()
    disk.judge()


def check_case(case, scratch, seed):
    """(outcome, details) of one case; never raises."""
    folder = scratch.make("case%d" % case["number"])
    lacking = missing_feature(features(case))
    if lacking:
        return "skip", ["byre is built without " + lacking]
    rng = random.Random("%s/%d" % (seed, case["number"]))
    try:
        prepare(rng, folder)
        size = max(SIZE, 2 * case["cluster"]) + case["tail"]
        content, source = make_source(rng, case, folder, size)
        base = make_base(rng, case, folder, content)
        driver = "qcow" if case["format"] == "v1" else "qcow2"
        disk = FlatDisk(folder, "t." + driver, content, rng, driver=driver,
                        cluster=case["cluster"], below=bool(base),
                        version=int(case["format"][1]),
                        encrypted=case["crypt"] != "none", resizes=False)
        convert(disk, case, source, base)
        judge(disk, case, source, base)
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    if not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    return "ok", []


if __name__ == "__main__":
    sys.exit(pairs.main(AXES, is_legal, CASES, FULL_CASES, check_case))
