/* doors.h - for script.c: what is done to a store not by store/'s general calls but in a straight line, by a RESP session,
 * or by the server for itself.
 */
#ifndef FRIDGE_TESTS_DOORS_H
#define FRIDGE_TESTS_DOORS_H

#include "script.h"

/* doors_word runs the word w[0] if it is one of ours; *known tells. */
fr_status doors_word(actor *a, const span *w, size_t n, bool *known);

#endif
