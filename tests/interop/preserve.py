#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What byre keeps of an image when it writes, and when it does not write at all.

Without this, byre could lose what a newer program put into a header, or write
to an image that says it must not be written, or over its own tables.
"""

import os
import struct
import sys

import header
import images
from common import (BYRE, QEMU_IMG, QEMU_IO, Scratch, Tap, must, need_tools,
                    read_file, run, write_file)
from qcow2file import (AUTOCLEAR, COMPATIBLE, EXT_BACKING_FORMAT, EXT_BITMAPS,
                       EXT_FEATURE_NAMES, INCOMPATIBLE, Qcow2File)

FILE = "t.qcow2"
COPIED = 1 << 63
DIRTY, CORRUPT = 1, 2
MIB = 1 << 20
UNKNOWN_AUTOCLEAR = 0xf0
UNKNOWN_COMPATIBLE = 0x3000


def create(folder, options, size="2M", *more):
    argv = [QEMU_IMG, "create", "-q", "-f", "qcow2"]
    if options:
        argv += ["-o", options]
    must(argv + list(more) + [FILE, size], folder)


def fill(folder, *commands):
    images.qemu_io([FILE], list(commands), folder)


def byre_io(folder, *commands, flags=()):
    argv = [BYRE, "io"] + list(flags)
    for command in commands:
        argv += ["-c", command]
    return run(argv + [FILE], folder)


def path_of(folder):
    return os.path.join(folder, FILE)


def is_refused(tap, folder, label, args, words):
    """Fails in one line with `words` in it; not a byte of the image changes."""
    before = read_file(path_of(folder))
    result = run([BYRE] + args, folder)
    unchanged = read_file(path_of(folder)) == before
    tap.check(result.code == 1 and unchanged and
              result.err.count(b"\n") == 1 and
              all(word in result.err for word in words),
              label, ["unchanged: %s" % unchanged] + result.text())


# ---- The header ----

ODD_EXTENSIONS = [(0x11111111, b"first"), (0x22222222, b"x" * 24),
                  (0x11111111, b"the same type again"), (0x7fffffff, b"")]
FEATURES = struct.pack(">BB46s", 0, 63, b"a bit of tomorrow") * 2

# The image, what is put into its header, and whether it has a backing file.
HEADERS = {
    "unknown extensions": ("", {"extensions": ODD_EXTENSIONS}, False),
    "unknown extensions around a name table": (
        "", {"extensions": ODD_EXTENSIONS[:2] +
             [(EXT_FEATURE_NAMES, FEATURES)] + ODD_EXTENSIONS[2:]}, False),
    "unknown extensions in an overlay": (
        "", {"extensions": ODD_EXTENSIONS[:1] +
             [(EXT_BACKING_FORMAT, b"raw")] + ODD_EXTENSIONS[1:]}, True),
    "a long header": ("", {"tail": b"\x01\x02\x03\x04\x05\x06\x07\x08"},
                      False),
    "a longer header and extensions": (
        "cluster_size=4k", {"tail": bytes(range(88)),
                            "extensions": ODD_EXTENSIONS}, False),
    "a header of 104 bytes": ("", {"length": 104}, False),
    "a header of 104 bytes in an overlay": ("cluster_size=512",
                                            {"length": 104}, True),
    "unknown compatible bits": ("", {"compatible": UNKNOWN_COMPATIBLE},
                                False),
    "unknown autoclear bits": ("", {"autoclear": UNKNOWN_AUTOCLEAR}, False),
    "everything in version 2": ("compat=0.10",
                                {"extensions": ODD_EXTENSIONS}, False),
    "everything with tiny clusters": (
        "cluster_size=512,refcount_bits=64",
        {"tail": b"tail" * 4, "extensions": ODD_EXTENSIONS[:2],
         "autoclear": UNKNOWN_AUTOCLEAR, "compatible": UNKNOWN_COMPATIBLE},
        False),
}


def odd_disk(folder, options, fields, backed):
    base = []
    if backed:
        write_file(os.path.join(folder, "base.raw"), b"base" * (MIB // 2))
        base = ["-b", "base.raw", "-F", "raw"]
    create(folder, options, "2M", *base)
    fill(folder, "write -P 1 0 600k")
    header.rewrite(path_of(folder), **fields)
    must([QEMU_IMG, "check", FILE], folder)


def content(folder, tool, *flags):
    out = os.path.join(folder, "out.raw")
    must([tool, "convert", "-O", "raw"] + list(flags) + [FILE, out], folder)
    return read_file(out)


def readers_keep(tap, folder, name):
    before = read_file(path_of(folder))
    results = [byre_io(folder, "read 0 1M", "map", "info", flags=["-r"]),
               run([BYRE, "info", FILE], folder),
               run([BYRE, "convert", "-O", "raw", FILE, "out.raw"], folder)]
    tap.check(all(r.code == 0 for r in results) and
              read_file(path_of(folder)) == before,
              name + ": a reader changes nothing", results[0].text())


def writers_keep(tap, folder, name):
    """Written to, resized until the L1 and refcount tables have moved."""
    path = path_of(folder)
    before = header.after_fields(path)
    compatible = Qcow2File(path).get("Q", COMPATIBLE)
    expected = bytearray(content(folder, QEMU_IMG)) + bytes(38 * MIB)
    expected[100000:103000] = b"\x07" * 3000
    expected[5 * MIB:12 * MIB] = b"\x08" * (7 * MIB)
    expected[600000:600512] = bytes(512)
    steps = [byre_io(folder, "write -P 7 100000 3000", "write -z 600000 512"),
             run([BYRE, "resize", "-q", FILE, "40M"], folder),
             byre_io(folder, "write -P 8 5M 7M"),
             run([BYRE, "resize", "-q", "--shrink", FILE, "39M"], folder),
             run([BYRE, "resize", "-q", FILE, "40M"], folder),
             run([QEMU_IMG, "check", FILE], folder)]
    bad = [s for s in steps if s.code != 0]
    tap.check(not bad, name + ": written and resized",
              bad[0].text() if bad else ())
    tap.check(header.after_fields(path) == before,
              name + ": the rest of the header is what it was")
    if Qcow2File(path).version > 2:
        tap.check(Qcow2File(path).get("Q", COMPATIBLE) == compatible and
                  Qcow2File(path).get("Q", AUTOCLEAR) == 0,
                  name + ": compatible bits stay, unknown autoclear bits go")
    tap.check(content(folder, QEMU_IMG) == expected and
              content(folder, BYRE) == expected, name + ": the disk")


def check_headers(tap, scratch):
    for name, (options, fields, backed) in HEADERS.items():
        folder = scratch.make("header-" + name.replace(" ", "-"))
        odd_disk(folder, options, fields, backed)
        readers_keep(tap, folder, name)
        writers_keep(tap, folder, name)


def check_autoclear(tap, scratch):
    """To open it for writing is enough; the bit that is known stays."""
    folder = scratch.make("autoclear")
    create(folder, "data_file=d.raw,data_file_raw=on")
    header.rewrite(path_of(folder), autoclear=UNKNOWN_AUTOCLEAR)
    result = byre_io(folder, "length")
    bits = Qcow2File(path_of(folder)).get("Q", AUTOCLEAR)
    tap.check(result.code == 0 and bits == 2,
              "opened for writing: unknown bits go, a raw data file stays",
              ["autoclear %#x" % bits] + result.text())
    result = byre_io(folder, "write -P 5 100 100000", "discard 64k 64k",
                     "write -z 300k 10k")
    same = run([QEMU_IMG, "compare", "-f", "raw", "-F", "qcow2", "d.raw",
                FILE], folder)
    tap.check(result.code == same.code == 0, "and the data file is the disk",
              result.text() + same.text())


# ---- What must not be written ----

CHANGES = {
    "io": ["io", "-c", "write -P 9 0 64k", FILE],
    "io, which only opens it": ["io", "-c", "length", FILE],
    "resize": ["resize", FILE, "+1M"],
    "convert -n": ["convert", "-n", "-O", "qcow2", "other.raw", FILE],
}


def check_unwritable(tap, scratch):
    for name, words, damage in (
            ("corrupt", [b"corrupt"],
             lambda image: image.put("Q", INCOMPATIBLE, CORRUPT)),
            ("a bit of tomorrow", [b"feature"],
             lambda image: image.put("Q", INCOMPATIBLE, 1 << 62))):
        folder = scratch.make("unwritable-" + name.replace(" ", "-"))
        create(folder, "")
        fill(folder, "write -P 1 0 1M")
        write_file(os.path.join(folder, "other.raw"), bytes(2 * MIB))
        image = Qcow2File(path_of(folder))
        damage(image)
        image.save()
        for verb, args in CHANGES.items():
            is_refused(tap, folder, "%s: byre %s" % (name, verb), args, words)
        readable = byre_io(folder, "read -P 1 0 1M", flags=["-r"])
        tap.check((readable.code == 0) == (name == "corrupt"),
                  name + ": read, if it may be", readable.text())


def check_bitmaps(tap, scratch):
    folder = scratch.make("bitmaps")
    create(folder, "")
    fill(folder, "write -P 1 0 1M")
    must([QEMU_IMG, "bitmap", "--add", FILE, "b0"], folder)
    write_file(os.path.join(folder, "other.raw"), bytes(2 * MIB))
    image = Qcow2File(path_of(folder))
    _, payload = image.extension(EXT_BITMAPS)
    image.put("B", int.from_bytes(payload[16:24], "big") + 16, 9)  # its type
    image.save()
    for verb, args in CHANGES.items():
        is_refused(tap, folder, "damaged bitmaps: byre " + verb, args,
                   [b"bitmap"])
    result = byre_io(folder, "read -P 1 0 1M", flags=["-r"])
    tap.check(result.code == 0, "damaged bitmaps: read", result.text())


def check_unrecorded_backing(tap, scratch):
    """The format of the base is guessed only under QEMU's names."""
    folder = scratch.make("unrecorded")
    write_file(os.path.join(folder, "base.raw"), b"base" * (MIB // 2))
    create(folder, "", "2M", "-b", "base.raw", "-F", "raw")
    header.rewrite(path_of(folder), extensions=[])
    is_refused(tap, folder, "unrecorded base: byre io",
               ["io", "-c", "write 0 512", FILE], [b"--probe-backing"])
    is_refused(tap, folder, "unrecorded base: byre resize, smaller",
               ["resize", "--shrink", FILE, "100"], [b"--probe-backing"])
    result = byre_io(folder, "write -P 5 512 512", flags=["--probe-backing"])
    tap.check(result.code == 0, "unrecorded base: byre io --probe-backing",
              result.text())
    os.symlink(BYRE, os.path.join(folder, "qemu-io"))
    result = run([os.path.join(folder, "qemu-io"), "-c",
                  "write -P 6 1024 512", FILE], folder)
    tap.check(result.code == 0, "unrecorded base: as qemu-io", result.text())
    result = run([scratch.as_qemu, "resize", "-q", FILE, "3M"], folder)
    tap.check(result.code == 0, "unrecorded base: resize as qemu-img",
              result.text())
    expected = bytearray(b"base" * (MIB // 2) + bytes(MIB))
    expected[512:1536] = b"\5" * 512 + b"\6" * 512
    tap.check(content(folder, QEMU_IMG) == expected and
              content(folder, BYRE, "--probe-backing") == expected,
              "unrecorded base: the disk")


def as_nobody(argv):
    if os.geteuid() != 0:
        return argv
    return ["setpriv", "--reuid=65534", "--regid=65534",
            "--clear-groups"] + argv


def check_read_only_file(tap, scratch):
    folder = scratch.make("read-only")
    create(folder, "data_file=d.raw")
    fill(folder, "write -P 1 0 1M")
    probe = run(as_nobody([BYRE, "--version"]), folder)
    if probe.code != 0:
        tap.skip("read-only files", "byre does not run as nobody")
        return
    os.chmod(scratch.path, 0o755)
    os.chmod(folder, 0o755)
    for image_mode, data_mode, what in ((0o444, 0o666, FILE),
                                        (0o666, 0o444, "d.raw")):
        os.chmod(path_of(folder), image_mode)
        os.chmod(os.path.join(folder, "d.raw"), data_mode)
        before = read_file(path_of(folder))
        for verb in ("io", "resize"):
            result = run(as_nobody([BYRE] + CHANGES[verb]), folder)
            tap.check(result.code == 1 and b"Permission denied" in result.err
                      and what.encode() in result.err and
                      result.err.count(b"\n") == 1 and
                      read_file(path_of(folder)) == before,
                      "%s is read-only: byre %s" % (what, verb),
                      result.text())
        result = run(as_nobody([BYRE, "io", "-r", "-c", "read -P 1 0 1M",
                                FILE]), folder)
        tap.check(result.code == 0, "%s is read-only: read" % what,
                  result.text())


# ---- Tables that lie ----


class Damaged:
    """An image of 64 KiB clusters and 16-bit counts with data in the first."""

    CLUSTER = 65536

    def __init__(self, folder, options=""):
        self.folder = folder
        create(folder, options)
        fill(folder, *["write -P %d %d %d" % (i + 1, i * self.CLUSTER,
                                              self.CLUSTER)
                       for i in range(8)])
        self.image = Qcow2File(path_of(folder))
        self.l1 = self.image.get("Q", 40)
        self.l2 = self.image.get("Q", self.l1) & ~COPIED
        self.table = self.image.get("Q", 48)
        self.block = self.image.get("Q", self.table)

    def entry(self, index):
        return self.image.get("Q", self.l2 + 8 * index)

    def set_entry(self, index, value):
        self.image.put("Q", self.l2 + 8 * index, value)

    def set_count(self, offset, value):
        self.image.put("H", self.block + 2 * (offset // self.CLUSTER), value)

    def structures(self):
        return {"the L1 table": self.l1, "its L2 table": self.l2,
                "the refcount table": self.table,
                "the refcount block": self.block}

    def others_read_back(self, first):
        """Whatever happened, clusters from `first` on are what they were."""
        reads = ["read -P %d %d %d" % (i + 1, i * self.CLUSTER, self.CLUSTER)
                 for i in range(first, 8)]
        return byre_io(self.folder, *reads, flags=["-r"])


def without_features(data):
    """An image but for its incompatible bits."""
    return data[:INCOMPATIBLE] + data[INCOMPATIBLE + 8:]


def check_entry_to_metadata(tap, scratch):
    """A data cluster that is a table: not overwritten, and marked."""
    number = 0
    for options in ("", "compat=0.10"):
        for what in ("the L1 table", "its L2 table", "the refcount table",
                     "the refcount block"):
            for command in ("write -P 9 0 512", "write -P 9 0 64k",
                            "write -z 0 512"):
                number += 1
                folder = scratch.make("metadata-%d" % number)
                damaged = Damaged(folder, options)
                damaged.set_entry(0, damaged.structures()[what] | COPIED)
                damaged.image.save()
                judge_marked(tap, damaged, options,
                             "%s in place of data, %s%s" % (
                                 what, command, ", v2" if options else ""),
                             command)


def judge_marked(tap, damaged, options, label, command):
    folder = damaged.folder
    before = read_file(path_of(folder))
    result = byre_io(folder, command)
    after = read_file(path_of(folder))
    bits = 0 if options else Qcow2File(path_of(folder)).get("Q", INCOMPATIBLE)
    good = (result.code == 1 and
            without_features(after) == without_features(before) and
            (options or bits & CORRUPT))
    others = damaged.others_read_back(1)
    tap.check(good and others.code == 0, label,
              ["incompatible bits %#x" % bits] + result.text() +
              others.text())


def check_entry_to_snapshots(tap, scratch):
    """The tables of snapshots are guarded too."""
    for what, at in (("the snapshot table", 64), ("a snapshot's L1 table", 0)):
        for command in ("write -P 9 0 512", "discard 0 64k"):
            folder = scratch.make(("%s %s" % (what, command)).replace(" ", "-"))
            damaged = Damaged(folder)
            must([QEMU_IMG, "snapshot", "-c", "s", FILE], folder)
            # The active L2 table is its own again, its entries are not.
            fill(folder, "write -P 1 0 64k")
            damaged.image = image = Qcow2File(path_of(folder))
            damaged.l2 = image.get("Q", damaged.l1) & ~COPIED
            place = image.get("Q", 64)
            if at == 0:
                place = image.get("Q", place)
            damaged.set_entry(0, place | COPIED)
            image.save()
            judge_marked(tap, damaged, "", "%s in place of data, %s" % (
                what, command), command)


def check_freed_metadata(tap, scratch):
    """A table that looks like data is given up: nobody gets it."""
    number = 0
    for what in ("the L1 table", "its L2 table", "the refcount table",
                 "the refcount block"):
        for copied in (COPIED, 0):
            for command in ("discard 0 64k", "write -z -u 0 64k"):
                number += 1
                folder = scratch.make("freed-%d" % number)
                damaged = Damaged(folder)
                damaged.set_entry(0, damaged.structures()[what] | copied)
                damaged.image.save()
                first = byre_io(folder, command, "flush", "write -P 77 1M 900k")
                second = byre_io(folder, "write -P 78 1M 900k", "flush")
                others = damaged.others_read_back(1)
                theirs = run([QEMU_IO, "-r"] + [
                    word for i in range(1, 8) for word in (
                        "-c", "read -P %d %d %d" % (i + 1, i << 16, 1 << 16))]
                    + [FILE], folder)
                tap.check(others.code == theirs.code == 0,
                          "%s is given up by %s, %s" % (
                              what, command, "copied" if copied else "shared"),
                          first.text() + second.text() + others.text() +
                          theirs.text())


def check_l1_to_metadata(tap, scratch):
    """An L2 table that is another table."""
    for what in ("the L1 table", "the refcount table", "the refcount block"):
        folder = scratch.make("l1-" + what.replace(" ", "-"))
        damaged = Damaged(folder)
        damaged.image.put("Q", damaged.l1, damaged.structures()[what] | COPIED)
        damaged.image.save()
        before = read_file(path_of(folder))
        result = byre_io(folder, "write -P 9 700k 512")
        after = read_file(path_of(folder))
        tap.check(result.code == 1 and
                  without_features(after) == without_features(before),
                  what + " in place of an L2 table", result.text())


def check_past_end(tap, scratch):
    """A cluster that the file is too short for reads as zeroes."""
    for copied in (COPIED, 0):
        folder = scratch.make("past-end-%d" % (copied >> 63))
        damaged = Damaged(folder)
        damaged.set_entry(0, 64 << 20 | copied)
        damaged.image.save()
        zero = byre_io(folder, "read -P 0 0 64k", flags=["-r"])
        written = byre_io(folder, "write -P 9 0 512", "write -P 8 1M 64k")
        others = damaged.others_read_back(1)
        length = os.path.getsize(path_of(folder))
        tap.check(zero.code == others.code == 0 and length < 4 * MIB,
                  "a cluster past the end of the file, %s" % (
                      "copied" if copied else "shared"),
                  ["%d bytes" % length] + zero.text() + written.text() +
                  others.text())


def check_count_of_zero(tap, scratch):
    """
    A count of 0 for a table that is in use: it is not handed out.  (Data with a
    count of 0 is beyond what any writer sees without a check.)
    """
    for what in ("the L1 table", "its L2 table", "the refcount table",
                 "the refcount block"):
        folder = scratch.make("zero-" + what.replace(" ", "-"))
        damaged = Damaged(folder)
        damaged.set_count(damaged.structures()[what], 0)
        damaged.image.save()
        written = byre_io(folder, "write -P 77 1M 900k", "flush",
                          "write -c -P 5 576k 64k")
        others = damaged.others_read_back(0)
        tap.check(others.code == 0, what + " with a count of 0",
                  written.text() + others.text())


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        check_headers(tap, scratch)
        check_autoclear(tap, scratch)
        check_unwritable(tap, scratch)
        check_bitmaps(tap, scratch)
        check_unrecorded_backing(tap, scratch)
        check_read_only_file(tap, scratch)
        check_entry_to_metadata(tap, scratch)
        check_entry_to_snapshots(tap, scratch)
        check_freed_metadata(tap, scratch)
        check_l1_to_metadata(tap, scratch)
        check_past_end(tap, scratch)
        check_count_of_zero(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
