/*
 * What needs more than a call: callers outside ring 0, entries of version 2 that grant a part of a page or what another grants, another
 * vCPU of one's own that does not run, and at last a reset of all ports, after which the console is found again.
 */
#include "console.h"

long call_user(unsigned long number, ...);

enum { MEMORY = 12, GRANT = 20, VCPU = 24, SCHED = 29, EVENT = 32, HVM = 34 };
enum { ACCESS = 1, TRANSFER = 2, TRANSITIVE = 3, READ_ONLY = 4, SUB_PAGE = 256 };

static uint32_t *words(void) { return (uint32_t *)window(PAGE_DATA); }

static void set(const uint32_t *values, unsigned count)
{
    for (unsigned i = 0; i < 1024; i++) {
        words()[i] = i < count ? values[i] : 0;
    }
}
#define SET(...) ({ const uint32_t values[] = { __VA_ARGS__ }; set(values, sizeof(values) / 4); })

static long say(const char *what, long answer)
{
    text(what);
    text(": ");
    number(answer);
    line();
    return answer;
}
#define ASK(what, number, operation, ...) ({ SET(__VA_ARGS__); say(what, call64(number, (long)(operation), words(), 1L, 0L, 0L)); })

/* From ring 3: whatever it is, the caller is told the same. */
static void ring3(void)
{
    static const uint8_t numbers[] = { 0, 7, 12, 13, 17, 18, 20, 21, 24, 26, 29, 32, 33, 34, 35, 36, 40, 41, 63 };
    for (unsigned i = 0; i < sizeof(numbers); i++) {
        SET(SELF);
        text("ring 3 ");
        number(numbers[i]);
        say("", call_user(numbers[i], 0L, words(), 1L, 0L, 0L));
    }
}

static void entry(int reference, uint32_t flags, uint32_t domain, uint32_t second, uint64_t frame)
{
    uint32_t *at = (uint32_t *)window(PAGE_SCRATCH2) + 4 * reference;
    at[1] = second, at[2] = frame, at[3] = frame >> 32;
    at[0] = domain << 16 | flags;
}

/* The status of the element that was asked about. */
static void copy(const char *what, uint32_t reference, uint32_t offset, uint32_t length, int to)
{
    map(PAGE_SCRATCH2, 0x8000, 3);
    if (to) {
        SET(0x3FFF, 0, SELF, 0, reference, 0, SELF | offset << 16, 0, length | 2 << 16);
    } else {
        SET(reference, 0, SELF | offset << 16, 0, 0x3FFF, 0, SELF, 0, length | 1 << 16);
    }
    text("version 2 ");
    text(what);
    text(": ");
    number(call64(GRANT, 5L, words(), 1L));
    text(" ");
    number((int16_t)words()[9]);
    line();
}

static void grants(uint32_t own)
{
    ASK("set_version 2", GRANT, 8, 2);
    ASK("status frame 0", MEMORY, 7, SELF, 1, 0x80000000, 0, 0x8010, 0);
    ASK("status frame 1", MEMORY, 7, SELF, 1, 0x80000001, 0, 0x8011, 0);
    map(PAGE_SCRATCH2, 0x8000, 3);
    entry(8, ACCESS, own, 0, 0x3001);
    entry(9, ACCESS | SUB_PAGE, own, 64 | 32 << 16, 0x3001);
    entry(10, ACCESS | SUB_PAGE | READ_ONLY, own, 64 | 32 << 16, 0x3001);
    entry(11, ACCESS | SUB_PAGE, own, 4090 | 32 << 16, 0x3001);
    entry(12, ACCESS | SUB_PAGE, own, 0, 0x3001);
    entry(13, TRANSITIVE, own, own, 8);
    entry(14, TRANSITIVE, own, 0, 8);
    entry(15, TRANSITIVE, own, 77, 8);
    entry(16, TRANSFER, own, 0, 0x3001);
    entry(18, ACCESS | SUB_PAGE, own, 4096 << 16, 0x3001);
    entry(17, ACCESS | SUB_PAGE, 77, 64 | 32 << 16, 0x3001);
    copy("whole page", 8, 0, 4096, 0);
    copy("part", 9, 64, 32, 0);
    copy("part from before", 9, 63, 8, 0);
    copy("part to behind", 9, 64, 33, 0);
    copy("part at its end, nothing", 9, 96, 0, 0);
    copy("part before it, nothing", 9, 0, 0, 0);
    copy("part, whole page", 9, 0, 4096, 0);
    copy("part, beyond a page", 9, 64, 4090, 0);
    copy("to a part", 9, 70, 8, 1);
    copy("to behind a part", 9, 95, 2, 1);
    copy("to a read-only part", 10, 64, 8, 1);
    copy("from a read-only part", 10, 64, 8, 0);
    copy("part over the page's end", 11, 4090, 6, 0);
    copy("part over the page's end, behind it", 11, 4095, 8, 0);
    copy("part of no length", 12, 0, 0, 0);
    copy("part of no length, a byte", 12, 0, 1, 0);
    copy("part that is the page", 18, 0, 4096, 0);
    copy("transitive to itself", 13, 0, 8, 0);
    copy("transitive to dom0", 14, 0, 8, 0);
    copy("transitive to nobody", 15, 0, 8, 0);
    copy("transfer", 16, 0, 8, 0);
    copy("part for another", 17, 64, 8, 0);
    ASK("version 2 swap of parts", GRANT, 11, 9, 12);
    copy("part, swapped", 12, 64, 32, 0);
    ASK("set_version 1", GRANT, 8, 1);
}

