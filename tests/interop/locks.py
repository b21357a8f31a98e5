#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
byre and QEMU's tools on one image at a time: who is refused, who is let in.

Without this, byre could read an image while a virtual machine writes it, or a
virtual machine could start to write what byre is reading.
"""

import contextlib
import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
import time

from common import (BYRE, QEMU_IMG, QEMU_IO, Scratch, Tap, must, need_tools,
                    read_file, run, write_file)

F_OFD_GETLK, F_OFD_SETLK = 36, 37
BYTES = [100, 101, 102, 103, 200, 201, 202, 203]
READER, SHARED_READER = {100, 201, 203}, {100}
PATIENCE_SECONDS = 60

IMAGE, BASE, DATA, RAW = "t.qcow2", "base.raw", "data.raw", "raw.img"
WITH_BASE, WITH_DATA = "o.qcow2", "d.qcow2"


def _flock(kind, byte):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)


def held(path):
    """The bytes of interest that somebody else has locked."""
    with open(path, "rb+") as f:
        taken = set()
        for byte in BYTES:
            answer = fcntl.fcntl(f, F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
            if struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK:
                taken.add(byte)
        return taken


def wait_until(holds):
    """Waits for another process; no check depends on how long."""
    for _ in range(PATIENCE_SECONDS * 50):
        if holds():
            return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def holding(path, byte):
    """This process as a program that locks one byte, as QEMU does."""
    with open(path, "rb") as f:
        fcntl.fcntl(f, F_OFD_SETLK, _flock(fcntl.F_RDLCK, byte))
        yield


@contextlib.contextmanager
def qemu_io_open(folder, flags, expected):
    """qemu-io with IMAGE open, waiting for commands."""
    argv = [QEMU_IO] + flags + [IMAGE]
    with subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL) as p:
        path = os.path.join(folder, IMAGE)
        try:
            if not wait_until(lambda: held(path) == expected):
                raise RuntimeError("qemu-io does not lock the image")
            yield
        finally:
            p.stdin.close()
            p.wait()


def has_bytes(pipe):
    try:
        return len(os.read(pipe, 1)) > 0
    except BlockingIOError:
        return False


@contextlib.contextmanager
def byre_reading(folder, flags):
    """byre in the middle of a conversion to a pipe that nobody drains."""
    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo)
    argv = [BYRE, "convert", "-O", "raw"] + flags + [IMAGE, "fifo"]
    with subprocess.Popen(argv, cwd=folder, stderr=subprocess.PIPE) as p:
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            wait_until(lambda: has_bytes(reader) or p.poll() is not None)
            yield p
        finally:
            p.kill()
            os.close(reader)
            os.unlink(fifo)


def make_images(folder):
    """A small disk over each kind of file that is opened by itself."""
    write_file(os.path.join(folder, BASE), b"b" * 300000)
    write_file(os.path.join(folder, RAW), b"r" * 300000)
    create = [QEMU_IMG, "create", "-q", "-f", "qcow2"]
    must(create + [IMAGE, "4M"], folder)
    must(create + ["-b", BASE, "-F", "raw", WITH_BASE], folder)
    must(create + ["-o", "data_file=" + DATA, WITH_DATA, "1M"], folder)
    must([QEMU_IO, "-c", "write -P 1 0 4M", IMAGE], folder)
    must([QEMU_IO, "-c", "write -P 1 0 64k", WITH_DATA], folder)


VERBS = {
    "info": ["info", IMAGE],
    "info -U": ["info", "-U", IMAGE],
    "info --backing-chain": ["info", "--backing-chain", IMAGE],
    "map": ["map", IMAGE],
    "map -U": ["map", "-U", "--output=json", IMAGE],
    "convert": ["convert", "-O", "raw", IMAGE, "out.raw"],
    "convert -U": ["convert", "-U", "-O", "raw", IMAGE, "out.raw"],
    "compare": ["compare", IMAGE, "copy.qcow2"],
    "compare -U": ["compare", "-U", IMAGE, "copy.qcow2"],
}
OPEN_FAILED = {"compare": 2}


def against_writer(tap, folder):
    """QEMU writes: byre is refused, or let in by -U."""
    shutil.copy(os.path.join(folder, IMAGE),
                os.path.join(folder, "copy.qcow2"))
    writer = {100, 101, 103, 201, 203}
    with qemu_io_open(folder, [], writer):
        for name, args in VERBS.items():
            result = run([BYRE] + args, folder)
            if "-U" in name:
                tap.check(result.code == 0 and not result.err,
                          "QEMU writes, byre %s reads" % name, result.text())
                continue
            refused = (
                result.code == OPEN_FAILED.get(name, 1) and
                b'Failed to get shared "write" lock' in result.err and
                b"Is another process using the image [%s]?" % IMAGE.encode()
                in result.err)
            tap.check(refused, "QEMU writes, byre %s is refused" % name,
                      result.text())
            if name == "convert":
                tap.check(not os.path.exists(os.path.join(folder, "out.raw")),
                          "QEMU writes, byre convert makes no file")


def against_reader(tap, folder):
    """QEMU reads: byre reads too."""
    with qemu_io_open(folder, ["-r"], READER):
        for name, args in VERBS.items():
            result = run([BYRE] + args, folder)
            tap.check(result.code == 0 and not result.err,
                      "QEMU reads, byre %s reads" % name, result.text())


def byre_holds(tap, folder):
    """byre reads: QEMU may read, but not write; with -U it may write."""
    path = os.path.join(folder, IMAGE)
    with byre_reading(folder, []):
        taken = held(path)
        tap.check(taken == READER, "the bytes that a reading byre locks",
                  ["locked: %s" % sorted(taken)])
        result = run([QEMU_IO, "-c", "write 0 512", IMAGE], folder)
        tap.check(result.code == 1 and
                  b'Failed to get "write" lock' in result.err,
                  "byre reads, QEMU is not let in to write", result.text())
        result = run([QEMU_IO, "-r", "-c", "read -P 1 0 4M", IMAGE], folder)
        tap.check(result.code == 0, "byre reads, QEMU reads", result.text())
        for name in ("info", "map", "convert"):
            result = run([BYRE] + VERBS[name], folder)
            tap.check(result.code == 0, "byre reads, byre %s reads" % name,
                      result.text())
    with byre_reading(folder, ["-U"]):
        taken = held(path)
        tap.check(taken == SHARED_READER, "the bytes that byre -U locks",
                  ["locked: %s" % sorted(taken)])
        result = run([QEMU_IO, "-c", "write -P 1 0 512", IMAGE], folder)
        tap.check(result.code == 0, "byre -U reads, QEMU writes",
                  result.text())


def reasons(err):
    """
    Which lock an error is about, and on which file.  An error of byre is one
    line; QEMU adds its hint on a second.
    """
    text = err.decode("utf-8", "replace")
    return re.findall(r'Failed to get (?:shared )?"[a-z ]+" lock|'
                      r'Failed to lock [^;\n]*|'
                      r'Is another process using the image \[.*?\]\?', text)


def same_verdict(tap, folder, label, args, byte, path):
    """With one byte of `path` locked, byre and qemu-img end alike."""
    with holding(os.path.join(folder, path), byte):
        ours = run([BYRE] + args, folder)
        theirs = run([QEMU_IMG] + args, folder)
    tap.check(ours.code == theirs.code and
              reasons(ours.err) == reasons(theirs.err),
              "byte %d of %s is locked, %s" % (byte, path, label),
              ours.text() + theirs.text())


def single_bytes(tap, folder):
    """Every byte by itself, on every kind of file that byre opens."""
    for byte in BYTES:
        for name, args in VERBS.items():
            if not name.startswith("compare"):
                same_verdict(tap, folder, name, args, byte, IMAGE)
    out = ["convert", "-O", "raw"]
    for byte in BYTES:
        same_verdict(tap, folder, "its overlay is read",
                     out + [WITH_BASE, "out.raw"], byte, BASE)
        same_verdict(tap, folder, "its overlay is described",
                     ["info", WITH_BASE], byte, BASE)
        same_verdict(tap, folder, "its overlay's chain is described",
                     ["info", "--backing-chain", WITH_BASE], byte, BASE)
        same_verdict(tap, folder, "its image is read",
                     out + [WITH_DATA, "out.raw"], byte, DATA)
        same_verdict(tap, folder, "its image is described",
                     ["info", WITH_DATA], byte, DATA)
        same_verdict(tap, folder, "read as raw",
                     out + ["-f", "raw", RAW, "out.raw"], byte, RAW)
        same_verdict(tap, folder, "described as raw",
                     ["info", "-f", "raw", RAW], byte, RAW)


def targets(tap, folder):
    """A raw disk that somebody uses is not overwritten."""
    path = os.path.join(folder, "target.raw")
    for byte in BYTES:
        for flags in ([], ["-n"]):
            write_file(path, b"t" * 4194304)
            same_verdict(tap, folder, "byre convert %s to it" % flags,
                         ["convert", "-O", "raw"] + flags +
                         [IMAGE, "target.raw"], byte, "target.raw")
    for flags in ([], ["-n"]):
        write_file(path, b"t" * 4194304)
        with holding(path, 201):
            result = run([BYRE, "convert", "-O", "raw"] + flags +
                         [IMAGE, "target.raw"], folder)
        tap.check(result.code == 1 and
                  read_file(path) == b"t" * 4194304,
                  "a target in use keeps its bytes, convert %s" % flags,
                  result.text())


def bytes_of_info(tap, folder):
    """What `info` locks while it is open, seen by strace."""
    if shutil.which("strace") is None:
        tap.skip("the bytes that byre info locks", "strace is not installed")
        return
    for name, expected in (("info", {201, 203}), ("info -U", set()),
                           ("map", READER), ("map -U", SHARED_READER)):
        # A leak checker cannot run under a tracer.
        result = run(["strace", "-f", "-e", "trace=fcntl", BYRE] + VERBS[name],
                     folder, {"ASAN_OPTIONS": "detect_leaks=0"})
        if result.code != 0:
            tap.skip("the bytes that byre %s locks" % name,
                     "strace cannot trace here")
            continue
        taken = set()
        for kind, start, length in re.findall(
                rb"F_OFD_SETLK, \{l_type=(F_RDLCK), l_whence=SEEK_SET, "
                rb"l_start=(\d+), l_len=(\d+)", result.err):
            taken.update(range(int(start), int(start) + int(length)))
        tap.check(taken == expected, "the bytes that byre %s locks" % name,
                  ["locked: %s" % sorted(taken)])


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        folder = scratch.make("locks")
        make_images(folder)
        against_writer(tap, folder)
        against_reader(tap, folder)
        byre_holds(tap, folder)
        single_bytes(tap, folder)
        targets(tap, folder)
        bytes_of_info(tap, folder)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
