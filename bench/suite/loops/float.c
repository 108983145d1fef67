// Scalar floating point: SSE2 doubles, conversions, and the x87.
#include "suite.h"

#include <math.h>
#include <string.h>

static uint64_t bits(double value)
{
    uint64_t image;
    memcpy(&image, &value, sizeof image);
    return image;
}

static struct body {
    double x, y, z, vx, vy, vz, mass;
} bodies[5];

static void place_bodies(void)
{
    for (int i = 0; i < 5; i++)
        bodies[i] = (struct body){ i * 1.7 - 3, i * 0.9 + 0.3, 2.5 - i, 0.01 * i, 0.02, -0.03 * i, 1.0 / (i + 1) };
}

static uint64_t nbody(uint64_t count)
{
    place_bodies();
    for (; count > 0; count--) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                struct body *a = &bodies[i], *b = &bodies[j];
                double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
                double square = dx * dx + dy * dy + dz * dz + 0.01, pull = 0.001 / (square * sqrt(square));
                a->vx -= dx * b->mass * pull;
                a->vy -= dy * b->mass * pull;
                a->vz -= dz * b->mass * pull;
                b->vx += dx * a->mass * pull;
                b->vy += dy * a->mass * pull;
                b->vz += dz * a->mass * pull;
            }
        for (int i = 0; i < 5; i++) {
            bodies[i].x += 0.001 * bodies[i].vx;
            bodies[i].y += 0.001 * bodies[i].vy;
            bodies[i].z += 0.001 * bodies[i].vz;
        }
    }
    return fold(bits(bodies[0].x), bits(bodies[4].vz));
}

// A product of matrices of doubles, one multiplication at a time.
static __attribute__((optimize("no-tree-vectorize"))) uint64_t matrix(uint64_t count)
{
    enum { n = 96 };
    static double a[n][n], b[n][n], c[n][n];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            a[i][j] = (i + 1) / (j + 2.0);
            b[i][j] = (j - i) * 0.25;
        }
    for (; count > 0; count--)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                double sum = c[i][j] * 0.5;
                for (int k = 0; k < n; k++)
                    sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
    return fold(bits(c[3][5]), bits(c[n - 1][n - 2]));
}

// The escape time of points of the Mandelbrot set: compares and branches on doubles.
static uint64_t mandelbrot(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t row = 0; row < count; row++)
        for (int column = 0; column < 128; column++) {
            double cx = column / 64.0 - 1.5, cy = (double)(row % 128) / 64 - 1, x = 0, y = 0;
            int steps = 0;
            for (; steps < 200 && x * x + y * y < 4; steps++) {
                double next = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = next;
            }
            sum = fold(sum, (uint64_t)steps);
        }
    return sum;
}

static uint64_t convert(uint64_t count)
{
    double value = 1;
    int64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        value = value * 1.0000001 + (double)(int64_t)i;
        if (value > 1e15)
            value = (double)(float)value * 1e-12;
        sum += (int64_t)value ^ (int32_t)(float)i;
    }
    return (uint64_t)sum ^ bits(value);
}

static uint64_t x87(uint64_t count)
{
    long double x = 0.5L, y = 0.25L, sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        x = x * 1.25L - x * x * 1.125L + y * 0.03125L;
        y = (y + 1 / (x + 2)) * 0.5L;
        sum += x - y;
    }
    return fold(bits((double)sum), bits((double)(x * y)));
}

// The x87's transcendental instructions.
static uint64_t x87_sine(uint64_t count)
{
    long double x = 0.1L, sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        long double sine, angle;
        __asm__("fsin" : "=t"(sine) : "0"(x));
        __asm__("fpatan" : "=t"(angle) : "0"(1.5L), "u"(sine) : "st(1)");
        sum += angle;
        x += 0.001L;
    }
    // An emulator may be a few units in the last place off; no more.
    return (uint64_t)(int64_t)(sum * 1e4L);
}

const struct loop float_loops[] = {
    { "nbody", NULL, nbody }, { "matrix", NULL, matrix },   { "mandelbrot", NULL, mandelbrot },
    { "convert", NULL, convert }, { "x87", NULL, x87 }, { "x87-sine", NULL, x87_sine }, { NULL, NULL, NULL },
};
