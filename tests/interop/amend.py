#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Images that byre amends, beside the same ones that QEMU amends: what they are
afterwards, what QEMU's check and compare say, and which passphrases cryptsetup
takes.

Without this, byre could make of an image what only byre reads, or take for done
what QEMU refuses.
"""

import json
import os
import random
import shutil
import sys

import images
import luks
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run,
                    write_file)

FILE = "t.qcow2"
ROUNDS = 16
SNAPSHOTS = ("one", "two")
# What QEMU 7.2 dies of is no verdict: see died().
CHANGES = ["compat=0.10", "compat=1.1", "compat=v2", "compat=v3",
           "refcount_bits=1", "refcount_bits=2", "refcount_bits=8",
           "refcount_bits=16", "refcount_bits=32", "refcount_bits=64",
           "lazy_refcounts=on", "lazy_refcounts=off",
           "compat=0.10,refcount_bits=16", "compat=1.1,refcount_bits=4",
           "size=9M", "size=4M", "size=6M,compat=1.1", "size=1000",
           "cluster_size=4k", "data_file=x", "data_file_raw=on",
           "compat=0.10,lazy_refcounts=on", "refcount_bits=7"]


# ---- The same change by both ----

def io_commands(rng, size):
    commands = []
    for _ in range(rng.randint(4, 12)):
        offset = rng.randrange(size // 512) * 512
        length = min(rng.choice([512, 4096, 70000, 300000]), size - offset)
        kind = rng.choice(["-P %d" % rng.randrange(1, 255)] * 3 + ["-z", "-z -u"])
        commands.append("write -q %s %d %d" % (kind, offset, length))
    return commands


def build(rng, folder):
    """An image of any kind, with snapshots between its writes."""
    options = ["compat=" + rng.choice(["1.1", "1.1", "1.1", "0.10"])]
    options.append("cluster_size=%d" % rng.choice([512, 4096, 65536]))
    if options[0] == "compat=1.1":
        options.append("lazy_refcounts=" + rng.choice(["on", "off"]))
        options.append("refcount_bits=%d" % rng.choice([8, 16, 16, 64]))
    argv = ["-f", "qcow2", "-o", ",".join(options)]
    if rng.random() < 0.4:
        must([QEMU_IMG, "create", "-q", "-f", "raw", "base", "5M"], folder)
        must([QEMU_IO, "-f", "raw", "-c", "write -q -P 99 0 5M", "base"], folder)
        argv += ["-b", "base", "-F", "raw"]
    must([QEMU_IMG, "create", "-q"] + argv + [FILE, "6M"], folder)
    names = [name for name in SNAPSHOTS if rng.random() < 0.5]
    images.qemu_io([FILE], io_commands(rng, 6 << 20), folder)
    for name in names:
        must([QEMU_IMG, "snapshot", "-c", name, FILE], folder)
        images.qemu_io([FILE], io_commands(rng, 6 << 20), folder)
    return " ".join(options), names


def described(folder, file):
    info = json.loads(must([QEMU_IMG, "info", "--output=json", file],
                           folder).out)
    return info["virtual-size"], info["format-specific"]["data"]


def reads_the_same(folder, names, one, other):
    compared = run([QEMU_IMG, "compare", "-q", one, other], folder)
    if compared.code != 0:
        return compared.text()
    for name in names:
        disks = []
        for file in (one, other):
            must([QEMU_IMG, "convert", "-l", name, "-O", "raw", file, "disk"],
                 folder)
            with open(os.path.join(folder, "disk"), "rb") as disk:
                disks.append(disk.read())
        if disks[0] != disks[1]:
            return ["snapshot %s reads otherwise" % name]
    return []


def died(result):
    """QEMU's own crashes are known: its amend has some."""
    return result.died or b"Assertion" in result.err


def amend_by_both(folder, names, change):
    """Details of what differs; amends t.qcow2 by byre."""
    for copy in ("before", "theirs"):
        shutil.copy(os.path.join(folder, FILE), os.path.join(folder, copy))
    ours = run([BYRE, "amend", "-f", "qcow2", "-o", change, FILE], folder)
    theirs = run([QEMU_IMG, "amend", "-q", "-f", "qcow2", "-o", change,
                  "theirs"], folder)
    if not died(theirs) and ours.code != theirs.code:
        return ours.text() + theirs.text()
    checked = run([QEMU_IMG, "check", "-q", FILE], folder)
    if checked.code != 0:
        return ours.text() + checked.text()
    if ours.code == 0 and theirs.code == 0:
        if described(folder, FILE) != described(folder, "theirs"):
            return [str(described(folder, FILE)),
                    str(described(folder, "theirs"))]
        if "size" in change:
            return reads_the_same(folder, [], "theirs", FILE)
    return reads_the_same(folder, names, "before", FILE)


def check_changes(tap, scratch):
    for number in range(ROUNDS):
        rng = random.Random("amend/%d" % number)
        folder = scratch.make("c%d" % number)
        kind, names = build(rng, folder)
        details = []
        changes = [rng.choice(CHANGES) for _ in range(4)]
        for change in changes:
            details = amend_by_both(folder, names, change)
            if details:
                details = ["at " + change] + details
                break
        tap.check(not details, "%s, %d snapshots: %s" %
                  (kind, len(names), ", ".join(changes)), details)


# ---- Passphrases ----

KINDS = [None, ("aes-128", "cbc", "essiv", "sha256", "sha1")]
PASSPHRASES = {"a": b"first \xc3\xa9", "b": b"second", "c": b"third"}


