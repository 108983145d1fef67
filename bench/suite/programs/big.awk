# Writes a large C program to standard output, the same one each time: what the compiler's row compiles.
# awk -v functions=N -f big.awk
function random(below) {
    state = (state * 1103515245 + 12345) % 2147483648
    return int(state / 65536) % below
}
function term(depth,    kind) {
    kind = random(depth <= 0 ? 3 : 8)
    if (kind == 0) return "a"
    if (kind == 1) return "b"
    if (kind == 2) return random(1000) + 1
    if (kind == 3) return "(" term(depth - 1) " + " term(depth - 1) ")"
    if (kind == 4) return "(" term(depth - 1) " ^ " term(depth - 1) " >> " random(7) + 1 ")"
    if (kind == 5) return "(" term(depth - 1) " * " random(30) + 3 ")"
    if (kind == 6) return "t->v[" term(depth - 1) " & 31]"
    return "(" term(depth - 1) " < " term(depth - 1) " ? " term(depth - 1) " : " term(depth - 1) ")"
}
BEGIN {
    state = 42
    print "struct table { unsigned v[32]; double d[16]; struct table *next; };"
    for (f = 0; f < functions; f++) {
        printf "static unsigned f%d(struct table *t, unsigned a, unsigned b)\n{\n", f
        printf "    double x = t->d[%d];\n", random(16)
        printf "    for (unsigned i = 0; i < (a & %d); i++) {\n        b += %s;\n        x = x * %d.5 + t->d[i & 15];\n    }\n", \
            random(60) + 3, term(3), random(9)
        printf "    switch (b & 7) {\n"
        for (c = 0; c < 8; c++) {
            if (f > 0 && c % 3 == 0) printf "        case %d: a = f%d(t, b, %s); break;\n", c, random(f), term(2)
            else printf "        case %d: a ^= %s; t->v[%d] += a; break;\n", c, term(3), random(32)
        }
        printf "    }\n    while (t->next && a > b) {\n        t = t->next;\n        a -= %s;\n    }\n", term(2)
        printf "    t->d[%d] = x;\n    return a + %s;\n}\n\n", random(16), term(4)
    }
    printf "unsigned start(struct table *t)\n{\n    unsigned sum = 0;\n"
    for (f = 0; f < functions; f++) printf "    sum += f%d(t, sum, %d);\n", f, random(100)
    printf "    return sum;\n}\n"
}
