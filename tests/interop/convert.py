#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Images that byre convert fills, in every combination of options that changes
how; qemu-img checks them and compares them with their source.

Without this, byre could write images that only byre reads, that differ from run
to run, or that hold more, or less, than qemu-img's copy of the same source.
"""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import images
from common import (BYRE, BuildError, QEMU_IMG, Scratch, Tap, missing_feature,
                    must, need_tools, read_file, run, write_file)

MIB = 1 << 20
SOURCE_BYTES = 9 * MIB + 37 * 512  # no whole number of any cluster
SECRET = ["--object", "secret,id=s0,data=convert"]

CLUSTERS = ["512", "4k", "64k", "2M"]
# Label, format, options.
TARGETS = (
    [("cluster " + c, "qcow2", ["-o", "cluster_size=" + c]) for c in CLUSTERS] +
    [("compressed, cluster " + c, "qcow2", ["-c", "-o", "cluster_size=" + c])
     for c in CLUSTERS] +
    [("zstd, cluster " + c, "qcow2",
      ["-c", "-o", "compression_type=zstd,cluster_size=" + c])
     for c in CLUSTERS] +
    [("version 2", "qcow2", ["-o", "compat=0.10"]),
     ("version 2 compressed", "qcow2", ["-c", "-o", "compat=0.10"]),
     ("subclusters", "qcow2", ["-o", "extended_l2=on"]),
     ("subclusters compressed", "qcow2", ["-c", "-o", "extended_l2=on"]),
     ("lazy refcounts", "qcow2", ["-o", "lazy_refcounts=on"]),
     ("refcounts of 1 bit", "qcow2", ["-o", "refcount_bits=1"]),
     ("refcounts of 64 bits", "qcow2",
      ["-o", "refcount_bits=64,cluster_size=512"]),
     ("no holes", "qcow2", ["-S", "0"]),
     ("no holes, compressed", "qcow2", ["-S", "0", "-c"]),
     ("long holes only", "qcow2", ["-S", "1M"]),
     ("holes of 64k in small clusters", "qcow2",
      ["-S", "64k", "-o", "cluster_size=4k"]),
     ("data file", "qcow2", ["-o", "data_file=%s.data"]),
     ("raw data file", "qcow2",
      ["-o", "data_file=%s.data,data_file_raw=on"]),
     ("version 1", "qcow", []),
     ("version 1 compressed", "qcow", ["-c"]),
     ("version 1, no holes", "qcow", ["-S", "0"]),
     ("raw", "raw", []),
     ("raw, no holes", "raw", ["-S", "0"])] +
    [("preallocation " + mode, "qcow2", ["-o", "preallocation=" + mode])
     for mode in ("metadata", "falloc", "full")] +
    [("raw, preallocation " + mode, "raw", ["-o", "preallocation=" + mode])
     for mode in ("falloc", "full")])


def pattern(length, seed):
    """Random bytes, text and zeroes in runs of many lengths."""
    rng = random.Random(seed)
    out = bytearray(length)
    at = 0
    while at < length:
        n = min(length - at, rng.choice([512, 4096, 20000, 65536, 300000,
                                         1500000]))
        kind = rng.random()
        if kind < 0.3:
            out[at:at + n] = rng.randbytes(n)
        elif kind < 0.65:
            out[at:at + n] = (b"line %d of text\n" % at * (n // 12 + 1))[:n]
        at += n
    return bytes(out)


class Room:
    """A folder with a source in several forms; QEMU judges what is made."""

    def __init__(self, tap, scratch):
        self.tap = tap
        self.path = scratch.make("convert")
        self.as_qemu = scratch.as_qemu
        write_file(self.file("d.raw"), pattern(SOURCE_BYTES, 1))
        self.qemu("convert", "-f", "raw", "-O", "qcow2", "-c", "d.raw",
                  "d.qcow2")

    def file(self, name):
        return os.path.join(self.path, name)

    def qemu(self, *args):
        return must([QEMU_IMG] + list(args), self.path)

    def byre(self, *args, tool=BYRE):
        return run([tool] + list(args), self.path)

    def remove(self, *names):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file(name))

    def judge(self, label, result, name, fmt, source=("raw", "d.raw")):
        """Checks that `name` was made, is clean, and reads as the source."""
        if not self.tap.check(result.code == 0, label + ": converts",
                              result.text()):
            return False
        if fmt == "qcow2":
            check = run([QEMU_IMG, "check", "-f", fmt, name], self.path)
            self.tap.check(check.code == 0, label + ": is clean", check.text())
        compare = run([QEMU_IMG, "compare", "-f", source[0], "-F", fmt,
                       source[1], name], self.path)
        return self.tap.check(compare.code == 0, label + ": is the same disk",
                              compare.text())

    def extents(self, name):
        """What an image holds of each kind; data may have holes in the file."""
        out = self.qemu("map", "--output=json", "-f", "qcow2", name).out
        joined = []
        for e in json.loads(out):
            kind = (e["depth"], e["zero"] and not e["data"])
            if joined and joined[-1][1] == kind:
                joined[-1][0] += e["length"]
            else:
                joined.append([e["length"], kind])
        return joined


def all_bytes(room, name):
    data = name + ".data"
    return (read_file(room.file(name)) +
            (read_file(room.file(data)) if os.path.exists(room.file(data))
             else b""))


def test_targets(room):
    """Each kind of target, the same for any number of workers."""
    for i, (label, fmt, options) in enumerate(TARGETS):
        source = [("raw", "d.raw"), ("qcow2", "d.qcow2")][i % 2]
        needed = ["zstd"] if "zstd" in " ".join(options) else []
        if missing_feature(needed):
            room.tap.skip(label, "zstd is missing")
            continue
        # The name of a data file is in the image: it has to be the same.
        seen = []
        for workers in ("1", "2", "8"):
            room.remove("out", "out.data")
            args = [o.replace("%s", "out") for o in options]
            result = room.byre("convert", "-m", workers, "-f", source[0],
                               "-O", fmt, *args, source[1], "out")
            if workers == "8":
                room.judge(label, result, "out", fmt)
            if result.code == 0:
                seen.append(all_bytes(room, "out"))
        room.tap.check(len(seen) == 3 and seen[0] == seen[1] == seen[2],
                       label + ": same bytes for 1, 2 and 8 workers")
    room.remove("out", "out.data")


def test_like_qemu(room):
    """The same clusters hold data, and the same are left out."""
    for label, options in [("default", []), ("-S 0", ["-S", "0"]),
                           ("-c", ["-c"]),
                           ("4k clusters", ["-o", "cluster_size=4k"])]:
        found = []
        for tool, name in ((BYRE, "ours"), (QEMU_IMG, "theirs")):
            room.remove(name)
            must([tool, "convert", "-f", "raw", "-O", "qcow2"] + options +
                 ["d.raw", name], room.path)
            found.append(room.extents(name))
        room.tap.check(found[0] == found[1], "holds what QEMU's copy holds: " +
                       label, [str(found[0][:8]), str(found[1][:8])])
    room.remove("ours", "theirs")


def test_encrypted(room):
    """A new encrypted target, and its zeroes where space is preallocated."""
    if missing_feature(["crypto"]):
        room.tap.skip("encrypted", "crypto is missing")
        return
    for fmt, crypt, more in (("qcow2", "luks", ""), ("qcow2", "aes", ""),
                             ("qcow", "aes", ""),
                             ("qcow2", "luks", ",preallocation=metadata")):
        label = "%s with %s%s" % (fmt, crypt, more)
        extra = ",encrypt.iter-time=10" if crypt == "luks" else ""
        room.remove("out")
        result = room.byre(
            "convert", *SECRET, "-f", "raw", "-O", fmt, "-o",
            "encrypt.format=%s,encrypt.key-secret=s0%s%s" % (crypt, extra,
                                                            more),
            "d.raw", "out")
        room.tap.check(result.code == 0, label + ": converts", result.text())
        opts = "driver=%s,file.filename=out,encrypt.key-secret=s0" % fmt
        compare = run([QEMU_IMG, "compare"] + SECRET + [
            "--image-opts", "driver=raw,file.filename=d.raw", opts], room.path)
        room.tap.check(compare.code == 0, label + ": is the same disk",
                       compare.text())


def make_chain(room):
    """An overlay with data, zeroes and holes over a base, both of 4 MiB."""
    write_file(room.file("base.raw"), pattern(4 * MIB, 2))
    images.qemu_create(["-f", "qcow2", "-b", "base.raw", "-F", "raw",
                        "top.qcow2"], room.path)
    images.qemu_io(["top.qcow2"], ["write -P 7 1000 3000", "write -P 8 1M 100k",
                                   "write -z 2M 256k", "write -z 2500k 512",
                                   "write -P 0 3M 128k"], room.path)


def test_backing(room):
    """With -B only what the top image holds is copied, as QEMU does."""
    make_chain(room)
    for label, options in [("plain", []), ("compressed", ["-c"]),
                           ("4k clusters", ["-o", "cluster_size=4k"]),
                           ("2M clusters", ["-o", "cluster_size=2M"]),
                           ("subclusters", ["-o", "extended_l2=on"]),
                           ("version 2", ["-o", "compat=0.10"])]:
        label = "backing, " + label
        found = []
        for tool, name in ((BYRE, "ours"), (QEMU_IMG, "theirs")):
            room.remove(name)
            result = run([tool, "convert", "-O", "qcow2", "-B", "base.raw",
                          "-F", "raw"] + options + ["top.qcow2", name],
                         room.path)
            if tool == BYRE:
                room.judge(label, result, name, "qcow2",
                           ("qcow2", "top.qcow2"))
            if result.code == 0:
                found.append(room.extents(name))
        room.tap.check(len(found) == 2 and found[0] == found[1],
                       label + ": holds what QEMU's copy holds",
                       [str(f) for f in found])
    room.remove("out")
    result = room.byre("convert", "-O", "qcow", "-o", "backing_file=base.raw",
                       "-F", "raw", "top.qcow2", "out")
    room.judge("backing, version 1", result, "out", "qcow",
               ("qcow2", "top.qcow2"))


def test_existing(room):
    """-n: zeroes reach a target that held something else."""
    for label, made, options in [
            ("qcow2", [], []), ("larger", ["12M"], []),
            ("version 2", ["-o", "compat=0.10"], []),
            ("full", ["-o", "preallocation=full"], []),
            ("small clusters", ["-o", "cluster_size=512"], ["-m", "8"])]:
        label = "existing, " + label
        size = "12M" if "12M" in made else str(SOURCE_BYTES)
        made = [m for m in made if m != "12M"]
        images.qemu_create(["-f", "qcow2"] + made + ["out", size], room.path)
        images.qemu_io(["-f", "qcow2", "out"], ["write -P 9 0 9M"], room.path)
        result = room.byre("convert", "-n", "-f", "raw", "-O", "qcow2",
                           *options, "d.raw", "out")
        room.judge(label, result, "out", "qcow2")
    images.qemu_create(["-f", "qcow2", "out", str(SOURCE_BYTES)], room.path)
    result = room.byre("convert", "-n", "--target-is-zero", "-c", "-f", "raw",
                       "-O", "qcow2", "d.raw", "out")
    room.judge("existing, compressed", result, "out", "qcow2")
    images.qemu_create(["-f", "qcow2", "out", "12M"], room.path)
    result = room.byre("convert", "-n", "--target-is-zero", "-c", "-f", "raw",
                       "-O", "qcow2", "d.raw", "out")
    room.judge("existing, compressed into a larger one", result, "out",
               "qcow2")


def test_several(room):
    """Sources that do not end where a cluster does."""
    write_file(room.file("both.raw"), read_file(room.file("d.raw")) * 2 +
               b"x" * 512)
    write_file(room.file("x.raw"), b"x" * 512)
    for options in ([], ["-c"], ["-o", "cluster_size=2M"]):
        room.remove("out")
        result = room.byre("convert", "-O", "qcow2", *options, "d.qcow2",
                           "d.qcow2", "x.raw", "out")
        room.judge("three sources " + " ".join(options), result, "out",
                   "qcow2", ("raw", "both.raw"))


def test_round_trip(room):
    steps = [("qcow2", []), ("qcow", ["-c"]),
             ("qcow2", ["-c", "-o", "cluster_size=4k"]),
             ("qcow2", ["-o", "extended_l2=on"]), ("qcow", []), ("raw", [])]
    before, fmt = "d.raw", "raw"
    for i, (to, options) in enumerate(steps):
        tool = BYRE if i % 2 == 0 else room.as_qemu
        must([tool, "convert", "-f", fmt, "-O", to] + options +
             [before, "step%d" % i], room.path)
        before, fmt = "step%d" % i, to
    room.tap.check(read_file(room.file(before)) ==
                   read_file(room.file("d.raw")), "there and back again")


# ---- What is refused, and what fails ----


def test_refused(room):
    """A refusal leaves an existing target as it was."""
    make_chain(room)
    os.mkfifo(room.file("pipe"))
    write_file(room.file("small.raw"), b"\0" * 4096)
    images.qemu_create(["-f", "qcow2", "small.qcow2", "1M"], room.path)
    for label, args, why in (
            ("raw compressed", ["-O", "raw", "-c", "d.raw", "keep"],
             "Compression not supported"),
            ("compressed with encryption",
             SECRET + ["-O", "qcow2", "-c", "-o",
                       "encrypt.format=luks,encrypt.key-secret=s0", "d.raw",
                       "keep"], "encryption"),
            ("compressed with a data file",
             ["-O", "qcow2", "-c", "-o", "data_file=keep2", "d.raw", "keep"],
             "data file"),
            ("two sources over a backing file",
             ["-O", "qcow2", "-B", "base.raw", "-F", "raw", "top.qcow2",
              "top.qcow2", "keep"], "makes no sense"),
            ("the target is the source", ["-O", "qcow2", "keep", "keep"],
             "reads from"),
            ("the data file is the source",
             ["-O", "qcow2", "-o", "data_file=keep", "keep", "other"],
             "reads from"),
            ("too small", ["-n", "-O", "qcow2", "d.raw", "small.qcow2"],
             "too few"),
            ("an image into a pipe", ["-O", "qcow2", "d.raw", "pipe"],
             "pipe")):
        write_file(room.file("keep"), b"keep" * 1024)
        result = room.byre("convert", *args)
        room.tap.check(result.code == 1 and why in result.err.decode(),
                       "refused: " + label, result.text())
        room.tap.check(read_file(room.file("keep")) == b"keep" * 1024 and
                       not os.path.exists(room.file("other")),
                       "refused: %s: nothing is touched" % label)
    room.remove("pipe")


def limit_files():
    """A disk that is full: no file grows past 1 MiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))


