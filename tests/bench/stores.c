/* stores.c - how many stores into shared memory HSET, HGET and HINCRBY make, on hashes of 10, 1,000 and 1,000,000 fields.
 *
 * Counted by the store hook (shm/access.h): every st8, cas and access byte, and every fill as one. Prints one JSON object,
 * "<operation>_<fields>": the most that any of the calls made, and "..._median". A field is one that is there, picked at
 * random; "hset" keeps the length of
 * the value, "hset_resized" does not, "hset_new" adds a field. Each call is what a command is: one transaction, one stripe. Run: stores <largest>.
 */
#include "store_fixture.h"

#define CALLS 2001

typedef struct counts {
    unsigned now, each[CALLS];
} counts;

static void count(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    (void)addr, (void)len;
    if (kind != ACCESS_LD8) ((counts *)ctx)->now++;
}

static int by_size(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static uint64_t scatter(uint64_t x) {
    x = (x ^ x >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

static void field_name(char to[32], const char *prefix, uint64_t i) { snprintf(to, 32, "%s%09llu", prefix, (unsigned long long)i); }

static void fill_hash(store *st, const char *name, const char *prefix, const char *text, uint32_t fields) {
    char field[32];
    for (uint32_t i = 0; i < fields; i++) {
        field_name(field, prefix, i);
        op o = {.run = do_hset, .name = name, .field = text_of(field), .value = text_of(text)};
        CHECK_STATUS(write_one(st, &o), FR_OK);
    }
}

/* measure runs CALLS calls of `proto` on random fields below `fields` (on new ones when `fresh`) and prints the counts. */
static void measure(store *st, const char *what, const char *prefix, op proto, uint32_t fields, bool fresh, bool reads) {
    static counts c;
    char field[32];
    for (uint32_t i = 0; i < CALLS; i++) {
        op o = proto;
        field_name(field, prefix, fresh ? fields + i : scatter(i + 1) % fields);
        o.field = text_of(field);
        c.now = 0;
        fr_hook = count, fr_hook_ctx = &c;
        fr_status status = reads ? read_op(st, &o) : write_one(st, &o);
        fr_hook = NULL;
        CHECK_STATUS(status, FR_OK);
        c.each[i] = c.now;
    }
    qsort(c.each, CALLS, sizeof *c.each, by_size);
    printf("  \"%s_%u\": %u, \"%s_%u_median\": %u,\n", what, fields, c.each[CALLS - 1], what, fields, c.each[CALLS / 2]);
}

static void hash_of(uint32_t fields) {
    static const char old[] = "a value of thirty-two bytes, yes", new[] = "another of thirty-two bytes, yes";
    store *st = big_store();
    fill_hash(st, "text", "f:", old, fields);
    fill_hash(st, "numbers", "n:", "1000", fields);
    op hget = {.run = do_hget, .name = "text"}, hincr = {.run = do_hincr, .name = "numbers", .by = 1};
    op hset = {.run = do_hset, .name = "text", .value = text_of(new)};
    measure(st, "hget", "f:", hget, fields, false, true);
    op resize = {.run = do_hset, .name = "text", .value = text_of("of another length")};
    measure(st, "hset", "f:", hset, fields, false, false);
    measure(st, "hincrby", "n:", hincr, fields, false, false);
    if (fields > 512) measure(st, "hset_new", "f:", hset, fields, true, false); /* a small hash would not stay small */
    measure(st, "hset_resized", "f:", resize, fields, false, false);
    store_close(st);
}

int main(int argc, char **argv) {
    uint32_t largest = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000000;
    fixture_unused();
    printf("{\n");
    hash_of(10);
    hash_of(1000);
    hash_of(largest);
    printf("  \"failures\": %d\n}\n", check_failures);
    return check_failures != 0;
}
