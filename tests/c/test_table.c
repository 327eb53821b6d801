/* test_table.c - typed tables: schemas, declarations, dropping, hostile descriptors, readers beside writers, and steps
 * against a model. */
#include "table_fixture.h"

/* --- schemas ------------------------------------------------------------------------------------------------------ */

static void a_schema_names_its_faults(void) {
    schema sc = {.columns = 0};
    struct {
        const char *name, *type, *says;
    } bad[] = {
        {"", "int8", "no column name"}, {"1a", "int8", "no column name"}, {"a:b", "int8", "no column name"},
        {"a", "int9", "unknown type"}, {"a", "str", "unknown type"}, {"a", "str:0", "unknown type"},
        {"a", "str:65536", "unknown type"}, {"a", "bytes:", "unknown type"}, {"a", "str:08", "unknown type"},
        {"a", "bool:1", "unknown type"}, {"a", "", "unknown type"}, {"ok", "int8", "given twice"},
    };
    CHECK_STATUS(schema_add(&sc, SPAN_LIT("ok"), SPAN_LIT("int8"), &last_error), FR_OK);
    for (size_t i = 0; i < FR_COUNTOF(bad); i++) {
        CHECK_STATUS(schema_add(&sc, text_of(bad[i].name), text_of(bad[i].type), &last_error), FR_SCHEMA);
        CHECK(error_says(bad[i].says) && sc.columns == 1);
    }
    for (unsigned i = 1; i < COLUMNS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%u", i);
        CHECK_STATUS(schema_add(&sc, text_of(name), SPAN_LIT("bytes:65535"), &last_error), FR_OK);
    }
    CHECK_STATUS(schema_add(&sc, SPAN_LIT("more"), SPAN_LIT("int8"), &last_error), FR_SCHEMA);
    CHECK(error_says("at most 64"));
}

static void columns_are_laid_out_by_width(void) {
    schema sc = schema_of("a int8, s str:6, b int64, c uint16, d float64, e bool, f int32, t bytes:7");
    static const uint32_t want[] = {64 + 22, 88, 64, 64 + 20, 72, 64 + 23, 80, 96};
    for (unsigned i = 0; i < sc.columns; i++) CHECK(sc.column[i].offset == want[i]);
    CHECK(schema_stride(&sc) == 112);
    char text[32];
    column_type_text(&sc.column[1], text);
    CHECK(strcmp(text, "str:6") == 0);
}

/* --- declarations ------------------------------------------------------------------------------------------------- */

static void declaring_again_attaches(void) {
    store *st = big_store();
    bool created;
    must_declare(st, "rates", 100, "count int32, note str:8");
    CHECK_STATUS(declare(st, "rates", 100, "count int32, note str:8", &created), FR_OK);
    CHECK(!created);
    CHECK_STATUS(declare(st, "rates", 200, "count int64, flag bool", &created), FR_TABLEEXISTS);
    CHECK(error_says("count is int32, not int64") && error_says("flag bool is not there") &&
          error_says("note is missing") && error_says("capacity is 100, not 200"));
    CHECK_STATUS(declare(st, "rates", 100, "note str:8, count int32", &created), FR_TABLEEXISTS);
    close_sound(st);
}

static void a_declaration_names_its_faults(void) {
    store *st = big_store();
    bool created;
    uint64_t pages = pages_used(st);
    CHECK_STATUS(declare(st, "a:b", 10, "c int8", &created), FR_SCHEMA);
    CHECK_STATUS(declare(st, "a", 0, "c int8", &created), FR_SCHEMA);
    CHECK_STATUS(declare(st, "a", (UINT64_C(1) << 31) + 1, "c int8", &created), FR_SCHEMA);
    CHECK_STATUS(declare(st, "a", 10, "", &created), FR_SCHEMA);
    CHECK_STATUS(declare(st, "a", UINT64_C(1) << 31, "c bytes:65535", &created), FR_OOM);
    CHECK(pages_used(st) == pages && table_find(st, SPAN_LIT("a")) == NULL);
    close_sound(st);
}

