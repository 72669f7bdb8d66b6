/* Large bodies by sendfile: whole uploads, uploads that are cut, and uploads that are resumed. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the bytes ---- */

struct pattern {
    int fd;
    long long size;
};

static struct pattern open_pattern(const struct options *options) {
    struct stat facts;
    struct pattern pattern = {.fd = open(options->pattern, O_RDONLY | O_CLOEXEC)};
    if (pattern.fd < 0 || fstat(pattern.fd, &facts)) fail("pattern");
    pattern.size = facts.st_size;
    return pattern;
}

/* Sends the bytes [offset, offset + size) of the endless pattern; returns how many the kernel took. */
static long long send_bytes(int fd, const struct pattern *pattern, long long offset, long long size) {
    long long sent = 0;
    while (sent < size) {
        off_t at = (offset + sent) % pattern->size;
        long long room = pattern->size - at, wanted = size - sent < room ? size - sent : room;
        ssize_t count = sendfile(fd, pattern->fd, &at, (size_t)wanted);
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (count <= 0) break;
        sent += count;
    }
    return sent;
}

/* One PATCH of a connection that stays open where the server lets it; the offset afterwards, or -1. */
static long long patch(struct connection *connection, const struct options *options, const struct pattern *pattern,
                       const char *upload, long long offset, long long size, struct reply *reply) {
    char text[2048];
    send_text(connection->fd, text, (size_t)write_patch(text, options, upload, offset, size), true);
    send_bytes(connection->fd, pattern, offset, size);
    if (!read_reply(connection, false, reply)) return -1;
    if (reply->closes) {
        close(connection->fd);
        open_connection(connection, options);
    }
    return reply->status / 100 == 2 ? offset + size : -1;
}

/* ---- N uploads at once ---- */

struct sender {
    const struct options *options;
    const struct pattern *pattern;
    pthread_barrier_t *ready;
    char upload[512];
    int status;
    double started, finished;
};

static void *send_upload(void *argument) {
    struct sender *sender = argument;
    const struct options *options = sender->options;
    struct connection connection;
    struct reply reply = {0};
    open_connection(&connection, options);
    create_upload(&connection, options, options->size, sender->upload);
    pthread_barrier_wait(sender->ready);
    sender->started = now();
    for (long long offset = 0; offset >= 0 && offset < options->size;) {
        long long left = options->size - offset, size = options->chunk ? options->chunk : left;
        offset = patch(&connection, options, sender->pattern, sender->upload, offset, size < left ? size : left, &reply);
    }
    sender->finished = now();
    sender->status = reply.status;
    close(connection.fd);
    return NULL;
}

int run_patch(const struct options *options) {
    struct pattern pattern = open_pattern(options);
    struct sender *senders = calloc((size_t)options->uploads, sizeof *senders);
    pthread_t *threads = calloc((size_t)options->uploads, sizeof *threads);
    pthread_barrier_t ready;
    pthread_barrier_init(&ready, NULL, (unsigned)options->uploads);
    for (long i = 0; i < options->uploads; i++) {
        senders[i] = (struct sender){.options = options, .pattern = &pattern, .ready = &ready};
        if (pthread_create(&threads[i], NULL, send_upload, &senders[i])) fail("thread");
    }
    double first = 1e18, last = 0;
    int errors = 0, status = 0;
    for (long i = 0; i < options->uploads; i++) {
        pthread_join(threads[i], NULL);
        if (senders[i].started < first) first = senders[i].started;
        if (senders[i].finished > last) last = senders[i].finished;
        if (senders[i].status / 100 != 2) errors++, status = senders[i].status;
    }
    double bytes = (double)options->size * (double)options->uploads;
    printf("{\"seconds\": %.4f, \"mb_per_second\": %.1f, \"gib\": %.4f, \"errors\": %d, \"last_error\": %d, "
           "\"upload\": \"%s\"}\n", last - first, bytes / 1e6 / (last - first), bytes / (1 << 30), errors, status,
           senders[0].upload);
    return 0;
}

/* ---- cut, ask, resume ---- */

