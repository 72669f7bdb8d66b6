/* Thousands of phones on slow lines, and one that asks: uploads at a fixed rate beside a HEAD every 100 ms; every 50 ms
 * and on a connection of its own with --fresh. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PERIOD 0.1  /* seconds between two HEADs, and between two sends of one connection */
#define PACKET 4096 /* bytes that a slower connection gathers before it sends: a phone's radio does that, too */

struct slow {
    struct connection connection;
    char upload[512];
    long long sent;
    int status;
};

/* ---- the one that asks ---- */

struct prober {
    const struct options *options;
    volatile bool stop;
    double latencies[4096];
    size_t count;
    long errors;
};

static void *probe(void *argument) {
    struct prober *prober = argument;
    struct connection connection;
    struct reply reply = {0};
    char upload[512], text[2048];
    double period = prober->options->fresh ? PERIOD / 2 : PERIOD;
    open_connection(&connection, prober->options);
    create_upload(&connection, prober->options, 1024, upload);
    while (!prober->stop && prober->count < 4096) {
        double start = now();
        if (prober->options->fresh) {
            close(connection.fd);
            open_connection(&connection, prober->options);
        }
        send_text(connection.fd, text, (size_t)write_head(text, prober->options, upload), false);
        bool answered = read_reply(&connection, true, &reply);
        prober->latencies[prober->count++] = now() - start;
        if (!answered || reply.status / 100 != 2) prober->errors++;
        if (!answered || reply.closes) {
            close(connection.fd);
            open_connection(&connection, prober->options);
        }
        double rest = start + period - now();
        if (rest > 0) usleep((useconds_t)(rest * 1e6));
    }
    close(connection.fd);
    return NULL;
}

/* ---- the slow ones ---- */

static struct slow *open_uploads(const struct options *options, long long length) {
    struct slow *uploads = calloc((size_t)options->uploads, sizeof *uploads);
    struct connection creator;
    char text[2048];
    open_connection(&creator, options);
    for (long i = 0; i < options->uploads; i++) create_upload(&creator, options, length, uploads[i].upload);
    close(creator.fd);
    for (long i = 0; i < options->uploads; i++) {
        open_connection(&uploads[i].connection, options);
        size_t size = (size_t)write_patch(text, options, uploads[i].upload, 0, length);
        send_text(uploads[i].connection.fd, text, size, false);
        fcntl(uploads[i].connection.fd, F_SETFL, O_NONBLOCK);
    }
    return uploads;
}

/* What each of them sends: the beginning of the pattern. */
static char *read_payload(const struct options *options, long long length) {
    char *payload = malloc((size_t)length);
    int fd = open(options->pattern, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, payload, (size_t)length) != length) fail("pattern");
    close(fd);
    return payload;
}

/* Sends what is due by now; the bytes that the server keeps us from sending. */
static long long catch_up(struct slow *slow, long long due, const char *payload) {
    while (slow->sent < due) {
        ssize_t count = send(slow->connection.fd, payload + slow->sent, (size_t)(due - slow->sent),
                             MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count <= 0) break;
        slow->sent += count;
    }
    return due - slow->sent;
}

/* Everybody's bytes, evenly spread over each period; the largest debt seen in the last period. */
static long long trickle(struct slow *uploads, const struct options *options, const char *payload, long long length) {
    double seconds = (double)options->rate * PERIOD < PACKET ? PACKET / (double)options->rate : PERIOD;
    long long step = (long long)((double)options->rate * seconds), worst = 0;
    long periods = (long)(length / step);
    double start = now();
    for (long period = 1; period <= periods; period++) {
        if (period == periods) worst = 0;
        for (long i = 0; i < options->uploads; i++) {
            double due = start + seconds * ((double)(period - 1) + (double)i / (double)options->uploads);
            if (due > now() + 0.001) usleep((useconds_t)((due - now()) * 1e6));
            long long debt = catch_up(&uploads[i], period == periods ? length : period * step, payload);
            if (debt > worst) worst = debt;
        }
    }
    return worst;
}

/* Waits for the answers, for at most `patience` seconds; how many uploads were finished. */
static long finish(struct slow *uploads, const struct options *options, const char *payload, long long length,
                   double patience) {
    double deadline = now() + patience;
    long finished = 0;
    for (long i = 0; i < options->uploads; i++) {
        struct reply reply = {0};
        while (catch_up(&uploads[i], length, payload) > 0 && now() < deadline) usleep(1000);
        double left = deadline > now() ? deadline - now() : 0.001;
        struct timeval limit = {.tv_sec = (long)left, .tv_usec = (long)((left - (double)(long)left) * 1e6)};
        fcntl(uploads[i].connection.fd, F_SETFL, 0);
        setsockopt(uploads[i].connection.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (read_reply(&uploads[i].connection, false, &reply) && reply.status / 100 == 2) finished++;
        else uploads[i].status = reply.status;
    }
    return finished;
}

int run_trickle(const struct options *options) {
    long long length = (long long)((double)options->rate * options->seconds);
    struct prober *prober = calloc(1, sizeof *prober);
    char *payload = read_payload(options, length);
    pthread_t thread;
    struct slow *uploads = open_uploads(options, length);
    prober->options = options;
    if (pthread_create(&thread, NULL, probe, prober)) fail("thread");
    double start = now();
    long long debt = trickle(uploads, options, payload, length);
    double sending = now() - start;
    prober->stop = true; /* the end, when a thousand uploads finish at once, is not the state asked about */
    pthread_join(thread, NULL);
    long finished = finish(uploads, options, payload, length, 60);
    printf("{\"uploads\": %ld, \"finished\": %ld, \"planned_seconds\": %.2f, \"sending_seconds\": %.2f, "
           "\"seconds\": %.2f, \"worst_debt\": %lld, \"heads\": %zu, \"head_errors\": %ld, ",
           options->uploads, finished, options->seconds, sending, now() - start, debt, prober->count, prober->errors);
    print_latencies("head_", prober->latencies, prober->count);
    printf("\"rate\": %lld}\n", options->rate);
    return 0;
}
