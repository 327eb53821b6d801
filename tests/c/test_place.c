/* test_place.c - what tests make in shared memory goes away with them, however they end. */
#include "check.h"
#include "place.h"

static char told[2][PLACE_MAX];

/* A child that makes folders with something in them, says where, and ends as it is told to. */
static pid_t maker(void (*end)(void)) {
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char file[sizeof told + 16];
        for (int i = 0; i < 2; i++) {
            place_new(told[i]);
            snprintf(file, sizeof file, "%s/file", told[i]);
            close(open(file, O_WRONLY | O_CREAT, 0600));
        }
        if (write(pipes[1], told, sizeof told) != sizeof told) _exit(2);
        end();
        _exit(2);
    }
    close(pipes[1]);
    CHECK(read(pipes[0], told, sizeof told) == sizeof told);
    char more;
    CHECK(read(pipes[0], &more, 1) == 0); /* the janitor keeps no pipe open */
    close(pipes[0]);
    return pid;
}

static void killed(void) { kill(getpid(), SIGKILL); }

static bool gone(const char *folder) {
    char root[PLACE_MAX];
    snprintf(root, sizeof root, "%s", folder);
    *strrchr(root, '/') = 0;
    for (int i = 0; i < 500; i++) {
        if (access(root, F_OK) != 0) return true;
        poll(NULL, 0, 10);
    }
    return false;
}

static void nothing_is_left_by_who_is_killed(void) {
    pid_t pid = maker(killed);
    CHECK(strcmp(told[0], told[1]) != 0);
    CHECK(waitpid(pid, NULL, 0) == pid && gone(told[0]));
}

static void nothing_is_left_by_who_aborts(void) {
    pid_t pid = maker(abort);
    CHECK(waitpid(pid, NULL, 0) == pid && gone(told[0]));
}

static void it_stays_while_its_maker_lives(void) {
    char mine[PLACE_MAX], other[PLACE_MAX];
    place_new(mine);
    pid_t pid = fork();
    if (pid == 0) { /* a child uses its parent's root, and takes nothing along */
        place_new(other);
        _exit(strncmp(mine, other, strlen(place_root)) != 0 || strcmp(mine, other) == 0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    place_new(other); /* the child had the same number */
    CHECK(access(mine, F_OK) == 0 && access(other, F_OK) == 0 && strcmp(mine, other) != 0);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1); /* nobody else to wait for */
}

int main(void) {
    RUN(nothing_is_left_by_who_is_killed);
    RUN(nothing_is_left_by_who_aborts);
    RUN(it_stays_while_its_maker_lives);
}
