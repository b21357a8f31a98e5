#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Mistakes that other readers of the format were found to make; byre must not.

Each check names one of them.  Without this, a shortcut that looks harmless
(not looking at crypt_method, at a feature bit, at an extension of version 2)
could come in and hand out ciphertext or the wrong disk as data.
"""

import os
import struct
import sys

import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run,
                    write_file)
from matrix import LUKS_KINDS
from qcow2file import (AUTOCLEAR, EXT_BACKING_FORMAT, EXT_CRYPTO,
                       EXT_FEATURE_NAMES, INCOMPATIBLE, Qcow2File)

# A reader that looks for this number never sees the format that QEMU records.
MISTAKEN_BACKING_FORMAT = 0xE279268F


class Folder:
    """A case's scratch folder, with the common commands."""

    def __init__(self, tap, scratch, name):
        self.tap = tap
        self.path = scratch.make(name)
        self.as_qemu = scratch.as_qemu

    def file(self, name):
        return os.path.join(self.path, name)

    def qemu(self, *args):
        must([QEMU_IMG] + list(args), self.path)

    def io(self, file, *commands):
        images.qemu_io([file], list(commands), self.path)

    def byre(self, *args):
        return run([BYRE] + list(args), self.path)

    def qcow2(self, name):
        return Qcow2File(self.file(name))

    def made(self, name):
        return os.path.exists(self.file(name))

    def reads_as(self, label, file, want, *args, byre=BYRE):
        """byre converts `file` to exactly `want`."""
        result = run([byre, "convert", "-O", "raw"] + list(args) +
                     [file, "got.raw"], self.path)
        good = result.code == 0 and read_file(self.file("got.raw")) == want
        self.tap.check(good, label, result.text())
        if self.made("got.raw"):
            os.unlink(self.file("got.raw"))

    def reads_like_qemu(self, label, file, *args, byre=BYRE):
        """byre converts `file` to what QEMU does."""
        self.qemu("convert", "-O", "raw", *args, file, "want.raw")
        self.reads_as(label, file, read_file(self.file("want.raw")), *args,
                      byre=byre)

    def refused(self, label, args, *words):
        """
        No verb that reads data gives any: exit 1 (compare: 2), one error, no
        file, nothing on a pipe.
        """
        commands = {
            "convert": ["convert", "-O", "raw"] + args + ["no.raw"],
            "pipe": ["convert", "-O", "raw"] + args + ["/dev/stdout"],
            "map": ["map", "--output=json"] + args,
            "compare": ["compare"] + args + args[-1:],
        }
        for name, command in commands.items():
            result = self.byre(*command)
            code = 2 if name == "compare" else 1
            good = (result.code == code and result.out == b"" and
                    not self.made("no.raw") and
                    all(w.encode() in result.err for w in words))
            self.tap.check(good, "%s: %s" % (label, name), result.text())


# ---- 1 and 3: crypt_method is looked at ----


def encrypted_images(tap, scratch):
    for name, options in (("aes in version 2", ["compat=0.10"]),
                          ("aes in version 3", ["compat=1.1"]),
                          ("luks in version 2", ["compat=0.10"]),
                          ("luks in version 3", ["compat=1.1"])):
        folder = Folder(tap, scratch, name.replace(" ", "-"))
        write_file(folder.file("secret"), b"open sesame")
        write_file(folder.file("wrong"), b"open barley")
        if name.startswith("aes"):
            options += ["encrypt.format=aes", "encrypt.key-secret=s0"]
        else:
            options += images.luks_options(LUKS_KINDS[0])
        images.qemu_create(["-f", "qcow2", "-o", ",".join(options)] +
                           images.SECRET_OBJECT + ["t.qcow2", "1M"],
                           folder.path)
        opened = ["--image-opts",
                  "driver=qcow2,file.filename=t.qcow2,encrypt.key-secret=s0"]
        images.qemu_io(images.SECRET_OBJECT + opened,
                       ["write -P 7 0 128k", "write -c -P 8 256k 64k"],
                       folder.path)
        folder.refused("%s without its secret" % name, ["t.qcow2"], "secret")
        if name.startswith("luks"):
            wrong = ["--object", "secret,id=s0,file=wrong"]
            folder.refused("%s with a wrong passphrase" % name, wrong + opened)
        want = b"\7" * 131072 + bytes(131072) + b"\10" * 65536
        want += bytes(1048576 - len(want))
        folder.reads_as("%s with its secret" % name, opened[1], want,
                        *images.SECRET_OBJECT, opened[0])


