#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Without this test the strict checker could be blind: it is held beside
`qemu-img check` on images that QEMU wrote, whole ones and damaged ones.

    strict.py STRICT        prints TAP
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

COPIED = 1 << 63


def run(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


def create(path, options, size='4M'):
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, path, size)


def qemu_io(path, *commands):
    args = ['qemu-io', '-f', 'qcow2']
    for command in commands:
        args += ['-c', command]
    run(*args, path)


def fill(path):
    """Data, zeroes, a discard, compressed clusters and an odd write."""
    qemu_io(path, 'write -q -P 1 0 1M', 'write -q -z 256k 128k',
            'discard -q 512k 128k', 'write -q -P 2 3145000 3000',
            'write -q -z -u 64k 64k')


class Image:
    """The tables of an image, to be read and damaged by hand."""

    def __init__(self, path):
        self.file = open(path, 'r+b')
        (self.cluster_bits,) = self.unpack(20, '>I')
        self.cluster = 1 << self.cluster_bits
        (self.l1,) = self.unpack(40, '>Q')
        (self.refcount_table,) = self.unpack(48, '>Q')

    def unpack(self, offset, form):
        self.file.seek(offset)
        return struct.unpack(form, self.file.read(struct.calcsize(form)))

    def put(self, offset, value, form='>Q'):
        self.file.seek(offset)
        self.file.write(struct.pack(form, value))
        self.file.flush()

    def word(self, offset):
        return self.unpack(offset, '>Q')[0]

    def l2(self, index=0):
        return self.word(self.l1 + 8 * index) & ~COPIED

    def entry(self, index):
        return self.word(self.l2() + 8 * index)

    def set_entry(self, index, value):
        self.put(self.l2() + 8 * index, value)

    def block(self):
        return self.word(self.refcount_table)

    def set_count(self, cluster, value):
        """Of a cluster, in an image with 16-bit counts."""
        self.put(self.block() + 2 * cluster, value, '>H')


# ---- Whole images: options, and what is done to them ----

def compressed(path):
    fill(path)
    qemu_io(path, 'write -q -c -P 3 2M 64k', 'write -q -c -P 4 2112k 64k')


def snapshots(path):
    fill(path)
    run('qemu-img', 'snapshot', '-c', 'one', path)
    qemu_io(path, 'write -q -P 5 32k 96k')
    run('qemu-img', 'snapshot', '-c', 'two', path)
    qemu_io(path, 'write -q -P 6 0 64k', 'discard -q 0 64k')
    run('qemu-img', 'snapshot', '-d', 'one', path)


def bitmaps(path):
    run('qemu-img', 'bitmap', '--add', '-g', '64k', path, 'b')
    fill(path)


def grown(path):
    fill(path)
    run('qemu-img', 'resize', '-q', '-f', 'qcow2', path, '64M')
    qemu_io(path, 'write -q -P 7 50M 3M')


def shrunk(path):
    fill(path)
    run('qemu-img', 'resize', '-q', '-f', 'qcow2', '--shrink', path, '1M')


WHOLE = [(f'cluster_size={size}', fill)
         for size in ('512', '4k', '64k', '2M')]
WHOLE += [(f'refcount_bits={bits},cluster_size=4k', fill)
          for bits in (1, 2, 4, 8, 32, 64)]
WHOLE += [
    ('compat=0.10', fill),
    ('compat=0.10', snapshots),
    ('extended_l2=on', fill),
    ('extended_l2=on,cluster_size=16k', snapshots),
    ('cluster_size=512', snapshots),
    ('cluster_size=512,refcount_bits=64', grown),
    ('cluster_size=4k', shrunk),
    ('cluster_size=64k', compressed),
    ('cluster_size=64k,compression_type=zstd', compressed),
    ('lazy_refcounts=on', fill),
    ('cluster_size=64k', bitmaps),
    ('preallocation=metadata', fill),
    ('preallocation=full,cluster_size=4k', fill),
]


# ---- Damage to an image of 64 KiB clusters that fill() was done to ----

def leak(image):
    """A cluster that fill() has discarded is free, and in the file."""
    free = [i for i in range(20)
            if image.unpack(image.block() + 2 * i, '>H') == (0,)]
    image.set_count(free[0], 3)


