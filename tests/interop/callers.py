#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Every known command line of programs that call qemu-img (callers_rows.py), run
with byre in its place and with Debian's.

Without this, byre could break a cloud that calls it for qemu-img.  Compared are
exit status, stdout (JSON by value; text through normal_text(), which hides what
QEMU 7.2 writes otherwise than 11, and in the form of 11 with callers.golden),
that nothing is on stderr when all is well, what callers look for there when it
is not, and the images that come out.

usage: callers.py [--refresh] [WORD]...
--refresh writes callers.golden; words choose the rows that contain them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import images
from callers_rows import ROWS, Row
from common import (BYRE, BuildError, QEMU_IMG, QEMU_IO, Scratch, Tap,
                    missing_feature, must, need_tools, read_file, run,
                    write_file)

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "callers.golden")
MIB = 1 << 20

# ---- What they work on ----


def image(folder, name, options, writes, size="4M", fmt="qcow2", after=()):
    must([QEMU_IMG, "create", "-q", "-f", fmt] + options + [name, size], folder)
    for command in writes:
        must([QEMU_IO, "-f", fmt, "-c", command, name], folder)
    for argv in after:
        must([QEMU_IMG] + argv, folder)


def make_fixtures(folder):
    data = ["write -P 1 0 64k", "write -P 2 1M 100k", "write -P 3 3M 1M"]
    image(folder, "disk.qcow2", [], data)
    image(folder, "base.raw", [], ["write -P 4 64k 300k"], fmt="raw")
    must([QEMU_IMG, "convert", "-O", "raw", "disk.qcow2", "same.raw"], folder)
    image(folder, "zero.raw", [], [], fmt="raw")
    image(folder, "empty.qcow2", [], [])
    image(folder, "base.qcow2", [], data)
    image(folder, "mid.qcow2", ["-b", "base.qcow2", "-F", "qcow2"],
          ["write -P 5 2M 64k", "write -z 0 64k"])
    image(folder, "top.qcow2", ["-b", "mid.qcow2", "-F", "qcow2"],
          ["write -P 6 512k 4k"])
    image(folder, "extended.qcow2", [
        "-b", "base.qcow2", "-F", "qcow2", "-o",
        "extended_l2=on,cluster_size=128k"], ["write -P 7 256k 4k"])
    image(folder, "v2.qcow2", ["-o", "compat=0.10"], data)
    image(folder, "v1.qcow", [], data, fmt="qcow")
    image(folder, "snap.qcow2", [], data[:1], after=[
        ["snapshot", "-c", "first", "snap.qcow2"]])
    must([QEMU_IO, "-c", "write -P 8 0 128k", "snap.qcow2"], folder)
    image(folder, "data.qcow2", ["-o", "data_file=data.raw,data_file_raw=on"],
          data)
    image(folder, "bitmaps.qcow2", [], data[:1], after=[
        ["bitmap", "--add", "bitmaps.qcow2", "one"],
        ["bitmap", "--add", "--disable", "bitmaps.qcow2", "off"]])
    must([QEMU_IO, "-c", "write -P 9 2M 128k", "bitmaps.qcow2"], folder)
    image(folder, "other.qcow2", [], [], after=[
        ["bitmap", "--add", "other.qcow2", "two"]])
    image(folder, "leaky.qcow2", [], data)
    leak(os.path.join(folder, "leaky.qcow2"))
    write_file(os.path.join(folder, "key.one"), b"open sesame")
    write_file(os.path.join(folder, "key.two"), b"another")
    for name, key in (("luks.qcow2", "key.one"), ("luks2.qcow2", "key.two")):
        images.qemu_create(
            ["-f", "qcow2", "--object", "secret,id=s,file=" + key, "-o",
             "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
             name, "4M"], folder)
    must([QEMU_IO, "--object", "secret,id=s,file=key.one", "--image-opts", "-c",
          data[0],
          "driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s"],
         folder)