def crypt_method_that_lies(tap, scratch):
    folder = Folder(tap, scratch, "crypt-method")
    folder.qemu("create", "-q", "-f", "qcow2", "t.qcow2", "1M")
    folder.io("t.qcow2", "write -P 7 0 64k")
    image = folder.qcow2("t.qcow2")
    image.put("I", 32, 3)
    image.save(folder.file("unknown.qcow2"))
    folder.refused("an unknown crypt_method", ["unknown.qcow2"], "3")
    image.put("I", 32, 2)
    image.save(folder.file("headless.qcow2"))
    folder.refused("crypt_method 2 without a LUKS header", ["headless.qcow2"])
    image.put("I", 32, 1)
    image.save(folder.file("aes.qcow2"))
    folder.refused("crypt_method 1 set on a plain image", ["aes.qcow2"],
                   "secret")


# ---- 2 and 4: every incompatible bit is handled or refused ----


def known_bits(tap, scratch):
    makers = {
        "bit 1, corrupt": [],
        "bit 2, external data file": ["data_file=data.raw"],
        "bit 3, compression type": ["compression_type=zstd"],
        "bit 4, extended L2 entries": ["extended_l2=on"],
    }
    for bit, (name, options) in enumerate(makers.items(), 1):
        folder = Folder(tap, scratch, "bit%d" % bit)
        argv = ["-o", ",".join(options)] if options else []
        folder.qemu("create", "-q", "-f", "qcow2", *argv, "t.qcow2", "1M")
        commands = ["write -P 7 0 70k", "write -P 8 200k 2k"]
        if bit != 2:
            commands.append("write -c -P 9 512k 64k")
        folder.io("t.qcow2", *commands)
        image = folder.qcow2("t.qcow2")
        if bit == 1:
            image.put("Q", INCOMPATIBLE, 2)
            image.save()
        tap.check(image.get("Q", INCOMPATIBLE) == 1 << bit,
                  "%s: the image has it" % name)
        want = bytearray(1048576)
        want[0:71680] = b"\7" * 71680
        want[204800:206848] = b"\10" * 2048
        if bit != 2:
            want[524288:589824] = b"\11" * 65536
        folder.reads_as("%s: read right" % name, "t.qcow2", bytes(want))


def unknown_bits(tap, scratch):
    folder = Folder(tap, scratch, "unknown-bits")
    folder.qemu("create", "-q", "-f", "qcow2", "t.qcow2", "1M")
    folder.io("t.qcow2", "write -P 7 0 64k")
    for bit in (5, 6, 31, 32, 63):
        image = folder.qcow2("t.qcow2")
        image.put("Q", INCOMPATIBLE, 1 << bit)
        image.save(folder.file("bit.qcow2"))
        mask = "%x" % (1 << bit)
        folder.refused("unknown incompatible bit %d" % bit, ["bit.qcow2"],
                       mask)
        result = folder.byre("info", "bit.qcow2")
        tap.check(result.code == 1 and mask.encode() in result.err,
                  "unknown incompatible bit %d: info" % bit, result.text())

    image = folder.qcow2("t.qcow2")
    at, _ = image.extension(EXT_FEATURE_NAMES)
    name = b"time travel"
    struct.pack_into(">BB46s", image.data, at + 8, 0, 5, name)
    image.put("Q", INCOMPATIBLE, 1 << 5 | 1 << 40)
    image.save(folder.file("named.qcow2"))
    folder.refused("a named and an unnamed bit", ["named.qcow2"],
                   name.decode(), "10000000000")
    for field, word in ((AUTOCLEAR, "autoclear"), (80, "compatible")):
        image = folder.qcow2("t.qcow2")
        image.put("Q", field, 0xF0 << 32)
        image.save(folder.file("harmless.qcow2"))
        folder.reads_like_qemu("unknown %s bits are harmless" % word,
                               "harmless.qcow2")


