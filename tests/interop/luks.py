#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
cryptsetup judges what byre reads of a LUKS header, and what opens it.

Without this, byre and QEMU could agree on a reading of LUKS that nobody else
shares.  The LUKS area is cut out of the image by the header extension.
"""

import json
import os
import re
import sys

import images
import matrix
from common import (BYRE, BuildError, QEMU_IMG, Scratch, Tap, missing_feature,
                    must, need_tools, run, skip_all, write_file)
from qcow2file import Qcow2File

FIRST, SECOND, WRONG = b"first pass", b"second\n", b"neither"
SECRETS = {"secret": FIRST, "second": SECOND, "wrong": WRONG}

# What cryptsetup says of a cipher or hash that this machine's kernel lacks.
NOT_HERE = re.compile(rb"device-mapper|is not supported|"
                      rb"Check that kernel supports")


def opts(file):
    return "driver=qcow2,file.filename=%s,encrypt.key-secret=s0" % file


def create(folder, kind, compat="1.1"):
    for name, value in SECRETS.items():
        write_file(os.path.join(folder, name), value)
    options = ["compat=" + compat] + images.luks_options(kind)
    images.qemu_create(["-f", "qcow2", "-o", ",".join(options)] +
                       images.SECRET_OBJECT + ["t.qcow2", "1M"], folder)
    images.qemu_io(images.SECRET_OBJECT + ["--image-opts", opts("t.qcow2")],
                   ["write -P 7 0 100k"], folder)


def cut_area(folder):
    area = Qcow2File(os.path.join(folder, "t.qcow2")).luks_area()
    write_file(os.path.join(folder, "area"), area)


def add_second(folder):
    must([QEMU_IMG, "amend"] + images.SECRET_OBJECT +
         ["--object", "secret,id=s1,file=second", "--image-opts", "-o",
          "encrypt.state=active,encrypt.new-secret=s1,encrypt.iter-time=10,"
          "encrypt.keyslot=5", opts("t.qcow2")], folder, images.luks_env())


def erase_first(folder):
    must([QEMU_IMG, "amend", "--object", "secret,id=s0,file=second",
          "--image-opts", "-o", "encrypt.state=inactive,encrypt.keyslot=0",
          opts("t.qcow2")], folder)


def dumped(folder):
    """luksDump as a dict, the slots as a list; None and why if it cannot."""
    result = run(["cryptsetup", "luksDump", "area"], folder)
    if result.code != 0:
        return None, result
    text = result.out.decode()
    values = dict(re.findall(r"^([A-Z][A-Za-z ]+):[ \t]+(\S+)$", text, re.M))
    slots = []
    for part in re.split(r"^Key Slot \d: ", text, flags=re.M)[1:]:
        slot = {"active": part.startswith("ENABLED")}
        if slot["active"]:
            fields = dict(re.findall(r"^\s+([A-Z][A-Za-z ]+):\s+(\d+)$", part,
                                     re.M))
            slot["iters"] = int(fields["Iterations"])
            slot["stripes"] = int(fields["AF stripes"])
            slot["key-offset"] = int(fields["Key material offset"]) * 512
        slots.append(slot)
    values["slots"] = slots
    return values, result


def as_cryptsetup_says(luks):
    """What byre's `encrypt` object is in the words of luksDump."""
    cipher, bits = luks["cipher-alg"].rsplit("-", 1)
    mode = luks["cipher-mode"] + "-" + luks["ivgen-alg"]
    if "ivgen-hash-alg" in luks:
        mode += ":" + luks["ivgen-hash-alg"]
    factor = 2 if luks["cipher-mode"] == "xts" else 1
    slots = []
    for slot in luks["slots"]:
        keep = ["active"]
        if slot["active"]:
            keep += ["iters", "stripes", "key-offset"]
        slots.append({key: slot[key] for key in keep})
    return {
        "Cipher name": cipher,
        "Cipher mode": mode,
        "MK bits": str(int(bits) * factor),
        "Hash spec": luks["hash-alg"],
        "Payload offset": str(luks["payload-offset"] // 512),
        "MK iterations": str(luks["master-key-iters"]),
        "UUID": luks["uuid"],
        "Version": "1",
        "slots": slots,
    }


def check_header(tap, folder, name):
    label = name + ": header"
    ours = run([BYRE, "info", "--output=json", "t.qcow2"], folder)
    theirs, result = dumped(folder)
    if theirs is None and NOT_HERE.search(result.err):
        tap.skip(label, "cryptsetup: " + result.err.decode().splitlines()[0])
        return
    if theirs is None or ours.code != 0:
        tap.check(False, label, result.text() + ours.text())
        return
    luks = json.loads(ours.out)["format-specific"]["data"]["encrypt"]
    want = as_cryptsetup_says(luks)
    details = ["%s: byre %s, cryptsetup %s" % (key, want[key], theirs.get(key))
               for key in want if want[key] != theirs.get(key)]
    tap.check(not details, label, details)


def byre_opens(folder, secret):
    out = os.path.join(folder, "out.raw")
    if os.path.exists(out):
        os.unlink(out)
    result = run([BYRE, "convert", "-O", "raw", "--object",
                  "secret,id=s0,file=" + secret, "--image-opts",
                  opts("t.qcow2"), "out.raw"], folder)
    return result, os.path.exists(out)


def check_passphrase(tap, folder, name, secret, fits):
    """Whether `secret` opens the volume, in byre and in cryptsetup."""
    ours, made = byre_opens(folder, secret)
    tap.check((ours.code == 0) == fits and made == fits and
              (fits or ours.code == 1),
              "%s: byre, passphrase file '%s'" % (name, secret), ours.text())
    theirs = run(["cryptsetup", "open", "--test-passphrase", "--key-file",
                  secret, "area"], folder)
    label = "%s: cryptsetup, passphrase file '%s'" % (name, secret)
    if theirs.code == 1 and NOT_HERE.search(theirs.err):
        tap.skip(label, theirs.err.decode().splitlines()[0])
        return
    tap.check(theirs.code == (0 if fits else 2), label, theirs.text())


def check_image(tap, folder, name, fitting):
    cut_area(folder)
    check_header(tap, folder, name)
    for secret in SECRETS:
        check_passphrase(tap, folder, name, secret, secret in fitting)


def check_kind(tap, scratch, kind):
    name = "-".join(str(part) for part in kind if part)
    folder = scratch.make(name.replace(":", "-"))
    try:
        create(folder, kind)
    except BuildError as error:
        tap.skip(name, "qemu cannot make it: %s" % error)
        return
    check_image(tap, folder, name, ["secret"])


def check_slots(tap, scratch):
    """Slot 5 beside slot 0, then alone; in a version 2 image."""
    folder = scratch.make("slots")
    try:
        create(folder, matrix.LUKS_KINDS[0], "0.10")
        add_second(folder)
        check_image(tap, folder, "two slots", ["secret", "second"])
        erase_first(folder)
    except BuildError as error:
        tap.skip("slots", "qemu cannot make it: %s" % error)
        return
    check_image(tap, folder, "slot 5 alone", ["second"])


def check_refused(tap, scratch, kind):
    """The header of a cipher that byre cannot run is still read right."""
    name = "-".join(str(part) for part in kind if part)
    folder = scratch.make(name.replace(":", "-"))
    try:
        create(folder, kind)
    except BuildError as error:
        tap.skip(name, "qemu cannot make it: %s" % error)
        return
    cut_area(folder)
    check_header(tap, folder, name)


def main():
    need_tools(QEMU_IMG, images.QEMU_IO, "cryptsetup")
    if missing_feature(["crypto"]):
        skip_all("byre is built without crypto")
    tap = Tap()
    with Scratch() as scratch:
        for kind in matrix.LUKS_KINDS:
            check_kind(tap, scratch, kind)
        for kind in matrix.LUKS_REFUSED:
            check_refused(tap, scratch, kind)
        check_slots(tap, scratch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
