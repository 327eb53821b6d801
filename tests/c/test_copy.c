/* test_copy.c - copies of whole tables: complete, of one instant whatever happens meanwhile, or refused. */
#include "store_fixture.h"

static table *make(store *st, uint64_t capacity) {
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    CHECK_STATUS(schema_add(&sc, SPAN_LIT("n"), SPAN_LIT("int64"), &last_error), FR_OK);
    CHECK_STATUS(schema_add(&sc, SPAN_LIT("note"), SPAN_LIT("str:16"), &last_error), FR_OK);
    CHECK_STATUS(table_declare(st, SPAN_LIT("t"), capacity, &sc, NOW, &tb, &created, &last_error), FR_OK);
    return tb;
}

static void put(store *st, unsigned i, int64_t n) {
    char name[80], digits[24];
    snprintf(name, sizeof name, i % 7 ? "t:%u" : "t:%u, a name that is much too long for an image to hold", i);
    snprintf(digits, sizeof digits, "%lld", (long long)n);
    field_value fv[2] = {{SPAN_LIT("n"), text_of(digits)}, {SPAN_LIT("note"), text_of(digits)}};
    op o = {.run = do_hset, .name = name, .fv = fv, .fv_count = 2};
    CHECK_STATUS(write_op(st, &o), FR_OK);
}

typedef struct copied {
    copy_buffer images, names;
    uint64_t rows;
} copied;

static fr_status copy(store *st, table *tb, copied *c) {
    *c = (copied){.rows = 0};
    return table_copy(st, tb, NOW, &c->images, &c->names, &c->rows, &last_error);
}

static void drop(copied *c) {
    free(c->images.p);
    free(c->names.p);
}

static int64_t number_of(const table *tb, const copied *c, uint64_t i) {
    int64_t n;
    memcpy(&n, c->images.p + i * tb->stride + tb->schema.column[0].offset, 8);
    return n;
}

/* Is row i's name that of the key whose number it holds? */
static bool named(const copied *c, size_t *at, int64_t n) {
    char want[80];
    uint32_t length;
    int w = snprintf(want, sizeof want, n % 7 ? "%lld" : "%lld, a name that is much too long for an image to hold", (long long)n);
    memcpy(&length, c->names.p + *at, 4);
    bool same = (int)length == w && memcmp(c->names.p + *at + 4, want, length) == 0;
    *at += 4 + length;
    return same;
}

static void a_copy_has_every_row_once(void) {
    store *st = big_store();
    table *tb = make(st, 1000);
    copied c;
    uint8_t seen[1000] = {0}, live[2000];
    uint64_t marked = 0;
    size_t at = 0;
    for (unsigned i = 0; i < 1000; i++) put(st, i, i);
    for (unsigned i = 0; i < 1000; i++) put(st, i, i); /* spares have been about */
    CHECK(del(st, "t:3"));
    op e = {.run = do_expire, .name = "t:4", .at = NOW + 1};
    CHECK_STATUS(write_op(st, &e), FR_OK);
    e = (op){.run = do_expire, .name = "t:5", .at = NOW + 1};
    CHECK_STATUS(write_op(st, &e), FR_OK);
    c = (copied){.rows = 0};
    CHECK_STATUS(table_copy(st, tb, NOW + 1, &c.images, &c.names, &c.rows, &last_error), FR_OK);
    CHECK(c.rows == 997); /* two are past */
    drop(&c);
    CHECK_STATUS(copy(st, tb, &c), FR_OK);
    CHECK(c.rows == 999 && c.images.n == 999 * tb->stride);
    for (uint64_t i = 0; i < c.rows; i++) {
        int64_t n = number_of(tb, &c, i);
        CHECK(n >= 0 && n < 1000 && n != 3 && !seen[n] && named(&c, &at, n));
        seen[n] = 1;
    }
    CHECK(at == c.names.n && tb->images <= sizeof live);
    table_mask(st, tb, NOW, live);
    for (uint64_t i = 0; i < tb->images; i++) marked += live[i];
    CHECK(marked == 999);
    op flush = {.run = do_flush, .name = "t:1"};
    CHECK_STATUS(write_op(st, &flush), FR_OK);
    drop(&c);
    CHECK_STATUS(copy(st, tb, &c), FR_OK);
    CHECK(c.rows == 0);
    table_mask(st, tb, NOW, live);
    CHECK(memchr(live, 1, tb->images) == NULL);
    drop(&c);
    close_sound(st);
}

