/* file.c - see file.h. Allocation goes through the fallocate system call: the libc fallback for file systems without it
 * writes a byte into every page, which is SIGBUS on a full tmpfs instead of ENOSPC. */
#include "shm/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "shm/room.h"
#include "shm/segment_private.h"

#define ALLOCATE_STEP (UINT64_C(4) << 20)
#define MAGIC_NFS 0x6969
#define MAGIC_SMB 0x517b
#define MAGIC_CIFS 0xff534d42u
#define MAGIC_SMB2 0xfe534d42u

/* --- names -------------------------------------------------------------------------------------------------------- */

/* Whoever opens the file to a group on purpose wants that group to reach it. */
static mode_t directory_mode(uint32_t mode) { return 0700 | (mode & 070 ? 050 : 0) | (mode & 07 ? 05 : 0); }

static fr_status make_directory(const char *dir, uint32_t mode, bool *made, fr_error *err) {
    if (mkdir(dir, 0700) == 0) {
        *made = true;
        if (chmod(dir, directory_mode(mode)) == 0) return FR_OK;
    } else if (errno == EEXIST) {
        return FR_OK;
    }
    int error = errno;
    if (*made) rmdir(dir);
    *made = false;
    return segment_fail(err, FR_SYSTEM, "cannot create the directory %s: %s", dir, strerror(error));
}

static fr_status resolve_directory(char *dir, bool make, uint32_t mode, char **real, bool *made, fr_error *err) {
    *real = realpath(dir, NULL);
    if (*real) return FR_OK;
    if (errno != ENOENT) return segment_fail(err, FR_SYSTEM, "directory %s: %s", dir, strerror(errno));
    if (!make) return segment_fail(err, FR_ABSENT, "no segment: the directory %s does not exist", dir);
    fr_status status = make_directory(dir, mode, made, err);
    if (status != FR_OK) return status;
    *real = realpath(dir, NULL);
    return *real ? FR_OK : segment_fail(err, FR_SYSTEM, "directory %s: %s", dir, strerror(errno));
}

fr_status file_resolve(const char *path, bool make, uint32_t mode, char **out, bool *made, fr_error *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    *made = false;
    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        return segment_fail(err, FR_ARGUMENT, "'%s' does not name a file", path);
    }
    char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup("."), *real = NULL;
    if (!dir) return segment_fail(err, FR_SYSTEM, "out of memory");
    fr_status status = resolve_directory(dir, make, mode, &real, made, err);
    if (status == FR_OK && asprintf(out, "%s/%s", strcmp(real, "/") ? real : "", base) < 0) {
        status = segment_fail(err, FR_SYSTEM, "out of memory");
    }
    free(real);
    free(dir);
    return status;
}

/* --- belief ------------------------------------------------------------------------------------------------------- */

static const char *kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFDIR: return "a directory";
    case S_IFLNK: return "a symbolic link";
    case S_IFIFO: return "a FIFO";
    case S_IFSOCK: return "a socket";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    default: return "not a regular file";
    }
}

static fr_status not_regular(const char *path, mode_t mode, fr_error *err) {
    return segment_fail(err, FR_NOTSEGMENT, "%s is %s; a segment is a regular file", path, kind_of(mode));
}

static fr_status check_believed(const char *path, const struct stat *st, const trust *t, fr_error *err) {
    if (!S_ISREG(st->st_mode)) return not_regular(path, st->st_mode, err);
    if (st->st_uid != geteuid() && st->st_uid != 0 && (t->owner == UINT32_MAX || st->st_uid != t->owner)) {
        return segment_fail(err, FR_STRANGER,
                            "%s belongs to uid %u; believed are uid %u (this process), root and segment-owner (FRIDGE_SEGMENT_OWNER, "
                            "or owner= of fridge.open)", path,
                            (unsigned)st->st_uid, (unsigned)geteuid());
    }
    if (st->st_nlink > 1) {
        return segment_fail(err, FR_STRANGER, "%s has %u names (hard links); a segment has one", path,
                            (unsigned)st->st_nlink);
    }
    mode_t open_to = st->st_mode & 022 & ~t->mode;
    if (open_to) {
        return segment_fail(err, FR_MODE, "%s has mode %04o: %s can write it; chmod it to %04o, or set segment-perm "
                            "(FRIDGE_SEGMENT_PERM, or perm= of fridge.open)", path, st->st_mode & 07777, open_to & 02 ? "everybody" : "its group",
                            st->st_mode & 07777 & ~open_to);
    }
    return FR_OK;
}

