# shellcheck shell=bash
# scripts/deploy on a machine without containers: what it does there. Sourced by scripts/deploy.
#
# Processes are ended by TERM and waited for; their numbers are in run/, what they write is in log/.

home=${1:-}
binary=${2:-}
[[ -n "$home" ]] || fail "called wrongly" "scripts/deploy host FOLDER BINARY"
home=$(cd "$home" 2>/dev/null && pwd) || fail "there is no folder $1"
[[ "${source:?}" == build ]] || fail "--pull and --as-is are for compose"

place() { echo "$home"; }
roles() { echo keeper worker beat api; }

# The start of a command line: behind it come a role and a command, which has nothing in its environment but the role's settings.
# shellcheck disable=SC2016
settled=(env --ignore-environment PATH="$PATH" HOME="$home" bash -c '
    set -a
    . "$1/lovage.env"
    if [[ -f "$1/$2.env" ]]; then . "$1/$2.env"; fi
    set +a
    cd "$1"
    shift 2
    exec "$@"' bash "$home")

# with_settings ROLE COMMAND...
with_settings() { "${settled[@]}" "$@"; }

# set_for ROLE NAME: what the settings say, from NAME or the file that NAME_FILE names.
set_for() {
    # shellcheck disable=SC2016
    with_settings "$1" bash -c 'f="${1}_FILE"; if [[ -n "${!1:-}" ]]; then printf %s "${!1}"; elif [[ -n "${!f:-}" ]]; then cat "${!f}"; fi' \
        bash "$2"
}

current() { readlink "$home/releases/current" 2>/dev/null || true; }

check() {
    if [[ ! -x "$binary" ]]; then
        fault "there is no program at ${binary:-(none was named)}"
        return
    fi
    if [[ ! -r "$home/lovage.env" ]]; then
        fault "there is no $home/lovage.env: begin with .env.example"
        return
    fi
    local role told name
    local -A addresses=()
    for role in $(roles); do
        if ! told=$(with_settings "$role" "$binary" config check 2>&1 >/dev/null); then
            while IFS= read -r line; do [[ -z "$line" ]] || fault "$role: $line"; done <<<"$told"
        fi
        [[ $role == api ]] && name=LOVAGE_API_BIND || name=LOVAGE_MONITOR_BIND
        told=$(set_for "$role" "$name")
        if [[ -z "$told" ]]; then
            fault "$role: $name is not set, and nobody could ask whether it is ready"
        elif [[ -n "${addresses[$told]:-}" ]]; then
            fault "$role: $name is $told, which ${addresses[$told]} has already; set it in $home/$role.env"
        else
            addresses[$told]=$role
        fi
    done
    for name in CELERY_BROKER_URL DATABASE_URL SECRET_KEY LOVAGE_ADMIN_EMAIL LOVAGE_ADMIN_PASSWORD; do
        [[ -n $(set_for api "$name") ]] || fault "api: $name is not set (or ${name}_FILE)"
    done
    [[ -w "$home" ]] || fault "$home cannot be written to"
}

prepare() {
    mkdir -p "$home"/{releases,run,log,backups}
    # Named by its content: the same program is the same release.
    release=$(digest "$binary" | cut -c 1-12)
    if [[ ! -x "$home/releases/$release/lovage" ]]; then
        mkdir -p "$home/releases/$release"
        install -m 755 "$binary" "$home/releases/$release/lovage.new"
        mv "$home/releases/$release/lovage.new" "$home/releases/$release/lovage"
    fi
    before=$(current)
    good "release $release"
}

save() {
    local database broker file
    database=$(set_for keeper DATABASE_URL)
    broker=$(set_for keeper CELERY_BROKER_URL)
    file=${database#sqlite://}
    if [[ "$database" == sqlite://* && ! -f "${file%%\?*}" ]]; then
        note "there is no database yet"
        database=
    fi
    DATABASE_URL=$database CELERY_BROKER_URL=$broker "${repository:?}/scripts/backup" --keep 10 "$home/backups" >/dev/null
}

migrate() { with_settings keeper "$home/releases/$release/lovage" migrate up >"$home/log/migrate" 2>&1; }

# born PID: when a process began; with its number it is no other's. Nothing for one that has ended.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

# runs ROLE: whether its process is there, and is the one that was started here.
runs() {
    local pid began
    [[ -f "$home/run/$1" ]] && read -r pid began <"$home/run/$1" || return 1
    [[ -n "$began" && "$(born "$pid")" == "$began" ]]
}

end() {
    local role=$1 pid
    runs "$role" || return 0
    read -r pid _ <"$home/run/$role"
    kill -TERM "$pid" 2>/dev/null || return 0
    # However long it drains: LOVAGE_DRAIN_TIMEOUT bounds it.
    while runs "$role"; do sleep 0.1; done
    rm -f "$home/run/$role"
}

start() {
    local role=$1
    end "$role"
    ln -sfn "$release" "$home/releases/current"
    # Each step is an exec, so that the number is that of the role itself.
    (exec "${settled[@]}" "$role" setsid "$home/releases/$release/lovage" "$role" >>"$home/log/$role" 2>&1 </dev/null 9>&-) &
    echo "$! $(born $!)" >"$home/run/$role"
    disown
}

ready() {
    # A role that has ended does not become ready.
    runs "$1" || return 2
    with_settings "$1" "$home/releases/$release/lovage" health "$1"
}

stop_all() {
    local role
    for role in api beat worker keeper; do
        end "$role"
        good "$role has ended"
    done
}

last_lines() { tail -n 30 "$home/log/$1" 2>/dev/null; }
# Nothing else runs there that would see it.
verify_more() { return 0; }
in_role() { with_settings worker "$home/releases/$release/lovage" "$@"; }
api_url() { echo "http://$(set_for api LOVAGE_API_BIND | sed 's/^0\.0\.0\.0:/127.0.0.1:/')"; }
admin_email() { set_for api LOVAGE_ADMIN_EMAIL; }
admin_password() { set_for api LOVAGE_ADMIN_PASSWORD; }

take_back() {
    [[ -n "$before" && "$before" != "$release" && -x "$home/releases/$before/lovage" ]] || return 1
    release=$before
}

forget() {
    # The one before stays for going back by hand.
    local kept
    for kept in "$home"/releases/*/; do
        kept=$(basename "$kept")
        [[ "$kept" == "$release" || "$kept" == "$before" || "$kept" == current ]] || rm -rf "$home/releases/$kept"
    done
}
