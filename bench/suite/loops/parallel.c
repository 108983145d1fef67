// The same work by one thread and by two: integer work that shares nothing, and with one shared counter.
#define _GNU_SOURCE
#include "suite.h"

#include <pthread.h>
#include <sched.h>

enum { pieces = 64 };

static uint64_t piece_rounds, next_piece, sums[pieces];

static uint64_t work(uint64_t piece)
{
    uint64_t state = piece + 1, sum = 0, table[256] = { 0 };
    for (uint64_t i = 0; i < piece_rounds; i++) {
        uint64_t x = next_random(&state);
        table[x & 255] += x;
        sum += table[x >> 8 & 255] ^ i;
    }
    return sum;
}

static void *worker(void *unused)
{
    (void)unused;
    for (uint64_t piece; (piece = __atomic_fetch_add(&next_piece, 1, __ATOMIC_SEQ_CST)) < pieces;)
        sums[piece] = work(piece);
    return NULL;
}

static uint64_t with_threads(int threads, uint64_t count)
{
    pthread_t others[2];
    piece_rounds = count / pieces;
    next_piece = 0;
    for (int i = 0; i < threads; i++)
        if (pthread_create(&others[i], NULL, worker, NULL) != 0)
            fail("pthread_create");
    for (int i = 0; i < threads; i++)
        pthread_join(others[i], NULL);
    uint64_t sum = 0;
    for (int i = 0; i < pieces; i++)
        sum = fold(sum, sums[i]);
    return sum;
}

static void need_two(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 2)
        fail("only one processor here");
}

static uint64_t one_thread(uint64_t count)
{
    return with_threads(1, count);
}

static uint64_t two_threads(uint64_t count)
{
    return with_threads(2, count);
}

const struct loop parallel_loops[] = {
    { "one-thread", need_two, one_thread },
    { "two-threads", need_two, two_threads },
    { NULL, NULL, NULL },
};
