# shellcheck shell=bash
# scripts/test-compose: a Docker engine of its own where none runs, and images in the place of those that no registry gives.
# Sourced, never run.

: "${repository:?}"
trial="$repository/compose/trial"
# Images stay from run to run, since the compiled dependencies are among them; all else of the engine is removed.
engine_data="$repository/target/compose/engine"
# Short, since sockets are in it.
engine_run=/run/lovage-compose
engine_pid=''

have_tools() { have dockerd && have docker && have docker-compose && have mmdebstrap && have iptables && have ip; }

# why_not: prints what keeps this machine from it; nothing when it can.
why_not() {
    [[ $(uname -s) == Linux ]] || { echo "the engine needs Linux"; return; }
    # An engine that answers is used as it is.
    if have docker && docker info >/dev/null 2>&1; then
        have docker-compose || docker compose version >/dev/null 2>&1 || echo "Compose is not installed"
        return
    fi
    [[ $(id -u) == 0 ]] || { echo "no Docker engine answers, and starting one takes root"; return; }
    have apt-get || { echo "no Docker engine answers, and there is no apt-get to install one"; return; }
    if ! have_tools; then
        local packages=(docker.io docker-compose mmdebstrap debian-archive-keyring iptables iproute2)
        # Newer Debians have the client by itself.
        ! apt-cache show docker-cli >/dev/null 2>&1 || packages+=(docker-cli)
        apt_install "${packages[@]}" >&2 || { echo "these cannot be installed: ${packages[*]}"; return; }
        have_tools || { echo "${packages[*]} are installed, and still something of them is missing"; return; }
    fi
    # Containers need namespaces, mounts and a bridge; a container without privileges has none of them.
    unshare --mount --net --pid --fork true 2>/dev/null || { echo "this machine allows no namespaces"; return; }
    if ip link add lovage-try type bridge 2>/dev/null; then ip link del lovage-try; else echo "this machine allows no bridge"; return; fi
    iptables --table nat --list >/dev/null 2>&1 || echo "this machine has no iptables"
}

# cannot WHY...: ends the run as one of a machine that cannot do it.
cannot() {
    note "skipped: $1"
    [[ -z "${2:-}" ]] || note "$2"
    exit 77
}

# engine_up: uses the engine that answers, or starts one.
engine_up() {
    if docker info >/dev/null 2>&1; then
        good "a Docker engine runs: it is used, and pulls what is missing"
        return
    fi
    # A second engine would end the first one's containers when it ends.
    [[ ! -e "$engine_run/pid" ]] || ! kill -0 "$(cat "$engine_run/pid")" 2>/dev/null || fail "another scripts/test-compose runs"
    mkdir -p "$engine_data" "$engine_run"
    rules_before=$(iptables --list-rules FORWARD 2>/dev/null | head -n 1)
    forward_before=$(cat /proc/sys/net/ipv4/ip_forward)
    bridge_before=$([[ ! -e /sys/class/net/docker0 ]] || echo yes)
    export DOCKER_HOST="unix://$engine_run/socket"
    dockerd --host "$DOCKER_HOST" --data-root "$engine_data" --exec-root "$engine_run/exec" --pidfile "$engine_run/pid" \
        --mtu "$(cat "/sys/class/net/$(ip route show default | awk '{ print $5; exit }')/mtu" 2>/dev/null || echo 1500)" \
        >"$engine_run/log" 2>&1 &
    engine_pid=$!
    local end=$((SECONDS + 60))
    until docker info >/dev/null 2>&1; do
        kill -0 "$engine_pid" 2>/dev/null || cannot "the engine does not start" "$(tail -n 5 "$engine_run/log")"
        ((SECONDS < end)) || cannot "the engine does not answer" "$(tail -n 5 "$engine_run/log")"
        sleep 0.2
    done
    # It would copy the compiler and all that is built with each step.
    [[ $(docker info --format '{{.Driver}}') != vfs ]] || cannot "the file system of $engine_data takes no images in layers"
    good "Docker $(docker version --format '{{.Server.Version}}') runs, for this alone"
}

