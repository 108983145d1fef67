// SSE and AVX2: floating point, integer, shuffles, and the AES and carry-less multiplication instructions.
#include "suite.h"

#include <immintrin.h>
#include <string.h>

enum { length = 4096 };

static float xs[length] __attribute__((aligned(64))), ys[length] __attribute__((aligned(64)));
static int16_t shorts[length] __attribute__((aligned(64)));
static unsigned char bytes[65536] __attribute__((aligned(64)));

static void prepare_floats(void)
{
    for (int i = 0; i < length; i++) {
        xs[i] = (float)(i % 97) * 0.5f;
        ys[i] = (float)(i % 31);
    }
}

static void need_avx2(void)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        fail("this processor has no AVX2 or no FMA");
    prepare_floats();
}

static uint64_t sum_floats(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < length; i += 37) {
        uint32_t image;
        memcpy(&image, &ys[i], sizeof image);
        sum = fold(sum, image);
    }
    return sum;
}

static uint64_t saxpy_sse(uint64_t count)
{
    __m128 a = _mm_set1_ps(0.0001f), decay = _mm_set1_ps(0.9999f);
    for (; count > 0; count--)
        for (int i = 0; i < length; i += 4)
            _mm_store_ps(ys + i, _mm_add_ps(_mm_mul_ps(a, _mm_load_ps(xs + i)), _mm_mul_ps(decay, _mm_load_ps(ys + i))));
    return sum_floats();
}

static __attribute__((target("avx2,fma"))) uint64_t saxpy_avx2(uint64_t count)
{
    __m256 a = _mm256_set1_ps(0.0001f), decay = _mm256_set1_ps(0.9999f);
    for (; count > 0; count--)
        for (int i = 0; i < length; i += 8)
            _mm256_store_ps(ys + i, _mm256_add_ps(_mm256_mul_ps(a, _mm256_load_ps(xs + i)),
                                                  _mm256_mul_ps(decay, _mm256_load_ps(ys + i))));
    return sum_floats();
}

// A dot product with FMA: two loads and one operation, nothing stored.
static __attribute__((target("avx2,fma"))) uint64_t dot_fma(uint64_t count)
{
    __m256 sums[4];
    for (int i = 0; i < 4; i++)
        sums[i] = _mm256_setzero_ps();
    for (; count > 0; count--)
        for (int i = 0; i < length; i += 32)
            for (int lane = 0; lane < 4; lane++)
                sums[lane] = _mm256_fmadd_ps(_mm256_load_ps(xs + i + lane * 8), _mm256_load_ps(ys + i + lane * 8), sums[lane]);
    float out[8];
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    uint32_t image;
    memcpy(&image, out, sizeof image);
    return image;
}

static void prepare_integers(void)
{
    uint64_t state = 3;
    for (int i = 0; i < length; i++)
        shorts[i] = (int16_t)next_random(&state);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)next_random(&state);
}

static uint64_t integer_sse2(uint64_t count)
{
    __m128i sum = _mm_setzero_si128(), factor = _mm_set1_epi16(77), mask = _mm_set1_epi32(0xFFFFF);
    for (; count > 0; count--)
        for (int i = 0; i < length; i += 8) {
            __m128i x = _mm_load_si128((const __m128i *)(shorts + i));
            __m128i product = _mm_madd_epi16(x, factor);
            sum = _mm_add_epi32(_mm_xor_si128(sum, _mm_srli_epi32(product, 3)), _mm_and_si128(x, mask));
        }
    uint64_t out[2];
    _mm_storeu_si128((__m128i *)out, sum);
    return fold(out[0], out[1]);
}

// Upper-cases text with byte compares and a shuffle, as parsers and base64 coders do.
static __attribute__((target("avx2"))) uint64_t bytes_avx2(uint64_t count)
{
    const __m256i low = _mm256_set1_epi8('a' - 1), high = _mm256_set1_epi8('z' + 1), flip = _mm256_set1_epi8(0x20);
    const __m256i turn = _mm256_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8,
                                          7, 6, 5, 4, 3, 2, 1, 0);
    uint64_t letters = 0;
    for (; count > 0; count--)
        for (size_t i = 0; i < sizeof bytes; i += 32) {
            __m256i x = _mm256_load_si256((const __m256i *)(bytes + i));
            __m256i small = _mm256_and_si256(_mm256_cmpgt_epi8(x, low), _mm256_cmpgt_epi8(high, x));
            letters += (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(small));
            x = _mm256_shuffle_epi8(_mm256_xor_si256(x, _mm256_and_si256(small, flip)), turn);
            _mm256_store_si256((__m256i *)(bytes + i), x);
        }
    return letters;
}

static void need_aes(void)
{
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "0"(1), "2"(0));
    if ((c & 1u << 25) == 0 || (c & 1u << 1) == 0)
        fail("this processor has no AES-NI or no PCLMULQDQ");
    prepare_integers();
}

// Ten rounds on four blocks at a time, and a carry-less product of each result: AES-GCM's inner loop in small.
static __attribute__((target("aes,pclmul,sse4.1"))) uint64_t aes_gcm(uint64_t count)
{
    __m128i key = _mm_set_epi32(1, 22, 333, 4444), hash = key, h = _mm_set_epi32(7, 9, 11, 13);
    for (; count > 0; count--)
        for (size_t i = 0; i < sizeof bytes; i += 64) {
            __m128i x[4];
            for (int lane = 0; lane < 4; lane++)
                x[lane] = _mm_load_si128((const __m128i *)(bytes + i + lane * 16));
            for (int round = 0; round < 10; round++)
                for (int lane = 0; lane < 4; lane++)
                    x[lane] = _mm_aesenc_si128(x[lane], key);
            for (int lane = 0; lane < 4; lane++) {
                hash = _mm_xor_si128(hash, x[lane]);
                hash = _mm_xor_si128(_mm_clmulepi64_si128(hash, h, 0x00), _mm_clmulepi64_si128(hash, h, 0x11));
            }
        }
    uint64_t out[2];
    _mm_storeu_si128((__m128i *)out, hash);
    return fold(out[0], out[1]);
}

const struct loop vector_loops[] = {
    { "saxpy-sse", prepare_floats, saxpy_sse },
    { "saxpy-avx2", need_avx2, saxpy_avx2 },
    { "dot-fma", need_avx2, dot_fma },
    { "integer-sse2", prepare_integers, integer_sse2 },
    { "bytes-avx2", prepare_integers, bytes_avx2 },
    { "aes-gcm-loop", need_aes, aes_gcm },
    { NULL, NULL, NULL },
};
