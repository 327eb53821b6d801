/* test_threads.c - several threads over one mapping: totals are exact, pairs are never torn, quick and general calls mix.
 * Under ThreadSanitizer (make tsan) this is where every access function's memory order is checked.
 */
#include <pthread.h>

#include "store/quick.h"
#include "store_fixture.h"

#define THREADS 4
#define ROUNDS 3000

static store *shared;
static uint64_t shared_cell;

static fr_status do_incr(store *st, txn *t, op *o) { return str_incr(st, t, &o->k, 1, &o->number); }
static fr_status do_get(store *st, txn *t, op *o) {
    fr_status status = str_get(st, t, &o->k, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}

static fr_status run_here(store *st, op *o, bool write) {
    stripe_set set;
    fr_error err;
    key k;
    key_route(st, 0, text_of(o->name), &k, &err);
    stripe_set_clear(&set);
    stripe_set_add(&set, k.stripe);
    uint64_t now = clock_boot_ms();
    return write ? store_write(st, now, 20000, &set, run_op, o, &err) : store_read(st, now, &set, run_op, o, &err);
}

static void *increments(void *unused) {
    long failed = 0;
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        op o = {.run = do_incr, .name = "total"};
        key k;
        fr_error err;
        int64_t out;
        failed += key_route(shared, 0, text_of("total"), &k, &err) != FR_OK;
        if (quick_incr(shared, &k, 1, &out) != FR_OK) failed += run_here(shared, &o, true) != FR_OK;
        failed += counter_add(shared->s, shared_cell, 1, &out) != FR_OK;
        char field[8];
        snprintf(field, sizeof field, "f%d", i % 8);
        op h = {.run = do_hincr, .name = "hash", .field = text_of(field), .by = 1};
        failed += run_here(shared, &h, true) != FR_OK;
    }
    return (void *)failed;
}

/* Writes 32 equal bytes, so that a mixture shows. */
static void *overwrites(void *which) {
    char bytes[33] = {0};
    long failed = 0;
    for (int i = 0; i < ROUNDS; i++) {
        memset(bytes, 'a' + (i + (int)(intptr_t)which) % 26, 32);
        op o = {.run = do_set, .name = "same", .value = {bytes, i % 5 ? 32 : 20}};
        failed += run_here(shared, &o, true) != FR_OK;
    }
    return (void *)failed;
}

static void *reads(void *unused) {
    long torn = 0;
    (void)unused;
    for (int i = 0; i < 2 * ROUNDS; i++) {
        op o = {.run = do_get, .name = "same"};
        torn += run_here(shared, &o, false) != FR_OK;
        for (size_t j = 1; o.flag && j < o.text_n; j++) torn += o.text[j] != o.text[0];
    }
    return (void *)torn;
}

static pthread_barrier_t all_here; /* without it a thread has ended before the next one begins */

/* For so long that the threads run side by side even on a busy machine. Returns how many it has added. */
static void *adds(void *unused) {
    long added = 0;
    int64_t out;
    (void)unused;
    pthread_barrier_wait(&all_here);
    for (uint64_t until = clock_boot_ms() + 400; clock_boot_ms() < until;)
        for (int i = 0; i < ROUNDS; i++) added += counter_add(shared->s, shared_cell, 1, &out) == FR_OK;
    return (void *)added;
}

/* Rows and long values of each thread's own: what they share is the pools that rows and pages come from. */
static void *takes_and_gives(void *which) {
    static const char bytes[6000];
    char row[24], name[24];
    long failed = 0;
    pthread_barrier_wait(&all_here);
    for (int i = 0; i < 2 * ROUNDS; i++) {
        snprintf(row, sizeof row, "t:%ld-%d", (long)(intptr_t)which, i % 7);
        snprintf(name, sizeof name, "%ld-%d", (long)(intptr_t)which, i % 5);
        op h = {.run = i % 3 ? do_hset : do_del, .name = row, .field = text_of("n"), .value = text_of("1")};
        op p = {.run = i % 2 ? do_set : do_del, .name = name, .value = {bytes, 5000 + (size_t)i % 1000}};
        failed += run_here(shared, &h, true) != FR_OK;
        failed += run_here(shared, &p, true) != FR_OK;
    }
    return (void *)failed;
}

