#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Images whose last writer was killed: one of QEMU's with lazy refcounts, that
byre repairs, and byre itself.

Without this, byre could allocate over live data by refcounts that are not
true, or leave after a crash what QEMU calls corrupt.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run)
from flatdisk import Differs, FlatDisk, prepare
from qcow2file import Qcow2File

FILE = "t.qcow2"
SIZE = 2 << 20

# ---- QEMU was killed ----

LAZY = {
    "plain": ({}, 65536),
    "tiny clusters": ({"cluster_size": 512}, 512),
    "one-bit counts": ({"cluster_size": 4096, "refcount_bits": 1}, 4096),
    "wide counts": ({"cluster_size": 1024, "refcount_bits": 64}, 1024),
    "extended": ({"cluster_size": 16384, "extended_l2": "on"}, 16384),
    "huge clusters": ({"cluster_size": 1 << 19}, 1 << 19),
    "compressed": ({"cluster_size": 4096}, 4096),
    "snapshot": ({"cluster_size": 4096}, 4096),
}
WAYS = {"data": ["write -P 9 700000 90000"], "zeroes": ["write -z 0 600k"],
        "nothing": ["flush"]}


def killed_by_abort(disk, commands):
    argv = [QEMU_IO, "-d", "unmap", "-t", "writeback"]
    for command in commands + ["flush", "abort"]:
        argv += ["-c", command]
    result = disk.note(run(argv + [disk.file], disk.folder))
    if not result.died or b"failed" in result.out:
        raise BuildError("; ".join(result.text()))


def is_dirty(disk, tool):
    out = disk.must([tool, "info", "--output=json", disk.file]).out
    return json.loads(out)["dirty-flag"]


def expect(good, line):
    if not good:
        raise Differs([line])


def lazy_disk(folder, name, rng):
    options, cluster = LAZY[name]
    prepare(rng, folder)
    text = ",".join("%s=%s" % item for item in options.items())
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-o",
          ",".join(filter(None, ["lazy_refcounts=on", text])), FILE,
          str(SIZE)], folder)
    disk = FlatDisk(folder, FILE, bytes(SIZE), rng, cluster=cluster,
                    packs=name == "compressed", resizes=False)
    if name == "snapshot":
        disk.session("qemu", disk.draw(10, "qemu"))
        disk.snapshot("before")
    killed_by_abort(disk, disk.draw(20, "qemu"))
    if not is_dirty(disk, QEMU_IMG):
        raise BuildError("the image is not dirty")
    return disk


def reader_leaves_it(disk):
    before = read_file(disk.path(FILE))
    disk.holds(BYRE)
    disk.must([BYRE, "io", "-r", "-c", "read 0 1M", "-c", "map", FILE])
    expect(is_dirty(disk, BYRE), "byre does not say that it is dirty")
    expect(read_file(disk.path(FILE)) == before, "a reader changed it")


def writer_repairs_it(disk, way):
    for command in WAYS[way]:
        if command.startswith("write"):
            words = command.split()
            start, length = int(words[-2]), words[-1]
            length = int(length.rstrip("k")) << (10 * length.endswith("k"))
            value = 0 if "-z" in words else int(words[2])
            disk.flat[start:start + length] = bytes([value]) * length
    disk.session("byre", WAYS[way])
    disk.judge()
    expect(not is_dirty(disk, QEMU_IMG), "it is dirty still")
    # QEMU's turn: nothing is handed out twice.
    disk.session("qemu", disk.draw(10, "qemu"))
    disk.judge()


def judge_lazy(folder, seed, name, way):
    disk = lazy_disk(folder, name, random.Random("%s/%s/%s" %
                                                 (seed, name, way)))
    reader_leaves_it(disk)
    writer_repairs_it(disk, way)


def lazy_cases():
    """(label, function, what it takes)"""
    return [("QEMU died, %s, byre writes %s" % (name, way), judge_lazy,
             (name, way)) for name in LAZY for way in WAYS]


def check_beyond_repair(tap, scratch):
    """A dirty image whose tables are wrong: refused, and it stays dirty."""
    folder = scratch.make("beyond")
    disk = lazy_disk(folder, "plain", random.Random(1))
    image = Qcow2File(disk.path(FILE))
    l1 = image.get("Q", 40)
    image.put("Q", l1, image.get("Q", l1) | 512 << 1)
    image.save()
    before = read_file(disk.path(FILE))
    result = run([BYRE, "io", "-c", "write 0 512", FILE], folder)
    after = read_file(disk.path(FILE))
    tap.check(result.code == 1 and result.err.count(b"\n") == 1 and
              after[:104] == before[:104],
              "dirty and beyond repair: refused, and still dirty",
              result.text())


# ---- byre was killed ----

KILLED = {
    "plain": "",
    "tiny clusters": "cluster_size=512",
    "wide counts": "cluster_size=512,refcount_bits=64",
    "version 2": "compat=0.10,cluster_size=4k",
    "lazy": "lazy_refcounts=on,cluster_size=4k",
    "extended": "extended_l2=on,cluster_size=16k",
    "zstd": "compression_type=zstd,cluster_size=4k",
    "data file": "data_file=data.raw,cluster_size=4k",
    "luks": "encrypt.format=luks,encrypt.iter-time=10,"
            "encrypt.key-secret=" + images.SECRET_ID,
}
# The first half is flushed and left alone; the second is flushed as 1, and
# what is written over it afterwards may be there or not.
HALF = SIZE // 2
SCRIPT_COMMANDS = 400


