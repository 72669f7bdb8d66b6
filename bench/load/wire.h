/* One HTTP/1.1 connection to a tus server: requests out, replies in, and the clock.
 * It must never become the bottleneck: no allocation per request, one send and one recv a reply. */
#ifndef WIRE_H
#define WIRE_H
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>

struct options {
    int port;
    const char *collection; /* where uploads are created: "/files/" */
    const char *upload;     /* resume: the path of the upload to go on with */
    const char *pattern;    /* the file whose bytes are sent, again and again */
    const char *mode;       /* small: one | two | create; cut: fin | rst | silence */
    long long size;         /* bytes of one upload */
    long long body;         /* small: bytes sent with the request (-1: all); cut: bytes before the cut */
    long long chunk;        /* bytes of one PATCH; 0 = all in one */
    long long rate;         /* trickle: bytes per second and connection */
    long count, connections, uploads;
    double seconds;
    double hold;  /* cut: seconds between the last byte and the end of the connection */
    double pause; /* cut: seconds between that and HEAD */
    bool fresh; /* trickle: each HEAD on a new connection */
    bool warm; /* small, head: a tenth of the work first, off the clock */
};

struct reply {
    int status;
    bool closes; /* the server closes after this reply */
    long long offset, length;
    char location[512]; /* the path only */
};

struct connection {
    int fd;
    size_t have;
    char text[16384];
};

double now(void);
void fail(const char *what);
int dial(const struct options *options);
void open_connection(struct connection *connection, const struct options *options);
void send_text(int fd, const char *text, size_t size, bool more);
/* Bytes that the first reply in `text` takes, 0 when it is not complete yet. */
size_t parse_reply(const char *text, size_t size, bool bodiless, bool at_end, struct reply *reply);
/* Waits for a reply; false when the connection ended before one. */
bool read_reply(struct connection *connection, bool bodiless, struct reply *reply);
int write_create(char *out, const struct options *options, long long length, long long body);
int write_head(char *out, const struct options *options, const char *upload);
int write_patch(char *out, const struct options *options, const char *upload, long long offset, long long size);
/* Creates one upload and stores its path; ends the program where the server refuses. */
void create_upload(struct connection *connection, const struct options *options, long long length, char *path);
/* Prints `"p50_ms": …, "p99_ms": …` and so on; sorts the samples (seconds). */
void print_latencies(const char *prefix, double *samples, size_t count);

int run_small(const struct options *options);
int run_head(const struct options *options);
int run_patch(const struct options *options);
int run_cut(const struct options *options);
int run_resume(const struct options *options);
int run_crash(const struct options *options);
int run_trickle(const struct options *options);
#endif
