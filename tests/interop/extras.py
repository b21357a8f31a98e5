#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Images that qemu-img cannot be asked for, made by changing some of its own, and
other ways to name an image; QEMU judges here too.

Without this, byre could agree with QEMU on everything QEMU writes today and
fail on what older versions and other writers have left behind.
"""

import contextlib
import json
import os
import struct
import sys

import answers
import images
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run,
                    write_file)
from matrix import LUKS_KINDS
from qcow2file import EXT_BACKING_FORMAT, Qcow2File


class Room:
    """One scratch folder; `both` runs the two tools and compares them."""

    def __init__(self, tap, scratch, name):
        self.tap = tap
        self.name = name
        self.path = scratch.make(name.replace(" ", "-").replace(":", ""))
        self.as_qemu = scratch.as_qemu
        write_file(self.file("base.raw"), b"base" * 200000)

    def file(self, name):
        return os.path.join(self.path, name)

    def qemu(self, *args, env=None):
        must([QEMU_IMG] + list(args), self.path, env)

    def create(self, *args):
        images.qemu_create(["-f", "qcow2"] + list(args), self.path)

    def fill(self, file, *more):
        images.qemu_io([file], ["write -P 1 0 100k", "write -P 2 300000 70000",
                                "write -z 500k 64k"] + list(more), self.path)

    def image(self, name="t.qcow2"):
        return Qcow2File(self.file(name))

    def both(self, label, args, parse, byre, cwd=None):
        cwd = cwd or self.path
        theirs = run([QEMU_IMG] + args, cwd)
        label = "%s: %s" % (self.name, label)
        if theirs.died:
            self.tap.skip(label, "qemu-img dies on it")
            return False
        ours = run([byre] + args, cwd)
        details = []
        if ours.code != theirs.code or bool(ours.err) != bool(theirs.err):
            details = ours.text() + theirs.text()
        elif theirs.code == 0:
            got, want = parse(ours.out), parse(theirs.out)
            if got != want:
                details = ours.text()[:2] + answers.difference(got, want)
        self.tap.check(not details, label, details)
        return not details and theirs.code == 0

    def answers_agree(self, opened, byre=BYRE, described=None, cwd=None):
        """info, map and the bytes, however both tools end."""
        described = described or opened
        at = cwd or self.path
        for label, args, parse in (
                ("info json", ["info", "--output=json"] + described,
                 answers.info_json),
                ("info", ["info"] + described, answers.info_human),
                ("info chain json", ["info", "--backing-chain",
                                     "--output=json"] + described,
                 answers.info_json),
                ("map json", ["map", "--output=json"] + opened,
                 answers.map_json),
                ("map", ["map"] + opened, answers.lines)):
            self.both(label, args, parse, byre, cwd)
        self.bytes_agree("convert", opened, byre, at)

    def bytes_agree(self, label, opened, byre, cwd):
        convert = ["convert", "-O", "raw"] + opened
        for name in ("byre.raw", "qemu.raw"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(cwd, name))
        theirs = run([QEMU_IMG] + convert + ["qemu.raw"], cwd)
        ours = run([byre] + convert + ["byre.raw"], cwd)
        label = "%s: %s" % (self.name, label)
        if theirs.code != 0:
            # QEMU leaves an empty file behind in some of these; byre none.
            made = os.path.exists(os.path.join(cwd, "byre.raw"))
            self.tap.check(ours.code == theirs.code and not made, label,
                           ours.text() + theirs.text())
            return
        details = ours.text()
        good = ours.code == 0 and not ours.err
        if good:
            details = answers.byte_difference(
                read_file(os.path.join(cwd, "byre.raw")),
                read_file(os.path.join(cwd, "qemu.raw")))
            good = not details
        self.tap.check(good, label, details)


# ---- Headers that qemu-img does not write ----


def old_header_without_extensions(room):
    """The backing name stands at byte 72, as in the first images of version 2."""
    room.create("-o", "compat=0.10", "-b", "base.raw", "-F", "raw", "t.qcow2",
                "1M")
    room.fill("t.qcow2")
    image = room.image()
    image.data[72:image.cluster] = bytes(image.cluster - 72)
    image.data[72:80] = b"base.raw"
    image.put("Q", 8, 72)
    image.save()
    room.answers_agree(["t.qcow2"], room.as_qemu)


def format_not_recorded(room):
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    at, _ = image.extension(EXT_BACKING_FORMAT)
    image.put("I", at, 0x11111111)
    image.save()
    room.answers_agree(["t.qcow2"], room.as_qemu)


def format_of_nothing(room):
    """A recorded backing format, but no backing file."""
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    image.put("Q", 8, 0)
    image.put("I", 16, 0)
    image.save()
    room.answers_agree(["t.qcow2"])


def _with_header_length(room, length):
    """Makes the header `length` bytes long, and moves what stands behind it."""
    image = room.image()
    old = image.header_length
    backing = image.get("Q", 8)
    end = (backing + image.get("I", 16)) if backing else 1024
    tail = bytes(image.data[old:end])
    fields = bytes(image.data[:min(old, length)]).ljust(length, b"\xa5")
    image.data[0:length + len(tail)] = fields + tail
    image.put("I", 100, length)
    if backing:
        image.put("Q", 8, backing + length - old)
    image.save()


def header_of_104_bytes(room):
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    _with_header_length(room, 104)
    room.answers_agree(["t.qcow2"])


def header_with_unknown_fields(room):
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    _with_header_length(room, 136)
    room.answers_agree(["t.qcow2"])


def unknown_extension(room):
    room.create("-o", "cluster_size=512", "t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    image.data[112:132] = struct.pack(">II5s7x", 0x01020304, 5, b"hello")[:20]
    image.data[132:140] = bytes(8)
    image.save()
    room.answers_agree(["t.qcow2"])


def size_not_of_sectors(room):
    room.create("t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    image.put("Q", 24, 1048576 - 100)
    image.save()
    room.answers_agree(["t.qcow2"])


def corrupt_bit(room):
    room.create("t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    image.put("Q", 72, 2)
    image.save()
    room.answers_agree(["t.qcow2"])


def version_4(room):
    room.create("t.qcow2", "1M")
    image = room.image()
    image.put("I", 4, 4)
    image.save()
    room.answers_agree(["t.qcow2"])


def v1_odd_size(room):
    images.qemu_create(["-f", "qcow", "t.qcow", "1M"], room.path)
    room.fill("t.qcow")
    image = room.image("t.qcow")
    image.put("Q", 24, 1000000)
    image.save()
    room.answers_agree(["t.qcow"])


# ---- Files that end early, disks of no size ----


def truncated_in_the_last_cluster(room):
    room.create("t.qcow2", "1M")
    room.fill("t.qcow2")
    path = room.file("t.qcow2")
    os.truncate(path, os.path.getsize(path) - 40000)
    room.answers_agree(["t.qcow2"])


def truncated_before_the_l1_table(room):
    room.create("t.qcow2", "1M")
    os.truncate(room.file("t.qcow2"), room.image().get("Q", 40))
    room.answers_agree(["t.qcow2"])


def disk_of_no_size(room):
    room.create("t.qcow2", "0")
    room.answers_agree(["t.qcow2"])


def huge_and_empty(room):
    """Two pieces of data far apart on a disk that no file could hold."""
    room.create("-o", "cluster_size=2M", "t.qcow2", "1P")
    images.qemu_io(["t.qcow2"], ["write -P 1 1T 64k", "write -P 2 900T 5M"],
                   room.path)
    file = ["t.qcow2"]
    room.both("info json", ["info", "--output=json"] + file, answers.info_json,
              BYRE)
    room.both("info", ["info"] + file, answers.info_human, BYRE)
    room.both("map json", ["map", "--output=json"] + file, answers.map_json,
              BYRE)
    room.both("compare", ["compare"] + file * 2, answers.lines, BYRE)


def raw_files(room):
    for length in (1, 511, 512, 513, 4095, 65536, 100001):
        name = "r%d.raw" % length
        write_file(room.file(name), (b"raw!" * (length // 4 + 1))[:length])
        room.answers_agree([name])
    with open(room.file("sparse.raw"), "wb") as f:
        f.truncate(3000001)
        f.seek(1234567)
        f.write(b"x" * 70000)
    images.settle(room.path)
    room.answers_agree(["sparse.raw"])
    write_file(room.file("empty.raw"), b"")
    room.answers_agree(["empty.raw"])


# ---- Names ----


def named(room, label, opened, has_backing):
    """One name of an image, by info, map and the bytes."""
    room.both("map json " + label, ["map", "--output=json"] + opened,
              answers.map_json, BYRE)
    room.bytes_agree("convert " + label, opened, BYRE, room.path)
    if has_backing:
        room.tap.skip("%s: info json %s" % (room.name, label),
                      "QEMU's info takes no options of a backing file")
        return
    room.both("info json " + label, ["info", "--output=json"] + opened,
              answers.info_json, BYRE)


def json_names(room):
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    file = {"driver": "file", "filename": "t.qcow2"}
    trees = [
        {"driver": "qcow2", "file": file},
        {"driver": "qcow2", "file.filename": "t.qcow2", "file.driver": "file"},
        {"driver": "qcow2", "file": file, "backing": None},
        {"driver": "raw", "file": file},
        {"driver": "raw", "offset": 65536, "size": 131072, "file": file},
        {"driver": "qcow2", "file": file,
         "backing": {"driver": "raw", "file": {"driver": "file",
                                               "filename": "base.raw"}}},
    ]
    for tree in trees:
        name = "json:" + json.dumps(tree)
        named(room, name, [name], bool(tree.get("backing")))


def image_opts(room):
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    os.rename(room.file("t.qcow2"), room.file("a,b.qcow2"))
    plain = "driver=qcow2,file.driver=file,file.filename=a,,b.qcow2"
    for opts in (plain, "file.filename=a,,b.qcow2",
                 plain + ",backing.driver=raw,backing.file.filename=base.raw",
                 "driver=raw,file.filename=a,,b.qcow2"):
        named(room, opts, ["--image-opts", opts], "backing." in opts)


def colon_in_the_name(room):
    os.rename(room.file("base.raw"), room.file("we:ird.raw"))
    room.create("-b", "./we:ird.raw", "-F", "raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    room.answers_agree(["t.qcow2"])


def relative_to_the_overlay(room):
    """The base beside the overlay, both in another folder than the caller."""
    os.mkdir(room.file("sub"))
    os.mkdir(room.file("else"))
    room.create("-b", "../base.raw", "-F", "raw", "sub/t.qcow2", "1M")
    room.fill("sub/t.qcow2")
    room.answers_agree(["sub/t.qcow2"])
    room.answers_agree(["../sub/t.qcow2"], cwd=room.file("else"))
    os.symlink("../sub/t.qcow2", room.file("else/link.qcow2"))
    room.answers_agree(["else/link.qcow2"])


def relative_below_a_json_name(room):
    room.create("-b", "base.raw", "-F", "raw", "mid.qcow2", "1M")
    name = images.backing_name("json", "mid.qcow2", "qcow2", room.path)
    room.create("-b", name, "-F", "qcow2", "t.qcow2", "1M")
    room.fill("t.qcow2")
    room.answers_agree(["t.qcow2"])


def data_file_elsewhere(room):
    """The data file's name is relative to the caller's folder."""
    os.mkdir(room.file("sub"))
    room.create("-o", "data_file=data.raw", "t.qcow2", "1M")
    room.fill("t.qcow2")
    room.answers_agree(["t.qcow2"])
    room.answers_agree(["../t.qcow2"], cwd=room.file("sub"))
    opts = ("driver=qcow2,file.filename=../t.qcow2,data-file.driver=file,"
            "data-file.filename=../data.raw")
    room.bytes_agree("convert with the data file named",
                     ["--image-opts", opts], BYRE, room.file("sub"))


def nothing_there(room):
    room.create("-b", "base.raw", "-F", "raw", "t.qcow2", "1M")
    os.unlink(room.file("base.raw"))
    room.answers_agree(["t.qcow2"])
    room.answers_agree(["missing.qcow2"])


def loop(room):
    """a on b on a: QEMU opens files until it has no more; byre must say no."""
    room.create("a.qcow2", "1M")
    room.create("-b", "a.qcow2", "-F", "qcow2", "b.qcow2")
    room.qemu("rebase", "-u", "-b", "b.qcow2", "-F", "qcow2", "a.qcow2")
    for args in (["info", "--backing-chain"], ["map"],
                 ["convert", "-O", "raw"]):
        command = [BYRE] + args + ["a.qcow2"]
        command += ["out.raw"] if args[0] == "convert" else []
        result = run(command, room.path)
        room.tap.check(result.code == 1 and result.err.count(b"\n") == 1,
                       "loop: %s" % args[0], result.text())


# ---- Content ----


def snapshot_names(room):
    """Equal names, an empty one, and one that looks like another's id."""
    room.create("t.qcow2", "1M")
    for i, name in enumerate(("twin", "twin", "1", "", "sp ace")):
        images.qemu_io(["t.qcow2"], ["write -P %d 0 64k" % (i + 1)], room.path)
        room.qemu("snapshot", "-c", name, "t.qcow2")
    room.fill("t.qcow2")
    room.answers_agree(["t.qcow2"])
    for way in ("twin", "1", "3", "sp ace", "snapshot.id=2",
                "snapshot.name=1", "snapshot.name=twin", "nosuch",
                "snapshot.name=nosuch", "snapshot.id=9"):
        room.bytes_agree("convert -l '%s'" % way, ["-l", way, "t.qcow2"], BYRE,
                         room.path)


