/* sights.c - see sights.h. Sections: looks; imprints; sights. */
#include "sights.h"

#include <stdlib.h>

/* --- looks ------------------------------------------------------------------------------------------------------------ */

/* What takes no look at keys. */
static void look_around(stage *g, view *v) {
    v->size = segment_super(g->s)->size;
    v->settings = segment_super(g->s)->settings_version;
    dump_processes(g->s, v->listed, NULL);
}

fr_status look_as_reader(stage *g, view *v) {
    look_around(g, v);
    return dump_core(&g->a, &v->core, NULL);
}

fr_status look_at_rest(stage *g, view *v) {
    look_around(g, v);
    return dump_rest(&g->a, &v->rest, NULL);
}

/* --- imprints --------------------------------------------------------------------------------------------------------- */

#define LINE 64u
#define STRIDE_OF(length) ((length) / STRIDES) /* compared at once: whole lines, because lengths are multiples of 4 KiB */

/* The sum of the hashes of a memory's lines, and the memory that it is the sum of. */
typedef struct imprint {
    uint8_t *bytes;
    size_t length, room;
    digest sum;
} imprint;

static uint64_t fold(uint64_t x, uint64_t y) {
    unsigned __int128 product = (unsigned __int128)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Two hashes of a line and its place, with other constants and other pairs of words. */
static digest line_hash(uint64_t place, const uint8_t *line) {
    uint64_t w[LINE / 8], s = fold(place ^ UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db)),
             t = fold(place ^ UINT64_C(0x8ebc6af09c88c6e3), UINT64_C(0x589965cc75374cc3));
    memcpy(w, line, LINE);
    uint64_t a = fold(w[0] ^ UINT64_C(0x2d358dccaa6c78a5), w[1] ^ s) ^ fold(w[2] ^ UINT64_C(0x8bb84b93962eacc9), w[3] ^ ~s);
    uint64_t b = fold(w[0] ^ UINT64_C(0x9fb21c651e98df25), w[4] ^ t) ^ fold(w[1] ^ UINT64_C(0xd6e8feb86659fd93), w[5] ^ ~t);
    a = fold(a ^ w[4] ^ UINT64_C(0x4b33a62ed433d4a3), w[5] ^ s) ^ fold(w[6] ^ UINT64_C(0x4d5a2da51de1aa47), w[7] ^ ~s);
    b = fold(b ^ w[2] ^ UINT64_C(0x1d8e4e27c47d124f), w[6] ^ t) ^ fold(w[3] ^ UINT64_C(0xeb44accab455d165), w[7] ^ ~t);
    return (digest){fold(a ^ s, UINT64_C(0x9e3779b97f4a7c15)), fold(b ^ t, UINT64_C(0xc2b2ae3d27d4eb4f))};
}

digest sights_digest(const void *bytes, size_t n) {
    digest sum = {0, 0};
    for (size_t at = 0; at < n; at += LINE) {
        digest one = line_hash(at, (const uint8_t *)bytes + at);
        sum.a += one.a;
        sum.b += one.b;
    }
    return sum;
}

static void imprint_stride(imprint *i, const uint8_t *base, size_t at) {
    for (size_t end = at + STRIDE_OF(i->length); at < end; at += LINE) {
        if (memcmp(i->bytes + at, base + at, LINE) == 0) continue;
        digest old = line_hash(at, i->bytes + at), new = line_hash(at, base + at);
        i->sum.a += new.a - old.a;
        i->sum.b += new.b - old.b;
        memcpy(i->bytes + at, base + at, LINE);
    }
}

/* Memory of another length begins with zeros, whose lines count as well. */
static void imprint_begin(imprint *i, size_t length) {
    if (length > i->room) {
        i->bytes = realloc(i->bytes, length);
        i->room = length;
    }
    if (!i->bytes) abort();
    memset(i->bytes, 0, length);
    i->length = length;
    i->sum = sights_digest(i->bytes, length);
}

static void imprint_take(imprint *i, const stage *g, uint64_t strides) {
    if (g->length != i->length) {
        imprint_begin(i, g->length);
        strides = SIGHTS_ALL;
    }
    for (size_t n = STRIDE_OF(i->length); strides; strides &= strides - 1) {
        size_t at = (size_t)__builtin_ctzll(strides) * n;
        if (memcmp(i->bytes + at, g->s->base + at, n)) imprint_stride(i, g->s->base, at);
    }
}

uint64_t sights_strides(const stage *g, const void *at, size_t n) {
    size_t stride = STRIDE_OF(g->length), from = (size_t)((const uint8_t *)at - g->s->base), to = from + (n ? n - 1 : 0);
    if (from >= g->length) return 0; /* of the process, not of the segment: the next byte of it dies of SIGBUS */
    if (to >= g->length) to = g->length - 1;
    return SIGHTS_ALL >> (STRIDES - 1 - to / stride) & SIGHTS_ALL << from / stride;
}

/* --- sights ----------------------------------------------------------------------------------------------------------- */

static uint64_t trials;
static imprint imprints[SIGHT_KINDS];

void sights_forget(void) { trials++; }

bool sights_agree(enum sight_kind kind, const stage *g) {
    return g->length == imprints[kind].length && memcmp(imprints[kind].bytes, g->s->base, g->length) == 0;
}

sight *sight_of(enum sight_kind kind, const stage *g, uint64_t strides) {
    static sight sights[SIGHT_KINDS][SIGHTS];
    imprint *i = &imprints[kind];
    imprint_take(i, g, strides);
    uint64_t all[LINE / 8] = {i->sum.a, i->sum.b, i->length, g->s->bound, g->s->pool_hint,
                              (uint64_t)g->s->me->word << 32 | stage_dead(g), g->a.now_ms, trials};
    digest key = line_hash(UINT64_MAX, (const uint8_t *)all);
    sight *at = &sights[kind][key.a % SIGHTS];
    if (!at->known || !digest_eq(at->key, key)) *at = (sight){.key = key};
    return at;
}
