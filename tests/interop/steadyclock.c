/* SPDX-License-Identifier: MIT */
/*
 * A preload library for qemu-img 7.2: every look at the CPU time is one second
 * later than the last.
 *
 * `qemu-img create` of a LUKS image measures how many rounds of key derivation
 * a second allows.  On virtual machines with a coarse clock that fails half of
 * the time ("Unable to get accurate CPU usage"), and it takes seconds where it
 * works.  With this it never fails, is done at once, and asks for few rounds.
 */
#include <string.h>
#include <sys/resource.h>

int getrusage(__rusage_who_t who, struct rusage *usage)
{
    static __thread long seconds;

    (void)who;
    memset(usage, 0, sizeof(*usage));
    usage->ru_utime.tv_sec = ++seconds;
    return 0;
}