def both_layers_encrypted(room):
    if missing_feature(["crypto"]):
        room.tap.skip(room.name, "byre is built without crypto")
        return
    write_file(room.file("secret"), b"above")
    write_file(room.file("below"), b"below")
    below = ["--object", "secret,id=s1,file=below"]
    images.qemu_create(["-f", "qcow2", "-o",
                        "encrypt.format=aes,encrypt.key-secret=s1"] + below +
                       ["mid.qcow2", "1M"], room.path)
    images.qemu_io(below + ["--image-opts", "driver=qcow2,file.filename="
                            "mid.qcow2,encrypt.key-secret=s1"],
                   ["write -P 3 0 700k"], room.path)
    options = ",".join(images.luks_options(LUKS_KINDS[0]))
    images.qemu_create(["-u", "-f", "qcow2", "-o", options, "-b", "mid.qcow2",
                        "-F", "qcow2"] + images.SECRET_OBJECT +
                       ["t.qcow2", "1M"], room.path)
    opts = ("driver=qcow2,file.filename=t.qcow2,encrypt.key-secret=s0,"
            "backing.driver=qcow2,backing.file.filename=mid.qcow2,"
            "backing.encrypt.key-secret=s1")
    opened = images.SECRET_OBJECT + below + ["--image-opts", opts]
    images.qemu_io(opened, ["write -P 4 50000 70000"], room.path)
    room.answers_agree(opened, described=["t.qcow2"])


