#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times `byre convert` and `byre info` beside qemu-img's, in alternating runs.

The disk is an ext4 file system filled with files of this machine, in an
uncompressed QCOW2 image.  The rows compare like with like: byre runs under the
name qemu-img, so that both follow the same cache mode, and the first run of
each checks that both made the same disk.  Prints a Markdown table.
"""

import argparse
import contextlib
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

# Title, format of the target, options.
CONVERSIONS = [
    ('convert, default cache (unsafe)', 'raw', []),
    ('convert, -t writeback', 'raw', ['-t', 'writeback']),
    ('convert to qcow2', 'qcow2', []),
    ('convert to qcow2, -t writeback', 'qcow2', ['-t', 'writeback']),
    ('convert to qcow2, -W -m 16', 'qcow2', ['-W', '-m', '16']),
    ('convert -c', 'qcow2', ['-c']),
    ('convert -c -W -m 16', 'qcow2', ['-c', '-W', '-m', '16']),
    ('convert -c, zstd', 'qcow2', ['-c', '-o', 'compression_type=zstd']),
    ('convert to qcow2, 4 KiB clusters', 'qcow2', ['-o', 'cluster_size=4k']),
    ('convert -c, 4 KiB clusters', 'qcow2', ['-c', '-o', 'cluster_size=4k']),
    ('convert to qcow', 'qcow', []),
]


def run(*command, quiet=False):
    """Runs a command to its end; returns the seconds it took."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL if quiet else None)
    return time.perf_counter() - started


def gather(target, limit_bytes):
    """Copies files of the machine below `target`, up to `limit_bytes`."""
    used_bytes = 0
    for top in ('/usr/lib', '/usr/bin', '/usr/share'):
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                path = os.path.join(folder, name)
                if not os.path.isfile(path) or os.path.islink(path):
                    continue
                length = os.path.getsize(path)
                if used_bytes + length > limit_bytes:
                    return used_bytes
                copy = target + path
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                with contextlib.suppress(OSError):
                    shutil.copyfile(path, copy)
                    used_bytes += length
    return used_bytes


def make_image(scratch, size_mib):
    """A disk of `size_mib`, up to 60 % full; returns the image and its use."""
    raw = os.path.join(scratch, 'disk.raw')
    image = os.path.join(scratch, 'disk.qcow2')
    files = os.path.join(scratch, 'files')

    os.mkdir(files)
    used_bytes = gather(files, size_mib * 1048576 * 6 // 10)
    env = dict(os.environ, PATH=os.environ['PATH'] + ':/usr/sbin:/sbin')
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-d', files, raw,
                    f'{size_mib}M'], check=True, env=env,
                   stdout=subprocess.DEVNULL)
    shutil.rmtree(files)
    run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, image)
    os.unlink(raw)
    return image, used_bytes


def convert_once(tool, fmt, options, image, target):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    return run(tool, 'convert', *options, '-f', 'qcow2', '-O', fmt, image,
               target)


def check_same(tools, fmt, targets):
    """The same bytes of raw disks; of images, the same disk."""
    if fmt == 'raw':
        same = filecmp.cmp(*targets, shallow=False)
    else:
        same = subprocess.run([tools['qemu-img'], 'compare', '-f', fmt, '-F',
                               fmt, *targets], check=False,
                              stdout=subprocess.DEVNULL).returncode == 0
    if not same:
        sys.exit('the results differ: ' + ' and '.join(targets))


def compare_convert(tools, fmt, options, image, scratch, rounds):
    """Seconds of each tool, in turn; the order changes every round."""
    targets = {name: os.path.join(scratch, name + '.' + fmt) for name in tools}
    for name, tool in tools.items():
        convert_once(tool, fmt, options, image, targets[name])
    check_same(tools, fmt, list(targets.values()))

    seconds = {name: [] for name in tools}
    for turn in range(rounds):
        order = list(tools) if turn % 2 == 0 else list(reversed(tools))
        for name in order:
            seconds[name].append(
                convert_once(tools[name], fmt, options, image,
                             targets[name]))
    for target in targets.values():
        os.unlink(target)
    return seconds


def compare_info(tools, image, rounds):
    seconds = {name: [] for name in tools}
    for turn in range(rounds):
        order = list(tools) if turn % 2 == 0 else list(reversed(tools))
        for name in order:
            seconds[name].append(
                run(tools[name], 'info', '-f', 'qcow2', '--output=json', image,
                    quiet=True))
    return seconds


def row(title, seconds, unit, scale):
    ours, theirs = seconds['byre'], seconds['qemu-img']
    cells = [title]
    for times in (ours, theirs):
        cells.append(f'{statistics.median(times) * scale:.3g} {unit} '
                     f'(least {min(times) * scale:.3g})')
    ratio = statistics.median(theirs) / statistics.median(ours)
    cells.append(f'{ratio:.2f}')
    return '| ' + ' | '.join(cells) + ' |'


def find_dir():
    """A tmpfs with room, where the disk's own speed plays no part."""
    shm = '/dev/shm'
    if os.path.isdir(shm) and shutil.disk_usage(shm).free > 12 << 30:
        return shm
    return tempfile.gettempdir()


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--byre', default='build/tool/byre')
    parser.add_argument('--qemu-img', default='qemu-img')
    parser.add_argument('--dir', default=find_dir(),
                        help='where source and target lie (default: a tmpfs)')
    parser.add_argument('--size-mib', type=int, default=2048)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--only', default='', metavar='TEXT',
                        help='the conversions with this in their title')
    parser.add_argument('--info-rounds', type=int, default=200)
    return parser.parse_args()


def describe(args, used_bytes):
    version = subprocess.run([args.qemu_img, '--version'], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    kind = subprocess.run(['stat', '-f', '-c', '%T', args.dir], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
    print(f'A disk of {args.size_mib} MiB with {used_bytes >> 20} MiB of '
          f'files; {os.cpu_count()} processors; source and target on {kind}; '
          f'{args.rounds} runs each, in turn; {version.splitlines()[0]}.')
    print()
    print('| what | byre, median | qemu-img, median | qemu-img / byre |')
    print('|---|---|---|---|')


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='bench.') as scratch:
        alias = os.path.join(scratch, 'qemu-img')
        os.symlink(os.path.abspath(args.byre), alias)
        tools = {'byre': alias, 'qemu-img': shutil.which(args.qemu_img)}
        image, used_bytes = make_image(scratch, args.size_mib)

        describe(args, used_bytes)
        for title, fmt, options in CONVERSIONS:
            if args.only not in title:
                continue
            seconds = compare_convert(tools, fmt, options, image, scratch,
                                      args.rounds)
            print(row(title, seconds, 's', 1), flush=True)
        seconds = compare_info(tools, image, args.info_rounds)
        print(row('info, start to end', seconds, 'ms', 1000), flush=True)


if __name__ == '__main__':
    main()