static fr_status check_file_system(int fd, const char *path, fr_error *err) {
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) return FR_OK;
    uint32_t magic = (uint32_t)fs.f_type;
    if (magic != MAGIC_NFS && magic != MAGIC_SMB && magic != MAGIC_CIFS && magic != MAGIC_SMB2) return FR_OK;
    return segment_fail(err, FR_SYSTEM, "%s is on a network file system, which shares no memory: use /dev/shm or /run",
                        path);
}

static fr_status open_failed(const char *path, int error, const struct stat *st, const trust *t, fr_error *err) {
    if (error == ENOENT) return FR_ABSENT;
    if (error == ELOOP) return not_regular(path, S_IFLNK, err);
    fr_status status = check_believed(path, st, t, err);
    if (status != FR_OK) return status;
    if (error != EACCES) return segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(error));
    return segment_fail(err, FR_SYSTEM, "%s: permission denied (uid %u, mode %04o; this process is uid %u)", path,
                        (unsigned)st->st_uid, st->st_mode & 07777, (unsigned)geteuid());
}

/* lstat goes first only because opening a device or a FIFO can have effects; what counts is the fstat. */
fr_status file_open(const char *path, bool readonly, const trust *t, int *fd, struct stat *st, fr_error *err) {
    *fd = -1;
    if (lstat(path, st) != 0) {
        if (errno == ENOENT) return FR_ABSENT;
        return segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st->st_mode)) return not_regular(path, st->st_mode, err);
    int flags = (readonly ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int got = open(path, flags);
    if (got < 0) return open_failed(path, errno, st, t, err);
    fr_status status = FR_OK;
    if (fstat(got, st) != 0) status = segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
    if (status == FR_OK) status = check_believed(path, st, t, err);
    if (status == FR_OK) status = check_file_system(got, path, err);
    if (status == FR_OK) *fd = got;
    else close(got);
    return status;
}

/* Only those who may write the segment have business with its locks: a reader could make the dead look alive. */
static mode_t lock_mode(uint32_t mode) { return (mode & 0222) | (mode & 0222) << 1; }

fr_status file_open_lock(const char *path, bool create, const trust *t, int *fd, struct stat *st, bool *made,
                         fr_error *err) {
    *made = false;
    fr_status status = file_open(path, false, t, fd, st, err);
    if (status != FR_ABSENT || !create) return status;
    int got = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (got < 0 && errno == EEXIST) return file_open(path, false, t, fd, st, err);
    if (got < 0) return segment_fail(err, FR_SYSTEM, "cannot create %s: %s", path, strerror(errno));
    if (fchmod(got, lock_mode(t->mode)) != 0 || fstat(got, st) != 0) {
        status = segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
        unlink(path);
        close(got);
        return status;
    }
    *made = true;
    *fd = got;
    return FR_OK;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static int allocate_step(int fd, uint64_t from, uint64_t bytes) {
    while (syscall(SYS_fallocate, fd, 0, (off_t)from, (off_t)bytes) != 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
}

static fr_status refused(int fd, const char *path, uint64_t to, int error, fr_error *err) {
    char why[ROOM_WHY];
    if (error == EOPNOTSUPP || error == ENOSYS) {
        return segment_fail(err, FR_SYSTEM, "%s: its file system cannot allocate memory ahead (fallocate)", path);
    }
    if (error != ENOSPC && error != EDQUOT && error != ENOMEM && error != EFBIG) {
        return segment_fail(err, FR_SYSTEM, "%s: fallocate: %s", path, strerror(error));
    }
    room_left(fd, why);
    return segment_fail(err, FR_NOSPACE, "%s cannot grow to %llu KiB: %s (%s)", path, (unsigned long long)(to >> 10),
                        strerror(error), why);
}

/* Beyond RLIMIT_FSIZE fallocate would send SIGXFSZ before it fails. */
static fr_status check_room(int fd, const char *path, uint64_t from, uint64_t to, fr_error *err) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < to) {
        return segment_fail(err, FR_NOSPACE, "%s cannot grow to %llu KiB: RLIMIT_FSIZE (ulimit -f) is %llu KiB", path,
                            (unsigned long long)(to >> 10), (unsigned long long)(limit.rlim_cur >> 10));
    }
    char why[ROOM_WHY];
    struct stat st;
    uint64_t room = room_left(fd, why), need = to - from;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > from) return FR_OK; /* partly there: let the kernel say */
    if (need <= room) return FR_OK;
    return segment_fail(err, FR_NOSPACE, "%s cannot grow to %llu KiB: %s", path, (unsigned long long)(to >> 10), why);
}

