/* segment_file.c - hostile and damaged segments: an image with everything in it, a few changes, then everything that
 * can be done to it. Only named errors may come of it: no signal, no sanitizer's word, no endless loop, no store
 * outside the window, no store into what is immutable.
 *
 * IMAGES  at rest (strings of every class, integers, hashes of both shapes, counters, tables, expiries, a flushed
 *         space, a detached tree, extents) and cut off in the middle of a commit (latches held by a process that is
 *         dead then, journals inline and spilled, frozen counters). Two geometries.
 * WAYS IN an anonymous segment between inaccessible gigabytes; one case in 32 through a real file and segment_open,
 *         with the superblock's immutable half and the file's length among what is changed.
 *
 * The boot clock is replaced by one that steps with every look at it, and futexes and naps return at once: no case
 * waits.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../crash/dump.h"
#include "hot.h"
#include "mutate.h"
#include "place.h"
#include "store/table.h"
#include "wire/session.h"

#define STEP_BUDGET UINT64_C(20000000) /* accesses to shared words that one step may make */
#define IMAGES 24
#define GUARD (UINT64_C(66) << 30) /* a slot word reaches 64 GiB */
#define ME 2u                      /* the slot of the process that does things; slot 1's is dead */

/* --- time stands still -------------------------------------------------------------------------------------------- */

static bool stepping; /* off while files are really opened: beacons and creation wait on real clocks */
static uint64_t stepped_ms;

uint64_t __real_clock_boot_ms(void);
uint64_t __wrap_clock_boot_ms(void);
uint64_t __wrap_clock_boot_ms(void) { return stepping ? stepped_ms += 3 : __real_clock_boot_ms(); }

int __wrap_nanosleep(const struct timespec *t, struct timespec *left);
int __wrap_nanosleep(const struct timespec *t, struct timespec *left) { return (void)t, (void)left, 0; }

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    va_list a;
    long arg[6];
    if (number == SYS_futex) return 0;
    va_start(a, number);
    for (int i = 0; i < 6; i++) arg[i] = va_arg(a, long);
    va_end(a);
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

/* --- what is watched ---------------------------------------------------------------------------------------------- */

static struct {
    const segment *s;
    uint64_t accesses;
} watch;

static void on_access(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    (void)ctx;
    if (++watch.accesses > STEP_BUDGET)
        fuzz_fail("more than %llu accesses in one step", (unsigned long long)STEP_BUDGET);
    if (kind == ACCESS_LD8 || !watch.s->base) return;
    uint64_t off = (uint64_t)((uintptr_t)addr - (uintptr_t)watch.s->base);
    if (off >= watch.s->reserved || len > watch.s->reserved - off)
        fuzz_fail("%zu bytes stored at offset %#llx, outside the window", len, (unsigned long long)off);
    if (off < LAYOUT_MUTABLE) fuzz_fail("a store into the immutable half, at %llu", (unsigned long long)off);
}

static void step(const char *what) {
    fuzz_step(what);
    watch.accesses = 0;
}

/* What only the loops of store.c may see. */
static fr_status named(fr_status status) {
    if (status >= FR_RETRY && status <= FR_RELOCK) fuzz_fail("an internal status came out: %d", status);
    if (status < 0 || status >= FR_STATUS_COUNT) fuzz_fail("status %d is none", status);
    return status;
}

/* --- images ------------------------------------------------------------------------------------------------------- */

static geometry shape_small(void) {
    geometry g = layout_test();
    g.max_size = 65536;
    g.tables = 4;
    g.stat_cells = 16;
    return g;
}

static geometry shape_large(void) {
    geometry g = shape_small();
    g.max_size = 512 << 10;
    g.page_size = 4096;
    g.stripes = 4;
    g.journal_records = 30;
    return g;
}

static struct {
    segment *s;
    geometry g;
} stage[2];

static struct {
    unsigned stage;
    uint8_t *bytes;
} images[IMAGES];
static unsigned image_count;

