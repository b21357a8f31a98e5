#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
byre's compare beside qemu-img's, on random pairs of images.

Without this, two tools could disagree on whether two disks are the same, and
backups be called whole that are not.
"""

import os
import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from common import (BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap, must,
                    need_tools, run)

PAIRS = 50
MIB = 1 << 20


def make_image(rng, folder, number):
    """A random small image, on a raw file at times: (name, format)."""
    size = rng.choice([MIB, MIB, MIB, MIB + 512, 2 * MIB])
    fmt = rng.choice(["raw", "qcow2", "qcow2", "qcow"])
    name, backing, options = "%d.%s" % (number, fmt), [], []
    if fmt != "raw" and rng.random() < 0.4:
        base = "base%d" % number
        must([QEMU_IMG, "create", "-q", "-f", "raw", base,
              str(rng.choice([size, size // 2]))], folder)
        must([QEMU_IO, "-f", "raw", "-c", "write -P 1 0 64k", base], folder)
        backing = ["-b", base, "-F", "raw"]
    if fmt == "qcow2":
        options = ["-o", "cluster_size=%d" % (1 << rng.randrange(9, 18))]
    must([QEMU_IMG, "create", "-q", "-f", fmt] + options + backing +
         [name, str(size)], folder)
    for _ in range(rng.randrange(0, 4)):
        must([QEMU_IO, "-f", fmt, "-c", "%s %d %d" % (
            rng.choice(["write -P 1", "write -P 1", "write -z", "write -z -u",
                        "write -P 0"]),
            rng.choice([0, 65536, 131072, 512 * rng.randrange(0, 1000)]),
            rng.choice([512, 4096, 65536, 131072])), name], folder)
    return name, fmt


def said(result):
    """
    QEMU holds a run of clusters that ends with the disk for another status than
    one that ends before it, and so may name an offset that is too early.
    """
    return re.sub(rb"Offset \d+ block status", b"Block status", result.out)


def compare_pair(scratch, number):
    """Lines on what the tools disagree about."""
    rng = random.Random(number)
    folder = scratch.make("pair%d" % number)
    made = [make_image(rng, folder, i) for i in range(2)]
    wrong = []
    for strict in ([], ["-s"]):
        for a, b in ((0, 1), (1, 0), (0, 0)):
            argv = ["compare"] + strict + [
                "-U", "-f", made[a][1], "-F", made[b][1], made[a][0],
                made[b][0]]
            ours = run([scratch.as_qemu] + argv, folder)
            theirs = run([QEMU_IMG] + argv, folder)
            if (ours.code, said(ours)) != (theirs.code, said(theirs)):
                wrong += ours.text() + theirs.text()
    return wrong


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pairs = [pool.submit(compare_pair, scratch, number)
                     for number in range(PAIRS)]
        for number, pair in enumerate(pairs):
            try:
                wrong = pair.result()
                tap.check(not wrong, "pair %d" % number, wrong)
            except BuildError as error:
                tap.skip("pair %d" % number, "qemu cannot make it: %s" % error)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
