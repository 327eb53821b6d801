/* script.h - the little language in which the crash tests state what to do to a store.
 *
 * A script is commands separated by ';', words by blanks. Words: `c*300` is 300 times that character; `%0.3` is the third
 * name (from 0) whose key lies in stripe 0, `%0q1.3` in quad 1 of it too, `%0q1p0.3` and whose hash prefix ends with
 * bit 0; `%*` means any stripe. Everything is deterministic: names, clock (NOW) and secret.
 *
 * One transaction each:  SET k v [PXAT ms|KEEPTTL|NX|XX|IFEQ v|IFNE v|SAME (by version)]..., INCR k n, INCRF k x,
 *   INCREX k n low high, APPEND k v, SETRANGE k at v, GETDEL k, DEL k..., DELIF k v, CAS k old new,
 *   EXPIRE k at [NX|XX|GT|LT], PERSIST k, RENAME a b, RENAMENX a b, COPY a b, COPYNX a b, MOVE k db, MSET k v...,
 *   HSET k f v..., HSETNX k f v, HINCR k f n, HINCRF k f x, HDEL k f..., HCAS k f old new, FLUSHDB db, FLUSHALL, SWAPDB a b,
 *   COPEN k n, TRASH stripe limit, ACQUIRE k token [SHARED|LIMIT n|QUEUE|LEASE ms|OWNED]..., RELEASE k token, FORCE k,
 *   QUIT k token, LEASE k token ms, EXTENDLEASE k token ms (locks; without OWNED the owners are clients, who do not die), PUBLISH k v,
 *   and of the mmap door's typed calls ROWPUT row (column n)..., ROWADD row column n
 *   (columns by number), ROWS row column v row column v..., TAKE row, CLEAR table,
 *   UPDATE row [IF column v..] [SET column v..] [ADD column n..] [ELSE column v..] [NX|XX] [PXAT ms]; EXEC a | b | c runs
 *   several in one.
 * Other doors:           QSET k v, QINCR k n, QADD row column n: in a straight line (quick.h), or, where that says no, as
 *   its callers do: by the general call; RESP words | words...: by a session; SYSSET name [v], SYSADD name n, SYSHSET name f v,
 *   SYSHDEL name f: the server's own database (fridge.h)
 * Around transactions:   DECLARE name capacity column type..., DROP name, TRECLAIM name, RECLAIM stripe, TRIM stripe, TICK,
 *   FOLD slot, STAT cell n, CADD k n, CADDB k n low high [SATURATE], CSET k n, CCAS k a b, WALL, REGISTER, LEAVE, REAP, GROW,
 *   REPAIR, EXPECT k v, MARK k, BELL k (somebody waits for it: wait.h)
 * Of the harness:        NOW ms, DB n, POLICY n, WAITERS (for every key), FILLQUAD stripe quad left bit, FILLSLABS stripe,
 *   FILLPOOL left, FRAGMENT n, FIELDS k n v, KEYS stripe n v, RANDOM seed n, SHRINK (the file ends soon),
 *   EXTEND (the file is longer than its header says), MISCOUNT stripe (a count of keys is wrong), SETWALL (the wall clock was
 *   stepped), FORGET (a new process, while the old one's slot stays its), GHOST slot n command (somebody else dies in mid-write: before
 *   its n-th store, or with +n before the n-th after its commit; with a great n he has done it, and died), AS slot command
 *   (somebody else runs it, and lives)
 */
#ifndef FRIDGE_TESTS_SCRIPT_H
#define FRIDGE_TESTS_SCRIPT_H

#include "store/store.h"

#define FIRST_NOW 10000u /* below any machine's uptime: a latch that is held is probed at once, not waited for */

/* Somebody who does things to a store. */
typedef struct actor {
    segment *s;
    store *st;
    uint64_t now_ms;
    uint32_t db;
    fr_error err;
} actor;

/* script_unmet: how many EXPECTs did not find their value, and calls in a straight line had to take the other way. */
extern unsigned script_unmet;

/* script_run runs all commands; the status of the last one that failed, or FR_OK. */
fr_status script_run(actor *a, const char *script);

/* script_words runs one command of any kind, in words. */
fr_status script_words(actor *a, const span *w, size_t n);

/* script_name: the n-th name with these properties; stripe, quad and bit may be -1. */
void script_name(const segment *s, int stripe, int quad, int bit, unsigned n, char out[16]);

#endif
