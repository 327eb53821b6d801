/* string.h - strings: bytes, or an int64 kept as an integer. Counters, and rows of one-column tables, answer these calls
 * too where they make sense; everything else is FR_WRONGTYPE, FR_COUNTERONLY or FR_ROWONLY.
 *
 * A string that Redis would keep as an integer (text_int64, at most 20 characters) is kept as one, so INCR changes one
 * word in place.
 */
#ifndef FRIDGE_STORE_STRING_H
#define FRIDGE_STORE_STRING_H

#include "store/counter.h"

/* str_get: *found false for an absent key. */
fr_status str_get(store *st, txn *t, const key *k, value *out, bool *found);

enum set_condition { SET_ALWAYS, SET_NX, SET_XX, SET_IFEQ, SET_IFNE };
typedef struct set_options { /* zero: plain SET */
    enum set_condition condition;
    bool want_old;      /* fill old; FR_WRONGTYPE when the key holds something else than a string */
    bool keep_ttl;
    uint64_t expiry;    /* NO_EXPIRY or boot-clock ms; in the past: the key is gone at once */
    span match;         /* for IFEQ, IFNE */
    bool check_version; /* only when the key's version (or the absent key's stamp) is `version` */
    uint64_t version;
} set_options;
typedef struct set_result {
    bool done, existed;
    value old;          /* VALUE_NONE when absent; borrowed, valid until the transaction ends */
    uint64_t version;   /* new version when done, the present one otherwise */
} set_result;
fr_status str_set(store *st, txn *t, const key *k, span bytes, const set_options *o, set_result *r);

/* str_incr adds; creates at 0. FR_NOTINT, FR_OVERFLOW. expiry is kept. */
fr_status str_incr(store *st, txn *t, const key *k, int64_t by, int64_t *out);
/* str_incr_float: long double arithmetic and text as Redis prints it (%.17Lf trimmed), in buf. */
fr_status str_incr_float(store *st, txn *t, const key *k, long double by, char buf[FLOAT_TEXT], size_t *n);

fr_status str_append(store *st, txn *t, const key *k, span bytes, uint64_t *length);
fr_status str_set_range(store *st, txn *t, const key *k, uint64_t at, span bytes, uint64_t *length);

/* str_get_delete: GETDEL. str_delete_if: DELEX/DELIFEQ/CAD; *outcome 1 deleted, 0 different, -1 absent. */
fr_status str_get_delete(store *st, txn *t, const key *k, value *old, bool *found);
fr_status str_delete_if(store *st, txn *t, const key *k, span match, bool equal, int *outcome);

/* str_cas: 1 swapped (the TTL stays), 0 different, -1 absent. */
fr_status str_cas(store *st, txn *t, const key *k, span expected, span desired, int *outcome);

/* INCREX: bounded increment. *now is the value afterwards, *applied what was added: 0 when the bounds refuse. */
typedef struct bound_options {
    int64_t by;
    bounds within;
    bool persist, only_if_no_ttl;
    bool set_expiry;
    uint64_t expiry;
} bound_options;
fr_status str_incr_bounded(store *st, txn *t, const key *k, const bound_options *o, int64_t *now, int64_t *applied);

#endif