# ---- 4 and 6: the backing format is read, in version 2 as well ----


def backing_format(tap, scratch):
    """The base is a raw disk on which a guest has put a QCOW2 image."""
    for compat in ("0.10", "1.1"):
        folder = Folder(tap, scratch, "format-" + compat)
        folder.qemu("create", "-q", "-f", "qcow2", "inner.qcow2", "1M")
        folder.io("inner.qcow2", "write -P 7 0 64k")
        inner = read_file(folder.file("inner.qcow2"))
        write_file(folder.file("base"), inner + bytes(-len(inner) % 512))
        disk = b"\7" * 65536 + bytes(1048576 - 65536)
        raw = read_file(folder.file("base")).ljust(1048576, b"\0")
        for form, want in (("raw", raw), ("qcow2", disk)):
            file = form + ".qcow2"
            folder.qemu("create", "-q", "-f", "qcow2", "-o",
                        "compat=" + compat, "-b", "base", "-F", form, file,
                        "1M")
            for byre, word in ((BYRE, "byre"), (folder.as_qemu, "qemu-img")):
                folder.reads_as("compat %s, as %s: base recorded as %s" %
                                (compat, word, form), file, want, byre=byre)
        mistaken_number(folder, compat, disk)


def mistaken_number(folder, compat, disk):
    """The format under another number is no format: refused, not guessed."""
    image = folder.qcow2("raw.qcow2")
    at, _ = image.extension(EXT_BACKING_FORMAT)
    image.put("I", at, MISTAKEN_BACKING_FORMAT)
    image.save(folder.file("mistaken.qcow2"))
    label = "compat %s: the mistaken extension number" % compat
    folder.refused(label + " is not obeyed", ["mistaken.qcow2"],
                   "--probe-backing")
    folder.reads_as(label + ", probing allowed", "mistaken.qcow2", disk,
                    "--probe-backing")
    folder.reads_like_qemu(label + ", as qemu-img", "mistaken.qcow2",
                           byre=folder.as_qemu)


def extensions_of_version_2(tap, scratch):
    """LUKS pointer and unknown extensions in a header of 72 bytes."""
    folder = Folder(tap, scratch, "v2-extensions")
    write_file(folder.file("base.raw"), b"b" * 1048576)
    folder.qemu("create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b",
                "base.raw", "-F", "raw", "t.qcow2")
    image = folder.qcow2("t.qcow2")
    records = struct.pack(">II4s4x", 0x12345678, 4, b"what")
    records += struct.pack(">II3s5x", EXT_BACKING_FORMAT, 3, b"raw")
    records += bytes(8)
    name_at = 72 + len(records)
    image.data[72:name_at] = records
    image.data[name_at:name_at + 8] = b"base.raw"
    image.put("Q", 8, name_at)
    image.save()
    folder.reads_as("version 2: format behind an unknown extension",
                    "t.qcow2", b"b" * 1048576)
    result = folder.byre("info", "t.qcow2")
    tap.check(b"backing file format: raw\n" in result.out,
              "version 2: info names the backing format", result.text())

    write_file(folder.file("secret"), b"open sesame")
    options = ["compat=0.10"] + images.luks_options(LUKS_KINDS[0])
    images.qemu_create(["-f", "qcow2", "-o", ",".join(options)] +
                       images.SECRET_OBJECT + ["l.qcow2", "1M"], folder.path)
    tap.check(folder.qcow2("l.qcow2").extension(EXT_CRYPTO) is not None,
              "version 2: QEMU writes the LUKS pointer")
    result = folder.byre("info", "l.qcow2")
    tap.check(b"cipher alg: aes-256\n" in result.out,
              "version 2: info reads the LUKS header", result.text())


# ---- 5: nothing is written by reading ----