static void vcpus(void)
{
    static const char *const names[] = { "vcpu 0 ", "vcpu 1 ", "vcpu 2 " };
    for (long vcpu = 1; vcpu < 3; vcpu++) {
#define OF(what, operation, ...) ({ SET(__VA_ARGS__); text(names[vcpu]); say(what, call64(VCPU, (long)(operation), vcpu, words())); })
        OF("is_up", 3, 0);
        OF("info nowhere", 10, 0x7777, 0, 0);
        OF("info", 10, 0x3008, 0, 1024);
        OF("info again", 10, 0x3008, 0, 1024);
        OF("timer", 8, 0xFFFFFFFF, 0, 0);
        OF("stop timer", 9, 0);
        OF("periodic timer of 1 s", 6, 1000000000, 0);
        OF("stop periodic timer", 7, 0);
        OF("physid", 12, 0);
        OF("up", 1, 0);
        OF("initialise with zeros", 0, 0);
        OF("initialise with a mode of 9", 0, 9);
        OF("nmi with an argument", 11, 0);
        text(names[vcpu]);
        say("down", call64(VCPU, 2L, vcpu, 0L));
        OF("is_up after it", 3, 0);
        text(names[vcpu]);
        ASK("bind_virq timer", EVENT, 1, 0, vcpu);
        text(names[vcpu]);
        ASK("bind_virq timer again", EVENT, 1, 0, vcpu);
        text(names[vcpu]);
        ASK("bind_virq console", EVENT, 1, 2, vcpu);
        text(names[vcpu]);
        ASK("bind_ipi", EVENT, 7, vcpu);
        text(names[vcpu]);
        ASK("bind_vcpu of the store's port", EVENT, 8, 1, vcpu);
        text(names[vcpu]);
        ASK("init_control", EVENT, 11, 0x3020, 0, 0, vcpu);
        text(names[vcpu]);
        ASK("upcall vector", HVM, 23, vcpu, 0xF3);
    }
}

/* The other ends of the ports of store and console wait for this domain then. */
static void reset(uint32_t console)
{
    uint32_t remote[2];
    long answers[8], states[3];
    for (int i = 0; i < 2; i++) {
        SET(SELF, i == 0 ? 1 : console);
        call64(EVENT, 5L, words());
        remote[i] = words()[5];
    }
    SET(SELF);
    answers[0] = call64(EVENT, 10L, words());
    for (int i = 0; i < 3; i++) {
        SET(SELF, i == 0 ? 1 : i == 1 ? console : 5);
        answers[1 + i] = call64(EVENT, 5L, words());
        states[i] = words()[2];
    }
    SET(console);
    answers[4] = call64(EVENT, 4L, words());
    SET(0, remote[0]);
    answers[5] = call64(EVENT, 0L, words());
    SET(0, remote[1]);
    answers[6] = call64(EVENT, 0L, words());
    console_use(words()[2]);
    SET(0, remote[1]);
    answers[7] = call64(EVENT, 0L, words());
    for (int i = 0; i < 8; i++) {
        text("reset ");
        number(i);
        say("", answers[i]);
    }
    for (int i = 0; i < 3; i++) {
        say("reset state", states[i]);
    }
}

void beyond(uint32_t own, uint32_t console)
{
    text("== what needs more\n");
    ring3();
    grants(own);
    vcpus();
    reset(console);
}
