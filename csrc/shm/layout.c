/* layout.c - offsets from a geometry, the geometries that fridge uses, and the two check sums of the superblock.
 *
 * Invariant: every product below fits 64 bits, because layout_compute bounds each factor before it multiplies; a
 * hostile superblock cannot make an offset wrap. Leaves out: reading or writing a file (segment.c).
 */
#include "shm/layout.h"

#include <stdio.h>

#define MAX_SIZE_LIMIT (UINT64_C(64) << 30) /* a slot word addresses 2^32 units of 16 bytes */
#define METADATA_SHARE 8                    /* metadata of a default segment takes at most 1/8 of it */

static fr_status refuse(fr_error *err, const char *what, uint64_t value, const char *right) {
    if (!err) return FR_ARGUMENT;
    snprintf(err->text, sizeof err->text, "%s is %llu; it must be %s", what, (unsigned long long)value, right);
    return err->status = FR_ARGUMENT;
}

static bool power_of_two(uint64_t n) { return n && !(n & (n - 1)); }
static bool within(uint64_t n, uint64_t low, uint64_t high) { return n >= low && n <= high; }

static fr_status check_numbers(const geometry *g, fr_error *err) {
    if (!power_of_two(g->page_size) || !within(g->page_size, 512, 4096))
        return refuse(err, "page_size", g->page_size, "512, 1024, 2048 or 4096");
    if (!within(g->max_size, 16 * g->page_size, MAX_SIZE_LIMIT) || g->max_size % g->page_size)
        return refuse(err, "the maximal size", g->max_size, "a multiple of the page size, 16 pages to 64 GiB");
    if (!power_of_two(g->stripes) || g->stripes > 4096)
        return refuse(err, "stripes", g->stripes, "a power of two, at most 4096");
    if (!within(g->slots, 2, 4095)) return refuse(err, "slots", g->slots, "2 to 4095");
    if (!within(g->journal_records, 12, 1024)) return refuse(err, "journal_records", g->journal_records, "12 to 1024");
    if (!within(g->spaces, 24, 1024)) return refuse(err, "spaces", g->spaces, "24 to 1024");
    if (!within(g->tables, 1, 1024)) return refuse(err, "tables", g->tables, "1 to 1024");
    if (!power_of_two(g->notify_words) || g->notify_words > 1u << 20)
        return refuse(err, "notify_words", g->notify_words, "a power of two, at most 1048576");
    if (!power_of_two(g->access_bytes) || !within(g->access_bytes, 64, 1u << 30))
        return refuse(err, "access_bytes", g->access_bytes, "a power of two, 64 to 1073741824");
    if (!within(g->stat_cells, 1, 65536)) return refuse(err, "stat_cells", g->stat_cells, "1 to 65536");
    return FR_OK;
}

static uint64_t region(uint64_t *end, uint64_t bytes) {
    uint64_t at = FR_ALIGN(*end, 64);
    *end = at + bytes;
    return at;
}

/* Every 16 bytes up to 256 (waste at most 15), then what divides 4032 bytes into 14, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2. At
 * least two blocks must fit a page. */
static void size_classes(const geometry *g, layout *l) {
    static const uint16_t sizes[SIZE_CLASSES] = {32,  48,  64,  80,  96,  112, 128, 144, 160, 176, 192, 208, 224, 240,
                                                 256, 288, 336, 352, 400, 448, 496, 576, 672, 800, 1008, 1344, 2016};
    uint32_t room = g->page_size - PAGE_HEAD, unit = 0;
    for (uint32_t c = 0; c < SIZE_CLASSES && sizes[c] && 2u * sizes[c] <= room; c++) {
        l->class_size[c] = sizes[c];
        l->class_blocks[c] = (uint8_t)(room / sizes[c]);
        l->class_inverse[c] = ((1u << 20) + sizes[c] - 1) / sizes[c];
        for (; unit <= sizes[c] / 16u; unit++) l->class_of[unit] = (uint8_t)c;
    }
    for (; unit < CLASS_UNITS; unit++) l->class_of[unit] = CLASS_RUN;
}

