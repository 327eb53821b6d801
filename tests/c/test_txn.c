/* test_txn.c - write sets, rollback, spilled journals, isolation of several keys, latches that are held, recovery. */
#include "shm/recovery.h"
#include "store_fixture.h"

typedef struct pair {
    const char *value;
    char a[64], b[64];
    bool differ;
} pair;

static fr_status put(store *st, txn *t, const char *name, const char *value) {
    key k;
    set_options plain = {.condition = SET_ALWAYS};
    set_result r;
    fr_status status = key_route(st, 0, text_of(name), &k, t->err);
    return status == FR_OK ? str_set(st, t, &k, text_of(value), &plain, &r) : status;
}
static fr_status get(store *st, txn *t, const char *name, char out[64]) {
    key k;
    value v;
    bool found;
    fr_status status = key_route(st, 0, text_of(name), &k, t->err);
    if (status == FR_OK) status = str_get(st, t, &k, &v, &found);
    memset(out, 0, 64);
    if (status != FR_OK || !found || v.n >= 64) return status;
    return value_copy(t->s, &v, 0, v.n, out);
}
static fr_status put_both(store *st, txn *t, void *ctx) {
    pair *p = ctx;
    fr_status status = put(st, t, "first", p->value);
    return status == FR_OK ? put(st, t, "second", p->value) : status;
}
static fr_status get_both(store *st, txn *t, void *ctx) {
    pair *p = ctx;
    fr_status status = get(st, t, "first", p->a);
    return status == FR_OK ? get(st, t, "second", p->b) : status;
}
static fr_status write_both(store *st, const char *value) {
    pair p = {.value = value};
    stripe_set all;
    store_all_stripes(st, &all);
    return store_write(st, NOW, UINT64_MAX, &all, put_both, &p, &last_error);
}

static void look_at_both(store *st, void *ctx) {
    pair *p = ctx;
    CHECK_STATUS(store_read(st, NOW, NULL, get_both, p, &last_error), FR_OK);
    if (strcmp(p->a, p->b)) p->differ = true;
}

/* Two keys in two stripes, a reader at every store: never one new and one old. */
static void several_keys_change_at_one_instant(void) {
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    pair seen = {.differ = false};
    CHECK_STATUS(write_both(st, "short"), FR_OK);
    const char *values[] = {"a value of another size class, longer", "17", "x", "a value of another size class, again!"};
    for (int i = 0; i < 4; i++) {
        pair p = {.value = values[i]};
        stripe_set all;
        store_all_stripes(st, &all);
        interleaving w = {.st = st, .look = look_at_both, .ctx = &seen};
        fr_hook = at_store, fr_hook_ctx = &w;
        CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, put_both, &p, &last_error), FR_OK);
        fr_hook = NULL;
        CHECK(w.stores > 20 && !seen.differ);
    }
    close_sound(st);
}

/* More records than are merged, and all of them in the stripe's own journal: 40 values of one key, in place. */
#define TIMES 40
static fr_status put_often(store *st, txn *t, void *ctx) {
    char value[16];
    fr_status status = FR_OK;
    (void)ctx;
    for (int i = 1; i <= TIMES && status == FR_OK; i++) {
        snprintf(value, sizeof value, "value %02d", i);
        status = put(st, t, "k", value);
    }
    CHECK(t->n > TXN_INLINE && t->n < t->s->g.journal_records);
    return status;
}

static fr_status get_k(store *st, txn *t, void *ctx) { return get(st, t, "k", ctx); }

static void look_at_k(store *st, void *ctx) {
    char value[64];
    unsigned *seen = ctx;
    CHECK_STATUS(store_read(st, NOW, NULL, get_k, value, &last_error), FR_OK);
    seen[0] += strcmp(value, "value 00") == 0;
    seen[1] += strcmp(value, "value 40") == 0;
    seen[2]++;
}

/* Readers see the last value or the one before all of them, never one in between. */
static void one_key_changes_many_times_at_one_instant(void) {
    geometry g = layout_default(16u << 20);
    g.journal_records = 200;
    store *st = store_with(&g);
    unsigned seen[3] = {0};
    stripe_set all;
    CHECK_STATUS(write_op(st, &(op){.run = do_set, .name = "k", .value = text_of("value 00")}), FR_OK);
    store_all_stripes(st, &all);
    interleaving w = {.st = st, .look = look_at_k, .ctx = seen};
    fr_hook = at_store, fr_hook_ctx = &w;
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, put_often, NULL, &last_error), FR_OK);
    fr_hook = NULL;
    CHECK(seen[0] > 0 && seen[1] > 80 && seen[0] + seen[1] == seen[2]);
    close_sound(st);
}

