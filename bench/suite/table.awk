# See table. Input: round, side, group, row, status, seconds, wall, clock, checksum, processor seconds.
function median(list,    parts, n, i, j, keep) {
    n = split(list, parts, " ")
    for (i = 2; i <= n; i++) {
        keep = parts[i] + 0
        for (j = i - 1; j > 0 && parts[j] + 0 > keep; j--) parts[j + 1] = parts[j]
        parts[j + 1] = keep
    }
    return n % 2 ? parts[(n + 1) / 2] + 0 : (parts[n / 2] + parts[n / 2 + 1]) / 2
}
function cell(side, row) { return (side, row) in times ? sprintf("%.4f", median(times[side, row])) : (side, row) in trouble ? "failed" : "-" }
function ratio(a, b) { return a == "-" || a == "failed" || b == "-" || b == "failed" || b + 0 == 0 ? "-" : sprintf("%.2f", a / b) }
function remark(text) { remarks[++remark_count] = text }
BEGIN {
    while ((getline line < groups) > 0) {
        if (line ~ /^#/ || line == "") continue
        split(line, part, / +/)
        order[++group_count] = part[1]; aim[part[1]] = part[2]
        sub(/^[^ ]+ +[^ ]+ +/, "", line); title[part[1]] = line
    }
}
/^#/ { print; next }
{
    if (!($4 in group)) { group[$4] = $3; rows[++row_count] = $4 }
    seen[$2] = 1
    if ($5 != "ok") { trouble[$2, $4] = $5; remark($2 " " $4 ", round " $1 ": " $5); next }
    times[$2, $4] = times[$2, $4] " " $6
    if ($10 != "" && $10 != "-") used[$2, $4] = used[$2, $4] " " $10
    # Native and QEMU are the judges of a result; a program without one has a checksum of zeros.
    if ($9 != "-" && $9 !~ /^0+$/) {
        if (!($4 in sum)) { sum[$4] = $9; sum_by[$4] = $2 }
        else if (sum[$4] != $9) remark($2 " " $4 ", round " $1 ": result differs from " sum_by[$4] "'s")
    }
    if ($8 != "-" && ($8 < 0.9 || $8 > 1.1)) slow_clock[$2] = slow_clock[$2] " " $4 "(" $8 ")"
    # The row's own time cannot be longer than the wall's; both by the host's clock.
    if ($7 != "-" && $6 > $7 * 1.1 + 0.1 && $9 !~ /^0+$/) remark($2 " " $4 ", round " $1 ": says " $6 " s, the host's clock " $7 " s")
}
END {
    has_other = "other" in seen
    printf "\n%-16s %10s %10s %10s %s%12s %12s %10s %9s\n", "row", "native s", "Hull s", "QEMU s", has_other ? "   other s  Hull/other   by CPU " : "", "Hull/native", "QEMU/native", "QEMU/Hull", "by CPU"
    for (g = 1; g <= group_count; g++) {
        name = order[g]; logs = 0; n = 0; clogs = 0; cn = 0; nlogs = 0; nn = 0; ologs = 0; on = 0
        for (r = 1; r <= row_count; r++) {
            row = rows[r]
            if (group[row] != name) continue
            native = cell("native", row); ours = cell("hull", row); theirs = cell("qemu", row)
            against = ratio(theirs, ours); slow = ratio(ours, native)
            by_cpu = ("hull", row) in used && ("qemu", row) in used ? ratio(median(used["qemu", row]), median(used["hull", row])) : "-"
            if (by_cpu != "-" && by_cpu > 0) { clogs += log(by_cpu); cn++ }
            extra = ""
            if (has_other) {
                second = cell("other", row); change = ratio(ours, second)
                own = ("hull", row) in used && ("other", row) in used ? ratio(median(used["hull", row]), median(used["other", row])) : "-"
                extra = sprintf("%10s %11s %8s ", second, change, own)
                if (change != "-") { ologs += log(change); on++ }
            }
            printf "%-16s %10s %10s %10s %s%12s %12s %10s %9s%s\n", row, native, ours, theirs, extra, slow, ratio(theirs, native), against, by_cpu, \
                against != "-" && against < 1 ? "  below 1" : ""
            if (against != "-" && against > 0) { logs += log(against); n++ }
            if (slow != "-" && slow > 0) { nlogs += log(slow); nn++ }
        }
        if (n + nn + on == 0) continue
        line = sprintf("%s:", title[name])
        if (nn) line = line sprintf(" Hull/native %.2f,", exp(nlogs / nn))
        if (on) line = line sprintf(" Hull/other %.3f,", exp(ologs / on))
        if (n && aim[name] != "-") line = line sprintf(" QEMU/Hull %.2f, aim %s%s", exp(logs / n), aim[name], exp(logs / n) < aim[name] ? " missed," : ",")
        else if (n) line = line sprintf(" QEMU/Hull %.2f,", exp(logs / n))
        if (cn) line = line sprintf(" by CPU %.2f", exp(clogs / cn))
        sub(/,$/, "", line)
        print "  = " line
        if (name == "smp")
            for (side in seen) {
                speed = ratio(cell(side, "one-thread"), cell(side, "two-threads"))
                if (speed != "-") printf "  = %s: two threads are %s times as fast as one%s\n", side, speed, side == "hull" ? ", aim 1.8" : ""
            }
    }
    for (side in slow_clock) print "the guest's clock runs wrong, against the TSC: " side ":" slow_clock[side]
    for (i = 1; i <= remark_count; i++) print "note: " remarks[i]
}
