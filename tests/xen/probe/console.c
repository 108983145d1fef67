/* The console ring of a domU, for output only. Xen, public/io/console.h. */
#include "console.h"

extern uint64_t window_table[512];
extern uint8_t hypercall_page[];

struct ring {
    char in[1024], out[2048];
    volatile uint32_t in_consumed, in_produced, out_consumed, out_produced;
};
static struct ring *ring;
static uint32_t port;

void map(enum window page, uint64_t frame, int flags)
{
    window_table[page] = flags ? frame << 12 | flags : 0;
    __asm__ volatile("invlpg (%0)" ::"r"(window(page)) : "memory");
}

static uint64_t parameter(uint32_t index)
{
    struct { uint16_t domain, pad; uint32_t index; uint64_t value; } request = { SELF, 0, index, 0 };
    call64(34, 1, &request);
    return request.value;
}

void console_open(void)
{
    uint32_t msr = 0x40000000;
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)(uintptr_t)hypercall_page), "d"(0));
    map(PAGE_CONSOLE, parameter(17), 3);
    ring = (struct ring *)window(PAGE_CONSOLE);
    port = parameter(18);
}

uint32_t console_port(void) { return port; }
void console_use(uint32_t other) { port = other; }

void console_drain(void)
{
    while (ring->out_consumed != ring->out_produced) {
        call64(29, 0);
    }
}

static void letter(char c)
{
    while (ring->out_produced - ring->out_consumed == sizeof(ring->out)) {
        call64(29, 0);
    }
    ring->out[ring->out_produced % sizeof(ring->out)] = c;
    __asm__ volatile("" ::: "memory");
    ring->out_produced++;
}

void text(const char *words)
{
    while (*words) {
        letter(*words++);
    }
}

void number(long value)
{
    char digits[24];
    int at = 23;
    unsigned long left = value < 0 ? -(unsigned long)value : (unsigned long)value;
    digits[at] = 0;
    do {
        digits[--at] = '0' + left % 10;
    } while ((left /= 10) != 0);
    if (value < 0) {
        letter('-');
    }
    text(digits + at);
}

void hexadecimal(uint64_t value)
{
    int digit = 60;
    text("0x");
    while (digit > 0 && value >> digit == 0) {
        digit -= 4;
    }
    for (; digit >= 0; digit -= 4) {
        letter("0123456789abcdef"[value >> digit & 15]);
    }
}

void line(void)
{
    letter('\n');
    call64(32, 4, &port);
}

void stopped(uint64_t first, uint64_t second, uint64_t cr2)
{
    text("an exception: ");
    hexadecimal(first);
    text(" ");
    hexadecimal(second);
    text(" ");
    hexadecimal(cr2);
    line();
    console_drain();
}
