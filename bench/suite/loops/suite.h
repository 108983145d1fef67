// The loops of the guest suite: what each file offers to the table in main.c.
#ifndef SUITE_H
#define SUITE_H

#include <stddef.h>
#include <stdint.h>

// A row's work. `prepare` is not timed and may be null; `run` does `count` units and returns a value that depends on all
// of them, so that three sides can be compared and nothing can be optimised away.
struct loop {
    const char *name;
    void (*prepare)(void);
    uint64_t (*run)(uint64_t count);
};

extern const struct loop integer_loops[], call_loops[], float_loops[], vector_loops[], memory_loops[], system_loops[],
    jit_loops[], parallel_loops[];

// Says why a row cannot run and ends the process with status 3.
_Noreturn void fail(const char *what);

// A repeatable stream of numbers (xorshift64; never zero).
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

// Folds a value into a checksum.
static inline uint64_t fold(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x9E3779B97F4A7C15u + (sum >> 29);
}

#endif
