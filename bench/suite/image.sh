# Sourced by run: makes the tree of files and the two initramfs archives of the suite, once, in a cache outside the
# checkout. Expects: suite (this folder), cache, setup.sh's step. Gives: small_image, full_image, tree.

packages=(
    busybox-static libc6 libstdc++6 libgcc-s1 zlib1g
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1 libssl3 libbz2-1.0 libffi8 liblzma5
    sqlite3 libsqlite3-0 libreadline8 libtinfo6
    cpp-12 libgmp10 libisl23 libmpc3 libmpfr6 libzstd1
    openssl gzip xz-utils 7zip
    luajit libluajit-5.1-2 libluajit-5.1-common
)

# Downloads what the cache lacks and unpacks all of it into $1.
unpack_packages() {
    local at=$1 package
    mkdir -p "$cache/packages"
    for package in "${packages[@]}"; do
        compgen -G "$cache/packages/${package}_*.deb" >/dev/null ||
            (cd "$cache/packages" && apt-get download "$package") || return 1
        dpkg-deb -x "$cache/packages/${package}"_*.deb "$at" || return 1
    done
}

# What no row needs, and what would only make the archive larger.
remove_ballast() {
    local at=$1 library=$1/usr/lib/python3.11
    rm -rf "$at"/usr/share/{doc,man,locale,lintian,bug,info,python3,pixmaps,applications,perl5} "$at"/var \
        "$at"/usr/lib/x86_64-linux-gnu/{gconv,audit} "$library"/{idlelib,lib2to3,pydoc_data,distutils,tkinter,unittest,ensurepip,test} \
        "$at"/usr/lib/x86_64-linux-gnu/perl "$at"/lib/x86_64-linux-gnu/security
}

# Text for the compressors: the sources of Python's library, one after the other.
make_data() {
    local at=$1
    mkdir -p "$at/suite/data"
    find "$at/usr/lib/python3.11" -maxdepth 1 -name '*.py' | LC_ALL=C sort | xargs cat | head -c 4000000 >"$at/suite/data/text"
    head -c 1000000 "$at/suite/data/text" >"$at/suite/data/text.small"
    gzip -9 -n -c "$at/suite/data/text" >"$at/suite/data/text.gz"
    awk -v functions=24 -f "$suite/programs/big.awk" >"$at/suite/data/big.c"
}

# The skeleton that both archives have: busybox, our loops, the session.
make_base() {
    local at=$1
    mkdir -p "$at"/{bin,dev,proc,sys,tmp,suite}
    gcc -std=gnu11 -O2 -Wall -Wextra -Wno-parentheses -static -pthread -o "$at/suite/suite" "$suite"/loops/*.c -lm || return 1
    cp "$suite/guest/init" "$at/init"
    cp "$suite/guest/session" "$suite/rows" "$at/suite/"
    chmod +x "$at/init" "$at/suite/session"
}

# archive TREE FILE: a cpio of the tree with owners and inode numbers that do not depend on the host.
archive() {
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$2.new" && mv "$2.new" "$2"
}

build_packages_tree() {
    local at=$cache/packages.tree
    rm -rf "$at" "$at.new" && mkdir -p "$at.new" && unpack_packages "$at.new" && remove_ballast "$at.new" &&
        make_data "$at.new" || return 1
    # As a package's installation does it; else each start of Python would compile what it imports.
    unshare $( ((EUID == 0)) || echo --user --map-root-user) --mount chroot "$at.new" \
        /usr/bin/python3.11 -S -m compileall -q /usr/lib/python3.11 || true
    mv "$at.new" "$at"
}

build_images() {
    tree=$cache/tree
    rm -rf "$tree" "$cache/small" && make_base "$cache/small" &&
        mkdir -p "$cache/small/bin" && cp -a "$cache/packages.tree/bin/busybox" "$cache/small/bin/" &&
        ln -s busybox "$cache/small/bin/sh" && archive "$cache/small" "$small_image" || return 1
    cp -a --reflink=auto "$cache/packages.tree" "$tree" && cp -a "$cache/small/." "$tree/" &&
        cp -r "$suite/programs" "$tree/suite/programs" && archive "$tree" "$full_image"
}

# Builds what is missing or older than its sources.
make_images() {
    small_image=$cache/small.cpio full_image=$cache/full.cpio tree=$cache/tree
    mkdir -p "$cache"
    if [[ ! -d $cache/packages.tree || $suite/image.sh -nt $cache/packages.tree || $suite/programs/big.awk -nt $cache/packages.tree ]]; then
        step "unpacking the suite's packages" build_packages_tree && touch "$cache/packages.tree" || return 1
    fi
    if [[ ! -f $full_image || $cache/packages.tree -nt $full_image ]] ||
        [[ -n $(find "$suite" -type f -newer "$full_image" ! -name run ! -name '*.awk' ! -name '*.md' -print -quit) ]]; then
        step "building the suite's images" build_images
    fi
}