static fr_status own_writes(store *st, txn *t, void *ctx) {
    char out[64];
    (void)ctx;
    CHECK_STATUS(put(st, t, "k", "one two three four five six seven"), FR_OK);
    CHECK_STATUS(get(st, t, "k", out), FR_OK);
    CHECK(strcmp(out, "one two three four five six seven") == 0);
    CHECK_STATUS(put(st, t, "k", "ONE two three four five six seven"), FR_OK); /* in place, of a block of this very txn */
    CHECK_STATUS(get(st, t, "k", out), FR_OK);
    CHECK(strncmp(out, "ONE", 3) == 0);
    uint32_t mark = txn_mark(t);
    CHECK_STATUS(put(st, t, "k", "two"), FR_OK);
    txn_rollback(t, mark);
    CHECK_STATUS(get(st, t, "k", out), FR_OK);
    CHECK(strncmp(out, "ONE", 3) == 0);
    return FR_OK;
}

static void a_transaction_sees_its_own_writes_and_rolls_back_to_a_mark(void) {
    store *st = big_store();
    stripe_set all;
    char out[64];
    store_all_stripes(st, &all);
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, own_writes, NULL, &last_error), FR_OK);
    pair p;
    (void)p;
    txn t;
    txn_init(&t, st->s, &last_error);
    txn_begin_read(&t, NOW);
    CHECK_STATUS(get(st, &t, "k", out), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    CHECK(strncmp(out, "ONE", 3) == 0);
    close_sound(st);
}

/* Words that nobody else uses: the counts of spaces that are free. */
static uint64_t spare_word(const segment *s, unsigned i) { return s->l.counts + (s->g.spaces - 1 - i) * sizeof(space_count); }

/* More records than the write set has without chains, of words of their own. */
static void crowd(txn *t) {
    for (unsigned i = 0; t->n <= TXN_INLINE + 8; i++) txn_put(t, t->s->l.data + i * 8, txn_ld(t, t->s->l.data + i * 8));
}

static fr_status put_over_and_back(store *st, txn *t, void *ctx) {
    uint64_t a = spare_word(st->s, 0), b = spare_word(st->s, 1);
    (void)ctx;
    crowd(t);
    uint32_t n = t->n;
    for (uint64_t i = 1; i <= 1000; i++) txn_put_over(t, a, i);
    CHECK(t->n == n + 1 && txn_ld(t, a) == 1000);
    uint32_t mark = txn_mark(t);
    txn_put_over(t, a, 2000); /* what was before the mark stays as it was, */
    txn_put_over(t, a, 2001);
    txn_put_over(t, b, 1);
    txn_put_over(t, b, 2);
    CHECK(t->n == mark + 2 && txn_ld(t, a) == 2001 && txn_ld(t, b) == 2);
    txn_rollback(t, mark); /* and is there again */
    CHECK(t->n == mark && txn_ld(t, a) == 1000 && txn_ld(t, b) == 0);
    txn_put_over(t, a, 3);
    txn_put(t, b, 6);
    txn_put_over(t, b, 7);
    CHECK(txn_ld(t, a) == 3 && txn_ld(t, b) == 7 && txn_ever(t, b) == 7);
    txn_put(t, b, 0);
    txn_put_over(t, b, 8); /* over the 0 only: that the word held 7 is still known */
    CHECK(txn_ld(t, b) == 8 && txn_ever(t, b) == 15);
    txn_put_over(t, a, 0);
    txn_put(t, b, 0);
    return FR_OK;
}

static void a_word_put_over_is_one_record_and_rolls_back(void) {
    store *st = big_store();
    stripe_set all;
    store_all_stripes(st, &all);
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, put_over_and_back, NULL, &last_error), FR_OK);
    CHECK(ld8(SEG_AT(st->s, spare_word(st->s, 0), uint64_t)) == 0 && ld8(SEG_AT(st->s, spare_word(st->s, 1), uint64_t)) == 0);
    close_sound(st);
}

static fr_status many(store *st, txn *t, void *ctx) {
    char name[24];
    for (int i = 0; i < *(int *)ctx; i++) {
        snprintf(name, sizeof name, "many:%d", i);
        fr_status status = put(st, t, name, "value");
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static void thousands_of_records_spill_and_commit_at_once(void) {
    store *st = big_store();
    stripe_set all;
    int n = 5000;
    store_all_stripes(st, &all);
    uint64_t before = pages_used(st);
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, many, &n, &last_error), FR_OK);
    CHECK(exists(st, "many:0") && exists(st, "many:4999") && pages_used(st) > before);
    close_sound(st);
}

