# Sourced by ./hull and ./check: brings a checkout to a built state. Says on standard error what it does.
# Expects: root, build, binary, stamp.

# The last words before the set-up gives up: what failed and what to try. Status 125: hull's own failure.
give_up() {
    printf 'hull: %s\n' "$1" >&2
    exit 125
}

# Prints a step and its time around a command; the command's own output goes to a log that is shown when it fails.
step() {
    local title=$1 log=$build/setup.log started=$SECONDS ticker=
    shift
    printf 'hull: %s ... ' "$title" >&2
    if [[ -t 2 ]]; then
        # A terminal sees the seconds go by; a log does not.
        (
            while sleep 1; do
                printf '\rhull: %s ... %d s ' "$title" $((SECONDS - started)) >&2
            done
        ) &
        ticker=$!
    fi

    local status=0
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [[ -n $ticker ]]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
    fi

    if ((status != 0)); then
        printf 'failed\n' >&2
        grep -E 'error|E:|fail' "$log" | sort -u | head -n 20 >&2 || tail -n 20 "$log" >&2
        return "$status"
    fi

    printf 'done (%d s)\n' $((SECONDS - started)) >&2
}

# True when a Debian package is installed.
has_package() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Installs with the host's package client; fetches the package lists first when they are missing or too old.
install_now() {
    local -a apt=(apt-get)
    ((EUID == 0)) || apt=(sudo -n apt-get)
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@" ||
        { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@"; }
}

# install_packages PURPOSE PACKAGE...: installs those that are missing. Without the rights or the network it says what
# to type and returns 1.
install_packages() {
    local purpose=$1 package
    local -a missing=()
    shift
    if ! command -v dpkg-query >/dev/null; then
        printf 'hull: this is no Debian; %s needs: %s\n' "$purpose" "$*" >&2
        return 1
    fi

    for package; do
        has_package "$package" || missing+=("$package")
    done
    ((${#missing[@]} == 0)) && return 0
    if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        printf 'hull: %s needs Debian packages: sudo apt-get install %s\n' "$purpose" "${missing[*]}" >&2
        return 1
    fi

    step "installing ${missing[*]} (for $purpose)" install_now "${missing[@]}"
}

# Finds the .NET 10 SDK; sets dotnet_root.
find_dotnet() {
    local dotnet
    dotnet=$(command -v dotnet) || dotnet=/usr/share/dotnet/dotnet
    [[ -x $dotnet ]] ||
        give_up "no .NET SDK found: install dotnet-sdk-10.0 (https://learn.microsoft.com/dotnet/core/install/linux-debian)"
    "$dotnet" --list-sdks | grep -q '^10\.' ||
        give_up "the .NET SDK here ($dotnet) is not version 10: install dotnet-sdk-10.0"
    dotnet_root=$(dirname -- "$(readlink -f -- "$dotnet")")
}

# publish OPTION...: the published command, below artifacts/publish.
publish() {
    DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 dotnet publish "$root/src/Hull.Cli" --disable-build-servers \
        -c Release -r linux-x64 -v quiet "$@"
}

# Native code starts a guest some 0.2 s sooner than code for the runtime, but takes a C compiler (it links), a package
# that not every registry has, and three times as long to build. HULL_AOT=0 does without it.
publish_native() {
    publish -p:PublishAot=true -p:CppCompilerAndLinker=gcc -p:OptimizationPreference=Speed
}

publish_managed() {
    publish --self-contained false -p:PublishReadyToRun=true
}

build_command() {
    if [[ ${HULL_AOT-1} != 0 ]]; then
        command -v gcc >/dev/null || install_packages "building native code" gcc libc6-dev || true
        step "building native code" publish_native && return 0
        printf 'hull: no native code then; what runs on the .NET runtime does the same, and starts later\n' >&2
    fi

    step "building" publish_managed
}

# Installs, restores and builds what is missing. Concurrent calls wait for the first.
set_up() {
    mkdir -p "$build"
    exec {lock}>"$build/lock"
    if ! flock -n "$lock"; then
        printf 'hull: another hull is building here; waiting\n' >&2
        flock "$lock"
    fi

    # The one that held the lock may have done the work.
    if ! is_fresh; then
        find_dotnet
        if [[ ! -f $stamp ]]; then
            install_packages "running guests" busybox-static liblzma5 libzstd1 liblz4-1 zlib1g || true
        fi

        # The stamp is as old as the start of the build: a source saved meanwhile is built next time.
        touch "$build/started"
        rm -f "$stamp"
        build_command || give_up "the build failed; the whole log is $build/setup.log"
        case $dotnet_root in
            /usr/share/dotnet | /usr/lib/dotnet) ;;
            *) printf 'DOTNET_ROOT=%s\n' "$dotnet_root" >"$build/started.new" ;;
        esac
        if [[ -f $build/started.new ]]; then
            touch -r "$build/started" "$build/started.new"
            mv "$build/started.new" "$build/started"
        fi
        mv "$build/started" "$stamp"
    fi

    exec {lock}>&-
}