static void a_prefix_in_use_is_refused(void) {
    store *st = big_store();
    bool created;
    for (unsigned i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "rates:%u", i & 1023u);
        op o = {.run = do_set, .name = name, .value = SPAN_LIT("x")};
        CHECK_STATUS(write_op(st, &o), FR_OK);
    }
    hset(st, "ratesx:1", "a", "1");
    hset(st, "rates", "a", "1");
    uint64_t pages = pages_used(st);
    CHECK_STATUS(declare(st, "rates", 10, "c int8", &created), FR_TABLEKEYS);
    CHECK(error_says("300 ordinary keys") && !created && pages_used(st) == pages);
    CHECK(table_find(st, SPAN_LIT("rates")) == NULL && exists(st, "rates:7"));
    check_sound(st);
    for (unsigned i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "rates:%u", i & 1023u);
        CHECK(del(st, name));
    }
    must_declare(st, "rates", 10, "c int8");
    CHECK(hset(st, "rates:7", "c", "1") == 1 && exists(st, "rates"));
    close_sound(st);
}

/* A process that died between its two commits leaves a DECLARING entry. */
static void half_done_declare(store *st, const char *name) {
    table *tb = table_find(st, text_of(name));
    CHECK(tb != NULL);
    uint64_t *word = SEG_AT(st->s, tb->descriptor + TABLE_STATE, uint64_t);
    *word = (uint64_t)TABLE_DECLARING << 32 | (uint32_t)*word;
    segment_super(st->s)->catalogue_version++;
    CHECK(table_find(st, text_of(name)) == NULL);
}

static fr_status do_allows(store *st, txn *t, op *o) { return table_allows(st, t, &o->k); }

static void a_half_done_declaration_is_taken_over(void) {
    store *st = big_store();
    bool created;
    must_declare(st, "t", 10, "c int8");
    half_done_declare(st, "t");
    op o = {.run = do_allows, .name = "t:1"};
    CHECK_STATUS(write_op(st, &o), FR_TABLEKEYS);
    o.name = "u:1";
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK_STATUS(declare(st, "t", 10, "c int8", &created), FR_OK);
    CHECK(created && table_find(st, SPAN_LIT("t")));
    half_done_declare(st, "t");
    CHECK_STATUS(declare(st, "t", 20, "d int64", &created), FR_OK);
    CHECK(created && table_find(st, SPAN_LIT("t"))->capacity == 20);
    CHECK(hset(st, "t:1", "d", "5") == 1);
    close_sound(st);
}

static void tables_have_an_end(void) {
    geometry g = layout_default(64u << 20);
    g.tables = 3;
    store *st = store_with(&g);
    bool created;
    must_declare(st, "a", 10, "c int8");
    must_declare(st, "b", 10, "c int8");
    must_declare(st, "c", 10, "c int8");
    CHECK_STATUS(declare(st, "d", 10, "c int8", &created), FR_SCHEMA);
    CHECK(error_says("3 tables"));
    CHECK_STATUS(table_drop(st, SPAN_LIT("b"), NOW, &last_error), FR_OK);
    must_declare(st, "d", 10, "c int8");
    close_sound(st);
}

static void another_process_sees_the_change_at_once(void) {
    store *st = big_store(), *other;
    CHECK_STATUS(store_over(st->s, &other, &last_error), FR_OK);
    hset(st, "u:1", "a", "5");
    must_declare(other, "t", 10, "a int8");
    CHECK(hset(st, "plain", "a", "1") == 1);
    CHECK_STATUS(try_hset(st, "t:1", "a", SPAN_LIT("300")), FR_COLUMNRANGE);
    CHECK(hset(st, "t:1", "a", "3") == 1 && hget_is(other, "t:1", "a", "3"));
    CHECK_STATUS(table_drop(st, SPAN_LIT("t"), NOW, &last_error), FR_OK);
    CHECK(hset(other, "plain2", "a", "1") == 1 && hget_is(other, "t:1", "a", "(nil)"));
    CHECK(hset(other, "t:1", "x", "an ordinary hash again") == 1 && hget_is(st, "t:1", "x", "an ordinary hash again"));
    must_declare(other, "t2", 10, "a int8");
    half_done_declare(other, "t2");
    CHECK_STATUS(try_hset(st, "t2:1", "a", SPAN_LIT("1")), FR_TABLEKEYS);
    CHECK(hset(st, "t3:1", "a", "1") == 1);
    store_catalogue_free(other);
    free(other);
    close_sound(st);
}

