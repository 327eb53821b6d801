/* trial.c - see trial.h. Sections: geometries; reports; views; fills; a crash; a trial. */
#include "trial.h"

#include <stdlib.h>
#include <unistd.h>

#include "shm/segment_private.h"
#include "sights.h"
#include "store/string.h"
#include "store/table.h"

const operation operations[] = {
#define OPERATION(name, setup, script) {name, setup, script},
#include "operations.def"
};
const unsigned operation_count = FR_COUNTOF(operations);

const state states[] = {
#define STATE(name, before, after, evicts, pairs) {name, before, after, evicts, pairs},
#include "operations.def"
};
const unsigned state_count = FR_COUNTOF(states);

#define LEGAL_MAX 256
#define HEIR 7u   /* slot of who recovers in B; A's processes have lower ones */
#define SECOND 6u /* in C */

/* One (operation, state) under work. */
typedef struct trial {
    const operation *op;
    variant v;
    bool nested;
    tally *t;
    view legal[LEGAL_MAX];
    unsigned legal_n, reader_at, recovered_at; /* how far readers and recoveries have come */
    uint64_t store, recovery; /* where we are */
    unsigned target;          /* what recovery of this store found */
    uint64_t stored;          /* strides of B that its recovery has changed since the last of its stores */
    uint64_t began, counted;  /* statistics: before the operation, and what recovery must keep */
    uint32_t died;            /* the slot of the process that dies; 0: it never has one */
    unsigned dead;            /* slots of the dead, a bit each */
    unsigned ghosts;          /* those who were dead before the operation */
    uint32_t generation;      /* the greatest that its slot was seen with */
    bool moves;               /* the operation changes the process table */
    bool miscounted;          /* the setup made verify find something, which the operation is to mend */
} trial;

static stage A, B, C, S; /* S: as it was before the operation */
static stage blank;
static trial now; /* of this process */
static uint8_t *recovered;

/* --- geometries ------------------------------------------------------------------------------------------------------- */

static geometry geometry_of(unsigned i) {
    geometry g = stage_geometry();
    if (i == 1) g.max_size = 49152, g.page_size = 1024;
    if (i == 2) g.stripes = 4, g.max_size = 40960, g.journal_records = 24;
    if (i == 3) g.max_size = 36864, g.journal_records = 60, g.spaces = 40, g.tables = 4;
    return g;
}
static unsigned stage_of = UINT32_MAX; /* the geometry of A, B, C, S and blank */

static void use_geometry(unsigned i) {
    static stage kept[GEOMETRIES][5];
    stage *const all[] = {&A, &B, &C, &S, &blank};
    if (i == stage_of) return;
    geometry g = geometry_of(i);
    for (unsigned k = 0; k < 5; k++) {
        if (stage_of != UINT32_MAX) kept[stage_of][k] = *all[k];
        if (!kept[i][k].s) stage_open(&kept[i][k], &g);
        *all[k] = kept[i][k];
    }
    stage_of = i;
    recovered = realloc(recovered, stage_bytes(&A));
}

/* --- reports ---------------------------------------------------------------------------------------------------------- */

static void show(const char *what, stage *g) {
    digest d;
    uint64_t listed[DUMP_SLOTS];
    fprintf(stderr, "%s:\n", what);
    access_hook hook = fr_hook;
    fr_hook = NULL;
    if (g != &A) stage_fresh(g); /* A's may be at work */
    fr_status status = dump_rest(&g->a, &d, stderr);
    if (status != FR_OK) fprintf(stderr, "  unreadable: status %d %s\n", status, g->a.err.text);
    dump_processes(g->s, listed, stderr);
    fprintf(stderr, "  %llu bytes of %zu\n", (unsigned long long)segment_super(g->s)->size, stage_length(g));
    fr_hook = hook;
}

const char *trial_state(const variant *v) {
    static char text[160];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", v->st->name);
    if (v->history) n = (size_t)snprintf(text, sizeof text, "history %u", v->history);
    if (v->first) n += (size_t)snprintf(text + n, sizeof text - n, ", after %s", v->first->name);
    if (v->geometry && n < sizeof text) snprintf(text + n, sizeof text - n, ", geometry %u", v->geometry);
    return text;
}

const char *trial_where(void) {
    static char text[320];
    int n = snprintf(text, sizeof text, "%s | %s | store %llu", now.op->name, trial_state(&now.v), (unsigned long long)now.store);
    if (now.recovery) snprintf(text + n, sizeof text - (size_t)n, " recovery store %llu", (unsigned long long)now.recovery);
    return text;
}

