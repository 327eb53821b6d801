/* place.h - folders of a test's own in shared memory, which do not outlive its process.
 *
 * place_new gives a new folder <root>/<n>; the root, /dev/shm/fridge-test-XXXXXX, is made at the first call, and with it
 * a janitor: a process that holds nothing of ours open, sleeps until this process is gone, and removes the root with
 * everything in it. So a test that fails, aborts under a sanitizer, or is killed by SIGKILL leaves nothing behind either.
 * A forked child uses its parent's root; one whose parent has none makes its own.
 *
 * FRIDGE_KEEP=1 keeps everything, to look at it.
 */
#ifndef FRIDGE_TESTS_PLACE_H
#define FRIDGE_TESTS_PLACE_H

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACE_MAX 64

static char place_root[32];

static int place_remove_one(const char *name, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    remove(name);
    return 0;
}

/* place_clear removes a folder and what is in it, but nothing that is mounted there. */
__attribute__((unused)) static void place_clear(const char *folder) {
    nftw(folder, place_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The janitor's life. Kernels before 5.3, and some emulators, have no pidfd: then it looks now and again. */
static void place_watch(pid_t whom) {
    setsid(); /* a signal to the test's process group is not for us */
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur > 65536) files.rlim_cur = 65536;
    for (int fd = 0; fd < (int)files.rlim_cur; fd++) close(fd); /* a pipe that is kept open makes its reader wait */
    struct pollfd gone = {.fd = (int)syscall(SYS_pidfd_open, whom, 0), .events = POLLIN};
    if (gone.fd >= 0) poll(&gone, 1, -1);
    while (kill(whom, 0) == 0) poll(NULL, 0, 20);
    place_clear(place_root);
    _exit(0);
}

/* Forked twice, so that nobody who waits for all of his children waits for the janitor. */
static void place_janitor(void) {
    pid_t whom = getpid();
    fflush(NULL);
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() == 0) place_watch(whom);
        _exit(0);
    }
    if (middle > 0) waitpid(middle, NULL, 0);
}

/* place_new: the path of a new, empty folder, mode 0700. Ends the program when there can be none. */
__attribute__((unused)) static void place_new(char folder[PLACE_MAX]) {
    static unsigned next;
    if (!place_root[0]) {
        strcpy(place_root, "/dev/shm/fridge-test-XXXXXX");
        if (!mkdtemp(place_root) || chmod(place_root, 0711) != 0) { /* tests change user, and give their folders modes */
            perror("a folder in /dev/shm");
            _exit(2);
        }
        if (!getenv("FRIDGE_KEEP")) place_janitor();
    }
    do snprintf(folder, PLACE_MAX, "%s/%u", place_root, next++);
    while (mkdir(folder, 0700) != 0 && access(folder, F_OK) == 0); /* a child that was forked may count along */
    if (access(folder, F_OK) != 0) {
        perror(folder);
        _exit(2);
    }
}

#endif
