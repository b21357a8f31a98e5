#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
New images of byre's beside those that qemu-img makes of the same options.

Without this, byre could make images that only byre opens, or that QEMU opens
and finds wrong the first time it writes to them.
"""

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time

import images
import luks
import matrix
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run,
                    write_file)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
OURS, THEIRS = "ours.qcow2", "theirs.qcow2"
# Bounds the time of the matrix; what is drawn depends on the seed alone.
CASES = 110
SMALL_BYTES = 8 * MIB

AXES = {
    "cluster": matrix.CLUSTERS,
    "refcount": [1, 2, 4, 8, 16, 32, 64],
    "kind": ["v3", "v2", "extended"],
    "prealloc": ["off", "metadata", "falloc", "full"],
    "size": ["0", "512", "cluster - 512", "cluster + 512", "tables", "1G",
             "100G"],
}


# ---- The matrix ----


def size_of(case):
    cluster = case["cluster"]
    tables = cluster // 8 * cluster
    return {"0": 0, "512": 512, "cluster - 512": cluster - 512,
            "cluster + 512": cluster + 512, "tables": 2 * tables + 512,
            "1G": GIB, "100G": 100 * GIB}[case["size"]]


def is_legal(case):
    size = size_of(case)
    if case["kind"] == "v2" and case["refcount"] != 16:
        return False
    if case["kind"] == "extended" and case["cluster"] < 16 * KIB:
        return False
    if case["prealloc"] in ("falloc", "full") and size > SMALL_BYTES:
        return False
    # QEMU makes these one by one, and needs minutes.
    if case["prealloc"] == "metadata" and size // case["cluster"] > 32768:
        return False
    return case["size"] == "100G" or size <= GIB


def drawn_cases():
    """Every value of every axis, beside as many others as there is time for."""
    keys = list(AXES)
    cases = [dict(zip(keys, values))
             for values in itertools.product(*AXES.values())]
    cases = [case for case in cases if is_legal(case)]
    random.Random(1).shuffle(cases)
    seen, chosen, rest = set(), [], []
    for case in cases:
        pairs = set(itertools.combinations(
            ((key, str(case[key])) for key in keys), 2))
        (rest if pairs <= seen else chosen).append(case)
        if not pairs <= seen:
            seen |= pairs
    return (chosen + rest)[:CASES]


def options_of(case):
    options = ["cluster_size=%d" % case["cluster"],
               "refcount_bits=%d" % case["refcount"],
               "preallocation=" + case["prealloc"]]
    if case["kind"] == "v2":
        options.append("compat=0.10")
    if case["kind"] == "extended":
        options.append("extended_l2=on")
    return ",".join(options)


class Pair:
    """Images of both makers in one folder; the first failure ends it."""

    def __init__(self, tap, scratch, name):
        self.tap = tap
        self.name = name
        self.folder = scratch.make(name.replace(" ", "-").replace(":", "")
                                   .replace("/", "-"))
        self.byre = scratch.as_qemu

    def file(self, name):
        return os.path.join(self.folder, name)

    def verdict(self, steps):
        """`steps` yields results that should be good, or lines of complaint."""
        details = []
        try:
            for step in steps:
                details = step if isinstance(step, list) else (
                    step.text() if step.code != 0 else [])
                if details:
                    break
        except BuildError as error:
            self.tap.skip(self.name, "qemu cannot make it: %s" % error)
            return
        self.tap.check(not details, self.name, details)

    def create(self, *args):
        """Both, and the same words about it."""
        env = images.luks_env()
        ours = run([self.byre, "create"] + list(args) + [OURS], self.folder)
        theirs = must([QEMU_IMG, "create"] + list(args) + [THEIRS],
                      self.folder, env)
        ours.out = ours.out.replace(OURS.encode(), THEIRS.encode())
        if ours.code == 0 and ours.out != theirs.out:
            return ours.text() + theirs.text()
        return ours

    def create_sized(self, size, *args):
        result = run([self.byre, "create", "-q"] + list(args) +
                     [OURS, str(size)], self.folder)
        must([QEMU_IMG, "create", "-q"] + list(args) + [THEIRS, str(size)],
             self.folder)
        return result

    def described(self, name):
        result = must([QEMU_IMG, "info", "--output=json", name], self.folder)
        info = json.loads(result.out)
        for key in ("filename", "actual-size", "full-backing-filename"):
            info.pop(key, None)
        return info

    def infos_agree(self):
        ours, theirs = self.described(OURS), self.described(THEIRS)
        return [] if ours == theirs else [str(ours), str(theirs)]

    def length_is_sane(self, cluster):
        """Whole clusters, and no more of them than QEMU needs."""
        ours = os.path.getsize(self.file(OURS))
        theirs = os.path.getsize(self.file(THEIRS))
        if ours % cluster == 0 and ours <= theirs + 2 * cluster:
            return []
        return ["the file has %d bytes, QEMU's %d" % (ours, theirs)]

    def check(self):
        return run([QEMU_IMG, "check", OURS], self.folder)

    def compare(self):
        return run([QEMU_IMG, "compare", OURS, THEIRS], self.folder)

    def write_both(self, *commands):
        for name in (OURS, THEIRS):
            images.qemu_io([name], list(commands), self.folder)


def judge_case(pair, case):
    size, cluster = size_of(case), case["cluster"]
    yield pair.create_sized(size, "-f", "qcow2", "-o", options_of(case))
    yield pair.check()
    yield pair.infos_agree()
    yield pair.length_is_sane(cluster)
    yield pair.compare()
    if size > 4096:
        pair.write_both("write -P 1 1024 512", "write -P 2 %d 512" %
                        (size - 512), "write -z 2048 1024")
        yield pair.check()
        yield pair.compare()


def check_matrix(tap, scratch):
    for number, case in enumerate(drawn_cases()):
        name = "%d: %s" % (number, ", ".join(
            "%s %s" % (key, value) for key, value in case.items()))
        pair = Pair(tap, scratch, name)
        pair.verdict(judge_case(pair, case))
        for file in (OURS, THEIRS):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(pair.file(file))


def judge_features(pair, options):
    yield pair.create_sized("3M", "-f", "qcow2", "-o", options)
    yield pair.check()
    yield pair.infos_agree()
    pair.write_both("write -P 1 1M 100k")
    yield pair.check()
    yield pair.compare()


def check_features(tap, scratch):
    """What the header alone says."""
    for options in ("lazy_refcounts=on", "compression_type=zstd",
                    "lazy_refcounts=on,compression_type=zstd,extended_l2=on",
                    "cluster_size=4k,lazy_refcounts=on", "cluster_size=8k",
                    "compat=v3,nocow=on"):
        pair = Pair(tap, scratch, "features " + options)
        pair.verdict(judge_features(pair, options))


def check_largest(tap, scratch):
    """A quick table for a disk of a tebibyte, which QEMU takes for whole."""
    pair = Pair(tap, scratch, "1 TiB of tables")
    result = run([BYRE, "create", "-f", "qcow2", "-o",
                  "preallocation=metadata", OURS, "1T"], pair.folder)

    def steps():
        yield result
        yield pair.check()
        out = run([QEMU_IO, "-r", "-c", "read -P 0 %d 1M" % ((1 << 40) - MIB),
                   OURS], pair.folder)
        yield out
        yield out.text() if b"failed" in out.out else []

    pair.verdict(steps())


# ---- Other files beside it ----


def judge_overlay(pair, args, base_name, base_format):
    write_file(pair.file("base.raw"), b"base" * 75000 + b"end")
    must([QEMU_IMG, "convert", "-O", "qcow2", "base.raw", "base.qcow2"],
         pair.folder)
    yield pair.create("-b", base_name, "-F", base_format, *args)
    yield pair.infos_agree()
    yield pair.compare()
    pair.write_both("write -P 9 70000 100")
    yield pair.compare()
    if "qcow" not in args:
        yield pair.check()


def check_overlays(tap, scratch):
    for label, args, base in (
            ("overlay of raw", ["-f", "qcow2"], ("base.raw", "raw")),
            ("overlay of qcow2", ["-f", "qcow2", "-o", "compat=0.10"],
             ("base.qcow2", "qcow2")),
            ("overlay with space", ["-f", "qcow2", "-o",
                                    "extended_l2=on,preallocation=full"],
             ("base.qcow2", "qcow2")),
            ("overlay of small clusters", ["-f", "qcow2", "-o",
                                           "cluster_size=512"],
             ("base.raw", "raw")),
            ("overlay in version 1", ["-f", "qcow"], ("base.raw", "raw"))):
        pair = Pair(tap, scratch, label)
        pair.verdict(judge_overlay(pair, args, *base))


def maps_agree(pair, names):
    """What is mapped where; which of it is a hole is the data file's matter."""
    maps = []
    for name in names:
        out = must([QEMU_IMG, "map", "--output=json", name], pair.folder).out
        maps.append([[e["start"], e["length"], e["present"], e.get("offset")]
                     for e in json.loads(out)])
    return [] if maps[0] == maps[1] else [str(m) for m in maps]