# engine_down: ends it, and takes away the bridge and the rules that it leaves.
engine_down() {
    [[ -n "$engine_pid" ]] || return 0
    kill "$engine_pid" 2>/dev/null || true
    wait "$engine_pid" 2>/dev/null || true
    engine_pid=''
    [[ -n "$bridge_before" ]] || ip link del docker0 2>/dev/null || true
    # All its rules name its chains, its bridges or its network; what others made meanwhile stays.
    local table
    for table in filter nat; do
        iptables-save --table "$table" 2>/dev/null | grep -vE 'DOCKER|docker0|-[io] br-[0-9a-f]{12}' |
            iptables-restore --table "$table" 2>/dev/null || true
    done
    [[ -z "$rules_before" ]] || iptables --policy FORWARD "${rules_before##* }"
    echo "$forward_before" >/proc/sys/net/ipv4/ip_forward
    rm -rf "$engine_run"
    good "engine, bridge and rules are gone"
}

# bases: the images that the Dockerfiles and compose.yaml begin with, made of Debian's packages under the official names. Only in
# an engine of our own: with another it would rename somebody's images. The certificates of this machine are in them, for networks
# that have their own, and so in no Dockerfile of ours.
bases() {
    [[ -n "$engine_pid" ]] || return 0
    local name
    if ! docker image inspect debian:bookworm-slim >/dev/null 2>&1; then
        step "Debian, by mmdebstrap"
        # As the official image leaves out what nobody reads in a container.
        # usrmerge has done its work, and brought the whole of Perl.
        # shellcheck disable=SC2016 # $1 is mmdebstrap's
        mmdebstrap --quiet --variant=minbase --include=usr-is-merged --aptopt='APT::Install-Recommends "false"' \
            --aptopt='Dir::Cache::pkgcache ""' --aptopt='Dir::Cache::srcpkgcache ""' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            --customize-hook='mkdir -p "$1/etc/ssl/certs" "$1/usr/local/share/ca-certificates"' \
            --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"' \
            --customize-hook='find /usr/local/share/ca-certificates -name "*.crt" -exec cp {} "$1/usr/local/share/ca-certificates/" ";"' \
            --customize-hook='echo "Dir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\"; APT::Keep-Downloaded-Packages \"false\";" >"$1/etc/apt/apt.conf.d/docker-clean"' \
            --customize-hook='chroot "$1" apt-get --quiet --yes --auto-remove purge usrmerge perl perl-modules-5.36 libperl5.36 >&2' \
            bookworm - | docker import --change 'CMD ["bash"]' - debian:bookworm-slim >/dev/null ||
            cannot "Debian's packages make no image here"
    fi
    # What the engine needs of the kernel shows only once a container runs; and each image below is made of packages.
    local told
    told=$(docker run --rm debian:bookworm-slim true 2>&1) || cannot "no container starts" "$told"
    told=$(docker run --rm debian:bookworm-slim apt-get update 2>&1) || cannot "containers reach no packages" "$(tail -n 3 <<<"$told")"
    curl --silent --fail --max-time 30 --output /dev/null https://registry.npmjs.org/maildev/2.2.1 || cannot "npm's registry is not reached"
    if ! docker image inspect rust:1.95-slim-bookworm >/dev/null 2>&1; then
        step "the compiler"
        local sysroot
        sysroot=$(cd "$repository" && rustc --print sysroot)
        tar --create --exclude='lib/rustlib/src' --directory "$trial" rust.Dockerfile \
            --directory "$sysroot" bin/cargo bin/rustc lib |
            docker build --quiet --file rust.Dockerfile --tag rust:1.95-slim-bookworm - >/dev/null
    fi
    # Quick when they are there: the engine knows each step.
    for name in python:3.11-slim-bookworm redis:7.2-bookworm postgres:15-bookworm nginx:1.26-alpine prom/prometheus:v2.53.0 maildev/maildev:2.2.1; do
        step "$name"
        local file=${name##*/}
        docker build --quiet --file "$trial/${file%%:*}.Dockerfile" --tag "$name" "$trial" >/dev/null
    done
}