static void fail(stage *g, const char *what, const char *more) {
    if (now.t->failed < 255) now.t->failed++;
    if (now.t->failed > 3) return;
    fprintf(stderr, "FAILED %s: %s %s\n", trial_where(), what, more ? more : "");
    if (g) show("it holds", g);
    if (now.t->failed > 1 || !g) return;
    stage_load(&C, &S);
    show("before", &C);
    fprintf(stderr, "setup: %s ; operation: %s\n", now.op->setup, now.op->script);
}

/* --- views ------------------------------------------------------------------------------------------------------------ */

/* Slots of `but` are not compared: somebody else has taken them, or is taking care of them. Those of `gone` may be empty in
 * y: whoever meets something of the dead recovers them. */
static bool same_but_for(const view *x, const view *y, unsigned but, unsigned gone) {
    for (uint32_t i = 1; i < DUMP_SLOTS; i++)
        if (!(but >> i & 1) && x->listed[i] != y->listed[i] && !(gone >> i & 1 && y->listed[i] == 0)) return false;
    return true;
}

static bool same_processes(const view *x, const view *y, unsigned but) { return same_but_for(x, y, but, 0); }

static bool same_at_rest(const view *x, const view *y, unsigned but) {
    return digest_eq(x->rest, y->rest) && x->size == y->size && x->settings == y->settings && same_processes(x, y, but);
}

/* The first legal state from `from` on that looks so to a reader. */
static unsigned legal_core(const view *v, unsigned from, unsigned but) {
    for (; from < now.legal_n; from++) {
        const view *l = &now.legal[from];
        if ((digest_eq(l->core, v->core) || digest_eq(l->raw, v->core)) && same_but_for(l, v, but, now.ghosts)) break;
    }
    return from;
}

static unsigned legal_rest(const view *v, unsigned from, unsigned but) {
    while (from < now.legal_n && !same_at_rest(&now.legal[from], v, but)) from++;
    return from;
}

/* --- fills ------------------------------------------------------------------------------------------------------------ */

static bool table_image_free(const table *tb, uint64_t off) {
    uint64_t image = (off - tb->rows_off) / tb->stride;
    if (off < tb->rows_off || image >= tb->images) return false;
    if (!(*SEG_AT(A.s, tb->bitmap_off + image / 64 * 8, uint64_t) >> (image & 63) & 1)) return true;
    for (uint32_t i = 0; i < tb->table_stripes; i++)
        if (*SEG_AT(A.s, tb->spares_off + 8 * (uint64_t)i, uint64_t) == image) return true;
    return false;
}

/* Does this byte lie in the directory of an index, behind the words that count? (index.h, DIRECTORY) */
static bool behind_directory(uint64_t root, uint64_t off) {
    uint64_t dir = (root & UINT64_C(0xffffffff)) << 4, depth = root >> 32 & 63;
    return depth && off >= dir + (UINT64_C(8) << depth) && off < dir + A.s->g.page_size;
}

static bool behind_tree_directory(uint64_t page, uint64_t off) {
    const uint64_t *head = SEG_AT(A.s, page, uint64_t);
    uint32_t size = heap_class_size(A.s, (unsigned)(head[0] >> 32 & 0xff)), blocks = (uint32_t)(head[0] >> 40 & 0xff);
    for (uint32_t i = 0; (head[0] & 0xffff) == 0xf41d && i < blocks; i++) {
        if (!(head[3 + i / 64] >> (i & 63) & 1)) continue;
        uint64_t block = page + 64 + (uint64_t)i * size, meta = *SEG_AT(A.s, block + BLOCK_META, uint64_t);
        if (META_KIND(meta) != KIND_TREE) continue;
        if (behind_directory(*SEG_AT(A.s, block + block_body_at(meta), uint64_t), off)) return true;
    }
    return false;
}

static bool directory_rest(uint64_t off) {
    for (uint32_t i = 0; i < A.s->g.stripes; i++)
        if (behind_directory(segment_stripe(A.s, i)->root, off)) return true;
    for (uint64_t page = A.s->l.data; page < segment_super(A.s)->size; page += A.s->g.page_size)
        if (behind_tree_directory(page, off)) return true;
    return false;
}