def judge_data_file(pair, options):
    names = {OURS: "ours.raw", THEIRS: "theirs.raw"}
    for name, data in names.items():
        write_file(pair.file(data), b"old content" * 10000)
        maker = pair.byre if name == OURS else QEMU_IMG
        result = run([maker, "create", "-q", "-f", "qcow2", "-o",
                      "data_file=%s,%s" % (data, options), name, "700k"],
                     pair.folder)
        yield result
    yield pair.check()
    yield pair.compare()
    yield maps_agree(pair, names) if "raw=on" not in options else []
    pair.write_both("write -P 3 100k 300k", "write -z 150k 20k")
    yield pair.check()
    yield pair.compare()
    if "raw=on" in options:
        yield run([QEMU_IMG, "compare", "-f", "qcow2", "-F", "raw", OURS,
                   "ours.raw"], pair.folder)


def judge_kept_data(pair):
    content = os.urandom(300 * KIB)
    write_file(pair.file("kept.raw"), content)
    yield run([pair.byre, "create", "-q", "-f", "qcow2", "-o",
               "data_file=kept.raw,data_file_raw=on,keep_data_file=on", OURS,
               "300k"], pair.folder)
    yield [] if read_file(pair.file("kept.raw")) == content else ["changed"]
    yield pair.check()
    yield run([QEMU_IMG, "compare", "-f", "qcow2", "-F", "raw", OURS,
               "kept.raw"], pair.folder)


