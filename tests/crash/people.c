/* people.c - see people.h. */
#include "people.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

uint64_t random_next(uint64_t *state) {
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

void pause_us(unsigned us) { nanosleep(&(struct timespec){0, (long)us * 1000}, NULL); }

static int schedstat = -1;

uint64_t run_delay(void) {
    char text[96] = "";
    unsigned long long ran, delay = 0;
    if (schedstat < 0) schedstat = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    if (schedstat < 0 || pread(schedstat, text, sizeof text - 1, 0) <= 0) return 0;
    return sscanf(text, "%llu %llu", &ran, &delay) == 2 ? delay : 0;
}

void meter_child(void) {
    if (schedstat >= 0) close(schedstat);
    schedstat = -1;
}

pid_t fork_apart(bool *apart) {
    static int own_ns = -1;
    fflush(NULL);
    if (own_ns < 0) own_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (*apart && unshare(CLONE_NEWPID) != 0) {
        printf("no PID namespaces here: %s\n", strerror(errno));
        *apart = false;
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != (*apart ? 0 : parent)) _exit(0);
        meter_child();
    }
    if (pid > 0 && *apart && setns(own_ns, CLONE_NEWPID) != 0) {
        perror("setns");
        _exit(2);
    }
    return pid;
}