/* The key was routed before the table came, or went. */
static fr_status set_routed(store *st, txn *t, void *ctx) {
    op *o = ctx;
    field_value fv = {SPAN_LIT("a"), o->value};
    return hash_set(st, t, &o->k, &fv, 1, FIELD_ALWAYS, &o->count);
}

static void a_stale_route_is_found_anew(void) {
    store *st = big_store(), *other;
    op o = {.value = SPAN_LIT("7")};
    CHECK_STATUS(store_over(st->s, &other, &last_error), FR_OK);
    for (int round = 0; round < 3; round++) {
        stripe_set set;
        CHECK_STATUS(key_route(st, 0, SPAN_LIT("t:1"), &o.k, &last_error), FR_OK);
        CHECK(o.k.table == (round == 1 ? 0 : NO_TABLE));
        if (round == 1) CHECK_STATUS(table_drop(other, SPAN_LIT("t"), NOW, &last_error), FR_OK);
        if (round == 2) del(other, "t:1");
        if (round != 1) must_declare(other, "t", 10, "a int8");
        stripe_set_clear(&set);
        stripe_set_add(&set, o.k.stripe);
        CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &set, set_routed, &o, &last_error), FR_OK);
        CHECK(o.count == 1 && hget_is(st, "t:1", "a", "7") && (o.k.table == NO_TABLE) == (round == 1));
        check_sound(st);
    }
    store_catalogue_free(other);
    free(other);
    store_close(st);
}

/* --- the keyspace's commands on rows ------------------------------------------------------------------------------ */

