#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Holds byre's answers about QEMU's images against QEMU's own.

Without this, nothing would notice that byre reads, maps or describes some
combination of the format's features otherwise than QEMU does.

    BYRE=build/tool/byre tests/interop/run.py [--full] [--seed N] [--only CASE]
                                              [--jobs N] [--limit N] [--list]

CASE is a case's number or part of its name.  STEADY_CLOCK may name the preload
library of this folder.  INTEROP_KEEP=1 keeps the images.
"""

import argparse
import hashlib
import os
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import answers
import images
import matrix
from common import (BYRE, BuildError, QEMU_IMG, Scratch, Tap,
                    missing_feature, need_tools, read_file, run, write_file)

OUT = "out"


class Case:
    """One image and the checks on it; the verdicts are printed later."""

    def __init__(self, image, byre, rng):
        self.image = image
        self.byre = byre
        self.rng = rng
        self.verdicts = []
        os.mkdir(os.path.join(image.folder, OUT))

    def verdict(self, label, good, details=()):
        self.verdicts.append((label, "ok" if good else "not ok",
                              list(details)))

    def skip(self, label, reason):
        self.verdicts.append((label, "skip", [reason]))

    def ours(self, args):
        return run([self.byre] + args, self.image.folder)

    def theirs(self, args):
        return run([QEMU_IMG] + args, self.image.folder)

    def same(self, label, args, parse):
        """The two tools end alike, and what they print means the same."""
        theirs = self.theirs(args)
        if theirs.died:
            self.skip(label, "qemu-img dies on it (signal %d)" % -theirs.code)
            return
        ours = self.ours(args)
        if ours.code != theirs.code or bool(ours.err) != bool(theirs.err):
            self.verdict(label, False, ours.text() + theirs.text())
            return
        try:
            got = parse(ours.out)
            want = parse(theirs.out)
        except ValueError:
            # A failed command prints nothing that parses: then bytes decide.
            got, want = ours.out, theirs.out
        details = [] if got == want else ours.text()[:2]
        if details and isinstance(want, list):
            details = ours.text()[:2] + answers.difference(got, want)
        self.verdict(label, got == want, details)

    def path(self, name):
        return os.path.join(self.image.folder, OUT, name)

    # ---- Bytes ----

    def convert(self, label, extra, snapshot=None):
        """
        Both convert to raw; returns QEMU's file, or None.  A snapshot is a disk
        with the size it was taken at; QEMU gives it the size of the image's
        disk today, so that there the disk of that time is what counts, and
        QEMU's answer as far as both go.
        """
        args = ["convert", "-O", "raw"] + extra + self.image.open_args()
        qemu_raw = OUT + "/qemu-" + label.replace(" ", "-")
        byre_raw = OUT + "/byre-" + label.replace(" ", "-")
        theirs = self.theirs(args + [qemu_raw])
        if theirs.died:
            self.skip(label, "qemu-img dies on it (signal %d)" % -theirs.code)
            return None
        ours = self.ours(args + [byre_raw])
        if theirs.code != 0:
            self.verdict(label, ours.code == theirs.code,
                         ours.text() + theirs.text())
            return None
        want = read_file(os.path.join(self.image.folder, qemu_raw))
        if snapshot:
            then = read_file(os.path.join(self.image.folder,
                                          snapshot + ".raw"))
            common = min(len(then), len(want))
            if want[:common] != then[:common]:
                self.skip(label, "qemu-img differs from the disk of that time")
                return None
            want = then
        if ours.code != 0 or ours.err:
            self.verdict(label, False, ours.text())
            return want
        got = read_file(os.path.join(self.image.folder, byre_raw))
        details = [] if got == want else answers.byte_difference(got, want)
        self.verdict(label, got == want, details and ours.text()[:1] + details)
        os.unlink(os.path.join(self.image.folder, byre_raw))
        return want

    def snapshots(self):
        for i, name in enumerate(self.image.snapshots):
            ways = ["%s" % name, "snapshot.name=%s" % name,
                    "snapshot.id=%d" % (i + 1), "%d" % (i + 1)]
            way = ways[(self.image.case["number"] + i) % len(ways)]
            self.convert("convert -l " + way, ["-l", way], name)

    def pipe(self, want):
        args = ["convert", "-O", "raw"] + self.image.open_args()
        ours = self.ours(args + ["/dev/stdout"])
        good = ours.code == 0 and ours.out == want
        details = ["$ " + " ".join(ours.argv), "exit %d" % ours.code,
                   ours.err.decode("utf-8", "replace")]
        if ours.code == 0:
            details = details[:1] + answers.byte_difference(ours.out, want)
        self.verdict("pipe", good, details)

    # ---- Compare ----

    def compare_args(self, raw, flags=()):
        image = self.image
        if image.encrypted:
            return (["compare"] + list(flags) + images.SECRET_OBJECT +
                    ["--image-opts", image.image_opts(),
                     "driver=raw,file.filename=" + raw])
        formats = ["-F", "raw"]
        if image.case["number"] % 2:
            formats += ["-f", image.driver]
        return ["compare"] + list(flags) + formats + [image.file, raw]

    def compare(self, want):
        """Equal, one byte changed, longer with zeroes, longer with data."""
        changed = bytearray(want)
        changed[self.rng.randrange(len(want))] ^= 0xff
        variants = {
            "equal": want,
            "changed": bytes(changed),
            "longer": want + bytes(5 * 512),
            "longer-data": want + bytes(512) + b"x" * 512,
            "shorter": want[:len(want) * 3 // 4 // 512 * 512],
        }
        for name, data in variants.items():
            write_file(self.path(name), data)
            self.same("compare " + name,
                      self.compare_args(OUT + "/" + name), answers.lines)
        self.same("compare -s longer",
                  self.compare_args(OUT + "/longer", ["-s"]), answers.lines)
        self.compare_strictly()
        args = self.compare_args(OUT + "/equal")
        ours = self.ours(args)
        self.verdict("compare says identical",
                     ours.code == 0 and ours.out == b"Images are identical.\n",
                     ours.text())

    def compare_strictly(self):
        """
        QEMU compares the flags of pieces as it happens to cut them (a piece
        that ends the disk differs from one that does not); byre compares what
        is allocated.  So byre must never be the stricter one.
        """
        args = self.compare_args(OUT + "/equal", ["-s"])
        theirs, ours = self.theirs(args), self.ours(args)
        their_place = answers.strict_mismatch(theirs)
        our_place = answers.strict_mismatch(ours)
        good = (their_place is not None and our_place is not None and
                our_place >= their_place)
        self.verdict("compare -s equal", good, ours.text() + theirs.text())

    # ---- Description ----

    def describe(self):
        file, opened = [self.image.file], self.image.open_args()
        self.same("map json", ["map", "--output=json"] + opened,
                  answers.map_json)
        self.same("map", ["map"] + opened, answers.lines)
        self.same("info json", ["info", "--output=json"] + file,
                  answers.info_json)
        self.same("info", ["info"] + file, answers.info_human)
        self.same("info -U -f", ["info", "-U", "-f", self.image.driver] + file,
                  answers.info_human)
        chain = ["info", "--backing-chain"]
        self.same("info chain json", chain + ["--output=json"] + file,
                  answers.info_json)
        self.same("info chain", chain + file, answers.info_human)
        if self.image.encrypted:
            self.same("info secret json", ["info", "--output=json"] + opened,
                      answers.info_json)
            self.same("map without secret", ["map", "--output=json"] + file,
                      answers.map_json)

    def probing(self):
        """Under its own name byre does not guess what an overlay stands on."""
        if not self.image.probes:
            return
        args = ["convert", "-O", "raw"] + self.image.open_args() + \
            [OUT + "/guessed"]
        ours = run([BYRE] + args, self.image.folder)
        made = os.path.exists(self.path("guessed"))
        self.verdict("no probing under its own name",
                     ours.code == 1 and b"--probe-backing" in ours.err and
                     not made, ours.text())
        ours = run([BYRE] + args[:1] + ["--probe-backing"] + args[1:],
                   self.image.folder)
        self.verdict("--probe-backing", ours.code == 0, ours.text())

    def digests(self):
        return {entry.name: hashlib.sha256(read_file(entry.path)).hexdigest()
                for entry in os.scandir(self.image.folder) if entry.is_file()}

    def run_all(self):
        before = self.digests()
        flags = [[], ["-S", "0"], ["-W", "-m", "2"], ["-f", self.image.driver]]
        extra = flags[self.image.case["number"] % len(flags)]
        if self.image.encrypted and extra[:1] == ["-f"]:
            extra = []
        want = self.convert("convert", extra)
        self.snapshots()
        self.describe()
        self.probing()
        if want is not None:
            self.compare(want)
            self.pipe(want)
        self.verdict("files untouched", self.digests() == before)


def refusal(image, byre, rng):
    """A cipher that libcrypto lacks: described, but not read as anything."""
    case = Case(image, byre, rng)
    case.same("info json", ["info", "--output=json", image.file],
              answers.info_json)
    ours = case.ours(["convert", "-O", "raw"] + image.open_args() +
                     [OUT + "/refused"])
    cipher = image.case["luks"][0].split("-")[0].encode()
    case.verdict("convert refuses the cipher by its name",
                 ours.code == 1 and cipher in ours.err and
                 not os.path.exists(case.path("refused")), ours.text())
    return case.verdicts


def check_case(params, scratch, seed, refused):
    """Builds and checks one case; never raises."""
    label = "%s%03d" % ("refused-" if refused else "", params["number"])
    folder = scratch.make(label)
    rng = random.Random("checks/%s/%s" % (seed, params["number"]))
    lacking = missing_feature(matrix.features(params))
    if lacking:
        return label, [("case", "skip", ["byre is built without " + lacking])]
    try:
        image = images.build(params, folder, seed)
        byre = scratch.as_qemu if image.probes else BYRE
        if refused:
            verdicts = refusal(image, byre, rng)
        else:
            case = Case(image, byre, rng)
            case.run_all()
            verdicts = case.verdicts
    except BuildError as error:
        verdicts = [("build", "skip", ["qemu cannot make it: %s" % error])]
    if not os.environ.get("INTEROP_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    return label, verdicts


def report(tap, label, params, verdicts):
    for what, outcome, details in verdicts:
        line = "%s %s: %s" % (label, what, matrix.name(params))
        if outcome == "skip":
            tap.skip(line, " ".join(details))
        else:
            tap.check(outcome == "ok", line, details)


def select(cases, only):
    if only is None:
        return cases
    if only.isdigit():
        return [c for c in cases if c["number"] == int(only)]
    return [c for c in cases if only in matrix.name(c)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--limit", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()

    if options.full:
        cases = matrix.product(options.seed, options.limit)
    else:
        cases = matrix.pairwise(options.seed)
    cases = select(cases, options.only)
    refused = select(matrix.refused(), options.only)
    if options.list:
        for case in cases:
            print("%03d %s" % (case["number"], matrix.name(case)))
        return 0

    need_tools(QEMU_IMG, images.QEMU_IO)
    tap = Tap()
    work = [(c, False) for c in cases] + [(c, True) for c in refused]
    with Scratch() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(
            lambda w: check_case(w[0], scratch, options.seed, w[1]), work)
        for (params, _), (label, verdicts) in zip(work, results):
            report(tap, label, params, verdicts)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