/* Is this byte of the data area part of nothing that is in use? heap.h says what pages look like. */
static bool byte_free(uint64_t off) {
    segment *s = A.s;
    uint64_t page = off / s->g.page_size, base = page * s->g.page_size;
    if (!(*SEG_AT(s, s->l.poolmap + page / 64 * 8, uint64_t) >> (page & 63) & 1)) return true;
    for (uint32_t i = 0; i < A.a.st->table_count; i++) {
        const table *tb = A.a.st->tables[i];
        if (tb && off >= tb->descriptor && off < tb->descriptor + tb->pages * s->g.page_size) return table_image_free(tb, off);
    }
    const uint64_t *head = SEG_AT(s, base, uint64_t);
    if ((head[0] & 0xffff) != 0xf41d || off < base + 64) return directory_rest(off);
    uint32_t size = heap_class_size(s, (unsigned)(head[0] >> 32 & 0xff)), block = (uint32_t)(off - base - 64) / (size ? size : 1);
    return size && !(head[3 + block / 64] >> (block & 63) & 1);
}

/* The journal of a stripe that somebody holds. */
static bool in_journal(uint64_t off, size_t n) {
    const layout *l = &A.s->l;
    if (off < l->latches || off >= l->latches + A.s->g.stripes * l->stripe_bytes) return false;
    uint64_t at = (off - l->latches) % l->stripe_bytes;
    const stripe *st = segment_stripe(A.s, (uint32_t)((off - l->latches) / l->stripe_bytes));
    return st->latch && at >= offsetof(stripe, journal) && at + n <= l->stripe_bytes;
}

static void check_fill(const void *addr, size_t n) {
    uint64_t off = (uint64_t)((const uint8_t *)addr - A.s->base);
    if (in_journal(off, n)) return;
    now.t->fills++;
    for (uint64_t i = 0; i < n; i += 16)
        if (off + i < A.s->l.data || !byte_free(off + i)) {
            char where[80];
            snprintf(where, sizeof where, "offset %llu, %zu bytes, page head %llx", (unsigned long long)off, n,
                     (unsigned long long)*SEG_AT(A.s, off & ~UINT64_C(511), uint64_t));
            return fail(NULL, "a fill touches a block in use:", where);
        }
    if (n && !byte_free(off + n - 1)) fail(NULL, "a fill's end touches a block in use", NULL);
}

/* --- a crash ------------------------------------------------------------------------------------------------------------ */

static void recover_all(stage *g, unsigned dead, const char *what) {
    for (uint32_t slot = DUMP_SLOTS; slot-- > 1;) /* the heir first: it is the later one */
        if (dead >> slot & 1 && stage_recover(g, slot) != FR_OK) fail(g, what, g->a.err.text);
}

/* What somebody sees who can only read. strides: see sight_of. */
static bool read_only(stage *g, uint64_t strides, unsigned from, unsigned but, unsigned *at) {
    sight *seen = sight_of(SIGHT_READING, g, strides);
    if (!seen->known) {
        stage_fresh(g);
        g->s->readonly = true;
        fr_status status = look_as_reader(g, &seen->v);
        g->s->readonly = false;
        if (status != FR_OK) return fail(g, "a reader failed:", g->a.err.text), false;
        seen->known = true;
    }
    *at = legal_core(&seen->v, from, but);
    if (*at < now.legal_n) return true;
    bool back = legal_core(&seen->v, 0, but) < now.legal_n;
    fail(g, back ? "a reader went back in time" : "a reader saw a state that never was", NULL);
    return false;
}

static bool verified(stage *g, const char *when) {
    verify_report report;
    fr_error err = {.text = ""};
    fr_status status = store_verify(g->a.st, false, &report, &err);
    if (status == FR_OK && report.findings == 0) return true;
    fail(g, when, err.text);
    return false;
}

/* The size is what there is memory for; the slot of the dead is free, and its generation stays used up. */
static bool whole_outside(stage *g) {
    uint64_t size = segment_super(g->s)->size;
    if (size > g->length || size % g->s->g.page_size) return fail(g, "the segment is longer than its file", NULL), false;
    if (!now.died) return true;
    uint64_t state = segment_proc(g->s, now.died)->state;
    if (STATE_KIND(state) != STATE_FREE) return fail(g, "the slot of the dead is not free", NULL), false;
    if (STATE_GEN(state) < now.generation) return fail(g, "a generation went back", NULL), false;
    return true;
}