def untouched(tap, scratch):
    """Every read verb leaves every byte of every file as it was."""
    folder = Folder(tap, scratch, "untouched")
    folder.qemu("create", "-q", "-f", "qcow2", "-o",
                "data_file=data.raw,data_file_raw=on", "rawdata.qcow2", "1M")
    folder.io("rawdata.qcow2", "write -P 7 0 64k")
    folder.qemu("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on",
                "t.qcow2", "1M")
    folder.qemu("bitmap", "--add", "t.qcow2", "b0")
    folder.io("t.qcow2", "write -P 7 0 64k")
    folder.qemu("snapshot", "-c", "s", "t.qcow2")
    image = folder.qcow2("t.qcow2")
    image.put("Q", AUTOCLEAR, image.get("Q", AUTOCLEAR) | 0xF0)
    image.put("Q", INCOMPATIBLE, 1)
    image.save()

    for file in ("t.qcow2", "rawdata.qcow2"):
        before = folder.qcow2(file)
        data = read_file(folder.file("data.raw"))
        bits = before.get("Q", AUTOCLEAR)
        tap.check(bits != 0, "%s has autoclear bits" % file, ["%x" % bits])
        commands = [["info", file], ["info", "-U", file],
                    ["info", "--backing-chain", "--output=json", file],
                    ["map", file], ["map", "--output=json", file],
                    ["convert", "-O", "raw", file, "out.raw"],
                    ["compare", file, file], ["compare", "-s", file, file]]
        if file == "t.qcow2":
            commands.append(["convert", "-l", "s", "-O", "raw", file,
                             "out.raw"])
        for command in commands:
            result = folder.byre(*command)
            good = (result.code == 0 and
                    folder.qcow2(file).data == before.data and
                    read_file(folder.file("data.raw")) == data)
            tap.check(good, "%s: untouched by %s" %
                      (file, " ".join(command[:-1])), result.text())


# ---- 7: snapshots of an image that was not closed ----


def dirty_with_snapshots(tap, scratch):
    """The disk and the snapshots are each read by their own L1 table."""
    for first in ("64k of data", "zeroes"):
        folder = Folder(tap, scratch, "dirty-" + first.split()[0])
        folder.qemu("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on",
                    "t.qcow2", "4M")
        begin = "write -P 1 0 64k" if first != "zeroes" else "write -z 0 64k"
        folder.io("t.qcow2", begin, "write -P 2 1M 1M", "write -c -P 3 3M 64k")
        folder.qemu("snapshot", "-c", "old", "t.qcow2")
        folder.qemu("convert", "-O", "raw", "t.qcow2", "old.raw")
        folder.io("t.qcow2", "write -P 4 1M 128k", "write -z 1600k 100k",
                  "discard 3M 64k")
        folder.qemu("snapshot", "-c", "new", "t.qcow2")
        folder.qemu("convert", "-O", "raw", "t.qcow2", "new.raw")
        folder.io("t.qcow2", "write -P 5 0 2M", "write -P 6 3M 512k", "flush",
                  "sigraise 9")
        image = folder.qcow2("t.qcow2")
        label = "not closed, first cluster %s" % first
        tap.check(image.get("Q", INCOMPATIBLE) & 1 == 1,
                  label + ": the image is dirty")
        for name in ("old", "new"):
            folder.reads_as("%s: snapshot %s" % (label, name), "t.qcow2",
                            read_file(folder.file(name + ".raw")), "-l", name)
        active = (b"\5" * 2097152).ljust(3145728, b"\0")
        active = (active + b"\6" * 524288).ljust(4194304, b"\0")
        folder.reads_as(label + ": the disk itself", "t.qcow2", active)
        result = folder.byre("info", "t.qcow2")
        tap.check(b"cleanly shut down: no\n" in result.out,
                  label + ": info says so", result.text())
        tap.check(folder.qcow2("t.qcow2").data == image.data,
                  label + ": nothing was repaired by reading")


PARTS = {
    encrypted_images: ["crypto"],
    crypt_method_that_lies: [],
    known_bits: ["zstd"],
    unknown_bits: [],
    backing_format: [],
    extensions_of_version_2: [],
    untouched: [],
    dirty_with_snapshots: [],
}


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    with Scratch() as scratch:
        for part, needed in PARTS.items():
            lacking = missing_feature(needed)
            if lacking:
                tap.skip(part.__name__, "byre is built without " + lacking)
                continue
            try:
                part(tap, scratch)
            except BuildError as error:
                tap.skip(part.__name__, "qemu cannot make it: %s" % error)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
