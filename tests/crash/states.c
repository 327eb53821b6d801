/* states.c - see states.h. Sections: filling; keys and histories; the file; processes; dispatch. */
#include "states.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/clock.h"
#include "shm/heap.h"
#include "shm/index.h"
#include "shm/segment_private.h"
#include "shm/wait.h"
#include "store/keyspace.h"

/* --- filling ---------------------------------------------------------------------------------------------------------- */

static unsigned quad_free(actor *a, uint32_t stripe, const char *name) {
    txn t;
    probe p;
    unsigned n = 0;
    txn_init(&t, a->s, &a->err);
    txn_begin_read(&t, a->now_ms);
    uint64_t root = a->s->l.latches + stripe * a->s->l.stripe_bytes + offsetof(struct stripe, root);
    uint64_t hash = key_hash(a->s, FIELD_SPACE, (span){name, strlen(name)});
    if (!index_probe(&t, root, INDEX_TAG(hash), &p)) return 32;
    for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
        probe own; /* a word that a split left behind is a free slot: its tag leads elsewhere */
        uint64_t word = txn_ld(&t, p.quad + i * 8);
        n += word == 0 || !index_probe(&t, root, SLOT_TAG(word), &own) || own.quad != p.quad;
    }
    return n;
}

static fr_status fill_one(actor *a, const char *name, const char *value) {
    char line[1100];
    snprintf(line, sizeof line, "SET %s %s", name, value);
    return script_run(a, line);
}

/* Names from 100 on: operations take theirs from the beginning. With one prefix bit they stay together when split. They
 * have an expiry, because an insertion that has that to store too leaves the splitting to the next one (index.c). */
static fr_status fill_quad(actor *a, int stripe, int quad, unsigned left, int bit) {
    char name[16], line[64];
    for (unsigned i = 100; i < 200; i++) {
        script_name(a->s, stripe, quad, bit, i, name);
        if (quad_free(a, (uint32_t)stripe, name) <= left) return FR_OK;
        snprintf(line, sizeof line, "SET %s 1 PXAT 99000000000", name);
        fr_status status = script_run(a, line);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static bool partial_room(actor *a, uint32_t stripe, unsigned class) {
    return segment_stripe(a->s, stripe)->partial[class] != 0;
}

/* Takes every free block of the small classes of a stripe that have a page. */
static fr_status fill_slabs(actor *a, int stripe) {
    char name[16], value[256];
    unsigned n = 100;
    for (unsigned c = 0; heap_class_size(a->s, c); c++) {
        memset(value, 'f', sizeof value);
        value[heap_class_size(a->s, c) - 16 - 8] = 0;
        while (partial_room(a, (uint32_t)stripe, c) && n < 200) {
            script_name(a->s, stripe, -1, -1, n++, name);
            fr_status status = fill_one(a, name, value);
            if (status != FR_OK) return status;
        }
    }
    return FR_OK;
}

static uint64_t pages_free(segment *s) {
    return segment_super(s)->size / s->g.page_size - s->l.data / s->g.page_size - segment_super(s)->pool_used;
}

/* Nobody lets the file grow meanwhile. */
static fr_status fill_pool(actor *a, uint64_t left) {
    char name[16];
    int fd = a->s->priv->fd;
    a->s->priv->fd = -1;
    for (unsigned i = 300; i < 400 && pages_free(a->s) > left; i++) {
        script_name(a->s, -1, -1, -1, i, name);
        uint64_t had = pages_free(a->s);
        fr_status status = fill_one(a, name, had - left > 4 ? "p*1900" : "p*300");
        if ((status != FR_OK && status != FR_OOM) || pages_free(a->s) == had) break;
    }
    a->s->priv->fd = fd;
    return FR_OK;
}

/* Pages taken one by one and given back with a gap after each: no run of two is left. */
static fr_status fragment(actor *a, unsigned n) {
    char name[16], line[64];
    fr_status status = FR_OK;
    for (unsigned i = 0; i < 60; i++) {
        script_name(a->s, -1, -1, -1, 400 + i, name);
        snprintf(line, sizeof line, "SET %s p*300", name);
        if (script_run(a, line) != FR_OK) break;
    }
    for (unsigned i = 0; i < 2 * n && status == FR_OK; i += 2) {
        script_name(a->s, -1, -1, -1, 400 + i, name);
        snprintf(line, sizeof line, "DEL %s", name);
        status = script_run(a, line);
    }
    return status;
}

/* --- keys and histories ----------------------------------------------------------------------------------------------- */

static fr_status add_fields(actor *a, span k, unsigned n, span v) {
    char line[512], name[16];
    fr_status status = FR_OK;
    for (unsigned i = 0; i < n && status == FR_OK; i++) {
        script_name(a->s, -1, 0, 0, i, name);
        snprintf(line, sizeof line, "HSET %.*s %s %.*s", (int)k.n, k.p, name, (int)v.n, v.p);
        status = script_run(a, line);
    }
    return status;
}

static fr_status add_keys(actor *a, int stripe, unsigned n, span v) {
    char line[512], name[16];
    fr_status status = FR_OK;
    for (unsigned i = 0; i < n && status == FR_OK; i++) {
        script_name(a->s, stripe, -1, -1, 40 + i, name);
        snprintf(line, sizeof line, "SET %s %.*s", name, (int)v.n, v.p);
        status = script_run(a, line);
    }
    return status;
}

static unsigned pick(uint64_t *seed, unsigned n) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*seed >> 33) % n;
}

