/* test_waiting.c - sleeping on keys and in lines: hand-over between threads, deadlines, signals, deaths. */
#include "store/waiting.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "shm/latch.h"
#include "store_fixture.h"

static store *st;
static const span NAME = {"lock", 4};

static void fresh(void) {
    geometry g = layout_default(16u << 20);
    st = store_with(&g);
    segment_become(st->s, 1, 1);
}

static lock_state wait_for(const char *token, uint64_t ms) {
    fr_error err;
    lock_state state;
    lock_request r = {.token = text_of(token), .limit = 1, .queue = true, .owned = true};
    CHECK_STATUS(lock_wait(st, 0, NAME, &r, clock_boot_ms() + ms, &state, &err), FR_OK);
    return state;
}
static lock_state ask(const char *token, bool queue) {
    fr_error err;
    lock_state state;
    lock_request r = {.token = text_of(token), .limit = 1, .queue = queue, .owned = true};
    CHECK_STATUS(lock_try(st, 0, NAME, &r, &state, &err), FR_OK);
    return state;
}

static fr_status do_end(store *s, txn *t, op *o) { return lock_release(s, t, &o->k, o->value, &o->flag); }
static bool end(const char *token) {
    op o = {.run = do_end, .name = "lock", .value = text_of(token)};
    stripe_set all;
    fr_error err; /* its own: threads call this */
    store_all_stripes(st, &all);
    CHECK_STATUS(store_write(st, clock_boot_ms(), UINT64_MAX, &all, run_op, &o, &err), FR_OK);
    return o.flag;
}
static fr_status do_seen(store *s, txn *t, op *o) { return key_version(s, t, &o->k, &o->size, &o->flag); }
static uint64_t seen(const char *name) {
    op o = {.run = do_seen, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.size;
}

static bool set_key(const char *name, const char *text) {
    op o = {.run = do_set, .name = name, .value = text_of(text)};
    return write_op(st, &o) == FR_OK;
}

static void deadlines(void) {
    fresh();
    CHECK(wait_for("a", 0).outcome == LOCK_GRANTED);
    uint64_t began = clock_boot_ms();
    CHECK(wait_for("b", 30).outcome == LOCK_REFUSED && clock_boot_ms() - began >= 30);
    CHECK(end("a") && !end("b")); /* b left the line */
    enum wait_result how;
    fr_error err;
    CHECK_STATUS(lock_wait_free(st, 0, NAME, clock_boot_ms() + 1000, &how, &err), FR_OK);
    CHECK(how == WAIT_WOKEN);
    ask("a", false);
    CHECK_STATUS(lock_wait_free(st, 0, NAME, clock_boot_ms() + 20, &how, &err), FR_OK);
    CHECK(how == WAIT_TIMEOUT && end("a"));
    uint64_t version = seen("key"), now_version;
    CHECK_STATUS(key_wait(st, 0, text_of("key"), version, clock_boot_ms() + 20, &now_version, &how, &err), FR_OK);
    CHECK(how == WAIT_TIMEOUT && now_version == version);
    CHECK(set_key("key", "v"));
    CHECK_STATUS(key_wait(st, 0, text_of("key"), version, clock_boot_ms() + 1000, &now_version, &how, &err), FR_OK);
    CHECK(how == WAIT_WOKEN && now_version == seen("key"));
    close_sound(st);
}

/* A signal that comes between a look and the sleep after it interrupts nothing: calls return to be asked again. */
static void long_waits_come_back_once_a_second(void) {
    fresh();
    enum wait_result how;
    fr_error err;
    uint64_t began = clock_boot_ms(), now_version;
    ask("a", false);
    CHECK(wait_for("b", 60000).outcome == LOCK_QUEUED);
    CHECK(clock_boot_ms() - began < 1500);
    CHECK(ask("b", true).ahead == 0); /* and kept its place */
    CHECK_STATUS(key_wait(st, 0, text_of("key"), seen("key"), UINT64_MAX, &now_version, &how, &err), FR_OK);
    CHECK(how == WAIT_INTERRUPTED);
    CHECK_STATUS(lock_wait_free(st, 0, NAME, UINT64_MAX, &how, &err), FR_OK);
    CHECK(how == WAIT_INTERRUPTED && clock_boot_ms() - began < 4500);
    close_sound(st);
}

static void on_alarm(int number) { (void)number; }
static void signals_interrupt(void) {
    fresh();
    struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &act, NULL);
    ask("a", false);
    ualarm(50000, 50000); /* again and again: one may come between a look and the sleep after it */
    uint64_t began = clock_boot_ms();
    CHECK(wait_for("b", 60000).outcome == LOCK_QUEUED && clock_boot_ms() - began < 900);
    ualarm(0, 0);
    close_sound(st);
}

