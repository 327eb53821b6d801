/* mutate.h - changes to a segment image that its checks would not catch for free: what lies where is known.
 *
 * Every change is drawn from the dice alone, so a seed is enough to repeat it. Offsets are preferred that are nearly
 * right: aligned, inside, one page off, of another kind, just beyond the end.
 */
#ifndef FRIDGE_TESTS_MUTATE_H
#define FRIDGE_TESTS_MUTATE_H

#include "fuzz.h"
#include "shm/segment.h"

/* An image in memory, with the layout that it was made with. */
typedef struct image {
    uint8_t *bytes;
    geometry g;
    layout l;
} image;

/* mutate makes one change. mutate_identity changes the immutable half of the superblock, mostly with the checksum set
 * right again: only an attach looks at it. */
void mutate(const image *im, dice *d);
void mutate_identity(const image *im, dice *d);

#endif
