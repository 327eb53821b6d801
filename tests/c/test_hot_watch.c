/* test_hot_watch.c - a watch holds while its key is what it was, and no longer, whatever happened to the key or to the index
 * it is found through. What Python makes of it: tests/test_vars.py.
 */
#include "hot.h"
#include "store_fixture.h"

#define WATCHED 200

static char copied[256];
static char *some_room(hot_sink *sink, size_t n) {
    (void)sink;
    return n <= sizeof copied ? copied : NULL;
}

static hot_watch watch_of(store *st, const char *name) {
    hot_sink sink = {.room = some_room};
    hot_watch w;
    bool found;
    CHECK_STATUS(hot_watch_get(st, 0, text_of(name), &sink, &found, &w, true, &last_error), FR_OK);
    CHECK(found);
    return w;
}

static void put(store *st, const char *name, const char *value) {
    CHECK_STATUS(hot_set(st, 0, text_of(name), text_of(value), true, &last_error), FR_OK);
}

static bool same_again(store *st, const char *name, hot_watch *w) {
    bool same;
    CHECK_STATUS(hot_watch_again(st, 0, text_of(name), w, &same, true, &last_error), FR_OK);
    return same;
}

static void what_happens_to_the_key_is_noticed(void) {
    store *st = big_store();
    put(st, "k", "value");
    hot_watch w = watch_of(st, "k");
    CHECK(w.exact && memcmp(copied, "value", 5) == 0);
    put(st, "other", "value");
    CHECK(hot_watch_holds(st, &w) || same_again(st, "k", &w));
    put(st, "k", "eulav"); /* in place */
    CHECK(!hot_watch_holds(st, &w) && !same_again(st, "k", &w));
    w = watch_of(st, "k");
    CHECK(hot_watch_holds(st, &w));
    put(st, "k", "a longer value"); /* in another block */
    CHECK(!hot_watch_holds(st, &w) && !same_again(st, "k", &w));
    w = watch_of(st, "k");
    CHECK(del(st, "k"));
    CHECK(!hot_watch_holds(st, &w) && !same_again(st, "k", &w));
    close_sound(st);
}

static void a_flush_is_noticed(void) {
    store *st = big_store();
    put(st, "k", "value");
    hot_watch w = watch_of(st, "k");
    CHECK_STATUS(write_op(st, &(op){.run = do_flush, .name = "k"}), FR_OK);
    CHECK(!hot_watch_holds(st, &w) && !same_again(st, "k", &w));
    close_sound(st);
}

static void what_expires_is_looked_up(void) {
    store *st = big_store();
    put(st, "k", "value");
    CHECK_STATUS(write_op(st, &(op){.run = do_expire, .name = "k", .at = clock_boot_ms() + 3600000}), FR_OK);
    hot_watch w = watch_of(st, "k");
    CHECK(!w.exact && !hot_watch_holds(st, &w) && same_again(st, "k", &w));
    close_sound(st);
}

/* A split leaves a key's old slot word where it was, a block that is freed keeps its version: only the sequence says that
 * the word is no longer the key's. */
static void splits_are_noticed(void) {
    static hot_watch w[WATCHED];
    geometry g = layout_default(16u << 20);
    g.stripes = 4;
    store *st = store_with(&g);
    char name[24];
    unsigned moved = 0, held = 0;
    for (int i = 0; i < WATCHED; i++) {
        snprintf(name, sizeof name, "watched%d", i);
        put(st, name, "value");
        w[i] = watch_of(st, name);
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "k%d", i);
        put(st, name, "v");
    }
    for (int i = 0; i < WATCHED; i++) {
        snprintf(name, sizeof name, "watched%d", i);
        hot_watch then = w[i];
        CHECK(same_again(st, name, &then));
        moved += then.slot_at != w[i].slot_at;
        put(st, name, "a value of another size, so that its block is one of another page");
        held += hot_watch_holds(st, &w[i]);
    }
    printf("# %u of %u watched keys have moved\n", moved, WATCHED);
    CHECK(moved > WATCHED / 4 && held == 0);
    close_sound(st);
}

int main(void) {
    RUN(what_happens_to_the_key_is_noticed);
    RUN(a_flush_is_noticed);
    RUN(what_expires_is_looked_up);
    RUN(splits_are_noticed);
    return 0;
}
