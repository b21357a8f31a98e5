#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
libvirt's storage driver with byre in the place of qemu-img.

Without this, byre could print, take or leave something otherwise than libvirt
expects, which nobody sees who only compares command lines.  A libvirtd of its
own, without privileges and with all its files in a scratch folder, makes, clones
and resizes volumes; Debian's qemu-img judges them.
"""

import os
import re
import shutil
import subprocess
import sys
import time

from common import (BYRE, QEMU_IMG, QEMU_IO, Scratch, Tap, missing_feature,
                    must, need_tools, run, skip_all, write_file)

NOBODY = 65534
POOL = """<pool type='dir'><name>pool</name>
<target><path>%s</path></target></pool>"""
VOLUME = """<volume><name>%s</name><capacity>%d</capacity>
<target><format type='qcow2'/>%s</target></volume>"""
ENCRYPTED = """<encryption format='luks'>
<secret type='passphrase' uuid='%s'/></encryption>"""
FEATURES = """<compat>1.1</compat><features><lazy_refcounts/></features>
<clusterSize unit='KiB'>128</clusterSize>"""
SECRET = "0a81f5b2-8403-4b23-c8d6-21ccc2f80d6f"
SECRET_XML = """<secret ephemeral='yes' private='no'><uuid>%s</uuid>
<usage type='volume'><volume>%s</volume></usage></secret>"""
SIZE = 16 << 20


def copy_tool(folder):
    """The tool and its library where nobody may read them; calls are logged."""
    real = os.path.join(folder, "real")
    tools = os.path.join(folder, "bin")
    os.makedirs(real)
    os.makedirs(tools)
    shutil.copy(BYRE, os.path.join(real, "qemu-img"))
    linked = run(["ldd", BYRE], folder).out.decode()
    for name, path in re.findall(r"(libbyre\S*) => (\S+)", linked):
        shutil.copy(path, os.path.join(real, name))
    script = os.path.join(tools, "qemu-img")
    write_file(script, (
        '#!/bin/sh\necho "$*" >>%s/calls\n'
        'LD_LIBRARY_PATH=%s exec %s/qemu-img "$@"\n'
        % (folder, real, real)).encode())
    os.chmod(script, 0o755)


class Libvirt:
    """A daemon in a folder, and virsh on it."""

    def __init__(self, folder):
        self.folder = folder
        copy_tool(folder)
        for name in ("home", "run", "pool"):
            os.makedirs(os.path.join(folder, name))
        write_file(os.path.join(folder, "calls"), b"")
        self.env = dict(
            os.environ, LC_ALL="C", HOME=folder + "/home",
            XDG_RUNTIME_DIR=folder + "/run",
            XDG_CONFIG_HOME=folder + "/home/config",
            XDG_CACHE_HOME=folder + "/home/cache",
            PATH=folder + "/bin:" + os.environ["PATH"] + ":/usr/sbin:/sbin")
        self.become = {}
        if os.getuid() == 0:  # as root there is no session
            must(["chown", "-R", "%d:%d" % (NOBODY, NOBODY), folder], folder)
            self.become = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        self.log = open(os.path.join(folder, "log"), "w")
        self.daemon = subprocess.Popen(
            ["libvirtd"], cwd=folder, env=self.env, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, **self.become)

    def virsh(self, *argv, driver="storage"):
        done = subprocess.run(
            ["virsh", "-q", "-c", driver + ":///session"] + list(argv), cwd=self.folder,
            env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=120, check=False, **self.become)
        lines = ["$ virsh " + " ".join(argv), "exit %d" % done.returncode]
        return done.returncode == 0, lines + (
            done.stdout + done.stderr).decode().splitlines()

    def answers(self):
        for _ in range(100):
            if self.daemon.poll() is not None:
                return False
            if self.virsh("uri")[0]:
                return True
            time.sleep(0.1)
        return False

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        write_file(path, text.encode())
        os.chmod(path, 0o644)
        return path

    def volume(self, name):
        return os.path.join(self.folder, "pool", name)

    def calls(self):
        with open(os.path.join(self.folder, "calls")) as f:
            return f.read().splitlines()

    def close(self):
        self.daemon.terminate()
        self.daemon.wait(30)
        self.log.close()


def step(tap, libvirt, name, argv, verb):
    """One command of virsh, which has to call qemu-img for `verb`."""
    before = len(libvirt.calls())
    good, lines = libvirt.virsh(*argv)
    calls = libvirt.calls()[before:]
    return tap.check(good and any(c.startswith(verb) for c in calls), name,
                     lines + ["calls: %s" % calls])


def judge(tap, libvirt, name, size):
    """Debian's tool finds nothing wrong with the volume."""
    path = libvirt.volume(name)
    info = run([QEMU_IMG, "info", path], libvirt.folder)
    check = run([QEMU_IMG, "check", path], libvirt.folder)
    tap.check(b"(%d bytes)" % size in info.out and check.code == 0,
              name + " is whole", info.text() + check.text())