static void who_was_refused_by_a_long_string_is_told_so_at_the_deadline_only(void) {
    fresh();
    CHECK(set_key("lock", "a value that is much too long to be a token of anybody"));
    uint64_t began = clock_boot_ms();
    CHECK(wait_for("b", 1300).outcome == LOCK_QUEUED && clock_boot_ms() - began >= 900);
    CHECK(wait_for("b", 20).outcome == LOCK_REFUSED);
    CHECK(del(st, "lock") && wait_for("b", 20).outcome == LOCK_GRANTED);
    close_sound(st);
}

/* The holder lets go between the last asking of one whose time is up and its leaving the line: it has the lock, and says so. */
static struct {
    const uint32_t *latch;
    unsigned takes;
} last_moment;

static void let_go_at_the_last_moment(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)n;
    if (kind != ACCESS_CAS4 || addr != last_moment.latch || ++last_moment.takes != 3) return; /* ask: take, drop; leave: take */
    fr_hook = NULL;
    CHECK(end("a"));
}

static void a_grant_in_the_last_moment_is_a_grant(void) {
    fresh();
    fr_error err;
    key k;
    CHECK(ask("a", false).outcome == LOCK_GRANTED);
    CHECK_STATUS(key_route(st, 0, NAME, &k, &err), FR_OK);
    last_moment.latch = &segment_stripe(st->s, k.stripe)->latch;
    last_moment.takes = 0;
    fr_hook = let_go_at_the_last_moment;
    lock_state got = wait_for("b", 0);
    fr_hook = NULL;
    CHECK(last_moment.takes == 3 && got.outcome == LOCK_GRANTED && got.fence != 0);
    CHECK(end("b") && ask("c", false).outcome == LOCK_GRANTED);
    close_sound(st);
}

static void who_waits_for_a_key_wakes_when_it_ends(void) {
    fresh();
    fr_error err;
    enum wait_result how;
    uint64_t began = clock_boot_ms(), now_version;
    CHECK(set_key("k", "v"));
    op o = {.run = do_expire, .name = "k", .at = began + 60};
    CHECK_STATUS(write_op_at(st, &o, began), FR_OK);
    uint64_t version = seen("k");
    CHECK_STATUS(key_wait(st, 0, text_of("k"), version, began + 20000, &now_version, &how, &err), FR_OK);
    CHECK(how == WAIT_WOKEN && now_version != version && clock_boot_ms() - began < 700);
    close_sound(st);
}

static void deaths_are_noticed(void) {
    fresh();
    segment_become(st->s, 2, 1);
    ask("dead", false);
    segment_become(st->s, 1, 1);
    enum wait_result how;
    fr_error err;
    bool died;
    uint64_t version = seen("key"), now_version;
    span key = text_of("key");
    CHECK_STATUS(key_watch(st, 0, key, version, NAME, clock_boot_ms() + 20, &now_version, &died, &how, &err), FR_OK);
    CHECK(how == WAIT_TIMEOUT && !died);
    CHECK(wait_for("b", 20).outcome == LOCK_REFUSED);
    segment_set_dead(st->s, 2, true);
    CHECK(wait_for("b", 1000).outcome == LOCK_GRANTED && end("b"));
    segment_set_dead(st->s, 2, false);
    segment_become(st->s, 2, 1);
    lock_request r = {.token = text_of("x"), .shared = true, .limit = 9, .owned = true}, mine = r;
    mine.token = text_of("mine");
    lock_state state;
    CHECK_STATUS(lock_try(st, 0, NAME, &r, &state, &err), FR_OK);
    segment_become(st->s, 1, 1);
    CHECK_STATUS(lock_try(st, 0, NAME, &mine, &state, &err), FR_OK);
    segment_set_dead(st->s, 2, true); /* one of two holders */
    CHECK_STATUS(key_watch(st, 0, key, version, NAME, clock_boot_ms() + 1000, &now_version, &died, &how, &err), FR_OK);
    CHECK(how == WAIT_WOKEN && died && now_version == version);
    close_sound(st);
}

/* --- who takes over ------------------------------------------------------------------------------------------------------- */

static void *last_in_line(void *arg) {
    uint64_t *took = arg;
    while (wait_for("last", 60000).outcome != LOCK_GRANTED) {
    }
    *took = clock_boot_ms();
    return NULL;
}

static fr_status do_leave(store *s, txn *t, op *o) { return lock_leave(s, t, &o->k, o->value, &o->flag); }
static void leave(const char *token) {
    op o = {.run = do_leave, .name = "lock", .value = text_of(token)};
    stripe_set all;
    fr_error err;
    store_all_stripes(st, &all);
    CHECK_STATUS(store_write(st, clock_boot_ms(), UINT64_MAX, &all, run_op, &o, &err), FR_OK);
}

