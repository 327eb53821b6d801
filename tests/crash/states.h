/* states.h - for script.c: the harness's own words, which bring a store, its file and its processes into a state.
 *
 * What they do they do behind the engine's back, or with commands that nobody watches.
 */
#ifndef FRIDGE_TESTS_STATES_H
#define FRIDGE_TESTS_STATES_H

#include <stdlib.h>

#include "script.h"

static inline bool word_is(span w, const char *text) { return w.n == strlen(text) && memcmp(w.p, text, w.n) == 0; }

static inline int64_t word_number(span w) {
    char buf[32] = "";
    memcpy(buf, w.p, w.n < 31 ? w.n : 31);
    return strtoll(buf, NULL, 10);
}

/* states_word runs the word w[0] if it is one of ours; *known tells. */
fr_status states_word(actor *a, const span *w, size_t n, bool *known);

#endif