/* Asks for the offset on a connection of its own, as a client that comes back does. */
static double ask(const struct options *options, const char *upload, struct reply *reply) {
    char text[2048];
    struct connection connection;
    double start = now();
    open_connection(&connection, options);
    send_text(connection.fd, text, (size_t)write_head(text, options, upload), false);
    if (!read_reply(&connection, true, reply)) *reply = (struct reply){.offset = -1};
    close(connection.fd);
    return (now() - start) * 1e3;
}

/* Sends what is missing after `offset`; the status of the answer, 0 without one. */
static int go_on(const struct options *options, const struct pattern *pattern, const char *upload, long long offset) {
    struct connection connection;
    struct reply reply = {0};
    open_connection(&connection, options);
    patch(&connection, options, pattern, upload, offset, options->size - offset, &reply);
    close(connection.fd);
    return reply.status;
}

static void end_connection(int fd, const char *how) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (!strcmp(how, "silence")) return;
    if (!strcmp(how, "rst")) setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

int run_cut(const struct options *options) {
    struct pattern pattern = open_pattern(options);
    struct connection connection;
    struct reply reply = {0};
    char upload[512], text[2048];
    int waiting = 0;
    open_connection(&connection, options);
    create_upload(&connection, options, options->size, upload);
    send_text(connection.fd, text, (size_t)write_patch(text, options, upload, 0, options->size), true);
    long long sent = send_bytes(connection.fd, &pattern, 0, options->body);
    usleep((useconds_t)(options->hold * 1e6));
    ioctl(connection.fd, SIOCOUTQ, &waiting); /* not yet taken by the server's kernel: a reset throws it away */
    end_connection(connection.fd, options->mode);
    usleep((useconds_t)(options->pause * 1e6));
    double asked = ask(options, upload, &reply);
    long long offset = reply.offset;
    int status = reply.status;
    usleep(300000); /* what a server still writes after its answer would make that answer wrong */
    ask(options, upload, &reply);
    int resumed = reply.offset >= 0 ? go_on(options, &pattern, upload, reply.offset) : 0;
    printf("{\"upload\": \"%s\", \"sent\": %lld, \"unacknowledged\": %d, \"status\": %d, \"offset\": %lld, "
           "\"head_ms\": %.2f, \"offset_later\": %lld, \"resumed\": %d}\n",
           upload, sent, waiting, status, offset, asked, reply.offset, resumed);
    return 0;
}

/* The second half of a crash test: the upload that another run of this program left behind. */
int run_resume(const struct options *options) {
    struct pattern pattern = open_pattern(options);
    struct reply reply = {0};
    double asked = ask(options, options->upload, &reply);
    int resumed = reply.offset >= 0 ? go_on(options, &pattern, options->upload, reply.offset) : 0;
    printf("{\"upload\": \"%s\", \"status\": %d, \"offset\": %lld, \"head_ms\": %.2f, \"resumed\": %d}\n",
           options->upload, reply.status, reply.offset, asked, resumed);
    return 0;
}

/* The first half: sends until the server dies. */
int run_crash(const struct options *options) {
    struct pattern pattern = open_pattern(options);
    struct connection connection;
    char upload[512], text[2048];
    int waiting = 0;
    open_connection(&connection, options);
    create_upload(&connection, options, options->size, upload);
    printf("{\"upload\": \"%s\"}\n", upload);
    fflush(stdout); /* now the server may be killed */
    send_text(connection.fd, text, (size_t)write_patch(text, options, upload, 0, options->size), true);
    long long sent = 0, step = 1 << 20;
    double start = now();
    while (sent < options->size) {
        long long count = send_bytes(connection.fd, &pattern, sent, step);
        if (count > 0) ioctl(connection.fd, SIOCOUTQ, &waiting);
        sent += count > 0 ? count : 0;
        if (count < step) break;
        double due = start + (options->rate ? (double)sent / (double)options->rate : 0);
        if (due > now()) usleep((useconds_t)((due - now()) * 1e6));
    }
    printf("{\"upload\": \"%s\", \"sent\": %lld, \"unacknowledged\": %d}\n", upload, sent, waiting);
    return 0;
}
