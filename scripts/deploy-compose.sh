# shellcheck shell=bash
# scripts/deploy with containers: what it does with compose/compose.yaml. Sourced by scripts/deploy.

: "${repository:?}" "${source:?}"
folder="$repository/compose"
# shellcheck source=compose/health.sh
source "$folder/health.sh"
secrets="$folder/secrets"
if [[ -f "$folder/.env" ]]; then
    set -a
    # shellcheck disable=SC1091
    source "$folder/.env"
    set +a
fi
image=${LOVAGE_IMAGE:-lovage:dev}
# Both belong to a platform that somebody relies on; an empty COMPOSE_PROFILES in compose/.env means neither.
export COMPOSE_PROFILES=${COMPOSE_PROFILES-monitoring,backup}
# Copies belong to whoever deploys.
export LOVAGE_BACKUPS=${LOVAGE_BACKUPS:-$repository/data/backups} LOVAGE_BACKUP_USER=${LOVAGE_BACKUP_USER:-$(id -u):$(id -g)}
# The plugin where it is, else the older program.
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi

project=${COMPOSE_PROJECT_NAME:-lovage}
stack() { "${compose[@]}" --project-name "$project" --file "$folder/compose.yaml" "$@"; }
place() { echo "the containers of $folder/compose.yaml"; }

# has PROFILE: whether it is among COMPOSE_PROFILES.
has() { [[ ",$COMPOSE_PROFILES," == *",$1,"* ]]; }

roles() {
    local service services=(redis postgres keeper)
    ! has mailbox || services+=(mailbox)
    services+=(worker beat beat-standby api flower nginx)
    ! has backup || services+=(backup)
    ! has monitoring || services+=(prometheus grafana)
    for service in "${services[@]}"; do
        [[ " ${LOVAGE_DEPLOY_WITHOUT:-} " == *" $service "* ]] || echo "$service"
    done
}

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# secret NAME TEXT: writes it unless it is there. Readable for the users of containers, in a folder that only we can enter.
secret() {
    [[ -s "$secrets/$1" ]] || (umask 022 && printf '%s' "$2" >"$secrets/$1")
}

# Secrets that only whoever deploys can have: the roles are told of those that are there.
use_given_secrets() {
    [[ ! -s "$secrets/sentry_dsn" ]] || export SENTRY_DSN_FILE=/run/secrets/sentry_dsn
    [[ ! -s "$secrets/mail_password" ]] || export MAIL_PASSWORD_FILE=/run/secrets/mail_password
}

make_secrets() {
    mkdir -p "$secrets"
    chmod 700 "$secrets"
    secret redis_password "$(random 24)"
    secret postgres_password "$(random 24)"
    secret broker_url "redis://:$(cat "$secrets/redis_password")@redis:6379/0"
    secret database_url "postgresql://lovage:$(cat "$secrets/postgres_password")@postgres:5432/lovage"
    secret secret_key "$(random 32)"
    secret admin_password "$(random 12)"
    secret flower_auth "operator:$(random 12)"
    secret grafana_password "$(random 12)"
    # Nobody can make these up; empty, they are not used.
    local name
    for name in sentry_dsn mail_password; do [[ -e "$secrets/$name" ]] || secret "$name" ''; done
    use_given_secrets
    if [[ ! -s "$secrets/tls_certificate" ]]; then
        note "no certificate in compose/secrets: one is made that no browser trusts; put tls_certificate and tls_key there"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=${LOVAGE_HOST:-localhost}" \
            -keyout "$secrets/tls_key" -out "$secrets/tls_certificate" 2>/dev/null
        chmod 644 "$secrets/tls_key" "$secrets/tls_certificate"
    fi
}

