/* test_store.c - the loops and what they do between attempts: growth of a real file, reclaim, the OOM answer; and
 * that verify finds what is broken.
 */
#include <fcntl.h>

#include "full_store.h"
#include "place.h"

static void a_file_grows_to_its_limit(void) {
    char path[PLACE_MAX], file[PLACE_MAX + 16], name[24];
    store *st;
    bool created;
    place_new(path);
    snprintf(file, sizeof file, "%s/segment", path);
    segment_options o = {.size = 16u << 20, .create = true};
    CHECK_STATUS(store_open(file, &o, &st, &created, &last_error), FR_OK);
    uint64_t before = segment_super(st->s)->size;
    fr_status status = FR_OK;
    int n = 0;
    for (; status == FR_OK; n++) {
        snprintf(name, sizeof name, "k%d", n);
        status = put(st, name, 5000, NO_EXPIRY, NOW);
    }
    CHECK_STATUS(status, FR_OOM);
    CHECK(before < 8u << 20 && segment_super(st->s)->size == 16u << 20 && n > 1500);
    check_sound(st);
    store_close(st);
    CHECK_STATUS(segment_destroy(file, &last_error), FR_OK);
    rmdir(path);
}

static void expired_keys_make_room_before_oom(void) {
    store *st = tiny();
    int n, m;
    CHECK_STATUS(fill_up(st, "old", NOW + 10, &n), FR_OOM);
    CHECK(n > 50);
    char name[24];
    for (m = 0; m < n * 3 / 4; m++) { /* the index has grown meanwhile, and does not shrink */
        snprintf(name, sizeof name, "new%d", m);
        CHECK_STATUS(put(st, name, 40, NO_EXPIRY, NOW + 10), FR_OK);
    }
    CHECK(stat_sum(st->s, STAT_expired_keys) > 0);
    close_sound(st);
}

static void flushed_keys_are_not_expired(void) {
    store *st = big_store();
    segment_become(st->s, 1, 1);
    for (int i = 0; i < 500; i++) {
        char name[24];
        snprintf(name, sizeof name, "k%d", i);
        CHECK_STATUS(put(st, name, 40, i % 2 ? NOW + 10 : NO_EXPIRY, NOW), FR_OK);
    }
    op o = {.run = do_flush, .name = "k"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    unsigned freed = 0, more;
    while ((more = store_tick(st, NOW + 100, 10000)) != 0) freed += more;
    CHECK(freed >= 500 && stat_sum(st->s, STAT_expired_keys) == 0);
    CHECK_STATUS(put(st, "short", 40, NOW + 200, NOW), FR_OK);
    while (store_tick(st, NOW + 300, 10000)) {}
    CHECK(stat_sum(st->s, STAT_expired_keys) == 1);
    close_sound(st);
}

static void verify_finds_and_repairs(void) {
    store *st = tiny();
    verify_report r;
    int n;
    fill_up(st, "k", NO_EXPIRY, &n);
    space_count *counts = SEG_AT(st->s, st->s->l.counts, space_count);
    counts[segment_super(st->s)->db[0]].keys += 3;
    CHECK_STATUS(store_verify(st, false, &r, &last_error), FR_DAMAGED);
    CHECK(r.findings == 1 && strstr(r.first, "keys are counted"));
    CHECK_STATUS(store_verify(st, true, &r, &last_error), FR_OK);
    check_sound(st);
    uint64_t root = segment_stripe(st->s, 0)->root, page = (root & UINT32_MAX) << 4;
    if (root >> 32 & 63) page = (*SEG_AT(st->s, page, uint64_t) & UINT32_MAX) << 4;
    uint64_t prefix = (UINT64_C(1) << (root >> 32 & 63)) - 1;
    for (uint64_t *w = SEG_AT(st->s, page, uint64_t);; w++) {
        if (*w == 0 || (SLOT_TAG(*w) >> INDEX_PLACE_BITS & prefix)) continue; /* empty, or left behind by a split */
        *w ^= 4; /* names another block */
        break;
    }
    CHECK_STATUS(store_verify(st, false, &r, &last_error), FR_DAMAGED);
    CHECK(r.findings > 0 && r.first[0]);
    store_close(st);
}

/* The file is cut while a write is in its transaction: it must not be told that it succeeded. */
static int cut;
static fr_status put_and_cut(store *st, txn *t, op *o) {
    fr_status status = do_set(st, t, o);
    if (cut >= 0 && ftruncate(cut, 0) == 0) cut = -1;
    return status;
}
static void a_write_into_a_lost_file_fails(void) {
    char path[PLACE_MAX], file[PLACE_MAX + 16];
    store *st;
    bool created;
    place_new(path);
    snprintf(file, sizeof file, "%s/segment", path);
    segment_options o = {.size = 16u << 20, .create = true};
    CHECK_STATUS(store_open(file, &o, &st, &created, &last_error), FR_OK);
    cut = open(file, O_RDWR | O_CLOEXEC);
    int fd = cut;
    op w = {.run = put_and_cut, .name = "k", .value = text_of("v")};
    CHECK_STATUS(write_one(st, &w), FR_LOST);
    close(fd);
    store_close(st);
    unlink(file);
    strcat(file, ".lock");
    unlink(file);
    CHECK(rmdir(path) == 0);
}

/* An operation that never gets the room it wants, while somebody brings what can be given back each time. */
static struct {
    unsigned runs;
    char name[24]; /* of a key in another stripe */
} wish;

static fr_status do_wish(store *st, txn *t, op *o) {
    (void)t, (void)o;
    wish.runs++;
    how = (set_options){.expiry = NOW};
    op dead = {.run = do_put, .name = wish.name, .value = text_of("v")};
    stripe_set other;
    fr_error err;
    stripe_set_clear(&other);
    stripe_set_add(&other, 1);
    CHECK_STATUS(store_write(st, NOW - 1, UINT64_MAX, &other, run_op, &dead, &err), FR_OK);
    return FR_GROW;
}

static void room_that_is_never_enough_is_an_answer(void) {
    store *st = tiny();
    key k;
    int i = 0;
    do {
        snprintf(wish.name, sizeof wish.name, "dead%d", i++);
        CHECK_STATUS(key_route(st, 0, text_of(wish.name), &k, &last_error), FR_OK);
    } while (k.stripe != 1);
    op o = {.run = do_wish};
    char mine[24];
    do {
        snprintf(mine, sizeof mine, "mine%d", i++);
        CHECK_STATUS(key_route(st, 0, text_of(mine), &k, &last_error), FR_OK);
    } while (k.stripe != 0);
    o.name = mine;
    wish.runs = 0;
    CHECK_STATUS(write_one(st, &o), FR_OOM);
    printf("# asked %u times\n", wish.runs);
    CHECK(wish.runs > 2 && wish.runs < 2000 && stat_sum(st->s, STAT_oom_refusals) == 1);
    close_sound(st);
}

int main(void) {
    RUN(a_file_grows_to_its_limit);
    RUN(expired_keys_make_room_before_oom);
    RUN(flushed_keys_are_not_expired);
    RUN(a_write_into_a_lost_file_fails);
    RUN(room_that_is_never_enough_is_an_answer);
    RUN(verify_finds_and_repairs);
    return 0;
}
