// Code that is written and run at once, as just-in-time compilers do.
#include "suite.h"

#include <string.h>
#include <sys/mman.h>

enum { area_bytes = 64 << 10 };

static unsigned char *area;

static void prepare(void)
{
    area = mmap(NULL, area_bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        fail("mmap of writable code");
    memset(area, 0xC3, area_bytes);
}

typedef uint64_t function(uint64_t);

static function *entry(unsigned char *code)
{
    function *made;
    memcpy(&made, &code, sizeof made);
    return made;
}

static unsigned char *put(unsigned char *at, const void *bytes, size_t count)
{
    return (unsigned char *)memcpy(at, bytes, count) + count;
}

static unsigned char *put32(unsigned char *at, uint32_t value)
{
    return put(at, &value, sizeof value);
}

// x -> some operations on x with constants out of the stream; always another function.
static unsigned char *compile(unsigned char *at, int operations, uint64_t *state)
{
    at = put(at, "\x48\x89\xF8", 3);                                    // mov rax, rdi
    while (operations-- > 0) {
        uint64_t choice = next_random(state);
        switch (choice & 7) {
            case 0: at = put32(put(at, "\x48\x05", 2), (uint32_t)(choice >> 33)); break;        // add rax, imm32
            case 1: at = put32(put(at, "\x48\x35", 2), (uint32_t)(choice >> 33)); break;        // xor rax, imm32
            case 2: at = put32(put(at, "\x48\x2D", 2), (uint32_t)(choice >> 33)); break;        // sub rax, imm32
            case 3: at = put(at, "\x48\xC1\xC0\x0D", 4); break;                                 // rol rax, 13
            case 4: at = put(at, "\x48\x01\xF8", 3); break;                                     // add rax, rdi
            case 5: at = put(at, "\x48\x8D\x44\xC7\x05", 5); break;                             // lea rax, [rdi+rax*8+5]
            case 6: at = put(at, "\x48\x83\xF8\x10\x72\x03\x48\xFF\xC8", 9); break;             // cmp rax,16; jb +3; dec rax
            default: at = put32(put(at, "\x48\x69\xC0", 3), (uint32_t)(choice >> 40) | 1); break; // imul rax, rax, imm32
        }
    }
    *at++ = 0xC3;                                                       // ret
    return at;
}

// A new function of a dozen instructions for each call, round a ring: all that is run was written just before.
static uint64_t fresh(uint64_t count)
{
    uint64_t sum = 1, state = 17;
    unsigned char *at = area;
    for (; count > 0; count--) {
        if (at + 256 > area + area_bytes)
            at = area;
        unsigned char *code = at;
        at = compile(at, 10, &state);
        sum += entry(code)(sum);
    }
    return sum;
}

// One constant of a function changes before each call, as an inline cache is patched.
static uint64_t patch(uint64_t count)
{
    uint64_t sum = 1;
    unsigned char *constant = put(area, "\x48\x89\xF8\x48\x05", 5);     // mov rax, rdi; add rax, imm32
    put(put32(constant, 0), "\x48\xD1\xC0\xC3", 4);                     // rol rax, 1; ret
    for (uint64_t i = 0; i < count; i++) {
        put32(constant, (uint32_t)i & 0x7FFFFFFF);
        sum += entry(area)(sum);
    }
    return sum;
}

// A function of some 200 instructions is written, then run 200 times: a compiler whose code pays off.
static uint64_t compiled(uint64_t count)
{
    uint64_t sum = 1, state = 23;
    unsigned char *at = area;
    for (; count > 0; count--) {
        if (at + 4096 > area + area_bytes)
            at = area;
        unsigned char *code = at;
        at = compile(at, 200, &state);
        for (int i = 0; i < 200; i++)
            sum += entry(code)(sum);
    }
    return sum;
}

// Data right beside code that runs: each call writes to a word in the code's own cache line.
static uint64_t neighbour(uint64_t count)
{
    uint64_t sum = 1;
    put(area, "\x48\x8D\x47\x01\x48\x01\x05\x19\x00\x00\x00\xC3", 12);  // lea rax,[rdi+1]; add [rip+25],rax; ret
    memset(area + 36, 0, 8);
    for (; count > 0; count--)
        sum = entry(area)(sum);
    uint64_t kept;
    memcpy(&kept, area + 36, sizeof kept);
    return sum + kept;
}

const struct loop jit_loops[] = {
    { "jit-fresh", prepare, fresh },       { "jit-patch", prepare, patch },
    { "jit-compiled", prepare, compiled }, { "jit-neighbour", prepare, neighbour },
    { NULL, NULL, NULL },
};