/* What a recovery has made; NULL when that failed. */
static sight *recovered_sight(stage *g) {
    sight *made = sight_of(SIGHT_RESTING, g, SIGHTS_ALL);
    if (made->known) return made;
    const char *what = stage_rest_error(g);
    if (what) return fail(g, "not at rest after recovery:", what), NULL;
    stage_fresh(g);
    fr_status status = look_at_rest(g, &made->v);
    if (status != FR_OK) return fail(g, "unreadable after recovery:", g->a.err.text), NULL;
    made->known = true;
    return made;
}

/* At rest, whole, and in a legal state: what it was found to be, or NULL. */
static sight *settled(stage *g, unsigned from, unsigned but, unsigned *at) {
    sight *made = recovered_sight(g);
    if (!made) return NULL;
    *at = legal_rest(&made->v, from, but);
    if (*at < now.legal_n) {
        bool mended = !now.miscounted || (now.legal_n > 1 && *at + 1 == now.legal_n);
        if (mended && !made->verified) {
            stage_fresh(g);
            made->verified = verified(g, "verify after recovery:");
        }
        return whole_outside(g) && (!mended || made->verified) ? made : NULL;
    }
    bool back = legal_rest(&made->v, 0, but) < now.legal_n;
    fail(g, back ? "recovery went back in time" : "recovery made a state that never was", NULL);
    return NULL;
}

static void follow_up(stage *g) {
    static char scripts[GEOMETRIES][64], names[2][16]; /* to find such names takes as long as to write to them */
    char *script = scripts[stage_of];
    if (!*script) {
        for (int i = 0; i < 2; i++) script_name(g->s, i, -1, -1, 39, names[i]);
        snprintf(script, sizeof scripts[0], "SET %s follow; SET %s 12", names[0], names[1]);
    }
    fr_status status = script_run(&g->a, script);
    if (status != FR_OK && status != FR_OOM) fail(g, "a write after recovery failed:", g->a.err.text);
    if (!now.miscounted) verified(g, "verify after a write after recovery:");
}

static void twice(stage *g) {
    size_t bytes = stage_length(g);
    memcpy(recovered, g->s->base, bytes);
    recover_all(g, now.dead, "the second recovery failed");
    if (memcmp(recovered, g->s->base, bytes)) fail(g, "the second recovery changed something", NULL);
}

/* Somebody new comes: it gets the slot of the dead, as a life of its own. */
static void newcomer(void) {
    process_info info;
    stage_load(&C, &B);
    stage_become(&C, SECOND, 0);
    segment_proc(C.s, SECOND)->state = segment_proc(B.s, SECOND)->state;
    stage_leave(&C);
    uint32_t used = STATE_GEN(segment_proc(C.s, now.died)->state);
    if (segment_register(C.s, &C.a.err) != FR_OK) return fail(&C, "a newcomer could not register:", C.a.err.text);
    uint32_t slot = C.s->me->slot;
    if (slot != segment_process(C.s, slot, &info) || info.pid != (uint64_t)getpid() || !info.self || !info.start_time)
        return fail(&C, "a newcomer is not listed as it is", NULL);
    if (slot == now.died && info.gen != used + 1) return fail(&C, "a newcomer has got a generation that was used", NULL);
    if (stage_folded(&C) != now.counted) fail(&C, "a newcomer lost or doubled statistics", NULL);
    if (!now.miscounted) verified(&C, "verify after a newcomer:");
}

/* A process counts in its own cells without a hook. */
static uint64_t own_strides(const stage *g) { return sights_strides(g, g->s->stats, g->s->g.stat_cells * 8); }

/* C: the recoverer has died, too. */
static void dies_too(void) {
    unsigned at;
    now.recovery++;
    now.t->recoveries++;
    stage_copy(&C, &B);
    C.a.now_ms = A.a.now_ms;
    unsigned dead = now.dead | 1u << HEIR;
    stage_mourn(&C, dead);
    bool ok = read_only(&C, now.stored, now.reader_at, dead, &at);
    stage_become(&C, SECOND, dead);
    if (ok && at > now.target && !same_at_rest(&now.legal[at], &now.legal[now.target], dead))
        fail(&C, "a reader saw more than was recovered", NULL);
    recover_all(&C, dead, "recovery of a recovery failed:");
    if (stage_folded(&C) != now.counted) fail(&C, "recovery of a recovery lost or doubled statistics", NULL);
    if (settled(&C, now.target, dead | 1u << SECOND, &at) && at != now.target)
        fail(&C, "recovery of a recovery found something else", NULL);
    if (stage_folded(&C) != now.counted) fail(&C, "verify lost or doubled statistics", NULL);
}

