/* floor.c - a server that does nothing: what the kernel takes for a command that comes alone.
 *
 * `floor PORT` accepts on loopback and answers whatever one recv brings with "+PONG\r\n": epoll_wait, recv and send, which no
 * server without pipelining can do less of. The CPU it takes for redis-benchmark's commands is the floor under every
 * server's figure. It does not parse, so it may be asked for one command at a time only.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUND = 128 };

static int listen_on(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 511)) {
        perror("floor");
        exit(1);
    }
    return fd;
}

static void watch(int epoll, int fd) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv) {
    struct epoll_event events[ROUND];
    static char input[65536];
    int one = 1, epoll = epoll_create1(0), listening = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    watch(epoll, listening);
    for (;;) {
        int n = epoll_wait(epoll, events, ROUND, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listening) {
                fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                watch(epoll, fd);
            } else if (recv(fd, input, sizeof input, 0) > 0) {
                send(fd, "+PONG\r\n", 7, MSG_NOSIGNAL);
            } else {
                close(fd);
            }
        }
    }
}
