/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io.h"

#define NSEC_PER_SEC   UINT64_C(1000000000)
#define BYTES_PER_LINE 16

void io_print_usage(const struct io_command *command)
{
    const bool takes = command->arguments != NULL;

    printf("%s%s%s -- %s\n", command->name, takes ? " " : "",
           takes ? command->arguments : "", command->purpose);
}

/* ---- Failures ---- */

/* The errno that says best what `err` says, for lines made of one. */
static int errno_of(const struct byre_error *err)
{
    if (err->sys_errno != 0)
        return err->sys_errno;
    switch (err->code) {
    case BYRE_E_INVALID:
        return EINVAL;
    case BYRE_E_STATE:
    case BYRE_E_POLICY:
        return EPERM;
    case BYRE_E_NOMEM:
        return ENOMEM;
    case BYRE_E_LOCKED:
        return EAGAIN;
    case BYRE_E_UNSUPPORTED:
        return ENOTSUP;
    case BYRE_E_LIMIT:
        return EFBIG;
    case BYRE_E_SECRET:
        return EACCES;
    case BYRE_E_NOT_FOUND:
        return ENOENT;
    case BYRE_E_CANCELED:
        return ECANCELED;
    default: /* the image contradicts itself, or the code is a new one */
        return EIO;
    }
}

void io_print_failure(const struct io *io, const char *what,
                      const struct byre_error *err)
{
    printf("%s failed: %s\n", what, strerror(errno_of(err)));
    if (!io->as_qemu_io)
        report(io->tool, "%s", err->message);
}

/* ---- Sizes and times ---- */

const char *io_size_text(double size, char buf[IO_SIZE_TEXT_SIZE])
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB",
                                         "TiB",   "PiB", "EiB" };
    char number[IO_SIZE_TEXT_SIZE / 2];
    size_t unit = 0;
    char *fraction;

    while (size >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    /* Fractions of a byte are slow rates: they are worth more digits. */
    snprintf(number, sizeof(number), unit == 0 ? "%.6f" : "%.3f", size);
    fraction = strstr(number, ".000");
    if (fraction != NULL)
        *fraction = '\0';
    snprintf(buf, IO_SIZE_TEXT_SIZE, "%s %s", number, units[unit]);
    return buf;
}

uint64_t io_clock(void)
{
    struct timespec now = { 0 };

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

#define TIME_TEXT_SIZE 48

/* Hours and minutes are shown if there are any, or if `fixed`. */
static const char *time_text(uint64_t nsec, bool fixed,
                             char buf[TIME_TEXT_SIZE])
{
    const uint64_t seconds = nsec / NSEC_PER_SEC;
    const uint64_t hundredths = nsec % NSEC_PER_SEC / (NSEC_PER_SEC / 100);

    if (fixed || seconds >= 60)
        snprintf(buf, TIME_TEXT_SIZE,
                 "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%02" PRIu64,
                 seconds / 3600, seconds / 60 % 60, seconds % 60, hundredths);
    else
        snprintf(buf, TIME_TEXT_SIZE, "%02" PRIu64 ".%02" PRIu64 " sec",
                 seconds, hundredths);
    return buf;
}

void io_print_report(const struct io_report *report, bool machine)
{
    const uint64_t nsec = report->nsec > 0 ? report->nsec : 1;
    const double seconds = (double)nsec / (double)NSEC_PER_SEC;
    const double rate = (double)report->total / seconds;
    char time[TIME_TEXT_SIZE];
    char total[IO_SIZE_TEXT_SIZE];
    char speed[IO_SIZE_TEXT_SIZE];

    time_text(nsec, machine, time);
    if (machine) {
        printf("%" PRIu64 ",1,%s,%.3f,%.3f\n", report->total, time, rate,
               1 / seconds);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n",
           report->what, report->total, report->count, report->offset);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n",
           io_size_text((double)report->total, total), time,
           io_size_text(rate, speed), 1 / seconds);
}

/* ---- Bytes ---- */

static void print_dump_line(const uint8_t *bytes, size_t count, uint64_t offset)
{
    printf("%08" PRIx64 ":  ", offset);
    for (size_t i = 0; i < count; i++)
        printf("%02x ", bytes[i]);
    putchar(' ');
    for (size_t i = 0; i < count; i++)
        putchar(bytes[i] < 0x80 && isalnum(bytes[i]) ? bytes[i] : '.');
    putchar('\n');
}

void io_print_dump(const uint8_t *bytes, size_t count, uint64_t offset)
{
    for (size_t done = 0; done < count; done += BYTES_PER_LINE) {
        const size_t left = count - done;

        print_dump_line(bytes + done,
                        left < BYTES_PER_LINE ? left : BYTES_PER_LINE,
                        offset + done);
    }
}
