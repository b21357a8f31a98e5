# SPDX-License-Identifier: MIT
"""Chains of images for the programs that shorten them, made by QEMU's tools."""

import os
import shutil

import images
from common import QEMU_IMG, QEMU_IO, must, read_file, run
from flatdisk import Differs

MIB = 1 << 20
DRIVERS = {"raw": "raw", "qcow": "qcow", "qcow2": "qcow2", "v2": "qcow2",
           "extl2": "qcow2", "2M": "qcow2", "512": "qcow2", "data": "qcow2",
           "luks": "qcow2", "snapshot": "qcow2"}
OPTIONS = {"v2": "compat=0.10,cluster_size=4k", "extl2": "extended_l2=on",
           "2M": "cluster_size=2M", "512": "cluster_size=512",
           "data": "data_file=%s.data,cluster_size=4k", "snapshot":
           "cluster_size=4k"}


class Layer:
    """One image of a chain: a file name, a kind, a size."""

    def __init__(self, name, kind, size, below=None):
        self.name, self.kind, self.size, self.below = name, kind, size, below
        self.driver = DRIVERS[kind]

    @property
    def encrypted(self):
        return self.kind == "luks"

    def named(self):
        """Arguments that name it for reading or writing."""
        if not self.encrypted:
            return ["-f", self.driver, self.name]
        return images.SECRET_OBJECT + ["--image-opts", self.opts()]

    def opts(self):
        return "driver=qcow2,file.filename=%s,encrypt.key-secret=%s" % (
            self.name, images.SECRET_ID)

    def create(self, folder):
        options = OPTIONS.get(self.kind, "")
        if self.kind == "data":
            options = options % self.name
        if self.encrypted:
            options = ",".join(images.luks_options(
                ("aes-256", "xts", "plain64", None, "sha256")))
        argv = ["-f", self.driver]
        argv += images.SECRET_OBJECT if self.encrypted else []
        argv += ["-o", options] if options else []
        if self.below:
            argv += ["-b", self.below.name, "-F", self.below.driver]
        images.qemu_create(argv + [self.name, str(self.size)], folder)

    def qemu_io(self, folder, commands):
        argv = [QEMU_IO] + self.named()
        for command in commands:
            argv += ["-c", command]
        must(argv, folder)

    def fill(self, rng, folder, extra=()):
        """Writes all over; a version 1 image takes no zeroes by itself."""
        commands = []
        for _ in range(rng.randint(4, 9)):
            start = rng.randrange(self.size // 512) * 512
            length = min(rng.choice([512, 4096, 70000, 300000]),
                         self.size - start) // 512 * 512
            kind = rng.choice(["-P %d" % rng.randint(1, 255)] * 3 + ["-z"])
            if self.driver in ("raw", "qcow") and kind == "-z":
                kind = "-P 0"
            commands.append("write -q %s %d %d" % (kind, start, length))
        if self.kind in ("512", "snapshot", "2M"):
            commands.insert(0, "write -q -c -P 77 2M 2M"
                            if self.kind == "2M" else
                            "write -q -c -P 77 64k 4k")
        self.qemu_io(folder, list(extra) + [c for c in commands])
        if self.kind == "snapshot":
            must([QEMU_IMG, "snapshot", "-c", "then", self.name], folder)
            self.qemu_io(folder, ["write -q -P 99 100k 50k"])


def disk_of(layer, folder, name="disk.raw"):
    """What a layer's disk holds, as QEMU reads it."""
    argv = [QEMU_IMG, "convert", "-O", "raw"]
    must(argv + layer.named() + [name], folder)
    return read_file(os.path.join(folder, name))


def copy_folder(scratch, folder, suffix):
    copy = folder + suffix
    shutil.copytree(folder, copy)
    return copy


def check(layer, folder, allowed=(0,)):
    """QEMU's check; version 1 and raw have none."""
    if layer.driver != "qcow2":
        return
    result = run([QEMU_IMG, "check"] + layer.named(), folder)
    if result.code not in allowed:
        raise Differs(result.text())


def same_disk(what, ours, theirs):
    """Equal bytes; where one is longer, it has zeroes there."""
    shorter = min(len(ours), len(theirs))
    if ours[:shorter] != theirs[:shorter]:
        at = next(i for i in range(shorter) if ours[i] != theirs[i])
        raise Differs(["%s: differs at %d" % (what, at)])
    if any(ours[shorter:]) or any(theirs[shorter:]):
        raise Differs(["%s: differs behind %d" % (what, shorter)])


def step(argv, folder, out=None):
    """A command that is on trial."""
    result = run(argv, folder)
    if result.code != 0 or result.err or (out is not None and
                                          result.out != out):
        raise Differs(result.text())
    return result