def check_data_files(tap, scratch):
    for options in ("preallocation=off", "preallocation=metadata",
                    "preallocation=falloc", "preallocation=full",
                    "data_file_raw=on", "extended_l2=on",
                    "extended_l2=on,preallocation=metadata",
                    "extended_l2=on,data_file_raw=on"):
        pair = Pair(tap, scratch, "data file, " + options)
        pair.verdict(judge_data_file(pair, options))
    pair = Pair(tap, scratch, "a data file that is kept")
    pair.verdict(judge_kept_data(pair))


# ---- Version 1 and raw ----


def judge_bytes(pair, args):
    """The very bytes: there is one way to write them."""
    yield pair.create_sized(args[-1], *args[:-1])
    same = read_file(pair.file(OURS)) == read_file(pair.file(THEIRS))
    yield [] if same else ["the bytes differ"]


def check_plain_formats(tap, scratch):
    for args in (["-f", "qcow", "1M"], ["-f", "qcow", "10000001"],
                 ["-f", "qcow", "1T"], ["-f", "raw", "1M"],
                 ["-f", "raw", "1001"],
                 ["-f", "raw", "-o", "preallocation=falloc", "1M"],
                 ["-f", "raw", "-o", "preallocation=full", "1M"]):
        pair = Pair(tap, scratch, " ".join(args))
        pair.verdict(judge_bytes(pair, args))


# ---- Encryption ----


def opened(driver="qcow2", name=OURS):
    return images.SECRET_OBJECT + [
        "--image-opts", "driver=%s,file.filename=%s,encrypt.key-secret=%s"
        % (driver, name, images.SECRET_ID)]


def judge_encrypted(pair, driver, options, size):
    """QEMU reads it as zeroes, writes to it, and reads that back."""
    write_file(pair.file(images.SECRET_FILE), b"open sesame")
    yield run([pair.byre, "create", "-q", "-f", driver] +
              images.SECRET_OBJECT + ["-o", ",".join(options), OURS,
                                      str(size)], pair.folder)
    result = run([QEMU_IO] + opened(driver) +
                 ["-c", "read -P 0 0 %d" % size,
                  "-c", "write -P 5 100000 70000",
                  "-c", "read -P 5 100000 70000", "-c", "read -P 0 0 100000"],
                 pair.folder)
    yield result
    yield result.text() if b"failed" in result.out else []
    if driver == "qcow2":
        yield run([QEMU_IMG, "check"] + opened(), pair.folder)


def check_encrypted(tap, scratch):
    secret = "encrypt.key-secret=" + images.SECRET_ID
    fast = ["encrypt.format=luks", secret, "encrypt.iter-time=10"]
    aes = ["encrypt.format=aes", secret]
    for label, driver, options in (
            ("aes", "qcow2", aes),
            ("aes in version 2", "qcow2", aes + ["compat=0.10"]),
            ("aes in version 1", "qcow", aes),
            ("aes with space", "qcow2", aes + ["preallocation=falloc"]),
            ("luks in version 2", "qcow2", fast + ["compat=0.10"]),
            ("luks, small clusters", "qcow2", fast + ["cluster_size=512"]),
            ("luks with tables", "qcow2", fast + ["preallocation=metadata"]),
            ("luks with space", "qcow2", fast + ["preallocation=full"]),
            ("luks, extended, with tables", "qcow2",
             fast + ["extended_l2=on", "preallocation=metadata"]),
            ("luks and a data file", "qcow2",
             fast + ["data_file=d.raw", "preallocation=metadata"])):
        pair = Pair(tap, scratch, label)
        pair.verdict(judge_encrypted(pair, driver, options, MIB))