def objects():
    argv = []
    for name in sorted(PASSPHRASES):
        argv += ["--object", "secret,id=%s,file=%s" % (name, name)]
    return argv


def opts_of(name):
    return ["--image-opts",
            "driver=qcow2,encrypt.key-secret=%s,file.filename=%s" %
            (name, FILE)]


def opened_by(folder, tool):
    found = ""
    for name in sorted(PASSPHRASES):
        if tool == "cryptsetup":
            luks.cut_area(folder)
            argv = ["cryptsetup", "open", "--test-passphrase", "--type",
                    "luks1", "--key-file", name, "area"]
        elif tool == "byre":
            argv = [BYRE, "io", "-r"] + objects() + \
                ["-c", "read -q -P 5 0 64k"] + opts_of(name)
        else:
            argv = [QEMU_IO, "-r"] + objects() + \
                ["-c", "read -q -P 5 0 64k"] + opts_of(name)
        result = run(argv, folder)
        if result.code == 0 and not result.out:
            found += name
    return found


def amend_key(tool, folder, key, options, force):
    env = images.luks_env() if tool == QEMU_IMG else None
    for _ in range(images.CREATE_TRIES):
        result = run([tool, "amend"] + (["--force"] if force else []) +
                     objects() + ["-o", options] + opts_of(key), folder, env)
        if b"accurate CPU usage" not in result.err:
            break
    return result


ADD = "encrypt.state=active,encrypt.iter-time=10,encrypt.new-secret="
ERASE = "encrypt.state=inactive,"
# (opened with, options, force, succeeds, opened by afterwards)
STEPS = [
    ("a", ERASE + "encrypt.keyslot=0", False, False, "a"),
    ("a", ERASE + "encrypt.old-secret=a", False, False, "a"),
    ("a", ADD + "b", False, True, "ab"),
    ("b", ADD + "b,encrypt.keyslot=6", False, True, "ab"),
    ("b", ADD + "c,encrypt.keyslot=6", False, False, "ab"),
    ("b", ADD + "c,encrypt.keyslot=6", True, True, "abc"),
    ("a", ERASE + "encrypt.keyslot=3", False, False, "abc"),
    ("a", ERASE + "encrypt.keyslot=3", True, True, "abc"),
    ("c", ERASE + "encrypt.old-secret=a", False, True, "bc"),
    ("b", ADD + "a,encrypt.old-secret=b", False, False, "bc"),
    ("b", ERASE + "encrypt.keyslot=1,encrypt.new-secret=a", False, False, "bc"),
    ("b", ERASE + "encrypt.keyslot=1", False, True, "c"),
    ("c", "encrypt.state=inactive", False, False, "c"),
    ("c", ADD + "a,compat=0.10", False, True, "ac"),
    ("a", ERASE + "encrypt.keyslot=6,compat=1.1", False, True, "a"),
    ("a", ADD + "b,encrypt.keyslot=8", False, False, "a"),
]


def make_encrypted(folder, kind):
    for name, passphrase in PASSPHRASES.items():
        write_file(os.path.join(folder, name), passphrase)
    options = ["encrypt.format=luks", "encrypt.key-secret=a",
               "encrypt.iter-time=10"]
    if kind is not None:
        alg, mode, ivgen, ivgen_hash, hash_alg = kind
        options += ["encrypt.cipher-alg=" + alg, "encrypt.cipher-mode=" + mode,
                    "encrypt.ivgen-alg=" + ivgen,
                    "encrypt.ivgen-hash-alg=" + ivgen_hash,
                    "encrypt.hash-alg=" + hash_alg]
    must([BYRE, "create", "-q", "-f", "qcow2"] + objects() +
         ["-o", ",".join(options), FILE, "1M"], folder)
    must([BYRE, "io"] + objects() + ["-c", "write -q -P 5 0 64k"] +
         opts_of("a"), folder)


def luks_area(folder):
    luks.cut_area(folder)
    return read_file(os.path.join(folder, "area"))


def judge_step(folder, step, tool, judges):
    """Details of what is wrong after one step."""
    key, options, force, succeeds, passphrases = step
    before = luks_area(folder)
    result = amend_key(tool, folder, key, options, force)
    if (result.code == 0) != succeeds:
        return result.text()
    if not succeeds:
        unchanged = luks_area(folder) == before
        return [] if unchanged else ["the LUKS area has changed"]
    found = [opened_by(folder, judge) for judge in judges]
    return [] if all(names == passphrases for names in found) else found


def check_keys(tap, scratch, number, kind, turns):
    """The steps by one tool, or by both in turn."""
    folder = scratch.make("k%d%s" % (number, turns))
    make_encrypted(folder, kind)
    judges = ["byre", "qemu"]
    if shutil.which("cryptsetup"):
        judges.append("cryptsetup")
    for index, step in enumerate(STEPS):
        tool = {"b": BYRE, "q": QEMU_IMG}[turns[index % len(turns)]]
        details = judge_step(folder, step, tool, judges)
        tap.check(not details, "%s, %s: %s" % (kind, turns, step[1]), details)
        if details:
            return
    checked = run([QEMU_IMG, "check"] + objects() + opts_of("a"), folder)
    tap.check(checked.code == 0, "check", checked.text())


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        check_changes(tap, scratch)
        if missing_feature(["crypto"]):
            tap.check(True, "passphrases # SKIP built without libcrypto")
            return tap.finish()
        check_keys(tap, scratch, 0, KINDS[0], "bq")
        check_keys(tap, scratch, 1, KINDS[1], "qb")
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
