/* SPDX-License-Identifier: MIT */
/*
 * Makes the n-th allocation of the code under test fail.
 *
 * The test program is linked with --wrap for each function named in
 * alloc_fault.c, so what the library and the test call comes through here.
 * What other libraries allocate inside themselves does not.
 */
#ifndef BYRE_TESTS_ALLOC_FAULT_H
#define BYRE_TESTS_ALLOC_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* The n-th allocation from now on fails, counted from 1, in all threads. */
void alloc_fault_arm(uint64_t nth);

/* Allocations succeed again.  Returns whether one has failed. */
bool alloc_fault_disarm(void);

#endif
