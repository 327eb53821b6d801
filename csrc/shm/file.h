/* file.h - the data file and the lock file as files: where they are, whether they may be believed, how they come to be.
 *
 * Invariants
 * 1. A file is believed only when it is regular, has one link, belongs to the effective user, root or the owner that
 *    the caller named, and is writable by nobody else unless the caller opened that on purpose. All of it is asked of
 *    the open descriptor, never of the name.
 * 2. A data file gets its name complete, or never.
 *
 * Leaves out: what is in the file (segment.c) and the locks on it (liveness.c).
 */
#ifndef FRIDGE_SHM_FILE_H
#define FRIDGE_SHM_FILE_H

#include <sys/stat.h>

#include "base.h"

/* Whose files are believed, and how open they may be. */
typedef struct trust {
    uint32_t owner; /* a further uid, or UINT32_MAX */
    uint32_t mode;  /* its group and other write bits are permitted */
} trust;

/* file_resolve makes path canonical (malloc'd). make: creates the last directory when absent, and says so in *made. */
fr_status file_resolve(const char *path, bool make, uint32_t mode, char **out, bool *made, fr_error *err);

/* file_open opens what exists: FR_ABSENT (without text) when nothing has that name, FR_NOTSEGMENT for what is no
 * regular file, FR_STRANGER, FR_MODE. */
fr_status file_open(const char *path, bool readonly, const trust *t, int *fd, struct stat *st, fr_error *err);

/* file_open_lock opens or, when create, makes the lock file; *made says which. */
fr_status file_open_lock(const char *path, bool create, const trust *t, int *fd, struct stat *st, bool *made,
                         fr_error *err);

/* file_allocate gives [from, to) of fd memory by fallocate(2), in steps. FR_NOSPACE with the reason. */
fr_status file_allocate(int fd, const char *path, uint64_t from, uint64_t to, fr_error *err);

/* A file that has no name yet, or only a temporary one. */
typedef struct draft {
    int fd;
    char *temporary; /* NULL: O_TMPFILE */
} draft;
fr_status file_draft(const char *path, uint32_t mode, draft *d, fr_error *err);
/* file_publish gives it its name: FR_RETRY when another file got there first. */
fr_status file_publish(draft *d, const char *path, fr_error *err);
/* file_replace gives it the name of a file that exists, in one step; on its way there an unnamed draft is called
 * <path>.new-boot, where only one process at a time may be (BYTE_CREATE). */
fr_status file_replace(draft *d, const char *path, fr_error *err);
/* file_discard removes an unpublished draft and closes it. */
void file_discard(draft *d);

#endif