#define LONG_NAME "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
static const char populate[] =
    "ACQUIRE lock t0; ACQUIRE lock t1 QUEUE; ACQUIRE lock t2 QUEUE OWNED; ACQUIRE sem t1 SHARED 3 OWNED; ACQUIRE sem t2 SHARED 3; "
    "ACQUIRE sem t3 LIMIT 3 QUEUE; ACQUIRE sem t4 SHARED 3 QUEUE LEASE 50; PUBLISH vars {a:1}; WAITERS; "
    "DECLARE tab 8 count int32=7 reset int64 note str:8=none; DECLARE one 32 n int64; DECLARE gone 4 x float64;"
    "SET s1 v; SET s2 v*30; SET s3 v*60; SET s4 v*120; SET s5 v*200; SET run r*900;"
    "SET i1 5; SET i2 77 PXAT 99999; SET e1 x PXAT 10500; SET e2 5 PXAT 10500; SET e3 v*90 PXAT 99999;"
    "HSET h1 f v g 5 h w*30; HSET h2 f 123456789012 g w; EXPIRE h2 99999;"
    "FIELDS t1 14 v*12; HSET t1 n 5 f v; FIELDS t2 10 v*12; HSET t2 big b*70; RENAME t2 t3; EXPIRE t3 99999;"
    "FIELDS td 9 v*12; HSET td big b*70; DEL td;"
    "COPEN c1 3; COPEN c2 4; EXPIRE c2 99999; COPEN c3 5; DEL c3; COPEN c4 5; DEL c4; SET c4 text;"
    "HSET tab:a count 1 reset 9 note api; HSET tab:b count 2; EXPIRE tab:b 10500; HSET tab:" LONG_NAME " count 3;"
    "HSET one:a n 4; HSET one:b n 5; HSET one:c n 6; EXPIRE one:c 99999; HSET gone:a x 1; DROP gone;"
    "DB 1; SET s1 other; HSET h1 f v; DB 2; SET s1 flushed; SET s2 v*90; HSET h1 f v; FLUSHDB 2; DB 0";

static void give_up(const char *what, const fr_error *err) {
    fprintf(stderr, "segment_file: %s: %s\n", what, err->text);
    _exit(2);
}

