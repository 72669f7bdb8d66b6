/* Many small requests over keep-alive connections: one thread and epoll, so that the server has a core to itself. */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    struct connection connection;
    double since;      /* when the request under way was sent */
    double file_since; /* when the first request of this file was sent */
    bool patching;     /* POST + PATCH: the second of the two is under way */
    char upload[512];
    long number;
};

struct storm {
    const struct options *options;
    int epoll;
    char (*uploads)[512]; /* HEAD: the uploads asked for; otherwise NULL */
    const char *payload;
    double deadline; /* 0: none, `limit` counts */
    long limit, started, done, requests, errors, kept, reconnects;
    int last_error;
    double *latencies;
    size_t samples, room;
};

static void watch(struct storm *storm, struct client *client) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(storm->epoll, EPOLL_CTL_ADD, client->connection.fd, &event)) fail("epoll_ctl");
}

static void reconnect(struct storm *storm, struct client *client) {
    close(client->connection.fd);
    open_connection(&client->connection, storm->options);
    watch(storm, client);
    storm->reconnects++;
}

static bool more_to_start(const struct storm *storm) {
    return storm->deadline > 0 ? now() < storm->deadline : storm->started < storm->limit;
}

static long long payload_size(const struct storm *storm) {
    return storm->options->body < 0 ? storm->options->size : storm->options->body;
}

static void send_request(struct storm *storm, struct client *client) {
    char text[70000];
    const struct options *options = storm->options;
    long long body = payload_size(storm);
    int size;
    client->since = now();
    if (storm->uploads) {
        size = write_head(text, options, storm->uploads[client->number % options->uploads]);
        body = 0;
    } else if (client->patching) {
        size = write_patch(text, options, client->upload, 0, body);
    } else {
        if (strcmp(options->mode, "one")) body = 0;
        size = write_create(text, options, options->size, body);
    }
    if (!client->patching) {
        storm->started++;
        client->file_since = client->since;
    }
    memcpy(text + size, storm->payload, (size_t)body);
    send_text(client->connection.fd, text, (size_t)size + (size_t)body, false);
}

static void keep_latency(struct storm *storm, double seconds) {
    if (storm->samples == storm->room) {
        storm->room = storm->room ? storm->room * 2 : 65536;
        storm->latencies = realloc(storm->latencies, storm->room * sizeof *storm->latencies);
        if (!storm->latencies) fail("memory");
    }
    storm->latencies[storm->samples++] = seconds;
}

/* What a reply means; true when the file (or the HEAD) it belongs to is finished. */
static bool conclude(struct storm *storm, struct client *client, const struct reply *reply) {
    storm->requests++;
    if (reply->status / 100 != 2) {
        storm->errors++;
        storm->last_error = reply->status;
        client->patching = false;
        return true;
    }
    bool two = !storm->uploads && !strcmp(storm->options->mode, "two");
    if (two && !client->patching) {
        strcpy(client->upload, reply->location);
        client->patching = true;
        return false;
    }
    client->patching = false;
    if (reply->offset == payload_size(storm)) storm->kept++;
    return true;
}

/* Reads what came; true while this client has work. */
static bool serve(struct storm *storm, struct client *client) {
    struct connection *connection = &client->connection;
    struct reply reply;
    ssize_t got = recv(connection->fd, connection->text + connection->have,
                       sizeof connection->text - 1 - connection->have, 0);
    if (got > 0) connection->have += (size_t)got;
    connection->text[connection->have] = 0;
    size_t used = parse_reply(connection->text, connection->have, storm->uploads != NULL, got <= 0, &reply);
    if (!used && got > 0) return true;
    if (!used) { /* closed without an answer, as a server may do between two requests: send it again */
        if (storm->reconnects > 2 * storm->done + 1000) fail("connections are closed without an answer");
        reconnect(storm, client);
        send_request(storm, client);
        return true;
    }
    connection->have -= used;
    memmove(connection->text, connection->text + used, connection->have);
    if (reply.closes || got <= 0) reconnect(storm, client);
    if (conclude(storm, client, &reply)) {
        storm->done++;
        keep_latency(storm, now() - client->file_since);
        if (!more_to_start(storm)) return false;
    }
    send_request(storm, client);
    return true;
}

static double blow(struct storm *storm) {
    const struct options *options = storm->options;
    struct client *clients = calloc((size_t)options->connections, sizeof *clients);
    struct epoll_event events[64];
    long active = 0;
    storm->epoll = epoll_create1(0);
    for (long i = 0; i < options->connections; i++) {
        clients[i].number = i; /* each asks for an upload of its own: tusd makes two who ask for one wait 2 s */
        open_connection(&clients[i].connection, options);
        watch(storm, &clients[i]);
    }
    double start = now();
    for (long i = 0; i < options->connections && more_to_start(storm); i++, active++) send_request(storm, &clients[i]);
    while (active) {
        int ready = epoll_wait(storm->epoll, events, 64, 30000);
        if (ready <= 0) fail("no reply for 30 s");
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (serve(storm, client)) continue;
            close(client->connection.fd);
            active--;
        }
    }
    double took = now() - start;
    close(storm->epoll);
    free(clients);
    return took;
}

static void print_storm(struct storm *storm, double took) {
    printf("{\"seconds\": %.4f, \"files\": %ld, \"requests\": %ld, \"errors\": %ld, \"last_error\": %d, \"kept\": %ld, "
           "\"reconnects\": %ld, ", took, storm->done, storm->requests, storm->errors, storm->last_error, storm->kept,
           storm->reconnects);
    print_latencies("", storm->latencies, storm->samples);
    printf("\"per_second\": %.1f}\n", (double)storm->done / took);
}

/* A tenth of the work first, off the clock: caches fill and lazy imports happen. */
static void warm_up(const struct storm *like) {
    struct storm warm = *like;
    warm.limit = like->limit ? like->limit / 10 + 1 : 200;
    blow(&warm);
    free(warm.latencies);
}

int run_small(const struct options *options) {
    static char payload[65536];
    memset(payload, 'x', sizeof payload);
    struct storm storm = {.options = options, .payload = payload, .limit = options->count};
    if (payload_size(&storm) > (long long)sizeof payload) fail("small bodies only");
    if (options->warm) warm_up(&storm);
    double took = blow(&storm);
    print_storm(&storm, took);
    return 0;
}

int run_head(const struct options *options) {
    struct storm storm = {.options = options, .limit = options->count, .payload = ""};
    struct connection connection;
    storm.uploads = calloc((size_t)options->uploads, sizeof *storm.uploads);
    open_connection(&connection, options);
    for (long i = 0; i < options->uploads; i++) create_upload(&connection, options, options->size, storm.uploads[i]);
    close(connection.fd);
    if (options->warm) warm_up(&storm);
    storm.deadline = options->seconds > 0 ? now() + options->seconds : 0;
    double took = blow(&storm);
    print_storm(&storm, took);
    return 0;
}
