#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What tests/run.py counts.  Deleted, a test that fails could count as passed.

    check-run.py
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # noqa: E402

# TAP, exit status, result of Meson; passed, failed, skipped.
CASES = [
    ('1..2\nok 1 - a\nok 2\n', 0, 'OK', (2, 0, 0)),
    ('ok 1 - a\n1..1\n', 0, 'OK', (1, 0, 0)),
    ('1..2\nok 1 - a\nnot ok 2 - b\n', 1, 'ERROR', (1, 1, 0)),
    ('1..2\nok 1 - a # SKIP no root\nok 2\n', 0, 'OK', (1, 0, 1)),
    ('1..1\nnot ok 1 # SKIP name\n', 0, 'FAIL', (0, 0, 1)),
    ('1..1\nnot ok 1 - a # TODO later\n', 0, 'OK', (0, 1, 0)),
    ('1..0 # SKIP no qemu-img\n', 0, 'SKIP', (0, 0, 1)),
    ('1..3\nok 1 - a\n', 0, 'ERROR', (1, 1, 0)),
    ('ok 1 - a\n', 0, 'OK', (1, 1, 0)),
    ('', 0, 'OK', (0, 1, 0)),
    ('1..1\nok 1 - a\n', 3, 'ERROR', (1, 1, 0)),
    ('1..1\nok 1 - a\n', -11, 'ERROR', (1, 1, 0)),
    ('1..1\nok 1 - a\n', 134, 'ERROR', (1, 1, 0)),
    ('1..1\nok 1 - a\n', 0, 'TIMEOUT', (1, 1, 0)),
    ('1..2\nok 1 - a\nBail out! no disk\n', 1, 'ERROR', (1, 1, 0)),
]
PLAIN = [
    (0, 'OK', (1, 0, 0)),
    (1, 'FAIL', (0, 1, 0)),
    (77, 'SKIP', (0, 0, 1)),
    (-6, 'FAIL', (0, 1, 0)),
    (0, 'TIMEOUT', (0, 1, 0)),
]


def counts(stdout, status, result, is_tap):
    entry = {'name': 'case', 'stdout': stdout, 'stderr': '',
             'returncode': status, 'result': result}
    tally = run.count_test(entry, is_tap)
    return tally.passed, len(tally.failed), len(tally.skipped)


def main():
    bad = 0
    rows = [(*row, True) for row in CASES]
    rows += [('', status, result, want, False)
             for status, result, want in PLAIN]
    for stdout, status, result, want, is_tap in rows:
        got = counts(stdout, status, result, is_tap)
        if got != want:
            print(f'{stdout!r}, {status}, {result}: {got} instead of {want}')
            bad = 1
    return bad


if __name__ == '__main__':
    sys.exit(main())
