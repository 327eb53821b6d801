/* test_journal.c - the redo journal on its own: what is found in it, what is believed of it, and replays that begin anew.
 *
 * The segment is the smallest one (layout_test): 12 records fit a stripe, 31 a page. Records are written here as a
 * transaction or a scribbler would; transactions themselves are test_txn.c's.
 */
#include <setjmp.h>

#include "check.h"
#include "shm/journal.h"

#define PAGE 512u
#define SPILLED 70u /* records of a journal of three pages */
#define TXNID (UINT64_C(7) << 16)

static fr_error err;
static segment *s;
static stripe *st; /* number 1, whose journal the tests write */

static void begin(void) {
    geometry g = layout_test();
    CHECK_STATUS(segment_anonymous(&g, &s, &err), FR_OK);
    st = segment_stripe(s, 1);
}

static uint64_t word_at(uint64_t off) { return *SEG_AT(s, off, uint64_t); }

static uint64_t offset_of(const void *p) { return (uint64_t)((const uint8_t *)p - s->base); }

/* The i-th word of the last page: no page of a spilled journal. */
static uint64_t free_word(uint32_t i) { return s->g.max_size - PAGE + i * 8; }

static uint64_t spill_page(uint32_t i) { return s->l.data + (i + 2) * PAGE; }

static void commit(const record *rec, uint32_t n) {
    memcpy(st->journal, rec, n * sizeof *rec);
    st->jstate = TXNID | n;
}

/* Records [0, n) give word i % 60 of the last page the value 1000 + i. */
static void commit_spilled(uint32_t n) {
    record rec[SPILLED];
    for (uint32_t i = 0; i < n; i++) rec[i] = (record){free_word(i % 60), 1000 + i};
    journal_spill to = journal_spill_begin(s, st, rec, n);
    for (uint32_t page = 0; to.done < n; page++) CHECK(journal_spill_page(&to, spill_page(page)));
    st->jstate = TXNID | JOURNAL_SPILLED;
}

/* --- found in it ------------------------------------------------------------------------------------------------- */

static void the_last_record_of_a_word_counts(void) {
    begin();
    uint64_t a = free_word(0), b = free_word(1), value;
    commit((record[]){{a, 1}, {b | RECORD_VERSION, 2}, {a, 3}, {b | RECORD_VERSION, 4}}, 4);
    CHECK(journal_find(s, 1, st->jstate, a, &value) && value == 3);
    CHECK(journal_find(s, 1, st->jstate, b, &value) && value == 4);
    CHECK(!journal_find(s, 1, st->jstate, free_word(2), &value));
    CHECK(!journal_find(s, 1, JSTATE_CLEAN(st->jstate), a, &value));
    CHECK_STATUS(journal_recover(s, 1), FR_OK);
    CHECK(word_at(a) == 3 && word_at(b) == 4 && st->jstate == TXNID);
    segment_close(s);
}

typedef struct seen {
    uint32_t n;
    bool in_order;
} seen;

static void see(void *ctx, const record *r) {
    seen *all = ctx;
    all->in_order &= r->target == free_word(all->n % 60) && r->value == 1000 + all->n;
    all->n++;
}

static void a_spilled_journal_is_read_in_the_order_it_was_written(void) {
    const uint32_t lengths[] = {13, 31, 32, 61, 62, 63, SPILLED}; /* 31 fill a page */
    for (size_t i = 0; i < FR_COUNTOF(lengths); i++) {
        uint32_t n = lengths[i];
        seen all = {0, true};
        uint64_t value;
        begin();
        commit_spilled(n);
        CHECK(st->jspill == spill_page(0) && st->jcount == n);
        CHECK(journal_each(s, 1, st->jstate, see, &all) && all.n == n && all.in_order);
        CHECK(journal_find(s, 1, st->jstate, free_word(0), &value) && value == (n > 60 ? 1060 : 1000));
        CHECK_STATUS(journal_recover(s, 1), FR_OK);
        CHECK(word_at(free_word(0)) == value && word_at(free_word(12)) == 1012 && st->jstate == TXNID);
        segment_close(s);
    }
}

static void nothing_is_spilled_beyond_the_file(void) {
    begin();
    record one = {free_word(0), 1};
    journal_spill to = journal_spill_begin(s, st, &one, 1);
    CHECK(!journal_spill_page(&to, s->g.max_size) && to.done == 0 && st->jspill == 0 && st->jcount == 0);
    segment_close(s);
}

/* --- the three passes -------------------------------------------------------------------------------------------- */

static record mixed[] = {{0, 21}, {0, 20}, {0, 22}, {0, 5 << 8}}; /* word, version, word, cell: see mix */
static uint64_t odd_too_late, thawed_too_early;