static void rows_are_copied_and_renamed(void) {
    store *st = big_store();
    must_declare(st, "t", 3, "a int64, s str:40");
    must_declare(st, "u", 3, "a int64, s str:40");
    hset(st, "t:k", "a", "1");
    hset(st, "t:k", "s", "some text");
    expire(st, "t:k", NOW + 100);
    op o = {.run = do_copy, .name = "t:k", .other = "t:l"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(hget_is(st, "t:l", "s", "some text") && info_of(st, "t").expires == 2);
    hset(st, "t:m", "a", "3");
    CHECK_STATUS(write_op(st, &o), FR_OK); /* over one that is there, in a full table */
    op r = {.run = do_rename, .name = "t:k", .other = "t:m"};
    CHECK_STATUS(write_op(st, &r), FR_OK);
    CHECK(!exists(st, "t:k") && hget_is(st, "t:m", "a", "1") && hget_is(st, "t:m", "s", "some text"));
    r = (op){.run = do_rename, .name = "t:m", .other = "u:m"};
    CHECK_STATUS(write_op(st, &r), FR_ROWONLY);
    r.other = "plain";
    CHECK_STATUS(write_op(st, &r), FR_ROWONLY);
    CHECK(exists(st, "t:m") && !exists(st, "plain"));
    hset(st, "t:full", "a", "1");
    r = (op){.run = do_rename, .name = "t:m", .other = "t:new"}; /* to a new name, in a full table */
    CHECK_STATUS(write_op(st, &r), FR_OK);
    CHECK(!exists(st, "t:m") && hget_is(st, "t:new", "s", "some text"));
    close_sound(st);
}

static void flushing_keeps_declarations(void) {
    store *st = big_store();
    must_declare(st, "t", 30, "a int64");
    fill_table(st, "t", 0, 30);
    hset(st, "plain", "a", "1");
    for (int round = 0; round < 3; round++) {
        op o = {.run = do_flush, .name = "x"};
        CHECK_STATUS(write_op(st, &o), FR_OK);
        CHECK(!exists(st, "t:k1") && !exists(st, "plain") && info_of(st, "t").rows == 0);
        fill_table(st, "t", 0, 30); /* the stale rows make room */
        CHECK_STATUS(try_hset(st, "t:more", "a", SPAN_LIT("1")), FR_TABLEFULL);
        CHECK(hget_is(st, "t:k7", "a", "7"));
        check_sound(st);
    }
    store_close(st);
}

/* WATCH of a row's name that was absent: a row that came and ended meanwhile has changed it. */
static void a_row_that_was_reclaimed_leaves_a_stamp(void) {
    store *st = big_store();
    must_declare(st, "t", 4, "n int32");
    uint64_t before = version_of(st, "t:a");
    CHECK_STATUS(try_hset(st, "t:a", "n", text_of("1")), FR_OK);
    CHECK(expire(st, "t:a", NOW + 10));
    CHECK(table_reclaim_all(st, NOW + 9) == 0 && table_reclaim_all(st, NOW + 10) == 1);
    CHECK(!exists(st, "t:a") && version_of(st, "t:a") != before);
    close_sound(st);
}

/* A table's space id comes back with its last row, so that tables can be dropped and declared for ever. */
static void spaces_of_dropped_tables_come_back(void) {
    geometry g = layout_default(8u << 20);
    g.spaces = 32;
    store *st = store_with(&g);
    for (int i = 0; i < 100; i++) {
        must_declare(st, "t", 4, "n int32");
        CHECK_STATUS(try_hset(st, "t:a", "n", text_of("1")), FR_OK);
        CHECK_STATUS(table_drop(st, SPAN_LIT("t"), NOW, &last_error), FR_OK);
        table_reclaim_all(st, NOW);
    }
    unsigned tables = 0;
    for (uint32_t i = 0; i < g.spaces; i++) tables += SPACE_KIND(SEG_AT(st->s, st->s->l.spaces, uint64_t)[i]) == SPACE_TABLE;
    CHECK(tables == 0);
    close_sound(st);
}

static void a_dropped_table_comes_back_as_pages(void) {
    store *st = big_store();
    hset(st, "plain", "a", "1");
    uint64_t pages = pages_used(st);
    must_declare(st, "t", 3000, "a int64");
    CHECK(info_of(st, "t").memory_bytes > 3000 * 80);
    fill_table(st, "t", 0, 3000);
    CHECK_STATUS(table_drop(st, SPAN_LIT("t"), NOW, &last_error), FR_OK);
    CHECK(table_find(st, SPAN_LIT("t")) == NULL && !exists(st, "t:k1"));
    check_sound(st);
    CHECK_STATUS(table_drop(st, SPAN_LIT("t"), NOW, &last_error), FR_NOTABLE);
    must_declare(st, "t", 5, "b bool"); /* while the old one is still being reclaimed */
    hset(st, "t:k1", "b", "1");
    check_sound(st);
    for (int i = 0; i < 1000 && store_tick(st, NOW, 1000); i++) continue;
    CHECK(hget_is(st, "t:k1", "b", "1") && pages_used(st) < pages + 200);
    table_reclaim_all(st, NOW);
    unsigned live = 0;
    for (uint32_t i = 0; i < st->table_count; i++) live += st->tables[i] != NULL;
    CHECK(live == 1);
    close_sound(st);
}

/* --- hostile and damaged ------------------------------------------------------------------------------------------ */

static void a_damaged_descriptor_is_an_error(void) {
    store *st = big_store();
    must_declare(st, "t", 30, "a int64, s str:9");
    fill_table(st, "t", 0, 5);
    uint64_t at = table_find(st, SPAN_LIT("t"))->descriptor;
    static const uint64_t values[] = {
        0, 1, 2, 63, 64, 65, 4096, UINT32_MAX, UINT64_C(1) << 31, UINT64_C(1) << 40, UINT64_MAX};
    unsigned refused = 0; /* the rest is believable: padding, counts within bounds, other spaces */
    for (unsigned w = 0; w < 21 + 2 * 9; w++) {
        uint64_t *word = SEG_AT(st->s, at, uint64_t) + w, kept = *word;
        for (unsigned i = 0; i < FR_COUNTOF(values); i++) {
            store *other;
            *word = values[i];
            if (store_over(st->s, &other, &last_error) != FR_OK) {
                CHECK(last_error.status == FR_DAMAGED && last_error.text[0]);
                refused++;
                continue;
            }
            op o = {.run = do_hget, .name = "t:k1", .field = SPAN_LIT("a")};
            read_op(other, &o);
            store_catalogue_free(other);
            free(other);
        }
        *word = kept;
    }
    CHECK(refused > 150);
    uint64_t *entry = SEG_AT(st->s, st->s->l.tables, uint64_t);
    for (unsigned i = 0; i < FR_COUNTOF(values); i++) {
        store *other;
        uint64_t kept = *entry;
        *entry = values[i];
        if (values[i]) CHECK_STATUS(store_over(st->s, &other, &last_error), FR_DAMAGED);
        *entry = kept;
    }
    close_sound(st);
}

static fr_status do_nothing(void *ctx, span field, const value *v) {
    (void)ctx, (void)field, (void)v;
    return FR_OK;
}
static fr_status do_each(store *st, txn *t, op *o) { return hash_each(st, t, &o->k, do_nothing, NULL); }

static void garbage_in_an_image_never_crashes(void) {
    store *st = big_store();
    must_declare(st, "t", 4, "a int64, s str:9, y bytes:40");
    char name[100] = "t:a name that is longer than what fits into the image of a row";
    hset(st, name, "a", "1");
    table *tb = table_find(st, SPAN_LIT("t"));
    uint64_t seed = 7;
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t i = round % tb->images, w = round / tb->images % (tb->stride / 8);
        uint64_t *word = SEG_AT(st->s, tb->rows_off + i * tb->stride, uint64_t) + w, kept = *word;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        *word = round & 1 ? seed : seed >> 60;
        op o = {.run = do_each, .name = name};
        read_op(st, &o);
        o.run = do_hget;
        o.field = SPAN_LIT("y");
        read_op(st, &o);
        *word = kept;
    }
    close_sound(st);
}

