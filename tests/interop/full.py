#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A file system that has no room left while byre writes to an image on it.

Without this, a full disk could cost more than the write that met it: what was
written before, or the image as a whole.
"""

import contextlib
import json
import os
import random
import subprocess
import sys

import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run,
                    skip_all, write_file)
from flatdisk import Differs, FlatDisk, prepare

KIB, MIB = 1 << 10, 1 << 20
ROOM = 6 * MIB
DISK = 16 * MIB
# Written and flushed while there is room.
KEPT = 2 * MIB
BALLAST = "ballast"
MOST_WRITES = 400


@contextlib.contextmanager
def small_disk(scratch, name):
    """A folder with room for a few megabytes; skips all where not allowed."""
    folder = scratch.make(name)
    result = run(["mount", "-t", "tmpfs", "-o", "size=%d" % ROOM, "tmpfs",
                  folder], "/")
    if result.code != 0:
        skip_all("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        run(["umount", "-l", folder], "/")


KINDS = {
    "plain": ("", {}),
    "tiny clusters": ("cluster_size=512", {}),
    "wide counts": ("cluster_size=512,refcount_bits=64", {}),
    "version 2": ("compat=0.10", {"version": 2}),
    "extended": ("extended_l2=on", {}),
    "lazy": ("lazy_refcounts=on,cluster_size=4k", {}),
    "data file": ("data_file=data.raw,cluster_size=4k", {}),
    "luks": ("encrypt.format=luks,encrypt.iter-time=10,encrypt.key-secret=" +
             images.SECRET_ID, {"encrypted": True}),
    "version 1": ("", {"driver": "qcow"}),
}


def make_disk(folder, name):
    options, kind = KINDS[name]
    rng = random.Random(name)
    prepare(rng, folder)
    driver = kind.get("driver", "qcow2")
    disk = FlatDisk(folder, "t." + driver, bytes(DISK), rng, cluster=65536,
                    **kind)
    argv = ["-f", driver] + (["-o", options] if options else [])
    if disk.encrypted:
        argv += images.SECRET_OBJECT
    disk.must([BYRE, "create", "-q"] + argv + [disk.file, str(DISK)])
    disk.flat[:KEPT] = b"\x01" * KEPT
    disk.session("byre", ["write -P 1 0 %d" % KEPT])
    return disk


class Session:
    """byre io with the image open, command by command."""

    def __init__(self, disk):
        self.process = subprocess.Popen(
            [BYRE, "io", "-t", "writeback"] + disk.with_format(),
            cwd=disk.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self.said = []

    def do(self, command):
        """What it says to a command; `length` marks where that ends."""
        self.process.stdin.write(b"%s\nlength\n" % command.encode())
        self.process.stdin.flush()
        lines = []
        while not lines or lines[-1] not in (b"16 MiB\n", b""):
            lines.append(self.process.stdout.readline())
        self.said = [line.decode().strip() for line in lines[:-1]]
        return b"".join(lines[:-1])

    def end(self):
        """Its exit code."""
        self.process.stdin.close()
        self.process.stdout.read()
        return self.process.wait()


def expect(good, lines):
    if not good:
        raise Differs(lines)


def write_until_full(disk, session):
    """Scattered writes, so that tables grow; the failure has its reason."""
    places = list(range(KEPT, DISK, 32 * KIB))
    disk.rng.shuffle(places)
    for number, place in enumerate(places[:MOST_WRITES]):
        said = session.do("write -P 2 %d 20k" % (place + 512))
        if b"failed" in said:
            expect(b"No space left on device" in said, session.said)
            return place
        disk.flat[place + 512:place + 512 + 20 * KIB] = b"\x02" * (20 * KIB)
        if number % 16 == 15:
            said = session.do("flush")
            if said:
                expect(b"No space left on device" in said, session.said)
                return place
    raise BuildError("the disk does not become full")


def leaks_at_worst(disk):
    if disk.driver == "qcow":
        return
    result = disk.note(run([QEMU_IMG, "check"] + disk.with_format(),
                           disk.folder))
    expect(result.code in (0, 3), result.text())


def kept_is_there(disk, session):
    said = session.do("read -P 1 0 %d" % KEPT)
    expect(b"failed" not in said, session.said)


def disk_now(disk, place):
    """What is there, but for the place whose write has failed."""
    argv = [QEMU_IMG, "convert", "-S", "0", "-O", "raw"] + disk.named()
    out = os.path.join(os.path.dirname(disk.folder), "now.raw")
    disk.must(argv + [out])
    now = bytearray(read_file(out))
    end = place + 32 * KIB
    now[place:end] = disk.flat[place:end]
    if bytes(now) != bytes(disk.flat):
        at = next(i for i in range(0, DISK, 512)
                  if now[i:i + 512] != disk.flat[i:i + 512])
        raise Differs(["the sector at %d is not what it was" % at])


def room_comes_back(disk):
    """In one session: full, room again, and the image goes on."""
    write_file(disk.path(BALLAST), bytes(MIB))
    session = Session(disk)
    place = write_until_full(disk, session)
    kept_is_there(disk, session)
    os.unlink(disk.path(BALLAST))
    said = session.do("write -P 3 0 100k")
    expect(b"failed" not in said, session.said)
    said = session.do("flush")
    expect(not said, session.said)
    disk.flat[:100 * KIB] = b"\x03" * (100 * KIB)
    kept = session.do("read -P 1 100k 512k")
    expect(b"failed" not in kept, session.said)
    expect(session.end() == 1, ["the failed write is not in the exit code"])
    leaks_at_worst(disk)
    disk_now(disk, place)


def closed_while_full(disk):
    """Nothing more can be written, and what was flushed is there."""
    write_file(disk.path(BALLAST), bytes(MIB))
    session = Session(disk)
    write_until_full(disk, session)
    expect(session.end() == 1, ["the failed write is not in the exit code"])
    leaks_at_worst(disk)
    disk.must([BYRE, "io", "-r", "-c", "read -P 1 0 %d" % KEPT] +
              disk.with_format())
    os.unlink(disk.path(BALLAST))
    disk.must([QEMU_IO, "-c", "read -P 1 0 %d" % KEPT, "-c",
               "write -P 4 1M 64k"] + disk.with_format())
    disk.must([BYRE, "io", "-c", "read -P 4 1M 64k", "-c",
               "write -P 5 1M 64k", "-c", "read -P 5 1M 64k"] +
              disk.with_format())
    leaks_at_worst(disk)


def check_writes(tap, scratch):
    for name in KINDS:
        for scene in (room_comes_back, closed_while_full):
            label = "%s: %s" % (name, scene.__name__.replace("_", " "))
            if name == "luks" and missing_feature(["crypto"]):
                tap.skip(label, "byre is built without crypto")
                continue
            number = label.replace(" ", "-").replace(":", "")
            with small_disk(scratch, number) as folder:
                try:
                    scene(make_disk(folder, name))
                except BuildError as error:
                    tap.skip(label, str(error))
                except Differs as error:
                    tap.check(False, label, error.lines)
                else:
                    tap.check(True, label)


# ---- Other verbs ----


def check_resize(tap, scratch):
    """Space for what is added is not there: the disk stays as it was."""
    for options in ("", "cluster_size=512"):
        with small_disk(scratch, "resize" + options.replace("=", "")) as f:
            must([QEMU_IMG, "create", "-q", "-f", "qcow2"] +
                 (["-o", options] if options else []) + ["t.qcow2", "2M"], f)
            images.qemu_io(["t.qcow2"], ["write -P 1 0 2M"], f)
            result = run([BYRE, "resize", "--preallocation=full", "t.qcow2",
                          "30M"], f)
            check = run([QEMU_IMG, "check", "t.qcow2"], f)
            info = json.loads(must([QEMU_IMG, "info", "--output=json",
                                    "t.qcow2"], f).out)
            read = run([QEMU_IO, "-r", "-c", "read -P 1 0 2M", "t.qcow2"], f)
            tap.check(result.code == 1 and
                      b"No space left on device" in result.err and
                      check.code in (0, 3) and read.code == 0 and
                      info["virtual-size"] == 2 * MIB,
                      "resize with space, %s" % (options or "plain"),
                      result.text() + check.text())


def check_new_files(tap, scratch):
    """What cannot be made is not left behind."""
    commands = {
        "create": ["create", "-f", "qcow2", "-o", "preallocation=full",
                   "t.qcow2", "30M"],
        "create, tiny clusters": [
            "create", "-f", "qcow2", "-o",
            "preallocation=metadata,cluster_size=512", "t.qcow2", "2G"],
        "create raw": ["create", "-f", "raw", "-o", "preallocation=full",
                       "t.qcow2", "30M"],
        "convert": ["convert", "-O", "qcow2", "../source.raw", "t.qcow2"],
        "convert to version 1": ["convert", "-O", "qcow", "../source.raw",
                                 "t.qcow2"],
        "convert to raw": ["convert", "-O", "raw", "../source.raw",
                           "t.qcow2"],
    }
    write_file(os.path.join(scratch.path, "source.raw"),
               random.Random(1).randbytes(12 * MIB))
    for name, args in commands.items():
        with small_disk(scratch, name.replace(" ", "-")) as folder:
            result = run([BYRE] + args, folder)
            left = os.listdir(folder)
            tap.check(result.code == 1 and result.err.count(b"\n") == 1 and
                      b"No space left on device" in result.err and not left,
                      name, ["left: %s" % left] + result.text())


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        check_writes(tap, scratch)
        check_resize(tap, scratch)
        check_new_files(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