def leak(path):
    """Makes a cluster behind the end counted, that nothing refers to."""
    with open(path, "r+b") as f:
        f.seek(48)
        table = int.from_bytes(f.read(8), "big")
        f.seek(table)
        block = int.from_bytes(f.read(8), "big")
        clusters = -(-os.fstat(f.fileno()).st_size // 65536)
        f.seek(block + 2 * clusters)
        f.write(b"\x00\x01")
        f.truncate((clusters + 1) * 65536)


# ---- What is compared ----


def normal_json(value):
    """Less what differs from run to run, and what 8.0 and later added."""
    if isinstance(value, list):
        return [normal_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    dropped = {"actual-size", "children", "compressed", "date-sec", "date-nsec",
               "uuid", "iters", "master-key-iters", "detached-header"}
    return {k: normal_json(v) for k, v in value.items() if k not in dropped}


def normal_text(text):
    """The same for text: QEMU 7.2's form and 11's become one."""
    text = re.sub(r"(?m)^Child node .*\n(?:    .*\n)*", "", text)
    text = re.sub(r"(?m)^ *detached header: .*\n", "", text)
    text = mask(text)
    # snapshot -l: the columns, the clock with two digits of hours or four.
    text = text.replace("VM SIZE", "VM_SIZE").replace("VM CLOCK", "VM_CLOCK")
    text = re.sub(r"\b(?:00)?(\d\d:\d\d:\d\d\.\d{3})", r"\1", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def mask(text):
    text = re.sub(r"disk size: .*", "disk size: SIZE", text)
    text = re.sub(r"uuid: .*", "uuid: UUID", text)
    text = re.sub(r"iters: .*", "iters: N", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)


def entries_of_map(value):
    """Neighbours that differ in `compressed` only are one for 7.2."""
    joined = []
    for entry in value:
        last = joined[-1] if joined else None
        flags = ("depth", "present", "zero", "data")
        if (last and all(last[f] == entry[f] for f in flags) and
                "offset" not in last and "offset" not in entry):
            last["length"] += entry["length"]
        else:
            joined.append(dict(entry))
    return joined


def normal_progress(text):
    """vdsm's, CDI's and Proxmox's patterns; what follows is the answer."""
    *shown, rest = text.split("\r")
    for part in shown:
        if not re.fullmatch(r"\s*\((\d{1,3}\.\d\d)/100%\)\s*", part):
            return "no progress: " + repr(part)
    if not shown:
        return "no progress at all"
    return "%s, then %r" % ("100" if "(100.00/" in shown[-1] else "less", rest)


def normal_stdout(row, result):
    if row.raw:
        return result.out
    text = result.out.decode("utf-8", "replace")
    if row.progress:
        return normal_progress(text)
    if text[:1] in ("{", "["):
        value = normal_json(json.loads(text))
        return entries_of_map(value) if "map" in row.argv else value
    if "help" in row.argv:
        return sorted(set(re.findall(r"(?m)^  ([\w.-]+)=<", text)) -
                      {"keep_data_file", "nocow", "extent_size_hint"})
    return normal_text(text)


def described(row, folder, name):
    """An image as Debian's tool sees it."""
    result = run([QEMU_IMG, "info", "--output=json", name], folder)
    if result.code != 0:
        return result.text()
    value = normal_json(json.loads(result.out))
    # How far a file reaches is the maker's business.
    value.pop("encrypt", None)
    return value


def same_disk(row, folders, name):
    """Lines that say how the two disks differ; none: they do not."""
    ours, theirs = (os.path.join(f, name) for f in folders)
    if not os.path.exists(ours) or not os.path.exists(theirs):
        return ([] if os.path.exists(ours) == os.path.exists(theirs) else
                ["%s exists in one folder only" % name])
    wants = [described(row, f, name) for f in folders]
    if wants[0] != wants[1]:
        return ["ours:   %s" % wants[0], "theirs: %s" % wants[1]]
    if row.key:
        argv = ["--object", "secret,id=k,file=" + os.path.join(
            folders[0], row.key), "--image-opts"]
        paths = ["driver=qcow2,encrypt.key-secret=k,file.filename=" + p
                 for p in (ours, theirs)]
    else:
        fmt = wants[0]["format"]
        argv, paths = ["-f", fmt, "-F", fmt], [ours, theirs]
    result = run([QEMU_IMG, "compare"] + argv + paths, folders[0])
    if result.code != 0 and "nothing" not in row.argv:
        return result.text()
    if wants[0]["format"] == "qcow2" and "nothing" not in row.argv and (
            not row.key):
        result = run([QEMU_IMG, "check", name], folders[0])
        if result.code != 0:
            return result.text()
    return []


# ---- Running them ----


def prepare(scratch, fixtures, row, number, tool):
    folder = scratch.make("%s/%d" % (tool, number))
    for name in row.needs:
        must(["cp", "--sparse=always", os.path.join(fixtures, name), folder],
             folder)
    return folder


def run_row(scratch, fixtures, row, number):
    """(lines that say what is wrong or None to skip, our result, theirs)."""
    folders = [prepare(scratch, fixtures, row, number, t)
               for t in ("ours", "theirs")]
    path = os.environ["PATH"]
    tools = os.path.join(scratch.path, "tools")
    ours = run(row.argv, folders[0],
               {"PATH": scratch.path + ":" + path})
    for _ in range(images.CREATE_TRIES):
        env = dict(images.luks_env()) if row.luks else {}
        theirs = run(row.theirs or row.argv, folders[1], dict(env, PATH=tools + ":" + path))
        if b"accurate CPU usage" not in theirs.err:
            break
    if row.luks and b"accurate CPU usage" in theirs.err:
        return None, ours, theirs
    wrong = differences(row, ours, theirs)
    for name in row.results:
        wrong += same_disk(row, folders, name)
    if wrong:
        wrong += ours.text() + theirs.text()
    return wrong, ours, theirs


def differences(row, ours, theirs):
    if ours.code != theirs.code:
        return ["exit %d, not %d" % (ours.code, theirs.code)]
    wrong = []
    if normal_stdout(row, ours) != normal_stdout(row, theirs):
        wrong.append("stdout differs")
    # Summaries of check -r are on stderr in neither; leaks are told of there.
    if ours.code == 0 and ours.err and not theirs.err:
        wrong.append("stderr is not empty")
    if row.stderr and row.stderr not in ours.err:
        wrong.append("stderr lacks %r" % row.stderr)
    return wrong


def is_golden(row, ours, theirs):
    """Text of a form that 7.2 and 11 do not share."""
    return (not row.raw and not row.progress and "help" not in row.argv and
            ours.out[:1] not in (b"{", b"[", b"") and
            masked(ours) != masked(theirs))


def masked(result):
    return mask(result.out.decode("utf-8", "replace"))


def read_golden():
    if not os.path.exists(GOLDEN):
        return {}
    sections = re.split(r"(?m)^== (.*)\n", read_file(GOLDEN).decode())
    return dict(zip(sections[1::2], sections[2::2]))


def write_golden(golden):
    write_file(GOLDEN, "".join("== %s\n%s" % pair
                               for pair in golden.items()).encode())


def judge(tap, row, outcome, golden, refreshed):
    wrong, ours, theirs = outcome.result()
    if wrong is None:
        tap.skip(row.name, "QEMU could not time itself")
        return
    if not wrong and is_golden(row, ours, theirs):
        refreshed[row.name] = masked(ours)
        if refreshed[row.name] != golden.get(row.name):
            wrong = ["stdout is not that of callers.golden"] + ours.text()
    tap.check(not wrong, row.name, wrong)


# What each verb says of an image that another program writes.
LOCKED = [
    'info disk.qcow2', 'info --output=json disk.qcow2', 'map disk.qcow2',
    'check disk.qcow2', 'compare disk.qcow2 same.raw',
    'convert -O raw disk.qcow2 out', 'measure -O qcow2 disk.qcow2',
    'dd if=disk.qcow2 of=out', 'resize disk.qcow2 8M',
    'snapshot -c new disk.qcow2', 'snapshot -l disk.qcow2',
    'bitmap --add disk.qcow2 b', 'amend -o compat=0.10 disk.qcow2',
    'rebase -u -b "" disk.qcow2', 'commit disk.qcow2',
    'convert -n -f raw -O qcow2 same.raw disk.qcow2',
    'create -f qcow2 disk.qcow2 1M', 'info -U disk.qcow2',
]


def held_locks(tap, scratch, fixtures):
    """Packer tries again where it sees a lock; people want to know whose."""
    row = Row("locks", [], ("disk.qcow2", "same.raw"))
    folder = prepare(scratch, fixtures, row, 0, "held")
    with subprocess.Popen([QEMU_IO, "disk.qcow2"], cwd=folder,
                          stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        holder.stdout.read(len("qemu-io> "))
        for line in LOCKED:
            ours, theirs = (run(["sh", "-c", "qemu-img " + line], folder, {
                "PATH": path + ":" + os.environ["PATH"]})
                for path in (scratch.path, os.path.join(scratch.path, "tools")))
            said = re.search(rb'Failed to get (shared )?"\w+" lock', theirs.err)
            good = (ours.code == theirs.code if not said else
                    ours.code != 0 and said.group() in ours.err and
                    b"process %d" % holder.pid in ours.err)
            tap.check(good, "while it is written: qemu-img " + line,
                      ours.text() + theirs.text())
        holder.communicate(b"quit\n")


def main():
    words = [w for w in sys.argv[1:] if w != "--refresh"]
    need_tools(QEMU_IMG, QEMU_IO)
    tap = Tap()
    golden, refreshed = read_golden(), {}
    chosen = [r for r in ROWS if all(w in r.name for w in words)]
    missing = missing_feature(["crypto"])
    with Scratch() as scratch:
        fixtures = scratch.make("fixtures")
        os.symlink(shutil.which(QEMU_IMG),
                   os.path.join(scratch.make("tools"), "qemu-img"))
        make_fixtures(fixtures)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = [pool.submit(run_row, scratch, fixtures, row, number)
                        for number, row in enumerate(chosen)]
        small = run(["prlimit", "--as=1073741824", BYRE, "--version"], fixtures)
        for row, outcome in zip(chosen, outcomes):
            if small.code != 0 and "--as=" in row.name:
                tap.skip(row.name, "byre does not start in 1 GiB here")
                continue
            if missing and "key.one" in row.needs:
                tap.skip(row.name, "byre was built without " + missing)
                continue
            judge(tap, row, outcome,
                  refreshed if "--refresh" in sys.argv else golden, refreshed)
        if not words:
            held_locks(tap, scratch, fixtures)
    if "--refresh" in sys.argv and not words:
        write_golden(refreshed)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