/* --- what a reader sees ------------------------------------------------------------------------------------------- */

static fr_status take_pair(void *ctx, span field, const value *v) {
    char *pair = ctx, digits[VALUE_TEXT];
    span text = value_text(v, digits);
    if (text.n > 99) return FR_OK;
    memcpy(pair + (field.p[0] == 'b') * 100, text.p, text.n);
    pair[(field.p[0] == 'b') * 100 + text.n] = '\0';
    return FR_OK;
}
static fr_status do_pair(store *st, txn *t, op *o) {
    memset(o->text, 0, 200);
    return hash_each(st, t, &o->k, take_pair, o->text);
}

static unsigned looks;
static const char *watched[2];
static void look_at_pairs(store *st, void *ctx) {
    (void)ctx;
    char seen[2][200];
    for (int i = 0; i < 2; i++) {
        if (!watched[i]) continue;
        op o = {.run = do_pair, .name = watched[i]};
        fr_status status = read_op(st, &o);
        if (status == FR_BUSYREAD) return;
        CHECK_STATUS(status, FR_OK);
        CHECK(strcmp(o.text, o.text + 100) == 0);
        memcpy(seen[i], o.text, 200);
    }
    if (looks++ == 0 || strcmp(seen[0], "") == 0) return;
}

static void a_reader_never_sees_half_a_row(void) {
    static const char *columns[] = {"a int64, b int64", "a int8, b int8", "a str:20, b str:20", "a str:6, b str:6"};
    for (unsigned i = 0; i < FR_COUNTOF(columns); i++) {
        store *st = big_store();
        must_declare(st, "t", 2, columns[i]);
        watched[0] = "t:k";
        watched[1] = NULL;
        for (unsigned n = 10; n < 14; n++) {
            char text[8];
            snprintf(text, sizeof text, "%u", n);
            field_value fv[] = {{SPAN_LIT("a"), text_of(text)}, {SPAN_LIT("b"), text_of(text)}};
            op o = {.run = do_hset, .name = "t:k", .fv = fv, .fv_count = 2};
            interleaving w = {.st = st, .look = look_at_pairs};
            looks = 0;
            CHECK_STATUS(write_watched(&w, &o), FR_OK);
            CHECK(looks > 5 && hget_is(st, "t:k", "b", text));
        }
        close_sound(st);
    }
}