static void mix(void) {
    for (uint32_t i = 0; i < 4; i++) mixed[i].target = free_word(2 + i);
    mixed[1].target |= RECORD_VERSION;
    mixed[3].target |= RECORD_CELL;
    *SEG_AT(s, free_word(5), uint64_t) = CELL_FROZEN;
    st->intent[0] = free_word(4); /* a cell's value, its state behind it */
    st->intents = 1;
}

static bool mixed_settled(void) {
    return word_at(free_word(2)) == 21 && word_at(free_word(3)) == 20 && word_at(free_word(4)) == 22 &&
           word_at(free_word(5)) == 5 << 8 && st->jstate == TXNID && st->intents == 0;
}

static void at_pass(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)n;
    if (kind != ACCESS_ST8) return;
    uint64_t off = offset_of(addr);
    bool plain = off == free_word(2) || off == free_word(4);
    odd_too_late += plain && !(word_at(free_word(3)) & 1);
    thawed_too_early += JSTATE_COUNT(st->jstate) && !(word_at(free_word(5)) & CELL_FROZEN);
}

static void versions_are_odd_first_and_cells_thaw_last(void) {
    for (int replayed = 0; replayed < 2; replayed++) {
        begin();
        mix();
        commit(mixed, 4);
        odd_too_late = thawed_too_early = 0;
        fr_hook = at_pass;
        if (replayed) {
            CHECK_STATUS(journal_recover(s, 1), FR_OK);
        } else {
            journal_apply(s, mixed, 4);
            CHECK(word_at(free_word(5)) == (5 << 8 | CELL_FROZEN));
            st8(&st->jstate, JSTATE_CLEAN(st->jstate));
            journal_thaw(s, st);
        }
        fr_hook = NULL;
        CHECK(mixed_settled() && odd_too_late == 0 && thawed_too_early == 0);
        segment_close(s);
    }
}

static jmp_buf death;
static uint32_t stores_left;

static void at_death(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)addr, (void)n;
    if (kind == ACCESS_ST8 && stores_left-- == 0) longjmp(death, 1);
}

/* Before each of its stores: a version odd, two words, a version even, a cell, jstate, the thaw, the intents. */
static void a_replay_that_dies_is_begun_anew(void) {
    volatile uint32_t deaths = 0;
    for (volatile uint32_t k = 0; k < 20; k++) {
        begin();
        mix();
        commit(mixed, 4);
        stores_left = k;
        fr_hook = at_death;
        if (setjmp(death) == 0) journal_recover(s, 1);
        else deaths++;
        fr_hook = NULL;
        CHECK_STATUS(journal_recover(s, 1), FR_OK);
        CHECK(mixed_settled());
        segment_close(s);
    }
    CHECK(deaths == 8);
}

/* --- what is believed -------------------------------------------------------------------------------------------- */

/* A journal of one good record and one that is `target`, or of `count` and `jspill` that cannot be. */
typedef struct scribble {
    const char *what;
    uint64_t target;
    uint32_t n;
    uint64_t jspill, jcount;
} scribble;

static void refuse(const scribble *j, bool forgiven) {
    st->jstate = TXNID | j->n;
    st->jspill = j->jspill;
    st->jcount = j->jcount;
    st->journal[0] = (record){free_word(0), 77};
    st->journal[1] = (record){j->target, 88};
    segment_super(s)->damaged = forgiven ? DAMAGE_FORGIVEN : 0;
    uint8_t *before = malloc(s->g.max_size);
    memcpy(before, s->base, s->g.max_size);
    uint64_t at = offset_of(&segment_super(s)->damaged), want = 2;
    if (forgiven) {
        at = offset_of(&st->jstate);
        want = TXNID;
    }
    memcpy(before + at, &want, 8);
    fr_status status = journal_recover(s, 1);
    if (status != (forgiven ? FR_OK : FR_DAMAGED)) fprintf(stderr, "%s: status %d\n", j->what, (int)status);
    CHECK_STATUS(status, forgiven ? FR_OK : FR_DAMAGED);
    if (memcmp(before, s->base, s->g.max_size)) fprintf(stderr, "%s: something else changed\n", j->what);
    CHECK(memcmp(before, s->base, s->g.max_size) == 0);
    free(before);
}