/* A history: n commands on names from 60 on; what fails, fails. */
static fr_status random_history(actor *a, uint64_t seed, unsigned n) {
    static const char *const forms[] = {"SET %s v*%u", "SET %s %u", "INCR %s %u", "APPEND %s w*%u", "DEL %s", "HSET %s f%u x",
                                        "HSET %s g*%u y", "HDEL %s f%u", "SET %s t PXAT 9%03u", "EXPIRE %s 9%010u", "COPEN %s %u",
                                        "RENAME %s k%u", "COPY %s k%u", "SETRANGE %s %u zz"};
    char line[128], name[16];
    for (unsigned i = 0; i < n; i++) {
        script_name(a->s, -1, -1, -1, 60 + pick(&seed, 12), name);
        snprintf(line, sizeof line, forms[pick(&seed, FR_COUNTOF(forms))], name, 1 + pick(&seed, 90));
        script_run(a, line);
    }
    return FR_OK;
}

/* --- the file --------------------------------------------------------------------------------------------------------- */

/* Cuts the file behind the last page in use, so that what needs one more makes the segment grow. Not while somebody's journal
 * lies in pages that are marked free (journal.h). */
static fr_status shrink(actor *a) {
    segment *s = a->s;
    if (ld4(&segment_stripe(s, segment_pool_latch(s))->latch)) return FR_LATCHED;
    const uint64_t *map = SEG_AT(s, s->l.poolmap, uint64_t);
    uint64_t pages = segment_super(s)->size / s->g.page_size;
    while (pages > s->l.data / s->g.page_size + 1 && !(map[(pages - 1) / 64] >> ((pages - 1) & 63) & 1)) pages--;
    uint64_t size = FR_ALIGN(pages * s->g.page_size, system_page());
    if (size > s->g.max_size) size = s->g.max_size;
    segment_super(s)->size = s->bound = size;
    return ftruncate(s->priv->fd, (off_t)size) == 0 ? FR_OK : FR_SYSTEM;
}

/* The offset between the clocks that somebody found an hour ago. */
static fr_status set_wall(actor *a) { return segment_super(a->s)->wall_offset_ms -= 3600000, FR_OK; }

/* What somebody leaves who dies between taking memory and saying so. */
static fr_status extend(actor *a) { return ftruncate(a->s->priv->fd, (off_t)a->s->g.max_size) == 0 ? FR_OK : FR_SYSTEM; }

static fr_status miscount(actor *a, uint64_t stripe) {
    space_count *c = SEG_AT(a->s, a->s->l.counts, space_count) + stripe * a->s->g.spaces + 1;
    c->keys += 3;
    c->expires += 1;
    return FR_OK;
}

/* --- processes -------------------------------------------------------------------------------------------------------- */

/* Another process now, while what the old one left stays. */
static fr_status forget(actor *a) {
    *a->s->me = (identity){0, 0};
    a->s->stats = a->s->priv->idle_stats;
    return FR_OK;
}

static struct {
    segment *s;
    uint64_t left; /* stores */
    bool committed; /* count only those after the commit */
    jmp_buf death;
} ghost;

static bool any_committed(segment *s) {
    for (uint32_t i = 0; i < s->g.stripes; i++)
        if (segment_stripe(s, i)->jstate & 0xffff) return true;
    return false;
}

