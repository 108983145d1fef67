// suite loop ROW NAME COUNT      runs one loop and reports it
// suite time ROW COMMAND...      runs a command and reports it
// suite speed ROW AMOUNT COMMAND...   runs `openssl speed -mr` and reports the seconds for AMOUNT at its rate
// suite calibrate                prints the frequency of the time-stamp counter in kHz, on a host with a right clock
// suite true                     does nothing (what fork+exec starts)
//
// Time is the TSC: a guest's clock may have steps of 4 ms, the counter has not. SUITE_TSC_KHZ is its frequency, which
// the runner measured on the host. The guest's own clock is reported too, so that one that runs wrong is seen.
#define _GNU_SOURCE
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { repetitions = 3 };

static const struct loop *const groups[] = {
    integer_loops, call_loops, float_loops, vector_loops, memory_loops, system_loops, jit_loops, parallel_loops,
};

void fail(const char *what)
{
    printf("suite: %s\n", what);
    fflush(stdout);
    _exit(3);
}

static double clock_seconds(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double tsc_hertz(void)
{
    const char *khz = getenv("SUITE_TSC_KHZ");
    if (khz == NULL || atof(khz) <= 0)
        fail("SUITE_TSC_KHZ is not set");
    return atof(khz) * 1000;
}

// Processor seconds of this process and of the children it waited for. Right on the host only: a guest does not see when
// its vCPU waits.
static double processor_seconds(void)
{
    double sum = 0;
    struct rusage usage;
    for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++)
        if (getrusage(who, &usage) == 0)
            sum += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    return sum;
}

// The line that the runner reads: seconds by the TSC, seconds by the guest's clock over all repetitions per second of
// TSC over the same, the checksum, and processor seconds.
static void report(const char *row, double seconds, double clock_ratio, uint64_t checksum, double processor)
{
    printf("@suite result %s %.6f %.3f %016llx %.6f\n", row, seconds, clock_ratio, (unsigned long long)checksum, processor);
    fflush(stdout);
}

static const struct loop *find_loop(const char *name)
{
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct loop *loop = groups[group]; loop->name != NULL; loop++)
            if (strcmp(loop->name, name) == 0)
                return loop;
    fail("no such loop");
}

// The best of some repetitions: what disturbs a shared machine only ever adds time.
static int run_loop(const char *row, const char *name, uint64_t count)
{
    const struct loop *loop = find_loop(name);
    double hertz = tsc_hertz(), best = 0;
    uint64_t sum = 0;
    if (loop->prepare != NULL)
        loop->prepare();
    double clock_start = clock_seconds(CLOCK_MONOTONIC);
    uint64_t first = __rdtsc();
    for (int i = 0; i < repetitions; i++) {
        uint64_t start = __rdtsc();
        uint64_t got = loop->run(count);
        double seconds = (double)(__rdtsc() - start) / hertz;
        best = i == 0 || seconds < best ? seconds : best;
        sum = fold(sum, got);
    }
    double all = (double)(__rdtsc() - first) / hertz;
    report(row, best, (clock_seconds(CLOCK_MONOTONIC) - clock_start) / all, sum, processor_seconds());
    return 0;
}

// The last bytes of a command's output.
static char tail[4096];

// Reads the command's output to its end; the checksum is over its bytes.
static uint64_t drain(int from)
{
    static char buffer[65536];
    uint64_t sum = 1469598103934665603u;
    size_t kept = 0;
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;)
        for (ssize_t i = 0; i < got; i++) {
            sum = (sum ^ (unsigned char)buffer[i]) * 1099511628211u;
            if (kept == sizeof tail - 1)
                memmove(tail, tail + sizeof tail / 2, kept -= sizeof tail / 2);
            tail[kept++] = buffer[i];
        }
    tail[kept] = 0;
    return sum;
}

// Signatures or bytes a second in the output of `openssl speed -mr`: "+F2:0:2048:SIGN:VERIFY" (RSA, ECDSA: F4) or
// "+F:0:name:BYTES".
static double read_rate(void)
{
    const char *at = strstr(tail, "+F");
    for (int field = 0; at != NULL && field < 3; field++)
        at = strchr(at + 1, ':');
    double rate = at == NULL ? 0 : atof(at + 1);
    if (rate <= 0)
        fail("no rate in the output of openssl speed");
    return rate;
}

// With an amount above zero the seconds are those for that amount at the rate that the command printed.
static int run_command(const char *row, double amount, char **command)
{
    int ends[2], status;
    double hertz = tsc_hertz(), clock_start = clock_seconds(CLOCK_MONOTONIC);
    uint64_t start = __rdtsc();
    if (pipe(ends) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    close(ends[1]);
    uint64_t sum = drain(ends[0]);
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    double seconds = (double)(__rdtsc() - start) / hertz;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        printf("suite: %s ended with status %d\n", command[0], code);
        fflush(stdout);
        return code == 0 ? 1 : code;
    }
    double clock_ratio = (clock_seconds(CLOCK_MONOTONIC) - clock_start) / seconds;
    if (amount > 0)
        report(row, amount / read_rate() / clock_ratio, clock_ratio, 0,
               amount / read_rate() / clock_ratio * processor_seconds() / seconds);
    else
        report(row, seconds, clock_ratio, sum, processor_seconds());
    return 0;
}

static int calibrate(void)
{
    double from = clock_seconds(CLOCK_MONOTONIC_RAW);
    uint64_t start = __rdtsc();
    while (clock_seconds(CLOCK_MONOTONIC_RAW) - from < 0.3)
        ;
    uint64_t stop = __rdtsc();
    printf("%.0f\n", (double)(stop - start) / (clock_seconds(CLOCK_MONOTONIC_RAW) - from) / 1000);
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "true") == 0)
        return 0;
    if (count == 2 && strcmp(words[1], "calibrate") == 0)
        return calibrate();
    if (count == 5 && strcmp(words[1], "loop") == 0)
        return run_loop(words[2], words[3], strtoull(words[4], NULL, 0));
    if (count >= 4 && strcmp(words[1], "time") == 0)
        return run_command(words[2], 0, words + 3);
    if (count >= 5 && strcmp(words[1], "speed") == 0)
        return run_command(words[2], atof(words[3]), words + 4);
    fprintf(stderr, "usage: suite loop ROW NAME COUNT | time ROW COMMAND... | speed ROW AMOUNT COMMAND... | calibrate | true\n");
    return 2;
}