/* Moves the segment's window into the middle of a range that nobody may touch. */
static void put_between_guards(segment *s) {
    uint8_t *range = mmap(NULL, 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return perror("segment_file: guards"), _exit(2);
    uint8_t *to = mremap(s->base, s->reserved, s->reserved, MREMAP_MAYMOVE | MREMAP_FIXED, range + GUARD);
    if (to == MAP_FAILED) return perror("segment_file: mremap"), _exit(2);
    s->base = to;
}

static void keep_image(unsigned at) {
    if (image_count == IMAGES) return;
    images[image_count].stage = at;
    images[image_count].bytes = malloc(stage[at].g.max_size);
    memcpy(images[image_count++].bytes, stage[at].s->base, stage[at].g.max_size);
}

static struct {
    unsigned stage, stores, since_commit, shots;
} camera;

/* Takes a picture before the 9th store, at the commit, and in the middle of applying. */
static void shoot(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    segment *s = stage[camera.stage].s;
    bool committed = false;
    (void)ctx, (void)addr, (void)len;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    for (uint32_t i = 0; i < s->g.stripes; i++) committed |= (segment_stripe(s, i)->jstate & 0xffff) != 0;
    camera.stores++;
    camera.since_commit += committed;
    if ((camera.stores == 9 && !committed) || (committed && (camera.since_commit == 1 || camera.since_commit == 6))) {
        fr_hook = NULL;
        keep_image(camera.stage);
        fr_hook = shoot;
    }
}

static void make_images(unsigned at, const geometry *g) {
    static const char *const cut_off[] = {
        "EXEC SET s1 y | INCR i1 5 | HSET h1 g w | INCR c1 3 | DEL s2 | HSET t1 n 7 f w",
        "EXEC SET n1 a*30 | SET n2 b | SET n3 c | SET n4 d | SET n5 e | SET n6 f | SET n7 g | SET n8 h | HSET n9 a b | "
        "HSET tab:c count 4",
    };
    fr_error err = {.text = ""};
    actor a = {.now_ms = FIRST_NOW};
    stage[at].g = *g;
    if (segment_anonymous(g, &stage[at].s, &err) != FR_OK) give_up("no segment", &err);
    put_between_guards(stage[at].s);
    a.s = stage[at].s;
    for (unsigned i = 0; i < 4; i++) /* a seed must say everything */
        a.s->secret[i] = segment_super(a.s)->hash_secret[i] = UINT64_C(0x9e3779b97f4a7c15) * (i + 3);
    segment_become(a.s, 1, 1);
    if (store_over(a.s, &a.st, &err) != FR_OK) give_up("no store", &err);
    fr_status status = script_run(&a, populate);
    if (status != FR_OK) give_up("populating", &a.err);
    keep_image(at);
    uint8_t *rest = images[image_count - 1].bytes;
    for (unsigned i = 0; i < FR_COUNTOF(cut_off); i++) {
        memcpy(a.s->base, rest, g->max_size);
        camera.stage = at;
        camera.stores = camera.since_commit = 0;
        fr_hook = shoot;
        script_run(&a, cut_off[i]);
        fr_hook = NULL;
    }
    memcpy(a.s->base, rest, g->max_size);
    script_run(&a, "FRAGMENT 6; SET ext e*1300; HSET t1 ext e*1300");
    keep_image(at);
    script_run(&a, "FILLPOOL 0; POLICY 1");
    keep_image(at);
    store_catalogue_free(a.st);
    free(a.st);
}

/* --- what is done to it ------------------------------------------------------------------------------------------- */

static const char *const names[] = {
    "lock", "sem", "free", "vars", "s1", "s2", "s3", "s4", "s5", "run", "i1", "i2", "e1", "e2", "e3", "h1", "h2", "t1", "t3", "c1", "c2", "c3", "c4",
    "ext", "tab:a", "tab:b", "tab:" LONG_NAME, "tab:new", "one:a", "one:b", "one:c", "gone:a", "fresh", "k60",
};

/* %s: a name each. */
static const char *const commands[] = {
    "GET %s", "SET %s w", "SET %s 5", "SET %s " LONG_NAME LONG_NAME, "SET %s v PX 5000", "SET %s v KEEPTTL GET",
    "SETNX %s 1", "GETSET %s w", "GETDEL %s", "GETEX %s PX 5000", "MGET %s %s %s", "MSET %s 1 %s w %s 77",
    "MSETNX %s 1 %s 2", "APPEND %s xyz", "STRLEN %s", "GETRANGE %s 0 -1", "SETRANGE %s 100 zz", "INCR %s",
    "DECRBY %s 7", "INCRBYFLOAT %s 1.5", "CAS %s 5 6", "CAD %s 5", "DELEX %s IFEQ v", "DELIFEQ %s v", "INCREX %s",
    "DEL %s", "DEL %s %s %s", "EXISTS %s %s", "TYPE %s", "EXPIRE %s 100", "PEXPIRE %s 1", "PERSIST %s", "PTTL %s",
    "PEXPIRETIME %s", "KEYS *", "SCAN 0 COUNT 100", "SCAN 12345 COUNT 10", "RANDOMKEY", "RENAME %s %s",
    "RENAMENX %s %s", "COPY %s %s REPLACE", "MOVE %s 1", "OBJECT ENCODING %s", "OBJECT IDLETIME %s",
    "MEMORY USAGE %s", "HSET %s f w", "HSET %s f w g 5 new z", "HSET %s count 5 note web", "HSET %s n 8",
    "HSETNX %s f w", "HGET %s f", "HGET %s big", "HGET %s count", "HMGET %s f g note reset", "HGETALL %s",
    "HDEL %s f", "HDEL %s f g n count note", "HLEN %s", "HKEYS %s", "HVALS %s", "HEXISTS %s f", "HINCRBY %s n 3",
    "HINCRBY %s count 3", "HINCRBYFLOAT %s n 0.5", "HSTRLEN %s f", "HSCAN %s 0", "HSCAN %s 777 COUNT 100",
    "HRANDFIELD %s 5 WITHVALUES", "HRANDFIELD %s -7", "HCAS %s f v w", "DBSIZE", "FLUSHDB", "FLUSHALL", "SWAPDB 0 1",
    "TABLE LIST", "TABLE INFO tab", "TABLE SCAN tab 0 COUNT 100", "TABLE SCAN one 77",
    "TABLE CREATE made CAPACITY 4 COLUMNS a int8=-5 b str:4=abcd",
    "TABLE CREATE tab CAPACITY 8 COLUMNS count int32=7 reset int64 note str:8=none", "TABLE DROP tab", "TABLE DROP one",
    "SELECT 1", "SELECT 2", "SELECT 0", "MULTI", "EXEC", "DISCARD", "WATCH %s", "INFO", "HGET %s ext",
    "GETRANGE %s 1000 1299", "TOUCH %s", "LOCK ACQUIRE %s t0", "LOCK ACQUIRE %s new PX 100", "LOCK RELEASE %s t0",
    "LOCK RELEASE %s t1", "LOCK FORCE %s", "LOCK INFO %s", "LOCK LIST",
    "EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1 %s t0", "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 %s t0 500 0",
    "EVALSHA 1cac51482acf5858da00f6d685d68f886cd6b6b2 1 %s t0 500",
};

static server_facts server = {.query_limit = 1 << 20,
                              .output_soft = 1 << 20,
                              .output_hard = 1 << 24,
                              .max_bulk = 1 << 20,
                              .max_args = 1024,
                              .command_cells = STAT_COUNT};

static void check_replies(const char *p, size_t n) {
    if (n && memmem(p, n, "internal:", 9)) fuzz_fail("an internal status came out: %.*s", (int)(n < 200 ? n : 200), p);
}

/* Feeds until the session wants more. A command that a live process holds up may park for the latch-timeout. */
static bool feed(session *ss, const char *line, size_t n) {
    for (int turn = 0; turn < 64; turn++) {
        const char *out;
        stepped_ms += 100;
        feed_result r = session_feed(ss, line, n, stepped_ms, UINT64_C(1700000000000) + stepped_ms);
        n = 0;
        if (r == FEED_HOST) session_reply_status(ss, "OK", 2);
        size_t have = session_output(ss, &out);
        check_replies(out, have);
        session_sent(ss, have);
        if (r == FEED_CLOSE) return false;
        if (r == FEED_MORE) return true;
        if (r == FEED_PARKED && turn == 40) fuzz_count(2, "sessions parked for 4 s and longer", 1);
        if (r == FEED_PARKED) stepped_ms += 1000;
    }
    fuzz_fail("a session never went on");
}

static void do_session(store *st, dice *d) {
    char line[1200];
    session *ss = session_new(st, &server, 7);
    for (uint32_t n = 2 + dice_below(d, 14); ss && n > 0; n--) {
        int used = snprintf(line, sizeof line - 2, PICK(d, commands), PICK(d, names), PICK(d, names), PICK(d, names));
        step(line);
        memcpy(line + used, "\r\n", 2);
        fuzz_count(0, "commands", 1);
        if (!feed(ss, line, (size_t)used + 2)) break;
    }
    session_free(ss);
}

static char hot_buffer[1 << 18];
static char *hot_room(hot_sink *sink, size_t n) {
    (void)sink;
    return n <= sizeof hot_buffer ? hot_buffer : NULL;
}

static void do_hot(store *st, dice *d) {
    fr_error err;
    hot_sink sink = {.room = hot_room};
    const char *name = PICK(d, names);
    span n = {name, strlen(name)}, f = SPAN_LIT("f"), text = SPAN_LIT("some bytes");
    field_value fv = {f, text};
    hot_counter_call cc = {.name = n, .step = (enum hot_step)dice_below(d, 3), .v = 3, .expected = 3};
    hot_set_call sc = {.name = n, .bytes = text, .o = {.want_old = true}, .ttl_ms = 100};
    bool flag, wait = dice_one_in(d, 2);
    int64_t v;
    int outcome;
    uint64_t version, cell;
    size_t created;
    fr_status status = FR_OK;
    uint32_t which = dice_below(d, 15);
    char what[120];
    snprintf(what, sizeof what, "hot call %u on %.64s", which, name);
    step(what);
    switch (which) {
    case 0: status = hot_get(st, 0, n, &sink, &flag, wait, &err); break;
    case 1: status = hot_get_versioned(st, 0, n, &sink, &flag, &version, wait, &err); break;
    case 2: status = hot_set(st, 0, n, text, wait, &err); break;
    case 3: status = hot_set_with(st, 0, &sc, wait, &err); break;
    case 4: status = hot_incr(st, 0, n, 5, &v, wait, &err); break;
    case 5: status = hot_cas(st, 0, n, SPAN_LIT("5"), text, &outcome, wait, &err); break;
    case 6: status = hot_delete(st, 0, n, &flag, wait, &err); break;
    case 7: status = hot_exists(st, 0, n, &flag, wait, &err); break;
    case 8: status = hot_hget(st, 0, n, f, &sink, &flag, wait, &err); break;
    case 9: status = hot_hset(st, 0, n, &fv, 1, &created, wait, &err); break;
    case 10: status = hot_hincr(st, 0, n, SPAN_LIT("n"), 2, &v, wait, &err); break;
    case 11: status = hot_hcas(st, 0, n, f, SPAN_LIT("v"), text, &outcome, wait, &err); break;
    case 12: status = hot_counter_step(st, &cc, wait, &err); break;
    case 13: status = hot_counter_read(st, n, &v, &flag, wait, &err); break;
    default:
        status = hot_counter_open(st, n, 3, &cell, wait, &err);
        if (status != FR_OK) break;
        hot_counter_get(st, cell, &v);
        hot_counter_set(st, cell, 9);
        hot_counter_cas(st, cell, 9, 10, &flag);
        counter_add(st->s, cell, 1, &v);
    }
    if (wait) named(status);
}

/* Several rows, pages and whole tables: calls that may always wait. */
static void do_many_rows(store *st, dice *d, table *tb) {
    static uint8_t there[3];
    fr_error err;
    copy_buffer page = {NULL, 0, 0}, names = {NULL, 0, 0};
    cell_in cell = {0, {.kind = VALUE_INT, .i = 4}};
    hot_row_in rows[] = {{SPAN_LIT("a"), &cell, 1}, {SPAN_LIT(LONG_NAME), &cell, 1}, {SPAN_LIT("more"), &cell, 1}};
    uint64_t n, cursor = 0;
    fr_status status = FR_OK;
    step("rows");
    switch (dice_below(d, 8)) {
    case 0: status = hot_rows_put(st, tb, rows, 3, &n, &err); break;
    case 1: status = hot_rows_delete(st, tb, rows, 3, &n, &err); break;
    case 2: if (3 * tb->stride <= sizeof hot_buffer) status = hot_rows_get(st, tb, rows, 3, hot_buffer, there, &err); break;
    case 3: status = hot_table_clear(st, tb, &n, &err); break;
    case 4: status = hot_table_copy(st, tb, &page, &names, &n, &err); break;
    case 5: if (tb->images <= sizeof hot_buffer) status = hot_table_mask(st, tb, (uint8_t *)hot_buffer, &err); break;
    case 6: status = hot_table_rows(st, tb, &cursor, 100, &page, &err); break;
    default: status = hot_table_page(st, tb, &cursor, 100, &page, &err);
    }
    free(page.p);
    free(names.p);
    named(status);
}

static void do_rows(store *st, dice *d) {
    static const char *const rows[] = {"a", "b", LONG_NAME, "new"};
    fr_error err;
    hot_sink sink = {.room = hot_room};
    table *tb;
    step("hot_table_open");
    if (hot_table_open(st, SPAN_LIT("tab"), 0, NULL, &tb, &err) != FR_OK) return;
    const char *row = PICK(d, rows);
    span n = {row, strlen(row)};
    cell_in cells[] = {{0, {.kind = VALUE_INT, .i = 4}}, {2, {.kind = VALUE_BYTES, .n = 3, .p = "abc"}}};
    bool flag, wait = dice_one_in(d, 2);
    int64_t v;
    int outcome;
    bool made;
    value out;
    row_condition when = {1, ROW_LE, {.kind = VALUE_INT, .i = 9}};
    row_steps steps = {.condition = &when, .conditions = dice_below(d, 2), .set = cells + 1, .sets = dice_below(d, 2), .add = cells,
                       .adds = 1, .defaults = dice_one_in(d, 2)};
    fr_status status = FR_OK;
    if (dice_one_in(d, 3)) return do_many_rows(st, d, tb);
    step("a row");
    if (tb->stride > sizeof hot_buffer) return;
    switch (dice_below(d, 8)) {
    case 0: status = hot_row_put(st, tb, n, cells, 2, &flag, wait, &err); break;
    case 1: status = hot_row_add(st, tb, n, 0, 3, &v, wait, &err); break;
    case 2: status = hot_row_cas(st, tb, n, 0, SPAN_LIT("1"), SPAN_LIT("2"), &outcome, wait, &err); break;
    case 3: status = hot_row_delete(st, tb, n, &flag, wait, &err); break;
    case 4:
        status = hot_row_image(st, tb, n, hot_buffer, &flag, wait, &err);
        for (uint32_t i = 0; status == FR_OK && flag && i < tb->schema.columns; i++)
            hot_image_value(&tb->schema.column[i], hot_buffer);
        break;
    case 5: status = hot_row_cell(st, tb, n, 2, &out, &sink, &flag, wait, &err); break;
    case 6: status = hot_row_take(st, tb, n, hot_buffer, &flag, wait, &err); break;
    default: status = hot_row_update(st, tb, n, &steps, hot_buffer, &flag, &made, wait, &err);
    }
    if (wait) named(status);
}

static void do_housekeeping(store *st, dice *d) {
    static const char *const scripts[] = {
        "TICK",      "RECLAIM 0", "RECLAIM 1",   "TRIM 0",      "TRIM 1",   "TRECLAIM tab",        "TRECLAIM one",
        "FOLD 1",    "FOLD 3",    "TRASH 0 100", "TRASH 1 100", "FLUSHALL", "DECLARE u 32 n int8", "DROP tab",
        "ACQUIRE lock new QUEUE", "ACQUIRE lock t2 QUEUE OWNED", "ACQUIRE sem t4 SHARED 3 QUEUE LEASE 50", "ACQUIRE free t0", "RELEASE lock t0",
        "RELEASE sem t1", "RELEASE sem t2", "QUIT lock t1", "FORCE sem", "LEASE lock t0 50", "EXTENDLEASE sem t1 50", "PUBLISH vars {a:1}",
        "PUBLISH vars {a:2}", "PUBLISH lock {}", "RENAME lock free", "COPY sem free", "EXPIRE lock 50000000000", "APPEND lock x", "DEL sem",
        "CADD c1 4", "CADDB c1 4 0 9 SATURATE", "CSET c2 9", "CCAS c1 3 4", "FILLPOOL 0",  "POLICY 3"};
    actor a = {.s = st->s, .st = st, .now_ms = stepped_ms};
    const char *script =
        scripts[dice_below(d, FR_COUNTOF(scripts) - (st->s->readonly ? 6 : 0))]; /* the last ones store themselves */
    step(script);
    script_run(&a, script);
}

static void do_verify(store *st, bool repair) {
    verify_report report;
    fr_error err;
    step(repair ? "verify, repairing" : "verify");
    fr_status status = named(store_verify(st, repair, &report, &err));
    fuzz_count(1, "damages found by verify", status == FR_DAMAGED);
}

static void do_facts(store *st) {
    process_info info;
    digest dg;
    actor a = {.s = st->s, .st = st, .now_ms = stepped_ms};
    uint64_t used, size;
    step("facts");
    for (uint32_t slot = segment_process(st->s, 0, &info); slot; slot = segment_process(st->s, slot + 1, &info)) {
    }
    heap_usage(st->s, &used, &size);
    stat_sum(st->s, STAT_expired_keys);
    step("dump");
    dump_rest(&a, &dg, NULL);
}

static void do_everything(store *st, dice *d) {
    for (uint32_t n = 1 + dice_below(d, 8); n > 0; n--) {
        switch (dice_below(d, 12)) {
        case 0: do_housekeeping(st, d); break;
        case 1: do_rows(st, d); break;
        case 2: do_facts(st); break;
        case 3: do_verify(st, dice_one_in(d, 3)); break;
        case 4:
            step("reap");
            segment_reap(st->s);
            break;
        case 5:
        case 6: do_hot(st, d); break;
        default: do_session(st, d);
        }
    }
    do_verify(st, true);
    do_verify(st, false);
    do_facts(st);
}

/* --- ways in ------------------------------------------------------------------------------------------------------ */

static void use(segment *s, dice *d) {
    fr_error err = {.text = ""};
    store *st = NULL;
    step("the catalogue");
    watch.s = s;
    fr_hook = on_access;
    if (named(store_over(s, &st, &err)) == FR_OK) {
        do_everything(st, d);
        store_catalogue_free(st);
        free(st);
    } else {
        fuzz_count(3, "catalogues refused", 1);
        step("reap");
        segment_reap(s);
    }
    fr_hook = NULL;
}

/* Makes an image the segment's memory, as ME sees it; slot 3 may be alive. */
static segment *load(unsigned which, bool living) {
    segment *s = stage[images[which].stage].s;
    memcpy(s->base, images[which].bytes, s->g.max_size);
    s->bound = segment_super(s)->size;
    s->pool_hint = 0;
    for (uint32_t i = 1; i < s->g.slots; i++) segment_set_dead(s, i, i != ME && !(living && i == 3));
    segment_become(s, ME, 1);
    return s;
}

static void through_memory(unsigned which, dice *d) {
    segment *s = load(which, dice_one_in(d, 16));
    image im = {s->base, s->g, s->l};
    for (uint32_t n = 1 + dice_below(d, dice_one_in(d, 3) ? 16 : 3); n > 0; n--) mutate(&im, d);
    use(s, d);
}

/* Unchanged, every image is sound once the dead are recovered: what verify says of a changed one means something. */
static void check_images(void) {
    fr_error err = {.text = ""};
    verify_report report;
    store *st;
    for (unsigned i = 0; i < image_count; i++) {
        if (store_over(load(i, false), &st, &err) != FR_OK) give_up("an image's catalogue", &err);
        segment_reap(st->s);
        if (store_verify(st, false, &report, &err) != FR_OK) give_up("an image is not sound", &err);
        store_catalogue_free(st);
        free(st);
    }
}

static char folder[PLACE_MAX], path[PLACE_MAX + 16], lock_path[PLACE_MAX + 24];

static void write_file(const image *im, size_t n) {
    struct stat st;
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &st) != 0) return perror(lock_path), _exit(2);
    close(fd);
    superblock *sb = (superblock *)im->bytes;
    sb->lock_ino = st.st_ino;
    sb->checksum = layout_checksum(sb);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, im->bytes, n) != (ssize_t)n) return perror(path), _exit(2);
    close(fd);
}