static void what_cannot_be_is_damage_and_changes_nothing(void) {
    begin();
    const stripe *other = segment_stripe(s, 0);
    uint64_t pages = spill_page(0);
    const scribble all[] = {
        {"the immutable half", 8, 2, 0, 0},
        {"the process table", s->l.procs, 2, 0, 0},
        {"a notify entry", s->l.notify, 2, 0, 0},
        {"an access byte", s->l.access, 2, 0, 0},
        {"a latch", offset_of(&other->latch), 2, 0, 0},
        {"a clock", offset_of(&other->clock), 2, 0, 0},
        {"another journal's state", offset_of(&other->jstate), 2, 0, 0},
        {"the number of intents", offset_of(&other->intents), 2, 0, 0},
        {"an intent", offset_of(&other->intent[0]), 2, 0, 0},
        {"another journal's record", offset_of(&other->journal[0]), 2, 0, 0},
        {"the last latch", offset_of(segment_stripe(s, s->l.latch_count - 1)), 2, 0, 0},
        {"beyond the file", s->g.max_size, 2, 0, 0},
        {"the end of all offsets", UINT64_MAX - 15, 2, 0, 0},
        {"a kind that is none", free_word(1) | 3, 2, 0, 0},
        {"more records than fit", free_word(1), s->g.journal_records + 1, 0, 0},
        {"no page", 0, JOURNAL_SPILLED, 0, 1},
        {"a page amid another", 0, JOURNAL_SPILLED, pages + 16, 1},
        {"a page beyond the file", 0, JOURNAL_SPILLED, s->g.max_size, 1},
        {"a page of the head", 0, JOURNAL_SPILLED, PAGE, 1},
        {"more records than pages hold", 0, JOURNAL_SPILLED, pages, s->l.pages * 31 + 1},
        {"a next page amid another", 0, JOURNAL_SPILLED, pages, 32},
    };
    *SEG_AT(s, pages, uint64_t) = pages + 16; /* amid this very page: there would be records */
    for (uint32_t i = 0; i < 31; i++) SEG_AT(s, pages + 16, record)[i] = (record){free_word(i), 99};
    for (size_t i = 0; i < FR_COUNTOF(all); i++) {
        refuse(&all[i], false);
        refuse(&all[i], true);
    }
    segment_close(s);
}

static void words_that_transactions_change_are_believed(void) {
    begin();
    stripe *other = segment_stripe(s, 0);
    uint64_t targets[] = {
        offset_of(&segment_super(s)->size), s->l.stats,  offset_of(&other->trash),      offset_of(&other->root),
        offset_of(&other->seq),             s->l.spaces, offset_of(&other->partial[0]), offset_of(&other->stamp[STAMPS - 1]),
        s->l.counts,                        s->l.tables, s->l.poolmap,                  s->l.data,
    };
    record rec[FR_COUNTOF(targets)];
    for (uint32_t i = 0; i < FR_COUNTOF(targets); i++) rec[i] = (record){targets[i], 1000 + i};
    commit(rec, FR_COUNTOF(targets));
    CHECK_STATUS(journal_recover(s, 1), FR_OK);
    for (uint32_t i = 0; i < FR_COUNTOF(targets); i++) CHECK(word_at(targets[i]) == 1000 + i);
    segment_close(s);
}

/* Believed as a whole, then one record's word is another record: it is looked at again before it is stored. */
static void a_journal_that_rewrites_itself_reaches_nothing_forbidden(void) {
    begin();
    commit_spilled(2);
    record *own = SEG_AT(s, spill_page(0) + 16, record);
    own[0] = (record){offset_of(&own[1].target), 8};
    own[1] = (record){free_word(0), 66};
    uint64_t version = word_at(8);
    CHECK_STATUS(journal_recover(s, 1), FR_OK);
    CHECK(own[1].target == 8 && word_at(8) == version && word_at(free_word(0)) == 0 && st->jstate == TXNID);
    segment_close(s);
}

static void intents_that_cannot_be_are_passed_over(void) {
    begin();
    uint64_t hostile[] = {8, free_word(1), s->g.max_size, UINT64_MAX - 15};
    for (uint32_t i = 0; i < 4; i++) st->intent[i] = hostile[i];
    st->intent[4] = free_word(6);
    *SEG_AT(s, free_word(7), uint64_t) = 0x300 | CELL_FROZEN;
    st->intents = 1000; /* more than there are */
    CHECK_STATUS(journal_recover(s, 1), FR_OK);
    CHECK(word_at(free_word(7)) == 0x300 && st->intents == 0 && word_at(8) != 0);
    segment_close(s);
}

int main(void) {
    RUN(the_last_record_of_a_word_counts);
    RUN(a_spilled_journal_is_read_in_the_order_it_was_written);
    RUN(nothing_is_spilled_beyond_the_file);
    RUN(versions_are_odd_first_and_cells_thaw_last);
    RUN(a_replay_that_dies_is_begun_anew);
    RUN(what_cannot_be_is_damage_and_changes_nothing);
    RUN(words_that_transactions_change_are_believed);
    RUN(a_journal_that_rewrites_itself_reaches_nothing_forbidden);
    RUN(intents_that_cannot_be_are_passed_over);
    return 0;
}
