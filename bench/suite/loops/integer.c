// Integer work without calls: arithmetic, tables, sorting, pointers, and a mix in the manner of CoreMark.
#include "suite.h"

#include <string.h>

static uint64_t xorshift(uint64_t count)
{
    uint64_t state = 88172645463325252u, sum = 0;
    while (count-- > 0)
        sum += next_random(&state) >> 3;
    return sum;
}

static uint32_t crc_table[256];
static unsigned char crc_text[65536];

static void prepare_crc(void)
{
    uint64_t state = 1;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
        crc_table[i] = value;
    }
    for (size_t i = 0; i < sizeof crc_text; i++)
        crc_text[i] = (unsigned char)next_random(&state);
}

static uint64_t crc(uint64_t count)
{
    uint32_t value = ~0u;
    for (uint64_t pass = 0; pass < count; pass++)
        for (size_t i = 0; i < sizeof crc_text; i++)
            value = value >> 8 ^ crc_table[(value ^ crc_text[i]) & 255];
    return value;
}

static uint32_t sorted[20000];

static uint64_t shell_sort(uint64_t count)
{
    uint64_t sum = 0, state = 7;
    const size_t n = sizeof sorted / sizeof *sorted;
    for (; count > 0; count--) {
        for (size_t i = 0; i < n; i++)
            sorted[i] = (uint32_t)next_random(&state);
        for (size_t gap = 9841; gap > 0; gap /= 3)
            for (size_t i = gap; i < n; i++) {
                uint32_t value = sorted[i];
                size_t at = i;
                for (; at >= gap && sorted[at - gap] > value; at -= gap)
                    sorted[at] = sorted[at - gap];
                sorted[at] = value;
            }
        sum = fold(sum, sorted[n / 2]);
    }
    return sum;
}

// A random cycle with one node in each of 16384 lines of 64 bytes: 1 MiB, 256 pages.
static struct node {
    struct node *next;
    uint64_t value, room[6];
} nodes[16384];

static void prepare_chase(void)
{
    static uint32_t order[16384];
    uint64_t state = 99;
    const uint32_t n = 16384;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t other = (uint32_t)(next_random(&state) % i), keep = order[i];
        order[i] = order[other];
        order[other] = keep;
    }
    for (uint32_t i = 0; i < n; i++) {
        nodes[order[i]].next = &nodes[order[(i + 1) % n]];
        nodes[order[i]].value = i;
    }
}

static uint64_t chase(uint64_t count)
{
    uint64_t sum = 0;
    for (const struct node *at = nodes; count > 0; count--, at = at->next)
        sum += at->value;
    return sum;
}

static uint64_t atomics(uint64_t count)
{
    static uint64_t counters[64];
    memset(counters, 0, sizeof counters);
    for (uint64_t i = 0; i < count; i++)
        __atomic_fetch_add(&counters[i & 63], i, __ATOMIC_SEQ_CST);
    uint64_t sum = 0;
    for (int i = 0; i < 64; i++)
        sum = fold(sum, counters[i]);
    return sum;
}

static uint64_t divide(uint64_t count)
{
    uint64_t state = 5, sum = 0;
    while (count-- > 0) {
        uint64_t x = next_random(&state), y = (x >> 40) + 3;
        sum += x / y + x % y;
    }
    return sum;
}

// The mix: a list that is reversed and searched, a small matrix product, and a scanner of numbers in text.
static struct item {
    struct item *next;
    int16_t key, data;
} items[256];

static uint16_t crc16(uint16_t crc, uint16_t value)
{
    for (int bit = 0; bit < 16; bit++, value >>= 1)
        crc = (uint16_t)(crc >> 1 ^ ((crc ^ value) & 1 ? 0xA001 : 0));
    return crc;
}

static uint16_t mix_list(uint16_t crc)
{
    struct item *head = NULL;
    for (int i = 0; i < 256; i++) {
        items[i] = (struct item){ head, (int16_t)(i * 37 & 255), (int16_t)(i ^ crc) };
        head = &items[i];
    }
    for (int wanted = 0; wanted < 256; wanted += 17) {
        struct item *reversed = NULL, *at = head;
        while (at != NULL && at->key != wanted)
            at = at->next;
        crc = crc16(crc, at == NULL ? 1 : (uint16_t)at->data);
        while (head != NULL) {
            struct item *next = head->next;
            head->next = reversed;
            reversed = head;
            head = next;
        }
        head = reversed;
    }
    return crc;
}

static uint16_t mix_matrix(uint16_t crc)
{
    enum { n = 24 };
    static int16_t a[n][n], b[n][n];
    int32_t trace = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            a[i][j] = (int16_t)(i * 3 + j + crc);
            b[i][j] = (int16_t)(i - j * 5);
        }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int32_t cell = 0;
            for (int k = 0; k < n; k++)
                cell += a[i][k] * b[k][j];
            trace += (cell >> 2 & 15) * (cell >> 5 & 127);
        }
    return crc16(crc, (uint16_t)trace);
}

static uint16_t mix_scan(uint16_t crc)
{
    static const char text[] = "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,"
                               "+0.6e-12,T0.3e-1F,-T.T++Tq,1T3.4e4z,34.0e-T^,";
    enum { start, sign, whole, fraction, exponent, power, invalid } state = start;
    int seen[7] = { 0 };
    for (const char *at = text; *at != 0; at++) {
        char c = *at;
        if (c == ',') {
            seen[state]++;
            state = start;
            continue;
        }
        switch (state) {
            case start: state = c == '+' || c == '-' ? sign : c >= '0' && c <= '9' ? whole : c == '.' ? fraction : invalid; break;
            case sign: state = c >= '0' && c <= '9' ? whole : c == '.' ? fraction : invalid; break;
            case whole: state = c == '.' ? fraction : c == 'e' ? exponent : c >= '0' && c <= '9' ? whole : invalid; break;
            case fraction: state = c == 'e' ? exponent : c >= '0' && c <= '9' ? fraction : invalid; break;
            case exponent: state = c == '+' || c == '-' || (c >= '0' && c <= '9') ? power : invalid; break;
            case power: state = c >= '0' && c <= '9' ? power : invalid; break;
            default: break;
        }
    }
    for (int i = 0; i < 7; i++)
        crc = crc16(crc, (uint16_t)seen[i]);
    return crc;
}

static uint64_t mix(uint64_t count)
{
    uint16_t value = 0;
    for (; count > 0; count--)
        value = mix_scan(mix_matrix(mix_list(value)));
    return value;
}

const struct loop integer_loops[] = {
    { "xorshift", NULL, xorshift }, { "crc", prepare_crc, crc },   { "shell-sort", NULL, shell_sort },
    { "chase", prepare_chase, chase }, { "atomics", NULL, atomics }, { "divide", NULL, divide },
    { "mix", NULL, mix },            { NULL, NULL, NULL },
};
