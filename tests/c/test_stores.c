/* test_stores.c - how many stores into shared memory a write to a hash makes: at most 20, however many fields there are.
 *
 * Counted by the store hook (shm/access.h): every st8, cas and access byte, and every fill as one; all that one command
 * does, on a segment that lives in memory (the steps in which a file grows are not in it). Every insertion is counted
 * from the first field to the last, so the steps from one size class to the next, from a packed hash to a tree, each
 * split and each doubling of a directory are among them.
 */
#include "store_fixture.h"

#define LIMIT 20u
#define FIELDS 250000u

static const char old_text[] = "a value of thirty-two bytes, yes", new_text[] = "another of thirty-two bytes, yes";

static void count(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    (void)addr, (void)len;
    if (kind != ACCESS_LD8) ++*(unsigned *)ctx;
}

static unsigned stores_of(store *st, op *o) {
    unsigned n = 0;
    fr_hook = count, fr_hook_ctx = &n;
    fr_status status = write_one(st, o);
    fr_hook = NULL;
    CHECK_STATUS(status, FR_OK);
    return n;
}

/* What a kind of operation cost at the most, and how many fields there were then. */
typedef struct dearest {
    unsigned stores, over;
    uint32_t at;
} dearest;

static void note(dearest *d, unsigned stores, uint32_t fields) {
    d->over += stores > LIMIT;
    if (stores <= d->stores) return;
    d->stores = stores;
    d->at = fields;
}

static void report(const char *what, const dearest *d, uint32_t fields) {
    fprintf(stderr, "  %s: at most %u stores (first at %u of %u), %u over\n", what, d->stores, d->at, fields, d->over);
    CHECK(d->stores > 0 && d->over == 0);
}

static uint32_t scatter(uint32_t i) { return (uint32_t)((i + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 33); }

/* One operation on a field of `prefix`: the i-th. */
static unsigned on_field(store *st, op proto, const char *prefix, uint32_t i) {
    char field[32];
    op o = proto;
    snprintf(field, sizeof field, "%s%09u", prefix, i);
    o.field = text_of(field);
    return stores_of(st, &o);
}

/* The first write of a process registers it, which is not the command's: it has been made. */
static store *roomy(void) {
    geometry g = layout_default(512u << 20);
    store *st = store_with(&g);
    CHECK(hset(st, "another", "field", "value") == 1 && del(st, "another"));
    return st;
}

static void every_new_text_field(void) {
    store *st = roomy();
    dearest add = {0}, same = {0}, other = {0};
    op put = {.run = do_hset, .name = "h", .value = text_of(old_text)};
    op over = {.run = do_hset, .name = "h", .value = text_of(new_text)};
    for (uint32_t i = 0; i < FIELDS; i++) {
        note(&add, on_field(st, put, "f:", i), i);
        note(&same, on_field(st, over, "f:", scatter(i) % (i + 1)), i + 1);
        op resized = {.run = do_hset, .name = "h", .value = {new_text, 1 + scatter(i) % 32}};
        if (i % 4 == 0) note(&other, on_field(st, resized, "f:", scatter(i + 7) % (i + 1)), i + 1);
    }
    report("HSET of a new field of 32 bytes", &add, FIELDS);
    report("HSET over as many bytes", &same, FIELDS);
    report("HSET over more or fewer bytes", &other, FIELDS);
    close_sound(st);
}

static void every_new_number(void) {
    store *st = roomy();
    dearest add = {0}, again = {0};
    op inc = {.run = do_hincr, .name = "h", .by = 1};
    for (uint32_t i = 0; i < FIELDS; i++) {
        note(&add, on_field(st, inc, "n:", i), i);
        note(&again, on_field(st, inc, "n:", scatter(i) % (i + 1)), i + 1);
    }
    report("HINCRBY of a new field", &add, FIELDS);
    report("HINCRBY again", &again, FIELDS);
    close_sound(st);
}

/* Values of 1 to 64 bytes, which stay in their blocks: many small hashes over the step to a tree, and one that grows. */
static void values_of_all_lengths(void) {
    store *st = roomy();
    static const char bytes[65] = "sixty-four bytes, of which each value takes as many as it is told";
    dearest add = {0}, grown = {0};
    char name[32];
    for (uint32_t h = 0; h < 400; h++) {
        snprintf(name, sizeof name, "h%u", h);
        for (uint32_t i = 0; i < 200; i++) {
            op put = {.run = do_hset, .name = name, .value = {bytes, 1 + h % 64}};
            note(&grown, on_field(st, put, "f:", i), i);
        }
    }
    for (uint32_t i = 0; i < FIELDS; i++) {
        op put = {.run = do_hset, .name = "mixed", .value = {bytes, 1 + scatter(i) % 64}};
        note(&add, on_field(st, put, "f:", i), i);
    }
    report("HSET of a new field, 400 hashes, a length each", &grown, 200);
    report("HSET of a new field, lengths mixed", &add, FIELDS);
    close_sound(st);
}

/* The first field of a new key: the key goes into the index of its stripe, which splits too. */
static void every_new_hash(void) {
    store *st = roomy();
    dearest first = {0};
    char name[32];
    for (uint32_t i = 0; i < FIELDS; i++) {
        snprintf(name, sizeof name, "key:%u", i);
        op put = {.run = do_hset, .name = name, .value = text_of(old_text)};
        note(&first, on_field(st, put, "f:", 0), i);
    }
    report("HSET that makes a key", &first, FIELDS);
    close_sound(st);
}

int main(void) {
    RUN(every_new_text_field);
    RUN(every_new_number);
    RUN(values_of_all_lengths);
    RUN(every_new_hash);
    return 0;
}
