#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Encrypted images that byre makes or writes: QEMU reads the disk of each, and
cryptsetup the header.

Without this, byre could encipher by rules of its own, which only byre undoes,
or harm the keys of an image while it writes the data.
"""

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import images
import luks
import matrix
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, need_tools, read_file, run,
                    skip_all, write_file)
from flatdisk import Differs, FlatDisk, prepare

FILE = "t.qcow2"
SIZE = 1 << 20
AES = ["encrypt.format=aes", "encrypt.key-secret=" + images.SECRET_ID]


def cases():
    """(name, driver, version, options), LUKS in both versions in turn."""
    found = []
    for number, kind in enumerate(matrix.LUKS_KINDS):
        version = 2 if number % 3 == 2 else 3
        found.append(("-".join(str(p) for p in kind if p), "qcow2", version,
                      images.luks_options(kind)))
    for driver, version in (("qcow2", 3), ("qcow2", 2), ("qcow", 1)):
        found.append(("aes", driver, version, AES))
    return found


def make_disk(folder, maker, case):
    name, driver, version, options = case
    rng = random.Random("%s/%d/%s" % (name, version, maker))
    prepare(rng, folder)
    disk = FlatDisk(folder, FILE, bytes(SIZE), rng, driver=driver,
                    version=version, cluster=65536 if version > 1 else 4096,
                    encrypted=True, resizes=driver == "qcow2")
    if version == 2:
        options = options + ["compat=0.10"]
    argv = (["-f", driver, "-o", ",".join(options)] + images.SECRET_OBJECT +
            [FILE, str(SIZE)])
    if maker == "byre":
        disk.must([BYRE, "create", "-q"] + argv)
    else:
        images.qemu_create(argv, folder)
    return disk


def luks_area(folder):
    luks.cut_area(folder)
    return read_file(os.path.join(folder, "area"))


def write_by_both(disk, is_luks):
    """The key material is the same bytes before and after."""
    before = luks_area(disk.folder) if is_luks else None
    for tool in ("byre", "qemu", "byre"):
        disk.session(tool, disk.draw(16, tool))
        disk.check()
        disk.holds(QEMU_IMG)
    if disk.driver == "qcow2":
        disk.resize("byre", disk.size + 300 * 512)
    disk.judge()
    if is_luks and luks_area(disk.folder) != before:
        raise Differs(["the LUKS header has changed"])


def judge_case(scratch, maker, number, case):
    """(outcome, details); never raises."""
    folder = scratch.make("%s%d" % (maker, number))
    try:
        write_by_both(make_disk(folder, maker, case), "aes" != case[0])
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    return "ok", []


def check_cases(tap, scratch, pool):
    work = [(maker, number, case) for number, case in enumerate(cases())
            for maker in ("byre", "qemu")]
    results = pool.map(lambda w: judge_case(scratch, *w), work)
    for (maker, number, case), (outcome, details) in zip(work, results):
        label = "%s, version %d, made by %s" % (case[0], case[2], maker)
        if outcome == "skip":
            tap.skip(label, " ".join(details))
            continue
        tap.check(outcome == "ok", label, details)
        if maker == "byre" and case[0] != "aes" and outcome == "ok":
            judge_header(tap, scratch, number, label)


def judge_header(tap, scratch, number, label):
    folder = os.path.join(scratch.path, "byre%d" % number)
    write_file(os.path.join(folder, "second"), luks.SECOND)
    write_file(os.path.join(folder, "wrong"), luks.WRONG)
    luks.check_image(tap, folder, label, ["secret"])


def check_second_slot(tap, scratch):
    """Opened by another key, it is the same disk."""
    folder = scratch.make("slots")
    label = "written by the key of slot 5"
    try:
        luks.create(folder, matrix.LUKS_KINDS[0])
        luks.add_second(folder)
    except BuildError as error:
        tap.skip(label, "qemu cannot make it: %s" % error)
        return
    by = ["--object", "secret,id=s0,file=%s", "--image-opts",
          luks.opts(FILE)]
    second = [word.replace("%s", "second") for word in by]
    first = [word.replace("%s", "secret") for word in by]
    written = run([BYRE, "io", "-c", "read -P 7 0 100k", "-c",
                   "write -P 8 50k 200k"] + second, folder)
    result = run([QEMU_IO, "-r", "-c", "read -P 7 0 50k", "-c",
                  "read -P 8 50k 200k"] + first, folder)
    tap.check(written.code == result.code == 0, label,
              written.text() + result.text())
    luks.check_image(tap, folder, label, ["secret", "second"])


def check_refused(tap, scratch):
    """No key, the wrong one, and compressed clusters."""
    folder = scratch.make("refused")
    try:
        luks.create(folder, matrix.LUKS_KINDS[0])
    except BuildError as error:
        tap.skip("refused", "qemu cannot make it: %s" % error)
        return
    before = read_file(os.path.join(folder, FILE))
    good = ["--object", "secret,id=s0,file=secret", "--image-opts",
            luks.opts(FILE)]
    wrong = [word.replace("=secret", "=wrong") for word in good]
    for label, args in (
            ("no key", ["-c", "write 0 512", FILE]),
            ("the wrong key", ["-c", "write 0 512"] + wrong),
            ("a compressed write", ["-c", "write -c 512k 64k"] + good)):
        result = run([BYRE, "io"] + args, folder)
        tap.check(result.code == 1 and result.err + result.out and
                  read_file(os.path.join(folder, FILE)) == before,
                  "refused: " + label, result.text())


def check_plain_streams(tap, scratch):
    """
    QEMU's compressed clusters are not enciphered even here.  Parts of them are
    overwritten.
    """
    for driver_options in (AES, images.luks_options(matrix.LUKS_KINDS[0])):
        folder = scratch.make("streams-" + driver_options[0][-4:])
        case = ("streams", "qcow2", 3, driver_options)
        try:
            disk = make_disk(folder, "qemu", case)
            images.qemu_io(disk.named(), ["write -c -P 5 0 64k",
                                          "write -c -P 6 64k 64k"], folder)
            disk.flat[:65536] = b"\5" * 65536
            disk.flat[65536:131072] = b"\6" * 65536
            disk.session("byre", ["read -P 5 0 64k", "write -P 7 60000 10000",
                                  "read -P 6 70000 60000"])
            disk.flat[60000:70000] = b"\7" * 10000
            disk.judge()
        except BuildError as error:
            tap.skip("streams", "qemu cannot make it: %s" % error)
        except Differs as error:
            tap.check(False, "streams under " + driver_options[0], error.lines)
        else:
            tap.check(True, "streams under " + driver_options[0])


def main():
    need_tools(QEMU_IMG, QEMU_IO, "cryptsetup")
    if missing_feature(["crypto"]):
        skip_all("byre is built without crypto")
    tap = Tap()
    with Scratch() as scratch, ThreadPoolExecutor(2) as pool:
        check_cases(tap, scratch, pool)
        check_second_slot(tap, scratch)
        check_refused(tap, scratch)
        check_plain_streams(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
