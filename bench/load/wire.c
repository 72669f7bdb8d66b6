#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void fail(const char *what) {
    printf("{\"error\": \"%s: %s\"}\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

int dial(const struct options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)options->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    return fd;
}

void open_connection(struct connection *connection, const struct options *options) {
    connection->have = 0;
    connection->fd = dial(options);
    if (connection->fd < 0) fail("connect");
}

void send_text(int fd, const char *text, size_t size, bool more) {
    while (size) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return; /* the reply, or its absence, tells the rest */
        text += sent;
        size -= (size_t)sent;
    }
}

/* ---- replies ---- */

static const char *header(const char *text, const char *end, const char *name) {
    size_t width = strlen(name);
    for (const char *line = text; line < end; line++) {
        line = memchr(line, '\n', (size_t)(end - line));
        if (!line || line + 1 + width >= end) return NULL;
        if (!strncasecmp(line + 1, name, width) && line[1 + width] == ':') {
            line += width + 2;
            while (*line == ' ') line++;
            return line;
        }
    }
    return NULL;
}

static void keep_path(const char *value, char *path) {
    const char *slashes = strstr(value, "://"), *line = strchr(value, '\r');
    if (slashes && slashes < line) value = strchr(slashes + 3, '/');
    size_t size = line ? (size_t)(line - value) : 0;
    if (size > 500) size = 500;
    memcpy(path, value, size);
    path[size] = 0;
}

/* The size of a chunked body that is here whole, 0 when it is not. */
static size_t chunked_size(const char *body, const char *end) {
    const char *at = body;
    while (at < end) {
        char *after;
        long size = strtol(at, &after, 16);
        const char *line = memchr(after, '\n', (size_t)(end - after));
        if (!line || line + 1 + size + 2 > end) return 0;
        at = line + 1 + size + 2;
        if (size == 0) return (size_t)(at - body);
    }
    return 0;
}

size_t parse_reply(const char *text, size_t size, bool bodiless, bool at_end, struct reply *reply) {
    size_t skipped = 0;
    const char *end;
    for (;;) {
        end = memmem(text, size, "\r\n\r\n", 4);
        if (!end) return 0;
        end += 4;
        reply->status = atoi(text + 9);
        if (reply->status >= 200) break;
        skipped += (size_t)(end - text); /* 100 Continue and its kin */
        size -= (size_t)(end - text);
        text = end;
    }
    const char *value;
    reply->offset = (value = header(text, end, "Upload-Offset")) ? atoll(value) : -1;
    reply->length = (value = header(text, end, "Upload-Length")) ? atoll(value) : -1;
    reply->location[0] = 0;
    if ((value = header(text, end, "Location"))) keep_path(value, reply->location);
    value = header(text, end, "Connection");
    reply->closes = value ? !strncasecmp(value, "close", 5) : !strncmp(text, "HTTP/1.0", 8);
    size_t head = (size_t)(end - text);
    if (bodiless || reply->status == 204 || reply->status == 304) return skipped + head;
    if ((value = header(text, end, "Content-Length"))) {
        size_t body = (size_t)atoll(value);
        return head + body <= size ? skipped + head + body : 0;
    }
    if ((value = header(text, end, "Transfer-Encoding"))) {
        size_t body = chunked_size(end, text + size);
        return body ? skipped + head + body : 0;
    }
    reply->closes = true; /* the end of the connection is the end of the body */
    return at_end ? skipped + size : 0;
}

bool read_reply(struct connection *connection, bool bodiless, struct reply *reply) {
    bool at_end = false;
    for (;;) {
        connection->text[connection->have] = 0;
        size_t used = parse_reply(connection->text, connection->have, bodiless, at_end, reply);
        if (used) {
            connection->have -= used;
            memmove(connection->text, connection->text + used, connection->have);
            return true;
        }
        if (at_end) return false;
        ssize_t got = recv(connection->fd, connection->text + connection->have,
                           sizeof connection->text - 1 - connection->have, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) connection->have += (size_t)got;
        at_end = got <= 0;
    }
}

/* ---- requests ---- */

#define COMMON "Host: 127.0.0.1:%d\r\nTus-Resumable: 1.0.0\r\n"

int write_create(char *out, const struct options *options, long long length, long long body) {
    /* tuspyserver answers HEAD only for uploads that have these two keys of metadata. */
    int size = sprintf(out, "POST %s HTTP/1.1\r\n" COMMON "Upload-Length: %lld\r\n"
                       "Upload-Metadata: filename YmVuY2guYmlu,filetype aW1hZ2UvcG5n\r\n",
                       options->collection, options->port, length);
    if (body > 0) size += sprintf(out + size, "Content-Type: application/offset+octet-stream\r\n");
    return size + sprintf(out + size, "Content-Length: %lld\r\n\r\n", body > 0 ? body : 0);
}

int write_head(char *out, const struct options *options, const char *upload) {
    return sprintf(out, "HEAD %s HTTP/1.1\r\n" COMMON "\r\n", upload, options->port);
}

int write_patch(char *out, const struct options *options, const char *upload, long long offset, long long size) {
    return sprintf(out, "PATCH %s HTTP/1.1\r\n" COMMON "Upload-Offset: %lld\r\n"
                   "Content-Type: application/offset+octet-stream\r\nContent-Length: %lld\r\n\r\n",
                   upload, options->port, offset, size);
}

void create_upload(struct connection *connection, const struct options *options, long long length, char *path) {
    char text[2048];
    struct reply reply = {0};
    send_text(connection->fd, text, (size_t)write_create(text, options, length, 0), false);
    errno = 0;
    if (!read_reply(connection, false, &reply) || reply.status != 201 || !reply.location[0]) fail("create");
    strcpy(path, reply.location);
    if (reply.closes) {
        close(connection->fd);
        open_connection(connection, options);
    }
}

/* ---- numbers ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void print_latencies(const char *prefix, double *samples, size_t count) {
    static const struct { const char *name; double at; } wanted[] = {
        {"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    qsort(samples, count, sizeof *samples, ascending);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        size_t at = (size_t)(wanted[i].at * (double)count);
        if (at >= count) at = count - 1;
        printf("\"%s%s_ms\": %.3f, ", prefix, wanted[i].name, count ? samples[at] * 1e3 : 0.0);
    }
}