static void on_recovery(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    if (kind == ACCESS_LD8) return;
    if (kind != ACCESS_TOUCH1) {
        fr_hook = NULL;
        dies_too();
        fr_hook = on_recovery;
        now.stored = own_strides(&B);
    }
    now.stored |= sights_strides(&B, addr, n);
}

/* Has every change of memory that this recovery has made been seen by a hook? */
static void check_hooks(void) {
    sight_of(SIGHT_READING, &B, now.stored);
    if (now.recovery && !sights_agree(SIGHT_READING, &B)) fail(&B, "recovery made a store that no hook saw", NULL);
}

static void recover_again(void) {
    stage_load(&B, &A);
    stage_become(&B, HEIR, now.dead);
    stage_measure(&C);
    now.recovery = 0;
    now.stored = SIGHTS_ALL;
    fr_hook = on_recovery;
    recover_all(&B, now.dead, "recovery failed:");
    fr_hook = NULL;
    check_hooks();
    if (stage_length(&B) != B.length || stage_length(&C) != C.length) fail(&B, "recovery changed the length of the file", NULL);
    now.recovery = 0;
}

static void note_generation(void) {
    uint32_t seen = now.died ? STATE_GEN(segment_proc(A.s, now.died)->state) : 0;
    if (seen < now.generation) fail(&A, "a generation went back before recovery", NULL);
    now.generation = seen;
}

/* Once more, and on from there. */
static void twice_and_on(sight *made) {
    unsigned failed = now.t->failed;
    stage_fresh(&B);
    twice(&B);
    if (now.moves) newcomer();
    follow_up(&B);
    made->followed = now.t->failed == failed;
}

/* A process died here. */
static void crash(void) {
    unsigned seen, found_at;
    now.store++;
    now.t->stores++;
    now.dead = stage_dead(&A) | (now.died ? 1u << now.died : 0);
    note_generation();
    stage_measure(&A);
    stage_measure(&B);
    stage_copy(&B, &A);
    B.a.now_ms = A.a.now_ms;
    stage_mourn(&B, now.dead);
    if (!read_only(&B, SIGHTS_ALL, now.reader_at, 0, &seen)) return;
    now.counted = stage_folded(&B);
    bool exact = !stage_committed(&B); /* a fold that is being applied has added and not yet subtracted */
    stage_become(&B, HEIR, now.dead);
    recover_all(&B, now.dead, "recovery failed:");
    stage_measure(&B);
    if (!exact) now.counted = stage_folded(&B);
    if (stage_folded(&B) != now.counted) fail(&B, "recovery lost or doubled statistics", NULL);
    if (stage_folded(&B) < now.began) fail(&B, "statistics have fallen", NULL);
    sight *made = settled(&B, now.recovered_at, now.dead | 1u << HEIR, &found_at);
    if (!made) return;
    if (found_at < seen && !same_at_rest(&now.legal[found_at], &now.legal[seen], now.dead | 1u << HEIR))
        fail(&B, "a reader saw what recovery took back", NULL);
    if (!made->followed || now.moves) twice_and_on(made);
    now.reader_at = seen;
    now.recovered_at = now.target = found_at;
    if (now.nested) recover_again();
}

static void on_store(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1 || now.t->failed > 3) return;
    fr_hook = NULL;
    if (kind == ACCESS_FILL) check_fill(addr, n);
    crash();
    fr_hook = on_store;
}

/* --- a trial -------------------------------------------------------------------------------------------------------------- */

/* What A shows its users, and what it would at rest: those who died before are recovered in the copy. */
static void note_legal(void) {
    view raw, v;
    unsigned dead = stage_dead(&A) & ~(1u << A.s->me->slot);
    stage_load(&C, &A);
    C.a.now_ms = A.a.now_ms;
    stage_mourn(&C, stage_dead(&A));
    if (look_as_reader(&C, &raw) != FR_OK) return fail(&C, "unreadable at rest:", C.a.err.text);
    if (dead) {
        stage_become(&C, SECOND, dead);
        recover_all(&C, dead, "recovery of those who died before failed:");
        stage_fresh(&C);
    }
    if (look_as_reader(&C, &v) != FR_OK || look_at_rest(&C, &v) != FR_OK) return fail(&C, "unreadable at rest:", C.a.err.text);
    memcpy(v.listed, raw.listed, sizeof v.listed);
    v.raw = raw.core;
    const view *last = now.legal_n ? &now.legal[now.legal_n - 1] : NULL;
    if (last && same_at_rest(last, &v, 0) && digest_eq(last->raw, v.raw)) return;
    if (now.legal_n == LEGAL_MAX) return fail(&C, "too many states between before and after", NULL);
    now.legal[now.legal_n++] = v;
}

