# shellcheck shell=bash
# How scripts/backup and scripts/restore reach the database and the broker. Sourced, never run.
#
# No password is in a list of processes: it is passed on in the environment of the one program that needs it.

# setting NAME: its value, from NAME or from the file that NAME_FILE names; empty when neither is set.
setting() {
    local file="${1}_FILE"
    if [[ -n "${!1:-}" ]]; then
        printf '%s' "${!1}"
    elif [[ -n "${!file:-}" ]]; then
        # As the binary reads it: without the line end.
        printf '%s' "$(cat "${!file}")"
    fi
}

# decoded TEXT: what a URL writes with percent signs.
decoded() { printf '%b' "${1//%/\\x}"; }

# need PROGRAM PACKAGE: ends when it is not there.
need() { have "$1" || fail "$1 is missing" "Debian, Ubuntu: apt-get install $2"; }

# sqlite_file URL: the file behind sqlite://PATH, as the binary understands it; empty for another kind.
sqlite_file() {
    case "$1" in
        sqlite://*) local path="${1#sqlite://}"; printf '%s' "${path%%\?*}" ;;
    esac
}

# postgres URL PROGRAM ARGUMENTS...: runs a program of PostgreSQL on the database of a URL.
postgres() {
    local url=$1 program=$2 scheme rest account password=''
    shift 2
    scheme="${url%%://*}" rest="${url#*://}"
    # Python's URLs name a driver, too.
    scheme="${scheme%%+*}"
    if [[ "${rest%%/*}" == *@* ]]; then
        account="${rest%%@*}" rest="${rest#*@}"
        if [[ "$account" == *:* ]]; then
            password=$(decoded "${account#*:}")
            account="${account%%:*}"
        fi
        rest="$account@$rest"
    fi
    PGPASSWORD="${password:-${PGPASSWORD:-}}" "$program" --dbname="$scheme://$rest" "$@"
}

# redis URL ARGUMENTS...: runs redis-cli on the server of a URL (redis:// or redis+socket://).
redis() {
    local url=$1 rest account='' password='' where=()
    shift
    case "$url" in
        redis+socket://*)
            rest="${url#redis+socket://}"
            if [[ "${rest%%/*}" == *@ ]]; then account="${rest%%@*}" rest="${rest#*@}"; fi
            where=(-s "${rest%%\?*}")
            ;;
        redis://* | rediss://*)
            rest="${url#*://}" rest="${rest%%\?*}"
            if [[ "$rest" == *@* ]]; then account="${rest%@*}" rest="${rest##*@}"; fi
            rest="${rest%%/*}"
            local host="${rest%:*}" port="${rest##*:}"
            [[ "$rest" == *:* ]] || port=6379
            where=(-h "${host:-localhost}" -p "$port")
            [[ "$url" != rediss://* ]] || where+=(--tls)
            ;;
        *) fail "the broker is no Redis that can be backed up: ${url%%:*}://…" ;;
    esac
    if [[ -z "$account" ]]; then
        # An empty password would be one, too.
        env --unset=REDISCLI_AUTH redis-cli "${where[@]}" "$@"
        return
    fi
    password=$(decoded "${account#*:}")
    [[ -z "${account%%:*}" || "$account" != *:* ]] || where+=(--user "${account%%:*}")
    REDISCLI_AUTH="$password" redis-cli --no-auth-warning "${where[@]}" "$@"
}
