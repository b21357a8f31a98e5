#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times `byre bench` beside `qemu-img bench`, in alternating runs.

Each row sends the same requests, at the same depth and size, to an image that
qemu-img made: both run with the cache mode writeback, so neither waits for the
disk but where the row says so with a flush interval.  After the allocating rows
`qemu-img check` must find no fault in what byre wrote.  Prints a Markdown table.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from convert import find_dir

MIB = 1 << 20

# What is sent, to which image: title, options of bench, how the image is made.
ROWS = [
    ('allocating writes, 4 KiB, depth 32', ['-w', '-s', '4096', '-d', '32'],
     []),
    ('allocating writes, 64 KiB, depth 32', ['-w', '-s', '65536', '-d', '32'],
     []),
    ('allocating writes, 64 KiB, depth 1', ['-w', '-s', '65536', '-d', '1'],
     []),
    ('allocating writes, 64 KiB apart, 4 KiB, depth 32',
     ['-w', '-s', '4096', '-S', '65536', '-d', '32'], []),
    ('allocating writes, 64 KiB, flush every 32',
     ['-w', '-s', '65536', '-d', '32', '--flush-interval=32'], []),
    ('overwrites, 4 KiB, depth 32', ['-w', '-s', '4096', '-d', '32'],
     ['-o', 'preallocation=full']),
    ('overwrites, 64 KiB, depth 32', ['-w', '-s', '65536', '-d', '32'],
     ['-o', 'preallocation=full']),
    ('reads, 4 KiB, depth 32', ['-s', '4096', '-d', '32'],
     ['-o', 'preallocation=full']),
]


def step_of(options):
    for option in ('-S', '-s'):
        if option in options:
            return int(options[options.index(option) + 1])
    sys.exit('a row without a size')


def make_image(path, size_bytes, options):
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', *options, path,
                    str(size_bytes)], check=True)


def bench_once(tool, path, count, options):
    """The seconds that the tool says its requests took."""
    done = subprocess.run([tool, 'bench', '-f', 'qcow2', '-t', 'writeback',
                           '-c', str(count), *options, path], check=True,
                          stdout=subprocess.PIPE, text=True)
    return float(re.search(r'completed in ([0-9.]+) seconds',
                           done.stdout).group(1))


def time_row(tools, path, size_bytes, options, made_with, rounds):
    count = size_bytes // step_of(options)
    seconds = {name: [] for name in tools}
    for turn in range(rounds + 1):
        order = list(tools) if turn % 2 == 0 else list(reversed(tools))
        for name in order:
            make_image(path, size_bytes, made_with)
            taken = bench_once(tools[name], path, count, options)
            if turn > 0:
                seconds[name].append(taken)
            if name == 'byre':
                subprocess.run(['qemu-img', 'check', '-q', path], check=True)
            os.unlink(path)
    return seconds


def row(title, seconds):
    ours = statistics.median(seconds['byre'])
    theirs = statistics.median(seconds['qemu-img'])
    return f'| {title} | {ours:.3g} s | {theirs:.3g} s | {theirs / ours:.2f} |'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--byre', default='build/tool/byre')
    parser.add_argument('--dir', default=find_dir(),
                        help='where the image lies (default: a tmpfs)')
    parser.add_argument('--size-mib', type=int, default=1024)
    parser.add_argument('--rounds', type=int, default=9)
    return parser.parse_args()


def main():
    args = parse_args()
    version = subprocess.run(['qemu-img', '--version'], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    tools = {'byre': os.path.abspath(args.byre),
             'qemu-img': shutil.which('qemu-img')}
    print(f'{args.size_mib} MiB of disk; {os.cpu_count()} processors; '
          f'{args.rounds} runs each, in turn; {version.splitlines()[0]}.')
    print()
    print('| what | byre, median | qemu-img, median | qemu-img / byre |')
    print('|---|---|---|---|')
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='bench.') as scratch:
        path = os.path.join(scratch, 'disk.qcow2')
        for title, options, made_with in ROWS:
            seconds = time_row(tools, path, args.size_mib * MIB, options,
                               made_with, args.rounds)
            print(row(title, seconds), flush=True)


if __name__ == '__main__':
    main()
