/* robust.c - a pair of words in shared memory under a pthread robust mutex: the contender of peers_crash.py.
 *
 * Written as the manual pages say: process-shared, robust, EOWNERDEAD answered by repairing the pair and
 * pthread_mutex_consistent. `first` is raised before `second`, so that the repair is to let the second follow. What is
 * wrong when it fails is therefore the mutex, not its use. Compiled by contenders.py as a shared library.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

typedef struct pair {
    pthread_mutex_t mutex;
    uint64_t inside; /* who believes to be inside: written on entering, looked at before leaving */
    uint64_t first, second;
} pair;

/* What robust_add did, beside its result. */
typedef struct outcome {
    uint64_t number;  /* the pair's new value */
    uint64_t torn;    /* 1: the pair was not whole, and nobody had been reported dead */
    uint64_t overlap; /* 1: somebody came inside before we left */
    uint64_t dead;    /* 1: a dead owner was reported */
} outcome;

size_t robust_bytes(void) { return sizeof(pair); }

int robust_make(pair *p, int inherit) {
    pthread_mutexattr_t a;
    memset(p, 0, sizeof *p);
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    if (inherit) pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    return pthread_mutex_init(&p->mutex, &a);
}

static uint64_t get(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static void put(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

static int enter(pair *p, uint64_t me, outcome *out) {
    int error = pthread_mutex_lock(&p->mutex);
    memset(out, 0, sizeof *out);
    if (error == EOWNERDEAD) {
        out->dead = 1;
        put(&p->second, get(&p->first));
        error = pthread_mutex_consistent(&p->mutex);
    }
    if (error == 0) put(&p->inside, me);
    return error;
}

/* robust_add raises both words; `work` turns of a loop between them make the section as long as a small one is. 0, or
 * what the mutex answered. */
int robust_add(pair *p, uint64_t me, unsigned work, outcome *out) {
    int error = enter(p, me, out);
    if (error) return error;
    uint64_t first = get(&p->first);
    out->torn = first != get(&p->second);
    put(&p->first, first + 1);
    for (volatile unsigned i = 0; i < work; i++) {
    }
    put(&p->second, first + 1); /* mends what was torn: each tear counts once */
    out->number = first + 1;
    out->overlap = get(&p->inside) != me;
    return pthread_mutex_unlock(&p->mutex);
}

/* robust_read: the pair, read under the mutex. */
int robust_read(pair *p, uint64_t me, outcome *out) {
    int error = enter(p, me, out);
    if (error) return error;
    out->torn = get(&p->first) != get(&p->second);
    out->number = get(&p->first);
    out->overlap = get(&p->inside) != me;
    return pthread_mutex_unlock(&p->mutex);
}

/* robust_peek: both words as they are, for when nobody is left. */
void robust_peek(const pair *p, uint64_t *first, uint64_t *second) {
    *first = get(&p->first);
    *second = get(&p->second);
}