check() {
    have docker || fault "docker is missing (Debian: apt-get install docker.io docker-compose)"
    have openssl || fault "openssl is missing (Debian: apt-get install openssl)"
    if have docker && ! docker info >/dev/null 2>&1; then fault "the Docker engine does not answer, or this user may not ask it"; fi
    [[ -n "${LOVAGE_ADMIN_EMAIL:-}" ]] || fault "LOVAGE_ADMIN_EMAIL is not set: put the first administrator's e-mail address into compose/.env"
    [[ -z "${SENTRY_DSN:-}" ]] || fault "SENTRY_DSN holds a key: put it into the file compose/secrets/sentry_dsn, and out of compose/.env"
    [[ -z "${MAIL_PASSWORD:-}" ]] || fault "MAIL_PASSWORD is a secret: put it into the file compose/secrets/mail_password, and out of compose/.env"
    # A worker without tasks refuses to start, and that would be told much later.
    if [[ $source == build && "${LOVAGE_DEMO_TASKS:-0}" =~ ^(0|false|no|off|)$ && -z "${MAIL_SERVER:-}" ]]; then
        fault "the stock program has no tasks: set MAIL_SERVER or LOVAGE_DEMO_TASKS=1 in compose/.env, or LOVAGE_IMAGE to a program of your own (and say --pull or --as-is)"
    fi
    if [[ $source == as-is ]] && have docker && ! docker image inspect "$image" >/dev/null 2>&1; then
        fault "there is no image $image on this machine: leave out --as-is, or say --pull"
    fi
    local key
    if [[ -s "$secrets/secret_key" ]] && key=$(cat "$secrets/secret_key") && ((${#key} < 32)); then
        fault "compose/secrets/secret_key has fewer than 32 characters"
    fi
    if ! have docker-compose && ! docker compose version >/dev/null 2>&1; then
        fault "Compose is missing (Debian: apt-get install docker-compose)"
    elif [[ -n "${LOVAGE_ADMIN_EMAIL:-}" ]]; then
        local told
        told=$(stack config 2>&1 >/dev/null) || fault "compose/compose.yaml with these variables: $told"
    fi
    [[ -z "$restored" || -f "$restored/SHA256SUMS" ]] || fault "$restored is no backup: a whole one has a file SHA256SUMS"
}

# The image that runs, and the name it was started by; empty when nothing does.
before='' before_name=''

prepare() {
    local running
    make_secrets
    mkdir -p "$LOVAGE_BACKUPS"
    running=$(stack ps --quiet worker 2>/dev/null | head -n 1)
    if [[ -n "$running" ]]; then
        before=$(docker inspect --format '{{.Image}}' "$running" 2>/dev/null || true)
        before_name=$(docker inspect --format '{{.Config.Image}}' "$running" 2>/dev/null || true)
    fi
    if [[ $source == pull ]]; then
        step "pulling $image"
        docker pull "$image"
    elif [[ $source == build ]]; then
        step "building $image"
        # Another profile than release is not for use: scripts/test-compose --quick.
        docker build --file "$folder/Dockerfile" --tag "$image" --build-arg "PROFILE=${LOVAGE_BUILD_PROFILE:-release}" \
            --build-arg "REVISION=$(git -C "$repository" rev-parse HEAD 2>/dev/null || echo unknown)" "$repository"
    fi
    stack build flower backup
    # All faults of the settings at once, by the program that will read them.
    if ! in_role_of api config check >/dev/null; then
        # Whoever starts the stack by hand, or a machine that boots, is to find the version that works.
        ! take_back || note "$image is again what runs"
        fail "the settings are refused: nothing was started"
    fi
}

save() {
    if [[ -z $(running postgres) || -z $(running redis) ]]; then
        note "nothing runs yet: there is nothing to back up"
        return
    fi
    stack run --rm --no-deps backup once >/dev/null
}

# Into volumes that are empty, before anything else is started.
bring_back() {
    local volume="${project}_redis"
    [[ -z $(stack ps --quiet 2>/dev/null) ]] || fail "there are containers already: a backup is restored into an empty stack only" \
        "${compose[*]} --project-name $project down --volumes   deletes this one with all it holds"
    stack up --detach postgres
    wait_for postgres || fail "the database does not become ready" "$(last_lines postgres 2>&1)"
    # Makes the volume, and gives it to Redis' user.
    stack up --no-start --no-deps redis >/dev/null
    # As root, for files of two users; with the tools of the servers' own versions.
    docker run --rm --user 0:0 --network "${project}_inside" --volume "$volume:/redis" --volume "$(cd "$restored/.." && pwd):/backups:ro" \
        --volume "$secrets/database_url:/run/secrets/database_url:ro" --env DATABASE_URL_FILE=/run/secrets/database_url \
        "${BACKUP_IMAGE:-lovage-backup:dev}" restore "$(basename "$restored")"
}

migrate() {
    stack up --detach redis postgres || return 1
    local service
    for service in redis postgres; do
        if ! wait_for "$service"; then
            failed=$service
            return 1
        fi
    done
    stack run --rm --no-deps migrate
}

start() { stack up --detach --no-deps "$1"; }

# running SERVICE: its containers, as far as they run.
running() {
    local container
    for container in $(stack ps --quiet "$1" 2>/dev/null); do
        [[ $(docker inspect --format '{{.State.Running}}' "$container" 2>/dev/null) != true ]] || echo "$container"
    done
}

# Every container of the service is healthy, or runs where nobody can ask it. One that ends again and again will not get better.
ready() {
    local container state containers
    containers=$(stack ps --quiet "$1")
    [[ -n "$containers" ]] || return 1
    for container in $containers; do
        state=$(docker inspect --format '{{.RestartCount}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$container")
        case "$state" in
            *" running healthy" | *" running ") ;;
            *" running starting") well "$container" || return 1 ;;
            *" exited "* | *" dead "* | [3-9]" "* | [1-9][0-9]*" "*) return 2 ;;
            *) return 1 ;;
        esac
    done
}

