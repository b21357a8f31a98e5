/* SPDX-License-Identifier: MIT */
/*
 * Without these, a freed cluster could be given to somebody else while a reader
 * still copies from it, and resizing could run beside a write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/workers.h"
#include "engine/gate.h"

static void test_a_mark_waits_for_those_inside(void **state)
{
    struct gate gate;
    struct gate_pass before, after;
    uint64_t mark;

    (void)state;
    gate_init(&gate);
    before = gate_enter(&gate);
    mark = gate_mark(&gate);
    assert_false(gate_passed(&gate, mark));

    /* Who comes later is not waited for. */
    after = gate_enter(&gate);
    assert_false(gate_passed(&gate, mark));
    gate_leave(&gate, before);
    gate_leave(&gate, after);
    assert_true(gate_passed(&gate, mark));
    gate_done(&gate);
}

static void test_later_calls_do_not_hold_a_mark_up(void **state)
{
    struct gate gate;
    struct gate_pass first, later;
    uint64_t mark;

    (void)state;
    gate_init(&gate);
    first = gate_enter(&gate);
    mark = gate_mark(&gate);
    assert_false(gate_passed(&gate, mark)); /* the epoch has moved once */
    later = gate_enter(&gate);
    gate_leave(&gate, first);
    assert_true(gate_passed(&gate, mark));
    gate_leave(&gate, later);
    gate_done(&gate);
}

/* What is freed while others look: they must never see it freed. */
struct reuse {
    struct gate gate;
    _Atomic(int *) current;
    atomic_int wrong;
    atomic_bool stop;
    atomic_uint started;
};

static void look(struct reuse *reuse)
{
    while (!atomic_load(&reuse->stop)) {
        const struct gate_pass pass = gate_enter(&reuse->gate);
        const int *seen = atomic_load(&reuse->current);

        for (int i = 0; i < 20; i++) {
            if (*(const volatile int *)seen != 1)
                atomic_store(&reuse->wrong, 1);
        }
        gate_leave(&reuse->gate, pass);
    }
}

static void replace(struct reuse *reuse)
{
    static int values[2];

    for (int i = 0; i < 20000; i++) {
        int *old = atomic_load(&reuse->current);
        int *next = &values[i % 2];
        uint64_t mark;

        *(volatile int *)next = 1;
        atomic_store(&reuse->current, next);
        mark = gate_mark(&reuse->gate);
        while (!gate_passed(&reuse->gate, mark))
            ;
        if (old != next)
            *(volatile int *)old = 0; /* reused */
    }
    atomic_store(&reuse->stop, true);
}

static void reuse_work(void *user)
{
    struct reuse *reuse = user;

    if (atomic_fetch_add(&reuse->started, 1) == 0)
        replace(reuse);
    else
        look(reuse);
}

static void test_nothing_is_reused_under_a_reader(void **state)
{
    static int first = 1;
    struct reuse reuse = { 0 };

    (void)state;
    gate_init(&reuse.gate);
    atomic_store(&reuse.current, &first);
    workers_run(3, reuse_work, &reuse);
    assert_int_equal(atomic_load(&reuse.wrong), 0);
    gate_done(&reuse.gate);
}

/* Who has closed the gate is alone. */
struct alone {
    struct gate gate;
    int unlocked; /* would race if two were inside at once */
    atomic_uint started;
    atomic_int inside;
    atomic_int wrong;
};

static void alone_work(void *user)
{
    struct alone *alone = user;
    const bool closes = atomic_fetch_add(&alone->started, 1) < 2;

    for (int i = 0; i < 2000; i++) {
        if (closes) {
            gate_close(&alone->gate);
            if (atomic_load(&alone->inside) != 0)
                atomic_store(&alone->wrong, 1);
            alone->unlocked++;
            gate_open(&alone->gate);
        } else {
            const struct gate_pass pass = gate_enter(&alone->gate);

            atomic_fetch_add(&alone->inside, 1);
            atomic_fetch_sub(&alone->inside, 1);
            gate_leave(&alone->gate, pass);
        }
    }
}

static void test_closing_is_being_alone(void **state)
{
    struct alone alone = { 0 };

    (void)state;
    gate_init(&alone.gate);
    workers_run(4, alone_work, &alone);
    assert_int_equal(atomic_load(&alone.wrong), 0);
    assert_int_equal(alone.unlocked, 4000);
    gate_done(&alone.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_mark_waits_for_those_inside),
        cmocka_unit_test(test_later_calls_do_not_hold_a_mark_up),
        cmocka_unit_test(test_nothing_is_reused_under_a_reader),
        cmocka_unit_test(test_closing_is_being_alone),
    };

    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