def test_write_fails(room):
    """What was made goes, and what was there is empty, with its name."""
    for label, options in (("plain", []), ("compressed", ["-c"]),
                           ("data file", ["-o", "data_file=out.data"])):
        for existing in (False, True):
            room.remove("out", "out.data")
            before = 0
            if existing:
                images.qemu_create(["-f", "qcow2", "out", "1M"], room.path)
                before = os.path.getsize(room.file("out"))
                write_file(room.file("out.data"), b"before" * 100)
            with subprocess.Popen(
                    [BYRE, "convert", "-f", "raw", "-O", "qcow2"] + options +
                    ["d.raw", "out"], cwd=room.path, preexec_fn=limit_files,
                    stderr=subprocess.PIPE) as p:
                err = p.communicate()[1].decode()
            name = "full disk, %s, %s" % (label,
                                          "existing" if existing else "new")
            room.tap.check(p.returncode == 1 and "File too large" in err,
                           name + ": says why", [err])
            left = {n: os.path.getsize(room.file(n))
                    for n in ("out", "out.data")
                    if os.path.exists(room.file(n))}
            if not existing:
                want = {}
            elif "out.data" in " ".join(options):
                # The data file came first; the image was not touched yet.
                want = {"out": before, "out.data": 0}
            else:
                want = {"out": 0, "out.data": 600}
            room.tap.check(left == want, name + ": leaves nothing half-made",
                           [str(left)])
    room.remove("out", "out.data")


