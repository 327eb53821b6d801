/* test_wait.c - notify entries and the doorbell: marks, rings, and what a ring that was not meant for one costs. */
#include <pthread.h>
#include <time.h>

#include "check.h"
#include "shm/wait.h"

static segment *fresh(void) {
    geometry g = layout_test();
    segment *s;
    CHECK_STATUS(segment_anonymous(&g, &s, NULL), FR_OK);
    segment_become(s, 1, 1);
    return s;
}

static bool rung(const wait_point *p) { return (uint32_t)__atomic_load_n(p->futex, __ATOMIC_SEQ_CST) != p->seen; }

static void nobody_waits_costs_nothing(void) {
    segment *s = fresh();
    CHECK(!wait_anybody(s));
    wait_mark(s, 7);
    CHECK(wait_anybody(s));
    segment_close(s);
}

static void a_ring_wakes_its_key_only(void) {
    segment *s = fresh();
    uint64_t other = 7 | UINT64_C(0xfedcba) << 40; /* shares the entry */
    wait_point p = wait_mark(s, 7);
    wait_ring(s, other);
    CHECK(!rung(&p));
    wait_ring(s, 7);
    CHECK(rung(&p));
    wait_point again = wait_mark(s, 7); /* marks are used up by a ring */
    wait_ring(s, 7);
    CHECK(rung(&again));
    wait_point last = wait_mark(s, 7);
    wait_ring(s, 7);
    wait_ring(s, 7);
    CHECK(*last.futex - last.seen == 1); /* {count, mark}: one step, mark off; the second ring found no mark */
    wait_mark(s, other);
    wait_ring(s, other);
    p = wait_mark(s, 7);
    wait_ring(s, other); /* nobody waits for it any more */
    CHECK(!rung(&p));
    segment_close(s);
}

static void two_keys_of_an_entry_are_both_woken(void) {
    segment *s = fresh();
    uint64_t other = 7 | UINT64_C(0xfedcba) << 40;
    wait_point a = wait_mark(s, 7), b = wait_mark(s, other);
    wait_ring(s, other);
    CHECK(rung(&a) && rung(&b)); /* a hint too many for the first */
    a = wait_mark(s, 7);
    b = wait_mark(s, other);
    wait_ring(s, 7);
    CHECK(rung(&a) && rung(&b));
    segment_close(s);
}

static void every_hash_rings_for_itself(void) {
    segment *s = fresh();
    uint64_t hash = 0;
    for (int i = 0; i < 1000; i++, hash = hash * UINT64_C(6364136223846793005) + 1442695040888963407) {
        wait_point p = wait_mark(s, hash);
        wait_ring(s, hash);
        CHECK(rung(&p));
    }
    segment_close(s);
}

static void others_ring_seldom(void) {
    segment *s = fresh();
    uint64_t hash = 1, rings = 0;
    for (int i = 0; i < 1000000; i++, hash = hash * UINT64_C(6364136223846793005) + 1442695040888963407) {
        wait_point p = wait_mark(s, 7 | UINT64_C(0x123456) << 40);
        wait_ring(s, (hash & ~UINT64_C(7)) | 7); /* the same entry each time */
        rings += rung(&p);
    }
    CHECK(rings < 60); /* 15 are to be expected */
    segment_close(s);
}

static void a_ring_for_some_leaves_the_mark_for_others(void) {
    segment *s = fresh();
    wait_point a = wait_mark(s, 7), bell = wait_doorbell(s);
    wait_mark_doorbell(s, 7);
    wait_ring_some(s, 7, 1);
    CHECK(rung(&a) && rung(&bell)); /* who was about to sleep looks again */
    wait_point still = a; /* who has slept all along, and was not meant: the next ring must find a mark, and its key */
    still.seen = __atomic_load_n(still.futex, __ATOMIC_SEQ_CST);
    wait_ring_some(s, 7, 2);
    CHECK(rung(&still));
    wait_point b = wait_mark(s, 7);
    bell = wait_doorbell(s);
    wait_ring(s, 7); /* the mark was there still */
    CHECK(rung(&b) && !rung(&bell));
    wait_ring(s, 7);
    CHECK(*b.futex - b.seen == 1);
    segment_close(s);
}

/* Two sleepers of one key; each bit wakes its own. */
static void *sleep_with_bits(void *arg) {
    wait_point *p = arg;
    return (void *)(uintptr_t)(wait_sleep(p, 999) == WAIT_WOKEN); /* into the next second of the clock */
}

