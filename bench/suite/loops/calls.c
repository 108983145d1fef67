// Calls, returns and indirect branches.
#include "suite.h"

#include <stdlib.h>

static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls,no-inline"))) uint64_t fibonacci(uint64_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t fib(uint64_t count)
{
    return fibonacci(count);
}

#define TARGET(name, expression)                                                    \
    static __attribute__((noinline, noclone)) uint64_t name(uint64_t x, uint64_t i) \
    {                                                                               \
        return expression;                                                          \
    }
TARGET(add, x + i)
TARGET(subtract, x - 3 * i)
TARGET(exclusive, x ^ i << 5)
TARGET(rotate, (x << 7 | x >> 57) ^ i)
TARGET(scale, x * 5 + i)
TARGET(invert, ~x + i)
TARGET(halve, (x >> 1) + i)
TARGET(blend, (x & 0xFFFF0000FFFF0000u) + (i & 0xFFFF))

static uint64_t indirect_calls(uint64_t count)
{
    static uint64_t (*volatile const targets[])(uint64_t, uint64_t) = {
        add, subtract, exclusive, rotate, scale, invert, halve, blend,
    };
    uint64_t x = 1;
    for (uint64_t i = 0; i < count; i++)
        x = targets[(i ^ x >> 60) & 7](x, i);
    return x;
}

// A bytecode machine with four registers. The program has no pattern that a short history would learn at once.
enum opcode { op_add, op_sub, op_xor, op_shift, op_load, op_store, op_skip, op_move, op_mul, op_or, op_not, op_loop };

static struct code {
    uint8_t op, a, b, c;
} program[240];

static void prepare_interpreter(void)
{
    uint64_t state = 2026;
    for (size_t i = 0; i + 1 < sizeof program / sizeof *program; i++) {
        uint64_t x = next_random(&state);
        program[i] = (struct code){ (uint8_t)(x % op_loop), x >> 8 & 3, x >> 16 & 3, (uint8_t)(x >> 24 & 63) };
    }
    program[sizeof program / sizeof *program - 1].op = op_loop;
}

static uint64_t interpreter(uint64_t count)
{
    uint64_t registers[4] = { 1, 2, 3, 4 }, memory[64] = { 0 };
    const struct code *at = program;
    for (;;) {
        const struct code *now = at++;
        uint64_t *a = &registers[now->a], b = registers[now->b];
        switch ((enum opcode)now->op) {
            case op_add: *a += b; break;
            case op_sub: *a -= b + now->c; break;
            case op_xor: *a ^= b; break;
            case op_shift: *a = *a << (now->c & 31) | *a >> 37; break;
            case op_load: *a = memory[(b + now->c) & 63]; break;
            case op_store: memory[(b ^ now->c) & 63] = *a; break;
            case op_skip: at += (b & 1) != 0 && at[0].op != op_loop; break;
            case op_move: *a = b + now->c; break;
            case op_mul: *a = *a * b + 1; break;
            case op_or: *a |= b; break;
            case op_not: *a = ~b; break;
            case op_loop:
                if (--count == 0)
                    return fold(registers[0] ^ registers[1], registers[2] + registers[3]);
                at = program;
                break;
        }
    }
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

// The C library's sort: a call through a pointer for each comparison, malloc and memcpy beside it.
static uint64_t library_sort(uint64_t count)
{
    static uint32_t values[5000];
    uint64_t state = 11, sum = 0;
    for (; count > 0; count--) {
        for (size_t i = 0; i < 5000; i++)
            values[i] = (uint32_t)next_random(&state);
        qsort(values, 5000, sizeof *values, compare);
        sum = fold(sum, values[2500]);
    }
    return sum;
}

const struct loop call_loops[] = {
    { "fib", NULL, fib },
    { "indirect-calls", NULL, indirect_calls },
    { "interpreter", prepare_interpreter, interpreter },
    { "qsort", NULL, library_sort },
    { NULL, NULL, NULL },
};
