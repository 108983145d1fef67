# Sourced by run: how a session is started on each side. Each function replaces its process: what it prints is the
# session's console. Arguments: IMAGE ROWS VCPUS.
# Expects: kernel, tree, tsc_khz, suite, and for Hull: hull, other.

guest_words() {
    printf 'console=ttyS0 quiet panic=-1 suite.rows=%s suite.tsc=%s' "$1" "$tsc_khz"
}

side_native() {
    exec "$suite/native" "$tree" "$2" "$tsc_khz"
}

run_hull() {
    local command=$1 cpus=()
    (($4 == 1)) || cpus=(-c "$4")
    exec "$command" run "$kernel" --initrd "$2" --append "$(guest_words "$3")" -m 1G "${cpus[@]}" </dev/null 2>&1
}

side_hull() {
    run_hull "$hull" "$@"
}

# A second Hull (SUITE_OTHER), to compare two builds in one run.
side_other() {
    run_hull "$other" "$@"
}

# The machine "pc": microvm boots a little faster, but on a busy host most of its boots hang where the kernel looks for a
# clock, and its guests have a clock of 4 ms.
side_qemu() {
    exec qemu-system-x86_64 -accel tcg -cpu max -M "${qemu_machine-pc}" -m 1G -smp "$3" -nodefaults -no-user-config -display none \
        -serial file:/dev/stdout -no-reboot -kernel "$kernel" -initrd "$1" -append "$(guest_words "$2")" </dev/null 2>&1
}
