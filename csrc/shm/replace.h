/* replace.h - a segment file that nobody uses gives its name to a copy of itself: how a file of another boot comes into
 * this one. store/boot.c decides; here is what it does to the files.
 *
 * All of it happens with byte BYTE_CREATE of the lock file held, as creating and destroying do: one process works, the
 * others wait and then find another file under the name.
 *
 * The copy differs from the file in: boot id and checksum; the wall clock's offset; no process in the table; statistics
 * of all processes in the base row; and what the caller changes through replace_word.
 *
 * Invariants
 * 1. Until replace_publish the name means the file as it was, afterwards the whole copy: whoever dies in between has
 *    changed nothing but what recovery changes anyway.
 * 2. The lock file stays, with its inode, which both headers name.
 * 3. The copy belongs to whom the file belongs to, and has its mode.
 */
#ifndef FRIDGE_SHM_REPLACE_H
#define FRIDGE_SHM_REPLACE_H

#include "shm/segment.h"

typedef struct replacement replacement;

/* replace_begin takes the byte. FR_RETRY: the path no longer names this file; open it again. FR_ATTACHED: a process lives
 * that holds a slot, whatever the boot id says. */
fr_status replace_begin(segment *s, replacement **out, fr_error *err);

/* replace_copy makes the copy of a segment at rest: FR_DAMAGED when a latch is held or a journal is not empty. Needs room
 * for it: FR_NOSPACE. */
fr_status replace_copy(replacement *r, fr_error *err);

/* replace_word is the copy's word at off. replace_moved: a time t of the old boot clock, in the new one's; what lay before
 * this boot becomes its first millisecond, 0 stays 0. */
uint64_t *replace_word(replacement *r, uint64_t off);
uint64_t replace_moved(const replacement *r, uint64_t t);

/* replace_publish gives the copy the name. */
fr_status replace_publish(replacement *r, fr_error *err);

/* replace_aside renames the file itself to <path>.damaged-<UTC time> and says so in *name (malloc'd). */
fr_status replace_aside(replacement *r, char **name, fr_error *err);

/* replace_end gives the byte up, and what was not published. */
void replace_end(replacement *r);

#endif
