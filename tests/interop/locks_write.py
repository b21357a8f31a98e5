#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
byre and QEMU's tools on one image, one of them to write: who is refused.

Without this, two programs could write one image at a time, which destroys it.
"""

import contextlib
import os
import subprocess
import sys

from common import (BYRE, QEMU_IMG, QEMU_IO, Scratch, Tap, must, need_tools,
                    read_file, run, write_file)
from locks import (BASE, BYTES, DATA, IMAGE, RAW, READER, SHARED_READER,
                   WITH_BASE, WITH_DATA, held, holding, make_images, reasons,
                   same_verdict, wait_until)

WRITER = {100, 101, 103, 201, 203}
DATA_WRITER = {100, 101, 103, 203}
RAW_WRITER = {100, 101}

IN_USE = b"Is another process using the image ["


@contextlib.contextmanager
def busy(folder, argv, path, expected, ready=b""):
    """A program that has the image open and waits for commands."""
    with subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        try:
            if ready:
                p.stdin.write(ready)
                p.stdin.flush()
            full = os.path.join(folder, path)
            if not wait_until(lambda: held(full) == expected or
                              p.poll() is not None):
                raise RuntimeError("%s holds %s of %s, not %s" % (
                    argv, held(full), path, expected))
            yield p
        finally:
            p.stdin.close()
            p.stdout.read()
            p.wait()


def byre_open(folder, flags, path, expected):
    return busy(folder, [BYRE, "io"] + flags + [path], path, expected)


def qemu_open(folder, flags, path, expected):
    return busy(folder, [QEMU_IO] + flags + [path], path, expected)


# ---- byre holds ----

READ = [QEMU_IO, "-r", "-c", "read 0 512"]
WRITE = [QEMU_IO, "-c", "write 0 512"]
THEIR_READERS = {
    "qemu-io -r": READ + [IMAGE],
    "info": [QEMU_IMG, "info", IMAGE],
    "map": [QEMU_IMG, "map", IMAGE],
    "check": [QEMU_IMG, "check", IMAGE],
    "convert": [QEMU_IMG, "convert", "-O", "raw", IMAGE, "out.raw"],
    "snapshot -l": [QEMU_IMG, "snapshot", "-l", IMAGE],
}
THEIR_WRITERS = {
    "qemu-io": WRITE + [IMAGE],
    "resize": [QEMU_IMG, "resize", IMAGE, "+1M"],
    "snapshot -c": [QEMU_IMG, "snapshot", "-c", "s", IMAGE],
    "amend": [QEMU_IMG, "amend", "-o", "lazy_refcounts=on", IMAGE],
    "check -r": [QEMU_IMG, "check", "-r", "all", IMAGE],
    "create": [QEMU_IMG, "create", "-q", "-f", "qcow2", IMAGE, "1M"],
    "convert to it": [QEMU_IMG, "convert", "-O", "qcow2", RAW, IMAGE],
    "convert -n to it": [QEMU_IMG, "convert", "-n", "-O", "qcow2", RAW,
                         IMAGE],
}
THEIR_SHARERS = {
    "qemu-io -r -U": READ + ["-U", IMAGE],
    "info -U": [QEMU_IMG, "info", "-U", IMAGE],
    "map -U": [QEMU_IMG, "map", "-U", IMAGE],
    "check -U": [QEMU_IMG, "check", "-U", IMAGE],
    "convert -U": [QEMU_IMG, "convert", "-U", "-O", "raw", IMAGE, "out.raw"],
}


def theirs_refused(tap, folder, state, commands):
    before = read_file(os.path.join(folder, IMAGE))
    for name, argv in commands.items():
        result = run(argv, folder)
        tap.check(result.code == 1 and b"lock" in result.err and
                  read_file(os.path.join(folder, IMAGE)) == before,
                  "%s, QEMU's %s is refused" % (state, name), result.text())


def theirs_welcome(tap, folder, state, commands):
    for name, argv in commands.items():
        result = run(argv, folder)
        tap.check(result.code == 0 and b"lock" not in result.err,
                  "%s, QEMU's %s is let in" % (state, name), result.text())


def byre_writes(tap, folder):
    with byre_open(folder, [], IMAGE, WRITER):
        state = "byre writes"
        theirs_refused(tap, folder, state, THEIR_READERS)
        theirs_refused(tap, folder, state, THEIR_WRITERS)
        theirs_welcome(tap, folder, state, THEIR_SHARERS)
    theirs_welcome(tap, folder, "byre has gone", {"qemu-io": WRITE + [IMAGE]})


def byre_sleeps(tap, folder):
    """What byre locks while it is about something else, or has reopened."""
    path = os.path.join(folder, IMAGE)
    with busy(folder, [BYRE, "io", IMAGE], IMAGE, WRITER,
              b"write -P 7 0 512\nsleep 1500\n") as p:
        wait_until(lambda: b"ops" in p.stdout.readline())
        theirs_refused(tap, folder, "byre sleeps", {"qemu-io": WRITE +
                                                    [IMAGE]})
    with busy(folder, [BYRE, "io", IMAGE], IMAGE, READER, b"reopen -r\n"):
        theirs_welcome(tap, folder, "byre reads on", THEIR_READERS)
        theirs_refused(tap, folder, "byre reads on", THEIR_WRITERS)
    with busy(folder, [BYRE, "io", "-r", IMAGE], IMAGE, WRITER,
              b"reopen -w\n"):
        theirs_refused(tap, folder, "byre writes on", {"info": [QEMU_IMG,
                                                        "info", IMAGE]})
    with byre_open(folder, [], IMAGE, WRITER) as p:
        p.stdin.write(b"close\n")
        p.stdin.flush()
        wait_until(lambda: not held(os.path.join(folder, IMAGE)))
        theirs_welcome(tap, folder, "byre has closed it",
                       {"qemu-io": WRITE + [IMAGE]})
    tap.check(not held(path), "nothing is left locked")


def byre_holds_others(tap, folder):
    """The files beside an image that is written."""
    base = os.path.join(folder, BASE)
    with byre_open(folder, [], WITH_BASE, WRITER):
        wait_until(lambda: held(base) == READER)
        taken = held(base)
    tap.check(taken == READER, "the bytes of a base that is in use",
              [str(sorted(taken))])
    data = os.path.join(folder, DATA)
    with byre_open(folder, [], WITH_DATA, WRITER):
        wait_until(lambda: held(data) == DATA_WRITER)
        taken = held(data)
    with qemu_open(folder, [], WITH_DATA, WRITER):
        wait_until(lambda: held(data) == DATA_WRITER)
        theirs = held(data)
    tap.check(taken == theirs == DATA_WRITER,
              "the bytes of a data file that is in use",
              ["byre %s, QEMU %s" % (sorted(taken), sorted(theirs))])
    with byre_open(folder, ["-f", "raw"], RAW, RAW_WRITER):
        theirs_welcome(tap, folder, "byre writes a raw disk", {
            "info -U": [QEMU_IMG, "info", "-U", RAW]})
    with byre_open(folder, [], WITH_DATA, WRITER):
        result = run(WRITE + ["-f", "raw", DATA], folder)
        theirs = must_hold(folder, [QEMU_IO], WITH_DATA,
                           WRITE + ["-f", "raw", DATA])
        tap.check(result.code == theirs.code,
                  "a data file in use, as QEMU shares it",
                  result.text() + theirs.text())
    with byre_open(folder, [], WITH_BASE, WRITER):
        result = run(WRITE + ["-f", "raw", BASE], folder)
        tap.check(result.code == 1 and b"lock" in result.err,
                  "a base in use is not written", result.text())


def must_hold(folder, opener, image, argv):
    """What a command says while `opener` has the image."""
    with busy(folder, opener + [image], image, WRITER):
        return run(argv, folder)


# ---- QEMU holds ----

OUR_READERS = {
    "io -r": ["io", "-r", "-c", "read 0 512", IMAGE],
    "info": ["info", IMAGE],
    "map": ["map", IMAGE],
    "convert": ["convert", "-O", "raw", IMAGE, "out.raw"],
    "dd": ["dd", "if=" + IMAGE, "of=out.raw"],
}
OUR_WRITERS = {
    "io": ["io", "-c", "write 0 512", IMAGE],
    "resize": ["resize", IMAGE, "+1M"],
    "resize --shrink": ["resize", "--shrink", IMAGE, "1M"],
    "create": ["create", "-q", "-f", "qcow2", IMAGE, "1M"],
    "convert to it": ["convert", "-O", "qcow2", RAW, IMAGE],
    "convert -n to it": ["convert", "-n", "-O", "qcow2", RAW, IMAGE],
    "dd to it": ["dd", "-O", "qcow2", "if=" + RAW, "of=" + IMAGE],
    "bench": ["bench", "-w", "-c", "1", "-f", "qcow2", IMAGE],
}
OUR_SHARERS = {
    "io -r -U": ["io", "-r", "-U", "-c", "read 0 512", IMAGE],
    "info -U": ["info", "-U", IMAGE],
    "convert -U": ["convert", "-U", "-O", "raw", IMAGE, "out.raw"],
}


def ours_refused(tap, folder, state, commands, holder):
    """Refused, with the name of who holds the image; it stays as it is."""
    before = read_file(os.path.join(folder, IMAGE))
    who = b"process %d (%s)" % (holder.pid,
                                os.path.basename(holder.args[0]).encode())
    for name, args in commands.items():
        result = run([BYRE] + args, folder)
        unchanged = read_file(os.path.join(folder, IMAGE)) == before
        tap.check(result.code == 1 and who in result.err and unchanged and
                  IN_USE in result.err and result.err.count(b"\n") == 1,
                  "%s, byre %s is refused" % (state, name),
                  ["unchanged: %s" % unchanged] + result.text())


def ours_welcome(tap, folder, state, commands):
    for name, args in commands.items():
        result = run([BYRE] + args, folder)
        tap.check(result.code == 0 and not result.err,
                  "%s, byre %s is let in" % (state, name), result.text())


def qemu_holds(tap, folder):
    with qemu_open(folder, [], IMAGE, WRITER) as p:
        ours_refused(tap, folder, "QEMU writes", OUR_READERS, p)
        ours_refused(tap, folder, "QEMU writes", OUR_WRITERS, p)
        ours_welcome(tap, folder, "QEMU writes", OUR_SHARERS)
    with qemu_open(folder, ["-r"], IMAGE, READER) as p:
        ours_refused(tap, folder, "QEMU reads", OUR_WRITERS, p)
        ours_welcome(tap, folder, "QEMU reads", OUR_READERS)
    with qemu_open(folder, ["-r", "-U"], IMAGE, SHARED_READER):
        ours_welcome(tap, folder, "QEMU -U reads",
                     {"io": OUR_WRITERS["io"]})
    with byre_open(folder, [], IMAGE, WRITER) as p:
        ours_refused(tap, folder, "byre writes", OUR_WRITERS, p)
        ours_refused(tap, folder, "byre writes", OUR_READERS, p)
        ours_welcome(tap, folder, "byre writes", OUR_SHARERS)


def sharing_to_write(tap, folder):
    """Nobody shares what he writes."""
    theirs = run([QEMU_IO, "-U", "-c", "write 0 512", IMAGE], folder)
    ours = run([BYRE, "io", "-U", "-c", "write 0 512", IMAGE], folder)
    tap.check(theirs.code == ours.code == 1 and ours.err,
              "-U is for reading only", ours.text() + theirs.text())


# ---- One byte at a time ----


def same_end(tap, folder, label, commands, byte, path):
    """
    With one byte of `path` locked, a writing `byre io` and qemu-io end alike.
    A write that fails because of it leaves nothing that the next one minds.
    """
    with holding(os.path.join(folder, path), byte):
        ours = run([BYRE, "io"] + commands, folder)
        theirs = run([QEMU_IO] + commands, folder)
    tap.check(ours.code == theirs.code and
              reasons(ours.err) == reasons(theirs.err),
              "byte %d of %s is locked, %s" % (byte, path, label),
              ours.text() + theirs.text())


def base_in_use(tap, folder, byte):
    """
    qemu-io shares a base with whoever writes to it; byre holds to it that
    nobody does, as a virtual machine and qemu-img convert do.
    """
    with holding(os.path.join(folder, BASE), byte):
        result = run([BYRE, "io", "-c", "write -P 1 0 512", WITH_BASE], folder)
    tap.check(result.code == (1 if byte in (101, 103, 200) else 0),
              "byte %d of %s is locked, its overlay is written" % (byte, BASE),
              result.text())


def single_bytes(tap, folder):
    write = ["-c", "write -P 1 0 512"]
    for byte in BYTES:
        same_end(tap, folder, "written", write + [IMAGE], byte, IMAGE)
        base_in_use(tap, folder, byte)
        same_end(tap, folder, "its image is written", write + [WITH_DATA],
                 byte, DATA)
        same_end(tap, folder, "written as raw",
                 ["-f", "raw"] + write + [RAW], byte, RAW)
        same_verdict(tap, folder, "resized", ["resize", "-q", IMAGE, "4M"],
                     byte, IMAGE)
        for flags in ([], ["-n"]):
            # A fresh target each time: the first to convert may replace it.
            target = os.path.join(folder, "target.qcow2")
            must([QEMU_IMG, "create", "-q", "-f", "qcow2", target, "4M"],
                 folder)
            same_verdict(tap, folder, "convert %s to it" % flags,
                         ["convert", "-O", "qcow2"] + flags +
                         [IMAGE, "target.qcow2"], byte, "target.qcow2")
        write_file(os.path.join(folder, "made.qcow2"), b"x" * 1000)
        same_verdict(tap, folder, "created anew",
                     ["create", "-q", "-f", "qcow2", "made.qcow2", "1M"],
                     byte, "made.qcow2")


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        folder = scratch.make("locks")
        make_images(folder)
        byre_writes(tap, folder)
        byre_sleeps(tap, folder)
        byre_holds_others(tap, folder)
        qemu_holds(tap, folder)
        sharing_to_write(tap, folder)
        single_bytes(tap, folder)
        result = run([QEMU_IMG, "check", IMAGE], folder)
        tap.check(result.code == 0, "the image has come to no harm",
                  result.text())
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