static long run_all(void *(*f)(void *), void *(*g)(void *)) {
    pthread_t thread[THREADS];
    long sum = 0;
    for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, i % 2 && g ? g : f, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        CHECK(pthread_join(thread[i], &result) == 0);
        sum += (long)result;
    }
    return sum;
}

static fr_status do_open(store *st, txn *t, op *o) { return counter_open(st, t, &o->k, 0, &o->size); }

static void totals_are_exact(void) {
    shared = big_store();
    op o = {.run = do_open, .name = "counter"}, g = {.run = do_get, .name = "total"};
    CHECK_STATUS(write_op(shared, &o), FR_OK);
    shared_cell = o.size;
    CHECK(run_all(increments, NULL) == 0);
    int64_t count, fields = 0;
    CHECK_STATUS(counter_get(shared->s, shared_cell, &count), FR_OK);
    CHECK(count == THREADS * ROUNDS);
    CHECK_STATUS(read_op(shared, &g), FR_OK);
    CHECK(g.v.i == THREADS * ROUNDS);
    for (int i = 0; i < 8; i++) {
        char field[8];
        snprintf(field, sizeof field, "f%d", i);
        fields += atoll(hget(shared, "hash", field));
    }
    CHECK(fields == THREADS * ROUNDS);
    close_sound(shared);
}

/* Takes seats until there are none. */
static void *takes(void *unused) {
    const bounds seats = {.lower = 0, .upper = THREADS * ROUNDS};
    long taken = 0;
    bool done = true;
    (void)unused;
    while (done) {
        int64_t out;
        if (counter_add_within(shared->s, shared_cell, 1, &seats, &out, &done) != FR_OK) return (void *)-1;
        taken += done;
    }
    return (void *)taken;
}

static void a_bound_is_reached_exactly(void) {
    shared = big_store();
    op o = {.run = do_open, .name = "seats"};
    CHECK_STATUS(write_op(shared, &o), FR_OK);
    shared_cell = o.size;
    CHECK(run_all(takes, NULL) == THREADS * ROUNDS);
    int64_t now;
    CHECK_STATUS(counter_get(shared->s, shared_cell, &now), FR_OK);
    CHECK(now == THREADS * ROUNDS);
    close_sound(shared);
}

static void reads_are_never_torn(void) {
    shared = big_store();
    CHECK(run_all(overwrites, reads) == 0);
    close_sound(shared);
}

static void counters_are_exact(void) {
    shared = big_store();
    op o = {.run = do_open, .name = "counter"};
    int64_t count;
    CHECK_STATUS(write_op(shared, &o), FR_OK);
    shared_cell = o.size;
    long added = run_all(adds, NULL);
    CHECK_STATUS(counter_get(shared->s, shared_cell, &count), FR_OK);
    CHECK(count == added && added > THREADS * ROUNDS);
    close_sound(shared);
}

static void pools_have_one_taker_at_a_time(void) {
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    shared = big_store();
    CHECK_STATUS(schema_add(&sc, text_of("n"), text_of("int32"), &last_error), FR_OK);
    CHECK_STATUS(table_declare(shared, text_of("t"), 1000, &sc, NOW, &tb, &created, &last_error), FR_OK);
    CHECK(tb->table_stripes > THREADS);
    CHECK(run_all(takes_and_gives, NULL) == 0);
    close_sound(shared);
}

int main(void) {
    pthread_barrier_init(&all_here, NULL, THREADS);
    RUN(counters_are_exact);
    RUN(pools_have_one_taker_at_a_time);
    RUN(totals_are_exact);
    RUN(a_bound_is_reached_exactly);
    RUN(reads_are_never_torn);
    return 0;
}
