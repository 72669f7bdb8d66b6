/* The physical limit: `limit recv|splice PORT DIRECTORY` moves bodies into files and speaks just enough of tus for
 * the load generator: no checks, no records, one thread a connection. Never a server for anything else. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (512 * 1024)

static bool by_splice;
static int directory;
static atomic_long next_upload;

struct session {
    int fd, pipe[2];
    size_t have;
    char text[65536];
    char *block;
};

static long long number(const char *text, const char *name) {
    const char *value = strcasestr(text, name);
    return value ? atoll(value + strlen(name)) : 0;
}

static long long write_all(int file, const char *from, long long size) {
    for (long long done = 0; done < size;) {
        ssize_t count = write(file, from + done, (size_t)(size - done));
        if (count <= 0) return done;
        done += count;
    }
    return size;
}

static ssize_t move_block(struct session *session, int file, size_t wanted) {
    if (!by_splice) {
        ssize_t got = recv(session->fd, session->block, wanted, 0);
        return got > 0 ? write_all(file, session->block, got) : got;
    }
    ssize_t got = splice(session->fd, NULL, session->pipe[1], NULL, wanted, SPLICE_F_MOVE);
    for (ssize_t left = got; left > 0;) {
        ssize_t count = splice(session->pipe[0], NULL, file, NULL, (size_t)left, SPLICE_F_MOVE);
        if (count <= 0) return -1;
        left -= count;
    }
    return got;
}

/* The body: first what came with the header, then the rest from the socket. */
static void store_body(struct session *session, int file, long long size) {
    long long early = (long long)session->have < size ? (long long)session->have : size;
    write_all(file, session->text, early);
    session->have -= (size_t)early;
    memmove(session->text, session->text + early, session->have);
    for (long long left = size - early; left > 0;) {
        ssize_t count = move_block(session, file, left < BLOCK ? (size_t)left : BLOCK);
        if (count <= 0) return;
        left -= count;
    }
}

static int answer(struct session *session, char *head, long long body, char *out) {
    char name[64], *path = strchr(head, ' ') + 1;
    struct stat facts = {0};
    bool create = !strncmp(head, "POST", 4);
    if (create) snprintf(name, sizeof name, "%032lx", ++next_upload);
    else snprintf(name, sizeof name, "%.32s", path + strlen("/files/"));
    if (!strncmp(head, "HEAD", 4)) {
        fstatat(directory, name, &facts, 0);
        return sprintf(out, "HTTP/1.1 200 OK\r\nUpload-Offset: %lld\r\nContent-Length: 0\r\n\r\n", (long long)facts.st_size);
    }
    int file = openat(directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    long long offset = number(head, "\r\nUpload-Offset: ");
    lseek(file, offset, SEEK_SET);
    store_body(session, file, body);
    close(file);
    if (!create) return sprintf(out, "HTTP/1.1 204 No Content\r\nUpload-Offset: %lld\r\n\r\n", offset + body);
    return sprintf(out, "HTTP/1.1 201 Created\r\nLocation: /files/%s\r\nUpload-Offset: %lld\r\nContent-Length: 0\r\n\r\n",
                   name, body);
}

static void *serve(void *argument) {
    struct session *session = argument;
    char head[8192], out[512], *end;
    while (true) {
        session->text[session->have] = 0;
        while ((end = strstr(session->text, "\r\n\r\n"))) {
            size_t size = (size_t)(end + 4 - session->text);
            if (size >= sizeof head) break;
            memcpy(head, session->text, size);
            head[size] = 0;
            session->have -= size;
            memmove(session->text, session->text + size, session->have + 1);
            int length = answer(session, head, number(head, "\r\nContent-Length: "), out);
            if (send(session->fd, out, (size_t)length, MSG_NOSIGNAL) < 0) break;
            session->text[session->have] = 0;
        }
        ssize_t got = recv(session->fd, session->text + session->have, sizeof session->text - 1 - session->have, 0);
        if (got <= 0) break;
        session->have += (size_t)got;
    }
    close(session->fd);
    close(session->pipe[0]);
    close(session->pipe[1]);
    free(session->block);
    free(session);
    return NULL;
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) exit(1);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    by_splice = !strcmp(argv[1], "splice");
    directory = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return 1;
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on(atoi(argv[2])), one = 1;
    while (true) {
        pthread_t thread;
        struct session *session = calloc(1, sizeof *session);
        session->fd = accept(listener, NULL, NULL);
        setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        session->block = malloc(BLOCK);
        if (pipe2(session->pipe, O_CLOEXEC) || !session->block) return 1;
        fcntl(session->pipe[1], F_SETPIPE_SZ, 1 << 20);
        if (pthread_create(&thread, NULL, serve, session)) return 1;
        pthread_detach(thread);
    }
}