fr_status file_allocate(int fd, const char *path, uint64_t from, uint64_t to, fr_error *err) {
    fr_status status = check_room(fd, path, from, to, err);
    for (uint64_t at = from; at < to && status == FR_OK; at += ALLOCATE_STEP) {
        uint64_t bytes = to - at < ALLOCATE_STEP ? to - at : ALLOCATE_STEP;
        int error = allocate_step(fd, at, bytes);
        if (error) status = refused(fd, path, to, error, err);
    }
    return status;
}

/* --- birth -------------------------------------------------------------------------------------------------------- */

static int open_unnamed(const char *path) {
    char *dir = strdup(path);
    if (!dir) return -1;
    char *slash = strrchr(dir, '/');
    slash[slash == dir] = 0;
    int fd = access("/proc/self/fd", X_OK) == 0 ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    free(dir);
    return fd;
}

static int open_temporary(const char *path, char **name) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random = (uintptr_t)&random;
    if (asprintf(name, "%s.new-%d-%016llx", path, (int)getpid(), (unsigned long long)random) < 0) {
        *name = NULL;
        errno = ENOMEM;
        return -1;
    }
    return open(*name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

fr_status file_draft(const char *path, uint32_t mode, draft *d, fr_error *err) {
    *d = (draft){-1, NULL};
    d->fd = open_unnamed(path);
    if (d->fd < 0) d->fd = open_temporary(path, &d->temporary);
    if (d->fd < 0) {
        fr_status status = segment_fail(err, FR_SYSTEM, "cannot create %s: %s", path, strerror(errno));
        free(d->temporary);
        d->temporary = NULL;
        return status;
    }
    fr_status status = check_file_system(d->fd, path, err);
    if (status == FR_OK && fchmod(d->fd, mode) != 0) {
        status = segment_fail(err, FR_SYSTEM, "%s: fchmod: %s", path, strerror(errno));
    }
    if (status != FR_OK) file_discard(d);
    return status;
}

/* Two creators of one name are kept apart by the lock file; link and rename without replacing only guard against a
 * third party. link + unlink is for file systems without RENAME_NOREPLACE. */
static int publish(draft *d, const char *path) {
    if (!d->temporary) {
        char self[32];
        snprintf(self, sizeof self, "/proc/self/fd/%d", d->fd);
        return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    }
    if (syscall(SYS_renameat2, AT_FDCWD, d->temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    return link(d->temporary, path) == 0 ? unlink(d->temporary) : -1;
}

fr_status file_publish(draft *d, const char *path, fr_error *err) {
    if (publish(d, path) != 0) {
        if (errno == EEXIST) return FR_RETRY;
        return segment_fail(err, FR_SYSTEM, "cannot create %s: %s", path, strerror(errno));
    }
    free(d->temporary);
    d->temporary = NULL;
    return FR_OK;
}

/* rename(2) alone replaces, and it needs a name to start from. */
static fr_status name_draft(draft *d, const char *path, fr_error *err) {
    char self[32];
    if (d->temporary) return FR_OK;
    if (asprintf(&d->temporary, "%s.new-boot", path) < 0) {
        d->temporary = NULL;
        return segment_fail(err, FR_SYSTEM, "out of memory");
    }
    unlink(d->temporary); /* of one that was killed here */
    snprintf(self, sizeof self, "/proc/self/fd/%d", d->fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, d->temporary, AT_SYMLINK_FOLLOW) == 0) return FR_OK;
    return segment_fail(err, FR_SYSTEM, "cannot create %s: %s", d->temporary, strerror(errno));
}

fr_status file_replace(draft *d, const char *path, fr_error *err) {
    fr_status status = name_draft(d, path, err);
    if (status != FR_OK) return status;
    if (rename(d->temporary, path) != 0) {
        return segment_fail(err, FR_SYSTEM, "cannot rename %s to %s: %s", d->temporary, path, strerror(errno));
    }
    free(d->temporary);
    d->temporary = NULL;
    return FR_OK;
}

void file_discard(draft *d) {
    if (d->temporary) unlink(d->temporary);
    free(d->temporary);
    if (d->fd >= 0) close(d->fd);
    *d = (draft){-1, NULL};
}