def test_disk_full(room):
    """The same where the file system is full."""
    script = ("mount -t tmpfs -o size=2m none mnt || exit 77; "
              "%s convert -f raw -O qcow2 d.raw mnt/out; "
              "test $? = 1 && ! test -e mnt/out" % BYRE)
    os.makedirs(room.file("mnt"), exist_ok=True)
    result = run(["unshare", "-rm", "sh", "-c", script], room.path)
    if result.code != 0 and b"No space" not in result.err:
        room.tap.skip("full file system", "none can be mounted here")
        return
    room.tap.check(result.code == 0 and b"No space left" in result.err,
                   "full file system: the target is gone", result.text())


def test_cancel(room):
    """An interrupt in the middle: the target is gone."""
    for options in ([], ["-c"], ["-m", "8"]):
        room.remove("out")
        with subprocess.Popen([BYRE, "convert", "-f", "raw", "-O", "qcow2",
                               "-r", "1M"] + options + ["d.raw", "out"],
                              cwd=room.path, stderr=subprocess.PIPE) as p:
            deadline = time.monotonic() + 20
            while not os.path.exists(room.file("out")) and \
                    time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.3)
            p.send_signal(signal.SIGINT)
            try:
                p.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                p.kill()
        room.tap.check(p.returncode not in (0, -signal.SIGKILL) and
                       not os.path.exists(room.file("out")),
                       "interrupted %s: leaves nothing" % " ".join(options),
                       [str(p.returncode)])


def main():
    need_tools(QEMU_IMG)
    tap = Tap()
    with Scratch() as scratch:
        room = Room(tap, scratch)
        for test in (test_targets, test_like_qemu, test_encrypted,
                     test_backing, test_existing, test_several,
                     test_round_trip, test_refused, test_write_fails,
                     test_disk_full, test_cancel):
            try:
                test(room)
            except BuildError as error:
                tap.check(False, test.__name__, [str(error)])
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
