#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
byre's measure beside qemu-img's, over a large table of random parameters.

Without this, whoever sets aside space by measure (oVirt, Proxmox) would run out
of it in the middle of a copy, or waste it.
"""

import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, run, write_file)

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SIZES_DRAWN, SOURCES_DRAWN = 220, 100
SECRET = ["--object", "secret,id=s0,data=measure"]


def drawn_options(rng, encrypted):
    """(cluster size, options) that any image can have."""
    cluster = 1 << rng.randrange(9, 22)
    options = ["cluster_size=%d" % cluster]
    if rng.random() < 0.2:
        options.append("compat=0.10")
    else:
        if rng.random() < 0.3:
            options.append("compat=1.1")
        options.append("refcount_bits=%d" % (1 << rng.randrange(7)))
        if cluster >= 16 * KIB and rng.random() < 0.4:
            options.append("extended_l2=on")
        if rng.random() < 0.2:
            options.append("lazy_refcounts=on")
    if rng.random() < 0.5:
        options.append("preallocation=" + rng.choice(
            ["off", "metadata", "falloc", "full"]))
    # Version 2 cannot have encrypted clusters that were never written.
    if (encrypted and rng.random() < 0.05 and
            ("compat=0.10" not in options or len(options) == 2)):
        options += ["encrypt.format=luks", "encrypt.key-secret=s0",
                    "encrypt.cipher-alg=" + rng.choice(["aes-128", "aes-256"]),
                    "encrypt.iter-time=10"]
    elif "preallocation=" not in "".join(options) and rng.random() < 0.2:
        options += ["backing_file=none", "backing_fmt=raw"]
    return cluster, options


def drawn_size(rng, cluster, most):
    kind = rng.randrange(4)
    if kind == 0:
        size = rng.randrange(0, 64 * cluster)
    elif kind == 1:  # about where another L1 entry begins
        size = cluster * cluster // 8 * rng.randrange(1, 4) + rng.choice(
            [-512, 0, 512])
    elif kind == 2:
        size = 1 << rng.randrange(10, 41)
    else:
        size = rng.randrange(0, 4 * TIB)
    return max(0, min(size, most, 4194304 * cluster * cluster // 16))


def measured(result):
    """What the JSON says, or how it failed."""
    if result.code != 0:
        return "exit %d" % result.code
    return json.loads(result.out)


def compare(tap, name, folder, argv):
    """QEMU measures the speed of this machine for LUKS, and may fail at it."""
    ours = run([BYRE, "measure", "--output=json"] + argv, folder)
    for _ in range(images.CREATE_TRIES):
        theirs = run([QEMU_IMG, "measure", "--output=json"] + argv, folder,
                     images.luks_env())
        if b"accurate CPU usage" not in theirs.err:
            break
    if b"accurate CPU usage" in theirs.err or theirs.died:
        tap.skip(name, "qemu-img cannot say")
        return
    tap.check(measured(ours) == measured(theirs) and ours.err == b"", name,
              ours.text() + theirs.text())


def sizes(tap, scratch):
    folder = scratch.make("sizes")
    rng = random.Random(1)
    encrypted = missing_feature(["crypto"]) is None
    for number in range(SIZES_DRAWN):
        cluster, options = drawn_options(rng, encrypted)
        argv = SECRET + ["-O", "qcow2", "-o", ",".join(options), "--size",
                         str(drawn_size(rng, cluster, 8 * TIB))]
        compare(tap, "size %d: %s" % (number, " ".join(argv[3:])), folder, argv)
    for size in (0, 1, 511, 512, 513, GIB, 3 * TIB + 1):
        compare(tap, "raw of %d" % size, folder,
                ["-O", "raw", "--size", str(size)])


# ---- Sources ----


def write_some(rng, path, size, fmt):
    commands = []
    for _ in range(rng.randrange(1, 12)):
        sectors = rng.randrange(1, min(128, size // 512) + 1)
        offset = rng.randrange(0, size // 512 - sectors + 1) * 512
        commands += ["-c", "%s %d %d" % (
            rng.choice(["write -P 1", "write -P 2", "write -z -u", "write -z"]),
            offset, sectors * 512)]
    must([QEMU_IO, "-f", fmt] + commands + [path], ".")


def make_source(rng, folder, number):
    """A random image, with a chain below it at times: (name, format)."""
    size = rng.randrange(1, 64) * 128 * KIB + rng.choice([0, 512, 4096])
    base = None
    if rng.random() < 0.4:
        fmt = rng.choice(["raw", "qcow2"])
        base = os.path.join(folder, "base%d.%s" % (number, fmt))
        must([QEMU_IMG, "create", "-q", "-f", fmt, base,
              str(max(512, size + rng.choice([-MIB, 0, MIB])))], folder)
        write_some(rng, base, min(size, max(512, size - MIB)), fmt)
        backing = ["-b", base, "-F", fmt]
    fmt = "qcow2" if base else rng.choice(["raw", "qcow2", "qcow2", "qcow"])
    name = os.path.join(folder, "top%d.%s" % (number, fmt))
    options = []
    if fmt == "qcow2":
        version2 = rng.random() < 0.2
        options = ["-o", "cluster_size=%d%s" % (
            1 << rng.randrange(9, 18), ",compat=0.10" if version2 else "")]
    must([QEMU_IMG, "create", "-q", "-f", fmt] + options +
         (backing if base else []) + [name, str(size)], folder)
    write_some(rng, name, size, fmt)
    if fmt == "qcow2" and not version2:
        for bitmap in range(rng.randrange(0, 3)):
            must([QEMU_IMG, "bitmap", "--add", "-g",
                  str(1 << rng.randrange(9, 20)), name,
                  "b" * rng.randrange(1, 40) + str(bitmap)], folder)
    if fmt == "qcow2" and rng.random() < 0.3:
        must([QEMU_IMG, "snapshot", "-c", "before", name], folder)
        write_some(rng, name, size, fmt)
        return name, fmt, True
    return name, fmt, False


def one_source(rng, folder, number):
    name, fmt, has_snapshot = make_source(rng, folder, number)
    _, options = drawn_options(rng, False)
    argv = ["-f", fmt]
    if has_snapshot and rng.random() < 0.7:
        argv += ["-l", rng.choice(["before", "snapshot.name=before",
                                   "snapshot.id=1"])]
    if rng.random() < 0.1:
        return argv + ["-O", "raw", name]
    return argv + ["-O", "qcow2", "-o", ",".join(options), name]


def sources(tap, scratch):
    folder = scratch.make("sources")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = [pool.submit(one_source, random.Random(number), folder, number)
                for number in range(SOURCES_DRAWN)]
    for number, future in enumerate(made):
        name = "source %d" % number
        try:
            compare(tap, name + ": " + " ".join(future.result()[:-1]), folder,
                    future.result())
        except BuildError as error:
            tap.skip(name, "qemu cannot make it: %s" % error)


def promises(tap, scratch):
    """No image that convert makes is larger than was measured."""
    folder = scratch.make("promises")
    for number in range(24):
        rng = random.Random(1000 + number)
        try:
            name, fmt, _ = make_source(rng, folder, number)
        except BuildError as error:
            tap.skip("promise %d" % number, "qemu cannot make it: %s" % error)
            continue
        _, options = drawn_options(rng, False)
        options = ",".join(o for o in options if not o.startswith("backing"))
        said = must([BYRE, "measure", "--output=json", "-f", fmt, "-O", "qcow2",
                     "-o", options, name], folder)
        target = os.path.join(folder, "t%d" % number)
        made = run([BYRE, "convert", "-f", fmt, "-O", "qcow2", "-o", options,
                    name, target], folder)
        size = os.path.getsize(target) if made.code == 0 else None
        # Tables for all clusters: the file has holes where they will be.
        bound = ("fully-allocated" if "preallocation=metadata" in options
                 else "required")
        tap.check(size is not None and size <= json.loads(said.out)[bound],
                  "promise %d: %s" % (number, options),
                  made.text() + ["%s bytes" % size] + said.text())


def callers(tap, scratch):
    """The command lines of vdsm and others."""
    folder = scratch.make("callers")
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "base.qcow2", "4M"], folder)
    must([QEMU_IO, "-c", "write 0 1M", "base.qcow2"], folder)
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F",
          "qcow2", "top.qcow2"], folder)
    must([QEMU_IO, "-c", "write 2M 64k", "top.qcow2"], folder)
    top = {"driver": "qcow2", "file": {"driver": "file",
                                       "filename": "top.qcow2"}}
    alone = dict(top, backing=None)
    below = dict(top, backing={"driver": "qcow2", "file": {
        "driver": "file", "filename": "base.qcow2"}})
    for name, tree in (("top", top), ("alone", alone), ("below", below)):
        for extra in ([], ["--force-share"], ["-U"]):
            compare(tap, "vdsm %s %s" % (name, extra), folder,
                    ["-O", "qcow2"] + extra + ["json:" + json.dumps(tree)])
    compare(tap, "list of options", folder,
            ["--image-opts", "-O", "qcow2",
             "driver=qcow2,backing=,file.filename=top.qcow2"])
    write_file(os.path.join(folder, "plain"), bytes(70000))
    for argv in (["--size", "4194304K", "-O", "qcow2", "-o",
                  "extended_l2=on,cluster_size=128k"],
                 ["--size", "1024K", "-O", "raw"], ["-O", "qcow2", "plain"],
                 ["plain"], ["top.qcow2", "-O", "qcow2", "-o", "compat=1.1",
                             "-o", "cluster_size=2M"],
                 # what is wrong fails in both
                 ["-O", "qcow", "--size", "1G"], ["--size", "1G", "plain"], [],
                 ["-l", "none", "-O", "qcow2", "top.qcow2"],
                 ["-O", "qcow2", "--size", "9E"],
                 ["-O", "qcow2", "-o", "nosuch=1", "--size", "1G"]):
        ours = run([BYRE, "measure", "--output=json"] + argv, folder)
        theirs = run([QEMU_IMG, "measure", "--output=json"] + argv, folder)
        tap.check(measured(ours) == measured(theirs), " ".join(argv),
                  ours.text() + theirs.text())


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        sizes(tap, scratch)
        sources(tap, scratch)
        promises(tap, scratch)
        callers(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
