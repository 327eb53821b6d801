/* sigbus.c - see sigbus.h. The method is systemd's src/basic/sigbus.c: map zero pages over what is gone, and let the
 * code run on to its next test of the flag.
 *
 * An entry is claimed by `used`, filled, and published by its base; the handler reads base, then the rest, then base
 * again. The entry of the window that faulted is stable, because somebody is using that window.
 */
#include "shm/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

struct window {
    uint32_t used;
    int protection;
    uintptr_t base; /* 0 = not published */
    size_t bytes;
    uint32_t *lost;
};

static struct window windows[SIGBUS_WINDOWS];
static struct sigaction previous;
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static bool bury(struct window *w, uintptr_t addr) {
    uintptr_t base = __atomic_load_n(&w->base, __ATOMIC_ACQUIRE);
    if (base == 0 || addr < base || addr - base >= w->bytes) return false;
    struct window copy = *w;
    if (__atomic_load_n(&w->base, __ATOMIC_ACQUIRE) != base) return false;
    __atomic_store_n(copy.lost, 1, __ATOMIC_RELEASE);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    return mmap((void *)base, copy.bytes, copy.protection, flags, -1, 0) != MAP_FAILED;
}

/* A fault that the kernel raised for this thread's instruction comes again when the handler returns. */
static bool synchronous(const siginfo_t *info) { return info->si_code > 0 && info->si_code != BUS_MCEERR_AO; }

static void default_action(int sig, const siginfo_t *info) {
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigaction(sig, &plain, NULL);
    if (!synchronous(info)) raise(sig); /* blocked here: delivered when the handler returns */
}

static void call_previous(const struct sigaction *action, int sig, siginfo_t *info, void *context) {
    sigset_t mask = action->sa_mask, before;
    if (action->sa_flags & SA_NODEFER) {
        sigset_t self;
        sigemptyset(&self);
        sigaddset(&self, sig);
        pthread_sigmask(SIG_UNBLOCK, &self, &before);
        pthread_sigmask(SIG_BLOCK, &mask, NULL);
    } else {
        pthread_sigmask(SIG_BLOCK, &mask, &before);
    }
    if (action->sa_flags & SA_SIGINFO) action->sa_sigaction(sig, info, context);
    else action->sa_handler(sig);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void chain(int sig, siginfo_t *info, void *context) {
    struct sigaction action = previous;
    bool plain = !(action.sa_flags & SA_SIGINFO);
    if (plain && action.sa_handler == SIG_IGN && !synchronous(info)) return;
    if (plain && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)) {
        default_action(sig, info);
        return;
    }
    if (action.sa_flags & SA_RESETHAND) previous = (struct sigaction){.sa_handler = SIG_DFL};
    call_previous(&action, sig, info, context);
}

static void on_sigbus(int sig, siginfo_t *info, void *context) {
    int saved = errno;
    bool ours = false;
    if (info->si_code > 0) {
        for (int i = 0; i < SIGBUS_WINDOWS && !ours; i++) ours = bury(&windows[i], (uintptr_t)info->si_addr);
    }
    if (!ours) chain(sig, info, context);
    errno = saved;
}

static void install(void) {
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, NULL, &previous); /* before ours can run */
    sigaction(SIGBUS, &action, NULL);
}

int sigbus_watch(void *base, size_t bytes, int protection, uint32_t *lost) {
    pthread_once(&installed, install);
    for (int i = 0; i < SIGBUS_WINDOWS; i++) {
        struct window *w = &windows[i];
        uint32_t unused = 0;
        if (!__atomic_compare_exchange_n(&w->used, &unused, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
        w->bytes = bytes;
        w->protection = protection;
        w->lost = lost;
        __atomic_store_n(&w->base, (uintptr_t)base, __ATOMIC_RELEASE);
        return i;
    }
    return -1;
}

void sigbus_forget(int entry) {
    if (entry < 0) return;
    __atomic_store_n(&windows[entry].base, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&windows[entry].used, 0, __ATOMIC_RELEASE);
}
