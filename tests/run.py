#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the tests of a build directory and counts every single case.

    run.py [--build] BUILD [option of `meson test`...]

With --build what the chosen tests need is built first, and nothing else.
A test that speaks TAP counts once for each of its cases, any other test counts
as one.  A program that crashed, ran out of time or did not keep to its plan is
one failure more, whatever its cases said.  The last line is the summary.
"""

import json
import os
import re
import signal
import subprocess
import sys

CASE = re.compile(r'^(not )?ok\b\s*(\d+)?\s*(?:- )?([^#]*)(?:#\s*(.*))?$')
PLAN = re.compile(r'^1\.\.(\d+)\s*(?:#\s*skip\w*\s*(.*))?$', re.IGNORECASE)


class Tally:
    """What was counted: a number, and (test, case, reason or output) lists."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def read_case(name, line, tally):
    """Counts the TAP line of one case; returns whether it was one."""
    match = CASE.match(line)
    if not match:
        return False

    failed, number, text, directive = match.groups()
    text = text.strip()
    skip = re.match(r'skip\w*\s*(.*)', directive or '', re.IGNORECASE)
    if skip and not text:
        # cmocka prints "[not ]ok 3 # SKIP name", and no reason.
        tally.skipped.append((name, skip.group(1) or number, ''))
    elif failed:
        tally.failed.append((name, text or number or '?', ''))
    elif skip:
        tally.skipped.append((name, text, skip.group(1)))
    else:
        tally.passed += 1
    return True


def count_tap(name, stdout):
    """Counts the cases of a TAP stream; returns them and what is wrong."""
    tally = Tally()
    planned = None
    cases = 0

    for line in stdout.splitlines():
        plan = PLAN.match(line)
        if plan:
            planned = (planned or 0) + int(plan.group(1))
            if plan.group(1) == '0':
                tally.skipped.append((name, 'all', plan.group(2) or ''))
        elif line.startswith('Bail out!'):
            return tally, line
        elif read_case(name, line, tally):
            cases += 1

    if planned is None:
        return tally, 'printed no plan'
    if planned != cases:
        return tally, f'planned {planned} cases and ran {cases}'
    return tally, None


def how_it_ended(entry):
    """The reason why a test ended badly, or None."""
    status = entry['returncode']

    if entry['result'] in ('TIMEOUT', 'INTERRUPT'):
        return entry['result'].lower()
    if status < 0:
        return f'killed by {signal.Signals(-status).name}'
    if status > 128 and status - 128 in set(signal.Signals):
        return f'killed by {signal.Signals(status - 128).name}'
    return None


def last_line(entry):
    text = (entry.get('stdout') or '') + (entry.get('stderr') or '')
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ''


def count_plain(name, entry):
    tally = Tally()
    if entry['result'] == 'OK':
        tally.passed = 1
    elif entry['result'] == 'SKIP':
        tally.skipped.append((name, '', last_line(entry)))
    else:
        ended = how_it_ended(entry) or f'exit status {entry["returncode"]}'
        tally.failed.append((name, '', ended))
    return tally


def count_test(entry, is_tap):
    name = entry['name']
    if not is_tap:
        return count_plain(name, entry)

    tally, trouble = count_tap(name, entry.get('stdout') or '')
    trouble = how_it_ended(entry) or trouble
    # Meson's own verdict is not asked: it takes the skips of cmocka 1.1 for
    # failures.
    if trouble is None and entry['returncode'] != 0 and not tally.failed:
        trouble = f'exit status {entry["returncode"]}'
    if trouble is not None:
        tally.failed.append((name, '', trouble))
    return tally


def tap_tests(build):
    """The commands (as tuples) of the tests whose output is TAP."""
    out = subprocess.run(['meson', 'introspect', '--tests', build],
                         check=True, stdout=subprocess.PIPE).stdout
    return {tuple(test['cmd']) for test in json.loads(out)
            if test['protocol'] == 'tap'}


def run(build, options, rebuild):
    """Runs `meson test`; returns the entries of its log."""
    log = os.path.join(build, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.unlink(log)

    if not rebuild:
        options = ['--no-rebuild', *options]
    subprocess.run(['meson', 'test', '-C', build, *options],
                   stdin=subprocess.DEVNULL, check=False)
    if not os.path.exists(log):
        return []
    with open(log, encoding='utf-8', errors='replace') as lines:
        return [json.loads(line) for line in lines]


def print_output(entry):
    """What a failed test printed, but for the cases that passed."""
    for stream in ('stdout', 'stderr'):
        for line in (entry.get(stream) or '').splitlines():
            if not re.match(r'ok\b', line):
                print(f'    {line}')


def label(name, case):
    test = name.split(' / ')[-1]
    return f'{test}: {case}' if case else test


def report(total, entries):
    """Prints what failed, with its output, and each skip with its reason."""
    failed_tests = {name for name, _, _ in total.failed}
    for entry in entries:
        if entry['name'] not in failed_tests:
            continue
        print(f'\n{label(entry["name"], "")} failed:')
        print_output(entry)

    if total.skipped or total.failed:
        print()
    for name, case, reason in total.skipped:
        print(f'SKIP {label(name, case)}' + (f' ({reason})' if reason else ''))
    for name, case, reason in total.failed:
        print(f'FAIL {label(name, case)}' + (f' ({reason})' if reason else ''))


def main(argv):
    rebuild = argv[1:2] == ['--build']
    if rebuild:
        argv = argv[1:]
    if len(argv) < 2:
        sys.exit(__doc__)

    build, options = argv[1], argv[2:]
    entries = run(build, options, rebuild)
    tap = tap_tests(build)
    total = Tally()
    for entry in entries:
        total.add(count_test(entry, tuple(entry['command']) in tap))

    report(total, entries)
    if total.passed + len(total.failed) == 0:
        total.failed.append(('no test ran', '', ''))
        print('FAIL no test ran')

    summary = f'{total.passed} passed, {len(total.failed)} failed'
    if total.skipped:
        summary += f', {len(total.skipped)} skipped'
    print(summary, flush=True)
    return 1 if total.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
