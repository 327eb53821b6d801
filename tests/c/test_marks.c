/* test_marks.c - who waits looks after it has marked, so that nothing can come between; and what rings for a counter. Lines,
 * deaths and real sleeps: tests/test_waiting.py, tests/test_lock.py.
 *
 * No test here sleeps in order to see something: a hook changes the key in the moment before the mark is set, and a waiter
 * whose time is up must have seen it.
 */
#include "store/waiting.h"
#include "store_fixture.h"

static fr_status do_open(store *st, txn *t, op *o) { return counter_open(st, t, &o->k, 7, &o->size); }
static fr_status do_release(store *st, txn *t, op *o) { return lock_release(st, t, &o->k, o->value, &o->flag); }

static store *fresh(void) {
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    segment_become(st->s, 1, 1);
    return st;
}

static void set(store *st, const char *value) {
    CHECK_STATUS(write_one(st, &(op){.run = do_set, .name = "k", .value = text_of(value)}), FR_OK);
}

/* --- what happens at a mark ------------------------------------------------------------------------------------------- */

static struct {
    store *st;
    const uint64_t *seq; /* of the key's stripe: a reader's look begins with it */
    void (*change)(store *st);
    unsigned marks;
    bool looked, before; /* since the last mark or ring; between the last two of them */
} watch;

static void at_access(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    segment *s = watch.st->s;
    const char *at = addr, *entries = SEG_AT(s, s->l.notify, const char);
    (void)ctx, (void)n;
    if (kind == ACCESS_LD8 && addr == watch.seq) watch.looked = true;
    if (kind != ACCESS_CAS16 || at < entries || at >= entries + s->g.notify_words * sizeof(cell16)) return;
    watch.marks++;
    fr_hook = NULL;
    if (watch.change) watch.change(watch.st);
    watch.change = NULL;
    watch.before = watch.looked;
    watch.looked = false;
    fr_hook = at_access;
}

static void begin(store *st, const char *name, void (*change)(store *st)) {
    key k;
    CHECK_STATUS(key_route(st, 0, text_of(name), &k, &last_error), FR_OK);
    watch.st = st;
    watch.seq = &segment_stripe(st->s, k.stripe)->seq;
    watch.change = change;
    watch.marks = 0;
    watch.looked = false;
    fr_hook = at_access;
}