static void on_learning(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    (void)addr;
    (void)n;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1 || !stage_at_rest(&A)) return;
    fr_hook = NULL;
    note_legal();
    fr_hook = on_learning;
}

static unsigned distinct_cores(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < now.legal_n; i++) n += i == 0 || !digest_eq(now.legal[i].core, now.legal[i - 1].core);
    return n;
}

/* Whoever is listed was so before, or is so after. */
static bool lists_nobody_else(void) {
    const view *before = &now.legal[0], *after = &now.legal[now.legal_n - 1];
    for (unsigned i = 0; i < now.legal_n; i++)
        for (uint32_t slot = 1; slot < DUMP_SLOTS; slot++) {
            uint64_t who = now.legal[i].listed[slot];
            if (who && who != before->listed[slot] && who != after->listed[slot]) return false;
        }
    return true;
}

static fr_status run(access_hook hook) {
    fr_hook = hook;
    fr_status status = script_run(&A.a, now.op->script);
    fr_hook = NULL;
    return status;
}

static bool evicts(void) {
    return now.v.st->evicts || strncmp(now.op->name, "evict", 5) == 0 || (now.v.first && strstr(now.v.first->setup, "POLICY"));
}

static fr_status learn(void) {
    uint32_t slot = A.s->me->slot;
    now.legal_n = 0;
    note_legal();
    fr_status status = run(on_learning);
    if (!stage_at_rest(&A)) fail(&A, "a latch is left", NULL);
    note_legal();
    now.died = slot ? slot : A.s->me->slot;
    now.moves = !same_processes(&now.legal[0], &now.legal[now.legal_n - 1], 0);
    unsigned dead = stage_dead(&A);
    stage_load(&C, &A);
    stage_become(&C, SECOND, dead);
    verified(&C, "verify after the operation:");
    if (!evicts() && distinct_cores() > 2) fail(&A, "the operation is not atomic", NULL);
    if (!evicts() && status != FR_OK && distinct_cores() > 1) fail(&A, "a refused operation changed something", NULL);
    if (!lists_nobody_else()) fail(&A, "the process table lists what never was a process", NULL);
    return status;
}

static void prepare(void) {
    char line[64];
    script_run(&A.a, "WALL");
    script_run(&A.a, now.v.st->before);
    if (now.v.history) {
        snprintf(line, sizeof line, "RANDOM %u %u", now.v.history, 10 + now.v.history % 4 * 8);
        script_run(&A.a, line);
    }
    if (now.v.first) {
        script_run(&A.a, now.v.first->setup);
        script_run(&A.a, now.v.first->script);
    }
    script_unmet = 0;
    script_run(&A.a, now.op->setup);
    script_run(&A.a, now.v.st->after);
    script_run(&A.a, "STAT 2 3; STAT 5 7");
}

/* The registration of A's process, and who is alive, are not in the segment's memory. */
typedef struct outside {
    identity me;
    uint64_t *stats, idle[16];
    unsigned dead;
} outside;

static outside keep_outside(void) {
    outside o = {*A.s->me, A.s->stats, {0}, stage_dead(&A)};
    memcpy(o.idle, A.s->priv->idle_stats, A.s->g.stat_cells * 8);
    return o;
}

static void rewind_to(const outside *o) {
    stage_load(&A, &S);
    *A.s->me = o->me;
    A.s->stats = o->stats;
    memcpy(A.s->priv->idle_stats, o->idle, A.s->g.stat_cells * 8);
    for (uint32_t i = 1; i < A.s->g.slots; i++) segment_set_dead(A.s, i, o->dead >> i & 1);
}

/* A refused operation proves little: in the empty state only these are. */
static bool may_refuse(void) {
    static const char *const words[] = {"refused", "full", "overflow", "dead", "different"};
    for (size_t i = 0; i < FR_COUNTOF(words); i++)
        if (strstr(now.op->name, words[i])) return true;
    return false;
}