def same(tap, libvirt, one, other):
    result = run([QEMU_IMG, "compare", libvirt.volume(one),
                  libvirt.volume(other)], libvirt.folder)
    tap.check(result.code == 0, "%s is the disk of %s" % (other, one),
              result.text())


def volumes(tap, libvirt):
    step(tap, libvirt, "create", ["vol-create-as", "pool", "a.qcow2",
                                  "16M", "--format", "qcow2"], "create")
    judge(tap, libvirt, "a.qcow2", SIZE)
    write = ["write -P %d %dM 1M" % (i, 2 * i) for i in range(1, 5)]
    must([QEMU_IO] + [w for c in write for w in ("-c", c)] +
         [libvirt.volume("a.qcow2")], libvirt.folder)
    step(tap, libvirt, "clone", ["vol-clone", "--pool", "pool", "a.qcow2",
                                 "b.qcow2"], "convert")
    same(tap, libvirt, "a.qcow2", "b.qcow2")
    step(tap, libvirt, "create with metadata", [
        "vol-create-as", "pool", "p.qcow2", "16M", "--format", "qcow2",
        "--prealloc-metadata"], "create")
    judge(tap, libvirt, "p.qcow2", SIZE)
    features = libvirt.file("f.xml", VOLUME % ("f.qcow2", SIZE, FEATURES))
    step(tap, libvirt, "create with features",
         ["vol-create", "pool", features], "create")
    judge(tap, libvirt, "f.qcow2", SIZE)
    step(tap, libvirt, "create from a volume", [
        "vol-create-from", "pool", libvirt.file(
            "g.xml", VOLUME % ("g.qcow2", SIZE, FEATURES)), "a.qcow2",
        "--inputpool", "pool"], "convert")
    same(tap, libvirt, "a.qcow2", "g.qcow2")
    step(tap, libvirt, "create an overlay", [
        "vol-create-as", "pool", "o.qcow2", "32M", "--format", "qcow2",
        "--backing-vol", "a.qcow2", "--backing-vol-format", "qcow2"], "create")
    judge(tap, libvirt, "o.qcow2", 2 * SIZE)
    good, lines = libvirt.virsh("vol-dumpxml", "--pool", "pool", "o.qcow2")
    tap.check(good and any(libvirt.volume("a.qcow2") in l for l in lines),
              "libvirt sees what the overlay stands on", lines)
    step(tap, libvirt, "resize", ["vol-resize", "--pool", "pool", "b.qcow2",
                                  "32M"], "resize")
    judge(tap, libvirt, "b.qcow2", 2 * SIZE)
    step(tap, libvirt, "shrink", ["vol-resize", "--pool", "pool", "b.qcow2",
                                  "8M", "--shrink"], "resize")
    judge(tap, libvirt, "b.qcow2", SIZE // 2)


def encrypted(tap, libvirt):
    if missing_feature(["crypto"]) is not None:
        tap.skip("encrypted volumes", "byre was built without crypto")
        return
    good, lines = libvirt.virsh("secret-define", libvirt.file(
        "secret.xml", SECRET_XML % (SECRET, libvirt.volume("l.qcow2"))),
        driver="secret")
    if good:
        good, lines = libvirt.virsh("secret-set-value", SECRET, "--file",
                                    libvirt.file("key", "open sesame"),
                                    "--plain", driver="secret")
    if not good:
        tap.skip("encrypted volumes", "no secrets here: " + lines[-1])
        return
    xml = VOLUME % ("l.qcow2", SIZE, ENCRYPTED % SECRET)
    step(tap, libvirt, "create encrypted", [
        "vol-create", "pool", libvirt.file("l.xml", xml)], "create")
    opts = ["--object", "secret,id=k,file=key", "--image-opts",
            "driver=qcow2,encrypt.key-secret=k,file.filename=pool/l.qcow2"]
    result = run([QEMU_IMG, "check"] + opts, libvirt.folder)
    tap.check(result.code == 0, "l.qcow2 opens with the passphrase",
              result.text())


def main():
    need_tools(QEMU_IMG, QEMU_IO)
    os.environ["PATH"] += ":/usr/sbin"
    for tool in ("libvirtd", "virsh"):
        if shutil.which(tool) is None:
            skip_all("%s is not installed (Debian: libvirt-daemon and "
                     "libvirt-clients)" % tool)
    tap = Tap()
    with Scratch() as scratch:
        os.chmod(scratch.path, 0o755)
        libvirt = Libvirt(scratch.make("v"))
        try:
            if not libvirt.answers():
                with open(os.path.join(libvirt.folder, "log")) as log:
                    skip_all("libvirtd does not start here: " +
                             log.read().replace("\n", "; ")[-300:])
            for argv in (["pool-define", libvirt.file(
                    "pool.xml", POOL % libvirt.volume(""))],
                         ["pool-start", "pool"]):
                good, lines = libvirt.virsh(*argv)
                tap.check(good, argv[0], lines)
            volumes(tap, libvirt)
            encrypted(tap, libvirt)
            if shutil.which("qemu-system-x86_64") is None:
                tap.skip("snapshots of a domain",
                         "qemu-system-x86_64 is not installed")
        finally:
            libvirt.close()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
