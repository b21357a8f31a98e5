#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Repairs damaged images with QEMU and with byre, and compares what is left.

Without this, nothing would notice that byre's repair gives up something that
QEMU's keeps, or leaves what QEMU's own check then complains about.

The images are those of tests/images that say what check finds.  Whatever can be
read after QEMU's repair, of the disk and of its snapshots, must read the same
after byre's; QEMU's check of the result must be as content as with its own, and
byre must see, before, whatever QEMU sees.

    BYRE=build/tool/byre tests/interop/check_corpus.py [NAME]...
"""
import json
import lzma
import os
import pathlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from common import BYRE, QEMU_IMG, Scratch, Tap, need_tools, read_file, run, \
    write_file

IMAGES = pathlib.Path(__file__).resolve().parent.parent / "images"
SECTOR = 512
UNREAD = re.compile(rb"error while reading offset (\d+)")
DONE = (0, 2, 3)
# A guest cluster is a table, in which a repair sets flags: they change it.
DISK_IS_TABLE = ("damaged-l2-own-table",)
# QEMU's repair drops what is beyond the limit; byre's refuses the table.
NOT_YET = {"damaged-snapshot-too-many":
           "byre does not repair a count of snapshots over the limit"}


def find_cases(names):
    folders = sorted(path.parent for path in IMAGES.glob("*/case")
                     if "\ncheck: corruptions" in path.read_text())
    return [f for f in folders if not names or f.name in names]


def unpack(source, folder):
    for packed in source.glob("*.xz"):
        write_file(os.path.join(folder, packed.stem),
                   lzma.decompress(packed.read_bytes()))


class Reading:
    """What QEMU reads of a disk, and where it cannot."""

    def __init__(self, folder, *options):
        out = os.path.join(folder, "out.raw")
        result = run([QEMU_IMG, "convert", "--salvage", "-O", "raw", *options,
                      "image", "out.raw"], folder)
        self.good = result.code == 0
        self.data = read_file(out) if self.good else b""
        self.unread = {int(offset) for offset in UNREAD.findall(result.err)}
        if os.path.exists(out):
            os.unlink(out)

    def lost(self, other):
        """Offsets that this has and the other has not, or otherwise."""
        if not self.good:
            return []
        if not other.good or len(other.data) != len(self.data):
            return ["all"]
        if other.data == self.data and not other.unread - self.unread:
            return []
        return [offset for offset in range(0, len(self.data), SECTOR)
                if offset not in self.unread
                and (offset in other.unread
                     or self.data[offset:offset + SECTOR]
                     != other.data[offset:offset + SECTOR])]


def snapshots(folder):
    """The ids of the first few: there may be 65536."""
    result = run([QEMU_IMG, "info", "--output=json", "image"], folder)
    if result.code != 0:
        return []
    return [s["id"] for s in json.loads(result.out).get("snapshots", [])[:3]]


def check(tool, folder, *options):
    return run([tool, "check", *options, "image"], folder)


class Case:
    """One image in two folders, repaired by one tool each."""

    def __init__(self, source, scratch):
        self.source = source
        self.theirs = scratch.make(source.name + "/theirs")
        self.ours = scratch.make(source.name + "/ours")
        for folder in (self.theirs, self.ours):
            unpack(source, folder)
        self.complaints = []
        self.skipped = None

    def judge(self):
        self.skipped = NOT_YET.get(self.source.name)
        if self.skipped:
            return self
        their_look = check(QEMU_IMG, self.theirs)
        our_look = check(BYRE, self.ours)
        their_repair = check(QEMU_IMG, self.theirs, "-r", "all")
        our_repair = check(BYRE, self.ours, "-r", "all")
        if their_repair.died or their_repair.code == 63 \
                or b"Could not open" in their_repair.err:
            self.skipped = "qemu-img does not check it"
            return self
        self.judge_looks(their_look, our_look)
        self.judge_kept()
        self.judge_result(our_repair)
        return self

    def judge_looks(self, theirs, ours):
        """byre may see more than QEMU, never less."""
        if theirs.code in (2, 3) and ours.code not in (2, theirs.code):
            self.complaints += ["the first look:"] + theirs.text() \
                + ours.text()

    def leaves_corruption(self):
        """What the case says stays for a person to decide."""
        text = (self.source / "case").read_text()
        return "\nleft: corruptions" in text \
            and "\nleft: corruptions 0" not in text

    def judge_kept(self):
        if self.source.name in DISK_IS_TABLE:
            return
        ways = [()] + [("-l", "snapshot.id=" + number)
                       for number in snapshots(self.theirs)]
        for way in ways:
            lost = Reading(self.theirs, *way).lost(Reading(self.ours, *way))
            if lost:
                self.complaints.append(
                    "%s: %d sectors are lost, the first at %s"
                    % (" ".join(way) or "disk", len(lost), lost[0]))

    def judge_result(self, repair):
        """QEMU's second look at each of the results."""
        theirs = check(QEMU_IMG, self.theirs)
        ours = check(QEMU_IMG, self.ours)
        if theirs.died or ours.died:
            return
        if ours.code == 2 and self.leaves_corruption():
            return
        if theirs.code in DONE and ours.code not in (0, theirs.code) \
                and not (ours.code == 3 and theirs.code == 2):
            self.complaints += ["QEMU's check of the result:"] \
                + ours.text() + ["after:"] + repair.text()


def main():
    need_tools(QEMU_IMG)
    tap = Tap()
    with Scratch() as scratch:
        cases = [Case(source, scratch) for source in find_cases(sys.argv[1:])]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for case in pool.map(Case.judge, cases):
                if case.skipped and not case.complaints:
                    tap.skip(case.source.name, case.skipped)
                else:
                    tap.check(not case.complaints, case.source.name,
                              case.complaints)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
