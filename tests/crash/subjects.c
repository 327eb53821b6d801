/* subjects.c - see subjects.h. Sections: names and payloads; making; writing; looking; judging; what is shared. */
#include "subjects.h"

#include <stdio.h>
#include <stdlib.h>

#define FOR_AN_HOUR 3600000u
#define PAD 80u /* bytes that make a field's value too large for a packed hash */

const char *const subject_names[SUBJECT_COUNT] = {
#define X(name, what) what,
    SUBJECTS(X)
#undef X
};

/* --- names and payloads ------------------------------------------------------------------------------------------- */

static span name_in(char buf[16], const char *form, unsigned a, unsigned b) {
    return (span){buf, (size_t)snprintf(buf, 16, form, a, b)};
}

span probe_name(unsigned i, char buf[16]) { return name_in(buf, "q%u", i, 0); }

/* The keys of a subject; how many. Rows: their name in the table. */
static unsigned keys_of(uint32_t w, enum subject s, char names[4][16], span out[4]) {
    static const char *const forms[SUBJECT_COUNT] = {"s%u", "i%u", "m%u.%u", "r%u", "c%u", "n%u", "p%u", "t%u",
                                                     "h%u", "d%u", "v%u.%u", "e%u", "C%u", "x%u.%u"};
    unsigned n = s == SUBJECT_MANY ? 4 : s == SUBJECT_MOVED || s == SUBJECT_EXEC ? 2 : 1;
    for (unsigned i = 0; i < n; i++) out[i] = name_in(names[i], forms[s], w, i);
    return n;
}

/* Eight of a length, then another: changes in place, of the block, of the class, of the kind of memory. */
static size_t payload_length(uint64_t seq) {
    static const uint16_t lengths[] = {24, 60, 24, 300, 2000, 60, 700, 5000, 130, 11000};
    return lengths[seq / 8 % FR_COUNTOF(lengths)] + (seq / 80 % 3) * 8;
}

/* Bytes that follow from writer and number: head "writer:number:", then noise. */
static span payload(uint32_t w, uint64_t seq, char *buf) {
    size_t n = payload_length(seq), at = (size_t)sprintf(buf, "%u:%llu:", w, (unsigned long long)seq);
    uint64_t x = seq * UINT64_C(0x9e3779b97f4a7c15) + w + 1;
    for (; at < n; at += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(buf + at, &x, 8);
    }
    return (span){buf, n};
}

static bool payload_seq(uint32_t w, const char *p, size_t n, uint64_t *seq) {
    static char want[LOOK_BYTES];
    char head[40] = "";
    unsigned writer;
    unsigned long long number;
    memcpy(head, p, n < 39 ? n : 39);
    if (sscanf(head, "%u:%llu:", &writer, &number) != 2 || writer != w) return false;
    *seq = number;
    return span_eq(payload(w, number, want), (span){p, n});
}