static void end(void) {
    fr_hook = NULL;
    CHECK(watch.marks && watch.looked && !watch.change);
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static void overwrite(store *st) { set(st, "another"); }

static void a_change_before_the_mark_is_seen(void) {
    store *st = fresh();
    uint64_t version, now;
    enum wait_result how;
    set(st, "v");
    version = version_of(st, "k");
    begin(st, "k", overwrite);
    CHECK_STATUS(key_wait(st, 0, text_of("k"), version, 0, &now, &how, &last_error), FR_OK);
    end();
    CHECK(how == WAIT_WOKEN && now != version && now == version_of(st, "k"));
    CHECK_STATUS(key_wait(st, 0, text_of("k"), now, 0, &version, &how, &last_error), FR_OK);
    CHECK(how == WAIT_TIMEOUT && version == now);
    close_sound(st);
}

static bool rung(const wait_point *p) { return (uint32_t)__atomic_load_n(p->futex, __ATOMIC_SEQ_CST) != p->seen; }

/* --- every change of a key rings for it ---------------------------------------------------------------------------------- */

static fr_status do_flush_0(store *st, txn *t, op *o) { return (void)o, keyspace_flush(st, t, 0); }
static fr_status do_swap(store *st, txn *t, op *o) { return (void)o, keyspace_swap(st, t, 0, 3); }
static fr_status do_many(store *st, txn *t, op *o) { /* more keys than a transaction can name, the one last */
    char name[16];
    key other;
    set_options plain = {.condition = SET_ALWAYS};
    set_result r;
    for (int i = 0; i < 3 * TXN_WAKES; i++) {
        snprintf(name, sizeof name, "other%d", i);
        fr_status status = key_route(st, 0, text_of(name), &other, t->err);
        if (status == FR_OK) status = str_set(st, t, &other, text_of("v"), &plain, &r);
        if (status != FR_OK) return status;
    }
    return str_set(st, t, &o->k, text_of("v"), &plain, &r);
}
static fr_status do_hand_over_and_set(store *st, txn *t, op *o) { /* one waiter of `lock` is meant, and everybody of the key */
    bool done;
    set_options plain = {.condition = SET_ALWAYS};
    set_result r;
    fr_status status = lock_release(st, t, &o->k2, text_of("holder"), &done);
    return status == FR_OK ? str_set(st, t, &o->k, text_of("v"), &plain, &r) : status;
}

static void grow_to_a_tree(store *st) {
    char field[16];
    for (int i = 0; i < 600; i++) {
        snprintf(field, sizeof field, "f%d", i);
        hset(st, "k", field, "some value");
    }
}
static void small_hash(store *st) { hset(st, "k", "f", "v"); hset(st, "k", "g", "v"); }
static void short_string(store *st) { set(st, "four"); }
static void with_an_end(store *st) {
    set(st, "v");
    CHECK_STATUS(write_one(st, &(op){.run = do_expire, .name = "k", .at = NOW + 100}), FR_OK);
}
static void another(store *st) { CHECK_STATUS(write_one(st, &(op){.run = do_set, .name = "j", .value = text_of("v")}), FR_OK); }
static void a_line(store *st) {
    lock_request r = {.token = text_of("holder"), .limit = 1, .queue = true, .owned = true};
    lock_state state;
    CHECK_STATUS(lock_try(st, 0, text_of("lock"), &r, &state, &last_error), FR_OK);
    r.token = text_of("next");
    CHECK_STATUS(lock_try(st, 0, text_of("lock"), &r, &state, &last_error), FR_OK);
    r.token = text_of("the one after"); /* sleeps on when the lock is handed to the next */
    CHECK_STATUS(lock_try(st, 0, text_of("lock"), &r, &state, &last_error), FR_OK);
    CHECK(state.outcome == LOCK_QUEUED && state.ahead == 1);
}

static void every_change_of_a_key_rings(void) {
    static const struct {
        const char *what;
        void (*before)(store *st);
        op change;
    } row[] = {
        {"SET", NULL, {.run = do_set, .name = "k", .value = {"v", 1}}},
        {"SET in place", short_string, {.run = do_set, .name = "k", .value = {"FOUR", 4}}},
        {"SET of another length", short_string, {.run = do_set, .name = "k", .value = {"longer value", 12}}},
        {"DEL", short_string, {.run = do_del, .name = "k"}},
        {"EXPIRE", short_string, {.run = do_expire, .name = "k", .at = NOW + 100}},
        {"EXPIRE again", with_an_end, {.run = do_expire, .name = "k", .at = NOW + 200}},
        {"EXPIRE at once", short_string, {.run = do_expire, .name = "k", .at = NOW - 1}},
        {"PERSIST", with_an_end, {.run = do_expire, .name = "k", .at = NO_EXPIRY}},
        {"RENAME away", short_string, {.run = do_rename, .name = "k", .other = "j"}},
        {"RENAME of a tree", grow_to_a_tree, {.run = do_rename, .name = "k", .other = "j"}},
        {"COPY", short_string, {.run = do_copy, .name = "j", .other = "k"}},
        {"RENAME onto it", short_string, {.run = do_rename, .name = "j", .other = "k"}},
        {"HSET", NULL, {.run = do_hset, .name = "k", .field = {"f", 1}, .value = {"v", 1}}},
        {"HSET of a tree", grow_to_a_tree, {.run = do_hset, .name = "k", .field = {"f7", 2}, .value = {"other", 5}}},
        {"HDEL", small_hash, {.run = do_hdel, .name = "k", .field = {"f", 1}}},
        {"HDEL of a tree", grow_to_a_tree, {.run = do_hdel, .name = "k", .field = {"f7", 2}}},
        {"FLUSHDB", short_string, {.run = do_flush_0, .name = "k"}},
        {"SWAPDB", short_string, {.run = do_swap, .name = "k"}},
        {"many keys", NULL, {.run = do_many, .name = "k"}},
        {"a hand-over beside it", a_line, {.run = do_hand_over_and_set, .name = "k", .other = "lock"}},
    };
    for (size_t i = 0; i < FR_COUNTOF(row); i++) {
        store *st = fresh();
        op change = row[i].change;
        uint64_t hash;
        another(st);
        if (row[i].before) row[i].before(st);
        CHECK_STATUS(key_wait_hash(st, 0, text_of("k"), &hash, &last_error), FR_OK);
        wait_point p = wait_mark(st->s, hash), bell = wait_doorbell(st->s);
        wait_mark_doorbell(st->s, hash);
        CHECK_STATUS(write_op(st, &change), FR_OK);
        CHECK(rung(&p) && rung(&bell));
        if (!rung(&p)) fprintf(stderr, "%s rings for nobody\n", row[i].what);
        store_close(st);
    }
}

/* Who sleeps in the line of one lock is told of another key by a transaction that hands that lock to somebody else. */
static void a_hand_over_beside_another_key_wakes_all_of_that_key(void) {
    store *st = fresh();
    uint64_t hash;
    op change = {.run = do_hand_over_and_set, .name = "k", .other = "lock"};
    a_line(st);
    CHECK_STATUS(key_wait_hash(st, 0, text_of("k"), &hash, &last_error), FR_OK);
    wait_mark(st->s, hash);
    CHECK_STATUS(write_op(st, &change), FR_OK);
    CHECK(!(ld8(SEG_AT(st->s, st->s->l.notify, uint64_t) + 2 * (hash & (st->s->g.notify_words - 1))) & 1)); /* nobody sleeps on */
    close_sound(st);
}

static void every_change_of_a_counter_rings(void) {
    store *st = fresh();
    uint64_t hash;
    int64_t out;
    bool done;
    bounds b = {.lower = 0, .upper = 100};
    op o = {.run = do_open, .name = "c"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK_STATUS(key_wait_hash(st, 0, text_of("c"), &hash, &last_error), FR_OK);
    CHECK(hash == counter_wait_hash(o.size));
    wait_point p = wait_mark(st->s, hash);
    CHECK_STATUS(counter_add(st->s, o.size, 1, &out), FR_OK);
    CHECK(rung(&p));
    p = wait_mark(st->s, hash);
    CHECK_STATUS(counter_set(st->s, o.size, 9), FR_OK);
    CHECK(rung(&p));
    p = wait_mark(st->s, hash);
    CHECK_STATUS(counter_add_within(st->s, o.size, 1, &b, &out, &done), FR_OK);
    CHECK(rung(&p) && done);
    p = wait_mark(st->s, hash);
    CHECK_STATUS(counter_cas(st->s, o.size, 11, 5, &done), FR_OK);
    CHECK(!rung(&p) && !done); /* nothing has changed */
    CHECK(del(st, "c") && rung(&p)); /* by its name, and by its cell */
    close_sound(st);
}

/* --- locks ------------------------------------------------------------------------------------------------------------ */

static lock_request asked(const char *token) {
    return (lock_request){.token = text_of(token), .limit = 1, .queue = true, .owned = true};
}

static void hold(store *st) {
    lock_request r = asked("holder");
    lock_state state;
    CHECK_STATUS(lock_try(st, 0, text_of("lock"), &r, &state, &last_error), FR_OK);
    CHECK(state.outcome == LOCK_GRANTED);
}

static void let_go(store *st) {
    op o = {.run = do_release, .name = "lock", .value = text_of("holder")};
    CHECK_STATUS(write_op_at(st, &o, clock_boot_ms()), FR_OK);
    CHECK(o.flag);
}

static void a_release_before_the_mark_is_seen(void) {
    store *st = fresh();
    enum wait_result how;
    hold(st);
    CHECK_STATUS(lock_wait_free(st, 0, text_of("lock"), 0, &how, &last_error), FR_OK);
    CHECK(how == WAIT_TIMEOUT);
    begin(st, "lock", let_go);
    CHECK_STATUS(lock_wait_free(st, 0, text_of("lock"), 0, &how, &last_error), FR_OK);
    end();
    CHECK(how == WAIT_WOKEN);
    close_sound(st);
}

/* Each sleep in line has a look between its mark and itself. Who gives up a place in line rings: that is the last event here. */
static void whoever_stands_in_line_marks_and_looks(void) {
    store *st = fresh();
    lock_request r = asked("next");
    lock_state state;
    hold(st);
    begin(st, "lock", NULL);
    CHECK_STATUS(lock_wait(st, 0, text_of("lock"), &r, clock_boot_ms() + 5, &state, &last_error), FR_OK);
    fr_hook = NULL;
    CHECK(watch.marks > 1 && watch.before);
    CHECK(state.outcome == LOCK_REFUSED); /* time was up, and the place in line was given up */
    let_go(st);
    CHECK(!exists(st, "lock"));
    close_sound(st);
}

static void a_hand_over_before_the_mark_is_taken(void) {
    store *st = fresh();
    lock_request r = asked("next");
    lock_state state;
    hold(st);
    begin(st, "lock", let_go);
    CHECK_STATUS(lock_wait(st, 0, text_of("lock"), &r, clock_boot_ms() + 10000, &state, &last_error), FR_OK);
    end();
    CHECK(state.outcome == LOCK_GRANTED && state.fence);
    CHECK(watch.marks == 1); /* it did not sleep and ask again */
    close_sound(st);
}

int main(void) {
    RUN(a_change_before_the_mark_is_seen);
    RUN(every_change_of_a_key_rings);
    RUN(a_hand_over_beside_another_key_wakes_all_of_that_key);
    RUN(every_change_of_a_counter_rings);
    RUN(a_release_before_the_mark_is_seen);
    RUN(whoever_stands_in_line_marks_and_looks);
    RUN(a_hand_over_before_the_mark_is_taken);
    return 0;
}
