// Streams through memory: plain loops, vector stores, the repeated string instructions, and the C library's own.
#include "suite.h"

#include <emmintrin.h>
#include <stdlib.h>
#include <string.h>

enum { stream_bytes = 8 << 20, words = stream_bytes / 8, small_bytes = 32 << 10 };

static uint64_t first[words] __attribute__((aligned(4096))), second[words] __attribute__((aligned(4096))),
    third[words] __attribute__((aligned(4096)));

static void prepare(void)
{
    for (size_t i = 0; i < words; i++) {
        first[i] = i * 3;
        second[i] = i ^ 0x5555;
        third[i] = 1;
    }
}

static uint64_t probe(const uint64_t *from)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < words; i += 997)
        sum = fold(sum, from[i]);
    return sum;
}

static __attribute__((optimize("no-tree-loop-distribute-patterns,no-tree-vectorize"))) uint64_t copy_words(uint64_t count)
{
    for (; count > 0; count--) {
        second[count % words] = count;
        for (size_t i = 0; i < words; i++)
            first[i] = second[i];
    }
    return probe(first);
}

static __attribute__((optimize("no-tree-vectorize"))) uint64_t triad(uint64_t count)
{
    for (; count > 0; count--)
        for (size_t i = 0; i < words; i++)
            first[i] = second[i] + 3 * third[i] + count;
    return probe(first);
}

static uint64_t copy_sse(uint64_t count)
{
    for (; count > 0; count--) {
        second[count % words] = count;
        for (size_t i = 0; i < words; i += 8)
            for (size_t part = 0; part < 8; part += 2)
                _mm_store_si128((__m128i *)(first + i + part), _mm_load_si128((const __m128i *)(second + i + part)));
    }
    return probe(first);
}

// Read, change and write each word of 256 KiB.
static uint64_t update(uint64_t count)
{
    uint64_t sum = 0;
    memset(first, 1, 256 << 10);
    for (; count > 0; count--)
        for (size_t i = 0; i < (256 << 10) / 8; i += 3)
            sum += first[i] += sum ^ i;
    return sum;
}

// One word of each line of 8 MiB: the TLBs' row.
static uint64_t stride(uint64_t count)
{
    uint64_t sum = 0;
    for (; count > 0; count--)
        for (size_t i = 0; i < words; i += 8)
            sum += second[i];
    return sum;
}

static void rep_movsb(void *to, const void *from, size_t bytes)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static void rep_stosb(void *to, unsigned char value, size_t bytes)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

static uint64_t movsb_large(uint64_t count)
{
    for (; count > 0; count--) {
        second[count % words] = count;
        rep_movsb(first, second, stream_bytes);
    }
    return probe(first);
}

static uint64_t stosb_large(uint64_t count)
{
    for (; count > 0; count--)
        rep_stosb(first, (unsigned char)count, stream_bytes);
    return probe(first);
}

// Short ones, at every alignment: what memcpy of structures and strings is.
static uint64_t movsb_small(uint64_t count)
{
    unsigned char *to = (unsigned char *)first;
    const unsigned char *from = (const unsigned char *)second;
    for (uint64_t i = 0; i < count; i++)
        rep_movsb(to + (i * 29 & small_bytes - 1), from + (i * 53 & small_bytes - 1), 1 + (i * 7 & 127));
    return probe(first);
}

// A page at a time, as a kernel clears and copies pages.
static uint64_t stosq_pages(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        void *to = first + (i * 512 & words - 1);
        size_t n = 512;
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(i) : "memory");
    }
    return probe(first);
}

static void *(*volatile library_copy)(void *, const void *, size_t) = memcpy;
static void *(*volatile library_set)(void *, int, size_t) = memset;
static size_t (*volatile library_length)(const char *) = strlen;

static uint64_t library_memcpy(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        library_copy((char *)first + (i * 29 & small_bytes - 1), (char *)second + (i * 53 & small_bytes - 1), i * 37 & 2047);
    return probe(first);
}

static uint64_t library_memset(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        library_set((char *)first + (i * 29 & small_bytes - 1), (int)i, i * 37 & 2047);
    return probe(first);
}

static uint64_t library_strlen(uint64_t count)
{
    uint64_t sum = 0;
    char *text = (char *)third;
    memset(text, 'x', 8192);
    for (uint64_t i = 0; i < count; i++) {
        size_t at = (i * 61 & 1023) + 64, end = at + (i * 13 & 511);
        text[end] = 0;
        sum += library_length(text + at);
        text[end] = 'x';
    }
    return sum;
}

const struct loop memory_loops[] = {
    { "copy-words", prepare, copy_words },   { "triad", prepare, triad },
    { "copy-sse", prepare, copy_sse },       { "update", prepare, update },
    { "stride", prepare, stride },           { "rep-movsb", prepare, movsb_large },
    { "rep-stosb", prepare, stosb_large },   { "rep-movsb-small", prepare, movsb_small },
    { "rep-stosq-page", prepare, stosq_pages }, { "memcpy", prepare, library_memcpy },
    { "memset", prepare, library_memset },   { "strlen", prepare, library_strlen },
    { NULL, NULL, NULL },
};