static void rewrite_head(const image *im) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, im->bytes, LAYOUT_MUTABLE, 0) < 0) return perror(path), _exit(2);
    close(fd);
}

static void through_file(unsigned which, dice *d) {
    segment *like = stage[images[which].stage].s, *s;
    image im = {malloc(like->g.max_size), like->g, like->l};
    fr_error err = {.text = ""};
    segment_options o = {.owner = UINT32_MAX, .readonly = dice_one_in(d, 4)};
    bool created;
    memcpy(im.bytes, images[which].bytes, im.g.max_size);
    for (uint32_t n = dice_below(d, 4); n > 0; n--) mutate(&im, d);
    write_file(&im, dice_one_in(d, 4) ? dice_next(d) % im.g.max_size : im.g.max_size);
    if (dice_one_in(d, 2)) {
        mutate_identity(&im, d);
        rewrite_head(&im);
    }
    free(im.bytes);
    step("segment_open");
    stepping = false;
    fr_status status = named(segment_open(path, &o, &s, &created, &err));
    if (status != FR_OK && err.text[0] == 0) fuzz_fail("status %d without a text", status);
    fuzz_count(4, "files opened", status == FR_OK);
    fuzz_count(5, "files refused", status != FR_OK);
    if (status != FR_OK) return;
    stepping = true;
    use(s, d);
    stepping = false;
    step("segment_close");
    segment_close(s);
    step("segment_destroy");
    named(segment_destroy(path, &err));
}

static void open_images(void) {
    geometry small = shape_small(), large = shape_large();
    stepping = true;
    stepped_ms = FIRST_NOW;
    step("making the images");
    make_images(0, &small);
    make_images(1, &large);
    check_images();
    place_new(folder);
    snprintf(path, sizeof path, "%s/segment", folder);
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
}

static void one(uint64_t seed) {
    dice d = {seed};
    stepped_ms = FIRST_NOW + 1000;
    unsigned which = dice_below(&d, image_count);
    if (dice_one_in(&d, 32)) {
        through_file(which, &d);
    } else {
        stepping = true;
        through_memory(which, &d);
    }
}

int main(int argc, char **argv) {
    static const fuzz_target target = {"segment_file", open_images, one};
    return fuzz_main(&target, argc, argv);
}