def check_ciphers(tap, scratch):
    """cryptsetup opens the header of each cipher, QEMU the disk."""
    for kind in matrix.LUKS_KINDS:
        pair = Pair(tap, scratch, "-".join(str(p) for p in kind if p))
        pair.verdict(judge_encrypted(pair, "qcow2", images.luks_options(kind),
                                     MIB))
        if not os.path.exists(pair.file(OURS)):
            continue
        os.rename(pair.file(OURS), pair.file("t.qcow2"))
        write_file(pair.file("second"), b"second")
        write_file(pair.file("wrong"), b"wrong")
        luks.check_image(tap, pair.folder, "made: " + pair.name, ["secret"])


# ---- What is refused ----

BASE = ["-b", "base.raw", "-F", "raw"]
REFUSED = [
    ["-o", "cluster_size=1000", "1M"],
    ["-o", "cluster_size=256", "1M"],
    ["-o", "cluster_size=4M", "1M"],
    ["-o", "cluster_size=512", "1T"],
    ["-o", "refcount_bits=3", "1M"],
    ["-o", "refcount_bits=128", "1M"],
    ["-o", "compat=0.10,refcount_bits=8", "1M"],
    ["-o", "compat=0.10,lazy_refcounts=on", "1M"],
    ["-o", "compat=0.10,extended_l2=on", "1M"],
    ["-o", "compat=0.10,compression_type=zstd", "1M"],
    ["-o", "compat=0.10,data_file=d.raw", "1M"],
    ["-o", "extended_l2=on,cluster_size=8k", "1M"],
    ["-o", "compression_type=lzo", "1M"],
    ["-o", "data_file_raw=on", "1M"],
    ["-o", "data_file=d.raw,data_file_raw=on"] + BASE + ["1M"],
    ["-o", "preallocation=metadata"] + BASE + ["1M"],
    ["-b", "base.raw", "1M"],
    ["-b", "base.raw", "-F", "foo", "1M"],
    ["-b", "nobody", "-F", "raw"],
    ["-u"] + BASE,
    ["-u", "-F", "raw", "-b", "x" * 1024, "1M"],
    ["-u", "-F", "raw", "-b", "x" * 500, "-o", "cluster_size=512", "1M"],
    ["-o", "encrypt.format=luks", "1M"],
    ["-o", "encrypt.format=aes", "1M"],
    [],
]


def check_refused(tap, scratch):
    """Both refuse, and byre leaves nothing behind."""
    for args in REFUSED:
        name = "refused: " + " ".join(a[:40] for a in args)
        pair = Pair(tap, scratch, name[:100])
        write_file(pair.file("base.raw"), b"base" * 1000)
        size = [args[-1]] if args and args[-1] in ("1M", "1T") else []
        options = args[:len(args) - len(size)]
        theirs = run([QEMU_IMG, "create", "-f", "qcow2"] + options +
                     [THEIRS] + size, pair.folder)
        ours = run([pair.byre, "create", "-f", "qcow2"] + options + [OURS] +
                   size, pair.folder)
        left = os.path.exists(pair.file(OURS))
        tap.check(ours.code == theirs.code == 1 and ours.err and not left,
                  name[:100], ours.text() + theirs.text())


@contextlib.contextmanager
def in_use(folder, name):
    """QEMU holds the image open for writing."""
    with subprocess.Popen([QEMU_IO, name], cwd=folder, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        holder.stdin.write(b"write -P 7 0 512\n")
        holder.stdin.flush()
        while b"ops" not in holder.stdout.readline():
            time.sleep(0.01)
        yield
        holder.stdin.write(b"quit\n")
        holder.stdin.flush()


def check_in_use(tap, scratch):
    """An image that QEMU has open is not made anew, nor its data file."""
    pair = Pair(tap, scratch, "in use")
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", "data_file=d.raw",
          THEIRS, "1M"], pair.folder)
    with in_use(pair.folder, THEIRS):
        for label, args in (("image", [THEIRS]),
                            ("data file", ["-o", "data_file=d.raw", OURS])):
            result = run([pair.byre, "create", "-f", "qcow2"] + args + ["2M"],
                         pair.folder)
            tap.check(result.code == 1 and b"lock" in result.err,
                      "%s in use" % label, result.text())
    result = run([QEMU_IO, "-c", "read -P 7 0 512", THEIRS], pair.folder)
    tap.check(result.code == 0 and b"failed" not in result.out and
              not os.path.exists(pair.file(OURS)), "it stays as it was",
              result.text())


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        check_matrix(tap, scratch)
        check_features(tap, scratch)
        check_largest(tap, scratch)
        check_overlays(tap, scratch)
        check_data_files(tap, scratch)
        check_plain_formats(tap, scratch)
        check_refused(tap, scratch)
        check_in_use(tap, scratch)
        if missing_feature(["crypto"]):
            tap.skip("encryption", "byre is built without crypto")
        else:
            check_encrypted(tap, scratch)
            check_ciphers(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
