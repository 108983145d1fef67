/* Words on Xen's console, and hypercalls. */
#pragma once
#include <stdint.h>

enum { SELF = 0x7FF0 };

long call64(unsigned long number, ...);
long call32(unsigned long number, ...);
extern volatile uint32_t nmis;

void console_open(void);
void console_drain(void);
uint32_t console_port(void);
void console_use(uint32_t port);
void text(const char *words);
void number(long value);
void hexadecimal(uint64_t value);
void line(void);

/* Linear addresses of one page each, in the order of the window. */
enum { WINDOW = 0xC0000000 };
enum window {
    PAGE_DATA,          /* an ordinary page; behind it there is nothing */
    PAGE_NONE1,
    PAGE_READ_ONLY,
    PAGE_NONE2,
    PAGE_MMIO,          /* the local APIC */
    PAGE_NONE3,
    PAGE_HOLE,          /* no memory there */
    PAGE_NONE4,
    PAGE_LAST_RAM,      /* the last page of RAM, and what is behind it */
    PAGE_BEHIND_RAM,
    PAGE_NONE5,
    PAGE_CONSOLE,
    PAGE_SCRATCH,       /* for what a case needs to see */
    PAGE_SCRATCH2,
};
static inline uint8_t *window(enum window page) { return (uint8_t *)(uintptr_t)(WINDOW + page * 4096UL); }
void map(enum window page, uint64_t frame, int flags);