/* Invariant 3 of journal.h: as long as records lie in pages that are marked free, nobody else can take those pages. */
static unsigned spilled, unguarded;
static void at_spilled(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    segment *s = ((store *)ctx)->s;
    (void)addr, (void)n;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    for (uint32_t i = 0; i < s->g.stripes; i++) {
        if ((segment_stripe(s, i)->jstate & 0xffff) != JOURNAL_SPILLED) continue;
        spilled++;
        unguarded += ld4(&segment_stripe(s, segment_pool_latch(s))->latch) != s->me->word;
    }
}

static void spilled_records_are_guarded_by_the_page_pool(void) {
    store *st = big_store();
    stripe_set all;
    int n = 20;
    store_all_stripes(st, &all);
    CHECK_STATUS(write_both(st, "w"), FR_OK); /* pages for the blocks are there: the pool is taken for the journal only */
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, many, &n, &last_error), FR_OK);
    fr_hook = at_spilled, fr_hook_ctx = st;
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, many, &n, &last_error), FR_OK);
    fr_hook = NULL;
    CHECK(spilled > 30 && unguarded == 0);
    close_sound(st);
}

/* A live owner is never robbed; a dead one is recovered by whoever waits. */
static void latches_of_the_living_and_of_the_dead(void) {
    store *st = big_store();
    uint64_t now = clock_boot_ms();
    pair p = {.value = "v"};
    stripe_set all;
    store_all_stripes(st, &all);
    uint32_t me = st->s->me->word;
    segment_become(st->s, 2, 1);
    CHECK(latch_try(st->s, 3));
    segment_become(st->s, 3, 1);
    CHECK_STATUS(store_write(st, now, 5, &all, put_both, &p, &last_error), FR_LATCHED);
    CHECK(strstr(last_error.text, "slot 2") != NULL);
    CHECK(!exists(st, "first"));
    segment_set_dead(st->s, 2, true);
    CHECK_STATUS(store_write(st, now, 2000, &all, put_both, &p, &last_error), FR_OK);
    CHECK(exists(st, "first"));
    segment_become(st->s, LATCH_SLOT(me), LATCH_GEN(me));
    close_sound(st);
}

static void a_scribbled_journal_is_damage_not_a_crash(void) {
    store *st = big_store();
    stripe *s0 = segment_stripe(st->s, 0);
    s0->latch = LATCH_WORD(2, 1);
    s0->journal[0].target = 8; /* the superblock's immutable half */
    s0->journal[0].value = 0;
    s0->jstate = (s0->jstate & ~UINT64_C(0xffff)) + (1 << 16 | 1);
    CHECK_STATUS(recovery_run(st->s, 2, 1), FR_DAMAGED);
    CHECK(segment_super(st->s)->magic == LAYOUT_MAGIC && segment_super(st->s)->damaged == 1);
    CHECK_STATUS(write_both(st, "v"), FR_DAMAGED);
    store_close(st);
}

/* A journal of one record, or one that claims `count`, in the hands of a dead process; it is refused, and nothing stored. */
static void refused_journal(uint64_t (*target)(store *st), uint32_t count, uint64_t spill, uint64_t spilled) {
    store *st = big_store();
    stripe *s0 = segment_stripe(st->s, 0);
    uint64_t at = target(st), before = *SEG_AT(st->s, at & ~UINT64_C(7), uint64_t);
    s0->latch = LATCH_WORD(2, 1);
    uint32_t n = st->s->g.journal_records, end = count == n + 1 ? n + 1 : n; /* what lies behind would be believable, too */
    for (uint32_t i = 0; i < end; i++) s0->journal[i] = (record){at, before ^ 2};
    s0->jspill = spill;
    s0->jcount = spilled;
    s0->jstate = (s0->jstate & ~UINT64_C(0xffff)) + (1 << 16 | count);
    CHECK_STATUS(recovery_run(st->s, 2, 1), FR_DAMAGED);
    CHECK(segment_super(st->s)->damaged == 1 && *SEG_AT(st->s, at & ~UINT64_C(7), uint64_t) == before);
    store_close(st);
}

static uint64_t a_latch(store *st) { return st->s->l.latches + st->s->l.stripe_bytes; }
static uint64_t a_commit_word(store *st) { return st->s->l.latches + st->s->l.stripe_bytes + offsetof(stripe, jstate); }
static uint64_t a_process(store *st) { return st->s->l.procs + sizeof(proc); }
static uint64_t a_notify_word(store *st) { return st->s->l.notify; }
static uint64_t an_access_byte(store *st) { return st->s->l.access; }
static uint64_t of_no_kind(store *st) { return st->s->l.data | 7; }
static uint64_t sound(store *st) { return st->s->l.data; }