static fr_status do_count(store *s, txn *t, op *o) {
    static owners all;
    uint64_t expiry;
    fr_status status = lock_facts(s, t, &o->k, &o->flag, &all, &expiry);
    o->size = all.holders + all.waiters;
    return status;
}
static uint64_t in_line(void) {
    op o = {.run = do_count, .name = "lock"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.size;
}

/* Milliseconds from a holder's death until the last in line has the lock. The others, who do not look (they are nobody's
 * threads), leave before the death or die in it. */
static uint64_t until_the_last_has_it(unsigned n, bool others_leave) {
    static const char *const others[] = {"b", "c", "d", "e"};
    pthread_t thread;
    uint64_t took;
    fresh();
    segment_become(st->s, 2, 1);
    ask("a", false);
    if (others_leave) segment_become(st->s, 1, 1);
    for (unsigned i = 0; i < n; i++) ask(others[i], true);
    segment_become(st->s, 1, 1);
    pthread_create(&thread, NULL, last_in_line, &took);
    while (in_line() < n + 2) usleep(100);
    usleep(2000); /* it sleeps */
    for (unsigned i = 0; i < n && others_leave; i++) leave(others[i]);
    uint64_t died = clock_boot_ms();
    segment_set_dead(st->s, 2, true);
    pthread_join(thread, NULL);
    CHECK(end("last"));
    close_sound(st);
    return took - died;
}

#define TRIALS 9
static int by_size(const void *a, const void *b) { return *(const uint64_t *)a < *(const uint64_t *)b ? -1 : 1; }
static uint64_t median_until_the_last_has_it(unsigned n, bool others_leave) {
    uint64_t took[TRIALS];
    for (unsigned i = 0; i < TRIALS; i++) took[i] = until_the_last_has_it(n, others_leave);
    qsort(took, TRIALS, sizeof *took, by_size);
    return took[TRIALS / 2];
}

static void who_becomes_the_first_looks_at_once(void) { CHECK(median_until_the_last_has_it(4, true) < LINE_MS / 2); }
static void the_second_takes_over_when_the_first_dies_too(void) { CHECK(median_until_the_last_has_it(1, false) < LINE_MS / 2); }
static void a_whole_line_that_dies_is_passed_over(void) { CHECK(median_until_the_last_has_it(4, false) < 2 * LINE_MS); }

static void a_stopped_writer_is_waited_for_to_the_deadline(void) {
    fresh();
    fr_error err;
    key k;
    lock_state state;
    lock_request r = {.token = text_of("a"), .limit = 1, .queue = true, .owned = true};
    CHECK_STATUS(key_route(st, 0, NAME, &k, &err), FR_OK);
    segment_become(st->s, 2, 1);
    CHECK_STATUS(latch_take(st->s, k.stripe, clock_boot_ms() + 100, &err), FR_OK);
    segment_become(st->s, 1, 1);
    CHECK_STATUS(lock_wait(st, 0, NAME, &r, clock_boot_ms() + 60000, &state, &err), FR_OK);
    CHECK(state.outcome == LOCK_QUEUED); /* call again */
    CHECK_STATUS(lock_wait(st, 0, NAME, &r, clock_boot_ms() + 1, &state, &err), FR_LATCHED);
    segment_become(st->s, 2, 1);
    latch_drop(st->s, k.stripe);
    segment_become(st->s, 1, 1);
    CHECK(wait_for("a", 1).outcome == LOCK_GRANTED);
    close_sound(st);
}

/* --- hand-over between threads --------------------------------------------------------------------------------------------- */

#define TURNS 500
static int inside, turns;

static void *player(void *arg) {
    char token[16];
    for (int i = 0; i < TURNS; i++) {
        snprintf(token, sizeof token, "%d.%d", (int)(intptr_t)arg, i);
        while (wait_for(token, 60000).outcome != LOCK_GRANTED) {
        }
        CHECK(__atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST) == 0);
        turns++;
        __atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
        CHECK(end(token));
    }
    return NULL;
}

static void threads_hand_over(void) {
    pthread_t threads[4];
    fresh();
    for (intptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, player, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK(turns == 4 * TURNS);
    close_sound(st);
}

int main(void) {
    RUN(deadlines);
    RUN(long_waits_come_back_once_a_second);
    RUN(signals_interrupt);
    RUN(who_was_refused_by_a_long_string_is_told_so_at_the_deadline_only);
    RUN(a_grant_in_the_last_moment_is_a_grant);
    RUN(who_waits_for_a_key_wakes_when_it_ends);
    RUN(deaths_are_noticed);
    RUN(who_becomes_the_first_looks_at_once);
    RUN(the_second_takes_over_when_the_first_dies_too);
    RUN(a_whole_line_that_dies_is_passed_over);
    RUN(a_stopped_writer_is_waited_for_to_the_deadline);
    RUN(threads_hand_over);
    return 0;
}
