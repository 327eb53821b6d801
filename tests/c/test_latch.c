/* test_latch.c - the slow paths of a latch: what a waiter leaves in the word, whom a drop wakes, how long somebody is waited
 * for who stands still, and how long when the latch changes hands. Dead owners: test_txn.c, test_segment.c.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include "store_fixture.h"

static store *fresh(void) {
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    segment_become(st->s, 2, 1);
    segment_become(st->s, 3, 1);
    segment_become(st->s, 1, 1);
    return st;
}

static uint32_t *word_of(store *st, uint32_t number) { return &segment_stripe(st->s, number)->latch; }

/* The owner lets go in the moment before the waiter's mark: the waiter takes the latch, and says that others may sleep. */
static unsigned attempts;

static void let_go_before_the_mark(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)n;
    if (kind != ACCESS_CAS4 || addr != ctx || attempts++ == 0) return; /* the first is the try that finds it held */
    fr_hook = NULL;
    __atomic_store_n((uint32_t *)ctx, 0, __ATOMIC_SEQ_CST);
}

static void who_takes_a_latch_after_waiting_remembers_the_others(void) {
    store *st = fresh();
    uint32_t *word = word_of(st, 0);
    *word = LATCH_WORD(2, 1);
    fr_hook = let_go_before_the_mark, fr_hook_ctx = word;
    CHECK_STATUS(latch_take(st->s, 0, clock_boot_ms() + 1000, &last_error), FR_OK);
    fr_hook = NULL;
    CHECK(attempts == 2 && ld4(word) == (LATCH_WORD(1, 1) | LATCH_WAITER));
    latch_drop(st->s, 0);
    CHECK(ld4(word) == 0);
    close_sound(st);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A sleeper that would not look by itself for a long time. */
static void *sleep_behind(void *word) {
    struct timespec long_time = {8, 0};
    uint32_t seen = LATCH_WORD(1, 1) | LATCH_WAITER;
    while (ld4(word) == seen) syscall(SYS_futex, word, FUTEX_WAIT, seen, &long_time, NULL, 0);
    return NULL;
}

static void a_drop_wakes_who_sleeps(void) {
    store *st = fresh();
    uint32_t *word = word_of(st, 0);
    pthread_t sleeper;
    double began = seconds();
    *word = LATCH_WORD(1, 1) | LATCH_WAITER;
    pthread_create(&sleeper, NULL, sleep_behind, word);
    nanosleep(&(struct timespec){0, 50000000}, NULL); /* it sleeps: nobody can be asked */
    latch_drop(st->s, 0);
    pthread_join(sleeper, NULL);
    CHECK(seconds() - began < 6);
    close_sound(st);
}

/* Two live owners hand a latch to each other; the waiter, who looks at the stripe's commits after each sleep, loses each race. */
#define ALLOWED_MS 100
static struct {
    uint32_t *word;
    double until;
} hands;

static void hand_over(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)n;
    if (kind != ACCESS_LD8 || addr != ctx || seconds() > hands.until) return;
    uint32_t seen = ld4(hands.word), other = LATCH_SLOT(seen) == 2 ? LATCH_WORD(3, 1) : LATCH_WORD(2, 1);
    __atomic_store_n(hands.word, other | (seen & LATCH_WAITER), __ATOMIC_SEQ_CST);
}

static double waited_for(store *st, bool changing) {
    double began = seconds();
    hands.word = word_of(st, 0);
    hands.until = began + 5;
    *hands.word = LATCH_WORD(2, 1);
    fr_hook = changing ? hand_over : NULL, fr_hook_ctx = &segment_stripe(st->s, 0)->jstate;
    CHECK_STATUS(latch_take(st->s, 0, clock_boot_ms() + ALLOWED_MS, &last_error), FR_LATCHED);
    fr_hook = NULL;
    *hands.word = 0;
    return (seconds() - began) * 1000;
}

static void a_busy_latch_is_waited_for_longer_than_a_stuck_one_but_not_for_ever(void) {
    store *st = fresh();
    double stuck = waited_for(st, false), busy = waited_for(st, true);
    CHECK(stuck >= ALLOWED_MS - 1);
    CHECK(busy >= 8 * ALLOWED_MS - 1 && busy < 4500); /* latch.h, 2 */
    close_sound(st);
}

/* Latches of pools come behind all stripes, in order: who would wait for an earlier one lets go of all and starts over. */
static void pools_are_taken_in_order_or_all_is_let_go(void) {
    store *st = fresh();
    txn t;
    stripe_set want;
    stripe_set_clear(&want);
    txn_init(&t, st->s, &last_error);
    t.want = &want;
    CHECK_STATUS(txn_begin_one(&t, NOW, NOW, 0), FR_OK);
    CHECK_STATUS(txn_pool(&t, 2), FR_OK);
    CHECK_STATUS(txn_pool(&t, 2), FR_OK);
    CHECK_STATUS(txn_pool(&t, POOL_LATCHES), FR_OK);
    CHECK_STATUS(txn_pool(&t, 1), FR_RELOCK);
    CHECK(want.count == 1 && stripe_set_has(&want, st->s->g.stripes + 1) && *word_of(st, st->s->g.stripes + 1) == 0);
    txn_abort(&t);
    txn_end(&t);
    for (uint32_t i = 0; i < st->s->l.latch_count; i++) CHECK(*word_of(st, i) == 0);
    close_sound(st);
}

int main(void) {
    RUN(who_takes_a_latch_after_waiting_remembers_the_others);
    RUN(a_drop_wakes_who_sleeps);
    RUN(a_busy_latch_is_waited_for_longer_than_a_stuck_one_but_not_for_ever);
    RUN(pools_are_taken_in_order_or_all_is_let_go);
    return 0;
}