static void journals_that_cannot_be_are_refused(void) {
    uint64_t (*const target[])(store *) = {a_latch, a_commit_word, a_process, a_notify_word, an_access_byte, of_no_kind};
    for (size_t i = 0; i < FR_COUNTOF(target); i++) refused_journal(target[i], 1, 0, 0);
    geometry g = layout_default(256u << 20);
    refused_journal(sound, g.journal_records + 1, 0, 0);
    refused_journal(sound, JOURNAL_SPILLED, 8, 1);                  /* no page begins there */
    refused_journal(sound, JOURNAL_SPILLED, g.max_size, 1);         /* no page is there */
    refused_journal(sound, JOURNAL_SPILLED, 0, UINT64_C(1) << 60);  /* so many there cannot be */
}

/* Two spill pages, of which the first names as the second what is none. */
static void a_chain_of_spill_pages_that_leaves_the_segment_is_damage(void) {
    uint64_t nowhere[] = {8, UINT64_C(1) << 40, UINT64_MAX & ~UINT64_C(4095)};
    for (size_t i = 0; i < FR_COUNTOF(nowhere); i++) {
        store *st = big_store();
        stripe *s0 = segment_stripe(st->s, 0);
        uint64_t page = (segment_super(st->s)->size / st->s->g.page_size - 2) * st->s->g.page_size, at = page - 8;
        uint32_t per_page = (st->s->g.page_size - 16) / sizeof(record);
        s0->latch = LATCH_WORD(2, 1);
        *SEG_AT(st->s, page, uint64_t) = nowhere[i];
        for (uint32_t r = 0; r < per_page; r++) SEG_AT(st->s, page + 16, record)[r] = (record){at, 2};
        s0->jspill = page;
        s0->jcount = per_page + 1;
        s0->jstate = (s0->jstate & ~UINT64_C(0xffff)) + (1 << 16 | JOURNAL_SPILLED);
        CHECK_STATUS(recovery_run(st->s, 2, 1), FR_DAMAGED);
        CHECK(*SEG_AT(st->s, at, uint64_t) == 0);
        store_close(st);
    }
}

/* Whoever is going to wait marks a notify entry, then looks at the value. A writer that looked at marks before the unlock's
 * full barrier could miss one whose owner has missed its store. */
typedef struct bells {
    store *st;
    unsigned looks, early;
} bells;

static void at_bells(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    bells *b = ctx;
    segment *s = b->st->s;
    const char *at = addr, *entries = SEG_AT(s, s->l.notify, const char);
    bool anybody = addr == &segment_super(s)->doorbells;
    (void)n;
    if (kind != ACCESS_LD8 || !(anybody || (at >= entries && at < entries + s->g.notify_words * sizeof(cell16)))) return;
    b->looks += anybody;
    for (uint32_t i = 0; i < b->st->s->l.latch_count; i++) b->early += ld4(&segment_stripe(b->st->s, i)->latch) != 0;
}

static void waiters_are_looked_for_after_the_unlock(void) {
    store *st = big_store();
    bells b = {.st = st};
    op o = {.run = do_set, .name = "k", .value = text_of("v")};
    key k;
    CHECK_STATUS(key_route(st, 0, text_of("k"), &k, &last_error), FR_OK);
    const uint64_t *entry = SEG_AT(st->s, st->s->l.notify, uint64_t) + 2 * (k.hash & (st->s->g.notify_words - 1));
    for (unsigned waiting = 0; waiting < 2; waiting++) {
        uint64_t before = *entry;
        if (waiting) before = wait_mark(st->s, k.hash).seen;
        fr_hook = at_bells, fr_hook_ctx = &b;
        CHECK_STATUS(write_one(st, &o), FR_OK);
        fr_hook = NULL;
        CHECK(b.looks == waiting + 1 && b.early == 0);
        CHECK((*entry != before) == waiting);
    }
    close_sound(st);
}

int main(void) {
    RUN(waiters_are_looked_for_after_the_unlock);
    RUN(several_keys_change_at_one_instant);
    RUN(one_key_changes_many_times_at_one_instant);
    RUN(a_transaction_sees_its_own_writes_and_rolls_back_to_a_mark);
    RUN(a_word_put_over_is_one_record_and_rolls_back);
    RUN(thousands_of_records_spill_and_commit_at_once);
    RUN(spilled_records_are_guarded_by_the_page_pool);
    RUN(latches_of_the_living_and_of_the_dead);
    RUN(a_scribbled_journal_is_damage_not_a_crash);
    RUN(journals_that_cannot_be_are_refused);
    RUN(a_chain_of_spill_pages_that_leaves_the_segment_is_damage);
    return 0;
}