def count_too_high(image):
    image.set_count((image.entry(0) & ~COPIED) // image.cluster, 2)


def count_too_low(image):
    image.set_count((image.entry(0) & ~COPIED) // image.cluster, 0)


def lost_pointer(image):
    image.set_entry(0, 0)


def shared_cluster(image):
    image.set_entry(0, image.entry(2))


def past_end(image):
    image.set_entry(0, 0x10000000 | COPIED)


def not_aligned(image):
    image.set_entry(0, image.entry(0) + 512)


def reserved_bits(image):
    image.set_entry(0, image.entry(0) | 1 << 57)


def reserved_l1_bits(image):
    image.put(image.l1, image.word(image.l1) | 2)


def no_copied(image):
    image.set_entry(0, image.entry(0) & ~COPIED)
    image.put(image.l1, image.word(image.l1) & ~COPIED)


def data_over_l2(image):
    image.set_entry(0, image.l2() | COPIED)


def data_over_header(image):
    image.set_entry(0, image.refcount_table | COPIED)


def block_twice(image):
    image.put(image.refcount_table + 8, image.block())


def no_block(image):
    image.put(image.refcount_table, 0)


def compressed_copied(image):
    image.set_entry(0, image.entry(0) | 1 << 62)


DAMAGE = [leak, count_too_high, count_too_low, lost_pointer, shared_cluster,
          past_end, not_aligned, reserved_bits, reserved_l1_bits, no_copied,
          data_over_l2, data_over_header, block_twice, no_block,
          compressed_copied]

# Of the others the two count differently what follows from the damage.
SAME_COUNT = {leak, count_too_high, count_too_low, lost_pointer, reserved_bits,
              no_copied}


# ---- Judging ----

def strict(program, path):
    line = subprocess.run([program, path], check=True, capture_output=True,
                          text=True).stdout
    found = {key: int(value)
             for key, value in re.findall(r'([a-z-]+)=(\d+) ', line)}
    return (found['corruptions'], found['missing-copied'], found['leaks'], line)


def qemu(path):
    out = subprocess.run(['qemu-img', 'check', '--output=json', '-f', 'qcow2',
                          path], capture_output=True, text=True)
    report = json.loads(out.stdout)
    return (report.get('corruptions', 0) + report['check-errors'],
            report.get('leaks', 0), out.stdout + out.stderr)


def compare(program, path, same_count):
    """Returns what the two judges differ about, or None."""
    corruptions, missing, leaks, line = strict(program, path)
    qemu_corruptions, qemu_leaks, text = qemu(path)
    differs = (corruptions + missing > 0) != (qemu_corruptions > 0)
    if same_count:
        differs |= corruptions + missing != qemu_corruptions
        differs |= leaks != qemu_leaks
    return f'{line}{text}' if differs else None


def whole_case(program, path, options, work):
    create(path, options)
    work(path)
    corruptions, missing, leaks, line = strict(program, path)
    if corruptions + missing + leaks > 0:
        return line
    return compare(program, path, True)


def damaged_case(program, path, damage):
    create(path, 'cluster_size=64k')
    fill(path)
    damage(Image(path))
    corruptions, missing, leaks, line = strict(program, path)
    if corruptions + missing + leaks == 0:
        return line
    return compare(program, path, damage in SAME_COUNT)


def report(number, name, wrong):
    print(f'{"not ok" if wrong else "ok"} {number} - {name}')
    for line in (wrong or '').splitlines():
        print(f'# {line}')


def main():
    program = os.path.abspath(sys.argv[1])
    if not shutil.which('qemu-img') or not shutil.which('qemu-io'):
        print('1..0 # SKIP no qemu-img')
        return
    print(f'1..{len(WHOLE) + len(DAMAGE)}')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'i.qcow2')
        number = 0
        for options, work in WHOLE:
            number += 1
            report(number, f'{work.__name__} {options}',
                   whole_case(program, path, options, work))
        for damage in DAMAGE:
            number += 1
            report(number, damage.__name__,
                   damaged_case(program, path, damage))


main()