static void place(const geometry *g, layout *l) {
    uint64_t end = sizeof(superblock);
    l->pages = g->max_size / g->page_size;
    l->latch_count = g->stripes + POOL_LATCHES + 1;
    l->stripe_bytes = FR_ALIGN(sizeof(stripe) + (uint64_t)g->journal_records * sizeof(struct record), 64);
    l->procs = region(&end, (uint64_t)g->slots * sizeof(proc));
    l->stats = region(&end, (UINT64_C(1) + g->slots) * g->stat_cells * 8);
    l->latches = region(&end, l->latch_count * l->stripe_bytes);
    l->spaces = region(&end, (uint64_t)g->spaces * 8);
    l->counts = region(&end, (uint64_t)g->stripes * g->spaces * sizeof(space_count));
    l->tables = region(&end, (uint64_t)g->tables * 8);
    l->notify = region(&end, (uint64_t)g->notify_words * sizeof(cell16));
    l->access = region(&end, g->access_bytes);
    l->poolmap = region(&end, (l->pages + 63) / 64 * 8);
    l->data = FR_ALIGN(end, (uint64_t)g->page_size);
    size_classes(g, l);
}

fr_status layout_compute(const geometry *g, layout *out, fr_error *err) {
    layout l = {0};
    fr_status status = check_numbers(g, err);
    if (status != FR_OK) return status;
    place(g, &l);
    if (l.data + g->page_size > g->max_size) {
        char right[96];
        snprintf(right, sizeof right, "at least %llu: that is what the metadata of this geometry takes",
                 (unsigned long long)(l.data + g->page_size));
        return refuse(err, "the maximal size", g->max_size, right);
    }
    *out = l;
    return FR_OK;
}

/* Halves what takes the most room. Slots go first: statistics are one row of stat_cells a slot. */
static bool shrink(geometry *g, const layout *l) {
    uint64_t stats = l->latches - l->stats, latches = l->spaces - l->latches, counts = l->tables - l->counts;
    if (g->slots > 32 && stats >= counts) g->slots /= 2;
    else if (g->spaces > 64 && counts >= latches) g->spaces /= 2, g->tables /= 2;
    else if (g->stripes > 8 && latches + counts >= stats) g->stripes /= 2;
    else if (g->notify_words > 1024) g->notify_words /= 2;
    else if (g->slots > 16) g->slots /= 2;
    else if (g->stat_cells > 512) g->stat_cells /= 2;
    else if (g->notify_words > 256) g->notify_words /= 2;
    else if (g->stat_cells > 256) g->stat_cells /= 2;
    else return false;
    return true;
}

geometry layout_default(uint64_t max_size) {
    geometry g = {.max_size = max_size & ~UINT64_C(4095), .page_size = 4096, .stripes = 64, .slots = 256,
                  .journal_records = 30, .spaces = 1024, .tables = 256, .notify_words = 16384, .access_bytes = 4096,
                  .stat_cells = 1024};
    while (g.access_bytes < 1u << 30 && (uint64_t)g.access_bytes * 2 <= max_size / 256) g.access_bytes *= 2;
    layout l;
    do {
        place(&g, &l);
    } while (l.data > max_size / METADATA_SHARE && shrink(&g, &l));
    return g;
}

geometry layout_test(void) {
    return (geometry){.max_size = 32768, .page_size = 512, .stripes = 2, .slots = 4, .journal_records = 12,
                      .spaces = 24, .tables = 2, .notify_words = 8, .access_bytes = 64, .stat_cells = 8};
}

static uint64_t fnv(uint64_t h, const void *p, size_t n) {
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * UINT64_C(0x100000001b3);
    return h;
}

uint32_t layout_hash(void) {
    static const uint32_t shape[] = {
        sizeof(superblock), sizeof(geometry), sizeof(proc), sizeof(stripe), sizeof(space_count), sizeof(struct record),
        sizeof(cell16), offsetof(superblock, g), offsetof(superblock, uuid), offsetof(superblock, hash_secret),
        offsetof(superblock, checksum), offsetof(superblock, db), offsetof(superblock, pool_used),
        offsetof(superblock, shared_settings), offsetof(superblock, doorbells), offsetof(superblock, counter_epoch),
        offsetof(proc, name), offsetof(proc, host), offsetof(proc, doorbell), offsetof(stripe, jstate), offsetof(stripe, intents),
        offsetof(stripe, trash), offsetof(stripe, coord), offsetof(stripe, root), offsetof(stripe, partial),
        offsetof(stripe, stamp), offsetof(stripe, intent), offsetof(stripe, journal), DATABASES, POOL_LATCHES,
        SIZE_CLASSES, STAMPS, INTENTS, JOURNAL_SPILLED, RECORD_KIND,
    };
    uint64_t h = fnv(UINT64_C(0xcbf29ce484222325), shape, sizeof shape);
    return (uint32_t)(h ^ h >> 32);
}

uint64_t layout_checksum(const superblock *sb) {
    return fnv(UINT64_C(0xcbf29ce484222325), sb, offsetof(superblock, checksum));
}
