/* stores.c - how many stores into shared memory HSET, HGET and HINCRBY make, on hashes of 10, 1,000 and 1,000,000 fields.
 *
 * Counted by the store hook (shm/access.h): every st8, cas and access byte, and every fill as one. Prints one JSON object,
 * "<operation>_<fields>": the most that any of the calls made, and "..._median". A field is one that is there, picked at
 * random; "hset" keeps the length of the value, "hset_resized" does not. "hset_new" and "hincrby_new" are all the calls
 * that made the hash, from its first field to its last: among them are the key's own creation, the step from packed to
 * tree, and every split and every directory that grew. Each call is what a command is: one transaction, one stripe, in
 * memory of the process (the steps in which a file grows are not in it, nor the registration of the process by its first
 * write). tests/c/test_stores.c asserts what is measured here. Run: stores <largest>.
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

static unsigned stores_of(store *st, op proto, const char *prefix, uint32_t i, bool reads) {
    static counts c;
    char field[32];
    field_name(field, prefix, i);
    proto.field = text_of(field);
    c.now = 0;
    fr_hook = count, fr_hook_ctx = &c;
    fr_status status = reads ? read_op(st, &proto) : write_one(st, &proto);
    fr_hook = NULL;
    CHECK_STATUS(status, FR_OK);
    return c.now;
}

/* fill_hash makes a hash of `fields` fields and prints what its calls cost. */
static void fill_hash(store *st, const char *what, const char *prefix, op proto, uint32_t fields) {
    unsigned *seen = calloc(fields, sizeof *seen);
    for (uint32_t i = 0; seen && i < fields; i++) seen[i] = stores_of(st, proto, prefix, i, false);
    CHECK(seen != NULL);
    if (!seen) return;
    qsort(seen, fields, sizeof *seen, by_size);
    printf("  \"%s_%u\": %u, \"%s_%u_median\": %u,\n", what, fields, seen[fields - 1], what, fields, seen[fields / 2]);
    free(seen);
}

/* measure runs CALLS calls of `proto` on random fields below `fields` and prints the counts. */
static void measure(store *st, const char *what, const char *prefix, op proto, uint32_t fields, bool reads) {
    static counts c;
    for (uint32_t i = 0; i < CALLS; i++) c.each[i] = stores_of(st, proto, prefix, (uint32_t)(scatter(i + 1) % fields), reads);
    qsort(c.each, CALLS, sizeof *c.each, by_size);
    printf("  \"%s_%u\": %u, \"%s_%u_median\": %u,\n", what, fields, c.each[CALLS - 1], what, fields, c.each[CALLS / 2]);
}

static void hash_of(uint32_t fields) {
    static const char old[] = "a value of thirty-two bytes, yes", new[] = "another of thirty-two bytes, yes";
    geometry g = layout_default(512u << 20);
    store *st = store_with(&g);
    CHECK(hset(st, "another", "field", "value") == 1 && del(st, "another")); /* registers the process */
    op add = {.run = do_hset, .name = "text", .value = text_of(old)}, start = {.run = do_hincr, .name = "numbers", .by = 1000};
    fill_hash(st, "hset_new", "f:", add, fields);
    fill_hash(st, "hincrby_new", "n:", start, fields);
    op hget = {.run = do_hget, .name = "text"}, hincr = {.run = do_hincr, .name = "numbers", .by = 1};
    op hset = {.run = do_hset, .name = "text", .value = text_of(new)};
    measure(st, "hget", "f:", hget, fields, true);
    op resize = {.run = do_hset, .name = "text", .value = text_of("of another length")};
    measure(st, "hset", "f:", hset, fields, false);
    measure(st, "hincrby", "n:", hincr, fields, false);
    measure(st, "hset_resized", "f:", resize, fields, false);
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