/* At each store of a write of two rows a reader copies: it sees both before or both after, or is told to come again. */
typedef struct watching {
    table *tb;
    unsigned before, after, busy;
} watching;

static void look(store *st, void *ctx) {
    watching *w = ctx;
    copied c;
    st->s->readonly = true; /* so that it takes no latch: they are held by the writer that it interrupts */
    fr_status status = copy(st, w->tb, &c);
    st->s->readonly = false;
    int64_t a = status == FR_OK && c.rows == 2 ? number_of(w->tb, &c, 0) : -1;
    int64_t b = a >= 0 ? number_of(w->tb, &c, 1) : -1;
    CHECK(status == FR_BUSYREAD || (status == FR_OK && a == b && (a == 1 || a == 2)));
    if (status != FR_OK) w->busy++;
    else if (a == 1) w->before++;
    else w->after++;
    CHECK(!(a == 1 && w->after));
    drop(&c);
}

static fr_status put_both(store *st, txn *t, op *o) {
    field_value fv[2] = {{SPAN_LIT("n"), SPAN_LIT("2")}, {SPAN_LIT("note"), SPAN_LIT("2")}};
    fr_status status = hash_set(st, t, &o->k, fv, 2, FIELD_ALWAYS, &o->count);
    return status == FR_OK ? hash_set(st, t, &o->k2, fv, 2, FIELD_ALWAYS, &o->count) : status;
}

static void a_copy_is_of_one_instant(void) {
    store *st = big_store();
    watching w = {.tb = make(st, 64)};
    put(st, 1, 1);
    put(st, 2, 1);
    interleaving v = {.st = st, .look = look, .ctx = &w};
    op o = {.run = put_both, .name = "t:1", .other = "t:2"};
    CHECK_STATUS(write_watched(&v, &o), FR_OK);
    CHECK(w.before > 3 && w.busy > 3);
    look(st, &w);
    CHECK(w.after > 0);
    close_sound(st);
}

/* Somebody writes between two loads of the copy, each time: the copy then takes the latches, or gives up. */
typedef struct meddler {
    store *st;
    unsigned loads, writes, limit;
    bool busy;
} meddler;

static void meddle(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    meddler *m = ctx;
    (void)addr, (void)len;
    if (m->busy || kind != ACCESS_LD8 || ++m->loads % 40 || m->writes == m->limit) return;
    m->busy = true;
    bool readonly = m->st->s->readonly;
    m->st->s->readonly = false;
    m->writes++;
    put(m->st, 1, m->writes + 1);
    m->st->s->readonly = readonly;
    m->busy = false;
}

static void a_copy_that_is_always_disturbed(void) {
    store *st = big_store();
    table *tb = make(st, 64);
    copied c;
    for (unsigned i = 0; i < 60; i++) put(st, i, i);
    meddler m = {.st = st, .limit = UINT32_MAX};
    st->s->readonly = true;
    fr_hook = meddle, fr_hook_ctx = &m;
    CHECK_STATUS(copy(st, tb, &c), FR_BUSYREAD);
    fr_hook = NULL;
    CHECK(strstr(last_error.text, "changes faster") != NULL && m.writes >= 4);
    st->s->readonly = false;
    drop(&c);
    m = (meddler){.st = st, .limit = 5}; /* four tries are spoilt; the fifth write comes before the latches are had */
    fr_hook = meddle, fr_hook_ctx = &m;
    CHECK_STATUS(copy(st, tb, &c), FR_OK);
    fr_hook = NULL;
    CHECK(c.rows == 60);
    drop(&c);
    close_sound(st);
}

static void a_dropped_table_is_not_copied(void) {
    store *st = big_store();
    table *tb = make(st, 10);
    copied c;
    put(st, 1, 1);
    CHECK_STATUS(table_drop(st, SPAN_LIT("t"), NOW, &last_error), FR_OK);
    CHECK_STATUS(copy(st, tb, &c), FR_NOTABLE);
    drop(&c);
    close_sound(st);
}

int main(void) {
    RUN(a_copy_has_every_row_once);
    RUN(a_copy_is_of_one_instant);
    RUN(a_copy_that_is_always_disturbed);
    RUN(a_dropped_table_is_not_copied);
    return 0;
}
