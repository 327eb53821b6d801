/* harness.c - see harness.h. */
#include "harness.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "shm/segment_private.h"
#include "store/table.h"

static void give_up(const char *what, const fr_error *err) {
    fprintf(stderr, "crash harness: %s: %s\n", what, err->text);
    exit(2);
}

bool stage_proof(void) {
#if defined(FRIDGE_SAN) || defined(__SANITIZE_ADDRESS__)
    return false;
#else
    const char *proof = getenv("FRIDGE_PROOF");
    return proof && *proof;
#endif
}

geometry stage_geometry(void) {
    geometry g = layout_test();
    g.slots = 8;
    return g;
}

/* Every stage hashes alike, so that memory can be copied, and every run, so that a failure can be repeated. */
static void fix_secret(segment *s) {
    superblock *super = segment_super(s);
    for (unsigned i = 0; i < 4; i++) s->secret[i] = super->hash_secret[i] = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
    super->created_ms = 1;
    memset(super->uuid, 0x5a, sizeof super->uuid);
    super->checksum = layout_checksum(super);
}

/* The same memory, in a file. */
static void move_to_file(segment *s) {
    struct stat st;
    size_t bytes = s->g.max_size;
    fr_error why = {.text = "no file for the memory"};
    int fd = memfd_create("fridge-stage", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, s->base, bytes, 0) != (ssize_t)bytes || fstat(fd, &st) != 0) give_up("no stage", &why);
    if (mmap(s->base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) give_up("no stage", &why);
    s->priv->fd = fd;
    s->file_dev = st.st_dev;
    s->file_ino = st.st_ino;
}

void stage_open(stage *g, const geometry *geo) {
    fr_error err = {.text = ""};
    if (segment_anonymous(geo, &g->s, &err) != FR_OK) give_up("no segment", &err);
    fix_secret(g->s);
    move_to_file(g->s);
    g->a = (actor){.s = g->s, .now_ms = FIRST_NOW};
    stage_become(g, 1, 0);
    if (store_over(g->s, &g->a.st, &err) != FR_OK) give_up("no store", &err);
}

void stage_fresh(stage *g) {
    fr_error err = {.text = ""};
    store_catalogue_free(g->a.st);
    free(g->a.st);
    g->a.st = NULL;
    if (store_over(g->s, &g->a.st, &err) != FR_OK) {
        g->a.st = calloc(1, sizeof *g->a.st); /* reads will say what is wrong */
        g->a.st->s = g->s;
    }
}

size_t stage_length(const stage *g) {
    struct stat st;
    return fstat(g->s->priv->fd, &st) == 0 ? (size_t)st.st_size : 0;
}

void stage_copy(stage *g, const stage *from) {
    fr_error why = {.text = "its file cannot be cut"};
    if (g->length != from->length && ftruncate(g->s->priv->fd, (off_t)from->length) != 0) give_up("no stage", &why);
    g->length = from->length;
    memcpy(g->s->base, from->s->base, g->length);
    g->s->bound = segment_super(g->s)->size;
    g->s->pool_hint = 0;
}

void stage_load(stage *g, stage *from) {
    stage_measure(g);
    stage_measure(from);
    stage_copy(g, from);
    stage_fresh(g);
}

void stage_mourn(stage *g, unsigned dead) {
    for (uint32_t i = 1; i < g->s->g.slots; i++) segment_set_dead(g->s, i, dead >> i & 1);
}

void stage_become(stage *g, uint32_t slot, unsigned dead) {
    stage_mourn(g, dead);
    segment_become(g->s, slot, 1);
}

void stage_leave(stage *g) {
    *g->s->me = (identity){0, 0};
    g->s->stats = g->s->priv->idle_stats;
}

unsigned stage_dead(const stage *g) {
    unsigned dead = 0;
    for (uint32_t i = 1; i < g->s->g.slots; i++) dead |= (unsigned)(g->s->priv->dead[i] != 0) << i;
    return dead;
}

fr_status stage_recover(stage *g, uint32_t slot) {
    uint64_t state = SEG_AT(g->s, g->s->l.procs, proc)[slot].state;
    return segment_recover_slot(g->s, slot, (uint32_t)(state >> 2) & ((1u << LATCH_GEN_BITS) - 1), 0);
}

bool stage_at_rest(const stage *g) {
    for (uint32_t i = 0; i < g->s->l.latch_count; i++) {
        uint32_t word = __atomic_load_n(&segment_stripe(g->s, i)->latch, __ATOMIC_RELAXED);
        if (word && (LATCH_SLOT(word) == 0 || LATCH_SLOT(word) >= g->s->g.slots || !g->s->priv->dead[LATCH_SLOT(word)])) return false;
    }
    return true;
}

const char *stage_rest_error(stage *g) {
    static char text[64];
    for (uint32_t i = 0; i < g->s->l.latch_count; i++) {
        if (segment_stripe(g->s, i)->latch == 0 && (i >= g->s->g.stripes || txn_check(g->s, i, &g->a.err) == FR_OK)) continue;
        if (segment_stripe(g->s, i)->latch == 0) return g->a.err.text;
        snprintf(text, sizeof text, "latch %u is held: %x", i, segment_stripe(g->s, i)->latch);
        return text;
    }
    return NULL;
}

bool stage_committed(const stage *g) {
    for (uint32_t i = 0; i < g->s->g.stripes; i++)
        if (segment_stripe(g->s, i)->jstate & 0xffff) return true;
    return false;
}

uint64_t stage_folded(stage *g) {
    return stat_sum(g->s, STAT_expired_keys) + stat_sum(g->s, STAT_evicted_keys) + stat_sum(g->s, STAT_oom_refusals) +
           stat_sum(g->s, STAT_table_full_refusals);
}
