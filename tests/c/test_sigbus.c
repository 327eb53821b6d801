/* test_sigbus.c - a file that is truncated under its mapping is a lost segment, and the handlers of others keep their own
 * faults: csrc/shm/sigbus.c. */
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "segment_fixture.h"
#include "shm/txn.h"

static sigjmp_buf back;
static void *fault_at;

static void jump_back(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)context;
    fault_at = info->si_addr;
    siglongjmp(back, 1);
}

static void jump_back_plain(int sig) {
    (void)sig;
    siglongjmp(back, 2);
}

/* A mapping of a file of our own with nothing behind it. */
static volatile char *hollow(void) {
    char name[160];
    snprintf(name, sizeof name, "%s/hollow-%d", home, (int)getpid());
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    unlink(name);
    return p;
}

static void foreign_faults_reach_siginfo_handlers(void) {
    struct sigaction action = {.sa_sigaction = jump_back, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    segment *s = opened(&creating);
    volatile char *p = hollow();
    int caught = sigsetjmp(back, 1);
    if (caught == 0) (void)*p;
    CHECK(caught == 1 && fault_at == (void *)p && !s->lost);
    CHECK(truncate(path, 0) == 0);
    CHECK(sigsetjmp(back, 1) == 0); /* ours does not reach it */
    CHECK(ld8(&segment_super(s)->magic) == 0 && s->lost == 1);
    segment_close(s);
}

static void foreign_faults_reach_plain_handlers(void) {
    struct sigaction action = {.sa_handler = jump_back_plain, .sa_flags = SA_NODEFER};
    sigaction(SIGBUS, &action, NULL);
    segment *s = opened(&creating);
    volatile char *p = hollow();
    int caught = sigsetjmp(back, 1);
    if (caught == 0) (void)*p;
    CHECK(caught == 2 && !s->lost);
    caught = sigsetjmp(back, 1);
    if (caught == 0) raise(SIGBUS);
    CHECK(caught == 2);
    segment_close(s);
}

static void foreign_fault_kills(void) {
    opened(&creating);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    (void)*hollow();
}

static void sent_sigbus_kills(void) {
    opened(&creating);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    raise(SIGBUS);
}

static void opting_out_kills(void) {
    segment_options o = creating;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    o.no_sigbus = true;
    segment *s = opened(&o);
    CHECK(truncate(path, 0) == 0);
    ld8(&segment_super(s)->magic);
}

static void handlers_of_others_get_their_faults(void) {
    void (*const cases[])(void) = {foreign_faults_reach_siginfo_handlers, foreign_faults_reach_plain_handlers};
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        fresh();
        child c = spawn(cases[i]);
        ended_well(&c);
    }
}

static void faults_of_others_still_kill(void) {
    void (*const cases[])(void) = {foreign_fault_kills, sent_sigbus_kills, opting_out_kills};
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        fresh();
        child c = spawn(cases[i]);
        int status = reaped(&c);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

static void truncation_under_a_mapping_is_lost_not_death(void) {
    fresh();
    segment *s = opened(&creating);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(truncate(path, 0) == 0);
    CHECK(s->lost == 0);
    st8(&segment_super(s)->wall_offset_ms, 1);
    CHECK(s->lost == 1);
    CHECK(!segment_prove(s, s->l.data + 1) && segment_grow(s, &err) != FR_OK);
    segment_close(s);
}

static void only_the_lost_segment_is_lost(void) {
    fresh();
    segment *a = opened(&creating);
    char first[128];
    strcpy(first, path);
    snprintf(path, sizeof path, "%s/other", home);
    segment *b = opened(&creating), *r = opened(&reading);
    CHECK(truncate(path, 4096) == 0);
    CHECK(ld8(SEG_AT(r, 8192, uint64_t)) == 0 && r->lost == 1);
    CHECK(ld8(&segment_super(a)->magic) == LAYOUT_MAGIC && a->lost == 0 && b->lost == 0);
    segment_close(a);
    segment_close(b);
    segment_close(r);
}

int main(void) {
    signal(SIGBUS, SIG_DFL); /* a sanitizer's handler would be the one that ours chains to */
    RUN(handlers_of_others_get_their_faults);
    RUN(faults_of_others_still_kill);
    RUN(truncation_under_a_mapping_is_lost_not_death);
    RUN(only_the_lost_segment_is_lost);
    return 0;
}