static fr_status run_twice(store *st, txn *t, op *o) {
    field_value fv[] = {{SPAN_LIT("a"), SPAN_LIT("77")}, {SPAN_LIT("b"), SPAN_LIT("77")}};
    size_t n;
    bool existed;
    key z = o->k;
    t->multi = true;
    fr_status status = row_set(st, t, &o->k, fv, 2, &n); /* takes the spare */
    fv[0].value = fv[1].value = o->value;
    if (status == FR_OK) status = row_set(st, t, &o->k, fv, 2, &n); /* in place, as records */
    if (status == FR_OK) status = key_delete(st, t, &o->k2, &existed);
    if (status == FR_OK) status = key_route(st, 0, SPAN_LIT("t:z"), &z, t->err);
    return status == FR_OK ? row_set(st, t, &z, fv, 2, &n) : status; /* into the image just freed */
}

static void a_reader_never_sees_half_a_batch(void) {
    store *st = big_store();
    must_declare(st, "t", 2, "a int64, b str:20");
    watched[0] = "t:k";
    watched[1] = "t:z";
    hset(st, "t:k", "a", "1");
    hset(st, "t:k", "b", "1");
    hset(st, "t:y", "a", "1");
    op o = {.run = run_twice, .name = "t:k", .other = "t:y", .value = SPAN_LIT("33")};
    interleaving w = {.st = st, .look = look_at_pairs};
    looks = 0;
    CHECK_STATUS(write_watched(&w, &o), FR_OK);
    CHECK(looks > 5 && hget_is(st, "t:k", "b", "33") && hget_is(st, "t:z", "a", "33") && !exists(st, "t:y"));
    close_sound(st);
}

/* --- against a model ---------------------------------------------------------------------------------------------- */

#define ROWS 60
typedef struct model_row {
    bool there;
    int64_t a, b;
    char s[24];
} model_row;

static uint64_t next_random(uint64_t *seed) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

static unsigned count_rows(const model_row *rows) {
    unsigned n = 0;
    for (unsigned i = 0; i < ROWS; i++) n += rows[i].there;
    return n;
}

static void model_write(store *st, model_row *rows, unsigned i, const char *name, uint64_t *seed, unsigned capacity) {
    char a[24], b[24], s[24];
    snprintf(a, sizeof a, "%lld", (long long)(int16_t)next_random(seed));
    snprintf(b, sizeof b, "%lld", (long long)next_random(seed));
    snprintf(s, sizeof s, "%.*s", (int)(next_random(seed) % 20), "abcdefghijklmnopqrstuvw");
    field_value fv[] = {{SPAN_LIT("a"), text_of(a)}, {SPAN_LIT("b"), text_of(b)}, {SPAN_LIT("s"), text_of(s)}};
    op o = {.run = do_hset, .name = name, .fv = fv, .fv_count = 1 + next_random(seed) % 3};
    bool full = !rows[i].there && count_rows(rows) == capacity;
    CHECK_STATUS(write_one(st, &o), full ? FR_TABLEFULL : FR_OK);
    if (full) return;
    if (!rows[i].there) rows[i] = (model_row){.there = true};
    rows[i].a = atoll(a);
    if (o.fv_count > 1) rows[i].b = atoll(b);
    if (o.fv_count > 2) strcpy(rows[i].s, s);
}

