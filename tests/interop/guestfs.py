#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
libguestfs' tools with byre in the place of qemu-img.

Without this, byre could print, take or leave something otherwise than libguestfs
expects.  virt-make-fs, guestfish, virt-sparsify and virt-resize make and convert
images with an appliance, which needs a kernel and qemu-system; Debian's qemu-img
judges the results.
"""

import glob
import os
import shutil
import sys

from common import (QEMU_IMG, Scratch, Tap, must, need_tools, run, skip_all)

TOOLS = ("virt-make-fs", "guestfish", "virt-sparsify")


def missing():
    """What keeps an appliance from starting, or None."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return "%s is not installed (Debian: libguestfs-tools)" % tool
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is not installed"
    if not glob.glob("/boot/vmlinuz-*"):
        return "there is no kernel in /boot"
    return None


def judge(tap, folder, name, want_format):
    info = run([QEMU_IMG, "info", name], folder)
    check = run([QEMU_IMG, "check", name], folder)
    tap.check(b"file format: " + want_format in info.out and check.code == 0,
              name + " is whole", info.text() + check.text())


def step(tap, name, argv, folder, env):
    result = run(argv, folder, env)
    return tap.check(result.code == 0, name, result.text())


def tools(tap, scratch):
    folder = scratch.make("g")
    env = {"PATH": scratch.path + ":" + os.environ["PATH"],
           "LIBGUESTFS_BACKEND": "direct", "HOME": folder}
    os.makedirs(os.path.join(folder, "tree"))
    must(["sh", "-c", "echo hello >tree/file"], folder)
    if not step(tap, "the appliance starts", ["libguestfs-test-tool"], folder,
                env):
        return
    step(tap, "virt-make-fs", ["virt-make-fs", "--format=qcow2", "--type=ext4",
                               "--partition", "tree", "m.qcow2"], folder, env)
    judge(tap, folder, "m.qcow2", b"qcow2")
    read = ["guestfish", "--ro", "-a", "%s", "-m", "/dev/sda1", "cat", "/file"]
    result = run([w % "m.qcow2" if "%s" in w else w for w in read], folder, env)
    tap.check(b"hello" in result.out, "guestfish reads it", result.text())
    step(tap, "guestfish makes a disk", [
        "guestfish", "disk-create", "d.qcow2", "qcow2", "64M",
        "preallocation:metadata", "compat:1.1", "clustersize:131072"], folder,
        env)
    judge(tap, folder, "d.qcow2", b"qcow2")
    for argv in (["--compress"], []):
        name = "s%d.qcow2" % len(argv)
        step(tap, " ".join(["virt-sparsify"] + argv),
             ["virt-sparsify", "--convert", "qcow2"] + argv +
             ["m.qcow2", name], folder, env)
        judge(tap, folder, name, b"qcow2")
    if shutil.which("virt-resize") is None:
        tap.skip("virt-resize", "it is not installed")
        return
    must([QEMU_IMG, "create", "-q", "-f", "qcow2", "r.qcow2", "64M"], folder)
    step(tap, "virt-resize", ["virt-resize", "--expand", "/dev/sda1", "m.qcow2",
                              "r.qcow2"], folder, env)
    judge(tap, folder, "r.qcow2", b"qcow2")


def main():
    need_tools(QEMU_IMG)
    reason = missing()
    if reason is not None:
        skip_all(reason)
    tap = Tap()
    with Scratch() as scratch:
        tools(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