static void bits_tell_sleepers_apart(void) {
    segment *s = fresh();
    pthread_t one, two;
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    void *woken_one, *woken_two;
    wait_point p = wait_mark(s, 7), q = p;
    p.bits = 1;
    q.bits = 2;
    pthread_create(&one, NULL, sleep_with_bits, &p);
    pthread_create(&two, NULL, sleep_with_bits, &q);
    nanosleep(&(struct timespec){0, 100000000}, NULL); /* both sleep: nobody can be asked */
    wait_ring_some(s, 7, 2);
    pthread_join(two, &woken_two);
    pthread_join(one, &woken_one); /* slept to the end of its time */
    clock_gettime(CLOCK_MONOTONIC, &ended);
    CHECK(woken_two && !woken_one);
    CHECK((ended.tv_sec - began.tv_sec) * 1000 + (ended.tv_nsec - began.tv_nsec) / 1000000 >= 990); /* the whole of it */
    segment_close(s);
}

static void ring_all(void) {
    segment *s = fresh();
    wait_point a = wait_mark(s, 3), b = wait_mark(s, 4);
    wait_ring_all(s);
    CHECK(rung(&a) && rung(&b));
    segment_close(s);
}

static void sleep_times_out_and_wakes_late_sleepers_at_once(void) {
    segment *s = fresh();
    wait_point p = wait_mark(s, 7);
    CHECK(wait_sleep(&p, 1) == WAIT_TIMEOUT);
    wait_ring(s, 7);
    CHECK(wait_sleep(&p, 1000) == WAIT_WOKEN);
    segment_close(s);
}

static void doorbell_of_this_process(void) {
    segment *s = fresh();
    wait_point bell = wait_doorbell(s);
    uint32_t count = wait_mark_doorbell(s, 7);
    wait_ring(s, 8);
    CHECK(!rung(&bell) && !wait_rung(s, 7, count));
    wait_mark(s, 7); /* another sleeper's mark is no ring */
    CHECK(!wait_rung(s, 7, count));
    wait_ring(s, 7);
    CHECK(rung(&bell) && wait_rung(s, 7, count));
    wait_mark_doorbell(s, 7); /* of another process whose slot has the same bit */
    CHECK(wait_rung(s, 7, count));
    wait_ring(s, 7);
    bell = wait_doorbell(s);
    wait_ring(s, 7); /* the mark is used up */
    CHECK(!rung(&bell));
    wait_mark(s, 7);
    wait_ring(s, 7); /* and it is no mark of the next who waits */
    CHECK(!rung(&bell));
    wait_ring_doorbell(s);
    CHECK(rung(&bell));
    segment_close(s);
}

/* 32 bits of a mask for any number of slots: a ring reaches all that share one. */
static void doorbells_of_all_slots(void) {
    geometry g = layout_default(16u << 20);
    segment *s;
    g.slots = 80;
    CHECK_STATUS(segment_anonymous(&g, &s, NULL), FR_OK);
    uint32_t slots[] = {1, 31, 32, 33, 64, 79};
    for (size_t i = 0; i < FR_COUNTOF(slots); i++) {
        segment_become(s, slots[i], 1);
        wait_point bell = wait_doorbell(s);
        wait_mark_doorbell(s, 7);
        segment_become(s, 2, 1); /* another process rings */
        wait_ring(s, 7);
        CHECK(rung(&bell));
    }
    segment_close(s);
}

/* Threads that wait for a number to become theirs; none may sleep through its turn. */
#define TURNS 2000
static segment *shared;
static uint64_t turn;

static void *player(void *arg) {
    uint64_t me = (uint64_t)(uintptr_t)arg, slept_out = 0;
    for (uint64_t i = me; i < TURNS; i += 4) {
        for (;;) {
            wait_point p = wait_mark(shared, 7);
            if (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) == i) break;
            if (wait_sleep(&p, 1000) == WAIT_TIMEOUT) slept_out++;
        }
        __atomic_store_n(&turn, i + 1, __ATOMIC_SEQ_CST);
        wait_ring(shared, 7);
    }
    return (void *)(uintptr_t)slept_out;
}

static void no_wake_up_is_lost(void) {
    pthread_t threads[4];
    void *slept_out;
    shared = fresh();
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, player, (void *)i);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &slept_out);
        CHECK(slept_out == NULL);
    }
    CHECK(turn == TURNS);
    segment_close(shared);
}

int main(void) {
    RUN(nobody_waits_costs_nothing);
    RUN(a_ring_wakes_its_key_only);
    RUN(two_keys_of_an_entry_are_both_woken);
    RUN(every_hash_rings_for_itself);
    RUN(others_ring_seldom);
    RUN(a_ring_for_some_leaves_the_mark_for_others);
    RUN(bits_tell_sleepers_apart);
    RUN(ring_all);
    RUN(sleep_times_out_and_wakes_late_sleepers_at_once);
    RUN(doorbell_of_this_process);
    RUN(doorbells_of_all_slots);
    RUN(no_wake_up_is_lost);
    return 0;
}