static span padded(uint64_t seq, char buf[112]) {
    int n = sprintf(buf, "%llu:", (unsigned long long)seq);
    memset(buf + n, 'a' + (int)(seq % 26), PAD);
    return (span){buf, (size_t)n + PAD};
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static const char TABLE[] = "storm";

static span shared_name(enum shared s) {
    static const char *const names[] = {"Shared", "shared", "shared row", ""};
    return (span){names[s], strlen(names[s])};
}

static span account_name(unsigned i, char buf[16]) { return name_in(buf, "account%u", i, 0); }

fr_status subjects_create(store *st, uint32_t writers, fr_error *err) {
    static schema sc;
    table *tb;
    uint64_t cell;
    int64_t out;
    char buf[16];
    sc.columns = 0;
    hot_schema_add(&sc, SPAN_LIT("a"), SPAN_LIT("int64"), err);
    hot_schema_add(&sc, SPAN_LIT("b"), SPAN_LIT("int64"), err);
    hot_schema_add(&sc, SPAN_LIT("note"), SPAN_LIT("str:32"), err);
    fr_status status = hot_table_open(st, SPAN_LIT(TABLE), ROWS_A_WRITER * writers + 1, &sc, &tb, err);
    if (status == FR_OK) status = hot_counter_open(st, shared_name(SHARED_COUNTER), 0, &cell, true, err);
    if (status == FR_OK) status = hot_counter_open(st, account_name(ACCOUNTS - 1, buf), 0, &cell, true, err);
    for (unsigned i = 0; status == FR_OK && i < ACCOUNTS - 1; i++)
        status = hot_incr(st, 0, account_name(i, buf), 0, &out, true, err);
    for (unsigned i = 0; status == FR_OK && i < PROBES; i++)
        status = hot_incr(st, 0, probe_name(i, buf), 0, &out, true, err);
    return status;
}

fr_status view_open(view *v, store *st, uint32_t writers) {
    *v = (view){.st = st, .writers = writers};
    return hot_table_open(st, SPAN_LIT(TABLE), 0, NULL, &v->tb, &v->err);
}

fr_status probe_key(view *v, unsigned i, key *k, char buf[16]) {
    return key_route(v->st, 0, probe_name(i, buf), k, &v->err);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

typedef struct job {
    uint32_t w;
    enum subject s;
    uint64_t seq;
    fr_error *err;
    unsigned n;
    span keys[4];
    char names[4][16];
    int64_t by;
} job;

static fr_status put(store *st, txn *t, const key *k, span bytes, uint64_t expiry) {
    set_options o = {.expiry = expiry};
    set_result r;
    return str_set(st, t, k, bytes, &o, &r);
}

static fr_status write_fields(store *st, txn *t, const key *k, uint64_t seq, bool empty_first) {
    char name[16], value[112], last[112];
    field_value fv[2] = {{name_in(name, "f%02u", (unsigned)(seq % TREE_FIELDS), 0), padded(seq, value)},
                         {SPAN_LIT("last"), padded(seq, last)}};
    bool existed;
    size_t created;
    fr_status status = empty_first ? key_delete(st, t, k, &existed) : FR_OK;
    return status == FR_OK ? hash_set(st, t, k, fv, 2, FIELD_ALWAYS, &created) : status;
}

static fr_status write_op(store *st, txn *t, void *ctx) {
    static char bytes[LOOK_BYTES];
    job *j = ctx;
    key k[4];
    bool done;
    int64_t out;
    fr_status status = FR_OK;
    for (unsigned i = 0; i < j->n && status == FR_OK; i++) status = key_route(st, 0, j->keys[i], &k[i], j->err);
    if (status != FR_OK) return status;
    switch (j->s) {
    case SUBJECT_MANY:
        for (unsigned i = 0; i < 4 && status == FR_OK; i++)
            status = put(st, t, &k[i], payload(j->w, j->seq, bytes), NO_EXPIRY);
        return status;
    case SUBJECT_TREE: return write_fields(st, t, &k[0], j->seq, j->seq % TREE_FIELDS == 0);
    case SUBJECT_MOVED:
        if (j->seq == 1) return write_fields(st, t, &k[1], 1, false);
        return key_rename(st, t, &k[!(j->seq & 1)], &k[j->seq & 1], false, &done);
    case SUBJECT_EXPIRING:
        return put(st, t, &k[0], payload(j->w, j->seq, bytes), j->seq & 1 ? t->now_ms + FOR_AN_HOUR : NO_EXPIRY);
    default: /* EXEC */
        status = str_incr(st, t, &k[0], 1, &out);
        return status == FR_OK ? put(st, t, &k[1], payload(j->w, j->seq, bytes), NO_EXPIRY) : status;
    }
}

static fr_status stripes_of(view *v, const job *j, stripe_set *set) {
    key k;
    fr_status status = FR_OK;
    stripe_set_clear(set);
    for (unsigned i = 0; i < j->n && status == FR_OK; i++) {
        status = key_route(v->st, 0, j->keys[i], &k, &v->err);
        if (status == FR_OK) stripe_set_add(set, k.stripe);
    }
    return status;
}

static fr_status in_transaction(view *v, job *j) {
    stripe_set set;
    fr_status status = stripes_of(v, j, &set);
    return status == FR_OK ? store_write(v->st, clock_boot_ms(), UINT64_MAX, &set, write_op, j, &v->err) : status;
}

static fr_status put_row(view *v, span name, uint64_t seq, bool wait) {
    char note[24];
    bool created;
    int n = sprintf(note, "%llu", (unsigned long long)seq);
    cell_in cells[3] = {{0, {.kind = VALUE_INT, .i = (int64_t)seq}},
                        {1, {.kind = VALUE_INT, .i = -(int64_t)seq}},
                        {2, {.kind = VALUE_BYTES, .p = note, .n = (uint64_t)n}}};
    return hot_row_put(v->st, v->tb, name, cells, 3, &created, wait, &v->err);
}

static fr_status put_pair(view *v, span name, uint64_t seq, bool wait) {
    _Alignas(8) char image[512];
    bool done, created;
    cell_in set = {1, {.kind = VALUE_INT, .i = -(int64_t)seq}}, add = {0, {.kind = VALUE_INT, .i = 1}};
    row_steps steps = {.set = &set, .sets = 1, .add = &add, .adds = 1};
    return hot_row_update(v->st, v->tb, name, &steps, image, &done, &created, wait, &v->err);
}

/* The mmap door's calls: a first try that waits for nobody, then the patient one. */
static fr_status write_hot(view *v, const job *j, bool wait) {
    static char bytes[LOOK_BYTES];
    char field[16], text[112];
    bool existed;
    int64_t out;
    size_t created;
    switch (j->s) {
    case SUBJECT_STRING: return hot_set(v->st, 0, j->keys[0], payload(j->w, j->seq, bytes), wait, &v->err);
    case SUBJECT_INTEGER: return hot_incr(v->st, 0, j->keys[0], 1, &out, wait, &v->err);
    case SUBJECT_ROW: return put_row(v, j->keys[0], j->seq, wait);
    case SUBJECT_CELL: return hot_row_add(v->st, v->tb, j->keys[0], 0, 1, &out, wait, &v->err);
    case SUBJECT_PAIR: return put_pair(v, j->keys[0], j->seq, wait);
    case SUBJECT_INSERT:
        if (j->seq & 1) return put_row(v, j->keys[0], j->seq, wait);
        return hot_row_delete(v->st, v->tb, j->keys[0], &existed, wait, &v->err);
    case SUBJECT_TOGGLE:
        if (j->seq & 1) return hot_set(v->st, 0, j->keys[0], payload(j->w, j->seq, bytes), wait, &v->err);
        return hot_delete(v->st, 0, j->keys[0], &existed, wait, &v->err);
    default: { /* SMALL */
        int n = sprintf(text, "%llu", (unsigned long long)j->seq);
        span value = {text, (size_t)n};
        field_value fv[2] = {{name_in(field, "f%02u", (unsigned)(j->seq % 8), 0), value}, {SPAN_LIT("last"), value}};
        return hot_hset(v->st, 0, j->keys[0], fv, 2, &created, wait, &v->err);
    }
    }
}

static fr_status add_to_counter(view *v, span name, uint64_t *cell) {
    int64_t out;
    fr_status status = *cell ? FR_OK : hot_counter_open(v->st, name, 0, cell, true, &v->err);
    if (status != FR_OK) return status;
    status = counter_add(v->st->s, *cell, 1, &out);
    hot_counter_call c = {.name = name, .step = HOT_ADD, .v = 1};
    return status == FR_RETRY ? hot_counter_step(v->st, &c, true, &v->err) : status;
}

fr_status subject_write(view *v, uint32_t w, enum subject s, uint64_t seq) {
    job j = {.w = w, .s = s, .seq = seq, .err = &v->err};
    j.n = keys_of(w, s, j.names, j.keys);
    if (s == SUBJECT_COUNTER) return add_to_counter(v, j.keys[0], &v->counter[0]);
    if (s == SUBJECT_MANY || s == SUBJECT_TREE || s == SUBJECT_MOVED || s == SUBJECT_EXPIRING)
        return in_transaction(v, &j);
    if (s == SUBJECT_EXEC) {
        uint64_t cell;
        fr_status status = seq == 1 ? hot_counter_open(v->st, j.keys[0], 0, &cell, true, &v->err) : FR_OK;
        return status == FR_OK ? in_transaction(v, &j) : status;
    }
    fr_status status = write_hot(v, &j, false);
    return hot_again(status) ? write_hot(v, &j, true) : status;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

typedef struct looking {
    job j;
    look *l;
    view *v;
} looking;

static fr_status keep(segment *s, look *l, unsigned part, const value *v) {
    char text[VALUE_TEXT], *to = l->bytes + part * LOOK_BYTES;
    if (v->kind != VALUE_BYTES) {
        span t = value_text(v, text);
        memcpy(to, t.p, l->n[part] = t.n);
        return FR_OK;
    }
    l->n[part] = v->n < LOOK_BYTES ? v->n : LOOK_BYTES;
    return value_copy(s, v, 0, l->n[part], to);
}

static fr_status keep_key(store *st, txn *t, looking *a, unsigned part) {
    key k;
    value v;
    bool found;
    fr_status status = key_route(st, 0, a->j.keys[part], &k, a->j.err);
    if (status == FR_OK) status = str_get(st, t, &k, &v, &found);
    if (status != FR_OK || !found) return status;
    a->l->found |= 1u << part;
    return keep(st->s, a->l, part, &v);
}

static fr_status keep_cell(store *st, txn *t, looking *a, uint32_t column) {
    char full[32];
    key k;
    value v;
    bool found;
    span name = {full, (size_t)snprintf(full, sizeof full, "%s:%.*s", TABLE, (int)a->j.keys[0].n, a->j.keys[0].p)};
    fr_status status = key_route(st, 0, name, &k, a->j.err);
    if (status == FR_OK) status = row_cell(st, t, &k, column, &v, &found);
    if (status != FR_OK || !found) return status;
    a->l->found |= 1u << column;
    return keep(st->s, a->l, column, &v);
}

static fr_status keep_field(void *ctx, span field, const value *v) {
    looking *a = ctx;
    look *l = a->l;
    char text[VALUE_TEXT];
    if (l->fields >= FR_COUNTOF(l->field)) {
        l->fields++; /* more than there can be: torn, or a reader that lost a race */
        return FR_OK;
    }
    size_t n = field.n < 15 ? field.n : 15;
    memcpy(l->field[l->fields].name, field.p, n);
    l->field[l->fields].name[n] = 0;
    span t = v->kind == VALUE_BYTES ? (span){v->p, v->n < 112 ? v->n : 112} : value_text(v, text);
    if (t.p) memcpy(l->field[l->fields].text, t.p, t.n);
    l->field[l->fields++].n = t.p ? (uint32_t)t.n : 0;
    return FR_OK;
}

static fr_status keep_hash(store *st, txn *t, looking *a, unsigned part) {
    key k;
    uint64_t n;
    fr_status status = key_route(st, 0, a->j.keys[part], &k, a->j.err);
    if (status == FR_OK) status = hash_length(st, t, &k, &n);
    if (status != FR_OK || n == 0) return status;
    a->l->found |= 1u << part;
    return hash_each(st, t, &k, keep_field, a);
}

static fr_status look_op(store *st, txn *t, void *ctx) {
    looking *a = ctx;
    fr_status status = FR_OK;
    a->l->found = a->l->fields = 0;
    a->l->expiry = 0;
    switch (a->j.s) {
    case SUBJECT_ROW:
    case SUBJECT_CELL:
    case SUBJECT_PAIR:
    case SUBJECT_INSERT:
        for (uint32_t c = 0; c < 3 && status == FR_OK; c++) status = keep_cell(st, t, a, c);
        return status;
    case SUBJECT_TREE:
    case SUBJECT_SMALL:
    case SUBJECT_MOVED:
        for (unsigned i = 0; i < a->j.n && status == FR_OK; i++) status = keep_hash(st, t, a, i);
        return status;
    case SUBJECT_EXPIRING: {
        key k;
        found f;
        status = key_route(st, 0, a->j.keys[0], &k, a->j.err);
        if (status == FR_OK) status = key_find(st, t, &k, &f);
        if (status == FR_OK) a->l->expiry = f.exists ? f.expiry : 0;
        return status == FR_OK ? keep_key(st, t, a, 0) : status;
    }
    default:
        for (unsigned i = 0; i < a->j.n && status == FR_OK; i++) status = keep_key(st, t, a, i);
        return status;
    }
}

/* --- judging ------------------------------------------------------------------------------------------------------ */

static uint64_t number_in(const look *l, unsigned part) {
    char text[32] = "";
    memcpy(text, l->bytes + part * LOOK_BYTES, l->n[part] < 31 ? l->n[part] : 31);
    return strtoull(text, NULL, 10);
}

static bool judge_payload(look *l, unsigned part, uint64_t *seq) {
    return payload_seq(l->writer, l->bytes + part * LOOK_BYTES, l->n[part], seq);
}

static bool judge_fields(look *l, bool tree) {
    uint32_t last = UINT32_MAX;
    char want[112];
    if (l->fields == 0 || l->fields > TREE_FIELDS + 1) return false;
    for (uint32_t i = 0; i < l->fields; i++)
        if (strcmp(l->field[i].name, "last") == 0) last = i;
    if (last == UINT32_MAX) return false;
    l->field[last].text[l->field[last].n < 111 ? l->field[last].n : 111] = 0;
    l->seq = strtoull(l->field[last].text, NULL, 10);
    uint64_t period = tree ? TREE_FIELDS : 8, first = l->seq < period ? 1 : l->seq - period + 1;
    if (tree) first = l->seq - l->seq % period;
    if (first == 0) first = 1;
    if (l->fields != l->seq - first + 2) return false;
    for (uint32_t i = 0; i < l->fields; i++) {
        uint64_t at = i == last ? 0 : strtoull(l->field[i].name + 1, NULL, 10);
        uint64_t seq = i == last ? l->seq : l->seq - (l->seq + period - at) % period;
        if (tree) padded(seq, want);
        uint32_t n = tree ? (uint32_t)padded(seq, want).n : (uint32_t)sprintf(want, "%llu", (unsigned long long)seq);
        if (n != l->field[i].n || memcmp(want, l->field[i].text, n) || seq < first) return false;
    }
    return true;
}

static bool judge_row(look *l, unsigned columns) {
    char want[3][24];
    l->seq = number_in(l, 0);
    unsigned long long seq = l->seq;
    int n[3] = {sprintf(want[0], "%llu", seq), sprintf(want[1], "-%llu", seq), sprintf(want[2], "%llu", seq)};
    if (l->found != 7) return false;
    for (unsigned i = 0; i < columns; i++)
        if ((uint64_t)n[i] != l->n[i] || memcmp(want[i], l->bytes + i * LOOK_BYTES, l->n[i])) return false;
    return true;
}

/* Fills torn, parity_only and seq. */
static void judge(look *l) {
    uint64_t other = 0;
    bool whole = true;
    l->seq = 0;
    l->parity_only = false;
    switch (l->subject) {
    case SUBJECT_INTEGER:
    case SUBJECT_COUNTER:
    case SUBJECT_CELL: l->seq = l->found & 1 ? number_in(l, 0) : 0; break;
    case SUBJECT_ROW: whole = l->found == 0 || judge_row(l, 3); break;
    case SUBJECT_PAIR: whole = l->found == 0 || judge_row(l, 2); break;
    case SUBJECT_INSERT:
        whole = l->found == 0 || (judge_row(l, 3) && l->seq & 1);
        l->parity_only = l->found == 0;
        break;
    case SUBJECT_TREE:
    case SUBJECT_SMALL: whole = l->found == 0 || judge_fields(l, l->subject == SUBJECT_TREE); break;
    case SUBJECT_MOVED:
        whole = l->found == 0 || (l->found != 3 && judge_fields(l, true) && l->seq == 1);
        l->seq = l->found == 0 ? 0 : l->found == 2 ? 1 : 2;
        l->parity_only = l->found != 0;
        break;
    case SUBJECT_MANY:
        whole = l->found == 0 || (l->found == 15 && judge_payload(l, 0, &l->seq));
        for (unsigned i = 1; i < 4 && whole && l->found; i++) whole = judge_payload(l, i, &other) && other == l->seq;
        break;
    case SUBJECT_TOGGLE:
        whole = l->found == 0 || (judge_payload(l, 0, &l->seq) && l->seq & 1);
        l->parity_only = l->found == 0;
        break;
    case SUBJECT_EXEC: /* the counter is opened, at 0, before the first transaction */
        whole = !(l->found & 2) || judge_payload(l, 1, &l->seq);
        if (whole) whole = (l->found & 1 ? number_in(l, 0) : 0) == l->seq;
        break;
    default:
        whole = l->found == 0 || judge_payload(l, 0, &l->seq);
        if (l->subject == SUBJECT_EXPIRING && whole) whole = (l->expiry != 0) == (l->seq & 1);
    }
    l->torn = !whole;
}

bool look_shows(const look *l, uint64_t seq) {
    if (l->torn) return false;
    if (!l->parity_only) return l->seq == seq;
    return (seq & 1) == (l->seq & 1) && (l->subject != SUBJECT_MOVED || seq > 0);
}

const char *look_text(const look *l) {
    static char text[256];
    int n = snprintf(text, sizeof text, "%s%s number %llu, parts %x, %u fields, %llu bytes", l->torn ? "TORN, " : "",
                     l->parity_only ? "by parity" : "", (unsigned long long)l->seq, l->found, l->fields,
                     (unsigned long long)l->n[0]);
    if (l->torn && n < 150 && l->found & 1) {
        for (unsigned i = 0; i < 60 && i < l->n[0]; i++) {
            char c = l->bytes[i];
            text[n++] = c >= ' ' && c <= '~' ? c : '.';
        }
        text[n] = 0;
    }
    return text;
}

fr_status subject_look(view *v, uint32_t w, enum subject s, bool latched, look *l) {
    looking a = {.j = {.w = w, .s = s, .err = &v->err}, .l = l, .v = v};
    stripe_set set;
    l->writer = w;
    l->subject = s;
    memset(l->n, 0, sizeof l->n);
    a.j.n = keys_of(w, s, a.j.names, a.j.keys);
    fr_status status = FR_OK;
    if (!latched) {
        status = store_read(v->st, clock_boot_ms(), NULL, look_op, &a, &v->err);
    } else {
        store_all_stripes(v->st, &set); /* rows lie in a stripe that only the table knows */
        status = store_write(v->st, clock_boot_ms(), UINT64_MAX, &set, look_op, &a, &v->err);
    }
    if (status == FR_OK) judge(l);
    return status;
}

fr_status many_in_order(view *v, uint32_t w, look *l, bool *ordered) {
    looking a = {.j = {.w = w, .s = SUBJECT_STRING, .err = &v->err}, .l = l, .v = v};
    span keys[4];
    char names[4][16];
    uint64_t last = 0, seq;
    *ordered = true;
    l->writer = w;
    keys_of(w, SUBJECT_MANY, names, keys);
    a.j.n = 1;
    for (unsigned i = 0; i < 4; i++) {
        a.j.keys[0] = keys[i];
        fr_status status = store_read(v->st, clock_boot_ms(), NULL, look_op, &a, &v->err);
        if (status != FR_OK) return status;
        seq = 0;
        if (l->found && !judge_payload(l, 0, &seq)) *ordered = false;
        if (seq < last) *ordered = false;
        last = seq;
    }
    return FR_OK;
}

/* --- what is shared ----------------------------------------------------------------------------------------------- */

fr_status shared_add(view *v, uint32_t w, enum shared s) {
    int64_t out;
    fr_status status;
    (void)w;
    switch (s) {
    case SHARED_COUNTER: return add_to_counter(v, shared_name(s), &v->counter[1]);
    case SHARED_INTEGER:
        status = hot_incr(v->st, 0, shared_name(s), 1, &out, false, &v->err);
        return hot_again(status) ? hot_incr(v->st, 0, shared_name(s), 1, &out, true, &v->err) : status;
    case SHARED_CELL:
        status = hot_row_add(v->st, v->tb, shared_name(s), 0, 1, &out, false, &v->err);
        return hot_again(status) ? hot_row_add(v->st, v->tb, shared_name(s), 0, 1, &out, true, &v->err) : status;
    default: /* before it is registered a process counts privately */
        stat_add(v->st->s, STAT_auth_failures, 1);
        return FR_OK;
    }
}

static fr_status move_op(store *st, txn *t, void *ctx) {
    job *j = ctx;
    key k;
    int64_t out;
    fr_status status = FR_OK;
    for (unsigned i = 0; i < 2 && status == FR_OK; i++) {
        status = key_route(st, 0, j->keys[i], &k, j->err);
        if (status == FR_OK) status = str_incr(st, t, &k, i ? -j->by : j->by, &out);
    }
    return status;
}

fr_status account_move(view *v, uint64_t random) {
    job j = {.err = &v->err, .n = 2, .by = (int64_t)(random >> 40 & 0xffff) - 0x8000};
    unsigned from = (unsigned)(random % ACCOUNTS);
    unsigned to = (from + 1 + (unsigned)(random >> 8) % (ACCOUNTS - 1)) % ACCOUNTS;
    j.keys[0] = account_name(from, j.names[0]);
    j.keys[1] = account_name(to, j.names[1]);
    stripe_set set;
    fr_status status = stripes_of(v, &j, &set);
    return status == FR_OK ? store_write(v->st, clock_boot_ms(), UINT64_MAX, &set, move_op, &j, &v->err) : status;
}

typedef struct adding {
    view *v;
    int64_t sum;
} adding;

static fr_status sum_op(store *st, txn *t, void *ctx) {
    adding *a = ctx;
    char buf[16];
    a->sum = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        key k;
        value v;
        bool found;
        char text[VALUE_TEXT + 1] = "";
        fr_status status = key_route(st, 0, account_name(i, buf), &k, &a->v->err);
        if (status == FR_OK) status = str_get(st, t, &k, &v, &found);
        if (status != FR_OK) return status;
        if (!found || v.kind == VALUE_BYTES) a->sum = INT64_MIN / 2;
        else value_text(&v, text), a->sum += strtoll(text, NULL, 10);
    }
    return FR_OK;
}

fr_status accounts_sum(view *v, bool latched, int64_t *sum) {
    adding a = {v, 0};
    stripe_set set;
    store_all_stripes(v->st, &set);
    fr_status status = latched ? store_write(v->st, clock_boot_ms(), UINT64_MAX, &set, sum_op, &a, &v->err)
                               : store_read(v->st, clock_boot_ms(), NULL, sum_op, &a, &v->err);
    *sum = a.sum;
    return status;
}

fr_status shared_value(view *v, enum shared s, uint64_t *out) {
    static look l;
    looking a = {.j = {.s = s == SHARED_CELL ? SUBJECT_CELL : SUBJECT_STRING, .err = &v->err, .n = 1}, .l = &l, .v = v};
    if (s == SHARED_STATISTIC) {
        *out = stat_sum(v->st->s, STAT_auth_failures);
        return FR_OK;
    }
    stripe_set set;
    store_all_stripes(v->st, &set);
    a.j.keys[0] = shared_name(s);
    fr_status status = store_write(v->st, clock_boot_ms(), UINT64_MAX, &set, look_op, &a, &v->err);
    *out = l.found & 1 ? number_in(&l, 0) : 0;
    return status;
}
