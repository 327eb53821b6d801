/* harness.c - see harness.h. */
#include "harness.h"

#include <stdlib.h>

#include "store/table.h"

static void give_up(const char *what, const fr_error *err) {
    fprintf(stderr, "crash harness: %s: %s\n", what, err->text);
    exit(2);
}

void stage_open(stage *g) {
    geometry geo = layout_test();
    fr_error err = {.text = ""};
    if (segment_anonymous(&geo, &g->s, &err) != FR_OK) give_up("no segment", &err);
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

void stage_load(stage *g, const void *from) {
    memcpy(g->s->base, from, stage_bytes(g));
    g->s->bound = segment_super(g->s)->size;
    g->s->pool_hint = 0;
    stage_fresh(g);
}

void stage_become(stage *g, uint32_t slot, unsigned dead) {
    for (uint32_t i = 1; i < g->s->g.slots; i++) segment_set_dead(g->s, i, dead >> i & 1);
    segment_become(g->s, slot, 1);
}

fr_status stage_recover(stage *g, uint32_t slot) {
    uint64_t state = SEG_AT(g->s, g->s->l.procs, proc)[slot].state;
    return segment_recover_slot(g->s, slot, (uint32_t)(state >> 2) & ((1u << LATCH_GEN_BITS) - 1), 0);
}

bool stage_at_rest(const stage *g) {
    for (uint32_t i = 0; i < g->s->l.latch_count; i++)
        if (__atomic_load_n(&segment_stripe(g->s, i)->latch, __ATOMIC_RELAXED)) return false;
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