/* The bytes before the operation, without what the machine's clocks have left there: two states are not two because they
 * were made in different milliseconds. */
static digest start_digest(void) {
    size_t bytes = stage_length(&S);
    memcpy(recovered, S.s->base, bytes);
    superblock *super = (superblock *)recovered;
    super->wall_offset_ms = (super->wall_offset_ms - segment_super(blank.s)->wall_offset_ms + 60000) / 120000;
    for (uint32_t i = 0; i < S.s->g.slots; i++) {
        proc *p = (proc *)(recovered + S.s->l.procs) + i;
        p->attached_ms = p->attached_ms > FIRST_NOW;
    }
    return sights_digest(recovered, bytes);
}

/* Has an earlier variant of this operation begun with the same bytes? An operation's variants are one worker's (enumerate.c),
 * so that this is all there is to know. */
static bool met_before(const outside *o) {
    static struct {
        digest *start;
        unsigned n, room;
    } all[FR_COUNTOF(operations)], *met;
    met = &all[now.op - operations];
    uint64_t rest[8] = {stage_of, o->dead, o->me.word, A.a.now_ms, stage_length(&S)};
    digest d = start_digest(), more = sights_digest(rest, sizeof rest);
    d = (digest){d.a ^ more.a * 3, d.b ^ more.b * 5};
    for (unsigned i = 0; i < met->n; i++)
        if (digest_eq(met->start[i], d)) return true;
    if (met->n == met->room) {
        met->room = met->room ? 2 * met->room : 16;
        met->start = realloc(met->start, met->room * sizeof d);
    }
    met->start[met->n++] = d;
    return false;
}

static void check_runs(fr_status first, fr_status second) {
    view v;
    bool plain = now.v.st == &states[0] && !now.v.history && !now.v.first && !now.v.geometry;
    now.t->refused = first != FR_OK;
    if (plain && script_unmet) fail(&A, "the operation did not do what it should", NULL);
    if (plain && first != FR_OK && !may_refuse()) fail(&A, "the operation did nothing:", A.a.err.text);
    if (getenv("FRIDGE_TRACE")) {
        printf("%s | %s | status %d | %u legal, %u cores | slot %u | %llu stores, %llu recovery stores, %llu fills\n", now.op->name,
               trial_state(&now.v), first, now.legal_n, distinct_cores(), now.died, (unsigned long long)now.t->stores,
               (unsigned long long)now.t->recoveries, (unsigned long long)now.t->fills);
        fflush(stdout);
    }
    if (now.t->failed) return;
    if (first != second) fail(&A, "two runs differ", NULL);
    stage_load(&C, &A);
    stage_become(&C, SECOND, stage_dead(&A));
    recover_all(&C, stage_dead(&A) & ~(1u << A.s->me->slot), "recovery of those who died before failed:");
    stage_fresh(&C);
    C.a.now_ms = A.a.now_ms;
    unsigned but = stage_dead(&A) | 1u << SECOND;
    if (look_at_rest(&C, &v) != FR_OK || !same_at_rest(&now.legal[now.legal_n - 1], &v, but))
        fail(&A, "the second run ended elsewhere", NULL);
}

void trial_run(const operation *op, variant v, bool nested, tally *t) {
    now = (trial){.op = op, .v = v, .nested = nested, .t = t};
    sights_forget();
    use_geometry(now.v.geometry);
    stage_load(&A, &blank);
    stage_become(&A, 1, 0);
    A.a.now_ms = FIRST_NOW;
    A.a.db = 0;
    prepare();
    stage_load(&S, &A);
    outside o = keep_outside();
    if (met_before(&o)) {
        now.t->same = true;
        return;
    }
    now.ghosts = o.dead;
    now.miscounted = strncmp(now.op->name, "repair", 6) == 0;
    stage_load(&C, &S);
    stage_become(&C, SECOND, o.dead);
    recover_all(&C, o.dead & ~(1u << o.me.slot), "recovery of those who died before failed:");
    if (!now.miscounted && !verified(&C, "verify after the setup:")) return;
    rewind_to(&o);
    fr_status first = learn();
    rewind_to(&o);
    now.generation = 0;
    now.began = stage_folded(&A);
    fr_status second = run(on_store);
    check_runs(first, second);
}
