/* ahead.c - see ahead.h. */
#include "wire/ahead.h"

#include "store/quick.h"

#define ARGUMENTS_MAX 64u

/* number reads `<type><digits>\r\n` of at most five digits at *p and moves *p behind it. False: something else. */
static bool number(const char **p, const char *end, char type, uint32_t *out) {
    const char *at = *p, *last = end - at > 6 ? at + 6 : end;
    uint32_t n = 0;
    if (at == end || *at++ != type) return false;
    for (; at < last && *at >= '0' && *at <= '9'; at++) n = n * 10 + (uint32_t)(*at - '0');
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n') return false;
    *p = at + 2;
    *out = n;
    return true;
}

/* peek moves a->at behind one request and gives its second word. False: nothing more can be seen. */
static bool peek(ahead *a, span *word) {
    const char *p = a->at;
    uint32_t count, length;
    *word = (span){NULL, 0};
    if (!number(&p, a->end, '*', &count) || count > ARGUMENTS_MAX) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!number(&p, a->end, '$', &length) || (size_t)(a->end - p) < length + 2u) return false;
        if (i == 1) *word = (span){p, length};
        p += length + 2;
    }
    a->at = p;
    return true;
}

static void look(ahead *a, store *st, uint32_t db) {
    fr_error ignored;
    span word;
    key *k = &a->keys[a->peeked & (AHEAD_KEYS - 1)];
    if (!peek(a, &word)) {
        a->at = a->end;
        return;
    }
    a->peeked++;
    k->table = 0;
    if (word.n && key_route(st, db, word, k, &ignored) == FR_OK && k->table == NO_TABLE) quick_fetch_index(st, k);
}

void ahead_fetch(ahead *a, store *st, uint32_t db) {
    while (a->at != a->end && a->peeked < a->now + AHEAD_INDEX) look(a, st, db);
    for (; a->fetched < a->peeked && a->fetched < a->now + AHEAD_BLOCK; a->fetched++) {
        const key *k = &a->keys[a->fetched & (AHEAD_KEYS - 1)];
        if (k->table == NO_TABLE) quick_fetch_block(st, k);
    }
}
