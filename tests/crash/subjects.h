/* subjects.h - what the writers of the kill storm write, and the oracle outside the segment that knows what must be
 * there.
 *
 * Each writer owns one key (or few) of every subject below, and numbers its writes. Before a write it says in the
 * oracle, a page that it shares with the driver, which number begins; afterwards which is done. A subject must at any
 * time show one of the two, whole: values carry their number in every byte. What all writers share (a row, counters,
 * accounts that move money between each other) is compared as a sum.
 *
 * A look under a latch settles: it recovers a dead owner first, so what it sees is what stays. A look without one may
 * still see what was there before, though the dead had committed; the other way round would be a violation.
 */
#ifndef FRIDGE_TESTS_SUBJECTS_H
#define FRIDGE_TESTS_SUBJECTS_H

#include "hot.h"

/* X(NAME, what it is) */
#define SUBJECTS(X) \
    X(STRING, "string of every size, in blocks, in place, in pages") \
    X(INTEGER, "integer") \
    X(MANY, "four keys of one MSET") \
    X(ROW, "three columns of a row in one step") \
    X(CELL, "one column of a row, in place") \
    X(INSERT, "row inserted and deleted") \
    X(PAIR, "two numbers of a row in one update, in place") \
    X(TREE, "large hash: a field and another in one step, emptied every 48") \
    X(SMALL, "small hash") \
    X(TOGGLE, "key inserted and deleted") \
    X(MOVED, "large hash renamed to and fro") \
    X(EXPIRING, "key with and without an expiry") \
    X(COUNTER, "counter, without a latch") \
    X(EXEC, "counter and string in one transaction")
enum subject {
#define X(name, what) SUBJECT_##name,
    SUBJECTS(X)
#undef X
    SUBJECT_COUNT
};
extern const char *const subject_names[SUBJECT_COUNT];

/* What all writers add to. SHARED_STATISTIC: a process's own statistics cell, which recovery folds. */
enum shared { SHARED_COUNTER, SHARED_INTEGER, SHARED_CELL, SHARED_STATISTIC, SHARED_COUNT };

#define ACCOUNTS 8u       /* their sum is 0; the last one is a counter */
#define TREE_FIELDS 48u
#define ROWS_A_WRITER 4u
#define LOOKS_A_SUBJECT 5u
#define LOOK_BYTES 12288u

typedef struct mark {
    uint64_t begun, done; /* __atomic */
} mark;

/* A writer as its oracle knows it; lives in the shared page. */
typedef struct record_of {
    mark own[SUBJECT_COUNT];
    mark shared[SHARED_COUNT];
} record_of;

/* Somebody's view of the segment. */
typedef struct view {
    store *st;
    table *tb;
    uint64_t counter[2]; /* cells of the writer's own counter and of the shared one; 0 = not opened */
    uint32_t writers;
    fr_error err;
} view;

/* subjects_create declares the table and makes the shared keys; once, before the writers. view_open binds a store. */
fr_status subjects_create(store *st, uint32_t writers, fr_error *err);
fr_status view_open(view *v, store *st, uint32_t writers);

/* subject_write makes number `seq` of writer w's subject; the status of the engine. */
fr_status subject_write(view *v, uint32_t w, enum subject s, uint64_t seq);
/* shared_add adds 1 to a shared subject. account_move moves money between two accounts, in one transaction. */
fr_status shared_add(view *v, uint32_t w, enum shared s);
fr_status account_move(view *v, uint64_t random);

/* What was seen of a subject. */
typedef struct look {
    uint32_t writer;
    enum subject subject;
    uint32_t found;                /* bit i: part i is there */
    uint32_t fields;
    uint64_t n[LOOKS_A_SUBJECT], expiry;
    bool torn, parity_only;        /* what subject_judge made of it */
    uint64_t seq;                  /* the number it shows; parity_only: its lowest bit counts, 0 = never written */
    char bytes[LOOK_BYTES * 4];
    struct {
        char name[16];
        char text[112];
        uint32_t n;
    } field[TREE_FIELDS + 2];
} look;

/* subject_look reads and judges. latched: in a writing transaction, which settles. */
fr_status subject_look(view *v, uint32_t w, enum subject s, bool latched, look *l);
/* look_shows: could this be number seq? */
bool look_shows(const look *l, uint64_t seq);
/* look_text says in words what was seen. */
const char *look_text(const look *l);

/* MANY's keys one after the other, each in a read of its own: the later one must not be older. */
fr_status many_in_order(view *v, uint32_t w, look *l, bool *ordered);

/* accounts_sum reads all accounts at one instant; shared_value a shared subject. */
fr_status accounts_sum(view *v, bool latched, int64_t *sum);
fr_status shared_value(view *v, enum shared s, uint64_t *value);

/* probe_name: integer keys "q0".. that exist for whoever needs a key of a certain stripe. */
#define PROBES 128u
span probe_name(unsigned i, char buf[16]);
fr_status probe_key(view *v, unsigned i, key *k, char buf[16]);

#endif