def data_beyond_the_file(room):
    """An L2 entry that points past the end of the file reads as zeroes."""
    room.create("t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    l2 = image.get("Q", image.get("Q", 40)) & 0x00FFFFFFFFFFFE00
    image.put("Q", l2 + 8, 1 << 63 | 1 << 30)
    image.save()
    room.answers_agree(["t.qcow2"])


def reserved_bits_in_tables(room):
    room.create("t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    l1 = image.get("Q", 40)
    l2 = image.get("Q", l1) & 0x00FFFFFFFFFFFE00
    image.put("Q", l2, image.get("Q", l2) | 1 << 57 | 1 << 3)
    image.put("Q", l1, image.get("Q", l1) | 1 << 60)
    image.save()
    room.answers_agree(["t.qcow2"])


def cluster_used_twice(room):
    room.create("t.qcow2", "1M")
    room.fill("t.qcow2")
    image = room.image()
    l2 = image.get("Q", image.get("Q", 40)) & 0x00FFFFFFFFFFFE00
    image.put("Q", l2 + 8 * 15, image.get("Q", l2))
    image.save()
    room.answers_agree(["t.qcow2"])


ROOMS = [
    old_header_without_extensions, format_not_recorded, format_of_nothing,
    header_of_104_bytes, header_with_unknown_fields, unknown_extension,
    size_not_of_sectors, corrupt_bit, version_4, v1_odd_size,
    truncated_in_the_last_cluster, truncated_before_the_l1_table,
    disk_of_no_size, huge_and_empty, raw_files, json_names, image_opts,
    colon_in_the_name, relative_to_the_overlay, relative_below_a_json_name,
    data_file_elsewhere, nothing_there, loop, snapshot_names,
    both_layers_encrypted, data_beyond_the_file, reserved_bits_in_tables,
    cluster_used_twice,
]


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    only = sys.argv[1:]
    with Scratch() as scratch:
        for make in ROOMS:
            name = make.__name__.replace("_", " ")
            if only and make.__name__ not in only:
                continue
            try:
                make(Room(tap, scratch, name))
            except BuildError as error:
                tap.skip(name, "qemu cannot make it: %s" % error)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
