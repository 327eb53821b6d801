/* room.h - how much more memory the system will give a file: free space of its file system, and, for
 * memory-backed files, the memory limits of this process's control groups (v1 and v2, every ancestor that is visible).
 *
 * Leaves out: allocating (file.c). Every answer is a snapshot: fallocate may still be refused.
 */
#ifndef FRIDGE_SHM_ROOM_H
#define FRIDGE_SHM_ROOM_H

#include "base.h"

#define ROOM_WHY 192

/* room_left: bytes that may still be allocated behind fd (a file, or its directory), UINT64_MAX if nothing limits it;
 * why (ROOM_WHY bytes) names the limit. */
uint64_t room_left(int fd, char *why);

#endif
