/* check.h - the smallest test kit: a test is a void function, main is a list of RUN(test).
 *
 * A CHECK that fails prints where and goes on; the test counts as failed. At the end of the program `N passed, M
 * failed` is printed, and the exit status is 1 if anything failed or nothing ran. A forked child ends with _exit(check_failures
 * != 0) and its parent checks that status.
 */
#ifndef FRIDGE_TESTS_CHECK_H
#define FRIDGE_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base.h"

static int check_failures; /* of the running test */
static int check_passed_tests, check_failed_tests;
static pid_t check_owner;

__attribute__((unused)) static const char *check_status_name(int status) {
    static const char *const names[] = {
#define X(name, prefix, message, pyexc) #name,
#include "status.def"
#undef X
    };
    return status >= 0 && status < FR_STATUS_COUNT ? names[status] : "?";
}

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "%s:%d: %s: CHECK(%s)\n", __FILE__, __LINE__, __func__, #cond);                            \
            check_failures++;                                                                                          \
        }                                                                                                              \
    } while (0)

#define CHECK_STATUS(expr, expected)                                                                                   \
    do {                                                                                                               \
        int check_got = (int)(expr), check_want = (int)(expected);                                                     \
        if (check_got != check_want) {                                                                                 \
            fprintf(stderr, "%s:%d: %s: %s is %s, not %s\n", __FILE__, __LINE__, __func__, #expr,                      \
                    check_status_name(check_got), check_status_name(check_want));                                      \
            check_failures++;                                                                                          \
        }                                                                                                              \
    } while (0)

__attribute__((unused)) static void check_report(void) {
    if (getpid() != check_owner) return;
    printf("%d passed, %d failed\n", check_passed_tests, check_failed_tests);
    fflush(stdout);
    if (check_failed_tests || check_passed_tests == 0) _exit(1);
}

__attribute__((unused)) static void check_run(const char *name, void (*test)(void)) {
    if (check_owner == 0) {
        check_owner = getpid();
        atexit(check_report);
    }
    check_failures = 0;
    test();
    if (check_failures == 0) {
        check_passed_tests++;
        return;
    }
    check_failed_tests++;
    fprintf(stderr, "FAILED %s\n", name);
}

#define RUN(test) check_run(#test, test)

#endif