# Flower sees what runs, too: with the account that it is opened with.
verify_more() {
    local answer='' end=$((SECONDS + ${patience:?}))
    until [[ "$answer" == *'"celery@'* || "$answer" == *'@'*'"active_queues"'* ]]; do
        if ((SECONDS >= end)); then
            # shellcheck disable=SC2034 # scripts/deploy reads it
            failed=flower
            note "Flower lists no worker: ${answer:-it does not answer}"
            return 1
        fi
        # The account by standard input, so that it is in no list of processes.
        answer=$(printf 'user = "%s"\n' "$(cat "$secrets/flower_auth")" |
            curl --silent --max-time 20 --config - "http://127.0.0.1:${FLOWER_PORT:-5555}/flower/api/workers?refresh=1") || true
    done
    good "Flower lists the worker"
}

stop_all() { stack down; }
last_lines() { stack logs --no-color --tail 30 "$1"; }
# in_role_of ROLE WORDS...: runs lovage WORDS with the settings of a role.
in_role_of() { stack run --rm --no-deps -T "$@"; }
in_role() { in_role_of worker "$@"; }
api_url() { echo "http://127.0.0.1:${API_PORT:-5000}"; }
admin_email() { echo "$LOVAGE_ADMIN_EMAIL"; }
admin_password() { cat "$secrets/admin_password"; }

take_back() {
    [[ -n "$before" && "$before" != "$(docker image inspect --format '{{.Id}}' "$image")" ]] || return 1
    if [[ "$before_name" == "$image" || "$before_name" == sha256:* ]]; then
        docker tag "$before" "$image"
    else
        # It has a name of its own: that one is started again, and the new name keeps its meaning.
        image=$before_name
        export LOVAGE_IMAGE=$before_name
        note "compose/.env, or whoever set LOVAGE_IMAGE, still names the new version; what runs is $before_name"
    fi
}

# Kept from `docker image prune`, for going back by hand.
forget() {
    local name=$image
    [[ "${image##*/}" != *:* ]] || name=${image%:*}
    docker tag "$image" "$name:last-good"
}