def script(rng, disk):
    """What is flushed, and what comes behind it."""
    flushed = ["write -s %s 0 %d" % (images.RANDOM_FILE, HALF),
               "write -P 1 %d %d" % (HALF, HALF), "flush"]
    pattern = read_file(disk.path(images.RANDOM_FILE))
    disk.flat[:HALF] = pattern * (HALF // len(pattern))
    lost = []
    for _ in range(SCRIPT_COMMANDS):
        offset = HALF + rng.randrange(HALF)
        length = rng.randint(1, min(40000, SIZE - offset))
        lost.append(rng.choice([
            "write -P %d %d %d" % (rng.randint(2, 9), offset, length),
            "write -P %d %d %d" % (rng.randint(2, 9), offset, length),
            "write -z %d %d" % (offset, length),
            "write -z -u %d %d" % (offset, length),
            "discard %d %d" % (offset, length)]))
        if rng.random() < 0.05:
            lost.append("flush")
    return flushed, lost


def feed_and_kill(disk, flushed, lost, lines):
    """Commands from standard input; the end comes `lines` of output later."""
    argv = [BYRE, "io", "-t", "writeback"] + disk.with_format()
    with subprocess.Popen(argv, cwd=disk.folder, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as p:
        p.stdin.write("\n".join(flushed + lost + ["sleep 60000"])
                      .encode() + b"\n")
        p.stdin.flush()
        for _ in range(2 * 2 + lines):
            if not p.stdout.readline():
                raise Differs(["byre ended by itself"])
        p.kill()
        p.stdout.read()


def leaks_at_worst(disk):
    result = disk.note(run([QEMU_IMG, "check"] + disk.with_format(),
                           disk.folder))
    if result.code not in (0, 3):
        raise Differs(result.text())


def flushed_data_is_there(disk):
    """By both; returns what the disk holds now."""
    argv = [QEMU_IMG, "convert", "-O", "raw"] + disk.named() + ["now.raw"]
    disk.must(argv)
    now = read_file(disk.path("now.raw"))
    expect(now[:HALF] == disk.flat[:HALF], "flushed data is gone")
    expect(set(now[HALF:]) <= set(range(10)), "bytes that nobody wrote")
    disk.flat[:] = now
    disk.holds(BYRE)


def goes_on(disk):
    """Both write to it again; what leaked stays lost, nothing else."""
    for tool in ("byre", "qemu"):
        disk.session(tool, disk.draw(8, tool))
        leaks_at_worst(disk)
        disk.holds(QEMU_IMG)
        disk.holds(BYRE)


def killed_disk(folder, options, rng):
    prepare(rng, folder)
    encrypted = "encrypt" in options
    disk = FlatDisk(folder, FILE, bytes(SIZE), rng,
                    cluster=65536, encrypted=encrypted, resizes=False,
                    version=2 if "0.10" in options else 3)
    for option in options.split(","):
        if option.startswith("cluster_size="):
            value = option.partition("=")[2]
            disk.cluster = int(value.rstrip("k")) << (10 * (value[-1] == "k"))
    argv = ["-f", "qcow2"] + (["-o", options] if options else [])
    if encrypted:
        argv += images.SECRET_OBJECT
    disk.must([BYRE, "create", "-q"] + argv + [FILE, str(SIZE)])
    return disk


def judge_killed(folder, seed, name, number):
    rng = random.Random("%s/%s/%d" % (seed, name, number))
    disk = killed_disk(folder, KILLED[name], rng)
    feed_and_kill(disk, *script(rng, disk), rng.randrange(SCRIPT_COMMANDS))
    leaks_at_worst(disk)
    flushed_data_is_there(disk)
    goes_on(disk)


def judge_aborted(folder, seed, name):
    """The command of that name ends it as a crash does."""
    rng = random.Random("%s/%s" % (seed, name))
    disk = killed_disk(folder, KILLED[name], rng)
    flushed, lost = script(rng, disk)
    argv = [BYRE, "io", "-t", "writeback"]
    for command in flushed + lost[:60] + ["abort"]:
        argv += ["-c", command]
    result = disk.note(run(argv + disk.with_format(), folder))
    expect(result.died, "abort did not end it")
    leaks_at_worst(disk)
    flushed_data_is_there(disk)
    goes_on(disk)


def killed_cases(rounds):
    names = [name for name in KILLED if not missing_feature(
        {"luks": ["crypto"], "zstd": ["zstd"]}.get(name, []))]
    return ([("byre is killed, %s, %d" % (name, number), judge_killed,
              (name, number)) for name in names for number in range(rounds)] +
            [("byre aborts, " + name, judge_aborted, (name,))
             for name in names])


def outcome(scratch, number, seed, case):
    """(outcome, details) of one case; never raises."""
    _, judge, args = case
    try:
        judge(scratch.make("case%d" % number), seed, *args)
    except BuildError as error:
        return "skip", ["qemu cannot make it: %s" % error]
    except Differs as error:
        return "not ok", error.lines
    return "ok", []


def check_cases(tap, scratch, seed, cases):
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda n: outcome(scratch, n, seed, cases[n]),
                           range(len(cases)))
        for case, (what, details) in zip(cases, results):
            if what == "skip":
                tap.skip(case[0], " ".join(details))
            else:
                tap.check(what == "ok", case[0], details)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    need_tools(QEMU_IMG, QEMU_IO)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tap = Tap()
    with Scratch() as scratch:
        rounds = 60 if options.full else 2
        check_cases(tap, scratch, options.seed,
                    lazy_cases() + killed_cases(rounds))
        check_beyond_repair(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
