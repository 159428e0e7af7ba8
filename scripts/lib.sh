# shellcheck shell=bash
# What the scripts share. Sourced, never run; callers have `set -euo pipefail` already.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export repository

# Colours only where a person looks, and not against their wish.
if [[ -t 2 && -z "${NO_COLOR:-}" ]] || [[ -n "${CI:-}" && -z "${NO_COLOR:-}" ]]; then
    colour_step=$'\e[1;36m' colour_good=$'\e[1;32m' colour_odd=$'\e[1;33m' colour_bad=$'\e[1;31m' colour_off=$'\e[0m'
else
    colour_step='' colour_good='' colour_odd='' colour_bad='' colour_off=''
fi

# step TEXT: what begins now, with the seconds since the script began.
step() { printf '%s==>%s %s %s(%ss)%s\n' "$colour_step" "$colour_off" "$*" "$colour_step" "$SECONDS" "$colour_off" >&2; }

# good TEXT: what went well.
good() { printf '%s ok%s %s\n' "$colour_good" "$colour_off" "$*" >&2; }

# note TEXT: what is worth knowing and stops nothing.
note() { printf '%s  !%s %s\n' "$colour_odd" "$colour_off" "$*" >&2; }

# fail TEXT...: one line each, then the end.
fail() {
    printf '%s xx%s %s\n' "$colour_bad" "$colour_off" "$1" >&2
    shift
    local line
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 1
}

# have NAME: whether there is such a program.
have() { command -v "$1" >/dev/null 2>&1; }

# show_help FILE ARGUMENTS...: when the first argument is --help, prints the comment at the head of FILE and ends.
show_help() {
    case "${2:-}" in
        -h | --help)
            awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$1"
            exit 0
            ;;
    esac
}

# digest FILE...: one line that changes when a file does; sha256sum on Linux, shasum elsewhere.
digest() {
    if have sha256sum; then cat "$@" | sha256sum; else cat "$@" | shasum -a 256; fi | cut -d ' ' -f 1
}

# as_root COMMAND...: runs it as root, by sudo where that is needed; false when there is no way.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        return 1
    fi
}

# apt_install PACKAGE...: installs from Debian's or Ubuntu's archive, refreshing its list once.
apt_install() {
    have apt-get || return 1
    if [[ -z "${apt_list_is_fresh:-}" ]]; then
        step "refreshing the package list"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || return 1
        apt_list_is_fresh=yes
    fi
    step "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# pinned_tool NAME VERSION [ARGUMENTS...]: prints the path of cargo tool NAME at exactly VERSION, building it once under target/tools.
pinned_tool() {
    local name=$1 version=$2 root="$repository/target/tools"
    shift 2
    local program="$root/bin/$name"
    if [[ ! -x "$program" || "$(cat "$root/$name.version" 2>/dev/null)" != "$version" ]]; then
        step "building $name $version, once; this takes minutes"
        cargo install "$name" --version "$version" --locked --root "$root" --force --quiet "$@" >&2
        echo "$version" >"$root/$name.version"
    fi
    echo "$program"
}