static void model_check(store *st, const model_row *rows) {
    char name[80], a[24], b[24];
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, i % 7 ? "t:row-%u" : "t:a row with a name that is longer than the image takes %u",
                 i);
        snprintf(a, sizeof a, "%lld", (long long)rows[i].a);
        snprintf(b, sizeof b, "%lld", (long long)rows[i].b);
        CHECK(hget_is(st, name, "a", rows[i].there ? a : "(nil)") &&
              hget_is(st, name, "b", rows[i].there ? b : "(nil)") &&
              hget_is(st, name, "s", rows[i].there ? rows[i].s : "(nil)"));
    }
    CHECK(info_of(st, "t").rows == count_rows(rows));
}

static void random_steps_agree_with_a_model(void) {
    uint64_t seed = 99;
    for (unsigned round = 0; round < 6; round++) {
        store *st = big_store();
        model_row rows[ROWS] = {{0}};
        unsigned capacity = round % 2 ? 20 : ROWS;
        must_declare(st, "t", capacity, "a int16, b int64, s str:20");
        for (unsigned step = 0; step < 2000; step++) {
            unsigned i = (unsigned)next_random(&seed) % ROWS;
            char name[80];
            snprintf(name, sizeof name,
                     i % 7 ? "t:row-%u" : "t:a row with a name that is longer than the image takes %u", i);
            if (next_random(&seed) % 3 == 0) {
                CHECK(del(st, name) == rows[i].there);
                rows[i] = (model_row){0};
            } else {
                model_write(st, rows, i, name, &seed, capacity);
            }
            if (step % 400 == 0) model_check(st, rows);
        }
        model_check(st, rows);
        close_sound(st);
    }
}

static void a_tiny_segment_has_room_for_a_table(void) {
    geometry g = layout_test();
    store *st = store_with(&g);
    must_declare(st, "t", 4, "a int32");
    fill_table(st, "t", 0, 4);
    CHECK_STATUS(try_hset(st, "t:more", "a", SPAN_LIT("1")), FR_TABLEFULL);
    close_sound(st);
}

static void incrementing_costs_little(void) {
    store *st = big_store();
    must_declare(st, "t", 100000, "a int64, b int64");
    fill_table(st, "t", 0, 1000);
    op inc = {.run = do_hincr, .name = "t:k5", .field = SPAN_LIT("a"), .by = 1};
    field_value fv[] = {{SPAN_LIT("a"), SPAN_LIT("1")}, {SPAN_LIT("b"), SPAN_LIT("2")}};
    op set = {.run = do_hset, .name = "t:k5", .fv = fv, .fv_count = 2};
    interleaving a = {.st = st}, b = {.st = st};
    CHECK_STATUS(write_watched(&a, &inc), FR_OK);
    CHECK_STATUS(write_watched(&b, &set), FR_OK);
    fprintf(stderr, "  stores: increment %u, two columns %u\n", a.stores, b.stores);
    CHECK(a.stores <= 12 && b.stores <= 20);
    close_sound(st);
}

int main(void) {
    fixture_unused();
    RUN(a_schema_names_its_faults);
    RUN(columns_are_laid_out_by_width);
    RUN(declaring_again_attaches);
    RUN(a_declaration_names_its_faults);
    RUN(a_prefix_in_use_is_refused);
    RUN(a_half_done_declaration_is_taken_over);
    RUN(tables_have_an_end);
    RUN(another_process_sees_the_change_at_once);
    RUN(a_stale_route_is_found_anew);
    RUN(rows_are_copied_and_renamed);
    RUN(flushing_keeps_declarations);
    RUN(a_row_that_was_reclaimed_leaves_a_stamp);
    RUN(spaces_of_dropped_tables_come_back);
    RUN(a_dropped_table_comes_back_as_pages);
    RUN(a_damaged_descriptor_is_an_error);
    RUN(garbage_in_an_image_never_crashes);
    RUN(a_reader_never_sees_half_a_row);
    RUN(a_reader_never_sees_half_a_batch);
    RUN(random_steps_agree_with_a_model);
    RUN(a_tiny_segment_has_room_for_a_table);
    RUN(incrementing_costs_little);
    return 0;
}