static void on_ghost(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    (void)addr;
    (void)n;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1 || (ghost.committed && !any_committed(ghost.s))) return;
    if (ghost.left-- > 1) return;
    fr_hook = NULL;
    longjmp(ghost.death, 1);
}

/* Words: slot, [+]stores, command. */
static fr_status haunt(actor *a, const span *w, size_t n) {
    uint32_t slot = (uint32_t)word_number(w[0]);
    identity me = *a->s->me;
    uint64_t *stats = a->s->stats;
    if (n < 3) return FR_SYNTAX;
    ghost.s = a->s;
    ghost.committed = w[1].p[0] == '+';
    ghost.left = (uint64_t)word_number(w[1]);
    segment_become(a->s, slot, me.slot == slot ? LATCH_GEN(me.word) : 1);
    if (setjmp(ghost.death) == 0) {
        fr_hook = on_ghost;
        script_words(a, w + 2, n - 2);
        fr_hook = NULL;
    }
    clock_pretended = 0; /* he may have died in a call that sets it: doors.c */
    segment_set_dead(a->s, slot, true);
    *a->s->me = me;
    a->s->stats = stats;
    return FR_OK;
}

/* Words: slot, command: somebody else runs it, and lives. */
static fr_status as_another(actor *a, const span *w, size_t n) {
    identity me = *a->s->me;
    uint64_t *stats = a->s->stats;
    if (n < 2) return FR_SYNTAX;
    segment_become(a->s, (uint32_t)word_number(w[0]), 1);
    fr_status status = script_words(a, w + 1, n - 1);
    *a->s->me = me;
    a->s->stats = stats;
    return status;
}

/* --- dispatch --------------------------------------------------------------------------------------------------------- */

static fr_status about_the_store(actor *a, const span *w, size_t n, int64_t one, int64_t two, bool *known) {
    span name = w[0];
    if (word_is(name, "FILLQUAD")) return fill_quad(a, (int)one, (int)two, (unsigned)word_number(w[3]), (int)word_number(w[4]));
    if (word_is(name, "FRAGMENT")) return fragment(a, (unsigned)one);
    if (word_is(name, "FILLSLABS")) return fill_slabs(a, (int)one);
    if (word_is(name, "FILLPOOL")) return fill_pool(a, (uint64_t)one);
    if (word_is(name, "FIELDS")) return add_fields(a, w[1], (unsigned)two, w[3]);
    if (word_is(name, "KEYS")) return add_keys(a, (int)one, (unsigned)two, w[3]);
    if (word_is(name, "RANDOM")) return random_history(a, (uint64_t)one, (unsigned)two);
    if (word_is(name, "SHRINK")) return shrink(a);
    if (word_is(name, "EXTEND")) return extend(a);
    if (word_is(name, "SETWALL")) return set_wall(a);
    if (word_is(name, "MISCOUNT")) return miscount(a, (uint64_t)one);
    if (word_is(name, "FORGET")) return forget(a);
    if (word_is(name, "GHOST")) return haunt(a, w + 1, n - 1);
    if (word_is(name, "AS")) return as_another(a, w + 1, n - 1);
    *known = false;
    return FR_OK;
}

/* Sleepers and event loops, for every key there may be. */
static void everybody_waits(segment *s) {
    for (uint32_t i = 0; i < s->g.notify_words; i++) {
        wait_mark(s, i);
        if (s->me->word) wait_mark_doorbell(s, i);
        SEG_AT(s, s->l.notify, cell16)[i].state = UINT64_MAX; /* the filter lets all keys pass */
    }
}

fr_status states_word(actor *a, const span *w, size_t n, bool *known) {
    int64_t one = n > 1 ? word_number(w[1]) : 0, two = n > 2 ? word_number(w[2]) : 0;
    *known = true;
    if (word_is(w[0], "NOW")) return a->now_ms = (uint64_t)one, FR_OK;
    if (word_is(w[0], "DB")) return a->db = (uint32_t)one, FR_OK;
    if (word_is(w[0], "STAT")) return stat_add(a->s, (unsigned)one, (uint64_t)two), FR_OK;
    if (word_is(w[0], "WAITERS")) return everybody_waits(a->s), FR_OK;
    if (word_is(w[0], "POLICY")) {
        segment_super(a->s)->shared_settings[SETTING_POLICY] = (uint64_t)one;
        segment_super(a->s)->shared_settings[SETTING_SAMPLES] = 5;
        return FR_OK;
    }
    return about_the_store(a, w, n, one, two, known);
}
