// What a guest does to a disk (/dev/vda, or the one named) for `bench/disk/run` and `bench/pv`: one row "name MB/s requests/s" each. Direct, one request at a time
// (depth 1), then from four processes at once.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DISK (256L << 20)

static const char *name_of_disk = "/dev/vda";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void work(int write, long size, long count, int random, unsigned seed)
{
    void *buffer;
    int disk = open(name_of_disk, O_RDWR | O_DIRECT);
    if (disk < 0 || posix_memalign(&buffer, 4096, size) != 0)
        exit(1);
    for (long i = 0; i < size / 8; i++)
        ((uint64_t *)buffer)[i] = i * 0x9E3779B97F4A7C15u + seed;
    for (long i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        long at = (random ? (seed >> 8) % (DISK / size) : i % (DISK / size)) * size;
        if ((write ? pwrite(disk, buffer, size, at) : pread(disk, buffer, size, at)) != size) {
            perror("request");
            exit(1);
        }
    }
    if (write)
        fsync(disk);
}

static void row(const char *name, int write, long size, long count, int random, int processes)
{
    double start = now();
    for (int i = 0; i < processes; i++)
        if (fork() == 0) {
            work(write, size, count / processes, random, i + 1);
            _exit(0);
        }
    int status, bad = 0;
    while (wait(&status) > 0)
        bad |= status;
    double seconds = now() - start;
    printf("row %s %.1f %.0f%s\n", name, size * count / seconds / 1e6, count / seconds, bad ? " FAILED" : "");
    fflush(stdout);
}

int main(int count, char **words)
{
    if (count > 1)
        name_of_disk = words[1];
    row("write-new-1M", 1, 1 << 20, 256, 0, 1);
    row("write-1M", 1, 1 << 20, 256, 0, 1);
    row("read-1M", 0, 1 << 20, 512, 0, 1);
    row("read-4K-random", 0, 4096, 8000, 1, 1);
    row("write-4K-random", 1, 4096, 8000, 1, 1);
    row("read-4K-random-4", 0, 4096, 16000, 1, 4);
    row("write-4K-random-4", 1, 4096, 16000, 1, 4);
    return 0;
}
