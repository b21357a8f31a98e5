#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
byre's checksum of disks, beside an implementation of docs/checksum.md that has
nothing in common with it.

Without this, two checksums could differ where the disks are the same, or be the
same where a byte differs; and those that people wrote down would no longer
hold.
"""

import hashlib
import json
import os
import random
import struct
import sys

from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, run, skip_all,
                    write_file)

BLOCK = 65536
MIB = 1 << 20
# A disk of three blocks and a sector, all of the letter Z, written down.
KNOWN = "2b084bcaf8f67e64"


def checksum(data, algorithm="sha256"):
    outer = hashlib.new(algorithm)
    for start in range(0, len(data), BLOCK):
        outer.update(hashlib.new(algorithm, data[start:start + BLOCK]).digest())
    outer.update(struct.pack("<Q", len(data)))
    return outer.hexdigest()


def said(folder, argv):
    result = run([BYRE, "checksum", "--output=json"] + argv, folder)
    return (json.loads(result.out)["checksum"] if result.code == 0 else None,
            result)


def expect(tap, name, folder, argv, want):
    got, result = said(folder, argv)
    tap.check(got == want and result.err == b"", name,
              result.text() + ["wanted %s" % want])


def drawn_disk(rng, size):
    """Data, zeroes and holes in pieces of any length."""
    data = bytearray()
    while len(data) < size:
        length = rng.choice([1, 511, 512, 4096, BLOCK - 1, BLOCK, BLOCK + 512,
                             5 * BLOCK, 12 * BLOCK])
        data += bytes(length) if rng.random() < 0.5 else rng.randbytes(length)
    return bytes(data[:size])


# Each makes x of d.raw.
FORMS = {
    "raw": ["-O", "raw"],
    "raw-full": ["-O", "raw", "-S", "0"],
    "qcow2": ["-O", "qcow2"],
    "qcow2-512": ["-O", "qcow2", "-o", "cluster_size=512"],
    "qcow2-2M": ["-O", "qcow2", "-o", "cluster_size=2M"],
    "qcow2-v2": ["-O", "qcow2", "-o", "compat=0.10"],
    "extended": ["-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"],
    "compressed": ["-c", "-O", "qcow2"],
    "preallocated": ["-O", "qcow2", "-o", "preallocation=full"],
    "qcow": ["-O", "qcow"],
    "qcow-compressed": ["-c", "-O", "qcow"],
}


def formats(tap, scratch):
    for number, size in enumerate([0, 512, BLOCK - 512, BLOCK, BLOCK + 512,
                                   3 * MIB + 512, 8 * MIB]):
        rng = random.Random(number)
        folder = scratch.make("formats%d" % size)
        data = drawn_disk(rng, size)
        write_file(os.path.join(folder, "d.raw"), data)
        want = checksum(data)
        expect(tap, "raw file of %d" % size, folder, ["-f", "raw", "d.raw"],
               want)
        for name, argv in FORMS.items():
            if size == 0 and "qcow" in argv:
                continue
            # QEMU 7.2 cannot compress the end of a disk in qcow.
            maker = BYRE if "qcow" in argv and "-c" in argv else QEMU_IMG
            must([maker, "convert", "-f", "raw"] + argv + ["d.raw", "x"],
                 folder)
            expect(tap, "%s of %d" % (name, size), folder,
                   ["-f", argv[argv.index("-O") + 1], "x"], want)


def chains(tap, scratch):
    folder = scratch.make("chains")
    data = bytearray(drawn_disk(random.Random(9), 4 * MIB))
    write_file(os.path.join(folder, "base.raw"), bytes(data))
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F",
          "raw", "mid.qcow2", "5M"], folder)
    must([QEMU_IO, "-c", "write -P 7 1M 300k", "-c", "write -z 2M 1M",
          "mid.qcow2"], folder)
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F",
          "qcow2", "top.qcow2"], folder)
    must([QEMU_IMG, "snapshot", "-c", "before", "top.qcow2"], folder)
    data += bytes(MIB)
    data[MIB:MIB + 300 * 1024] = b"\x07" * (300 * 1024)
    data[2 * MIB:3 * MIB] = bytes(MIB)
    before = checksum(bytes(data))
    expect(tap, "chain", folder, ["top.qcow2"], before)
    must([QEMU_IO, "-c", "write -P 9 4M 1k", "top.qcow2"], folder)
    data[4 * MIB:4 * MIB + 1024] = b"\x09" * 1024
    expect(tap, "chain, written", folder, ["top.qcow2"],
           checksum(bytes(data)))
    for option in ("before", "snapshot.name=before",
                   "snapshot.id=1,snapshot.name=before"):
        expect(tap, "snapshot " + option, folder, ["-l", option, "top.qcow2"],
               before)
    expect(tap, "list of options", folder,
           ["--image-opts", "driver=qcow2,file.filename=top.qcow2"],
           checksum(bytes(data)))
    for workers in ("1", "2", "3", "16", "64"):
        expect(tap, workers + " workers", folder, ["-m", workers, "top.qcow2"],
               checksum(bytes(data)))
    for algorithm in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
        expect(tap, algorithm, folder, ["-a", algorithm, "top.qcow2"],
               checksum(bytes(data), algorithm))


def encrypted(tap, scratch):
    folder = scratch.make("encrypted")
    data = drawn_disk(random.Random(10), 2 * MIB)
    write_file(os.path.join(folder, "d.raw"), data)
    write_file(os.path.join(folder, "key"), b"open sesame")
    secret = ["--object", "secret,id=s0,file=key"]
    for kind in ("aes", "luks"):
        must([BYRE, "convert", "-f", "raw", "-O", "qcow2"] + secret +
             ["-o", "encrypt.format=%s,encrypt.key-secret=s0" % kind, "d.raw",
              kind], folder)
        expect(tap, kind, folder, secret + [
            "--image-opts", "driver=qcow2,file.filename=%s,"
            "encrypt.key-secret=s0" % kind], checksum(data))


def holes(tap, scratch):
    """What is known to be zero takes no reading."""
    folder = scratch.make("holes")
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "empty.qcow2", "64G"],
         folder)
    outer = hashlib.sha256(hashlib.sha256(bytes(BLOCK)).digest() * (1 << 20))
    outer.update(struct.pack("<Q", 64 << 30))
    expect(tap, "64 GiB of nothing", folder, ["empty.qcow2"],
           outer.hexdigest())


def known(tap, scratch):
    folder = scratch.make("known")
    data = b"Z" * (3 * BLOCK + 512)
    write_file(os.path.join(folder, "z"), data)
    got, result = said(folder, ["-f", "raw", "z"])
    tap.check(got is not None and got.startswith(KNOWN), "written down",
              result.text())
    line = run([BYRE, "checksum", "-f", "raw", "z"], folder).out
    tap.check(line == (checksum(data) + "  z\n").encode(), "the human line",
              [repr(line)])
    data = bytearray(data)
    data[BLOCK] ^= 1
    write_file(os.path.join(folder, "z"), bytes(data))
    tap.check(said(folder, ["-f", "raw", "z"])[0] not in (got, None),
              "one bit makes another checksum")


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    if missing_feature(["crypto"]) is not None:
        skip_all("byre was built without crypto")
    tap = Tap()
    with Scratch() as scratch:
        for part in known, formats, chains, encrypted, holes:
            try:
                part(tap, scratch)
            except BuildError as error:
                tap.skip(part.__name__, "qemu cannot make it: %s" % error)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
