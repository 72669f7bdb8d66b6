/* The load generator of the benchmark: `load WORKLOAD --port N …` prints one JSON object. */
#include "wire.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct { const char *name; int (*run)(const struct options *); } workloads[] = {
    {"small", run_small}, {"head", run_head},     {"patch", run_patch},     {"cut", run_cut},
    {"crash", run_crash}, {"resume", run_resume}, {"trickle", run_trickle},
};

static const struct option names[] = {
    {"port", 1, 0, 'p'},  {"path", 1, 0, 'u'},  {"upload", 1, 0, 'U'},  {"pattern", 1, 0, 'f'},     {"mode", 1, 0, 'm'},
    {"size", 1, 0, 's'},  {"body", 1, 0, 'b'},  {"chunk", 1, 0, 'k'},   {"rate", 1, 0, 'r'},        {"count", 1, 0, 'n'},
    {"uploads", 1, 0, 'N'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 't'}, {"pause", 1, 0, 'w'},
    {"hold", 1, 0, 'H'}, {"cold", 0, 0, 'C'}, {"fresh", 0, 0, 'F'},  {"limit", 1, 0, 'L'}, {0, 0, 0, 0},
};

/* Nothing runs for ever: the whole program has a limit. */
static void out_of_time(int signal) {
    static const char text[] = "{\"error\": \"out of time\"}\n";
    (void)signal;
    _exit(write(1, text, sizeof text - 1) > 0 ? 1 : 2);
}

static void read_options(int argc, char **argv, struct options *options) {
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (option) {
        case 'p': options->port = atoi(optarg); break;
        case 'u': options->collection = optarg; break;
        case 'U': options->upload = optarg; break;
        case 'f': options->pattern = optarg; break;
        case 'm': options->mode = optarg; break;
        case 's': options->size = atoll(optarg); break;
        case 'b': options->body = atoll(optarg); break;
        case 'k': options->chunk = atoll(optarg); break;
        case 'r': options->rate = atoll(optarg); break;
        case 'n': options->count = atol(optarg); break;
        case 'N': options->uploads = atol(optarg); break;
        case 'c': options->connections = atol(optarg); break;
        case 't': options->seconds = atof(optarg); break;
        case 'w': options->pause = atof(optarg); break;
        case 'H': options->hold = atof(optarg); break;
        case 'C': options->warm = false; break;
        case 'F': options->fresh = true; break;
        case 'L': alarm((unsigned)atoi(optarg)); break;
        default: exit(2);
        }
    }
}

int main(int argc, char **argv) {
    struct options options = {.collection = "/files/", .pattern = "", .mode = "one", .size = 1024, .body = -1,
                              .uploads = 1, .connections = 1, .warm = true};
    struct rlimit files;
    if (argc < 2) return 2;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max; /* a thousand connections */
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN); /* sendfile knows no MSG_NOSIGNAL */
    signal(SIGALRM, out_of_time);
    alarm(120);
    read_options(argc - 1, argv + 1, &options);
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (!strcmp(argv[1], workloads[i].name)) return workloads[i].run(&options);
    fprintf(stderr, "no such workload: %s\n", argv[1]);
    return 2;
}
